//! The long run: a hundred programs of every mode, 100,000 restarts an hour, and weather.
//!
//! ```text
//! cargo test --release --test soak -- --for 1h
//! ```
//!
//! | argument | |
//! |---|---|
//! | `--for 45s`, `30m`, `1h` | for how long; without it the judges are tried, and nothing runs |
//! | `--variant binary` | `run`, with an `error_handler` that fails, is slow, hangs (the default) |
//! | `--variant library` | a host whose handlers panic at times and are slow at times |
//! | `--variant valgrind`, `valgrind-library` | the same two under memcheck, at a quarter of the rate |
//! | `--rate 100000` | restarts per hour |
//! | `--seed 1` | of the weather |
//! | `--series FILE` | writes down what was seen, look by look |
//! | `--plant 2048` | the host keeps so many bytes of each report: a leak that must be found |
//!
//! `PROCSCHED_TEST_BINARY` and `PROCSCHED_TEST_PROBE` name others than cargo's, as for the
//! scenarios: so the static binary is soaked.
//!
//! Of less than some 10,000 restarts memory's slope is not judged but for a leak of a KiB or two
//! by the restart, and even that takes some 1,000 of them: in a quarter of a minute, `--for 15s
//! --rate 400000 --variant library --plant 2048` has to fail. Where the machine cannot keep up
//! with the rate, reports wait for their `error_handler`, up to 4 MiB of them, which is memory as
//! well, and of which the C library keeps what lies between other things.
//!
//! Each second, or more often in a short run, proc(5) is asked what the supervisor holds and has
//! spent. At the end a line is laid through each of these figures, and what grows with the
//! restarts is a leak (`slope`).
//! Every start must have its report, every byte of those programs whose bytes are known must be
//! in a log or counted as lost, no zombie may last, no stranger may be touched; then SIGTERM has
//! to end all of it in time. All of that is told in a table, and decides the exit code.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

#[path = "model"]
mod model {
    #[allow(dead_code)] // The simulation uses the rest of it.
    pub mod rng;
}

mod soak {
    pub mod arguments;
    pub mod bystanders;
    pub mod cast;
    pub mod disk;
    pub mod figures;
    pub mod host;
    pub mod ledger;
    pub mod memcheck;
    pub mod run;
    pub mod slope;
    pub mod steps;
    pub mod trial;
    pub mod verdict;
    pub mod weather;
}

use std::process::ExitCode;

use soak::arguments::Arguments;
use soak::{disk, host, run, trial};

fn main() -> ExitCode {
    if let Some(config) = std::env::var_os(run::HOST) {
        return ExitCode::from(host::run(config.as_ref()));
    }
    trial::run();
    disk::try_counting();
    match Arguments::parse(std::env::args().skip(1)) {
        Ok(None) => {
            eprintln("the judges of the soak judge rightly; to soak, say: -- --for 1h");
            ExitCode::SUCCESS
        }
        Ok(Some(arguments)) => ExitCode::from(u8::from(!run::run(&arguments))),
        Err(problem) => {
            eprintln(&problem);
            ExitCode::from(2)
        }
    }
}

/// Says something to who watches.
pub fn eprintln(line: &str) {
    use std::io::Write;
    let _ = writeln!(std::io::stderr(), "soak: {line}");
}
