//! One program's life: every command and every fact in every state, matched without a default.
//!
//! What is wanted ([`Goal`]) and what is the case ([`State`]) are two fields, so that
//! "restarting" needs no state of its own.
//!
//! ```text
//!              Start                 next_start            Spawned
//!   Inactive ─────────► Due ───────────────────► Spawning ─────────► Running
//!      ▲                 ▲                          │                 │   │
//!      │            delay over                 SpawnFailed      exits │   │ Stop
//!      │                 │                          │       by itself │   ▼
//!      │              Waiting ◄─────────────────────┤                 │ Stopping
//!      │                 ▲                          │                 │   │ deadline,
//!      │                 │ group gone               │                 ▼   ▼ or Kill
//!      │                 └───────────────────── Clearing ◄────────────┤ Killed ──► Abandoned
//!      │                                                              │   │    5 s
//!      └──────────────────────────────────────────────────────────────┴───┘
//!        ended for good, or stopped, and the group is gone
//! ```
//!
//! A start that is not answered at once is `Launching`: its process exists, but has not executed
//! the program yet. It is killed at its deadline, or at a stop.
//!
//! Three rules hold everywhere:
//!
//! 1. A process group is killed while its leader is an unreaped zombie, which keeps the pid from
//!    being reused: at an exit without a stop, before the reap.
//! 2. A new run begins only after the old group is gone.
//! 3. While the goal is not [`Goal::Up`], nothing starts, and no deadline moves later.

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::interface::{Change, Moment, Order, ProgramId, Run};
use super::policy::{Delay, Exit, Policy};
use super::state::Goal::{self, Down, DownNow, Up};
use super::state::Leader::{self, Alive, Dead, New};
use super::state::{Fact, State, State as S, Trigger};
use super::timers::Timers;

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// How long a group may exist after SIGKILL before it is abandoned.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// How long a new process may take to execute its program before it is killed. A lease on the
/// file (fcntl(2), F_SETLEASE) delays that by 45 s at most, and systemd allows a start 90 s.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(90);

/// Where a child's answers go.
pub struct Effects<'a> {
    pub orders: &'a mut VecDeque<Order>,
    pub timers: &'a mut Timers,
    /// Programs that may start, in order.
    pub starts: &'a mut VecDeque<ProgramId>,
    /// The final exit of a program that ended without a stop and is not restarted.
    pub ended: Option<Exit>,
}

/// One program.
#[derive(Debug, Clone)]
pub struct Child {
    pub id: ProgramId,
    pub policy: Arc<Policy>,
    pub goal: Goal,
    pub state: State,
    pub delay: Delay,
    /// The number of starts, failed ones too: the generation of the latest run.
    pub starts: u64,
}

impl Child {
    pub fn new(id: ProgramId, policy: Arc<Policy>) -> Self {
        Self {
            id,
            goal: Down,
            state: S::Inactive,
            delay: Delay::new(&policy.backoff),
            policy,
            starts: 0,
        }
    }

    /// Returns the latest run.
    pub fn run(&self) -> Run {
        Run {
            program: self.id,
            generation: self.starts,
        }
    }

    /// Begins a new run, which the scheduler starts now.
    pub fn begin(&mut self) -> Run {
        debug_assert_eq!(self.state, S::Due);
        self.starts = self.starts.saturating_add(1);
        self.state = S::Spawning;
        self.run()
    }

    /// Applies one command or fact.
    pub fn handle(&mut self, now: Moment, trigger: Trigger, out: &mut Effects<'_>) {
        match trigger {
            Trigger::Command(goal) => self.on_command(now, goal, out),
            Trigger::Fact(fact) => self.on_fact(now, fact, out),
        }
    }

    /// Handles a command in every state. A start is [`Goal::Up`], a stop [`Goal::Down`] and a kill
    /// [`Goal::DownNow`].
    fn on_command(&mut self, now: Moment, wanted: Goal, out: &mut Effects<'_>) {
        self.set_goal(wanted);
        match (self.state, wanted) {
            (S::Inactive | S::Waiting { .. }, Up) => {
                out.timers.disarm(self.id);
                self.become_due(out);
            }
            (
                S::Due | S::Spawning | S::Launching { .. } | S::Running { .. } | S::Clearing { .. },
                Up,
            ) => {}
            // The start waits until the group is gone.
            (S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. }, Up) => {}
            (S::Inactive | S::Killed { .. } | S::Abandoned { .. }, Down | DownNow) => {}
            (S::Waiting { .. } | S::Due, Down | DownNow) => {
                out.timers.disarm(self.id);
                self.state = S::Inactive;
            }
            // The answer to the start comes first; it finds the new goal.
            (S::Spawning, Down | DownNow) => {}
            // The program has not been executed, so it cannot handle a stop signal.
            (S::Launching { .. }, Down | DownNow) => self.kill(now, now, New, out),
            (S::Running { since }, Down | DownNow) => self.stop(now, since, out),
            (S::Stopping { .. }, Down) => {}
            (S::Stopping { since, leader }, DownNow) => self.kill(now, since, leader, out),
            // The rest of its group has had SIGKILL since the exit; from now on it is waited for.
            (S::Clearing { .. }, Down | DownNow) => {
                self.await_death(now, now, Dead, out);
            }
        }
    }

    /// Handles a fact. Each of these methods matches every state; a fact that is impossible in a
    /// state is a bug of the caller.
    fn on_fact(&mut self, now: Moment, fact: Fact, out: &mut Effects<'_>) {
        match fact {
            Fact::Spawned { at } | Fact::SpawnFailed { at } => self.on_answer(now, at, fact, out),
            Fact::SpawnDelayed { at } => self.on_spawn_delayed(now, at, out),
            Fact::LeaderExited { exit } => self.on_leader_exited(now, exit, out),
            Fact::GroupGone => self.on_group_gone(now, out),
            Fact::Deadline => self.on_deadline(now, out),
        }
    }

    /// Handles the answer to a start: it was executed, or it failed.
    fn on_answer(&mut self, now: Moment, at: Moment, fact: Fact, out: &mut Effects<'_>) {
        let executed = matches!(fact, Fact::Spawned { .. });
        match self.state {
            S::Spawning | S::Launching { .. } => self.answered(now, at, executed, out),
            // If it was executed before the SIGKILL for its late start reached it, its end is like
            // any other.
            S::Killed { leader: New, .. } if !executed || self.goal == Up => {
                self.answered(now, at, executed, out);
            }
            S::Killed { leader: New, .. } => {
                let (since, leader) = (at, Alive);
                self.state = S::Killed { since, leader };
                self.notify(Change::Started, out);
            }
            // Its run was reported when it was abandoned; each run has one report.
            S::Abandoned { leader: New } if executed => {
                self.state = S::Abandoned { leader: Alive };
            }
            S::Abandoned { leader: New } => self.stopped(out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Running { .. } | S::Clearing { .. } => {
                self.impossible(fact, out);
            }
            S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. } => {
                self.impossible(fact, out);
            }
        }
    }

    fn on_spawn_delayed(&mut self, now: Moment, at: Moment, out: &mut Effects<'_>) {
        match self.state {
            S::Spawning if self.goal == Up => {
                let until = at.after(LAUNCH_TIMEOUT);
                self.state = S::Launching { until };
                out.timers.arm(self.id, until);
            }
            S::Spawning => self.kill(now, now, New, out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Launching { .. } | S::Running { .. } => {
                self.impossible(Fact::SpawnDelayed { at }, out);
            }
            S::Stopping { .. } | S::Killed { .. } | S::Clearing { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::SpawnDelayed { at }, out);
            }
        }
    }

    fn on_leader_exited(&mut self, now: Moment, exit: Exit, out: &mut Effects<'_>) {
        match self.state {
            S::Running { since } => self.ended_by_itself(now, since, exit, out),
            S::Stopping { since, leader } | S::Killed { since, leader } if leader == Alive => {
                self.ended_as_asked(now, since, exit, out);
            }
            // Its run was reported when it was abandoned; each run has one report.
            S::Abandoned { leader: Alive } => self.state = S::Abandoned { leader: Dead },
            S::Inactive | S::Waiting { .. } | S::Due | S::Spawning | S::Launching { .. } => {
                self.impossible(Fact::LeaderExited { exit }, out);
            }
            S::Clearing { .. } | S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::LeaderExited { exit }, out);
            }
        }
    }

    fn on_group_gone(&mut self, now: Moment, out: &mut Effects<'_>) {
        match self.state {
            S::Stopping { leader, .. } | S::Killed { leader, .. } | S::Abandoned { leader }
                if leader == Dead =>
            {
                self.stopped(out);
            }
            S::Clearing { start_at } => self.wait_until(now, start_at, out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Spawning | S::Launching { .. } => {
                self.impossible(Fact::GroupGone, out);
            }
            S::Running { .. } | S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::GroupGone, out);
            }
        }
    }

    fn on_deadline(&mut self, now: Moment, out: &mut Effects<'_>) {
        match self.state {
            S::Waiting { .. } => self.become_due(out),
            S::Launching { .. } => self.kill(now, now, New, out),
            S::Stopping { since, leader } => self.kill(now, since, leader, out),
            S::Killed { leader, .. } => self.abandon(leader, out),
            S::Inactive | S::Due | S::Spawning | S::Running { .. } | S::Clearing { .. } => {
                self.impossible(Fact::Deadline, out);
            }
            S::Abandoned { .. } => self.impossible(Fact::Deadline, out),
        }
    }

    /// Abandons a group that survived SIGKILL. If that was a start which is not retried, the
    /// program has ended as well.
    fn abandon(&mut self, leader: Leader, out: &mut Effects<'_>) {
        self.state = S::Abandoned { leader };
        self.notify(Change::Abandoned, out);
        let is_start = leader == New && self.goal == Up;
        if is_start && !self.policy.restart.wants(Exit::Unknown) {
            self.goal = Down;
            out.ended = Some(Exit::Unknown);
        }
    }

    /// Sets the goal; a stop does not turn a kill back into a stop.
    fn set_goal(&mut self, wanted: Goal) {
        if (self.goal, wanted) != (DownNow, Down) {
            self.goal = wanted;
        }
    }

    fn become_due(&mut self, out: &mut Effects<'_>) {
        self.state = S::Due;
        out.starts.push_back(self.id);
    }

    fn wait_until(&mut self, now: Moment, until: Moment, out: &mut Effects<'_>) {
        if until <= now {
            return self.become_due(out);
        }
        self.state = S::Waiting { until };
        out.timers.arm(self.id, until);
    }

    fn answered(&mut self, now: Moment, at: Moment, executed: bool, out: &mut Effects<'_>) {
        out.timers.disarm(self.id);
        if !executed {
            return self.start_failed(at, out);
        }
        self.state = S::Running { since: at };
        self.notify(Change::Started, out);
        if self.goal != Up {
            self.stop(now, at, out);
        }
    }

    /// Treats a failed start like a failed run, with the same backoff.
    fn start_failed(&mut self, at: Moment, out: &mut Effects<'_>) {
        if self.goal == Up && self.policy.restart.wants(Exit::Unknown) {
            let delay = self.delay.after_failed_start(&self.policy.backoff);
            let retry_in = Some(delay);
            self.notify(Change::StartFailed { retry_in }, out);
            return self.wait_until(at, at.after(delay), out);
        }
        self.state = S::Inactive;
        self.notify(Change::StartFailed { retry_in: None }, out);
        if self.goal == Up {
            self.goal = Down;
            out.ended = Some(Exit::Unknown);
        }
    }

    /// Handles an exit without a stop. Kills the rest of the group at once, while the unreaped
    /// leader keeps the group's number from being reused.
    fn ended_by_itself(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        let uptime = now.since(since);
        self.signal(SIGKILL, out);
        let is_restarted = self.policy.restart.wants(exit);
        let retry_in = is_restarted.then(|| self.delay.after_run(&self.policy.backoff, uptime));
        let change = Change::Exited {
            exit,
            uptime,
            asked: false,
            retry_in,
        };
        self.notify(change, out);
        if let Some(delay) = retry_in {
            let start_at = now.after(delay);
            self.state = S::Clearing { start_at };
            return;
        }
        self.goal = Down;
        self.await_death(now, since, Dead, out);
        out.ended = Some(exit);
    }

    /// Handles an exit after a stop. The rest of the group keeps its stop timeout.
    fn ended_as_asked(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        if let S::Stopping { leader, .. } | S::Killed { leader, .. } = &mut self.state {
            *leader = Dead;
        }
        let change = Change::Exited {
            exit,
            uptime: now.since(since),
            asked: true,
            retry_in: None,
        };
        self.notify(change, out);
    }

    /// Handles the end of a group after a stop: starts again if a start was asked for meanwhile.
    fn stopped(&mut self, out: &mut Effects<'_>) {
        out.timers.disarm(self.id);
        self.state = S::Inactive;
        if self.goal == Up {
            self.become_due(out);
        }
    }

    /// Sends the stop signal, then SIGCONT, so that a suspended process handles it.
    fn stop(&mut self, now: Moment, since: Moment, out: &mut Effects<'_>) {
        let (signal, timeout) = (self.policy.stop_signal, self.policy.stop_timeout);
        let leader = Alive;
        if self.goal == DownNow || signal == SIGKILL {
            return self.kill(now, since, leader, out);
        }
        self.signal(signal, out);
        self.signal(SIGCONT, out);
        self.notify(Change::Stopping { signal, timeout }, out);
        if timeout.is_zero() {
            return self.kill(now, since, leader, out);
        }
        self.state = S::Stopping { since, leader };
        out.timers.arm(self.id, now.after(timeout));
    }

    fn kill(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.signal(SIGKILL, out);
        self.notify(Change::Killed, out);
        self.await_death(now, since, leader, out);
    }

    fn await_death(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.state = S::Killed { since, leader };
        out.timers.arm(self.id, now.after(ABANDON_AFTER));
    }

    fn signal(&self, signal: i32, out: &mut Effects<'_>) {
        let run = self.run();
        out.orders.push_back(Order::Signal { run, signal });
    }

    fn notify(&self, change: Change, out: &mut Effects<'_>) {
        let run = self.run();
        out.orders.push_back(Order::Notify { run, change });
    }

    /// Reports a fact that is impossible in this state: a bug. Panics in debug builds; in release
    /// builds supervision goes on.
    fn impossible(&self, fact: Fact, out: &mut Effects<'_>) {
        let state = self.state;
        debug_assert!(false, "{:?}: unexpected {fact:?} in {state:?}", self.id);
        self.notify(Change::Impossible { state, fact }, out);
    }
}
