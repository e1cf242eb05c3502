//! The JSON file of the binary: what to supervise, read with a place for every error.
//!
//! A file is read in four steps, and each has its module.
//!
//! 1. `syntax`: bytes become text (UTF-8, a byte order mark is skipped), and `serde_json` says
//!    whether that is JSON. If it is not, this is the one error, with its place: nothing can
//!    be said about the rest.
//! 2. `scan`: the same text becomes a tree that remembers where each key and each value
//!    begins, in the order of the file, with duplicate keys. No map of `serde_json` is read.
//! 3. `item`: a value of the tree, with the keys that lead to it, is read as a certain type
//!    (`duration`, `signal`). What does not fit is added to the list of errors, with what would
//!    be right (`suggest`), and the reading goes on.
//! 4. `root`, `program`: which keys there are, what each sets, and how `defaults` are merged.
//!    The rules for values are those of `ChildSpec`, and are written there.
//!
//! The result is a [`Config`] if there is not one error; else all of them, in the order of
//! the file ([`ConfigErrors`]). Nothing but the file itself is touched: whether a command or a
//! directory exists is found out later.
//!
//! Keys that begin with `x-`, and `$schema`, are ignored wherever there are keys, with what is
//! in them, and may be repeated: they are room for notes. A program or a variable cannot have
//! such a name; but to put `x-` before one switches it off.

mod duration;
mod errors;
mod item;
mod program;
mod root;
mod scan;
mod signal;
mod suggest;
mod syntax;

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

pub use errors::{ConfigError, ConfigErrors};
#[doc(hidden)] // For this crate's binary.
pub use suggest::nearest;

use self::errors::{Place, Problems};
use self::item::Item;
use self::root::Root;
use self::syntax::FILE_BYTES_MAX;
use crate::error::Error;
use crate::launch::absolute;
use crate::os::descriptors::null_device;
use crate::scheduler::directories::{check_base_dir, check_err_dir};
use crate::scheduler::{Builder, ProcessScheduler};
use crate::spec::{ChildSpec, ERR_DIR_DEFAULT};

/// What a configuration file describes.
///
/// ```
/// use procsched::config::Config;
/// use std::path::Path;
///
/// let text = br#"{
///     "err_dir": "log",
///     "defaults": { "stop_timeout": "8s" },
///     "programs": { "web": ["python3", "-m", "http.server"] }
/// }"#;
/// let config = Config::parse(text, "procsched.json", Path::new("/srv/shop"))?;
/// assert_eq!(config.base_dir, Path::new("/srv/shop"));
/// assert_eq!(config.err_dir, Path::new("/srv/shop/log"));
/// assert_eq!(config.programs[0].name(), "web");
///
/// let text = br#"{"programs": {"web": {"command": ["true"], "restart": "on-fail"}}}"#;
/// let errors = Config::parse(text, "procsched.json", Path::new("/")).unwrap_err();
/// assert_eq!(
///     errors.to_string(),
///     "procsched.json:1:55: error: programs.web.restart: unknown value \"on-fail\" \
///      (did you mean \"on-failure\"?)"
/// );
/// # Ok::<(), procsched::config::ConfigErrors>(())
/// ```
#[derive(Debug, Clone, PartialEq, Eq)]
#[non_exhaustive]
pub struct Config {
    /// Where programs run; absolute.
    pub base_dir: PathBuf,
    /// Where their logs are; absolute.
    pub err_dir: PathBuf,
    /// The command that is run for each report, if there is one.
    pub error_handler: Option<Vec<OsString>>,
    /// The programs, at least one, in the order of the file.
    pub programs: Vec<ChildSpec>,
}

impl Config {
    /// Reads and checks a file. Its `base_dir` is relative to the directory that `path` leads
    /// to, which is also the default; a symbolic link is not resolved. What is no regular file,
    /// such as a FIFO or `/dev/stdin`, has no directory of its own: the current one counts.
    ///
    /// # Errors
    ///
    /// That the file cannot be read, or everything that is wrong with it.
    ///
    /// ```
    /// let errors = procsched::config::Config::load("/nowhere/procsched.json").unwrap_err();
    /// assert_eq!(
    ///     errors.to_string(),
    ///     "/nowhere/procsched.json: error: failed to read the file: No such file or directory"
    /// );
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let source = path.to_string_lossy();
        let (bytes, is_file) = read(path).map_err(|error| {
            let error = Error::io("failed to read the file", &error);
            ConfigErrors::unreadable(&source, error.to_string())
        })?;
        // Of a bare file name it is "", which means the current directory.
        let directory = path.parent().filter(|_| is_file);
        Self::parse(&bytes, &source, directory.unwrap_or(Path::new("")))
    }

    /// Checks the contents of a file. `source` is what the errors call it; `directory` is what
    /// its `base_dir` is relative to (if it is not absolute, in turn relative to the current
    /// directory), and the default of that.
    ///
    /// # Errors
    ///
    /// Everything that is wrong with it.
    pub fn parse(bytes: &[u8], source: &str, directory: &Path) -> Result<Self, ConfigErrors> {
        let stop = |(place, message)| ConfigErrors::fatal(source, place, message);
        let text = syntax::text(bytes).map_err(stop)?;
        let tree = syntax::tree(text).map_err(stop)?;
        let mut problems = Problems::default();
        let root = Root::read(&Item::root(&tree), &mut problems);
        let root = problems.or(source, root)?;
        // Only this can fail here: that the current directory is gone.
        let base_dir = directory.join(root.base_dir.as_deref().unwrap_or(Path::new(".")));
        let base_dir = absolute(&base_dir)
            .map_err(|error| ConfigErrors::fatal(source, Place::START, error.to_string()))?;
        let err_dir = root
            .err_dir
            .as_deref()
            .unwrap_or(Path::new(ERR_DIR_DEFAULT));
        Ok(Self {
            err_dir: base_dir.join(err_dir),
            base_dir,
            error_handler: root.error_handler,
            programs: root.programs,
        })
    }

    /// Returns what keeps a scheduler from being built from this here and now, as far as that can
    /// be known without creating anything: each with the key that it concerns.
    ///
    /// A supervisor that runs with the same logs is not looked for: a config is checked while the
    /// one before it is in use.
    ///
    /// ```
    /// use procsched::config::Config;
    /// use std::path::Path;
    ///
    /// let text = br#"{"err_dir": "/dev/null/logs", "programs": {"web": ["true"]}}"#;
    /// let config = Config::parse(text, "procsched.json", Path::new("/"))?;
    /// let (key, error) = config.obstacles().remove(0);
    /// assert_eq!(key, "err_dir");
    /// assert_eq!(
    ///     error.to_string(),
    ///     "failed to use the log directory \"/dev/null/logs\": \
    ///      it cannot be created in \"/dev/null\": it is not a directory"
    /// );
    /// # Ok::<(), procsched::config::ConfigErrors>(())
    /// ```
    #[must_use]
    pub fn obstacles(&self) -> Vec<(&'static str, Error)> {
        let looks = [
            ("base_dir", check_base_dir(&self.base_dir)),
            ("err_dir", check_err_dir(&self.err_dir)),
            ("programs", null_device().map(drop)),
        ];
        let found = looks
            .into_iter()
            .map(|(key, found)| Some((key, found.err()?)));
        found.flatten().collect()
    }

    /// A builder with all of this in it; handlers and signals are still to be chosen.
    ///
    /// ```
    /// use procsched::config::Config;
    ///
    /// # let directory = std::env::temp_dir().join(format!("procsched-doc-config-{}", std::process::id()));
    /// # std::fs::create_dir(&directory)?;
    /// let text = br#"{
    ///     "err_dir": "log",
    ///     "error_handler": ["sh", "-c", "cat > $0.json"],
    ///     "programs": {
    ///         "hello": { "command": ["sh", "-c", "echo hello >&2"], "restart": "never" }
    ///     }
    /// }"#;
    /// let config = Config::parse(text, "<text>", &directory)?;
    /// let mut scheduler = config.into_builder().error_handler(|_, _| ()).build()?;
    /// scheduler.start()?;
    ///
    /// let log = std::fs::read_to_string(directory.join("log/hello.stderr.log"))?;
    /// assert_eq!(log, "hello\n");
    /// let report = std::fs::read_to_string(directory.join("hello.json"))?;
    /// assert!(report.contains(r#""return_code":0"#));
    /// # std::fs::remove_dir_all(&directory)?;
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn into_builder(self) -> Builder {
        let builder = ProcessScheduler::builder(self.base_dir)
            .err_dir(self.err_dir)
            .programs(self.programs);
        match self.error_handler {
            Some(command) => builder.error_command(command),
            None => builder,
        }
    }
}

/// The contents of a file, or a little more than is allowed: enough to see that it is too long;
/// and whether it is a file that stands in a directory. A terminal is read as well, and does not
/// become ours by that.
fn read(path: &Path) -> io::Result<(Vec<u8>, bool)> {
    let mut bytes = Vec::new();
    let mut options = OpenOptions::new();
    options.read(true).custom_flags(libc::O_NOCTTY);
    let file = options.open(path)?;
    let is_file = file.metadata()?.is_file() && !is_descriptor(path);
    file.take(FILE_BYTES_MAX as u64 + 1)
        .read_to_end(&mut bytes)?;
    Ok((bytes, is_file))
}

/// Whether this names an open file and not a place of it: `/dev/stdin`, `/dev/fd/3`,
/// `/proc/self/fd/3`. All lead to the last of them.
fn is_descriptor(path: &Path) -> bool {
    let real_directory = |path: &Path| path.parent()?.canonicalize().ok();
    let target = std::fs::read_link(path).unwrap_or_default();
    [path, &target]
        .into_iter()
        .filter_map(real_directory)
        .any(|directory| directory.starts_with("/proc"))
}

#[cfg(test)]
mod tests;
