//! The supervisor as a command: it parses the command line, connects the library's events and
//! reports to stderr and stdout, and maps the outcome to an exit code. Supervision itself is the
//! library's, of which only the public API is used.

#![forbid(unsafe_code)]

mod client;
mod clock;
mod commands;
mod control;
mod import;
mod line;
mod load;
mod messages;
mod output;
mod panics;
mod program_line;
mod reload;
mod status_line;
mod stdio;
mod turn;
mod upward;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use procsched::{EmergencyHeap, SharedWriter};

use commands::{FAILED, INIT_FAILED, USAGE, init, parse};
use messages::{MORE_MEMORY, SELF};

/// A supervisor that dies of refused memory leaves its programs unsupervised.
#[global_allocator]
static MEMORY: EmergencyHeap = EmergencyHeap;

fn main() -> ExitCode {
    if EmergencyHeap::reserve().is_err() {
        return without_memory();
    }
    if is_init() {
        // Before the arguments are parsed: PID 1 loses the signals that arrive earlier.
        procsched::Init::hold_signals();
    }
    let code = parse::parse(std::env::args_os().skip(1))
        .and_then(|call| (call.command.exec)(&call.arguments));
    ExitCode::from(code.unwrap_or_else(|problem| {
        stdio::complain_in_time(&format!("{SELF}: {problem}; see \"{SELF} help\""));
        USAGE
    }))
}

fn is_init() -> bool {
    let mut words = std::env::args_os();
    words.nth(1).is_some_and(|word| word == init::COMMAND.name)
}

/// Reports that the memory reserve could not be had, without allocating.
fn without_memory() -> ExitCode {
    let kib = EmergencyHeap::BYTES / 1024;
    let mut line = [0; 256];
    let mut rest = &mut line[..];
    let _ = writeln!(
        rest,
        "{SELF}: cannot reserve {kib} KiB of memory: {MORE_MEMORY}"
    );
    let left = rest.len();
    // If stderr does not take the line at once, the exit code has to do.
    let _ = SharedWriter::new(io::stderr()).write(&line[..line.len() - left]);
    // More than PATH_MAX.
    let mut words = [0; 8192];
    let read = File::open("/proc/self/cmdline").and_then(|mut file| file.read(&mut words));
    let is_init = match read {
        Ok(_) => words.split(|byte| *byte == 0).nth(1) == Some(init::COMMAND.name.as_bytes()),
        // This allocates, which may still succeed.
        Err(_) => is_init(),
    };
    ExitCode::from(if is_init { INIT_FAILED } else { FAILED })
}
