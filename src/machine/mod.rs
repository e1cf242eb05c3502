//! Decides. No clock, no descriptor, no system call; it cannot fail.
//!
//! Facts go in through [`Machine::handle`] and [`Machine::handle_timeout`], time is an
//! argument, and what shall be done comes out of [`Machine::next_order`] and
//! [`Machine::next_start`]. Bytes never pass through here.
//!
//! The caller keeps three promises: after each fact it takes orders until there are none and
//! carries them out; it answers a start at once, with `Spawned`, `SpawnFailed` or `SpawnDelayed`;
//! and its moments never go back. In return no order ever concerns a group that is gone, nothing
//! starts after a stop, and every run is reported once.

pub mod child;
pub mod event;
pub mod policy;
pub mod state;
pub mod timers;

use std::collections::VecDeque;
use std::time::Duration;

use child::{Child, Effects};
pub use event::{Change, Command, Event, Moment, Order, ProgramId, Run};
use policy::PolicyId;
pub use policy::{Backoff, Exit, Policy, Restart};
use state::{Fact, Goal, Input, State, Wish};
use timers::Timers;

/// All programs, and what is to be done about them.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    children: Vec<Child>,
    /// Most programs of a config are under the policy of the one before them, and share it.
    policies: Vec<Policy>,
    timers: Timers,
    orders: VecDeque<Order>,
    starts: VecDeque<ProgramId>,
    /// How many are not settled: counted as they change, because every turn asks.
    unsettled: usize,
    /// Set by the first stop, and never taken back.
    stopping: bool,
    /// The first essential program that ended for good.
    essential_ended: Option<ProgramId>,
}

/// What a program looks like from outside.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The delay that its next restart would have.
    pub delay: Duration,
    /// Starts so far, failed ones too.
    pub starts: u64,
}

impl Machine {
    /// A machine with room for so many programs, and no more than that.
    #[must_use]
    pub fn with_capacity(programs: usize) -> Self {
        Self {
            children: Vec::with_capacity(programs),
            ..Self::default()
        }
    }

    /// Makes a program known; it is down until it is started.
    pub fn add(&mut self, policy: Policy) -> ProgramId {
        let id = ProgramId(u32::try_from(self.children.len()).expect("fewer programs than 2^32"));
        if self.policies.last() != Some(&policy) {
            self.policies.push(policy);
        }
        let policy_id = PolicyId(u32::try_from(self.policies.len() - 1).unwrap_or(u32::MAX));
        let child = Child::new(id, policy_id, &policy.backoff);
        self.children.push(child);
        id
    }

    /// Takes in one fact.
    pub fn handle(&mut self, now: Moment, event: Event) {
        match event {
            Event::Spawned { run, at } => {
                self.tell_run(now, run, Input::Fact(Fact::Spawned { at }))
            }
            Event::SpawnFailed { run, at } => {
                self.tell_run(now, run, Input::Fact(Fact::SpawnFailed { at }))
            }
            Event::SpawnDelayed { run, at } => {
                self.tell_run(now, run, Input::Fact(Fact::SpawnDelayed { at }))
            }
            Event::LeaderExited { run, exit } => {
                self.tell_run(now, run, Input::Fact(Fact::LeaderExited { exit }))
            }
            Event::GroupGone { run } => self.tell_run(now, run, Input::Fact(Fact::GroupGone)),
            Event::Commanded(Command::Start(program)) => {
                if !self.stopping {
                    self.tell(now, program, Input::Wish(Wish::Start));
                }
            }
            Event::Commanded(Command::StopAll) => self.stop_all(now, Input::Wish(Wish::Stop)),
            Event::Commanded(Command::KillAll) => self.stop_all(now, Input::Wish(Wish::Kill)),
        }
    }

    /// Lets every deadline pass that is due at `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(program) = self.timers.pop_due(now) {
            self.tell(now, program, Input::Fact(Fact::Deadline));
        }
    }

    /// The next thing to do. Changes after each call that takes `&mut self`.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// The next run to start; answer with `Spawned`, `SpawnFailed` or `SpawnDelayed` before
    /// anything else.
    pub fn next_start(&mut self) -> Option<Run> {
        loop {
            let program = self.starts.pop_front()?;
            let child = self.child_mut(program);
            if child.state == State::Due {
                // One that is about to run is as little settled as before.
                return Some(child.begin());
            }
        }
    }

    /// Whether a start is waiting to be asked for.
    #[must_use]
    pub fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// When [`Machine::handle_timeout`] is to be called next. The answer may change with every
    /// fact, and stays the same between them.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// Whether nothing runs and nothing is going to, without another command. What was given up
    /// and is wanted again is going to run when its group is gone.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        debug_assert_eq!(
            self.unsettled,
            self.children
                .iter()
                .filter(|child| !is_settled(child))
                .count()
        );
        self.unsettled == 0
    }

    /// Whether a stop was asked for, by a command or by the end of an essential program.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// The first essential program that ended for good.
    #[must_use]
    pub fn essential_ended(&self) -> Option<ProgramId> {
        self.essential_ended
    }

    /// What this program looks like from outside.
    #[must_use]
    pub fn view(&self, program: ProgramId) -> View {
        let child = &self.children[program.0 as usize];
        View {
            state: child.state,
            delay: child.delay.peek(),
            starts: child.starts,
        }
    }

    /// What decides about this program.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn policy(&self, program: ProgramId) -> &Policy {
        &self.policies[self.children[program.0 as usize].policy.0 as usize]
    }

    /// How many deadlines are kept, those that were called off too. The simulation asks.
    #[cfg_attr(not(test), allow(dead_code))]
    #[must_use]
    pub fn deadlines(&self) -> usize {
        self.timers.entries()
    }

    fn child_mut(&mut self, program: ProgramId) -> &mut Child {
        &mut self.children[program.0 as usize]
    }

    /// A stop is a latch: it empties the queue of starts before it tells anybody.
    fn stop_all(&mut self, now: Moment, input: Input) {
        self.stopping = true;
        self.starts.clear();
        for index in 0..self.children.len() {
            let id = self.children[index].id;
            self.tell(now, id, input);
        }
    }

    /// What is late for a run that has a successor is dropped here.
    fn tell_run(&mut self, now: Moment, run: Run, input: Input) {
        if self.child_mut(run.program).run() == run {
            self.tell(now, run.program, input);
        }
    }

    fn tell(&mut self, now: Moment, program: ProgramId, input: Input) {
        let child = &mut self.children[program.0 as usize];
        let policy = &self.policies[child.policy.0 as usize];
        let mut effects = Effects {
            policy,
            orders: &mut self.orders,
            timers: &mut self.timers,
            starts: &mut self.starts,
            ended: None,
        };
        let was_settled = is_settled(child);
        child.handle(now, input, &mut effects);
        match (was_settled, is_settled(child)) {
            (true, false) => self.unsettled += 1,
            (false, true) => self.unsettled -= 1,
            (true, true) | (false, false) => {}
        }
        let ended = effects.ended.is_some();
        debug_assert!(!self.stopping || child.goal != Goal::Up || child.state == State::Inactive);
        if ended && policy.essential {
            self.essential_ended = Some(program);
            self.stop_all(now, Input::Wish(Wish::Stop));
        }
    }
}

fn is_settled(child: &Child) -> bool {
    match child.state {
        State::Inactive => true,
        State::Abandoned { .. } => child.goal != Goal::Up,
        State::Waiting { .. }
        | State::Due
        | State::Spawning
        | State::Launching { .. }
        | State::Running { .. }
        | State::Stopping { .. }
        | State::Killed { .. }
        | State::Clearing { .. } => false,
    }
}

#[cfg(test)]
mod tests;
