//! A time in which nothing is done, and poll's idea of time.

use std::time::Duration;

use nix::poll::{PollTimeout, poll};

/// Does nothing for that long: a `poll` of no descriptors.
pub fn pause(length: Duration) {
    // Cut short by a signal it is a shorter pause, which nobody minds.
    let _ = poll(&mut [], milliseconds(Some(length)));
}

/// A timeout for poll(2), rounded up: what ends too early would spin.
pub fn milliseconds(timeout: Option<Duration>) -> PollTimeout {
    let up = |time: Duration| i32::try_from(time.as_nanos().div_ceil(1_000_000));
    match timeout.map(up) {
        None => PollTimeout::NONE,
        Some(Ok(time)) => PollTimeout::try_from(time).unwrap_or(PollTimeout::MAX),
        Some(Err(_)) => PollTimeout::MAX,
    }
}
