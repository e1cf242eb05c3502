//! From what stands on the command line to a checked config, or to lines that say why not.

use std::io::Read;
use std::path::Path;

use procsched::config::Config;

use crate::messages::system_word;

/// What errors call the config that came through stdin.
const STDIN: &str = "<stdin>";

/// How much of stdin is read, in bytes: more than a config may have, so that one that is too
/// long is told as such.
const STDIN_BYTES_MAX: u64 = 32 * 1024 * 1024;

/// The name of the config in messages.
pub fn source(config: &Path) -> String {
    if is_stdin(config) {
        STDIN.to_owned()
    } else {
        config.display().to_string()
    }
}

/// Reads and checks the config. The error is whole lines, each with its place.
pub fn load(config: &Path) -> Result<Config, String> {
    if !is_stdin(config) {
        return Config::load(config).map_err(|errors| errors.to_string());
    }
    let failed = |error| {
        let why = system_word(&error);
        format!("{STDIN}: error: failed to read the config: {why}")
    };
    let directory = std::env::current_dir().map_err(failed)?;
    let mut bytes = Vec::new();
    std::io::stdin()
        .lock()
        .take(STDIN_BYTES_MAX)
        .read_to_end(&mut bytes)
        .map_err(failed)?;
    Config::parse(&bytes, STDIN, &directory).map_err(|errors| errors.to_string())
}

/// Whether stdin is meant.
pub fn is_stdin(config: &Path) -> bool {
    config.as_os_str() == "-"
}
