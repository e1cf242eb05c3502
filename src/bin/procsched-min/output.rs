//! stdout and stderr that never hold up supervision.
//!
//! Each is a queue of whole lines in front of a descriptor. What a turn has to say goes out at
//! its end, many lines in one write. No write waits for a reader, although others share the
//! descriptors: that is [`SharedWriter`]'s to see to. A reader that is slow costs a bounded queue,
//! and then whole lines, which are counted and said; a reader that is gone costs the output, which
//! is said once on the other one.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use procsched::{ErrorReport, Reserve, SharedWriter};

use crate::clock;
use crate::line::{Lack, Line, QUEUE_BYTES_MAX};
use crate::messages::{Style, Tone};
use crate::pause::{milliseconds, pause};

/// The most that is written at once, in bytes, except for a longer line: `PIPE_BUF` on Linux, so
/// that lines of other writers to the same pipe stay whole, and ours.
const PIECE_BYTES_MAX: usize = 4096;

/// How much a turn may queue before it is written, in bytes.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// What all that a turn has to tell of both outputs is at most, in bytes.
const WORDS_BYTES_MAX: usize = 2048;

/// How long what is queued waits for its next try, where no readiness tells when to try.
const RETRY: Duration = Duration::from_millis(10);

/// How long the last flush tries.
const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// Both outputs, shared by the closures of the scheduler and the loop around it.
#[derive(Clone)]
pub struct Outputs(Arc<Mutex<Pair>>);

struct Pair {
    stdout: Output,
    stderr: Output,
    style: Style,
}

impl Outputs {
    /// The standard ones of this process.
    pub fn standard(style: Style) -> Self {
        Self::new(Output::new(io::stdout()), Output::new(io::stderr()), style)
    }

    /// stderr alone, for whoever has no say about stdout.
    pub fn messages_only(style: Style) -> Self {
        let mut stdout = Output::new(io::stdout());
        stdout.state = State::Off;
        Self::new(stdout, Output::new(io::stderr()), style)
    }

    fn new(stdout: Output, stderr: Output, style: Style) -> Self {
        Self(Arc::new(Mutex::new(Pair {
            stdout,
            stderr,
            style,
        })))
    }

    /// A report, for stdout, which goes out at the end of the turn.
    pub fn report_in_turn(&self, report: &ErrorReport) {
        let mut pair = self.lock();
        pair.stdout.push_report(report);
        pair.pump_if_much();
    }

    /// A line for a person, for stderr, which goes out at the end of the turn.
    pub fn say_in_turn(&self, line: &str) {
        let mut pair = self.lock();
        pair.stderr.push(line);
        pair.pump_if_much();
    }

    /// A line of data, for stdout.
    pub fn data(&self, line: &str) {
        let mut pair = self.lock();
        pair.stdout.push(line);
        pair.pump();
    }

    /// A line for a person, for stderr.
    pub fn say(&self, line: &str) {
        let mut pair = self.lock();
        pair.stderr.push(line);
        pair.pump();
    }

    /// A line of the binary's own, for stderr.
    pub fn say_own(&self, tone: Tone, happening: &str, details: &str) {
        let mut pair = self.lock();
        pair.say_own(tone, happening, details);
        pair.pump();
    }

    /// Writes what can be written now.
    pub fn pump(&self) {
        self.lock().pump();
    }

    /// Whether something waits, so that somebody has to call [`Outputs::pump`] again.
    pub fn is_pending(&self) -> bool {
        self.lock().is_pending()
    }

    /// Waits until an output takes what is queued, something happens to `other`, or the time is
    /// over.
    pub fn wait(&self, other: &impl AsFd, timeout: Option<Duration>) {
        self.lock().wait(other, timeout);
    }

    /// The last chance of what is queued: 1 s at most. What is left then is counted and said.
    pub fn flush(&self) {
        let deadline = clock::steady() + FLUSH_TIME_MAX;
        self.pump();
        while self.is_pending() && !clock::until(deadline).is_zero() {
            pause(RETRY);
            self.pump();
        }
        let mut pair = self.lock();
        pair.stdout.drop_queue();
        pair.stdout.refused = None;
        pair.stdout.is_memory_short = false;
        pair.stderr.is_memory_short = false;
        pair.pump();
    }

    /// A panic that came while this was locked has left whole lines behind, or a cut one.
    fn lock(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

/// Says on stderr why it does not start. SIGTERM may be blocked by then, so that a reader is not
/// waited for longer than at any other end.
pub fn complain_in_time(lines: &str) {
    let outputs = Outputs::messages_only(Style::new([]));
    for line in lines.lines() {
        outputs.say(line);
    }
    outputs.flush();
}

impl Pair {
    fn is_pending(&self) -> bool {
        self.stdout.is_pending() || self.stderr.is_pending()
    }

    fn wait(&self, other: &impl AsFd, timeout: Option<Duration>) {
        let outputs = [&self.stdout, &self.stderr];
        let mut descriptors = vec![PollFd::new(other.as_fd(), PollFlags::POLLIN)];
        let waiting = outputs.iter().filter(|output| output.waits_for_readiness());
        descriptors
            .extend(waiting.map(|output| PollFd::new(output.writer.as_fd(), PollFlags::POLLOUT)));
        let retry = outputs
            .iter()
            .any(|output| output.is_pending() && !output.waits_for_readiness());
        let time = timeout.into_iter().chain(retry.then_some(RETRY)).min();
        let _ = poll(&mut descriptors, milliseconds(time));
    }

    fn pump_if_much(&mut self) {
        if self.stdout.queue.len().max(self.stderr.queue.len()) >= TURN_BYTES_MAX {
            self.pump();
        }
    }

    /// Writes, tells of what became of one output on the other, and writes that.
    fn pump(&mut self) {
        self.stdout.pump();
        self.stderr.pump();
        let is_trouble = self.stdout.is_in_trouble() || self.stderr.is_in_trouble();
        if is_trouble && self.stderr.takes_words() {
            if let Some(errno) = self.stdout.take_death() {
                let details = format!("stdout is switched off, no more reports: {}", errno.desc());
                self.say_own(Tone::Bad, "warning", &details);
            }
            if let Some(errno) = self.stdout.take_refusal() {
                let details = format!("stdout takes no reports, they are lost: {}", errno.desc());
                self.say_own(Tone::Bad, "warning", &details);
            }
            if let Some(lines) = self.stdout.take_dropped() {
                let details = format!("dropped {lines} reports that stdout did not take");
                self.say_own(Tone::Bad, "warning", &details);
            }
            if let Some(lines) = self.stderr.take_dropped() {
                let details = format!("dropped {lines} lines that stderr did not take");
                self.say_own(Tone::Bad, "warning", &details);
            }
            if let Some((reports, lines)) = self.take_forgone() {
                let details =
                    format!("dropped {reports} reports and {lines} lines for want of memory");
                self.say_own(Tone::Bad, "warning", &details);
            }
        }
        if self.stdout.has_room()
            && let Some(errno) = self.stderr.take_death()
        {
            // stdout carries JSON and nothing else. The system's words need no escaping in it.
            let why = errno.desc();
            let line =
                format!(r#"{{"warning":"stderr is switched off, no more messages: {why}"}}"#);
            self.stdout.push(&line);
        }
        self.stdout.pump();
        self.stderr.pump();
    }

    /// How many reports and lines there was no memory for, as soon as there is some again.
    fn take_forgone(&mut self) -> Option<(u64, u64)> {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        if stdout.forgone + stderr.forgone == 0 || !stdout.has_memory() || !stderr.has_memory() {
            return None;
        }
        let counts = (&mut stdout.forgone, &mut stderr.forgone);
        Some((std::mem::take(counts.0), std::mem::take(counts.1)))
    }

    fn say_own(&mut self, tone: Tone, happening: &str, details: &str) {
        let line = self.style.own(tone, happening, details);
        self.stderr.push(&line);
    }
}

/// One queue in front of one descriptor.
struct Output {
    writer: SharedWriter<Box<dyn AsFd + Send>>,
    queue: VecDeque<u8>,
    /// Lines that were lost, since this was last said.
    dropped: u64,
    /// Lines for which there was no memory, since this was last said.
    forgone: u64,
    /// There was none for the latest line.
    is_memory_short: bool,
    /// Why the descriptor refused the last write, if it was for want of space.
    refused: Option<Errno>,
    /// This refusal was said; there is one more line when it is over.
    is_refusal_told: bool,
    /// The last byte that was written is not the end of a line.
    is_torn: bool,
    /// It was ready, and took nothing all the same.
    is_fickle: bool,
    state: State,
}

enum State {
    On,
    /// It cannot be written any more, and nobody was told yet.
    Dead(Errno),
    Off,
}

impl Output {
    fn new(descriptor: impl AsFd + Send + 'static) -> Self {
        Self {
            writer: SharedWriter::new(Box::new(descriptor)),
            // What no shortage of memory takes away: a turn's words, piece by piece.
            queue: VecDeque::with_capacity(PIECE_BYTES_MAX),
            dropped: 0,
            forgone: 0,
            is_memory_short: false,
            refused: None,
            is_refusal_told: false,
            is_torn: false,
            is_fickle: false,
            state: State::On,
        }
    }

    /// Queues a line, or counts it as dropped if it does not fit.
    fn push(&mut self, line: &str) {
        let mut queued = self.queue_line(|out| out.write_str(line));
        if queued == Err(Lack::Memory) {
            // What was written needs none any more.
            self.pump();
            queued = self.queue_line(|out| out.write_str(line));
        }
        self.count(queued);
    }

    /// Queues a report; without the last words in it, if there is no memory for them.
    fn push_report(&mut self, report: &ErrorReport) {
        let mut queued = self.queue_line(|out| report.write_json(out));
        if queued == Err(Lack::Memory) {
            self.pump();
            queued = self.queue_line(|out| report.write_json(out));
        }
        if queued == Err(Lack::Memory) {
            queued = self.queue_line(|out| report.write_json_without_stderr(out));
        }
        self.count(queued);
    }

    fn count(&mut self, queued: Result<(), Lack>) {
        match queued {
            Ok(()) => self.is_memory_short = false,
            Err(Lack::Room) => self.dropped += 1,
            Err(Lack::Memory) => {
                self.is_memory_short = true;
                self.forgone += 1;
            }
        }
    }

    /// Queues what is written as a line; all of it or nothing.
    fn queue_line(&mut self, write: impl FnOnce(&mut Line<'_>) -> fmt::Result) -> Result<(), Lack> {
        if !matches!(self.state, State::On) {
            return Ok(());
        }
        let is_torn = self.queue.is_empty() && self.is_torn;
        Line::queue(&mut self.queue, is_torn, write)
    }

    /// Writes until the queue is empty or the descriptor takes no more.
    fn pump(&mut self) {
        self.is_fickle = false;
        while !self.queue.is_empty() {
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
                    // There is no room for more; only a file says in the next write why.
                    if written < offered && !self.writer.is_file() {
                        break;
                    }
                }
                // No room today: these lines are lost, and the next ones may fare better.
                Err(errno @ (Errno::ENOSPC | Errno::EDQUOT | Errno::EFBIG | Errno::ENOMEM)) => {
                    self.drop_queue();
                    self.refused = Some(errno);
                }
                Err(errno) => {
                    self.state = State::Dead(errno);
                    self.queue.clear();
                    self.dropped = 0;
                }
            }
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(PIECE_BYTES_MAX);
        }
    }

    /// Ready for writing, or for telling us why not: then the write says it.
    fn is_ready(&self) -> bool {
        let mut descriptors = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut descriptors, PollTimeout::ZERO), Ok(1..))
    }

    fn forget(&mut self, written: usize) {
        if let Some(last) = self.queue.drain(..written).next_back() {
            self.is_torn = last != b'\n';
            self.refused = None;
            self.is_refusal_told = false;
        }
    }

    /// Gives up what is queued, and counts it.
    fn drop_queue(&mut self) {
        let lines = self.queue.iter().filter(|byte| **byte == b'\n').count();
        self.dropped = self
            .dropped
            .saturating_add(u64::try_from(lines).unwrap_or(u64::MAX));
        self.queue.clear();
    }

    /// Whether something is left to be written, or to be told.
    fn is_pending(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Dead(_))
    }

    /// Whether its readiness tells when to try again.
    fn waits_for_readiness(&self) -> bool {
        !self.queue.is_empty() && !self.is_fickle
    }

    /// Whether a line about the other output is likely to get through.
    fn has_room(&self) -> bool {
        self.queue.len() <= QUEUE_BYTES_MAX / 2
    }

    /// Whether there may be something to be told of it.
    fn is_in_trouble(&self) -> bool {
        let is_dead = matches!(self.state, State::Dead(_));
        is_dead || self.refused.is_some() || self.dropped > 0 || self.forgone > 0
    }

    /// Whether what is to be told in a turn will get into the queue: what is counted is
    /// forgotten when it was said.
    fn takes_words(&mut self) -> bool {
        self.has_room() && Reserve::spare(|| self.queue.try_reserve(WORDS_BYTES_MAX)).is_ok()
    }

    /// Whether there was memory for the latest line, or now there is some again.
    fn has_memory(&mut self) -> bool {
        let more = self.queue.capacity() + 1 - self.queue.len();
        if self.is_memory_short && Reserve::spare(|| self.queue.try_reserve(more)).is_ok() {
            self.is_memory_short = false;
        }
        !self.is_memory_short
    }

    /// How many lines were lost, if any were, and now there is room again.
    fn take_dropped(&mut self) -> Option<u64> {
        if self.dropped == 0 || self.refused.is_some() || !self.has_room() {
            return None;
        }
        Some(std::mem::take(&mut self.dropped))
    }

    /// Why it takes nothing now, once for each time that it stops doing so.
    fn take_refusal(&mut self) -> Option<Errno> {
        let errno = self.refused?;
        let is_news = !std::mem::replace(&mut self.is_refusal_told, true);
        is_news.then_some(errno)
    }

    /// Why it was switched off, once.
    fn take_death(&mut self) -> Option<Errno> {
        let State::Dead(errno) = self.state else {
            return None;
        };
        self.state = State::Off;
        Some(errno)
    }
}

/// What of all to write next: whole lines where possible, so that what others write to the same
/// pipe does not end up inside of one. A line that is longer is cut where the descriptor cuts it.
fn piece<'a>(all: &'a [u8], writer: &SharedWriter<impl AsFd>) -> &'a [u8] {
    if writer.is_file() {
        return all;
    }
    let front = &all[..all.len().min(PIECE_BYTES_MAX)];
    let line = || all.iter().position(|byte| *byte == b'\n');
    let lines = match front.iter().rposition(|byte| *byte == b'\n').or_else(line) {
        Some(end) => &all[..=end],
        None => all,
    };
    &lines[..lines.len().min(writer.piece_bytes_max())]
}

#[cfg(test)]
mod tests;
