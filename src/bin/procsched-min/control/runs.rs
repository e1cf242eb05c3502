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
    pub came_up: CameUp,
    pub message: String,
}

/// Whether a start is a success although its run has ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum CameUp {
    /// It was up, and has not failed.
    Yes,
    /// It has not failed, and nothing follows: a oneshot is up when its group is gone.
    WhenGone,
    No,
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
                was_up,
                has_failed,
                fault,
                retry_in,
                reason,
                last_line,
                ..
            } if is_own(*cause) => {
                let fault = fault.as_deref().map(|fault| format!("{fault}: "));
                let mut message = fault.unwrap_or_default();
                message.push_str(&match exit_label(*return_code) {
                    ("signal", name) => format!("killed by {name}"),
                    (_, code) => format!("exited with code {code}"),
                });
                message.push_str(" after ");
                message.push_str(&duration(*uptime));
                if !(*was_up || *has_failed) {
                    message.push_str(", before it was up");
                }
                message.push_str(&next_start(*retry_in, reason.as_deref()));
                if let Some(line) = last_line {
                    // Writing to a string cannot fail.
                    let _ = write!(message, ": {line:?}");
                }
                Some(Self {
                    pid: Some(*pid),
                    came_up: match retry_in {
                        // It has failed for good, whatever it was before.
                        _ if *has_failed || reason.is_some() => CameUp::No,
                        _ if *was_up => CameUp::Yes,
                        None => CameUp::WhenGone,
                        Some(_) => CameUp::No,
                    },
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
                    came_up: CameUp::No,
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
