//! The signals of one scheduler.
//!
//! A handler sets a bit and writes one byte to the wake pipe; the rest happens in the turn: clear
//! the pipe, take the bits, then act, so that a signal that arrives in between ends the next wait.
//! One SIGCHLD may stand for many deaths.

use std::sync::Arc;
use std::thread::ThreadId;

use super::handlers::{self, Dispositions, Slot, bit};
use super::signal_queue::{SignalSet, set_mask};
use super::wake::Waker;
use crate::error::{Error, Result};
use crate::event::SignalSender;

/// Threads whose mask is remembered, to be restored by the one that drops the scheduler.
const THREADS_MAX: usize = 16;

/// The signals of one scheduler.
pub(crate) struct Signals {
    slot: &'static Slot,
    signals: Vec<i32>,
    /// Signals whose handler was replaced, and for which that was reported.
    reported: u64,
    /// Threads that had turns, and which of our signals each had blocked.
    unblocked: Vec<(ThreadId, SignalSet)>,
    /// Keeps the pipe open while a handler may write to it.
    waker: Arc<Waker>,
}

impl Signals {
    /// Handles SIGCHLD and each of `signals` from now on. An `exclusive` one tolerates no other
    /// scheduler in this process.
    ///
    /// `optional` are handled as well, except for those that cannot be: valgrind and the C libraries
    /// use some themselves.
    pub(crate) fn install(
        signals: &[i32],
        optional: &[i32],
        exclusive: bool,
        waker: Arc<Waker>,
    ) -> Result<Self> {
        let mut dispositions = Dispositions::lock();
        if !exclusive && handlers::discards_statuses() {
            return Err(Error::because(
                "failed to use Reap::Own",
                "SIGCHLD is ignored in this process (SIG_IGN or SA_NOCLDWAIT), so that the \
                 status of a child is thrown away; set it to SIG_DFL before",
            ));
        }
        let slot = dispositions.claim(exclusive, waker.raw())?;
        let others = signals.iter().filter(|&&signal| signal != libc::SIGCHLD);
        let needed = [libc::SIGCHLD].iter().chain(others);
        let wanted = needed.map(|signal| (*signal, true));
        let mut all = Vec::new();
        for (signal, is_needed) in wanted.chain(optional.iter().map(|signal| (*signal, false))) {
            match dispositions.want(slot, signal) {
                Ok(()) => all.push(signal),
                Err(error) if !is_needed && error.is_invalid() => {}
                Err(error) => {
                    dispositions.release(slot);
                    return Err(error);
                }
            }
        }
        drop(dispositions);
        let mut installed = Self {
            slot,
            signals: all,
            reported: 0,
            unblocked: Vec::new(),
            waker,
        };
        installed.unblock_here();
        Ok(installed)
    }

    /// Takes the signals that arrived since the last call.
    pub(crate) fn take(&self) -> impl Iterator<Item = i32> + use<> {
        let mut bits = self.slot.take();
        // Not bit by bit: nearly every turn finds none.
        std::iter::from_fn(move || {
            let lowest = bits.trailing_zeros();
            bits &= bits.checked_sub(1)?;
            i32::try_from(lowest + 1).ok()
        })
    }

    /// Adds the pids that came with SIGCHLD to `pids`, after [`Signals::take`]. Each is a hint: it
    /// may be missing, late, or forged.
    pub(crate) fn take_hints(&self, pids: &mut Vec<i32>) {
        self.slot.hints.take(pids);
    }

    /// Takes the first sender of a signal that [`Signals::take`] has returned.
    pub(crate) fn take_sender(&self, signal: i32) -> SignalSender {
        self.slot.take_sender(signal)
    }

    /// True if one of these has arrived and was not taken yet.
    pub(crate) fn is_pending(&self, signals: &[i32]) -> bool {
        let bits = self.slot.pending();
        signals.iter().any(|&signal| bits & bit(signal) != 0)
    }

    /// Returns the signals whose handler was replaced, each once.
    pub(crate) fn take_replaced(&mut self) -> Vec<i32> {
        let is_new =
            |signal: &i32| self.reported & bit(*signal) == 0 && handlers::is_replaced(*signal);
        let replaced: Vec<i32> = self.signals.iter().copied().filter(is_new).collect();
        for &signal in &replaced {
            self.reported |= bit(signal);
        }
        replaced
    }

    /// Unblocks our signals in the calling thread, whatever its parent left blocked: a signal that
    /// all threads block is not delivered.
    pub(crate) fn unblock_here(&mut self) {
        let thread = std::thread::current().id();
        if self.unblocked.iter().any(|(known, _)| *known == thread) {
            return;
        }
        let ours = self.signals.iter().copied();
        let before = set_mask(libc::SIG_UNBLOCK, &SignalSet::of(ours.clone()));
        let blocked = SignalSet::of(ours.filter(|&signal| before.has(signal)));
        if self.unblocked.len() == THREADS_MAX {
            self.unblocked.remove(0);
        }
        self.unblocked.push((thread, blocked));
    }
}

impl Drop for Signals {
    /// Touches nothing in a forked copy: our handlers do nothing there, and the lock may be held by
    /// a thread that was not copied.
    fn drop(&mut self) {
        if !self.waker.is_ours() {
            return;
        }
        Dispositions::lock().release(self.slot);
        let thread = std::thread::current().id();
        for (_, blocked) in self.unblocked.iter().filter(|(known, _)| *known == thread) {
            set_mask(libc::SIG_BLOCK, blocked);
        }
    }
}
