//! The one place where this binary reads a clock. Supervision never depends on it.

use std::time::{Duration, Instant, SystemTime};

/// Returns the wall-clock time, for messages.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns the monotonic time, for deadlines of the binary's own.
pub fn steady() -> Instant {
    Instant::now()
}

/// Returns the time until the deadline; zero if it has passed.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(steady())
}
