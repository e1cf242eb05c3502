//! The CONFIG argument: from its word to a checked config, or to lines that say what is wrong.

use std::io::Read;
use std::path::{Path, PathBuf};

use procsched::config::{Config, Control};
use procsched::text::error_text;

use crate::commands::Section;
use crate::commands::parse::Arguments;

/// The part of the help that commands with a CONFIG share.
pub const CONFIG_HELP: Section = Section {
    title: "CONFIG",
    text: r#"
CONFIG is a JSON file, procsched.json or procsched.jsonc if left out, - for
stdin. It may have comments (// and /* */) and trailing commas:

  {
    "err_dir": "logs",
    "programs": {
      "clock": ["sh", "-c", "while sleep 1; do date >&2; done"],
      "worker": {
        "command": ["sleep", "3600"],
        "restart": "on-failure",
        "stop_timeout": "30s"
      }
    }
  }
"#,
    has_keys: true,
};

/// The config if none is named: the first of these that exists.
const CONFIG_DEFAULTS: [&str; 2] = ["procsched.json", "procsched.jsonc"];

/// What errors call a config from stdin.
const STDIN: &str = "<stdin>";

/// The most that is read from stdin. More than a config may have, so that a longer one is reported
/// as too long and not as cut off.
const STDIN_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// Returns the path that a command with a CONFIG is given.
pub fn path(arguments: &Arguments) -> Result<PathBuf, String> {
    match arguments.operands.first() {
        Some(path) if path.is_empty() => {
            Err("invalid config file \"\": expected a path, or - for stdin".to_owned())
        }
        Some(path) => Ok(path.into()),
        None => Ok(default_path().into()),
    }
}

/// Returns the config in the current directory; the usual one if there is none.
pub fn default_path() -> &'static str {
    let exists = |path: &&str| Path::new(path).symlink_metadata().is_ok();
    let found = CONFIG_DEFAULTS.into_iter().find(exists);
    found.unwrap_or(CONFIG_DEFAULTS[0])
}

/// Returns the name of the config in messages.
pub fn source(config: &Path) -> String {
    if is_stdin(config) {
        STDIN.to_owned()
    } else {
        config.display().to_string()
    }
}

/// Returns the same with an absolute path, for a reader with another working directory.
pub fn absolute_source(config: &Path) -> String {
    match std::path::absolute(config) {
        Ok(path) if !is_stdin(config) => source(&path),
        _ => source(config),
    }
}

/// Reads and checks the config. The error is whole lines, each with its place.
pub fn load(config: &Path) -> Result<Config, String> {
    if !is_stdin(config) {
        return Config::load(config).map_err(|errors| errors.to_string());
    }
    let (bytes, directory) = read_stdin()?;
    Config::parse(&bytes, STDIN, &directory).map_err(|errors| errors.to_string())
}

/// Reads what the config says of the control socket, and nothing else.
pub fn load_control(config: &Path) -> Result<Control, String> {
    if !is_stdin(config) {
        return Control::load(config).map_err(|errors| errors.to_string());
    }
    let (bytes, directory) = read_stdin()?;
    Control::parse(&bytes, STDIN, &directory).map_err(|errors| errors.to_string())
}

/// Returns what stdin has, and the directory that it is relative to.
fn read_stdin() -> Result<(Vec<u8>, PathBuf), String> {
    let failed = |error| {
        let cause = error_text(&error);
        format!("{STDIN}: error: failed to read the config: {cause}")
    };
    let directory = std::env::current_dir().map_err(failed)?;
    let mut bytes = Vec::new();
    let mut stdin = std::io::stdin().lock().take(STDIN_BYTES_MAX);
    stdin.read_to_end(&mut bytes).map_err(failed)?;
    Ok((bytes, directory))
}

/// True if the config is stdin.
pub fn is_stdin(config: &Path) -> bool {
    config.as_os_str() == "-"
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_example_of_the_help_is_a_config() {
        let text = CONFIG_HELP.text;
        let start = text.find("  {\n").expect("the example's start");
        let end = text.find("\n  }\n").expect("the example's end");
        let example = &text.as_bytes()[start..end + 4];
        let config = Config::parse(example, "help", "/".as_ref());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.programs.len(), 2);
    }
}
