//! Pids that came with SIGCHLD, from the handler to the turn.
//!
//! A hint saves a look at every child, and guarantees nothing. Any process may send a SIGCHLD with
//! any pid, one signal may stand for many deaths, and a hint that finds no room is dropped. So
//! the turn asks the kernel about each pid, and about all children later.

use std::sync::atomic::{AtomicI32, Ordering};

/// More deaths between two turns are found by a look at all children.
const HINTS_MAX: usize = 64;

/// Pids, or 0 in a free place. Handlers in any thread write it, without a lock.
pub(super) struct Hints([AtomicI32; HINTS_MAX]);

impl Hints {
    pub(super) const fn new() -> Self {
        Self([const { AtomicI32::new(0) }; HINTS_MAX])
    }

    /// Adds a pid, if there is room. Async-signal-safe: atomics only.
    pub(super) fn leave(&self, pid: i32) {
        let take = |place: &AtomicI32| {
            place
                .compare_exchange(0, pid, Ordering::SeqCst, Ordering::SeqCst)
                .is_ok()
        };
        let is_free = |place: &&AtomicI32| place.load(Ordering::SeqCst) == 0;
        let _ = self.0.iter().filter(is_free).any(take);
    }

    /// Moves all pids to `pids`.
    pub(super) fn take(&self, pids: &mut Vec<i32>) {
        for place in &self.0 {
            if place.load(Ordering::SeqCst) != 0 {
                pids.push(place.swap(0, Ordering::SeqCst));
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn taken(hints: &Hints) -> Vec<i32> {
        let mut pids = Vec::new();
        hints.take(&mut pids);
        pids
    }

    #[test]
    fn what_is_left_is_taken_once_and_what_finds_no_room_is_dropped() {
        let hints = Hints::new();
        let most = i32::try_from(HINTS_MAX).expect("a small table");
        for pid in 1..=most + 10 {
            hints.leave(pid);
        }
        assert_eq!(taken(&hints), (1..=most).collect::<Vec<_>>());
        assert!(taken(&hints).is_empty());
        hints.leave(7);
        assert_eq!(taken(&hints), [7], "a table that was full has room again");
    }

    /// Two handlers, in two threads, once took the same place, and one hint was lost.
    #[test]
    fn no_hint_is_lost_while_there_is_room() {
        let hints = Hints::new();
        let mut all = Vec::new();
        for round in 0..500 {
            std::thread::scope(|scope| {
                for thread in 1..=4 {
                    let hints = &hints;
                    scope.spawn(move || (0..8).for_each(|n| hints.leave(thread * 10 + n)));
                }
                hints.take(&mut all);
            });
            hints.take(&mut all);
            all.sort_unstable();
            let expected: Vec<i32> = (1..=4)
                .flat_map(|t| (0..8).map(move |n| t * 10 + n))
                .collect();
            assert_eq!(all, expected, "round {round}");
            all.clear();
        }
    }
}
