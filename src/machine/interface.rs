//! What goes into the machine, and what comes out: plain, comparable data, so that a recorded
//! sequence can be replayed and a test compares orders with `==`.

use std::time::Duration;

use super::policy::Exit;
use super::state::{Cause, Fact, State};

/// A point in time: nanoseconds since an origin that the caller chose. Sums saturate, so that a
/// deadline in `u64::MAX` seconds never comes instead of overflowing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The end of time: 584 years after the origin.
    #[cfg(test)]
    pub const NEVER: Self = Self(u64::MAX);

    /// Returns the moment at this distance from the origin.
    #[must_use]
    pub fn from_origin(since: Duration) -> Self {
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// Returns the moment that is `delay` later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_origin(delay).0))
    }

    /// Returns the time since `earlier`, or zero if that is later.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A program's number. It is never reused.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// One run of a program. Generations count the starts from 1, failed ones too, so that a late
/// fact about an old run never affects its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    pub program: ProgramId,
    pub generation: u64,
}

/// What goes into the machine: facts and commands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
// No health check tells yet that one is unhealthy.
#[cfg_attr(not(test), allow(dead_code))]
pub enum Input {
    /// The answer to a start: it has run since `at`.
    Spawned { run: Run, at: Moment },
    /// The answer to a start: it failed.
    SpawnFailed { run: Run, at: Moment },
    /// The answer to a start: its process exists, but has not executed the program yet. One of
    /// the two above follows, unless the process is stuck.
    SpawnDelayed { run: Run, at: Moment },
    /// The first process of the run is dead and not reaped yet, so its group can be signalled
    /// safely: the caller carries out the orders that follow from this before the reap.
    LeaderExited { run: Run, exit: Exit },
    /// The process group of the run is gone.
    GroupGone { run: Run },
    /// The run says that it is ready. Without effect if it is up or was asked to stop.
    Ready { run: Run },
    /// The run has triggered its watchdog.
    Alive { run: Run },
    /// The health check of the run has failed for good. Without effect unless it is up.
    Unhealthy { run: Run },
    /// The run wants to be ended as one whose watchdog was not triggered. Without effect unless it
    /// is up.
    Hung { run: Run },
    /// Processes of the run left its group and exist; the next start waits until they are gone.
    Escaped { run: Run },
    /// No such processes are left.
    EscapedGone { run: Run },
    /// Such processes survived SIGKILL, and are abandoned; only a start waits for them still.
    EscapedAbandoned { run: Run },
    /// A command from the host or the operator.
    Commanded(Command),
}

/// A command from the host or the operator.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// Starts a program, and what it requires.
    Start(ProgramId),
    /// Starts a program that was never started and was not stopped, and what it requires. Unlike
    /// [`Command::Start`] it does not start what was stopped by hand.
    StartNew(ProgramId),
    /// Does [`Command::StartNew`] for every program, in the order in which they were added.
    StartAll,
    /// Stops a program; first what requires it, which comes back when this is started again.
    Stop(ProgramId),
    /// Stops a program and starts it again without a delay, with what requires it.
    Restart(ProgramId),
    /// Kills a program, and stops it.
    Kill(ProgramId),
    /// Stops a program, and forgets it when it is gone.
    Remove(ProgramId),
    /// Stops every program in reverse order; nothing starts any more.
    StopAll,
    /// Kills every program; nothing starts any more.
    KillAll,
}

/// What the caller has to do. Starts are not among these: they are taken one by one with
/// [`Machine::next_start`](super::Machine::next_start), so that a turn can limit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Send this signal to the run's process group.
    Signal { run: Run, signal: i32 },
    /// Report this change to the host.
    Notify { run: Run, change: Change },
}

/// What happened to a run, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It runs.
    Started,
    /// It could not be started; retried after `retry_in`, if at all.
    StartFailed {
        cause: Cause,
        retry_in: Option<Duration>,
    },
    /// It is ready, or has succeeded as a oneshot; not reported of one that is up at its start.
    Up,
    /// Its first process ended. It is restarted after `retry_in`, at the earliest.
    Exited {
        exit: Exit,
        uptime: Duration,
        cause: Cause,
        retry_in: Option<Duration>,
    },
    /// Its group was sent the stop signal.
    Stopping { signal: i32, timeout: Duration },
    /// Its group was sent SIGKILL.
    Killed,
    /// Its group survived SIGKILL, and is not waited for any more.
    Abandoned { cause: Cause },
    /// It was removed, and is never heard of again.
    Removed,
    /// A fact that is impossible in this state: a bug of this crate. The fact is ignored.
    Impossible { state: State, fact: Fact },
}
