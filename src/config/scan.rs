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
    let mut scanner = Scanner {
        rest: text.chars(),
        place: Place::START,
    };
    scanner.value(0).ok_or(scanner.place)
}

struct Scanner<'t> {
    rest: Chars<'t>,
    place: Place,
}

impl<'t> Scanner<'t> {
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
                    entries.push(self.entry(depth)?);
                    continue;
                }
                _ => return None,
            };
        }
    }

    fn entry(&mut self, depth: usize) -> Option<Entry<'t>> {
        let place = self.place;
        let key = self.string()?;
        if self.after_space()? != ':' {
            return None;
        }
        self.take()?;
        let value = self.value(depth)?;
        Some(Entry { key, place, value })
    }

    fn string(&mut self) -> Option<String> {
        let start = self.rest.as_str();
        self.take()?;
        loop {
            match self.take()? {
                // The character after it does not end the string.
                '\\' => self.take()?,
                '"' => break,
                _ => continue,
            };
        }
        serde_json::from_str(self.taken_of(start)).ok()
    }

    fn scalar(&mut self) -> Option<Kind<'t>> {
        let start = self.rest.as_str();
        while self.peek().is_some_and(|next| !ends_scalar(next)) {
            self.take()?;
        }
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
