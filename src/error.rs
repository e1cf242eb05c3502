//! The one error of this crate: what could not be done, on what, and why.
//!
//! It is opaque on purpose: a caller shows it or looks at [`Error::io_kind`]; every other
//! detail may change without a new major version. The text reads
//! `failed to <verb> <object>: <cause>` where there is a cause, and stands on one line.

#[cfg(feature = "json")]
use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::fmt;
use std::io;
use std::os::unix::ffi::OsStrExt;

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
    /// No directory of this `PATH` has the program in it.
    NotInPath(OsString),
}

/// How much of a `PATH` an error repeats, in bytes. A `PATH` may have 128 KiB, and there may be
/// ten thousand programs that are not found in it, each tried again and again.
const PATH_BYTES_MAX: usize = 1024;

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

    /// A program that was looked up in this `PATH`, and not found.
    pub(crate) fn not_in_path(what: impl Into<String>, path: &[u8]) -> Self {
        let mut shown = OsStr::from_bytes(&path[..path.len().min(PATH_BYTES_MAX)]).to_owned();
        if path.len() > PATH_BYTES_MAX {
            shown.push("…");
        }
        Self::with(what.into(), Cause::NotInPath(shown))
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
            Cause::None | Cause::Text(_) | Cause::NotInPath(_) => None,
        }
    }

    /// The `PATH` in which a program was not found, as far as the error repeats it: where many are
    /// not found in the same one, it needs to be told once.
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

/// The text of an errno (strerror(3)), without the number that `io::Error` appends.
pub(crate) fn errno_text(errno: i32) -> String {
    error_text(&io::Error::from_raw_os_error(errno))
}

/// The text of an error, without the number that `io::Error` appends to that of an errno.
pub fn error_text(error: &io::Error) -> String {
    let text = error.to_string();
    match text.rsplit_once(" (os error ") {
        Some((text, _)) => text.to_owned(),
        None => text,
    }
}

/// True if a terminal only shows it: it is no control, and neither turns the direction of the
/// text, nor breaks the line, nor is invisible.
#[cfg(feature = "json")]
pub(crate) fn is_harmless(character: char) -> bool {
    let is_plain = |character: char| character.escape_debug().len() == 1;
    matches!(character, ' '..='~') || (!character.is_ascii() && is_plain(character))
}

/// Escapes what a terminal would obey, what would fake a second line, and what is invisible.
#[cfg(feature = "json")]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_harmless) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_harmless(character) {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
    }
    line.into()
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.0.what)?;
        match &self.0.cause {
            Cause::None => Ok(()),
            Cause::Os(errno) => write!(f, ": {}", errno_text(*errno)),
            Cause::Text(reason) => write!(f, ": {reason}"),
            Cause::NotInPath(path) => write!(f, ": not found in PATH {path:?}"),
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
    use super::{Error, PATH_BYTES_MAX};

    /// A failed start is told on stderr, in a report and in a log, each time with the `PATH`.
    #[test]
    fn a_path_is_told_and_a_monstrous_one_in_part() {
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
