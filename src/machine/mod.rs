//! Decides when programs are started, stopped and killed. It has no clock, makes no system call
//! and cannot fail.
//!
//! Facts and commands go in through [`Machine::handle`] and [`Machine::handle_timeout`], with the
//! time as an argument. What is to be done comes out of [`Machine::next_order`] and
//! [`Machine::next_start`].
//!
//! The caller keeps three promises:
//!
//! 1. After each call it takes and carries out orders until there are none.
//! 2. It answers each start with `Spawned`, `SpawnFailed` or `SpawnDelayed` before anything else.
//! 3. Its moments never go back.
//!
//! In return no order concerns a group that is gone, nothing starts after a stop, and every run is
//! reported once.

pub mod child;
pub mod interface;
pub mod policy;
pub mod state;
pub mod timers;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use child::{Child, Effects};
pub use interface::{Change, Command, Input, Moment, Order, ProgramId, Run};
pub use policy::{Backoff, Exit, Policy, Restart};
use state::{Fact, Goal, State, Trigger};
use timers::Timers;

/// All programs, and what is to be done next.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    children: Vec<Child>,
    timers: Timers,
    orders: VecDeque<Order>,
    starts: VecDeque<ProgramId>,
    /// The number of children that are not settled, kept up to date because every turn asks.
    unsettled: usize,
    /// Set by the first stop, and never reset.
    stopping: bool,
    /// The first essential program that ended and is not restarted.
    essential_ended: Option<ProgramId>,
}

/// A program as the caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The delay that its next restart will have, unless a long run resets it.
    pub delay: Duration,
    /// The number of starts so far, failed ones too.
    pub starts: u64,
}

impl Machine {
    /// Returns a machine with memory for this many programs.
    #[must_use]
    pub fn with_capacity(programs: usize) -> Self {
        Self {
            children: Vec::with_capacity(programs),
            ..Self::default()
        }
    }

    /// Adds a program, which is down until it is started.
    pub fn add(&mut self, policy: Policy) -> ProgramId {
        let id = ProgramId(u32::try_from(self.children.len()).expect("fewer programs than 2^32"));
        // Most programs of a config have the policy of the one before them, and share it.
        let shared = self.children.last().map(|child| &child.policy);
        let shared = shared.filter(|shared| ***shared == policy).cloned();
        let policy = shared.unwrap_or_else(|| Arc::new(policy));
        self.children.push(Child::new(id, policy));
        id
    }

    /// Handles one fact or command. A fact about an old run of a program is dropped.
    pub fn handle(&mut self, now: Moment, input: Input) {
        let (run, fact) = match input {
            Input::Spawned { run, at } => (run, Fact::Spawned { at }),
            Input::SpawnFailed { run, at } => (run, Fact::SpawnFailed { at }),
            Input::SpawnDelayed { run, at } => (run, Fact::SpawnDelayed { at }),
            Input::LeaderExited { run, exit } => (run, Fact::LeaderExited { exit }),
            Input::GroupGone { run } => (run, Fact::GroupGone),
            Input::Commanded(command) => return self.on_command(now, command),
        };
        if self.child_mut(run.program).run() == run {
            self.apply(now, run.program, Trigger::Fact(fact));
        }
    }

    fn on_command(&mut self, now: Moment, command: Command) {
        match command {
            Command::Start(_) if self.stopping => {}
            Command::Start(program) => self.apply(now, program, Trigger::Command(Goal::Up)),
            Command::StopAll => self.stop_all(now, Goal::Down),
            Command::KillAll => self.stop_all(now, Goal::DownNow),
        }
    }

    /// Handles every deadline that is due at `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        while let Some(program) = self.timers.pop_due(now) {
            self.apply(now, program, Trigger::Fact(Fact::Deadline));
        }
    }

    /// Takes the next order.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Takes the next run to start, to be answered with `Spawned`, `SpawnFailed` or
    /// `SpawnDelayed` before anything else.
    pub fn next_start(&mut self) -> Option<Run> {
        loop {
            let program = self.starts.pop_front()?;
            let child = self.child_mut(program);
            if child.state == State::Due {
                return Some(child.begin());
            }
        }
    }

    /// True if [`Machine::next_start`] may return a run.
    #[must_use]
    pub fn has_starts(&self) -> bool {
        !self.starts.is_empty()
    }

    /// Returns when to call [`Machine::handle_timeout`] next. Only a call that takes `&mut self`
    /// changes the answer.
    #[must_use]
    pub fn next_deadline(&self) -> Option<Moment> {
        self.timers.next()
    }

    /// True if nothing runs, and nothing will without another command. An abandoned program that
    /// was started again is not settled: it runs once its group is gone.
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

    /// True after a stop, by a command or by the end of an essential program.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Returns the first essential program that ended and is not restarted.
    #[must_use]
    pub fn essential_ended(&self) -> Option<ProgramId> {
        self.essential_ended
    }

    /// Returns the state of a program.
    #[must_use]
    pub fn view(&self, program: ProgramId) -> View {
        let child = &self.children[program.0 as usize];
        View {
            state: child.state,
            delay: child.delay.peek(),
            starts: child.starts,
        }
    }

    /// Returns the policy of a program.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn policy(&self, program: ProgramId) -> &Policy {
        &self.children[program.0 as usize].policy
    }

    /// Returns the number of timer entries, dead ones too, for the simulation.
    #[cfg_attr(not(test), allow(dead_code))]
    #[must_use]
    pub fn deadlines(&self) -> usize {
        self.timers.entries()
    }

    fn child_mut(&mut self, program: ProgramId) -> &mut Child {
        &mut self.children[program.0 as usize]
    }

    /// Stops or kills everything, for good.
    fn stop_all(&mut self, now: Moment, goal: Goal) {
        self.stopping = true;
        self.starts.clear();
        for index in 0..self.children.len() {
            let id = self.children[index].id;
            self.apply(now, id, Trigger::Command(goal));
        }
    }

    fn apply(&mut self, now: Moment, program: ProgramId, trigger: Trigger) {
        let child = &mut self.children[program.0 as usize];
        let mut effects = Effects {
            orders: &mut self.orders,
            timers: &mut self.timers,
            starts: &mut self.starts,
            ended: None,
        };
        let was_settled = is_settled(child);
        child.handle(now, trigger, &mut effects);
        match (was_settled, is_settled(child)) {
            (true, false) => self.unsettled += 1,
            (false, true) => self.unsettled -= 1,
            (true, true) | (false, false) => {}
        }
        let ended = effects.ended.is_some();
        debug_assert!(!self.stopping || child.goal != Goal::Up || child.state == State::Inactive);
        if ended && child.policy.essential {
            self.essential_ended = Some(program);
            self.stop_all(now, Goal::Down);
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
