//! What all calls have in common: how they fail, and that a signal may interrupt them.

/// The errno of the call that failed last in this thread.
pub(crate) fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// How often a call is made that a signal interrupts each time.
const TRIES_MAX: u32 = 10;

/// The same for calls that wait for something that is certain to come: timers of a host may
/// interrupt it a thousand times a second.
const WAITING_TRIES_MAX: u32 = 10_000;

/// Repeats a call when a signal interrupts it. What is interrupted again and again has
/// failed: supervision goes on, and whoever called tries again in his time.
pub(crate) fn retry<T>(call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    retry_up_to(TRIES_MAX, call)
}

/// The same for a call that waits.
pub(crate) fn retry_waiting<T>(call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    retry_up_to(WAITING_TRIES_MAX, call)
}

fn retry_up_to<T>(most: u32, mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match call() {
            Err(nix::errno::Errno::EINTR) if tries < most => {}
            result => return result,
        }
    }
}
