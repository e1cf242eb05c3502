//! Where a program's output goes.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ChildSpec;

/// One of the two streams that a program writes to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum StdStream {
    /// Its standard output.
    Stdout,
    /// Its standard error.
    Stderr,
}

impl StdStream {
    /// Both, in the order of their descriptors.
    pub(crate) const ALL: [Self; 2] = [Self::Stdout, Self::Stderr];
}

/// `stdout` or `stderr`.
impl fmt::Display for StdStream {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        })
    }
}

/// Where the stdout of a program goes; see [`ChildSpec::stdout`](crate::ChildSpec::stdout).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stdout {
    /// To `/dev/null`.
    #[default]
    Null,
    /// To `{name}.stdout.log` in the directory of the logs.
    Log,
    /// Where its stderr goes, through the same pipe: what it writes stays in order.
    Stderr,
}

/// Where the stderr of a program goes; see [`ChildSpec::stderr`](crate::ChildSpec::stderr).
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Stderr {
    /// To `{name}.stderr.log` in the directory of the logs.
    #[default]
    Log,
    /// To `/dev/null`; reports have none of it.
    Null,
}

/// Where both streams of a program go.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Outputs {
    pub(crate) stdout: Stdout,
    pub(crate) stderr: Stderr,
}

impl Outputs {
    /// True if the stream has a log.
    pub(crate) fn is_logged(self, stream: StdStream) -> bool {
        match stream {
            StdStream::Stdout => self.stdout == Stdout::Log,
            StdStream::Stderr => self.stderr == Stderr::Log,
        }
    }

    /// True if the stream has a pipe of its own to us.
    pub(crate) fn has_pipe(self, stream: StdStream) -> bool {
        self.is_logged(stream)
    }

    /// True if any of it is logged.
    pub(crate) fn has_log(self) -> bool {
        StdStream::ALL.iter().any(|&stream| self.is_logged(stream))
    }

    /// Returns the number of descriptors that a run holds for its output: pipes and logs.
    pub(crate) fn descriptors(self) -> usize {
        let of = |stream: StdStream| {
            usize::from(self.has_pipe(stream)) + usize::from(self.is_logged(stream))
        };
        StdStream::ALL.into_iter().map(of).sum()
    }
}

impl ChildSpec {
    /// Sets where its stdout goes; to `/dev/null` by default. A log of its own is
    /// `{name}.stdout.log`, beside that of its stderr.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Restart, Stdout};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let logs = tempfile::tempdir()?;
    /// let once = ChildSpec::new("once", ["echo", "hello"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once.stdout(Stdout::Log))
    ///     .err_dir(logs.path())
    ///     .build()?;
    /// scheduler.start()?;
    /// assert_eq!(std::fs::read_to_string(logs.path().join("once.stdout.log"))?, "hello\n");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stdout(mut self, stdout: Stdout) -> Self {
        self.outputs.stdout = stdout;
        self
    }

    /// Sets where its stderr goes; to its log by default.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, Restart, Stderr};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let logs = tempfile::tempdir()?;
    /// let once = ChildSpec::new("once", ["sh", "-c", "echo hello >&2"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once.stderr(Stderr::Null))
    ///     .err_dir(logs.path())
    ///     .error_handler(|_, report| assert_eq!(report.stderr(), b""))
    ///     .build()?;
    /// scheduler.start()?;
    /// assert!(!logs.path().join("once.stderr.log").exists());
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn stderr(mut self, stderr: Stderr) -> Self {
        self.outputs.stderr = stderr;
        self
    }

    /// True if a stream of it has a log, so that the directory of logs is needed.
    ///
    /// ```
    /// # use procsched::{ChildSpec, Stderr};
    /// let web = ChildSpec::new("web", ["./web"]);
    /// assert!(web.has_log());
    /// assert!(!web.stderr(Stderr::Null).has_log());
    /// ```
    #[must_use]
    pub fn has_log(&self) -> bool {
        self.outputs.has_log()
    }
}

/// Returns the path of the log of this stream of the program of this name.
pub(crate) fn log_path(directory: &Path, name: &str, stream: StdStream) -> PathBuf {
    directory.join(format!("{name}.{stream}.log"))
}
