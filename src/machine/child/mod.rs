//! One program's life: every command and every fact in every state, matched without a default.
//!
//! What is wanted ([`Goal`]) and what is the case ([`State`]) are two fields, so that
//! "restarting" needs no state of its own.
//!
//! ```text
//!              Start                 next_start            Spawned
//!   Inactive ─────────► Due ───────────────────► Spawning ─────────► Starting, Running
//!      ▲                 ▲                          │                 │   │
//!      │            delay over                 SpawnFailed      exits │   │ Stop
//!      │                 │                          │       by itself │   ▼
//!      │              Waiting ◄─────────────────────┤                 │ Draining, Stopping
//!      │                 ▲                          │                 │   │ deadline,
//!      │                 │ group gone               │                 ▼   ▼ or Kill
//!      │                 └───────────────────── Clearing ◄────────────┤ Killed ──► Abandoned
//!      │                                                              │   │    5 s
//!      └──────────────────────────────────────────────────────────────┴───┘
//!        ended for good, or stopped, and the group is gone
//! ```
//!
//! A start that is not answered at once is `Launching`: its process exists, but has not executed
//! the program yet. It is killed at its deadline, or at a stop. A `Starting` program runs, and is
//! not up yet. `Draining` is passed through where others have to stop first.
//!
//! Three rules hold everywhere:
//!
//! 1. A process group is killed while its leader is an unreaped zombie, which keeps the pid from
//!    being reused: at an exit without a stop, before the reap.
//! 2. A new run begins only after the old group is gone.
//! 3. While the goal is not [`Goal::Up`], nothing starts, and no deadline moves later.

mod commands;
mod facts;
mod word;

use std::collections::VecDeque;
use std::sync::Arc;
use std::time::Duration;

use super::interface::{Change, Moment, Order, ProgramId, Run};
use super::policy::{Delay, Exit, Policy, Verdict};
use super::state::Goal::{self, Down, DownNow, Up};
use super::state::Leader::{self, Alive};
use super::state::{Cause, Fact, ProgramState, Purpose, State, State as S, Trigger, Why};
use super::timers::Timers;

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// How long a group may exist after SIGKILL before it is abandoned.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// How long a new process may take to execute its program before it is killed. A lease on the
/// file (fcntl(2), F_SETLEASE) delays that by 45 s at most, and systemd allows a start 90 s.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(90);

/// Where a child's answers go.
pub struct Effects<'a> {
    /// The child's own id.
    pub id: ProgramId,
    pub orders: &'a mut VecDeque<Order>,
    pub timers: &'a mut Timers<(ProgramId, Purpose)>,
    /// Programs that may start, in order.
    pub starts: &'a mut VecDeque<ProgramId>,
    /// The state of the generator that stretches delays.
    pub chance: &'a mut u64,
    /// True if another program may have to stop before this one.
    pub drains: bool,
    /// True if a program has ended that is essential, and everything is to be stopped.
    pub essential_ended: bool,
}

/// One program.
#[derive(Debug, Clone)]
pub struct Child {
    pub goal: Goal,
    /// Why it is down, if its goal is not up.
    pub why: Why,
    /// What ended its latest run, or is ending it.
    pub cause: Cause,
    /// The word for its state.
    pub word: ProgramState,
    pub flags: Flags,
    pub policy: Arc<Policy>,
    pub state: State,
    /// When its word changed last.
    pub word_since: Moment,
    pub delay: Delay,
    /// The number of starts, failed ones too: the generation of the latest run.
    pub starts: u64,
}

/// What else is remembered of a program, in two bytes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Flags(u16);

impl Flags {
    /// It is a oneshot that has succeeded: it counts as up.
    pub const SUCCEEDED: Self = Self(1);
    /// Processes that left its group exist, and its next start waits for them.
    pub const ESCAPED: Self = Self(2);
    /// It is in the queue of starts.
    pub const QUEUED: Self = Self(4);
    /// When all that it requires was up, nothing came up that it starts after: that holds this
    /// start no more.
    pub const PASSED: Self = Self(8);
    /// It is forgotten as soon as it is down.
    pub const REMOVED: Self = Self(16);
    /// It starts when everything is gone that is being removed.
    pub const AFTER_REMOVALS: Self = Self(32);
    /// It is counted among those that are not settled.
    pub const UNSETTLED: Self = Self(64);
    /// It got a start while a run was being ended for a fault: whatever its policy says, it starts
    /// when that is gone.
    pub const AGAIN: Self = Self(128);
    /// Its latest run says when it is ready.
    pub const TELLS_READY: Self = Self(256);
    /// The start that is under way has a former definition.
    pub const OUTDATED: Self = Self(512);
    /// The processes that left its group survived SIGKILL, and are abandoned.
    pub const ESCAPED_ABANDONED: Self = Self(1024);

    #[must_use]
    pub fn has(self, flag: Self) -> bool {
        self.0 & flag.0 != 0
    }

    pub fn set(&mut self, flag: Self, on: bool) {
        self.0 = if on {
            self.0 | flag.0
        } else {
            self.0 & !flag.0
        };
    }
}

impl Child {
    pub fn new(now: Moment, policy: Arc<Policy>) -> Self {
        Self {
            goal: Down,
            why: Why::New,
            cause: Cause::Exit,
            word: ProgramState::Stopped,
            flags: Flags::default(),
            state: S::Inactive,
            word_since: now,
            delay: Delay::new(&policy.backoff),
            policy,
            starts: 0,
        }
    }

    /// Returns the latest run of this child, whose id this is.
    pub fn run(&self, id: ProgramId) -> Run {
        Run {
            program: id,
            generation: self.starts,
        }
    }

    /// Begins a new run, which the scheduler starts now.
    pub fn begin(&mut self, id: ProgramId) -> Run {
        debug_assert_eq!(self.state, S::Due);
        self.starts = self.starts.saturating_add(1);
        self.state = S::Spawning;
        self.cause = Cause::Exit;
        self.flags.set(Flags::PASSED, false);
        self.flags.set(Flags::AGAIN, false);
        self.flags.set(Flags::OUTDATED, false);
        self.flags.set(Flags::TELLS_READY, self.policy.ready);
        self.run(id)
    }

    /// Applies one command or fact.
    pub fn handle(&mut self, now: Moment, trigger: Trigger, out: &mut Effects<'_>) {
        match trigger {
            Trigger::Command(verb, cause) => self.on_command(now, verb, cause, out),
            Trigger::Fact(fact) => self.on_fact(now, fact, out),
        }
    }

    /// True if it runs, and nothing ends it.
    #[must_use]
    pub fn is_run(&self) -> bool {
        self.goal == Up
            && matches!(
                self.state,
                S::Launching { .. } | S::Starting { .. } | S::Running { .. }
            )
    }

    /// True if it runs and was not asked to end, or ended by itself and its group exists.
    #[must_use]
    pub fn is_wanted_run(&self) -> bool {
        self.is_run() || (self.goal == Up && matches!(self.state, S::Clearing { .. }))
    }

    /// True if its group is being ended.
    #[must_use]
    pub fn is_ending(&self) -> bool {
        matches!(
            self.state,
            S::Draining { .. } | S::Stopping { .. } | S::Killed { .. }
        )
    }

    /// True if nothing of it runs that is waited for.
    #[must_use]
    pub fn is_down(&self) -> bool {
        self.goal != Up
            && match self.state {
                S::Inactive => !self.is_ending_escaped(),
                S::Abandoned { .. } => true,
                _ => false,
            }
    }

    /// True if processes that left its group exist and were not abandoned.
    fn is_ending_escaped(&self) -> bool {
        self.flags.has(Flags::ESCAPED) && !self.flags.has(Flags::ESCAPED_ABANDONED)
    }

    /// True if it is a oneshot that has succeeded, and the rest of its group ends.
    #[must_use]
    pub fn is_succeeding(&self) -> bool {
        let is_done = self.policy.oneshot && self.why == Why::Exited && self.goal != Up;
        is_done && matches!(self.state, S::Killed { .. })
    }

    /// True if its latest run ended, or is ending, because it was asked to.
    fn was_asked(&self) -> bool {
        self.goal != Up || self.cause.is_stop()
    }

    fn become_due(&mut self, out: &mut Effects<'_>) {
        self.state = S::Due;
        self.flags.set(Flags::PASSED, false);
        self.flags.set(Flags::SUCCEEDED, false);
        self.queue(out.id, out.starts);
    }

    /// Puts it in the queue of starts, once.
    pub fn queue(&mut self, id: ProgramId, starts: &mut VecDeque<ProgramId>) {
        if !self.flags.has(Flags::QUEUED) {
            self.flags.set(Flags::QUEUED, true);
            starts.push_back(id);
        }
    }

    fn wait_until(&mut self, now: Moment, until: Moment, out: &mut Effects<'_>) {
        if until <= now {
            return self.become_due(out);
        }
        self.state = S::Waiting { until };
        out.timers.arm((out.id, Purpose::Next), until);
    }

    /// Decides what follows a run that was not asked to end. Without an uptime the start failed.
    fn judge(&mut self, exit: Exit, uptime: Option<Duration>, out: &mut Effects<'_>) -> Verdict {
        if self.flags.has(Flags::AGAIN) {
            return Verdict::Restart(Duration::ZERO);
        }
        let verdict = self.policy.judge(&mut self.delay, exit, self.cause, uptime);
        if let Verdict::Down(why) = verdict {
            (self.goal, self.why) = (Down, why);
            let is_done = self.policy.oneshot && why == Why::Exited;
            out.essential_ended = self.policy.essential && !is_done;
        }
        verdict
    }

    /// Returns the delay with the part that chance adds.
    fn stretched(&self, delay: Duration, out: &mut Effects<'_>) -> Duration {
        if self.policy.jitter == 0 {
            return delay;
        }
        let share = u128::from(next_chance(out.chance) >> 32) * u128::from(self.policy.jitter);
        let nanos = (delay.as_nanos().saturating_mul(share) / 1_000) >> 32;
        delay.saturating_add(Duration::from_nanos(
            u64::try_from(nanos).unwrap_or(u64::MAX),
        ))
    }

    /// Handles the end of a group: starts again if that is wanted.
    fn gone(&mut self, out: &mut Effects<'_>) {
        out.timers.disarm((out.id, Purpose::Stop));
        if self.goal == Up {
            return self.become_due(out);
        }
        self.state = S::Inactive;
        if self.policy.oneshot && self.why == Why::Exited {
            self.flags.set(Flags::SUCCEEDED, true);
            self.notify(Change::Up, out);
        }
    }

    /// Begins to end a run. What has to stop before it does; then its stop signal is sent.
    fn stop(&mut self, now: Moment, since: Moment, out: &mut Effects<'_>) {
        self.disarm_run(out);
        if self.goal == DownNow {
            return self.kill(now, since, Alive, out);
        }
        if out.drains {
            self.state = S::Draining { since };
            return;
        }
        self.send_stop(now, since, self.policy.stop_signal, out);
    }

    /// Sends the stop signal to a program that nothing has to stop before any more.
    pub fn drained(&mut self, now: Moment, out: &mut Effects<'_>) {
        if let S::Draining { since } = self.state {
            self.send_stop(now, since, self.policy.stop_signal, out);
        }
    }

    /// Sends a signal that ends it, then SIGCONT, so that a suspended process handles it.
    fn send_stop(&mut self, now: Moment, since: Moment, signal: i32, out: &mut Effects<'_>) {
        let timeout = self.policy.stop_timeout;
        let leader = Alive;
        if signal == SIGKILL {
            return self.kill(now, since, leader, out);
        }
        self.signal(signal, out);
        self.signal(SIGCONT, out);
        self.notify(Change::Stopping { signal, timeout }, out);
        if timeout.is_zero() {
            return self.kill(now, since, leader, out);
        }
        self.state = S::Stopping { since, leader };
        out.timers.arm((out.id, Purpose::Stop), now.after(timeout));
    }

    fn kill(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.signal(SIGKILL, out);
        self.notify(Change::Killed, out);
        self.await_death(now, since, leader, out);
    }

    fn await_death(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.state = S::Killed { since, leader };
        out.timers
            .arm((out.id, Purpose::Stop), now.after(ABANDON_AFTER));
    }

    /// Abandons a group that survived SIGKILL. If that was a start which is not retried, the
    /// program has ended as well.
    pub fn abandon(&mut self, leader: Leader, out: &mut Effects<'_>) {
        out.timers.disarm((out.id, Purpose::Stop));
        self.state = S::Abandoned { leader };
        if leader == Leader::New && !self.was_asked() {
            self.judge_start(out);
        }
        let cause = self.cause;
        self.notify(Change::Abandoned { cause }, out);
    }

    /// Decides what follows a start that failed. Returns the delay before the next.
    fn judge_start(&mut self, out: &mut Effects<'_>) -> Option<Duration> {
        if self.cause == Cause::Exit {
            self.cause = Cause::StartFailed;
        }
        match self.judge(Exit::Unknown, None, out) {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Down(_) => None,
        }
    }

    fn disarm_run(&self, out: &mut Effects<'_>) {
        out.timers.disarm((out.id, Purpose::Ready));
        out.timers.disarm((out.id, Purpose::Watchdog));
    }

    fn signal(&self, signal: i32, out: &mut Effects<'_>) {
        let run = self.run(out.id);
        out.orders.push_back(Order::Signal { run, signal });
    }

    fn notify(&self, change: Change, out: &mut Effects<'_>) {
        let run = self.run(out.id);
        out.orders.push_back(Order::Notify { run, change });
    }

    /// Reports a fact that is impossible in this state: a bug. Panics in debug builds; in release
    /// builds supervision goes on.
    fn impossible(&self, fact: Fact, out: &mut Effects<'_>) {
        let state = self.state;
        debug_assert!(false, "{:?}: unexpected {fact:?} in {state:?}", out.id);
        self.notify(Change::Impossible { state, fact }, out);
    }
}

/// SplitMix64: the same seed gives the same delays.
fn next_chance(state: &mut u64) -> u64 {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut z = *state;
    z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    z ^ (z >> 31)
}
