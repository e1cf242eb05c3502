//! Controls a scheduler from other threads and from signal handlers.
//!
//! What can be asked for here can only grow, from a stop to a kill. Orders that can be repeated are
//! methods of the scheduler (`scheduler/operator.rs`).

use std::sync::Arc;

use crate::os::wake::{Asked, Waker};

/// Stops a scheduler from anywhere. It is `Clone`, `Send` and `Sync`, and may outlive the
/// scheduler.
///
/// A call wakes the scheduler, which acts in its next turn. A repeated call does nothing, so that
/// a host may call it in each of its turns. It does nothing in a forked copy of the process.
#[derive(Debug, Clone)]
pub struct Handle(pub(crate) Arc<Waker>);

impl Handle {
    /// Stops every program, as a SIGTERM to the supervisor does. Async-signal-safe
    /// (signal-safety(7)).
    pub fn stop(&self) {
        self.0.ask(Asked::Stop);
    }

    /// Kills every program at once, after a stop too. Async-signal-safe.
    pub fn kill(&self) {
        self.0.ask(Asked::Kill);
    }

    /// True after a stop, which may have begun because an essential program ended.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.0.is_stopping()
    }

    /// True once the scheduler has returned [`Status::Stopped`](crate::Status::Stopped).
    #[must_use]
    pub fn is_stopped(&self) -> bool {
        self.0.is_stopped()
    }
}
