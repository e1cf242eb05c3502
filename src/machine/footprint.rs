//! What a machine's answers depend on, for tests that ask whether they have been here before.

use std::hash::{Hash, Hasher};

use super::Machine;
use super::child::Child;
use super::interface::Moment;
use super::state::{Goal, State};

impl Machine {
    /// Hashes all that decides what comes, with moments told from `now`. How often a program ran
    /// decides nothing, nor does how long ago a run began, or a moment that is past.
    pub fn hash_state<H: Hasher>(&self, now: Moment, hasher: &mut H) {
        for (id, child) in self.children.pairs() {
            id.hash(hasher);
            hash_child(child, now, hasher);
        }
        for (at, key) in self.timers.in_order() {
            (at.since(now), key).hash(hasher);
        }
        self.starts.hash(hasher);
        self.graph.hash(hasher);
        (self.removing, self.stopping, self.essential_ended).hash(hasher);
        let shutdown = self.shutdown.as_ref();
        let moments = shutdown.map(|all| (all.next(), all.abandon_at));
        let moments = moments.map(|(next, end)| (next.map(|at| at.since(now)), end.since(now)));
        moments.hash(hasher);
    }

    /// True if all that is counted was counted right.
    pub fn recount(&self) -> Result<(), String> {
        self.graph.recount()?;
        let removing = self.children.iter().filter(|child| child.is_removed());
        if removing.count() != self.removing {
            return Err(format!("{} programs are being removed", self.removing));
        }
        Ok(())
    }
}

fn hash_child<H: Hasher>(child: &Child, now: Moment, hasher: &mut H) {
    // Of a program without a process, what ended its latest run decides nothing; nor does why it
    // was down, once it is wanted.
    let is_idle = matches!(
        child.state,
        State::Inactive | State::Waiting { .. } | State::Due
    );
    let is_up = child.goal == Goal::Up;
    (child.flags, is_up, Some(child.why).filter(|_| !is_up)).hash(hasher);
    Some((child.goal, child.cause))
        .filter(|_| !is_idle)
        .hash(hasher);
    let rest = match child.state {
        State::Waiting { until } | State::Launching { until } => until.since(now),
        State::Clearing { start_at } => start_at.since(now),
        _ => std::time::Duration::ZERO,
    };
    let leader = match child.state {
        State::Stopping { leader, .. }
        | State::Killed { leader, .. }
        | State::Abandoned { leader } => Some(leader),
        _ => None,
    };
    (std::mem::discriminant(&child.state), rest, leader).hash(hasher);
}

impl Child {
    fn is_removed(&self) -> bool {
        self.flags.has(super::Flags::REMOVED)
    }
}
