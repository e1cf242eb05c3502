//! Bytes of a log as lines for a person: with the program's name in front, or escaped for a
//! terminal.

use std::borrow::Cow;

use procsched::text::escaped;

use super::failure::Failure;
use super::out::Out;

/// The longest piece of a line that is kept until its end is there, in bytes.
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// What is written of one log.
#[derive(Debug)]
pub struct Lines {
    /// The name, padded; `None` for a log that is printed alone.
    name: Option<String>,
    is_escaped: bool,
    /// The start of a line whose end is not there yet.
    piece: Vec<u8>,
    /// True if an earlier piece of this line is written.
    is_continued: bool,
}

impl Lines {
    pub fn new(name: Option<String>, is_escaped: bool) -> Self {
        Self {
            name,
            is_escaped,
            piece: Vec::new(),
            is_continued: false,
        }
    }

    /// Writes what is complete of these bytes, or has to be written before it is.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Failure> {
        if self.name.is_none() && !self.is_escaped {
            return out.write(bytes);
        }
        for part in bytes.split_inclusive(|byte| *byte == b'\n') {
            for piece in part.chunks(PIECE_BYTES_MAX) {
                if self.piece.len() + piece.len() > PIECE_BYTES_MAX {
                    self.flush(out)?;
                }
                self.piece.extend_from_slice(piece);
            }
            if self.piece.ends_with(b"\n") {
                self.flush(out)?;
            }
        }
        Ok(())
    }

    /// Writes what is there of a line.
    pub fn flush(&mut self, out: &mut Out) -> Result<(), Failure> {
        if self.piece.is_empty() {
            return Ok(());
        }
        let (text, is_whole) = match self.piece.strip_suffix(b"\n") {
            Some(text) => (text, true),
            None => (&*self.piece, false),
        };
        if let Some(name) = &self.name {
            let mark = if self.is_continued { '+' } else { '|' };
            out.write(format!("{name} {mark} "))?;
        }
        match self.is_escaped {
            true => out.write(&*shown(text))?,
            false => out.write(text)?,
        }
        // Lines of other logs may follow.
        if is_whole || self.name.is_some() {
            out.write("\n")?;
        }
        self.is_continued = !is_whole;
        self.piece.clear();
        Ok(())
    }
}

/// Returns what a terminal can show. A tab moves the cursor and nothing else.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(text);
    let parts: Vec<Cow<'_, str>> = text.split('\t').map(escaped).collect();
    parts.join("\t")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        assert_eq!(shown(b"a\tb\x1b[2J\r"), "a\tb\\u{1b}[2J\\r");
        assert_eq!(shown("grüße\u{202e}".as_bytes()), "grüße\\u{202e}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
