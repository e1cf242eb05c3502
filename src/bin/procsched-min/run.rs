//! `run`: supervise in the foreground what a config says, until a signal stops it or every
//! program has ended for good.

use std::io::ErrorKind;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use nix::sys::signal::{SigSet, Signal};
use procsched::config::Config;
use procsched::{Builder, Error, Status, signal_name};

use crate::load::{load, source};
use crate::messages::{Style, Tone, escaped};
use crate::output::{Outputs, complain_in_time};
use crate::turn::{silence_panics, turn};
use crate::{FAILED, FINE, USAGE, status_line};

/// Signals that end it in order.
pub const STOP_SIGNALS: [i32; 3] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT];

/// Every other signal that may stray in and whose default would end us and leave the programs to
/// themselves; the real-time ones are [`REALTIME`]. Not SIGABRT and the faults: they are sent on
/// purpose, or by a defect. SIGXFSZ is among them so that a file that is too large is
/// an error of its write.
const OTHER_SIGNALS: [i32; 11] = [
    libc::SIGUSR1,
    libc::SIGUSR2,
    libc::SIGHUP,
    libc::SIGXFSZ,
    libc::SIGXCPU,
    libc::SIGALRM,
    libc::SIGVTALRM,
    libc::SIGPROF,
    libc::SIGIO,
    libc::SIGPWR,
    libc::SIGSTKFLT,
];

/// The real-time signals that both glibc and musl leave to programs.
const REALTIME: std::ops::RangeInclusive<i32> = 35..=64;

/// Supervises, and says with which code to exit.
pub fn run(path: &Path) -> u8 {
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
    // Every path is absolute by now. Where we were started may be unmounted, for all we care.
    let _ = std::env::set_current_dir("/");
    silence_panics();
    let pid = std::process::id();
    let details = format!("pid={pid} programs={count} config={}", source(path));
    outputs.say_own(Tone::Plain, "started", &details);
    while turn(&mut scheduler, &outputs, None) == Status::Running {
        if status_wanted.swap(false, Ordering::Relaxed) {
            for line in status_line::lines(&style, &scheduler.programs()) {
                outputs.say_in_turn(&line);
            }
            outputs.pump();
        }
    }
    let code = exit_code(scheduler.is_abandoned(), scheduler.essential_exit());
    outputs.say_own(Tone::Plain, "stopped", &format!("code={code}"));
    outputs.flush();
    // The end of this process gives back everything at once, and faster than piece by piece.
    std::mem::forget(scheduler);
    code
}

/// Says why it does not begin.
fn refuse(error: &Error) -> u8 {
    let help = match error.io_kind() {
        Some(ErrorKind::OutOfMemory) => {
            " (more is allowed by RLIMIT_AS, RLIMIT_DATA or the system's overcommitment)"
        }
        _ => "",
    };
    let why = error.to_string();
    complain_in_time(&format!("procsched-min: {}{help}", escaped(&why)));
    FAILED
}

/// What must not end or stop us waits, blocked, from the first moment on. The reserved signals
/// are let through when their handlers stand, however long the config takes to be read; and for
/// PID 1, to which the kernel delivers nothing that has no handler, those that stop it. SIGTTOU
/// stays blocked: in the background of a terminal with `stty tostop` a message would stop
/// supervision, and so it is written (termios(3)). The programs get an empty mask.
fn hold_signals() {
    let reserved = [
        Signal::SIGHUP,
        Signal::SIGUSR1,
        Signal::SIGUSR2,
        Signal::SIGTTOU,
    ];
    let stops: &[Signal] = if std::process::id() == 1 {
        &[Signal::SIGTERM, Signal::SIGINT, Signal::SIGQUIT]
    } else {
        &[]
    };
    let held = reserved.iter().chain(stops).copied();
    // It can fail for an invalid set only.
    let _ = held.collect::<SigSet>().thread_block();
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
                for_events.say_in_turn(&line);
            }
        })
        .error_handler(move |_, report| for_reports.report_in_turn(report))
        .stop_on_signals(STOP_SIGNALS)
        .on_signals(
            OTHER_SIGNALS.into_iter().chain(REALTIME),
            move |signal| match signal {
                libc::SIGUSR1 => status_wanted.store(true, Ordering::Relaxed),
                // The write that caused it says what is wrong.
                libc::SIGXFSZ => {}
                other => {
                    let details = format!("{} is reserved and does nothing", signal_name(other));
                    for_signals.say_own(Tone::Plain, "signal", &details);
                }
            },
        )
        .raise_descriptor_limit()
        .trim_memory()
        .subreaper()
        .safety_sweep(false)
}

/// Abandoned processes outweigh everything; a signal is told as a shell tells it.
fn exit_code(abandoned: bool, essential: Option<i32>) -> u8 {
    if abandoned {
        return FAILED;
    }
    let Some(return_code) = essential else {
        return FINE;
    };
    let code = if return_code < 0 {
        128_i32.saturating_sub(return_code)
    } else {
        return_code
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
            assert_eq!(
                exit_code(abandoned, essential),
                code,
                "{abandoned} {essential:?}"
            );
        }
    }
}
