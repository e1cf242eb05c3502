//! Bytes of a log as lines: for a person with the program's name in front, or escaped for a
//! terminal; for a program as JSON.

use super::failure::Failure;
use super::out::Out;
use crate::control::text_as_json;
use crate::program_line::write_shown;

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
        /// `None` if bytes are written as they are.
        terminal: Option<Terminal>,
    },
    Json {
        program: String,
        stream: &'static str,
    },
}

/// What a terminal gets of control characters: none that it obeys, but for colours.
#[derive(Debug, Clone, Copy)]
pub struct Terminal {
    pub keeps_colors: bool,
}

impl Shape {
    /// True if bytes are written as they are.
    fn is_plain(&self) -> bool {
        matches!(
            self,
            Self::Text {
                name: None,
                terminal: None
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
            Shape::Text { name, terminal } => {
                if let Some(name) = name {
                    let mark = if self.is_continued { '+' } else { '|' };
                    out.write(format!("{name} {mark} "))?;
                }
                match terminal {
                    Some(terminal) => out.write(shown(text, *terminal))?,
                    None => out.write(text)?,
                }
                // Lines of other logs may follow.
                if is_whole || name.is_some() {
                    out.write("\n")?;
                }
            }
            Shape::Json { program, stream } => {
                let is_continued = self.is_continued;
                out.write(text_as_json(None, program, stream, text, is_continued))?;
                out.write("\n")?;
            }
        }
        self.is_continued = !is_whole;
        self.piece.clear();
        Ok(())
    }
}

/// Returns what a terminal is shown.
fn shown(text: &[u8], terminal: Terminal) -> String {
    let mut shown = String::new();
    // Writing to a string cannot fail.
    let _ = write_shown(
        &mut shown,
        &String::from_utf8_lossy(text),
        terminal.keeps_colors,
    );
    shown
}
