//! Looking for dead children, and reaping them, in two steps: before the reap the pid is still the
//! child's, and its process group can be signalled without hitting another.
//!
//! libc is called directly, as nix's `waitpid` reaps a child that a real-time signal has killed,
//! and then returns an error without its pid.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;

use crate::machine::Exit;

use super::retry;

/// A zombie.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) pid: i32,
    pub(crate) exit: Exit,
}

/// The state of one child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Alive,
    /// It is a zombie.
    Dead(Exit),
    /// It is no longer our child: other code has reaped it, and has its status.
    Stolen,
}

/// Returns any dead child, if there is one; it stays a zombie.
pub(crate) fn peek() -> nix::Result<Option<Death>> {
    match look_for(libc::P_ALL, 0) {
        Err(Errno::ECHILD) => Ok(None),
        found => found,
    }
}

/// True if there is any child, dead or alive.
pub(crate) fn has_children() -> bool {
    look_for(libc::P_ALL, 0) != Err(Errno::ECHILD)
}

/// Returns the state of one child; by its pidfd, if there is one, as the pid of a child that other
/// code has reaped may be another child's by now.
pub(crate) fn look(pid: i32, pidfd: Option<BorrowedFd<'_>>) -> Seen {
    let number = |number: i32| libc::id_t::try_from(number).unwrap_or_default();
    let by_pidfd = pidfd.map(|fd| look_for(libc::P_PIDFD, number(fd.as_raw_fd())));
    let seen = match by_pidfd {
        Some(seen @ (Ok(_) | Err(Errno::ECHILD))) => seen,
        // Waiting by pidfd needs Linux 5.4, and a sandbox may refuse it.
        None | Some(Err(_)) => look_for(libc::P_PID, number(pid)),
    };
    match seen {
        Ok(Some(death)) => Seen::Dead(death.exit),
        Err(Errno::ECHILD) => Seen::Stolen,
        Ok(None) | Err(_) => Seen::Alive,
    }
}

fn look_for(kind: libc::idtype_t, id: libc::id_t) -> nix::Result<Option<Death>> {
    let waited = wait_for(kind, id, libc::WEXITED | libc::WNOWAIT)?;
    Ok(waited.map(|(pid, code, value)| Death {
        pid,
        exit: decode(code, value),
    }))
}

/// Returns the pid, si_code and si_status of a child that has changed state, if there is one
/// (waitid(2)).
pub(super) fn wait_for(
    kind: libc::idtype_t,
    id: libc::id_t,
    options: i32,
) -> nix::Result<Option<(i32, i32, i32)>> {
    let options = options | libc::WNOHANG;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is to a live siginfo_t.
    let wait = || Errno::result(unsafe { libc::waitid(kind, id, info.as_mut_ptr(), options) });
    retry(wait)?;
    // SAFETY: it was zeroed, and waitid fills it or leaves it so. Then these two fields are the
    // active ones of the union.
    let (info, pid, status) = unsafe {
        let info = info.assume_init();
        (info, info.si_pid(), info.si_status())
    };
    Ok((pid > 0).then_some((pid, info.si_code, status)))
}

/// Reaps this child, if it is dead and still ours.
pub(crate) fn reap(pid: i32) -> Option<ExitStatus> {
    assert!(pid > 1, "only a single child is ever waited for, not {pid}");
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let wait = || Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) });
    (retry(wait) == Ok(pid)).then(|| ExitStatus::from_raw(status))
}

/// Decodes si_code and si_status.
fn decode(code: i32, value: i32) -> Exit {
    match code {
        libc::CLD_EXITED => Exit::Code(value & 0xff),
        libc::CLD_KILLED => Exit::Signal {
            signal: value,
            core_dumped: false,
        },
        libc::CLD_DUMPED => Exit::Signal {
            signal: value,
            core_dumped: true,
        },
        _ => Exit::Unknown,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// "exit 143", "killed by SIGTERM" and a core dump are three different ends.
    #[test]
    fn museum_44_45_46_every_status_is_decoded_for_what_it_is() {
        // For every status word of wait(2), as read by the C library's macros.
        for word in 0..=0xffff {
            let found = if libc::WIFEXITED(word) {
                decode(libc::CLD_EXITED, libc::WEXITSTATUS(word))
            } else if libc::WIFSIGNALED(word) {
                let dumped = libc::WCOREDUMP(word);
                let code = if dumped {
                    libc::CLD_DUMPED
                } else {
                    libc::CLD_KILLED
                };
                decode(code, libc::WTERMSIG(word))
            } else {
                decode(libc::CLD_CONTINUED, word)
            };
            let status = ExitStatus::from_raw(word);
            let expected = match (status.code(), status.signal()) {
                (Some(code), _) => Exit::Code(code),
                (None, Some(signal)) => Exit::Signal {
                    signal,
                    core_dumped: status.core_dumped(),
                },
                (None, None) => Exit::Unknown,
            };
            assert_eq!(found, expected, "{word:#x}");
        }
        for code in [i32::MIN, -1, 0, libc::CLD_STOPPED, 7, i32::MAX] {
            assert_eq!(decode(code, code), Exit::Unknown, "{code}");
        }
    }
}
