//! The error of this crate: what failed, on what, and why.
//!
//! It is opaque: a caller displays it or matches [`Error::io_kind`], and every other detail may
//! change in a minor version. The text is one line, `failed to <verb> <object>: <cause>` if there
//! is a cause.

use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// What failed, and why: `failed to open log "/x/web.stderr.log": Permission denied`.
///
/// Its `Display` is one line, in which names and paths are escaped. It includes the cause, so that
/// there is no [`source`](std::error::Error::source).
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    kind: ErrorKind,
    /// The program and the key of its definition that it is about.
    key: Option<(String, &'static str)>,
    what: String,
    cause: Cause,
}

/// What kind of error it is, for a caller that reacts to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ErrorKind {
    /// No program has this name.
    UnknownProgram,
    /// A program of this name exists already.
    Exists,
    /// Everything is being stopped or has ended, and nothing starts any more; or this program is
    /// being removed: its name is free after [`EventKind::Removed`](crate::EventKind::Removed).
    Stopping,
    /// The program does not run.
    NotRunning,
    /// What was given cannot be carried out; the text says why, and what would be right.
    Invalid,
    /// A limit is reached.
    Full,
    /// The system refused something.
    Os,
}

#[derive(Clone, PartialEq, Eq)]
enum Cause {
    None,
    /// The errno of a system call.
    Os(i32),
    Text(String),
    /// The program is in no directory of this `PATH`.
    NotInPath(OsString),
}

/// The longest part of a `PATH` that an error repeats, in bytes. A `PATH` may have 128 KiB, and
/// ten thousand programs that are not found in it may be retried again and again.
const PATH_BYTES_MAX: usize = 1024;

impl Error {
    /// Returns an error without a cause.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::with(what.into(), Cause::None)
    }

    /// Returns the error of a system call that failed with `errno`.
    pub(crate) fn os(what: impl Into<String>, errno: i32) -> Self {
        Self::with(what.into(), Cause::Os(errno))
    }

    /// Returns an error with a cause that is not an errno.
    pub(crate) fn because(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::with(what.into(), Cause::Text(reason.into()))
    }

    /// Returns the error of a program that was not found in this `PATH`.
    pub(crate) fn not_in_path(what: impl Into<String>, path: &[u8]) -> Self {
        let mut shown = OsStr::from_bytes(&path[..path.len().min(PATH_BYTES_MAX)]).to_owned();
        if path.len() > PATH_BYTES_MAX {
            shown.push("…");
        }
        Self::with(what.into(), Cause::NotInPath(shown))
    }

    /// Returns the error of a function of the standard library.
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(what, errno),
            None => Self::because(what, error.to_string()),
        }
    }

    /// Returns an error of this kind, without a cause.
    pub(crate) fn of(kind: ErrorKind, what: impl Into<String>) -> Self {
        let mut error = Self::new(what);
        error.0.kind = kind;
        error
    }

    /// Returns the error of a key of a program's definition.
    pub(crate) fn of_key(program: &str, key: &'static str, what: impl Into<String>) -> Self {
        let mut error = Self::new(what);
        error.0.key = Some((program.to_owned(), key));
        error
    }

    /// Returns the program and the key that it is about, and the text without them.
    // The config alone knows where they are.
    #[cfg_attr(not(feature = "json"), allow(dead_code))]
    pub(crate) fn key(&self) -> Option<(&str, &'static str, &str)> {
        let (program, key) = self.0.key.as_ref()?;
        Some((program, key, &self.0.what))
    }

    fn with(what: String, cause: Cause) -> Self {
        let kind = match cause {
            Cause::Os(_) | Cause::NotInPath(_) => ErrorKind::Os,
            Cause::None | Cause::Text(_) => ErrorKind::Invalid,
        };
        Self(Box::new(Inner {
            kind,
            key: None,
            what,
            cause,
        }))
    }

    /// Returns what kind of error it is.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ErrorKind, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// let mut scheduler = ProcessScheduler::new("/", [ChildSpec::new("web", ["true"])])?;
    /// let error = scheduler.start_program("wbe").unwrap_err();
    /// assert_eq!(error.kind(), ErrorKind::UnknownProgram);
    /// assert_eq!(error.to_string(), "no program \"wbe\" (did you mean \"web\"?)");
    /// # Ok(())
    /// # }
    /// ```
    #[must_use]
    pub fn kind(&self) -> ErrorKind {
        self.0.kind
    }

    /// Returns the errno if too many descriptors are open, in this process or in the system.
    pub(crate) fn descriptor_shortage(&self) -> Option<i32> {
        match self.0.cause {
            Cause::Os(errno @ (libc::EMFILE | libc::ENFILE)) => Some(errno),
            _ => None,
        }
    }

    /// True for EINVAL.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.0.cause, Cause::Os(libc::EINVAL))
    }

    /// Returns the kind of the system call's error, if one failed.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// let error = ProcessScheduler::builder("/nowhere/at/all")
    ///     .program(ChildSpec::new("web", ["true"]))
    ///     .build()
    ///     .unwrap_err();
    /// assert_eq!(error.io_kind(), Some(std::io::ErrorKind::NotFound));
    /// ```
    #[must_use]
    pub fn io_kind(&self) -> Option<io::ErrorKind> {
        match self.0.cause {
            Cause::Os(errno) => Some(io::Error::from_raw_os_error(errno).kind()),
            Cause::None | Cause::Text(_) | Cause::NotInPath(_) => None,
        }
    }

    /// Returns the `PATH` in which a program was not found, shortened as in the text. If many
    /// programs are not found in the same `PATH`, a caller can show it once.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # use std::path::Path;
    /// let web = ChildSpec::new("web", ["no-such-program"]).env("PATH", "/bin:/sbin");
    /// let error = web.locate(Path::new("/")).unwrap_err();
    /// assert_eq!(error.searched_path(), Some("/bin:/sbin".as_ref()));
    /// ```
    #[must_use]
    pub fn searched_path(&self) -> Option<&OsStr> {
        match &self.0.cause {
            Cause::NotInPath(path) => Some(path),
            Cause::None | Cause::Os(_) | Cause::Text(_) => None,
        }
    }
}

/// Returns the description of an errno (strerror(3)), without the number that `io::Error` appends.
pub(crate) fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rsplit_once(" (os error ") {
        Some((word, _)) => word.to_owned(),
        None => text,
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if let Some((program, key)) = &self.0.key {
            write!(f, "program {program:?}: {key}: ")?;
        }
        f.write_str(&self.0.what)?;
        match &self.0.cause {
            Cause::None => Ok(()),
            Cause::Os(errno) => write!(f, ": {}", errno_text(*errno)),
            Cause::Text(reason) => write!(f, ": {reason}"),
            Cause::NotInPath(path) => write!(f, ": not found in PATH {path:?}"),
        }
    }
}

/// The same as `Display`, so that `main() -> Result<(), Error>` prints the text.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::{Error, PATH_BYTES_MAX};

    /// A failed start is on stderr, in a report and in a log, each time with the `PATH`.
    #[test]
    fn a_path_is_named_and_a_monstrous_one_in_part() {
        let text = |path: &[u8]| Error::not_in_path("failed to execute \"x\"", path).to_string();
        assert_eq!(
            text(b"/bin:/usr/\x1b"),
            r#"failed to execute "x": not found in PATH "/bin:/usr/\u{1b}""#
        );
        let most = "p".repeat(PATH_BYTES_MAX);
        assert!(text(most.as_bytes()).ends_with("ppp\""));
        let more = text("p".repeat(100 * 1024).as_bytes());
        assert!(more.ends_with("ppp…\""), "{more}");
        assert!(more.len() < PATH_BYTES_MAX + 100, "{} bytes", more.len());
    }

    #[test]
    fn reads_as_one_sentence() {
        let log = r#"failed to open log "/x""#;
        let refused = Error::os(log, libc::EACCES).to_string();
        assert_eq!(refused, format!("{log}: Permission denied"));
        let odd = Error::because(log, "it is a directory").to_string();
        assert_eq!(odd, format!("{log}: it is a directory"));
        assert_eq!(Error::new(log).to_string(), log);
    }
}
