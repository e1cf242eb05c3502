//! procsched keeps programs running: it starts them, restarts them with a growing delay, keeps
//! what each wrote to stderr, reports every death with that stderr in it, reaps every zombie,
//! and stops everything cleanly.
//!
//! It is synchronous and single-threaded: a loop over poll(2) that you can block in, or drive
//! turn by turn from a loop of your own.

#![deny(unsafe_code)]

#[cfg(not(target_os = "linux"))]
compile_error!("procsched supervises with Linux's own system calls and builds for Linux only");

mod callbacks;
// CONFIG_HERE
mod error;
// Without JSON there is nothing to hand to a command, and no way to ask for one.
#[cfg_attr(not(feature = "json"), allow(dead_code))]
mod error_command;
mod event;
mod handle;
mod launch;
mod machine;
#[allow(unsafe_code)]
mod os;
mod program;
mod report;
mod scheduler;
mod spec;
mod status;
mod tail;

pub use error::{Error, Result};
pub use event::{Event, EventKind};
pub use handle::Handle;
pub use machine::{Backoff, Restart};
#[cfg(feature = "json")]
pub use report::utc_millis;
pub use report::{ErrorReport, signal_name};
pub use scheduler::{Builder, ProcessScheduler, Status};
pub use spec::{
    ChildSpec, NAME_BYTES_MAX, REPORT_BYTES_DEFAULT, REPORT_BYTES_MAX, STOP_TIMEOUT_DEFAULT,
};
pub use status::{ProgramState, ProgramStatus};
