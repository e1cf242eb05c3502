//! stdout of a command that prints while it reads.

use std::io::{self, BufWriter, IsTerminal, StdoutLock, Write};
use std::os::fd::AsFd;
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, poll};

use super::failure::Failure;
use crate::clock;

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

/// Waits for that long, or returns the error of a stdout whose reader is gone.
pub fn pause(length: Duration) -> Result<(), Failure> {
    let stdout = io::stdout();
    let mut reader = [PollFd::new(stdout.as_fd(), PollFlags::empty())];
    // A signal may cut it short, which is harmless.
    let found = poll(&mut reader, clock::milliseconds(Some(length)));
    match found {
        Ok(1..) => Err(Failure::stdout(&io::ErrorKind::BrokenPipe.into())),
        Ok(_) | Err(_) => Ok(()),
    }
}

/// True if stdout is a terminal.
pub fn is_terminal() -> bool {
    io::stdout().is_terminal()
}
