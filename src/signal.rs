//! Signals by name and by number.

use std::fmt;
use std::str::FromStr;

use crate::error::{Error, Result};
use crate::text::{did_you_mean, quoted};

/// The highest signal number on Linux (`SIGRTMAX`).
pub(crate) const SIGNAL_MAX: i32 = 64;

/// The number of `SIGRTMIN`, as the kernel counts: each C library reserves some of the first
/// real-time signals for itself, and differs in how many.
const REALTIME_MIN: i32 = 34;

/// A signal number, 1 to 64, and its name.
///
/// It is parsed from a name, in either case and with or without `SIG`, or from a number. Its
/// `Display` is the name as kill(1) lists it, with `SIG`: `SIGTERM`, `SIGRTMIN+3`; real-time
/// signals are counted from 34. Signals 32 and 33 have no name: `signal 32`.
///
/// ```
/// use procsched::Signal;
///
/// let signal: Signal = "term".parse()?;
/// assert_eq!((signal.number(), signal.to_string()), (15, "SIGTERM".to_owned()));
/// assert_eq!("RTMIN+3".parse(), Signal::new(37));
///
/// let error = "TREM".parse::<Signal>().unwrap_err();
/// assert_eq!(error.to_string(), r#"unknown signal "TREM" (did you mean "TERM"?)"#);
/// let error = Signal::new(65).unwrap_err();
/// assert_eq!(error.to_string(), "invalid signal 65: expected 1 to 64");
/// # Ok::<(), procsched::Error>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Signal(i32);

impl Signal {
    /// Returns the signal with this number.
    ///
    /// # Errors
    ///
    /// If the number is not 1 to 64.
    pub fn new(number: i32) -> Result<Self> {
        match signal_problem(number) {
            None => Ok(Self(number)),
            Some(problem) => Err(Error::new(problem)),
        }
    }

    /// Returns its number.
    #[must_use]
    pub fn number(self) -> i32 {
        self.0
    }

    /// Parses a name or a number. Only a signal that `is_usable` is suggested.
    pub(crate) fn parse(text: &str, is_usable: impl Fn(Self) -> bool) -> Result<Self> {
        let name = text.to_ascii_uppercase();
        let name = name.strip_prefix("SIG").unwrap_or(&name);
        let named =
            |signal: Self| Some((signal, signal.to_string().strip_prefix("SIG")?.to_owned()));
        let known: Vec<_> = (1..=SIGNAL_MAX).map(Self).filter_map(named).collect();
        if let Some((signal, _)) = known.iter().find(|(_, known)| known == name) {
            return Ok(*signal);
        }
        if let Ok(number) = name.parse() {
            return Self::new(number);
        }
        let usable = known.iter().filter(|(signal, _)| is_usable(*signal));
        let instead = did_you_mean(name, usable.map(|(_, name)| name.as_str()));
        let instead = instead.unwrap_or_else(|| {
            format!(": use a name such as \"TERM\", or a number from 1 to {SIGNAL_MAX}")
        });
        let text = quoted(text);
        Err(Error::new(format!("unknown signal {text}{instead}")))
    }
}

impl FromStr for Signal {
    type Err = Error;

    fn from_str(text: &str) -> Result<Self> {
        Self::parse(text, |_| true)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let name = match self.0 {
            REALTIME_MIN => "SIGRTMIN".to_owned(),
            number @ REALTIME_MIN..=SIGNAL_MAX => format!("SIGRTMIN+{}", number - REALTIME_MIN),
            number => match nix::sys::signal::Signal::try_from(number) {
                Ok(known) => known.as_str().to_owned(),
                Err(_) => format!("signal {number}"),
            },
        };
        f.pad(&name)
    }
}

/// Returns the name of a signal as [`Signal`] displays it, or `signal 65` for a number without a name.
///
/// ```
/// assert_eq!(procsched::signal_name(15), "SIGTERM");
/// assert_eq!(procsched::signal_name(37), "SIGRTMIN+3");
/// ```
#[must_use]
pub fn signal_name(signal: i32) -> String {
    Signal(signal).to_string()
}

/// Returns why this is no signal number, or `None` if it is one.
pub(crate) fn signal_problem(number: i32) -> Option<String> {
    let is_valid = (1..=SIGNAL_MAX).contains(&number);
    (!is_valid).then(|| format!("invalid signal {number}: expected 1 to {SIGNAL_MAX}"))
}
/// Which processes of a program get a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum SignalTo {
    /// Every process of its group. The default.
    #[default]
    Group,
    /// Its first process.
    Main,
}

/// Returns a return code with its key: `code` and `3`, or `signal` and `SIGSEGV`.
///
/// ```
/// let signal = ("signal", "SIGKILL".to_owned());
/// assert_eq!(procsched::exit_label(-9), signal);
/// ```
#[must_use]
pub fn exit_label(return_code: i32) -> (&'static str, String) {
    match return_code.checked_neg() {
        Some(signal @ 1..) => ("signal", signal_name(signal)),
        _ => ("code", return_code.to_string()),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn impossible_codes_do_not_overflow() {
        assert_eq!(exit_label(i32::MIN), ("code", "-2147483648".to_owned()));
        assert_eq!(exit_label(-1_000), ("signal", "signal 1000".to_owned()));
    }
}
