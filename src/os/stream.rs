//! Our end of a pipe that a program writes to.
//!
//! Bytes go from the pipe into the log at once, and stay in no buffer of ours after the turn. The
//! scheduler decides how often a pipe is read.

use std::cell::Cell;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, fcntl};

use super::emergency_heap::EmergencyHeap;
use super::logs::Log;
use super::retry;
use super::tail::Tail;

/// The most that is read of one pipe in a turn: all of a pipe of the default size.
pub(crate) const READ_BYTES_MAX: usize = 64 * 1024;

/// How many reads in a row may fail before a pipe counts as ended: the cause may be temporary.
const FAILED_READS_MAX: u16 = 10;

/// Our end of a pipe of one run.
#[derive(Debug)]
pub(crate) struct Stream {
    pipe: OwnedFd,
    /// How many reads in a row have failed.
    failed: Cell<u16>,
    /// True if what it says goes to the host, and not into a log.
    is_relayed: bool,
}

/// The result of one read.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Read {
    Bytes(usize),
    Nothing,
    End,
}

/// The destination of bytes: through the buffer into the log, or among those for the host, and into
/// the tail of their run, if they belong to one.
pub(crate) struct Sink<'a> {
    pub(crate) buffer: &'a mut [u8],
    pub(crate) log: &'a mut Log,
    /// Bytes for the host, behind those that are there; those that memory was refused for are counted
    /// as lost.
    pub(crate) relayed: &'a mut Vec<u8>,
    pub(crate) tail: Option<&'a mut Tail>,
}

impl Sink<'_> {
    fn relay(&mut self, count: usize) {
        let reserved = EmergencyHeap::optional(|| self.relayed.try_reserve(count));
        match reserved {
            Ok(()) => self.relayed.extend_from_slice(&self.buffer[..count]),
            Err(_) => self.log.record_unreadable(count, Errno::ENOMEM),
        }
    }
}

impl Stream {
    /// Returns our end of a pipe whose bytes go into a log, or to the host.
    pub(crate) fn new(pipe: OwnedFd, is_relayed: bool) -> Self {
        Self {
            pipe,
            failed: Cell::new(0),
            is_relayed,
        }
    }

    /// True if what it says goes to the host.
    pub(crate) fn is_relayed(&self) -> bool {
        self.is_relayed
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.pipe.as_fd()
    }

    /// Moves up to one buffer from the pipe to the log.
    pub(crate) fn read(&self, sink: &mut Sink<'_>) -> Read {
        let size = sink.buffer.len();
        self.read_up_to(size, sink)
    }

    /// Moves what is in the pipe now, and little of what a leftover process adds meanwhile.
    pub(crate) fn read_pending(&self, sink: &mut Sink<'_>) -> Read {
        // Usually there is nothing but the end of the file.
        match self.read_at_last(sink.buffer.len(), sink) {
            Read::Bytes(_) => {}
            end => return end,
        }
        let mut left = pending(self.as_fd());
        while left > 0 {
            match self.read_at_last(left.min(sink.buffer.len()), sink) {
                Read::Bytes(count) => left = left.saturating_sub(count),
                end => return end,
            }
        }
        // Finds the end of the file, which saves a wake-up.
        self.read(sink)
    }

    /// Retries a failed read while there is something in the pipe: there is no later turn.
    fn read_at_last(&self, size: usize, sink: &mut Sink<'_>) -> Read {
        for _ in 0..FAILED_READS_MAX {
            match self.read_up_to(size, sink) {
                Read::Nothing if pending(self.as_fd()) > 0 => {}
                read => return read,
            }
        }
        self.read_up_to(size, sink)
    }

    fn read_up_to(&self, size: usize, sink: &mut Sink<'_>) -> Read {
        match retry(|| nix::unistd::read(&self.pipe, &mut sink.buffer[..size])) {
            Ok(0) => Read::End,
            Ok(count) => {
                self.failed.set(0);
                let bytes = &sink.buffer[..count];
                match self.is_relayed {
                    false => sink.log.write(bytes),
                    true => sink.relay(count),
                }
                let bytes = &sink.buffer[..count];
                if let Some(tail) = &mut sink.tail {
                    tail.push(bytes);
                }
                Read::Bytes(count)
            }
            Err(Errno::EAGAIN) => Read::Nothing,
            Err(_) if self.failed.get() < FAILED_READS_MAX => {
                self.failed.set(self.failed.get() + 1);
                Read::Nothing
            }
            Err(errno) => {
                // At least one byte, as the pipe was ready.
                let lost = pending(self.as_fd()).max(1);
                sink.log.record_unreadable(lost, errno);
                if let Some(tail) = &mut sink.tail {
                    tail.miss(lost);
                }
                Read::End
            }
        }
    }

    /// Returns the capacity of the pipe: less than the default if this user has many pipes.
    pub(crate) fn capacity(&self) -> usize {
        let size = fcntl(&self.pipe, FcntlArg::F_GETPIPE_SZ);
        size.map_or(0, |size| usize::try_from(size).unwrap_or(0))
    }

    /// Changes the capacity, if the system allows that and fewer bytes are in the pipe.
    pub(crate) fn resize(&self, bytes: usize) {
        let size = libc::c_int::try_from(bytes).unwrap_or(libc::c_int::MAX);
        let _ = fcntl(&self.pipe, FcntlArg::F_SETPIPE_SZ(size));
    }
}

/// Returns how many bytes are in a pipe.
pub(super) fn pending(pipe: BorrowedFd<'_>) -> usize {
    let mut count: libc::c_int = 0;
    // SAFETY: FIONREAD writes one int to a live variable.
    let status = unsafe { libc::ioctl(pipe.as_raw_fd(), libc::FIONREAD, &raw mut count) };
    if status == -1 {
        0
    } else {
        usize::try_from(count).unwrap_or(0)
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Arc;

    use super::*;
    use crate::os::descriptors;
    use crate::os::logs::Flaws;
    use crate::spec::StdStream;

    /// Bytes that could not be read were logged as lost, and the report seemed complete.
    #[test]
    fn what_cannot_be_read_is_left_out_of_the_report_and_counted_there() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let mut log = Log::new(
            Arc::new(directory.path().to_owned()),
            "web".into(),
            StdStream::Stderr,
        );
        log.open(&mut Flaws::default()).expect("a log");
        let (read, write) = descriptors::wake_pipe().expect("a pipe");
        nix::unistd::write(&write, b"lost").expect("room in a pipe");
        // The wrong end refuses to be read, and knows how much there is.
        let stream = Stream::new(write, false);
        let mut tail = Tail::new(100);
        tail.push(b"kept");
        let mut sink = Sink {
            buffer: &mut [0; 64],
            log: &mut log,
            relayed: &mut Vec::new(),
            tail: Some(&mut tail),
        };
        assert_eq!(stream.read_pending(&mut sink), Read::End);
        assert_eq!(log.take_unreported(true), Some(4));
        let (bytes, omitted) = tail.into_words();
        assert_eq!((&*bytes, omitted), (&b"kept"[..], 4));
        drop(read);
    }
}
