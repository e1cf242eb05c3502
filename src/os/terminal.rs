//! The controlling terminal, and job control on it (credentials(7), tty_ioctl(2)).
//!
//! SIGTTOU must be blocked or ignored: otherwise it stops a background process that changes the
//! foreground group.

use std::fs::OpenOptions;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::OpenOptionsExt;

use nix::unistd::{getpgid, getpgrp, getppid, getsid};

use super::descriptors::duplicate;
use super::group::{Sent, send};
use super::subreaper::is_pid_1;

/// The controlling terminal, on our own descriptor.
#[derive(Debug)]
pub(crate) struct Terminal(OwnedFd);

impl Terminal {
    /// Returns it if this session has one that is a standard stream or can be opened as `/dev/tty`.
    pub(crate) fn of_this_session() -> Option<Self> {
        let (stdin, stdout, stderr) = (std::io::stdin(), std::io::stdout(), std::io::stderr());
        let streams = [stdin.as_fd(), stdout.as_fd(), stderr.as_fd()];
        if let Some(stream) = streams.iter().find(|fd| foreground(**fd).is_some()) {
            return duplicate(*stream).ok().map(Self);
        }
        let mut by_path = OpenOptions::new();
        by_path.read(true).custom_flags(libc::O_NOCTTY);
        let file = by_path.open("/dev/tty").ok()?;
        duplicate(file.as_fd()).ok().map(Self)
    }

    /// Returns the foreground group, if there is one. It is 0 in another PID namespace, like our own
    /// group if we are a PID 1 in the session of the parent.
    pub(crate) fn foreground(&self) -> Option<i32> {
        foreground(self.0.as_fd())
    }

    /// True if our own group is in the foreground.
    pub(crate) fn is_ours(&self) -> bool {
        self.foreground() == Some(own_group())
    }

    /// True if the foreground group no longer exists.
    pub(crate) fn is_abandoned(&self) -> bool {
        let is_gone = |group: i32| group > 1 && send(-group, 0) == Sent::Gone;
        self.foreground().is_some_and(is_gone)
    }

    /// Puts a group of this session into the foreground. Returns false if there is no such group, or
    /// the terminal is gone.
    pub(crate) fn give_to(&self, group: i32) -> bool {
        move_foreground(self.0.as_raw_fd(), group) == 0
    }

    pub(crate) fn take_back(&self) -> bool {
        self.give_to(own_group())
    }
}

impl AsFd for Terminal {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// Our parent's part in job control.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Above {
    /// In our session and another group: like a shell, it would continue us after a stop.
    Shell,
    /// In our own group: we are a part of its job.
    Script,
    /// In another session, or there is none.
    OtherSession,
}

/// Returns what is above us in job control.
pub(crate) fn above() -> Above {
    let parent = Some(getppid());
    if is_pid_1() || getsid(None) != getsid(parent) {
        Above::OtherSession
    } else if getpgid(None) == getpgid(parent) {
        Above::Script
    } else {
        Above::Shell
    }
}

/// True if our stdin is the controlling terminal.
pub(crate) fn is_stdin() -> bool {
    foreground(std::io::stdin().as_fd()).is_some()
}

/// Returns the number of columns of a terminal; `None` if it is none, or does not know.
///
/// ```
/// let file = std::fs::File::open("/dev/null").expect("a device");
/// assert_eq!(procsched::terminal_columns(file), None);
/// ```
#[doc(hidden)]
pub fn terminal_columns(terminal: impl AsFd) -> Option<usize> {
    let mut size = libc::winsize {
        ws_row: 0,
        ws_col: 0,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let fd = terminal.as_fd().as_raw_fd();
    // SAFETY: the pointer is to a live structure of the type that the request fills.
    let asked = unsafe { libc::ioctl(fd, libc::TIOCGWINSZ as _, &raw mut size) };
    (asked == 0 && size.ws_col > 0).then_some(size.ws_col.into())
}

fn own_group() -> i32 {
    getpgrp().as_raw()
}

fn foreground(fd: BorrowedFd<'_>) -> Option<i32> {
    // SAFETY: tcgetpgrp takes an open descriptor.
    let group = unsafe { libc::tcgetpgrp(fd.as_raw_fd()) };
    (group >= 0).then_some(group)
}

/// Makes one system call, so that a child can use it before its exec.
pub(super) fn move_foreground(fd: i32, group: i32) -> i32 {
    // SAFETY: the pointer is to a live integer.
    unsafe { libc::ioctl(fd, libc::TIOCSPGRP as _, &raw const group) }
}
