//! Which process this memory belongs to, so that a copy of it, made by fork(2) or clone(2), is
//! told from the original.
//!
//! The number alone does not tell. A copy in a PID namespace of its own may have the number of
//! the original (1, as a rule), and so may a copy that outlives it. But the memory of a copy is
//! a copy, too: a page that the kernel clears in it carries a mark (`MADV_WIPEONFORK`,
//! Linux 4.14). Before that a timer stands for the page, as a copy inherits none
//! (timer_create(2)). A child that shares memory until its exec, as vfork(2) makes it, finds the
//! mark and has a number of its own: so both are compared.

use std::sync::OnceLock;
use std::sync::atomic::{AtomicU32, AtomicU64, Ordering};

use super::pages::Pages;

/// The page with the mark, once there is one. It is never given back: a signal handler may be
/// looking at it in any thread.
static PAGE: OnceLock<Pages> = OnceLock::new();

/// Where there is no such page: the mark (upper half) and the timer that it holds for, plus 1.
static TIMED: AtomicU64 = AtomicU64::new(0);

/// The latest mark. A copy goes on from where its original was, so that no mark of an ancestor
/// comes again.
static LATEST: AtomicU32 = AtomicU32::new(0);

/// A process, as far as its own memory can tell it from every other.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Identity {
    /// 0 if nothing here was ever marked, or if this is a copy that has not marked itself.
    mark: u32,
    pid: u32,
}

impl Identity {
    /// This process, which is told from all copies of it from now on, where the system has the
    /// means.
    pub(crate) fn establish() -> Self {
        if mark() == 0 {
            let next = LATEST.fetch_add(1, Ordering::SeqCst).wrapping_add(1).max(1);
            match page() {
                // Another thread may have been faster, and its mark is as good.
                Some(page) => {
                    let _ = page.compare_exchange(0, next, Ordering::SeqCst, Ordering::SeqCst);
                }
                None => mark_by_timer(next),
            }
        }
        Self::current()
    }

    /// This process. Async-signal-safe.
    pub(crate) fn current() -> Self {
        Self {
            mark: mark(),
            pid: std::process::id(),
        }
    }

    /// Its number, by which it is told to people.
    pub(crate) fn pid(self) -> u32 {
        self.pid
    }

    #[cfg(test)]
    pub(super) fn of_another_process() -> Self {
        let mut identity = Self::establish();
        identity.pid += 1;
        identity
    }

    /// As a number that is never 0.
    pub(super) fn bits(self) -> u64 {
        u64::from(self.mark) << 32 | u64::from(self.pid)
    }
}

/// What this memory is marked with; 0 in a copy. Async-signal-safe.
fn mark() -> u32 {
    if let Some(page) = marked_page() {
        return page.load(Ordering::SeqCst);
    }
    let timed = TIMED.load(Ordering::SeqCst);
    match timer_of(timed) {
        // SAFETY: timer_getoverrun takes a number, and refuses one that is no timer of this
        // process.
        Some(timer) if unsafe { libc::syscall(libc::SYS_timer_getoverrun, timer) } >= 0 => {
            (timed >> 32) as u32
        }
        _ => 0,
    }
}

/// Returns the page, which is made if there is none and the system knows how.
fn page() -> Option<&'static AtomicU32> {
    if PAGE.get().is_none() {
        let pages = Pages::new(size_of::<AtomicU32>()).ok()?;
        pages.wipe_on_fork().ok()?;
        // If another thread is faster, this one is unmapped.
        let _ = PAGE.set(pages);
    }
    marked_page()
}

/// Async-signal-safe.
fn marked_page() -> Option<&'static AtomicU32> {
    let page = PAGE.get()?.base().cast::<AtomicU32>();
    // SAFETY: a mapping that is never unmapped, aligned to a page and zeroed.
    Some(unsafe { &*page })
}

fn timer_of(timed: u64) -> Option<i32> {
    i32::try_from((timed & u64::from(u32::MAX)).checked_sub(1)?).ok()
}

/// Makes a timer that never runs, and marks this memory for as long as it is there.
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
    // Unless another thread was faster.
    if set.is_err() {
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
