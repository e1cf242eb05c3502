// The modules of the product, of its binary and of the simulation that the checks need, by the
// names that they know each other by. Included where the root of a crate is.

include!("../model/modules.rs");

#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/init/mod.rs"]
mod init;
#[path = "../../src/os/mod.rs"]
mod os;

#[path = "../../src/bin/procsched-min/client/mod.rs"]
mod client;
#[path = "../../src/bin/procsched-min/clock.rs"]
mod clock;
#[path = "../../src/bin/procsched-min/commands/mod.rs"]
mod commands;
#[path = "../../src/bin/procsched-min/control/mod.rs"]
mod control;
#[path = "../../src/bin/procsched-min/import/mod.rs"]
mod import;
#[path = "../../src/bin/procsched-min/line.rs"]
mod line;
#[path = "../../src/bin/procsched-min/load.rs"]
mod load;
#[path = "../../src/bin/procsched-min/messages.rs"]
mod messages;
#[path = "../../src/bin/procsched-min/output/mod.rs"]
mod output;
#[path = "../../src/bin/procsched-min/panics.rs"]
mod panics;
#[path = "../../src/bin/procsched-min/reload.rs"]
mod reload;
#[path = "../../src/bin/procsched-min/program_line.rs"]
mod program_line;
#[path = "../../src/bin/procsched-min/status_line.rs"]
mod status_line;
#[path = "../../src/bin/procsched-min/stdio.rs"]
mod stdio;
#[path = "../../src/bin/procsched-min/turn.rs"]
mod turn;
#[path = "../../src/bin/procsched-min/upward/mod.rs"]
mod upward;

#[macro_use]
#[path = "../model"]
mod model {
    pub mod account;
    pub mod ledger;
    pub mod stops;
    #[macro_use]
    pub mod tallying;
    pub mod witness;
    pub mod words;

    // Here the bytes decide, not chance.
    pub use crate::checks::choices as rng;
}

#[path = "../simulation"]
mod simulation {
    pub mod chaos;
    pub mod driver;
    pub mod ending;
    pub mod tally;
    pub mod world;
}

pub use callbacks::{EachLine, OutputLine, OutputLines};
pub use error::{Error, ErrorKind, Result};
pub use event::{Event, EventKind, SignalSender, StopCause};
pub use handle::Handle;
pub use init::{Init, InitEvent};
pub use machine::{Backoff, Cause, ProgramState, Restart};
pub use os::emergency_heap::EmergencyHeap;
pub use os::shared_writer::SharedWriter;
pub use os::terminal::terminal_columns;
pub use plan::{ApplyOptions, Plan, PlannedChange, PlannedKind};
pub use report::{ErrorReport, utc_millis};
pub use scheduler::{Builder, ProcessScheduler, Reap, Status};
pub use signal::{Signal, SignalTo, exit_label, signal_name};
pub use spec::{
    Address, Check, ChildSpec, Health, NAME_BYTES_MAX, Probe, REPORT_BYTES_DEFAULT,
    REPORT_BYTES_MAX, Ready, Resource, STOP_TIMEOUT_DEFAULT, StdStream, Stderr, Stdout, User,
    group_named, LOG_BYTES_MIN, LOG_KEEP_MAX, LogOptions,
};
pub use status::{HealthStatus, LastExit, ProgramStatus};
