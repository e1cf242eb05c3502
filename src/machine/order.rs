//! Starts what is required, stops what depends on something first, and shuts everything down: what
//! a command for one program, or a change of one, means for the others.

use std::collections::BTreeSet;

use super::child::{Child, Flags};
use super::graph::{Counts, Facts, Standing};
use super::interface::{Change, Moment, Order, ProgramId};
use super::state::{Cause, Goal, Leader, State, Trigger, Verb, Why};
use super::{Machine, Shutdown};

impl Machine {
    /// Applies a command to one program. A start, or a restart, starts what it requires, too; but
    /// a start of one that runs does nothing.
    pub(super) fn order(&mut self, now: Moment, id: ProgramId, verb: Verb, cause: Cause) {
        let is_start = matches!(verb, Verb::Start | Verb::Restart);
        let is_removed = |child: &Child| child.flags.has(Flags::REMOVED);
        if is_start && (self.stopping || self.children.get(id).is_none_or(is_removed)) {
            return;
        }
        let is_running = verb == Verb::Start && self.children.get(id).is_some_and(Child::is_run);
        if is_start && !is_running {
            self.start_required(now, vec![id], cause);
        }
        self.apply(now, id, Trigger::Command(verb, cause));
    }

    /// Starts those of these programs that start by themselves, were never started and were not
    /// stopped, and what they require, unless that was stopped by hand.
    pub(super) fn start_new(&mut self, now: Moment, ids: &[ProgramId]) {
        if self.stopping {
            return;
        }
        let is_new = |child: &Child| {
            let is_down = child.goal != Goal::Up && child.why == Why::New;
            is_down && child.policy.autostart && !child.flags.has(Flags::REMOVED)
        };
        let mut new = ids.to_vec();
        new.retain(|&id| self.children.get(id).is_some_and(is_new));
        for &id in &new {
            self.apply(now, id, Trigger::Command(Verb::Start, Cause::Reload));
        }
        self.start_required(now, new, Cause::Reload);
    }

    /// Starts everything that programs require and that is not wanted yet, and what that
    /// requires. A reload does not start what was stopped by hand.
    pub(super) fn start_required(&mut self, now: Moment, ids: Vec<ProgramId>, cause: Cause) {
        let mut seen = BTreeSet::new();
        let mut next = ids;
        while let Some(id) = next.pop() {
            let required = self.graph.links(id).map(|links| links.requires().to_vec());
            for id in required.unwrap_or_default() {
                if seen.insert(id) && self.start_one_required(now, id, cause) {
                    next.push(id);
                }
            }
        }
    }

    /// Starts a program that is required, unless it is wanted. Returns true if something that it
    /// requires may be down.
    fn start_one_required(&mut self, now: Moment, id: ProgramId, cause: Cause) -> bool {
        let Some(child) = self.children.get(id) else {
            return false;
        };
        let has_succeeded = child.flags.has(Flags::SUCCEEDED) || child.is_succeeding();
        if child.flags.has(Flags::REMOVED) || has_succeeded {
            return false;
        }
        if child.goal == Goal::Up {
            let is_starting = matches!(
                child.state,
                State::Spawning | State::Launching { .. } | State::Starting { .. }
            );
            let told = self.graph.told(id);
            return is_starting || told.is_some_and(|told| told.standing == Standing::Never);
        }
        if cause == Cause::Reload && child.why == Why::Stopped {
            return false;
        }
        self.apply(now, id, Trigger::Command(Verb::Start, cause));
        true
    }

    /// Stops or kills everything, for good. A program is asked to stop when everything has ended
    /// that depends on it.
    pub(super) fn stop_all(&mut self, now: Moment, verb: Verb) {
        if !self.stopping
            && let Some(timeout) = self.shutdown_timeout
        {
            self.shutdown = Some(Shutdown::new(now, timeout));
        }
        self.stopping = true;
        self.starts.clear();
        self.graph.stop_all_waits();
        self.for_each(|machine, id| {
            machine.apply(now, id, Trigger::Command(verb, Cause::Shutdown));
        });
    }

    /// Kills everything when the time of the shutdown is nearly over, and abandons what is left
    /// when it is.
    pub(super) fn end_shutdown(&mut self, now: Moment) {
        if self
            .shutdown
            .as_mut()
            .is_some_and(|all| all.begin_kill(now))
        {
            self.stop_all(now, Verb::Kill);
        }
        if self.shutdown.as_mut().is_some_and(|all| all.begin_end(now)) {
            self.for_each(|machine, id| {
                machine.effect(now, id, |child, out| {
                    if let State::Killed { leader, .. } = child.state {
                        child.abandon(leader, out);
                    }
                });
            });
        }
    }

    /// Calls this with every program, in the order in which they were added.
    fn for_each(&mut self, mut act: impl FnMut(&mut Self, ProgramId)) {
        let mut next = self.children.first_from(ProgramId(0));
        while let Some(id) = next {
            act(self, id);
            next = self.children.first_from(ProgramId(id.0 + 1));
        }
    }

    /// Lets every change reach the programs that depend on it, until nothing changes any more.
    ///
    /// A program that is to stop looks for those that stop before it only when all of them know
    /// that they do, and one that is due starts only when all that it waits for have told how
    /// they are.
    pub(super) fn resolve(&mut self, now: Moment) {
        if self.is_resolved() {
            return;
        }
        self.settle(now);
        while let Some(id) = self.seen.pop_front() {
            self.release(now, id);
        }
        self.graph.arm();
    }

    /// True if no change is on its way, as in nearly every turn.
    fn is_resolved(&self) -> bool {
        self.seen.is_empty()
            && self.short.is_empty()
            && self.draining.is_empty()
            && self.forgotten.is_empty()
            && self.graph.is_calm()
    }

    /// Lets every change reach the programs that depend on it, but starts nothing.
    pub(super) fn settle(&mut self, now: Moment) {
        loop {
            if let Some(id) = self.graph.pop_dirty() {
                self.look_at(now, id);
            } else if let Some(id) = self.short.pop_front() {
                self.stop_short(now, id);
            } else if let Some(id) = self.draining.pop_front() {
                self.drain(now, id);
            } else if let Some(id) = self.forgotten.pop() {
                self.forget(now, id);
            } else {
                return;
            }
        }
    }

    /// Tells the neighbours of a program how it is, and does what its own neighbours ask for.
    fn look_at(&mut self, now: Moment, id: ProgramId) {
        let Some(child) = self.children.get(id) else {
            return;
        };
        let counts = self.graph.counts(id);
        if counts.downs > 0 && child.is_wanted_run() {
            self.short.push_back(id);
        }
        let facts = facts_of(child, counts);
        for waiting in self.graph.tell(id, facts) {
            self.effect(now, waiting, |child, out| child.drained(now, out));
        }
        let Some(child) = self.children.get(id) else {
            return;
        };
        if !matches!(child.state, State::Draining { .. }) {
            self.graph.stop_waiting(id);
        }
        self.seen.push_back(id);
    }

    /// Stops a program that requires one which is down.
    fn stop_short(&mut self, now: Moment, id: ProgramId) {
        let is_run = self.children.get(id).is_some_and(Child::is_wanted_run);
        if is_run && self.graph.counts(id).downs > 0 {
            let stop = Trigger::Command(Verb::Restart, Cause::Requirement);
            self.apply(now, id, stop);
        }
    }

    /// Lets a program start that is due, if nothing holds it, and notes what it has come to.
    fn release(&mut self, now: Moment, id: ProgramId) {
        let counts = self.graph.counts(id);
        if let Some(child) = self.children.get_mut(id)
            && child.state == State::Due
        {
            // What it starts after is looked at when all that it requires is up.
            if !counts.is_short() && counts.after_coming == 0 {
                child.flags.set(Flags::PASSED, true);
            }
            if !child.is_held(counts) {
                child.queue(id, &mut self.starts);
            }
        }
        self.note(now, id);
    }

    /// Sends a program its stop signal, unless others have to end before it.
    fn drain(&mut self, now: Moment, id: ProgramId) {
        let state = self.children.get(id).map(|child| child.state);
        let is_draining = matches!(state, Some(State::Draining { .. }));
        if is_draining && !self.graph.is_waiting(id) && !self.graph.drain(id) {
            self.effect(now, id, |child, out| child.drained(now, out));
        }
    }

    /// Forgets a program that is down.
    fn forget(&mut self, now: Moment, id: ProgramId) {
        let Some(child) = self.children.get(id) else {
            return;
        };
        if !child.flags.has(Flags::REMOVED) || !child.is_down() {
            return;
        }
        let run = child.run(id);
        // It is settled, and counted as such.
        self.note(now, id);
        if let Some(changed) = &mut self.changed {
            changed.remove(&id);
        }
        self.children.remove(id);
        self.removing -= 1;
        let change = Change::Removed;
        self.orders.push_back(Order::Notify { run, change });
        for waiting in self.graph.remove(id) {
            self.effect(now, waiting, |child, out| child.drained(now, out));
        }
        if self.removing == 0 {
            self.release_added();
        }
    }

    /// Everything is gone that was being removed: lets those start that waited for it.
    pub(super) fn release_added(&mut self) {
        for id in std::mem::take(&mut self.added) {
            let Some(child) = self.children.get_mut(id) else {
                continue;
            };
            child.flags.set(Flags::AFTER_REMOVALS, false);
            self.seen.push_back(id);
        }
    }
}

/// What a program tells its neighbours.
pub(super) fn facts_of(child: &Child, counts: Counts) -> Facts {
    let is_oneshot = child.policy.oneshot;
    // What is about to be stopped is waited for as if it was.
    let ending = child.is_ending() || (counts.downs > 0 && child.is_wanted_run());
    let standing = standing_of(child, counts);
    let is_stopped = standing == Standing::Never || (ending && child.cause.is_stop());
    Facts {
        standing,
        ending,
        downs: is_stopped && !is_oneshot,
    }
}

fn standing_of(child: &Child, counts: Counts) -> Standing {
    if child.flags.has(Flags::SUCCEEDED) {
        return Standing::Up;
    }
    let is_up = child.goal == Goal::Up;
    match child.state {
        State::Running { .. } => Standing::Up,
        State::Abandoned { .. } => Standing::Never,
        _ if child.is_succeeding() => Standing::Coming,
        _ if !is_up => Standing::Never,
        State::Spawning | State::Launching { .. } | State::Starting { .. } => Standing::Coming,
        _ if counts.never > 0 => Standing::Never,
        State::Inactive | State::Waiting { .. } | State::Clearing { .. } => Standing::Retrying,
        // What ends for a fault is judged at its exit, and what was started after that starts
        // without a delay.
        State::Draining { .. } => Standing::Coming,
        State::Stopping { leader, .. } | State::Killed { leader, .. } => {
            if child.cause.is_stop() || leader == Leader::Dead {
                Standing::Coming
            } else {
                Standing::Retrying
            }
        }
        State::Due if child.flags.has(Flags::ESCAPED) || counts.retrying > 0 => Standing::Retrying,
        State::Due => Standing::Coming,
    }
}
