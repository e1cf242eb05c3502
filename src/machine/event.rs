//! The vocabulary of the border: facts come in, in the past tense; orders go out.
//!
//! Everything here is plain, comparable data, so that a recorded sequence of facts is a replay
//! and a test compares orders with `==`.

use std::time::Duration;

use super::policy::Exit;

/// A point in time: nanoseconds since some origin that the caller chose. Sums saturate, so
/// that "in `u64::MAX` seconds" is a deadline that never comes and not an overflow.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Default)]
pub struct Moment(u64);

impl Moment {
    /// The end of time: 584 years after the origin.
    #[cfg(test)]
    pub const NEVER: Self = Self(u64::MAX);

    /// The moment that comes this long after the origin.
    #[must_use]
    pub fn from_origin(since: Duration) -> Self {
        Self(u64::try_from(since.as_nanos()).unwrap_or(u64::MAX))
    }

    /// This much later.
    #[must_use]
    pub fn after(self, delay: Duration) -> Self {
        Self(self.0.saturating_add(Self::from_origin(delay).0))
    }

    /// How long it is since `earlier`; zero if that is still to come.
    #[must_use]
    pub fn since(self, earlier: Self) -> Duration {
        Duration::from_nanos(self.0.saturating_sub(earlier.0))
    }
}

/// A program: stable for as long as the machine lives, never given to another.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct ProgramId(pub u32);

/// One incarnation of a program. Generations count the starts, from 1, failed ones too;
/// whatever arrives late for an older one never touches its successor.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Run {
    pub program: ProgramId,
    pub generation: u64,
}

/// What the machine is told.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Event {
    /// The answer to a start: it runs, since `at`.
    Spawned { run: Run, at: Moment },
    /// The answer to a start: it could not be run.
    SpawnFailed { run: Run, at: Moment },
    /// The answer to a start: there is a process, which has not executed the program yet. One of
    /// the two above follows, unless it never does either.
    SpawnDelayed { run: Run, at: Moment },
    /// The first process of the run is dead. Its number is still pinned by the zombie: what is
    /// ordered in answer to this may be sent to its group before the reap.
    LeaderExited { run: Run, exit: Exit },
    /// No process is left in the run's group.
    GroupGone { run: Run },
    /// The host or the operator wants something.
    Commanded(Command),
}

/// What the host or the operator may want.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Command {
    /// This program shall run.
    Start(ProgramId),
    /// Everything shall stop, and nothing start any more.
    StopAll,
    /// As `StopAll`, without any grace left.
    KillAll,
}

/// What the machine orders. `Spawn` is not among these: starts are asked for one by one with
/// [`Machine::next_start`](super::Machine::next_start), so that a turn can limit them.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Order {
    /// Send this signal to the run's group, now.
    Signal { run: Run, signal: i32 },
    /// Tell the host.
    Notify { run: Run, change: Change },
}

/// What happened to a run, as the host sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    /// It runs.
    Started,
    /// It could not be started; the next try is this long from now, if there is one.
    StartFailed { retry_in: Option<Duration> },
    /// Its first process ended.
    Exited {
        exit: Exit,
        uptime: Duration,
        asked: bool,
        retry_in: Option<Duration>,
    },
    /// It was asked to stop.
    Stopping { signal: i32, timeout: Duration },
    /// SIGKILL was sent to what did not stop in time.
    Killed,
    /// What does not even die was given up.
    Abandoned,
    /// The machine met a fact that cannot be: a defect of this crate, survived.
    Impossible,
}
