//! Sleeping, and timeouts of poll(2).

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

/// Sleeps for that long, by a `poll` of no descriptors.
pub fn pause(length: Duration) {
    // A signal may cut it short, which is harmless.
    let _ = poll(&mut [], milliseconds(Some(length)));
}

/// Returns the timeout for poll(2), rounded up: one that ends too early would spin.
pub fn milliseconds(timeout: Option<Duration>) -> PollTimeout {
    let up = |time: Duration| i32::try_from(time.as_nanos().div_ceil(1_000_000));
    match timeout.map(up) {
        None => PollTimeout::NONE,
        Some(Ok(time)) => PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX),
        Some(Err(_)) => PollTimeout::MAX,
    }
}
