//! What [`Init`](super::Init) tells while it runs.

use crate::error::Error;
use crate::signal::signal_name;

/// How many numbers one line has.
const PIDS_TOLD_MAX: usize = 32;

/// Something happened under an [`Init`](super::Init). Its `Display` is one line for a person.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum InitEvent {
    /// The command was executed.
    #[non_exhaustive]
    Started {
        /// Its process id, which is its group's too.
        pid: i32,
    },
    /// A signal was passed on.
    #[non_exhaustive]
    Forwarded {
        /// What came.
        signal: i32,
        /// What was sent: the same, or what it is rewritten to.
        sent: i32,
    },
    /// A signal was not passed on: it is rewritten to nothing, it is no signal to pass on, or
    /// the command has ended.
    #[non_exhaustive]
    Dropped {
        /// What came.
        signal: i32,
    },
    /// The command was stopped by job control, or by hand.
    #[non_exhaustive]
    Stopped {
        /// By this signal.
        signal: i32,
    },
    /// The command was continued.
    Continued,
    /// The command has ended, and was reaped.
    #[non_exhaustive]
    Ended {
        /// Its process id.
        pid: i32,
        /// 128 + n if signal n ended it.
        code: u8,
    },
    /// A process that came home to us has ended, and was reaped.
    #[non_exhaustive]
    Reaped {
        /// Its process id.
        pid: i32,
        /// 128 + n if signal n ended it.
        code: u8,
    },
    /// After the command: what is left of its group, and what came home, is asked to end.
    Stopping,
    /// What did not end in time is killed.
    Killed,
    /// What did not even die is left behind.
    #[non_exhaustive]
    Abandoned {
        /// The process ids that could be found; there may be more.
        pids: Vec<i32>,
    },
    /// The command has died of a key of the terminal, and everything is over. After this event
    /// this process ends by the same signal; its group gets it, too, if only the command had the
    /// terminal.
    #[non_exhaustive]
    EndingBy {
        /// SIGINT or SIGQUIT.
        signal: i32,
    },
    /// Something does not work as it should.
    #[non_exhaustive]
    Warning {
        /// What failed, and why.
        error: Error,
    },
    /// The command could not be started.
    #[non_exhaustive]
    Failed {
        /// What failed, on what, and the system's word.
        error: Error,
    },
}

impl InitEvent {
    /// Whether a person should see it without having asked for every detail.
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
                let (told, more) = pids.split_at(pids.len().min(PIDS_TOLD_MAX));
                let told: Vec<String> = told.iter().map(ToString::to_string).collect();
                let told = told.join(",");
                let more = match more.len() {
                    0 => String::new(),
                    count => format!(" and {count} more"),
                };
                write!(f, "abandoned pid={told}{more} not gone 5 s after SIGKILL")
            }
            Self::Warning { error } => write!(f, "warning: {error}"),
            Self::Failed { error } => error.fmt(f),
        }
    }
}
