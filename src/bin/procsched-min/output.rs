//! stdout and stderr that never hold up supervision.
//!
//! Each is a bounded queue of whole lines before a descriptor. The lines of a turn are written at
//! its end, many in one write, which never waits for a reader: see [`SharedWriter`]. For a slow
//! reader lines are queued, then dropped, counted and reported. An output whose reader is gone is
//! switched off, which is reported once on the other one.

use std::collections::VecDeque;
use std::fmt::{self, Write as _};
use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll, ppoll};
use procsched::text::error_text;
use procsched::{EmergencyHeap, ErrorReport, Event, SharedWriter};

use crate::clock;
use crate::line::{Line, QUEUE_BYTES_MAX, Refusal};
use crate::messages::{Level, Style};

/// The most that is written at once, except for a longer line: `PIPE_BUF` on Linux, so that our
/// lines and those of other writers to the same pipe stay whole.
const PIECE_BYTES_MAX: usize = 4096;

/// The most that a turn queues before it is written.
const TURN_BYTES_MAX: usize = 16 * 1024;

/// The most that a turn reports about both outputs.
const TROUBLE_BYTES_MAX: usize = 2048;

/// The time until the next write where poll(2) cannot tell when.
const RETRY: Duration = Duration::from_millis(10);

const FLUSH_TIME_MAX: Duration = Duration::from_secs(1);

/// Both outputs, shared by the closures of the scheduler and the loop around it.
#[derive(Clone)]
pub struct Outputs(Arc<Mutex<Pair>>);

/// stdout and stderr. What is queued for them is written at the end of the turn, by
/// [`Pair::pump`], or earlier if it is much.
pub struct Pair {
    stdout: Output,
    stderr: Output,
    style: Style,
}

impl Outputs {
    /// Uses stdout and stderr of this process.
    pub fn standard(style: Style) -> Self {
        Self(Arc::new(Mutex::new(Pair {
            stdout: Output::new(io::stdout()),
            stderr: Output::new(io::stderr()),
            style,
        })))
    }

    /// Uses stderr alone: stdout belongs to another.
    pub fn messages_only(style: Style) -> Self {
        let outputs = Self::standard(style);
        outputs.lock().stdout.state = State::Off;
        outputs
    }

    /// Has another descriptor for stderr.
    #[cfg(test)]
    pub fn with_stderr(stderr: impl AsFd + Send + 'static) -> Self {
        let outputs = Self::messages_only(Style::new([]));
        outputs.lock().stderr = Output::new(stderr);
        outputs
    }

    /// A panic while this was locked leaves at worst an incomplete line.
    pub fn lock(&self) -> MutexGuard<'_, Pair> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Pair {
    /// Queues a report for stdout.
    pub fn report(&mut self, report: &ErrorReport) {
        self.stdout.push_report(report);
        self.pump_if_much();
    }

    /// Queues a line for stdout.
    pub fn data(&mut self, line: &str) {
        self.stdout.push(line);
        self.pump_if_much();
    }

    /// Queues a line for stderr.
    pub fn say(&mut self, line: &str) {
        self.stderr.push(line);
        self.pump_if_much();
    }

    /// Queues the line of an event for stderr, if it has one.
    pub fn event(&mut self, event: &Event) {
        if let Some(line) = self.style.event(event) {
            self.say(&line);
        }
    }

    /// Returns how lines are laid out.
    pub fn style(&self) -> Style {
        self.style
    }

    /// Fits the columns to the longest name of a program.
    pub fn fit_names(&mut self, width: usize) {
        self.style = self.style.with_name_width(width);
    }

    /// Prints a line of the binary's own on stderr.
    pub fn say_own(&mut self, level: Level, verb: &str, details: &str) {
        self.stderr.push(&self.style.own(level, verb, details));
        self.pump();
    }

    /// Prints a line about a program on stderr.
    pub fn say_of(&mut self, program: &str, level: Level, verb: &str, details: &str) {
        let line = self
            .style
            .line(clock::wall(), program, level, verb, details);
        self.say(&line);
    }

    /// Returns how many reports stdout did not take.
    pub fn reports_dropped(&self) -> u64 {
        self.stdout.all_dropped
    }

    /// True if something is queued, so that [`Pair::pump`] has to be called again.
    pub fn is_pending(&self) -> bool {
        self.stdout.is_pending() || self.stderr.is_pending()
    }

    /// Waits until an output takes what is queued, one of the other descriptors is ready, or the
    /// time is over.
    pub fn wait<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>, timeout: Option<Duration>) {
        let outputs = [&self.stdout, &self.stderr];
        let waiting = outputs.iter().filter(|output| output.waits_for_readiness());
        descriptors
            .extend(waiting.map(|output| PollFd::new(output.writer.as_fd(), PollFlags::POLLOUT)));
        let retry = outputs
            .iter()
            .any(|output| output.is_pending() && !output.waits_for_readiness());
        let time = timeout.into_iter().chain(retry.then_some(RETRY)).min();
        let _ = ppoll(descriptors, time.map(clock::exact), None);
    }

    fn pump_if_much(&mut self) {
        if self.stdout.queue.len().max(self.stderr.queue.len()) >= TURN_BYTES_MAX {
            self.pump();
        }
    }

    /// Writes what is queued, for 1 s at most. Drops, counts and reports the rest.
    pub fn flush(&mut self) {
        self.flush_within(FLUSH_TIME_MAX);
    }

    /// Does the same with less time, if there is less.
    pub fn flush_within(&mut self, time: Duration) {
        let deadline = clock::steady() + time.min(FLUSH_TIME_MAX);
        self.pump();
        while self.is_pending() && !clock::until(deadline).is_zero() {
            clock::pause(RETRY);
            self.pump();
        }
        self.stdout.drop_queue();
        self.stdout.refusal = None;
        self.stdout.is_memory_short = false;
        self.stderr.is_memory_short = false;
        self.pump();
    }

    /// Writes what can be written now, reports the trouble of one output on the other, and writes
    /// that.
    pub fn pump(&mut self) {
        self.stdout.pump();
        self.stderr.pump();
        if self.stderr.takes_trouble() {
            self.report_trouble();
        }
        if self.stdout.has_room()
            && let Some(cause) = self.stderr.take_death()
        {
            // stdout carries JSON alone. The text of an errno needs no escaping there.
            let problem = format!("stderr is switched off, no more messages: {cause}");
            self.stdout.push(&format!(r#"{{"warning":"{problem}"}}"#));
        }
        self.stdout.pump();
        self.stderr.pump();
    }

    fn report_trouble(&mut self) {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        let problems = [
            stdout
                .take_death()
                .map(|cause| format!("stdout is switched off, no more reports: {cause}")),
            stdout
                .take_refusal()
                .map(|cause| format!("stdout takes no reports, they are lost: {cause}")),
            stdout
                .take_dropped()
                .map(|count| format!("dropped {count} reports that stdout did not take")),
            stderr
                .take_dropped()
                .map(|count| format!("dropped {count} lines that stderr did not take")),
            self.take_unqueued().map(|(reports, lines)| {
                format!("out of memory: dropped {reports} reports and {lines} lines")
            }),
        ];
        for problem in problems.iter().flatten() {
            let line = self.style.own(Level::Error, "warning", problem);
            self.stderr.push(&line);
        }
    }

    /// Returns how many reports and lines memory was refused for, once it is there again.
    fn take_unqueued(&mut self) -> Option<(u64, u64)> {
        let (stdout, stderr) = (&mut self.stdout, &mut self.stderr);
        if stdout.unqueued + stderr.unqueued == 0 || !stdout.has_memory() || !stderr.has_memory() {
            return None;
        }
        let counts = (&mut stdout.unqueued, &mut stderr.unqueued);
        Some((std::mem::take(counts.0), std::mem::take(counts.1)))
    }
}

/// A queue before a descriptor.
struct Output {
    writer: SharedWriter<Box<dyn AsFd + Send>>,
    queue: VecDeque<u8>,
    /// Lines that were dropped and not reported yet.
    dropped: u64,
    /// Lines that were dropped since the start, for any reason.
    all_dropped: u64,
    /// Lines that memory was refused for and that were not reported yet.
    unqueued: u64,
    /// True if memory was refused for the latest line.
    is_memory_short: bool,
    /// Why the descriptor refused the last write, if it was for lack of space.
    refusal: Option<Errno>,
    /// True if this refusal was reported; one more line follows when it is over.
    is_refusal_reported: bool,
    /// True if the last line was written in part.
    is_incomplete: bool,
    /// True if it was ready and yet took nothing.
    is_fickle: bool,
    state: State,
}

enum State {
    On,
    /// It cannot be written any more, which was not reported yet.
    Dead(Errno),
    Off,
}

impl Output {
    fn new(descriptor: impl AsFd + Send + 'static) -> Self {
        Self {
            writer: SharedWriter::new(Box::new(descriptor)),
            // Enough to write the lines of a turn piece by piece when memory is refused.
            queue: VecDeque::with_capacity(PIECE_BYTES_MAX),
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
    fn push(&mut self, line: &str) {
        let queued = self.queue_or_pump(|out| out.write_str(line));
        self.count(queued);
    }

    /// Queues a report; without its stderr if memory is refused for that.
    fn push_report(&mut self, report: &ErrorReport) {
        let mut queued = self.queue_or_pump(|out| report.write_json(out));
        if queued == Err(Refusal::OutOfMemory) {
            queued = self.queue_line(|out| report.write_json_without_stderr(out));
        }
        self.count(queued);
    }

    fn count(&mut self, queued: Result<(), Refusal>) {
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
    fn queue_or_pump(
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
    fn queue_line(
        &mut self,
        write: impl FnOnce(&mut Line<'_>) -> fmt::Result,
    ) -> Result<(), Refusal> {
        if !matches!(self.state, State::On) {
            return Ok(());
        }
        let is_incomplete = self.queue.is_empty() && self.is_incomplete;
        Line::queue(&mut self.queue, is_incomplete, write)
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
                    self.queue.clear();
                    self.dropped = 0;
                }
            }
        }
        if self.queue.is_empty() {
            self.queue.shrink_to(PIECE_BYTES_MAX);
        }
    }

    /// True if it can be written, or if a write tells why not.
    fn is_ready(&self) -> bool {
        let mut descriptors = [PollFd::new(self.writer.as_fd(), PollFlags::POLLOUT)];
        matches!(poll(&mut descriptors, PollTimeout::ZERO), Ok(1..))
    }

    fn forget(&mut self, written: usize) {
        if let Some(last) = self.queue.drain(..written).next_back() {
            self.is_incomplete = last != b'\n';
            self.refusal = None;
            self.is_refusal_reported = false;
        }
    }

    /// Drops what is queued, and counts it.
    fn drop_queue(&mut self) {
        let lines = self.queue.iter().filter(|byte| **byte == b'\n').count();
        self.dropped = self.dropped.saturating_add(lines as u64);
        self.all_dropped = self.all_dropped.saturating_add(lines as u64);
        self.queue.clear();
    }

    /// True if something has to be written or reported.
    fn is_pending(&self) -> bool {
        !self.queue.is_empty() || matches!(self.state, State::Dead(_))
    }

    /// True if poll(2) tells when to write again.
    fn waits_for_readiness(&self) -> bool {
        !self.queue.is_empty() && !self.is_fickle
    }

    /// True if a line about the other output is likely to be written.
    fn has_room(&self) -> bool {
        self.queue.len() <= QUEUE_BYTES_MAX / 2
    }

    /// True if the queue has space for a turn's trouble: its counts are reset when it is queued.
    fn takes_trouble(&mut self) -> bool {
        self.has_room()
            && EmergencyHeap::optional(|| self.queue.try_reserve(TROUBLE_BYTES_MAX)).is_ok()
    }

    /// True if there was memory for the latest line, or is again.
    fn has_memory(&mut self) -> bool {
        let more = self.queue.capacity() + 1 - self.queue.len();
        if self.is_memory_short && EmergencyHeap::optional(|| self.queue.try_reserve(more)).is_ok()
        {
            self.is_memory_short = false;
        }
        !self.is_memory_short
    }

    /// Returns how many lines were dropped, once there is room again.
    fn take_dropped(&mut self) -> Option<u64> {
        let is_over = self.dropped > 0 && self.refusal.is_none() && self.has_room();
        is_over.then(|| std::mem::take(&mut self.dropped))
    }

    /// Returns why it takes nothing now, once for each refusal.
    fn take_refusal(&mut self) -> Option<String> {
        let errno = self.refusal?;
        let is_new = !std::mem::replace(&mut self.is_refusal_reported, true);
        is_new.then(|| error_text(&errno.into()))
    }

    /// Returns why it was switched off, once.
    fn take_death(&mut self) -> Option<String> {
        let State::Dead(errno) = self.state else {
            return None;
        };
        self.state = State::Off;
        Some(error_text(&errno.into()))
    }
}

/// Returns what to write next: whole lines where possible, so that other writers to the same pipe do
/// not split them. A longer line is cut where the descriptor cuts it.
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
