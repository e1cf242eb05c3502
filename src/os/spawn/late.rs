//! A child that has not executed its program yet: asked now and then, never waited for.
//!
//! It may be stopped, traced, or wait in the kernel for the program's file; or the machine is
//! busy. What it is lent of ours stays as it is for as long as it lasts.

use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::child::{Said, Word};
use super::slot::Slot;
use super::spawner::{Spawner, Way};
use super::{Failure, Step};
use crate::os::pause::timespec;
use crate::os::retry;

#[derive(Debug)]
pub(crate) struct Late {
    pid: i32,
    way: Way,
    /// There until the end; see the `Drop` below.
    slot: Option<Slot>,
    /// Where a child is heard that may be in a memory of its own.
    wire: Option<OwnedFd>,
}

impl Late {
    pub(super) fn new(pid: i32, way: Way, slot: Slot, wire: Option<OwnedFd>) -> Self {
        Self {
            pid,
            way,
            slot: Some(slot),
            wire,
        }
    }

    pub(crate) fn pid(&self) -> i32 {
        self.pid
    }

    pub(super) fn way(&self) -> Way {
        self.way
    }

    /// Asks once more. `None`: it has still not executed the program. An answer is the last one: it
    /// has executed the program, or was killed, and its end will tell by what; one that failed is
    /// dying or dead.
    pub(crate) fn poll(&mut self, spawner: &mut Spawner) -> Option<Result<(), Failure>> {
        let answer = self.ask(spawner)?;
        // One that has failed may still be on its stack, and keeps it then until it is dropped.
        self.give_back(spawner);
        if let Err(failure) = answer
            && failure.step == Step::Process
        {
            spawner.note_table_kept(failure.errno);
        }
        Some(answer)
    }

    /// What is known now. Its failure is at [`Step::Process`] if it could not leave our table of
    /// descriptors, and did nothing.
    pub(super) fn ask(&self, spawner: &mut Spawner) -> Option<Result<(), Failure>> {
        let said = self.slot.as_ref()?.said();
        spawner.take_back();
        let failure = match &self.wire {
            None if said.has_left() => None,
            None => return None,
            // A copy of this process that another thread makes in just this moment holds the pipe
            // open, too, so that the child itself may have told more.
            Some(wire) => match read(wire) {
                None if self.way != Way::Copying && is_shared(said) == Some(true) => {
                    spawner.learn(Some(true));
                    None
                }
                None => return None,
                Some(failure) => {
                    if self.way != Way::Copying {
                        spawner.learn(is_shared(said));
                    }
                    failure
                }
            },
        };
        let failure = match said.heard() {
            Word::Failed(failure) => Some(failure),
            Word::Nothing | Word::Begun => failure,
        };
        Some(failure.map_or(Ok(()), Err))
    }

    /// Waits until there is an answer, for this long at most. All signals are blocked, so that
    /// nothing interrupts it.
    pub(super) fn wait(&self, limit: Duration) {
        match (&self.wire, &self.slot) {
            (Some(wire), _) => {
                let mut waited = [PollFd::new(wire.as_fd(), PollFlags::POLLIN)];
                let limit = PollTimeout::try_from(limit).unwrap_or(PollTimeout::ZERO);
                let _ = poll(&mut waited, limit);
            }
            (None, Some(slot)) => wait_to_leave(slot.said(), limit),
            (None, None) => {}
        }
    }

    /// Gives its place to the next child, unless it may still be there itself.
    pub(super) fn give_back(&mut self, spawner: &mut Spawner) {
        let is_copy = self.way == Way::Copying;
        let is_free = |slot: &mut Slot| is_copy || slot.said().has_left();
        spawner.take_back();
        if let Some(slot) = self.slot.take_if(is_free) {
            spawner.keep(slot);
        }
    }
}

/// What it still needs must never be given to anything else.
impl Drop for Late {
    fn drop(&mut self) {
        if let Some(slot) = self.slot.take()
            && self.way != Way::Copying
            && !slot.said().has_left()
        {
            std::mem::forget(slot);
        }
    }
}

/// Whether a child whose pipe has told something has shown that its memory was ours, and that the
/// kernel says when it has left. `None`: it was killed before it showed anything, or it has failed
/// and is about to leave.
fn is_shared(said: &Said) -> Option<bool> {
    match (said.heard(), said.has_left()) {
        (Word::Nothing, true) | (Word::Failed(_), false) => None,
        (Word::Nothing | Word::Begun, false) => Some(false),
        (Word::Begun | Word::Failed(_), true) => Some(true),
    }
}

/// What the child has said before its exec or its end closed the pipe, if it has said something;
/// `None` if the pipe is still open.
fn read(wire: &OwnedFd) -> Option<Option<Failure>> {
    let mut numbers = [0_usize; 3];
    let (room, size) = (numbers.as_mut_ptr(), size_of::<[usize; 3]>());
    // SAFETY: as many bytes as the live numbers have.
    let read = || Errno::result(unsafe { libc::read(wire.as_raw_fd(), room.cast(), size) });
    let is_whole = match retry(read) {
        Err(Errno::EAGAIN | Errno::EINTR) => return None,
        Ok(count) => usize::try_from(count) == Ok(size),
        Err(_) => false,
    };
    Some(is_whole.then(|| Failure::of_numbers(numbers)))
}

/// Waits as futex(2) does: until the number changes, or the time is over.
fn wait_to_leave(said: &Said, limit: Duration) {
    let limit = timespec(limit);
    let (tid, present) = (said.tid.as_ptr(), 1_u32);
    // Not FUTEX_PRIVATE_FLAG: the kernel wakes who waits as if in another process.
    // SAFETY: a live number, and a live time.
    unsafe {
        let limit = &raw const limit;
        libc::syscall(libc::SYS_futex, tid, libc::FUTEX_WAIT, present, limit);
    }
}
