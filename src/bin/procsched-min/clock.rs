//! The one place where this binary reads a clock or sleeps. Supervision never depends on it.

use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollTimeout, poll};

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

/// Sleeps for that long, by a `poll` of no descriptors.
pub fn pause(length: Duration) {
    // A signal may cut it short, which is harmless.
    let _ = poll(&mut [], milliseconds(Some(length)));
}

/// Returns the timeout for poll(2), rounded up: one that ends too early would spin.
pub fn milliseconds(timeout: Option<Duration>) -> PollTimeout {
    let up = |time: Duration| PollTimeout::try_from(time.as_nanos().div_ceil(1_000_000));
    PollTimeout::from(timeout.map(|time| up(time).unwrap_or(PollTimeout::MAX)))
}
