//! A program, the supervisor and an event as lines of JSON.

use std::time::{Duration, SystemTime};

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use procsched::{
    Event, EventKind, HealthStatus, LastExit, OutputLine, OutputLines, ProgramStatus, StdStream,
    signal_name, utc_millis,
};

use super::client::Peer;
use super::json::{self, Object};
use super::protocol::Problem;
use crate::clock;

/// The most of a program's command that a line has, in bytes. A command may have megabytes.
const COMMAND_BYTES_MAX: usize = 4096;

/// What an answer adds to the description of a program.
#[derive(Debug, Clone, Copy, Default)]
pub struct Remarks<'a> {
    /// What the library does not know: which user stopped it.
    pub reason: Option<&'a str>,
    /// Why an order has changed nothing.
    pub note: Option<&'a str>,
}

/// Appends the line of a program.
pub fn write_program(out: &mut Vec<u8>, program: &ProgramStatus, remarks: Remarks<'_>) {
    json::line(out, |line| {
        line.object("program", |object| {
            fields(object, program, remarks.reason);
            if let Some(note) = remarks.note {
                object.text("note", note);
            }
        });
    });
}

fn fields(object: &mut Object<'_>, program: &ProgramStatus, reason: Option<&str>) {
    object.text("name", program.name());
    let command = command(program);
    object.texts("command", command.iter().map(String::as_str));
    object.text("state", &program.state().to_string());
    object.text_or_null("reason", reason.or(program.reason()));
    let goal = if program.is_wanted() { "up" } else { "down" };
    object.text("goal", goal);
    object.value_or_null("pid", program.pid());
    let since = clock::wall().checked_sub(program.state_for());
    object.text(
        "since",
        &utc_millis(since.unwrap_or(SystemTime::UNIX_EPOCH)),
    );
    object.value("state_seconds", seconds(program.state_for()));
    object.value("restarts", program.restarts());
    object.value("restarts_in_row", program.restarts_in_row());
    object.value_or_null("retry_in", program.next_start().map(seconds));
    object.value("backoff", seconds(program.backoff()));
    match program.last_exit() {
        Some(exit) => object.object("last_exit", |object| last_exit(object, exit)),
        None => object.null("last_exit"),
    }
    match program.health() {
        Some(HealthStatus::Failing(count)) => object.object("health", |health| {
            health.value("failing", count);
        }),
        health => object.text_or_null("health", health.map(|health| health.to_string()).as_deref()),
    }
    object.text_or_null("status_text", program.status_text());
    let path = program.log();
    let log = path.as_ref().map(|path| path.to_string_lossy());
    object.text_or_null("log", log.as_deref());
    let path = program.stdout_log();
    let log = path.as_ref().map(|path| path.to_string_lossy());
    object.text_or_null("stdout_log", log.as_deref());
    object.texts("after", program.after());
    object.texts("requires", program.requires());
    object.value("changed", program.is_changed());
}

fn dropped(object: &mut Object<'_>, stream: StdStream, bytes: u64) {
    object.value("bytes", bytes);
    object.text("stream", &stream.to_string());
}

fn last_exit(object: &mut Object<'_>, exit: &LastExit) {
    let code = exit.return_code();
    object.value("return_code", code);
    object.text_or_null("signal", signal_of(code).as_deref());
    object.value("core_dumped", exit.core_dumped());
    object.text("cause", &exit.cause().to_string());
    object.text("at", &utc_millis(exit.at()));
    object.value("uptime", seconds(exit.uptime()));
    object.text_or_null("error", exit.error());
    object.text_or_null("last_line", exit.last_line());
}

/// Returns the command, of which what is too long is left out.
fn command(program: &ProgramStatus) -> Vec<String> {
    let mut left = COMMAND_BYTES_MAX;
    let mut words = Vec::new();
    for word in program.command() {
        let Some(rest) = left.checked_sub(word.len()) else {
            words.push("…".to_owned());
            break;
        };
        left = rest;
        words.push(word.to_string_lossy().into_owned());
    }
    words
}

fn signal_of(return_code: i32) -> Option<String> {
    let signal = return_code.checked_neg().filter(|signal| *signal > 0);
    signal.map(signal_name)
}

/// What is known of the supervisor.
#[derive(Debug)]
pub struct Supervisor<'a> {
    pub is_stopping: bool,
    pub since: SystemTime,
    pub config: &'a str,
    pub programs: usize,
    pub log_bytes_dropped: u64,
    pub reports_dropped: u64,
}

/// Appends the line that ends the answer of a status.
pub fn write_supervisor(out: &mut Vec<u8>, supervisor: &Supervisor<'_>) {
    json::line(out, |line| {
        line.value("ok", true);
        line.object("supervisor", |object| {
            object.text("version", env!("CARGO_PKG_VERSION"));
            object.value("pid", std::process::id());
            let state = match supervisor.is_stopping {
                true => "stopping",
                false => "running",
            };
            object.text("state", state);
            object.text("since", &utc_millis(supervisor.since));
            object.text("config", supervisor.config);
            object.value("programs", supervisor.programs);
            object.value("log_bytes_dropped", supervisor.log_bytes_dropped);
            object.value("reports_dropped", supervisor.reports_dropped);
        });
    });
}

/// Appends the line of what went wrong with one program, with the end of its stderr.
pub fn write_problem(out: &mut Vec<u8>, program: &str, problem: &Problem, output: &[String]) {
    json::line(out, |line| {
        line.object("problem", |object| {
            object.text("program", program);
            object.text("code", problem.code.word());
            object.text("message", &problem.message);
            object.texts("output", output.iter().map(String::as_str));
        });
    });
}

/// Appends the line of an event that the scheduler has sent.
pub fn write_event(out: &mut Vec<u8>, event: &Event) {
    event_line(out, event.at(), event.program(), |object| {
        kind(object, event.kind());
    });
}

/// Appends an event as a message on stderr.
pub fn write_message(out: &mut Vec<u8>, event: &Event) {
    json::line(out, |object| {
        object.text("time", &utc_millis(event.at()));
        let program = Some(event.program()).filter(|name| !name.is_empty());
        object.text_or_null("program", program);
        kind(object, event.kind());
    });
}

/// Returns a line of a program, which is one of these, as one object of JSON, without a line feed.
pub fn json_line(lines: &OutputLines<'_>, line: &OutputLine<'_>) -> Vec<u8> {
    let at = lines.at().unwrap_or_else(clock::wall);
    let stream = lines.stream().to_string();
    let is_continued = line.is_continued();
    text_as_json(
        Some(at),
        lines.program(),
        &stream,
        line.text(),
        is_continued,
    )
}

/// Returns the text of a line, or of a part of one, as one object of JSON, without a line feed; in
/// Base64 if it is not UTF-8.
pub fn text_as_json(
    at: Option<SystemTime>,
    program: &str,
    stream: &str,
    text: &[u8],
    is_continued: bool,
) -> Vec<u8> {
    let mut out = Vec::new();
    json::line(&mut out, |object| {
        if let Some(at) = at {
            object.text("time", &utc_millis(at));
        }
        object.text("program", program);
        object.text("stream", stream);
        match std::str::from_utf8(text) {
            Ok(text) => object.text("line", text),
            Err(_) => object.text("line_b64", &STANDARD.encode(text)),
        }
        if is_continued {
            object.value("continued", true);
        }
    });
    out.pop();
    out
}

/// Appends a message of the binary's own.
pub fn write_own_message(
    out: &mut Vec<u8>,
    at: SystemTime,
    program: Option<&str>,
    event: &str,
    message: &str,
) {
    json::line(out, |object| {
        object.text("time", &utc_millis(at));
        object.text_or_null("program", program);
        object.text("event", event);
        object.text("message", message);
    });
}

/// Appends the line of an order that a client gave.
pub fn write_order(out: &mut Vec<u8>, program: &str, order: &str, programs: &[String], peer: Peer) {
    event_line(out, clock::wall(), program, |object| {
        object.text("event", "order");
        object.text("order", order);
        object.texts("programs", programs.iter().map(String::as_str));
        object.value("uid", peer.uid);
        object.value("pid", peer.pid);
    });
}

/// Appends a line that says how many events were dropped.
pub fn write_dropped(out: &mut Vec<u8>, count: u64) {
    json::line(out, |line| {
        line.object("event", |object| {
            object.text("event", "dropped");
            object.value("count", count);
        });
    });
}

fn event_line(
    out: &mut Vec<u8>,
    at: SystemTime,
    program: &str,
    write: impl FnOnce(&mut Object<'_>),
) {
    json::line(out, |line| {
        line.object("event", |object| {
            object.text("time", &utc_millis(at));
            object.text_or_null("program", Some(program).filter(|name| !name.is_empty()));
            write(object);
        });
    });
}

fn kind(object: &mut Object<'_>, kind: &EventKind) {
    object.text("event", word(kind));
    match kind {
        EventKind::Started { pid, .. }
        | EventKind::Killed { pid, .. }
        | EventKind::Abandoned { pid, .. } => object.value("pid", pid),
        EventKind::StartFailed {
            error,
            cause,
            reason,
            retry_in,
            ..
        } => {
            object.text("error", &error.to_string());
            object.text("cause", &cause.to_string());
            object.value_or_null("retry_in", retry_in.map(seconds));
            object.text_or_null("reason", reason.as_deref());
        }
        EventKind::Exited {
            pid,
            return_code,
            core_dumped,
            uptime,
            stopping,
            cause,
            retry_in,
            reason,
            last_line,
            ..
        } => {
            object.value("pid", pid);
            object.value("return_code", return_code);
            object.text_or_null("signal", signal_of(*return_code).as_deref());
            object.value("core_dumped", core_dumped);
            object.value("uptime", seconds(*uptime));
            object.value("stopping", stopping);
            object.text("cause", &cause.to_string());
            object.value_or_null("retry_in", retry_in.map(seconds));
            object.text_or_null("reason", reason.as_deref());
            object.text_or_null("last_line", last_line.as_deref());
        }
        EventKind::Waiting { delay, .. } => object.value("delay", seconds(*delay)),
        EventKind::Stopping {
            pid,
            signal,
            timeout,
            cause,
            ..
        } => {
            object.value("pid", pid);
            object.text("signal", &signal_name(*signal));
            object.value("timeout", seconds(*timeout));
            object.text("cause", &cause.to_string());
        }
        EventKind::OrphanSignalled { pid, signal, .. } => {
            object.value("pid", pid);
            object.text("signal", &signal_name(*signal));
        }
        EventKind::StoppingAll { cause, .. } | EventKind::KillingAll { cause, .. } => {
            object.text("cause", &cause.to_string());
        }
        EventKind::BytesDropped { stream, bytes, .. } => dropped(object, *stream, *bytes),
        EventKind::HandlerPanicked { message, .. } => object.text("message", message),
        EventKind::Refused { error, .. } | EventKind::Warning { error, .. } => {
            object.text("message", &error.to_string());
        }
        // A kind without details, or newer than this list.
        _ => {}
    }
}

fn word(kind: &EventKind) -> &'static str {
    match kind {
        EventKind::Started { .. } => "started",
        EventKind::StartFailed { .. } => "start-failed",
        EventKind::Exited { .. } => "exited",
        EventKind::Up => "up",
        EventKind::Refused { .. } => "refused",
        EventKind::Removed => "removed",
        EventKind::Waiting { .. } => "backoff",
        EventKind::Stopping { .. } => "stopping",
        EventKind::Killed { .. } => "killed",
        EventKind::Abandoned { .. } => "abandoned",
        EventKind::StoppingAll { .. } => "stopping-all",
        EventKind::KillingAll { .. } => "killing-all",
        EventKind::OrphanSignalled { .. } => "orphan-signalled",
        EventKind::BytesDropped { .. } => "bytes-dropped",
        EventKind::HandlerPanicked { .. } => "handler-panicked",
        EventKind::Warning { .. } => "warning",
        // A kind that is newer than this list.
        _ => "other",
    }
}

/// Returns seconds as a JSON number.
fn seconds(time: Duration) -> String {
    format!("{}.{:06}", time.as_secs(), time.subsec_micros())
}
