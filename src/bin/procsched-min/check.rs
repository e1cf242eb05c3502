//! `check`: what is wrong with a config, and what will go wrong when it is run here and now.
//! Nothing is started and nothing is written.

use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use procsched::ChildSpec;
use procsched::config::Config;

use crate::load::{is_stdin, load, source};
use crate::messages::{escaped, system_word};
use crate::{FAILED, USAGE, complain, print};

/// Says what it finds: 0 nothing, 1 warnings, 2 errors.
pub fn check(path: &Path) -> u8 {
    let source = source(path);
    let source = escaped(&source);
    let config = match load(path) {
        Ok(config) => config,
        Err(errors) => {
            complain(errors.trim_end());
            return USAGE;
        }
    };
    let mut warnings = warnings(&config);
    let file = std::path::absolute(path).ok().filter(|_| !is_stdin(path));
    let problem = file.and_then(|file| exposure(&file));
    warnings.extend(problem.map(|problem| ("programs".to_owned(), problem)));
    for (key, warning) in &warnings {
        complain(&format!("{source}: warning: {key}: {}", escaped(warning)));
    }
    match (warnings.len(), config.programs.len()) {
        (0, 1) => print(&format!("{source}: ok, 1 program\n")),
        (0, programs) => print(&format!("{source}: ok, {programs} programs\n")),
        _ => FAILED,
    }
}

/// Each with the key that it concerns.
fn warnings(config: &Config) -> Vec<(String, String)> {
    let mut found = Vec::new();
    let mut add = |key: String, problem: Option<String>| {
        found.extend(problem.map(|problem| (key, problem)));
    };
    let base_dir = &config.base_dir;
    add(
        "base_dir".to_owned(),
        directory_problem(base_dir, AccessFlags::X_OK),
    );
    if fs::symlink_metadata(&config.err_dir).is_ok() {
        let wanted = AccessFlags::W_OK | AccessFlags::X_OK;
        let problem = directory_problem(&config.err_dir, wanted);
        add(
            "err_dir".to_owned(),
            problem.or_else(|| exposure(&config.err_dir)),
        );
    }
    if let Some(command) = &config.error_handler {
        let handler = ChildSpec::new("error_handler", command.iter().cloned());
        add(
            "error_handler".to_owned(),
            command_problem(&handler, base_dir),
        );
    }
    for program in &config.programs {
        let key = |key: &str| format!("programs.{}.{key}", program.name());
        add(key("command"), command_problem(program, base_dir));
    }
    found
}

fn command_problem(program: &ChildSpec, base_dir: &Path) -> Option<String> {
    match program.locate(base_dir) {
        Ok(file) => exposure(&file),
        Err(error) => Some(error.to_string()),
    }
}

/// Where root reads its commands, executes them or writes their logs: which part of the way there
/// others can change, if there is one.
fn exposure(path: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    // The way that is named, and the one that it leads to.
    let opened = OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_PATH)
        .open(path);
    let number = opened.as_ref().map_or(-1, AsRawFd::as_raw_fd);
    let real = fs::read_link(format!("/proc/self/fd/{number}")).unwrap_or_default();
    let mut parts = path.ancestors().chain(real.ancestors());
    parts.find_map(exposed_part)
}

/// In a directory that is sticky nobody can replace what is root's.
fn exposed_part(part: &Path) -> Option<String> {
    const STICKY: u32 = 0o1000;
    let found = fs::metadata(part).ok()?;
    let (mode, uid, gid) = (found.mode() & 0o7777, found.uid(), found.gid());
    let is_kept = found.is_dir() && mode & STICKY != 0;
    let is_writable = mode & 0o002 != 0 || (mode & 0o020 != 0 && gid != 0);
    (uid != 0 || (is_writable && !is_kept)).then(|| {
        format!("others than root can change {part:?} (uid {uid}, gid {gid}, mode {mode:o})")
    })
}

/// Why this cannot be used as a directory.
fn directory_problem(directory: &Path, wanted: AccessFlags) -> Option<String> {
    let why = match fs::metadata(directory) {
        Err(error) => system_word(&error),
        Ok(found) if !found.is_dir() => "it is not a directory".to_owned(),
        Ok(_) => access(directory, wanted).err()?.desc().to_owned(),
    };
    Some(format!("failed to use {directory:?}: {why}"))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn says_what_cannot_be_found_or_used() {
        let json = br#"{
            "base_dir": "/", "err_dir": "/dev/null", "error_handler": ["./no-such-handler"],
            "programs": {
                "fine": ["/bin/sh", "-c", "exit 0"],
                "missing": ["/no/such/program"],
                "directory": ["/tmp"]
            }
        }"#;
        let config = Config::parse(json, "test.json", Path::new("/"));
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        let warnings = warnings(&config);
        let keys: Vec<&str> = warnings.iter().map(|(key, _)| key.as_str()).collect();
        let expected = [
            "err_dir",
            "error_handler",
            "programs.missing.command",
            "programs.directory.command",
        ];
        assert_eq!(keys, expected, "{warnings:?}");
        assert_eq!(
            warnings[0].1,
            "failed to use \"/dev/null\": it is not a directory"
        );
    }

    #[test]
    fn a_directory_that_is_missing_is_named() {
        let problem = directory_problem(Path::new("/no/such/place"), AccessFlags::X_OK);
        let text = "failed to use \"/no/such/place\": No such file or directory";
        assert_eq!(problem.as_deref(), Some(text));
        assert_eq!(directory_problem(Path::new("/"), AccessFlags::X_OK), None);
    }
}
