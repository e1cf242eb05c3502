//! Process groups that have lost their leader and may have members: which of them are gone.
//!
//! Each is probed at a time of its own, which its run keeps (`program/run.rs`), and a few of them,
//! in turn, whenever a child has died, as that may have been the last member of one.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::Bound;
use std::time::Duration;

use crate::machine::timers::Timers;
use crate::machine::{Moment, ProgramId};
use crate::os::children;
use crate::os::clock::Clock;
use crate::os::stat::zombies_only;
use crate::program::{LiveRun, ProgramTable};

use super::core::Core;

/// Groups that are probed in one turn, at half a microsecond each: because their time has come,
/// and again because a child has died.
const PROBES_PER_TURN_MAX: usize = 64;

/// The least time between two looks into `/proc` for groups of zombies, and the factor of the time
/// that a look has taken: one takes longer the more processes there are.
const ZOMBIE_LOOK_INTERVAL: Duration = Duration::from_millis(100);
const ZOMBIE_LOOK_PAUSE: u32 = 100;

/// Groups in one such look, at 30 microseconds each.
const SUSPECTS_PER_LOOK_MAX: usize = 1024;

/// What a probe has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Found {
    /// No process is left in the group, or only zombies that another process has to reap.
    Gone,
    /// The leader was killed and is dead; a tracer keeps it from us.
    LeaderWithheld,
}

#[derive(Debug, Default)]
pub(super) struct GroupProbes {
    /// The programs, and the numbers of their groups.
    programs: BTreeMap<ProgramId, i32>,
    /// The same by number; where two have the same, the latest.
    numbers: BTreeMap<i32, ProgramId>,
    timers: Timers<ProgramId>,
    /// The last one that was probed because a child had died.
    latest: Option<ProgramId>,
    /// The last one that was looked for in `/proc`.
    latest_suspect: Option<ProgramId>,
    next_zombie_look: Moment,
    /// The pids of the other children that were reaped since the last probes.
    reaped: Vec<i32>,
    /// The programs whose groups are known to be gone, as a child of ours has their number.
    reused: Vec<ProgramId>,
}

impl GroupProbes {
    /// Notes that a child was reaped that we have not started. It may have got the number of a group.
    pub(super) fn on_other_reaped(&mut self, pid: i32) {
        self.reaped.push(pid);
    }

    /// Looks which groups are gone as a child that was started since has their number. To be called
    /// before any of these is reaped: until then a look at the number alone tells it from the group.
    pub(super) fn take_in_started(&mut self, core: &mut Core) {
        while let Some(pid) = core.pop_started() {
            let Some(&id) = self.numbers.get(&pid) else {
                continue;
            };
            let live = core.programs_mut().get_mut(id);
            let live = live.and_then(|program| program.live.as_mut());
            if let Some(live) = live.filter(|live| live.pid() == pid)
                && live.group.is_leader_reaped()
            {
                live.group.on_number_reused();
                self.reused.push(id);
            }
        }
    }

    /// Sets when this program's group is probed next, if it is to be.
    pub(super) fn update(&mut self, programs: &ProgramTable, id: ProgramId) {
        let live = programs.live(id);
        match live.and_then(|live| Some((live.pid(), live.next_probe()?))) {
            Some((number, at)) => self.insert(id, number, at),
            None => self.remove(id),
        }
    }

    fn insert(&mut self, id: ProgramId, number: i32, probe_at: Moment) {
        if self.programs.get(&id) != Some(&number) {
            self.remove(id);
            self.programs.insert(id, number);
            self.numbers.insert(number, id);
        }
        self.timers.arm(id, probe_at);
    }

    fn remove(&mut self, id: ProgramId) {
        if let Some(number) = self.programs.remove(&id)
            && self.numbers.get(&number) == Some(&id)
        {
            self.numbers.remove(&number);
        }
        self.timers.disarm(id);
    }

    /// Sees to it that the groups that were sent SIGKILL are probed.
    pub(super) fn take_in_killed(&mut self, core: &mut Core) {
        for id in core.take_killed() {
            self.update(core.programs(), id);
        }
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Probes the groups that have just lost their leader, and those that are due. `has_orphans`
    /// is true if orphans are reparented to this process.
    pub(super) fn probe(
        &mut self,
        clock: Clock,
        now: Moment,
        core: &mut Core,
        child_died: bool,
        has_orphans: bool,
    ) -> Vec<(ProgramId, Found)> {
        self.take_in_killed(core);
        let mut due = core.exited().to_vec();
        due.append(&mut self.reused);
        self.take_reused(core, &mut due);
        self.take_due(now, child_died, &mut due);
        let mut found = Vec::new();
        if due.is_empty() {
            return found;
        }
        let mut has_suspects = false;
        for id in due {
            let what = probe_one(now, core, id);
            let live = core.programs().live(id);
            has_suspects |= what.is_none() && live.is_some_and(LiveRun::may_be_zombies);
            found.extend(what.map(|what| (id, what)));
            self.update(core.programs(), id);
        }
        if has_suspects && now >= self.next_zombie_look {
            self.look_for_zombies(clock, now, core, has_orphans, &mut found);
        }
        found
    }

    /// Groups of nothing but zombies of another process's children count as gone. One look at all
    /// processes is for many groups, and takes at most a hundredth of the time if it finds none.
    fn look_for_zombies(
        &mut self,
        clock: Clock,
        now: Moment,
        core: &Core,
        has_orphans: bool,
        found: &mut Vec<(ProgramId, Found)>,
    ) {
        let programs = core.programs();
        let live = |id: ProgramId| programs.live(id);
        let may_be_zombies = |id: ProgramId| live(id).is_some_and(LiveRun::may_be_zombies);
        let latest = &mut self.latest_suspect;
        let suspects = in_turn(
            &self.programs,
            latest,
            SUSPECTS_PER_LOOK_MAX,
            may_be_zombies,
        );
        let groups = suspects.iter().filter_map(|&id| live(id));
        let groups: BTreeSet<i32> = groups.map(LiveRun::pid).collect();
        let start = clock.now();
        let zombies = zombies_only(&groups, has_orphans);
        let end = clock.now();
        let mut pause = end.since(start).saturating_mul(ZOMBIE_LOOK_PAUSE);
        for id in suspects {
            let Some(live) = live(id) else { continue };
            let is_gone = match &zombies {
                Some(zombies) => zombies.contains(&live.pid()),
                // Without /proc a dead member is far more likely than one that cannot die; but not
                // where orphans are reparented to us, as we reap those.
                None => live.is_overdue(now) && !has_orphans,
            };
            if is_gone && !found.contains(&(id, Found::Gone)) {
                pause = Duration::ZERO;
                found.push((id, Found::Gone));
            }
        }
        self.next_zombie_look = end.after(pause.max(ZOMBIE_LOOK_INTERVAL));
    }

    /// Adds the programs whose groups are known to be gone, as another child had their number.
    fn take_reused(&mut self, core: &mut Core, due: &mut Vec<ProgramId>) {
        if self.reaped.is_empty() {
            return;
        }
        let mut reaped = std::mem::take(&mut self.reaped);
        reaped.sort_unstable();
        let ids = due.iter().chain(self.programs.keys()).copied();
        let is_reused = |id: &ProgramId| {
            let live = core.programs().live(*id);
            live.is_some_and(|live| reaped.binary_search(&live.pid()).is_ok())
        };
        let reused: Vec<ProgramId> = ids.filter(is_reused).collect();
        for id in reused {
            if let Some(live) = &mut core.program_mut(id).live {
                live.group.on_number_reused();
            }
            due.push(id);
        }
    }

    /// Adds the programs whose groups are due, and after a death some more, without repetition.
    fn take_due(&mut self, now: Moment, child_died: bool, due: &mut Vec<ProgramId>) {
        let before = due.len();
        while due.len() < before + PROBES_PER_TURN_MAX
            && let Some(id) = self.timers.pop_due(now)
        {
            due.push(id);
        }
        if child_died {
            let latest = &mut self.latest;
            due.extend(in_turn(&self.programs, latest, PROBES_PER_TURN_MAX, |_| {
                true
            }));
        }
        // Programs that died together start again in the order of their deaths.
        if due.len() > 1 {
            let mut seen = BTreeSet::new();
            due.retain(|&id| seen.insert(id));
        }
    }
}

/// Returns some of those that are wanted, each once: those after `latest` first, so that each has
/// its turn.
fn in_turn(
    programs: &BTreeMap<ProgramId, i32>,
    latest: &mut Option<ProgramId>,
    most: usize,
    is_wanted: impl Fn(ProgramId) -> bool,
) -> Vec<ProgramId> {
    let after = latest.map_or(Bound::Unbounded, Bound::Excluded);
    let rest = programs.range((after, Bound::Unbounded));
    let all = rest.chain(programs).map(|(&id, _)| id).take(programs.len());
    let next: Vec<ProgramId> = all.filter(|&id| is_wanted(id)).take(most).collect();
    *latest = next.last().copied();
    next
}

/// Probes one group. Its run keeps when it is probed again.
fn probe_one(now: Moment, core: &mut Core, id: ProgramId) -> Option<Found> {
    let live = core.programs_mut().get_mut(id)?.live.as_mut()?;
    let has_leader = !live.group.is_leader_reaped();
    if !has_leader && live.group.is_gone() {
        return Some(Found::Gone);
    }
    live.put_off_probe(now);
    if has_leader {
        let is_suspect = !live.leader_dead && live.has_answered_long();
        let is_withheld = is_suspect && children::is_withheld_zombie(live.pid());
        return is_withheld.then_some(Found::LeaderWithheld);
    }
    if let Some(error) = live.take_delay_warning(now) {
        core.warn(id, error);
    }
    None
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(ms: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(ms))
    }

    impl GroupProbes {
        fn due(&mut self, now: Moment, child_died: bool) -> Vec<ProgramId> {
            let mut due = Vec::new();
            self.take_due(now, child_died, &mut due);
            due
        }
    }

    #[test]
    fn each_is_probed_in_its_time_and_a_few_when_a_child_has_died() {
        let mut groups = GroupProbes::default();
        let count = 3 * PROBES_PER_TURN_MAX as u32;
        for id in 0..count {
            groups.insert(ProgramId(id), 100 + id as i32, at(u64::from(id)));
        }
        assert_eq!(groups.due(at(1), false), [ProgramId(0), ProgramId(1)]);
        let mut probed = BTreeSet::new();
        for _ in 0..3 {
            let due = groups.due(at(1), true);
            assert_eq!(due.len(), PROBES_PER_TURN_MAX, "a few at a time");
            probed.extend(due);
        }
        assert_eq!(probed.len(), count as usize, "and each has its turn");
        let late = groups.due(at(10_000), false);
        assert_eq!(late.len(), PROBES_PER_TURN_MAX);
        let next = groups.next_deadline();
        assert_eq!(next, Some(at(66)), "the rest is due at once");
    }

    #[test]
    fn each_that_is_suspected_has_its_turn() {
        let mut groups = GroupProbes::default();
        for id in 0..10 {
            groups.insert(ProgramId(id), 100 + id as i32, at(0));
        }
        let is_odd = |id: ProgramId| id.0 % 2 == 1;
        let latest = &mut groups.latest_suspect;
        let mut take = |most| in_turn(&groups.programs, latest, most, is_odd);
        assert_eq!(take(2), [1, 3].map(ProgramId));
        assert_eq!(take(2), [5, 7].map(ProgramId));
        assert_eq!(take(2), [9, 1].map(ProgramId));
        assert_eq!(take(9), [3, 5, 7, 9, 1].map(ProgramId), "each once");
    }

    /// The kernel gives a number to another group once the former one is gone.
    #[test]
    fn a_number_is_that_of_the_latest_group_that_has_it() {
        let mut groups = GroupProbes::default();
        let [a, b] = [1, 2].map(ProgramId);
        groups.insert(a, 7, at(0));
        groups.insert(b, 7, at(0));
        groups.remove(a);
        assert_eq!(groups.numbers, BTreeMap::from([(7, b)]));
        groups.insert(b, 8, at(1));
        assert_eq!(groups.numbers, BTreeMap::from([(8, b)]));
        groups.remove(b);
        assert!(groups.numbers.is_empty() && groups.programs.is_empty());
        assert_eq!(groups.next_deadline(), None);
    }
}
