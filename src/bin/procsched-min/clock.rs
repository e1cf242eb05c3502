//! The one place where this binary reads a clock. Supervision never depends on it.

use std::time::{Duration, Instant, SystemTime};

/// The wall clock, for the lines that a person reads.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// The clock that is never set, for the demo's own timetable.
pub fn steady() -> Instant {
    Instant::now()
}

/// How long it is until then; zero if that is over.
pub fn until(deadline: Instant) -> Duration {
    deadline.saturating_duration_since(steady())
}
