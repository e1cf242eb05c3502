//! Events: one [`Event`] for each thing that an operator would want to see. The binary's messages
//! are made from these alone.

mod text;

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::error::Error;
use crate::machine::{Cause, Restart};
use crate::spec::StdStream;

/// Something that happened to a program, or to the scheduler.
#[derive(Debug, Clone, PartialEq)]
pub struct Event {
    pub(crate) program: Arc<str>,
    pub(crate) at: SystemTime,
    pub(crate) kind: EventKind,
}

impl Event {
    /// Returns the name of the program; empty if it concerns none.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns when it happened, by the wall clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Returns what happened.
    #[must_use]
    pub fn kind(&self) -> &EventKind {
        &self.kind
    }
}

/// What happened.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum EventKind {
    /// The program was executed.
    #[non_exhaustive]
    Started {
        /// Its process ID, which is also its process group ID and session ID.
        pid: i32,
    },
    /// It could not be started. `Waiting` follows if it is retried.
    #[non_exhaustive]
    StartFailed {
        /// What failed, and why.
        error: Error,
        /// True if it was asked to stop meanwhile.
        stopping: bool,
        /// What ended the start.
        cause: Cause,
        /// Why it is not retried, if its policy alone does not say it.
        reason: Option<String>,
        /// The time from the failure to the next start; `None` for never.
        retry_in: Option<Duration>,
    },
    /// Its first process exited and was reaped.
    #[non_exhaustive]
    Exited {
        /// Its process ID.
        pid: i32,
        /// The exit code, or minus the number of the signal that terminated it; 125 if unknown.
        return_code: i32,
        /// True if it dumped core.
        core_dumped: bool,
        /// The time from exec to reap.
        uptime: Duration,
        /// True if it had been asked to stop.
        stopping: bool,
        /// What ended it.
        cause: Cause,
        /// True if it was up before it ended.
        was_up: bool,
        /// True if it failed, by its policy: after a stop, if it ended in another way than it was
        /// asked to.
        has_failed: bool,
        /// What it was ended for, if it neither ended by itself nor was asked to: `not ready in time
        /// (start_timeout 30s)`, `unhealthy`, `watchdog`.
        fault: Option<String>,
        /// The time from the exit to the next start; `None` for never.
        retry_in: Option<Duration>,
        /// The program's restart policy.
        restart: Restart,
        /// Why it is not restarted, if its policy alone does not say it: `10 restarts in a row`.
        reason: Option<String>,
        /// The last non-empty line of its stderr, at most 200 bytes, if it failed: with a code
        /// other than 0 or by a signal. If there is none, that of its stdout, if that is logged or
        /// inherited. After a stop, its stop signal and SIGKILL are no failure.
        /// `None` if [`ChildSpec::report_bytes`](crate::ChildSpec::report_bytes) is 0.
        last_line: Option<String>,
    },
    /// It has become ready, or has succeeded as a oneshot: it is up. Not sent of a program that is up
    /// as soon as it was executed: one without [`ChildSpec::ready`](crate::ChildSpec::ready) that is no
    /// oneshot. There `Started` says it.
    Up,
    /// An order that came through a [`Handle`](crate::Handle) was refused. The event's program is the
    /// name that was given.
    #[non_exhaustive]
    Refused {
        /// Why.
        error: Error,
    },
    /// It was removed. Nothing is heard of it any more, and its name is free. Not sent if another
    /// program of its name was added before its end: that has replaced it.
    Removed,
    /// It is down until its next start.
    #[non_exhaustive]
    Waiting {
        /// The delay, counted from the exit.
        delay: Duration,
    },
    /// Its process group was sent the stop signal.
    #[non_exhaustive]
    Stopping {
        /// Its process ID.
        pid: i32,
        /// The stop signal. SIGCONT followed it.
        signal: i32,
        /// The time until SIGKILL.
        timeout: Duration,
        /// What ends it.
        cause: Cause,
    },
    /// Its process group was sent SIGKILL, after its stop timeout or at once. If the kernel refuses
    /// the signal, there is a `Warning` instead.
    #[non_exhaustive]
    Killed {
        /// Its process ID.
        pid: i32,
    },
    /// It survived SIGKILL, and is not waited for any more.
    #[non_exhaustive]
    Abandoned {
        /// Its process ID.
        pid: i32,
        /// True if a shutdown had no more time for it: see
        /// [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout).
        is_early: bool,
    },
    /// All programs are stopped, and none is started any more. Sent once, before the events that
    /// follow from it; without a program.
    #[non_exhaustive]
    StoppingAll {
        /// Why.
        cause: StopCause,
    },
    /// All programs are killed. Sent once, and instead of `StoppingAll` if there was no stop
    /// before; without a program.
    #[non_exhaustive]
    KillingAll {
        /// Why.
        cause: StopCause,
    },
    /// An orphan, a process that left its program's group and was reparented to this process, was
    /// signalled, because the program is restarted or everything stops. The event's program is the
    /// one that it belongs to, if that is known.
    #[non_exhaustive]
    OrphanSignalled {
        /// Its process ID; -1 for every process that is left.
        pid: i32,
        /// SIGTERM, which SIGCONT followed, or SIGKILL.
        signal: i32,
    },
    /// Bytes of its output are missing from its log: they could not be written, or not be read. Sent
    /// when the log can be written again, or at the end of the run. The report may still have them.
    #[non_exhaustive]
    BytesDropped {
        /// The stream that they are missing of.
        stream: StdStream,
        /// The number of bytes since the last such event of this program.
        bytes: u64,
    },
    /// A closure of the host panicked on an event or report of this program.
    #[non_exhaustive]
    HandlerPanicked {
        /// The panic's message.
        message: String,
    },
    /// Something failed, and supervision goes on: for example, a log could not be opened.
    #[non_exhaustive]
    Warning {
        /// What failed, and why.
        error: Error,
    },
}

/// Why everything is stopped.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum StopCause {
    /// One of the signals of [`Builder::stop_on_signals`](crate::Builder::stop_on_signals).
    #[non_exhaustive]
    Signal {
        /// Its number.
        signal: i32,
        /// The process that sent it.
        sender: SignalSender,
    },
    /// The host asked for it: [`Handle::stop`](crate::Handle::stop),
    /// [`ProcessScheduler::stop`](crate::ProcessScheduler::stop), or `kill`.
    Host,
    /// An essential program has ended and is not restarted.
    #[non_exhaustive]
    EssentialEnded {
        /// Its name.
        program: String,
        /// See [`ErrorReport::return_code`](crate::ErrorReport::return_code).
        return_code: i32,
        /// Why it is not restarted, if the code and its policy do not say it: `unhealthy`,
        /// `10 restarts in a row`.
        reason: Option<String>,
    },
    /// An essential program could not be started, and is not retried.
    #[non_exhaustive]
    EssentialNotStarted {
        /// Its name.
        program: String,
    },
    /// Every program has ended, and none is restarted.
    AllEnded,
    /// The time of the shutdown is nearly over, and what is left is killed.
    #[non_exhaustive]
    ShutdownTimeout {
        /// See [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout).
        timeout: Duration,
    },
}

/// The sender of a signal, as far as the kernel says (`si_code` in sigaction(2)).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum SignalSender {
    /// A process.
    #[non_exhaustive]
    Process {
        /// Its process ID; 0 if it is outside of this PID namespace.
        pid: i32,
        /// Its real user ID.
        uid: u32,
    },
    /// The kernel, for example for Ctrl-C on a terminal.
    Kernel,
    /// Unknown, for example because a handler of the host was called first.
    Unknown,
}
