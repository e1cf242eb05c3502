//! What is wanted of a program, what is the case, and what changes that.

use super::interface::Moment;
use super::policy::Exit;

/// What is wanted of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// It runs.
    Up,
    /// It ends after its stop signal, and is killed after its stop timeout.
    Down,
    /// It is killed at once.
    DownNow,
}

/// What is the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It does not run, and no start is planned.
    Inactive,
    /// It is in the delay before a start.
    Waiting { until: Moment },
    /// Its delay is over, and the scheduler has not started it yet.
    Due,
    /// The scheduler is starting it; the answer comes before any other fact.
    Spawning,
    /// Its process exists, but has not executed the program yet; killed at `until`.
    Launching { until: Moment },
    /// It runs.
    Running { since: Moment },
    /// Its group was sent the stop signal, and has a deadline.
    Stopping { since: Moment, leader: Leader },
    /// Its group was sent SIGKILL; no restart is planned.
    Killed { since: Moment, leader: Leader },
    /// It ended without a stop, and the rest of its group was sent SIGKILL; it is restarted at
    /// `start_at` if the group is gone by then, else once it is.
    Clearing { start_at: Moment },
    /// Its group survived SIGKILL, and is not waited for any more.
    Abandoned { leader: Leader },
}

/// The first process of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leader {
    /// It has not executed the program yet.
    New,
    Alive,
    Dead,
}

/// What makes a program's state change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    /// A start, stop or kill: the goal that is wanted.
    Command(Goal),
    Fact(Fact),
}

/// What has happened to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    Spawned { at: Moment },
    SpawnFailed { at: Moment },
    SpawnDelayed { at: Moment },
    LeaderExited { exit: Exit },
    GroupGone,
    Deadline,
}
