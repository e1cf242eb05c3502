//! How often something may be done that costs something for each child: not at once after what
//! asks for it, but so much later that it takes a small part of the time however many there
//! are, and that all who ask meanwhile share it. For few it costs less than the turn that
//! would have to come for it later, and is done at once.

use std::time::Duration;

use crate::machine::Moment;

/// So many are few: to ask the kernel about all of them takes 2 µs.
const FEW_MAX: usize = 128;

/// Something that is to be done, some time after it was asked for first.
#[derive(Debug)]
pub(super) struct Pace {
    per_child: Duration,
    due: Option<Moment>,
}

impl Pace {
    pub(super) const fn new(per_child: Duration) -> Self {
        Self {
            per_child,
            due: None,
        }
    }

    /// Asks for it. Who asks while it is not done moves nothing.
    pub(super) fn want(&mut self, now: Moment, children: usize) {
        let at = now.after(self.delay(children));
        self.due.get_or_insert(at);
    }

    /// It has failed, and is to be tried again then, whoever asks meanwhile.
    pub(super) fn put_off(&mut self, at: Moment) {
        self.due = Some(at);
    }

    /// Whether these are so few that nothing need be put off.
    pub(super) fn is_few(children: usize) -> bool {
        children <= FEW_MAX
    }

    fn delay(&self, children: usize) -> Duration {
        if Self::is_few(children) {
            return Duration::ZERO;
        }
        let children = u32::try_from(children).unwrap_or(u32::MAX);
        self.per_child.saturating_mul(children)
    }

    pub(super) fn is_due(&self, now: Moment) -> bool {
        self.due.is_some_and(|at| at <= now)
    }

    /// It was done, for all who have asked.
    pub(super) fn done(&mut self) {
        self.due = None;
    }

    /// When it is to be done; `None` if nobody asks.
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
        let mut pace = Pace::new(EACH);
        assert!(!pace.is_due(at(5)), "nobody has asked");
        pace.want(at(5), FEW_MAX);
        assert!(pace.is_due(at(5)));
        pace.done();
        assert_eq!((pace.next(), pace.is_due(at(9))), (None, false));
    }

    /// A look at 10,000 children after each of their deaths took all the time there was.
    #[test]
    fn with_many_it_takes_a_small_part_of_the_time_and_is_not_forgotten() {
        let mut pace = Pace::new(EACH);
        let mut looks = 0;
        let mut asked = None;
        for now in (0..3_000_000).step_by(100) {
            pace.want(at(now), 10_000);
            asked.get_or_insert(now);
            if pace.is_due(at(now)) {
                assert_eq!(
                    asked.map(|asked| now - asked),
                    Some(30_000),
                    "one pace later"
                );
                pace.done();
                asked = None;
                looks += 1;
            }
        }
        assert!((95..=100).contains(&looks), "{looks} looks in 3 s");
    }

    #[test]
    fn who_asks_later_puts_it_off_no_further() {
        let mut pace = Pace::new(EACH);
        pace.want(at(0), 1_000);
        pace.want(at(2_000), 20_000);
        assert_eq!(pace.next(), Some(at(3_000)));
        let mut pace = Pace::new(Duration::MAX);
        pace.want(at(0), usize::MAX);
        assert!(!pace.is_due(at(1)), "never, rather than a panic");
    }
}
