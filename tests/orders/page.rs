//! One program as its observer knows it.

use std::time::Duration;

use crate::machine::state::{Cause, Leader, State, Why};
use crate::machine::{Moment, ProgramId, ProgramState};

use super::definition::Definition;

/// The processes of a run, until their group is gone.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub struct Group {
    pub leader: Leader,
    /// Processes beside the leader exist.
    pub members: bool,
    pub asked_to_stop: bool,
    pub killed: bool,
    /// It executed its program before the SIGKILL for its late start reached it.
    pub killed_early: bool,
    /// It does not die of SIGKILL for now.
    pub stuck: bool,
}

/// The report that has to come next.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Expected {
    pub uptime: Option<Duration>,
    pub retry_in: Option<Duration>,
    pub cause: Cause,
}

/// What has to be reported, or sent, before the step is over.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct Owed {
    pub started: bool,
    pub up: bool,
    pub killed: bool,
    /// It was sent this signal, which SIGCONT and a report follow.
    pub stopping: Option<i32>,
    pub continued: bool,
}

#[derive(Debug, Clone)]
pub struct Page {
    pub id: ProgramId,
    pub definition: Definition,
    pub wanted: bool,
    /// It was killed, and not started since.
    pub hard: bool,
    pub why: Why,
    /// It is a oneshot that has succeeded.
    pub done: bool,
    pub removed: bool,
    /// Its latest run is one of a oneshot, and the program is none any more.
    pub was_oneshot: bool,
    pub after_removals: bool,
    pub escaped: bool,
    /// What escaped survived SIGKILL.
    pub escaped_abandoned: bool,
    /// What it starts after was seen not to hold the start that is due.
    pub passed: bool,
    /// What ended the run whose group survives SIGKILL.
    pub survived: Option<Cause>,
    pub in_row: u32,
    pub delay: Duration,
    /// The number of runs, failed ones too.
    pub runs: u64,
    /// What ended the latest run, or is ending it.
    pub cause: Cause,
    pub since: Moment,
    /// The latest run says when it is ready.
    pub tells_ready: bool,
    /// It was started while a run was being ended for a fault, and is not judged for that.
    pub again: bool,
    /// The start that is under way has a former definition.
    pub outdated: bool,
    pub group: Option<Group>,
    /// How the latest run's end has to be reported.
    pub expected: Option<Expected>,
    pub reports: u32,
    pub owed: Owed,
    /// Between which moments its next start has to be.
    pub plan: Option<(Moment, Moment)>,
    /// When something has to happen to it.
    pub deadline: Option<Moment>,
    /// Its place among deadlines of one moment.
    pub ticket: u64,
    /// While it waits for others to stop: these, each with the run that it waits for.
    pub drain: Option<Vec<(ProgramId, u64)>>,
    /// It stops as a oneshot that it requires has become another kind: others stop before it by
    /// their links since then, and which do is not judged.
    pub drains_by_new_links: bool,
    /// The programs that it requires and that were not down at one moment since it requires them.
    pub armed: Vec<ProgramId>,
    /// What the machine said after the last step.
    pub state: State,
    /// The word for that, and when it was another one last.
    pub word: ProgramState,
    pub word_since: Moment,
}

impl Page {
    pub fn new(now: Moment, id: ProgramId, definition: Definition) -> Self {
        Self {
            id,
            delay: definition.policy.backoff.initial,
            definition,
            wanted: false,
            hard: false,
            why: Why::New,
            done: false,
            removed: false,
            was_oneshot: false,
            after_removals: false,
            escaped: false,
            escaped_abandoned: false,
            passed: false,
            survived: None,
            in_row: 0,
            runs: 0,
            cause: Cause::Exit,
            since: Moment::default(),
            tells_ready: false,
            again: false,
            outdated: false,
            group: None,
            expected: None,
            reports: 0,
            owed: Owed::default(),
            plan: None,
            deadline: None,
            ticket: 0,
            drain: None,
            drains_by_new_links: false,
            armed: Vec::new(),
            state: State::Inactive,
            word: ProgramState::Stopped,
            word_since: now,
        }
    }

    /// True if its latest run ends, or has ended, because it was asked to.
    pub fn was_asked(&self) -> bool {
        !self.wanted || self.cause.is_stop()
    }

    /// A run that ends for a fault ends as one that was asked to from now on.
    pub fn ask(&mut self, cause: Cause) {
        if !self.cause.is_stop() {
            self.cause = cause;
        }
    }

    pub fn forgive(&mut self) {
        self.in_row = 0;
        self.delay = self.definition.policy.backoff.initial;
    }

    pub fn is_oneshot(&self) -> bool {
        self.definition.policy.oneshot
    }

    /// A start with a former definition was answered, and ends.
    pub fn end_outdated(&mut self) {
        if self.state == State::Spawning && self.outdated {
            self.ask(Cause::Reload);
        }
        self.outdated = false;
    }

    /// True if it runs its program, or will, and nothing ends it.
    pub fn is_executing(&self) -> bool {
        self.is_run() && self.state != State::Spawning
    }

    /// True if its process runs, and nothing ends it.
    pub fn is_run(&self) -> bool {
        matches!(
            self.state,
            State::Spawning
                | State::Launching { .. }
                | State::Starting { .. }
                | State::Running { .. }
        )
    }

    /// True if it is a oneshot that has succeeded, and the rest of its group ends.
    pub fn is_succeeding(&self) -> bool {
        let is_done = self.is_oneshot() && self.why == Why::Exited && !self.wanted;
        is_done && matches!(self.state, State::Killed { .. })
    }

    /// What escaped keeps a program known that is down and removed, unless that was abandoned.
    pub fn may_be_known(&self) -> bool {
        !self.removed || (self.escaped && !self.escaped_abandoned)
    }

    pub fn is_ending(&self) -> bool {
        is_ending(self.state)
    }

    pub fn links(&self) -> impl Iterator<Item = ProgramId> + use<'_> {
        let definition = &self.definition;
        definition.requires.iter().chain(&definition.after).copied()
    }
}

pub fn is_ending(state: State) -> bool {
    matches!(
        state,
        State::Draining { .. } | State::Stopping { .. } | State::Killed { .. }
    )
}
