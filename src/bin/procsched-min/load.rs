//! The CONFIG argument: from its word to a checked config, or to lines that say what is wrong.

use std::io::Read;
use std::path::{Path, PathBuf};

use procsched::config::{Config, Control};
use procsched::text::error_text;

use crate::commands::parse::Arguments;

/// The part of the help that commands with a CONFIG share.
pub const CONFIG_HELP: &str = r#"
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

Options of a program, with their defaults:
  command                   the program and its arguments; no shell is involved
  cwd       base_dir        working directory
  env       {}              variables added to the inherited ones
  env_file                  file or files of KEY=VALUE lines, read with CONFIG;
                            with - in front it may be missing; env comes over it
  clear_env false           true: these and nothing else
  user, group, groups       names or numbers; a user's groups come with it
  umask, nice, oom_score_adj
                            "027", -20 to 19, -1000 to 1000
  limits    {}              {"nofile": 65536, "core": "0:unlimited"}: of as core
                            cpu data fsize locks memlock msgqueue nice nofile
                            nproc rss rtprio rttime sigpending stack
  no_new_privileges false   true: no set-user-ID file gives it any
  stdin     "null"          a file that it reads
  autostart true            false: it is down until it is started
  after, requires []        names of programs that are up before each start;
                            what it requires starts with it, and stops after it
  instances                 how many of it: NAME@1, NAME@2 and so on; %i is the
                            number in its commands, paths and env
  oneshot   false           true: it is up once it has succeeded
  restart   "always"        or "on-failure", "never" (the default of a oneshot)
  max_restarts              how many in a row before it has failed for good
  success_codes, permanent_failure_codes []
                            exits that are no failure; that are not restarted
  essential false           true: when it ends for good, stop the rest (with
                            "restart": "always" it never does)
  backoff   {"initial": "1s", "max": "60s", "reset_after": "30s", "jitter": 0}
  ready                     by what it is up: {"fd": 3} (a newline there),
                            "notify" (READY=1), {"delay": "1s"}, or what
                            succeeds: {"connect": "127.0.0.1:80"},
                            {"command": […]}, with "interval" and "timeout"
  start_timeout             how long that may take, a oneshot its run: 60 with
                            "ready", but for a delay; else 0, without a limit
  health    none            the same while it is up, with "retries" 3: when it
                            fails that often in a row, the program is ended
  watchdog  0               the longest time between two WATCHDOG=1
  stop_signal, stop_timeout "TERM", "10s"; SIGKILL follows
  stop_to   "group"         or "main": the stop signal is for its first process
  stdout    "null"          or "log" (NAME.stdout.log), "stderr" (with that),
                            "inherit" (to our own, line by line)
  stderr    "log"           (NAME.stderr.log) or "null", "inherit"
  log       {"max_bytes": 0, "keep": 3, "timestamps": false, "marks": false}
                            rotated beyond "10M", say, and how many are kept;
                            the time before each line; lines at start and end
  report_bytes 65536        how much of its stderr a report carries
Beside "programs": "defaults" takes the same options for all of them; "base_dir"
(the config's directory), "err_dir" (/tmp), "error_handler" (a command that gets
each report: the name as its last argument, the JSON on stdin; or {"command",
"when": "failure"}), "control" (the path of the control socket, or false),
"control_group" (who may use it, too), "output" ("text", or "json" for messages
and inherited lines), "reports" ("stdout" or "none"), "shutdown_timeout" (within
which everything has ended when it stops).
"#;

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
        let start = CONFIG_HELP.find("  {\n").expect("the example's start");
        let end = CONFIG_HELP.find("\n  }\n").expect("the example's end");
        let example = &CONFIG_HELP.as_bytes()[start..end + 4];
        let config = Config::parse(example, "help", "/".as_ref());
        let config = config.unwrap_or_else(|errors| panic!("{errors}"));
        assert_eq!(config.programs.len(), 2);
    }
}
