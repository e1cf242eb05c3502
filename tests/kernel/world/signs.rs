//! What tells that a run is up, well and alive: what was really said and found, and what the library
//! may, and must, make of it.
//!
//! Of each there are two truths. What *may* have reached the library allows it to act; what *must*
//! have reached it obliges it to. Between the two lies what happens in the course of a turn.

use std::time::Duration;

use super::Kernel;
use super::law::LATE_MAX;
use super::process::Time;
use super::programs::{Removal, Run, Wish};
use super::weather::Call;
use crate::machine::Cause;
use crate::spec::{ChildSpec, Health, Probe, Ready};

/// How long what follows from something may take that is seen in one turn and acted upon in the next.
const TWO_TURNS: Time = 3 * LATE_MAX;

/// The definition of a program, as far as it is about this.
#[derive(Debug, Clone, Default)]
pub struct Signs {
    pub ready: Option<Ready>,
    pub health: Option<Health>,
    pub watchdog: Option<Time>,
    pub start_timeout: Option<Time>,
}

impl Signs {
    pub fn of(spec: &ChildSpec) -> Self {
        let policy = spec.policy();
        Self {
            ready: spec.ready.as_deref().cloned(),
            health: spec.health.as_deref().cloned(),
            watchdog: policy.watchdog.map(nanos),
            start_timeout: policy.start_timeout.map(nanos),
        }
    }

    pub fn is_empty(&self) -> bool {
        self.ready.is_none()
            && self.health.is_none()
            && self.watchdog.is_none()
            && self.start_timeout.is_none()
    }

    pub(super) fn has_socket(&self) -> bool {
        self.ready == Some(Ready::Notify) || self.watchdog.is_some()
    }

    pub(super) fn probe(&self, is_health: bool) -> Option<&Probe> {
        match (&self.ready, &self.health) {
            (_, Some(health)) if is_health => Some(&health.probe),
            (Some(Ready::Probe(probe)), _) if !is_health => Some(probe),
            _ => None,
        }
    }

    /// The most that a run of it has open in the library.
    fn descriptors(&self) -> usize {
        let is_pipe = matches!(self.ready, Some(Ready::Fd(_)));
        let is_probed = self.probe(true).is_some() || self.probe(false).is_some();
        usize::from(is_pipe) + usize::from(self.has_socket()) + usize::from(is_probed)
    }
}

pub(super) fn nanos(time: Duration) -> Time {
    time.as_nanos() as Time
}

/// What was said by a run, and found of it.
#[derive(Debug, Clone, Default)]
pub struct Truth {
    /// By what it was started.
    pub signs: Signs,
    pub socket: Option<usize>,
    pub pipe: Option<usize>,
    /// The library knows that it has executed its program.
    pub known: Option<Time>,
    /// It was ready then, as the library may know, and as it must.
    pub given: Option<Time>,
    pub certain: Option<Time>,
    /// The library has found it dead in a turn that woke up then.
    pub found_dead: Option<Time>,
    /// The host was told that it is up.
    pub up_told: Option<Time>,
    /// Its last sign of life, since when it was due without one, and when it said that it hangs.
    pub alive: Option<Time>,
    pub silent: Option<Time>,
    pub hung: Option<Time>,
    /// Health checks that have failed in a row: certainly, and at most.
    pub failures: u32,
    pub failures_max: u32,
    /// When enough checks in a row had failed to make it unhealthy.
    pub unhealthy: Option<Time>,
    pub unhealthy_max: Option<Time>,
    /// When the library has ended it for a fault.
    pub ended: Option<Time>,
    /// A check of it was made, or tried, and when that was over at the latest.
    pub checked: Option<Time>,
}

impl Truth {
    pub(super) fn is_ready_at(&mut self, now: Time, turn: Time, is_certain: bool) {
        self.given.get_or_insert(turn);
        if is_certain {
            self.certain.get_or_insert(now);
        }
    }

    pub(super) fn is_alive_at(
        &mut self,
        now: Time,
        turn: Time,
        up: Option<Time>,
        is_certain: bool,
    ) {
        let Some(watchdog) = self.signs.watchdog else {
            return;
        };
        let base = self.alive.max(up);
        if base.is_some_and(|base| base.saturating_add(watchdog) <= now) || !is_certain {
            self.silent.get_or_insert(now);
        }
        self.alive = Some(turn);
    }

    pub(super) fn check_passed(&mut self, is_certain: bool) {
        self.failures = 0;
        if is_certain {
            self.failures_max = 0;
        }
    }

    pub(super) fn check_failed(&mut self, now: Time, is_certain: bool) {
        let Some(retries) = self.signs.health.as_ref().map(|health| health.retries) else {
            return;
        };
        self.failures_max += 1;
        if self.failures_max >= retries {
            self.unhealthy_max.get_or_insert(now);
        }
        self.failures = if is_certain { self.failures + 1 } else { 0 };
        if self.failures >= retries {
            self.unhealthy.get_or_insert(now);
        }
    }
}

impl Kernel {
    /// When what happens now has happened for the library, at the earliest: its turn has one time.
    pub(super) fn turn_time(&self) -> Time {
        self.woken.map_or(self.now, |woken| woken.min(self.now))
    }

    /// Since when a run may be up.
    pub(super) fn up_since(&self, run: &Run) -> Option<Time> {
        match run.truth.signs.ready {
            None => Some(run.started),
            Some(Ready::Delay(delay)) => {
                let end = run.started.saturating_add(nanos(delay));
                (end <= self.now).then_some(end)
            }
            Some(_) => run.truth.given,
        }
    }

    /// Since when a run is certainly up.
    fn certain_since(&self, run: &Run) -> Option<Time> {
        let known = run.truth.known?;
        match run.truth.signs.ready {
            None => Some(known),
            Some(Ready::Delay(delay)) => {
                let end = known.saturating_add(nanos(delay));
                (end <= self.now).then_some(end)
            }
            Some(_) => run.truth.certain,
        }
    }

    /// Since when a run may be ended because it was not ready in time.
    fn unready_since(&self, run: &Run) -> Option<Time> {
        let truth = &run.truth;
        let is_oneshot = self.programs[run.program].may_be_oneshot();
        let waits = truth.signs.ready.is_some() || is_oneshot;
        let end = truth.signs.start_timeout.filter(|_| waits);
        let end = end.map(|time| run.started.saturating_add(time))?;
        let in_time = self.certain_since(run).is_some_and(|at| at < end);
        (end <= self.now && (is_oneshot || !in_time)).then_some(end)
    }

    /// Since when a run may be ended because it gave no sign of life.
    fn silent_since(&self, run: &Run) -> Option<Time> {
        let truth = &run.truth;
        let up = self.up_since(run)?;
        let end = truth.signs.watchdog.map(|watchdog| {
            let alive = truth.alive.map_or(up, |alive| alive.max(up));
            alive.saturating_add(watchdog)
        });
        let silent = truth.silent.into_iter().chain(truth.hung);
        silent.chain(end.filter(|&end| end <= self.now)).min()
    }

    fn unhealthy_since(&self, run: &Run) -> Option<Time> {
        self.up_since(run)?;
        let health = run.truth.signs.health.as_ref()?;
        let late = self.uncounted_failures(run);
        let late = late.filter(|(_, more)| run.truth.failures_max + more >= health.retries);
        let late = late.map(|(since, _)| since);
        let survived = self.survived_since(run.program);
        let since = run.truth.unhealthy_max.into_iter().chain(late);
        since.chain(survived).min()
    }

    /// Since when the library may end a run by itself, for a fault.
    pub(super) fn fault_since(&self, run: &Run) -> Option<Time> {
        let unready = self.unready_since(run).into_iter();
        let silent = self.silent_since(run);
        let now = unready.chain(silent).chain(self.unhealthy_since(run));
        now.chain(run.truth.ended).min()
    }

    /// Whether this is a reason for which the library may have ended a run.
    pub fn may_have_fault(&self, run: usize, cause: Cause) -> bool {
        let run = &self.runs[run];
        let since = match cause {
            Cause::StartTimeout => self.unready_since(run),
            Cause::Watchdog => self.silent_since(run),
            Cause::Unhealthy => self.unhealthy_since(run),
            _ => None,
        };
        since.is_some()
    }

    /// The library says that this program has started.
    pub fn is_told_started(&mut self, index: usize, pid: i32) {
        let told = self.programs[index].told;
        let mut runs = self.programs[index].runs.iter();
        let next = runs.find(|&&run| Some(run) > told && self.runs[run].pid == pid);
        self.programs[index].told = next.copied().or(told);
    }

    /// The library says that this program is up: the run of which it has said last that it has started.
    pub fn is_told_up(&mut self, index: usize) -> Result<(), String> {
        let told = self.programs[index].told;
        let is_it = |run: &usize| {
            let run = &self.runs[*run];
            run.truth.up_told.is_none() && self.up_since(run).is_some()
        };
        let Some(run) = told.filter(is_it) else {
            let run = told.map(|run| &self.runs[run]);
            return Err(format!("it is said to be up before it was ready: {run:?}"));
        };
        self.counts.told_up += 1;
        self.runs[run].truth.up_told = Some(self.now);
        Ok(())
    }

    /// The library holds this program for up.
    pub fn check_is_up(&self, name: &str) -> Result<(), String> {
        let index = self.index_of(name);
        let run = self.latest_run(index);
        if run.is_some_and(|run| self.up_since(run).is_some()) {
            return Ok(());
        }
        Err(format!("{name} is up before it was ready: {run:?}"))
    }

    /// One that has run for as long as it takes to be ready was up, also if it is found dead in the turn
    /// in which that time is over.
    pub fn check_delay(&self, run: usize) -> Result<(), String> {
        let run = &self.runs[run];
        let truth = &run.truth;
        let (Some(Ready::Delay(delay)), Some(known)) = (&truth.signs.ready, truth.known) else {
            return Ok(());
        };
        let end = known.saturating_add(nanos(*delay));
        // A late start may turn out to have come true, and to be dead, in one turn.
        let is_over = truth.found_dead.is_some_and(|at| at >= end && at > known);
        let is_ended = run.is_signalled
            || self.stop_asked.is_some()
            || self.may_be_stopping
            || self.may_end_since(run.program, run.serial).is_some();
        if is_over && !is_ended && truth.up_told.is_none() {
            return Err(format!("it has run for {delay:?}, and was not up: {run:?}"));
        }
        Ok(())
    }

    /// After a turn: what was certain to follow has followed.
    pub fn check_signs(&self) -> Result<(), String> {
        if !self.has_signs || self.stop_asked.is_some() || self.may_be_stopping {
            return Ok(());
        }
        for index in 0..self.programs.len() {
            let Some(&latest) = self.programs[index].runs.last() else {
                continue;
            };
            let run = &self.runs[latest];
            let Some(known) = run.truth.known.filter(|_| self.goes_on_by_itself(run)) else {
                continue;
            };
            let problem = self.overdue(run, known);
            let problem = problem.or_else(|| self.unchecked(latest, known));
            if let Some(problem) = problem {
                let name = &self.programs[index].name;
                return Err(format!("{name} {problem}: {run:?}"));
            }
        }
        self.check_checks()
    }

    /// The library knows of it, and nothing but a fault ends it.
    fn goes_on_by_itself(&self, run: &Run) -> bool {
        let program = &self.programs[run.program];
        let is_wanted = program.wish == Wish::Up && program.removal == Removal::No;
        let is_free = is_wanted && !run.is_signalled && !run.seen && run.exit.is_none();
        is_free && !run.reported && self.may_end_since(run.program, run.serial).is_none()
    }

    fn overdue(&self, run: &Run, known: Time) -> Option<&'static str> {
        let truth = &run.truth;
        let is_over = |at: Time| at.saturating_add(TWO_TURNS) < self.now;
        let waits = truth.signs.ready.is_some() && self.up_since(run).is_none();
        let timeout = truth.signs.start_timeout.filter(|_| waits);
        if timeout.is_some_and(|time| is_over(known.saturating_add(time))) {
            return Some("is not ready, and its time is over");
        }
        if truth.signs.ready.is_some()
            && truth.up_told.is_none()
            && self.certain_since(run).is_some_and(is_over)
        {
            return Some("was ready long ago, and is not up");
        }
        let up = match truth.signs.ready {
            None => Some(known),
            Some(_) => truth.up_told,
        };
        let alive = truth.alive.max(up).filter(|_| up.is_some());
        let silent = alive.zip(truth.signs.watchdog);
        if silent.is_some_and(|(at, time)| is_over(at.saturating_add(time))) {
            return Some("gives no sign of life, and goes on");
        }
        truth
            .unhealthy
            .is_some_and(is_over)
            .then_some("is unhealthy, and goes on")
    }

    /// A check of this run is long due.
    fn unchecked(&self, index: usize, known: Time) -> Option<&'static str> {
        let run = &self.runs[index];
        let truth = &run.truth;
        // A try that does not come to an address is not seen here.
        if self.weather.may_fail(Call::Socket) || self.is_checked(run.program) {
            return None;
        }
        let is_ready = truth.signs.ready.is_none() || truth.up_told.is_some();
        let probe = truth.signs.probe(is_ready)?;
        let up = match truth.signs.ready {
            None => Some(known),
            Some(_) => truth.up_told,
        };
        let (begin, pause) = match (is_ready, self.checked_until(run)) {
            (_, Some(at)) => (at.max(up.unwrap_or(known)), nanos(probe.interval)),
            (true, None) => (up?, nanos(probe.interval)),
            (false, None) => (known, 0),
        };
        let is_over = begin.saturating_add(pause).saturating_add(TWO_TURNS) < self.now;
        is_over.then_some("is not checked any more")
    }

    /// How many descriptors the library may have open for all this.
    pub fn sign_descriptors(&self) -> usize {
        let live = self.runs.iter().filter(|run| !run.reported);
        let runs: usize = live.map(|run| run.truth.signs.descriptors()).sum();
        runs + self.signs_launched()
    }

    pub(super) fn descriptors_of(signs: &Signs) -> usize {
        signs.descriptors()
    }
}
