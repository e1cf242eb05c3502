//! Who died, then the reap, in two steps: while a zombie is looked at and not yet reaped, its
//! number belongs to nobody else, and its group can be signalled without hitting a stranger.
//!
//! libc is called directly, because nix's `waitpid` reaps a child that a real-time signal
//! killed and then reports an error without its pid.

use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::os::unix::process::ExitStatusExt;
use std::process::ExitStatus;

use nix::errno::Errno;

use crate::machine::Exit;

use super::retry;

/// A child that is dead and not yet reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Death {
    pub(crate) pid: i32,
    pub(crate) exit: Exit,
}

/// What a look at one child finds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Seen {
    Alive,
    /// It is a zombie still.
    Dead(Exit),
    /// It is no child of ours any more: somebody else has reaped it, and has its status.
    Stolen,
}

/// A dead child, whichever, if there is one; it stays a zombie.
pub(crate) fn peek() -> nix::Result<Option<Death>> {
    match look_for(libc::P_ALL, 0) {
        Err(Errno::ECHILD) => Ok(None),
        found => found,
    }
}

/// Whether there is any child at all, dead or alive.
pub(crate) fn has_children() -> bool {
    look_for(libc::P_ALL, 0) != Err(Errno::ECHILD)
}

/// How it is with one child; by its pidfd, if there is one, since the number of a child that
/// somebody else has reaped may be another child's by now.
pub(crate) fn look(pid: i32, pidfd: Option<BorrowedFd<'_>>) -> Seen {
    let number = |number: i32| libc::id_t::try_from(number).unwrap_or_default();
    let by_pidfd = pidfd.map(|fd| look_for(libc::P_PIDFD, number(fd.as_raw_fd())));
    let seen = match by_pidfd {
        Some(seen @ (Ok(_) | Err(Errno::ECHILD))) => seen,
        // Linux 5.3 has pidfds, and 5.4 waits by them, unless a sandbox refuses that.
        None | Some(Err(_)) => look_for(libc::P_PID, number(pid)),
    };
    match seen {
        Ok(Some(death)) => Seen::Dead(death.exit),
        Err(Errno::ECHILD) => Seen::Stolen,
        Ok(None) | Err(_) => Seen::Alive,
    }
}

fn look_for(kind: libc::idtype_t, id: libc::id_t) -> nix::Result<Option<Death>> {
    let options = libc::WEXITED | libc::WNOHANG | libc::WNOWAIT;
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: the pointer is to a live siginfo_t.
    let look = || Errno::result(unsafe { libc::waitid(kind, id, info.as_mut_ptr(), options) });
    retry(look)?;
    // SAFETY: it was zeroed, and waitid fills it or leaves it so.
    let info = unsafe { info.assume_init() };
    // SAFETY: after waitid these two fields are the active ones of the union.
    let (pid, value) = unsafe { (info.si_pid(), info.si_status()) };
    Ok((pid > 0).then(|| Death {
        pid,
        exit: decode(info.si_code, value),
    }))
}

/// Reaps this child, if it is dead and still ours to reap.
pub(crate) fn reap(pid: i32) -> Option<ExitStatus> {
    assert!(
        pid > 1,
        "only a child by its number is ever waited for, not {pid}"
    );
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let wait = || Errno::result(unsafe { libc::waitpid(pid, &raw mut status, libc::WNOHANG) });
    (retry(wait) == Ok(pid)).then(|| ExitStatus::from_raw(status))
}

/// What `si_code` and `si_status` say. Exits that are no exits (stopped, continued) were not
/// asked for.
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

    /// "exit 143" and "killed by SIGTERM" are two things, and a core dump is a third.
    #[test]
    fn museum_44_45_46_every_status_is_decoded_for_what_it_is() {
        for code in 0..=255 {
            assert_eq!(decode(libc::CLD_EXITED, code), Exit::Code(code));
        }
        for signal in 1..=64 {
            for (si_code, core_dumped) in [(libc::CLD_KILLED, false), (libc::CLD_DUMPED, true)] {
                assert_eq!(
                    decode(si_code, signal),
                    Exit::Signal {
                        signal,
                        core_dumped
                    }
                );
            }
        }
        assert_eq!(decode(libc::CLD_STOPPED, libc::SIGSTOP), Exit::Unknown);
        // And of every word that wait(2) can give, as the C library's macros read it.
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
        for code in [i32::MIN, -1, 0, 7, i32::MAX] {
            assert_eq!(decode(code, code), Exit::Unknown, "{code}");
        }
    }
}
