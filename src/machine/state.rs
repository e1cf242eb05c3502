//! What is wanted of a program, what is the case, and what it can be told.

use super::event::Moment;
use super::policy::Exit;

/// What is wanted of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// It shall run.
    Up,
    /// It shall end, in its own time.
    Down,
    /// It shall end at once.
    DownNow,
}

/// What is the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing runs and nothing is planned.
    Inactive,
    /// The delay before a start runs until this moment.
    Waiting { until: Moment },
    /// It may start; the scheduler has not come to it yet.
    Due,
    /// The scheduler is starting it; an answer comes before anything else.
    Spawning,
    /// It has a process that has not executed the program yet, and has this long for that.
    Launching { until: Moment },
    /// It runs, since this moment.
    Running { since: Moment },
    /// It was asked to stop and has a deadline.
    Stopping { since: Moment, leader: Leader },
    /// Its group got SIGKILL and nothing of it shall come back.
    Killed { since: Moment, leader: Leader },
    /// It ended by itself and its leftovers got SIGKILL; the next start is planned for then.
    Clearing { start_at: Moment },
    /// It did not even die, and was given up.
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

/// What one program can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    Wish(Wish),
    Fact(Fact),
}

/// What somebody wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    Start,
    Stop,
    Kill,
}

/// What has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    Spawned { at: Moment },
    SpawnFailed { at: Moment },
    SpawnDelayed { at: Moment },
    LeaderExited { exit: Exit },
    GroupGone,
    Deadline,
}
