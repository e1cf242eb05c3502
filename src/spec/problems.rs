//! Why a value of a description cannot be used, in words that name what can. What the system says
//! about it is not asked.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::time::Duration;

use super::{NAME_BYTES_MAX, REPORT_BYTES_MAX};
use crate::machine::Backoff;
use crate::signal::{SIGNAL_MAX, signal_problem};
use crate::text::duration;

/// Why a path that begins with `~/` is refused: it would be in a directory called `~`.
pub(crate) const HOME: &str = "\"~\" at the beginning of a path is the home directory to a shell only, and \
                    there is none here: write out the home directory, such as \"/home/me\"";

/// The least time that a shutdown may have: what was killed has to be reaped and reported.
const SHUTDOWN_TIMEOUT_MIN: Duration = Duration::from_millis(100);

/// Returns why this cannot be an exit code, or a negative signal, that gets a meaning of its own.
pub(crate) fn exit_code_problem(code: i32) -> Option<String> {
    let is_valid = (1..=255).contains(&code) || (-SIGNAL_MAX..0).contains(&code);
    (!is_valid).then(|| {
        format!("invalid exit code {code}: expected 1 to 255, or -1 to -{SIGNAL_MAX} for a signal")
    })
}

/// Returns why this is no name of a program, or `None` if it is one.
pub(crate) fn name_problem(name: &str) -> Option<String> {
    let bytes = name.as_bytes();
    let rule = "use 1 to 64 of A-Z a-z 0-9 . _ @ - and begin with a letter or digit";
    if bytes.is_empty() {
        return Some(format!("the name is empty: {rule}"));
    }
    if bytes.len() > NAME_BYTES_MAX {
        return Some(format!("the name has {} bytes: {rule}", bytes.len()));
    }
    let inner = |byte: &u8| byte.is_ascii_alphanumeric() || b"._@-".contains(byte);
    match bytes.iter().position(|byte| !inner(byte)) {
        Some(at) => {
            let bad = name[at..].chars().next().unwrap_or('\u{fffd}');
            Some(format!("a name cannot have {bad:?} in it: {rule}"))
        }
        None if !bytes[0].is_ascii_alphanumeric() => Some(format!(
            "a name cannot begin with {:?}: {rule}",
            char::from(bytes[0])
        )),
        None => None,
    }
}

/// Returns why this cannot be executed, or `None` if it can.
pub(crate) fn command_problem(command: &[OsString]) -> Option<String> {
    if command.is_empty() {
        return Some("the command is empty: give at least the program".to_owned());
    }
    let problem = |(index, argument): (usize, &OsString)| argument_problem(index, argument);
    command.iter().enumerate().find_map(problem)
}

/// Returns why this cannot be the argument at that index, or `None` if it can.
pub(crate) fn argument_problem(index: usize, argument: &OsStr) -> Option<String> {
    if index == 0 && argument.is_empty() {
        return Some("the program to run is an empty string".to_owned());
    }
    if index == 0 && argument.as_bytes().starts_with(b"~/") {
        return Some(HOME.to_owned());
    }
    has_nul(argument).then(|| nul_text("an argument"))
}

/// Returns why this cannot be a directory, or `None` if it can.
pub(crate) fn directory_problem(directory: &Path) -> Option<String> {
    path_problem("directory", directory)
}

/// Returns why this cannot be the path of what it is called, or `None` if it can.
pub(crate) fn path_problem(what: &str, path: &Path) -> Option<String> {
    if path.as_os_str().is_empty() {
        return Some(format!("the {what} is an empty string"));
    }
    if has_nul(path.as_os_str()) {
        return Some(nul_text("a path"));
    }
    let is_home = path.as_os_str().as_bytes().starts_with(b"~/");
    is_home.then(|| HOME.to_owned())
}

/// Returns why this cannot be an environment variable, or `None` if it can.
pub(crate) fn env_problem(key: &OsStr, value: &OsStr) -> Option<String> {
    if key.is_empty() {
        return Some("a variable needs a name".to_owned());
    }
    if key.as_bytes().contains(&b'=') {
        return Some(format!("the name {key:?} cannot have \"=\" in it"));
    }
    (has_nul(key) || has_nul(value)).then(|| nul_text("a variable"))
}

/// Returns why these delays cannot be used, or `None` if they can.
pub(crate) fn backoff_problem(backoff: &Backoff) -> Option<String> {
    (backoff.max < backoff.initial).then(|| {
        format!(
            "max ({:?}) is below initial ({:?}): raise max or lower initial",
            backoff.max, backoff.initial
        )
    })
}

/// What a jitter is.
pub(crate) const JITTER_EXPECTED: &str = "a number from 0 to 1";

/// The largest jitter, in thousandths.
const JITTER_MAX: u16 = 1_000;

/// Returns a jitter in thousandths, if it is possible.
pub(crate) fn jitter_of(share: f64) -> Option<u16> {
    let is_possible = (0.0..=1.0).contains(&share);
    is_possible.then(|| (share * f64::from(JITTER_MAX)).round() as u16)
}

/// Returns why delays cannot have this jitter, in thousandths, or `None` if they can.
pub(crate) fn jitter_problem(jitter: u16) -> Option<String> {
    (jitter > JITTER_MAX).then(|| format!("invalid jitter: expected {JITTER_EXPECTED}"))
}

/// Returns why this cannot be a stop signal, or `None` if it can.
///
/// SIGCONT follows each stop signal and discards a pending SIGSTOP, SIGTSTP, SIGTTIN or SIGTTOU
/// (signal(7)). Signals that are ignored by default are valid, because a program may handle them:
/// httpd stops on SIGWINCH.
pub(crate) fn stop_signal_problem(signal: i32) -> Option<String> {
    let name = match signal {
        libc::SIGSTOP => "SIGSTOP",
        libc::SIGTSTP => "SIGTSTP",
        libc::SIGTTIN => "SIGTTIN",
        libc::SIGTTOU => "SIGTTOU",
        other => return signal_problem(other),
    };
    Some(format!(
        "{name} suspends a program and does not end it, and the SIGCONT that follows every stop \
         signal cancels it: use a signal that ends the program, such as \"TERM\""
    ))
}

/// Returns why a report cannot contain this many bytes, or `None` if it can.
pub(crate) fn report_bytes_problem(bytes: usize) -> Option<String> {
    (bytes > REPORT_BYTES_MAX).then(|| {
        format!("{bytes} bytes are more than a report can carry: use at most {REPORT_BYTES_MAX}")
    })
}

/// Returns why everything cannot be stopped within this time, or `None` if it can.
pub(crate) fn shutdown_timeout_problem(timeout: Duration) -> Option<String> {
    (timeout < SHUTDOWN_TIMEOUT_MIN).then(|| {
        let (given, least) = (duration(timeout), duration(SHUTDOWN_TIMEOUT_MIN));
        format!("invalid shutdown_timeout {given}: expected {least} or more")
    })
}

fn has_nul(text: &OsStr) -> bool {
    text.as_bytes().contains(&0)
}

fn nul_text(what: &str) -> String {
    format!("{what} cannot have a NUL byte in it")
}
