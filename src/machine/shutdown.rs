//! The moments of a shutdown that has a deadline. It ends in steps, so that what each step leaves
//! undone has time to be done by the next: programs die of SIGKILL, their reports are handled, the
//! outputs are written.

use std::time::Duration;

use super::interface::Moment;

/// How long before its end a shutdown kills everything.
const KILL_BEFORE: Duration = Duration::from_secs(1);

/// When a shutdown does what, if it is not over before.
#[cfg_attr(test, allow(dead_code))]
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Shutdown {
    /// How long it may take.
    pub timeout: Duration,
    /// Everything is killed: one second before the end, or at half of the time, if that is later.
    pub kill_at: Moment,
    /// Commands beside the programs are killed: half of the rest is left.
    pub kill_commands_at: Moment,
    /// What has survived is abandoned: three tenths of the rest are left.
    pub abandon_at: Moment,
    /// Nothing is waited for any more: a fifth of the rest is left, to write what is queued.
    pub leave_at: Moment,
    /// Everything has ended.
    pub end_at: Moment,
    stage: Stage,
}

/// What a shutdown has done so far.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
enum Stage {
    Asked,
    Killed,
    Over,
}

impl Shutdown {
    /// Returns the moments of one that begins now.
    #[must_use]
    pub fn new(now: Moment, timeout: Duration) -> Self {
        let until_kill = timeout.saturating_sub(KILL_BEFORE).max(timeout / 2);
        let rest = timeout.saturating_sub(until_kill);
        let before_end = |left: Duration| now.after(timeout.saturating_sub(left));
        Self {
            timeout,
            kill_at: now.after(until_kill),
            kill_commands_at: before_end(rest / 2),
            abandon_at: before_end(rest * 3 / 10),
            leave_at: before_end(rest / 5),
            end_at: now.after(timeout),
            stage: Stage::Asked,
        }
    }

    /// Returns when programs are killed or abandoned next.
    #[must_use]
    pub fn next(&self) -> Option<Moment> {
        match self.stage {
            Stage::Asked => Some(self.kill_at),
            Stage::Killed => Some(self.abandon_at),
            Stage::Over => None,
        }
    }

    /// True, once, if everything is to be killed.
    pub fn begin_kill(&mut self, now: Moment) -> bool {
        let is_due = self.stage == Stage::Asked && self.kill_at <= now;
        if is_due {
            self.stage = Stage::Killed;
        }
        is_due
    }

    /// True, once, if what is left is to be abandoned.
    pub fn begin_end(&mut self, now: Moment) -> bool {
        let is_due = self.stage == Stage::Killed && self.abandon_at <= now;
        if is_due {
            self.stage = Stage::Over;
        }
        is_due
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The parts of a second that are left at each step.
    #[test]
    fn each_step_leaves_time_for_the_next() {
        let begin = Moment::from_origin(Duration::from_secs(100));
        for (timeout, expected) in [
            (3_000, [2_000, 2_500, 2_700, 2_800, 3_000]),
            (2_000, [1_000, 1_500, 1_700, 1_800, 2_000]),
            (1_000, [500, 750, 850, 900, 1_000]),
            (100, [50, 75, 85, 90, 100]),
            (0, [0; 5]),
        ] {
            let shutdown = Shutdown::new(begin, Duration::from_millis(timeout));
            let moments = [
                shutdown.kill_at,
                shutdown.kill_commands_at,
                shutdown.abandon_at,
                shutdown.leave_at,
                shutdown.end_at,
            ];
            let moments = moments.map(|at| at.since(begin).as_millis());
            assert_eq!(moments, expected, "{timeout} ms");
        }
    }

    #[test]
    fn one_that_may_take_for_ever_has_moments_in_order() {
        let shutdown = Shutdown::new(Moment::default(), Duration::MAX);
        assert_eq!(shutdown.kill_at, Moment::NEVER);
        assert_eq!(shutdown.end_at, Moment::NEVER);
    }
}
