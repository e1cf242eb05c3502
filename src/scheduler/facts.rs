//! Facts: who died, whose group is gone, what the operator wants.

use std::time::Duration;

use crate::callbacks::News;
use crate::event::EventKind;
use crate::machine::{Command, Event, Exit, Moment, ProgramId};
use crate::os::group::living_groups;
use crate::os::reap::{self, Death};

use crate::program::ZOMBIES_ONLY_AFTER;

use super::{Item, Owner, ProcessScheduler, SECOND_SIGNAL_AFTER};

/// Deaths in one turn: a storm of them leaves room for the rest of the turn.
const DEATHS_PER_TURN_MAX: usize = 256;

/// The least time between two looks at every program for a stolen status, while deaths go on.
const THEFT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

impl ProcessScheduler {
    /// Reaps every dead child. A leader's leftovers are killed before its reap.
    pub(super) fn reap_all(&mut self, now: Moment) {
        self.deaths_left = false;
        self.theft_possible |= self.arrived.contains(&libc::SIGCHLD);
        for count in 0..DEATHS_PER_TURN_MAX {
            let Some(death) = reap::peek() else {
                let is_silent = count == 0 || now >= self.next_theft_look;
                if self.theft_possible && is_silent {
                    self.look_for_the_stolen(now);
                }
                return;
            };
            match self.owners.remove(&death.pid) {
                Some(Owner::Program(id)) => self.leader_died(now, id, death),
                Some(Owner::ErrorCommand) => {
                    reap::reap(death.pid);
                    if let Some(command) = &mut self.error_command {
                        command.forget(|pid| pid == death.pid);
                    }
                }
                None => {
                    // Somebody in the host may have been waiting for it, and was faster.
                    let Some(status) = reap::reap(death.pid) else {
                        continue;
                    };
                    self.news
                        .push_back(Item::News(News::Stray(death.pid, status)));
                }
            }
        }
        self.deaths_left = true;
    }

    /// After a SIGCHLD that no dead child explains, and now and then after others: perhaps
    /// another part of the host reaped one of ours. Its status is lost, its end is not.
    fn look_for_the_stolen(&mut self, now: Moment) {
        self.theft_possible = false;
        self.next_theft_look = now.after(THEFT_LOOK_INTERVAL);
        if let Some(command) = &mut self.error_command {
            for pid in command.forget(reap::is_stolen) {
                self.owners.remove(&pid);
            }
        }
        for id in self.ids() {
            let Some(live) = &mut self.program_mut(id).live else {
                continue;
            };
            let pid = live.pid();
            if live.leader_dead || !reap::is_stolen(pid) {
                continue;
            }
            live.group.leader_was_reaped();
            self.owners.remove(&pid);
            let exit = Exit::Unknown;
            self.leader_died(now, id, Death { pid, exit });
        }
    }

    /// What the machine orders in answer is carried out while the zombie pins its number; only
    /// then it is reaped.
    fn leader_died(&mut self, now: Moment, id: ProgramId, death: Death) {
        let Some(live) = &mut self.program_mut(id).live else {
            return;
        };
        live.leader_dead = true;
        let run = live.run;
        self.tell(
            now,
            Event::LeaderExited {
                run,
                exit: death.exit,
            },
        );
        let asked = self
            .program(id)
            .ending
            .as_ref()
            .is_some_and(|ending| ending.asked);
        if let Some(live) = &mut self.program_mut(id).live
            && !live.group.is_leader_reaped()
        {
            if asked {
                live.group.pin();
            }
            reap::reap(death.pid);
            live.group.leader_was_reaped();
        }
        self.dying.push(id);
        if !self.look_for_group(now, id) {
            self.lingering.push(id);
        }
    }

    /// Looks whether the groups are gone that have no leader any more.
    pub(super) fn look_for_groups(&mut self, now: Moment) {
        for id in self.lingering.clone() {
            self.look_for_group(now, id);
        }
        self.look_for_zombies(now);
        let programs = &self.programs;
        self.lingering.retain(|id| {
            let live = &programs[id.0 as usize].live;
            live.as_ref()
                .is_some_and(|live| live.group.is_leader_reaped())
        });
    }

    /// Groups of nothing but somebody else's zombies count as gone. The look at all processes
    /// is taken for all groups together, and not often.
    fn look_for_zombies(&mut self, now: Moment) {
        let is_overdue = |id: &ProgramId| {
            let live = self.program(*id).live.as_ref();
            live.is_some_and(|live| live.is_overdue(now))
        };
        let overdue: Vec<ProgramId> = self.lingering.iter().copied().filter(is_overdue).collect();
        if overdue.is_empty() || now < self.next_zombie_look {
            return;
        }
        self.next_zombie_look = now.after(ZOMBIES_ONLY_AFTER);
        // Without /proc the kernel's word has to do, as a dead member is far more likely than
        // one that cannot die.
        let living = living_groups().unwrap_or_default();
        for id in overdue {
            let program = self.program_mut(id);
            if let Some(live) = program.live.take_if(|live| !living.contains(&live.pid())) {
                self.tell(now, Event::GroupGone { run: live.run });
            }
        }
    }

    /// Whether the group of this program is gone, and told so.
    fn look_for_group(&mut self, now: Moment, id: ProgramId) -> bool {
        let program = self.program_mut(id);
        let Some(live) = &mut program.live else {
            return true;
        };
        if !live.group.is_leader_reaped() {
            return false;
        }
        if !live.is_gone(now) {
            if let Some(error) = live.take_delay(now) {
                self.event(id, EventKind::Warning { error });
            }
            return false;
        }
        let run = live.run;
        program.live = None;
        self.tell(now, Event::GroupGone { run });
        true
    }

    /// Carries out what signals and handles asked for.
    pub(super) fn obey(&mut self, now: Moment) {
        while let Some(signal) = self.arrived.pop() {
            if self.stop_signals.contains(&signal) {
                self.stop_signal_arrived(now);
            } else if signal != libc::SIGCHLD {
                self.news.push_back(Item::News(News::Signal(signal)));
            }
        }
        let (stop, kill) = self.waker.take();
        if kill {
            self.tell(now, Event::Commanded(Command::KillAll));
        } else if stop {
            self.tell(now, Event::Commanded(Command::StopAll));
        }
    }

    fn stop_signal_arrived(&mut self, now: Moment) {
        match self.first_stop_signal {
            None => {
                self.first_stop_signal = Some(now);
                self.tell(now, Event::Commanded(Command::StopAll));
            }
            Some(first) if now.since(first) >= SECOND_SIGNAL_AFTER => {
                self.tell(now, Event::Commanded(Command::KillAll));
            }
            Some(_) => {}
        }
    }
}
