//! When each check is made, and what its results mean. It reads no clock and makes no system call.
//!
//! A program has one check at a time: of its readiness until it is up, and then of its health. A
//! check that is due waits for one of a few slots, which is no failure, and is under way until it
//! has a result. The next one is due an interval after the end of this one.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Error;
use crate::machine::timers::Timers;
use crate::machine::{Moment, ProgramId, Run};
use crate::program::Sparse;
use crate::spec::{Health, Probe};
use crate::status::HealthStatus;

/// Checks that are under way at a time.
pub(super) const UNDERWAY_MAX: usize = 16;

/// What a check is for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Aim {
    Ready(Probe),
    Health(Health),
}

impl Aim {
    fn name(&self) -> &'static str {
        match self {
            Self::Ready(_) => "readiness probe",
            Self::Health(_) => "health check",
        }
    }

    pub(super) fn probe(&self) -> &Probe {
        match self {
            Self::Ready(probe) => probe,
            Self::Health(health) => &health.probe,
        }
    }
}

/// The result of a check.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Outcome {
    Passed,
    Failed(Error),
    /// Its command could not be executed, which is a failure and a fault of the config.
    Unexecuted(Error),
    /// It took too long, which is a failure, and was killed.
    Hung(Error),
    /// It was not made, for a reason that says nothing of the program.
    Untried(Error),
}

/// What follows from a result.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Verdict {
    Nothing,
    Ready,
    Unhealthy,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum State {
    /// It has a deadline.
    Waiting,
    /// It is due, and has no slot.
    Queued,
    Underway,
    /// Its last result has decided, and no other follows.
    Over,
}

/// What is known of the checks of one run.
#[derive(Debug)]
struct Watched {
    run: Run,
    aim: Aim,
    state: State,
    /// The number of failures in a row.
    failures: u32,
    last_failure: Option<Error>,
    has_passed: bool,
    /// What was reported already: each once a run.
    unexecuted_reported: bool,
    hang_reported: bool,
    untried_reported: bool,
}

/// The checks of all programs that have one.
#[derive(Debug, Default)]
pub(super) struct Schedule {
    watched: Sparse<Watched>,
    timers: Timers<ProgramId>,
    /// Runs whose check is due; it may be over since.
    queue: VecDeque<Run>,
    underway: usize,
}

impl Schedule {
    /// Begins the checks of a run, and ends others of this program. The first of its readiness is due
    /// at once.
    pub(super) fn begin(&mut self, now: Moment, run: Run, aim: Aim) {
        self.end(run.program);
        let due = match &aim {
            Aim::Ready(_) => now,
            Aim::Health(health) => now.after(health.probe.interval),
        };
        let watched = Watched {
            run,
            aim,
            state: State::Waiting,
            failures: 0,
            last_failure: None,
            has_passed: false,
            unexecuted_reported: false,
            hang_reported: false,
            untried_reported: false,
        };
        self.watched.insert(run.program, watched);
        self.timers.arm(run.program, due);
    }

    /// Ends the checks of a program. A result that comes later has no effect.
    pub(super) fn end(&mut self, program: ProgramId) {
        if let Some(watched) = self.watched.remove(&program) {
            self.timers.disarm(program);
            self.underway -= usize::from(watched.state == State::Underway);
        }
    }

    /// True if no program is checked.
    pub(super) fn is_empty(&self) -> bool {
        self.watched.is_empty() && self.queue.is_empty()
    }

    /// Ends all checks.
    pub(super) fn clear(&mut self) {
        *self = Self::default();
    }

    /// Returns what the checks of a run are for.
    pub(super) fn aim(&self, run: Run) -> Option<&Aim> {
        let watched = self.watched.get(&run.program);
        let watched = watched.filter(|watched| watched.run == run);
        watched.map(|watched| &watched.aim)
    }

    /// Queues the checks that are due at `now`.
    pub(super) fn queue_due(&mut self, now: Moment) {
        while let Some(program) = self.timers.pop_due(now) {
            if let Some(watched) = self.watched.get_mut(&program) {
                watched.state = State::Queued;
                self.queue.push_back(watched.run);
            }
        }
    }

    /// Takes the next check that is due, if there is a slot for it.
    pub(super) fn take(&mut self) -> Option<Run> {
        while self.underway < UNDERWAY_MAX {
            let run = self.queue.pop_front()?;
            let watched = self.watched.get_mut(&run.program);
            if let Some(watched) = watched
                && watched.run == run
                && watched.state == State::Queued
            {
                watched.state = State::Underway;
                self.underway += 1;
                return Some(run);
            }
        }
        None
    }

    /// Ends a check that was taken, and makes no other of this run. What is known of them stays.
    pub(super) fn rest(&mut self, run: Run) {
        if let Some(watched) = underway(&mut self.watched, run) {
            watched.state = State::Over;
            self.underway -= 1;
        }
    }

    /// Puts a check off that was taken and cannot be made yet.
    pub(super) fn put_off(&mut self, now: Moment, run: Run, delay: Duration) {
        if let Some(watched) = underway(&mut self.watched, run) {
            watched.state = State::Waiting;
            self.underway -= 1;
            self.timers.arm(run.program, now.after(delay));
        }
    }

    /// Takes in the result of a check that was under way. Returns what follows from it, and a warning
    /// if it is worth one.
    pub(super) fn finish(
        &mut self,
        now: Moment,
        run: Run,
        outcome: Outcome,
    ) -> (Verdict, Option<Error>) {
        let Some(watched) = underway(&mut self.watched, run) else {
            return (Verdict::Nothing, None);
        };
        self.underway -= 1;
        let (verdict, warning) = watched.judge(outcome);
        match verdict {
            Verdict::Nothing => {
                watched.state = State::Waiting;
                let next = now.after(watched.aim.probe().interval);
                self.timers.arm(run.program, next);
            }
            Verdict::Ready | Verdict::Unhealthy => watched.state = State::Over,
        }
        (verdict, warning)
    }

    /// Returns what the health checks of a program have found.
    pub(super) fn health_of(&self, program: ProgramId) -> HealthStatus {
        let watched = self.watched.get(&program);
        match watched.filter(|watched| matches!(watched.aim, Aim::Health(_))) {
            Some(watched) if watched.failures > 0 => HealthStatus::Failing(watched.failures),
            Some(watched) if watched.has_passed => HealthStatus::Healthy,
            Some(_) | None => HealthStatus::Unknown,
        }
    }

    /// Returns how often the probes of a run have failed that did not become ready, and the last
    /// reason.
    pub(super) fn explain_unready(&self, run: Run) -> Option<Error> {
        let watched = self.watched.get(&run.program);
        let watched = watched.filter(|watched| watched.run == run)?;
        let is_ready = matches!(watched.aim, Aim::Health(_)) || watched.has_passed;
        let last = watched.last_failure.as_ref().filter(|_| !is_ready)?;
        let text = counted(watched.failures, watched.aim.name(), last);
        Some(Error::new(format!("not ready: {text}")))
    }

    /// Returns when something is due. The beginning of time stands for "at once".
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        if self.underway < UNDERWAY_MAX && !self.queue.is_empty() {
            return Some(Moment::default());
        }
        self.timers.next()
    }
}

fn underway(watched: &mut Sparse<Watched>, run: Run) -> Option<&mut Watched> {
    let watched = watched.get_mut(&run.program)?;
    (watched.run == run && watched.state == State::Underway).then_some(watched)
}

impl Watched {
    fn judge(&mut self, outcome: Outcome) -> (Verdict, Option<Error>) {
        let name = self.aim.name();
        let warning = |what, error: &Error| {
            let what = format!("{name} {what}");
            Some(Error::because(what, error.to_string()))
        };
        let (reported, error) = match &outcome {
            Outcome::Passed => return (self.pass(), None),
            Outcome::Untried(error) => {
                let is_reported = std::mem::replace(&mut self.untried_reported, true);
                let warning = warning("was not made", error).filter(|_| !is_reported);
                return (Verdict::Nothing, warning);
            }
            Outcome::Failed(error) => (true, error),
            Outcome::Unexecuted(error) => {
                let reported = std::mem::replace(&mut self.unexecuted_reported, true);
                (reported, error)
            }
            Outcome::Hung(error) => (std::mem::replace(&mut self.hang_reported, true), error),
        };
        self.failures = self.failures.saturating_add(1);
        self.last_failure = Some(error.clone());
        if let Aim::Health(health) = &self.aim
            && self.failures >= health.retries
        {
            let text = counted(self.failures, name, error);
            return (
                Verdict::Unhealthy,
                Some(Error::new(format!("unhealthy: {text}"))),
            );
        }
        let warning = warning("failed", error).filter(|_| !reported);
        (Verdict::Nothing, warning)
    }

    fn pass(&mut self) -> Verdict {
        self.has_passed = true;
        self.failures = 0;
        match self.aim {
            Aim::Ready(_) => Verdict::Ready,
            Aim::Health(_) => Verdict::Nothing,
        }
    }
}

/// Says how often a check has failed in a row, and why.
fn counted(failures: u32, name: &str, last: &Error) -> String {
    match failures {
        1 => format!("a {name} failed: {last}"),
        _ => format!("{failures} {name}s in a row failed, the last: {last}"),
    }
}

#[cfg(test)]
mod tests;
