//! All errors of a file, each with its place.
//!
//! Every message is one line: text from the file is quoted, escaped and shortened.

use std::cmp::Ordering;
use std::fmt;

use crate::spec::accounts::Accounts;
use crate::text::escaped;

/// A position in the file: line and column, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// Returns the position after `character`.
    pub(super) fn after(self, character: char) -> Self {
        match character {
            '\n' => Self {
                line: self.line + 1,
                column: 1,
            },
            _ => Self {
                column: self.column + 1,
                ..self
            },
        }
    }

    /// Returns the position after `text`, which is the start of the file.
    pub(super) fn behind(text: &str) -> Self {
        text.chars().fold(Self::START, Self::after)
    }
}

/// One error of a config: its place, and what is wrong.
///
/// Its `Display` is the path and the message, without the place: `programs.web.restart: unknown
/// value "on-fail" (did you mean "on-failure"?)`. [`ConfigErrors`] displays the place too.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    place: Option<Place>,
    path: String,
    message: String,
}

impl ConfigError {
    /// Returns the line of the key or value, counted from 1; 0 if the file could not be read.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.map_or(0, |place| place.line)
    }

    /// Returns the column where the key or value begins, counted from 1 in characters; 0 if the
    /// file could not be read.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.map_or(0, |place| place.column)
    }

    /// Returns the path to the key or value, such as `programs.web.command[0]`; empty for the
    /// whole file. A key with other characters than letters, digits, `_`, `-`, `@` and `$` is
    /// quoted.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// Returns what is wrong, and what is expected, on one line.
    #[must_use]
    pub fn message(&self) -> &str {
        &self.message
    }
}

impl fmt::Display for ConfigError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if !self.path.is_empty() {
            write!(f, "{}: ", self.path)?;
        }
        f.write_str(&self.message)
    }
}

impl std::error::Error for ConfigError {}

/// All errors of a config, at least one, in the order of the file.
///
/// Its `Display` is one line for each error, without a line feed after the last:
/// `procsched.json:7:18: error: programs.web.restart: unknown value "on-fail" (did you mean
/// "on-failure"?)`.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    source: String,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// Returns the one error that ended the reading; without a place if the file could not be
    /// read at all.
    pub(super) fn fatal(source: &str, place: Option<Place>, message: String) -> Self {
        let error = ConfigError {
            place,
            path: String::new(),
            message,
        };
        Self::new(source, vec![error])
    }

    fn new(source: &str, errors: Vec<ConfigError>) -> Self {
        let source = escaped(source).into_owned();
        Self { source, errors }
    }

    /// Returns the errors in the order of the file.
    pub fn iter(&self) -> std::slice::Iter<'_, ConfigError> {
        self.errors.iter()
    }
}

impl<'a> IntoIterator for &'a ConfigErrors {
    type Item = &'a ConfigError;
    type IntoIter = std::slice::Iter<'a, ConfigError>;

    fn into_iter(self) -> Self::IntoIter {
        self.iter()
    }
}

impl fmt::Display for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        for (index, error) in self.errors.iter().enumerate() {
            if index > 0 {
                f.write_str("\n")?;
            }
            f.write_str(&self.source)?;
            if let Some(Place { line, column }) = error.place {
                write!(f, ":{line}:{column}")?;
            }
            write!(f, ": error: {error}")?;
        }
        Ok(())
    }
}

/// The same as `Display`, so that `main() -> Result<(), ConfigErrors>` prints the lines.
impl fmt::Debug for ConfigErrors {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl std::error::Error for ConfigErrors {}

/// Collects the errors while a file is read.
#[derive(Default)]
pub(super) struct Problems {
    errors: Vec<ConfigError>,
    /// The users and groups that it may name, read once for all that do.
    pub accounts: Accounts,
}

impl Problems {
    pub(super) fn add(&mut self, place: Place, path: &str, message: String) {
        self.errors.push(ConfigError {
            place: Some(place),
            path: path.to_owned(),
            message,
        });
    }

    /// True if there is an error at this path.
    pub(super) fn has(&self, path: &str) -> bool {
        self.errors.iter().any(|error| error.path == path)
    }

    /// Returns `value`, or all errors if there are any. An error of the defaults, which is found
    /// in each program that inherits it, is reported once.
    pub(super) fn or<T>(mut self, source: &str, value: T) -> Result<T, ConfigErrors> {
        if self.errors.is_empty() {
            return Ok(value);
        }
        self.errors.sort_unstable_by(in_order);
        self.errors.dedup();
        Err(ConfigErrors::new(source, self.errors))
    }
}

/// Orders errors by place, and puts equal ones next to each other. Not inlined, because a sort has
/// many comparisons.
#[inline(never)]
fn in_order(one: &ConfigError, other: &ConfigError) -> Ordering {
    let by_place = one.place.cmp(&other.place);
    let by_path = by_place.then_with(|| one.path.cmp(&other.path));
    by_path.then_with(|| one.message.cmp(&other.message))
}
