//! `check`: what is wrong with a config, and what will go wrong when it is run here and now.
//! Nothing is started and nothing is written.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs::{self, OpenOptions};
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use procsched::config::Config;
use procsched::{ChildSpec, Restart};

use crate::load::{is_stdin, load, source};
use crate::messages::escaped;
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
    // What comes through a pipe cannot be changed any more.
    let file = file.filter(|file| file.is_file());
    let problem = file.and_then(|file| exposure(&file));
    warnings.add("programs".to_owned(), problem);
    for (key, warning) in &warnings.all {
        complain(&format!("{source}: warning: {key}: {}", escaped(warning)));
    }
    match (warnings.all.len(), config.programs.len()) {
        (0, 1) => print(&format!("{source}: ok, 1 program\n")),
        (0, programs) => print(&format!("{source}: ok, {programs} programs\n")),
        _ => FAILED,
    }
}

/// What was found. What ten thousand programs have in common is told with the first of them, and
/// the others refer to that: else a long `PATH` would be printed ten thousand times.
#[derive(Default)]
struct Warnings {
    /// Each with the key that it concerns.
    all: Vec<(String, String)>,
    /// Texts, and each `PATH`, with the key that they were told with.
    told: BTreeMap<OsString, String>,
}

impl Warnings {
    fn add(&mut self, key: String, problem: Option<String>) {
        let Some(problem) = problem else { return };
        match self.told.get(OsStr::new(&problem)) {
            Some(first) => {
                let text = format!("the same as {first}");
                self.all.push((key, text));
            }
            None => {
                self.told.insert(problem.clone().into(), key.clone());
                self.all.push((key, problem));
            }
        }
    }

    fn add_command(&mut self, key: String, program: &ChildSpec, base_dir: &Path) {
        let error = match program.locate(base_dir) {
            Ok(file) => return self.add(key, exposure(&file)),
            Err(error) => error,
        };
        let Some(path) = error.searched_path() else {
            return self.add(key, Some(error.to_string()));
        };
        if let Some(first) = self.told.get(path) {
            let command = program.command().first();
            let what = format!(
                "failed to execute {:?}",
                command.unwrap_or(&OsString::new())
            );
            let text = format!("{what}: not found in PATH, see {first}");
            return self.all.push((key, text));
        }
        self.told.insert(path.to_owned(), key.clone());
        self.all.push((key, error.to_string()));
    }
}

fn warnings(config: &Config) -> Warnings {
    let mut found = Warnings::default();
    let base_dir = &config.base_dir;
    let obstacles = config.obstacles();
    for (key, error) in &obstacles {
        let text = format!("nothing would be started: {error}");
        found.add((*key).to_owned(), Some(text));
    }
    let is_usable = |key: &str| obstacles.iter().all(|(other, _)| *other != key);
    if is_usable("base_dir")
        && let Err(errno) = access(base_dir, AccessFlags::X_OK)
    {
        let text = format!("failed to use {base_dir:?}: {}", errno.desc());
        found.add("base_dir".to_owned(), Some(text));
    }
    if is_usable("err_dir") && fs::symlink_metadata(&config.err_dir).is_ok() {
        found.add("err_dir".to_owned(), exposure(&config.err_dir));
    }
    if let Some(command) = &config.error_handler {
        let handler = ChildSpec::new("error_handler", command.iter().cloned());
        found.add_command("error_handler".to_owned(), &handler, base_dir);
    }
    for program in &config.programs {
        let key = |key: &str| format!("programs.{}.{key}", program.name());
        found.add_command(key("command"), program, base_dir);
        found.add(key("essential"), essential_problem(program));
    }
    found
}

/// Why the key has no effect, if it is set and has none.
fn essential_problem(program: &ChildSpec) -> Option<String> {
    let is_idle = program.is_essential() && program.restart_policy() == Restart::Always;
    is_idle.then(|| {
        "it never takes effect: with \"restart\": \"always\" the program does not end for good; \
         use \"on-failure\" or \"never\""
            .to_owned()
    })
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
        let warnings = warnings(&config).all;
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
            "nothing would be started: failed to use the log directory \"/dev/null\": \
             it is not a directory"
        );
    }
}
