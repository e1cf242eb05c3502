//! What the host is told while it happens: one [`Event`] for each thing that an operator
//! would want to see. The binary's messages are made of these and of nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;

/// Something happened to a program.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub(crate) program: Arc<str>,
    pub(crate) at: SystemTime,
    pub(crate) kind: EventKind,
}

impl Event {
    /// The name of the program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// When it happened, by the wall clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// What happened.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// It was executed.
    #[non_exhaustive]
    Started {
        /// Its process id, which is its group's and its session's too.
        pid: i32,
    },
    /// It could not be started. `Waiting` follows if it is tried again.
    #[non_exhaustive]
    StartFailed {
        /// What failed, on what, and the system's word.
        error: Error,
        /// When it is tried again, counted from the failure; `None` for never.
        retry_in: Option<Duration>,
    },
    /// Its first process ended, and was reaped.
    #[non_exhaustive]
    Exited {
        /// Its process id.
        pid: i32,
        /// The exit code, or minus the number of the signal that ended it; 125 if unknown.
        return_code: i32,
        /// Whether the kernel says that it left a core dump.
        core_dumped: bool,
        /// From exec to reap.
        uptime: Duration,
        /// Whether it had been asked to stop.
        stopping: bool,
        /// When it is started again, counted from the exit; `None` for never.
        retry_in: Option<Duration>,
    },
    /// It is down, and waits for its next start.
    #[non_exhaustive]
    Waiting {
        /// The nominal delay, counted from the exit.
        delay: Duration,
    },
    /// It was asked to stop.
    #[non_exhaustive]
    Stopping {
        /// Its process id.
        pid: i32,
        /// The signal that its group got; SIGCONT followed.
        signal: i32,
        /// How long it may take before SIGKILL.
        timeout: Duration,
    },
    /// It did not stop in time, or nobody wanted to wait: its group got SIGKILL.
    #[non_exhaustive]
    Killed {
        /// Its process id.
        pid: i32,
    },
    /// It did not even die, and was given up.
    #[non_exhaustive]
    Abandoned {
        /// Its process id.
        pid: i32,
    },
    /// A process that had left its group and come home to us was told to end: because the
    /// program starts again, or because everything ends. The event's program is the one that it
    /// belongs to, or empty.
    #[non_exhaustive]
    OrphanSignalled {
        /// Its process id; -1 for every process that is left.
        pid: i32,
        /// SIGTERM (SIGCONT followed) or SIGKILL.
        signal: i32,
    },
    /// Bytes of its stderr could not be written to its log and are lost.
    #[non_exhaustive]
    BytesDropped {
        /// How many, since the last such event of this program.
        bytes: u64,
    },
    /// A closure of the host panicked while it handled this program's news.
    #[non_exhaustive]
    HandlerPanicked {
        /// The panic's message.
        message: String,
    },
    /// Something went wrong that supervision survives: no log, a signal refused, a pipe closed.
    #[non_exhaustive]
    Warning {
        /// What, and why.
        error: Error,
    },
}
