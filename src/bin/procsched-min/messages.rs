//! What a person reads: one line for each [`Event`], and a few lines of the binary's own.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    exited  pid=4711 code=3 ran=1.2s restart_in=2s
//! ```
//!
//! Name and happening stand in columns, the rest is `key=value`, and a message in words comes
//! last. Whatever somebody else wrote is escaped, so that nothing but letters and our own
//! colours ever reaches a terminal.

use std::borrow::Cow;
use std::fmt::{Display, Write};
use std::io::{self, IsTerminal};
use std::time::{Duration, SystemTime};

use procsched::{Event, EventKind, Restart, SignalSender, StopCause, signal_name, utc_millis};

use crate::clock;

/// What this binary calls itself: in its own lines it stands where a program's name would.
pub const SELF: &str = "procsched-min";

/// As wide as `started` and `warning`; the few longer words stand out, and may.
const HAPPENING_WIDTH: usize = 7;

/// How a line is to be taken, shown by colour on a terminal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Tone {
    /// As it should be.
    Good,
    /// Nothing to see here.
    Plain,
    /// Not a failure, and yet worth a look.
    Notice,
    /// Something failed.
    Bad,
}

/// How lines are laid out.
#[derive(Debug, Clone, Copy)]
pub struct Style {
    name_width: usize,
    color: bool,
}

/// What one event says, before it is laid out.
#[derive(Debug, PartialEq)]
struct Words {
    tone: Tone,
    happening: &'static str,
    details: String,
}

impl Style {
    /// Columns that fit these program names; coloured if stderr wants it.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let name_width = names.into_iter().map(str::len).max().unwrap_or(0);
        Self {
            name_width,
            color: wants_color(),
        }
    }

    /// The line for an event. None for `Waiting`: the line of the death before it says when
    /// the program comes back, so that one death is one line.
    pub fn event(&self, event: &Event) -> Option<String> {
        let words = words(event.kind())?;
        // What concerns no program concerns us.
        let name = Some(event.program()).filter(|name| !name.is_empty());
        Some(self.line(
            event.at(),
            name.unwrap_or(SELF),
            words.tone,
            words.happening,
            &words.details,
        ))
    }

    /// A line of the binary's own.
    pub fn own(&self, tone: Tone, happening: &str, details: &str) -> String {
        self.line(clock::wall(), SELF, tone, happening, details)
    }

    /// Lays out one line.
    pub fn line(
        &self,
        at: SystemTime,
        name: &str,
        tone: Tone,
        happening: &str,
        details: &str,
    ) -> String {
        let (dim, paint, plain) = match (self.color, tone) {
            (false, _) => ("", "", ""),
            (true, Tone::Plain) => ("\x1b[2m", "", "\x1b[0m"),
            (true, Tone::Good) => ("\x1b[2m", "\x1b[32m", "\x1b[0m"),
            (true, Tone::Notice) => ("\x1b[2m", "\x1b[33m", "\x1b[0m"),
            (true, Tone::Bad) => ("\x1b[2m", "\x1b[31m", "\x1b[0m"),
        };
        let (at, name, details) = (utc_millis(at), escaped(name), escaped(details));
        let happening = escaped(happening);
        let gap = if details.is_empty() {
            0
        } else {
            1 + HAPPENING_WIDTH.saturating_sub(happening.chars().count())
        };
        let end = if paint.is_empty() { "" } else { plain };
        let width = self.name_width;
        format!(
            "{dim}{at}{plain} {name:<width$} {paint}{happening}{end}{:gap$}{details}",
            ""
        )
    }
}

fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
}

impl Words {
    fn new(tone: Tone, happening: &'static str, details: String) -> Self {
        Self {
            tone,
            happening,
            details,
        }
    }
}

/// What to say of an event; `None` if another line says it.
fn words(kind: &EventKind) -> Option<Words> {
    Some(match kind {
        EventKind::Started { pid, .. } => started(*pid),
        EventKind::StartFailed {
            error,
            stopping,
            retry_in,
            ..
        } if *stopping => Words::new(Tone::Plain, "cancelled", error.to_string()),
        EventKind::StartFailed {
            error, retry_in, ..
        } => start_failed(error, *retry_in),
        EventKind::Exited {
            pid,
            return_code,
            core_dumped,
            uptime,
            stopping,
            retry_in,
            restart,
            last_line,
            ..
        } => {
            let next = (!stopping).then(|| next_start(*retry_in, *restart));
            let last_line = last_line.as_deref();
            exited(*pid, *return_code, *core_dumped, *uptime, next, last_line)
        }
        EventKind::Waiting { .. } => return None,
        EventKind::Stopping {
            pid,
            signal,
            timeout,
            ..
        } => stopping(*pid, *signal, *timeout),
        EventKind::Killed { pid, .. } => killed(*pid),
        EventKind::Abandoned { pid, .. } => abandoned(*pid),
        EventKind::StoppingAll { cause, .. } => stopping_all(cause, is_first_process()),
        EventKind::KillingAll { cause, .. } => Words {
            happening: "killing",
            ..stopping_all(cause, is_first_process())
        },
        EventKind::OrphanSignalled { pid, signal, .. } => orphan_signalled(*pid, *signal),
        EventKind::BytesDropped { bytes, .. } => bytes_dropped(*bytes),
        EventKind::HandlerPanicked { message, .. } => handler_panicked(message),
        EventKind::Warning { error, .. } => warning(error),
        // A kind that is newer than this list: said in the library's words, never hidden.
        newer => Words::new(Tone::Notice, "event", format!("{newer:?}")),
    })
}

fn started(pid: i32) -> Words {
    Words::new(Tone::Good, "started", format!("pid={pid}"))
}

fn start_failed(error: &impl Display, retry_in: Option<Duration>) -> Words {
    // A policy that tries again after a failure does so after a failed start, too.
    let next = next_start(retry_in, Restart::Never);
    let details = format!("{next} error: {error}");
    Words::new(Tone::Bad, "failed", details)
}

/// `next_start` is `None` for an exit that was asked for: then it is not expected back.
fn exited(
    pid: i32,
    return_code: i32,
    core_dumped: bool,
    uptime: Duration,
    next_start: Option<String>,
    last_line: Option<&str>,
) -> Words {
    let (key, value) = how(return_code);
    let mut details = format!("pid={pid} {key}={value} ran={}", duration(uptime));
    if core_dumped {
        details.push_str(" core_dumped=yes");
    }
    let fine = next_start.is_none() || return_code == 0;
    if let Some(next_start) = next_start {
        details.push(' ');
        details.push_str(&next_start);
    }
    if let Some(line) = last_line {
        // As with a config's strings: quoted, and what is in it escaped.
        let _ = write!(details, " last={line:?}");
    }
    Words::new(
        if fine { Tone::Plain } else { Tone::Bad },
        "exited",
        details,
    )
}

fn stopping(pid: i32, signal: i32, timeout: Duration) -> Words {
    let (signal, timeout) = (signal_name(signal), duration(timeout));
    let details = format!("pid={pid} signal={signal} timeout={timeout}");
    Words::new(Tone::Plain, "stopping", details)
}

fn killed(pid: i32) -> Words {
    Words::new(Tone::Notice, "killed", format!("pid={pid} signal=SIGKILL"))
}

fn abandoned(pid: i32) -> Words {
    // It may be dead, and a tracer has not let it go.
    let details = format!("pid={pid} it is not gone 5 s after SIGKILL");
    Words::new(Tone::Bad, "abandoned", details)
}

/// Whether this process is the first one of its PID namespace.
fn is_first_process() -> bool {
    std::process::id() == 1
}

fn stopping_all(cause: &StopCause, is_first_process: bool) -> Words {
    let (tone, why) = match cause {
        StopCause::Signal { signal, sender, .. } => {
            let sender = sender_of(*signal, *sender, is_first_process);
            (Tone::Plain, format!("{}{sender}", signal_name(*signal)))
        }
        StopCause::Host => (Tone::Plain, "procsched-min itself asked for it".to_owned()),
        StopCause::EssentialEnded {
            program,
            return_code,
            ..
        } => {
            let (key, value) = how(*return_code);
            let why = format!("essential program {program} ended with {key} {value}");
            (Tone::Notice, why)
        }
        StopCause::EssentialNotStarted { program, .. } => {
            let why = format!("essential program {program} could not be started");
            (Tone::Notice, why)
        }
        StopCause::AllEnded => (Tone::Plain, "every program has ended for good".to_owned()),
        // One that is newer than this list: in the library's words.
        newer => (Tone::Notice, format!("{newer:?}")),
    };
    Words::new(tone, "stopping", format!("everything: {why}"))
}

/// For PID 1 the kernel has more reasons than a terminal: Ctrl-Alt-Del is a SIGINT as well.
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

fn orphan_signalled(pid: i32, signal: i32) -> Words {
    let who = match pid {
        ..1 => "it went to every process that is left".to_owned(),
        pid => format!("pid={pid} had left its group"),
    };
    let happening = if signal == libc::SIGKILL {
        "killed"
    } else {
        "stopping"
    };
    let details = format!("signal={} {who}", signal_name(signal));
    Words::new(Tone::Notice, happening, details)
}

fn bytes_dropped(bytes: u64) -> Words {
    let details = format!("bytes={bytes} of its stderr are not in its log");
    Words::new(Tone::Notice, "dropped", details)
}

fn handler_panicked(message: &str) -> Words {
    Words::new(
        Tone::Bad,
        "warning",
        format!("a handler panicked: {message}"),
    )
}

fn warning(error: &impl Display) -> Words {
    Words::new(Tone::Notice, "warning", error.to_string())
}

/// A return code as a person reads it: `code` and `3`, or `signal` and `SIGSEGV`.
pub fn how(return_code: i32) -> (&'static str, String) {
    match return_code.checked_neg() {
        Some(signal @ 1..) => ("signal", signal_name(signal)),
        _ => ("code", return_code.to_string()),
    }
}

/// When it is started again, or why it is not.
fn next_start(retry_in: Option<Duration>, restart: Restart) -> String {
    match (retry_in, restart) {
        (Some(delay), _) => format!("restart_in={}", duration(delay)),
        (None, Restart::OnFailure) => "not restarted: it succeeded".to_owned(),
        (None, Restart::Never | Restart::Always) => "restart=never".to_owned(),
    }
}

/// A length of time to the precision that a person wants: `0s 350us 350ms 12.3s 2m05s 3h12m 5d04h`.
pub fn duration(length: Duration) -> String {
    let (seconds, nanos) = (length.as_secs(), length.subsec_nanos());
    match seconds {
        0 if nanos == 0 => "0s".to_owned(),
        0 if nanos < 1_000 => format!("{nanos}ns"),
        0 if nanos < 1_000_000 => format!("{}us", nanos / 1_000),
        0 => format!("{}ms", nanos / 1_000_000),
        1..60 if nanos < 100_000_000 => format!("{seconds}s"),
        1..60 => format!("{seconds}.{}s", nanos / 100_000_000),
        60..3_600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two_units(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two_units(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small:02}{small_unit}"),
    }
}

/// The text without anything that a terminal would obey or that would fake a second line:
/// controls, line ends, and characters that turn the direction or cannot be seen.
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.bytes().all(|byte| matches!(byte, b' '..=b'~')) {
        return text.into();
    }
    let mut out = String::with_capacity(text.len());
    for character in text.chars() {
        let harmless = matches!(character, ' '..='~') || character.escape_debug().len() == 1;
        if harmless {
            out.push(character);
        } else {
            // Writing to a String cannot fail.
            let _ = write!(out, "{}", character.escape_debug());
        }
    }
    out.into()
}

/// What the system calls an error, without the number that the standard library appends.
pub fn system_word(error: &io::Error) -> String {
    let errno = error.raw_os_error().map(nix::errno::Errno::from_raw);
    errno.map_or_else(|| error.to_string(), |errno| errno.desc().to_owned())
}

#[cfg(test)]
mod tests;
