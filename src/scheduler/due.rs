//! When the next turn has to be: what our own wait goes by, and what a host with a loop of its
//! own is told.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use crate::error_command::ErrorCommand;
use crate::machine::Moment;

use super::household::Household;
use super::{Phase, ProcessScheduler};

/// One descriptor, behind which stand all that a turn waits for: readable when a turn has
/// something to do. It stays the same for as long as the scheduler lives, and is lent: to read
/// from it, write to it or close it would be wrong. After [`Status::Stopped`](crate::Status)
/// nothing happens any more: take it out of the reactor then. Level- or edge-triggered does not matter,
/// as long as [`ProcessScheduler::next_deadline`] is asked after each turn.
impl AsFd for ProcessScheduler {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.watch.as_fd()
    }
}

/// The same as [`AsFd`], for reactors that want a number.
impl AsRawFd for ProcessScheduler {
    fn as_raw_fd(&self) -> RawFd {
        self.watch.as_fd().as_raw_fd()
    }
}

impl ProcessScheduler {
    /// When the next turn has to be even if the descriptor stays silent: now while a turn has
    /// left work or the descriptor is readable, `None` if nothing is timed, and before the
    /// first turn now.
    ///
    /// The answer changes with each turn, and with what makes the descriptor readable; nothing
    /// else changes it. So it is enough to ask after each turn.
    ///
    /// ```
    /// # let err_dir = std::env::temp_dir().join(format!("procsched-doc-due-{}", std::process::id()));
    /// use procsched::{ChildSpec, ProcessScheduler};
    /// use std::time::Instant;
    ///
    /// let scheduler = ProcessScheduler::builder("/")
    ///     .program(ChildSpec::new("web", ["true"]))
    ///     .err_dir(&err_dir)
    ///     .build()?;
    /// // Nothing has started yet: the first turn is due.
    /// assert!(scheduler.next_deadline().is_some_and(|at| at <= Instant::now()));
    /// # std::fs::remove_dir_all(&err_dir).expect("clean up");
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn next_deadline(&self) -> Option<Instant> {
        let now = self.clock.now();
        let next = match self.phase {
            Phase::Finished => None,
            Phase::Built => Some(now),
            Phase::Started if self.watch.is_ready() => Some(now),
            Phase::Started => {
                let blind = self.watch.wait_max().map(|time| now.after(time));
                let look = self.chatter.next_look();
                self.next_turn().into_iter().chain(blind).chain(look).min()
            }
        };
        next.map(|at| self.clock.instant(at))
    }

    /// How long the wait may be.
    pub(super) fn wait_time(&self, limit: Option<Duration>) -> Option<Duration> {
        let until = self.next_turn().map(|at| self.clock.until(at));
        let times = [limit, until].map(|time| time.map(whole_milliseconds));
        // A rest is short, and over in time.
        let look = self.chatter.next_look().map(|at| self.clock.until(at));
        times.into_iter().chain([look]).flatten().min()
    }

    /// When the next turn has to be, whatever the descriptors say. The beginning of time stands
    /// for "at once".
    fn next_turn(&self) -> Option<Moment> {
        let is_look_left = !self.unwatched.is_empty() || self.lookout.is_look_left();
        let is_left =
            self.deaths_left || is_look_left || self.machine.has_starts() || !self.news.is_empty();
        if is_left {
            return Some(Moment::default());
        }
        // If nothing runs and nothing will, there is hardly anything left to wait for.
        if self.is_settled() {
            return Some(self.launches.burial_end());
        }
        let command = self.error_command.as_ref();
        let household = self.household.as_ref();
        let settled = self.is_settled_but_for_orphans();
        let of_household = |household: &Household| household.next_deadline(settled);
        let has_children = !self.owners.is_empty();
        // Worth a wake-up only where there may be thieves.
        let theft_look = self.lookout.next_theft_look();
        let lingering = self.lingering.next_probe().into_iter();
        lingering
            .chain(self.machine.next_deadline())
            .chain(self.launches.next_look())
            .chain(self.lookout.next_round())
            .chain(theft_look.filter(|_| self.next_sweep.is_some()))
            .chain(self.next_sweep.filter(|_| has_children))
            .chain(command.and_then(ErrorCommand::next_deadline))
            .chain(household.and_then(of_household))
            .min()
    }
}

/// Rounded up, so that deadlines that are close together are one wake-up.
fn whole_milliseconds(time: Duration) -> Duration {
    let up = u64::try_from(time.as_nanos().div_ceil(1_000_000));
    up.map_or(Duration::MAX, Duration::from_millis)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_time_is_rounded_up_and_saturates() {
        let ns = |nanos| whole_milliseconds(Duration::from_nanos(nanos));
        assert_eq!(ns(0), Duration::ZERO);
        assert_eq!(ns(1), Duration::from_millis(1));
        assert_eq!(ns(1_000_000), Duration::from_millis(1));
        assert_eq!(ns(1_000_001), Duration::from_millis(2));
        assert!(whole_milliseconds(Duration::MAX) > Duration::from_secs(u32::MAX.into()));
    }
}
