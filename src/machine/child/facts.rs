//! What a fact does in each state. A fact that is impossible in a state is a bug of the caller.

use super::{Child, Effects, Flags, LAUNCH_TIMEOUT, SIGABRT, SIGKILL};
use crate::machine::interface::{Change, Moment};
use crate::machine::policy::{Exit, Verdict};
use crate::machine::state::Goal::Up;
use crate::machine::state::Leader::{Alive, Dead, New};
use crate::machine::state::{Cause, Fact, Purpose, State as S};

impl Child {
    pub(super) fn on_fact(&mut self, now: Moment, fact: Fact, out: &mut Effects<'_>) {
        if self.state == S::Spawning && self.flags.has(Flags::OUTDATED) {
            self.flags.set(Flags::OUTDATED, false);
            self.take_over(Cause::Reload);
        }
        match fact {
            Fact::Spawned { at } | Fact::SpawnFailed { at } => self.on_answer(now, at, fact, out),
            Fact::SpawnDelayed { at } => self.on_spawn_delayed(now, at, out),
            Fact::LeaderExited { exit } => self.on_leader_exited(now, exit, out),
            Fact::GroupGone => self.on_group_gone(now, out),
            Fact::Ready => self.on_ready(now, out),
            Fact::Alive => self.on_alive(now, out),
            Fact::Unhealthy => self.on_fault(now, Cause::Unhealthy, out),
            Fact::Hung => self.on_fault(now, Cause::Watchdog, out),
            Fact::Escaped => {
                self.flags.set(Flags::ESCAPED, true);
                self.flags.set(Flags::ESCAPED_ABANDONED, false);
            }
            Fact::EscapedGone => self.on_escaped_gone(out),
            Fact::EscapedAbandoned => {
                let exist = self.flags.has(Flags::ESCAPED);
                self.flags.set(Flags::ESCAPED_ABANDONED, exist);
            }
            Fact::Deadline(purpose) => self.on_deadline(now, purpose, out),
        }
    }

    /// Handles the answer to a start: it was executed, or it failed.
    fn on_answer(&mut self, now: Moment, at: Moment, fact: Fact, out: &mut Effects<'_>) {
        let executed = matches!(fact, Fact::Spawned { .. });
        match self.state {
            S::Spawning | S::Launching { .. } => self.answered(now, at, executed, out),
            // If it was executed before the SIGKILL for its late start reached it, its end is like
            // any other.
            S::Killed { leader: New, .. } if !executed || !self.was_asked() => {
                self.answered(now, at, executed, out);
            }
            S::Killed { leader: New, .. } => {
                let (since, leader) = (at, Alive);
                self.state = S::Killed { since, leader };
                self.notify(Change::Started, out);
            }
            // Its run was reported when it was abandoned; each run has one report.
            S::Abandoned { leader: New } if executed => {
                self.state = S::Abandoned { leader: Alive };
            }
            S::Abandoned { leader: New } => self.gone(out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Starting { .. } | S::Running { .. } => {
                self.impossible(fact, out);
            }
            S::Draining { .. } | S::Stopping { .. } | S::Killed { .. } => {
                self.impossible(fact, out);
            }
            S::Clearing { .. } | S::Abandoned { .. } => self.impossible(fact, out),
        }
    }

    fn answered(&mut self, now: Moment, at: Moment, executed: bool, out: &mut Effects<'_>) {
        out.timers.disarm((out.id, Purpose::Launch));
        out.timers.disarm((out.id, Purpose::Stop));
        if !executed {
            return self.start_failed(at, out);
        }
        self.notify(Change::Started, out);
        if self.was_asked() {
            return self.stop(now, at, out);
        }
        // It may have been killed for its late start.
        self.cause = Cause::Exit;
        if self.flags.has(Flags::TELLS_READY) || self.policy.oneshot {
            self.state = S::Starting { since: at };
            if let Some(timeout) = self.policy.start_timeout {
                out.timers.arm((out.id, Purpose::Ready), at.after(timeout));
            }
            return;
        }
        self.is_up(at, at, out);
    }

    /// It is up from now on.
    fn is_up(&mut self, now: Moment, since: Moment, out: &mut Effects<'_>) {
        self.state = S::Running { since };
        if let Some(watchdog) = self.policy.watchdog {
            // A turn that starts it and finds it ready may have begun before.
            let end = now.max(since).after(watchdog);
            out.timers.arm((out.id, Purpose::Watchdog), end);
        }
    }

    fn on_spawn_delayed(&mut self, now: Moment, at: Moment, out: &mut Effects<'_>) {
        match self.state {
            S::Spawning if !self.was_asked() => {
                let until = at.after(LAUNCH_TIMEOUT);
                self.state = S::Launching { until };
                out.timers.arm((out.id, Purpose::Launch), until);
            }
            S::Spawning => self.kill_new(now, out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Launching { .. } => {
                self.impossible(Fact::SpawnDelayed { at }, out);
            }
            S::Starting { .. } | S::Running { .. } | S::Draining { .. } | S::Stopping { .. } => {
                self.impossible(Fact::SpawnDelayed { at }, out);
            }
            S::Killed { .. } | S::Clearing { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::SpawnDelayed { at }, out);
            }
        }
    }

    /// Treats a failed start like a failed run, with the same backoff.
    fn start_failed(&mut self, at: Moment, out: &mut Effects<'_>) {
        let was_asked = self.was_asked();
        let retry_in = if was_asked {
            None
        } else {
            self.judge_start(out)
        };
        let cause = self.cause;
        self.notify(Change::StartFailed { cause, retry_in }, out);
        match retry_in {
            Some(delay) => {
                let until = at.after(self.stretched(delay, out));
                self.wait_until(at, until, out);
            }
            None if self.goal == Up => self.become_due(out),
            None => self.state = S::Inactive,
        }
    }

    fn on_leader_exited(&mut self, now: Moment, exit: Exit, out: &mut Effects<'_>) {
        match self.state {
            S::Starting { since } | S::Running { since } => self.ended(now, since, exit, out),
            S::Draining { since } => {
                self.signal(SIGKILL, out);
                self.await_death(now, since, Dead, out);
                self.ended_as_asked(now, since, exit, out);
            }
            S::Stopping { since, leader } | S::Killed { since, leader } if leader == Alive => {
                if self.was_asked() {
                    return self.ended_as_asked(now, since, exit, out);
                }
                self.ended(now, since, exit, out);
            }
            // Its run was reported when it was abandoned; each run has one report.
            S::Abandoned { leader: Alive } => self.state = S::Abandoned { leader: Dead },
            S::Inactive | S::Waiting { .. } | S::Due | S::Spawning | S::Launching { .. } => {
                self.impossible(Fact::LeaderExited { exit }, out);
            }
            S::Clearing { .. } | S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::LeaderExited { exit }, out);
            }
        }
    }

    /// Handles an exit without a stop. Kills the rest of the group at once, while the unreaped
    /// leader keeps the group's number from being reused.
    fn ended(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        self.disarm_run(out);
        let uptime = now.since(since);
        self.signal(SIGKILL, out);
        let verdict = self.judge(exit, Some(uptime), out);
        let retry_in = match verdict {
            Verdict::Restart(delay) => Some(delay),
            Verdict::Down(_) => None,
        };
        self.notify_exit(exit, uptime, retry_in, out);
        if let Some(delay) = retry_in {
            out.timers.disarm((out.id, Purpose::Stop));
            let start_at = now.after(self.stretched(delay, out));
            self.state = S::Clearing { start_at };
            return;
        }
        self.await_death(now, since, Dead, out);
    }

    /// Handles an exit after a stop. The rest of the group keeps its stop timeout.
    fn ended_as_asked(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        if let S::Stopping { leader, .. } | S::Killed { leader, .. } = &mut self.state {
            *leader = Dead;
        }
        self.notify_exit(exit, now.since(since), None, out);
    }

    fn notify_exit(
        &self,
        exit: Exit,
        uptime: std::time::Duration,
        retry_in: Option<std::time::Duration>,
        out: &mut Effects<'_>,
    ) {
        let change = Change::Exited {
            exit,
            uptime,
            cause: self.cause,
            retry_in,
        };
        self.notify(change, out);
    }

    fn on_group_gone(&mut self, now: Moment, out: &mut Effects<'_>) {
        match self.state {
            S::Stopping { leader, .. } | S::Killed { leader, .. } | S::Abandoned { leader }
                if leader == Dead =>
            {
                self.gone(out);
            }
            S::Clearing { start_at } => self.wait_until(now, start_at, out),
            S::Inactive | S::Waiting { .. } | S::Due | S::Spawning | S::Launching { .. } => {
                self.impossible(Fact::GroupGone, out);
            }
            S::Starting { .. } | S::Running { .. } | S::Draining { .. } => {
                self.impossible(Fact::GroupGone, out);
            }
            S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. } => {
                self.impossible(Fact::GroupGone, out);
            }
        }
    }

    /// Readiness after a stop, or again, changes nothing.
    fn on_ready(&mut self, now: Moment, out: &mut Effects<'_>) {
        let S::Starting { since } = self.state else {
            return;
        };
        if !self.policy.oneshot {
            out.timers.disarm((out.id, Purpose::Ready));
            self.is_up(now, since, out);
            self.notify(Change::Up, out);
        }
    }

    fn on_alive(&mut self, now: Moment, out: &mut Effects<'_>) {
        if let (S::Running { since }, Some(_)) = (self.state, self.policy.watchdog) {
            self.is_up(now, since, out);
        }
    }

    fn on_fault(&mut self, now: Moment, cause: Cause, out: &mut Effects<'_>) {
        if let S::Running { since } = self.state {
            self.end_for(now, since, cause, out);
        }
    }

    fn on_escaped_gone(&mut self, out: &mut Effects<'_>) {
        self.flags.set(Flags::ESCAPED, false);
        self.flags.set(Flags::ESCAPED_ABANDONED, false);
        if self.state == S::Due {
            self.queue(out.id, out.starts);
        }
    }

    fn on_deadline(&mut self, now: Moment, purpose: Purpose, out: &mut Effects<'_>) {
        match (self.state, purpose) {
            (S::Waiting { .. }, Purpose::Next) => self.become_due(out),
            (S::Launching { .. }, Purpose::Launch) => {
                self.cause = Cause::StartFailed;
                self.kill_new(now, out);
            }
            (S::Starting { since }, Purpose::Ready) => {
                self.end_for(now, since, Cause::StartTimeout, out);
            }
            (S::Running { since }, Purpose::Watchdog) => {
                self.end_for(now, since, Cause::Watchdog, out);
            }
            (S::Stopping { since, leader }, Purpose::Stop) => self.kill(now, since, leader, out),
            (S::Killed { leader, .. }, Purpose::Stop) => self.abandon(leader, out),
            (
                S::Inactive
                | S::Waiting { .. }
                | S::Due
                | S::Spawning
                | S::Launching { .. }
                | S::Starting { .. }
                | S::Running { .. }
                | S::Draining { .. }
                | S::Stopping { .. }
                | S::Killed { .. }
                | S::Clearing { .. }
                | S::Abandoned { .. },
                Purpose::Next
                | Purpose::Launch
                | Purpose::Ready
                | Purpose::Watchdog
                | Purpose::Stop,
            ) => self.impossible(Fact::Deadline(purpose), out),
        }
    }

    /// Ends a run for a fault: what depends on it goes on, and its policy decides what follows.
    fn end_for(&mut self, now: Moment, since: Moment, cause: Cause, out: &mut Effects<'_>) {
        self.disarm_run(out);
        self.cause = cause;
        let signal = if cause == Cause::Watchdog {
            SIGABRT
        } else {
            self.policy.stop_signal
        };
        self.send_stop(now, since, signal, out);
    }
}
