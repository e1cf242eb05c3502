//! `run`: supervises a config in the foreground until a signal stops it or every program has ended
//! for good.

use std::ffi::OsStr;
use std::io::ErrorKind;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use libc::{
    SIGALRM, SIGHUP, SIGINT, SIGIO, SIGPROF, SIGPWR, SIGQUIT, SIGSTKFLT, SIGTERM, SIGUSR1, SIGUSR2,
    SIGVTALRM, SIGXCPU, SIGXFSZ,
};
use nix::sys::signal::{SigSet, Signal};
use procsched::config::Config;
use procsched::text::escaped;
use procsched::{
    Builder, Error, ProcessScheduler, ProgramState, ProgramStatus, SignalSender, Status,
    signal_name,
};

use super::{Command, FAILED, FINE, Section, USAGE};
use crate::clock;
use crate::control::place::Place;
use crate::control::{About, Feed, Refusal, Server, prepare_default_directory};
use crate::load::{self, CONFIG_HELP, absolute_source, load, source};
use crate::messages::{Level, MORE_MEMORY, SELF, Style};
use crate::output::Outputs;
use crate::panics::silence_panics;
use crate::reload::{self, Reloader};
use crate::status_line;
use crate::stdio::complain_in_time;
use crate::turn::{protect, turn};
use crate::upward::Upward;

pub const COMMAND: Command = Command {
    name: "run",
    operands: "[CONFIG]",
    summary: "supervise CONFIG in the foreground until stopped by a signal",
    description: "Starts the programs of the config and supervises them in the foreground, until
a signal stops it or every program has ended for good.
",
    options: "  --socket PATH  take orders there, whatever the config says
  --no-control   take no orders",
    sections: &[&CONFIG_HELP, &OUTPUT_HELP],
    exit_codes: "  0    stopped as asked, or every program has ended for good, with success
  N    the code of an essential program that ended for good, 128+n for signal n
  1    failed; all had ended, and one failed; or a process survived SIGKILL
  2    invalid usage or config
",
    example: "  $ procsched-min run /etc/app/procsched.json
",
    exec: |arguments| {
        let socket = arguments.values("--socket").last();
        let has_control = !arguments.has("--no-control");
        match socket {
            Some(_) if !has_control => Err("--socket and --no-control exclude each other".into()),
            Some(path) if path.is_empty() => Err("invalid socket \"\": expected a path".to_owned()),
            _ => Ok(run(&load::path(arguments)?, socket, has_control)),
        }
    },
    ..Command::PLAIN
};

const OUTPUT_HELP: Section = Section {
    title: "OUTPUT AND SIGNALS",
    text: "
Output:
  stdout   one report a line, in JSON, for every exit and every failed start
  stderr   what happens, one line an event, for people
  err_dir  NAME.stderr.log: everything that the program wrote to its stderr

Signals to run:
  TERM, INT, QUIT   stop everything; a second one 200 ms later or more kills
  USR1              print one status line a program on stderr
  USR2              open the logs anew, after they were renamed
  HUP               read CONFIG anew, and take over what has changed; nothing
                    else is disturbed. With an error in it nothing changes

Under a manager that sets NOTIFY_SOCKET, such as systemd with Type=notify, it
says READY=1 once all programs are up, STATUS= with their states, RELOADING=1,
STOPPING=1, and WATCHDOG=1 in time if WATCHDOG_USEC is set.
",
    has_keys: false,
};

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
fn run(path: &Path, socket: Option<&OsStr>, has_control: bool) -> u8 {
    hold_signals();
    let mut config = match load(path) {
        Ok(config) => config,
        Err(errors) => {
            complain_in_time(&errors);
            return USAGE;
        }
    };
    let style = Style::new(config.programs.iter().map(|program| program.name()));
    let outputs = Outputs::standard(style, (config.output, config.reports));
    let wanted = Arc::new(Wanted::default());
    let feed = Feed::default();
    let upward = Upward::from_environment(&outputs);
    let count = config.programs.len();
    let place = match has_control {
        true => Place::of(&config, socket),
        false => Place::Off,
    };
    let group = config.control_group;
    let reloader = Rc::new(Reloader::new(&mut config, upward.clone()));
    let mut builder = builder(config, &outputs, &wanted, &feed, &upward);
    if place == Place::Off {
        // Nothing could start what is stopped.
        builder = builder.end_with_stopped();
    }
    let about = About {
        config: absolute_source(path),
        reloader: reloader.clone(),
    };
    // Before the logs: of two supervisors of a config, the second says which one is the first.
    let mut control = match open_control(place, group, about, &feed, &outputs) {
        Ok(control) => control,
        Err(refusal) => {
            complain_in_time(&format!("{SELF}: {}", escaped(refusal.message())));
            return FAILED;
        }
    };
    let mut scheduler = match builder.build() {
        Ok(scheduler) => scheduler,
        Err(error) => return refuse(&error),
    };
    // All paths are absolute by now. Leaving the start directory lets it be unmounted.
    let _ = std::env::set_current_dir("/");
    silence_panics();
    let pid = std::process::id();
    let details = format!("pid={pid} programs={count} config={}", source(path));
    outputs.lock().say_own(Level::Info, "started", &details);
    while turn(&mut scheduler, &outputs, control.as_mut(), &upward, None) == Status::Running {
        protect(&outputs, || {
            wanted.carry_out(&mut scheduler, &outputs, control.as_mut(), &reloader);
        });
    }
    // The socket goes before the last message.
    if let Some(control) = control {
        control.close();
    }
    let failed = scheduler.is_abandoned() || has_failed(&scheduler);
    let code = exit_code(failed, scheduler.essential_exit());
    let mut outputs = outputs.lock();
    outputs.say_own(Level::Info, "stopped", &format!("code={code}"));
    match scheduler.shutdown_deadline() {
        // The exit of this process takes time, too.
        Some(at) => outputs.flush_within(clock::until(at) / 2),
        None => outputs.flush(),
    }
    // The exit of this process frees everything at once, which is faster.
    std::mem::forget(scheduler);
    code
}

/// What signals have asked for, to be done after the turn.
#[derive(Debug, Default)]
struct Wanted {
    /// A line for each program.
    status: AtomicBool,
    /// The config read anew.
    reload: AtomicBool,
    /// The logs opened anew.
    logs: AtomicBool,
    /// The socket made again, if it was removed.
    socket: AtomicBool,
}

impl Wanted {
    fn note(&self, flags: &[&AtomicBool]) {
        flags
            .iter()
            .for_each(|flag| flag.store(true, Ordering::Relaxed));
    }

    fn carry_out(
        &self,
        scheduler: &mut ProcessScheduler,
        outputs: &Outputs,
        mut control: Option<&mut Server>,
        reloader: &Reloader,
    ) {
        let take = |flag: &AtomicBool| flag.swap(false, Ordering::Relaxed);
        if take(&self.status) {
            let mut outputs = outputs.lock();
            let programs = scheduler.programs();
            let stopped_by = control.as_deref().map(Server::stopped_by);
            let reason = |program: &ProgramStatus| stopped_by?.reason(program);
            for line in status_line::lines(&outputs.style(), &programs, reason) {
                outputs.say(&line);
            }
            outputs.pump();
        }
        if take(&self.logs) {
            // What fails is a warning of its program.
            let _ = scheduler.reopen_logs();
        }
        if take(&self.reload) {
            let options = reload::Options {
                dry_run: false,
                restart: true,
            };
            // Said on stderr either way.
            let stopped_by = control.as_deref().map(Server::stopped_by);
            let is_done = reloader
                .reload(scheduler, outputs, stopped_by, options)
                .is_ok();
            if let Some(control) = control.as_deref_mut().filter(|_| is_done) {
                control.on_reload("SIGHUP", scheduler);
            }
        }
        if take(&self.socket)
            && let Some(control) = control
        {
            control.remake();
        }
    }
}

/// Makes the control socket. Where nothing was asked for, supervision goes on without it, unless
/// another supervisor of this config has it.
fn open_control(
    place: Place,
    group: Option<u32>,
    about: About,
    feed: &Feed,
    outputs: &Outputs,
) -> Result<Option<Server>, Refusal> {
    let open = |path: &Path| Server::open(path, group, about, feed.clone(), outputs.clone());
    let problem = match &place {
        Place::Off => return Ok(None),
        Place::Given(path) => return open(path).map(Some),
        Place::Default(path) => match prepare_default_directory().and_then(|()| open(path)) {
            Ok(server) => return Ok(Some(server)),
            Err(taken @ Refusal::Taken(_)) => return Err(taken),
            Err(unusable) => unusable.message().to_owned(),
        },
        Place::Missing(problem) => problem.clone(),
    };
    let details = format!(
        "no control socket: {problem}; set \"control\" in the config to a path, or to false"
    );
    outputs.lock().say_own(Level::Warning, "notice", &details);
    Ok(None)
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
    outputs: &Outputs,
    wanted: &Arc<Wanted>,
    feed: &Feed,
    upward: &Upward,
) -> Builder {
    let (for_events, for_reports) = (outputs.clone(), outputs.clone());
    let for_lines = outputs.clone();
    let (events, reports) = (feed.clone(), feed.clone());
    let upward = upward.clone();
    let (for_signals, wanted) = (outputs.clone(), wanted.clone());
    config
        .into_builder()
        .on_event(move |event| {
            events.event(event);
            upward.event(event);
            for_events.lock().event(event);
        })
        .error_handler(move |name, report| {
            reports.report(name, report);
            for_reports.lock().report(report);
        })
        .on_output(move |lines| for_lines.lock().program_lines(lines))
        .stop_on_signals(STOP_SIGNALS)
        .on_signals(
            OTHER_SIGNALS.into_iter().chain(REALTIME),
            move |signal, sender| match signal {
                SIGUSR1 => wanted.note(&[&wanted.status, &wanted.socket]),
                SIGUSR2 => wanted.note(&[&wanted.logs, &wanted.socket]),
                // The terminal has hung up, which asks for nothing.
                SIGHUP if sender == SignalSender::Kernel => {}
                SIGHUP => wanted.note(&[&wanted.reload, &wanted.socket]),
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

/// True if it has ended by itself, and a program has ended for good without success.
fn has_failed(scheduler: &ProcessScheduler) -> bool {
    let failed = |program: &ProgramStatus| program.state() == ProgramState::Failed;
    !scheduler.is_stopping() && scheduler.programs().iter().any(failed)
}

/// Returns 1 after a failure, else an essential program's code, as a shell has it for a signal.
fn exit_code(failed: bool, essential: Option<i32>) -> u8 {
    let code = match essential {
        _ if failed => return FAILED,
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
