//! A remote control for a scheduler, for other threads and for signal handlers.

use std::sync::Arc;

use crate::os::wake::Waker;

/// Stops a scheduler from anywhere: it is `Clone`, `Send` and `Sync`, and outlives the
/// scheduler without harm.
///
/// Both wishes are carried out by the scheduler's next turn, which they wake. In a copy of the
/// process that was made by fork they do nothing.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<Waker>);

impl Handle {
    /// Asks every program to stop, as a SIGTERM to the supervisor would. Asking again changes
    /// nothing. Async-signal-safe (signal-safety(7)).
    pub fn stop(&self) {
        self.0.stop();
    }

    /// Kills every program at once. Async-signal-safe as well.
    pub fn kill(&self) {
        self.0.kill();
    }

    /// Whether a stop was asked for, or has begun because an essential program ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// Whether the scheduler has come to its end: [`Status::Stopped`](crate::Status::Stopped).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}
