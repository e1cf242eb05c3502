//! Who died, and who is asked about it.
//!
//! A look at one child costs the same however many there are; a look at all, to find one that
//! is dead, costs the more the more there are that live (0.3 ms with 10,000). So a turn looks
//! at those that something points to: whom a SIGCHLD was about (a *hint*), and whose stderr
//! has come to its end (a *suspect*). With [`Reap::All`] the kernel names the dead besides,
//! whoever they are: a *round*, until nobody is left, once a SIGCHLD has come since the last.
//! With few children that is in the same turn, with many a *pace* later, so that rounds cost
//! at most one part in three hundred of the time, and in a storm far less than one for each death.
//!
//! Nothing is lost by that. One SIGCHLD may stand for many deaths, but it comes after all of
//! them: the kernel makes the zombie, then the signal. So the round that it asks for finds
//! whoever it was not about: at the latest a pace later, and sooner where the pipe has ended.
//! A hint is never believed, as anybody may send it: it costs a look at one number.
//!
//! With [`Reap::Own`] only our own pids are ever asked about: those whose pidfd has become
//! readable, and, where the system has no pidfd for us or does not say which are readable, those
//! that a SIGCHLD was about, and in the round each.
//!
//! Another part of the host may reap one of ours all the same. Its status is lost then, its
//! end is not: a hint, and the end of its pipe, lead to it, and after a SIGCHLD each of ours
//! is looked at, some at a time. And as somebody may even keep SIGCHLD from us, each is looked
//! at now and then without one. Where orphans come home we are alone in the process
//! ([`Builder::subreaper`](super::Builder::subreaper)), and nobody steals.

use std::collections::VecDeque;
use std::time::Duration;

use crate::callbacks::News;
use crate::error::Error;
use crate::event::EventKind;
use crate::machine::{Event, Exit, Moment, ProgramId};
use crate::os::reap::{self, Death, Seen};
use crate::program::Key;
use crate::report::signal_name;

use super::pace::Pace;
use super::{Item, Owner, ProcessScheduler, Reap};

/// Deaths in one turn: a storm of them leaves room for the rest of the turn.
const DEATHS_PER_TURN_MAX: usize = 256;

/// Looks in one turn at programs whose pipe has ended.
const SUSPECTS_PER_TURN_MAX: usize = 256;

/// How long a round is put off for each child: three hundred times what it takes, so that ten
/// thousand, of which a hundred die each second, cost each death no more than a few hundred do.
const ROUND_PACE: Duration = Duration::from_micros(10);

/// The same where each of ours has to be asked about by its number.
const OWN_ROUND_PACE: Duration = Duration::from_micros(30);

/// Looks at programs for a stolen status in one turn, and the least time between two such
/// turns.
const THEFT_LOOKS_PER_TURN_MAX: usize = 256;
const THEFT_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// How often everything is looked at that should have been told of.
const SWEEP_INTERVAL: Duration = Duration::from_secs(15);

/// Where to look for the dead.
pub(super) struct Lookout {
    /// Whom the SIGCHLDs of this turn were about.
    hints: Vec<i32>,
    /// Programs whose pipe has ended and whose leader is not known to be dead.
    suspects: VecDeque<ProgramId>,
    /// So many of the first of them are to be looked at.
    suspects_due: usize,
    /// The look at all.
    round: Pace,
    /// Programs that are to be looked at for a stolen status, and which is the next.
    theft_looks_left: usize,
    next_theft: usize,
    next_theft_look: Moment,
    /// They are looked at in turns that follow each other at once: it is done seldom enough.
    is_sweeping: bool,
}

impl Lookout {
    pub(super) fn new(reap: Reap) -> Self {
        Self {
            hints: Vec::new(),
            suspects: VecDeque::new(),
            suspects_due: 0,
            round: Pace::new(match reap {
                Reap::All => ROUND_PACE,
                Reap::Own => OWN_ROUND_PACE,
            }),
            theft_looks_left: 0,
            next_theft: 0,
            next_theft_look: Moment::default(),
            is_sweeping: false,
        }
    }

    /// Whether a look is left that this turn had no room for.
    pub(super) fn is_look_left(&self) -> bool {
        self.suspects_due > 0
    }

    pub(super) fn next_round(&self) -> Option<Moment> {
        self.round.next()
    }

    pub(super) fn next_theft_look(&self) -> Option<Moment> {
        (self.theft_looks_left > 0).then_some(self.next_theft_look)
    }

    /// The round has found nobody: who is suspected was alive.
    fn round_is_over(&mut self) {
        self.round.done();
        self.suspects.clear();
        self.suspects_due = 0;
    }
}

impl ProcessScheduler {
    /// Who died before anybody listened is looked for in the first turn.
    pub(super) fn begin_to_reap(&mut self, now: Moment) {
        self.lookout.round.want(now, 0);
    }

    /// Reaps the dead. A leader's leftovers are killed before its reap.
    pub(super) fn reap(&mut self, now: Moment) {
        self.deaths_left = false;
        if self.arrived.contains(&libc::SIGCHLD) {
            self.spawner.reap_failed();
            self.signals.take_hints(&mut self.lookout.hints);
            self.lookout.suspects_due = self.lookout.suspects.len();
            if self.reap == Reap::All {
                // From the begin, and so not at once: in a storm there would be no end to it.
                self.lookout.theft_looks_left = self.programs.len();
                self.lookout.is_sweeping = false;
            }
            self.lookout.round.want(now, self.owners.len());
            self.want_look_for_orphans(now);
        }
        let sweep = self.begin_sweep(now);
        // The end does not wait for its pace.
        let is_last = self.lookout.next_round().is_some() && self.machine.is_settled();
        let is_round = sweep || is_last || self.lookout.round.is_due(now);
        match self.reap {
            Reap::All => self.reap_all(now, sweep, is_round),
            Reap::Own => self.reap_own(now, sweep, is_round),
        }
    }

    /// Whether it is time to look at everything, which is told once if it should not have been
    /// necessary.
    fn begin_sweep(&mut self, now: Moment) -> bool {
        if self.next_sweep.is_none_or(|at| now < at) {
            return false;
        }
        self.next_sweep = Some(now.after(SWEEP_INTERVAL));
        if self.reap == Reap::All {
            self.lookout.theft_looks_left = self.programs.len();
            self.lookout.next_theft_look = now;
            self.lookout.is_sweeping = true;
        }
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

    fn reap_all(&mut self, now: Moment, sweep: bool, is_round: bool) {
        for pid in std::mem::take(&mut self.lookout.hints) {
            self.look_at_hinted(now, pid);
        }
        self.look_at_suspects(now);
        if is_round {
            let mut latest = None;
            for deaths in 0.. {
                if deaths == DEATHS_PER_TURN_MAX {
                    return self.leave_deaths(now, sweep);
                }
                match reap::peek() {
                    Ok(Some(death)) if Some(death.pid) != latest => {
                        latest = Some(death.pid);
                        self.child_died(now, death);
                    }
                    Ok(None) => break,
                    // One that is still there after its reap cannot be reaped, and hides the
                    // others, as an error does.
                    Ok(Some(_)) | Err(_) => {
                        self.look_at_every_leader(now);
                        break;
                    }
                }
            }
            self.lookout.round_is_over();
        }
        self.look_for_the_stolen(now);
    }

    /// By their numbers, where nothing tells who is dead.
    fn look_at_every_leader(&mut self, now: Moment) {
        for id in self.ids() {
            match self.look_at(id) {
                Some(Seen::Dead(exit)) => self.leader_died(now, id, Some(exit)),
                Some(Seen::Stolen) => self.leader_died(now, id, None),
                Some(Seen::Alive) | None => {}
            }
        }
    }

    /// A child that is dead and not reaped, whoever it is.
    fn child_died(&mut self, now: Moment, Death { pid, exit }: Death) {
        self.want_look_for_orphans(now);
        match self.owners.get(&pid).copied() {
            Some(Owner::Program(id)) => self.leader_died(now, id, Some(exit)),
            Some(Owner::ErrorCommand) => {
                reap::reap(pid);
                self.forget_commands(|command| command == pid);
            }
            None => {
                // Somebody in the host may have been waiting for it, and was faster.
                let is_of_start = self.spawner.forget_failed(pid);
                let Some(status) = reap::reap(pid) else {
                    return;
                };
                if is_of_start {
                    return;
                }
                if let Some(household) = &mut self.household {
                    household.reaped(pid);
                }
                let stray = News::Stray(pid, status);
                self.news.push_back(Item::News(stray));
            }
        }
    }

    /// A signal has said that this one is dead: of whom that is not true, nothing is known.
    fn look_at_hinted(&mut self, now: Moment, pid: i32) {
        let owner = self.owners.get(&pid).copied();
        match (reap::look(pid, None), owner) {
            (Seen::Dead(exit), _) => self.child_died(now, Death { pid, exit }),
            (Seen::Stolen, Some(Owner::Program(id))) => self.leader_died(now, id, None),
            (Seen::Stolen, Some(Owner::ErrorCommand)) => {
                self.forget_commands(|command| command == pid);
            }
            (Seen::Stolen, None) | (Seen::Alive, _) => {}
        }
    }

    /// Nobody writes to the pipe of this run any more: as a rule because it is about to die, in
    /// which case SIGCHLD will say so, or is dead by now, and SIGCHLD stood for another.
    pub(super) fn suspect(&mut self, id: ProgramId) {
        match self.look_at(id) {
            Some(Seen::Dead(_) | Seen::Stolen) => {
                self.lookout.suspects.push_front(id);
                self.lookout.suspects_due += 1;
            }
            Some(Seen::Alive) => self.lookout.suspects.push_back(id),
            None => {}
        }
    }

    fn look_at_suspects(&mut self, now: Moment) {
        for _ in 0..self.lookout.suspects_due.min(SUSPECTS_PER_TURN_MAX) {
            let Some(id) = self.lookout.suspects.pop_front() else {
                break;
            };
            self.lookout.suspects_due -= 1;
            match self.look_at(id) {
                Some(Seen::Dead(exit)) => self.leader_died(now, id, Some(exit)),
                Some(Seen::Stolen) => self.leader_died(now, id, None),
                Some(Seen::Alive) => self.lookout.suspects.push_back(id),
                None => {}
            }
        }
    }

    /// There are more than one turn may take: the next follows at once, and sweeps if this one
    /// was to.
    fn leave_deaths(&mut self, now: Moment, sweep: bool) {
        self.deaths_left = true;
        if sweep {
            self.next_sweep = Some(now);
        }
    }

    /// Looks at some, as all of them would be milliseconds of a turn.
    fn look_for_the_stolen(&mut self, now: Moment) {
        let is_alone = self.household.is_some() && self.next_sweep.is_none();
        let is_due = self.lookout.next_theft_look().is_some_and(|at| at <= now);
        if is_alone || !is_due {
            return;
        }
        self.forget_commands(|pid| reap::look(pid, None) == Seen::Stolen);
        let count = self.lookout.theft_looks_left.min(THEFT_LOOKS_PER_TURN_MAX);
        self.lookout.theft_looks_left -= count;
        self.lookout.is_sweeping &= self.lookout.theft_looks_left > 0;
        if !self.lookout.is_sweeping {
            self.lookout.next_theft_look = now.after(THEFT_LOOK_INTERVAL);
        }
        for _ in 0..count {
            let id = ProgramId(self.lookout.next_theft as u32);
            self.lookout.next_theft = (self.lookout.next_theft + 1) % self.programs.len();
            if self.look_at(id) == Some(Seen::Stolen) {
                self.leader_died(now, id, None);
            }
        }
    }

    fn reap_own(&mut self, now: Moment, sweep: bool, is_round: bool) {
        let mut suspects = self.readable_leaders();
        suspects.extend(self.unwatched.drain(..).map(|id| (id, false)));
        let is_told = !self.lookout.hints.is_empty();
        for pid in std::mem::take(&mut self.lookout.hints) {
            if let Some(&Owner::Program(id)) = self.owners.get(&pid) {
                suspects.push((id, false));
            }
        }
        if is_round {
            let is_each = sweep || self.watch.is_deaf();
            let is_suspect = |id: &ProgramId| {
                let live = self.program(*id).live.as_ref();
                live.is_some_and(|live| is_each || !live.is_watched)
            };
            suspects.extend(self.ids().filter(is_suspect).map(|id| (id, false)));
        }
        if is_round || is_told {
            self.forget_commands(|pid| match reap::look(pid, None) {
                Seen::Alive => false,
                Seen::Stolen => true,
                Seen::Dead(_) => reap::reap(pid).is_some(),
            });
        }
        let mut deaths = 0;
        let mut suspects = suspects.into_iter();
        while let Some((id, is_readable)) = suspects.next() {
            match self.look_at(id) {
                Some(Seen::Dead(exit)) => self.leader_died(now, id, Some(exit)),
                Some(Seen::Stolen) => self.leader_died(now, id, None),
                // A tracer keeps its end from us. SIGCHLD will tell when it lets go.
                Some(Seen::Alive) if is_readable => {
                    self.programs[id.0 as usize].unwatch_leader(&mut self.watch);
                    continue;
                }
                Some(Seen::Alive) | None => continue,
            }
            deaths += 1;
            if deaths == DEATHS_PER_TURN_MAX && suspects.len() > 0 {
                self.unwatched.extend(suspects.map(|(id, _)| id));
                return self.leave_deaths(now, sweep);
            }
        }
        if is_round {
            self.lookout.round_is_over();
        }
    }

    /// Those whose pidfd says that they are dead.
    fn readable_leaders(&self) -> Vec<(ProgramId, bool)> {
        let leader = |&number: &u64| match Key::of(number) {
            Key::Leader(id) => Some((id, true)),
            Key::Wake | Key::Stream(_) | Key::OldStream(_) => None,
        };
        self.ready.iter().filter_map(leader).collect()
    }

    /// How it is with a leader that is not known to be dead.
    fn look_at(&self, id: ProgramId) -> Option<Seen> {
        let live = self.program(id).live.as_ref()?;
        (!live.leader_dead).then(|| reap::look(live.pid(), live.group.pidfd()))
    }

    fn forget_commands(&mut self, has_ended: impl Fn(i32) -> bool) {
        let Some(command) = &mut self.error_command else {
            return;
        };
        let mut trouble = Vec::new();
        let say = |said| trouble.push(said);
        for pid in command.forget(&mut self.spawner, has_ended, say) {
            self.owners.remove(&pid);
        }
        self.note_said(trouble);
    }

    /// A leader is dead, with this status, or somebody else has that. What the machine orders
    /// in answer is carried out while the zombie pins its number; only then it is reaped.
    pub(super) fn leader_died(&mut self, now: Moment, id: ProgramId, status: Option<Exit>) {
        if !self.end_launch(id) {
            return;
        }
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
            self.keep_lingering(id);
        }
    }
}
