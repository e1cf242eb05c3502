//! What the observer looks at after each step: orders, states, holds, deadlines.

use crate::machine::graph::Standing;
use crate::machine::state::{Cause, Leader, State};
use crate::machine::{Change, Command, Machine, Moment, Order, ProgramId, Run};

use super::book::{Book, Check};
use super::page::{Owed, Page, is_ending};
use super::standing::Standings;

use std::time::Duration;

/// Who waits for whom.
pub type Links = [(ProgramId, ProgramId)];

impl Book {
    pub fn command(&mut self, command: Command, now: Moment) {
        match command {
            Command::Start(id) => self.start(id, now, true),
            Command::StartNew(id) => self.start_new(&[id], now),
            Command::StartAll => {
                let all: Vec<ProgramId> = self.pages.iter().map(|page| page.id).collect();
                self.start_new(&all, now);
            }
            Command::Restart(id) => self.restart(id, now, Cause::Operator),
            Command::Stop(id) => self.stop(id, false, Cause::Operator),
            Command::Kill(id) => self.stop(id, true, Cause::Operator),
            Command::Remove(id) => self.remove(id),
            Command::StopAll => self.stop_all(now, false),
            Command::KillAll => self.stop_all(now, true),
        }
    }

    pub fn is_alive(&mut self, id: ProgramId, now: Moment) {
        if let Some(page) = self.page_mut(id)
            && let State::Running { .. } = page.state
            && let Some(watchdog) = page.definition.policy.watchdog
        {
            page.deadline = Some(now.after(watchdog));
        }
    }

    pub fn is_ready(&mut self, id: ProgramId) {
        if let Some(page) = self.page_mut(id) {
            let is_starting = matches!(page.state, State::Starting { .. });
            page.owed.up = is_starting && !page.is_oneshot();
        }
    }

    pub fn is_unhealthy(&mut self, id: ProgramId) {
        if let Some(page) = self.page_mut(id)
            && let State::Running { .. } = page.state
        {
            page.cause = Cause::Unhealthy;
            self.tally.unhealthy += 1;
        }
    }

    pub fn escape(&mut self, id: ProgramId, has_escaped: bool) {
        if let Some(page) = self.page_mut(id) {
            page.escaped = has_escaped;
            page.escaped_abandoned = false;
            self.tally.escaped += u64::from(has_escaped);
        }
    }

    /// Handles the deadlines that are past.
    pub fn pass(&mut self, now: Moment) {
        let mut due: Vec<(Moment, ProgramId)> = Vec::new();
        for page in &self.pages {
            due.extend(
                page.deadline
                    .filter(|&at| at <= now)
                    .map(|at| (at, page.id)),
            );
        }
        due.sort_by_key(|&(at, id)| (at, self.page(id).map(|page| page.ticket)));
        for (_, id) in due {
            self.pass_one(now, id);
        }
        let Some((kill_at, end_at)) = self.shutdown else {
            return;
        };
        if kill_at.is_some_and(|at| at <= now) {
            self.shutdown = Some((None, end_at));
            self.stop_all(now, true);
        }
        if end_at <= now {
            self.shutdown = None;
        }
    }

    fn pass_one(&mut self, now: Moment, id: ProgramId) {
        let Some(index) = self.index(id) else {
            return;
        };
        let page = &mut self.pages[index];
        let asked = page.was_asked();
        if matches!(page.state, State::Killed { .. }) {
            page.survived = Some(page.cause);
        }
        match page.state {
            State::Launching { .. } if !asked => page.cause = Cause::StartFailed,
            State::Starting { .. } if !asked => {
                page.cause = Cause::StartTimeout;
                self.tally.timeouts += 1;
            }
            State::Running { .. } if !asked => {
                page.cause = Cause::Watchdog;
                self.tally.watchdogs += 1;
            }
            State::Killed {
                leader: Leader::New,
                ..
            } if !asked => {
                if page.cause == Cause::Exit {
                    page.cause = Cause::StartFailed;
                }
                page.survived = Some(page.cause);
                page.judge(None, Duration::ZERO);
                self.ended(id, now);
            }
            _ => {}
        }
    }

    /// A run that is over was reported once.
    pub fn reported_once(&self, id: ProgramId) -> Check {
        match self.page(id) {
            Some(page) if page.runs > 0 && page.reports != 1 => Err(format!(
                "run {} of {id:?} has {} reports",
                page.runs, page.reports
            )),
            _ => Ok(()),
        }
    }

    /// Looks at everything after a step.
    pub fn watch(
        &mut self,
        machine: &Machine,
        now: Moment,
        orders: &[Order],
        links: &Links,
        starting: Option<ProgramId>,
    ) -> Check {
        for order in orders {
            self.see_order(order)?;
        }
        let before: Vec<(State, Option<Moment>)> = self
            .pages
            .iter()
            .map(|page| (page.state, page.deadline))
            .collect();
        let mut required = Vec::new();
        for index in 0..self.pages.len() {
            let id = self.pages[index].id;
            let Some(view) = machine.view(id) else {
                if is_ending(self.pages[index].state) {
                    self.pages[index].state = State::Inactive;
                }
                continue;
            };
            if self.pages[index].enter(now, view.state) {
                required.push(id);
            }
            self.pages[index].agrees(&view, starting)?;
        }
        self.number_deadlines(&before);
        for (index, &old) in before.iter().enumerate() {
            self.see_stop(index, old, now, orders, links)?;
        }
        let standings = Standings::of(self);
        for (index, &(old, _)) in before.iter().enumerate() {
            let page = &self.pages[index];
            let is_held = page.state == State::Due
                && old != State::Due
                && standings.hold(self, page).is_some();
            self.tally.held += u64::from(is_held);
        }
        for id in required {
            self.tally.required += 1;
            // What goes on without a program that is removed is not stopped with it.
            let is_let_go = |other| {
                let goes_on = self.kept.contains(&id);
                let is_removed = self.page(other).is_some_and(|page| page.removed);
                let page = self.page(id);
                goes_on
                    && is_removed
                    && page.is_some_and(|page| !page.definition.requires.contains(&other))
            };
            let requires = links.iter().filter(|link| link.0 == id);
            let mut requires = requires.filter(|link| !is_let_go(link.1));
            let is_down = |other| {
                let is_changed = self.changed.contains(&other);
                let was_down = || {
                    let is_ending = self.page(other).is_some_and(Page::is_ending);
                    is_ending || self.led_to_removed(other, links)
                };
                standings.is_down(self, other) || (is_changed && was_down())
            };
            if !requires.any(|&(_, other)| is_down(other)) {
                return Err(format!(
                    "{id:?} is stopped for a requirement, and none is down"
                ));
            }
        }
        self.forget(machine, orders)?;
        self.see_whole(machine, starting)?;
        self.see_words(machine, now)
    }

    /// True if a program is being removed that this one waited for, however far, by these links.
    fn led_to_removed(&self, id: ProgramId, links: &Links) -> bool {
        let mut known = vec![id];
        let mut at = 0;
        while let Some(&next) = known.get(at) {
            if self.page(next).is_some_and(|page| page.removed) {
                return true;
            }
            let others = links.iter().filter(|link| link.0 == next);
            for &(_, other) in others {
                if !known.contains(&other) {
                    known.push(other);
                }
            }
            at += 1;
        }
        false
    }

    /// Deadlines of one moment come in the order in which they were set.
    fn number_deadlines(&mut self, before: &[(State, Option<Moment>)]) {
        let is_new = |index: &usize| self.pages[*index].deadline != before[*index].1;
        let mut new: Vec<usize> = (0..self.pages.len()).filter(is_new).collect();
        new.sort_by_key(|&index| (before[index].1, self.pages[index].ticket));
        for index in new {
            self.tickets += 1;
            self.pages[index].ticket = self.tickets;
        }
    }

    fn see_order(&mut self, order: &Order) -> Check {
        let (Order::Signal { run, .. } | Order::Notify { run, .. }) = *order;
        let Some(page) = self.page_mut(run.program) else {
            return Err(format!("{order:?} is about no program"));
        };
        if run.generation != page.runs {
            return Err(format!(
                "{order:?} is about an old run, and not {}",
                page.runs
            ));
        }
        let is_abandoned = matches!(
            order,
            Order::Notify {
                change: Change::Abandoned { .. },
                ..
            }
        );
        let seen = match *order {
            Order::Signal { signal, .. } => page.see_signal(signal),
            Order::Notify { run, change } => page.see_change(run, change),
        };
        self.tally.abandoned += u64::from(is_abandoned);
        seen
    }

    /// Programs that were removed are gone, and nothing leads to them any more.
    fn forget(&mut self, machine: &Machine, orders: &[Order]) -> Check {
        for page in std::mem::take(&mut self.pages) {
            let is_told = orders.iter().any(|order| {
                matches!(order, Order::Notify { run, change: Change::Removed } if run.program == page.id)
            });
            if machine.view(page.id).is_some() {
                if is_told {
                    return Err(format!("{:?} was removed, and is there", page.id));
                }
                self.pages.push(page);
                continue;
            }
            if !page.removed || !is_told || page.wanted {
                return Err(format!("{:?} is gone, and was not removed", page.id));
            }
            let is_abandoned = matches!(page.state, State::Abandoned { .. })
                || orders.iter().any(|order| {
                    matches!(order, Order::Notify { run, change: Change::Abandoned { .. } } if run.program == page.id)
                });
            if page.group.is_some() && !is_abandoned {
                return Err(format!("{:?} was removed before its group", page.id));
            }
            if page.escaped && !page.escaped_abandoned && !is_abandoned {
                return Err(format!("{:?} was removed before what escaped", page.id));
            }
            if (page.runs > 0 && page.reports != 1) || page.owed != Owed::default() {
                return Err(format!(
                    "{:?} was removed with {} reports, without {:?}",
                    page.id, page.reports, page.owed
                ));
            }
            self.tally.removed += 1;
            self.past.push(Run {
                program: page.id,
                generation: page.runs,
            });
        }
        if !orders.iter().any(is_removal) {
            return Ok(());
        }
        let left: Vec<ProgramId> = self.pages.iter().map(|page| page.id).collect();
        let is_removing = self.pages.iter().any(|page| page.removed);
        for page in &mut self.pages {
            page.definition.requires.retain(|id| left.contains(id));
            page.definition.after.retain(|id| left.contains(id));
            page.armed.retain(|id| left.contains(id));
            page.after_removals &= is_removing;
        }
        Ok(())
    }

    /// The whole: what is held, what may not run, what is next.
    fn see_whole(&mut self, machine: &Machine, starting: Option<ProgramId>) -> Check {
        let standings = Standings::of(self);
        let is_removing = self.pages.iter().any(|page| page.removed);
        for index in 0..self.pages.len() {
            let comes = standings.after_comes(self, &self.pages[index]);
            let is_short = standings.is_short(self, &self.pages[index]);
            let page = &mut self.pages[index];
            page.passed = page.state == State::Due && (page.passed || (!comes && !is_short));
            page.after_removals &= is_removing;
        }
        let mut is_settled = true;
        let mut deadline = None;
        for (index, page) in self.pages.iter().enumerate() {
            if starting.is_none() {
                self.see_hold(machine, &standings, page)?;
            }
            let can_run = page.is_run() || matches!(page.state, State::Clearing { .. });
            if can_run && page.wanted && page.state != State::Spawning {
                let mut armed = page.armed.iter();
                if let Some(down) = armed.find(|&&id| standings.is_down(self, id)) {
                    let id = page.id;
                    return Err(format!(
                        "{id:?} runs, and {down:?}, which it requires, is down"
                    ));
                }
            }
            is_settled &= match page.state {
                State::Inactive => true,
                State::Abandoned { .. } => !page.wanted,
                State::Due => standings.of_page(index) == Standing::Never,
                _ => false,
            };
            deadline = deadline.into_iter().chain(page.deadline).min();
        }
        if machine.is_settled() != is_settled {
            return Err(format!(
                "it is not so that is_settled() is {}",
                machine.is_settled()
            ));
        }
        let shutdown = self.shutdown.filter(|_| !is_settled);
        let shutdown = shutdown.map(|(kill, end)| kill.unwrap_or(end));
        let deadline = deadline.into_iter().chain(shutdown).min();
        if machine.next_deadline() != deadline {
            let next = machine.next_deadline();
            return Err(format!(
                "the next deadline is {next:?}, and should be {deadline:?}"
            ));
        }
        if self.stopping
            && self.shutdown_timeout.is_some()
            && self.shutdown.is_none()
            && !is_settled
        {
            return Err("the shutdown is over, and something runs".to_owned());
        }
        if machine.is_stopping() != self.stopping
            || machine.essential_ended() != self.essential_ended
        {
            return Err("not agreed on the stop of everything".to_owned());
        }
        self.arm(&standings);
        Ok(())
    }

    fn see_hold(&self, machine: &Machine, standings: &Standings, page: &Page) -> Check {
        let id = page.id;
        let said = machine.view(id).and_then(|view| view.hold);
        if page.state != State::Due {
            return if said.is_some() {
                Err(format!("{id:?} is not due, and held by {said:?}"))
            } else {
                Ok(())
            };
        }
        let hold = standings.hold(self, page);
        if said != hold {
            return Err(format!(
                "{id:?} is held by {said:?}, and should be by {hold:?}"
            ));
        }
        if hold.is_none() && !machine.has_starts() {
            return Err(format!("nothing holds {id:?}, and there is no start"));
        }
        Ok(())
    }

    fn arm(&mut self, standings: &Standings) {
        for index in 0..self.pages.len() {
            let requires = self.pages[index].definition.requires.iter();
            let up = requires.filter(|&&id| !standings.is_down(self, id));
            let mut armed: Vec<ProgramId> = up.copied().collect();
            let page = &mut self.pages[index];
            armed.retain(|id| !page.armed.contains(id));
            page.armed.append(&mut armed);
            let requires = &page.definition.requires;
            page.armed.retain(|id| requires.contains(id));
        }
    }
}

fn is_removal(order: &Order) -> bool {
    let Order::Notify { change, .. } = order else {
        return false;
    };
    *change == Change::Removed
}
