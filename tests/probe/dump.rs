//! Everything that a process is given, as JSON.

use std::ffi::OsString;

use serde_json::{Map, Value, json};

use crate::{broken, output, proc, process};

/// Writes what this process was given to a file, which appears whole.
pub fn dump(file: &str, arguments: &[OsString]) {
    // SAFETY: plain numbers, and nothing that can fail.
    let (ppid, pgid, sid) = unsafe { (libc::getppid(), libc::getpgid(0), libc::getsid(0)) };
    let cwd = std::env::current_dir().unwrap_or_else(|_| broken("getcwd"));
    let mut given = json!({
        "argv": arguments.iter().map(|argument| argument.to_string_lossy()).collect::<Vec<_>>(),
        "cwd": cwd.to_string_lossy(),
        "pid": process::pid(),
        "ppid": ppid,
        "pgid": pgid,
        "sid": sid,
        "env": environment(),
        // SAFETY: plain numbers; the call only asks.
        "nice": unsafe { libc::getpriority(libc::PRIO_PROCESS, 0) },
    });
    proc::visit(|| {
        let (descriptors, flags) = descriptors();
        given["executable"] = link("self/exe").into();
        given["fds"] = descriptors.into();
        given["flags"] = flags.into();
        given["status"] = status().into();
        given["limits"] = read("self/limits").into();
        given["oom_score_adj"] = read("self/oom_score_adj").trim().into();
    });
    output::replace(file, given.to_string().as_bytes());
}

fn read(file: &str) -> String {
    std::fs::read_to_string(file).unwrap_or_else(|_| broken(file))
}

fn link(path: &str) -> String {
    std::fs::read_link(path)
        .unwrap_or_else(|_| broken(path))
        .to_string_lossy()
        .into_owned()
}

/// What each open descriptor is, and its file status flags, by number.
fn descriptors() -> (Map<String, Value>, Map<String, Value>) {
    let mut targets = Map::new();
    let mut flags = Map::new();
    let entries = std::fs::read_dir("self/fd").unwrap_or_else(|_| broken("self/fd"));
    let numbers: Vec<i32> = entries
        .filter_map(Result::ok)
        .filter_map(|entry| entry.file_name().to_str()?.parse().ok())
        .collect();
    for number in numbers {
        // SAFETY: F_GETFL takes no argument, and any number for a descriptor.
        let found = unsafe { libc::fcntl(number, libc::F_GETFL) };
        // The directory's own descriptor is closed by now.
        if found == -1 {
            continue;
        }
        let target = link(&format!("self/fd/{number}"));
        targets.insert(number.to_string(), target.into());
        flags.insert(number.to_string(), found.into());
    }
    (targets, flags)
}

/// Its status, line by line.
fn status() -> Map<String, Value> {
    let lines = read("self/status");
    let pairs = lines.lines().filter_map(|line| line.split_once(':'));
    pairs
        .map(|(key, value)| (key.to_owned(), value.trim().into()))
        .collect()
}

fn environment() -> Map<String, Value> {
    let lossy = |text: OsString| text.to_string_lossy().into_owned();
    std::env::vars_os()
        .map(|(key, value)| (lossy(key), lossy(value).into()))
        .collect()
}
