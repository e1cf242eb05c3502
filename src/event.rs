//! What the host is told while it happens: one [`Event`] for each thing that an operator
//! would want to see. The binary's messages are made of these and of nothing else.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::machine::Restart;

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
        /// Whether it had been asked to stop meanwhile.
        stopping: bool,
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
        /// When an end like this one is followed by another start.
        restart: Restart,
        /// The last line of its stderr that is not empty, if it failed: at most 200 bytes, as it
        /// wrote them. An end failed if it had a code other than 0, or was by a signal; after a
        /// stop that was asked for, the stop signal and SIGKILL are no failure. None where
        /// [`ChildSpec::report_bytes`](crate::ChildSpec::report_bytes) is 0.
        last_line: Option<String>,
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
        /// The signal that its group was sent; SIGCONT followed.
        signal: i32,
        /// How long it may take before SIGKILL.
        timeout: Duration,
    },
    /// It did not stop in time, or had no time to: its group got SIGKILL. If that is refused,
    /// a `Warning` says so instead.
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
    /// Everything stops from now on, and nothing starts any more. Told once, before all that it
    /// causes; the event is about no program.
    #[non_exhaustive]
    StoppingAll {
        /// Why.
        cause: StopCause,
    },
    /// Everything is killed from now on. Told once, and instead of `StoppingAll` if there was
    /// no stop before; the event is about no program.
    #[non_exhaustive]
    KillingAll {
        /// Why.
        cause: StopCause,
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

/// Why everything stops.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// One of the signals of [`Builder::stop_on_signals`](crate::Builder::stop_on_signals).
    #[non_exhaustive]
    Signal {
        /// Its number.
        signal: i32,
        /// Who sent it.
        sender: SignalSender,
    },
    /// The host asked for it: [`Handle::stop`](crate::Handle::stop),
    /// [`ProcessScheduler::stop`](crate::ProcessScheduler::stop), or `kill`.
    Host,
    /// An essential program has ended for good.
    #[non_exhaustive]
    EssentialEnded {
        /// Its name.
        program: String,
        /// See [`ErrorReport::return_code`](crate::ErrorReport::return_code).
        return_code: i32,
    },
    /// An essential program could not be started, and is not tried again.
    #[non_exhaustive]
    EssentialNotStarted {
        /// Its name.
        program: String,
    },
    /// Every program has ended for good by itself.
    AllEnded,
}

/// Who sent a signal, as far as the kernel says (`si_code` in sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalSender {
    /// A process.
    #[non_exhaustive]
    Process {
        /// Its process id; 0 if it is outside of our PID namespace.
        pid: i32,
        /// The real user id that it had.
        uid: u32,
    },
    /// The kernel itself, as it does for Ctrl-C on a terminal.
    Kernel,
    /// Nothing tells, as when a handler of the host's stands before ours.
    Unknown,
}
