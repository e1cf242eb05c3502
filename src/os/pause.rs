//! A rest for what would spin, and the times that the kernel takes.

use std::time::Duration;

/// Does nothing for that long, by a call that nothing else is made of.
pub(super) fn pause(time: Duration) {
    // SAFETY: the time is live, and how much of it a signal has left is not asked for.
    unsafe { libc::nanosleep(&timespec(time), std::ptr::null_mut()) };
}

/// A time that is exact and never early: what ends too early would spin.
pub(super) fn timespec(time: Duration) -> libc::timespec {
    // SAFETY: a `timespec` is integers, for which zero is a value.
    let mut timespec: libc::timespec = unsafe { std::mem::zeroed() };
    timespec.tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
    timespec.tv_nsec = time.subsec_nanos().into();
    timespec
}
