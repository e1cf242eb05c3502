//! What a command does in each state.

use super::{Child, Effects, Flags};
use crate::machine::interface::Moment;
use crate::machine::policy::Delay;
use crate::machine::state::Goal::{Down, DownNow, Up};
use crate::machine::state::Leader::{Dead, New};
use crate::machine::state::{Cause, Purpose, State as S, Verb, Why};

impl Child {
    pub(super) fn on_command(
        &mut self,
        now: Moment,
        verb: Verb,
        cause: Cause,
        out: &mut Effects<'_>,
    ) {
        match verb {
            Verb::Start => self.on_start(now, out),
            Verb::Restart => self.on_restart(now, cause, out),
            Verb::Stop | Verb::Kill => self.on_stop(now, verb, cause, out),
        }
    }

    /// A start by hand forgives what was: the delay and the count begin anew.
    fn on_start(&mut self, now: Moment, out: &mut Effects<'_>) {
        self.goal = Up;
        match self.state {
            S::Launching { .. } | S::Starting { .. } | S::Running { .. } => return,
            // A stop of this start, which has not been answered yet, is taken back.
            S::Spawning => {
                self.cause = Cause::Exit;
                return;
            }
            S::Inactive | S::Waiting { .. } => {
                out.timers.disarm((self.id, Purpose::Next));
                self.become_due(out);
            }
            S::Clearing { .. } => self.state = S::Clearing { start_at: now },
            // The start waits until the group is gone, also if the run ends for a fault.
            S::Stopping { leader, .. } | S::Killed { leader, .. } => {
                let is_fault = leader != Dead && !self.cause.is_stop();
                self.flags.set(Flags::AGAIN, is_fault);
            }
            // The start waits for what holds it, or until the group is gone.
            S::Due | S::Draining { .. } | S::Abandoned { .. } => {}
        }
        self.delay = Delay::new(&self.policy.backoff);
    }

    fn on_restart(&mut self, now: Moment, cause: Cause, out: &mut Effects<'_>) {
        match self.state {
            S::Starting { since } | S::Running { since } => {
                self.cause = cause;
                self.stop(now, since, out);
            }
            S::Launching { .. } => {
                self.cause = cause;
                self.kill_new(now, out);
            }
            // The rest of its group has had SIGKILL since the exit. What it requires waits for its
            // end, and so this has a deadline from now on.
            S::Clearing { .. } if cause == Cause::Requirement => {
                self.cause = cause;
                self.await_death(now, now, Dead, out);
            }
            S::Inactive | S::Waiting { .. } | S::Due | S::Spawning | S::Clearing { .. } => {
                return self.on_start(now, out);
            }
            S::Draining { .. } | S::Stopping { .. } | S::Killed { .. } => {
                self.take_over(cause);
            }
            S::Abandoned { .. } => {}
        }
        self.goal = Up;
        if cause != Cause::Requirement {
            self.delay = Delay::new(&self.policy.backoff);
        }
    }

    fn on_stop(&mut self, now: Moment, verb: Verb, cause: Cause, out: &mut Effects<'_>) {
        let was_up = self.goal == Up;
        self.flags.set(Flags::AGAIN, false);
        // A stop does not turn a kill back into a stop.
        if verb == Verb::Kill {
            self.goal = DownNow;
        } else if self.goal != DownNow {
            self.goal = Down;
        }
        // What has ended for good before a shutdown keeps its reason.
        if was_up || cause != Cause::Shutdown {
            self.why = Why::Stopped;
            self.flags.set(Flags::SUCCEEDED, false);
        }
        let is_kill = self.goal == DownNow;
        match self.state {
            S::Inactive | S::Abandoned { .. } => {}
            S::Waiting { .. } | S::Due => {
                out.timers.disarm((self.id, Purpose::Next));
                self.state = S::Inactive;
            }
            // The answer to the start comes first; it finds the new goal.
            S::Spawning => self.cause = cause,
            // The program has not been executed, so it cannot handle a stop signal.
            S::Launching { .. } => {
                self.cause = cause;
                self.kill_new(now, out);
            }
            S::Starting { since } | S::Running { since } => {
                self.cause = cause;
                self.stop(now, since, out);
            }
            S::Draining { since } if is_kill => self.stop(now, since, out),
            S::Stopping { since, leader } if is_kill => {
                self.take_over(cause);
                self.kill(now, since, leader, out);
            }
            S::Draining { .. } | S::Stopping { .. } | S::Killed { .. } => self.take_over(cause),
            // The rest of its group has had SIGKILL since the exit; from now on it is waited for.
            S::Clearing { .. } => self.await_death(now, now, Dead, out),
        }
    }

    /// A run that is being ended for a fault ends as one that was asked to.
    fn take_over(&mut self, cause: Cause) {
        if !self.cause.is_stop() {
            self.cause = cause;
        }
    }

    pub(super) fn kill_new(&mut self, now: Moment, out: &mut Effects<'_>) {
        out.timers.disarm((self.id, Purpose::Launch));
        self.kill(now, now, New, out);
    }
}
