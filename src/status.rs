//! What [`ProcessScheduler::programs`](crate::ProcessScheduler::programs) tells of a program:
//! a picture of one moment.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// One program at one moment.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramStatus {
    pub(crate) name: Arc<str>,
    pub(crate) command: Vec<OsString>,
    pub(crate) state: ProgramState,
    pub(crate) state_for: Duration,
    pub(crate) pid: Option<i32>,
    pub(crate) backoff: Duration,
    pub(crate) restarts: u64,
    pub(crate) last_start: Option<SystemTime>,
    pub(crate) last_return_code: Option<i32>,
    pub(crate) next_start: Option<Duration>,
}

/// What a program is doing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramState {
    /// Its turn to be started comes at once.
    Starting,
    /// It runs.
    Running,
    /// It ended and waits for its next start.
    Waiting,
    /// It was asked to stop, or killed, and something of it is left.
    Stopping,
    /// Nothing of it runs and nothing is planned.
    Stopped,
    /// It would not die and was given up.
    Abandoned,
}

impl fmt::Display for ProgramState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Starting => "starting",
            Self::Running => "running",
            Self::Waiting => "waiting",
            Self::Stopping => "stopping",
            Self::Stopped => "stopped",
            Self::Abandoned => "abandoned",
        })
    }
}

impl ProgramStatus {
    /// Its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// The program and its arguments, as given.
    #[must_use]
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// What it is doing.
    #[must_use]
    pub fn state(&self) -> ProgramState {
        self.state
    }

    /// For how long it has been doing that.
    #[must_use]
    pub fn state_for(&self) -> Duration {
        self.state_for
    }

    /// Its process id while its first process lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// The delay that its next restart will have, unless it runs long enough to reset it.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        self.backoff
    }

    /// How often it was started again: all starts but the first, failed ones too.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// When its latest start was, by the wall clock.
    #[must_use]
    pub fn last_start(&self) -> Option<SystemTime> {
        self.last_start
    }

    /// How its latest run ended: see [`ErrorReport::return_code`](crate::ErrorReport::return_code).
    #[must_use]
    pub fn last_return_code(&self) -> Option<i32> {
        self.last_return_code
    }

    /// How long until its next start, if one is planned.
    #[must_use]
    pub fn next_start(&self) -> Option<Duration> {
        self.next_start
    }
}
