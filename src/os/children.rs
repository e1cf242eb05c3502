//! Our own children: their pids, their environments, and signals to them.
//!
//! A child that was not reaped keeps its pid, dead or alive, so that a pid from
//! [`of_this_process`] is safe to signal until the next reap.

use std::fs::File;
use std::io::{self, Read};
use std::path::{Path, PathBuf};

use nix::errno::Errno;

use super::group::{Sent, send};
use super::numbers::numbers_of;
use super::reap::{self, Seen};
pub(crate) use super::stat::group_of;
use super::stat::{Life, is_our_proc, life_of, living_tasks, read, stat_fields};
use super::subreaper::is_pid_1;

/// What one read of a list of children returns at most: a page.
const LIST_BYTES: usize = 4096;

/// How often a process in the middle of an exec or exit is looked at again at once: usually that
/// takes a fraction of a millisecond, but there may be gigabytes to unmap.
const LOOKS_MAX: u32 = 20;

/// Returns the pids of all direct children of this process, zombies included; `None` if no `/proc`
/// of our own PID namespace can be read.
pub(crate) fn of_this_process() -> Option<Vec<i32>> {
    list().ok().flatten()
}

/// Returns the same; `None` if there is no `/proc` of our own PID namespace.
///
/// # Errors
///
/// It cannot be read now: no free descriptor, no memory.
pub(crate) fn list() -> io::Result<Option<Vec<i32>>> {
    if !is_our_proc()? {
        return Ok(None);
    }
    match listed_by_kernel()? {
        None => found_by_parent().map(Some),
        listed => Ok(listed),
    }
}

/// Returns the value of a variable in the environment that a process was executed with; `None` if
/// it has none, is dead, or may not be read. Where the first thread has ended, and so has no
/// memory any more, another one is read.
///
/// # Errors
///
/// It cannot be read now: no free descriptor, no memory; or it is in the middle of an exec or exit
/// ([`is_not_yet`]).
pub(crate) fn variable(pid: i32, key: &str) -> io::Result<Option<Vec<u8>>> {
    let mut place = format!("/proc/{pid}");
    let mut is_settled = false;
    for _ in 0..LOOKS_MAX {
        let environ = read_of(&place, "environ")?;
        let value = value_in(&environ, key);
        if value.is_some() || is_settled {
            return Ok(value.map(<[u8]>::to_owned));
        }
        // If it has died during the read, that was cut off.
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

/// True if this child of ours is dead and cannot be reaped yet: its tracer gets the status first.
/// SIGCHLD follows when it has done so, which may be never.
pub(crate) fn is_withheld_zombie(pid: i32) -> bool {
    // In this order: one that dies between the two is found dead by the second.
    matches!(life_of(pid), Ok(Life::Zombie)) && reap::look(pid, None) == Seen::Alive
}

/// True if this error of [`variable`] is temporary. The system's own EAGAIN is not meant.
pub(crate) fn is_not_yet(error: &io::Error) -> bool {
    error.kind() == io::ErrorKind::WouldBlock && error.raw_os_error().is_none()
}

/// Reads a file of a thread: nothing if that is gone, has no memory any more (ESRCH on newer
/// kernels), or may not be read.
fn read_of(place: &str, file: &str) -> io::Result<Vec<u8>> {
    match read(&format!("{place}/{file}")) {
        Err(error) if is_refused(&error) => Ok(Vec::new()),
        read => Ok(read?.unwrap_or_default()),
    }
}

fn is_refused(error: &io::Error) -> bool {
    matches!(error.raw_os_error(), Some(libc::EACCES | libc::EPERM))
}

/// The state of a thread's environment.
enum Stage {
    /// It has its final one, or may not be read.
    Settled,
    /// In the middle of an exec the old environment is gone and the new one is not there yet. In
    /// the middle of an exit it is gone before the children are reparented and the process is a
    /// zombie. env_end (proc_pid_stat(5), field 51) is 0 meanwhile.
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

/// A stop or a continue of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum StateChange {
    /// By this signal.
    Stopped(i32),
    Continued,
}

/// Returns the latest stop or continue of this child since the last call.
pub(crate) fn change(pid: i32) -> Option<StateChange> {
    let id = libc::id_t::try_from(pid).ok()?;
    match reap::wait_for(libc::P_PID, id, libc::WSTOPPED | libc::WCONTINUED) {
        Ok(Some((_, libc::CLD_STOPPED, signal))) => Some(StateChange::Stopped(signal)),
        Ok(Some((_, libc::CLD_CONTINUED, _))) => Some(StateChange::Continued),
        _ => None,
    }
}

/// Sends a signal to this direct child, which must not have been reaped.
pub(crate) fn signal(pid: i32, signal: i32) -> Sent {
    if pid <= 1 {
        return Sent::Refused(Errno::EINVAL);
    }
    send(pid, signal)
}

/// Sends a signal to every other process. Only PID 1 may, whose descendants they are: elsewhere it
/// would reach all processes of our user.
pub(crate) fn signal_all(signal: i32) -> Sent {
    if !is_pid_1() {
        return Sent::Refused(Errno::EPERM);
    }
    send(-1, signal)
}

/// Reads the kernel's list of each thread; `None` if it was built without (CONFIG_PROC_CHILDREN).
/// The list is complete, as nothing is reaped while it is read.
fn listed_by_kernel() -> io::Result<Option<Vec<i32>>> {
    let mut tasks = Vec::new();
    numbers_of(c"/proc/self/task", |task| tasks.push(task))?;
    let mut children = Vec::new();
    for task in &tasks {
        let task = PathBuf::from(format!("/proc/self/task/{task}"));
        match read_list(&task.join("children"), &mut children) {
            Ok(()) => {}
            Err(error) if error.kind() == io::ErrorKind::NotFound && task.exists() => {
                return Ok(None);
            }
            // The thread has ended, and another one has its children.
            Err(_) if matches!(task.try_exists(), Ok(false)) => continue,
            Err(error) => return Err(error),
        }
    }
    is_there(!tasks.is_empty())?;
    Ok(Some(children))
}

/// Reads the numbers in a list of the kernel. For each read it walks from the first child to where
/// the last read ended, and returns [`LIST_BYTES`] at most: smaller reads would be more walks.
fn read_list(path: &Path, numbers: &mut Vec<i32>) -> io::Result<()> {
    let mut file = File::open(path)?;
    let mut buffer = [0_u8; LIST_BYTES];
    let mut number = None;
    loop {
        let bytes = match file.read(&mut buffer) {
            Ok(bytes) => &buffer[..bytes],
            Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
            Err(error) => return Err(error),
        };
        for byte in bytes {
            match byte {
                b'0'..=b'9' => {
                    let before: i32 = number.unwrap_or_default();
                    number = Some(before.wrapping_mul(10).wrapping_add(i32::from(byte - b'0')));
                }
                _ => numbers.extend(number.take()),
            }
        }
        if bytes.is_empty() {
            numbers.extend(number);
            return Ok(());
        }
    }
}

/// Looks at every process in the system.
fn found_by_parent() -> io::Result<Vec<i32>> {
    let ours = std::process::id().to_string();
    let mut children = Vec::new();
    let mut are_we_there = false;
    let mut trouble = None;
    numbers_of(c"/proc", |pid| {
        // It may have ended by now.
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

/// Fails for a list without ourselves, which cannot be complete.
fn is_there(are_we: bool) -> io::Result<()> {
    are_we.then_some(()).ok_or(io::ErrorKind::NotFound.into())
}

/// Finds a variable among `KEY=value`, each with a NUL at its end. One without is cut off.
fn value_in<'a>(environ: &'a [u8], key: &str) -> Option<&'a [u8]> {
    let end = environ.iter().rposition(|&byte| byte == 0)?;
    let value = |variable: &'a [u8]| variable.strip_prefix(key.as_bytes())?.strip_prefix(b"=");
    environ[..end].split(|&byte| byte == 0).find_map(value)
}

#[cfg(test)]
mod tests;
