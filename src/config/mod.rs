//! The JSON config of the binary: what to supervise, with a place for every error.
//!
//! A file is read in five steps, each in its module:
//!
//! 1. `syntax`: decodes UTF-8, blanks comments and trailing commas, and checks with `serde_json`
//!    that the rest is JSON. If it is not, that is the only error.
//! 2. `scan`: builds a tree that has the place of each key and value, the order of the file, and
//!    duplicate keys.
//! 3. `item`: reads a value of the tree as a certain type (`duration`, `signal`, `size`), or adds an
//!    error and goes on.
//! 4. `root`, `program`, `attributes`, `ready`, `check`, `control`: the keys, what each sets, and how `defaults`
//!    are merged. The rules for values are those of `ChildSpec`.
//! 5. `links`: which programs wait for which, when all are known.
//!
//! A program with `instances` is written out after the second step, and each of them is read.
//!
//! `keys` is the table of all keys, for help, manual page, schema and guide.
//!
//! `order` and `explain` find out what a config comes to that was read. A client that looks for the
//! control socket does not read all of it: `skim`.
//!
//! The result is a [`Config`], or all errors in the order of the file ([`ConfigErrors`]). Only the
//! file itself is read, `/etc/passwd` and `/etc/group` if it names a user or a group, and each
//! `env_file`: whether a command or directory exists is not checked here.
//!
//! `$schema` and keys that begin with `x-` are ignored in every object and may be repeated: they
//! are for notes, and a prefixed `x-` switches a program or variable off.

mod attributes;
mod check;
mod control;
mod duration;
mod env_file;
mod errors;
mod explain;
mod handler;
mod instances;
mod item;
mod keys;
mod links;
mod locate;
mod log;
mod order;
mod program;
mod ready;
mod root;
mod scan;
mod signal;
mod size;
mod skim;
mod syntax;

use std::fmt;
use std::fs::{File, OpenOptions};
use std::io::{self, Read};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

pub use control::{Control, SOCKET_PATH_BYTES_MAX};
pub use errors::{ConfigError, ConfigErrors};
pub use keys::{Key, KeyDefault, KeyType, Reload, Rule, Scope, keys, schema};

use self::errors::{Place, Problems};
use self::item::Item;
use self::root::Root;
use self::syntax::{FILE_BYTES_MAX, Stop};
use crate::error::Error;
use crate::exec::absolute;
use crate::os::descriptors::null_device;
use crate::scheduler::directories::{check_base_dir, check_err_dir};
use crate::scheduler::{Builder, ProcessScheduler};
use crate::spec::{ChildSpec, ERR_DIR_DEFAULT, ErrorCommand};

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
    /// The file that it was read from, absolute, with symbolic links as they are. `None` if it
    /// cannot be read once more: it came from memory, stdin, a FIFO or the like.
    pub path: Option<PathBuf>,
    /// The directory that programs run in; absolute.
    pub base_dir: PathBuf,
    /// The directory of their logs; absolute.
    pub err_dir: PathBuf,
    /// The command that is run for reports.
    pub error_handler: Option<ErrorCommand>,
    /// Where commands are taken while programs run.
    pub control: Control,
    /// The group, by its number, that may use the control socket as well.
    pub control_group: Option<u32>,
    /// What messages and lines of programs look like.
    pub output: Form,
    /// Where reports go.
    pub reports: Reports,
    /// The time within which everything has ended once it begins to stop.
    pub shutdown_timeout: Option<Duration>,
    /// The programs, at least one, in the order of the file.
    pub programs: Vec<ChildSpec>,
    /// The files of variables that were read, each with the first key that names it.
    env_files: Vec<(String, PathBuf)>,
    /// What was read, if it may have to be looked at once more.
    text: Text,
}

/// The contents of a file, which make no difference between two configs.
#[derive(Clone, Default)]
struct Text(Option<Arc<[u8]>>);

impl PartialEq for Text {
    fn eq(&self, _: &Self) -> bool {
        true
    }
}

impl Eq for Text {}

impl fmt::Debug for Text {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("..")
    }
}

/// What the messages of the supervisor, and the lines of programs that it passes on, look like.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Form {
    /// Text for people.
    #[default]
    Text,
    /// A line of JSON each.
    Json,
}

/// Where reports go, besides the error handler.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reports {
    /// To stdout, a line each.
    #[default]
    Stdout,
    /// Nowhere.
    None,
}

impl Config {
    /// Reads and checks a file. Its `base_dir` defaults to the directory of `path`, and is relative
    /// to it; symbolic links are not resolved. For a FIFO, `/dev/stdin` and the like that is the
    /// current directory.
    ///
    /// # Errors
    ///
    /// If the file cannot be read, or has errors: then all of them.
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
        let (bytes, is_file) = read(path)?;
        let (source, directory) = (path.to_string_lossy(), directory_of(path, is_file));
        let mut config = Self::parse_after(None, &bytes, &source, directory)?;
        config.path = std::path::absolute(path).ok().filter(|_| is_file);
        Ok(config)
    }

    /// Reads and checks the file anew, for a supervisor that runs by this config. Where it is does
    /// not depend on the current directory.
    ///
    /// # Errors
    ///
    /// As [`Config::load`]; if this config does not come from a file that can be read again; and for
    /// each key that has changed and cannot while the supervisor runs: `control`, `control_group` and
    /// `err_dir`.
    ///
    /// ```
    /// use procsched::config::Config;
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("procsched.json");
    ///
    /// std::fs::write(&path, r#"{"programs": {"web": ["true"]}}"#)?;
    /// let config = Config::load(&path)?;
    /// std::fs::write(&path, r#"{"err_dir": "log", "programs": {"web": ["false"]}}"#)?;
    /// let errors = config.reload().unwrap_err();
    /// assert_eq!(
    ///     errors.iter().next().unwrap().to_string(),
    ///     "err_dir: a change needs a restart of the supervisor"
    /// );
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn reload(&self) -> Result<Self, ConfigErrors> {
        let Some(path) = &self.path else {
            let message = "the config was not read from a file: restart the supervisor with a file";
            return Err(ConfigErrors::fatal("config", None, message.to_owned()));
        };
        let source = path.to_string_lossy();
        let bytes = read_again(path).map_err(|error| unreadable(path, &error))?;
        let directory = path.parent().unwrap_or(Path::new("/"));
        let mut config = Self::parse_after(Some(self), &bytes, &source, directory)?;
        config.path = self.path.clone();
        config.text = Text(Some(bytes.into()));
        Ok(config)
    }

    /// Checks the contents of a file. `source` is its name in errors. `directory` is the default of
    /// its `base_dir`, which is relative to it; if it is not absolute, it is relative to the current
    /// directory.
    ///
    /// # Errors
    ///
    /// All errors of the file.
    pub fn parse(bytes: &[u8], source: &str, directory: &Path) -> Result<Self, ConfigErrors> {
        Self::parse_after(None, bytes, source, directory)
    }

    /// Does the same for a supervisor that runs by a former config.
    fn parse_after(
        former: Option<&Self>,
        bytes: &[u8],
        source: &str,
        directory: &Path,
    ) -> Result<Self, ConfigErrors> {
        let stop = |(place, message)| ConfigErrors::fatal(source, Some(place), message);
        let text = syntax::text(bytes).map_err(stop)?;
        let text = syntax::without_comments(text).map_err(stop)?;
        let tree = syntax::tree(&text).map_err(stop)?;
        let mut problems = Problems::default();
        let mut root = Root::read(&Item::root(&tree), &mut problems);
        let base_dir = base_dir_of(&root, directory).map_err(stop)?;
        root.check_at(&base_dir, &mut problems);
        let env_files = root.read_env_files(&base_dir, &mut problems);
        let err_dir = root.err_dir.as_deref();
        let config = Self {
            path: None,
            err_dir: base_dir.join(err_dir.unwrap_or(Path::new(ERR_DIR_DEFAULT))),
            control: root.control.resolve(&base_dir, &mut problems),
            base_dir,
            error_handler: root.error_handler,
            control_group: root.control_group,
            output: root.output,
            reports: root.reports,
            shutdown_timeout: root.shutdown_timeout,
            programs: root.programs,
            env_files,
            text: Text::default(),
        };
        for key in former
            .into_iter()
            .flat_map(|former| config.fixed_keys(former))
        {
            // What could not be read has its error. A key that is missing is missing from the whole.
            let place = Item::root(&tree).named(key).first().map(Item::position);
            if !problems.has(key) {
                let (place, _) = place.unwrap_or((tree.place, String::new()));
                let message = "a change needs a restart of the supervisor";
                problems.add(place, key, message.to_owned());
            }
        }
        problems.or(source, config)
    }

    /// Returns the keys that differ and cannot change while a supervisor runs.
    fn fixed_keys(&self, former: &Self) -> impl Iterator<Item = &'static str> + use<> {
        let keys = [
            ("control", self.control != former.control),
            ("control_group", self.control_group != former.control_group),
            ("err_dir", self.err_dir != former.err_dir),
        ];
        let changed = keys.into_iter().filter(|(_, is_changed)| *is_changed);
        changed.map(|(key, _)| key)
    }

    /// Returns what prevents a scheduler from being built from this config now, as far as that is
    /// known without creating anything: each error with its key.
    ///
    /// Does not check whether another supervisor uses the same logs: a new config is checked while
    /// the old one is in use.
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
        let has_logs = self
            .programs
            .iter()
            .any(|program| program.outputs.has_log());
        let checks = [
            ("base_dir", check_base_dir(&self.base_dir)),
            (
                "err_dir",
                match has_logs {
                    true => check_err_dir(&self.err_dir),
                    false => Ok(()),
                },
            ),
            ("programs", null_device().map(drop)),
        ];
        let failed = checks
            .into_iter()
            .map(|(key, result)| Some((key, result.err()?)));
        failed.flatten().collect()
    }

    /// Returns a builder with this config. Handlers and signals are not set.
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
        let builder = match self.shutdown_timeout {
            Some(timeout) => builder.shutdown_timeout(timeout),
            None => builder,
        };
        match self.error_handler {
            Some(command) => builder.error_command(command),
            None => builder,
        }
    }
}

/// Parses a duration as a config has it: a number of seconds, or numbers with units, larger ones
/// first.
///
/// # Errors
///
/// A text that says what was expected.
///
/// ```
/// use procsched::config::parse_duration;
/// use std::time::Duration;
///
/// assert_eq!(parse_duration("90"), Ok(Duration::from_secs(90)));
/// assert_eq!(parse_duration("1m30s"), Ok(Duration::from_secs(90)));
/// assert_eq!(
///     parse_duration("soon").unwrap_err(),
///     "invalid duration \"soon\": expected a number of seconds, or \"500ms\", \"8s\", \"1m30s\", \
///      \"1h\""
/// );
/// ```
pub fn parse_duration(text: &str) -> Result<Duration, String> {
    match text
        .bytes()
        .all(|byte| byte.is_ascii_digit() || byte == b'.')
    {
        true => duration::from_text(&format!("{text}s")).map_err(|_| duration::invalid(text)),
        false => duration::from_text(text),
    }
}

/// Returns the contents of a file, and true if it is a regular file opened by a path of its own.
/// Reads one byte more than is allowed, to detect a file that is too long. A terminal does not
/// become the controlling terminal.
fn read(path: &Path) -> Result<(Vec<u8>, bool), ConfigErrors> {
    let read = || {
        let file = open(path, libc::O_NOCTTY)?;
        let is_file = file.metadata()?.is_file() && !is_descriptor(path);
        Ok((contents(file)?, is_file))
    };
    read().map_err(|error| unreadable(path, &error))
}

/// Does the same with what is a regular file or an open descriptor, and waits for nothing else.
fn read_file(path: &Path) -> Result<(Vec<u8>, bool), ConfigErrors> {
    if is_descriptor(path) {
        return read(path);
    }
    let read = read_again(path).map(|bytes| (bytes, true));
    read.map_err(|error| unreadable(path, &error))
}

fn unreadable(path: &Path, error: &io::Error) -> ConfigErrors {
    let error = Error::io("failed to read the file", error);
    ConfigErrors::fatal(&path.to_string_lossy(), None, error.to_string())
}

/// Returns the directory that a file is relative to.
fn directory_of(path: &Path, is_file: bool) -> &Path {
    // The parent of a bare file name is "", the current directory.
    path.parent().filter(|_| is_file).unwrap_or(Path::new(""))
}

/// Returns the absolute base directory of a file that is relative to this one.
fn base_dir_of(root: &Root, directory: &Path) -> Result<PathBuf, Stop> {
    let base_dir = directory.join(root.base_dir.as_deref().unwrap_or(Path::new(".")));
    // Fails if the current directory was removed.
    absolute(&base_dir).map_err(|error| (Place::START, error.to_string()))
}

/// Returns the contents of what has to be a regular file. Nothing else is waited for, such as the
/// writer of a FIFO.
fn read_again(path: &Path) -> io::Result<Vec<u8>> {
    let file = open(path, libc::O_NOCTTY | libc::O_NONBLOCK)?;
    match file.metadata()?.is_file() {
        true => contents(file),
        false => Err(io::Error::other("it is not a regular file")),
    }
}

fn open(path: &Path, flags: i32) -> io::Result<File> {
    OpenOptions::new().read(true).custom_flags(flags).open(path)
}

fn contents(file: File) -> io::Result<Vec<u8>> {
    let most = FILE_BYTES_MAX as u64 + 1;
    let size = file.metadata()?.len().min(most);
    // With the byte more in which its end is seen, it is read at once.
    let mut bytes = Vec::with_capacity(usize::try_from(size).unwrap_or_default() + 1);
    file.take(most).read_to_end(&mut bytes)?;
    Ok(bytes)
}

/// True for the path of an open descriptor: `/dev/stdin`, `/dev/fd/3`, `/proc/self/fd/3`.
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
