//! `run`: supervises a config in the foreground until a signal stops it or every program has ended
//! for good.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use nix::sys::signal::{SigSet, Signal};
use procsched::config::Config;
use procsched::text::escaped;
use procsched::{Builder, Error, Status, signal_name};

use super::{Command, FAILED, FINE, USAGE};
use crate::load::{self, CONFIG_HELP, load, source};
use crate::messages::{Level, MORE_MEMORY, SELF, Style};
use crate::output::Outputs;
use crate::status_line;
use crate::stdio::complain_in_time;
use crate::turn::{silence_panics, turn};

pub const COMMAND: Command = Command {
    name: "run",
    operands: "[CONFIG]",
    summary: "supervise CONFIG in the foreground until stopped by a signal",
    description: "Starts the programs of the config and supervises them in the foreground, until
a signal stops it or every program has ended for good.
",
    sections: &[CONFIG_HELP, OUTPUT_HELP],
    exit_codes: "  0    stopped as asked, or every program has ended for good
  N    the code of an essential program that ended for good, 128+n for signal n
  1    failed, or a process survived SIGKILL and was abandoned
  2    invalid usage or config
",
    example: "  $ procsched-min run /etc/app/procsched.json
",
    exec: |arguments| Ok(run(&load::path(arguments)?)),
    ..Command::PLAIN
};

const OUTPUT_HELP: &str = "
Output:
  stdout   one report a line, in JSON, for every exit and every failed start
  stderr   what happens, one line an event, for people
  err_dir  NAME.stderr.log: everything that the program wrote to its stderr

Signals to run:
  TERM, INT, QUIT   stop everything; a second one 200 ms later or more kills
  USR1              print one status line a program on stderr
  HUP, USR2         reserved: prints a line and does nothing else (no reload)
";

/// The signals that stop it in order.
pub const STOP_SIGNALS: [i32; 3] = [SIGTERM, SIGINT, SIGQUIT];

/// Every other signal whose default would end the supervisor and leave its programs unsupervised;
/// the real-time ones are [`REALTIME`]. SIGABRT and the faults are left out: they are sent on
/// purpose or by a defect. With SIGXFSZ handled, a file that is too large is an error of its write.
const OTHER_SIGNALS: [i32; 11] = [
    SIGUSR1, SIGUSR2, SIGHUP, SIGXFSZ, SIGXCPU, SIGALRM, SIGVTALRM, SIGPROF, SIGIO, SIGPWR,
    SIGSTKFLT,
];

/// The real-time signals that both glibc and musl leave to programs.
const REALTIME: std::ops::RangeInclusive<i32> = 35..=64;

/// Supervises and returns the exit code.
fn run(path: &Path) -> u8 {
    hold_signals();
    let config = match load(path) {
        Ok(config) => config,
        Err(errors) => {
            complain_in_time(&errors);
            return USAGE;
        }
    };
    let style = Style::new(config.programs.iter().map(|program| program.name()));
    let outputs = Outputs::standard(style);
    let status_wanted = Arc::new(AtomicBool::new(false));
    let count = config.programs.len();
    let mut scheduler = match builder(config, style, &outputs, &status_wanted).build() {
        Ok(scheduler) => scheduler,
        Err(error) => return refuse(&error),
    };
    // The scheduler's paths are absolute by now; CONFIG may be relative, and cannot be read again
    // after this. Leaving the start directory lets it be unmounted.
    let _ = std::env::set_current_dir("/");
    silence_panics();
    let pid = std::process::id();
    let details = format!("pid={pid} programs={count} config={}", source(path));
    outputs.lock().say_own(Level::Info, "started", &details);
    while turn(&mut scheduler, &outputs, None) == Status::Running {
        if status_wanted.swap(false, Ordering::Relaxed) {
            let mut outputs = outputs.lock();
            for line in status_line::lines(&style, &scheduler.programs()) {
                outputs.say(&line);
            }
            outputs.pump();
        }
    }
    let code = exit_code(scheduler.is_abandoned(), scheduler.essential_exit());
    let mut outputs = outputs.lock();
    outputs.say_own(Level::Info, "stopped", &format!("code={code}"));
    outputs.flush();
    // The exit of this process frees everything at once, which is faster.
    std::mem::forget(scheduler);
    code
}

/// Reports why supervision does not begin.
fn refuse(error: &Error) -> u8 {
    let help = match error.io_kind() {
        Some(ErrorKind::OutOfMemory) => format!("; {MORE_MEMORY}"),
        _ => String::new(),
    };
    let problem = error.to_string();
    complain_in_time(&format!("{SELF}: {}{help}", escaped(&problem)));
    FAILED
}

/// Blocks signals that must neither end nor stop the supervisor before it has its handlers: the
/// reserved ones until then, and for PID 1, to which the kernel delivers no signal without a
/// handler, those that stop it. SIGTTOU stays blocked: with `stty tostop` a message written in the
/// background would stop supervision, and with SIGTTOU blocked it is written (termios(3)). The
/// programs get an empty mask.
fn hold_signals() {
    use Signal::{SIGHUP, SIGINT, SIGQUIT, SIGTERM, SIGTTOU, SIGUSR1, SIGUSR2};
    let reserved = [SIGHUP, SIGUSR1, SIGUSR2, SIGTTOU];
    let mut held: SigSet = reserved.into_iter().collect();
    if std::process::id() == 1 {
        held.extend([SIGTERM, SIGINT, SIGQUIT]);
    }
    // It fails for an invalid set only.
    let _ = held.thread_block();
}

fn builder(
    config: Config,
    style: Style,
    outputs: &Outputs,
    status_wanted: &Arc<AtomicBool>,
) -> Builder {
    let (for_events, for_reports) = (outputs.clone(), outputs.clone());
    let (for_signals, status_wanted) = (outputs.clone(), status_wanted.clone());
    config
        .into_builder()
        .on_event(move |event| {
            if let Some(line) = style.event(event) {
                for_events.lock().say(&line);
            }
        })
        .error_handler(move |_, report| for_reports.lock().report(report))
        .stop_on_signals(STOP_SIGNALS)
        .on_signals(
            OTHER_SIGNALS.into_iter().chain(REALTIME),
            move |signal| match signal {
                SIGUSR1 => status_wanted.store(true, Ordering::Relaxed),
                // The write that caused it reports the error.
                SIGXFSZ => {}
                other => {
                    let details = format!("{} is reserved and does nothing", signal_name(other));
                    for_signals.lock().say_own(Level::Info, "signal", &details);
                }
            },
        )
        .raise_descriptor_limit()
        .trim_memory()
        .subreaper()
        .safety_sweep(false)
}

/// Returns 1 for abandoned processes, else an essential program's code, as a shell has it for a
/// signal.
fn exit_code(abandoned: bool, essential: Option<i32>) -> u8 {
    let code = match essential {
        _ if abandoned => return FAILED,
        None => return FINE,
        Some(signal @ ..0) => 128_i32.saturating_sub(signal),
        Some(code) => code,
    };
    u8::try_from(code).unwrap_or(FAILED)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn exit_codes() {
        let table = [
            (false, None, 0),
            (false, Some(0), 0),
            (false, Some(3), 3),
            (false, Some(255), 255),
            (false, Some(-15), 143),
            (false, Some(-64), 192),
            (false, Some(256), 1),
            (false, Some(i32::MIN), 1),
            (true, None, 1),
            (true, Some(3), 1),
        ];
        for (abandoned, essential, code) in table {
            let found = exit_code(abandoned, essential);
            assert_eq!(found, code, "{abandoned} {essential:?}");
        }
    }
}
