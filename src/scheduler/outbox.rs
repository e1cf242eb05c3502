//! Events and reports on their way to the host's closures.
//!
//! They are queued while the turn works and delivered at its end, when the state that a closure may
//! ask for is the one that follows from them.

use std::collections::VecDeque;
use std::mem::take;
use std::sync::Arc;
use std::time::Duration;

use crate::callbacks::{Callbacks, Notice};
use crate::error::Error;
use crate::event::{Event, EventKind};
use crate::machine::{Moment, ProgramId};
use crate::os::{clock, emergency_heap};
use crate::program::{ExitRecord, Program, ProgramTable};
use crate::report::ErrorReport;

use super::side_commands::SideCommands;

/// The largest memory of lines that is kept for those to come: what is read at once, and the start of a
/// line before it.
const BUFFER_BYTES_MAX: usize = 128 * 1024;

/// The least time between two warnings about memory.
const MEMORY_WARNING_INTERVAL: Duration = Duration::from_secs(60);

enum Queued {
    Notice(Notice),
    /// The end of a run. Its last bytes may not be there yet.
    Exit(ProgramId),
}

pub(super) struct Outbox {
    queue: VecDeque<Queued>,
    callbacks: Callbacks,
    /// The memory of lines that were given, for those that are read next: to map it anew for each
    /// read would cost more than to read.
    buffer: Vec<u8>,
    /// When the last warning about memory was queued.
    memory_warned_at: Option<Moment>,
}

impl Outbox {
    pub(super) fn new(callbacks: Callbacks) -> Self {
        Self {
            queue: VecDeque::new(),
            callbacks,
            buffer: Vec::new(),
            memory_warned_at: None,
        }
    }

    pub(super) fn is_empty(&self) -> bool {
        self.queue.is_empty()
    }

    /// True if a report waits.
    pub(super) fn has_reports(&self) -> bool {
        let is_report =
            |queued: &Queued| matches!(queued, Queued::Exit(_) | Queued::Notice(Notice::Report(_)));
        self.queue.iter().any(is_report)
    }

    /// Queues an event of this moment about a program.
    pub(super) fn event(&mut self, program: Arc<str>, kind: EventKind) {
        self.notice(Notice::Event(Event {
            program,
            at: clock::wall(),
            kind,
        }));
    }

    /// Queues an event of this moment that is about no program.
    pub(super) fn own_event(&mut self, kind: EventKind) {
        self.event(Arc::from(""), kind);
    }

    /// Queues a warning that is about no program.
    pub(super) fn warn(&mut self, error: Error) {
        self.own_event(EventKind::Warning { error });
    }

    /// Queues the end of a run.
    pub(super) fn exit(&mut self, id: ProgramId) {
        self.queue.push_back(Queued::Exit(id));
    }

    pub(super) fn notice(&mut self, notice: Notice) {
        self.queue.push_back(Queued::Notice(notice));
    }

    /// Returns empty bytes, with memory if there is some from before.
    pub(super) fn take_buffer(&mut self) -> Vec<u8> {
        take(&mut self.buffer)
    }

    /// Keeps the memory of these bytes.
    pub(super) fn keep_buffer(&mut self, mut bytes: Vec<u8>) {
        if (self.buffer.capacity()..=BUFFER_BYTES_MAX).contains(&bytes.capacity()) {
            bytes.clear();
            self.buffer = bytes;
        }
    }

    fn call(&mut self, notice: Notice) {
        self.callbacks.call(&notice);
        if let Notice::Lines(lines) = notice {
            self.keep_buffer(lines.bytes);
        }
    }

    /// Warns if memory was short, at most once a minute.
    pub(super) fn warn_of_memory(&mut self, now: Moment) {
        let is_early = |at: Moment| now < at.after(MEMORY_WARNING_INTERVAL);
        if self.memory_warned_at.is_some_and(is_early) || !emergency_heap::take_shortage() {
            return;
        }
        self.memory_warned_at = Some(now);
        self.warn(Error::new(
            "memory is short: reports that lack last words count them; raise RLIMIT_AS or \
             RLIMIT_DATA, or relax vm.overcommit_memory",
        ));
    }

    /// Calls the host's closures with everything that is queued, also with what they cause.
    pub(super) fn deliver(
        &mut self,
        programs: &mut ProgramTable,
        side_commands: &mut SideCommands,
    ) {
        while let Some(queued) = self.queue.pop_front() {
            match queued {
                Queued::Notice(Notice::Report(report)) => {
                    self.deliver_report(report, side_commands);
                }
                Queued::Notice(notice) => self.call(notice),
                Queued::Exit(id) => {
                    if let Some(program) = programs.get_mut(id)
                        && let Some(record) = program.exit_record.take()
                    {
                        self.deliver_exit(program, *record, side_commands);
                    }
                }
            }
        }
    }

    fn deliver_exit(
        &mut self,
        program: &mut Program,
        record: ExitRecord,
        side_commands: &mut SideCommands,
    ) {
        for lines in record.lines {
            self.call(Notice::Lines(lines));
        }
        let mut report = record.report;
        (report.stderr, report.data_omitted) = record.tail.into_words();
        let stdout = record.stdout_tail;
        report.stdout = stdout.map(|tail| Box::new(tail.into_words()));
        let last_line = || report.last_line();
        let last_line = record.has_failed.then(last_line).flatten();
        if let Some(last) = &mut program.last_exit {
            last.last_line.clone_from(&last_line);
        }
        let event = |kind| {
            Notice::Event(Event {
                program: report.process.clone(),
                at: report.timestamp,
                kind,
            })
        };
        let exited = event(EventKind::Exited {
            pid: report.pid.unwrap_or_default(),
            return_code: report.return_code(),
            core_dumped: report.core_dumped(),
            uptime: report.uptime,
            stopping: report.stopping,
            cause: report.cause,
            was_up: record.was_up,
            has_failed: record.has_failed,
            fault: record.fault,
            retry_in: report.retry_in,
            restart: record.restart,
            reason: record.reason,
            last_line,
        });
        let waiting = report.retry_in;
        let waiting = waiting.map(|delay| event(EventKind::Waiting { delay }));
        self.callbacks.call(&exited);
        self.deliver_report(report, side_commands);
        if let Some(waiting) = waiting {
            self.callbacks.call(&waiting);
        }
    }

    fn deliver_report(&mut self, report: ErrorReport, side_commands: &mut SideCommands) {
        #[cfg(feature = "json")]
        side_commands.push(&report);
        #[cfg(not(feature = "json"))]
        let _ = side_commands;
        self.callbacks.call(&Notice::Report(report));
    }
}
