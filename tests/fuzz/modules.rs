// The modules of the product, of its binary and of the simulation that the checks need, by the
// names that they know each other by. Included where the root of a crate is.

#[path = "../../src/callbacks.rs"]
mod callbacks;
#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/cstr_list.rs"]
mod cstr_list;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/exec.rs"]
mod exec;
#[path = "../../src/handle.rs"]
mod handle;
#[path = "../../src/init/mod.rs"]
mod init_of_library;
#[path = "../../src/lineage.rs"]
mod lineage;
#[path = "../../src/machine/mod.rs"]
mod machine;
#[path = "../../src/orphans.rs"]
mod orphans;
#[path = "../../src/os/mod.rs"]
mod os;
#[path = "../../src/program/mod.rs"]
mod program;
#[path = "../../src/report.rs"]
mod report;
#[path = "../../src/scheduler/mod.rs"]
mod scheduler;
#[path = "../../src/signal.rs"]
mod signal;
#[path = "../../src/spec.rs"]
mod spec;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/text.rs"]
pub mod text;

#[path = "../../src/bin/procsched-min/args.rs"]
mod args;
#[path = "../../src/bin/procsched-min/clock.rs"]
mod clock;
#[path = "../../src/bin/procsched-min/init.rs"]
mod init;
#[path = "../../src/bin/procsched-min/line.rs"]
mod line;
#[path = "../../src/bin/procsched-min/messages.rs"]
mod messages;
#[path = "../../src/bin/procsched-min/output.rs"]
mod output;
#[path = "../../src/bin/procsched-min/pause.rs"]
mod pause;
#[path = "../../src/bin/procsched-min/status_line.rs"]
mod status_line;

/// The one word that they know of the binary's root.
const USAGE: u8 = 2;

#[macro_use]
#[path = "../simulation/tallying.rs"]
mod tallying;

#[path = "../simulation"]
mod simulation {
    pub mod account;
    pub mod chaos;
    pub mod driver;
    pub mod ending;
    pub mod ledger;
    pub mod tally;
    pub mod witness;
    pub mod world;

    pub use crate::checks::choices as rng;
}

pub use error::{Error, Result};
pub use event::{Event, EventKind, SignalSender, StopCause};
pub use handle::Handle;
pub use init_of_library::{Init, InitEvent};
pub use machine::{Backoff, Restart};
pub use os::reserve::Reserve;
pub use os::shared_writer::SharedWriter;
pub use report::{ErrorReport, utc_millis};
pub use scheduler::{Builder, ProcessScheduler, Reap, Status};
pub use signal::{Signal, signal_name};
pub use spec::{
    ChildSpec, NAME_BYTES_MAX, REPORT_BYTES_DEFAULT, REPORT_BYTES_MAX, STOP_TIMEOUT_DEFAULT,
};
pub use status::{ProgramState, ProgramStatus};
