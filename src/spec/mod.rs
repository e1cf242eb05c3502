//! What to run, where, and with which policy.
//!
//! A [`ChildSpec`] is plain data with defaults. It is checked when the scheduler is built, so that
//! no start fails for a reason that was known before.

pub(crate) mod accounts;
pub(crate) mod attributes;
pub(crate) mod check;
pub(crate) mod env_file;
mod error_command;
mod output;
mod problems;
pub(crate) mod ready;
mod resource;

use std::ffi::OsString;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::machine::{Backoff, Exit, ExitSet, Policy, Restart};
pub(crate) use crate::signal::SIGNAL_MAX;
use crate::signal::SignalTo;
pub use accounts::{User, group_named};
pub(crate) use attributes::Attributes;
pub use check::{Address, Check, Health, Probe};
pub use error_command::ErrorCommand;
pub use output::{LOG_BYTES_MIN, LOG_KEEP_MAX, LogOptions, StdStream, Stderr, Stdout};
pub(crate) use output::{Outputs, log_path};
pub(crate) use problems::*;
pub use ready::Ready;
pub use resource::Resource;

/// The longest name of a program, in bytes: with `.stderr.log` it is a valid file name on every
/// file system.
pub const NAME_BYTES_MAX: usize = 64;

/// The highest value of [`ChildSpec::report_bytes`], in bytes.
pub const REPORT_BYTES_MAX: usize = 512 * 1024;

/// The default of [`ChildSpec::report_bytes`], in bytes.
pub const REPORT_BYTES_DEFAULT: usize = 64 * 1024;

/// The default directory of logs.
pub(crate) const ERR_DIR_DEFAULT: &str = "/tmp";

/// The default of [`ChildSpec::stop_timeout`].
pub const STOP_TIMEOUT_DEFAULT: Duration = Duration::from_secs(10);

/// One program to supervise.
///
/// ```
/// use procsched::{Backoff, ChildSpec, Restart};
/// use std::time::Duration;
///
/// let spec = ChildSpec::new("web", ["./server", "--port", "8000"])
///     .cwd("data")
///     .env("MODE", "prod")
///     .restart(Restart::OnFailure)
///     .stop_timeout(Duration::from_secs(5));
/// assert_eq!(spec.name(), "web");
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ChildSpec {
    pub(crate) name: String,
    pub(crate) command: Vec<OsString>,
    pub(crate) cwd: Option<PathBuf>,
    pub(crate) env: Vec<(OsString, OsString)>,
    /// `None` is the default.
    pub(crate) restart: Option<Restart>,
    pub(crate) essential: bool,
    pub(crate) autostart: bool,
    pub(crate) backoff: Backoff,
    /// In thousandths; more than all of them stands for what is not possible.
    pub(crate) jitter: u16,
    pub(crate) stop_signal: i32,
    pub(crate) stop_timeout: Duration,
    pub(crate) report_bytes: usize,
    pub(crate) after: Vec<String>,
    pub(crate) requires: Vec<String>,
    pub(crate) oneshot: bool,
    pub(crate) max_restarts: Option<u32>,
    pub(crate) success_codes: Vec<i32>,
    pub(crate) permanent_failure_codes: Vec<i32>,
    pub(crate) ready: Option<Box<Ready>>,
    /// `None` is the default, and 0 without a limit.
    pub(crate) start_timeout: Option<Duration>,
    pub(crate) watchdog: Option<Duration>,
    pub(crate) health: Option<Box<Health>>,
    pub(crate) outputs: Outputs,
    pub(crate) stop_to: SignalTo,
    pub(crate) attributes: Option<Arc<Attributes>>,
    pub(crate) log: LogOptions,
}

impl ChildSpec {
    /// Returns the spec of a program called `name` that runs `command`: the program, then its
    /// arguments.
    ///
    /// The name is `[A-Za-z0-9][A-Za-z0-9._@-]{0,63}`. As in execvp(3), a program with a slash is
    /// a path, relative to the scheduler's base directory; one without is looked up in the `PATH`
    /// of its own environment. There is no shell. Both are checked by
    /// [`Builder::build`](crate::Builder::build).
    pub fn new<C, A>(name: impl Into<String>, command: C) -> Self
    where
        C: IntoIterator<Item = A>,
        A: Into<OsString>,
    {
        Self {
            name: name.into(),
            command: command.into_iter().map(Into::into).collect(),
            cwd: None,
            env: Vec::new(),
            restart: None,
            essential: false,
            autostart: true,
            backoff: Backoff::default(),
            jitter: 0,
            stop_signal: libc::SIGTERM,
            stop_timeout: STOP_TIMEOUT_DEFAULT,
            report_bytes: REPORT_BYTES_DEFAULT,
            after: Vec::new(),
            requires: Vec::new(),
            oneshot: false,
            max_restarts: None,
            success_codes: Vec::new(),
            permanent_failure_codes: Vec::new(),
            ready: None,
            start_timeout: None,
            watchdog: None,
            health: None,
            outputs: Outputs::default(),
            stop_to: SignalTo::Group,
            attributes: None,
            log: LogOptions::default(),
        }
    }

    /// Sets the working directory. It is relative to the base directory, which is the default.
    #[must_use]
    pub fn cwd(mut self, directory: impl Into<PathBuf>) -> Self {
        self.cwd = Some(directory.into());
        self
    }

    /// Sets an environment variable; it replaces an inherited one, and an earlier value.
    #[must_use]
    pub fn env(mut self, key: impl Into<OsString>, value: impl Into<OsString>) -> Self {
        let key = key.into();
        self.env.retain(|(known, _)| *known != key);
        self.env.push((key, value.into()));
        self
    }

    /// Sets when it is restarted; by default [`Restart::Always`], or [`Restart::Never`] for a oneshot.
    #[must_use]
    pub fn restart(mut self, restart: Restart) -> Self {
        self.restart = Some(restart);
        self
    }

    /// Sets whether everything is stopped once this program has ended and is not restarted; `false`
    /// by default. With [`Restart::Always`] it has an effect only
    /// with [`ChildSpec::max_restarts`] or [`ChildSpec::permanent_failure_codes`].
    #[must_use]
    pub fn essential(mut self, essential: bool) -> Self {
        self.essential = essential;
        self
    }

    /// Sets whether it is started with the scheduler, or when it is added to one that runs; `true`
    /// by default. With `false` it is [`Stopped`](crate::ProgramState::Stopped) until it is started
    /// by [`start_program`](crate::ProcessScheduler::start_program) or a restart, or because a program
    /// that is started requires it. From then on it is restarted like any other.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let report = ChildSpec::new("report", ["sleep", "60"]).autostart(false);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(report)
    ///     .err_dir(logs.path())
    ///     .kill_on_drop()
    ///     .build()?;
    /// scheduler.step(Some(Duration::ZERO))?;
    /// assert_eq!(scheduler.programs()[0].state(), ProgramState::Stopped);
    /// scheduler.start_program("report")?;
    /// # while scheduler.programs()[0].pid().is_none() {
    /// #     scheduler.step(Some(Duration::from_secs(1)))?;
    /// # }
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn autostart(mut self, autostart: bool) -> Self {
        self.autostart = autostart;
        self
    }

    /// Sets the delay before a restart; 1 s, doubled up to 60 s, by default.
    #[must_use]
    pub fn backoff(mut self, backoff: Backoff) -> Self {
        self.backoff = backoff;
        self
    }

    /// Sets the part of each delay that chance adds to it at most, from 0 to 1, exact to a thousandth;
    /// 0 by default. Programs that died together then come back one by one. A delay is never
    /// shorter for it, and reports have it without that part;
    /// [`ProgramStatus::next_start`](crate::ProgramStatus::next_start) has it with that.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// // After 1 to 1.5 s, 2 to 3 s, 4 to 6 s and so on.
    /// let web = ChildSpec::new("web", ["./web"]).jitter(0.5);
    /// ```
    #[must_use]
    pub fn jitter(mut self, share: f64) -> Self {
        self.jitter = jitter_of(share).unwrap_or(u16::MAX);
        self
    }

    /// Sets the signal that its process group is sent to stop it, 1 to 64; `SIGTERM` by default.
    /// SIGCONT follows it, which cancels SIGSTOP, SIGTSTP, SIGTTIN and SIGTTOU: these are an error.
    /// See [`Signal`](crate::Signal) for names.
    #[must_use]
    pub fn stop_signal(mut self, signal: i32) -> Self {
        self.stop_signal = signal;
        self
    }

    /// Sets the time from the stop signal to SIGKILL; 10 s by default. 0 sends both at once.
    #[must_use]
    pub fn stop_timeout(mut self, timeout: Duration) -> Self {
        self.stop_timeout = timeout;
        self
    }

    /// Sets how many bytes of the end of a run's stderr its report contains; 64 KiB by default, at
    /// most [`REPORT_BYTES_MAX`]. The log has all of it.
    #[must_use]
    pub fn report_bytes(mut self, bytes: usize) -> Self {
        self.report_bytes = bytes;
        self
    }

    /// Adds programs that this one starts after. A start of it waits while one of them is on its way
    /// up, until that is up or has failed to come up. One that is down, or waits for its next restart,
    /// is not waited for, and none is started for this. At a shutdown this one stops before them.
    /// systemd calls it `After=`.
    ///
    /// A program is up once it was executed, or is ready ([`ChildSpec::ready`]); a oneshot, once it
    /// has succeeded.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).after(["cache"]);
    /// ```
    #[must_use]
    pub fn after(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.after.extend(names.into_iter().map(Into::into));
        self
    }

    /// Adds programs without which this one does not run. It starts when they are up, and a start
    /// of it starts them. When one of them is stopped or restarted by a command, fails for good or is
    /// abandoned, this one is stopped first, and starts again when that one is up again. A crash
    /// that is followed by a restart stops nothing, and neither does a oneshot, whatever becomes of
    /// it later. One that is required cannot be removed.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// let db = ChildSpec::new("db", ["postgres", "-D", "/srv/db"]);
    /// let migrate = ChildSpec::new("migrate", ["./migrate"]).oneshot(true).requires(["db"]);
    /// let web = ChildSpec::new("web", ["./web"]).requires(["migrate"]);
    /// let builder = ProcessScheduler::builder("/srv").programs([db, migrate, web]);
    /// ```
    #[must_use]
    pub fn requires(mut self, names: impl IntoIterator<Item = impl Into<String>>) -> Self {
        self.requires.extend(names.into_iter().map(Into::into));
        self
    }

    /// Sets whether it is up once it has ended with success, and not while it runs; `false` by
    /// default. It is not restarted, unless with [`Restart::OnFailure`]; [`Restart::Always`] is an
    /// error. What it leaves in its process group is killed. An essential oneshot stops everything
    /// only if it fails.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Restart};
    /// let migrate = ChildSpec::new("migrate", ["./migrate"]).oneshot(true);
    /// assert_eq!(migrate.restart_policy(), Restart::Never);
    /// ```
    #[must_use]
    pub fn oneshot(mut self, oneshot: bool) -> Self {
        self.oneshot = oneshot;
        self
    }

    /// Sets after how many restarts in a row it has failed for good; no limit by default. A run of
    /// [`Backoff::reset_after`] begins the count anew, as a start by hand does. Failed starts count.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).max_restarts(10);
    /// ```
    #[must_use]
    pub fn max_restarts(mut self, restarts: u32) -> Self {
        self.max_restarts = Some(restarts);
        self
    }

    /// Adds exits that are a success, as code 0 is: codes from 1 to 255, and signals as negative
    /// numbers. None by default. systemd calls it `SuccessExitStatus=`.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Restart};
    /// let java = ChildSpec::new("app", ["java", "-jar", "app.jar"])
    ///     .restart(Restart::OnFailure)
    ///     .success_codes([143, -15]);
    /// ```
    #[must_use]
    pub fn success_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.success_codes.extend(codes);
        self
    }

    /// Adds exits after which it is not restarted, whatever its policy says: codes from 1 to 255,
    /// and signals as negative numbers. None by default; 78, `EX_CONFIG` of sysexits.h, is a
    /// customary one. systemd calls it `RestartPreventExitStatus=`.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]).permanent_failure_codes([78]);
    /// ```
    #[must_use]
    pub fn permanent_failure_codes(mut self, codes: impl IntoIterator<Item = i32>) -> Self {
        self.permanent_failure_codes.extend(codes);
        self
    }

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

    /// Returns when it is restarted.
    #[must_use]
    pub fn restart_policy(&self) -> Restart {
        let default = if self.oneshot {
            Restart::Never
        } else {
            Restart::Always
        };
        self.restart.unwrap_or(default)
    }

    /// True if everything is stopped once it has ended and is not restarted.
    #[must_use]
    pub fn is_essential(&self) -> bool {
        self.essential
    }

    /// True if it may end without being restarted: its policy, its exit code or its number of
    /// restarts can say so.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// let web = ChildSpec::new("web", ["./web"]);
    /// assert!(!web.can_end_for_good());
    /// assert!(web.max_restarts(10).can_end_for_good());
    /// ```
    #[must_use]
    pub fn can_end_for_good(&self) -> bool {
        self.restart_policy() != Restart::Always
            || self.max_restarts.is_some()
            || !self.permanent_failure_codes.is_empty()
    }

    /// True if it is started with the scheduler.
    #[must_use]
    pub fn starts_by_itself(&self) -> bool {
        self.autostart
    }

    /// Returns what the machine needs to know.
    pub(crate) fn policy(&self) -> Policy {
        Policy {
            restart: self.restart_policy(),
            essential: self.essential,
            autostart: self.autostart,
            backoff: self.backoff,
            jitter: self.jitter,
            stop_signal: self.stop_signal,
            stop_timeout: self.stop_timeout,
            stops_main: self.stop_to == SignalTo::Main,
            oneshot: self.oneshot,
            max_restarts: self.max_restarts,
            success: exit_set(&self.success_codes),
            permanent: exit_set(&self.permanent_failure_codes),
            ready: self.ready.is_some(),
            start_timeout: self.start_timeout_in_force(),
            watchdog: self.watchdog,
        }
    }

    /// Returns everything that is wrong with it, each with the key of the config, without looking
    /// at the system.
    pub(crate) fn problems(&self) -> Vec<(&'static str, String)> {
        let mut found = Vec::new();
        let mut add = |key, problem: Option<String>| found.extend(problem.map(|text| (key, text)));
        add("name", name_problem(&self.name));
        add("command", command_problem(&self.command));
        add("cwd", self.cwd.as_deref().and_then(directory_problem));
        for (key, value) in &self.env {
            add("env", env_problem(key, value));
        }
        add("backoff", backoff_problem(&self.backoff));
        add("backoff.jitter", jitter_problem(self.jitter));
        add("stop_signal", stop_signal_problem(self.stop_signal));
        add("report_bytes", report_bytes_problem(self.report_bytes));
        let log = self.log.problems();
        log.into_iter().for_each(|(key, problem)| add(key, problem));
        if self.oneshot && self.restart == Some(Restart::Always) {
            let text = "a oneshot runs until it succeeds: use \"never\" or \"on-failure\"";
            add("restart", Some(text.to_owned()));
        }
        for (key, problem) in self.readiness_problems() {
            add(key, problem);
        }
        found.extend(self.attribute_problems());
        let mut add = |key, problem: Option<String>| found.extend(problem.map(|text| (key, text)));
        if let Some(health) = &self.health {
            let text = "a oneshot has ended when it is up: leave out \"health\" or \"oneshot\"";
            let with_oneshot = self.oneshot.then(|| text.to_owned());
            add("health", health.problem().or(with_oneshot));
        }
        for (key, names) in [("after", &self.after), ("requires", &self.requires)] {
            let is_own = names.contains(&self.name);
            add(
                key,
                is_own.then(|| format!("{:?} cannot wait for itself", self.name)),
            );
        }
        for &code in &self.success_codes {
            add("success_codes", exit_code_problem(code));
        }
        for &code in &self.permanent_failure_codes {
            let twice = || format!("{code} is in success_codes, too: it can be in one of them");
            let is_twice = self.success_codes.contains(&code);
            let problem = exit_code_problem(code).or_else(|| is_twice.then(twice));
            add("permanent_failure_codes", problem);
        }
        found
    }

    /// Returns the first of [`ChildSpec::problems`] as an error that names the program.
    pub(crate) fn check(&self) -> Result<()> {
        match self.problems().into_iter().next() {
            None => Ok(()),
            Some((key, problem)) => Err(Error::of_key(&self.name, key, problem)),
        }
    }
}

/// Returns the exits that these codes stand for.
fn exit_set(codes: &[i32]) -> ExitSet {
    let mut set = ExitSet::default();
    for &code in codes {
        set.insert(if code < 0 {
            Exit::Signal {
                signal: -code,
                core_dumped: false,
            }
        } else {
            Exit::Code(code)
        });
    }
    set
}
