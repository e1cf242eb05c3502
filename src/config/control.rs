//! Where the control socket is, and who may use it.

use std::path::{Path, PathBuf};

use super::errors::{ConfigErrors, Place, Problems};
use super::item::Item;
use super::root::Root;
use super::{base_dir_of, directory_of, read_file, skim, syntax};
pub use crate::spec::check::SOCKET_PATH_BYTES_MAX;
use crate::spec::check::socket_path_problem;
use crate::spec::path_problem;

/// The keys that tell where the socket is.
const KEYS: [&str; 2] = ["base_dir", "control"];

/// Where a supervisor takes commands while its programs run: the key `control`.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
#[non_exhaustive]
pub enum Control {
    /// On a socket in the default directory, if there is one.
    #[default]
    Default,
    /// Nowhere.
    Off,
    /// On a socket at this path; absolute, of at most [`SOCKET_PATH_BYTES_MAX`] bytes.
    Path(PathBuf),
}

impl Control {
    /// Reads what a file says of the control socket, and nothing else of it: to find the supervisor
    /// of ten thousand programs, a client need not read them, nor need they be right. See
    /// [`Config::load`](super::Config::load).
    ///
    /// # Errors
    ///
    /// If the file cannot be read, is not JSON as far as it was read, or has a wrong `control` or
    /// `base_dir`. A FIFO is not waited for, unless it is an open descriptor: whatever is no regular
    /// file is an error.
    ///
    /// ```
    /// use procsched::config::Control;
    /// # let directory = tempfile::tempdir()?;
    /// # let path = directory.path().join("procsched.json");
    ///
    /// std::fs::write(&path, r#"{"programs": {"web": ["tru", 7]}, "control": "web.sock"}"#)?;
    /// assert_eq!(Control::load(&path)?, Control::Path(directory.path().join("web.sock")));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    pub fn load(path: impl AsRef<Path>) -> Result<Self, ConfigErrors> {
        let path = path.as_ref();
        let (bytes, is_file) = read_file(path)?;
        Self::parse(&bytes, &path.to_string_lossy(), directory_of(path, is_file))
    }

    /// Does the same with the contents of a file. See [`Config::parse`](super::Config::parse).
    ///
    /// # Errors
    ///
    /// As [`Control::load`].
    pub fn parse(bytes: &[u8], source: &str, directory: &Path) -> Result<Self, ConfigErrors> {
        let stop = |(place, message)| ConfigErrors::fatal(source, Some(place), message);
        let text = syntax::text(bytes).map_err(stop)?;
        // What is wrong with it is read again, for its place.
        if let Some(part) = skim::only(text, &KEYS)
            && let Ok(control) = Self::read(&part, source, directory)
        {
            return Ok(control);
        }
        Self::read(text, source, directory)
    }

    /// Reads the keys that concern the socket.
    pub(super) fn read(text: &str, source: &str, directory: &Path) -> Result<Self, ConfigErrors> {
        let stop = |(place, message)| ConfigErrors::fatal(source, Some(place), message);
        let text = syntax::without_comments(text).map_err(stop)?;
        let tree = syntax::tree_of(&text, &KEYS).map_err(stop)?;
        let mut problems = Problems::default();
        let root = Root::read_settings(&Item::root(&tree), &mut problems);
        let base_dir = base_dir_of(&root, directory).map_err(stop)?;
        let control = root.control.resolve(&base_dir, &mut problems);
        problems.or(source, control)
    }
}

/// The key `control` as the file has it.
#[derive(Default)]
pub(super) enum Draft {
    #[default]
    Absent,
    Off,
    /// Relative to the base directory, with its position in the file.
    Path(PathBuf, (Place, String)),
}

impl Draft {
    pub(super) fn read(item: &Item<'_>, problems: &mut Problems) -> Self {
        if item.is_false() {
            return Self::Off;
        }
        let expected = "the path of a socket, or false";
        let Some(path) = item.string_of(expected, problems).map(PathBuf::from) else {
            return Self::Absent;
        };
        if !item.passes(path_problem("path", &path), problems) {
            return Self::Absent;
        }
        Self::Path(path, item.position())
    }

    /// Makes the path absolute, and checks its length then.
    pub(super) fn resolve(self, base_dir: &Path, problems: &mut Problems) -> Control {
        let (path, (place, key)) = match self {
            Self::Absent => return Control::Default,
            Self::Off => return Control::Off,
            Self::Path(path, position) => (base_dir.join(path), position),
        };
        if let Some(problem) = socket_path_problem(&path) {
            problems.add(place, &key, problem);
        }
        Control::Path(path)
    }
}
