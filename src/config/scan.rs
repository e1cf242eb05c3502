//! Scans JSON into a tree in which every key and value has its place.
//!
//! `serde_json` validates the text and reads its strings, but its maps lose places, duplicate keys
//! and, depending on features that another crate enables, the order. The scanner relies on valid
//! syntax to be short, but it ends on every text, and stops where it cannot go on.

use std::str::Chars;

use super::errors::Place;

/// How deep arrays and objects may nest; `serde_json` allows one level less.
const DEPTH_MAX: usize = 128;

/// A value and where it begins.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Node<'t> {
    pub place: Place,
    pub kind: Kind<'t>,
}

#[derive(Debug, Clone, PartialEq)]
pub(super) enum Kind<'t> {
    Null,
    Bool(bool),
    /// As written, because an `f64` would not be exact.
    Number(&'t str),
    /// With its escapes replaced.
    String(String),
    Array(Vec<Node<'t>>),
    /// In the order of the file, with duplicates.
    Object(Vec<Entry<'t>>),
}

/// A key, where it begins, and its value.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Entry<'t> {
    pub key: String,
    pub place: Place,
    pub value: Node<'t>,
}

/// Scans the first value of `text`; returns where it stopped if that is not JSON.
pub(super) fn scan(text: &str) -> Result<Node<'_>, Place> {
    Scanner::new(text, None).scan()
}

/// Scans an object for these keys, and skips the others without a look at what they have. Where
/// that is not JSON, it may go unnoticed.
pub(super) fn scan_keys<'t>(text: &'t str, keys: &'t [&'t str]) -> Result<Node<'t>, Place> {
    Scanner::new(text, Some(keys)).scan()
}

struct Scanner<'t> {
    rest: Chars<'t>,
    place: Place,
    /// The keys of the outermost object that are wanted, if not all are.
    keys: Option<&'t [&'t str]>,
}

impl<'t> Scanner<'t> {
    fn new(text: &'t str, keys: Option<&'t [&'t str]>) -> Self {
        Self {
            rest: text.chars(),
            place: Place::START,
            keys,
        }
    }

    fn scan(mut self) -> Result<Node<'t>, Place> {
        self.value(0).ok_or(self.place)
    }

    fn value(&mut self, depth: usize) -> Option<Node<'t>> {
        if depth > DEPTH_MAX {
            return None;
        }
        let next = self.after_space()?;
        let place = self.place;
        let kind = match next {
            '[' => Kind::Array(self.array(depth + 1)?),
            '{' => Kind::Object(self.object(depth + 1)?),
            '"' => Kind::String(self.string()?),
            _ => self.scalar()?,
        };
        Some(Node { place, kind })
    }

    fn array(&mut self, depth: usize) -> Option<Vec<Node<'t>>> {
        let mut values = Vec::new();
        self.take()?;
        loop {
            match self.after_space()? {
                ',' => self.take()?,
                ']' => return self.take().map(|_| values),
                _ => {
                    values.push(self.value(depth)?);
                    continue;
                }
            };
        }
    }

    fn object(&mut self, depth: usize) -> Option<Vec<Entry<'t>>> {
        let mut entries = Vec::new();
        self.take()?;
        loop {
            match self.after_space()? {
                ',' => self.take()?,
                '}' => return self.take().map(|_| entries),
                '"' => {
                    entries.extend(self.entry(depth)?);
                    continue;
                }
                _ => return None,
            };
        }
    }

    /// Takes an entry; returns none if it is not wanted.
    fn entry(&mut self, depth: usize) -> Option<Option<Entry<'t>>> {
        let place = self.place;
        let key = self.string()?;
        if self.after_space()? != ':' {
            return None;
        }
        self.take()?;
        let is_wanted = |keys: &[&str]| depth > 1 || keys.contains(&&*key);
        if !self.keys.is_none_or(is_wanted) {
            return self.skip().map(|()| None);
        }
        let value = self.value(depth)?;
        Some(Some(Entry { key, place, value }))
    }

    /// Skips a value.
    fn skip(&mut self) -> Option<()> {
        let mut depth = 0_usize;
        loop {
            match self.after_space()? {
                '"' => self.skip_string()?,
                '[' | '{' => {
                    self.take()?;
                    depth += 1;
                }
                ']' | '}' => {
                    depth = depth.checked_sub(1)?;
                    self.take()?;
                }
                ',' | ':' if depth > 0 => {
                    self.take()?;
                    continue;
                }
                ',' | ':' => return None,
                _ => self.skip_scalar()?,
            }
            if depth == 0 {
                return Some(());
            }
        }
    }

    fn string(&mut self) -> Option<String> {
        let start = self.rest.as_str();
        self.skip_string()?;
        serde_json::from_str(self.taken_of(start)).ok()
    }

    fn skip_string(&mut self) -> Option<()> {
        self.take()?;
        loop {
            match self.take()? {
                // The character after it does not end the string.
                '\\' => self.take()?,
                '"' => return Some(()),
                _ => continue,
            };
        }
    }

    fn skip_scalar(&mut self) -> Option<()> {
        while self.peek().is_some_and(|next| !ends_scalar(next)) {
            self.take()?;
        }
        Some(())
    }

    fn scalar(&mut self) -> Option<Kind<'t>> {
        let start = self.rest.as_str();
        self.skip_scalar()?;
        match self.taken_of(start) {
            "null" => Some(Kind::Null),
            "true" => Some(Kind::Bool(true)),
            "false" => Some(Kind::Bool(false)),
            number if number.starts_with(|first: char| first == '-' || first.is_ascii_digit()) => {
                Some(Kind::Number(number))
            }
            _ => None,
        }
    }

    fn peek(&self) -> Option<char> {
        self.rest.clone().next()
    }

    fn take(&mut self) -> Option<char> {
        let next = self.rest.next()?;
        self.place = self.place.after(next);
        Some(next)
    }

    /// Skips white space, and returns the next character without taking it.
    fn after_space(&mut self) -> Option<char> {
        while self.peek().is_some_and(is_space) {
            self.take()?;
        }
        self.peek()
    }

    /// Returns what was taken since `start`, an earlier value of `rest`.
    fn taken_of(&self, start: &'t str) -> &'t str {
        let taken = start.len() - self.rest.as_str().len();
        &start[..taken]
    }
}

fn is_space(character: char) -> bool {
    matches!(character, ' ' | '\t' | '\r' | '\n')
}

fn ends_scalar(character: char) -> bool {
    is_space(character) || matches!(character, ',' | ']' | '}')
}
