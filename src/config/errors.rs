//! What is wrong with a file: all of it at once, each error with its place.
//!
//! Every message stands on one line: what comes from the file is quoted, escaped and, where it
//! is long, cut.

use std::cmp::Ordering;
use std::fmt;

use crate::error::escaped;

/// The most characters of the file that a message repeats in one piece.
const QUOTED_CHARS_MAX: usize = 64;

/// A position in the file, counted from 1; columns count characters.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(super) struct Place {
    pub line: usize,
    pub column: usize,
}

impl Place {
    pub(super) const START: Self = Self { line: 1, column: 1 };

    /// The position of what follows `character`.
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

    /// The position of what follows `text`, which begins at the start of the file.
    pub(super) fn behind(text: &str) -> Self {
        text.chars().fold(Self::START, Self::after)
    }
}

/// One error of a configuration: where it is, what is wrong, and what would be right.
///
/// Its `Display` has no place in it: `programs.web.restart: unknown value "on-fail" (did you
/// mean "on-failure"?)`. That of [`ConfigErrors`] has.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct ConfigError {
    place: Option<Place>,
    path: String,
    message: String,
}

impl ConfigError {
    /// The line of the offending key or value, counted from 1; 0 if the file could not be read
    /// at all, so that there is none.
    #[must_use]
    pub fn line(&self) -> usize {
        self.place.map_or(0, |place| place.line)
    }

    /// The column where the offending key or value begins, counted from 1 in characters; 0 if
    /// the file could not be read at all.
    #[must_use]
    pub fn column(&self) -> usize {
        self.place.map_or(0, |place| place.column)
    }

    /// The keys that lead to it, as in `programs.web.command[0]`; empty if it concerns the
    /// whole file. A key that is not made of letters, digits, `_`, `-`, `@` and `$` is quoted.
    #[must_use]
    pub fn path(&self) -> &str {
        &self.path
    }

    /// What is wrong, and what would be right; one line.
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

/// Every error of a configuration, at least one, in the order of the file.
///
/// Its `Display` has a line for each, without a line feed after the last:
/// `procsched.json:7:18: error: programs.web.restart: unknown value "on-fail" (did you mean
/// "on-failure"?)`.
#[derive(Clone, PartialEq, Eq)]
pub struct ConfigErrors {
    source: String,
    errors: Vec<ConfigError>,
}

impl ConfigErrors {
    /// The one error of a file that could not be read.
    pub(super) fn unreadable(source: &str, message: String) -> Self {
        let error = ConfigError {
            place: None,
            path: String::new(),
            message,
        };
        Self::new(source, vec![error])
    }

    /// The one error that stopped the reading.
    pub(super) fn fatal(source: &str, place: Place, message: String) -> Self {
        let error = ConfigError {
            place: Some(place),
            path: String::new(),
            message,
        };
        Self::new(source, vec![error])
    }

    fn new(source: &str, errors: Vec<ConfigError>) -> Self {
        let source = escaped(source).into_owned();
        Self { source, errors }
    }

    /// The errors, in the order of the file.
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
#[derive(Debug, Default)]
pub(super) struct Problems(Vec<ConfigError>);

impl Problems {
    pub(super) fn add(&mut self, place: Place, path: &str, message: String) {
        self.0.push(ConfigError {
            place: Some(place),
            path: path.to_owned(),
            message,
        });
    }

    /// `value` if nothing is wrong, else everything that is. An error of the defaults is found
    /// anew for each program that inherits it, and told once.
    pub(super) fn or<T>(mut self, source: &str, value: T) -> Result<T, ConfigErrors> {
        if self.0.is_empty() {
            return Ok(value);
        }
        self.0.sort_unstable_by(in_order);
        self.0.dedup();
        Err(ConfigErrors::new(source, self.0))
    }
}

/// By place; at the same place those that are equal side by side. Called, not copied, at each of
/// the many places where a sort compares.
#[inline(never)]
fn in_order(one: &ConfigError, other: &ConfigError) -> Ordering {
    let by_place = one.place.cmp(&other.place);
    let by_path = by_place.then_with(|| one.path.cmp(&other.path));
    by_path.then_with(|| one.message.cmp(&other.message))
}

/// `text` in quotes, escaped; cut if it is long.
pub(super) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// `text`, cut if it is long.
pub(super) fn shortened(text: &str) -> String {
    let mut rest = text.chars();
    let mut short: String = rest.by_ref().take(QUOTED_CHARS_MAX).collect();
    if rest.next().is_some() {
        short.push('…');
    }
    short
}
