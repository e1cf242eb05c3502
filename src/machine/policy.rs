//! Restart or not, and after how long.
//!
//! The delay before a restart begins at `initial` and doubles with each restart, up to `max`. A
//! run that lasted `reset_after` or longer sets it back to `initial`; time spent waiting does not
//! count.
//!
//! A start can be later than that, never earlier: what is left of the group has to be gone
//! (`Clearing` in `child`), nothing may hold it (`Hold`), and a turn starts few at a time (`launcher`
//! of the scheduler).

use std::time::Duration;

use super::state::{Cause, Why};

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

/// When a program is up, when it is restarted, and how it is stopped.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Policy {
    pub restart: Restart,
    /// True if it starts with everything, or when it is added.
    pub autostart: bool,
    /// True if everything is stopped when this program ends and is not restarted; if it is a
    /// oneshot, when it fails.
    pub essential: bool,
    pub backoff: Backoff,
    /// The part of each delay that chance adds at most, in thousandths.
    pub jitter: u16,
    /// The number of restarts in a row after which it has failed.
    pub max_restarts: Option<u32>,
    /// Exits that count as success, besides code 0.
    pub success: ExitSet,
    /// Exits after which it is not restarted, whatever `restart` says.
    pub permanent: ExitSet,
    /// True if it is up when it says so, and not when it was executed.
    pub ready: bool,
    /// True if it is up once it has ended with success.
    pub oneshot: bool,
    /// The time from its start until it has to be up.
    pub start_timeout: Option<Duration>,
    /// The longest time between two signs of life while it is up.
    pub watchdog: Option<Duration>,
    pub stop_signal: i32,
    /// The time from the stop signal to SIGKILL.
    pub stop_timeout: Duration,
    /// True if the stop signal is for the first process of its group alone.
    pub stops_main: bool,
}

impl Default for Policy {
    fn default() -> Self {
        Self {
            restart: Restart::Always,
            autostart: true,
            essential: false,
            backoff: Backoff::default(),
            jitter: 0,
            max_restarts: None,
            success: ExitSet::default(),
            permanent: ExitSet::default(),
            ready: false,
            oneshot: false,
            start_timeout: None,
            watchdog: None,
            stop_signal: 15,
            stop_timeout: Duration::from_secs(10),
            stops_main: false,
        }
    }
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

/// A set of exit codes, 0 to 255, and of signals, 1 to 64.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub struct ExitSet {
    codes: [u64; 4],
    signals: u64,
}

impl ExitSet {
    /// Adds a code or a signal; nothing, if it is out of range.
    pub fn insert(&mut self, exit: Exit) {
        match exit {
            Exit::Code(code @ 0..=255) => self.codes[code as usize / 64] |= 1 << (code % 64),
            Exit::Signal { signal, .. } if (1..=64).contains(&signal) => {
                self.signals |= 1 << (signal - 1);
            }
            Exit::Code(_) | Exit::Signal { .. } | Exit::Unknown => {}
        }
    }

    /// True if this exit is in the set.
    #[must_use]
    pub fn contains(&self, exit: Exit) -> bool {
        match exit {
            Exit::Code(code @ 0..=255) => self.codes[code as usize / 64] >> (code % 64) & 1 == 1,
            Exit::Signal { signal, .. } if (1..=64).contains(&signal) => {
                self.signals >> (signal - 1) & 1 == 1
            }
            Exit::Code(_) | Exit::Signal { .. } | Exit::Unknown => false,
        }
    }
}

/// What follows the end of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is restarted, after this delay.
    Restart(Duration),
    /// It is down, for this reason.
    Down(Why),
}

impl Policy {
    /// Returns the keys of the config in which another policy differs, without `oneshot` and
    /// `watchdog`, which cannot change while it runs, and `ready`, of which this knows little.
    #[must_use]
    pub fn differences(&self, new: &Self) -> Vec<&'static str> {
        let (old_delay, new_delay) = (&self.backoff, &new.backoff);
        let all = [
            ("restart", self.restart != new.restart),
            ("autostart", self.autostart != new.autostart),
            ("essential", self.essential != new.essential),
            ("backoff.initial", old_delay.initial != new_delay.initial),
            ("backoff.max", old_delay.max != new_delay.max),
            (
                "backoff.reset_after",
                old_delay.reset_after != new_delay.reset_after,
            ),
            ("backoff.jitter", self.jitter != new.jitter),
            ("max_restarts", self.max_restarts != new.max_restarts),
            ("success_codes", self.success != new.success),
            ("permanent_failure_codes", self.permanent != new.permanent),
            ("start_timeout", self.start_timeout != new.start_timeout),
            ("stop_signal", self.stop_signal != new.stop_signal),
            ("stop_timeout", self.stop_timeout != new.stop_timeout),
            ("stop_to", self.stops_main != new.stops_main),
        ];
        let differing = all.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key).collect()
    }

    /// True if this signal, by which a run is ended, is for the first process of its group alone. SIGCONT
    /// follows the stop signal; SIGKILL is for all.
    #[must_use]
    pub fn is_for_main(&self, signal: i32) -> bool {
        const KILL: i32 = 9;
        const CONT: i32 = 18;
        let is_stop = signal == self.stop_signal || signal == CONT;
        self.stops_main && is_stop && signal != KILL
    }

    /// True if a run that ended by itself in this way has succeeded.
    #[must_use]
    pub fn is_success(&self, exit: Exit) -> bool {
        exit.success() || self.success.contains(exit)
    }

    /// Decides what follows a run that was not asked to end, and counts the restart. Without an
    /// uptime the start failed. A run that was ended for a fault has failed, whatever its code.
    pub fn judge(
        &self,
        delay: &mut Delay,
        exit: Exit,
        cause: Cause,
        uptime: Option<Duration>,
    ) -> Verdict {
        let is_own = cause == Cause::Exit;
        let success = is_own && self.is_success(exit);
        if is_own && self.permanent.contains(exit) {
            return Verdict::Down(Why::Permanent);
        }
        let is_restarted = match self.restart {
            Restart::Always => !(self.oneshot && success),
            Restart::OnFailure => !success,
            Restart::Never => false,
        };
        if !is_restarted {
            return Verdict::Down(if success { Why::Exited } else { Why::Failed });
        }
        if uptime.is_some_and(|uptime| uptime >= self.backoff.reset_after) {
            *delay = Delay::new(&self.backoff);
        }
        if self.max_restarts.is_some_and(|max| delay.in_row >= max) {
            return Verdict::Down(Why::GaveUp);
        }
        let wait = delay.advance(&self.backoff);
        Verdict::Restart(match uptime {
            Some(_) => wait,
            None => wait.max(FAILED_START_DELAY_MIN),
        })
    }
}

/// The delay that a program's next restart will have, and the number of restarts in a row.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Delay {
    secs: u64,
    nanos: u32,
    in_row: u32,
}

impl Delay {
    /// Returns the delay of a program that has not run yet.
    #[must_use]
    pub fn new(backoff: &Backoff) -> Self {
        Self::of(backoff.initial, 0)
    }

    fn of(delay: Duration, in_row: u32) -> Self {
        let (secs, nanos) = (delay.as_secs(), delay.subsec_nanos());
        Self {
            secs,
            nanos,
            in_row,
        }
    }

    /// Returns the delay after a run that is too short to reset it.
    #[must_use]
    pub fn peek(self) -> Duration {
        Duration::new(self.secs, self.nanos)
    }

    /// Returns the number of restarts since the start or the last run that was long enough.
    #[must_use]
    pub fn restarts_in_row(self) -> u32 {
        self.in_row
    }

    /// Takes over a backoff that has changed.
    pub fn clamp(&mut self, backoff: &Backoff) {
        let delay = self.peek().max(backoff.initial).min(backoff.max);
        *self = Self::of(delay, self.in_row);
    }

    fn advance(&mut self, backoff: &Backoff) -> Duration {
        let delay = self.peek();
        let next = delay.saturating_mul(2).min(backoff.max);
        *self = Self::of(next, self.in_row.saturating_add(1));
        delay
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const SHORT: Duration = Duration::from_millis(10);

    /// The delay that follows a failed run, or a failed start where there is no uptime.
    fn again(delay: &mut Delay, backoff: &Backoff, uptime: Option<Duration>) -> Duration {
        let policy = Policy {
            backoff: *backoff,
            ..Policy::default()
        };
        match policy.judge(delay, Exit::Code(1), Cause::Exit, uptime) {
            Verdict::Restart(delay) => delay,
            Verdict::Down(why) => panic!("always restarts, and not {why:?}"),
        }
    }

    fn after_run(delay: &mut Delay, backoff: &Backoff, uptime: Duration) -> Duration {
        again(delay, backoff, Some(uptime))
    }

    fn after_failed_start(delay: &mut Delay, backoff: &Backoff) -> Duration {
        again(delay, backoff, None)
    }

    fn delays(backoff: &Backoff, count: usize) -> Vec<u64> {
        let mut delay = Delay::new(backoff);
        (0..count)
            .map(|_| after_run(&mut delay, backoff, SHORT).as_secs())
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
            .map(|_| after_failed_start(&mut delay, &backoff).as_secs())
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
        assert_eq!(
            after_failed_start(&mut delay, &backoff),
            FAILED_START_DELAY_MIN
        );
        assert_eq!(after_run(&mut delay, &backoff, SHORT), Duration::ZERO);
    }

    #[test]
    fn resets_at_thirty_seconds_and_not_a_millisecond_before() {
        let backoff = Backoff::default();
        for (uptime, expected) in [(29_999, 4), (30_000, 1), (30_001, 1)] {
            let mut delay = Delay::new(&backoff);
            after_run(&mut delay, &backoff, SHORT);
            after_run(&mut delay, &backoff, SHORT);
            let got = after_run(&mut delay, &backoff, Duration::from_millis(uptime));
            assert_eq!(got, Duration::from_secs(expected), "after {uptime} ms");
            let next = after_run(&mut delay, &backoff, SHORT);
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
                        let got = after_run(&mut delay, &backoff, uptime);
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
            let policy = Policy {
                restart,
                ..Policy::default()
            };
            let wants = |exit| {
                let mut delay = Delay::new(&policy.backoff);
                let verdict = policy.judge(&mut delay, exit, Cause::Exit, Some(SHORT));
                matches!(verdict, Verdict::Restart(_))
            };
            assert_eq!(wants(Exit::Code(0)), clean);
            assert_eq!(wants(Exit::Code(1)), crash);
            assert_eq!(wants(killed), signal);
            assert_eq!(wants(Exit::Unknown), unknown);
        }
    }
}
