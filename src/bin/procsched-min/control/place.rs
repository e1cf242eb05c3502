//! Where a supervisor's socket is to be: what the command line, the environment and the config say
//! about it.

use std::ffi::OsStr;
use std::fs;
use std::os::unix::fs::FileTypeExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};
use procsched::config::{Config, Control};
use procsched::text::error_text;

use super::path::{ENVIRONMENT, default_path};

/// Where the socket is to be.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Place {
    /// Nowhere.
    Off,
    /// Where it was asked for: without it nothing is supervised.
    Given(PathBuf),
    /// Where it is if nothing is said.
    Default(PathBuf),
    /// In no place, and why.
    Missing(String),
}

impl Place {
    /// Returns the place of a config. `option` is that of the command line, and comes first; then
    /// `control: false`, the environment, and a path in the config. Relative paths on the command
    /// line and in the environment are relative to the current directory.
    pub fn of(config: &Config, option: Option<&OsStr>) -> Self {
        let variable = std::env::var_os(ENVIRONMENT).filter(|path| !path.is_empty());
        Self::choose(config, option, variable.as_deref())
    }

    fn choose(config: &Config, option: Option<&OsStr>, variable: Option<&OsStr>) -> Self {
        let variable = variable.filter(|_| config.control != Control::Off);
        if let Some(path) = option.or(variable) {
            // Fails if the path is empty, or if the current directory was removed.
            return match std::path::absolute(path) {
                Ok(path) => Self::Given(path),
                Err(_) => Self::Given(path.into()),
            };
        }
        match (&config.control, &config.path) {
            (Control::Path(path), _) => Self::Given(path.clone()),
            (Control::Default, Some(config)) => Self::default_of(config),
            // A config that is read from a pipe has no name that a client could know.
            _ => Self::Off,
        }
    }

    /// Returns why no socket can be made in a place that was asked for, as far as that shows before it
    /// is tried. One that another supervisor has is usable.
    pub fn obstacle(&self) -> Option<String> {
        let Self::Given(path) = self else { return None };
        let directory = path.parent()?;
        let failed = |cause| format!("failed to use the directory {directory:?}: {cause}");
        match fs::metadata(directory) {
            Err(error) => return Some(failed(error_text(&error))),
            Ok(found) if !found.is_dir() => {
                return Some(failed("it is not a directory".to_owned()));
            }
            Ok(_) => {}
        }
        if let Err(errno) = access(directory, AccessFlags::W_OK | AccessFlags::X_OK) {
            return Some(failed(error_text(&errno.into())));
        }
        let found = fs::symlink_metadata(path).ok()?;
        (!found.file_type().is_socket())
            .then(|| format!("failed to make the socket {path:?}: something else is there"))
    }

    fn default_of(config: &Path) -> Self {
        match default_path(config) {
            Ok(Some(path)) => Self::Default(path),
            Ok(None) => {
                let problem = "there is neither XDG_RUNTIME_DIR nor a directory in /run/user";
                Self::Missing(problem.to_owned())
            }
            Err(error) => {
                let cause = error_text(&error);
                Self::Missing(format!("failed to resolve {config:?}: {cause}"))
            }
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn config(keys: &str) -> Config {
        let text = format!("{{{keys}\"programs\": {{\"web\": [\"true\"]}}}}");
        let parsed = Config::parse(text.as_bytes(), "test", Path::new("/base"));
        parsed.unwrap_or_else(|errors| panic!("{errors}"))
    }

    #[test]
    fn an_obstacle_is_seen_before_it_is_met() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path();
        fs::write(root.join("file"), "").expect("a file");
        let of = |path: &str| Place::Given(root.join(path)).obstacle();
        assert_eq!(of("its.sock"), None);
        let missing = root.join("missing");
        let expected =
            format!("failed to use the directory {missing:?}: No such file or directory");
        assert_eq!(of("missing/its.sock"), Some(expected));
        let file = root.join("file");
        let expected = format!("failed to use the directory {file:?}: it is not a directory");
        assert_eq!(of("file/its.sock"), Some(expected));
        let expected = format!("failed to make the socket {file:?}: something else is there");
        assert_eq!(of("file"), Some(expected));
        let _listening = std::os::unix::net::UnixListener::bind(root.join("its.sock"));
        assert_eq!(of("its.sock"), None);
        assert_eq!(Place::Default(root.join("missing/x.sock")).obstacle(), None);
    }

    #[test]
    fn the_nearest_word_counts() {
        let (option, variable) = (OsStr::new("/option"), OsStr::new("/variable"));
        let of = |keys: &str, option, variable| Place::choose(&config(keys), option, variable);
        let given = |path: &str| Place::Given(path.into());
        let path = "\"control\": \"its.sock\",";
        let off = "\"control\": false,";
        assert_eq!(of(path, Some(option), Some(variable)), given("/option"));
        assert_eq!(of(path, None, Some(variable)), given("/variable"));
        assert_eq!(of(path, None, None), given("/base/its.sock"));
        assert_eq!(of(off, Some(option), Some(variable)), given("/option"));
        assert_eq!(of(off, None, Some(variable)), Place::Off);
        // It has no path, as if it came from stdin.
        assert_eq!(of("", None, None), Place::Off);
        assert_eq!(of("", None, Some(variable)), given("/variable"));
        let mut file = config("");
        file.path = Some("/etc/procsched.json".into());
        assert!(matches!(
            Place::choose(&file, None, None),
            Place::Default(_) | Place::Missing(_)
        ));
    }
}
