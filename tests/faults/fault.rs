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
    /// Those of a host with children of its own.
    Host,
    /// The own ones of `procsched-min init`.
    Init,
    /// The supervisor's own that ask for memory, where its heap grows page by page.
    Memory,
}

impl fmt::Display for Side {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Own => "own",
            Self::Child => "child",
            Self::Host => "host",
            Self::Init => "init",
            Self::Memory => "memory",
        })
    }
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
    /// Others that fail likewise, each from a number of its own on: a C library that is refused
    /// memory by one call asks another for it.
    pub also: Vec<(String, usize)>,
    pub kind: Kind,
    /// It goes on for ever from there.
    pub for_ever: bool,
}

impl Fault {
    /// What strace is told.
    pub fn arguments(&self) -> Vec<String> {
        let also = self.also.iter().map(|(call, nth)| (&**call, *nth));
        let mut arguments: Vec<String> = [(&*self.call, self.nth)]
            .into_iter()
            .chain(also)
            .flat_map(|(call, nth)| ["-e".to_owned(), self.injection(call, nth)])
            .collect();
        if self.side == Side::Child {
            arguments.push("-f".to_owned());
        }
        arguments
    }

    fn injection(&self, call: &str, nth: usize) -> String {
        let what = match &self.kind {
            // brk(2) says no by an answer that is not the end that was asked for.
            Kind::Error(_) if call == "brk" => "retval=0".to_owned(),
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
        format!("inject={call}:{what}:when={when}")
    }

    /// Whether the supervisor itself is asked to stop by it.
    pub fn is_stop(&self) -> bool {
        self.kind == Kind::Signal("TERM".to_owned())
    }

    /// True if it refuses, each time, a call that has a fallback.
    pub fn is_refusal_with_a_fallback(&self) -> bool {
        let is_refusal = |error: &str| ["EACCES", "ENOSYS", "EPERM"].contains(&error);
        let is_lasting = self.for_ever || self.side == Side::Child;
        is_lasting
            && manual::has_a_fallback(&self.call)
            && matches!(&self.kind, Kind::Error(error) if is_refusal(error))
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
        let side = self.side;
        let (mut calls, mut numbers) = (self.call.clone(), self.nth.to_string());
        for (call, nth) in &self.also {
            calls.push_str(&format!("+{call}"));
            numbers.push_str(&format!("+{nth}"));
        }
        let kind = match &self.kind {
            Kind::Error(word) | Kind::Signal(word) | Kind::Delay(word) => word.clone(),
            Kind::Answer(value) => format!("={value}"),
        };
        let length = if self.for_ever { "ever" } else { "once" };
        write!(f, "{side}:{calls}:{numbers}:{kind}:{length}")
    }
}

impl FromStr for Fault {
    type Err = String;

    fn from_str(name: &str) -> Result<Self, String> {
        let parts: Vec<&str> = name.split(':').collect();
        let [side, calls, numbers, kind, length] = *parts else {
            return Err(format!("{name:?} is not the name of a fault"));
        };
        let side = match side {
            "own" => Side::Own,
            "child" => Side::Child,
            "host" => Side::Host,
            "init" => Side::Init,
            "memory" => Side::Memory,
            _ => return Err(format!("{name:?}: whose calls?")),
        };
        let mut calls = calls
            .split('+')
            .map(str::to_owned)
            .zip(numbers_of(name, numbers)?);
        let (call, nth) = calls.next().expect("one at least");
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
            call,
            nth,
            also: calls.collect(),
            kind,
            for_ever: length == "ever",
        })
    }
}

fn numbers_of(name: &str, numbers: &str) -> Result<Vec<usize>, String> {
    let number = |number: &str| {
        let number = number.parse();
        number.map_err(|_| format!("{name:?}: which call?"))
    };
    numbers.split('+').map(number).collect()
}
