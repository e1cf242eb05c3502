//! One small world: two programs, the machine, the kernel, and the observers of the simulation.
//!
//! Everything that can happen next is a [`Step`]. The caller of the machine keeps its promises
//! and no others: it takes all orders after each fact and carries them out, it answers a start
//! before it tells anything but a stop, and if it signals by number it looks who is gone before
//! it tells a wish or a timeout. It may be late with everything else.

use std::fmt;

use crate::machine::{Command, Exit, Input, Machine, Order, Policy, ProgramId, Run};
use crate::model::account::{Account, Time, moment, nanos};
use crate::model::ledger::{Check, Ledger};
use crate::model::witness::Witness;

use super::fair::{Fair, FairSet};
use super::world::{Process, World};

pub const PROGRAMS: usize = 2;

/// When the world begins, and how long a start is under way when it is told as late: so nearly
/// all of its time is over, and moments are few.
const BEGIN: Time = 100 * SECOND;
const LATE: Time = 88 * SECOND;
const SECOND: Time = 1_000_000_000;

/// How a leader may end: well, badly, by a signal, and unseen.
const EXITS: [Exit; 4] = [
    Exit::Code(0),
    Exit::Code(1),
    Exit::Signal {
        signal: 9,
        core_dumped: false,
    },
    Exit::Unknown,
];

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Step {
    Start(usize),
    Stop(usize),
    Restart(usize),
    Kill(usize),
    StopAll,
    KillAll,
    /// The next start is asked for.
    Begin,
    Spawned,
    SpawnFailed,
    SpawnDelayed,
    /// What was late executes its program after all, also if it was killed in the same moment.
    LateSpawned(usize),
    /// What was late could not execute it, or was killed, and is reaped.
    LateFailed(usize),
    /// The leader dies, that is told, and it is reaped.
    Exit(usize, Exit),
    Fork(usize),
    MemberDies(usize),
    Gone(usize),
    Timeout,
    /// The clock goes on to the next moment at which anything differs.
    Clock,
}

/// What the caller keeps about a run until its group is gone.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Held {
    pub run: Run,
    pub group: usize,
    pub exit_told: bool,
}

/// Who the two programs are, and what their signals go to.
#[derive(Debug, Clone, Copy)]
pub struct Setting {
    pub policies: [Policy; PROGRAMS],
    /// Signals go to numbers, as on a kernel without handles.
    pub by_number: bool,
    /// Starts of the first program may be late.
    pub late: bool,
    /// The first program is stopped, restarted and killed by hand.
    pub by_hand: bool,
}

#[derive(Clone)]
pub struct State {
    pub machine: Machine,
    pub ledger: Ledger,
    pub witness: Witness,
    pub world: World,
    pub now: Time,
    pub held: [Option<Held>; PROGRAMS],
    /// A start that was asked for and not answered.
    pub starting: Option<Run>,
    by_number: bool,
    late: bool,
    by_hand: bool,
}

fn id(program: usize) -> ProgramId {
    ProgramId(program as u32)
}

impl State {
    pub fn new(setting: &Setting) -> Self {
        let mut machine = Machine::with_capacity(PROGRAMS);
        let mut ledger = Ledger::default();
        for &policy in &setting.policies {
            machine.add(moment(0), policy).expect("an id is left");
            ledger.add(policy);
        }
        Self {
            machine,
            ledger,
            witness: Witness::new(PROGRAMS),
            world: World::default(),
            now: BEGIN,
            held: [None; PROGRAMS],
            starting: None,
            by_number: setting.by_number,
            late: setting.late,
            by_hand: setting.by_hand,
        }
    }

    /// All that can happen, each with who owes it, if it is owed.
    pub fn steps(&self, mut each: impl FnMut(Step, Option<Fair>)) {
        let looked = !self.by_number || (0..PROGRAMS).all(|program| !self.is_gone(program));
        if looked {
            each(Step::StopAll, None);
            each(Step::KillAll, None);
            if self.by_hand {
                each(Step::Stop(0), None);
                each(Step::Restart(0), None);
                each(Step::Kill(0), None);
            }
        }
        if let Some(run) = self.starting {
            if self.world.free_number().is_some() {
                each(Step::Spawned, Some(Fair::Answer));
                if self.late && run.program == id(0) {
                    each(Step::SpawnDelayed, Some(Fair::Answer));
                }
            }
            return each(Step::SpawnFailed, Some(Fair::Answer));
        }
        for program in 0..PROGRAMS {
            if looked {
                each(Step::Start(program), None);
            }
            self.steps_of(program, &mut each);
        }
        if self.machine.has_starts() {
            each(Step::Begin, Some(Fair::Begin));
        }
        if looked && self.has_due() {
            each(Step::Timeout, Some(Fair::Timeout));
        }
        if self.next_moment().is_some() {
            each(Step::Clock, Some(Fair::Clock));
        }
    }

    fn steps_of(&self, program: usize, each: &mut impl FnMut(Step, Option<Fair>)) {
        let Some(held) = self.held[program] else {
            return;
        };
        if let Some(leader) = self.leader(program) {
            let owed = leader.killed.then_some(Fair::Death(program));
            if leader.new {
                each(Step::LateSpawned(program), None);
                return each(Step::LateFailed(program), owed);
            }
            for exit in EXITS {
                each(Step::Exit(program, exit), owed);
            }
            if !leader.killed && self.world.free_number().is_some() {
                each(Step::Fork(program), None);
            }
        }
        if let Some(member) = self.world.member(held.group) {
            let owed = self
                .world
                .is_killed(member)
                .then_some(Fair::MembersDeath(program));
            each(Step::MemberDies(program), owed);
        }
        if self.is_gone(program) {
            each(Step::Gone(program), Some(Fair::News(program)));
        }
    }

    /// What is owed, also where something else has to come first.
    pub fn owed(&self) -> FairSet {
        let mut owed = FairSet::default();
        let mut owe = |fair, is_owed| {
            if is_owed {
                owed.insert(fair);
            }
        };
        owe(Fair::Clock, self.next_moment().is_some());
        owe(Fair::Timeout, self.has_due());
        owe(Fair::Begin, self.machine.has_starts());
        owe(Fair::Answer, self.starting.is_some());
        for program in 0..PROGRAMS {
            let leader = self.leader(program);
            let member = self.held[program].and_then(|held| self.world.member(held.group));
            owe(Fair::News(program), self.is_gone(program));
            owe(
                Fair::Death(program),
                leader.is_some_and(|leader| leader.killed),
            );
            owe(
                Fair::MembersDeath(program),
                member.is_some_and(|member| self.world.is_killed(member)),
            );
        }
        owed
    }

    /// The leader of a program's run, if it is there.
    fn leader(&self, program: usize) -> Option<Process> {
        let held = self.held[program].filter(|held| !held.exit_told)?;
        self.world.leader(held.group)
    }

    fn has_due(&self) -> bool {
        self.deadlines().any(|deadline| deadline <= self.now)
    }

    /// Nothing is left of a group, and nobody was told.
    fn is_gone(&self, program: usize) -> bool {
        let group = self.held[program].filter(|held| held.exit_told);
        group.is_some_and(|held| self.world.owner(held.group) != Some(program))
    }

    fn deadlines(&self) -> impl Iterator<Item = Time> {
        self.ledger.accounts.iter().filter_map(Account::deadline)
    }

    /// The next deadline, or the next moment at which a run has lasted long enough for its delay
    /// to begin anew. Both are passed over by a caller that is late.
    fn next_moment(&self) -> Option<Time> {
        let resets = |account: &Account| {
            let backoff = account.policy.backoff;
            let matters = backoff.initial != backoff.max;
            account.resets_at().filter(|_| matters)
        };
        let resets = self.ledger.accounts.iter().filter_map(resets);
        let moments = self.deadlines().chain(resets);
        moments.filter(|&moment| moment > self.now).min()
    }

    /// Lets it happen, and says what may not be so afterwards. Orders go to `trace`, too.
    pub fn take(&mut self, step: Step, trace: &mut dyn FnMut(fmt::Arguments<'_>)) -> Check {
        match step {
            Step::Start(program) => self.command(Command::Start(id(program)), trace),
            Step::Stop(program) => self.command(Command::Stop(id(program)), trace),
            Step::Restart(program) => self.command(Command::Restart(id(program)), trace),
            Step::Kill(program) => self.command(Command::Kill(id(program)), trace),
            Step::StopAll => self.command(Command::StopAll, trace),
            Step::KillAll => self.command(Command::KillAll, trace),
            Step::Begin => self.begin(),
            Step::Spawned | Step::SpawnFailed | Step::SpawnDelayed => self.answer(step, trace),
            Step::LateSpawned(program) => {
                let Held { run, group, .. } = self.held[program].ok_or("nobody is held")?;
                self.world.set_new(group, false);
                self.witness.started(run);
                let at = moment(self.now);
                self.tell(Input::Spawned { run, at }, trace)
            }
            Step::LateFailed(program) => {
                let Held { run, group, .. } = self.held[program].take().ok_or("nobody is held")?;
                self.world.remove(group);
                self.witness.failed(run);
                let at = moment(self.now);
                self.tell(Input::SpawnFailed { run, at }, trace)
            }
            Step::Exit(program, exit) => self.exit(program, exit, trace),
            Step::Fork(program) => {
                let group = self.group_of(program)?;
                let number = self.world.free_number().ok_or("no number is free")?;
                self.world.place(number, program, group);
                Ok(())
            }
            Step::MemberDies(program) => {
                let member = self.world.member(self.group_of(program)?);
                self.world.remove(member.ok_or("no member is there")?);
                Ok(())
            }
            Step::Gone(program) => {
                let held = self.held[program].take().ok_or("nobody is held")?;
                self.witness.gone(held.run);
                self.tell(Input::GroupGone { run: held.run }, trace)
            }
            Step::Timeout => {
                self.ledger.pass(self.now);
                self.machine.handle_timeout(moment(self.now));
                self.take_orders(trace)
            }
            Step::Clock => {
                self.now = self.next_moment().ok_or("there is no next moment")?;
                Ok(())
            }
        }?;
        self.ledger.see_words(self.now, &self.machine)?;
        self.ledger.agrees(&self.machine)
    }

    fn group_of(&self, program: usize) -> Result<usize, String> {
        let held = self.held[program].ok_or("nobody is held")?;
        Ok(held.group)
    }

    fn command(&mut self, command: Command, trace: &mut dyn FnMut(fmt::Arguments<'_>)) -> Check {
        self.witness.commanded(command);
        self.tell(Input::Commanded(command), trace)
    }

    fn begin(&mut self) -> Check {
        let Some(run) = self.machine.next_start() else {
            // What was called off may have been in the queue.
            return match self.ledger.has_ready() {
                true => Err("nothing is started".to_owned()),
                false => Ok(()),
            };
        };
        let alone = !self.world.has_process_of(run.program.0 as usize);
        self.witness.begins(self.now, run, alone)?;
        self.ledger.begin(run)?;
        self.starting = Some(run);
        Ok(())
    }

    fn answer(&mut self, how: Step, trace: &mut dyn FnMut(fmt::Arguments<'_>)) -> Check {
        let run = self.starting.take().ok_or("nothing is being started")?;
        let at = moment(self.now);
        if how == Step::SpawnFailed {
            return self.tell(Input::SpawnFailed { run, at }, trace);
        }
        let program = run.program.0 as usize;
        let group = self.world.free_number().ok_or("no number is free")?;
        self.world.place(group, program, group);
        self.held[program] = Some(Held {
            run,
            group,
            exit_told: false,
        });
        if how == Step::SpawnDelayed {
            self.world.set_new(group, true);
            self.witness.delayed(run);
            let at = moment(self.now - LATE);
            return self.tell(Input::SpawnDelayed { run, at }, trace);
        }
        self.witness.started(run);
        self.tell(Input::Spawned { run, at }, trace)
    }

    fn exit(
        &mut self,
        program: usize,
        exit: Exit,
        trace: &mut dyn FnMut(fmt::Arguments<'_>),
    ) -> Check {
        let held = self.held[program].as_mut().ok_or("nobody is held")?;
        held.exit_told = true;
        let Held { run, group, .. } = *held;
        self.witness.leader_died(run);
        self.tell(Input::LeaderExited { run, exit }, trace)?;
        self.world.remove(group);
        Ok(())
    }

    fn tell(&mut self, event: Input, trace: &mut dyn FnMut(fmt::Arguments<'_>)) -> Check {
        self.ledger.take_in(self.now, event);
        self.machine.handle(moment(self.now), event);
        self.take_orders(trace)
    }

    fn take_orders(&mut self, trace: &mut dyn FnMut(fmt::Arguments<'_>)) -> Check {
        let mut orders = Vec::new();
        while let Some(order) = self.machine.next_order() {
            trace(format_args!("  ordered {order:?}"));
            self.witness.ordered(self.now, order)?;
            orders.push(order);
        }
        self.ledger.settle(&orders)?;
        for &order in &orders {
            if let Order::Signal { run, signal } = order {
                self.send(run, signal)?;
            }
        }
        Ok(())
    }

    fn send(&mut self, run: Run, signal: i32) -> Check {
        let program = run.program.0 as usize;
        let held = self.held[program].filter(|held| held.run == run);
        let group = held.ok_or_else(|| format!("signal {signal} for {run:?}, which is not there"));
        let group = group?.group;
        match self.world.owner(group) {
            Some(owner) if owner == program => self.world.signal(group, signal),
            // A handle knows that its group is gone, whoever has the number now.
            _ if !self.by_number => {}
            hit => {
                return Err(format!("signal {signal} for {run:?} hits {hit:?}"));
            }
        }
        Ok(())
    }

    /// News of earlier runs, every kind: nothing comes of any.
    pub fn shrug_at_stale_news(&mut self) -> Check {
        let at = moment(self.now);
        for program in 0..PROGRAMS {
            let generation = self.ledger.accounts[program].starts.saturating_sub(1);
            if generation == 0 {
                continue;
            }
            let run = Run {
                program: id(program),
                generation,
            };
            let exit = Exit::Code(1);
            for event in [
                Input::Spawned { run, at },
                Input::SpawnFailed { run, at },
                Input::SpawnDelayed { run, at },
                Input::LeaderExited { run, exit },
                Input::GroupGone { run },
                Input::Ready { run },
                Input::Alive { run },
                Input::Unhealthy { run },
                Input::Hung { run },
                Input::Escaped { run },
                Input::EscapedGone { run },
                Input::EscapedAbandoned { run },
            ] {
                self.machine.handle(at, event);
                if let Some(order) = self.machine.next_order() {
                    return Err(format!("{event:?} is an earlier run's, and gave {order:?}"));
                }
            }
        }
        self.ledger.agrees(&self.machine)
    }

    /// A stop was asked for, by a command or by the end of an essential program.
    pub fn is_stopping(&self) -> bool {
        self.ledger.stopping
    }

    /// Nothing is left of any run, and everything was told.
    pub fn is_over(&self) -> bool {
        self.ledger.is_settled() && self.world.is_empty() && self.held == [None; PROGRAMS]
    }

    /// It is not wanted, and something of it is there that was not given up.
    pub fn is_leaving(&self, program: usize) -> bool {
        let account = &self.ledger.accounts[program];
        !account.wanted && account.life.is_some_and(|life| !life.given_up)
    }

    /// It is wanted, and neither runs nor is being started. What was killed for being late is
    /// not being started any more.
    pub fn is_missed(&self, program: usize) -> bool {
        let account = &self.ledger.accounts[program];
        let late = account
            .life
            .is_some_and(|life| !life.executed && life.awaited.is_none());
        let tried = account.is_up() || account.starting || late;
        account.wanted && !tried && !self.ledger.stopping
    }
}

/// How long a run counts; longer ones are alike.
pub fn uptime_max(policy: &Policy) -> Time {
    if policy.backoff.initial == policy.backoff.max {
        0
    } else {
        nanos(policy.backoff.reset_after)
    }
}
