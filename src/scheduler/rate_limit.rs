//! A limit on work that costs something for each child. It is not done at once when it is asked
//! for, but so much later that it takes a small part of the time however many children there are,
//! and once for everything that has asked meanwhile. For few children it costs less than another
//! turn would, and is done at once.

use std::time::Duration;

use crate::machine::Moment;

/// At most this many are few: to ask the kernel about all of them takes 2 µs.
const FEW_MAX: usize = 128;

/// When the work is done next, if it was asked for.
#[derive(Debug)]
pub(super) struct RateLimit {
    per_child: Duration,
    due: Option<Moment>,
}

impl RateLimit {
    pub(super) const fn new(per_child: Duration) -> Self {
        Self {
            per_child,
            due: None,
        }
    }

    /// Asks for it. A request that is not the first changes nothing.
    pub(super) fn want(&mut self, now: Moment, children: usize) {
        self.want_at(now.after(self.delay(children)));
    }

    /// Asks for it at this moment, whatever that costs. A request that is not the first changes
    /// nothing.
    pub(super) fn want_at(&mut self, at: Moment) {
        self.due.get_or_insert(at);
    }

    /// Sets when it is done next, whatever was asked for.
    pub(super) fn put_off(&mut self, at: Moment) {
        self.due = Some(at);
    }

    /// True if these are few.
    pub(super) fn is_few(children: usize) -> bool {
        children <= FEW_MAX
    }

    /// Returns how much later than now it is done for this many children.
    pub(super) fn delay(&self, children: usize) -> Duration {
        if Self::is_few(children) {
            return Duration::ZERO;
        }
        let children = u32::try_from(children).unwrap_or(u32::MAX);
        self.per_child.saturating_mul(children)
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// Records that it was done.
    pub(super) fn done(&mut self) {
        self.due = None;
    }

    /// Returns when it is to be done, if it was asked for.
    pub(super) fn next(&self) -> Option<Moment> {
        self.due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const EACH: Duration = Duration::from_micros(3);

    fn at(microseconds: u64) -> Moment {
        Moment::from_origin(Duration::from_micros(microseconds))
    }

    #[test]
    fn with_few_children_it_is_done_at_once() {
        let mut limit = RateLimit::new(EACH);
        assert!(!limit.is_due(at(5)), "not asked for");
        limit.want(at(5), FEW_MAX);
        assert!(limit.is_due(at(5)));
        limit.done();
        assert_eq!((limit.next(), limit.is_due(at(9))), (None, false));
    }

    /// A look at 10,000 children after each of their deaths took all the time there was.
    #[test]
    fn with_many_it_takes_a_small_part_of_the_time_and_is_not_forgotten() {
        let mut limit = RateLimit::new(EACH);
        let mut looks = 0;
        let mut asked = None;
        for now in (0..3_000_000).step_by(100) {
            limit.want(at(now), 10_000);
            asked.get_or_insert(now);
            if limit.is_due(at(now)) {
                assert_eq!(
                    asked.map(|asked| now - asked),
                    Some(30_000),
                    "one pace later"
                );
                limit.done();
                asked = None;
                looks += 1;
            }
        }
        assert!((95..=100).contains(&looks), "{looks} looks in 3 s");
    }

    #[test]
    fn who_asks_later_puts_it_off_no_further() {
        let mut limit = RateLimit::new(EACH);
        limit.want(at(0), 1_000);
        limit.want(at(2_000), 20_000);
        assert_eq!(limit.next(), Some(at(3_000)));
        let mut limit = RateLimit::new(Duration::MAX);
        limit.want(at(0), usize::MAX);
        assert!(!limit.is_due(at(1)), "never, rather than a panic");
    }
}
