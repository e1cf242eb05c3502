//! Restart or not, and after how long.
//!
//! The delay before a restart begins at `initial` and doubles with each restart, up to `max`. A
//! run that lasted `reset_after` or longer sets it back to `initial`; time spent waiting does not
//! count.

use std::time::Duration;

/// The least delay after a failed start, whatever the backoff says: a program that cannot be
/// started would otherwise spin.
pub const FAILED_START_DELAY_MIN: Duration = Duration::from_millis(100);

/// When a program that ended without a stop is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// After every exit, code 0 too, and after a failed start. The default.
    #[default]
    Always,
    /// After an exit code other than 0, a death by a signal, an unknown exit status, and a failed
    /// start.
    OnFailure,
    /// Never; a failed start is not retried either.
    Never,
}

/// The delay before a restart: `initial`, doubled with each restart up to `max`, and reset after
/// a long run. The delay after a failed start is at least 100 ms.
///
/// ```
/// use procsched::Backoff;
/// use std::time::Duration;
///
/// let backoff = Backoff { initial: Duration::from_millis(500), ..Backoff::default() };
/// assert_eq!(backoff.max, Duration::from_secs(60));
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Backoff {
    /// The first delay; 1 s by default. 0 restarts at once.
    pub initial: Duration,
    /// The longest delay; 60 s by default. Must not be below `initial`.
    pub max: Duration,
    /// The least uptime that resets the delay to `initial`; 30 s by default.
    pub reset_after: Duration,
}

impl Default for Backoff {
    fn default() -> Self {
        Self {
            initial: Duration::from_secs(1),
            max: Duration::from_secs(60),
            reset_after: Duration::from_secs(30),
        }
    }
}

/// When a program is restarted, and how it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: Restart,
    /// True if everything is stopped when this program ends and is not restarted.
    pub essential: bool,
    pub backoff: Backoff,
    pub stop_signal: i32,
    /// The time from the stop signal to SIGKILL.
    pub stop_timeout: Duration,
}

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called exit(3) with this code, 0 to 255.
    Code(i32),
    /// It was terminated by a signal.
    Signal { signal: i32, core_dumped: bool },
    /// Another part of this process reaped it.
    Unknown,
}

impl Exit {
    /// True if this is no failure.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl Restart {
    /// True if this exit is followed by a restart.
    #[must_use]
    pub(crate) fn wants(self, exit: Exit) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => !exit.success(),
            Self::Never => false,
        }
    }
}

/// The delay that a program's next restart will have.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delay(Duration);

impl Delay {
    /// Returns the delay of a program that has not run yet.
    #[must_use]
    pub fn new(backoff: &Backoff) -> Self {
        Self(backoff.initial)
    }

    /// Returns the delay after a run that is too short to reset it.
    #[must_use]
    pub fn peek(self) -> Duration {
        self.0
    }

    /// Returns the delay after a run of `uptime`, and doubles the next one.
    pub fn after_run(&mut self, backoff: &Backoff, uptime: Duration) -> Duration {
        if uptime >= backoff.reset_after {
            self.0 = backoff.initial;
        }
        self.advance(backoff)
    }

    /// Returns the delay after a failed start, and doubles the next one.
    pub fn after_failed_start(&mut self, backoff: &Backoff) -> Duration {
        self.advance(backoff).max(FAILED_START_DELAY_MIN)
    }

    fn advance(&mut self, backoff: &Backoff) -> Duration {
        let delay = self.0;
        self.0 = delay.saturating_mul(2).min(backoff.max);
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    fn delays(backoff: &Backoff, count: usize) -> Vec<u64> {
        let mut delay = Delay::new(backoff);
        (0..count)
            .map(|_| delay.after_run(backoff, SHORT).as_secs())
            .collect()
    }

    #[test]
    fn doubles_to_the_cap_and_stays_there_for_ever() {
        let got = delays(&Backoff::default(), 100_000);
        assert_eq!(got[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(got[8..].iter().all(|&delay| delay == 60));
    }

    #[test]
    fn a_failed_start_follows_the_same_sequence() {
        let backoff = Backoff::default();
        let mut delay = Delay::new(&backoff);
        let got: Vec<u64> = (0..100_000)
            .map(|_| delay.after_failed_start(&backoff).as_secs())
            .collect();
        assert_eq!(got[..8], [1, 2, 4, 8, 16, 32, 60, 60]);
        assert!(got[8..].iter().all(|&delay| delay == 60));
    }

    #[test]
    fn a_failed_start_waits_at_least_a_tenth_of_a_second() {
        let backoff = Backoff {
            initial: Duration::ZERO,
            max: Duration::ZERO,
            ..Backoff::default()
        };
        let mut delay = Delay::new(&backoff);
        assert_eq!(delay.after_failed_start(&backoff), FAILED_START_DELAY_MIN);
        assert_eq!(delay.after_run(&backoff, SHORT), Duration::ZERO);
    }

    #[test]
    fn resets_at_thirty_seconds_and_not_a_millisecond_before() {
        let backoff = Backoff::default();
        for (uptime, expected) in [(29_999, 4), (30_000, 1), (30_001, 1)] {
            let mut delay = Delay::new(&backoff);
            delay.after_run(&backoff, SHORT);
            delay.after_run(&backoff, SHORT);
            let got = delay.after_run(&backoff, Duration::from_millis(uptime));
            assert_eq!(got, Duration::from_secs(expected), "after {uptime} ms");
            let next = delay.after_run(&backoff, SHORT);
            assert_eq!(
                next,
                Duration::from_secs(expected * 2),
                "the one after that doubles"
            );
        }
    }

    #[test]
    fn extremes_neither_panic_nor_overflow() {
        let extremes = [
            Duration::ZERO,
            Duration::from_nanos(1),
            Duration::MAX,
            Duration::from_secs(u64::MAX),
        ];
        for initial in extremes {
            for max in extremes.into_iter().filter(|&max| max >= initial) {
                for reset_after in extremes {
                    let backoff = Backoff {
                        initial,
                        max,
                        reset_after,
                    };
                    let mut delay = Delay::new(&backoff);
                    for uptime in extremes.into_iter().cycle().take(200) {
                        let got = delay.after_run(&backoff, uptime);
                        assert!(initial <= got && got <= max, "{backoff:?} gave {got:?}");
                    }
                }
            }
        }
    }

    #[test]
    fn the_policy_table() {
        let killed = Exit::Signal {
            signal: 9,
            core_dumped: false,
        };
        for (restart, clean, crash, signal, unknown) in [
            (Restart::Always, true, true, true, true),
            (Restart::OnFailure, false, true, true, true),
            (Restart::Never, false, false, false, false),
        ] {
            assert_eq!(restart.wants(Exit::Code(0)), clean);
            assert_eq!(restart.wants(Exit::Code(1)), crash);
            assert_eq!(restart.wants(killed), signal);
            assert_eq!(restart.wants(Exit::Unknown), unknown);
        }
    }
}
