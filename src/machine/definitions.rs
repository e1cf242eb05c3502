//! Programs come, change and go.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use super::Machine;
use super::child::{Child, Flags};
use super::graph::{Counts, Facts, Links};
use super::interface::{Moment, ProgramId};
use super::order::facts_of;
use super::policy::Policy;
use super::state::{Cause, Goal, Trigger, Verb, Why};

/// A new definition of a program.
#[derive(Debug, Clone)]
pub struct Replacement {
    pub program: ProgramId,
    pub policy: Policy,
    pub links: Links,
    /// True if a run with the former definition may not go on.
    pub restart: bool,
}

/// A change of many programs.
#[derive(Debug, Clone, Default)]
pub struct Edit {
    pub removes: Vec<ProgramId>,
    pub replaces: Vec<Replacement>,
    /// Programs that were added just now, and what they wait for.
    pub adds: Vec<(ProgramId, Links)>,
    /// True if what was added is started, unless it does not start by itself.
    pub starts: bool,
}

impl Machine {
    /// Adds a program, which is down until it is started. Returns `None` if there is no id left.
    pub fn add(&mut self, now: Moment, policy: Policy) -> Option<ProgramId> {
        // Most programs of a config have the policy of the one before them, and share it.
        let shared = self.children.last().map(|child| &child.policy);
        let shared = shared.filter(|shared| ***shared == policy).cloned();
        let policy = shared.unwrap_or_else(|| Arc::new(policy));
        self.children.push(Child::new(now, policy))
    }

    /// Sets what each of these programs waits for, unless that made a cycle: then its path is
    /// returned, and nothing has changed.
    pub fn link(
        &mut self,
        now: Moment,
        links: Vec<(ProgramId, Links)>,
    ) -> Result<(), Vec<ProgramId>> {
        let links = links.into_iter().collect();
        if let Some(cycle) = self.graph.find_cycle(&links) {
            return Err(cycle);
        }
        self.set_links(links);
        self.resolve(now);
        Ok(())
    }

    pub(super) fn set_links(&mut self, links: BTreeMap<ProgramId, Links>) {
        let children = &self.children;
        self.graph.link(links, |id| {
            let child = children.get(id);
            child.map_or(Facts::NONE, |child| facts_of(child, Counts::default()))
        });
    }

    /// Lets a program that was added start only when everything is gone that is being removed.
    pub fn start_after_removals(&mut self, id: ProgramId) {
        if self.removing > 0
            && let Some(child) = self.children.get_mut(id)
        {
            child.flags.set(Flags::AFTER_REMOVALS, true);
            self.added.push(id);
        }
    }

    /// Takes back a program that was added just now, and has no links.
    pub fn take_back(&mut self, id: ProgramId) {
        self.children.remove(id);
    }

    /// True if a program runs, and nothing ends that: a restart would.
    #[must_use]
    pub fn is_run(&self, id: ProgramId) -> bool {
        self.children.get(id).is_some_and(Child::is_run)
    }

    /// True if a program is being removed.
    #[must_use]
    pub fn is_being_removed(&self, id: ProgramId) -> bool {
        let child = self.children.get(id);
        child.is_some_and(|child| child.flags.has(Flags::REMOVED))
    }

    /// Returns the programs that require this one, or start after it.
    pub fn dependents(&self, id: ProgramId) -> impl Iterator<Item = ProgramId> {
        self.graph.dependents(id)
    }

    pub(super) fn begin_removal(&mut self, now: Moment, id: ProgramId) {
        if let Some(child) = self.children.get_mut(id)
            && !child.flags.has(Flags::REMOVED)
        {
            child.flags.set(Flags::REMOVED, true);
            self.removing += 1;
            self.apply(now, id, Trigger::Command(Verb::Stop, Cause::Reload));
        }
    }

    /// Changes many programs at once. What may not go on, and what is removed, is stopped in the order
    /// of the former links; the new links hold for everything that starts after that; and what was
    /// added starts, if `starts`, when everything is gone that is removed. If the new links made a
    /// cycle, its path is returned, and nothing has changed.
    ///
    /// A definition that does not differ changes nothing. What failed is started again; what was
    /// stopped stays so. What does not run takes nothing down, whatever becomes of it: what requires
    /// it runs on as with a requirement that is new.
    pub fn edit(&mut self, now: Moment, edit: Edit) -> Result<(), Vec<ProgramId>> {
        let Edit {
            removes,
            mut replaces,
            adds,
            starts,
        } = edit;
        replaces.retain(|new| self.is_new(new));
        let replaced = replaces.iter().map(|new| (new.program, new.links.clone()));
        let links: BTreeMap<ProgramId, Links> = replaced.chain(adds.clone()).collect();
        let mut last = links.clone();
        last.extend(removes.iter().map(|&id| (id, Links::default())));
        if let Some(cycle) = self.graph.find_cycle(&last) {
            return Err(cycle);
        }
        self.let_run_on();
        self.begin_edit(now, &removes, &replaces);
        let old = replaces.iter().map(|new| self.links_of(new.program));
        let old: Vec<Links> = old.collect();
        self.set_links(links);
        for (id, _) in &adds {
            self.start_after_removals(*id);
        }
        for (new, old) in replaces.iter().zip(&old) {
            self.take_over(now, new, old);
        }
        if starts {
            // What is required starts through what is pending by the new links.
            self.settle(now);
            // Besides what is new: what was never started, and begins to start by itself.
            let new = adds.iter().map(|(id, _)| *id);
            let new: Vec<ProgramId> = new.chain(replaces.iter().map(|new| new.program)).collect();
            self.start_new(now, &new);
        }
        self.resolve(now);
        Ok(())
    }

    /// What does not run may come to be down by the new definitions: a oneshot that was stopped and
    /// is to be none, or what gets a requirement that was stopped. What requires it was up without
    /// it, and runs on.
    fn let_run_on(&mut self) {
        let required = self.graph.with_dependents();
        let idle = required.filter(|id| !self.is_run(*id));
        let idle: Vec<ProgramId> = idle.collect();
        for id in idle {
            self.graph.disarm(id);
        }
    }

    /// Stops what is removed or may not go on, by the former links.
    fn begin_edit(&mut self, now: Moment, removes: &[ProgramId], replaces: &[Replacement]) {
        // A stop goes by the new definition, but what depends on it by the former one.
        for new in replaces {
            if let Some(child) = self.children.get_mut(new.program) {
                let oneshot = child.policy.oneshot;
                child.policy = Arc::new(Policy {
                    oneshot,
                    ..new.policy
                });
                child.delay.clamp(&new.policy.backoff);
            }
        }
        self.let_go(removes, replaces);
        for &id in removes {
            self.begin_removal(now, id);
        }
        let stop = Trigger::Command(Verb::Restart, Cause::Reload);
        for new in replaces.iter().filter(|new| new.restart) {
            if !self.stopping && self.is_run(new.program) {
                self.apply(now, new.program, stop);
            }
        }
        self.settle(now);
        for new in replaces {
            if let Some(child) = self.children.get_mut(new.program)
                && child.policy.oneshot != new.policy.oneshot
            {
                child.policy = Arc::new(new.policy);
            }
        }
    }

    /// What goes on and does not require any more a program that is removed or restarted runs on
    /// without it. If it is to stop all the same, it does so before that program, as one that starts
    /// after it.
    fn let_go(&mut self, removes: &[ProgramId], replaces: &[Replacement]) {
        let removes: BTreeSet<ProgramId> = removes.iter().copied().collect();
        let restarted = self.restarted_by(replaces);
        let mut links = BTreeMap::new();
        for new in replaces.iter().filter(|new| !new.restart) {
            let old = self.links_of(new.program);
            let goes_on = !restarted.contains(&new.program);
            let lets_go = |id: &ProgramId| {
                let is_restarted = goes_on && restarted.contains(id);
                removes.contains(id) || is_restarted && !new.links.requires().contains(id)
            };
            let requires = old.requires().iter().copied();
            let (gone, kept): (Vec<ProgramId>, Vec<ProgramId>) = requires.partition(lets_go);
            if !gone.is_empty() {
                let after = [old.after(), &gone].concat();
                links.insert(new.program, Links::new(&kept, &after));
            }
        }
        if !links.is_empty() {
            self.set_links(links);
        }
    }

    /// Returns the programs that run and may not go on, and what runs and is restarted with them, as
    /// it required them before and still does.
    fn restarted_by(&self, replaces: &[Replacement]) -> BTreeSet<ProgramId> {
        let new: BTreeMap<ProgramId, &Replacement> =
            replaces.iter().map(|new| (new.program, new)).collect();
        let restarts = replaces.iter().filter(|new| new.restart);
        let restarts = restarts.filter(|new| self.is_run(new.program));
        let mut next: Vec<ProgramId> = restarts.map(|new| new.program).collect();
        let mut restarted = BTreeSet::new();
        while let Some(id) = next.pop() {
            let Some(child) = self.children.get(id) else {
                continue;
            };
            let stays_oneshot =
                child.policy.oneshot && new.get(&id).is_none_or(|new| new.policy.oneshot);
            if !restarted.insert(id) || stays_oneshot {
                continue;
            }
            next.extend(self.dependents(id).filter(|other| {
                let new = new.get(other);
                let still = new.is_none_or(|new| new.links.requires().contains(&id));
                let required = self.links_of(*other).requires().contains(&id);
                still && required && self.is_run(*other)
            }));
        }
        restarted
    }

    /// Replaces definitions: an edit without more, for tests.
    #[cfg(test)]
    pub fn replace(
        &mut self,
        now: Moment,
        replaces: Vec<Replacement>,
    ) -> Result<(), Vec<ProgramId>> {
        let edit = Edit {
            replaces,
            ..Edit::default()
        };
        self.edit(now, edit)
    }

    /// Sets the time of the watchdog for a start that is under way: that of the definition which it
    /// is the first to have.
    pub fn set_watchdog(&mut self, id: ProgramId, watchdog: Option<Duration>) {
        if let Some(child) = self.children.get_mut(id)
            && child.policy.watchdog != watchdog
        {
            child.policy = Arc::new(Policy {
                watchdog,
                ..*child.policy
            });
        }
    }

    fn is_new(&self, new: &Replacement) -> bool {
        let Some(child) = self.children.get(new.program) else {
            return false;
        };
        let links = self.links_of(new.program);
        new.restart
            || child.flags.has(Flags::REMOVED)
            || *child.policy != new.policy
            || links != new.links
    }

    /// Returns what a program waits for.
    #[must_use]
    pub fn links_of(&self, id: ProgramId) -> Links {
        self.graph.links(id).cloned().unwrap_or_default()
    }

    /// Takes over a definition whose links are set. A run that may not go on is being stopped.
    fn take_over(&mut self, now: Moment, new: &Replacement, old: &Links) {
        let id = new.program;
        let Some(child) = self.children.get_mut(id) else {
            return;
        };
        child.flags.set(Flags::PASSED, false);
        let was_removed = child.flags.has(Flags::REMOVED);
        if new.restart || was_removed {
            child.restart_spawning();
        }
        child.flags.set(Flags::REMOVED, false);
        if was_removed {
            self.removing -= 1;
            if self.removing == 0 {
                self.release_added();
            }
        }
        if self.stopping {
            return;
        }
        let Some(child) = self.children.get(id) else {
            return;
        };
        let is_up = child.goal == Goal::Up;
        let starts = match child.why {
            _ if was_removed => true,
            // A delay, or what is left of a run that has ended, is cut short.
            _ if is_up => new.restart && !child.is_run(),
            Why::Failed | Why::Permanent | Why::GaveUp => true,
            Why::Exited => new.restart,
            Why::New | Why::Stopped => false,
        };
        if starts {
            self.apply(now, id, Trigger::Command(Verb::Start, Cause::Reload));
        }
        let is_anew = starts || (is_up && new.restart);
        for &other in new.links.requires() {
            if is_anew || (is_up && !old.requires().contains(&other)) {
                self.pull(now, other);
            }
        }
    }

    /// True if an edit starts a program when another begins to require it: it is not wanted yet, and
    /// was not stopped by hand.
    #[must_use]
    pub fn is_pulled_up(&self, id: ProgramId) -> bool {
        self.children.get(id).is_some_and(|child| {
            child.goal != Goal::Up
                && !child.flags.has(Flags::SUCCEEDED)
                && !child.is_succeeding()
                && !child.flags.has(Flags::REMOVED)
                && child.why != Why::Stopped
        })
    }

    fn pull(&mut self, now: Moment, id: ProgramId) {
        if self.is_pulled_up(id) {
            self.start_required(now, vec![id], Cause::Reload);
            self.apply(now, id, Trigger::Command(Verb::Start, Cause::Reload));
        }
    }
}
