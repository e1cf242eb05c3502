//! One fault: at which call, and what happens there.

use std::fmt;
use std::str::FromStr;

use super::manual::{self, Ever};

/// How long an own fork is held up, in microseconds: longer than a program that fails lives.
const DELAY_MICROSECONDS: u32 = 150_000;

/// Calls in a storm.
const STORM_CALLS: usize = 8;

/// Whose calls are meant.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Side {
    /// The supervisor's own.
    Own,
    /// Those of what it starts, between fork and exec. strace counts for each process by itself:
    /// every child meets it, and so does everything else that makes such a call.
    Child,
    /// The own ones of `procsched-min init`.
    Init,
}

/// What happens instead of the call, or beside it.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub enum Kind {
    Error(String),
    /// A signal arrives, and the call is made.
    Signal(String),
    /// It is not made, and answers this.
    Answer(u32),
    /// It takes long: `delay_enter` before, `delay_exit` after.
    Delay(String),
}

/// A call, and what happens there.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Fault {
    pub side: Side,
    pub call: String,
    /// The how manieth of its kind it is, from 1.
    pub nth: usize,
    pub kind: Kind,
    /// It goes on for ever from there.
    pub for_ever: bool,
}

impl Fault {
    /// What strace is told.
    pub fn arguments(&self) -> Vec<String> {
        let Self { call, nth, .. } = self;
        let what = match &self.kind {
            Kind::Error(error) => format!("error={error}"),
            Kind::Signal(signal) => format!("signal=SIG{signal}"),
            Kind::Answer(value) => format!("retval={value}"),
            Kind::Delay(place) => format!("{place}={DELAY_MICROSECONDS}"),
        };
        let when = match &self.kind {
            _ if !self.for_ever => format!("{nth}"),
            Kind::Error(error) if manual::ever(call, error) == Ever::Storm => {
                format!("{nth}..{}", nth + STORM_CALLS - 1)
            }
            _ => format!("{nth}+"),
        };
        let mut arguments = vec!["-e".into(), format!("inject={call}:{what}:when={when}")];
        if self.side == Side::Child {
            arguments.push("-f".to_owned());
        }
        arguments
    }

    /// Whether the supervisor itself is asked to stop by it.
    pub fn is_stop(&self) -> bool {
        self.kind == Kind::Signal("TERM".to_owned())
    }

    /// Whether strace lies about what has happened: bytes that were not read or written.
    pub fn is_lie(&self) -> bool {
        matches!(self.kind, Kind::Answer(_))
    }

    /// For the summary: what happens, and for how long.
    pub fn column(&self) -> String {
        let text = self.to_string();
        let parts: Vec<&str> = text.split(':').skip(3).collect();
        parts.join(":")
    }
}

impl fmt::Display for Fault {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let side = match self.side {
            Side::Own => "own",
            Side::Child => "child",
            Side::Init => "init",
        };
        let kind = match &self.kind {
            Kind::Error(word) | Kind::Signal(word) | Kind::Delay(word) => word.clone(),
            Kind::Answer(value) => format!("={value}"),
        };
        let length = if self.for_ever { "ever" } else { "once" };
        write!(f, "{side}:{}:{}:{kind}:{length}", self.call, self.nth)
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let parts: Vec<&str> = name.split(':').collect();
        let [side, call, nth, kind, length] = *parts else {
            return Err(format!("{name:?} is not the name of a fault"));
        };
        let side = match side {
            "own" => Side::Own,
            "child" => Side::Child,
            "init" => Side::Init,
            _ => return Err(format!("{name:?}: \"own\", \"child\" or \"init\" calls")),
        };
        let kind = match kind {
            _ if kind.starts_with('=') => {
                let value = kind[1..].parse();
                Kind::Answer(value.map_err(|_| format!("{name:?}: {kind:?} is no answer"))?)
            }
            "delay_enter" | "delay_exit" => Kind::Delay(kind.to_owned()),
            _ if kind.starts_with('E') => Kind::Error(kind.to_owned()),
            _ => Kind::Signal(kind.to_owned()),
        };
        Ok(Self {
            side,
            call: call.to_owned(),
            nth: nth.parse().map_err(|_| format!("{name:?}: which call?"))?,
            kind,
            for_ever: length == "ever",
        })
    }
}
