//! Waiting for conditions, sending signals, and reading proc(5).
//!
//! A number is that of a process outside, or inside of a namespace where the supervisor is
//! PID 1: whoever reads the numbers of a namespace gets numbers of that namespace.

use std::collections::BTreeMap;
use std::fs;
use std::io::Read;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use super::namespace;

/// How long a condition may take before the test fails. Only a broken run needs it.
pub const PATIENCE: Duration = Duration::from_secs(60);

/// What most files of proc(5) have room in.
const CONTENT_BYTES: usize = 8 * 1024;

/// How often a condition is asked for.
const LOOK_INTERVAL: Duration = Duration::from_millis(2);

/// Waits until `ask` has an answer, at most [`PATIENCE`].
#[track_caller]
pub fn wait_until<T>(what: &str, mut ask: impl FnMut() -> Option<T>) -> T {
    let start = Instant::now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(
            start.elapsed() < PATIENCE,
            "waited {PATIENCE:?} in vain: {what}"
        );
        std::thread::sleep(LOOK_INTERVAL);
    }
}

/// Waits until `holds` does, at most [`PATIENCE`].
#[track_caller]
pub fn wait_for(what: &str, mut holds: impl FnMut() -> bool) {
    wait_until(what, || holds().then_some(()));
}

/// Sends a signal to one process that the test has started, itself or through a supervisor.
pub fn signal(pid: i32, signal: i32) {
    assert!(pid > 1, "a test must not signal {pid}");
    let Some(pid) = namespace::outer(pid) else {
        return; // It is gone.
    };
    // SAFETY: plain numbers; the target is one process.
    unsafe { libc::kill(pid, signal) };
}

/// What `/proc/<pid>/stat` says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Stat {
    pub state: char,
    pub ppid: i32,
    pub pgid: i32,
    pub sid: i32,
    /// User and system time so far, in ticks of 10 ms.
    pub ticks: u64,
    pub nice: i32,
}

impl Stat {
    fn is_alive(self) -> bool {
        !matches!(self.state, 'Z' | 'X')
    }
}

/// Where proc(5) tells about a process.
pub fn directory(pid: i32) -> PathBuf {
    let (proc, pid) = namespace::seen(pid);
    proc.join(pid.to_string())
}

/// The state of a process, unless it is gone.
pub fn stat(pid: i32) -> Option<Stat> {
    read_stat(&directory(pid))
}

/// A file of proc(5), which does not say how large it is, and where each read is work: into room
/// for all of it.
fn content(path: impl AsRef<Path>) -> std::io::Result<Vec<u8>> {
    let mut bytes = Vec::with_capacity(CONTENT_BYTES);
    fs::File::open(path)?.read_to_end(&mut bytes)?;
    Ok(bytes)
}

fn read_stat(directory: &Path) -> Option<Stat> {
    let text = content(directory.join("stat")).ok()?;
    let text = String::from_utf8_lossy(&text);
    // The command before the last parenthesis may have anything in it.
    let fields: Vec<&str> = text.rsplit_once(") ")?.1.split_whitespace().collect();
    let number = |index: usize| fields.get(index)?.parse::<i64>().ok();
    Some(Stat {
        state: fields.first()?.chars().next()?,
        ppid: number(1)? as i32,
        pgid: number(2)? as i32,
        sid: number(3)? as i32,
        ticks: (number(11)? + number(12)?) as u64,
        nice: number(16)? as i32,
    })
}

/// Whether the process runs, or could: it is there and no zombie.
pub fn alive(pid: i32) -> bool {
    stat(pid).is_some_and(Stat::is_alive)
}

/// Every process that an instance of proc(5) shows.
pub fn all(proc: impl AsRef<Path>) -> Vec<i32> {
    let entries = fs::read_dir(proc).expect("proc(5) is mounted");
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .collect()
}

/// Those that `pid` can see, and of which this holds.
fn neighbours(pid: i32, holds: impl Fn(Stat, i32) -> bool) -> Vec<i32> {
    let (proc, inner) = namespace::seen(pid);
    let fits = |other: &i32| {
        read_stat(&proc.join(other.to_string())).is_some_and(|stat| holds(stat, inner))
    };
    all(&proc).into_iter().filter(fits).collect()
}

/// The children of a process, zombies included.
pub fn children(pid: i32) -> Vec<i32> {
    neighbours(pid, |stat, parent| stat.ppid == parent)
}

/// The children of a process that are dead and not reaped.
pub fn zombies(pid: i32) -> Vec<i32> {
    neighbours(pid, |stat, parent| stat.ppid == parent && stat.state == 'Z')
}

/// The living members of a process group.
pub fn members(pgid: i32) -> Vec<i32> {
    neighbours(pgid, |stat, group| stat.pgid == group && stat.is_alive())
}

/// The living processes that have `mark` in their environment, by their numbers outside.
pub fn marked(mark: &str) -> Vec<i32> {
    let has_mark = |&pid: &i32| {
        content(format!("/proc/{pid}/environ")).is_ok_and(|environ| {
            environ
                .windows(mark.len())
                .any(|part| part == mark.as_bytes())
        })
    };
    all("/proc").into_iter().filter(has_mark).collect()
}

/// What each open descriptor of a process leads to.
pub fn descriptors(pid: i32) -> BTreeMap<i32, String> {
    let Ok(entries) = fs::read_dir(directory(pid).join("fd")) else {
        return BTreeMap::new();
    };
    let pair = |entry: std::io::Result<fs::DirEntry>| {
        let entry = entry.ok()?;
        let target = fs::read_link(entry.path()).ok()?;
        Some((
            entry.file_name().to_str()?.parse().ok()?,
            target.to_string_lossy().into_owned(),
        ))
    };
    entries.filter_map(pair).collect()
}

/// The same as a sorted list of kinds: which pipe or socket it is does not matter.
pub fn descriptor_kinds(pid: i32) -> Vec<String> {
    let kind = |target: String| match target.split_once(":[") {
        Some((kind, _)) => kind.to_owned(),
        None => target,
    };
    let mut kinds: Vec<String> = descriptors(pid).into_values().map(kind).collect();
    kinds.sort();
    kinds
}

/// A number of `/proc/<pid>/status`: `VmHWM` (in kB), `voluntary_ctxt_switches`, `TracerPid`
/// (a number outside).
pub fn status_number(pid: i32, key: &str) -> Option<u64> {
    let pid = namespace::outer(pid)?;
    let text = fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    let line = text
        .lines()
        .find_map(|line| line.strip_prefix(key)?.strip_prefix(':'))?;
    line.split_whitespace().next()?.parse().ok()
}

/// The fewest that a process had in a tenth of a second: what it keeps while it does nothing.
pub fn quiet_descriptor_kinds(pid: i32) -> Vec<String> {
    let sample = |_| {
        std::thread::sleep(LOOK_INTERVAL);
        descriptor_kinds(pid)
    };
    (0..50).map(sample).min_by_key(Vec::len).unwrap_or_default()
}
