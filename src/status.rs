//! What [`ProcessScheduler::programs`](crate::ProcessScheduler::programs) returns for a program:
//! a snapshot.

use std::ffi::OsString;
use std::fmt;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

/// A snapshot of one program.
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

/// The state of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ProgramState {
    /// It is being started.
    Starting,
    /// It runs.
    Running,
    /// It is down until its next start.
    Waiting,
    /// It was asked to stop, or killed, and some of its processes are left.
    Stopping,
    /// It does not run, and no start is planned.
    Stopped,
    /// It survived SIGKILL, and is not waited for any more.
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
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the program and its arguments, as given.
    #[must_use]
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Returns its state.
    #[must_use]
    pub fn state(&self) -> ProgramState {
        self.state
    }

    /// Returns how long it has been in that state.
    #[must_use]
    pub fn state_for(&self) -> Duration {
        self.state_for
    }

    /// Returns its process ID while its first process lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Returns the delay that its next restart will have, unless it runs long enough to reset it.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        self.backoff
    }

    /// Returns the number of restarts: all starts except the first, failed ones too.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the time of its latest start, by the wall clock.
    #[must_use]
    pub fn last_start(&self) -> Option<SystemTime> {
        self.last_start
    }

    /// Returns how its latest run ended, as
    /// [`ErrorReport::return_code`](crate::ErrorReport::return_code) does.
    #[must_use]
    pub fn last_return_code(&self) -> Option<i32> {
        self.last_return_code
    }

    /// Returns the time until its next start, if one is planned.
    #[must_use]
    pub fn next_start(&self) -> Option<Duration> {
        self.next_start
    }
}
