//! System calls. This module acts and decides nothing; it is the only one with unsafe code.
//!
//! Every call that can be interrupted is retried, a bounded number of times; every descriptor is
//! opened close-on-exec and owned by a type that closes it.

pub(crate) mod bytes;
mod calls;
pub(crate) mod children;
pub(crate) mod clock;
pub(crate) mod connect;
pub(crate) mod descriptors;
pub(crate) mod emergency_heap;
pub(crate) mod group;
mod handlers;
mod hints;
mod identity;
#[cfg(feature = "json")] // For what explains a config.
pub(crate) mod inherited;
pub(crate) mod limits;
pub(crate) mod logs;
pub(crate) mod notify;
mod numbers;
pub(crate) mod pages;
mod pause;
pub(crate) mod poller;
pub(crate) mod privileges;
mod raw;
pub(crate) mod ready_pipe;
pub(crate) mod reap;
pub(crate) mod secret;
pub(crate) mod shared_writer;
pub(crate) mod signal_queue;
pub(crate) mod signals;
pub(crate) mod spawn;
pub(crate) mod stat;
pub(crate) mod stream;
pub(crate) mod subreaper;
pub(crate) mod tail;
pub(crate) mod terminal;
pub(crate) mod utc;
pub(crate) mod wake;

pub(crate) use calls::{errno, retry};

/// Signals that the kernel raises for a fault in the thread itself: blocked, they kill the process.
const FAULTS: [i32; 6] = [
    libc::SIGSEGV,
    libc::SIGBUS,
    libc::SIGFPE,
    libc::SIGILL,
    libc::SIGTRAP,
    libc::SIGSYS,
];
