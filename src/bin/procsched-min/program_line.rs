//! Lines of programs on our own stdout and stderr, each with the name of its program in front. A
//! terminal obeys nothing of them but colours.

use std::fmt::{self, Write};

use procsched::text::escaped;
use procsched::{OutputLine, utc_millis};

use crate::line::Line;

/// Writes a line for people.
pub fn write_text(
    out: &mut Line<'_>,
    line: &OutputLine<'_>,
    name_width: usize,
    is_terminal: bool,
) -> fmt::Result {
    if let Some(at) = line.at() {
        out.write_str(&utc_millis(at))?;
        out.write_char(' ')?;
    }
    let mark = if line.is_continued() { '+' } else { '|' };
    write!(out, "{:name_width$} {mark} ", line.program())?;
    match is_terminal {
        true => write_shown(out, &String::from_utf8_lossy(line.text())),
        false => out.write_bytes(line.text()),
    }
}

/// Writes what a terminal can show: tabs and colours as they are, all other control characters
/// escaped, and the colours of before at its end.
fn write_shown(out: &mut Line<'_>, mut text: &str) -> fmt::Result {
    while let Some(at) = text.find(['\t', '\x1b']) {
        let (plain, rest) = text.split_at(at);
        out.write_str(&escaped(plain))?;
        let length = match color(rest) {
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
    out.write_str("\x1b[0m")
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
    use std::collections::VecDeque;

    use super::*;

    fn shown(text: &str) -> String {
        let mut queue = VecDeque::new();
        Line::queue(&mut queue, false, usize::MAX, |out| write_shown(out, text)).expect("room");
        let bytes: Vec<u8> = queue.into();
        let text = String::from_utf8(bytes).expect("text");
        text.strip_suffix("\x1b[0m\n").expect("a reset").to_owned()
    }

    #[test]
    fn a_terminal_gets_colours_and_no_other_sequences() {
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
}
