//! The pipe that ends a wait: signal handlers and other threads write to it, the turn reads it
//! empty. It carries wakefulness and nothing else; what happened stands in atomic flags, so
//! that a full pipe loses nothing.
//!
//! Both ends live as long as anybody may write: a pipe without a reader would answer with
//! SIGPIPE.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;

use super::identity::Identity;
use super::{descriptors, retry};
use crate::error::{Error, Result};

/// How often a handler tries to wake the turn: nobody else would.
pub(super) const WAKE_TRIES_MAX: u32 = 10;

/// The pipe, with the wishes of the host beside it. It is shared by everybody.
#[derive(Debug)]
pub(crate) struct Waker {
    read: OwnedFd,
    write: OwnedFd,
    /// The process that made it. A copy of that process, made by fork, may have closed the
    /// descriptor and opened another one under its number.
    owner: Identity,
    stop: AtomicBool,
    kill: AtomicBool,
    /// What the scheduler lets others know of itself.
    stopping: AtomicBool,
    stopped: AtomicBool,
}

/// The end that becomes readable.
impl AsFd for Waker {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.read.as_fd()
    }
}

impl Waker {
    /// Makes the pipe.
    pub(crate) fn new() -> Result<Self> {
        let (read, write) = descriptors::wake_pipe().map_err(|errno| {
            Error::os("failed to make the pipe that wakes the loop", errno as i32)
        })?;
        Ok(Self {
            read,
            write,
            owner: Identity::establish(),
            stop: AtomicBool::new(false),
            kill: AtomicBool::new(false),
            stopping: AtomicBool::new(false),
            stopped: AtomicBool::new(false),
        })
    }

    /// Reads the pipe empty, and says whether there was anything in it. What it stood for must be
    /// looked at after this, not before.
    pub(crate) fn clear(&self) -> bool {
        let mut sink = [0; 64];
        let mut was_woken = false;
        while let Ok(count) = retry(|| nix::unistd::read(&self.read, &mut sink)) {
            was_woken = true;
            if count < sink.len() {
                break;
            }
        }
        was_woken
    }

    /// Asks for a stop. Async-signal-safe: an atomic store and a `write(2)` that cannot block.
    pub(crate) fn stop(&self) {
        self.stop.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Asks for a stop without any grace. Async-signal-safe as well.
    pub(crate) fn kill(&self) {
        self.kill.store(true, Ordering::SeqCst);
        self.wake();
    }

    /// Whether a stop was asked for since the last look, and whether a kill was. From then on it
    /// is stopping.
    pub(crate) fn take(&self) -> (bool, bool) {
        if self.is_asked() {
            self.stopping.store(true, Ordering::SeqCst);
        }
        (
            self.stop.swap(false, Ordering::SeqCst),
            self.kill.swap(false, Ordering::SeqCst),
        )
    }

    /// Whether a stop or a kill was asked for and not taken yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.stop.load(Ordering::SeqCst) || self.kill.load(Ordering::SeqCst)
    }

    /// Whether this is the process that made it, and no copy of that.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == Identity::current()
    }

    /// The number of the process that made it.
    pub(crate) fn owner(&self) -> u32 {
        self.owner.pid()
    }

    /// Lets others know how far the scheduler is: neither is ever taken back.
    pub(crate) fn publish(&self, stopping: bool, stopped: bool) {
        self.stopping.fetch_or(stopping, Ordering::SeqCst);
        self.stopped.fetch_or(stopped, Ordering::SeqCst);
    }

    /// Whether a stop was asked for, or has begun for another reason.
    pub(crate) fn is_stopping(&self) -> bool {
        self.is_asked() || self.stopping.load(Ordering::SeqCst)
    }

    /// Whether nothing happens any more.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// The descriptor for the signal handlers.
    pub(crate) fn raw(&self) -> i32 {
        self.write.as_raw_fd()
    }

    /// A full pipe is awake enough.
    fn wake(&self) {
        if !self.is_ours() {
            return;
        }
        let saved = Errno::last_raw();
        let _ = nix::unistd::write(&self.write, &[0]);
        Errno::set_raw(saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wakes_of_every_number_are_cleared_and_counted_as_such() {
        let waker = Waker::new().expect("a pipe");
        for wakes in [1, 63, 64, 65, 128] {
            assert!(!waker.clear(), "nothing before {wakes}");
            for _ in 0..wakes {
                waker.wake();
            }
            assert!(waker.clear(), "{wakes}");
        }
    }
}
