//! Acts, and decides nothing. The only place with unsafe code, and the only one that knows
//! what a descriptor or a process id is.
//!
//! Every system call that can be interrupted is retried here, a bounded number of times; every
//! descriptor is close-on-exec from birth and owned by a type that closes it.

pub(crate) mod accept;
mod calls;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod descriptors;
pub(crate) mod group;
mod handlers;
mod hints;
pub(crate) mod limits;
pub(crate) mod logs;
mod numbers;
pub(crate) mod pages;
mod pause;
pub(crate) mod reap;
pub(crate) mod reserve;
pub(crate) mod secret;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod stat;
pub(crate) mod stream;
pub(crate) mod subreaper;
pub(crate) mod tail;
pub(crate) mod terminal;
pub(crate) mod wake;
pub(crate) mod watch;

pub(crate) use calls::{errno, retry, retry_waiting};

/// What the kernel reports of a thread to itself: blocked, it ends the process at once.
const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];
