//! The one error of this crate: what could not be done, on what, and why.
//!
//! It is opaque on purpose: a caller shows it or looks at [`Error::io_kind`]; every other
//! detail may change without a new major version. The text reads
//! `failed to <verb> <object>: <cause>` where there is a cause, and stands on one line.

use std::fmt;
use std::io;

/// A result whose error is [`Error`].
pub type Result<T> = std::result::Result<T, Error>;

/// Why something could not be done: `failed to open log "/x/web.stderr.log": Permission denied`.
///
/// Its `Display` is the whole story on one line (names and paths are escaped), so that there
/// is no chain of sources to walk.
#[derive(Clone, PartialEq, Eq)]
pub struct Error(Box<Inner>);

#[derive(Clone, PartialEq, Eq)]
struct Inner {
    what: String,
    cause: Cause,
}

#[derive(Clone, PartialEq, Eq)]
enum Cause {
    /// `what` says it all.
    None,
    /// The system's word, an errno.
    Os(i32),
    /// A reason of our own.
    Text(String),
}

impl Error {
    /// The whole story in one sentence, without a cause below it.
    pub(crate) fn new(what: impl Into<String>) -> Self {
        Self::with(what.into(), Cause::None)
    }

    /// A step that a system call refused with `errno`.
    pub(crate) fn os(what: impl Into<String>, errno: i32) -> Self {
        Self::with(what.into(), Cause::Os(errno))
    }

    /// A step that failed for a reason of our own.
    pub(crate) fn because(what: impl Into<String>, reason: impl Into<String>) -> Self {
        Self::with(what.into(), Cause::Text(reason.into()))
    }

    /// A step that the standard library refused.
    pub(crate) fn io(what: impl Into<String>, error: &io::Error) -> Self {
        match error.raw_os_error() {
            Some(errno) => Self::os(what, errno),
            None => Self::because(what, error.to_string()),
        }
    }

    fn with(what: String, cause: Cause) -> Self {
        Self(Box::new(Inner { what, cause }))
    }

    /// Whether there were too many open descriptors, here or in the system.
    pub(crate) fn is_descriptor_shortage(&self) -> bool {
        matches!(self.0.cause, Cause::Os(libc::EMFILE | libc::ENFILE))
    }

    /// Whether the system has found an argument invalid.
    pub(crate) fn is_invalid(&self) -> bool {
        matches!(self.0.cause, Cause::Os(libc::EINVAL))
    }

    /// The kind of the system's error below this one, if a system call refused.
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
            Cause::None | Cause::Text(_) => None,
        }
    }
}

/// What the system calls an errno (strerror(3)), without the number that `io::Error` appends.
pub(crate) fn errno_text(errno: i32) -> String {
    let text = io::Error::from_raw_os_error(errno).to_string();
    match text.rsplit_once(" (os error ") {
        Some((word, _)) => word.to_owned(),
        None => text,
    }
}

/// Whether a terminal shows it and does nothing else: no control, and nothing that turns the
/// direction of the text, breaks the line or cannot be seen.
#[cfg(feature = "json")]
pub(crate) fn is_harmless(character: char) -> bool {
    let is_plain = |character: char| character.escape_debug().len() == 1;
    matches!(character, ' '..='~') || (!character.is_ascii() && is_plain(character))
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        match &self.0.cause {
            Cause::None => Ok(()),
            Cause::Os(errno) => write!(f, ": {}", errno_text(*errno)),
            Cause::Text(reason) => write!(f, ": {reason}"),
        }
    }
}

/// The same as `Display`, so that `main() -> Result<(), Error>` prints the sentence.
impl fmt::Debug for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for Error {}

#[cfg(test)]
mod tests {
    use super::Error;

    #[test]
    fn reads_as_one_sentence() {
        let text = |error: Error| error.to_string();
        assert_eq!(
            text(Error::new("no program is named \"x\"")),
            "no program is named \"x\""
        );
        assert_eq!(
            text(Error::os("failed to open log \"/x\"", libc::EACCES)),
            "failed to open log \"/x\": Permission denied"
        );
        assert_eq!(
            text(Error::os("failed to create a process", libc::EAGAIN)),
            "failed to create a process: Resource temporarily unavailable"
        );
        assert_eq!(
            text(Error::because(
                "failed to open log \"/x\"",
                "it is a directory"
            )),
            "failed to open log \"/x\": it is a directory"
        );
    }
}
