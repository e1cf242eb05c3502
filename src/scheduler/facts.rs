//! Facts: whose group is gone, what the operator wants.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::callbacks::News;
use crate::event::{EventKind, StopCause};
use crate::machine::{Command, Event, Moment, ProgramId};
use crate::os::children;
use crate::os::stat::zombies_only;
use crate::os::wake::Asked;
use crate::program::Live;

use super::{Item, ProcessScheduler, SECOND_SIGNAL_AFTER};

/// The least time between two looks into `/proc` for groups of zombies, and how many times as long
/// as a look itself it is at least after one that has found none: one takes the longer the more
/// processes there are.
const ZOMBIE_LOOK_INTERVAL: Duration = Duration::from_millis(100);
const ZOMBIE_LOOK_PAUSE: u32 = 100;

/// Groups in one such look, at 30 microseconds each.
const SUSPECTS_PER_LOOK_MAX: usize = 1024;

impl ProcessScheduler {
    /// Looks whether those groups are gone that have no leader any more and whose turn it is.
    pub(super) fn look_for_groups(&mut self, now: Moment) {
        let child_died = self.arrived.contains(&libc::SIGCHLD);
        let mut is_one_suspect = false;
        for id in self.lingering.take_due(now, child_died) {
            self.look_for_group(now, id);
            is_one_suspect |= self.program(id).is_suspect();
            self.keep_lingering(id);
        }
        if is_one_suspect && now >= self.next_zombie_look {
            self.look_for_zombies(now);
        }
    }

    /// Has this group asked for again, when its run has it, for as long as it may have members.
    pub(super) fn keep_lingering(&mut self, id: ProgramId) {
        let live = self.program(id).live.as_ref();
        let lingers = |live: &&Live| {
            let is_dying = !live.leader_dead && live.killed_at().is_some();
            (live.group.is_leader_reaped() || is_dying) && !live.awaits_search()
        };
        match live.filter(lingers).map(Live::next_probe) {
            Some(probe_at) => self.lingering.insert(id, probe_at),
            None => self.lingering.remove(id),
        }
    }

    /// Groups of nothing but zombies of another process's children count as gone. The look at all
    /// processes is taken for many groups together, and takes a hundredth of the time at most if
    /// it finds none.
    fn look_for_zombies(&mut self, now: Moment) {
        let programs = &self.programs;
        let is_suspect = |id: ProgramId| programs[id.0 as usize].is_suspect();
        let suspects = self
            .lingering
            .take_suspects(SUSPECTS_PER_LOOK_MAX, is_suspect);
        let leaders = suspects
            .iter()
            .filter_map(|&id| self.program(id).live.as_ref());
        let groups: BTreeSet<i32> = leaders.map(Live::pid).collect();
        let start = self.clock.now();
        let zombies = zombies_only(&groups);
        let end = self.clock.now();
        let mut pause = end.since(start).saturating_mul(ZOMBIE_LOOK_PAUSE);
        for id in suspects {
            let Some(live) = &self.program(id).live else {
                continue;
            };
            let is_over = match &zombies {
                Some(zombies) => zombies.contains(&live.pid()),
                // Without /proc a dead member is far more likely than one that cannot die; but
                // not where orphans come home, as the dead do too, and are reaped.
                None => live.is_overdue(now) && self.household.is_none(),
            };
            if is_over {
                pause = Duration::ZERO;
                self.group_gone(now, id);
                self.keep_lingering(id);
            }
        }
        self.next_zombie_look = end.after(pause.max(ZOMBIE_LOOK_INTERVAL));
    }

    /// Whether the group of this program is gone, and told so.
    pub(super) fn look_for_group(&mut self, now: Moment, id: ProgramId) -> bool {
        let program = self.program_mut(id);
        let Some(live) = &mut program.live else {
            return true;
        };
        if live.awaits_search() {
            return false;
        }
        if !live.group.is_leader_reaped() {
            self.look_at_killed_leader(now, id);
            return false;
        }
        if !live.is_gone(now) {
            if let Some(error) = live.take_delay(now) {
                self.event(id, EventKind::Warning { error });
            }
            return false;
        }
        self.group_gone(now, id);
        true
    }

    /// A leader that was killed may be dead, and kept from us by a tracer: then that may have its
    /// status, and nothing waits for it.
    fn look_at_killed_leader(&mut self, now: Moment, id: ProgramId) {
        let Some(live) = self.programs[id.0 as usize].live.as_mut() else {
            return;
        };
        live.put_off_probe(now);
        let pid = live.pid();
        let is_suspect = !live.leader_dead && live.has_answered_long();
        if is_suspect && children::is_withheld_zombie(pid) {
            self.leader_died(now, id, None);
        }
    }

    /// Nothing is left in the group. If something may have left it, the machine is told later.
    fn group_gone(&mut self, now: Moment, id: ProgramId) {
        let must_search = self.must_search(now, id);
        let program = self.program_mut(id);
        if let Some(live) = &mut program.live
            && must_search
        {
            live.leaving().awaits_search = true;
        } else if let Some(live) = program.live.take() {
            self.tell(now, Event::GroupGone { run: live.run });
        }
    }

    /// Carries out what signals and handles asked for.
    pub(super) fn obey(&mut self, now: Moment) {
        // What has been executed by now is asked to stop, and what has not is killed.
        if !self.arrived.is_empty() || self.waker.is_asked() {
            self.look_at_launches(now);
        }
        while let Some(signal) = self.arrived.pop() {
            if self.stop_signals.contains(&signal) {
                let sender = self.signals.take_sender(signal);
                self.stop_signal_arrived(now, StopCause::Signal { signal, sender });
            } else if signal != libc::SIGCHLD {
                self.news.push_back(Item::News(News::Signal(signal)));
            }
        }
        match self.waker.take() {
            Some(Asked::Kill) => self.kill_all(now, StopCause::Host),
            Some(Asked::Stop) => self.stop_all(now, StopCause::Host),
            None => {}
        }
    }

    fn stop_signal_arrived(&mut self, now: Moment, cause: StopCause) {
        match self.first_stop_signal {
            None => {
                self.first_stop_signal = Some(now);
                self.stop_all(now, cause);
            }
            Some(first) if now.since(first) >= SECOND_SIGNAL_AFTER => self.kill_all(now, cause),
            Some(_) => {}
        }
    }

    fn stop_all(&mut self, now: Moment, cause: StopCause) {
        self.say_why(Asked::Stop, cause);
        self.tell(now, Event::Commanded(Command::StopAll));
    }

    fn kill_all(&mut self, now: Moment, cause: StopCause) {
        self.say_why(Asked::Kill, cause);
        self.tell(now, Event::Commanded(Command::KillAll));
        if let Some(household) = &mut self.household {
            household.close(now);
        }
    }
}
