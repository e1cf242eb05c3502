//! Handlers of the simulated process: what they leave behind is what the library's leave behind,
//! and is taken in the same two steps.

use std::cell::RefCell;
use std::sync::Arc;

use super::hints::Hints;
use super::wake::Waker;
use crate::error::Result;
use crate::event::SignalSender;
use crate::kernel::world;

struct Slot {
    wanted: u64,
    pending: u64,
    hints: Hints,
    waker: Arc<Waker>,
}

thread_local! {
    static SLOT: RefCell<Option<Slot>> = const { RefCell::new(None) };
}

fn bit(signal: i32) -> u64 {
    1 << (signal - 1)
}

/// What the kernel calls when it delivers a signal. Whether there is a handler for it.
pub(crate) fn handle(signal: i32, pid: i32) -> bool {
    SLOT.with_borrow_mut(|slot| {
        let Some(slot) = slot.as_mut().filter(|slot| slot.wanted & bit(signal) != 0) else {
            return false;
        };
        if signal == libc::SIGCHLD {
            slot.hints.leave(pid);
        }
        slot.pending |= bit(signal);
        world::write_wake(slot.waker.raw());
        true
    })
}

pub(crate) struct Signals;

impl Signals {
    pub(crate) fn install(
        signals: &[i32],
        strays: &[i32],
        _exclusive: bool,
        waker: Arc<Waker>,
    ) -> Result<Self> {
        let all = signals.iter().chain(strays).map(|&signal| bit(signal));
        let wanted = all.fold(bit(libc::SIGCHLD), |all, bit| all | bit);
        SLOT.set(Some(Slot {
            wanted,
            pending: 0,
            hints: Hints::new(),
            waker,
        }));
        Ok(Self)
    }

    pub(crate) fn take(&self) -> impl Iterator<Item = i32> + use<> {
        world::called(|_| ());
        let bits = SLOT.with_borrow_mut(|slot| {
            slot.as_mut()
                .map_or(0, |slot| std::mem::take(&mut slot.pending))
        });
        world::called(|_| ());
        (1..=64).filter(move |signal| bits & bit(*signal) != 0)
    }

    pub(crate) fn take_hints(&self, pids: &mut Vec<i32>) {
        SLOT.with_borrow_mut(|slot| slot.as_mut().map(|slot| slot.hints.take(pids)));
    }

    pub(crate) fn take_sender(&self, _: i32) -> SignalSender {
        SignalSender::Unknown
    }

    pub(crate) fn is_pending(&self, signals: &[i32]) -> bool {
        world::with(|kernel| kernel.is_asked_whether_to_start());
        let bits = SLOT.with_borrow(|slot| slot.as_ref().map_or(0, |slot| slot.pending));
        signals.iter().any(|&signal| bits & bit(signal) != 0)
    }

    pub(crate) fn take_replaced(&mut self) -> Vec<i32> {
        Vec::new()
    }

    pub(crate) fn unblock_here(&mut self) {}
}

impl Drop for Signals {
    fn drop(&mut self) {
        SLOT.set(None);
    }
}
