//! What a set of new definitions changes: which programs are added, restarted, changed in place,
//! removed, or stay as they are.

use std::fmt;
use std::sync::Arc;

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
/// = 12 unchanged
/// ```
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Plan {
    pub(crate) changes: Vec<PlannedChange>,
    pub(crate) unchanged: usize,
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
    /// It differs, and stays down, as it was stopped.
    StaysStopped {
        /// What differs.
        keys: Vec<String>,
    },
    /// It is stopped, and forgotten when it is gone.
    Remove,
}

impl Plan {
    /// Returns what changes: first what is new or differs, in the order of the new definitions,
    /// then what is removed.
    #[must_use]
    pub fn changes(&self) -> &[PlannedChange] {
        &self.changes
    }

    /// Returns the number of programs that do not change.
    #[must_use]
    pub fn unchanged(&self) -> usize {
        self.unchanged
    }

    /// True if nothing changes.
    #[must_use]
    pub fn is_empty(&self) -> bool {
        self.changes.is_empty()
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
        let names = self.changes.iter().map(|change| change.program.len());
        let width = names.max().unwrap_or(0);
        for PlannedChange { program, kind } in &self.changes {
            let (sign, what) = match kind {
                PlannedKind::Add => ('+', "new, will be started".to_owned()),
                PlannedKind::Restart { keys } => {
                    ('~', format!("will be restarted: {}", keys.join(", ")))
                }
                PlannedKind::RestartWith { required } => {
                    ('~', format!("will be restarted: requires {required}"))
                }
                PlannedKind::Start { keys } => {
                    ('~', format!("will be started: {}", keys.join(", ")))
                }
                PlannedKind::Change { keys } => {
                    ('*', format!("changes in place: {}", keys.join(", ")))
                }
                PlannedKind::StaysStopped { .. } => ('!', "stays stopped".to_owned()),
                PlannedKind::Remove => ('-', "will be stopped and removed".to_owned()),
            };
            writeln!(f, "{sign} {program:<width$}  {what}")?;
        }
        write!(f, "= {} unchanged", self.unchanged)
    }
}
