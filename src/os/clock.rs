//! The only place where a clock is read.
//!
//! Every decision is taken by CLOCK_MONOTONIC, which no operator sets and which stands still
//! while the machine is suspended. Wall-clock time is for people: reports and messages.

use std::time::{Duration, Instant, SystemTime};

use crate::machine::Moment;

/// Turns the monotonic clock into the machine's moments.
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

    /// The same instant as the standard library has it.
    pub(crate) fn instant(self, moment: Moment) -> Instant {
        let after = moment.since(Moment::default());
        self.origin.checked_add(after).unwrap_or(self.origin)
    }

    /// How long until `deadline`; zero if it has passed.
    pub(crate) fn until(self, deadline: Moment) -> Duration {
        deadline.since(self.now())
    }
}

/// What the wall clock shows.
pub(crate) fn wall() -> SystemTime {
    SystemTime::now()
}
