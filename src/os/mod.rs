//! Acts, and decides nothing. The only place with unsafe code, and the only one that knows
//! what a descriptor or a process id is.
//!
//! Every system call that can be interrupted is retried here, a bounded number of times; every
//! descriptor is close-on-exec from birth and owned by a type that closes it.

pub(crate) mod accept;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod group;
mod handlers;
mod hints;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod pages;
pub(crate) mod reap;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod stream;
pub(crate) mod subreaper;
pub(crate) mod terminal;
pub(crate) mod wake;
pub(crate) mod watch;

/// What the kernel reports of a thread to itself: blocked, it ends the process at once.
const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];

/// The errno of the call that failed last in this thread.
pub(crate) fn errno() -> i32 {
    nix::errno::Errno::last_raw()
}

/// How often a call is made that a signal interrupts each time.
const TRIES_MAX: u32 = 10;

/// Repeats a call when a signal interrupts it. What is interrupted again and again has
/// failed: supervision goes on, and whoever called tries again in his time.
pub(crate) fn retry<T>(mut call: impl FnMut() -> nix::Result<T>) -> nix::Result<T> {
    for _ in 1..TRIES_MAX {
        match call() {
            Err(nix::errno::Errno::EINTR) => {}
            result => return result,
        }
    }
    call()
}
