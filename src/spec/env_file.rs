//! Files of environment variables: `KEY=VALUE` lines, read when a program is described and never at a
//! start.
//!
//! systemd (`EnvironmentFile=`), Docker Compose (`env_file`) and a shell (`.`) have such files, too, and
//! read parts of them differently. What they read alike is read so here; what they do not is an error,
//! and not a guess. It has the line's number and the reason, and no text of it: that may be a secret.
//!
//! - a line is empty, begins with `#`, or is `KEY=VALUE` with a name that a shell takes;
//! - a value without quotes has none of the characters that mean something to one of them;
//! - between single quotes everything stands for itself, but for a backslash before another or before
//!   the quote, which is refused;
//! - between double quotes `\"` and `\\` stand for what follows the backslash; `\n` and `\t` for a line
//!   feed and a tab, as in Compose alone: values with line feeds have to be possible;
//! - no value goes on in the next line.

use std::ffi::OsString;
use std::fs::OpenOptions;
use std::io::Read;
use std::os::unix::fs::OpenOptionsExt;
use std::path::Path;

use super::ChildSpec;
use crate::error::{Error, Result};
use crate::text::error_text;

/// The most that a file may have: what is longer is hardly meant.
const BYTES_MAX: u64 = 64 * 1024;

/// The variables of a file, in its order. A later one of a name replaces an earlier one.
pub(crate) type Variables = Vec<(OsString, OsString)>;

/// Reads a file. An error names it, and the line.
pub(crate) fn read(path: &Path) -> std::result::Result<Variables, String> {
    let text = contents(path).map_err(|cause| format!("failed to read {path:?}: {cause}"))?;
    let mut variables = Variables::new();
    for (index, line) in text.split('\n').enumerate() {
        let parsed = variable(line).map_err(|problem| {
            let number = index + 1;
            format!("{path:?}, line {number}: {problem}")
        })?;
        variables.extend(parsed);
    }
    Ok(variables)
}

/// True if there is no such file. Whatever else keeps it from being read is an error.
#[cfg(feature = "json")]
pub(crate) fn is_missing(path: &Path) -> bool {
    let found = std::fs::symlink_metadata(path);
    found.is_err_and(|error| error.kind() == std::io::ErrorKind::NotFound)
}

fn contents(path: &Path) -> std::result::Result<String, String> {
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let opened = OpenOptions::new().read(true).custom_flags(flags).open(path);
    let file = opened.map_err(|error| error_text(&error))?;
    let found = file.metadata().map_err(|error| error_text(&error))?;
    if !found.is_file() {
        return Err("it is not a regular file".to_owned());
    }
    let mut bytes = Vec::new();
    let read = file.take(BYTES_MAX + 1).read_to_end(&mut bytes);
    read.map_err(|error| error_text(&error))?;
    if bytes.len() as u64 > BYTES_MAX {
        return Err(format!("it is longer than {} KiB", BYTES_MAX / 1024));
    }
    String::from_utf8(bytes).map_err(|_| "it is not UTF-8".to_owned())
}

/// What separates words, and may stand around a variable.
const BLANKS: [char; 2] = [' ', '\t'];

/// Reads a line: a variable, or nothing.
fn variable(line: &str) -> std::result::Result<Option<(OsString, OsString)>, String> {
    let is_control = |character: &char| character.is_control() && *character != '\t';
    if let Some(character) = line.chars().find(is_control) {
        return Err(format!(
            "{character:?} cannot be in it; a line ends with a line feed alone"
        ));
    }
    let line = line.trim_start_matches(BLANKS);
    if line.starts_with('#') {
        let text = "systemd may take the next line for a part of this comment: leave out the \
                    backslash at its end";
        return if line.ends_with('\\') {
            Err(text.to_owned())
        } else {
            Ok(None)
        };
    }
    if line.is_empty() {
        return Ok(None);
    }
    if line.starts_with("export ") {
        return Err("\"export\" is a word of shells: leave it out".to_owned());
    }
    let Some((key, value)) = line.split_once('=') else {
        let text = "no \"=\": expected KEY=VALUE, an empty line, or # and a comment";
        return Err(text.to_owned());
    };
    if let Some(problem) = key_problem(key) {
        return Err(problem);
    }
    let value = value_of(value).map_err(|problem| format!("{key}: {problem}"))?;
    Ok(Some((key.into(), value.into())))
}

fn key_problem(key: &str) -> Option<String> {
    let is_inner = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    let begins_well = key.starts_with(|first: char| !first.is_ascii_digit());
    let is_name = begins_well && key.bytes().all(is_inner);
    let text = "invalid name before the \"=\": use letters, digits and _, and no digit first";
    (!is_name).then(|| text.to_owned())
}

fn value_of(value: &str) -> std::result::Result<String, String> {
    match value.as_bytes().first() {
        Some(b'\'') => literal(&value[1..]),
        Some(b'"') => escaped(&value[1..]),
        _ => plain(value.trim_end_matches(BLANKS)),
    }
}

/// Reads a value without quotes.
fn plain(value: &str) -> std::result::Result<String, String> {
    let is_special = |character: char| SPECIAL.contains(character) || character.is_whitespace();
    let special = value.chars().find(|character| is_special(*character));
    let first = value.chars().next().filter(|first| FIRST.contains(first));
    let home = value.contains(":~").then_some('~');
    match first.or(special).or(home) {
        None => Ok(value.to_owned()),
        Some(character) => Err(format!(
            "systemd, compose and a shell read {character:?} differently: put the value into single quotes"
        )),
    }
}

/// What a shell, at least, does not take for itself in a value without quotes.
const SPECIAL: &str = "'\"\\`$;&|<>()";

/// What is special at the beginning alone: a comment, and a home directory, which is one behind a colon,
/// too.
const FIRST: [char; 2] = ['#', '~'];

/// Reads what is between single quotes.
fn literal(rest: &str) -> std::result::Result<String, String> {
    let Some((value, behind)) = rest.split_once('\'') else {
        return Err("the single quote has no end in this line".to_owned());
    };
    if value.contains("\\\\") || value.ends_with('\\') {
        let text = "systemd, compose and a shell read a backslash before another or before a single \
                    quote differently: use double quotes, and two backslashes for each";
        return Err(text.to_owned());
    }
    nothing_behind(behind)?;
    Ok(value.to_owned())
}

/// Reads what is between double quotes.
fn escaped(rest: &str) -> std::result::Result<String, String> {
    let mut value = String::new();
    let mut characters = rest.chars();
    loop {
        match characters.next() {
            None => return Err("the double quote has no end in this line".to_owned()),
            Some('"') => {
                nothing_behind(characters.as_str())?;
                return Ok(value);
            }
            Some('\\') => value.push(match characters.next() {
                Some('n') => '\n',
                Some('t') => '\t',
                Some(character @ ('"' | '\\')) => character,
                _ => return Err(r#"only n, t, " and \ can follow a backslash"#.to_owned()),
            }),
            Some(character @ ('$' | '`')) => {
                return Err(format!(
                    "systemd, compose and a shell read {character:?} in double quotes differently: use \
                     single quotes"
                ));
            }
            Some(character) => value.push(character),
        }
    }
}

fn nothing_behind(rest: &str) -> std::result::Result<(), String> {
    match rest.trim_matches(BLANKS).is_empty() {
        true => Ok(()),
        false => Err("there is text after the closing quote: quote the whole value".to_owned()),
    }
}

impl ChildSpec {
    /// Sets the environment variables of a file, which is read now; they replace earlier values, and
    /// [`ChildSpec::env`] replaces them. A line is `KEY=VALUE`, `KEY='literal'`, `KEY="with \n \t \" \\"`,
    /// `# a comment`, or empty. Nothing is substituted.
    ///
    /// ```
    /// # use procsched::ChildSpec;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let directory = tempfile::tempdir()?;
    /// let path = directory.path().join("web.env");
    /// std::fs::write(&path, "MODE=prod\nGREETING='it costs $5'\n")?;
    /// let web = ChildSpec::new("web", ["./web"]).env_file(&path)?.env("MODE", "test");
    ///
    /// std::fs::write(&path, "MODE=$OTHER\n")?;
    /// let error = ChildSpec::new("web", ["./web"]).env_file(&path).unwrap_err();
    /// assert!(error.to_string().ends_with(
    ///     "line 1: MODE: systemd, compose and a shell read '$' differently: put the value into single \
    ///      quotes"
    /// ));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// If it is not a regular file, cannot be read, is longer than 64 KiB, or has a line that systemd,
    /// Docker Compose and a shell read differently.
    pub fn env_file(mut self, path: impl AsRef<Path>) -> Result<Self> {
        for (key, value) in read(path.as_ref()).map_err(Error::new)? {
            self = self.env(key, value);
        }
        Ok(self)
    }
}

#[cfg(test)]
mod tests;
