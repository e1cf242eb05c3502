//! The one place where this binary reads a clock or sleeps. Supervision never depends on it.

use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollTimeout, poll};
use nix::sys::time::TimeSpec;
use nix::time::{ClockId, clock_gettime};

/// The longest wait: years, and not more than fits into a `timespec` of 32 bits.
const LONGEST: Duration = Duration::from_secs(i32::MAX as u64);

/// Returns the wall-clock time, for messages.
pub fn wall() -> SystemTime {
    SystemTime::now()
}

/// Returns the monotonic time, for deadlines of the binary's own.
pub fn steady() -> Instant {
    Instant::now()
}

/// Returns CLOCK_MONOTONIC in microseconds, as another process can compare it with its own.
pub fn monotonic_microseconds() -> u64 {
    // It fails for an unknown clock only.
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).map_or(Duration::ZERO, Duration::from);
    u64::try_from(time.as_micros()).unwrap_or(u64::MAX)
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

/// Returns the timeout for ppoll(2). From 1 ms on it is rounded up, so that deadlines that are close
/// together are one wake-up.
pub fn exact(time: Duration) -> TimeSpec {
    let milliseconds = u64::try_from(time.as_nanos().div_ceil(1_000_000));
    let up = milliseconds.map_or(LONGEST, Duration::from_millis);
    let exact = if time < Duration::from_millis(1) {
        time
    } else {
        up
    };
    TimeSpec::from_duration(exact.min(LONGEST))
}

/// Returns the timeout for poll(2), rounded up: one that ends too early would spin.
pub fn milliseconds(timeout: Option<Duration>) -> PollTimeout {
    let up = |time: Duration| PollTimeout::try_from(time.as_nanos().div_ceil(1_000_000));
    PollTimeout::from(timeout.map(|time| up(time).unwrap_or(PollTimeout::MAX)))
}
