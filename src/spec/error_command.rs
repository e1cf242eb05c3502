//! The command that is run for reports.

use std::ffi::OsString;

/// A command that is run for each report, or for those of failures; see
/// [`Builder::error_command`](crate::Builder::error_command).
///
/// ```
/// use procsched::ErrorCommand;
///
/// let notify = ErrorCommand::new(["./notify.sh", "ops"]).only_failures();
/// assert!(notify.is_for_failures());
/// assert!(!ErrorCommand::from(["./notify.sh"]).is_for_failures());
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ErrorCommand {
    pub(crate) command: Vec<OsString>,
    pub(crate) only_failures: bool,
}

impl ErrorCommand {
    /// Returns a command that is run for each report: the program to run, and its arguments.
    pub fn new<A: Into<OsString>>(command: impl IntoIterator<Item = A>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            only_failures: false,
        }
    }

    /// Makes it run for failures alone; see [`ErrorReport::is_failure`](crate::ErrorReport::is_failure).
    #[must_use]
    pub fn only_failures(mut self) -> Self {
        self.only_failures = true;
        self
    }

    /// Returns the program to run, and its arguments.
    #[must_use]
    pub fn command(&self) -> &[OsString] {
        &self.command
    }

    /// True if it is run for failures alone.
    #[must_use]
    pub fn is_for_failures(&self) -> bool {
        self.only_failures
    }
}

impl<A: Into<OsString>, const N: usize> From<[A; N]> for ErrorCommand {
    fn from(command: [A; N]) -> Self {
        Self::new(command)
    }
}

impl<A: Into<OsString>> From<Vec<A>> for ErrorCommand {
    fn from(command: Vec<A>) -> Self {
        Self::new(command)
    }
}
