//! A process of the simulated system: what it is, and what it is going to do.

use std::collections::VecDeque;
use std::os::fd::OwnedFd;

use super::messages::{Sender, Word};
use crate::machine::Exit;
use crate::spec::StdStream;

/// Nanoseconds.
pub type Time = u64;

/// What a process really is, whatever its number says.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Whose {
    /// Of this run, which is an index into the kernel's list of all runs.
    Run(usize),
    /// It has not executed this program, or a command that handles a report, yet.
    New(Option<usize>),
    /// A command that handles a report.
    Command,
    /// A child that the host has started itself.
    Host,
    /// A child that was there before the scheduler.
    Inherited,
    /// None of ours.
    Stranger,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Parent {
    Us,
    /// The first process of the system, which reaps at once.
    Init,
    Process(i32),
}

#[derive(Debug, Clone)]
pub enum Action {
    /// Writes this many bytes to one of its streams.
    Write(StdStream, usize),
    Fork(Plan),
    /// A new child has its session, and its group.
    Lead,
    /// It executes its program, or cannot for this errno.
    Execute(Option<i32>),
    Setsid,
    Setpgid,
    Close(StdStream),
    /// SIGSTOP to itself.
    Stop,
    /// An uninterruptible wait of so long.
    Freeze(Time),
    /// Its environment does not say any more whose it is.
    Forget,
    /// A message to its notification socket, of whomever.
    Say(Word, Sender),
    /// The same, more often than the queue has room.
    Flood(Word, Sender),
    /// A sign of life, again and again after so long.
    Live(Time),
    /// Something in the pipe for its readiness, or a newline.
    Tell(bool),
    CloseReady,
    Exit(i32),
    Die(i32),
}

/// What a process does about a request to end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Temper {
    Dies,
    /// It exits with this code, in its own time.
    Leaves(Time, i32),
    Ignores,
}

/// What a process will do, each after a pause, before it waits for ever.
#[derive(Debug, Clone)]
pub struct Plan {
    pub steps: Vec<(Time, Action)>,
    pub temper: Temper,
    /// It takes the statuses of its children at once.
    pub reaps: bool,
}

impl Plan {
    pub fn hold(temper: Temper) -> Self {
        Self {
            steps: Vec::new(),
            temper,
            reaps: true,
        }
    }
}

/// The write end of a run's pipe.
#[derive(Debug)]
pub struct WriteEnd {
    pub fd: OwnedFd,
    pub pipe: usize,
}

#[derive(Debug)]
pub struct Process {
    /// Never used twice.
    pub serial: u64,
    /// Counts the moments in which somebody got a child.
    pub adopted: u64,
    /// When it got another parent.
    pub adopted_at: Time,
    pub parent: Parent,
    pub group: i32,
    pub session: i32,
    /// It has left the group that it was born in, or its parent had.
    pub left: bool,
    pub whose: Whose,
    /// The program that its environment names.
    pub named: Option<usize>,
    /// It was asked for that so often in vain that it counts as nobody's.
    pub overlooked: bool,
    pub steps: VecDeque<(Time, Action)>,
    /// When the next of its steps is due.
    pub at: Option<Time>,
    pub temper: Temper,
    pub reaps: bool,
    /// How it ended; it is a zombie then.
    pub ended: Option<Exit>,
    pub ended_at: Time,
    pub stopped: bool,
    /// Signals that wait for a SIGCONT.
    pub held: Vec<i32>,
    pub frozen_until: Option<Time>,
    /// A signal that it will die of when it is no longer frozen.
    pub doomed: Option<i32>,
    pub stdout: Option<WriteEnd>,
    pub stderr: Option<WriteEnd>,
    /// The write end of the pipe for its readiness.
    pub ready: Option<WriteEnd>,
    /// The notification socket that its environment names.
    pub socket: Option<usize>,
    /// Bytes of a write that found the pipe full, and of which stream it is.
    pub unwritten: usize,
    pub writes_to: StdStream,
    /// The other ends of descriptors that tell of its death.
    pub pidfds: Vec<OwnedFd>,
}

impl Process {
    pub fn new(serial: u64, parent: Parent, number: i32, whose: Whose) -> Self {
        Self {
            serial,
            adopted: serial,
            adopted_at: 0,
            parent,
            group: number,
            session: number,
            left: false,
            whose,
            named: None,
            overlooked: false,
            steps: VecDeque::new(),
            at: None,
            temper: Temper::Dies,
            reaps: true,
            ended: None,
            ended_at: 0,
            stopped: false,
            held: Vec::new(),
            frozen_until: None,
            doomed: None,
            stdout: None,
            stderr: None,
            ready: None,
            socket: None,
            unwritten: 0,
            writes_to: StdStream::Stderr,
            pidfds: Vec::new(),
        }
    }

    pub fn follow(&mut self, now: Time, plan: Plan) {
        self.steps = plan.steps.into();
        self.temper = plan.temper;
        self.reaps = plan.reaps;
        self.at = self
            .steps
            .front()
            .map(|(pause, _)| now.saturating_add(*pause));
    }

    /// The end of a pipe that it writes to, if it has not closed it.
    pub fn end_of(&self, stream: StdStream) -> Option<&WriteEnd> {
        match stream {
            StdStream::Stdout => self.stdout.as_ref(),
            StdStream::Stderr => self.stderr.as_ref(),
        }
    }

    /// Whether it could write into this pipe.
    pub fn holds(&self, pipe: usize) -> bool {
        let holds = |&stream: &StdStream| self.end_of(stream).is_some_and(|end| end.pipe == pipe);
        StdStream::ALL.iter().any(holds)
    }

    pub fn lives(&self) -> bool {
        self.ended.is_none()
    }

    /// When something happens to it by itself.
    pub fn next_event(&self) -> Option<Time> {
        if !self.lives() {
            return None;
        }
        if self.frozen_until.is_some() {
            return self.frozen_until;
        }
        self.at.filter(|_| !self.stopped && self.unwritten == 0)
    }
}
