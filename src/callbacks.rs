//! The host's closures, and the one place where they are called. A panic in one is caught here and
//! reported as an event; supervision goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::process::ExitStatus;
use std::sync::Arc;
use std::time::SystemTime;

use crate::event::{Event, EventKind, SignalSender};
use crate::os::clock;
use crate::os::utc::utc_millis;
use crate::report::ErrorReport;
use crate::spec::StdStream;

/// The longest line that the host is given at once, in bytes.
pub(crate) const LINE_BYTES_MAX: usize = 8 * 1024;

/// A line that a program has written, or a part of a long one; see
/// [`Builder::on_output`](crate::Builder::on_output).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct OutputLine<'a> {
    program: &'a str,
    stream: StdStream,
    text: &'a [u8],
    is_continued: bool,
    at: Option<SystemTime>,
}

impl<'a> OutputLine<'a> {
    /// Returns the name of the program.
    #[must_use]
    pub fn program(&self) -> &'a str {
        self.program
    }

    /// Returns the stream that it was written to.
    #[must_use]
    pub fn stream(&self) -> StdStream {
        self.stream
    }

    /// Returns the line without its line feed, at most 8 KiB.
    #[must_use]
    pub fn text(&self) -> &'a [u8] {
        self.text
    }

    /// Returns when it was read, if its program wants that to be in front of it
    /// ([`LogOptions::timestamps`](crate::LogOptions::timestamps)).
    #[must_use]
    pub fn at(&self) -> Option<SystemTime> {
        self.at
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
    fn each(&self, mut take: impl FnMut(&OutputLine<'_>)) {
        let mut is_continued = self.is_continued;
        for line in self.bytes.split_inclusive(|&byte| byte == b'\n') {
            let mut text = line.strip_suffix(b"\n").unwrap_or(line);
            // An empty line is one, too, but the empty rest of a line is nothing.
            let mut is_first = !is_continued;
            while is_first || !text.is_empty() {
                let (part, rest) = text.split_at(cut(text, LINE_BYTES_MAX));
                take(&OutputLine {
                    program: &self.program,
                    stream: self.stream,
                    text: part,
                    is_continued,
                    at: self.at,
                });
                (text, is_first, is_continued) = (rest, false, true);
            }
            is_continued = false;
        }
    }
}

type OnOutput = Box<dyn FnMut(&OutputLine<'_>) + Send>;
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
            on_output: Box::new(print_line),
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
            Notice::Lines(lines) => lines.each(|line| (self.on_output)(line)),
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

/// Prints a line on our own stdout or stderr, with the name of its program: the default.
fn print_line(line: &OutputLine<'_>) {
    use std::io::Write;
    let mark = if line.is_continued { '+' } else { '|' };
    let mut text = Vec::new();
    if let Some(at) = line.at {
        text.extend_from_slice(&utc_millis(at));
        text.push(b' ');
    }
    text.extend_from_slice(format!("{} {mark} ", line.program).as_bytes());
    text.extend_from_slice(line.text);
    text.push(b'\n');
    let _ = match line.stream {
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
        let mut parts = Vec::new();
        lines.each(|line| parts.push((line.text().to_vec(), line.is_continued())));
        parts
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
