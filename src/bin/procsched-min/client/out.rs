//! stdout of a command that prints while it reads.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};

use super::failure::Failure;

/// stdout, buffered.
#[derive(Debug)]
pub struct Out(BufWriter<StdoutLock<'static>>);

impl Out {
    /// Takes stdout.
    pub fn new() -> Self {
        Self(BufWriter::new(io::stdout().lock()))
    }

    /// Writes what is to be written as it is.
    pub fn write(&mut self, bytes: impl AsRef<[u8]>) -> Result<(), Failure> {
        let written = self.0.write_all(bytes.as_ref());
        written.map_err(|error| Failure::stdout(&error))
    }

    /// Writes a line.
    pub fn line(&mut self, text: &str) -> Result<(), Failure> {
        self.write(text)?;
        self.write("\n")
    }

    /// Passes on what is buffered.
    pub fn flush(&mut self) -> Result<(), Failure> {
        let flushed = self.0.flush();
        flushed.map_err(|error| Failure::stdout(&error))
    }
}

/// True if stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
