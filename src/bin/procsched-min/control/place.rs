//! Where a supervisor's socket is to be: what the command line, the environment and the config say
//! about it.

use std::ffi::OsStr;
use std::path::{Path, PathBuf};

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
