// The modules of the product, of its binary and of the simulation that the checks need, by the
// names that they know each other by. Included where the root of a crate is.

#[path = "../../src/callbacks.rs"]
mod callbacks;
#[path = "../../src/config/mod.rs"]
mod config;
#[path = "../../src/error.rs"]
mod error;
#[path = "../../src/error_command.rs"]
mod error_command;
#[path = "../../src/event.rs"]
mod event;
#[path = "../../src/handle.rs"]
mod handle;
#[path = "../../src/init/mod.rs"]
mod init;
#[path = "../../src/launch.rs"]
mod launch;
#[path = "../../src/lineage.rs"]
mod lineage;
#[path = "../../src/machine/mod.rs"]
mod machine;
#[path = "../../src/orphans.rs"]
mod orphans;
#[path = "../../src/os/mod.rs"]
mod os;
#[path = "../../src/program.rs"]
mod program;
#[path = "../../src/report.rs"]
mod report;
#[path = "../../src/scheduler/mod.rs"]
mod scheduler;
#[path = "../../src/spec.rs"]
mod spec;
#[path = "../../src/status.rs"]
mod status;
#[path = "../../src/words.rs"]
mod words;

#[path = "../../src/bin/procsched-min/clock.rs"]
mod clock;
#[path = "../../src/bin/procsched-min/commands/mod.rs"]
mod commands;
#[path = "../../src/bin/procsched-min/line.rs"]
mod line;
#[path = "../../src/bin/procsched-min/load.rs"]
mod load;
#[path = "../../src/bin/procsched-min/messages.rs"]
mod messages;
#[path = "../../src/bin/procsched-min/output.rs"]
mod output;
#[path = "../../src/bin/procsched-min/status_line.rs"]
mod status_line;
#[path = "../../src/bin/procsched-min/stdio.rs"]
mod stdio;
#[path = "../../src/bin/procsched-min/values.rs"]
mod values;
#[path = "../../src/bin/procsched-min/turn.rs"]
mod turn;

mod text {
    pub use crate::config::nearest;
    pub use crate::error::{error_text, escaped};
}

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
pub use init::{Init, InitEvent};
pub use machine::{Backoff, Restart};
pub use os::reserve::Reserve;
pub use os::shared_writer::SharedWriter;
pub use report::{ErrorReport, signal_name, utc_millis};
pub use scheduler::{Builder, ProcessScheduler, Reap, Status};
pub use spec::{
    ChildSpec, NAME_BYTES_MAX, REPORT_BYTES_DEFAULT, REPORT_BYTES_MAX, STOP_TIMEOUT_DEFAULT,
};
pub use status::{ProgramState, ProgramStatus};
