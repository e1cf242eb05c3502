//! `check`: reports what is wrong with a config, and what would fail if it were run here and now.
//! Nothing is started and nothing is written.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::fs;
use std::os::unix::fs::MetadataExt;
use std::path::Path;

use nix::unistd::{AccessFlags, access};
use procsched::config::Config;
use procsched::text::{duration, error_text, escaped, shortened_path};
use procsched::{Check, ChildSpec, Health, Probe};

use super::{Command, FAILED, FINE, USAGE};
use crate::control::place::Place;
use crate::load::{self, CONFIG_HELP, is_stdin, load, source};
use crate::stdio::{complain, print};

pub const COMMAND: Command = Command {
    name: "check",
    operands: "[CONFIG]",
    options: "      --explain  print start order, delays, stop time and what programs inherit
",
    summary: "show what is wrong with CONFIG; starts nothing",
    description: "Shows every error of the config, with its line and what would be right, and
starts nothing. A command that cannot be found or executed is a warning, and so
is what cannot be fulfilled.
",
    sections: &[&CONFIG_HELP],
    exit_codes: "  check: 0 fine, 1 warnings, 2 errors\n",
    example: "  $ procsched-min check /etc/app/procsched.json
  /etc/app/procsched.json: ok, 2 programs
",
    exec: |arguments| Ok(check(&load::path(arguments)?, arguments.has("--explain"))),
    ..Command::PLAIN
};

/// Prints what it finds, and what the config comes to, if that is asked for. Returns 0 for nothing, 1
/// for warnings, 2 for errors.
fn check(path: &Path, explain: bool) -> u8 {
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
    let place = Place::of(&config, None);
    let problem = place.obstacle();
    let problem = problem.map(|problem| format!("nothing would be started: {problem}"));
    warnings.add("control".to_owned(), problem);
    let file = std::path::absolute(path).ok().filter(|_| !is_stdin(path));
    // Others cannot change what comes through a pipe.
    let file = file.filter(|file| file.is_file());
    let problem = file.and_then(|file| exposure(&file));
    warnings.add("programs".to_owned(), problem);
    for (key, warning) in &warnings.all {
        complain(&format!("{source}: warning: {key}: {}", escaped(warning)));
    }
    if let Place::Missing(problem) = place {
        complain(&no_orders(&source, &problem));
    }
    let is_fine = warnings.all.is_empty();
    let mut text = match config.programs.len() {
        _ if !is_fine => String::new(),
        1 => format!("{source}: ok, 1 program\n"),
        programs => format!("{source}: ok, {programs} programs\n"),
    };
    if explain {
        let gap = if is_fine { "\n" } else { "" };
        match config.explain() {
            Ok(explanation) => text.extend([gap, &explanation]),
            Err(error) => complain(&format!("{source}: error: {}", escaped(&error.to_string()))),
        }
    }
    match print(&text) {
        FINE if is_fine => FINE,
        _ => FAILED,
    }
}

/// Returns the line of a supervisor that would run without a control socket. That is no warning, as in a
/// container this may be what is wanted.
fn no_orders(source: &str, problem: &str) -> String {
    let problem = escaped(problem);
    format!(
        "{source}: note: control: no orders could be given: {problem}; set \"control\" to a path, or \
         to false"
    )
}

/// The warnings. A problem that many programs share is printed with the first, and the others refer
/// to it: else a long `PATH` would be printed ten thousand times.
#[derive(Default)]
struct Warnings {
    /// Each with the key that it concerns.
    all: Vec<(String, String)>,
    /// Texts, and each `PATH`, with the key that they were printed with.
    printed: BTreeMap<OsString, String>,
}

impl Warnings {
    fn add(&mut self, key: String, problem: Option<String>) {
        let Some(problem) = problem else { return };
        match self.printed.get(OsStr::new(&problem)) {
            Some(first) => {
                let text = format!("the same as {first}");
                self.all.push((key, text));
            }
            None => {
                self.printed.insert(problem.clone().into(), key.clone());
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
        if let Some(first) = self.printed.get(path) {
            let command = &program.command()[0];
            let text = format!("failed to execute {command:?}: not found in PATH, see {first}");
            return self.all.push((key, text));
        }
        self.printed.insert(path.to_owned(), key.clone());
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
        let text = format!("failed to use {base_dir:?}: {}", error_text(&errno.into()));
        found.add("base_dir".to_owned(), Some(text));
    }
    let has_logs = config.programs.iter().any(ChildSpec::has_log);
    if has_logs && is_usable("err_dir") && fs::symlink_metadata(&config.err_dir).is_ok() {
        found.add("err_dir".to_owned(), exposure(&config.err_dir));
    }
    found.add("shutdown_timeout".to_owned(), shutdown_problem(config));
    if let Some(handler) = &config.error_handler {
        let handler = ChildSpec::new("error_handler", handler.command().iter().cloned());
        found.add_command("error_handler".to_owned(), &handler, base_dir);
    }
    for (key, path) in config.env_files() {
        found.add(key.clone(), exposure(path));
    }
    for program in &config.programs {
        let key = |key: &str| format!("programs.{}.{key}", program.name());
        found.add_command(key("command"), program, base_dir);
        let checks = [
            ("ready.command", program.ready_probe().map(Probe::check)),
            ("health.command", program.health_check().map(Health::check)),
        ];
        for (name, check) in checks {
            if let Some(Check::Command(command)) = check {
                let beside = program.beside(command.iter().cloned());
                found.add_command(key(name), &beside, base_dir);
            }
        }
        for (name, error) in program.obstacles(base_dir) {
            let what = match name {
                "oom_score_adj" => "a start may fail",
                _ => "no start would succeed",
            };
            found.add(key(name), Some(format!("{what}: {error}")));
        }
        let obstacle = program.stop_obstacle();
        let text = obstacle.map(|error| format!("no stop would succeed: {error}"));
        found.add(key("user"), text);
        found.add(key("stdin"), stdin_exposure(program, base_dir));
        found.add(key("essential"), essential_problem(program));
        found.add(key("start_timeout"), start_timeout_problem(program));
    }
    found
}

/// Returns why programs may not get the time to stop that each of them has, if that is so.
fn shutdown_problem(config: &Config) -> Option<String> {
    let timeout = config.shutdown_timeout?;
    let (most, chain) = config.longest_stop();
    (most > timeout).then(|| {
        let (most, timeout) = (duration(most), duration(timeout));
        format!(
            "programs may be killed before their stop_timeout: {} take {most} in all, which is \
             longer than {timeout}",
            shortened_path(&chain)
        )
    })
}

/// Returns why the key has no effect, if it is set and has none.
fn essential_problem(program: &ChildSpec) -> Option<String> {
    let is_idle = program.is_essential() && !program.can_end_for_good();
    is_idle.then(|| {
        "no effect: with \"restart\": \"always\" the program never ends for good; use \
         \"on-failure\", \"never\" or \"max_restarts\""
            .to_owned()
    })
}

fn start_timeout_problem(program: &ChildSpec) -> Option<String> {
    program.has_idle_start_timeout().then(|| {
        "no effect: the program is up as soon as it is executed; give it \"ready\"".to_owned()
    })
}

/// Returns a component of the path of its stdin that others can change: they decide what root opens. What
/// is no file, such as a FIFO or a terminal, is for others to write to.
fn stdin_exposure(program: &ChildSpec, base_dir: &Path) -> Option<String> {
    let path = base_dir.join(program.stdin_path()?);
    match path.is_file() {
        true => exposure(&path),
        false => exposure(path.parent()?),
    }
}

/// Returns a component of the path that others can change, if root would read a file there,
/// execute a command or write a log.
fn exposure(path: &Path) -> Option<String> {
    if !nix::unistd::geteuid().is_root() {
        return None;
    }
    // The path as written, and the one that its symlinks resolve to.
    let real = path.canonicalize().unwrap_or_default();
    let mut parts = path.ancestors().chain(real.ancestors());
    parts.find_map(exposed_part)
}

/// Returns a warning if others can change this component. In a sticky directory they cannot
/// replace what root owns.
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
                "directory": ["/tmp"],
                "checked": {
                    "command": ["/bin/sh"],
                    "ready": { "command": ["./no-such-probe"] },
                    "health": { "command": ["./no-such"] }
                }
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
            "programs.checked.ready.command",
            "programs.checked.health.command",
        ];
        assert_eq!(keys, expected, "{warnings:?}");
        assert_eq!(
            warnings[0].1,
            "nothing would be started: failed to use the log directory \"/dev/null\": \
             it is not a directory"
        );
    }
}
