//! Deadlines, in a binary heap: the earliest first, and of equal ones the one armed first.
//!
//! Each key has at most one deadline. Disarming one leaves a dead entry in the heap, which its
//! ticket tells from a live one. The heap is rebuilt when dead entries outnumber live ones, so
//! that it stays within about twice the number of live ones.

use std::cmp::Reverse;
use std::collections::{BTreeMap, BinaryHeap};

use super::interface::Moment;

/// The number of dead entries that never cause a rebuild.
const DEAD_MAX: usize = 16;

/// All deadlines, each with what it is for.
#[derive(Debug, Clone)]
pub struct Timers<K> {
    heap: BinaryHeap<Reverse<(Moment, u64, K)>>,
    /// The ticket of each live deadline.
    armed: BTreeMap<K, u64>,
    next_ticket: u64,
}

impl<K: Ord> Default for Timers<K> {
    fn default() -> Self {
        Self {
            heap: BinaryHeap::new(),
            armed: BTreeMap::new(),
            next_ticket: 0,
        }
    }
}

impl<K: Ord + Copy> Timers<K> {
    /// Sets or replaces the deadline of `key`.
    pub fn arm(&mut self, key: K, at: Moment) {
        self.next_ticket += 1;
        self.heap.push(Reverse((at, self.next_ticket, key)));
        self.armed.insert(key, self.next_ticket);
        self.drop_dead();
    }

    /// Removes the deadline of `key`, if it has one.
    pub fn disarm(&mut self, key: K) {
        // Most programs have no deadline at all, most of the time.
        if !self.armed.is_empty() && self.armed.remove(&key).is_some() {
            self.drop_dead();
        }
    }

    /// Returns the earliest deadline.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        self.heap.peek().map(|Reverse((at, _, _))| *at)
    }

    /// Returns the keys whose deadline is due at `now`, in no order.
    pub fn due(&self, now: Moment) -> impl Iterator<Item = K> + '_ {
        let entries = self.heap.iter().map(|Reverse(entry)| *entry);
        let due = entries.filter(move |(at, ..)| *at <= now);
        due.filter(|(_, ticket, key)| self.armed.get(key) == Some(ticket))
            .map(|(.., key)| key)
    }

    /// Removes the earliest deadline that is due at `now`, and returns its key.
    pub fn pop_due(&mut self, now: Moment) -> Option<K> {
        let &Reverse((at, _, key)) = self.heap.peek()?;
        if at > now {
            return None;
        }
        self.heap.pop();
        self.armed.remove(&key);
        self.drop_dead();
        Some(key)
    }

    /// Returns the number of entries in the heap, dead ones too.
    #[cfg_attr(not(test), allow(dead_code))]
    #[must_use]
    pub fn entries(&self) -> usize {
        self.heap.len()
    }

    /// Returns the live deadlines in their order.
    #[cfg(test)]
    #[must_use]
    pub fn in_order(&self) -> Vec<(Moment, K)> {
        let mut entries: Vec<_> = self.heap.iter().map(|Reverse(entry)| *entry).collect();
        entries.retain(|(_, ticket, key)| self.armed.get(key) == Some(ticket));
        entries.sort_unstable();
        let entries = entries.iter();
        entries.map(|&(at, _, key)| (at, key)).collect()
    }

    /// Keeps the top of the heap alive, and the heap not mostly dead.
    fn drop_dead(&mut self) {
        let armed = &self.armed;
        let alive = |ticket: u64, key: K| armed.get(&key) == Some(&ticket);
        if self.heap.len() > 2 * armed.len() + DEAD_MAX {
            self.heap
                .retain(|&Reverse((_, ticket, key))| alive(ticket, key));
        }
        while let Some(&Reverse((_, ticket, key))) = self.heap.peek() {
            if alive(ticket, key) {
                break;
            }
            self.heap.pop();
        }
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::super::interface::ProgramId;
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn equal_deadlines_come_in_order_of_arming() {
        let mut timers = Timers::<ProgramId>::default();
        let order: Vec<u32> = (0..100).map(|i| (i * 37) % 100).collect();
        for &id in &order {
            timers.arm(ProgramId(id), at(5));
        }
        let mut due = Vec::new();
        while let Some(ProgramId(id)) = timers.pop_due(at(5)) {
            due.push(id);
        }
        assert_eq!(due, order);
    }

    #[test]
    fn nothing_is_due_early_and_never_is_never() {
        let mut timers = Timers::<ProgramId>::default();
        timers.arm(ProgramId(1), at(10));
        timers.arm(ProgramId(2), Moment::NEVER);
        assert_eq!(timers.pop_due(at(9)), None);
        assert_eq!(timers.pop_due(at(10)), Some(ProgramId(1)));
        assert_eq!(timers.next(), Some(Moment::NEVER));
    }

    #[test]
    fn a_deadline_taken_back_or_replaced_is_not_seen_again() {
        let mut timers = Timers::<ProgramId>::default();
        timers.arm(ProgramId(1), at(10));
        timers.arm(ProgramId(1), at(20));
        assert_eq!(timers.next(), Some(at(20)));
        assert_eq!(timers.in_order(), [(at(20), ProgramId(1))]);
        assert_eq!(timers.due(at(19)).next(), None);
        assert!(timers.due(at(20)).eq([ProgramId(1)]));
        timers.disarm(ProgramId(1));
        assert_eq!(timers.next(), None);
        assert_eq!(timers.in_order(), []);
        assert_eq!(timers.pop_due(Moment::NEVER), None);
    }

    /// A supervisor that ran for a month kept every deadline that had ever been cancelled.
    #[test]
    fn a_million_cancelled_deadlines_leave_a_small_heap() {
        let mut timers = Timers::<ProgramId>::default();
        for round in 0..1_000_000_u64 {
            let program = ProgramId((round % 10) as u32);
            timers.arm(program, at(1_000_000 + round % 977));
            if round % 3 == 0 {
                timers.disarm(program);
            }
            assert!(timers.entries() <= 2 * 10 + DEAD_MAX + 1);
        }
    }

    /// Below the limit dead entries are left where they are: each rebuild looks at all of them.
    #[test]
    fn the_heap_is_rebuilt_when_it_is_mostly_dead_and_not_before() {
        const LIVE: usize = 3;
        let mut timers = Timers::<ProgramId>::default();
        timers.arm(ProgramId(0), at(1));
        timers.arm(ProgramId(1), at(2));
        let mut entries = Vec::new();
        for _ in 0..2 * LIVE + DEAD_MAX {
            timers.arm(ProgramId(2), at(3));
            entries.push(timers.entries());
        }
        let mut expected: Vec<usize> = (LIVE..=2 * LIVE + DEAD_MAX).collect();
        expected.extend([LIVE, LIVE + 1]);
        assert_eq!(entries, expected);
        assert_eq!(timers.in_order().len(), LIVE);
        assert_eq!(timers.next(), Some(at(1)));
    }
}
