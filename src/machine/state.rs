//! What is wanted of a program, what is the case, and what changes that.

use std::fmt;

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

/// Why a program does not run, and no start is planned.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Why {
    /// It was never started.
    New,
    /// It was stopped.
    Stopped,
    /// It ended, successfully, and is not restarted.
    Exited,
    /// It ended without success, and its policy does not restart it.
    Failed,
    /// Its exit code is one that is permanent.
    Permanent,
    /// It reached its limit of restarts in a row.
    GaveUp,
}

/// What ended a run, or is ending it. Its `Display` is the word in reports: `exit`, `start-failed`,
/// `start-timeout`, `unhealthy`, `watchdog`, `operator`, `reload`, `requirement`, `shutdown`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Cause {
    /// It ended by itself.
    Exit,
    /// It could not be started.
    StartFailed,
    /// It was not ready in time.
    StartTimeout,
    /// Its health check failed.
    Unhealthy,
    /// Its watchdog was not triggered in time.
    Watchdog,
    /// An order for this program: [`stop_program`](crate::ProcessScheduler::stop_program) or
    /// [`restart_program`](crate::ProcessScheduler::restart_program), through a
    /// [`Handle`](crate::Handle) too, or [`kill_program`](crate::ProcessScheduler::kill_program). An
    /// end by a signal of [`signal_program`](crate::ProcessScheduler::signal_program) is an `Exit`.
    Operator,
    /// Its definition was replaced by [`apply`](crate::ProcessScheduler::apply), or it was removed,
    /// by that or by [`remove`](crate::ProcessScheduler::remove).
    Reload,
    /// A program that it requires was stopped, or has ended for good.
    Requirement,
    /// Everything is stopped: by [`stop`](crate::ProcessScheduler::stop),
    /// [`kill`](crate::ProcessScheduler::kill) or a stop signal, or because an essential program has
    /// ended.
    Shutdown,
}

impl fmt::Display for Cause {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Exit => "exit",
            Self::StartFailed => "start-failed",
            Self::StartTimeout => "start-timeout",
            Self::Unhealthy => "unhealthy",
            Self::Watchdog => "watchdog",
            Self::Operator => "operator",
            Self::Reload => "reload",
            Self::Requirement => "requirement",
            Self::Shutdown => "shutdown",
        })
    }
}

impl Cause {
    /// True if the program was asked to end: for `Operator`, `Reload`, `Requirement` and `Shutdown`.
    #[must_use]
    pub fn is_stop(self) -> bool {
        match self {
            Self::Operator | Self::Reload | Self::Requirement | Self::Shutdown => true,
            Self::Exit
            | Self::StartFailed
            | Self::StartTimeout
            | Self::Unhealthy
            | Self::Watchdog => false,
        }
    }
}

/// What is the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// It does not run, and no start is planned.
    Inactive,
    /// It is in the delay before a start.
    Waiting { until: Moment },
    /// Its delay is over: the scheduler starts it as soon as nothing holds it.
    Due,
    /// The scheduler is starting it; the answer comes before any other fact.
    Spawning,
    /// Its process exists, but has not executed the program yet; killed at `until`.
    Launching { until: Moment },
    /// It runs, and is not up yet.
    Starting { since: Moment },
    /// It is up.
    Running { since: Moment },
    /// It is to stop, and was sent nothing yet: what started after it stops first.
    Draining { since: Moment },
    /// Its group was sent the stop signal, and has a deadline.
    Stopping { since: Moment, leader: Leader },
    /// Its group was sent SIGKILL; no restart is planned, or one is as soon as it is gone.
    Killed { since: Moment, leader: Leader },
    /// It ended without a stop, and the rest of its group was sent SIGKILL; it is restarted at
    /// `start_at` if the group is gone by then, else once it is.
    Clearing { start_at: Moment },
    /// Its group survived SIGKILL, and is not waited for any more.
    Abandoned { leader: Leader },
}

/// The state of a program. Its `Display` is the word in lower case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramState {
    /// It is wanted, and something holds its start:
    /// [`ProgramStatus::reason`](crate::ProgramStatus::reason) says what.
    Pending,
    /// It is about to be executed, or was executed and is not up yet.
    Starting,
    /// It is up.
    Running,
    /// It has ended, and is down until its next start.
    Backoff,
    /// It was asked to stop, or killed, and some of its processes are left.
    Stopping,
    /// It is not wanted: it was stopped, or does not start by itself and was not started, or the
    /// scheduler has not been started.
    Stopped,
    /// It has ended for good, with success.
    Exited,
    /// It has ended for good, without success.
    Failed,
    /// It survived SIGKILL, or a process that left its group did, and is not waited for any more.
    Abandoned,
}

impl fmt::Display for ProgramState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Pending => "pending",
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Backoff => "backoff",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Exited => "exited",
            Self::Failed => "failed",
            Self::Abandoned => "abandoned",
        })
    }
}

/// The first process of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leader {
    /// It has not executed the program yet.
    New,
    Alive,
    Dead,
}

/// What a command asks of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Verb {
    Start,
    /// A stop whose goal stays up.
    Restart,
    Stop,
    Kill,
}

/// What makes a program's state change.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Trigger {
    Command(Verb, Cause),
    Fact(Fact),
}

/// What has happened to a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    Spawned {
        at: Moment,
    },
    SpawnFailed {
        at: Moment,
    },
    SpawnDelayed {
        at: Moment,
    },
    LeaderExited {
        exit: Exit,
    },
    GroupGone,
    /// It says that it is ready.
    Ready,
    /// It has triggered its watchdog.
    Alive,
    /// Its health check has failed for good.
    Unhealthy,
    /// It says that it hangs.
    Hung,
    /// Processes of it that left its group exist, and its next start waits for them.
    Escaped,
    /// No such processes are left.
    EscapedGone,
    /// Such processes survived SIGKILL: nothing but a start waits for them any more.
    EscapedAbandoned,
    Deadline(Purpose),
}

/// What a deadline is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum Purpose {
    /// The next start.
    Next,
    /// Executing the program.
    Launch,
    /// Readiness; the end of a oneshot.
    Ready,
    /// The next sign of life.
    Watchdog,
    /// The end of a group that was sent a signal.
    Stop,
}
