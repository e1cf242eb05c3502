//! Errors and interruptions of system calls.

/// Returns the errno of this thread.
pub(crate) fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// How often an interrupted call is made before that is its error.
const TRIES_MAX: u32 = 10;

/// Repeats a call that a signal has interrupted, a few times.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 1..TRIES_MAX {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            result => return result,
        }
    }
    call()
}
