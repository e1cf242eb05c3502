//! When to look for orphans: at once after a death where a start or a stop waits for that, later
//! where there are many children and were many looks, and again where one has failed or found out
//! too little.

use std::time::Duration;

use crate::machine::Moment;
use crate::scheduler::rate_limit::RateLimit;

/// The time that looks at all children are apart for each of them, where a start waits for them: six
/// times what the kernel takes to list them on a busy machine.
const LOOK_DELAY_PER_CHILD: Duration = Duration::from_micros(3);

/// How many looks may come at once if there was none for long: a restart takes two, to ask what has
/// left the group, and to see that it is gone, and often a few programs are restarted in a row.
const LOOKS_AT_ONCE_MAX: u32 = 16;

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
    /// When the next look would be due if all of them were as far apart as they have to be.
    regular: Moment,
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
            regular: Moment::default(),
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

    /// Asks for a look. A single order waits for it no longer than the look takes; of a storm of
    /// deaths the first ones have a look at once, and all that follow share those that come later.
    pub(super) fn want(&mut self, now: Moment, children: usize) {
        let delay = self.limit.delay(children);
        let ahead = delay.saturating_mul(LOOKS_AT_ONCE_MAX - 1);
        let wait = self.regular.since(now).saturating_sub(ahead);
        self.limit.want_at(now.after(wait));
    }

    /// True if a look is due.
    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.next().is_some_and(|at| at <= now)
    }

    /// Records that a look begins.
    pub(super) fn begin(&mut self, now: Moment, children: usize) {
        self.limit.done();
        self.regular = self.regular.max(now).after(self.limit.delay(children));
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

#[cfg(test)]
mod tests {
    use super::*;

    const CHILDREN: usize = 10_000;

    fn at(milliseconds: u64) -> Moment {
        Moment::from_origin(Duration::from_millis(milliseconds))
    }

    /// A stop of one program among ten thousand waited 100 ms for its turn, twice.
    #[test]
    fn one_order_waits_for_no_other_look() {
        let mut timing = LookTiming::new();
        let mut look = |now: u64| {
            timing.want(at(now), CHILDREN);
            let next = timing.next();
            if timing.is_due(at(now)) {
                timing.begin(at(now), CHILDREN);
                assert_eq!(timing.next(), None);
            }
            next
        };
        for now in (500..).take(LOOKS_AT_ONCE_MAX as usize) {
            assert_eq!(look(now), Some(at(now)));
        }
        for now in [516, 520] {
            assert_eq!(look(now), Some(at(530)), "one look for all");
        }
        assert_eq!(look(530), Some(at(530)));
        for now in [5_000, 5_001, 5_002] {
            assert_eq!(look(now), Some(at(now)));
        }
    }

    #[test]
    fn looks_take_a_small_part_of_the_time_in_a_storm_of_deaths() {
        let mut timing = LookTiming::new();
        let mut looks = 0;
        for now in 0..3_000 {
            timing.want(at(now), CHILDREN);
            if timing.is_due(at(now)) {
                timing.begin(at(now), CHILDREN);
                looks += 1;
            }
        }
        assert_eq!(looks, 100 + LOOKS_AT_ONCE_MAX - 1);
    }
}
