//! What [`ProcessScheduler::programs`](crate::ProcessScheduler::programs) returns for a program:
//! a snapshot.

use std::ffi::OsString;
use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::{Duration, SystemTime};

use crate::machine::{Cause, ProgramState};
use crate::signal::exit_label;
use crate::spec::{StdStream, log_path};
use crate::text::{duration, escaped};

/// A snapshot of one program.
#[derive(Debug, Clone, PartialEq)]
pub struct ProgramStatus {
    pub(crate) name: Arc<str>,
    pub(crate) command: Vec<OsString>,
    pub(crate) state: ProgramState,
    pub(crate) reason: Option<String>,
    pub(crate) is_wanted: bool,
    pub(crate) state_for: Duration,
    pub(crate) pid: Option<i32>,
    pub(crate) backoff: Duration,
    pub(crate) restarts: u64,
    pub(crate) restarts_in_row: u32,
    pub(crate) last_start: Option<SystemTime>,
    pub(crate) last_exit: Option<LastExit>,
    pub(crate) next_start: Option<Duration>,
    pub(crate) is_up: bool,
    pub(crate) is_blocked: bool,
    /// The directory of its log, if that is open.
    pub(crate) log: Option<Arc<PathBuf>>,
    pub(crate) stdout_log: Option<Arc<PathBuf>>,
    pub(crate) after: Vec<Arc<str>>,
    pub(crate) requires: Vec<Arc<str>>,
    pub(crate) is_changed: bool,
    pub(crate) status_text: Option<Box<str>>,
    pub(crate) health: Option<HealthStatus>,
}

/// What the health checks of a program have found. Its `Display` is `unknown`, `healthy` or
/// `failing 2`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum HealthStatus {
    /// It is not up, or no check is over since it is.
    Unknown,
    /// The latest check has succeeded.
    Healthy,
    /// This many checks in a row have failed.
    Failing(u32),
}

impl fmt::Display for HealthStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Unknown => f.pad("unknown"),
            Self::Healthy => f.pad("healthy"),
            Self::Failing(failures) => write!(f, "failing {failures}"),
        }
    }
}

/// How the latest run of a program ended.
#[derive(Debug, Clone, PartialEq)]
pub struct LastExit {
    pub(crate) return_code: i32,
    pub(crate) core_dumped: bool,
    pub(crate) cause: Cause,
    pub(crate) at: SystemTime,
    pub(crate) uptime: Duration,
    pub(crate) error: Option<String>,
    pub(crate) last_line: Option<String>,
}

impl LastExit {
    /// Returns the exit code, or minus the number of the signal that terminated it, as
    /// [`ErrorReport::return_code`](crate::ErrorReport::return_code) does.
    #[must_use]
    pub fn return_code(&self) -> i32 {
        self.return_code
    }

    /// True if it dumped core.
    #[must_use]
    pub fn core_dumped(&self) -> bool {
        self.core_dumped
    }

    /// Returns what ended it.
    #[must_use]
    pub fn cause(&self) -> Cause {
        self.cause
    }

    /// Returns when it ended, by the wall clock.
    #[must_use]
    pub fn at(&self) -> SystemTime {
        self.at
    }

    /// Returns the time from exec to reap; zero for a failed start.
    #[must_use]
    pub fn uptime(&self) -> Duration {
        self.uptime
    }

    /// Returns why there is no exit status, if there is none: see
    /// [`ErrorReport::error`](crate::ErrorReport::error).
    #[must_use]
    pub fn error(&self) -> Option<&str> {
        self.error.as_deref()
    }

    /// Returns the last non-empty line of its stderr, at most 200 bytes, if it failed; if there is none,
    /// that of its stdout, if that is logged or inherited.
    #[must_use]
    pub fn last_line(&self) -> Option<&str> {
        self.last_line.as_deref()
    }
}

impl ProgramStatus {
    /// Returns its name.
    #[must_use]
    pub fn name(&self) -> &str {
        &self.name
    }

    /// Returns the program and its arguments, as given.
    #[must_use]
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// Returns its state.
    #[must_use]
    pub fn state(&self) -> ProgramState {
        self.state
    }

    /// Returns why it is in that state, if the state does not say it: `requires db: failed`,
    /// `after db`, `exit code 78 is permanent`, `10 restarts in a row`, `not ready in time
    /// (start_timeout 30s)`, `unhealthy`. Behind a chain of requirements it names the first one.
    #[must_use]
    pub fn reason(&self) -> Option<&str> {
        self.reason.as_deref()
    }

    /// True if it runs as soon as it can: its goal is to be up.
    #[must_use]
    pub fn is_wanted(&self) -> bool {
        self.is_wanted
    }

    /// Returns how long it has been in that state.
    #[must_use]
    pub fn state_for(&self) -> Duration {
        self.state_for
    }

    /// Returns its process ID while its first process lives.
    #[must_use]
    pub fn pid(&self) -> Option<i32> {
        self.pid
    }

    /// Returns the delay that its next restart will have, unless it runs long enough to reset it.
    #[must_use]
    pub fn backoff(&self) -> Duration {
        self.backoff
    }

    /// Returns the number of restarts: all starts except the first, failed ones too.
    #[must_use]
    pub fn restarts(&self) -> u64 {
        self.restarts
    }

    /// Returns the number of restarts since it was started, or since a run that was long enough to
    /// reset the delay.
    #[must_use]
    pub fn restarts_in_row(&self) -> u32 {
        self.restarts_in_row
    }

    /// Returns the time of its latest start, by the wall clock.
    #[must_use]
    pub fn last_start(&self) -> Option<SystemTime> {
        self.last_start
    }

    /// Returns how its latest run ended, if one has.
    #[must_use]
    pub fn last_exit(&self) -> Option<&LastExit> {
        self.last_exit.as_ref()
    }

    /// Returns the code of [`ProgramStatus::last_exit`].
    #[must_use]
    pub fn last_return_code(&self) -> Option<i32> {
        self.last_exit.as_ref().map(LastExit::return_code)
    }

    /// Returns the time until its next start, if one is planned.
    #[must_use]
    pub fn next_start(&self) -> Option<Duration> {
        self.next_start
    }

    /// True if it is up: it runs and is ready, or has succeeded as a oneshot. What requires it may
    /// run.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let migrate = ChildSpec::new("migrate", ["true"]).oneshot(true);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(migrate)
    ///     .err_dir(logs.path())
    ///     .keep_running()
    ///     .build()?;
    /// assert!(!scheduler.programs()[0].is_up());
    /// while !scheduler.programs()[0].is_up() {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// assert_eq!(scheduler.programs()[0].state(), ProgramState::Exited);
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_up(&self) -> bool {
        self.is_up
    }

    /// True if it is pending and does not start without another order, as a program that it
    /// requires is stopped or has ended for good; [`ProgramStatus::reason`] names that.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let migrate = ChildSpec::new("migrate", ["false"]).oneshot(true);
    /// let web = ChildSpec::new("web", ["sleep", "100"]).requires(["migrate"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .programs([migrate, web])
    ///     .err_dir(logs.path())
    ///     .keep_running()
    ///     .build()?;
    /// while !scheduler.programs()[1].is_blocked() {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// let web = &scheduler.programs()[1];
    /// assert_eq!(web.state(), ProgramState::Pending);
    /// assert_eq!(web.reason(), Some("requires migrate: failed"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn is_blocked(&self) -> bool {
        self.is_blocked
    }

    /// Returns the path of the log of its stderr, if that is open.
    #[must_use]
    pub fn log(&self) -> Option<PathBuf> {
        let directory = self.log.as_ref();
        directory.map(|directory| log_path(directory, &self.name, StdStream::Stderr))
    }

    /// Returns the path of the log of its stdout, if that is open.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Stdout};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let web = ChildSpec::new("web", ["sleep", "9"]).stdout(Stdout::Log);
    /// let scheduler = ProcessScheduler::builder("/").program(web).err_dir(logs.path()).build()?;
    /// let path = scheduler.programs()[0].stdout_log().expect("a log");
    /// assert!(path.ends_with("web.stdout.log"));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stdout_log(&self) -> Option<PathBuf> {
        let directory = self.stdout_log.as_ref();
        directory.map(|directory| log_path(directory, &self.name, StdStream::Stdout))
    }

    /// Returns the names of the programs that it starts after, those left out that it requires as
    /// well.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let db = ChildSpec::new("db", ["sleep", "100"]);
    /// let cache = ChildSpec::new("cache", ["sleep", "100"]);
    /// let web = ChildSpec::new("web", ["sleep", "100"]).requires(["db"]).after(["cache", "db"]);
    /// let scheduler = ProcessScheduler::builder("/")
    ///     .programs([db, cache, web])
    ///     .err_dir(logs.path())
    ///     .build()?;
    /// let web = &scheduler.programs()[2];
    /// assert_eq!(web.after().collect::<Vec<_>>(), ["cache"]);
    /// assert_eq!(web.requires().collect::<Vec<_>>(), ["db"]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn after(&self) -> impl Iterator<Item = &str> {
        self.after.iter().map(|name| &**name)
    }

    /// Returns the names of the programs that it requires.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let db = ChildSpec::new("db", ["sleep", "100"]);
    /// let web = ChildSpec::new("web", ["sleep", "100"]).requires(["db"]);
    /// let scheduler = ProcessScheduler::builder("/")
    ///     .programs([db, web])
    ///     .err_dir(logs.path())
    ///     .build()?;
    /// let web = &scheduler.programs()[1];
    /// assert!(web.requires().eq(["db"]));
    /// # Ok(())
    /// # }
    /// ```
    pub fn requires(&self) -> impl Iterator<Item = &str> {
        self.requires.iter().map(|name| &**name)
    }

    /// Returns what it says of itself: the latest `STATUS=` of its run that came to its notification
    /// socket, on one line and of at most 256 bytes. `None` without [`Ready::Notify`](crate::Ready)
    /// and [`ChildSpec::watchdog`](crate::ChildSpec::watchdog).
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Ready};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let web = ChildSpec::new("web", ["sleep", "100"]).ready(Ready::Notify);
    /// let scheduler = ProcessScheduler::builder("/").program(web).err_dir(logs.path()).build()?;
    /// assert_eq!(scheduler.programs()[0].status_text(), None); // it does not run
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn status_text(&self) -> Option<&str> {
        self.status_text.as_deref()
    }

    /// Returns what its health checks have found; `None` if it has none.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Health, HealthStatus, ProcessScheduler};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let health = Health::command(["true"]).interval(Duration::from_millis(10));
    /// let web = ChildSpec::new("web", ["sleep", "100"]).health(health);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(web)
    ///     .err_dir(logs.path())
    ///     .kill_on_drop()
    ///     .build()?;
    /// assert_eq!(scheduler.programs()[0].health(), Some(HealthStatus::Unknown));
    /// while scheduler.programs()[0].health() != Some(HealthStatus::Healthy) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn health(&self) -> Option<HealthStatus> {
        self.health
    }

    /// True if it runs with an older definition than it will have at its next start: see
    /// [`ApplyOptions::restart`](crate::ApplyOptions::restart).
    #[must_use]
    pub fn is_changed(&self) -> bool {
        self.is_changed
    }
}

/// One line, without a line feed: `web backoff pid=- uptime=3s restarts=12 last_exit=SIGKILL
/// retry_in=5s`, and at its end the reason, if there is one. The `uptime` is the time in its state
/// ([`ProgramStatus::state_for`]), also where it does not run.
///
/// ```
/// # use procsched::{ChildSpec, ProcessScheduler};
/// # fn main() -> procsched::Result<()> {
/// # let logs = tempfile::tempdir().unwrap();
/// let web = ChildSpec::new("web", ["sleep", "100"]);
/// let scheduler = ProcessScheduler::builder("/").program(web).err_dir(logs.path()).build()?;
/// let line = scheduler.programs()[0].to_string();
/// assert!(line.starts_with("web stopped pid=- uptime="), "{line}");
/// assert!(line.ends_with(" restarts=0 last_exit=- retry_in=-"), "{line}");
/// # Ok(())
/// # }
/// ```
impl fmt::Display for ProgramStatus {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let or_none = |value: Option<String>| value.unwrap_or_else(|| "-".to_owned());
        let pid = or_none(self.pid.map(|pid| pid.to_string()));
        let last = or_none(self.last_return_code().map(|code| exit_label(code).1));
        let (name, state) = (escaped(&self.name), self.state);
        let (uptime, restarts) = (duration(self.state_for), self.restarts);
        let retry_in = or_none(self.next_start.map(duration));
        write!(
            f,
            "{name} {state} pid={pid} uptime={uptime} restarts={restarts} "
        )?;
        write!(f, "last_exit={last} retry_in={retry_in}")?;
        match &self.reason {
            Some(reason) => write!(f, " reason={reason:?}"),
            None => Ok(()),
        }
    }
}
