//! A program while it is supervised: its command, its logs, the current run, and the pipes of at
//! most two runs.

mod output;
mod run;
mod sparse;
mod table;

use std::sync::Arc;
use std::time::SystemTime;

use output::Rare;
pub(crate) use output::{Output, Route};
pub(crate) use run::{ExitRecord, FailedStart, LiveRun};
pub(crate) use sparse::Sparse;
pub(crate) use table::ProgramTable;

use crate::exec::Exec;
use crate::machine::{ProgramId, Run};
use crate::os::logs::Log;
use crate::os::poller::Poller;
use crate::spec::StdStream;
use crate::status::LastExit;

/// What a descriptor is that a turn waits for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Key {
    Wake,
    /// A pipe of the latest run.
    Stream(ProgramId, StdStream),
    /// A pipe of the run before that.
    OldStream(ProgramId, StdStream),
    /// The pidfd of a leader.
    Leader(ProgramId),
    /// The pipe of a run that says when it is ready.
    ReadyPipe(ProgramId),
    /// The notification socket of a run.
    Notify(ProgramId),
    /// A connection that is tried.
    Connection(ProgramId),
}

impl Key {
    /// Returns the number that stands for it in the kernel's list.
    pub(crate) fn number(self) -> u64 {
        let (kind, id) = match self {
            Self::Wake => (0, 0),
            Self::Stream(id, StdStream::Stderr) => (1, id.0),
            Self::OldStream(id, StdStream::Stderr) => (2, id.0),
            Self::Leader(id) => (3, id.0),
            Self::ReadyPipe(id) => (4, id.0),
            Self::Notify(id) => (5, id.0),
            Self::Connection(id) => (6, id.0),
            Self::Stream(id, StdStream::Stdout) => (7, id.0),
            Self::OldStream(id, StdStream::Stdout) => (8, id.0),
        };
        kind << 32 | u64::from(id)
    }

    /// Returns the program and the stream of a pipe with output.
    pub(crate) fn stream(self) -> Option<(ProgramId, StdStream)> {
        match self {
            Self::Stream(id, stream) | Self::OldStream(id, stream) => Some((id, stream)),
            _ => None,
        }
    }

    pub(crate) fn of(number: u64) -> Self {
        let id = ProgramId(number as u32);
        match number >> 32 {
            1 => Self::Stream(id, StdStream::Stderr),
            2 => Self::OldStream(id, StdStream::Stderr),
            3 => Self::Leader(id),
            4 => Self::ReadyPipe(id),
            5 => Self::Notify(id),
            6 => Self::Connection(id),
            7 => Self::Stream(id, StdStream::Stdout),
            8 => Self::OldStream(id, StdStream::Stdout),
            _ => Self::Wake,
        }
    }
}

/// One program, with everything that the kernel has given us for it.
///
/// There may be ten thousand, most of them silent: what is needed seldom is allocated when it is
/// needed.
pub(crate) struct Program {
    pub(crate) id: ProgramId,
    pub(crate) exec: Exec,
    pub(crate) report_bytes: u32,
    pub(crate) stderr: Output,
    /// The run whose group is not known to be gone.
    pub(crate) live: Option<LiveRun>,
    /// The end of the latest run, until it is reported.
    pub(crate) exit_record: Option<Box<ExitRecord>>,
    /// What few programs have.
    rare: Option<Box<Rare>>,
    pub(crate) last_start: Option<SystemTime>,
    /// How its latest run ended.
    pub(crate) last_exit: Option<Box<LastExit>>,
}

impl Program {
    /// Returns a program that has never run.
    pub(crate) fn new(id: ProgramId, exec: Exec, log: Log, report_bytes: usize) -> Self {
        Self {
            id,
            exec,
            report_bytes: u32::try_from(report_bytes).unwrap_or(u32::MAX),
            stderr: Output::new(log),
            live: None,
            exit_record: None,
            rare: None,
            last_start: None,
            last_exit: None,
        }
    }

    /// Takes over a new definition, which holds from the next start on, and returns the old one.
    fn redefine(&mut self, exec: Exec, report_bytes: usize) -> Exec {
        self.report_bytes = u32::try_from(report_bytes).unwrap_or(u32::MAX);
        std::mem::replace(&mut self.exec, exec)
    }

    pub(crate) fn name(&self) -> &Arc<str> {
        self.stderr.log.name()
    }

    /// Returns the current run, if it is this one.
    pub(crate) fn live_run(&mut self, run: Run) -> Option<&mut LiveRun> {
        self.live.as_mut().filter(|live| live.run == run)
    }

    /// Polls a descriptor for the leader's death. False if the system has none for us.
    pub(crate) fn watch_leader(&mut self, poller: &mut Poller) -> bool {
        let Some(live) = &mut self.live else {
            return false;
        };
        live.group.pin();
        if let Some(pidfd) = live.group.pidfd() {
            poller.add(pidfd, Key::Leader(self.id).number());
            live.is_watched = true;
        }
        live.is_watched
    }

    /// Takes the leader's descriptor out of the poller: once it is dead, it is readable for ever.
    pub(crate) fn unwatch_leader(&mut self, poller: &mut Poller) {
        let live = self.live.as_mut().filter(|live| live.is_watched);
        if let Some(live) = live
            && let Some(pidfd) = live.group.pidfd()
        {
            poller.remove(pidfd, Key::Leader(self.id).number());
            live.is_watched = false;
        }
    }
}
