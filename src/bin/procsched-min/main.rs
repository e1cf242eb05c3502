//! The supervisor as a command. It understands the command line, connects the library's events
//! and reports to stderr and stdout, and turns the outcome into an exit code; it supervises
//! nothing by itself and uses the library's public API only.

#![forbid(unsafe_code)]

mod args;
mod check;
mod clock;
mod demo;
mod help;
mod init;
mod line;
mod load;
mod messages;
mod output;
mod pause;
mod run;
mod status_line;
mod timeline;
mod turn;

use std::fs::File;
use std::io::{self, Read, Write};
use std::process::ExitCode;

use args::Command;
use procsched::{Reserve, SharedWriter};

/// A supervisor that ends for want of memory leaves its programs to themselves.
#[global_allocator]
static MEMORY: Reserve = Reserve;

/// Everything is as it should be.
const FINE: u8 = 0;
/// Something failed, or was abandoned; `check` has warnings.
const FAILED: u8 = 1;
/// The command line or the config cannot be understood.
const USAGE: u8 = 2;
/// `init` itself failed, and not its command.
const INIT_FAILED: u8 = 125;

fn main() -> ExitCode {
    if Reserve::fill().is_err() {
        return without_memory();
    }
    let is_init = is_init();
    if is_init {
        // Before anything is looked at more closely: PID 1 loses what comes before this.
        procsched::Init::hold_signals();
    }
    let code = match args::parse(std::env::args_os().skip(1)) {
        Ok(Command::Run(config)) => run::run(&config),
        Ok(Command::Check(config)) => check::check(&config),
        Ok(Command::Demo) => demo::demo(),
        Ok(Command::Init(arguments)) => init::init(*arguments),
        Ok(Command::Help(topic)) => print(&help::text(topic)),
        Ok(Command::Version) => print(help::VERSION),
        Err(problem) => {
            let line = format!("procsched-min: {problem}; see \"procsched-min help\"");
            if is_init {
                output::complain_in_time(&line);
            } else {
                complain(&line);
            }
            USAGE
        }
    };
    ExitCode::from(code)
}

fn is_init() -> bool {
    let mut words = std::env::args_os();
    words.nth(1).is_some_and(|word| word == "init")
}

/// Says that it does not begin, and allocates nothing for that.
fn without_memory() -> ExitCode {
    let kib = Reserve::BYTES / 1024;
    let mut line = [0; 256];
    let mut rest = &mut line[..];
    let _ = writeln!(
        rest,
        "procsched-min: failed to lay by {kib} KiB of memory (more is allowed by RLIMIT_AS, \
         RLIMIT_DATA or the system's overcommitment)"
    );
    let left = rest.len();
    // Where it is not taken at once, the exit code has to do.
    let _ = SharedWriter::new(io::stderr()).write(&line[..line.len() - left]);
    // The longest path there is, and more.
    let mut words = [0; 8192];
    let read = File::open("/proc/self/cmdline").and_then(|mut file| file.read(&mut words));
    let is_init = match read {
        Ok(_) => words.split(|byte| *byte == 0).nth(1) == Some(b"init"),
        // It may be that there is a little memory after all.
        Err(_) => is_init(),
    };
    ExitCode::from(if is_init { INIT_FAILED } else { FAILED })
}

/// Prints what was asked for on stdout, before or without any supervision.
fn print(text: &str) -> u8 {
    let mut stdout = io::stdout().lock();
    match stdout
        .write_all(text.as_bytes())
        .and_then(|()| stdout.flush())
    {
        Ok(()) => FINE,
        // Whoever read it has read enough.
        Err(error) if error.kind() == io::ErrorKind::BrokenPipe => FINE,
        Err(error) => {
            let why = messages::system_word(&error);
            complain(&format!("procsched-min: failed to write to stdout: {why}"));
            FAILED
        }
    }
}

/// Says on stderr why it goes no further. If stderr is gone, the exit code has to do.
fn complain(lines: &str) {
    let _ = writeln!(io::stderr(), "{lines}");
}
