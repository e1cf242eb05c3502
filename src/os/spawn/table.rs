//! The table of descriptors, shared with the child for a moment instead of copied for it.
//!
//! A copy, and the closing of what is in it, cost the more the more this process has open:
//! milliseconds at tens of thousands, for a program that gets three. So the child shares the
//! table (`CLONE_FILES`) until its first act, close_range(2) with `CLOSE_RANGE_UNSHARE`, gives it
//! a table of its own with what is numbered below a *cut* and nothing else. Three things follow:
//!
//! - What the child needs has to stand below the cut, however much was opened before it, until it
//!   has left the table. One low number is reserved early, and lent to the one of the three that
//!   is not the null device.
//! - Until the child has its own table it opens, closes and moves nothing: it would be ours. After
//!   it, nothing that it closes is: record locks (fcntl(2)) belong to a table, and stay with us.
//! - Who cannot do that has done nothing, and the start is made once more with a copy.

use std::ffi::c_int;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::sync::Arc;

use nix::errno::Errno;

use super::super::descriptors;
use super::super::errno;
use super::super::raw::{self, int};

/// How many descriptors the child must be spared before it pays: what it saves below that is
/// less than what the two moves of the lent number cost.
const SPARED_MIN: c_int = 64;

/// The kernel marks which words of 64 descriptors are full, 64 marks in a word.
const WORD: c_int = 64;
const MARKS: c_int = WORD * 64;

/// What stays behind: the numbers from here on.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) struct Cut {
    first: c_int,
    /// The first number of a word beyond the cut that is full here, if the kernel is on trial.
    trial: Option<c_int>,
}

pub(super) struct Table {
    /// What the low number is for as long as it is not lent.
    null: Arc<OwnedFd>,
    pub(super) low: OwnedFd,
    /// The highest number that a start has met: about how many are open.
    highest: c_int,
    /// True if the kernel has shown that it can, false if it cannot be done here.
    pub(super) works: Option<bool>,
}

impl Table {
    /// Reserves the lowest number that is free.
    pub(super) fn new(null: Arc<OwnedFd>) -> Result<Self, Errno> {
        let low = descriptors::duplicate(null.as_fd())?;
        Ok(Self {
            null,
            low,
            highest: 0,
            works: None,
        })
    }

    /// Prepares to share, if that pays and can be done: what is not the null device is lent the low
    /// number, until [`Table::take_back`]. As the child may take its time, it must not depend on a
    /// number that is closed or used again meanwhile; so there may be one such stream.
    pub(super) fn lend(&mut self, stdio: &mut [c_int; 3]) -> Option<Cut> {
        let (null, low) = (self.null.as_raw_fd(), self.low.as_raw_fd());
        let mut others = stdio.iter().copied().filter(|&fd| fd != null);
        let other = others.next();
        // Both streams of a program may be one.
        let more = others.find(|&fd| Some(fd) != other);
        let highest = other.unwrap_or(low);
        self.highest = self.highest.max(highest);
        let first = null.max(low) + 1;
        let is_refused = self.works == Some(false) || more.is_some();
        if is_refused || self.highest - first < SPARED_MIN {
            return None;
        }
        let trial = trial_beyond(first).filter(|_| self.works.is_none());
        if trial.is_some_and(|word| !is_full(word)) {
            return None;
        }
        if let Some(other) = other
            && !put(other, low)
        {
            return None;
        }
        *stdio = stdio.map(|fd| if fd == null { null } else { low });
        Some(Cut { first, trial })
    }

    /// The start is over: only the child holds what was lent.
    pub(super) fn take_back(&self) {
        put(self.null.as_raw_fd(), self.low.as_raw_fd());
    }

    /// It was done. A trial counts if the word was full before and after.
    pub(super) fn has_worked(&mut self, cut: Cut) {
        if cut.trial.is_some_and(is_full) {
            self.works = Some(true);
        }
    }
}

impl Cut {
    /// Gives the calling child a table of its own; fails with the table as it was.
    ///
    /// Before Linux 6.11, and in its stable branches before August 2024, the marks of full words
    /// beyond the cut came along (CVE-2024-45025): the program would not be given those numbers,
    /// and soon have none left. So the first child looks which number it gets, where a full word
    /// was; it fails with EAGAIN if that is the wrong one.
    pub(super) fn make(self) -> Result<(), c_int> {
        /// Of linux/close_range.h.
        const CLOSE_RANGE_UNSHARE: c_int = 1 << 1;
        // SAFETY: plain numbers. Closed is only what the child has in a table of its own.
        unsafe {
            let leave = [int(self.first), int(c_int::MAX), int(CLOSE_RANGE_UNSHARE)];
            raw::call(libc::SYS_close_range, leave)?;
            let Some(word) = self.trial else {
                return Ok(());
            };
            // The number below the cut is one of our own.
            let copy = [int(self.first - 1), int(libc::F_DUPFD_CLOEXEC), int(word)];
            match raw::call(libc::SYS_fcntl, copy) {
                Ok(number) if number == int(word) => Ok(()),
                Ok(_) | Err(_) => Err(libc::EAGAIN),
            }
        }
    }
}

/// The word beyond the cut whose mark would come along, if any can: marks are copied 64 at a time.
fn trial_beyond(first: c_int) -> Option<c_int> {
    let word = (first - 1) / WORD * WORD + WORD;
    (word % MARKS != 0).then_some(word)
}

/// Whether all descriptors of this word are open.
fn is_full(word: c_int) -> bool {
    // SAFETY: plain numbers; the call only asks.
    let is_open = |fd| unsafe { libc::fcntl(fd, libc::F_GETFD) != -1 };
    (word..word.saturating_add(WORD)).all(is_open)
}

/// Makes `to` another descriptor for what `from` is.
fn put(from: c_int, to: c_int) -> bool {
    // SAFETY: plain numbers; what is replaced is our own low number.
    unsafe {
        while libc::dup3(from, to, libc::O_CLOEXEC) == -1 {
            if errno() != libc::EINTR {
                return false;
            }
        }
    }
    true
}
