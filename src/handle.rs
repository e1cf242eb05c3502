//! A remote control for a scheduler, for other threads and for signal handlers.

use std::sync::Arc;

use crate::os::wake::{Asked, Waker};

/// Stops a scheduler from anywhere: it is `Clone`, `Send` and `Sync`, and outlives the
/// scheduler without harm.
///
/// What is asked for is carried out by the scheduler's next turn, which it wakes. Asking for the
/// same again changes nothing and wakes nothing, so that a host may ask in each of its turns. In
/// a copy of the process that was made by fork it does nothing.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<Waker>);

impl Handle {
    /// Asks every program to stop, as a SIGTERM to the supervisor would. Async-signal-safe
    /// (signal-safety(7)).
    pub fn stop(&self) {
        self.0.ask(Asked::Stop);
    }

    /// Kills every program at once, after a stop too. Async-signal-safe as well.
    pub fn kill(&self) {
        self.0.ask(Asked::Kill);
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
