//! Groups that have lost their leader and may have members: each is asked for again at a time
//! of its own, which its run keeps, and a few of them, in turn, whenever a child has died, as
//! that may have been the last member of one.

use std::collections::BTreeSet;
use std::ops::Bound;

use crate::machine::timers::Timers;
use crate::machine::{Moment, ProgramId};

/// Groups that are asked for in one turn, at half a microsecond each: because their time has
/// come, and again because a child has died.
const PROBES_PER_TURN_MAX: usize = 64;

#[derive(Debug, Default)]
pub(super) struct Lingering {
    programs: BTreeSet<ProgramId>,
    probes: Timers,
    /// The one that was asked for last because a child had died.
    latest: Option<ProgramId>,
    /// The last of those that `/proc` was asked about.
    latest_suspect: Option<ProgramId>,
}

impl Lingering {
    /// It is to be asked for at this moment, and not when it was to be before.
    pub(super) fn insert(&mut self, id: ProgramId, probe_at: Moment) {
        self.programs.insert(id);
        self.probes.arm(id, probe_at);
    }

    pub(super) fn remove(&mut self, id: ProgramId) {
        self.programs.remove(&id);
        self.probes.disarm(id);
    }

    pub(super) fn iter(&self) -> impl Iterator<Item = ProgramId> {
        self.programs.iter().copied()
    }

    /// When the next is to be asked for.
    pub(super) fn next_probe(&self) -> Option<Moment> {
        self.probes.next()
    }

    /// Whom to ask for now. Each is to be inserted again, or removed.
    pub(super) fn take_due(&mut self, now: Moment, child_died: bool) -> Vec<ProgramId> {
        let mut due = Vec::new();
        while due.len() < PROBES_PER_TURN_MAX
            && let Some(id) = self.probes.pop_due(now)
        {
            due.push(id);
        }
        if child_died {
            due.extend(self.in_turn(self.latest).take(PROBES_PER_TURN_MAX));
            self.latest = due.last().copied();
        }
        due
    }

    /// Returns the next of those that are suspected, so that each has its turn.
    pub(super) fn take_suspects(
        &mut self,
        most: usize,
        is_suspect: impl Fn(ProgramId) -> bool,
    ) -> Vec<ProgramId> {
        let suspects = self.in_turn(self.latest_suspect);
        let suspects: Vec<ProgramId> = suspects.filter(|&id| is_suspect(id)).take(most).collect();
        self.latest_suspect = suspects.last().copied();
        suspects
    }

    /// All of them, each once: those behind `latest` first.
    fn in_turn(&self, latest: Option<ProgramId>) -> impl Iterator<Item = ProgramId> {
        let after = latest.map_or(Bound::Unbounded, Bound::Excluded);
        let behind = self.programs.range((after, Bound::Unbounded));
        let all = behind.chain(self.programs.iter());
        all.copied().take(self.programs.len())
    }
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(ms))
    }

    #[test]
    fn each_is_asked_for_in_its_time_and_a_few_when_a_child_has_died() {
        let mut lingering = Lingering::default();
        let count = 3 * PROBES_PER_TURN_MAX as u32;
        for id in 0..count {
            lingering.insert(ProgramId(id), at(u64::from(id)));
        }
        assert_eq!(
            lingering.take_due(at(1), false),
            [ProgramId(0), ProgramId(1)]
        );
        let mut asked = BTreeSet::new();
        for _ in 0..3 {
            let due = lingering.take_due(at(1), true);
            assert_eq!(due.len(), PROBES_PER_TURN_MAX, "a few at a time");
            asked.extend(due);
        }
        assert_eq!(asked.len(), count as usize, "and each has its turn");
        let late = lingering.take_due(at(10_000), false);
        assert_eq!(late.len(), PROBES_PER_TURN_MAX);
        assert_eq!(
            lingering.next_probe(),
            Some(at(66)),
            "the rest is due at once"
        );
    }

    #[test]
    fn each_that_is_suspected_has_its_turn() {
        let mut lingering = Lingering::default();
        for id in 0..10 {
            lingering.insert(ProgramId(id), at(0));
        }
        let is_odd = |id: ProgramId| id.0 % 2 == 1;
        let mut take = |most| lingering.take_suspects(most, is_odd);
        assert_eq!(take(2), [1, 3].map(ProgramId));
        assert_eq!(take(2), [5, 7].map(ProgramId));
        assert_eq!(take(2), [9, 1].map(ProgramId));
        assert_eq!(take(9), [3, 5, 7, 9, 1].map(ProgramId), "each once");
    }

    #[test]
    fn who_is_gone_is_asked_for_no_more() {
        let mut lingering = Lingering::default();
        lingering.insert(ProgramId(3), at(5));
        lingering.insert(ProgramId(3), at(9));
        assert_eq!(lingering.next_probe(), Some(at(9)));
        lingering.remove(ProgramId(3));
        assert_eq!(lingering.next_probe(), None);
        assert!(lingering.take_due(at(10), true).is_empty());
        assert_eq!(lingering.iter().count(), 0);
    }
}
