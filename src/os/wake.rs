//! The pipe that ends a wait: signal handlers and other threads write to it, the turn reads it
//! empty. It carries wakefulness and nothing else; what happened stands in atomics, so that a
//! full pipe loses nothing. What was asked for before wakes nothing again.
//!
//! Both ends live as long as anybody may write: a pipe without a reader would answer with
//! SIGPIPE.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;

use super::identity::Identity;
use super::{descriptors, retry};
use crate::error::{Error, Result};

/// How often whoever is the first to ask tries to wake the turn, as the next ones do not.
pub(super) const WAKE_TRIES_MAX: u32 = 10;

/// What the host can ask for. The later one includes the other, and none is ever taken back.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Stop = 1,
    Kill = 2,
}

/// The pipe, with what the host asks for beside it. It is shared by everybody.
#[derive(Debug)]
pub(crate) struct Waker {
    read: OwnedFd,
    write: OwnedFd,
    /// The process that made it. A copy of that process, made by fork, may have closed the
    /// descriptor and opened another one under its number.
    owner: Identity,
    /// The most that was asked for, as [`Asked`], and how much of that was taken; 0 for nothing.
    asked: AtomicU8,
    taken: AtomicU8,
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
            asked: AtomicU8::new(0),
            taken: AtomicU8::new(0),
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

    /// Asks for a stop, or for one without any grace. To ask for what was asked for before
    /// changes nothing, and costs a look at an atomic. Async-signal-safe: atomics, getpid(2) and
    /// a `write(2)` that cannot block.
    pub(crate) fn ask(&self, wanted: Asked) {
        let wanted = wanted as u8;
        if self.asked.load(Ordering::SeqCst) >= wanted || !self.is_ours() {
            return;
        }
        let is_news = self.asked.fetch_max(wanted, Ordering::SeqCst) < wanted;
        // After the end there is no turn to wake.
        if is_news && !self.is_stopped() {
            self.wake();
        }
    }

    /// Returns what was asked for beyond what was taken before.
    pub(crate) fn take(&self) -> Option<Asked> {
        let asked = self.asked.load(Ordering::SeqCst);
        if self.taken.swap(asked, Ordering::SeqCst) == asked {
            return None;
        }
        [Asked::Stop, Asked::Kill]
            .into_iter()
            .find(|known| *known as u8 == asked)
    }

    /// Whether something was asked for that was not taken yet.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > self.taken.load(Ordering::SeqCst)
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
        self.asked.load(Ordering::SeqCst) > 0 || self.stopping.load(Ordering::SeqCst)
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
        let saved = Errno::last_raw();
        for _ in 0..WAKE_TRIES_MAX {
            if let Ok(_) | Err(Errno::EAGAIN) = nix::unistd::write(&self.write, &[0]) {
                break;
            }
        }
        Errno::set_raw(saved);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_asked_for_is_taken_once_and_wakes_once() {
        let waker = Waker::new().expect("a pipe");
        for wanted in [Asked::Stop, Asked::Kill] {
            waker.ask(wanted);
            waker.ask(Asked::Stop);
            assert!(waker.is_asked() && waker.clear());
            assert_eq!(waker.take(), Some(wanted));
            waker.ask(Asked::Stop);
            waker.ask(wanted);
            assert!(!waker.is_asked() && !waker.clear());
            assert_eq!(waker.take(), None);
        }
        assert!(waker.is_stopping());
    }

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
