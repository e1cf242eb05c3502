//! What is wanted of every program, from what was commanded and what has happened.

use std::time::Duration;

use crate::machine::graph::Standing;
use crate::machine::state::{Cause, Leader, State, Why};
use crate::machine::{Exit, Moment, ProgramId, Run};

use super::definition::Definition;
use super::edit::Edit;
use super::page::{Expected, Group, Page};
use super::standing::Standings;
use super::tally::Tally;

pub type Check = Result<(), String>;

/// A program's new definition, and whether its run may not go on.
pub type Change = (ProgramId, Definition, bool);

/// How long before its end a shutdown kills everything.
const KILL_BEFORE: Duration = Duration::from_secs(1);

/// How long a group may exist after SIGKILL.
pub const DEATH: Duration = Duration::from_secs(5);

#[derive(Debug, Clone, Default)]
pub struct Book {
    pub pages: Vec<Page>,
    /// The last id that was given.
    pub last_id: Option<ProgramId>,
    pub stopping: bool,
    pub essential_ended: Option<ProgramId>,
    pub shutdown_timeout: Option<Duration>,
    /// When everything is killed, unless it was, and when the shutdown is over.
    pub shutdown: Option<(Option<Moment>, Moment)>,
    /// The programs that have a new definition since the latest step.
    pub changed: Vec<ProgramId>,
    /// Those among them whose run may go on.
    pub kept: Vec<ProgramId>,
    /// The number of deadlines that were set.
    pub tickets: u64,
    /// Runs of the past, for late facts.
    pub past: Vec<Run>,
    pub tally: Tally,
}

impl Book {
    pub fn index(&self, id: ProgramId) -> Option<usize> {
        self.pages.iter().position(|page| page.id == id)
    }

    pub fn page(&self, id: ProgramId) -> Option<&Page> {
        self.pages.iter().find(|page| page.id == id)
    }

    pub fn page_mut(&mut self, id: ProgramId) -> Option<&mut Page> {
        self.pages.iter_mut().find(|page| page.id == id)
    }

    /// Starts a program, and what it requires. A reload does not start what was stopped by hand.
    pub fn start(&mut self, id: ProgramId, now: Moment, by_hand: bool) {
        if self.can_start(id) {
            // A start of what runs does nothing.
            let page = self.page(id);
            if !page.is_some_and(|page| page.wanted && page.is_executing()) {
                self.start_required(id, now, by_hand);
            }
            self.want(id, now);
        }
    }

    /// Starts those of these programs that start by themselves, were never started and were not
    /// stopped.
    pub fn start_new(&mut self, ids: &[ProgramId], now: Moment) {
        let mut new = ids.to_vec();
        new.retain(|&id| {
            let page = self.page(id);
            let is_new = |page: &Page| {
                !page.wanted && page.why == Why::New && page.definition.policy.autostart
            };
            self.can_start(id) && page.is_some_and(is_new)
        });
        for &id in &new {
            self.want(id, now);
        }
        for &id in &new {
            self.start_required(id, now, false);
        }
    }

    fn can_start(&self, id: ProgramId) -> bool {
        !self.stopping && self.page(id).is_some_and(|page| !page.removed)
    }

    fn start_required(&mut self, id: ProgramId, now: Moment, by_hand: bool) {
        let standings = Standings::of(self);
        let ids = self.pages.iter().map(|page| page.id);
        let never = ids.filter(|&id| standings.get(self, id) == Standing::Never);
        let never: Vec<ProgramId> = never.collect();
        let requires = self.page(id).map(|page| page.definition.requires.clone());
        for id in requires.unwrap_or_default() {
            self.pull(id, now, by_hand, &never);
        }
    }

    /// Starts a program for one that requires it, and what keeps it from coming up.
    fn pull(&mut self, id: ProgramId, now: Moment, by_hand: bool, never: &[ProgramId]) {
        let Some(page) = self.page(id) else {
            return;
        };
        let stopped = !page.wanted && page.why == Why::Stopped && !by_hand;
        if page.removed || page.done || page.is_succeeding() || stopped {
            return;
        }
        let is_running = matches!(page.state, State::Running { .. });
        if page.wanted && !never.contains(&id) && (is_running || !page.is_run()) {
            return;
        }
        let requires = page.definition.requires.clone();
        if !page.wanted {
            self.want(id, now);
        }
        for id in requires {
            self.pull(id, now, by_hand, never);
        }
    }

    fn want(&mut self, id: ProgramId, now: Moment) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        (page.wanted, page.hard) = (true, false);
        if let State::Stopping { leader, .. } | State::Killed { leader, .. } = page.state {
            page.again = leader != Leader::Dead && !page.cause.is_stop();
        }
        match page.state {
            State::Launching { .. } | State::Starting { .. } | State::Running { .. } => {}
            // A stop of this start is taken back.
            State::Spawning => page.cause = Cause::Exit,
            State::Clearing { .. } => {
                page.plan = Some((now, now));
                page.forgive();
            }
            // What it did before does not count any more.
            State::Inactive => {
                page.done = false;
                page.forgive();
            }
            _ => page.forgive(),
        }
    }

    pub fn restart(&mut self, id: ProgramId, now: Moment, cause: Cause) {
        if !self.can_start(id) {
            return;
        }
        self.start_required(id, now, true);
        self.restart_run(id, now, cause);
    }

    fn restart_run(&mut self, id: ProgramId, now: Moment, cause: Cause) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        match page.state {
            State::Inactive
            | State::Waiting { .. }
            | State::Due
            | State::Spawning
            | State::Clearing { .. } => return self.want(id, now),
            State::Abandoned { .. } => {}
            _ => page.ask(cause),
        }
        (page.wanted, page.hard) = (true, false);
        page.forgive();
    }

    pub fn stop(&mut self, id: ProgramId, hard: bool, cause: Cause) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        if page.wanted || cause != Cause::Shutdown {
            page.why = Why::Stopped;
            page.done = false;
        }
        page.wanted = false;
        page.again = false;
        page.hard |= hard;
        match page.state {
            State::Inactive | State::Waiting { .. } | State::Due | State::Abandoned { .. } => {}
            State::Spawning => page.cause = cause,
            // Its end was reported before.
            State::Clearing { .. } => {}
            _ => page.ask(cause),
        }
    }

    pub fn remove(&mut self, id: ProgramId) {
        if let Some(page) = self.page_mut(id)
            && !page.removed
        {
            page.removed = true;
            self.stop(id, false, Cause::Reload);
        }
    }

    pub fn stop_all(&mut self, now: Moment, hard: bool) {
        if !self.stopping
            && let Some(timeout) = self.shutdown_timeout
        {
            let until_kill = timeout.saturating_sub(KILL_BEFORE).max(timeout / 2);
            // Three tenths of the rest are left for the end itself.
            let until_end = timeout - (timeout - until_kill) * 3 / 10;
            self.shutdown = Some((Some(now.after(until_kill)), now.after(until_end)));
            self.tally.shutdowns += 1;
        }
        self.stopping = true;
        for index in 0..self.pages.len() {
            // What drains waits for all that is ending now.
            self.pages[index].drain = None;
            self.stop(self.pages[index].id, hard, Cause::Shutdown);
        }
    }

    /// Takes in a program that has no run yet.
    pub fn add(&mut self, now: Moment, id: ProgramId, new: &Definition, after_removals: bool) {
        let mut page = Page::new(now, id, new.clone());
        page.after_removals = after_removals && self.pages.iter().any(|page| page.removed);
        self.pages.push(page);
        self.tally.added += 1;
    }

    /// Takes in a change that is accepted, all at once. Each new definition changes something;
    /// what is added has these ids.
    pub fn edit(&mut self, now: Moment, edit: &Edit, ids: &[ProgramId]) {
        self.let_run_on();
        for &id in &edit.removes {
            self.remove(id);
        }
        let mut olds = Vec::new();
        for change in &edit.replaces {
            let old = self.page(change.0).map(|page| page.definition.clone());
            olds.push(old.unwrap_or_default());
            self.take_definition(change);
        }
        let mut stops = Vec::new();
        for &(id, _, restart) in &edit.replaces {
            let page = self.page(id);
            let is_run = page.is_some_and(|page| page.wanted && page.is_executing());
            if restart && is_run && !self.stopping {
                self.restart_run(id, now, Cause::Reload);
                stops.push(id);
            }
        }
        for (&id, new) in ids.iter().zip(&edit.adds) {
            self.add(now, id, new, true);
        }
        for ((id, _, restart), old) in edit.replaces.iter().zip(&olds) {
            self.take_over(now, *id, *restart, old, stops.contains(id));
        }
        if edit.starts {
            let replaced = edit.replaces.iter().map(|(id, _, _)| *id);
            let new: Vec<ProgramId> = ids.iter().copied().chain(replaced).collect();
            self.start_new(&new, now);
        }
    }

    /// What does not run takes nothing down by new definitions, whatever they make of it.
    fn let_run_on(&mut self) {
        let standings = Standings::of(self);
        let pages = self.pages.iter();
        let idle = pages.filter(|page| !(page.wanted && page.is_executing()));
        let idle = idle.filter(|page| !standings.is_down(self, page.id));
        let idle: Vec<ProgramId> = idle.map(|page| page.id).collect();
        for page in &mut self.pages {
            page.armed.retain(|id| !idle.contains(id));
        }
    }

    /// True if a new definition changes something.
    pub fn is_new(&self, (id, new, restart): &Change) -> bool {
        let page = self.page(*id);
        page.is_some_and(|page| page.removed || *restart || page.definition != *new)
    }

    fn take_definition(&mut self, (id, new, restart): &Change) {
        let Some(page) = self.page_mut(*id) else {
            return;
        };
        let old = std::mem::replace(&mut page.definition, new.clone());
        let backoff = new.policy.backoff;
        page.delay = page.delay.max(backoff.initial).min(backoff.max);
        page.passed = false;
        page.armed
            .retain(|id| old.requires.contains(id) && new.requires.contains(id));
        page.was_oneshot |= old.policy.oneshot;
        let is_removed = page.removed;
        self.changed.push(*id);
        if !restart {
            self.kept.push(*id);
        }
        let tally = &mut self.tally;
        *(match (is_removed, restart) {
            (true, _) => &mut tally.revived,
            (false, true) => &mut tally.restarted,
            (false, false) => &mut tally.live,
        }) += 1;
    }

    /// Starts what a new definition starts.
    fn take_over(
        &mut self,
        now: Moment,
        id: ProgramId,
        restart: bool,
        old: &Definition,
        is_stopped: bool,
    ) {
        let stopping = self.stopping;
        let Some(page) = self.page_mut(id) else {
            return;
        };
        let was_removed = std::mem::replace(&mut page.removed, false);
        let is_spawning = page.state == State::Spawning;
        if is_spawning && (restart || was_removed) {
            page.outdated = true;
            page.forgive();
        }
        if stopping {
            return;
        }
        let was_wanted = page.wanted;
        let starts = was_removed
            || match page.why {
                _ if was_wanted => restart && !is_stopped && !is_spawning,
                Why::Failed | Why::Permanent | Why::GaveUp => true,
                Why::Exited => restart,
                Why::New | Why::Stopped => false,
            };
        let requires = page.definition.requires.clone();
        if starts {
            self.want(id, now);
        }
        let never: Vec<ProgramId> = self.pages.iter().map(|page| page.id).collect();
        for other in requires {
            let is_new = was_wanted && (restart || !old.requires.contains(&other));
            if (starts || is_new) && self.page(other).is_some_and(|page| !page.wanted) {
                self.pull(other, now, false, &never);
            }
        }
    }

    /// The program of a run that begins now.
    pub fn begin(&mut self, id: ProgramId) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        page.runs += 1;
        page.cause = Cause::Exit;
        page.passed = false;
        page.was_oneshot = false;
        page.again = false;
        page.outdated = false;
        page.reports = 0;
        page.expected = None;
        page.tells_ready = page.definition.policy.ready;
        page.plan = None;
    }

    pub fn spawned(&mut self, id: ProgramId, at: Moment, leader: Leader) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        page.end_outdated();
        match &mut page.group {
            Some(group) => {
                group.leader = leader;
                group.killed_early = group.killed;
            }
            group => {
                *group = Some(Group {
                    leader,
                    members: false,
                    asked_to_stop: false,
                    killed: false,
                    killed_early: false,
                    stuck: false,
                });
            }
        }
        page.since = at;
        // What was abandoned has had its report.
        let is_abandoned = matches!(page.state, State::Abandoned { .. });
        page.owed.started = leader == Leader::Alive && !is_abandoned;
        if leader == Leader::Alive && !page.was_asked() {
            page.cause = Cause::Exit;
        }
    }

    pub fn spawn_failed(&mut self, id: ProgramId, now: Moment, at: Moment) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        page.end_outdated();
        page.group = None;
        if matches!(page.state, State::Abandoned { .. }) {
            return;
        }
        let retry_in = if page.was_asked() {
            None
        } else {
            page.cause = Cause::StartFailed;
            page.judge(None, Duration::ZERO)
        };
        page.expected = Some(Expected {
            uptime: None,
            retry_in,
            cause: page.cause,
        });
        self.plan(id, at, retry_in);
        self.ended(id, now);
    }

    /// The first process of a run has died.
    pub fn exited(&mut self, id: ProgramId, now: Moment, exit: Exit) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        if let Some(group) = &mut page.group {
            group.leader = Leader::Dead;
        }
        if matches!(page.state, State::Abandoned { .. }) {
            return;
        }
        let uptime = now.since(page.since);
        let retry_in = if page.was_asked() {
            None
        } else {
            let retry_in = page.judge(Some(exit), uptime);
            // The rest of its group is killed now.
            page.deadline = retry_in.is_none().then(|| now.after(DEATH));
            if retry_in.is_some() {
                page.state = State::Clearing { start_at: now };
            }
            retry_in
        };
        page.expected = Some(Expected {
            uptime: Some(uptime),
            retry_in,
            cause: page.cause,
        });
        self.plan(id, now, retry_in);
        self.ended(id, now);
    }

    fn plan(&mut self, id: ProgramId, at: Moment, retry_in: Option<Duration>) {
        if let (Some(page), Some(delay)) = (self.page_mut(id), retry_in) {
            let stretch = delay * u32::from(page.definition.policy.jitter) / 1_000;
            page.plan = Some((at.after(delay), at.after(delay + stretch)));
        }
    }

    /// A program may have ended for good: if it is essential, everything stops.
    pub fn ended(&mut self, id: ProgramId, now: Moment) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        let why = page.why;
        let is_final = !page.wanted && !page.was_asked_by_command() && !page.removed;
        if !is_final {
            return;
        }
        let is_essential = page.definition.policy.essential;
        let is_done = page.is_oneshot() && why == Why::Exited;
        self.tally.gave_up += u64::from(why == Why::GaveUp);
        self.tally.permanent += u64::from(why == Why::Permanent);
        if is_essential && !is_done {
            self.tally.essential += 1;
            self.essential_ended = Some(id);
            self.stop_all(now, false);
        }
    }

    /// The group of a program is gone.
    pub fn gone(&mut self, id: ProgramId) {
        let Some(page) = self.page_mut(id) else {
            return;
        };
        page.group = None;
        if !page.wanted && page.is_oneshot() && page.why == Why::Exited {
            (page.done, page.owed.up) = (true, true);
        }
    }
}

impl Page {
    /// True if it is down because of a command, and not for a verdict on its run.
    fn was_asked_by_command(&self) -> bool {
        matches!(self.why, Why::Stopped | Why::New)
    }
}
