//! Lines of programs on our own stdout and stderr, each with the name of its program in front. A
//! terminal obeys nothing of them but colours.

use std::fmt::{self, Write};

use procsched::text::escaped;
use procsched::{OutputLine, OutputLines, utc_millis};

use crate::line::Line;

/// What is in front of lines that were read together.
pub struct Prefix(Vec<u8>);

impl Prefix {
    pub fn new(lines: &OutputLines<'_>, name_width: usize) -> Self {
        let at = lines.at().map(|at| utc_millis(at) + " ");
        let (at, name) = (at.unwrap_or_default(), lines.program());
        Self(format!("{at}{name:name_width$} | ").into_bytes())
    }

    /// Returns what is in front of this one.
    pub fn of(&mut self, line: &OutputLine<'_>) -> &[u8] {
        let mark = self.0.len() - 2;
        self.0[mark] = if line.is_continued() { b'+' } else { b'|' };
        &self.0
    }
}

/// Writes a line for people.
pub fn write_text(
    out: &mut Line<'_>,
    prefix: &mut Prefix,
    line: &OutputLine<'_>,
    is_terminal: bool,
) -> fmt::Result {
    out.write_bytes(prefix.of(line))?;
    match is_terminal {
        true => write_shown(out, &String::from_utf8_lossy(line.text()), true),
        false => out.write_bytes(line.text()),
    }
}

/// Writes what a terminal can show: tabs as they are, and all other control characters escaped. If
/// colours are kept, the colours of before are set at its end.
pub fn write_shown(out: &mut impl Write, mut text: &str, keeps_colors: bool) -> fmt::Result {
    while let Some(at) = text.find(['\t', '\x1b']) {
        let (plain, rest) = text.split_at(at);
        out.write_str(&escaped(plain))?;
        let length = match color(rest).filter(|_| keeps_colors) {
            Some(length) => length,
            None if rest.starts_with('\t') => 1,
            None => {
                out.write_str(&escaped("\x1b"))?;
                text = &rest[1..];
                continue;
            }
        };
        out.write_str(&rest[..length])?;
        text = &rest[length..];
    }
    out.write_str(&escaped(text))?;
    out.write_str(if keeps_colors { "\x1b[0m" } else { "" })
}

/// Returns the length of the sequence that sets colours at the start of this text (SGR of
/// console_codes(4)), if there is one.
fn color(text: &str) -> Option<usize> {
    let rest = text.strip_prefix("\x1b[")?;
    let end = rest.find(|c: char| !(c.is_ascii_digit() || c == ';'))?;
    rest[end..].starts_with('m').then_some(2 + end + 1)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn written(text: &str, keeps_colors: bool) -> String {
        let mut out = String::new();
        write_shown(&mut out, text, keeps_colors).expect("room");
        out
    }

    #[test]
    fn a_terminal_gets_colours_and_no_other_sequences() {
        let shown = |text: &str| {
            let out = written(text, true);
            out.strip_suffix("\x1b[0m").expect("a reset").to_owned()
        };
        assert_eq!(shown("a\tb"), "a\tb");
        assert_eq!(shown("\x1b[1;31mred\x1b[m"), "\x1b[1;31mred\x1b[m");
        assert_eq!(
            shown("\x1b[2J\x1b]0;x\x07\r"),
            "\\u{1b}[2J\\u{1b}]0;x\\u{7}\\r"
        );
        assert_eq!(shown("\x1b[31"), "\\u{1b}[31");
        assert_eq!(shown("\x1b"), "\\u{1b}");
        assert_eq!(shown("\x1b\x1b[0m"), "\\u{1b}\x1b[0m");
    }

    #[test]
    fn without_colours_it_gets_no_sequences() {
        let shown = |text: &str| written(text, false);
        assert_eq!(shown("a\tb\x1b[2J\r"), "a\tb\\u{1b}[2J\\r");
        assert_eq!(shown("\x1b[31mgrüße\u{202e}"), "\\u{1b}[31mgrüße\\u{202e}");
    }
}
