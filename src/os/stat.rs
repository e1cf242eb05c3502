//! The state of any process in the system, by `/proc`, and the process groups that have only
//! zombies.
//!
//! The state of a process in `/proc` is that of its first thread, which may end long before the
//! others (pthread_exit(3) in `main`): `Z` alone does not mean that the process is dead.

use std::collections::BTreeSet;
use std::ffi::CString;
use std::io::{self, Read};

use nix::unistd::{Pid, getpgid};

use super::numbers::numbers_of;
use super::reap::{self, Seen};

/// How much of a file is read: the longest is a process's environment.
const FILE_BYTES_MAX: u64 = 256 * 1024;

/// The number of threads (proc_pid_stat(5), field 20), counted from the state, which is field 3.
const THREADS: usize = 20 - 3;

/// The state of a process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Life {
    /// It has a thread that has not ended.
    Alive,
    /// All its threads have ended, and it was not reaped yet.
    Zombie,
    Gone,
}

/// Returns those of these groups whose members are all zombies; `None` if `/proc` cannot be read.
///
/// Zombies that another process does not reap keep the group's number, but nothing of a program is
/// left in them. A group without any member in `/proc` is not returned, and neither is one with a
/// member whose state cannot be read. With `reaps_all` neither is one with a zombie that this process
/// can reap: it does so soon, and a group that counted as gone before would make it a stranger.
pub(crate) fn zombies_only(groups: &BTreeSet<i32>, reaps_all: bool) -> Option<BTreeSet<i32>> {
    let first = zombies_only_at_once(groups, reaps_all)?;
    if first.is_empty() {
        return Some(first);
    }
    // A member may fork and end between two entries of the list, and its child may have a pid that
    // was passed already.
    zombies_only_at_once(&first, reaps_all)
}

fn zombies_only_at_once(groups: &BTreeSet<i32>, reaps_all: bool) -> Option<BTreeSet<i32>> {
    // A sandbox may refuse the call. Our own group is 0 if it is of another namespace.
    if getpgid(None).is_err() || !matches!(is_our_proc(), Ok(true)) {
        return None;
    }
    let (mut dead, mut living) = (BTreeSet::new(), BTreeSet::new());
    let look = |pid| {
        // A call costs far less than a file.
        let Some(group) = group_of(pid).filter(|group| groups.contains(group)) else {
            return;
        };
        match life_of(pid) {
            Ok(Life::Gone) => {}
            Ok(Life::Zombie) if reaps_all && is_reapable(pid) => _ = living.insert(group),
            Ok(Life::Zombie) => _ = dead.insert(group),
            Ok(Life::Alive) | Err(_) => _ = living.insert(group),
        }
    };
    numbers_of(c"/proc", look).ok()?;
    Some(&dead - &living)
}

/// True if this is a dead child of ours that no tracer withholds.
fn is_reapable(pid: i32) -> bool {
    matches!(reap::look(pid, None), Seen::Dead(_))
}

/// Returns the process group of a process, dead or alive.
pub(crate) fn group_of(pid: i32) -> Option<i32> {
    let group = getpgid(Some(Pid::from_raw(pid))).ok()?.as_raw();
    (group > 0).then_some(group)
}

/// True if `/proc` is that of our own PID namespace: in another's, our pids are other processes'.
pub(super) fn is_our_proc() -> io::Result<bool> {
    let ours = std::process::id().to_string();
    match std::fs::read_link("/proc/self") {
        Ok(target) => Ok(target.as_os_str() == ours.as_str()),
        Err(error) if error.kind() == io::ErrorKind::NotFound => Ok(false),
        Err(error) => Err(error),
    }
}

/// Returns the state of a process. It is dead when its last thread is.
pub(super) fn life_of(pid: i32) -> io::Result<Life> {
    let Some(stat) = read(&format!("/proc/{pid}/stat"))? else {
        return Ok(Life::Gone);
    };
    if !is_ended(&stat) {
        return Ok(Life::Alive);
    }
    let tasks = stat_fields(&stat).and_then(|mut fields| fields.nth(THREADS)?.parse().ok());
    if tasks.is_some_and(|tasks: u32| tasks <= 1) {
        return Ok(Life::Zombie);
    }
    Ok(match living_tasks(pid)?[..] {
        [] => Life::Zombie,
        [..] => Life::Alive,
    })
}

/// Returns the threads of a process that have not ended, by their numbers in `/proc/PID/task`.
pub(super) fn living_tasks(pid: i32) -> io::Result<Vec<i32>> {
    let directory = format!("/proc/{pid}/task");
    let mut tasks = Vec::new();
    let path = CString::new(&*directory)?;
    match numbers_of(&path, |task| tasks.push(task)) {
        Err(errno) if !is_gone(errno as i32) => return Err(errno.into()),
        // All of them may be reaped meanwhile.
        Err(_) | Ok(()) => {}
    }
    let mut living = Vec::new();
    for task in tasks {
        let stat = read(&format!("{directory}/{task}/stat"))?;
        living.extend(stat.is_some_and(|stat| !is_ended(&stat)).then_some(task));
    }
    Ok(living)
}

/// Reads the beginning of a file of a process or a thread; `None` if that is gone.
pub(super) fn read(path: &str) -> io::Result<Option<Vec<u8>>> {
    let mut bytes = Vec::new();
    let file = std::fs::File::open(path);
    match file.and_then(|file| file.take(FILE_BYTES_MAX).read_to_end(&mut bytes)) {
        Ok(_) => Ok(Some(bytes)),
        Err(error) if error.raw_os_error().is_some_and(is_gone) => Ok(None),
        Err(error) => Err(error),
    }
}

fn is_gone(errno: i32) -> bool {
    matches!(errno, libc::ESRCH | libc::ENOENT)
}

/// True if this line of `/proc/PID/stat` is that of a thread that has ended.
fn is_ended(stat: &[u8]) -> bool {
    let state = stat_fields(stat).and_then(|mut fields| fields.next()?.bytes().next());
    matches!(state, Some(b'Z' | b'X' | b'x'))
}

/// Returns the fields of `/proc/PID/stat` from the state on. The name before it may contain
/// anything, so they count from the last parenthesis.
pub(super) fn stat_fields(stat: &[u8]) -> Option<impl Iterator<Item = &str>> {
    let end = stat.iter().rposition(|&byte| byte == b')')?;
    let rest = std::str::from_utf8(stat.get(end + 2..)?).ok()?;
    Some(rest.split_ascii_whitespace())
}

#[cfg(test)]
mod tests;
