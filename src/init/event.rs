//! The events of an [`Init`](super::Init).

use crate::error::Error;
use crate::signal::signal_name;

/// The number of pids on one line.
const PIDS_SHOWN_MAX: usize = 32;

/// Something happened under an [`Init`](super::Init). Its `Display` is one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitEvent {
    /// The command was executed.
    #[non_exhaustive]
    Started {
        /// Its process ID, which is also its process group ID.
        pid: i32,
    },
    /// A signal was forwarded.
    #[non_exhaustive]
    Forwarded {
        /// The signal that was received.
        signal: i32,
        /// The signal that was sent: the same, or its rewrite.
        sent: i32,
    },
    /// A signal was not forwarded: it is rewritten to none, is never forwarded, or the command has
    /// ended.
    #[non_exhaustive]
    Dropped {
        /// The signal that was received.
        signal: i32,
    },
    /// The command was stopped, by job control or a kill(2).
    #[non_exhaustive]
    Stopped {
        /// The signal that stopped it.
        signal: i32,
    },
    /// The command was continued.
    Continued,
    /// The command ended and was reaped.
    #[non_exhaustive]
    Ended {
        /// Its process ID.
        pid: i32,
        /// Its exit code, 128 + n for signal n.
        code: u8,
    },
    /// An orphan ended and was reaped.
    #[non_exhaustive]
    Reaped {
        /// Its process ID.
        pid: i32,
        /// Its exit code, 128 + n for signal n.
        code: u8,
    },
    /// The command has ended; the rest of its group and the orphans are sent SIGTERM.
    Stopping,
    /// The processes that did not end in time are sent SIGKILL.
    Killed,
    /// The processes that survived SIGKILL are left behind.
    #[non_exhaustive]
    Abandoned {
        /// The process IDs that were found; there may be more.
        pids: Vec<i32>,
    },
    /// A key of the terminal has terminated the command, and everything is stopped. After this
    /// event this process ends by the same signal. Its group gets it too, if the command alone had
    /// the terminal.
    #[non_exhaustive]
    EndingBy {
        /// SIGINT or SIGQUIT.
        signal: i32,
    },
    /// Something failed, and the command goes on.
    #[non_exhaustive]
    Warning {
        /// What failed, and why.
        error: Error,
    },
    /// The command could not be started.
    #[non_exhaustive]
    Failed {
        /// What failed, and why.
        error: Error,
    },
}

impl InitEvent {
    /// True if a user should see it even without a verbose option.
    #[must_use]
    pub fn is_problem(&self) -> bool {
        matches!(
            self,
            Self::Abandoned { .. } | Self::Warning { .. } | Self::Failed { .. }
        )
    }
}

impl std::fmt::Display for InitEvent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Started { pid } => write!(f, "started pid={pid}"),
            Self::Forwarded { signal, sent } if signal == sent => {
                write!(f, "forwarded signal={}", signal_name(*signal))
            }
            Self::Forwarded { signal, sent } => {
                let (signal, sent) = (signal_name(*signal), signal_name(*sent));
                write!(f, "forwarded signal={signal} as={sent}")
            }
            Self::Dropped { signal } => write!(f, "dropped signal={}", signal_name(*signal)),
            Self::Stopped { signal } => write!(f, "stopped signal={}", signal_name(*signal)),
            Self::Continued => f.write_str("continued"),
            Self::Ended { pid, code } => write!(f, "ended pid={pid} code={code}"),
            Self::Reaped { pid, code } => write!(f, "reaped pid={pid} code={code}"),
            Self::EndingBy { signal } => {
                let signal = signal_name(*signal);
                write!(f, "ending by signal={signal}, as the command did")
            }
            Self::Stopping => f.write_str("stopping what is left"),
            Self::Killed => f.write_str("killed what was left"),
            Self::Abandoned { pids } if pids.is_empty() => {
                f.write_str("abandoned processes that are not gone 5 s after SIGKILL")
            }
            Self::Abandoned { pids } => {
                let (shown, more) = pids.split_at(pids.len().min(PIDS_SHOWN_MAX));
                let shown: Vec<String> = shown.iter().map(ToString::to_string).collect();
                let shown = shown.join(",");
                let more = match more.len() {
                    0 => String::new(),
                    count => format!(" and {count} more"),
                };
                write!(f, "abandoned pid={shown}{more} not gone 5 s after SIGKILL")
            }
            Self::Warning { error } => write!(f, "warning: {error}"),
            Self::Failed { error } => error.fmt(f),
        }
    }
}
