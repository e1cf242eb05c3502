//! A pause for what would spin, and time intervals for the kernel.

use std::time::Duration;

/// Sleeps, at most for that long, by a system call that nothing else here makes.
pub(super) fn pause(time: Duration) {
    // SAFETY: the time is live, and the remaining time is not asked for.
    unsafe { libc::nanosleep(&timespec(time), std::ptr::null_mut()) };
}

/// Converts a duration exactly: a wait that ended too early would spin.
pub(super) fn timespec(time: Duration) -> libc::timespec {
    // SAFETY: a `timespec` is integers, for which zero is a value.
    let mut timespec: libc::timespec = unsafe { std::mem::zeroed() };
    timespec.tv_sec = time.as_secs().try_into().unwrap_or(libc::time_t::MAX);
    timespec.tv_nsec = time.subsec_nanos().into();
    timespec
}
