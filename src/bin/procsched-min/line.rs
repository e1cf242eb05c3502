//! A line that is written piece by piece into a bounded queue of bytes, without memory of the
//! reserve. It is queued whole or not at all.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use procsched::EmergencyHeap;

/// The most bytes of our own lines that wait for one descriptor, and the most of programs' lines.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;

/// A line on its way into a queue.
pub struct Line<'a> {
    queue: &'a mut VecDeque<u8>,
    /// How long the queue may become.
    limit: usize,
    /// The reason, should it be refused.
    refusal: Refusal,
}

/// Why a line is not queued.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Refusal {
    QueueFull,
    OutOfMemory,
}

impl Line<'_> {
    /// Queues what is written as a line, after a line feed if the last line is incomplete. Queues
    /// all of it or nothing.
    pub fn queue(
        queue: &mut VecDeque<u8>,
        is_incomplete: bool,
        limit: usize,
        write: impl FnOnce(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Refusal> {
        let before = queue.len();
        let mut line = Line {
            queue,
            limit,
            refusal: Refusal::QueueFull,
        };
        let begun = line.write_str(if is_incomplete { "\n" } else { "" });
        let written = begun.and_then(|()| write(&mut line));
        if written.and_then(|()| line.write_char('\n')).is_ok() {
            return Ok(());
        }
        let refusal = line.refusal;
        queue.truncate(before);
        Err(refusal)
    }
}

impl Line<'_> {
    /// Writes bytes that may be no text.
    pub fn write_bytes(&mut self, text: &[u8]) -> fmt::Result {
        if self.queue.len() + text.len() > self.limit {
            return Err(fmt::Error);
        }
        if text.len() > self.queue.capacity() - self.queue.len() {
            self.grow(text.len())?;
        }
        self.queue.extend(text);
        Ok(())
    }

    /// Doubles the queue, or makes it larger by the line alone if memory is short.
    fn grow(&mut self, more: usize) -> fmt::Result {
        let reserved = EmergencyHeap::optional(|| {
            let doubled = self.queue.try_reserve(more);
            doubled.or_else(|_| self.queue.try_reserve_exact(more))
        });
        reserved.map_err(|_| {
            self.refusal = Refusal::OutOfMemory;
            fmt::Error
        })
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        self.write_bytes(text.as_bytes())
    }
}
