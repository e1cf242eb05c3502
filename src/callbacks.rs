//! The host's closures, and the one place where they are called. A panic in one is caught here and
//! reported as an event; supervision goes on.

use std::any::Any;
use std::mem::replace;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{Event, EventKind, SignalSender};
use crate::os::bytes::position;
use crate::os::clock;
use crate::os::utc::utc_millis;
use crate::report::ErrorReport;
use crate::spec::StdStream;

/// The longest line that the host is given at once, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// Lines of one stream of a program that were read together, in their order; see
/// [`Builder::on_output`](crate::Builder::on_output).
#[derive(Debug, Clone, Copy)]
pub struct OutputLines<'a> {
    program: &'a str,
    stream: StdStream,
    at: Option<SystemTime>,
    /// The last of them may have no line feed.
    bytes: &'a [u8],
    /// True if the first continues another.
    is_continued: bool,
}

/// Each of [`OutputLines`].
#[derive(Debug, Clone)]
pub struct EachLine<'a> {
    left: OutputLines<'a>,
    /// What is left of a long line.
    rest: &'a [u8],
}

impl<'a> OutputLines<'a> {
    /// Returns the name of the program.
    #[must_use]
    pub fn program(&self) -> &'a str {
        self.program
    }

    /// Returns the stream that they were written to.
    #[must_use]
    pub fn stream(&self) -> StdStream {
        self.stream
    }

    /// Returns when they were read, if the program wants that to be in front of them
    /// ([`LogOptions::timestamps`](crate::LogOptions::timestamps)).
    #[must_use]
    pub fn at(&self) -> Option<SystemTime> {
        self.at
    }
}

impl<'a> IntoIterator for OutputLines<'a> {
    type Item = OutputLine<'a>;
    type IntoIter = EachLine<'a>;

    fn into_iter(self) -> EachLine<'a> {
        let rest = &[];
        EachLine { left: self, rest }
    }
}

impl<'a> Iterator for EachLine<'a> {
    type Item = OutputLine<'a>;

    fn next(&mut self) -> Option<OutputLine<'a>> {
        loop {
            let mut is_continued = !self.rest.is_empty();
            if !is_continued {
                if self.left.bytes.is_empty() {
                    return None;
                }
                let length = first_line_length(self.left.bytes);
                let (line, later) = self.left.bytes.split_at(length);
                self.left.bytes = later;
                self.rest = line.strip_suffix(b"\n").unwrap_or(line);
                is_continued = replace(&mut self.left.is_continued, false);
                // An empty line is one, too, but the empty rest of a line is nothing.
                if is_continued && self.rest.is_empty() {
                    continue;
                }
            }
            let (text, rest) = self.rest.split_at(cut(self.rest, LINE_BYTES_MAX));
            self.rest = rest;
            return Some(OutputLine { text, is_continued });
        }
    }
}

/// Returns the length of the first line of these bytes with its line feed, or of all of them if it
/// has none.
pub(crate) fn first_line_length(bytes: &[u8]) -> usize {
    position(b'\n', bytes).map_or(bytes.len(), |at| at + 1)
}

/// A line that a program has written, or a part of a long one.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLine<'a> {
    text: &'a [u8],
    is_continued: bool,
}

impl<'a> OutputLine<'a> {
    /// Returns the line without its line feed, at most 8 KiB.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// True if this continues the line before it of the same stream: that was too long, or its end came
    /// too late.
    #[must_use]
    pub fn is_continued(&self) -> bool {
        self.is_continued
    }
}

/// Returns where to cut text of which at most this many bytes are wanted: at the start of a
/// character, if one of UTF-8 is there.
pub(crate) fn cut(text: &[u8], most: usize) -> usize {
    if text.len() <= most {
        return text.len();
    }
    let is_start = |&at: &usize| text[at] & 0b1100_0000 != 0b1000_0000;
    let starts = (most.saturating_sub(3).max(1)..=most).rev();
    starts.into_iter().find(is_start).unwrap_or(most)
}

/// Lines of one stream of a program.
#[derive(Debug)]
pub(crate) struct Lines {
    pub(crate) program: Arc<str>,
    pub(crate) stream: StdStream,
    /// The last of them may have no line feed.
    pub(crate) bytes: Vec<u8>,
    /// True if the first continues another.
    pub(crate) is_continued: bool,
    /// Of a program whose lines have the time in front.
    pub(crate) at: Option<SystemTime>,
}

impl Lines {
    fn shown(&self) -> OutputLines<'_> {
        OutputLines {
            program: &self.program,
            stream: self.stream,
            at: self.at,
            bytes: &self.bytes,
            is_continued: self.is_continued,
        }
    }
}

type OnOutput = Box<dyn FnMut(OutputLines<'_>) + Send>;
type OnReport = Box<dyn FnMut(&str, &ErrorReport) + Send>;
type OnEvent = Box<dyn FnMut(&Event) + Send>;
type OnStray = Box<dyn FnMut(i32, ExitStatus) + Send>;
type OnSignal = Box<dyn FnMut(i32, SignalSender) + Send>;

/// What a closure is called with.
#[derive(Debug)]
pub(crate) enum Notice {
    Event(Event),
    Report(ErrorReport),
    Stray(i32, ExitStatus),
    Signal(i32, SignalSender),
    Lines(Lines),
}

/// The host's closures.
pub(crate) struct Callbacks {
    pub(crate) on_report: OnReport,
    pub(crate) on_event: OnEvent,
    pub(crate) on_stray: OnStray,
    pub(crate) on_signal: OnSignal,
    pub(crate) on_output: OnOutput,
}

impl Default for Callbacks {
    fn default() -> Self {
        Self {
            on_report: Box::new(print_report),
            on_event: Box::new(|_| {}),
            on_stray: Box::new(|_, _| {}),
            on_signal: Box::new(|_, _| {}),
            on_output: Box::new(print_lines),
        }
    }
}

impl Callbacks {
    /// Calls the closure that this is for, and survives its panic.
    pub(crate) fn call(&mut self, notice: &Notice) {
        let called = catch_unwind(AssertUnwindSafe(|| self.call_unprotected(notice)));
        let Err(panic) = called else { return };
        let program: Arc<str> = match notice {
            Notice::Event(event) => event.program.clone(),
            Notice::Report(report) => report.process.clone(),
            Notice::Lines(lines) => lines.program.clone(),
            Notice::Stray(..) | Notice::Signal(..) => Arc::from(""),
        };
        let kind = EventKind::HandlerPanicked {
            message: message_of(panic.as_ref()),
        };
        let event = Notice::Event(Event {
            program,
            at: clock::wall(),
            kind,
        });
        // If the event handler itself panics, no closure is left to report it to.
        let _ = catch_unwind(AssertUnwindSafe(|| self.call_unprotected(&event)));
    }

    fn call_unprotected(&mut self, notice: &Notice) {
        match notice {
            Notice::Event(event) => (self.on_event)(event),
            Notice::Report(report) => (self.on_report)(report.process(), report),
            Notice::Stray(pid, status) => (self.on_stray)(*pid, *status),
            Notice::Signal(signal, sender) => (self.on_signal)(*signal, *sender),
            Notice::Lines(lines) => (self.on_output)(lines.shown()),
        }
    }
}

/// Prints a report on stdout, on one line: the default. A closed stdout is not worth a panic.
fn print_report(_: &str, report: &ErrorReport) {
    use std::io::Write;
    #[cfg(feature = "json")]
    let line = report.to_json();
    #[cfg(not(feature = "json"))]
    let line = format!("{report:?}");
    let _ = writeln!(std::io::stdout(), "{line}");
}

/// Prints lines on our own stdout or stderr, each with the name of its program: the default.
fn print_lines(lines: OutputLines<'_>) {
    use std::io::Write;
    let mut text = Vec::new();
    for line in lines {
        if let Some(at) = lines.at {
            text.extend_from_slice(&utc_millis(at));
            text.push(b' ');
        }
        let mark = if line.is_continued { '+' } else { '|' };
        text.extend_from_slice(format!("{} {mark} ", lines.program).as_bytes());
        text.extend_from_slice(line.text);
        text.push(b'\n');
    }
    let _ = match lines.stream {
        StdStream::Stdout => std::io::stdout().write_all(&text),
        StdStream::Stderr => std::io::stderr().write_all(&text),
    };
}

fn message_of(panic: &(dyn Any + Send)) -> String {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message").to_owned()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parts(bytes: &[u8], is_continued: bool) -> Vec<(Vec<u8>, bool)> {
        let lines = Lines {
            program: Arc::from("web"),
            stream: StdStream::Stdout,
            bytes: bytes.to_vec(),
            is_continued,
            at: None,
        };
        let parts = lines.shown().into_iter();
        let parts = parts.map(|line| (line.text().to_vec(), line.is_continued()));
        parts.collect()
    }

    #[test]
    fn an_empty_line_is_one_and_the_empty_rest_of_a_line_is_none() {
        assert_eq!(parts(b"\n", false), [(vec![], false)]);
        assert_eq!(parts(b"\n", true), []);
        assert_eq!(parts(b"a\n\n", true), [(vec![b'a'], true), (vec![], false)]);
    }

    #[test]
    fn a_long_line_is_cut_between_characters() {
        let text = format!("{}é{}", "a".repeat(LINE_BYTES_MAX - 1), "b".repeat(3));
        let found = parts(text.as_bytes(), false);
        let lengths: Vec<usize> = found.iter().map(|(text, _)| text.len()).collect();
        assert_eq!(lengths, [LINE_BYTES_MAX - 1, 5]);
        assert!(found[1].1 && found[1].0.starts_with("é".as_bytes()));
        // No text, so anywhere.
        assert_eq!(
            cut(&[0x80; LINE_BYTES_MAX + 1], LINE_BYTES_MAX),
            LINE_BYTES_MAX
        );
    }
}
