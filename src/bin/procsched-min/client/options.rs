//! The options that every command to a supervisor has.

use std::ffi::OsString;
use std::io::IsTerminal;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use procsched::config::parse_duration;

use crate::clock;
use crate::commands::parse::Arguments;

/// As the help shows them.
pub const COMMON: &str =
    "  -c, --config CONFIG     the supervisor of CONFIG, procsched.json if left out
  -s, --socket PATH       its socket, instead of PROCSCHED_SOCKET or CONFIG's
      --timeout DURATION  give up after 10 (s), 500ms, 1m30s
      --json              print the answer as JSON, a value a line
      --color WHEN        auto (on a terminal, without NO_COLOR), always, never
";

/// The values of the common options.
#[derive(Debug, Clone)]
pub struct Options {
    pub config: Option<PathBuf>,
    pub socket: Option<PathBuf>,
    pub timeout: Option<Duration>,
    pub is_json: bool,
    pub has_color: bool,
}

impl Options {
    /// Reads them, or returns what is wrong with one. Of one that is repeated the last counts.
    pub fn parse(arguments: &Arguments) -> Result<Self, String> {
        let path = |option| match arguments.values(option).last() {
            Some(path) if path.is_empty() => {
                Err(format!("invalid value \"\" of {option}: expected a path"))
            }
            path => Ok(path.map(PathBuf::from)),
        };
        let config = path("--config")?;
        if config
            .as_ref()
            .is_some_and(|config| config.as_os_str() == "-")
        {
            return Err(
                "invalid value \"-\" of --config: expected a file; the supervisor of a config \
                 from stdin is found by its --socket"
                    .to_owned(),
            );
        }
        Ok(Self {
            config,
            socket: path("--socket")?,
            timeout: duration(arguments, "--timeout")?,
            is_json: arguments.has("--json"),
            has_color: color(arguments)?,
        })
    }

    /// Returns when `--timeout` expires, counted from now.
    pub fn end(&self) -> Option<Instant> {
        clock::steady().checked_add(self.timeout?)
    }
}

/// Returns the duration that an option has.
pub fn duration(arguments: &Arguments, option: &str) -> Result<Option<Duration>, String> {
    let Some(value) = arguments.values(option).last() else {
        return Ok(None);
    };
    let parsed = parse_duration(&value.to_string_lossy());
    parsed
        .map(Some)
        .map_err(|problem| format!("{option}: {problem}"))
}

/// Returns operands that are names or patterns of programs.
pub fn words(operands: &[OsString]) -> Result<Vec<String>, String> {
    let text = |word: &OsString| match word.to_str() {
        Some("") => Err("invalid program \"\": expected a name or a pattern".to_owned()),
        Some(word) => Ok(word.to_owned()),
        None => Err(format!("invalid program {word:?}: expected UTF-8")),
    };
    operands.iter().map(text).collect()
}

/// Returns the programs that an order is about: those that are named, or all with `--all`. `verb`
/// is what is done to them.
pub fn programs(operands: &[OsString], all: bool, verb: &str) -> Result<Vec<String>, String> {
    let names = words(operands)?;
    match (names.is_empty(), all) {
        (true, true) => Ok(vec!["*".to_owned()]),
        (false, true) => Err("invalid --all: expected no names beside it".to_owned()),
        (true, false) => Err(format!(
            "missing program: expected names, or --all to {verb} all"
        )),
        (false, false) => Ok(names),
    }
}

fn color(arguments: &Arguments) -> Result<bool, String> {
    match arguments.values("--color").last() {
        None => Ok(is_colored_by_default()),
        Some(when) if when == "auto" => Ok(is_colored_by_default()),
        Some(when) if when == "always" => Ok(true),
        Some(when) if when == "never" => Ok(false),
        Some(when) => Err(format!(
            "invalid value {when:?} of --color: expected auto, always or never"
        )),
    }
}

fn is_colored_by_default() -> bool {
    crate::messages::allows_color() && std::io::stdout().is_terminal()
}
