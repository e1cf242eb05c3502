//! The pipe into which one run writes a newline when it is ready.
//!
//! What else it writes there is read and dropped, so that it never has to wait for us.

use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;

use super::{descriptors, retry};

/// The most that one look reads.
const READ_BYTES_MAX: usize = 4096;

/// Our end of the pipe.
#[derive(Debug)]
pub(crate) struct ReadyPipe(OwnedFd);

/// What one look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Found {
    /// A newline: it is ready.
    Newline,
    /// Bytes without a newline.
    Others,
    Nothing,
    /// No process can write to it any more, or it cannot be read.
    End,
}

impl ReadyPipe {
    /// Makes the pipe, and returns the end of the program too.
    pub(crate) fn new() -> Result<(Self, OwnedFd), Errno> {
        let (read, write) = descriptors::child_pipe()?;
        Ok((Self(read), write))
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }

    /// Reads once, without waiting.
    pub(crate) fn look(&self) -> Found {
        let mut buffer = [0; READ_BYTES_MAX];
        match retry(|| nix::unistd::read(&self.0, &mut buffer)) {
            Ok(0) => Found::End,
            Ok(count) if buffer[..count].contains(&b'\n') => Found::Newline,
            Ok(_) => Found::Others,
            Err(Errno::EAGAIN | Errno::EINTR) => Found::Nothing,
            Err(_) => Found::End,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::os::descriptors::wait_for_close;

    #[test]
    fn a_newline_anywhere_is_found_and_the_end_is() {
        let (pipe, write) = ReadyPipe::new().expect("a pipe");
        let put = |bytes: &[u8]| nix::unistd::write(&write, bytes).expect("room in a pipe");
        assert_eq!(pipe.look(), Found::Nothing);
        put(b"almost");
        assert_eq!(pipe.look(), Found::Others);
        assert_eq!(pipe.look(), Found::Nothing);
        put(&[b'.'; READ_BYTES_MAX]);
        put(b"\nx");
        assert_eq!(pipe.look(), Found::Others);
        assert_eq!(pipe.look(), Found::Newline);
        drop(write);
        wait_for_close(|| pipe.look() == Found::End);
    }
}
