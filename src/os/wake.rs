//! The pipe that ends a wait: signal handlers and other threads write to it, and the turn empties
//! it. It only wakes; what happened is in atomics, so that a full pipe loses nothing.
//!
//! Both ends stay open while anything may write: a pipe without a reader raises SIGPIPE.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, AtomicU8, Ordering};

use nix::errno::Errno;

use super::identity::Identity;
use super::{descriptors, retry};
use crate::error::{Error, Result};

/// How often a write that wakes the turn is tried: requests that follow do not write again.
const WAKE_TRIES_MAX: u32 = 10;

/// What the host can request. The second includes the first, and neither is ever withdrawn.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Asked {
    Stop = 1,
    Kill = 2,
}

/// The pipe, and the requests of the host.
#[derive(Debug)]
pub(crate) struct Waker {
    read: OwnedFd,
    write: OwnedFd,
    /// The process that made it. A forked copy may have closed the descriptor and opened another
    /// one with its number.
    owner: Identity,
    /// The highest request as [`Asked`], and the highest that was taken; 0 for none.
    asked: AtomicU8,
    taken: AtomicU8,
    /// The state of the scheduler, for other threads.
    stopping: AtomicBool,
    stopped: AtomicBool,
}

/// Borrows the end that becomes readable.
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

    /// Empties the pipe, and returns whether there was anything in it. The atomics must be read
    /// after this, not before.
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

    /// Requests a stop or a kill. To repeat a request costs one atomic load. Async-signal-safe:
    /// atomics, getpid(2) and a write(2) that cannot block.
    pub(crate) fn ask(&self, wanted: Asked) {
        let wanted = wanted as u8;
        if self.asked.load(Ordering::SeqCst) >= wanted || !self.is_ours() {
            return;
        }
        let is_new = self.asked.fetch_max(wanted, Ordering::SeqCst) < wanted;
        // After the end there is no turn to wake.
        if is_new && !self.is_stopped() {
            wake(self.write.as_fd());
        }
    }

    /// Wakes the scheduler, for what is not kept here.
    pub(crate) fn wake(&self) {
        wake(self.write.as_fd());
    }

    /// Takes the highest request, if it is higher than the one taken before.
    pub(crate) fn take(&self) -> Option<Asked> {
        let asked = self.asked.load(Ordering::SeqCst);
        if self.taken.swap(asked, Ordering::SeqCst) == asked {
            return None;
        }
        [Asked::Stop, Asked::Kill]
            .into_iter()
            .find(|known| *known as u8 == asked)
    }

    /// True if there is a request to take.
    pub(crate) fn is_asked(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > self.taken.load(Ordering::SeqCst)
    }

    /// True in the process that made it, false in a forked copy.
    pub(crate) fn is_ours(&self) -> bool {
        self.owner == Identity::current()
    }

    /// Returns the pid of the process that made it.
    pub(crate) fn owner(&self) -> u32 {
        self.owner.pid()
    }

    /// Publishes the state of the scheduler: neither is ever withdrawn.
    pub(crate) fn publish(&self, stopping: bool, stopped: bool) {
        self.stopping.fetch_or(stopping, Ordering::SeqCst);
        self.stopped.fetch_or(stopped, Ordering::SeqCst);
    }

    /// True if a stop was requested, or has begun for another reason.
    pub(crate) fn is_stopping(&self) -> bool {
        self.asked.load(Ordering::SeqCst) > 0 || self.stopping.load(Ordering::SeqCst)
    }

    /// True if the scheduler has ended.
    pub(crate) fn is_stopped(&self) -> bool {
        self.stopped.load(Ordering::SeqCst)
    }

    /// Returns the descriptor for the signal handlers.
    pub(crate) fn raw(&self) -> i32 {
        self.write.as_raw_fd()
    }
}

/// Writes a byte to the pipe, unless it is full. Async-signal-safe; leaves errno alone.
pub(super) fn wake(pipe: BorrowedFd<'_>) {
    let saved = Errno::last_raw();
    for _ in 0..WAKE_TRIES_MAX {
        if let Ok(_) | Err(Errno::EAGAIN) = nix::unistd::write(pipe, &[0]) {
            break;
        }
    }
    Errno::set_raw(saved);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_request_is_taken_once_and_wakes_once() {
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
                wake(waker.write.as_fd());
            }
            assert!(waker.clear(), "{wakes}");
        }
    }
}
