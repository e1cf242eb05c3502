//! When nothing is left to be done, or a shutdown has no more time for it.

use std::time::Instant;

use crate::machine::Moment;
use crate::orphans::Orphans;

use super::orphan_sweep::OrphanSweep;
use super::{Phase, ProcessScheduler, Status};

impl ProcessScheduler {
    /// Returns when a shutdown that has begun is over at the latest, if
    /// [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout) is set. The scheduler has
    /// stopped a little earlier, so that its host can tell of it in time.
    ///
    /// ```
    /// # use procsched::{ProcessScheduler, Status};
    /// # use std::time::{Duration, Instant};
    /// # fn main() -> procsched::Result<()> {
    /// let timeout = Duration::from_secs(30);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .keep_running()
    ///     .shutdown_timeout(timeout)
    ///     .build()?;
    /// scheduler.step(Some(Duration::ZERO))?;
    /// assert_eq!(scheduler.shutdown_deadline(), None);
    /// scheduler.stop();
    /// scheduler.step(Some(Duration::ZERO))?;
    /// let deadline = scheduler.shutdown_deadline().expect("it has begun");
    /// assert!(deadline <= Instant::now() + timeout);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shutdown_deadline(&self) -> Option<Instant> {
        let shutdown = self.core.shutdown();
        shutdown.map(|all| self.clock.instant(all.end_at))
    }

    /// True if nothing is left to be done: no program runs or is going to, every report was handed
    /// to the error command, and no orphan is left.
    pub(super) fn is_settled(&self) -> bool {
        let orphans = self.sweep.as_ref().map(OrphanSweep::orphans);
        self.is_settled_but_for_orphans() && orphans.is_none_or(Orphans::is_gone)
    }

    /// A report that is queued is a command to be run.
    pub(super) fn is_settled_but_for_orphans(&self) -> bool {
        let commands = &self.side_commands;
        let has_jobs = || commands.handle_reports() && self.core.outbox().has_reports();
        self.core.is_over() && commands.is_idle() && self.probes.is_idle() && !has_jobs()
    }

    /// Returns when a shutdown waits for nothing any more.
    pub(super) fn leaves_at(&self) -> Option<Moment> {
        self.core.shutdown().map(|shutdown| shutdown.leave_at)
    }

    /// Stops turning when nothing runs and nothing is going to, or there is no more time.
    pub(super) fn finish_if_settled(&mut self, now: Moment) -> Status {
        if self.core.is_over() {
            self.core.report_if_all_ended(now);
            self.side_commands.close(now);
            self.probes.close();
        }
        let is_out_of_time = self.leaves_at().is_some_and(|at| at <= now);
        if !is_out_of_time && self.is_awaited(now) {
            return Status::Running;
        }
        self.capture.close(now, &mut self.core);
        self.deliver();
        self.phase = Phase::Finished;
        self.inbox.waker().publish(self.is_stopping(), true);
        Status::Stopped
    }

    /// True if something is left to be waited for.
    fn is_awaited(&mut self, now: Moment) -> bool {
        let may_have_missed = self.reaper.may_have_missed();
        !self.is_settled() || may_have_missed || self.launcher.awaits_burial(now)
    }
}
