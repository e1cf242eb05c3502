//! Our own children: who they are, what they carry, and a signal to each.
//!
//! A child that we have not reaped keeps its number, dead or alive, so that a number out of
//! [`of_this_process`] is safe to signal until the next reap.

use std::io;
use std::mem::MaybeUninit;
use std::path::PathBuf;

use nix::errno::Errno;

use super::group::{Sent, outcome};
use super::numbers::numbers_of;
use super::reap::{self, Seen};
use super::retry;
pub(crate) use super::stat::group_of;
use super::stat::{Life, is_our_proc, life_of, living_tasks, read, stat_fields};
use super::subreaper::is_pid_1;

/// How often a process that is about to become another program, or a zombie, is looked at again
/// at once: as a rule it takes a fraction of a millisecond, but it may have gigabytes to give back.
const LOOKS_MAX: u32 = 20;

/// The pids of all direct children of this process, zombies included; `None` where no `/proc`
/// of our own PID namespace can be read.
pub(crate) fn of_this_process() -> Option<Vec<i32>> {
    list().ok().flatten()
}

/// The same, with the reason for not knowing: `None` where there is no `/proc` of our own PID
/// namespace, an error where it cannot be read now (no descriptor to spare, no memory).
pub(crate) fn list() -> io::Result<Option<Vec<i32>>> {
    if !is_our_proc()? {
        return Ok(None);
    }
    match listed_by_kernel()? {
        None => found_by_parent().map(Some),
        listed => Ok(listed),
    }
}

/// The value of a variable in the environment that this process got when it was executed;
/// `None` if it has none, is dead, or may not be looked at. An error if it cannot be looked at
/// now: no descriptor to spare, no memory; or it is dying or being executed ([`is_not_yet`]).
///
/// Where its first thread has ended, another one is asked: the first has no memory any more.
pub(crate) fn variable(pid: i32, key: &str) -> io::Result<Option<Vec<u8>>> {
    let mut place = format!("/proc/{pid}");
    let mut is_settled = false;
    for _ in 0..LOOKS_MAX {
        let environ = read_of(&place, "environ")?;
        let value = value_in(&environ, key);
        if value.is_some() || is_settled {
            return Ok(value.map(<[u8]>::to_owned));
        }
        // It may have died in the midst of the read, which ends there.
        is_settled = match stage_of(&place)? {
            Stage::Settled => true,
            Stage::Between => false,
            Stage::Ended => match living_tasks(pid)?.first() {
                Some(task) => {
                    place = format!("/proc/{pid}/task/{task}");
                    false
                }
                None => true,
            },
        };
        // SAFETY: no arguments, nothing that can fail.
        unsafe { libc::sched_yield() };
    }
    Err(io::ErrorKind::WouldBlock.into())
}

/// Returns whether this child of ours is dead, and yet not to be reaped: another process traces
/// it, and gets its end first. SIGCHLD follows when that has taken it, which may be never.
pub(crate) fn is_withheld_zombie(pid: i32) -> bool {
    // In this order: one that dies between the two is found dead by the second.
    matches!(life_of(pid), Ok(Life::Zombie)) && reap::look(pid, None) == Seen::Alive
}

/// Whether this error of [`variable`] says that it will tell soon. The system's own EAGAIN does not.
pub(crate) fn is_not_yet(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock && error.raw_os_error().is_none()
}

/// Empty for a thread that has no memory any more, which newer kernels call ESRCH, that is gone,
/// or that may not be looked at.
fn read_of(place: &str, file: &str) -> io::Result<Vec<u8>> {
    match read(&format!("{place}/{file}")) {
        Err(error) if is_refused(&error) => Ok(Vec::new()),
        read => Ok(read?.unwrap_or_default()),
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// What a thread can tell of its environment.
enum Stage {
    /// It has the one that it is going to keep, or may not be looked at.
    Settled,
    /// In the midst of an exec the old environment is gone and the new one is not there yet: for
    /// the fraction of a millisecond that the kernel needs to read the new program's head. In the
    /// midst of an exit it is gone before the process's own children are sent home and it is a
    /// zombie. The end of the environment (proc_pid_stat(5), field 51) is 0 meanwhile.
    Between,
    Ended,
}

fn stage_of(place: &str) -> io::Result<Stage> {
    /// Counted from the state, which is field 3.
    const ENV_END: usize = 51 - 3;
    let stat = match read(&format!("{place}/stat")) {
        Err(error) if is_refused(&error) => return Ok(Stage::Settled),
        stat => stat?.unwrap_or_default(),
    };
    let Some(mut fields) = stat_fields(&stat) else {
        return Ok(Stage::Ended);
    };
    Ok(match fields.next() {
        Some("Z" | "X") | None => Stage::Ended,
        Some(_) if fields.nth(ENV_END - 1) == Some("0") => Stage::Between,
        Some(_) => Stage::Settled,
    })
}

/// How a child was halted or set going again.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Change {
    /// By this signal.
    Stopped(i32),
    Continued,
}

/// What became of this child since it was last asked for, death left out; only the latest
/// change is known.
pub(crate) fn change(pid: i32) -> Option<Change> {
    let id = libc::id_t::try_from(pid).ok()?;
    let options = libc::WSTOPPED | libc::WCONTINUED | libc::WNOHANG;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is to a live siginfo_t.
    let ask =
        || Errno::result(unsafe { libc::waitid(libc::P_PID, id, info.as_mut_ptr(), options) });
    retry(ask).ok()?;
    // SAFETY: it was zeroed, and waitid fills it or leaves it so.
    let info = unsafe { info.assume_init() };
    match info.si_code {
        // SAFETY: after waitid this field is the active one of the union.
        libc::CLD_STOPPED => Some(Change::Stopped(unsafe { info.si_status() })),
        libc::CLD_CONTINUED => Some(Change::Continued),
        _ => None,
    }
}

/// Sends a signal to this direct child, which nobody has reaped yet.
pub(crate) fn signal(pid: i32, signal: i32) -> Sent {
    if pid <= 1 {
        return Sent::Refused(Errno::EINVAL);
    }
    // SAFETY: kill takes two integers, and the number is that of a single process.
    outcome(unsafe { libc::kill(pid, signal) })
}

/// Sends a signal to every process but ourselves, as only PID 1 may: elsewhere this would be
/// everything that our user has.
pub(crate) fn signal_everybody(signal: i32) -> Sent {
    if !is_pid_1() {
        return Sent::Refused(Errno::EPERM);
    }
    // SAFETY: kill takes two integers; in our own PID namespace it reaches our descendants only.
    outcome(unsafe { libc::kill(-1, signal) })
}

/// By the list that the kernel keeps for each thread; `None` where it was built without
/// (CONFIG_PROC_CHILDREN). It is complete, as nobody reaps while it is read.
fn listed_by_kernel() -> io::Result<Option<Vec<i32>>> {
    let mut tasks = Vec::new();
    numbers_of(c"/proc/self/task", |task| tasks.push(task))?;
    let mut children = Vec::new();
    for task in &tasks {
        let task = PathBuf::from(format!("/proc/self/task/{task}"));
        let list = match std::fs::read(task.join("children")) {
            Ok(list) => list,
            Err(error) if error.kind() == io::ErrorKind::NotFound && task.exists() => {
                return Ok(None);
            }
            // A thread that has ended; what it had is another thread's now.
            Err(_) if matches!(task.try_exists(), Ok(false)) => continue,
            Err(error) => return Err(error),
        };
        let numbers = String::from_utf8_lossy(&list);
        let numbers = numbers.split_ascii_whitespace();
        children.extend(numbers.filter_map(|number| number.parse::<i32>().ok()));
    }
    is_there(!tasks.is_empty())?;
    Ok(Some(children))
}

/// By a look at every process in the system.
fn found_by_parent() -> io::Result<Vec<i32>> {
    let ours = std::process::id().to_string();
    let mut children = Vec::new();
    let mut are_we_there = false;
    let mut trouble = None;
    numbers_of(c"/proc", |pid| {
        // Processes end while they are looked at.
        let stat = match read_of(&format!("/proc/{pid}"), "stat") {
            Ok(stat) => stat,
            Err(error) => {
                trouble = Some(error);
                return;
            }
        };
        let parent = stat_fields(&stat).and_then(|mut fields| fields.nth(1));
        children.extend((parent == Some(&*ours)).then_some(pid));
        are_we_there |= u32::try_from(pid) == Ok(std::process::id());
    })?;
    is_there(are_we_there)?;
    trouble.map_or(Ok(children), Err)
}

/// A list in which we are not ourselves is none.
fn is_there(are_we: bool) -> io::Result<()> {
    are_we.then_some(()).ok_or(io::ErrorKind::NotFound.into())
}

/// `KEY=value`, each with a NUL at its end. What has none was cut off by our own limit.
fn value_in<'a>(environ: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let end = environ.iter().rposition(|&byte| byte == 0)?;
    let value = |variable: &'a [u8]| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"=");
    environ[..end].split(|&byte| byte == 0).find_map(value)
}

#[cfg(test)]
mod tests;
