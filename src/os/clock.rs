//! The only place where a clock is read.
//!
//! Every decision uses CLOCK_MONOTONIC, which cannot be set and stops while the machine is
//! suspended. Wall-clock time is for people: reports and messages.

use std::time::{Duration, Instant, SystemTime};

use crate::machine::Moment;

/// Converts the monotonic clock to the machine's moments.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Clock {
    origin: Instant,
}

impl Clock {
    pub(crate) fn new() -> Self {
        Self {
            origin: Instant::now(),
        }
    }

    pub(crate) fn now(self) -> Moment {
        Moment::from_origin(self.origin.elapsed())
    }

    /// Converts a moment to the standard library's instant.
    pub(crate) fn instant(self, moment: Moment) -> Instant {
        let after = moment.since(Moment::default());
        self.origin.checked_add(after).unwrap_or(self.origin)
    }

    /// Returns the time until `deadline`; zero if it has passed.
    pub(crate) fn until(self, deadline: Moment) -> Duration {
        deadline.since(self.now())
    }
}

/// Reads the wall clock.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
