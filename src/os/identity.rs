//! The identity of a process, which differs in a copy made by fork(2) or clone(2).
//!
//! The pid is not enough. A copy in its own PID namespace may have the pid of the original
//! (usually 1), and so may a copy that outlives it. So a page that the kernel clears in a copy has
//! a mark (`MADV_WIPEONFORK`, Linux 4.14); on older kernels a timer stands for the page, as a copy
//! inherits none (timer_create(2)). A child of vfork(2), which shares the memory until its exec,
//! sees the mark and has another pid: so both are compared.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::pages::Pages;

/// The page with the mark. It is never unmapped: a signal handler may read it in any thread.
/// `None` where the system does not know how.
static PAGE: OnceLock<Option<Pages>> = OnceLock::new();

/// Without such a page: the mark (upper half), and its timer plus 1.
static TIMED: AtomicU64 = AtomicU64::new(0);

/// The latest mark. A copy continues from there, so that no mark of an ancestor is used again.
static LATEST: AtomicU32 = AtomicU32::new(0);

/// A process, as identified by its own memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// 0 in a process that was never marked, and in a copy that has not marked itself.
    mark: u32,
    pid: u32,
}

impl Identity {
    /// Marks this process, if the system has the means, and returns its identity.
    pub(crate) fn establish() -> Self {
        if mark() == 0 {
            let next = LATEST.fetch_add(1, Ordering::SeqCst).wrapping_add(1).max(1);
            PAGE.get_or_init(|| {
                let pages = Pages::new(size_of::<AtomicU32>()).ok()?;
                pages.wipe_on_fork().ok()?;
                Some(pages)
            });
            match page() {
                // If another thread is faster, its mark will do.
                Some(page) => {
                    let _ = page.compare_exchange(0, next, Ordering::SeqCst, Ordering::SeqCst);
                }
                None => mark_by_timer(next),
            }
        }
        Self::current()
    }

    /// Returns the identity of this process. Async-signal-safe.
    pub(crate) fn current() -> Self {
        Self {
            mark: mark(),
            pid: std::process::id(),
        }
    }

    /// Returns the pid, for messages.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    #[cfg(test)]
    pub(super) fn of_another_process() -> Self {
        let mut identity = Self::establish();
        identity.pid += 1;
        identity
    }

    /// Returns it as a number, which is never 0.
    pub(super) fn bits(self) -> u64 {
        u64::from(self.mark) << 32 | u64::from(self.pid)
    }
}

/// Returns the mark of this memory; 0 in a copy. Async-signal-safe.
fn mark() -> u32 {
    if let Some(page) = page() {
        return page.load(Ordering::SeqCst);
    }
    let timed = TIMED.load(Ordering::SeqCst);
    match timer_of(timed) {
        // SAFETY: timer_getoverrun takes a number, and refuses one that is not ours.
        Some(timer) if unsafe { libc::syscall(libc::SYS_timer_getoverrun, timer) } >= 0 => {
            (timed >> 32) as u32
        }
        _ => 0,
    }
}

/// Returns the page, if there is one. Async-signal-safe.
fn page() -> Option<&'static AtomicU32> {
    let page = PAGE.get()?.as_ref()?.base().cast::<AtomicU32>();
    // SAFETY: a mapping that is never unmapped, aligned to a page and zeroed.
    Some(unsafe { &*page })
}

fn timer_of(timed: u64) -> Option<i32> {
    i32::try_from((timed & u64::from(u32::MAX)).checked_sub(1)?).ok()
}

/// Marks this memory by a timer that never runs.
fn mark_by_timer(next: u32) {
    let before = TIMED.load(Ordering::SeqCst);
    let mut timer: libc::c_int = -1;
    // SAFETY: all zero is a valid sigevent.
    let mut event: libc::sigevent = unsafe { std::mem::zeroed() };
    event.sigev_notify = libc::SIGEV_NONE;
    let (clock, timer_at) = (libc::CLOCK_MONOTONIC, &raw mut timer);
    // SAFETY: both pointers are to live structures. The kernel's own timers are integers.
    let made = unsafe { libc::syscall(libc::SYS_timer_create, clock, &raw const event, timer_at) };
    let Ok(number @ 0..) = u32::try_from(timer) else {
        return;
    };
    if made != 0 {
        return;
    }
    let timed = u64::from(next) << 32 | (u64::from(number) + 1);
    let set = TIMED.compare_exchange(before, timed, Ordering::SeqCst, Ordering::SeqCst);
    if set.is_err() {
        // Another thread was faster.
        // SAFETY: the timer was made here, and nothing else has it.
        unsafe { libc::syscall(libc::SYS_timer_delete, timer) };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_stays_the_same_and_is_the_same_in_every_thread() {
        let all = std::thread::scope(|scope| {
            let threads = [(); 8].map(|()| scope.spawn(Identity::establish));
            threads.map(|thread| thread.join().expect("no panic"))
        });
        assert_ne!(all[0].mark, 0);
        assert!(all.iter().all(|identity| *identity == Identity::current()));
    }
}
