//! Restart or not, and after how long.
//!
//! Pure arithmetic on what a program's specification says. The delay before a restart is
//! `initial`, and doubles after every run that is followed by a restart, up to `max`; a run
//! that lasted `reset_after` or longer sets it back to `initial` first. Only time spent
//! running counts, and time spent waiting never does.

use std::time::Duration;

/// A start that failed is never tried again sooner than this, whatever the backoff says: a
/// program that cannot even be started would otherwise spin.
pub const FAILED_START_DELAY_MIN: Duration = Duration::from_millis(100);

/// When a program that ended by itself is started again.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Restart {
    /// After every end, exit code 0 too.
    #[default]
    Always,
    /// After an exit code other than 0, a death by a signal, a status that is unknown, and a
    /// start that failed.
    OnFailure,
    /// Never; a failed start is not tried again either.
    Never,
}

/// How long to wait before a restart.
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
    /// A run that lasted this long or longer is followed by the first delay again; 30 s by
    /// default.
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

/// All that decides about one program.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: Restart,
    /// When this one ends for good, everything is stopped.
    pub essential: bool,
    pub backoff: Backoff,
    /// The signal that asks the program to stop.
    pub stop_signal: i32,
    /// How long it may take to stop before SIGKILL.
    pub stop_timeout: Duration,
}

/// A policy among those that the machine has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PolicyId(pub u32);

/// How a run ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Exit {
    /// It called `exit` with this code, 0 to 255.
    Code(i32),
    /// A signal ended it.
    Signal { signal: i32, core_dumped: bool },
    /// Somebody else took its status.
    Unknown,
}

impl Exit {
    /// Whether `restart: on-failure` is satisfied with this end.
    #[must_use]
    pub fn success(self) -> bool {
        self == Self::Code(0)
    }
}

impl Restart {
    /// Whether an end like this one is followed by another start.
    #[must_use]
    pub(crate) fn wants(self, exit: Exit) -> bool {
        match self {
            Self::Always => true,
            Self::OnFailure => !exit.success(),
            Self::Never => false,
        }
    }
}

/// Where a program stands in its sequence of delays.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delay(Duration);

impl Delay {
    /// The state of a program that has not failed yet.
    #[must_use]
    pub fn new(backoff: &Backoff) -> Self {
        Self(backoff.initial)
    }

    /// The delay that the next restart would have, were the run that precedes it a short one.
    #[must_use]
    pub fn peek(self) -> Duration {
        self.0
    }

    /// The delay after a run of `uptime`, and one step on in the sequence.
    pub fn after_run(&mut self, backoff: &Backoff, uptime: Duration) -> Duration {
        if uptime >= backoff.reset_after {
            self.0 = backoff.initial;
        }
        self.advance(backoff)
    }

    /// The delay after a start that failed: it never counts as running.
    pub fn after_failed_start(&mut self, backoff: &Backoff) -> Duration {
        self.advance(backoff).max(FAILED_START_DELAY_MIN)
    }

    /// Doubling stops at the cap before it can overflow: `saturating_mul`, then `min`.
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
