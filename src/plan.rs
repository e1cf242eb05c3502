//! What a set of new definitions changes: which programs are added, restarted, changed in place,
//! removed, or stay as they are.

use std::fmt;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::spec::ErrorCommand;

/// What [`ProcessScheduler::apply`](crate::ProcessScheduler::apply) does, or has done.
///
/// Its `Display` is one line for each program that is concerned, and one with the number of the
/// others:
///
/// ```text
/// + cache     new, will be started
/// ~ web       will be restarted: command, env.MODE
/// ~ api       will be restarted: requires web
/// * worker    changes in place: backoff.max, stop_timeout
/// - old       will be stopped and removed
/// ! report    stays stopped
/// ~ db        will be started: api requires it
/// = 12 unchanged
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub(crate) settings: Vec<&'static str>,
    pub(crate) changes: Vec<PlannedChange>,
    pub(crate) required: Vec<PlannedChange>,
    pub(crate) unchanged: usize,
}

/// What a set of new definitions brings along, and how it is taken over; see
/// [`ProcessScheduler::apply_with`](crate::ProcessScheduler::apply_with).
///
/// ```
/// # use procsched::{ApplyOptions, ChildSpec, ProcessScheduler};
/// # use std::time::Duration;
/// # fn main() -> procsched::Result<()> {
/// # let logs = tempfile::tempdir().unwrap();
/// let web = |port| ChildSpec::new("web", ["sleep", port]);
/// # let mut scheduler = ProcessScheduler::builder("/")
/// #     .program(web("80")).err_dir(logs.path()).kill_on_drop().build()?;
/// # while scheduler.programs().iter().any(|program| program.pid().is_none()) {
/// #     scheduler.step(Some(Duration::from_secs(1)))?;
/// # }
/// let later = ApplyOptions::new().restart(false);
/// let plan = scheduler.apply_with(vec![web("81")], &later)?;
/// assert_eq!(
///     plan.to_string(),
///     "* web  changes at its next start: command\n= 0 unchanged"
/// );
/// assert!(scheduler.programs()[0].is_changed());
/// let plan = scheduler.apply(vec![web("81")])?;
/// assert_eq!(plan.to_string(), "~ web  will be restarted: command\n= 0 unchanged");
/// # Ok(())
/// # }
/// ```
#[derive(Debug, Clone, Default)]
pub struct ApplyOptions {
    pub(crate) base_dir: Option<PathBuf>,
    pub(crate) error_command: Option<Option<ErrorCommand>>,
    pub(crate) shutdown_timeout: Option<Option<Duration>>,
    pub(crate) keeps_runs: bool,
}

impl ApplyOptions {
    /// Returns options that change nothing else, and restart what cannot change while it runs.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the base directory, absolute. By default it stays. What is resolved against it differs
    /// then, such as the working directory of a program without one of its own.
    #[must_use]
    pub fn base_dir(mut self, directory: impl Into<PathBuf>) -> Self {
        self.base_dir = Some(directory.into());
        self
    }

    /// Sets the command that is run for reports, or none. By default it stays.
    #[cfg(feature = "json")]
    #[must_use]
    pub fn error_command(mut self, command: Option<ErrorCommand>) -> Self {
        self.error_command = Some(command);
        self
    }

    /// Sets how long a shutdown may take that begins after this; `None` is no limit. By default it
    /// stays. See [`Builder::shutdown_timeout`](crate::Builder::shutdown_timeout).
    ///
    /// ```
    /// # use procsched::{ApplyOptions, ProcessScheduler};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// let mut scheduler = ProcessScheduler::builder("/").keep_running().build()?;
    /// let limited = ApplyOptions::new().shutdown_timeout(Some(Duration::from_secs(30)));
    /// let plan = scheduler.apply_with(Vec::new(), &limited)?;
    /// assert_eq!(plan.settings(), ["shutdown_timeout"]);
    /// assert!(scheduler.apply_with(Vec::new(), &limited)?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn shutdown_timeout(mut self, timeout: Option<Duration>) -> Self {
        self.shutdown_timeout = Some(timeout);
        self
    }

    /// Sets whether a running program is restarted if it differs in something that cannot change
    /// while it runs; `true` by default. Without this it has its new definition from its next start
    /// on, and until then [`ProgramStatus::is_changed`](crate::ProgramStatus::is_changed).
    #[must_use]
    pub fn restart(mut self, restart: bool) -> Self {
        self.keeps_runs = !restart;
        self
    }
}

/// What happens to one program.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct PlannedChange {
    pub(crate) program: Arc<str>,
    pub(crate) kind: PlannedKind,
}

/// How a program changes. Keys are those of the config, `env.MODE` for a variable.
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub enum PlannedKind {
    /// It is new, and is started when everything is gone that is removed.
    Add,
    /// It is new, and does not start by itself.
    AddDown,
    /// It is stopped, and started with its new definition.
    Restart {
        /// What differs and cannot change while it runs.
        keys: Vec<String>,
    },
    /// It requires this program, which is restarted, and so it is restarted, too.
    RestartWith {
        /// The program that it requires.
        required: String,
    },
    /// It does not run, and starts with its new definition.
    Start {
        /// What differs.
        keys: Vec<String>,
    },
    /// It runs on, and what differs holds from now on.
    Change {
        /// What differs.
        keys: Vec<String>,
    },
    /// It runs on, and part of what differs holds from its next start on.
    ChangeLater {
        /// What holds from now on.
        keys: Vec<String>,
        /// What holds from its next start on.
        later: Vec<String>,
    },
    /// It differs, and stays down, as it was stopped.
    StaysStopped {
        /// What differs.
        keys: Vec<String>,
    },
    /// It is stopped, and forgotten when it is gone.
    Remove,
    /// It does not run, and starts because this program requires it, which is started or begins to
    /// require it.
    StartRequired {
        /// The program that requires it.
        by: String,
    },
}

impl Plan {
    /// Returns what changes: first what is new or differs, in the order of the new definitions,
    /// then what is removed.
    #[must_use]
    pub fn changes(&self) -> &[PlannedChange] {
        &self.changes
    }

    /// Returns the programs that start because others require them, each with
    /// [`PlannedKind::StartRequired`]. One whose definition differs is among the
    /// [changes](Plan::changes), too; all others count as unchanged.
    #[must_use]
    pub fn required(&self) -> &[PlannedChange] {
        &self.required
    }

    /// Returns the number of programs whose definition does not change.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.unchanged
    }

    /// Returns the keys of the config that change in place and belong to no program.
    #[must_use]
    pub fn settings(&self) -> &[&'static str] {
        &self.settings
    }

    /// Adds a setting of the host's own that changes in place, for a host that shows the plan.
    ///
    /// ```
    /// let mut plan = procsched::Plan::default();
    /// plan.add_setting("output");
    /// assert_eq!(plan.to_string(), "* output  changes in place\n= 0 unchanged");
    /// ```
    pub fn add_setting(&mut self, key: &'static str) {
        self.settings.push(key);
    }

    /// True if nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty() && self.settings.is_empty()
    }
}

impl PlannedChange {
    /// Returns the name of the program.
    #[must_use]
    pub fn program(&self) -> &str {
        &self.program
    }

    /// Returns what happens to it.
    #[must_use]
    pub fn kind(&self) -> &PlannedKind {
        &self.kind
    }
}

impl fmt::Display for Plan {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let changes = || self.changes.iter().chain(&self.required);
        let names = changes().map(|change| change.program.len());
        let width = names.chain(self.settings.iter().map(|key| key.len())).max();
        let width = width.unwrap_or(0);
        for key in &self.settings {
            writeln!(f, "* {key:<width$}  changes in place")?;
        }
        for PlannedChange { program, kind } in changes() {
            writeln!(f, "{} {program:<width$}  {kind}", kind.sign())?;
        }
        write!(f, "= {} unchanged", self.unchanged)
    }
}

impl PlannedKind {
    /// Returns the first character of its line: `+` for what is new, `~` for what is started or
    /// restarted, `*` for what changes without that, `!` for what stays down, `-` for what is
    /// removed.
    ///
    /// ```
    /// # use procsched::PlannedKind;
    /// assert_eq!(PlannedKind::Remove.sign(), '-');
    /// ```
    #[must_use]
    pub fn sign(&self) -> char {
        match self {
            Self::Add | Self::AddDown => '+',
            Self::Restart { .. }
            | Self::RestartWith { .. }
            | Self::Start { .. }
            | Self::StartRequired { .. } => '~',
            Self::Change { .. } | Self::ChangeLater { .. } => '*',
            Self::StaysStopped { .. } => '!',
            Self::Remove => '-',
        }
    }
}

/// Says what happens, without the name of the program.
impl fmt::Display for PlannedKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Add => f.write_str("new, will be started"),
            Self::AddDown => f.write_str("new, does not start by itself"),
            Self::Restart { keys } if keys.is_empty() => {
                f.write_str("will be restarted: it is being removed")
            }
            Self::Restart { keys } => write!(f, "will be restarted: {}", keys.join(", ")),
            Self::RestartWith { required } => {
                write!(f, "will be restarted: requires {required}")
            }
            Self::Start { keys } => write!(f, "will be started: {}", keys.join(", ")),
            Self::Change { keys } => write!(f, "changes in place: {}", keys.join(", ")),
            Self::ChangeLater { keys, later } => {
                write!(f, "changes at its next start: {}", later.join(", "))?;
                match keys.is_empty() {
                    true => Ok(()),
                    false => write!(f, "; in place: {}", keys.join(", ")),
                }
            }
            Self::StaysStopped { .. } => f.write_str("stays stopped"),
            Self::Remove => f.write_str("will be stopped and removed"),
            Self::StartRequired { by } => write!(f, "will be started: {by} requires it"),
        }
    }
}
