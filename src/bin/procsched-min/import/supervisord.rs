//! supervisord.conf. What concerns supervisord itself, such as its own log and pid file, has no part
//! in a config of ours, and is left out.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::Place;
use super::document::{Document, Keys, Program};
use super::expand::{Expanded, Names};
use super::ini::{self, Entry, Section};
use super::words;

/// How deep and how many files `[include]` may lead to.
const FILES_MAX: usize = 1_000;

/// What supervisord does where the file says nothing (its `priority`, rotation).
const PRIORITY_DEFAULT: i64 = 999;
const ROTATION_DEFAULT: (&str, u64) = ("50M", 10);

/// A program before it is written out.
struct Entries<'f> {
    name: &'f str,
    section: &'f Section,
}

pub fn import(path: &Path, text: &str) -> Result<Document, String> {
    let mut sections = Vec::new();
    read(path, text, &mut sections)?;
    let here = path
        .parent()
        .unwrap_or(Path::new(""))
        .to_string_lossy()
        .into_owned();
    let mut document = Document::default();
    let mut programs: Vec<(i64, Program)> = Vec::new();
    for section in &sections {
        match section.name.split_once(':') {
            Some(("program", name)) => {
                let entries = Entries { name, section };
                let made = entries.programs(&here)?;
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
        return Err(format!(
            "{}: nothing to import: there is no [program:NAME]",
            path.display()
        ));
    }
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

/// Reads a file and what it includes.
fn read(path: &Path, text: &str, sections: &mut Vec<Section>) -> Result<(), String> {
    let mut waiting = vec![(path.to_owned(), text.to_owned())];
    let mut count = 0;
    while let Some((path, text)) = waiting.pop() {
        count += 1;
        if count > FILES_MAX {
            return Err(format!(
                "{}: more than {FILES_MAX} files are included",
                path.display()
            ));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        for section in ini::parse(&path, &text)? {
            if section.name == "include" {
                for file in included(&section, directory)? {
                    waiting.push((file.clone(), super::read(&file)?));
                }
            } else {
                sections.push(section);
            }
        }
    }
    Ok(())
}

/// Returns the files that a section names, by patterns in the last part of a path.
fn included(section: &Section, directory: &Path) -> Result<Vec<PathBuf>, String> {
    let mut found = Vec::new();
    let files = section.entries.iter().filter(|entry| entry.key == "files");
    for pattern in files.flat_map(|entry| entry.value.split_whitespace()) {
        let pattern = pattern.replace("%(here)s", &directory.to_string_lossy());
        let pattern = directory.join(pattern);
        let name = pattern
            .file_name()
            .unwrap_or_default()
            .to_string_lossy()
            .into_owned();
        let parent = pattern.parent().unwrap_or(directory);
        let mut matching: Vec<PathBuf> = std::fs::read_dir(parent)
            .into_iter()
            .flatten()
            .flatten()
            .filter(|entry| matches(&name, &entry.file_name().to_string_lossy()))
            .map(|entry| entry.path())
            .filter(|path| path.is_file())
            .collect();
        matching.sort();
        found.append(&mut matching);
    }
    found.reverse();
    Ok(found)
}

/// True if a name matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = name.find(part) else {
            return false;
        };
        (name, rest) = (&name[at + part.len()..], after);
    }
    name.ends_with(rest)
}

/// Takes over what concerns all programs.
fn settings(section: &Section, keys: &mut Keys) {
    for Entry { key, value, place } in &section.entries {
        match (section.name.as_str(), key.as_str()) {
            ("supervisord", "directory") => keys.set("base_dir", value.as_str()),
            ("supervisord", "childlogdir") => keys.set("err_dir", value.as_str()),
            ("supervisord", "umask") => keys.set_in("defaults", "umask", value.as_str()),
            ("supervisord", "user") if value != "root" => {
                keys.set_in("defaults", "user", value.as_str());
            }
            ("supervisord", "environment") => match environment(value) {
                Some(env) => keys.set_in("defaults", "env", env),
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
fn environment(text: &str) -> Option<Value> {
    let mut env = json!({});
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
        env[key.trim()] = value.into();
        rest = after.trim_start();
        rest = rest.strip_prefix(',').unwrap_or(rest).trim_start();
    }
    Some(env)
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
    fn programs(&self, here: &str) -> Result<Vec<Program>, String> {
        let number = |key: &str| self.value(key).and_then(|value| value.parse().ok());
        let count: usize = number("numprocs").unwrap_or(1);
        if count > FILES_MAX {
            let Place { file, line } = &self.section.place;
            return Err(format!(
                "{file}:{line}: invalid numprocs {count}: expected at most {FILES_MAX}"
            ));
        }
        let first: usize = number("numprocs_start").unwrap_or(0);
        let names = (first..first + count).map(|number| Names {
            here,
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
        for Entry { key, value, place } in &self.section.entries {
            match names.expand(value) {
                Ok(expanded) if key == "process_name" => program.name = expanded.text,
                Ok(expanded) => self.take(key, &expanded, place, keys),
                Err(what) => {
                    let instead = "write out what it stands for";
                    keys.remark(place, &format!("{key}={value}: {what}"), instead);
                }
            }
        }
        self.restart(keys);
        self.outputs(keys);
        program
    }

    /// Takes over one key of a program.
    fn take(&self, key: &str, value: &Expanded, place: &Place, keys: &mut Keys) {
        let text = value.text.as_str();
        let seconds = || {
            text.parse::<u64>()
                .map_or_else(|_| json!(text), Value::from)
        };
        match key {
            "command" => keys.set("command", command(value)),
            "environment" if !value.has_variables => match environment(text) {
                Some(env) => keys.set("env", env),
                None => keys.remark(place, &format!("environment={text}"), "write it as env"),
            },
            _ if value.has_variables => {
                let instead = "nothing is expanded here: write out the value";
                keys.remark(place, &format!("{key}={text}"), instead);
            }
            "directory" => keys.set("cwd", text),
            "user" => keys.set("user", text),
            "umask" => keys.set("umask", text),
            "autostart" if !is_true(text) => keys.set("autostart", false),
            "startsecs" if text != "0" => {
                keys.set("ready", json!({"delay": seconds()}));
                keys.set_in("backoff", "reset_after", seconds());
            }
            "startretries" => keys.set("max_restarts", seconds()),
            "stopsignal" => keys.set("stop_signal", text),
            "stopwaitsecs" => keys.set("stop_timeout", seconds()),
            "stopasgroup" if !is_true(text) => keys.set("stop_to", "main"),
            "stdout_events_enabled"
            | "stderr_events_enabled"
            | "stdout_syslog"
            | "stderr_syslog"
                if is_true(text) =>
            {
                keys.remark(
                    place,
                    &format!("{key}={text}"),
                    "read the log, or inherit the output",
                );
            }
            "stdout_capture_maxbytes" | "stderr_capture_maxbytes" if text != "0" => {
                keys.remark(place, &format!("{key}={text}"), "read the log");
            }
            "stdout_logfile_maxbytes" | "stderr_logfile_maxbytes" => {
                keys.set_in("log", "max_bytes", size(text));
            }
            "stdout_logfile_backups" | "stderr_logfile_backups" => {
                keys.set_in("log", "keep", seconds());
            }
            "stdout_logfile" | "stderr_logfile" if is_path(text) => {
                let stream = &key[..6];
                let instead = format!("it is logged in err_dir, as {}.{stream}.log", self.name);
                keys.remark(place, &format!("{key}={text}"), &instead);
            }
            _ => {}
        }
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
        } else if !is_true(&restart) {
            keys.set("restart", "never");
        }
        if !successes.is_empty() {
            keys.set("success_codes", successes);
        }
    }

    /// Where the two streams go. What is not said is logged.
    fn outputs(&self, keys: &mut Keys) {
        let stdout = output(self.value("stdout_logfile"));
        let stderr = output(self.value("stderr_logfile"));
        let is_one = self.value("redirect_stderr").is_some_and(is_true);
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

/// Returns the words of a command, which supervisord starts without a shell; a shell for its
/// variables.
fn command(value: &Expanded) -> Value {
    let line = value.text.replace('\n', " ");
    match words::split(&line) {
        Some(words) if !value.has_variables => words.into(),
        _ => vec!["sh".to_owned(), "-c".to_owned(), words::with_exec(&line)].into(),
    }
}
