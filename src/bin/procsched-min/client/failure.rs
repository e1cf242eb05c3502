//! Why a command to a supervisor ends without success, and with which exit code.

use std::io;
use std::time::Instant;

use procsched::text::{error_text, escaped};

use crate::commands::{
    DENIED, FAILED, FINE, NO_SUPERVISOR, STATUS_UNKNOWN, TIMED_OUT, UNKNOWN_PROGRAM, USAGE,
};
use crate::messages::SELF;
use crate::stdio::complain;

/// An exit code with its message.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    pub code: u8,
    /// Without the name of the binary; empty if everything is printed already.
    pub message: String,
}

impl Failure {
    pub fn new(code: u8, message: impl Into<String>) -> Self {
        Self {
            code,
            message: message.into(),
        }
    }

    /// A failure whose message is printed already.
    pub fn silent(code: u8) -> Self {
        Self::new(code, "")
    }

    /// An answer that no supervisor of this protocol gives.
    pub fn protocol(what: impl Into<String>) -> Self {
        let what = what.into();
        let advice = "is it a socket of procsched-min, of this version?";
        Self::new(FAILED, format!("unexpected answer: {what}; {advice}"))
    }

    /// A write to stdout that failed. If its reader is gone it has read enough, as with `| head`.
    pub fn stdout(error: &io::Error) -> Self {
        if error.kind() == io::ErrorKind::BrokenPipe {
            return Self::silent(FINE);
        }
        let cause = error_text(error);
        Self::new(FAILED, format!("failed to write to stdout: {cause}"))
    }

    /// An error of the supervisor, by its code of the protocol.
    pub fn refused(code: &str, message: &str) -> Self {
        Self::new(exit_code(code), message)
    }

    /// Prints the message and returns the exit code.
    pub fn report(&self) -> u8 {
        if !self.message.is_empty() {
            complain(&format!("{SELF}: {}", escaped(&self.message)));
        }
        self.code
    }

    /// The same for `status`: that the state is unknown has a code of its own, whatever the reason.
    pub fn of_status(mut self) -> Self {
        if ![FINE, USAGE].contains(&self.code) {
            self.code = STATUS_UNKNOWN;
        }
        self
    }
}

/// Returns the exit code for an error code of the protocol.
pub fn exit_code(code: &str) -> u8 {
    match code {
        "usage" | "too-long" | "invalid-config" => USAGE,
        "unknown-program" => UNKNOWN_PROGRAM,
        "timeout" => TIMED_OUT,
        _ => FAILED,
    }
}

/// Returns the exit code of a command that waits no longer. `end` is when `--timeout` expires: with
/// one nothing is given up before it.
pub fn gave_up(end: Option<Instant>) -> u8 {
    match end {
        Some(_) => TIMED_OUT,
        None => FAILED,
    }
}

/// The failure to connect to the socket at a path.
pub fn connecting(path: &std::path::Path, error: &io::Error, end: Option<Instant>) -> Failure {
    let cause = error_text(error);
    match error.kind() {
        io::ErrorKind::PermissionDenied => Failure::new(
            DENIED,
            format!(
                "cannot connect to {path:?}: {cause}; use the supervisor's user, or set \
                 \"control_group\" in its config"
            ),
        ),
        io::ErrorKind::WouldBlock => Failure::new(
            gave_up(end),
            format!(
                "cannot connect to {path:?}: the supervisor takes no connection; see whether it \
                 is stopped or overloaded"
            ),
        ),
        io::ErrorKind::NotFound | io::ErrorKind::ConnectionRefused => Failure::new(
            NO_SUPERVISOR,
            format!(
                "no supervisor at {path:?}: {cause}; start one with \"{SELF} run\", or name its \
                 socket with --socket"
            ),
        ),
        _ => Failure::new(
            NO_SUPERVISOR,
            format!("cannot connect to {path:?}: {cause}; name another socket with --socket"),
        ),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn codes_of_the_protocol_are_exit_codes() {
        let table = [
            ("usage", 2),
            ("version", 1),
            ("too-long", 2),
            ("busy", 1),
            ("unknown-program", 5),
            ("not-running", 1),
            ("stopping", 1),
            ("superseded", 1),
            ("timeout", 124),
            ("failed", 1),
            ("abandoned", 1),
            ("invalid-config", 2),
            ("a-newer-code", 1),
        ];
        for (code, expected) in table {
            assert_eq!(exit_code(code), expected, "{code}");
        }
    }

    #[test]
    fn status_has_its_own_code_for_an_unknown_state() {
        let code = |code| Failure::new(code, "x").of_status().code;
        assert_eq!([code(0), code(2)], [0, 2]);
        assert_eq!([1, 4, 5, 7, 124].map(code), [4; 5]);
    }
}
