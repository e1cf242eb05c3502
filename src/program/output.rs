//! The streams of a program on their way to us: for each its log, over all runs, and its pipes, of
//! the latest run and the one before.
//!
//! As a rule there is one, stderr. The other, and what is seldom there, is allocated for those that
//! have it.

use std::fmt::{Display, Formatter, Result};

use super::{Key, Program};
use crate::os::logs::Log;
use crate::os::poller::Poller;
use crate::os::stream::Stream;
use crate::os::tail::Tail;
use crate::report::ErrorReport;
use crate::signal::exit_label;
use crate::spec::{LogOptions, StdStream};
use crate::text::duration;

/// One stream of a program.
pub(crate) struct Output {
    pub(crate) log: Log,
    /// The latest run's pipe, until its end.
    pub(crate) pipe: Option<Stream>,
}

/// The way of what is in a pipe.
pub(crate) struct Route<'a> {
    pub(crate) pipe: &'a Stream,
    pub(crate) log: &'a mut Log,
    pub(crate) tail: Option<&'a mut Tail>,
}

/// What few programs have.
#[derive(Default)]
pub(super) struct Rare {
    /// The stdout of one that has a log or a pipe for it.
    stdout: Option<Output>,
    /// The last bytes that the latest run wrote there, until its exit.
    stdout_tail: Option<Tail>,
    /// The pipes of the run before the latest, held open by a process that left its group.
    old: [Option<Stream>; 2],
    /// How many pipes of earlier runs were closed although a process still held them.
    pipes_closed: u32,
}

/// The end of a run, for its logs.
struct EndOf<'a>(&'a ErrorReport);

impl Display for EndOf<'_> {
    fn fmt(&self, f: &mut Formatter<'_>) -> Result {
        let (key, value) = exit_label(self.0.return_code());
        let uptime = duration(self.0.uptime);
        write!(f, "exited {key}={value} after {uptime}")
    }
}

impl Output {
    pub(crate) fn new(log: Log) -> Self {
        Self { log, pipe: None }
    }
}

impl Program {
    /// Returns one of its streams, if there is anything of it.
    pub(crate) fn output(&self, stream: StdStream) -> Option<&Output> {
        match stream {
            StdStream::Stderr => Some(&self.stderr),
            StdStream::Stdout => self.rare.as_ref()?.stdout.as_ref(),
        }
    }

    /// The same, to be changed.
    pub(crate) fn output_mut(&mut self, stream: StdStream) -> Option<&mut Output> {
        match stream {
            StdStream::Stderr => Some(&mut self.stderr),
            StdStream::Stdout => self.rare.as_mut()?.stdout.as_mut(),
        }
    }

    /// Returns one of its streams, and makes it if there is nothing of it.
    pub(crate) fn output_or_new(&mut self, stream: StdStream) -> &mut Output {
        match stream {
            StdStream::Stderr => &mut self.stderr,
            StdStream::Stdout => {
                let log = &self.stderr.log;
                let rare = self.rare.get_or_insert_default();
                rare.stdout
                    .get_or_insert_with(|| Output::new(log.beside(stream)))
            }
        }
    }

    /// Returns its streams of which there is anything.
    pub(crate) fn outputs_mut(&mut self) -> impl Iterator<Item = &mut Output> {
        let stdout = self.rare.as_mut().and_then(|rare| rare.stdout.as_mut());
        stdout.into_iter().chain([&mut self.stderr])
    }

    /// Sets how its logs are kept.
    pub(crate) fn set_log_options(&mut self, options: LogOptions) {
        self.outputs_mut()
            .for_each(|output| output.log.set_options(options));
    }

    /// Marks the start or the end of a run in its logs, if that is wanted.
    pub(crate) fn mark(&mut self, text: &dyn Display) {
        self.outputs_mut()
            .filter(|output| output.log.is_open())
            .for_each(|output| output.log.mark(text));
    }

    /// Marks the end of the latest run in its logs, and notes how often they were rotated, once its
    /// output is there: in the same turn the next run may begin, whose marks and rotations are its own.
    pub(crate) fn end_run(&mut self) {
        if let Some(mut record) = self.exit_record.take() {
            self.mark(&EndOf(&record.report));
            record.report.log_rotated = self.stderr.log.rotations();
            self.exit_record = Some(record);
        }
    }

    /// Closes the logs that its definition does not have any more.
    pub(crate) fn close_unused_logs(&mut self) {
        let outputs = self.exec.outputs();
        for stream in StdStream::ALL {
            if let Some(output) = self.output_mut(stream)
                && !outputs.is_logged(stream)
            {
                output.log.close();
            }
        }
    }

    /// Closes its logs. True if one was open.
    pub(crate) fn close_logs(&mut self) -> bool {
        let mut closed = false;
        for output in self.outputs_mut() {
            closed |= output.log.is_open();
            output.log.close();
        }
        closed
    }

    /// True if it has a pipe.
    pub(crate) fn has_pipes(&self) -> bool {
        let has_old = |rare: &Rare| rare.old.iter().any(Option::is_some);
        self.has_run_pipes() || self.rare.as_deref().is_some_and(has_old)
    }

    /// True if it has a pipe of its latest run.
    pub(crate) fn has_run_pipes(&self) -> bool {
        let has_pipe = |stream: &StdStream| {
            let output = self.output(*stream);
            output.is_some_and(|output| output.pipe.is_some())
        };
        StdStream::ALL.iter().any(has_pipe)
    }

    /// Keeps the last bytes that the latest run writes to stdout, if it has a pipe for that, and reports
    /// may have what it writes.
    pub(crate) fn keep_stdout(&mut self, has_pipe: bool) {
        let limit = self.report_bytes;
        if let Some(rare) = &mut self.rare {
            rare.stdout_tail = (has_pipe && limit > 0).then(|| Tail::for_text(limit));
        }
    }

    /// Returns the last bytes that the latest run wrote to stdout; none are kept from now on.
    pub(crate) fn take_stdout(&mut self) -> Option<Tail> {
        self.rare.as_mut()?.stdout_tail.take()
    }

    /// Returns the pipe of this key, and where its bytes go. Those of the latest run go to a tail,
    /// too: once it `has_exited`, to that of its report.
    #[inline]
    pub(crate) fn route(&mut self, key: Key, has_exited: bool) -> Option<Route<'_>> {
        let rare = self.rare.as_deref_mut();
        let record = self.exit_record.as_mut().filter(|_| has_exited);
        let (pipe, log, tail) = match key {
            Key::Stream(_, StdStream::Stderr) => {
                // Until a late start is over, this is the pipe of the run before.
                let live = self.live.as_mut().filter(|live| !live.is_launching);
                let tail = match has_exited {
                    true => record.map(|record| &mut record.tail),
                    false => live.map(|live| &mut live.tail),
                };
                (&self.stderr.pipe, &mut self.stderr.log, tail)
            }
            Key::Stream(_, StdStream::Stdout) => {
                let rare = rare?;
                let Output { log, pipe } = rare.stdout.as_mut()?;
                let tail = match has_exited {
                    true => record.and_then(|record| record.stdout_tail.as_mut()),
                    false => rare.stdout_tail.as_mut(),
                };
                (&*pipe, log, tail)
            }
            Key::OldStream(_, stream) => {
                let Rare { old, stdout, .. } = rare?;
                let log = match stream {
                    StdStream::Stderr => &mut self.stderr.log,
                    StdStream::Stdout => &mut stdout.as_mut()?.log,
                };
                (&old[stream as usize], log, None)
            }
            _ => return None,
        };
        let pipe = pipe.as_ref()?;
        Some(Route { pipe, log, tail })
    }

    /// Makes this the pipe of the run before the latest.
    pub(crate) fn set_old(&mut self, stream: StdStream, pipe: Stream) {
        self.rare.get_or_insert_default().old[stream as usize] = Some(pipe);
    }

    /// Takes a pipe away, and out of the poller.
    pub(crate) fn detach(&mut self, key: Key, poller: &mut Poller) -> Option<Stream> {
        let pipe = match key {
            Key::Stream(_, stream) => self.output_mut(stream)?.pipe.take(),
            Key::OldStream(_, stream) => self.rare.as_mut()?.old[stream as usize].take(),
            Key::Wake
            | Key::Leader(_)
            | Key::ReadyPipe(_)
            | Key::Notify(_)
            | Key::Connection(_) => None,
        };
        if let Some(pipe) = &pipe {
            poller.remove(pipe.as_fd(), key.number());
        }
        pipe
    }

    /// Counts a pipe that was closed although a process still held it, and returns how many there
    /// were.
    pub(crate) fn count_closed_pipe(&mut self) -> u32 {
        let rare = self.rare.get_or_insert_default();
        rare.pipes_closed = rare.pipes_closed.saturating_add(1);
        rare.pipes_closed
    }
}
