//! How a run ended, in the words of an answer.

use std::fmt::Write;
use std::time::Duration;

use procsched::{Cause, EventKind};

use procsched::exit_label;
use procsched::text::duration;

/// The end of a run that was not asked for.
#[derive(Debug, PartialEq, Eq)]
pub struct RunEnd {
    /// `None` if it was never executed.
    pub pid: Option<i32>,
    /// True for code 0.
    pub is_success: bool,
    pub message: String,
}

impl RunEnd {
    /// Returns the end that an event reports. `None` of other events, and of a run that was asked
    /// to end.
    pub fn of(event: &EventKind) -> Option<Self> {
        match event {
            EventKind::Exited {
                pid,
                return_code,
                uptime,
                cause,
                retry_in,
                reason,
                last_line,
                ..
            } if is_own(*cause) => {
                let how = match exit_label(*return_code) {
                    ("signal", name) => format!("killed by {name}"),
                    (_, code) => format!("exited with code {code}"),
                };
                let mut message = format!("{how} after {}", duration(*uptime));
                message.push_str(&next_start(*retry_in, reason.as_deref()));
                if let Some(line) = last_line {
                    // Writing to a string cannot fail.
                    let _ = write!(message, ": {line:?}");
                }
                Some(Self {
                    pid: Some(*pid),
                    is_success: *return_code == 0,
                    message,
                })
            }
            EventKind::StartFailed {
                error,
                cause,
                retry_in,
                reason,
                ..
            } if is_own(*cause) => {
                let next = next_start(*retry_in, reason.as_deref());
                Some(Self {
                    pid: None,
                    is_success: false,
                    message: format!("failed to start{next}: {error}"),
                })
            }
            _ => None,
        }
    }
}

/// True if an order has not caused it.
fn is_own(cause: Cause) -> bool {
    !matches!(
        cause,
        Cause::Operator | Cause::Reload | Cause::Requirement | Cause::Shutdown
    )
}

fn next_start(retry_in: Option<Duration>, reason: Option<&str>) -> String {
    match (retry_in, reason) {
        (Some(delay), _) => format!(", next start in {}", duration(delay)),
        (None, Some(reason)) => format!(", not restarted: {reason}"),
        (None, None) => ", not restarted".to_owned(),
    }
}
