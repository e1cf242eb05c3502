//! When a program is up, how long that may take, and how it shows from then on that it works.

use std::time::Duration;

use super::{ChildSpec, Probe};
use crate::text::duration;

/// The descriptors that may be given to a program for its readiness: those above the standard
/// streams, and low enough for a shell and for `RLIMIT_NOFILE`.
pub(crate) const FD_MIN: i32 = 3;
pub(crate) const FD_MAX: i32 = 63;

/// The default of [`ChildSpec::start_timeout`] where a program says or shows that it is ready.
const START_TIMEOUT_DEFAULT: Duration = Duration::from_secs(60);

/// The least [`ChildSpec::watchdog`]: a program triggers it every half of that time.
const WATCHDOG_MIN: Duration = Duration::from_millis(1);

/// By what a program is known to be ready. Without one it is up once it was executed.
///
/// ```
/// use procsched::{ChildSpec, Probe, Ready};
/// use std::time::Duration;
///
/// # fn main() -> procsched::Result<()> {
/// let db = ChildSpec::new("db", ["./db"]).ready(Ready::Fd(3));
/// let web = ChildSpec::new("web", ["./web"]).ready(Ready::Notify);
/// let mail = ChildSpec::new("mail", ["./mail"]).ready(Ready::Delay(Duration::from_secs(1)));
/// let cache = ChildSpec::new("cache", ["redis-server"])
///     .ready(Ready::Probe(Probe::connect("127.0.0.1:6379")?));
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum Ready {
    /// It gets the write end of a pipe as this descriptor, 3 to 63, and writes a newline to it. s6,
    /// dinit and nitro have the same protocol. Our end is closed after that.
    Fd(i32),
    /// It sends `READY=1` to the socket in `NOTIFY_SOCKET`, as sd_notify(3) does. A message counts if
    /// its sender has our uid or that of [`ChildSpec::user`], and a pid that is visible in our PID namespace.
    Notify,
    /// It has run for this long.
    Delay(Duration),
    /// A check that is made from outside succeeds.
    Probe(Probe),
}

impl ChildSpec {
    /// Sets by what it is known to be ready; by default it is up once it was executed. Until it is
    /// ready its state is [`ProgramState::Starting`](crate::ProgramState::Starting), and what requires
    /// it waits. An error with [`ChildSpec::oneshot`].
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState, Ready};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let db = ChildSpec::new("db", ["sh", "-c", "sleep 0.1; echo >&3; sleep 60"]).ready(Ready::Fd(3));
    /// let web = ChildSpec::new("web", ["sleep", "60"]).requires(["db"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .programs([db, web])
    ///     .err_dir(logs.path())
    ///     .kill_on_drop()
    ///     .build()?;
    /// while scheduler.programs()[1].pid().is_none() {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// assert_eq!(scheduler.programs()[0].state(), ProgramState::Running);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn ready(mut self, ready: Ready) -> Self {
        self.ready = Some(Box::new(ready));
        self
    }

    /// Sets the time from its execution until it has to be ready; a run that is not is ended with its
    /// stop signal, and its cause is [`Cause::StartTimeout`](crate::Cause::StartTimeout). The default
    /// is 60 s with [`Ready::Fd`], [`Ready::Notify`] and [`Ready::Probe`], and no limit with
    /// [`Ready::Delay`] and without [`ChildSpec::ready`]. For a oneshot it is the time of its whole
    /// run, by default without a limit. `None`, and 0, is without a limit.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Ready};
    /// # use std::time::Duration;
    /// let db = ChildSpec::new("db", ["./db"]).ready(Ready::Notify).start_timeout(None);
    /// let migrate = ChildSpec::new("migrate", ["./migrate"])
    ///     .oneshot(true)
    ///     .start_timeout(Some(Duration::from_secs(300)));
    /// ```
    #[must_use]
    pub fn start_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.start_timeout = Some(timeout.unwrap_or_default());
        self
    }

    /// Sets the longest time between two messages `WATCHDOG=1` to the socket in `NOTIFY_SOCKET` while
    /// it is up; it gets the time in `WATCHDOG_USEC`, as sd_watchdog_enabled(3) reads it. A run that
    /// is silent for longer is sent SIGABRT, and SIGKILL after its stop timeout; its cause is
    /// [`Cause::Watchdog`](crate::Cause::Watchdog). 0 is none, the default. An error with
    /// [`ChildSpec::oneshot`].
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # use std::time::Duration;
    /// let web = ChildSpec::new("web", ["./web"]).watchdog(Duration::from_secs(30));
    /// ```
    #[must_use]
    pub fn watchdog(mut self, time: Duration) -> Self {
        self.watchdog = Some(time).filter(|time| !time.is_zero());
        self
    }

    /// Returns the time until it has to be ready, if there is a limit.
    pub(crate) fn start_timeout_in_force(&self) -> Option<Duration> {
        let default = match self.ready.as_deref() {
            None | Some(Ready::Delay(_)) => Duration::ZERO,
            Some(Ready::Fd(_) | Ready::Notify | Ready::Probe(_)) => START_TIMEOUT_DEFAULT,
        };
        let timeout = self.start_timeout.unwrap_or(default);
        (!timeout.is_zero()).then_some(timeout)
    }

    /// True if it has a start timeout that nothing can exceed: it is up as soon as it is executed.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # use std::time::Duration;
    /// let web = ChildSpec::new("web", ["./web"]).start_timeout(Some(Duration::from_secs(9)));
    /// assert!(web.has_idle_start_timeout());
    /// assert!(!web.oneshot(true).has_idle_start_timeout());
    /// ```
    #[must_use]
    pub fn has_idle_start_timeout(&self) -> bool {
        let has_limit = self.start_timeout_in_force().is_some();
        has_limit && self.ready.is_none() && !self.oneshot
    }

    /// Returns what is wrong with when it is up, each with its key.
    pub(super) fn readiness_problems(&self) -> Vec<(&'static str, Option<String>)> {
        let ready = self.ready.as_deref();
        let of_oneshot = |key: &str| {
            format!("a oneshot is up once it has succeeded: leave out {key:?} or \"oneshot\"")
        };
        let timeout = self.start_timeout_in_force();
        let delay = match (ready, timeout) {
            (Some(Ready::Delay(delay)), Some(timeout)) => delay_problem(*delay, timeout),
            _ => None,
        };
        let in_itself = ready.and_then(ready_problem).or(delay);
        let with_oneshot = ready.filter(|_| self.oneshot).map(|_| of_oneshot("ready"));
        let watchdog = self.watchdog.and_then(watchdog_problem);
        let watched = self.watchdog.filter(|_| self.oneshot);
        let watched = watched.map(|_| of_oneshot("watchdog"));
        vec![
            ("ready", in_itself.or(with_oneshot)),
            ("watchdog", watchdog.or(watched)),
        ]
    }
}

fn ready_problem(ready: &Ready) -> Option<String> {
    match ready {
        Ready::Fd(fd) => ready_fd_problem(*fd),
        Ready::Probe(probe) => probe.problem(),
        Ready::Notify | Ready::Delay(_) => None,
    }
}

/// Returns why a program cannot write to this descriptor that it is ready, or `None` if it can.
pub(crate) fn ready_fd_problem(fd: i32) -> Option<String> {
    let is_valid = (FD_MIN..=FD_MAX).contains(&fd);
    (!is_valid).then(|| format!("invalid descriptor {fd}: expected {FD_MIN} to {FD_MAX}"))
}

/// Returns why this cannot be the time of a watchdog, or `None` if it can.
pub(crate) fn watchdog_problem(time: Duration) -> Option<String> {
    (time < WATCHDOG_MIN).then(|| {
        let (time, min) = (duration(time), duration(WATCHDOG_MIN));
        format!("invalid watchdog {time}: expected {min} or more, or 0 for none")
    })
}

/// Returns why a program would never be ready.
fn delay_problem(delay: Duration, timeout: Duration) -> Option<String> {
    (delay >= timeout).then(|| {
        let (delay, timeout) = (duration(delay), duration(timeout));
        format!(
            "a delay of {delay} is not over before start_timeout ({timeout}): raise start_timeout, \
             or leave it out"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const SECOND: Duration = Duration::from_secs(1);

    fn web() -> ChildSpec {
        ChildSpec::new("web", ["./web"])
    }

    fn problem(spec: &ChildSpec) -> Option<(&'static str, String)> {
        spec.problems().into_iter().next()
    }

    #[test]
    fn only_what_tells_its_readiness_has_a_start_timeout_unless_one_is_set() {
        let probe = Ready::Probe(Probe::command(["true"]));
        for ready in [Ready::Fd(3), Ready::Notify, probe] {
            let spec = web().ready(ready);
            assert_eq!(spec.start_timeout_in_force(), Some(60 * SECOND));
            let spec = spec.start_timeout(Some(SECOND));
            assert_eq!(spec.start_timeout_in_force(), Some(SECOND));
            assert_eq!(
                spec.clone().start_timeout(None).start_timeout_in_force(),
                None
            );
            let never = spec.start_timeout(Some(Duration::ZERO));
            assert_eq!(never.policy().start_timeout, None);
        }
        let others = [
            web(),
            web().oneshot(true),
            web().ready(Ready::Delay(99 * SECOND)),
        ];
        for spec in others {
            assert_eq!(spec.start_timeout_in_force(), None);
        }
        let migrate = web().oneshot(true).start_timeout(Some(SECOND));
        assert_eq!(migrate.policy().start_timeout, Some(SECOND));
        assert_eq!(problem(&migrate), None);
    }

    #[test]
    fn what_the_machine_knows_of_it() {
        let policy = web().policy();
        assert_eq!((policy.ready, policy.watchdog), (false, None));
        let policy = web().ready(Ready::Notify).watchdog(SECOND).policy();
        assert_eq!((policy.ready, policy.watchdog), (true, Some(SECOND)));
        assert_eq!(web().watchdog(Duration::ZERO).policy().watchdog, None);
    }

    #[test]
    fn what_cannot_be_is_found_with_its_key() {
        let delay = |delay: Duration| web().ready(Ready::Delay(delay));
        let wrong = [
            (
                web().ready(Ready::Fd(2)),
                "ready",
                "invalid descriptor 2: expected 3 to 63",
            ),
            (
                web().ready(Ready::Fd(64)),
                "ready",
                "invalid descriptor 64: expected 3 to 63",
            ),
            (
                web().ready(Ready::Fd(-1)),
                "ready",
                "invalid descriptor -1: expected 3 to 63",
            ),
            (
                web().ready(Ready::Notify).oneshot(true),
                "ready",
                "a oneshot is up once it has succeeded: leave out \"ready\" or \"oneshot\"",
            ),
            (
                web().watchdog(SECOND).oneshot(true),
                "watchdog",
                "a oneshot is up once it has succeeded: leave out \"watchdog\" or \"oneshot\"",
            ),
            (
                web().watchdog(Duration::from_nanos(1)),
                "watchdog",
                "invalid watchdog 1ns: expected 1ms or more, or 0 for none",
            ),
            (
                delay(SECOND).start_timeout(Some(SECOND)),
                "ready",
                "a delay of 1s is not over before start_timeout (1s): raise start_timeout, or leave \
                 it out",
            ),
        ];
        for (spec, key, expected) in wrong {
            assert_eq!(problem(&spec), Some((key, expected.to_owned())), "{spec:?}");
        }
        let interval = Probe::command(["true"]).interval(Duration::ZERO);
        assert!(problem(&web().ready(Ready::Probe(interval))).is_some());
        for spec in [
            web().ready(Ready::Fd(3)),
            web().ready(Ready::Fd(63)),
            delay(90 * SECOND),
            delay(Duration::ZERO).start_timeout(Some(SECOND)),
            delay(90 * SECOND).start_timeout(None),
        ] {
            assert_eq!(problem(&spec), None, "{spec:?}");
        }
    }
}
