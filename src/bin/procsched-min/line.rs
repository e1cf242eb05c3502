//! A line that is written piece by piece into a queue of bytes with a bound, and that takes no
//! memory of the reserve for it: all of it gets there, or nothing.

use std::collections::VecDeque;
use std::fmt::{self, Write};

use procsched::Reserve;

/// The most that waits in front of one descriptor, in bytes.
pub const QUEUE_BYTES_MAX: usize = 1 << 20;

/// A line on its way into a queue.
pub struct Line<'a> {
    queue: &'a mut VecDeque<u8>,
    /// What there was too little of, if something was refused.
    lack: Lack,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Lack {
    /// In the queue, which has its bound.
    Room,
    Memory,
}

impl Line<'_> {
    /// Queues what is written as a line, after a line feed if the one before is torn; all of it
    /// or nothing.
    pub fn queue(
        queue: &mut VecDeque<u8>,
        is_torn: bool,
        write: impl FnOnce(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Lack> {
        let before = queue.len();
        let mut line = Line {
            queue,
            lack: Lack::Room,
        };
        let begun = line.write_str(if is_torn { "\n" } else { "" });
        let written = begun.and_then(|()| write(&mut line));
        if written.and_then(|()| line.write_char('\n')).is_ok() {
            return Ok(());
        }
        let lack = line.lack;
        queue.truncate(before);
        Err(lack)
    }
}

impl Write for Line<'_> {
    fn write_str(&mut self, text: &str) -> fmt::Result {
        if self.queue.len() + text.len() > QUEUE_BYTES_MAX {
            return Err(fmt::Error);
        }
        // Twice as much as there is, or at least what is needed.
        let more = text.len();
        let reserved = Reserve::spare(|| {
            let doubled = self.queue.try_reserve(more);
            doubled.or_else(|_| self.queue.try_reserve_exact(more))
        });
        if reserved.is_err() {
            self.lack = Lack::Memory;
            return Err(fmt::Error);
        }
        self.queue.extend(text.as_bytes());
        Ok(())
    }
}
