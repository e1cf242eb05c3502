//! Where a program's output goes.

use std::fmt;
use std::path::{Path, PathBuf};

use super::ChildSpec;

/// The least size of a log that is rotated, in bytes: what is read of a pipe at once.
pub const LOG_BYTES_MIN: u64 = 64 * 1024;

/// The most rotated logs that are kept: each of them is renamed at a rotation.
pub const LOG_KEEP_MAX: u32 = 100;

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
    /// To the host, line by line: see [`Builder::on_output`](crate::Builder::on_output).
    Inherit,
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
    /// To the host, line by line: see [`Builder::on_output`](crate::Builder::on_output).
    Inherit,
}

/// How the logs of a program are kept; see [`ChildSpec::log`](crate::ChildSpec::log).
///
/// ```
/// # use procsched::{ChildSpec, LogOptions};
/// // At most 40 MiB for each stream.
/// let kept = LogOptions::new().max_bytes(10 << 20).keep(3);
/// let web = ChildSpec::new("web", ["./web"]).log(kept);
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct LogOptions {
    pub(crate) max_bytes: u64,
    pub(crate) keep: u32,
    pub(crate) timestamps: bool,
    pub(crate) marks: bool,
}

impl Default for LogOptions {
    fn default() -> Self {
        Self {
            max_bytes: 0,
            keep: 3,
            timestamps: false,
            marks: false,
        }
    }
}

impl LogOptions {
    /// Returns options by which a log grows without a limit and has what the program wrote, and
    /// nothing else.
    #[must_use]
    pub fn new() -> Self {
        Self::default()
    }

    /// Sets the size beyond which a log is rotated: it is renamed to `NAME.stderr.log.1`, and a new
    /// one begins, at the end of a line where there is one. 0, the default, is never; the least is
    /// [`LOG_BYTES_MIN`].
    #[must_use]
    pub fn max_bytes(mut self, bytes: u64) -> Self {
        self.max_bytes = bytes;
        self
    }

    /// Sets how many rotated logs are kept; 3 by default, at most [`LOG_KEEP_MAX`]. With 0 the log is
    /// emptied.
    #[must_use]
    pub fn keep(mut self, logs: u32) -> Self {
        self.keep = logs;
        self
    }

    /// Sets whether each line begins with the time, in UTC; `false` by default.
    #[must_use]
    pub fn timestamps(mut self, on: bool) -> Self {
        self.timestamps = on;
        self
    }

    /// Sets whether the start and the end of each run have a line; `false` by default.
    #[must_use]
    pub fn marks(mut self, on: bool) -> Self {
        self.marks = on;
        self
    }

    /// Returns the keys of the config in which others differ.
    pub(crate) fn differences(self, new: Self) -> impl Iterator<Item = &'static str> {
        let keys = [
            ("log.max_bytes", self.max_bytes != new.max_bytes),
            ("log.keep", self.keep != new.keep),
            ("log.timestamps", self.timestamps != new.timestamps),
            ("log.marks", self.marks != new.marks),
        ];
        let differing = keys.into_iter().filter(|(_, differs)| *differs);
        differing.map(|(key, _)| key)
    }

    /// Returns what is wrong with it, each with the key of the config.
    pub(crate) fn problems(self) -> [(&'static str, Option<String>); 2] {
        [
            ("log.max_bytes", Self::max_bytes_problem(self.max_bytes)),
            ("log.keep", Self::keep_problem(self.keep)),
        ]
    }

    /// Returns what is wrong with the size.
    pub(crate) fn max_bytes_problem(bytes: u64) -> Option<String> {
        let is_possible = bytes == 0 || bytes >= LOG_BYTES_MIN;
        (!is_possible).then(|| {
            format!("{bytes} bytes are too few for a log: use at least {LOG_BYTES_MIN}, or 0 for no limit")
        })
    }

    /// Returns what is wrong with the number of rotated logs.
    pub(crate) fn keep_problem(logs: u32) -> Option<String> {
        (logs > LOG_KEEP_MAX)
            .then(|| format!("{logs} rotated logs are too many: use at most {LOG_KEEP_MAX}"))
    }
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
        self.is_logged(stream) || self.is_inherited(stream)
    }

    /// True if the stream goes to the host.
    pub(crate) fn is_inherited(self, stream: StdStream) -> bool {
        match stream {
            StdStream::Stdout => self.stdout == Stdout::Inherit,
            StdStream::Stderr => self.stderr == Stderr::Inherit,
        }
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

    /// Sets how its logs are kept: how large they grow, and what is in them besides its own words.
    ///
    /// ```
    /// # use procsched::{ChildSpec, LogOptions, ProcessScheduler, Restart};
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let logs = tempfile::tempdir()?;
    /// let once = ChildSpec::new("once", ["sh", "-c", "echo hello >&2"]).restart(Restart::Never);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(once.log(LogOptions::new().marks(true)))
    ///     .err_dir(logs.path())
    ///     .build()?;
    /// scheduler.start()?;
    /// let log = std::fs::read_to_string(logs.path().join("once.stderr.log"))?;
    /// let lines: Vec<&str> = log.lines().collect();
    /// assert!(lines[0].starts_with("--- started pid="));
    /// assert_eq!(lines[1], "hello");
    /// assert!(lines[2].starts_with("--- exited code=0 after "));
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn log(mut self, options: LogOptions) -> Self {
        self.log = options;
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
