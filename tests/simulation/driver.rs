//! A caller of the machine that keeps its promises, and no more than these.
//!
//! After each fact it takes the orders; a start is answered before another is asked for; its
//! clock never goes back. A start may be late: then it has a process, whose exec or end is told
//! when it is seen. Everything else may come at any time: orders are carried out late,
//! though in order, before the reap that gives a number back, and before the next start. Half
//! of the drivers signal groups by handle, so that they may tell facts in any order; the other
//! half signal by number, and look what is gone before they tell a wish or let time pass.

use std::collections::VecDeque;
use std::fmt;

use crate::machine::state::{Leader, State};
use crate::machine::{Change, Command, Input, Machine, Moment, Order, Policy, ProgramId, Run};

use super::tally::Tally;
use super::world::{Group, PIDS, Temper, World};
use crate::model::account::{Time, moment, time};
use crate::model::ledger::{Check, Ledger};
use crate::model::rng::Rng;
use crate::model::witness::Witness;

/// What the driver keeps about a program's run, from its start until its group is gone.
#[derive(Debug, Clone, Copy)]
struct Held {
    run: Run,
    group: Group,
    /// The answer to its start is still to come.
    launching: bool,
    exit_told: bool,
}

pub struct Driver {
    pub rng: Rng,
    pub world: World,
    pub machine: Machine,
    pub ledger: Ledger,
    pub witness: Witness,
    pub now: Time,
    pub policies: Vec<Policy>,
    held: Vec<Option<Held>>,
    /// Signals that were ordered and not sent yet.
    late: VecDeque<(Group, i32)>,
    orders: Vec<Order>,
    /// Signals are sent to numbers, as on a kernel without handles.
    pub by_number: bool,
    /// Orders are carried out at once, starts succeed, and nothing stalls.
    pub fair: bool,
    pub tally: Tally,
    pub trace: Option<Vec<String>>,
}

impl Driver {
    pub fn new(rng: Rng, policies: Vec<Policy>, traced: bool) -> Self {
        let mut machine = Machine::with_capacity(0);
        let mut ledger = Ledger::default();
        for &policy in &policies {
            machine
                .add(Moment::default(), policy)
                .expect("an id is left");
            ledger.add(policy);
        }
        Self {
            rng,
            world: World::default(),
            machine,
            ledger,
            witness: Witness::new(policies.len()),
            now: 0,
            held: vec![None; policies.len()],
            policies,
            late: VecDeque::new(),
            orders: Vec::new(),
            by_number: false,
            fair: false,
            tally: Tally::default(),
            trace: traced.then(Vec::new),
        }
    }

    /// Writes a line of the trace, if there is one.
    pub fn say(&mut self, what: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>20} ns  {what}", self.now));
        }
    }

    pub fn programs(&self) -> usize {
        self.policies.len()
    }

    /// Tells the machine, and sees whether it does what it owes.
    pub fn tell(&mut self, event: Input) -> Check {
        self.say(format_args!("told      {event:?}"));
        match event {
            Input::Commanded(command) => self.witness.commanded(command),
            Input::LeaderExited { run, .. } => self.witness.leader_died(run),
            Input::GroupGone { run } => self.witness.gone(run),
            Input::Spawned { .. } | Input::SpawnFailed { .. } | Input::SpawnDelayed { .. } => {}
            Input::Ready { .. } | Input::Alive { .. } => {}
            Input::Unhealthy { .. } | Input::Hung { .. } => {}
            Input::Escaped { .. } | Input::EscapedGone { .. } | Input::EscapedAbandoned { .. } => {}
        }
        self.ledger.take_in(self.now, event);
        self.machine.handle(moment(self.now), event);
        self.take_orders()
    }

    pub fn timeout(&mut self) -> Check {
        if self.by_number {
            self.facts()?;
        }
        self.say(format_args!("timeout"));
        self.ledger.pass(self.now);
        self.machine.handle_timeout(moment(self.now));
        let next = self.machine.next_deadline();
        if next.is_some_and(|next| next <= moment(self.now)) {
            return Err(format!(
                "after the timeout a deadline is still past: {next:?}"
            ));
        }
        self.take_orders()
    }

    fn take_orders(&mut self) -> Check {
        self.orders.clear();
        while let Some(order) = self.machine.next_order() {
            self.say(format_args!("  ordered {order:?}"));
            self.witness.ordered(self.now, order)?;
            self.tally.count(order);
            if let Order::Notify { run, change } = order {
                let held = self.held[run.program.0 as usize];
                let launching = held.is_some_and(|held| held.launching);
                self.tally.late_given_up +=
                    u64::from(launching && matches!(change, Change::Abandoned { .. }));
            }
            self.orders.push(order);
        }
        self.ledger.settle(&self.orders)?;
        for index in 0..self.orders.len() {
            if let Order::Signal { run, signal } = self.orders[index] {
                self.queue_signal(run, signal)?;
            }
        }
        if self.fair || self.rng.one_in(2) {
            self.carry_out(usize::MAX)?;
        }
        self.check()
    }

    fn queue_signal(&mut self, run: Run, signal: i32) -> Check {
        let held = self.held[run.program.0 as usize].filter(|held| held.run == run);
        let Some(Held { group, .. }) = held else {
            return Err(format!("signal {signal} for {run:?}, which is not there"));
        };
        if self.by_number && !self.world.exists(group) {
            return Err(format!("signal {signal} for {run:?}, whose group is gone"));
        }
        self.late.push_back((group, signal));
        Ok(())
    }

    /// Sends the oldest of the signals that were ordered.
    pub fn carry_out(&mut self, limit: usize) -> Check {
        for _ in 0..limit {
            let Some((group, signal)) = self.late.pop_front() else {
                break;
            };
            if !self.by_number && !self.world.exists(group) {
                self.tally.missed += 1;
                continue;
            }
            let hit = self.world.signal(group.number, signal);
            self.say(format_args!(
                "  sent    {signal} to {}: {hit:?}",
                group.number
            ));
            if hit.is_some_and(|hit| hit != group) {
                return Err(format!(
                    "signal {signal} for {group:?} hit a stranger: {hit:?}"
                ));
            }
            self.tally.missed += u64::from(hit.is_none());
        }
        Ok(())
    }

    pub fn has_late_orders(&self) -> bool {
        !self.late.is_empty()
    }

    /// Everything that can be seen from outside, after each step.
    pub fn check(&mut self) -> Check {
        #[cfg(test)]
        if let Some(child) = self.machine.snapshot().impossible() {
            return Err(format!("this cannot be: {child:?}"));
        }
        self.ledger.see_words(self.now, &self.machine)?;
        self.ledger.agrees(&self.machine)
    }

    /// A turn: what happened, what is due, what may start.
    pub fn turn(&mut self) -> Check {
        self.facts()?;
        self.timeout()?;
        let limit = if self.fair {
            PIDS
        } else {
            1 + self.rng.index(PIDS)
        };
        for _ in 0..limit {
            if !self.start_one()? {
                break;
            }
        }
        Ok(())
    }

    /// Everything that there is to be told, deaths first.
    pub fn facts(&mut self) -> Check {
        self.carry_out(usize::MAX)?;
        for program in 0..self.programs() {
            self.tell_launch(program)?;
        }
        let mut told = 0;
        for program in 0..self.programs() {
            told += u64::from(self.tell_exit(program)?);
        }
        self.tally.coalesced += u64::from(told > 1);
        for program in 0..self.programs() {
            self.tell_gone(program)?;
        }
        Ok(())
    }

    /// Tells what a start has come to that was late, if it is known.
    pub fn tell_launch(&mut self, program: usize) -> Check {
        let Some(held) = self.held[program].filter(|held| held.launching) else {
            return Ok(());
        };
        let Held { run, group, .. } = held;
        let is_executed = self.world.has_executed(group);
        if !is_executed && self.world.zombie(group).is_none() {
            return Ok(());
        }
        // The clock may have been read again for it.
        let at = moment(self.now + self.rng.below(2) * self.rng.below(3_000_000));
        let was_killed = self.ledger.accounts[program].was_killed();
        self.tally.late_killed += u64::from(was_killed);
        if is_executed {
            let launching = false;
            self.held[program] = Some(Held { launching, ..held });
            self.witness.started(run);
            self.tally.late_starts += 1;
            self.tally.late_kills += u64::from(was_killed);
            return self.tell_later(Input::Spawned { run, at });
        }
        // Signals that were ordered reach the dead, if they were not sent yet.
        self.carry_out(usize::MAX)?;
        self.world.reap(group);
        self.held[program] = None;
        self.witness.failed(run);
        self.tally.late_failures += 1;
        self.tell_later(Input::SpawnFailed { run, at })
    }

    /// Tells the machine, and the clock goes on to the moment that it is told of.
    fn tell_later(&mut self, event: Input) -> Check {
        self.tell(event)?;
        if let Input::Spawned { at, .. } | Input::SpawnFailed { at, .. } = event {
            self.now = self.now.max(time(at));
        }
        Ok(())
    }

    /// Tells the death of a leader, if there is one to tell, and reaps it.
    pub fn tell_exit(&mut self, program: usize) -> Result<bool, String> {
        // Whoever is late has its answer first.
        self.tell_launch(program)?;
        let held = self.held[program].filter(|held| !held.exit_told && !held.launching);
        let Some(held) = held else {
            return Ok(false);
        };
        let Some(exit) = self.world.zombie(held.group) else {
            return Ok(false);
        };
        self.held[program] = Some(Held {
            exit_told: true,
            ..held
        });
        self.tell(Input::LeaderExited {
            run: held.run,
            exit,
        })?;
        // The reap gives the number back, so the orders come before it; but it can wait.
        if self.fair || !self.rng.one_in(8) {
            self.carry_out(usize::MAX)?;
            self.world.reap(held.group);
        }
        Ok(true)
    }

    /// Tells that a group is gone, if one is.
    pub fn tell_gone(&mut self, program: usize) -> Check {
        let Some(held) = self.held[program].filter(|held| held.exit_told) else {
            return Ok(());
        };
        self.carry_out(usize::MAX)?;
        self.world.reap(held.group);
        if self.world.exists(held.group) {
            return Ok(());
        }
        self.held[program] = None;
        self.tell(Input::GroupGone { run: held.run })
    }

    pub fn command(&mut self, command: Command) -> Check {
        if self.by_number {
            self.facts()?;
        }
        self.tell(Input::Commanded(command))
    }

    /// A sign of life, or of what is left: without a promise of when it comes.
    pub fn any_sign(&mut self, run: Run) -> Input {
        match self.rng.below(10) {
            0..=2 => Input::Ready { run },
            3 | 4 => Input::Alive { run },
            5 => Input::Unhealthy { run },
            6 => Input::Hung { run },
            7 => Input::Escaped { run },
            8 => Input::EscapedAbandoned { run },
            _ => Input::EscapedGone { run },
        }
    }

    /// A command for one program, or for all.
    fn any_command(&mut self, program: ProgramId) -> Command {
        match self.rng.below(8) {
            0 => Command::StopAll,
            1 => Command::KillAll,
            2 | 3 => Command::Stop(program),
            4 => Command::Kill(program),
            5 => Command::Restart(program),
            6 => Command::Start(program),
            _ => Command::Remove(program),
        }
    }

    /// The run that was begun last, if its start was answered.
    pub fn latest_run(&self, program: usize) -> Option<Run> {
        let account = &self.ledger.accounts[program];
        let generation = account.starts;
        (generation > 0 && !account.starting).then_some(Run {
            program: ProgramId(program as u32),
            generation,
        })
    }

    /// Asks for a start and answers it; whether there was one.
    pub fn start_one(&mut self) -> Result<bool, String> {
        self.carry_out(usize::MAX)?;
        let Some(run) = self.machine.next_start() else {
            return if self.ledger.has_ready() {
                Err("nothing is started".to_owned())
            } else {
                Ok(false)
            };
        };
        self.say(format_args!("starts    {run:?}"));
        let alone = !self.world.has_process_of(run.program.0 as usize);
        self.witness.begins(self.now, run, alone)?;
        self.ledger.begin(run)?;
        self.check()?;
        self.tally.starts += 1;
        if !self.fair && self.rng.one_in(1024) {
            self.tally.stopped_in_start += 1;
            for _ in 0..1 + self.rng.index(3) {
                let command = self.any_command(run.program);
                self.tell(Input::Commanded(command))?;
            }
        }
        // A start takes its time; the clock of the turn may be read again for it, or not.
        let at = self.now + self.rng.below(3_000_000);
        if self.rng.one_in(2) {
            self.now = at;
        }
        let fails = !self.fair && self.rng.one_in(8);
        let temper = self.rng.pick(&[
            Temper::Polite,
            Temper::Polite,
            Temper::Slow,
            Temper::Stubborn,
        ]);
        let late = !self.fair && self.rng.one_in(6);
        let group = if fails {
            None
        } else {
            self.world.spawn(run.program.0 as usize, temper, late)
        };
        let Some(group) = group else {
            self.tell(Input::SpawnFailed {
                run,
                at: moment(at),
            })?;
            self.now = at;
            return Ok(true);
        };
        if !self.fair && self.rng.one_in(3) {
            let temper = self
                .rng
                .pick(&[Temper::Polite, Temper::Slow, Temper::Stubborn]);
            self.world.fork(group.number, temper);
        }
        self.held[run.program.0 as usize] = Some(Held {
            run,
            group,
            launching: late,
            exit_told: false,
        });
        self.tell_answer(run, moment(at), late)?;
        self.now = at;
        Ok(true)
    }

    fn tell_answer(&mut self, run: Run, at: Moment, late: bool) -> Check {
        if late {
            self.witness.delayed(run);
            self.tally.delayed += 1;
            return self.tell(Input::SpawnDelayed { run, at });
        }
        self.witness.started(run);
        self.tell(Input::Spawned { run, at })
    }

    /// News of a run that has a successor: nothing may come of it.
    pub fn tell_stale(&mut self) -> Check {
        let program = self.rng.index(self.programs());
        let starts = self.ledger.accounts[program].starts;
        if starts < 2 {
            return Ok(());
        }
        let generation = 1 + self.rng.below(starts - 1);
        let run = Run {
            program: ProgramId(program as u32),
            generation,
        };
        let at = moment(self.now);
        let event = match self.rng.below(6) {
            0 => Input::Spawned { run, at },
            1 => Input::SpawnFailed { run, at },
            2 => Input::SpawnDelayed { run, at },
            3 => Input::LeaderExited {
                run,
                exit: super::chaos::any_exit(&mut self.rng),
            },
            4 => Input::GroupGone { run },
            _ => self.any_sign(run),
        };
        self.tally.stale += 1;
        self.say(format_args!("stale     {event:?}"));
        self.ledger.take_in(self.now, event);
        self.machine.handle(moment(self.now), event);
        self.take_orders()
    }

    /// Whether a turn would have something to tell.
    pub fn has_news(&self) -> bool {
        self.held.iter().flatten().any(|held| {
            let died = !held.exit_told && self.world.zombie(held.group).is_some();
            let gone = held.exit_told && !self.world.exists(held.group);
            let executed = held.launching && self.world.has_executed(held.group);
            died || gone || executed
        })
    }

    pub fn is_abandoned(&self, program: usize) -> Option<Leader> {
        let view = self.machine.view(ProgramId(program as u32))?;
        match view.state {
            State::Abandoned { leader } => Some(leader),
            _ => None,
        }
    }
}
