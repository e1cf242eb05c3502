//! stdout and stderr that never hold up supervision.
//!
//! Each is a bounded queue of whole lines before a descriptor. The lines of a turn are written at
//! its end, many in one write, which never waits for a reader: see [`procsched::SharedWriter`]. For a slow
//! reader lines are queued, then dropped, counted and reported. An output whose reader is gone is
//! switched off, which is reported once on the other one.

mod queue;

use std::io;
use std::os::fd::AsFd;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, ppoll};
use procsched::config::{Form, Reports};
use procsched::{ErrorReport, Event, OutputLines, StdStream};

use self::queue::{Output, State};
use crate::clock;
use crate::control::{write_message, write_own_message};
use crate::messages::{Level, SELF, Style};

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
    is_json: bool,
    has_reports: bool,
}

impl Outputs {
    /// Uses stdout and stderr of this process.
    pub fn standard(style: Style, form: (Form, Reports)) -> Self {
        let outputs = Self(Arc::new(Mutex::new(Pair {
            stdout: Output::new(io::stdout()),
            stderr: Output::new(io::stderr()),
            style,
            is_json: false,
            has_reports: true,
        })));
        outputs.lock().set_form(form);
        outputs
    }

    /// Uses stderr alone: stdout belongs to another.
    pub fn messages_only(style: Style) -> Self {
        let outputs = Self::standard(style, Default::default());
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
    /// Sets what lines look like, and whether stdout has reports.
    pub fn set_form(&mut self, (output, reports): (Form, Reports)) {
        self.is_json = output == Form::Json;
        self.has_reports = reports == Reports::Stdout;
    }

    /// Returns what lines look like, and whether stdout has reports.
    pub fn form(&self) -> (Form, Reports) {
        let output = if self.is_json { Form::Json } else { Form::Text };
        let reports = match self.has_reports {
            true => Reports::Stdout,
            false => Reports::None,
        };
        (output, reports)
    }

    /// Queues a report for stdout.
    pub fn report(&mut self, report: &ErrorReport) {
        if !self.has_reports {
            return;
        }
        self.stdout.push_report(report);
        self.pump_if_much();
    }

    /// Queues lines of a program for the stream that they were written to.
    pub fn program_lines(&mut self, lines: OutputLines<'_>) {
        let (name_width, is_json) = (self.style.name_width(), self.is_json);
        self.output(lines.stream())
            .push_program_lines(lines, name_width, is_json);
    }

    /// True if the programs that write to this stream are to wait for its reader.
    pub fn holds_programs(&mut self, stream: StdStream) -> bool {
        self.output(stream).holds_programs()
    }

    fn output(&mut self, stream: StdStream) -> &mut Output {
        match stream {
            StdStream::Stdout => &mut self.stdout,
            StdStream::Stderr => &mut self.stderr,
        }
    }

    /// Queues a line for stdout.
    pub fn data(&mut self, line: &str) {
        self.stdout.push(line);
        self.pump_if_much();
    }

    /// Queues a line for stderr.
    pub fn say(&mut self, line: &str) {
        if self.is_json {
            let at = clock::wall();
            return self.say_json(|out| write_own_message(out, at, None, "notice", line));
        }
        self.stderr.push(line);
        self.pump_if_much();
    }

    /// Queues the line of an event for stderr, if it has one.
    pub fn event(&mut self, event: &Event) {
        match self.is_json {
            true => self.say_json(|out| write_message(out, event)),
            false => {
                let line = self.style.event(event);
                line.into_iter().for_each(|line| self.say(&line));
            }
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
        self.say_of(SELF, level, verb, details);
        self.pump();
    }

    /// Prints a line about a program on stderr.
    pub fn say_of(&mut self, program: &str, level: Level, verb: &str, details: &str) {
        let at = clock::wall();
        if self.is_json {
            let program = Some(program).filter(|program| *program != SELF);
            return self.say_json(|out| write_own_message(out, at, program, verb, details));
        }
        let line = self.style.line(at, program, level, verb, details);
        self.stderr.push(&line);
        self.pump_if_much();
    }

    fn say_json(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        let mut line = Vec::new();
        write(&mut line);
        line.truncate(line.trim_ascii_end().len());
        self.stderr.push(&String::from_utf8_lossy(&line));
        self.pump_if_much();
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
        let held = outputs.iter().filter_map(|output| output.held_until());
        let held = held.map(clock::until);
        let retry = retry.then_some(RETRY);
        let time = timeout.into_iter().chain(retry).chain(held).min();
        let _ = ppoll(descriptors, time.map(clock::exact), None);
    }

    fn pump_if_much(&mut self) {
        self.stdout.pump_if_much();
        self.stderr.pump_if_much();
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
        let before = [self.stdout.queue.len(), self.stderr.queue.len()];
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
        if before != [self.stdout.queue.len(), self.stderr.queue.len()] {
            self.stdout.pump();
            self.stderr.pump();
        }
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
            stdout
                .take_dropped_of_programs()
                .map(|count| format!("dropped {count} lines of programs that stdout did not take")),
            stderr
                .take_dropped_of_programs()
                .map(|count| format!("dropped {count} lines of programs that stderr did not take")),
            self.take_unqueued().map(|(reports, lines)| {
                format!("out of memory: dropped {reports} reports and {lines} lines")
            }),
        ];
        for problem in problems.iter().flatten() {
            self.say_of(SELF, Level::Error, "warning", problem);
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

#[cfg(test)]
mod tests;
