//! What is done to each program of a request.

use procsched::SignalTo;

use super::protocol::Until;

/// What is done to each program.
#[derive(Debug, Clone, Copy, PartialEq)]
pub enum Verb {
    /// Its state is described.
    Describe,
    Start,
    Stop,
    Kill,
    Restart,
    Signal(i32, SignalTo),
    Wait(Until),
    /// A reload has ordered it, and it is waited for.
    Settle,
}

impl Verb {
    /// True if it takes programs down for good.
    pub fn is_stop(self) -> bool {
        matches!(self, Self::Stop | Self::Kill)
    }

    /// True if a later order is the opposite of this one.
    pub fn is_superseded_by(self, later: Self) -> bool {
        match self {
            Self::Start | Self::Restart | Self::Settle => later.is_stop(),
            Self::Stop | Self::Kill => matches!(later, Self::Start | Self::Restart),
            Self::Describe | Self::Signal(..) | Self::Wait(_) => false,
        }
    }

    /// Returns the word of the command.
    pub fn word(self) -> &'static str {
        match self {
            Self::Describe => "status",
            Self::Start => "start",
            Self::Stop => "stop",
            Self::Kill => "kill",
            Self::Restart => "restart",
            Self::Signal(..) => "signal",
            Self::Wait(_) => "wait",
            Self::Settle => "reload",
        }
    }
}
