//! A queue before a descriptor: lines of our own and of programs, in the order in which they came.
//!
//! Each kind has a length of its own, so that programs that write much leave room for reports. While
//! much is queued of programs, they are held; a reader that takes nothing for long is waited for no
//! more, and their lines are dropped and counted.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io::IsTerminal;
use std::os::fd::AsFd;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procsched::text::error_text;
use procsched::{EmergencyHeap, ErrorReport, OutputLines, SharedWriter};

use crate::clock;
use crate::control::json_line;
use crate::line::{Line, QUEUE_BYTES_MAX, Refusal};
use crate::program_line::{Prefix, write_text};

/// The most that is written at once to what may have room for less, except for a longer line:
/// `PIPE_BUF` on Linux, so that our lines and those of other writers to the same pipe stay whole.
pub(super) const PIECE_BYTES_MAX: usize = 4096;

/// The most that a turn queues before it is written.
pub(super) const TURN_BYTES_MAX: usize = 16 * 1024;

/// The same of programs' lines: few writes, and few wake-ups of the reader.
const TURN_PROGRAM_BYTES_MAX: usize = 32 * 1024;

/// How much memory of a queue is kept for the lines to come where programs inherit.
const KEPT_BYTES_MAX: usize = 2 * TURN_PROGRAM_BYTES_MAX;

/// The most that a turn reports about both outputs.
const TROUBLE_BYTES_MAX: usize = 2048;

/// While more than this is queued of programs' lines, programs are held; until it is half of that.
/// What a turn adds at most fits beside it, as JSON or escaped for a terminal, in the longest queue:
/// 2400 lines of 141 bytes, and 72 KiB whose bytes become six each.
const HELD_BYTES_MIN: usize = 256 * 1024;

/// How long programs wait for a reader that takes nothing. After that their lines are dropped, until
/// it takes something.
const HELD_TIME_MAX: Duration = Duration::from_secs(5);

/// A queue before a descriptor.
pub(super) struct Output {
    pub(super) writer: SharedWriter<Box<dyn AsFd + Send>>,
    pub(super) queue: VecDeque<u8>,
    /// What in the queue is of programs: each length of that, and of our own after it, in turn.
    pub(super) parts: VecDeque<[usize; 2]>,
    /// How much of the queue is of programs.
    pub(super) program_bytes: usize,
    /// How much memory an empty queue keeps.
    pub(super) kept_bytes: usize,
    /// The length of the queue after it was last offered to the descriptor in the midst of a turn.
    pub(super) offered: usize,
    /// True while programs wait for its reader.
    pub(super) is_holding: bool,
    /// True if its reader has taken nothing for so long that programs wait for it no more.
    pub(super) is_stuck: bool,
    /// When its reader has taken something, or the queue began.
    pub(super) taken_at: Instant,
    pub(super) is_terminal: bool,
    /// Programs' lines that were dropped and not reported yet.
    pub(super) dropped_of_programs: u64,
    /// Lines that were dropped and not reported yet.
    pub(super) dropped: u64,
    /// Lines that were dropped since the start, for any reason.
    pub(super) all_dropped: u64,
    /// Lines that memory was refused for and that were not reported yet.
    pub(super) unqueued: u64,
    /// True if memory was refused for the latest line.
    pub(super) is_memory_short: bool,
    /// Why the descriptor refused the last write, if it was for lack of space.
    pub(super) refusal: Option<Errno>,
    /// True if this refusal was reported; one more line follows when it is over.
    pub(super) is_refusal_reported: bool,
    /// True if the last line was written in part.
    pub(super) is_incomplete: bool,
    /// True if it was ready and yet took nothing.
    pub(super) is_fickle: bool,
    pub(super) state: State,
}

pub(super) enum State {
    On,
    /// It cannot be written any more, which was not reported yet.
    Dead(Errno),
    Off,
}

impl Output {
    pub(super) fn new(descriptor: impl AsFd + Send + 'static) -> Self {
        let is_terminal = descriptor.as_fd().is_terminal();
        Self {
            writer: SharedWriter::new(Box::new(descriptor)),
            // Enough to write the lines of a turn piece by piece when memory is refused.
            queue: VecDeque::with_capacity(PIECE_BYTES_MAX),
            parts: VecDeque::new(),
            program_bytes: 0,
            kept_bytes: PIECE_BYTES_MAX,
            offered: 0,
            is_holding: false,
            is_stuck: false,
            taken_at: clock::steady(),
            is_terminal,
            dropped_of_programs: 0,
            dropped: 0,
            all_dropped: 0,
            unqueued: 0,
            is_memory_short: false,
            refusal: None,
            is_refusal_reported: false,
            is_incomplete: false,
            is_fickle: false,
            state: State::On,
        }
    }

    /// Queues a line, or counts it as dropped if it does not fit.
    pub(super) fn push(&mut self, line: &str) {
        let queued = self.queue_or_pump(|out| out.write_str(line));
        self.count(queued);
    }

    /// Queues a report; without its stderr if memory is refused for that.
    pub(super) fn push_report(&mut self, report: &ErrorReport) {
        let mut queued = self.queue_or_pump(|out| report.write_json(out));
        if queued == Err(Refusal::OutOfMemory) {
            queued = self.queue_line(|out| report.write_json_without_stderr(out));
        }
        self.count(queued);
    }

    /// Queues lines of a program, and writes when there are many. Counts those as dropped that do not
    /// fit, or that no one reads.
    pub(super) fn push_program_lines(
        &mut self,
        lines: OutputLines<'_>,
        name_width: usize,
        is_json: bool,
    ) {
        self.kept_bytes = KEPT_BYTES_MAX;
        let is_terminal = self.is_terminal;
        let mut prefix = Prefix::new(&lines, name_width);
        for line in lines {
            if is_json || is_terminal || !self.push_at_once(prefix.of(&line), line.text()) {
                self.push_program_line(|out| match is_json {
                    true => out.write_bytes(&json_line(&lines, &line)),
                    false => write_text(out, &mut prefix, &line, is_terminal),
                });
            }
            self.pump_if_over(TURN_PROGRAM_BYTES_MAX);
        }
    }

    /// Queues a line of a program if that takes no memory and nothing is to be decided, as for most
    /// lines of a flood.
    fn push_at_once(&mut self, prefix: &[u8], text: &[u8]) -> bool {
        let length = prefix.len() + text.len() + 1;
        let has_room = length <= self.queue.capacity() - self.queue.len()
            && self.program_bytes + length <= QUEUE_BYTES_MAX;
        if self.queue.is_empty() || self.is_stuck || !has_room {
            return false;
        }
        self.queue.extend(prefix);
        self.queue.extend(text);
        self.queue.push_back(b'\n');
        self.note_of_programs(length);
        true
    }

    fn push_program_line(&mut self, write: impl FnOnce(&mut Line<'_>) -> fmt::Result) {
        if self.is_stuck {
            self.dropped_of_programs += 1;
            return;
        }
        let before = self.queue.len();
        let limit = before - self.program_bytes + QUEUE_BYTES_MAX;
        let queued = self.queue_within(limit, write);
        if queued.is_err() {
            self.dropped_of_programs += 1;
            return;
        }
        self.note_of_programs(self.queue.len() - before);
    }

    fn note_of_programs(&mut self, added: usize) {
        self.program_bytes += added;
        match self.parts.back_mut() {
            Some([of_programs, 0]) => *of_programs += added,
            _ => self.parts.push_back([added, 0]),
        }
    }

    /// True if programs are to wait for its reader. After a while without any progress they do not.
    pub(super) fn holds_programs(&mut self) -> bool {
        let most = if self.is_holding {
            HELD_BYTES_MIN / 2
        } else {
            HELD_BYTES_MIN
        };
        self.is_holding = self.program_bytes > most;
        self.is_stuck |= self.is_holding && clock::until(self.taken_at + HELD_TIME_MAX).is_zero();
        self.is_holding && !self.is_stuck
    }

    /// Returns until when programs are held at most.
    pub(super) fn held_until(&self) -> Option<Instant> {
        let holds = self.is_holding && !self.is_stuck;
        holds.then(|| self.taken_at + HELD_TIME_MAX)
    }

    pub(super) fn count(&mut self, queued: Result<(), Refusal>) {
        self.all_dropped += u64::from(queued.is_err());
        match queued {
            Ok(()) => self.is_memory_short = false,
            Err(Refusal::QueueFull) => self.dropped += 1,
            Err(Refusal::OutOfMemory) => {
                self.is_memory_short = true;
                self.unqueued += 1;
            }
        }
    }

    /// Queues what is written as a line. If memory is refused, what is queued is written first.
    pub(super) fn queue_or_pump(
        &mut self,
        write: impl Fn(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Refusal> {
        let queued = self.queue_line(&write);
        if queued != Err(Refusal::OutOfMemory) {
            return queued;
        }
        self.pump();
        self.queue_line(&write)
    }

    /// Queues what is written as a line; all of it or nothing.
    pub(super) fn queue_line(
        &mut self,
        write: impl FnOnce(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Refusal> {
        let before = self.queue.len();
        let queued = self.queue_within(self.program_bytes + QUEUE_BYTES_MAX, write);
        if let Some([_, own]) = self.parts.back_mut() {
            *own += self.queue.len() - before;
        }
        queued
    }

    /// The same for a queue of at most this length.
    pub(super) fn queue_within(
        &mut self,
        limit: usize,
        write: impl FnOnce(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Refusal> {
        if !matches!(self.state, State::On) {
            return Ok(());
        }
        if self.queue.is_empty() {
            self.taken_at = clock::steady();
        }
        let is_incomplete = self.queue.is_empty() && self.is_incomplete;
        Line::queue(&mut self.queue, is_incomplete, limit, write)
    }

    /// Writes if much was queued since it was offered last: what a reader does not take is not offered
    /// with each line.
    pub(super) fn pump_if_much(&mut self) {
        self.pump_if_over(TURN_BYTES_MAX);
    }

    fn pump_if_over(&mut self, bytes: usize) {
        if self.queue.len() >= self.offered + bytes {
            // What is little is written with what follows.
            self.pump_to(PIECE_BYTES_MAX);
            self.offered = self.queue.len();
        }
    }

    /// Writes until the queue is empty or the descriptor takes no more.
    pub(super) fn pump(&mut self) {
        self.pump_to(0);
    }

    /// Writes until no more than this is queued or the descriptor takes no more.
    fn pump_to(&mut self, least: usize) {
        self.is_fickle = false;
        // Else a line would be torn where the memory of the queue begins anew.
        self.queue.make_contiguous();
        while self.queue.len() > least {
            let (all, _) = self.queue.as_slices();
            let piece = piece(all, &self.writer);
            let offered = piece.len();
            let written = self.writer.write(piece);
            match written.map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(0))) {
                Ok(0) | Err(Errno::EAGAIN | Errno::EINTR) => {
                    self.is_fickle = self.is_ready();
                    break;
                }
                Ok(written) => {
                    self.forget(written);
                    // It is full; only a file says in the next write why.
                    if written < offered && !self.writer.is_file() {
                        break;
                    }
                }
                // These lines are lost, while later ones may be written.
                Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::ENOMEM)) => {
                    self.drop_queue();
                    self.refusal = Some(errno);
                }
                Err(errno) => {
                    self.state = State::Dead(errno);
                    self.clear();
                    self.dropped = 0;
                    self.dropped_of_programs = 0;
                }
            }
        }
        if self.queue.is_empty() {
            self.queue.clear();
            self.queue.shrink_to(self.kept_bytes);
        }
    }

    /// True if it can be written, or if a write tells why not.
    pub(super) fn is_ready(&self) -> bool {
        let mut descriptors = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut descriptors, PollTimeout::ZERO), Ok(1..))
    }

    pub(super) fn forget(&mut self, written: usize) {
        let last = self.queue.drain(..written).next_back();
        if let Some(last) = last {
            self.is_incomplete = last != b'\n';
            self.refusal = None;
            self.is_refusal_reported = false;
            self.is_stuck = false;
            self.offered = self.queue.len();
            self.forget_parts(written);
        }
    }

    /// Our own bytes before the first part are in no part.
    pub(super) fn forget_parts(&mut self, written: usize) {
        if self.parts.is_empty() {
            return;
        }
        self.taken_at = clock::steady();
        let in_parts: usize = self
            .parts
            .iter()
            .map(|[of_programs, own]| of_programs + own)
            .sum();
        let before = self.queue.len() + written;
        let mut left = written.saturating_sub(before - in_parts);
        while let Some([of_programs, own]) = self.parts.front_mut() {
            let taken = left.min(*of_programs);
            (*of_programs, self.program_bytes) = (*of_programs - taken, self.program_bytes - taken);
            let rest = (left - taken).min(*own);
            *own -= rest;
            left -= taken + rest;
            if *of_programs + *own > 0 {
                return;
            }
            self.parts.pop_front();
        }
    }

    pub(super) fn clear(&mut self) {
        self.queue.clear();
        self.parts.clear();
        (self.program_bytes, self.offered) = (0, 0);
        (self.is_holding, self.is_stuck) = (false, false);
    }

    /// Drops what is queued, and counts it.
    pub(super) fn drop_queue(&mut self) {
        let in_parts: usize = self
            .parts
            .iter()
            .map(|[of_programs, own]| of_programs + own)
            .sum();
        let first = [0, self.queue.len() - in_parts];
        let mut bytes = self.queue.iter();
        let mut lines = |length: usize| {
            let part = bytes.by_ref().take(length);
            part.filter(|byte| **byte == b'\n').count() as u64
        };
        let (mut of_programs, mut own) = (0, 0);
        for part in [first].iter().chain(&self.parts) {
            of_programs += lines(part[0]);
            own += lines(part[1]);
        }
        self.dropped = self.dropped.saturating_add(own);
        self.all_dropped = self.all_dropped.saturating_add(own);
        self.dropped_of_programs = self.dropped_of_programs.saturating_add(of_programs);
        self.clear();
    }

    /// True if something has to be written or reported.
    pub(super) fn is_pending(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Dead(_))
    }

    /// True if poll(2) tells when to write again.
    pub(super) fn waits_for_readiness(&self) -> bool {
        !self.queue.is_empty() && !self.is_fickle
    }

    /// True if a line about the other output is likely to be written.
    pub(super) fn has_room(&self) -> bool {
        self.queue.len() - self.program_bytes <= QUEUE_BYTES_MAX / 2
    }

    /// True if the queue has space for a turn's trouble: its counts are reset when it is queued.
    pub(super) fn takes_trouble(&mut self) -> bool {
        self.has_room()
            && EmergencyHeap::optional(|| self.queue.try_reserve(TROUBLE_BYTES_MAX)).is_ok()
    }

    /// True if there was memory for the latest line, or is again.
    pub(super) fn has_memory(&mut self) -> bool {
        let more = self.queue.capacity() + 1 - self.queue.len();
        if self.is_memory_short && EmergencyHeap::optional(|| self.queue.try_reserve(more)).is_ok()
        {
            self.is_memory_short = false;
        }
        !self.is_memory_short
    }

    /// Returns how many lines were dropped, once there is room again.
    pub(super) fn take_dropped(&mut self) -> Option<u64> {
        let is_over = self.dropped > 0 && self.refusal.is_none() && self.has_room();
        is_over.then(|| std::mem::take(&mut self.dropped))
    }

    /// The same for programs' lines.
    pub(super) fn take_dropped_of_programs(&mut self) -> Option<u64> {
        let is_over = self.dropped_of_programs > 0 && !self.is_stuck && self.has_room();
        is_over.then(|| std::mem::take(&mut self.dropped_of_programs))
    }

    /// Returns why it takes nothing now, once for each refusal.
    pub(super) fn take_refusal(&mut self) -> Option<String> {
        let errno = self.refusal?;
        let is_new = !std::mem::replace(&mut self.is_refusal_reported, true);
        is_new.then(|| error_text(&errno.into()))
    }

    /// Returns why it was switched off, once.
    pub(super) fn take_death(&mut self) -> Option<String> {
        let State::Dead(errno) = self.state else {
            return None;
        };
        self.state = State::Off;
        Some(error_text(&errno.into()))
    }
}

/// Returns what to write next: whole lines where possible, so that other writers to the same pipe do
/// not split them. A longer line is cut where the descriptor cuts it.
pub(super) fn piece<'a>(all: &'a [u8], writer: &SharedWriter<impl AsFd>) -> &'a [u8] {
    if writer.is_file() {
        return all;
    }
    let most = match all.len() > PIECE_BYTES_MAX {
        true => writer.whole_bytes_max(),
        false => PIECE_BYTES_MAX,
    };
    let front = &all[..all.len().min(most)];
    let line = || all.iter().position(|byte| *byte == b'\n');
    let lines = match front.iter().rposition(|byte| *byte == b'\n').or_else(line) {
        Some(end) => &all[..=end],
        None => all,
    };
    &lines[..lines.len().min(writer.piece_bytes_max())]
}
