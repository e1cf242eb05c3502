//! Messages on stderr: one line for each [`Event`], and a few lines of the binary's own.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    exited  pid=4711 code=3 uptime=1.2s retry_in=2s
//! ```
//!
//! Name and verb have columns, `key=value` pairs follow, and free text comes last. Text from
//! elsewhere is escaped, so that a terminal obeys only the colours of this module.

use std::fmt::{Display, Write};
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use procsched::text::escaped;
use procsched::{Event, EventKind, Restart, SignalSender, StopCause, signal_name, utc_millis};

use Level::{Error, Info, Success, Warning};

use crate::clock;
use crate::values::{duration, exit_label};

/// The name of the binary, which its own lines have in place of a program's name.
pub const SELF: &str = "procsched-min";

/// What to do if memory is refused at the start.
pub const MORE_MEMORY: &str = "raise RLIMIT_AS or RLIMIT_DATA, or relax vm.overcommit_memory";

/// The width of `started` and `warning`; the few longer verbs exceed it.
const VERB_WIDTH: usize = 7;

/// The level of a message, shown by its colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Level {
    Success,
    Info,
    /// No failure, but unusual.
    Warning,
    Error,
}

/// How lines are laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    name_width: usize,
    color: bool,
}

/// The message of an event: level, verb and details, not laid out yet.
type Message = (Level, &'static str, String);

impl Style {
    /// Fits the columns to these program names, and chooses colours by stderr.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let name_width = names.into_iter().map(str::len).max().unwrap_or(0);
        Self {
            name_width,
            color: io::stderr().is_terminal() && allows_color(),
        }
    }

    /// Returns the same with columns for names of this length.
    pub fn with_name_width(self, name_width: usize) -> Self {
        Self { name_width, ..self }
    }

    /// Returns the line of an event. `Waiting` has none: the line of the exit before it has the
    /// delay, so that an exit is one line.
    pub fn event(&self, event: &Event) -> Option<String> {
        let (level, verb, details) = message(event.kind())?;
        let name = Some(event.program()).filter(|name| !name.is_empty());
        Some(self.line(event.at(), name.unwrap_or(SELF), level, verb, &details))
    }

    /// Returns a line of the binary's own.
    pub fn own(&self, level: Level, verb: &str, details: &str) -> String {
        self.line(clock::wall(), SELF, level, verb, details)
    }

    /// Lays out one line.
    pub fn line(
        &self,
        at: SystemTime,
        name: &str,
        level: Level,
        verb: &str,
        details: &str,
    ) -> String {
        let color = |code: &'static str| if self.color { code } else { "" };
        let (dim, plain) = (color("\x1b[2m"), color("\x1b[0m"));
        let (paint, end) = match level {
            Info => ("", ""),
            Success => (color("\x1b[32m"), plain),
            Warning => (color("\x1b[33m"), plain),
            Error => (color("\x1b[31m"), plain),
        };
        let (at, name) = (utc_millis(at), escaped(name));
        let (verb, details) = (escaped(verb), escaped(details));
        let gap = match details.is_empty() {
            true => 0,
            false => 1 + VERB_WIDTH.saturating_sub(verb.chars().count()),
        };
        let width = self.name_width;
        format!(
            "{dim}{at}{plain} {name:<width$} {paint}{verb}{end}{:gap$}{details}",
            ""
        )
    }
}

/// True if the environment allows colours on a terminal.
pub fn allows_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !set("NO_COLOR") && !dumb
}

/// Returns the message of an event; `None` if another line has it.
fn message(kind: &EventKind) -> Option<Message> {
    Some(match kind {
        EventKind::Started { pid, .. } => (Success, "started", format!("pid={pid}")),
        EventKind::StartFailed {
            error,
            stopping,
            reason,
            retry_in,
            ..
        } => start_failed(error, *stopping, *retry_in, reason.as_deref()),
        EventKind::Exited {
            pid,
            return_code,
            core_dumped,
            uptime,
            stopping,
            retry_in,
            restart,
            reason,
            last_line,
            ..
        } => {
            let next = (!stopping).then(|| next_start(*retry_in, *restart, reason.as_deref()));
            let last_line = last_line.as_deref();
            exited(*pid, *return_code, *core_dumped, *uptime, next, last_line)
        }
        EventKind::Refused { error, .. } => (Warning, "refused", error.to_string()),
        EventKind::Up => (Success, "up", String::new()),
        EventKind::Removed => (Info, "removed", String::new()),
        EventKind::Waiting { .. } => return None,
        EventKind::Stopping {
            pid,
            signal,
            timeout,
            ..
        } => {
            let (signal, timeout) = (signal_name(*signal), duration(*timeout));
            let details = format!("pid={pid} signal={signal} timeout={timeout}");
            (Info, "stopping", details)
        }
        EventKind::Killed { pid, .. } => (Warning, "killed", format!("pid={pid} signal=SIGKILL")),
        EventKind::Abandoned { pid, .. } => {
            // It may be dead, and held by a tracer.
            let details = format!("pid={pid} still exists 5 s after SIGKILL");
            (Error, "abandoned", details)
        }
        EventKind::StoppingAll { cause, .. } => stopping_all("stopping", cause),
        EventKind::KillingAll { cause, .. } => stopping_all("killing", cause),
        EventKind::OrphanSignalled { pid, signal, .. } => orphan_signalled(*pid, *signal),
        EventKind::BytesDropped { bytes, .. } => {
            let details = format!("bytes={bytes} of its stderr are not in its log");
            (Warning, "dropped", details)
        }
        EventKind::HandlerPanicked { message, .. } => {
            (Error, "warning", format!("a handler panicked: {message}"))
        }
        EventKind::Warning { error, .. } => (Warning, "warning", error.to_string()),
        // A kind that is newer than this list.
        newer => (Warning, "event", format!("{newer:?}")),
    })
}

fn start_failed(
    error: &impl Display,
    is_stopping: bool,
    retry_in: Option<Duration>,
    reason: Option<&str>,
) -> Message {
    if is_stopping {
        return (Info, "cancelled", error.to_string());
    }
    // A policy that retries after a failed run retries after a failed start, too.
    let next = next_start(retry_in, Restart::Never, reason);
    (Error, "failed", format!("{next} error: {error}"))
}

/// `next_start` is `None` for an exit during a stop, after which no start is expected.
fn exited(
    pid: i32,
    return_code: i32,
    core_dumped: bool,
    uptime: Duration,
    next_start: Option<String>,
    last_line: Option<&str>,
) -> Message {
    let (key, value) = exit_label(return_code);
    let mut details = format!("pid={pid} {key}={value} uptime={}", duration(uptime));
    if core_dumped {
        details.push_str(" core_dumped=yes");
    }
    let is_fine = next_start.is_none() || return_code == 0;
    if let Some(next_start) = next_start {
        details.push(' ');
        details.push_str(&next_start);
    }
    if let Some(line) = last_line {
        let _ = write!(details, " last={line:?}");
    }
    (if is_fine { Info } else { Error }, "exited", details)
}

fn stopping_all(verb: &'static str, cause: &StopCause) -> Message {
    let (level, why) = stop_cause(cause);
    (level, verb, format!("everything: {why}"))
}

/// Returns why everything is stopped: `SIGTERM from pid 812 uid 0`.
pub fn stop_cause(cause: &StopCause) -> (Level, String) {
    match cause {
        StopCause::Signal { signal, sender, .. } => {
            let sender = sender_of(*signal, *sender, std::process::id() == 1);
            (Info, signal_name(*signal) + &sender)
        }
        StopCause::Host => (Info, format!("requested by {SELF}")),
        StopCause::EssentialEnded {
            program,
            return_code,
            ..
        } => {
            let (key, value) = exit_label(*return_code);
            let why = format!("essential program {program} ended with {key} {value}");
            (Warning, why)
        }
        StopCause::EssentialNotStarted { program, .. } => {
            let why = format!("essential program {program} could not be started");
            (Warning, why)
        }
        StopCause::AllEnded => (Info, "every program has ended for good".to_owned()),
        // A cause that is newer than this list.
        newer => (Warning, format!("{newer:?}")),
    }
}

/// Names the sender of a signal. The kernel sends PID 1 more than a terminal's signals:
/// Ctrl-Alt-Del is a SIGINT as well.
fn sender_of(signal: i32, sender: SignalSender, is_first_process: bool) -> String {
    let is_of_terminal = [libc::SIGINT, libc::SIGQUIT, libc::SIGHUP].contains(&signal);
    match sender {
        SignalSender::Process { pid: 0, uid, .. } => {
            format!(" from outside of this PID namespace, uid {uid}")
        }
        SignalSender::Process { pid, uid, .. } => format!(" from pid {pid} uid {uid}"),
        SignalSender::Kernel if is_of_terminal && !is_first_process => {
            " from the terminal".to_owned()
        }
        SignalSender::Kernel => " from the kernel".to_owned(),
        _ => String::new(),
    }
}

fn orphan_signalled(pid: i32, signal: i32) -> Message {
    let target = match pid {
        ..1 => "sent to every process that is left".to_owned(),
        pid => format!("pid={pid} had left its group"),
    };
    let is_kill = signal == libc::SIGKILL;
    let details = format!("signal={} {target}", signal_name(signal));
    (
        Warning,
        if is_kill { "killed" } else { "stopping" },
        details,
    )
}

/// Returns the delay of the next start, or why there is none.
fn next_start(retry_in: Option<Duration>, restart: Restart, reason: Option<&str>) -> String {
    if let (None, Some(reason)) = (retry_in, reason) {
        return format!("not restarted: {reason}");
    }
    match (retry_in, restart) {
        (Some(delay), _) => format!("retry_in={}", duration(delay)),
        (None, Restart::OnFailure) => "not restarted: it succeeded".to_owned(),
        (None, Restart::Never | Restart::Always) => "restart=never".to_owned(),
    }
}

#[cfg(test)]
mod tests;
