//! supervisord.conf. What concerns supervisord itself, such as its own log and pid file, has no part
//! in a config of ours, and is left out.

use std::path::Path;

use serde_json::{Value, json};

use super::Place;
use super::document::{Document, Keys, Program};
use super::expand::{Expanded, Names};
use super::files::{self, INCLUDE};
use super::ini::{Entry, Section};
use super::words::{self, VARIABLE};

/// How many processes `numprocs` may ask for.
const PROCESSES_MAX: usize = 1_000;

/// The settings of all programs that are taken over, in which supervisord expands.
const EXPANDED: &[(&str, &str)] = &[
    ("supervisord", "directory"),
    ("supervisord", "childlogdir"),
    ("supervisord", "umask"),
    ("supervisord", "user"),
    ("supervisord", "environment"),
    ("unix_http_server", "file"),
    ("unix_http_server", "chown"),
];

/// The smallest log that is rotated here.
const LOG_BYTES_MIN: u64 = 64 * 1024;

const WRITE_OUT: &str = "nothing is expanded here: write out the value";

/// What supervisord does where the file says nothing (its `priority`, `startsecs`, rotation).
const PRIORITY_DEFAULT: i64 = 999;
const START_SECONDS_DEFAULT: &str = "1";
const ROTATION_DEFAULT: (&str, u64) = ("50M", 10);

/// A program before it is written out.
struct Entries<'f> {
    name: &'f str,
    /// True if something listens to what programs write.
    has_listeners: bool,
    section: &'f Section,
}

pub fn import(path: &Path, text: &str) -> Result<Document, String> {
    let mut sections = Vec::new();
    files::read(path, text, &mut sections)?;
    let mut sections_named = sections.iter().map(|section| section.name.as_str());
    let has_listeners = sections_named.any(|name| name.starts_with("eventlistener:"));
    let mut document = Document::default();
    let mut programs: Vec<(i64, Program)> = Vec::new();
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program", name)) => {
                let entries = Entries {
                    name,
                    has_listeners,
                    section,
                };
                let made = entries.programs()?;
                programs.extend(
                    made.into_iter()
                        .map(|program| (entries.priority(), program)),
                );
            }
            Some((kind @ ("eventlistener" | "fcgi-program" | "group"), name)) => {
                let instead = match kind {
                    "group" => "name its programs together by a pattern, such as 'web*'",
                    "eventlistener" => "use error_handler, or follow \"events --json\"",
                    _ => "there is no socket for it: use a server that listens itself",
                };
                let what = format!("[{kind}:{name}] is not taken over");
                document.settings.remark(&section.place, &what, instead);
            }
            _ => settings(section, &mut document.settings),
        }
    }
    if programs.is_empty() {
        let further = sections.iter().find(|section| section.name == INCLUDE);
        let missing = further.and_then(|section| section.entries.first());
        let missing = missing.map(|entry| format!(", and no file matches {}", entry.value));
        return Err(format!(
            "{}: nothing to import: there is no [program:NAME]{}",
            path.display(),
            missing.unwrap_or_default()
        ));
    }
    // Unless `stopasgroup` says otherwise.
    document.settings.set_in("defaults", "stop_to", "main");
    let logs = |(_, program): &(i64, Program)| {
        program.keys.get("stdout") == Some(&json!("log")) || program.keys.get("stderr").is_none()
    };
    if programs.iter().any(logs) {
        let (max_bytes, keep) = ROTATION_DEFAULT;
        let log = json!({"max_bytes": max_bytes, "keep": keep});
        document.settings.set_in("defaults", "log", log);
    }
    programs.sort_by_key(|(priority, _)| *priority);
    document.programs = programs.into_iter().map(|(_, program)| program).collect();
    Ok(document)
}

/// Takes over what concerns all programs.
fn settings(section: &Section, keys: &mut Keys) {
    let names = Names {
        here: &section.here,
        ..Names::default()
    };
    for Entry { key, value, place } in &section.entries {
        let of = (section.name.as_str(), key.as_str());
        let mut value = value.clone();
        if EXPANDED.contains(&of) {
            match names.expand(&value) {
                Ok(expanded) if !expanded.has_variables => value = expanded.text,
                _ => {
                    keys.remark(place, &format!("{key}={value}"), WRITE_OUT);
                    continue;
                }
            }
        }
        match of {
            (INCLUDE, _) => {
                let instead = "no file matches here: import those as well";
                keys.remark(place, &format!("files={value} of include"), instead);
            }
            ("supervisord", "directory") => keys.set("base_dir", value.as_str()),
            ("supervisord", "childlogdir") => keys.set("err_dir", value.as_str()),
            ("supervisord", "umask") => keys.set_in("defaults", "umask", value.as_str()),
            ("supervisord", "user") if value != "root" => {
                keys.set_in("defaults", "user", number_or_text(&value));
            }
            ("supervisord", "environment") => match environment(&value) {
                Some(env) => keys.set_in("defaults", "env", object(env)),
                None => keys.remark(place, &format!("environment={value}"), "write it as env"),
            },
            ("unix_http_server", "file") => keys.set("control", value.as_str()),
            ("unix_http_server", "chown") if value.contains(':') => {
                let group = value.rsplit(':').next().unwrap_or_default();
                keys.set("control_group", group);
            }
            ("unix_http_server", "username") => {
                let instead = "the mode of the socket decides who may use it";
                keys.remark(place, "username of unix_http_server", instead);
            }
            ("inet_http_server", "port") => {
                let instead = "orders come through the control socket alone";
                keys.remark(place, &format!("port={value} of inet_http_server"), instead);
            }
            _ => {}
        }
    }
}

/// Returns the variables of `KEY=value,KEY2="value"`; `None` if it is none of that.
fn environment(text: &str) -> Option<Vec<(String, String)>> {
    let mut env = Vec::new();
    let text = text.replace('\n', " ");
    let mut rest = text.trim();
    while !rest.is_empty() {
        let (key, after) = rest.split_once('=')?;
        let after = after.trim_start();
        let (value, after) = match after.chars().next() {
            Some(quote @ ('"' | '\'')) => after[1..].split_once(quote)?,
            _ => {
                let end = after.find(',').unwrap_or(after.len());
                (after[..end].trim(), &after[end..])
            }
        };
        env.push((key.trim().to_owned(), value.to_owned()));
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(env)
}

/// Returns variables as the value of an `env`.
fn object(env: Vec<(String, String)>) -> Value {
    let mut object = json!({});
    for (key, value) in env {
        object[key] = value.into();
    }
    object
}

/// Returns a number as one: a user or a signal may be either.
fn number_or_text(text: &str) -> Value {
    text.parse::<u64>()
        .map_or_else(|_| json!(text), Value::from)
}

/// True for what supervisord takes for true.
fn is_true(value: &str) -> bool {
    ["true", "yes", "on", "1"].contains(&value.to_lowercase().as_str())
}

impl Entries<'_> {
    fn value(&self, key: &str) -> Option<&str> {
        let mut all = self.section.entries.iter().rev();
        Some(all.find(|entry| entry.key == key)?.value.as_str())
    }

    fn priority(&self) -> i64 {
        let priority = self.value("priority").and_then(|value| value.parse().ok());
        priority.unwrap_or(PRIORITY_DEFAULT)
    }

    /// Returns the program, or each of its processes.
    fn programs(&self) -> Result<Vec<Program>, String> {
        let number = |key: &str| self.value(key).and_then(|value| value.parse().ok());
        let count: usize = number("numprocs").unwrap_or(1);
        if count > PROCESSES_MAX {
            let Place { file, line } = &self.section.place;
            return Err(format!(
                "{file}:{line}: invalid numprocs {count}: expected at most {PROCESSES_MAX}"
            ));
        }
        let first: usize = number("numprocs_start").unwrap_or(0);
        let names = (first..first + count).map(|number| Names {
            here: &self.section.here,
            program: self.name,
            number: Some(number),
            count,
        });
        Ok(names.map(|names| self.program(&names)).collect())
    }

    fn program(&self, names: &Names<'_>) -> Program {
        let mut program = Program {
            name: self.name.to_owned(),
            ..Program::default()
        };
        let keys = &mut program.keys;
        for entry in &self.section.entries {
            let Entry { key, value, place } = entry;
            match names.expand(value) {
                Ok(expanded) if key == "process_name" && !expanded.has_variables => {
                    program.name = expanded.text;
                }
                Ok(expanded) => self.take(entry, &expanded, names, keys),
                // Where it is logged is said with the streams.
                Err(_) if key.ends_with("_logfile") => {}
                Err(what) => {
                    let instead = "write out what it stands for";
                    keys.remark(place, &format!("{key}={value}: {what}"), instead);
                }
            }
        }
        self.starts(keys);
        self.restart(keys);
        self.outputs(&program.name, keys);
        program
    }

    /// Takes over one key of a program.
    fn take(&self, entry: &Entry, value: &Expanded, names: &Names<'_>, keys: &mut Keys) {
        let Entry { key, place, .. } = entry;
        let text = value.text.as_str();
        let said = format!("{key}={}", entry.value);
        match key.as_str() {
            "command" => match command(value, &self.assignments(names)) {
                Some(command) => keys.set("command", command),
                None => keys.remark(place, &said, "a quote is left open: close it"),
            },
            "environment" => match environment(text) {
                Some(mut env) => {
                    // The others are assignments of the command's shell.
                    env.retain(|(_, value)| !value.contains(VARIABLE));
                    if !env.is_empty() {
                        keys.set("env", object(env));
                    }
                }
                None => keys.remark(place, &said, "write it as env"),
            },
            // Where it is logged is said with the streams.
            "stdout_logfile" | "stderr_logfile" => {}
            _ if value.has_variables => keys.remark(place, &said, WRITE_OUT),
            "directory" => keys.set("cwd", text),
            "user" => keys.set("user", number_or_text(text)),
            "umask" => keys.set("umask", text),
            "autostart" if !is_true(text) => keys.set("autostart", false),
            "stopsignal" => keys.set("stop_signal", number_or_text(text)),
            "stopwaitsecs" => keys.set("stop_timeout", number_or_text(text)),
            "stopasgroup" if is_true(text) => keys.set("stop_to", "group"),
            "stdout_syslog" | "stderr_syslog" if is_true(text) => {
                keys.remark(place, &said, "read the log, or inherit the output");
            }
            // These are for listeners alone.
            "stdout_events_enabled" | "stderr_events_enabled"
                if is_true(text) && self.has_listeners =>
            {
                keys.remark(place, &said, "read the log, or inherit the output");
            }
            "stdout_capture_maxbytes" | "stderr_capture_maxbytes"
                if text != "0" && self.has_listeners =>
            {
                keys.remark(place, &said, "read the log");
            }
            _ => {}
        }
    }

    /// Returns the variables whose values have variables: only a shell can set these.
    fn assignments(&self, names: &Names<'_>) -> Vec<String> {
        let expanded = names.expand(self.value("environment").unwrap_or_default());
        let env = expanded.ok().and_then(|value| environment(&value.text));
        let env = env.unwrap_or_default().into_iter();
        env.filter(|(_, value)| value.contains(VARIABLE))
            .map(|(name, value)| words::assignment(&name, &value))
            .collect()
    }

    /// `startsecs` and `startretries`, which mean something together: retries are of runs that were
    /// shorter.
    fn starts(&self, keys: &mut Keys) {
        let seconds = self.value("startsecs");
        if seconds == Some("0") {
            return;
        }
        let after = number_or_text(seconds.unwrap_or(START_SECONDS_DEFAULT));
        if seconds.is_some() {
            keys.set("ready", json!({"delay": after}));
            keys.set_in("backoff", "reset_after", after.clone());
        }
        let mut entries = self.section.entries.iter().rev();
        let Some(retries) = entries.find(|entry| entry.key == "startretries") else {
            return;
        };
        if retries.value == "0" && self.restarts() {
            // `max_restarts` of 0 would end it after a long run, too.
            let instead = "a short run is followed by a restart here, or set max_restarts";
            keys.remark(&retries.place, "startretries=0", instead);
            return;
        }
        keys.set("max_restarts", number_or_text(&retries.value));
        keys.set_in("backoff", "reset_after", after);
    }

    /// True if it is restarted after a run that was long enough.
    fn restarts(&self) -> bool {
        let restart = self.value("autorestart").unwrap_or("unexpected");
        restart.eq_ignore_ascii_case("unexpected") || is_true(restart)
    }

    /// `autorestart` and `exitcodes`, which mean something together.
    fn restart(&self, keys: &mut Keys) {
        let codes = self.value("exitcodes").unwrap_or("0").split(',');
        let codes: Vec<i64> = codes.filter_map(|code| code.trim().parse().ok()).collect();
        let successes: Vec<i64> = codes.into_iter().filter(|code| *code != 0).collect();
        let restart = self
            .value("autorestart")
            .unwrap_or("unexpected")
            .to_lowercase();
        if restart == "unexpected" {
            keys.set("restart", "on-failure");
        } else if !is_true(&restart) && !restart.contains('%') {
            keys.set("restart", "never");
        }
        if !successes.is_empty() {
            keys.set("success_codes", successes);
        }
    }

    /// Where the two streams go. What is not said is logged.
    fn outputs(&self, name: &str, keys: &mut Keys) {
        let files = ["stdout_logfile", "stderr_logfile"].map(|key| self.value(key));
        let [stdout, stderr] = files.map(output);
        let is_one_file = files[0] == files[1] && files[0].is_some_and(is_path);
        let is_one = is_one_file || self.value("redirect_stderr").is_some_and(is_true);
        match is_one {
            true if stdout == "log" => keys.set("stdout", "stderr"),
            true => {
                keys.set("stdout", stdout);
                keys.set("stderr", stdout);
            }
            false => {
                keys.set("stdout", stdout);
                if stderr != "log" {
                    keys.set("stderr", stderr);
                }
            }
        }
        if stdout == "log" {
            self.log(
                "stdout",
                &format!("{name}.{}.log", ["stdout", "stderr"][usize::from(is_one)]),
                keys,
            );
        }
        if stderr == "log" && !is_one {
            self.log("stderr", &format!("{name}.stderr.log"), keys);
        }
    }

    /// The log of a stream, which has another name here.
    fn log(&self, stream: &str, name: &str, keys: &mut Keys) {
        for Entry { key, value, place } in &self.section.entries {
            let said = format!("{key}={value}");
            match key.strip_prefix(stream) {
                Some("_logfile") if is_path(value) => {
                    let instead = format!("it is logged in err_dir, as {name}");
                    keys.remark(place, &said, &instead);
                }
                Some("_logfile_maxbytes") if is_short(value) => {
                    let instead = format!("{LOG_BYTES_MIN} is the least");
                    keys.remark(place, &said, &instead);
                    keys.set_in("log", "max_bytes", LOG_BYTES_MIN);
                }
                Some("_logfile_maxbytes") => keys.set_in("log", "max_bytes", size(value)),
                Some("_logfile_backups") => keys.set_in("log", "keep", number_or_text(value)),
                _ => {}
            }
        }
    }
}

/// Returns where the output to a log file of supervisord goes here.
fn output(file: Option<&str>) -> &'static str {
    match file {
        Some(
            "/dev/stdout" | "/dev/stderr" | "/dev/fd/1" | "/dev/fd/2" | "/proc/self/fd/1"
            | "/proc/self/fd/2" | "/proc/1/fd/1" | "/proc/1/fd/2",
        ) => "inherit",
        Some("/dev/null") => "null",
        Some(file) if file.eq_ignore_ascii_case("none") => "null",
        _ => "log",
    }
}

/// True if a log file is one of its own.
fn is_path(file: &str) -> bool {
    output(Some(file)) == "log" && !file.eq_ignore_ascii_case("auto")
}

/// Returns a size as ours is written: `50MB` is `50M`.
fn size(text: &str) -> Value {
    match text.parse::<u64>() {
        Ok(bytes) => bytes.into(),
        Err(_) => text.trim_end_matches(['B', 'b']).to_uppercase().into(),
    }
}

/// True if a log of this size is too short to be rotated here.
fn is_short(text: &str) -> bool {
    let text = text.to_uppercase();
    let (number, unit) = match text.strip_suffix("KB") {
        Some(number) => (number, 1024),
        None => (text.as_str(), 1),
    };
    let bytes = number.trim().parse::<u64>().unwrap_or(0);
    (1..LOG_BYTES_MIN).contains(&bytes.saturating_mul(unit))
}

/// Returns the words of a command, which supervisord starts without a shell; a shell for its
/// variables. `None` if a quote is left open.
fn command(value: &Expanded, assignments: &[String]) -> Option<Value> {
    let words = words::split(&value.text.replace('\n', " "))?;
    if !value.has_variables && assignments.is_empty() {
        return Some(words.into());
    }
    let words = words.iter().map(|word| words::quoted(word));
    let exec = std::iter::once("exec".to_owned());
    let line: Vec<String> = assignments
        .iter()
        .cloned()
        .chain(exec)
        .chain(words)
        .collect();
    Some(vec!["sh".to_owned(), "-c".to_owned(), line.join(" ")].into())
}
