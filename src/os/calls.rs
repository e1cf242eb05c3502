//! What all calls have in common: how they fail, and that a signal may interrupt them.

/// The errno of the call that failed last in this thread.
pub(crate) fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// How often a call is made that a signal interrupts each time.
const TRIES_MAX: u32 = 10;

/// Repeats a call when a signal interrupts it. What is interrupted again and again has
/// failed: supervision goes on, and whoever called tries again in his time.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    let mut tries = 0;
    loop {
        tries += 1;
        match call() {
            Err(nix::errno::Errno::EINTR) if tries < TRIES_MAX => {}
            result => return result,
        }
    }
}
