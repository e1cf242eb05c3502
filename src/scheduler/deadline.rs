//! When the next turn has to be, for our own wait and for a host with a loop of its own: the minimum
//! over what each component says.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::{Duration, Instant};

use crate::machine::Moment;

use super::{Phase, ProcessScheduler};

/// One descriptor, behind which stands everything that a turn waits for: readable when a turn has
/// something to do. It stays the same for as long as the scheduler lives, and is lent: do not read
/// from it, write to it or close it. After [`Status::Stopped`](crate::Status) nothing happens any
/// more: take it out of the reactor then. Level- or edge-triggered does not matter, as long as
/// [`ProcessScheduler::next_deadline`] is asked after each turn.
impl AsFd for ProcessScheduler {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.capture.poller().as_fd()
    }
}

/// The same as [`AsFd`], for reactors that want a number.
impl AsRawFd for ProcessScheduler {
    fn as_raw_fd(&self) -> RawFd {
        self.capture.poller().as_fd().as_raw_fd()
    }
}

impl ProcessScheduler {
    /// Returns when the next turn has to be even if the descriptor stays silent. That is a moment
    /// which is not later than now
    ///
    /// - before the first turn,
    /// - while a turn, or an order between two turns, has left work,
    /// - while the descriptor is readable.
    ///
    /// Otherwise it is the next deadline, such as the end of a delay or of a stop timeout. `None` if
    /// nothing has one, and after [`Status::Stopped`](crate::Status::Stopped).
    ///
    /// A turn changes the answer, and so does each method that takes `&mut self`, such as
    /// [`ProcessScheduler::start_program`]: ask again after these. What comes through a
    /// [`Handle`](crate::Handle), from [`ProcessScheduler::stop`], by a signal or from a program makes
    /// the descriptor readable: a host that waits for that need not ask.
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
        self.next_moment().map(|at| self.clock.instant(at))
    }

    /// Returns how long a host may wait for the descriptor: the time until
    /// [`ProcessScheduler::next_deadline`], in whole milliseconds, rounded up as poll(2) needs it. `None`
    /// is for ever.
    ///
    /// ```
    /// # let err_dir = std::env::temp_dir().join(format!("procsched-doc-wait-{}", std::process::id()));
    /// use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
    /// use procsched::{ChildSpec, ProcessScheduler, Restart, Status};
    /// use std::os::fd::AsFd;
    /// use std::time::Duration;
    ///
    /// let once = ChildSpec::new("once", ["sleep", "0.1"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/").program(once).err_dir(&err_dir).build()?;
    /// while scheduler.step(Some(Duration::ZERO))? == Status::Running {
    ///     let timeout = scheduler.poll_timeout();
    ///     let timeout = timeout.map_or(PollTimeout::NONE, |time| time.try_into().unwrap());
    ///     poll(&mut [PollFd::new(scheduler.as_fd(), PollFlags::POLLIN)], timeout).ok();
    /// }
    /// # std::fs::remove_dir_all(&err_dir).expect("clean up");
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn poll_timeout(&self) -> Option<Duration> {
        let until = self.next_moment().map(|at| self.clock.until(at));
        until.map(whole_milliseconds)
    }

    fn next_moment(&self) -> Option<Moment> {
        let now = self.clock.now();
        match self.phase {
            Phase::Finished => None,
            Phase::Built => Some(now),
            Phase::Started if self.capture.poller().is_ready() => Some(now),
            Phase::Started => {
                let unpollable = self.capture.poller().wait_max().map(|time| now.after(time));
                let resting = self.capture.next_deadline();
                let others = self.next_turn().into_iter();
                others.chain(unpollable).chain(resting).min()
            }
        }
    }

    /// Returns how long the wait may be.
    pub(super) fn wait_time(&self, limit: Option<Duration>) -> Option<Duration> {
        let until = self.next_turn().map(|at| self.clock.until(at));
        let times = [limit, until].map(|time| time.map(whole_milliseconds));
        // A pipe rests for a short time, which is not rounded up.
        let resting = self.capture.next_deadline();
        let resting = resting.map(|at| self.clock.until(at));
        times.into_iter().chain([resting]).flatten().min()
    }

    /// Returns when the next turn has to be, whatever the descriptors say. The beginning of time
    /// stands for "at once".
    fn next_turn(&self) -> Option<Moment> {
        let has_work = self.core.machine().has_starts() || self.core.has_phases();
        if has_work || !self.core.outbox().is_empty() {
            return Some(Moment::default());
        }
        let reaper = self.reaper.next_deadline(self.core.children());
        let at_once = Some(Moment::default());
        // If nothing runs and nothing is going to, there is hardly anything left to wait for.
        if self.is_settled() && reaper != at_once {
            let end = self.launcher.burial_end();
            return Some(self.leaves_at().map_or(end, |at| at.min(end)));
        }
        let orphans = self.sweep.as_ref().and_then(|sweep| {
            let settled = self.is_settled_but_for_orphans();
            sweep.next_deadline(settled)
        });
        let components = [
            reaper,
            self.core.machine().next_deadline(),
            self.groups.next_deadline(),
            self.launcher.next_deadline(),
            self.readiness.next_deadline(),
            self.side_commands.next_deadline(),
            self.probes.next_deadline(),
            orphans,
            self.leaves_at(),
        ];
        components.into_iter().flatten().min()
    }
}

/// Rounds up, so that deadlines that are close together are one wake-up.
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
