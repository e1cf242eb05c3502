//! What has to follow the end of a run, by the policy alone.

use std::time::Duration;

use crate::machine::state::{Cause, Why};
use crate::machine::{Exit, Restart};

use super::page::Page;

/// The least delay after a failed start.
const FAILED_START_MIN: Duration = Duration::from_millis(100);

impl Page {
    /// Judges an end that was not asked for; without an exit, a start that failed. Returns the
    /// delay before the next start. If there is none, its goal is down.
    pub fn judge(&mut self, exit: Option<Exit>, uptime: Duration) -> Option<Duration> {
        let verdict = self.verdict(exit, uptime);
        if let Err(why) = verdict {
            (self.wanted, self.hard, self.why) = (false, false, why);
        }
        verdict.ok()
    }

    fn verdict(&mut self, exit: Option<Exit>, uptime: Duration) -> Result<Duration, Why> {
        if self.again {
            return Ok(Duration::ZERO);
        }
        let policy = &self.definition.policy;
        let own = exit.filter(|_| self.cause == Cause::Exit);
        let success =
            own.is_some_and(|exit| exit == Exit::Code(0) || policy.success.contains(exit));
        if own.is_some_and(|exit| policy.permanent.contains(exit)) {
            return Err(Why::Permanent);
        }
        let goes_on = match policy.restart {
            Restart::Always => !(success && policy.oneshot),
            Restart::OnFailure => !success,
            Restart::Never => false,
        };
        if !goes_on {
            return Err(if success { Why::Exited } else { Why::Failed });
        }
        let backoff = policy.backoff;
        let limit = policy.max_restarts;
        if exit.is_some() && uptime >= backoff.reset_after {
            self.forgive();
        }
        if limit.is_some_and(|limit| self.in_row >= limit) {
            return Err(Why::GaveUp);
        }
        let delay = self.delay;
        self.in_row += 1;
        self.delay = (delay * 2).min(backoff.max);
        Ok(if exit.is_some() {
            delay
        } else {
            delay.max(FAILED_START_MIN)
        })
    }
}
