//! Bytes of a log as lines: for a person with the program's name in front, or escaped for a
//! terminal; for a program as JSON.

use std::borrow::Cow;

use base64::Engine;
use base64::engine::general_purpose::STANDARD;
use procsched::text::escaped;
use serde_json::json;

use super::failure::Failure;
use super::out::Out;

/// The longest piece of a line that is kept until its end is there, in bytes.
const PIECE_BYTES_MAX: usize = 8 * 1024;

/// What is written of one log.
#[derive(Debug)]
pub struct Lines {
    shape: Shape,
    /// The start of a line whose end is not there yet.
    piece: Vec<u8>,
    /// True if an earlier piece of this line is written.
    is_continued: bool,
}

/// How a line is written.
#[derive(Debug)]
pub enum Shape {
    Text {
        /// The name, padded; `None` for a log that is printed alone.
        name: Option<String>,
        is_escaped: bool,
    },
    Json {
        program: String,
        stream: &'static str,
    },
}

impl Shape {
    /// True if bytes are written as they are.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Text {
                name: None,
                is_escaped: false
            }
        )
    }
}

impl Lines {
    pub fn new(shape: Shape) -> Self {
        Self {
            shape,
            piece: Vec::new(),
            is_continued: false,
        }
    }

    /// Writes what is complete of these bytes, or has to be written before it is.
    pub fn push(&mut self, bytes: &[u8], out: &mut Out) -> Result<(), Failure> {
        if self.shape.is_plain() {
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
        match &self.shape {
            Shape::Text { name, is_escaped } => {
                if let Some(name) = name {
                    let mark = if self.is_continued { '+' } else { '|' };
                    out.write(format!("{name} {mark} "))?;
                }
                match is_escaped {
                    true => out.write(&*shown(text))?,
                    false => out.write(text)?,
                }
                // Lines of other logs may follow.
                if is_whole || name.is_some() {
                    out.write("\n")?;
                }
            }
            Shape::Json { program, stream } => out.line(&as_json(program, stream, text))?,
        }
        self.is_continued = !is_whole;
        self.piece.clear();
        Ok(())
    }
}

/// Returns a line of JSON; in Base64 what is no UTF-8.
fn as_json(program: &str, stream: &str, text: &[u8]) -> String {
    let mut line = json!({"program": program, "stream": stream});
    match std::str::from_utf8(text) {
        Ok(text) => line["line"] = text.into(),
        Err(_) => line["line_b64"] = STANDARD.encode(text).into(),
    }
    line.to_string()
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
    fn what_is_no_text_is_base64_in_json() {
        let line = r#"{"line":"a\tb","program":"web","stream":"stderr"}"#;
        assert_eq!(as_json("web", "stderr", b"a\tb"), line);
        let line = r#"{"line_b64":"/w==","program":"web","stream":"stdout"}"#;
        assert_eq!(as_json("web", "stdout", b"\xff"), line);
    }

    #[test]
    fn a_terminal_is_shown_no_control_characters() {
        assert_eq!(shown(b"a\tb\x1b[2J\r"), "a\tb\\u{1b}[2J\\r");
        assert_eq!(shown("grüße\u{202e}".as_bytes()), "grüße\\u{202e}");
        assert_eq!(shown(b"\xff"), "\u{fffd}");
    }
}
