//! Where a program is stopped: after what depends on it, and at its time.

use crate::machine::state::{Cause, Leader, State};
use crate::machine::{Change, Moment, Order, ProgramId};

use super::book::{Book, Check};
use super::page::is_ending;
use super::watch::Links;

impl Book {
    /// Compares the stop of a program with what was so before.
    pub fn see_stop(
        &mut self,
        index: usize,
        (old, deadline): (State, Option<Moment>),
        now: Moment,
        orders: &[Order],
        links: &Links,
    ) -> Check {
        let page = &self.pages[index];
        let (id, new) = (page.id, page.state);
        let is_late = deadline.is_some_and(|deadline| deadline <= now);
        let is_over = self.stopping && self.shutdown_timeout.is_some() && self.shutdown.is_none();
        match (old, new) {
            (_, State::Abandoned { .. }) if is_over => {}
            (State::Killed { .. }, State::Abandoned { .. }) if is_late => {}
            (State::Abandoned { .. }, State::Abandoned { .. }) => {}
            (_, State::Abandoned { .. }) => return Err(format!("{id:?} is abandoned too soon")),
            (State::Stopping { .. }, State::Killed { .. }) if !page.hard && !is_late => {
                // A run that ended for a fault is judged, and its rest is killed.
                if orders.iter().any(|order| is_fault_of(order, id)) {
                    return Ok(());
                }
                return Err(format!("{id:?} is killed too soon"));
            }
            _ => {}
        }
        let mut ending: Vec<(ProgramId, u64)> = Vec::new();
        let dependents = links.iter().filter(|link| link.1 == id);
        for other in dependents.filter_map(|link| self.page(link.0)) {
            if other.is_ending() {
                ending.push((other.id, other.runs));
            }
        }
        let was_draining = page.drain.is_some();
        if !matches!(new, State::Draining { .. }) {
            let drain = self.pages[index].drain.take();
            let is_by_new_links = std::mem::take(&mut self.pages[index].drains_by_new_links);
            let page = &self.pages[index];
            // What required a oneshot had no need of its run, and has from now on.
            let is_other = is_by_new_links || page.was_oneshot || self.has_other_kind();
            let is_own =
                page.cause.is_stop() && !is_other && !page.hard && page.is_leader(Leader::Alive);
            let is_told = orders.iter().any(|order| is_signal_to(order, id));
            if !is_own || !is_told || matches!(old, State::Launching { .. }) || is_ending_sent(old)
            {
                return Ok(());
            }
            let waits = drain.unwrap_or(ending);
            return match waits.iter().find(|wait| self.is_ending_run(wait)) {
                Some(wait) => Err(format!("{id:?} is stopped before {:?}", wait.0)),
                None => Ok(()),
            };
        }
        if !was_draining {
            self.tally.drained += 1;
            let is_required = self.pages[index].cause == Cause::Requirement;
            self.pages[index].drains_by_new_links = is_required && self.has_other_kind();
            self.pages[index].drain = Some(ending);
        }
        if self.pages[index].drains_by_new_links {
            return Ok(());
        }
        let mut waits = self.pages[index].drain.take().unwrap_or_default();
        waits.retain(|wait| self.is_ending_run(wait));
        if waits.is_empty() {
            return Err(format!("{id:?} drains, and all that it waited for is gone"));
        }
        self.pages[index].drain = Some(waits);
        Ok(())
    }

    /// True if a oneshot has become a program that is to stay, in this step.
    fn has_other_kind(&self) -> bool {
        let mut changed = self.changed.iter();
        changed.any(|&id| self.page(id).is_some_and(|page| page.was_oneshot))
    }

    fn is_ending_run(&self, &(id, run): &(ProgramId, u64)) -> bool {
        let page = self.page(id);
        page.is_some_and(|page| page.runs == run && page.is_ending())
    }
}

fn is_signal_to(order: &Order, id: ProgramId) -> bool {
    matches!(order, Order::Signal { run, .. } if run.program == id)
}

/// True if this reports the end of a run that was not asked for.
fn is_fault_of(order: &Order, id: ProgramId) -> bool {
    matches!(
        order,
        Order::Notify { run, change: Change::Exited { cause, .. } }
            if run.program == id && !cause.is_stop()
    )
}

fn is_ending_sent(state: State) -> bool {
    is_ending(state) && !matches!(state, State::Draining { .. })
}
