//! What a person reads: one line for each [`Event`], and a few lines of the binary's own.
//!
//! ```text
//! 2024-01-01T12:00:00.000Z web    exited  pid=4711 code=3 ran=1.2s restart_in=2s
//! ```
//!
//! Name and happening stand in columns, the rest is `key=value`, and a message in words comes
//! last. Whatever somebody else wrote is escaped, so that nothing but letters and our own
//! colours ever reaches a terminal.

use std::fmt::Write;
use std::io::IsTerminal;
use std::time::{Duration, SystemTime};

use procsched::{Event, EventKind, signal_name, utc_millis};

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
        Some(self.line(
            event.at(),
            event.program(),
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
            String::new()
        } else {
            " ".repeat(1 + HAPPENING_WIDTH.saturating_sub(happening.chars().count()))
        };
        let end = if paint.is_empty() { "" } else { plain };
        let width = self.name_width;
        format!("{dim}{at}{plain} {name:<width$} {paint}{happening}{end}{gap}{details}")
    }
}

fn wants_color() -> bool {
    let set = |name| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let dumb = std::env::var_os("TERM").is_some_and(|terminal| terminal == "dumb");
    std::io::stderr().is_terminal() && !set("NO_COLOR") && !dumb
}

/// What to say of an event; `None` if another line says it.
fn words(kind: &EventKind) -> Option<Words> {
    let say = |tone, happening, details| {
        Some(Words {
            tone,
            happening,
            details,
        })
    };
    match kind {
        EventKind::Started { pid, .. } => say(Tone::Good, "started", format!("pid={pid}")),
        EventKind::StartFailed {
            error, retry_in, ..
        } => say(
            Tone::Bad,
            "failed",
            format!("{} error: {error}", comes_back(*retry_in)),
        ),
        EventKind::Exited {
            pid,
            return_code,
            core_dumped,
            uptime,
            stopping,
            retry_in,
            ..
        } => {
            let end = Exit {
                return_code: *return_code,
                core_dumped: *core_dumped,
                asked: *stopping,
            };
            Some(end.words(*pid, *uptime, *retry_in))
        }
        EventKind::Waiting { .. } => None,
        EventKind::Stopping {
            pid,
            signal,
            timeout,
            ..
        } => {
            let (signal, timeout) = (signal_name(*signal), duration(*timeout));
            let details = format!("pid={pid} signal={signal} timeout={timeout}");
            say(Tone::Plain, "stopping", details)
        }
        EventKind::Killed { pid, .. } => {
            say(Tone::Notice, "killed", format!("pid={pid} signal=SIGKILL"))
        }
        EventKind::Abandoned { pid, .. } => say(
            Tone::Bad,
            "abandoned",
            format!("pid={pid} it does not even die by SIGKILL"),
        ),
        EventKind::BytesDropped { bytes, .. } => {
            let details = format!("bytes={bytes} of its stderr are not in its log");
            say(Tone::Notice, "dropped", details)
        }
        EventKind::HandlerPanicked { message, .. } => say(
            Tone::Bad,
            "warning",
            format!("a handler panicked: {message}"),
        ),
        EventKind::Warning { error, .. } => say(Tone::Notice, "warning", error.to_string()),
        // A kind that is newer than this list: said in the library's words, never hidden.
        newer => say(Tone::Notice, "event", format!("{newer:?}")),
    }
}

/// How a run ended.
struct Exit {
    return_code: i32,
    core_dumped: bool,
    asked: bool,
}

impl Exit {
    fn words(&self, pid: i32, uptime: Duration, retry_in: Option<Duration>) -> Words {
        let (key, value) = how(self.return_code);
        let mut details = format!("pid={pid} {key}={value} ran={}", duration(uptime));
        if self.core_dumped {
            details.push_str(" core_dumped=yes");
        }
        if !self.asked {
            details.push(' ');
            details.push_str(&comes_back(retry_in));
        }
        let fine = self.asked || self.return_code == 0;
        Words {
            tone: if fine { Tone::Plain } else { Tone::Bad },
            happening: "exited",
            details,
        }
    }
}

/// A return code as a person reads it: `code` and `3`, or `signal` and `SIGSEGV`.
pub fn how(return_code: i32) -> (&'static str, String) {
    match return_code.checked_neg() {
        Some(signal @ 1..) => ("signal", signal_name(signal)),
        _ => ("code", return_code.to_string()),
    }
}

fn comes_back(retry_in: Option<Duration>) -> String {
    retry_in.map_or_else(
        || "restart=never".to_owned(),
        |delay| format!("restart_in={}", duration(delay)),
    )
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
pub fn escaped(text: &str) -> String {
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
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Style = Style {
        name_width: 8,
        color: false,
    };
    const COLORED: Style = Style {
        name_width: 8,
        color: true,
    };

    fn noon() -> SystemTime {
        SystemTime::UNIX_EPOCH + Duration::from_secs(1_704_110_400)
    }

    fn exit(return_code: i32, asked: bool, retry_in: Option<u64>) -> Words {
        Exit {
            return_code,
            core_dumped: return_code == -11,
            asked,
        }
        .words(
            4711,
            Duration::from_millis(1_250),
            retry_in.map(Duration::from_secs),
        )
    }

    #[test]
    fn the_line_of_the_contract() {
        assert_eq!(
            PLAIN.line(noon(), "service1", Tone::Good, "started", "pid=4711"),
            "2024-01-01T12:00:00.000Z service1 started pid=4711"
        );
    }

    #[test]
    fn names_and_happenings_stand_in_columns() {
        assert_eq!(
            PLAIN.line(noon(), "web", Tone::Plain, "exited", "pid=1 code=0"),
            "2024-01-01T12:00:00.000Z web      exited  pid=1 code=0"
        );
        assert_eq!(
            PLAIN.line(noon(), "web", Tone::Plain, "stopping", "pid=1"),
            "2024-01-01T12:00:00.000Z web      stopping pid=1"
        );
        assert_eq!(
            PLAIN.line(noon(), SELF, Tone::Plain, "stopped", ""),
            "2024-01-01T12:00:00.000Z procsched-min stopped"
        );
    }

    #[test]
    fn colour_is_put_around_words_and_is_ended() {
        assert_eq!(
            COLORED.line(noon(), "web", Tone::Bad, "exited", "code=1"),
            "\x1b[2m2024-01-01T12:00:00.000Z\x1b[0m web      \x1b[31mexited\x1b[0m  code=1"
        );
        assert_eq!(
            COLORED.line(noon(), "web", Tone::Plain, "exited", "code=0"),
            "\x1b[2m2024-01-01T12:00:00.000Z\x1b[0m web      exited  code=0"
        );
    }

    #[test]
    fn exits_say_how_and_when_it_comes_back() {
        let table = [
            (
                exit(0, false, Some(1)),
                Tone::Plain,
                "pid=4711 code=0 ran=1.2s restart_in=1s",
            ),
            (
                exit(3, false, Some(60)),
                Tone::Bad,
                "pid=4711 code=3 ran=1.2s restart_in=1m",
            ),
            (
                exit(3, false, None),
                Tone::Bad,
                "pid=4711 code=3 ran=1.2s restart=never",
            ),
            (
                exit(-11, false, Some(2)),
                Tone::Bad,
                "pid=4711 signal=SIGSEGV ran=1.2s core_dumped=yes restart_in=2s",
            ),
            (
                exit(-15, true, None),
                Tone::Plain,
                "pid=4711 signal=SIGTERM ran=1.2s",
            ),
            (
                exit(-37, true, None),
                Tone::Plain,
                "pid=4711 signal=SIGRTMIN+3 ran=1.2s",
            ),
        ];
        for (words, tone, details) in table {
            assert_eq!(
                words,
                Words {
                    tone,
                    happening: "exited",
                    details: details.to_owned()
                }
            );
        }
    }

    #[test]
    fn impossible_codes_do_not_overflow() {
        assert_eq!(how(i32::MIN), ("code", "-2147483648".to_owned()));
        assert_eq!(how(-1_000), ("signal", "signal 1000".to_owned()));
    }

    #[test]
    fn durations_are_short() {
        let table = [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_micros(250), "250us"),
            (Duration::from_millis(999), "999ms"),
            (Duration::from_secs(1), "1s"),
            (Duration::from_millis(12_340), "12.3s"),
            (Duration::from_millis(59_999), "59.9s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(125), "2m05s"),
            (Duration::from_secs(3_599), "59m59s"),
            (Duration::from_secs(11_520), "3h12m"),
            (Duration::from_secs(446_400), "5d04h"),
            (Duration::MAX, "213503982334601d07h"),
        ];
        for (length, text) in table {
            assert_eq!(duration(length), text);
        }
    }

    #[test]
    fn nothing_that_a_terminal_obeys_gets_through() {
        let table = [
            ("plain \"quoted\" \\ text", "plain \"quoted\" \\ text"),
            ("größe 日本", "größe 日本"),
            ("a\nb\tc\rd", "a\\nb\\tc\\rd"),
            ("\x1b[31mred\x07", "\\u{1b}[31mred\\u{7}"),
            ("\u{9b}31m\u{7f}\0", "\\u{9b}31m\\u{7f}\\0"),
            (
                "\u{202e}evil\u{2028}\u{200b}",
                "\\u{202e}evil\\u{2028}\\u{200b}",
            ),
        ];
        for (text, safe) in table {
            assert_eq!(escaped(text), safe);
        }
        let line = PLAIN.line(noon(), "x\n", Tone::Bad, "y\x1b", "z\r\n2024 fake");
        assert!(!line.contains(char::is_control), "{line:?}");
    }
}
