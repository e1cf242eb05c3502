//! When to look for orphans: at once after a death where a start waits for that, later where there
//! are many children, and again where a look has failed or found out too little.

use std::time::Duration;

use crate::machine::Moment;
use crate::scheduler::rate_limit::RateLimit;

/// How long a look at all children is put off for each of them, where a start waits for it: more
/// than ten times what it takes.
const LOOK_DELAY_PER_CHILD: Duration = Duration::from_micros(10);

/// The time until the next look if one has not found out everything, and for how long starts wait
/// for one that does.
const INCOMPLETE_RETRY: Duration = Duration::from_millis(5);
const INCOMPLETE_MAX: Duration = Duration::from_secs(2);

/// The time until a look that has failed is tried again where a start waits for it, and how often
/// in a row: what is in its way may pass, as a shortage does, or may stay.
const FAILED_RETRY: Duration = Duration::from_millis(100);
const FAILED_LOOKS_MAX: u32 = 20;

/// The time until the next look if an orphan that was killed still exists and nothing happens, at
/// first and at most; in between it doubles. It may be dead: a death that is reported to its
/// tracer first sends us no signal.
const SILENT_LOOK_MIN: Duration = Duration::from_millis(5);
const SILENT_LOOK_MAX: Duration = Duration::from_millis(500);

#[derive(Debug)]
pub(super) struct LookTiming {
    limit: RateLimit,
    /// When to look although nothing has happened, and after how long again.
    next_silent: Option<Moment>,
    silent_after: Duration,
    /// How many looks in a row have failed.
    failed: u32,
    /// Since when no look has found out everything.
    incomplete_since: Option<Moment>,
}

impl LookTiming {
    pub(super) fn new() -> Self {
        Self {
            limit: RateLimit::new(LOOK_DELAY_PER_CHILD),
            next_silent: None,
            silent_after: SILENT_LOOK_MIN,
            failed: 0,
            incomplete_since: None,
        }
    }

    /// Returns when the next look is due, if a start waits for it.
    pub(super) fn next(&self) -> Option<Moment> {
        self.limit.next().into_iter().chain(self.next_silent).min()
    }

    /// Asks for a look.
    pub(super) fn want(&mut self, now: Moment, children: usize) {
        self.limit.want(now, children);
    }

    /// True if a look is due.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// Records that a look begins.
    pub(super) fn begin(&mut self) {
        self.limit.done();
        self.next_silent = None;
    }

    /// Records that a look has failed, and plans the next. True if it has failed so often that
    /// starts wait no longer.
    pub(super) fn has_failed(&mut self, now: Moment) -> bool {
        self.failed = self.failed.saturating_add(1);
        if self.failed >= FAILED_LOOKS_MAX {
            return true;
        }
        self.limit.put_off(now.after(FAILED_RETRY));
        false
    }

    /// Records that a look has not found out everything, and plans the next. True if that has gone
    /// on for so long that starts wait no longer.
    pub(super) fn was_incomplete(&mut self, now: Moment, children: usize) -> bool {
        let since = *self.incomplete_since.get_or_insert(now);
        if now.since(since) >= INCOMPLETE_MAX {
            return true;
        }
        let soon = self.limit.delay(children).max(INCOMPLETE_RETRY);
        self.limit.put_off(now.after(soon));
        false
    }

    /// Records that a look has found out everything. True if the one before had failed.
    pub(super) fn was_complete(&mut self) -> bool {
        self.incomplete_since = None;
        std::mem::take(&mut self.failed) > 0
    }

    /// Plans a look for the case that nothing happens.
    pub(super) fn plan_silent(&mut self, now: Moment, children: usize) {
        let after = self.limit.delay(children).max(self.silent_after);
        self.next_silent = Some(now.after(after));
        self.silent_after = (self.silent_after * 2).min(SILENT_LOOK_MAX);
    }

    /// Nothing waits for a look any more.
    pub(super) fn stop_silent(&mut self) {
        self.next_silent = None;
        self.silent_after = SILENT_LOOK_MIN;
    }
}
