//! Programs and their runs, as they are outside of the library.

use std::ffi::OsString;

use super::Kernel;
use super::process::{Plan, Time};
use super::signs::{Signs, Truth};
use crate::machine::{Cause, Exit, Policy, Restart};
use crate::spec::{ChildSpec, Outputs};

/// A moment, and its place among those of one time: processes have such numbers, too.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub struct Stamp {
    pub time: Time,
    pub serial: u64,
}

/// What the operator wants of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Wish {
    Up,
    Down,
    /// It was stopped, and what is required only by what is up already may stay so.
    Either,
}

/// How far a removal has got.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Removal {
    No,
    Asked,
    /// The host was told: nothing is heard of it any more.
    Told,
}

/// One program, as it is outside of the library.
#[derive(Debug, Clone)]
pub struct Program {
    pub name: String,
    /// Indexes of its runs, in order.
    pub runs: Vec<usize>,
    /// What was read of its pipes for each of its logs, in order: which pipe, from where, how much.
    pub drained: [Vec<(usize, u64, u64)>; 2],
    /// Where what it writes goes, from its next start on.
    pub outputs: Outputs,
    /// Its logs have, or had, a line for the start and the end of each run.
    pub has_marks: bool,
    /// Pipes whose bytes go to the host.
    pub relayed: u8,
    pub policy: Policy,
    pub report_bytes: usize,
    pub signs: Signs,
    /// Those of definitions that were replaced, until its next start.
    pub former: Vec<Policy>,
    /// What it depended on by definitions that were replaced.
    pub former_links: Vec<usize>,
    pub requires: Vec<usize>,
    pub after: Vec<usize>,
    pub wish: Wish,
    pub removal: Removal,
    /// Each order that ends a run, and the cause that is reported for it.
    pub ends: Vec<(Stamp, Cause)>,
    /// When it was last killed by an order.
    pub killed: Option<u64>,
    /// There was an order for it, or for what it requires.
    pub is_touched: bool,
    /// How often it was started, and when that has failed last.
    pub starts: u64,
    pub failed_at: Option<Stamp>,
    /// The number of the moment in which it was tried last.
    pub tried: u64,
    /// It starts next without a look that did not fail.
    pub overlooks: bool,
    /// There is no such file.
    pub is_missing: bool,
    /// What its next run is started with.
    pub command: Vec<OsString>,
    /// When its definition was changed last.
    pub relinked: u64,
    /// When its command was last changed without a restart.
    pub kept: u64,
    /// Starts that had lost what they require when the definitions changed, and since when.
    pub lost: Vec<(u64, Time)>,
    /// It was stopped, or killed, by an order for it.
    pub by_hand: bool,
    /// Programs that are to be gone before its first start.
    pub gone_before: Vec<usize>,
    /// What each of its runs does; the last of these for all that follow.
    pub script: Option<Vec<Plan>>,
    /// The run of which the host was told last that it has started.
    pub told: Option<usize>,
}

impl Program {
    pub fn new(spec: &ChildSpec) -> Self {
        Self {
            name: spec.name().to_owned(),
            runs: Vec::new(),
            drained: [const { Vec::new() }; 2],
            outputs: spec.outputs,
            has_marks: spec.log.marks,
            relayed: 0,
            policy: spec.policy(),
            report_bytes: spec.report_bytes,
            signs: Signs::of(spec),
            former: Vec::new(),
            former_links: Vec::new(),
            requires: Vec::new(),
            after: Vec::new(),
            wish: match spec.autostart {
                true => Wish::Up,
                false => Wish::Down,
            },
            removal: Removal::No,
            ends: Vec::new(),
            killed: None,
            is_touched: false,
            starts: 0,
            failed_at: None,
            tried: 0,
            overlooks: false,
            is_missing: false,
            command: spec.command.clone(),
            relinked: 0,
            kept: 0,
            lost: Vec::new(),
            by_hand: false,
            gone_before: Vec::new(),
            script: None,
            told: None,
        }
    }

    /// Those that may count: a stop that has begun goes on by the former one.
    pub(super) fn policies(&self) -> impl Iterator<Item = &Policy> {
        self.former.iter().chain([&self.policy])
    }

    pub(super) fn stop_timeout_min(&self) -> Time {
        let times = self.policies().map(|policy| policy.stop_timeout.as_nanos());
        times.min().unwrap_or_default() as Time
    }

    pub(super) fn stop_timeout_max(&self) -> Time {
        let times = self.policies().map(|policy| policy.stop_timeout.as_nanos());
        times.max().unwrap_or_default() as Time
    }

    pub(super) fn kills_at_once(&self) -> bool {
        self.policies()
            .any(|policy| policy.stop_signal == libc::SIGKILL)
    }

    pub(super) fn restarts_at_once(&self) -> bool {
        self.policies()
            .any(|policy| policy.backoff.initial.is_zero())
    }

    /// It is tried once, and everything stops with it.
    pub(super) fn ends_all_by_a_failed_start(&self) -> bool {
        self.policies()
            .any(|policy| policy.essential && policy.restart == Restart::Never)
    }

    /// It may end and not be restarted, although it was not asked to.
    pub fn may_end_for_good(&self) -> bool {
        let may_end = |policy: &Policy| {
            let has_codes = (0..256).any(|code| policy.permanent.contains(Exit::Code(code)));
            policy.restart != Restart::Always || policy.max_restarts.is_some() || has_codes
        };
        self.policies().any(may_end)
    }

    /// By each definition that may count.
    pub fn is_always_oneshot(&self) -> bool {
        self.policies().all(|policy| policy.oneshot)
    }

    /// By one of the definitions that may count.
    pub fn may_be_oneshot(&self) -> bool {
        self.policies().any(|policy| policy.oneshot)
    }

    pub fn is_oneshot(&self) -> bool {
        self.policy.oneshot
    }
}

/// Whether a program that ended like this, and was not asked to, is not restarted, whatever the
/// number of its restarts.
pub(super) fn is_for_good(policy: &Policy, exit: Exit) -> bool {
    let is_success = policy.is_success(exit);
    policy.permanent.contains(exit)
        || match policy.restart {
            Restart::Always => false,
            Restart::OnFailure => is_success,
            Restart::Never => true,
        }
}

/// One run of a program.
#[derive(Debug)]
pub struct Run {
    pub program: usize,
    pub pid: i32,
    /// Its leader's.
    pub serial: u64,
    pub pipe: usize,
    /// That of its stdout, if it has one of its own.
    pub stdout: Option<usize>,
    pub outputs: Outputs,
    /// How often its log had been rotated when it began, and when its leader was reaped.
    pub rotated: u64,
    pub rotated_at_reap: u64,
    pub started: Time,
    pub truth: Truth,
    /// What it was started with.
    pub command: Vec<OsString>,
    /// How much of what it writes its report has.
    pub report_bytes: usize,
    /// When its group was asked to end, and not killed yet.
    pub asked: Option<Time>,
    /// When it was first asked, killed since or not.
    pub first_asked: Option<Time>,
    /// Its leader was sent a signal that ends it.
    pub is_signalled: bool,
    /// When its group was first killed.
    pub killed: Option<Time>,
    /// An order ended it, and so its report says.
    pub was_ordered: bool,
    pub exit: Option<Exit>,
    pub ended: Time,
    /// The library knows of its end.
    pub seen: bool,
    /// Since when.
    pub seen_at: u64,
    pub reaped: bool,
    /// By somebody else.
    pub stolen: bool,
    pub reported: bool,
    /// It was killed when the library could not know of its exec: it is taken for none.
    pub is_misjudged: bool,
    /// What was in its pipe, or had been, when its leader was reaped.
    pub written_at_reap: u64,
    /// The same for its stdout.
    pub stdout_at_reap: u64,
}

impl Run {
    pub fn new(program: usize, pid: i32, serial: u64, pipe: usize) -> Self {
        Self {
            program,
            pid,
            serial,
            pipe,
            stdout: None,
            outputs: Outputs::default(),
            rotated: 0,
            rotated_at_reap: 0,
            started: 0,
            truth: Truth::default(),
            command: Vec::new(),
            report_bytes: 0,
            asked: None,
            first_asked: None,
            is_signalled: false,
            killed: None,
            was_ordered: false,
            exit: None,
            ended: 0,
            seen: false,
            seen_at: 0,
            reaped: false,
            stolen: false,
            reported: false,
            is_misjudged: false,
            written_at_reap: 0,
            stdout_at_reap: 0,
        }
    }

    /// Its pipes.
    pub fn pipes(&self) -> impl Iterator<Item = usize> {
        [self.pipe].into_iter().chain(self.stdout)
    }

    /// Whether this is one of its pipes.
    pub fn has(&self, pipe: usize) -> bool {
        self.pipe == pipe || self.stdout == Some(pipe)
    }
}

impl Kernel {
    pub(super) fn stamp(&mut self) -> Stamp {
        let (time, serial) = (self.now, self.next_serial());
        Stamp { time, serial }
    }

    /// The program that has this name now, or had it last.
    pub fn index_of(&self, name: &str) -> usize {
        let mut programs = self.programs.iter();
        let index = programs.rposition(|program| program.name == name);
        index.expect("a program of this life")
    }

    /// The library knows of its end, or may.
    pub(super) fn run_is_seen(&mut self, run: usize) {
        let (now, woken) = (self.next_serial(), self.woken);
        let run = &mut self.runs[run];
        if !std::mem::replace(&mut run.seen, true) {
            run.seen_at = now;
            run.truth.found_dead = woken;
        }
    }

    pub(super) fn latest_run(&self, index: usize) -> Option<&Run> {
        self.programs[index].runs.last().map(|&run| &self.runs[run])
    }
}
