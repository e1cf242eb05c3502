//! What the machine says and orders about one program, beside what has happened to it.

use std::mem::{discriminant, take};
use std::time::Duration;

use crate::machine::state::{Cause, Goal, Leader, State};
use crate::machine::{Change, Moment, ProgramId, Run, View};

use super::book::{Check, DEATH};
use super::page::{Owed, Page, is_ending};

const SIGABRT: i32 = 6;
const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// How long the caller may take to execute a program.
const LAUNCH: Duration = Duration::from_secs(90);

impl Page {
    pub fn is_leader(&self, leader: Leader) -> bool {
        self.group
            .as_ref()
            .is_some_and(|group| group.leader == leader)
    }

    pub fn see_signal(&mut self, signal: i32) -> Check {
        let (id, policy) = (self.id, self.definition.policy);
        let Some(group) = &mut self.group else {
            return Err(format!("{id:?} has no group for signal {signal}"));
        };
        let owed = &mut self.owed;
        let is_stop = (signal == SIGABRT && policy.watchdog.is_some())
            || (signal == policy.stop_signal && !group.asked_to_stop);
        match signal {
            // What an exit leaves behind is killed without a word.
            SIGKILL => {
                group.killed = true;
                owed.killed = self.expected.is_none();
            }
            SIGCONT if owed.stopping.is_some() && !owed.continued => owed.continued = true,
            _ if is_stop && owed.stopping.is_none() => {
                group.asked_to_stop = true;
                owed.stopping = Some(signal);
            }
            _ => return Err(format!("{id:?} gets signal {signal}")),
        }
        Ok(())
    }

    pub fn see_change(&mut self, run: Run, change: Change) -> Check {
        let wrong = || Err(format!("{change:?} of {run:?} is wrong"));
        let (uptime, cause, retry_in) = match change {
            Change::Started if take(&mut self.owed.started) => return Ok(()),
            Change::Up if take(&mut self.owed.up) => return Ok(()),
            Change::Killed if take(&mut self.owed.killed) => return Ok(()),
            Change::Removed => return Ok(()),
            Change::StartFailed { cause, retry_in } => (None, Some(cause), retry_in),
            Change::Exited {
                uptime,
                cause,
                retry_in,
                ..
            } => (Some(uptime), Some(cause), retry_in),
            Change::Stopping { signal, timeout }
                if timeout == self.definition.policy.stop_timeout
                    && take(&mut self.owed.continued)
                    && self.owed.stopping.take() == Some(signal) =>
            {
                return Ok(());
            }
            // A stop at the same moment comes before it or after it.
            Change::Abandoned { cause }
                if cause == self.cause
                    || Some(cause) == self.survived.take()
                    // A shutdown that is over at once asks twice what has ended by itself.
                    || (cause == Cause::Shutdown
                        && matches!(self.state, State::Clearing { .. })) =>
            {
                self.reports += u32::from(!self.is_leader(Leader::Dead));
                return Ok(());
            }
            Change::Started | Change::Up | Change::Killed | Change::Stopping { .. } => {
                return wrong();
            }
            Change::Abandoned { .. } | Change::Impossible { .. } => return wrong(),
        };
        self.reports += 1;
        let Some(expected) = self.expected.take() else {
            return wrong();
        };
        let is_right = expected.uptime == uptime
            && expected.retry_in == retry_in
            && cause == Some(expected.cause);
        if is_right {
            return Ok(());
        }
        Err(format!("{change:?} of {run:?} should be {expected:?}"))
    }

    /// Takes over what the machine says of it. Returns true if it is stopped for a requirement.
    pub fn enter(&mut self, now: Moment, new: State) -> bool {
        let old = std::mem::replace(&mut self.state, new);
        // A late start came true that was being killed.
        let has_come_true = self.is_leader(Leader::Alive)
            && matches!(
                old,
                State::Killed {
                    leader: Leader::New,
                    ..
                }
            )
            && !self.was_asked();
        if discriminant(&old) == discriminant(&new) && !has_come_true {
            return false;
        }
        let could_run = matches!(
            old,
            State::Spawning
                | State::Launching { .. }
                | State::Starting { .. }
                | State::Running { .. }
        ) && !self.is_leader(Leader::Dead);
        let is_required = is_ending(new)
            && !self.was_asked()
            && self.cause == Cause::Exit
            && (could_run || has_come_true || matches!(old, State::Clearing { .. }));
        // A run that ended by itself before is not asked any more, but its end is.
        let is_required = is_required
            || (matches!(old, State::Clearing { .. }) && is_ending(new) && !self.was_asked());
        if is_required {
            self.cause = Cause::Requirement;
        }
        let policy = &self.definition.policy;
        self.deadline = match new {
            State::Waiting { until } | State::Launching { until } => Some(until),
            State::Starting { since } => policy.start_timeout.map(|span| since.after(span)),
            State::Running { since } => {
                let from = if self.tells_ready { now } else { since };
                policy.watchdog.map(|span| from.after(span))
            }
            State::Stopping { .. } => Some(now.after(policy.stop_timeout)),
            State::Killed { .. } => Some(now.after(DEATH)),
            _ => None,
        };
        is_required
    }

    /// What the machine says is what has happened.
    pub fn agrees(&self, view: &View, starting: Option<ProgramId>) -> Check {
        let id = self.id;
        let wrong = |what: &str| Err(format!("{id:?}: {what}: {view:?} {self:?}"));
        let goal = match (self.wanted, self.hard) {
            (true, _) => Goal::Up,
            (false, false) => Goal::Down,
            (false, true) => Goal::DownNow,
        };
        if view.goal != goal {
            return wrong("another goal");
        }
        if goal != Goal::Up && view.why != self.why {
            return wrong("another reason");
        }
        if [
            view.delay,
            Duration::from_secs(u64::from(view.restarts_in_row)),
        ] != [self.delay, Duration::from_secs(u64::from(self.in_row))]
        {
            return wrong("another delay or count");
        }
        let is_reported = self.expected.is_none() && self.owed == Owed::default();
        if view.starts != self.runs || !is_reported {
            return wrong("another run, or one that was not reported");
        }
        if (starting == Some(id)) != (view.state == State::Spawning) {
            return wrong("not the start that is under way");
        }
        let group = self.group.as_ref();
        let (leader, killed) =
            group.map_or((None, false), |group| (Some(group.leader), group.killed));
        let killed_run = killed && group.is_some_and(|group| !group.killed_early);
        let asked = group.is_some_and(|group| group.asked_to_stop);
        let alive = leader == Some(Leader::Alive);
        let planned = |at: Moment| self.plan.is_some_and(|(from, to)| from <= at && at <= to);
        let is_so = match view.state {
            State::Inactive => leader.is_none() && !self.wanted && self.may_be_known(),
            State::Waiting { until } => leader.is_none() && self.wanted && planned(until),
            State::Due => leader.is_none() && self.wanted,
            State::Spawning => leader.is_none(),
            State::Launching { until } => {
                leader == Some(Leader::New) && !killed && until == self.since.after(LAUNCH)
            }
            State::Starting { since } => {
                alive
                    && !asked
                    && self.wanted
                    && since == self.since
                    && (self.tells_ready || self.is_oneshot())
            }
            State::Running { since } => {
                alive && !asked && self.wanted && since == self.since && !self.is_oneshot()
            }
            State::Draining { since } => alive && !killed_run && !asked && since == self.since,
            State::Stopping { leader: said, .. } => asked && !killed_run && leader == Some(said),
            State::Killed { leader: said, .. } => killed && leader == Some(said),
            State::Clearing { start_at } => {
                killed && leader == Some(Leader::Dead) && self.wanted && planned(start_at)
            }
            State::Abandoned { leader: said } => {
                killed && leader == Some(said) && (self.wanted || !self.removed)
            }
        };
        if is_so {
            Ok(())
        } else {
            wrong("another state")
        }
    }
}
