//! Who died, and who is asked about it.
//!
//! With [`Reap::All`] the kernel names the dead, whoever they are. With [`Reap::Own`] only our
//! own pids are ever asked about: those whose pidfd has become readable, and, where the system
//! has no pidfd for us, each of them after a SIGCHLD.
//!
//! Another part of the host may reap one of ours all the same. Its status is lost then, its
//! end is not: after a SIGCHLD each of ours is looked at, though while deaths go on not after
//! every one. And as somebody may even keep SIGCHLD from us, each is looked at now and then
//! without one.

use std::time::Duration;

use crate::callbacks::News;
use crate::error::Error;
use crate::event::EventKind;
use crate::machine::{Event, Exit, Moment, ProgramId};
use crate::os::reap::{self, Seen};
use crate::program::Key;
use crate::report::signal_name;

use super::{Item, Owner, ProcessScheduler, Reap};

/// Deaths in one turn: a storm of them leaves room for the rest of the turn.
const DEATHS_PER_TURN_MAX: usize = 256;

/// The least time between two looks at every program for a stolen status.
const THEFT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often everything is looked at that should have been told of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

impl ProcessScheduler {
    /// Reaps the dead. A leader's leftovers are killed before its reap.
    pub(super) fn reap(&mut self, now: Moment) {
        self.deaths_left = false;
        if self.arrived.contains(&libc::SIGCHLD) {
            self.look_wanted = true;
            if let Some(household) = &mut self.household {
                household.want_look();
            }
        }
        let sweep = self.begin_sweep(now);
        match self.reap {
            Reap::All => self.reap_all(now, sweep),
            Reap::Own => self.reap_own(now, sweep),
        }
    }

    /// Whether it is time to look at everything, which is told once if it should not have been
    /// necessary.
    fn begin_sweep(&mut self, now: Moment) -> bool {
        if self.next_sweep.is_none_or(|at| now < at) {
            return false;
        }
        self.next_sweep = Some(now.after(SWEEP_INTERVAL));
        for signal in self.signals.take_replaced() {
            let name = signal_name(signal);
            let error = Error::new(format!(
                "another handler for {name} was installed over ours; if it does not call ours, \
                 it is looked every {} s for what was missed",
                SWEEP_INTERVAL.as_secs()
            ));
            self.own_event(EventKind::Warning { error });
        }
        true
    }

    fn reap_all(&mut self, now: Moment, sweep: bool) {
        for _ in 0..DEATHS_PER_TURN_MAX {
            let Some(death) = reap::peek() else {
                if sweep || (self.look_wanted && now >= self.next_theft_look) {
                    self.look_for_the_stolen(now);
                }
                return;
            };
            if let Some(household) = &mut self.household {
                household.want_look();
            }
            match self.owners.get(&death.pid).copied() {
                Some(Owner::Program(id)) => self.leader_died(now, id, Some(death.exit)),
                Some(Owner::ErrorCommand) => {
                    reap::reap(death.pid);
                    self.forget_commands(|pid| pid == death.pid);
                }
                None => {
                    // Somebody in the host may have been waiting for it, and was faster.
                    let Some(status) = reap::reap(death.pid) else {
                        continue;
                    };
                    if let Some(household) = &mut self.household {
                        household.reaped(death.pid);
                    }
                    let stray = News::Stray(death.pid, status);
                    self.news.push_back(Item::News(stray));
                }
            }
        }
        self.leave_deaths(now, sweep);
    }

    /// There are more than one turn may take: the next follows at once, and sweeps if this one
    /// was to.
    fn leave_deaths(&mut self, now: Moment, sweep: bool) {
        self.deaths_left = true;
        if sweep {
            self.next_sweep = Some(now);
        }
    }

    fn look_for_the_stolen(&mut self, now: Moment) {
        self.look_wanted = false;
        self.next_theft_look = now.after(THEFT_LOOK_INTERVAL);
        self.forget_commands(|pid| reap::look(pid, None) == Seen::Stolen);
        for id in self.ids() {
            if self.look_at(id) == Some(Seen::Stolen) {
                self.leader_died(now, id, None);
            }
        }
    }

    fn reap_own(&mut self, now: Moment, sweep: bool) {
        let mut suspects = self.readable_leaders();
        suspects.append(&mut self.unwatched);
        if sweep || self.look_wanted {
            let is_suspect = |id: &ProgramId| {
                let live = self.program(*id).live.as_ref();
                live.is_some_and(|live| sweep || !live.is_watched)
            };
            suspects.extend(self.ids().filter(is_suspect));
            self.forget_commands(|pid| match reap::look(pid, None) {
                Seen::Alive => false,
                Seen::Stolen => true,
                Seen::Dead(_) => reap::reap(pid).is_some(),
            });
        }
        let mut deaths = 0;
        for id in suspects {
            if deaths == DEATHS_PER_TURN_MAX {
                return self.leave_deaths(now, sweep);
            }
            match self.look_at(id) {
                Some(Seen::Dead(exit)) => self.leader_died(now, id, Some(exit)),
                Some(Seen::Stolen) => self.leader_died(now, id, None),
                // A tracer keeps its end from us. SIGCHLD will tell when it lets go.
                Some(Seen::Alive) if self.is_readable(id) => {
                    self.programs[id.0 as usize].unwatch_leader(&mut self.watch);
                    continue;
                }
                Some(Seen::Alive) | None => continue,
            }
            deaths += 1;
        }
        self.look_wanted = false;
    }

    fn readable_leaders(&self) -> Vec<ProgramId> {
        let leader = |&number: &u64| match Key::of(number) {
            Key::Leader(id) => Some(id),
            Key::Wake | Key::Stream(_) | Key::OldStream(_) => None,
        };
        self.ready.iter().filter_map(leader).collect()
    }

    fn is_readable(&self, id: ProgramId) -> bool {
        self.ready.contains(&Key::Leader(id).number())
    }

    /// How it is with a leader that is not known to be dead.
    fn look_at(&self, id: ProgramId) -> Option<Seen> {
        let live = self.program(id).live.as_ref()?;
        (!live.leader_dead).then(|| reap::look(live.pid(), live.group.pidfd()))
    }

    fn forget_commands(&mut self, has_ended: impl Fn(i32) -> bool) {
        if let Some(command) = &mut self.error_command {
            for pid in command.forget(has_ended) {
                self.owners.remove(&pid);
            }
        }
    }

    /// A leader is dead, with this status, or somebody else has that. What the machine orders
    /// in answer is carried out while the zombie pins its number; only then it is reaped.
    fn leader_died(&mut self, now: Moment, id: ProgramId, status: Option<Exit>) {
        let Some(live) = &mut self.program_mut(id).live else {
            return;
        };
        live.leader_dead = true;
        let (run, pid) = (live.run, live.pid());
        if status.is_none() {
            live.group.leader_was_reaped();
        }
        self.owners.remove(&pid);
        let exit = status.unwrap_or(Exit::Unknown);
        self.tell(now, Event::LeaderExited { run, exit });
        let ending = self.program(id).ending.as_ref();
        let asked = ending.is_some_and(|ending| ending.asked);
        let program = &mut self.programs[id.0 as usize];
        program.unwatch_leader(&mut self.watch);
        if let Some(live) = &mut program.live
            && !live.group.is_leader_reaped()
        {
            if asked {
                live.group.pin();
            }
            reap::reap(pid);
            live.group.leader_was_reaped();
        }
        self.dying.push(id);
        if !self.look_for_group(now, id) {
            self.lingering.push(id);
        }
    }
}
