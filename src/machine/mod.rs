//! Decides when programs are started, stopped and killed. It has no clock, makes no system call
//! and cannot fail.
//!
//! A program runs if and only if its goal is up and nothing holds it. Facts and commands go in
//! through [`Machine::handle`] and [`Machine::handle_timeout`], with the time as an argument; new
//! definitions through the methods of [`definitions`]. What is to be done comes out of
//! [`Machine::next_order`] and [`Machine::next_start`].
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
pub mod definitions;
#[cfg(test)]
#[allow(dead_code)] // For tests/orders.rs.
mod footprint;
pub mod graph;
mod id_map;
pub mod interface;
mod order;
pub mod policy;
pub mod shutdown;
pub mod state;
pub mod timers;

use std::collections::{BTreeSet, VecDeque};
use std::time::Duration;

use child::{Child, Effects, Flags};
use graph::{Graph, Standing};
pub use id_map::IdMap;
pub use interface::{Change, Command, Input, Moment, Order, ProgramId, Run};
pub use policy::{Backoff, Exit, ExitSet, Policy, Restart};
pub use shutdown::Shutdown;
pub use state::{Cause, ProgramState};
use state::{Fact, Goal, Purpose, State, Trigger, Verb, Why};
use timers::Timers;

/// All programs, and what is to be done next.
#[derive(Debug, Clone, Default)]
pub struct Machine {
    children: IdMap<Child>,
    timers: Timers<(ProgramId, Purpose)>,
    graph: Graph,
    orders: VecDeque<Order>,
    starts: VecDeque<ProgramId>,
    /// Programs that began to drain and have not been looked at since.
    draining: VecDeque<ProgramId>,
    /// Programs that run, and require one that may be down.
    short: VecDeque<ProgramId>,
    /// Programs that were looked at: what they have come to is noted when nothing changes any more.
    seen: VecDeque<ProgramId>,
    /// Programs that are down and to be forgotten.
    forgotten: Vec<ProgramId>,
    /// Programs that start when everything is gone that is being removed.
    added: Vec<ProgramId>,
    /// The number of children that are not settled, kept up to date because every turn asks.
    unsettled: usize,
    /// The number of children that are being removed.
    removing: usize,
    /// Set by the first stop, and never reset.
    stopping: bool,
    /// How long a shutdown may take.
    shutdown_timeout: Option<Duration>,
    /// The shutdown that has begun, if it has a deadline.
    shutdown: Option<Shutdown>,
    /// The first essential program that ended and is not restarted.
    essential_ended: Option<ProgramId>,
    /// The state of the generator that stretches delays.
    chance: u64,
    /// The programs that have changed since they were taken, if they are watched.
    changed: Option<BTreeSet<ProgramId>>,
}

/// A program as the caller sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct View {
    pub state: State,
    /// The word for its state, and when that was another one last.
    pub word: ProgramState,
    pub word_since: Moment,
    pub goal: Goal,
    /// Why it is down, if its goal is not up.
    pub why: Why,
    /// What ended its latest run, or is ending it.
    pub cause: Cause,
    /// What keeps it from its start, if that is due.
    pub hold: Option<Hold>,
    /// The delay that its next restart will have, unless a long run resets it.
    pub delay: Duration,
    /// The number of restarts since it was started, or since a run that was long enough.
    pub restarts_in_row: u32,
    /// The number of starts so far, failed ones too.
    pub starts: u64,
}

/// What keeps a program from its start.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Hold {
    /// It requires this program, which is not up.
    Requires(ProgramId),
    /// It starts after this program, which is on its way.
    After(ProgramId),
    /// Processes that left its group exist.
    Escaped,
    /// Programs that were replaced by the same change exist.
    Removals,
}

impl Machine {
    /// Returns a machine with memory for this many programs.
    #[must_use]
    pub fn with_capacity(programs: usize) -> Self {
        Self {
            children: IdMap::with_capacity(programs),
            ..Self::default()
        }
    }

    /// Sets where the sequence of stretched delays begins.
    pub fn set_seed(&mut self, seed: u64) {
        self.chance = seed;
    }

    /// True if that was set.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn has_seed(&self) -> bool {
        self.chance != 0
    }

    /// Sets how long a shutdown may take that begins after this.
    pub fn set_shutdown_timeout(&mut self, timeout: Option<Duration>) {
        self.shutdown_timeout = timeout;
    }

    /// Returns how long a shutdown may take.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn shutdown_timeout(&self) -> Option<Duration> {
        self.shutdown_timeout
    }

    /// Returns the shutdown that has begun, if it has a deadline.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn shutdown(&self) -> Option<&Shutdown> {
        self.shutdown.as_ref()
    }

    /// Says whether programs that change are noted from now on, for [`Machine::take_changed`].
    pub fn watch_changes(&mut self, watch: bool) {
        if watch {
            self.changed.get_or_insert_default();
        } else {
            self.changed = None;
        }
    }

    /// Takes the programs whose state has changed, or may have, since the last call. That of a
    /// program depends on those that it requires, too.
    pub fn take_changed(&mut self) -> BTreeSet<ProgramId> {
        let changed = self.changed.as_mut();
        changed.map(std::mem::take).unwrap_or_default()
    }

    /// Handles one fact or command. A fact about an old run of a program is dropped, and so is one
    /// about a program that was removed.
    pub fn handle(&mut self, now: Moment, input: Input) {
        let (run, fact) = match input {
            Input::Spawned { run, at } => (run, Fact::Spawned { at }),
            Input::SpawnFailed { run, at } => (run, Fact::SpawnFailed { at }),
            Input::SpawnDelayed { run, at } => (run, Fact::SpawnDelayed { at }),
            Input::LeaderExited { run, exit } => (run, Fact::LeaderExited { exit }),
            Input::GroupGone { run } => (run, Fact::GroupGone),
            Input::Ready { run } => (run, Fact::Ready),
            Input::Alive { run } => (run, Fact::Alive),
            Input::Unhealthy { run } => (run, Fact::Unhealthy),
            Input::Hung { run } => (run, Fact::Hung),
            Input::Escaped { run } => (run, Fact::Escaped),
            Input::EscapedGone { run } => (run, Fact::EscapedGone),
            Input::EscapedAbandoned { run } => (run, Fact::EscapedAbandoned),
            Input::Commanded(command) => {
                self.on_command(now, command);
                return self.resolve(now);
            }
        };
        if self
            .children
            .get(run.program)
            .is_some_and(|child| child.run(run.program) == run)
        {
            self.apply(now, run.program, Trigger::Fact(fact));
            self.resolve(now);
        }
    }

    fn on_command(&mut self, now: Moment, command: Command) {
        let mut order = |id, verb| self.order(now, id, verb, Cause::Operator);
        match command {
            Command::Start(id) => order(id, Verb::Start),
            Command::StartNew(id) => self.start_new(now, &[id]),
            Command::StartAll => {
                let all: Vec<ProgramId> = self.children.pairs().map(|(id, _)| id).collect();
                self.start_new(now, &all);
            }
            Command::Stop(id) => order(id, Verb::Stop),
            Command::Restart(id) => order(id, Verb::Restart),
            Command::Kill(id) => order(id, Verb::Kill),
            Command::Remove(id) => self.begin_removal(now, id),
            Command::StopAll => self.stop_all(now, Verb::Stop),
            Command::KillAll => self.stop_all(now, Verb::Kill),
        }
    }

    /// Handles every deadline that is due at `now`.
    pub fn handle_timeout(&mut self, now: Moment) {
        // As in nearly every turn.
        let is_due = |at: Option<Moment>| at.is_some_and(|at| at <= now);
        if !is_due(self.timers.next()) && !is_due(self.next_of_shutdown()) {
            return;
        }
        while let Some((program, purpose)) = self.timers.pop_due(now) {
            self.apply(now, program, Trigger::Fact(Fact::Deadline(purpose)));
        }
        self.end_shutdown(now);
        self.resolve(now);
    }

    /// Returns the programs that the next [`Machine::handle_timeout`] ends unless they turn out to be
    /// ready, or alive, before it.
    pub fn due_for_a_sign(&self, now: Moment) -> impl Iterator<Item = ProgramId> + '_ {
        let is_due = self.timers.next().is_some_and(|at| at <= now);
        let due = is_due.then(|| self.timers.due(now)).into_iter().flatten();
        let sign = |(id, purpose)| match purpose {
            Purpose::Ready | Purpose::Watchdog => Some(id),
            Purpose::Next | Purpose::Launch | Purpose::Stop => None,
        };
        due.filter_map(sign)
    }

    /// Takes the next order.
    pub fn next_order(&mut self) -> Option<Order> {
        self.orders.pop_front()
    }

    /// Takes the next run to start, to be answered with `Spawned`, `SpawnFailed` or
    /// `SpawnDelayed` before anything else.
    pub fn next_start(&mut self) -> Option<Run> {
        loop {
            let id = self.starts.pop_front()?;
            let Some(child) = self.children.get_mut(id) else {
                continue;
            };
            child.flags.set(Flags::QUEUED, false);
            if child.state != State::Due || child.is_held(self.graph.counts(id)) {
                continue;
            }
            let run = child.begin(id);
            self.graph.touch(id);
            return Some(run);
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
        let shutdown = self.next_of_shutdown().filter(|_| self.unsettled > 0);
        self.timers.next().into_iter().chain(shutdown).min()
    }

    fn next_of_shutdown(&self) -> Option<Moment> {
        self.shutdown.as_ref().and_then(Shutdown::next)
    }

    /// True if nothing runs, and nothing will without another command. An abandoned program that
    /// was started again is not settled: it runs once its group is gone.
    #[must_use]
    pub fn is_settled(&self) -> bool {
        debug_assert_eq!(
            self.unsettled,
            self.children
                .pairs()
                .filter(|(id, child)| !child.is_settled(self.graph.counts(*id)))
                .count()
        );
        self.unsettled == 0
    }

    /// True if a program is down because it was stopped, or does not start by itself, and may be
    /// started.
    #[must_use]
    pub fn has_stopped(&self) -> bool {
        let is_stopped =
            |child: &Child| child.goal != Goal::Up && matches!(child.why, Why::Stopped | Why::New);
        self.children.iter().any(is_stopped)
    }

    /// Returns the longest time that a program may take to stop.
    #[must_use]
    pub fn longest_stop(&self) -> Option<Duration> {
        let timeouts = self.children.iter();
        timeouts.map(|child| child.policy.stop_timeout).max()
    }

    /// True if what has left the group of a program has to end with its run: the program starts
    /// again, or was stopped. What a program leaves that has ended for good goes on.
    #[must_use]
    pub fn ends_escaped(&self, program: ProgramId) -> bool {
        let ends = |child: &Child| child.goal == Goal::Up || child.why == Why::Stopped;
        !self.stopping && self.children.get(program).is_some_and(ends)
    }

    /// True after a stop of everything, by a command or by the end of an essential program.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.stopping
    }

    /// Returns the first essential program that ended and is not restarted.
    #[must_use]
    pub fn essential_ended(&self) -> Option<ProgramId> {
        self.essential_ended
    }

    /// Returns the state of a program, if it was not removed.
    #[must_use]
    pub fn view(&self, program: ProgramId) -> Option<View> {
        let child = self.children.get(program)?;
        debug_assert_eq!(child.word, child.find_word(self.graph.counts(program)));
        Some(View {
            state: child.state,
            word: child.word,
            word_since: child.word_since,
            goal: child.goal,
            why: child.why,
            cause: child.cause,
            hold: (child.state == State::Due)
                .then(|| self.hold(program))
                .flatten(),
            delay: child.delay.peek(),
            restarts_in_row: child.delay.restarts_in_row(),
            starts: child.starts,
        })
    }

    /// True if a program is up: it runs and is ready, or has succeeded as a oneshot and is not being
    /// started again.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn is_up(&self, program: ProgramId) -> bool {
        let Some(child) = self.children.get(program) else {
            return false;
        };
        let has_succeeded = child.flags.has(Flags::SUCCEEDED);
        matches!(child.state, State::Running { .. })
            || (child.state == State::Inactive && has_succeeded)
    }

    /// True if a program is held, and does not start without another command: what it requires
    /// does not come up.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn is_blocked(&self, program: ProgramId) -> bool {
        let told = self.graph.told(program);
        let never = told.is_some_and(|told| told.standing == Standing::Never);
        let child = self.children.get(program);
        never && child.is_some_and(|child| child.state == State::Due)
    }

    /// Returns the policy of a program, if it was not removed.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn policy(&self, program: ProgramId) -> Option<&Policy> {
        self.children.get(program).map(|child| &*child.policy)
    }

    /// Returns the number of programs.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn count(&self) -> usize {
        self.children.count()
    }

    /// Returns the number of timer entries, dead ones too, for the simulation.
    #[cfg_attr(not(test), allow(dead_code))]
    #[must_use]
    pub fn deadlines(&self) -> usize {
        self.timers.entries()
    }

    /// Returns what keeps a program from a start that is due.
    fn hold(&self, id: ProgramId) -> Option<Hold> {
        let child = self.children.get(id)?;
        let (flags, counts) = (child.flags, self.graph.counts(id));
        if !child.is_held(counts) {
            return None;
        }
        if counts.is_short() || (counts.after_coming > 0 && !flags.has(Flags::PASSED)) {
            let (other, is_required) = self.graph.blame(id, flags.has(Flags::PASSED))?;
            return Some(if is_required {
                Hold::Requires(other)
            } else {
                Hold::After(other)
            });
        }
        Some(if flags.has(Flags::ESCAPED) {
            Hold::Escaped
        } else {
            Hold::Removals
        })
    }

    /// Applies a command or a fact to one program, and takes down what else follows from it.
    fn apply(&mut self, now: Moment, id: ProgramId, trigger: Trigger) {
        self.effect(now, id, |child, out| child.handle(now, trigger, out));
    }

    fn effect(
        &mut self,
        now: Moment,
        id: ProgramId,
        act: impl FnOnce(&mut Child, &mut Effects<'_>),
    ) {
        let Some(child) = self.children.get_mut(id) else {
            return;
        };
        let mut effects = Effects {
            id,
            orders: &mut self.orders,
            timers: &mut self.timers,
            starts: &mut self.starts,
            chance: &mut self.chance,
            drains: self.graph.has_dependents(id),
            essential_ended: false,
        };
        act(child, &mut effects);
        let essential_ended = effects.essential_ended;
        if child.flags.has(Flags::REMOVED) && child.is_down() {
            self.forgotten.push(id);
        }
        if matches!(child.state, State::Draining { .. }) {
            self.draining.push_back(id);
        }
        debug_assert!(!self.stopping || child.goal != Goal::Up || child.state == State::Inactive);
        // One that has neighbours is looked at when these have told how they are.
        if !self.graph.touch(id) {
            self.note(now, id);
        }
        if essential_ended {
            self.essential_ended = Some(id);
            self.stop_all(now, Verb::Stop);
        }
    }

    /// Notes what the state of a program comes to.
    fn note(&mut self, now: Moment, id: ProgramId) {
        let Some(child) = self.children.get_mut(id) else {
            return;
        };
        if let Some(changed) = &mut self.changed {
            changed.insert(id);
        }
        let counts = self.graph.counts(id);
        child.keep_word(now, counts);
        let is_unsettled = !child.is_settled(counts);
        let was_unsettled = child.flags.has(Flags::UNSETTLED);
        child.flags.set(Flags::UNSETTLED, is_unsettled);
        self.unsettled += usize::from(is_unsettled);
        self.unsettled -= usize::from(was_unsettled);
    }
}

#[cfg(test)]
mod tests;
