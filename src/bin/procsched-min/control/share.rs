//! The share of the time that clients may take: half of it, after a burst, unless one of them has
//! the server do something that takes longer than the longest rest. Without it, clients that
//! ask again at once keep the supervisor from ever waiting, and a process that never waits is one
//! that the kernel lets others run before: deaths would be found late.

use std::time::{Duration, Instant};

use crate::clock;

/// What clients may take at once. A listing of a thousand programs takes a fifth of it.
const BURST: Duration = Duration::from_millis(20);

/// The longest rest. An order that takes long, such as a reload, is not paid for in full.
const REST_MAX: Duration = Duration::from_millis(10);

/// How much of the time was taken.
pub struct Share {
    /// What was taken and not rested for, at that moment.
    debt: Duration,
    at: Instant,
}

impl Share {
    pub fn new() -> Self {
        let (debt, at) = (Duration::ZERO, clock::steady());
        Self { debt, at }
    }

    /// Counts the time since `began` as taken.
    pub fn spend(&mut self, began: Instant) {
        self.spend_until(began, clock::steady());
    }

    fn spend_until(&mut self, began: Instant, now: Instant) {
        let rested = began.saturating_duration_since(self.at);
        let spent = now.saturating_duration_since(began);
        self.debt = (self.debt.saturating_sub(rested) + spent).min(BURST + REST_MAX);
        self.at = now;
    }

    /// Returns when clients are served again, if they have to wait for that.
    pub fn rests_until(&self) -> Option<Instant> {
        let rest = self.debt.checked_sub(BURST)?;
        if rest.is_zero() {
            return None;
        }
        let end = self.at.checked_add(rest)?;
        (!clock::until(end).is_zero()).then_some(end)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_burst_is_free_and_then_half_of_the_time_is_rested() {
        let began = clock::steady();
        let ms = Duration::from_millis;
        let mut share = Share::new();
        share.at = began;
        share.spend_until(began, began + BURST);
        assert_eq!(share.rests_until(), None);
        let mut now = began + BURST;
        // In the future, so that no rest is over by now.
        for _ in 0..1000 {
            share.spend_until(now, now + ms(2));
            assert_eq!(share.debt, BURST + ms(2));
            now += ms(2 + 2);
        }
        share.spend_until(now, now + Duration::from_secs(5));
        assert_eq!(share.debt, BURST + REST_MAX);
        now += Duration::from_secs(5);
        assert_eq!(share.rests_until(), Some(now + REST_MAX));
        share.spend_until(now + Duration::from_secs(1), now + Duration::from_secs(1));
        assert_eq!(share.debt, Duration::ZERO);
        assert_eq!(share.rests_until(), None);
    }
}
