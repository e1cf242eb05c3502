//! Messages on stderr: one line for each [`Event`], and a few lines of the binary's own.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    exited  pid=4711 code=3 uptime=1.2s retry_in=2s
//! ```
//!
//! Name and verb have columns, `key=value` pairs follow, and free text comes last. Text from
//! elsewhere is escaped, so that a terminal obeys only the colours of this module.

use std::io::{self, IsTerminal};
use std::time::SystemTime;

use nix::sys::stat::fstat;
use procsched::text::escaped;
use procsched::{Event, EventKind, StopCause, utc_millis};

use Level::{Error, Info, Success, Warning};

use crate::clock;

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
    /// True if the journal reads stderr, which takes a level in front of a line.
    has_levels: bool,
}

impl Style {
    /// Fits the columns to these program names, and chooses colours by stderr.
    pub fn new<'a>(names: impl IntoIterator<Item = &'a str>) -> Self {
        let name_width = names.into_iter().map(str::len).max().unwrap_or(0);
        Self {
            name_width,
            color: io::stderr().is_terminal() && allows_color(),
            has_levels: is_journal(),
        }
    }

    /// Returns the width of the column of names.
    pub fn name_width(&self) -> usize {
        self.name_width
    }

    /// Returns the same with columns for names of this length.
    pub fn with_name_width(self, name_width: usize) -> Self {
        Self { name_width, ..self }
    }

    /// Returns the line of an event. `Waiting` has none: the line of the exit before it has the
    /// delay, so that an exit is one line.
    pub fn event(&self, event: &Event) -> Option<String> {
        let kind = event.kind();
        if matches!(kind, EventKind::Waiting { .. }) {
            return None;
        }
        let name = Some(event.program()).filter(|name| !name.is_empty());
        let text = kind.to_string();
        let (verb, details) = text.split_once(' ').unwrap_or((&text, ""));
        Some(self.line(event.at(), name.unwrap_or(SELF), level(kind), verb, details))
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
        // As sd-daemon(3) has them.
        let priority = match level {
            _ if !self.has_levels => "",
            Error => "<3>",
            Warning => "<4>",
            Info | Success => "<6>",
        };
        format!(
            "{priority}{dim}{at}{plain} {name:<width$} {paint}{verb}{end}{:gap$}{details}",
            ""
        )
    }
}

/// True if the journal reads our stderr, as systemd says in this variable.
fn is_journal() -> bool {
    let Some(named) = std::env::var_os("JOURNAL_STREAM") else {
        return false;
    };
    let found = fstat(io::stderr());
    found.is_ok_and(|found| *named == *format!("{}:{}", found.st_dev, found.st_ino))
}

/// True if the environment allows colours on a terminal.
pub fn allows_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    !set("NO_COLOR") && !dumb
}

/// Returns the level of an event's message.
fn level(kind: &EventKind) -> Level {
    match kind {
        EventKind::Started { .. } | EventKind::Up => Success,
        EventKind::StartFailed { stopping: true, .. }
        | EventKind::Exited { stopping: true, .. }
        | EventKind::Exited {
            has_failed: false, ..
        }
        | EventKind::Removed
        | EventKind::Waiting { .. }
        | EventKind::Stopping { .. } => Info,
        EventKind::StartFailed { .. }
        | EventKind::Exited { .. }
        | EventKind::Abandoned { .. }
        | EventKind::HandlerPanicked { .. } => Error,
        EventKind::StoppingAll { cause, .. } | EventKind::KillingAll { cause, .. } => match cause {
            StopCause::Signal { .. } | StopCause::Host | StopCause::AllEnded => Info,
            _ => Warning,
        },
        // A kind that is newer than this list, too.
        _ => Warning,
    }
}

#[cfg(test)]
mod tests;
