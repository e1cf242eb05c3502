//! One value of the file with the path to it, and how to read it as a certain type.
//!
//! A method that returns `None` has added its error to the [`Problems`]. The caller goes on, so
//! that one pass finds all errors.

use std::collections::BTreeMap;
use std::ffi::{OsStr, OsString};
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::duration;
use super::errors::{Place, Problems};
use super::scan::{Entry, Kind, Node};
use crate::spec::{argument_problem, command_problem, directory_problem};
use crate::text::{did_you_mean, quoted, shortened};

/// A value, and the dotted path to it.
pub(super) struct Item<'n> {
    node: &'n Node<'n>,
    path: String,
}

/// A key of an object, with its value.
pub(super) struct Member<'n> {
    pub key: &'n str,
    key_place: Place,
    pub value: Item<'n>,
}

impl Member<'_> {
    /// Adds an error at the key.
    pub(super) fn complain(&self, problems: &mut Problems, message: String) {
        problems.add(self.key_place, &self.value.path, message);
    }

    /// Adds the error of a key that is none of these.
    pub(super) fn complain_unknown(
        &self,
        known: impl Iterator<Item = &'static str>,
        problems: &mut Problems,
    ) {
        let names: Vec<&str> = known.collect();
        let instead = did_you_mean(self.key, names.iter().copied())
            .unwrap_or_else(|| format!(": use {}", names.join(", ")));
        self.complain(problems, format!("unknown key{instead}"));
    }
}

/// A known key, and how to apply its value to a `T`.
pub(super) type Field<T> = (&'static str, fn(&mut T, &Item<'_>, &mut Problems));

impl<'n> Item<'n> {
    pub(super) fn root(node: &'n Node<'n>) -> Self {
        let path = String::new();
        Self { node, path }
    }

    fn member(&self, entry: &'n Entry<'n>) -> Self {
        let key = if is_plain(&entry.key) {
            shortened(&entry.key).into_owned()
        } else {
            quoted(&entry.key)
        };
        let path = match &*self.path {
            "" => key,
            path => format!("{path}.{key}"),
        };
        let node = &entry.value;
        Self { node, path }
    }

    /// Returns the value.
    pub(super) fn node(&self) -> &'n Node<'n> {
        self.node
    }

    /// Returns the same with another value in its place.
    pub(super) fn with<'o>(&self, node: &'o Node<'o>) -> Item<'o> {
        let path = self.path.clone();
        Item { node, path }
    }

    /// Returns where this value is in the file, and the path to it.
    pub(super) fn position(&self) -> (Place, String) {
        (self.node.place, self.path.clone())
    }

    pub(super) fn is_array(&self) -> bool {
        matches!(self.node.kind, Kind::Array(_))
    }

    pub(super) fn is_object(&self) -> bool {
        matches!(self.node.kind, Kind::Object(_))
    }

    /// Returns the text of a string.
    pub(super) fn text(&self) -> Option<&'n str> {
        match &self.node.kind {
            Kind::String(text) => Some(text),
            _ => None,
        }
    }

    pub(super) fn is_false(&self) -> bool {
        self.node.kind == Kind::Bool(false)
    }

    /// Returns every value that an object has under `key`.
    pub(super) fn named(&self, key: &str) -> Vec<Item<'n>> {
        match &self.node.kind {
            Kind::Object(entries) => entries
                .iter()
                .filter(|entry| entry.key == key)
                .map(|entry| self.member(entry))
                .collect(),
            _ => Vec::new(),
        }
    }

    /// Adds an error at this value.
    pub(super) fn complain(&self, problems: &mut Problems, message: String) {
        problems.add(self.node.place, &self.path, message);
    }

    /// Adds the problem, if there is one. True if there is none.
    pub(super) fn passes(&self, problem: Option<String>, problems: &mut Problems) -> bool {
        self.accept(problem.map_or(Ok(()), Err), problems).is_some()
    }

    /// Returns the value, or adds the error.
    pub(super) fn accept<T>(
        &self,
        result: Result<T, String>,
        problems: &mut Problems,
    ) -> Option<T> {
        result
            .map_err(|message| self.complain(problems, message))
            .ok()
    }

    fn wrong_type<T>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        let got = match &self.node.kind {
            Kind::Null => "null".to_owned(),
            Kind::Bool(value) => value.to_string(),
            Kind::Number(number) => shortened(number).into_owned(),
            Kind::String(text) => quoted(text),
            Kind::Array(_) => "an array".to_owned(),
            Kind::Object(_) => "an object".to_owned(),
        };
        self.complain(problems, format!("expected {expected}, got {got}"));
        None
    }

    pub(super) fn boolean(&self, problems: &mut Problems) -> Option<bool> {
        match self.node.kind {
            Kind::Bool(value) => Some(value),
            _ => self.wrong_type("true or false", problems),
        }
    }

    pub(super) fn string(&self, problems: &mut Problems) -> Option<&'n str> {
        let expected = match self.node.kind {
            Kind::Number(_) | Kind::Bool(_) => "a string in quotes",
            _ => "a string",
        };
        self.string_of(expected, problems)
    }

    /// Reads a string that an error describes as `expected`.
    pub(super) fn string_of(&self, expected: &str, problems: &mut Problems) -> Option<&'n str> {
        match &self.node.kind {
            Kind::String(text) => Some(text),
            _ => self.wrong_type(expected, problems),
        }
    }

    /// Reads one of several words, and returns what it stands for.
    pub(super) fn word<T: Copy>(&self, words: &[(&str, T)], problems: &mut Problems) -> Option<T> {
        let expected = alternatives(words.iter().map(|(word, _)| *word));
        let text = self.string_of(&expected, problems)?;
        if let Some((_, value)) = words.iter().find(|(word, _)| *word == text) {
            return Some(*value);
        }
        let instead = did_you_mean(text, words.iter().map(|(word, _)| *word));
        let instead = instead.unwrap_or_else(|| format!(": use {expected}"));
        self.complain(problems, format!("unknown value {}{instead}", quoted(text)));
        None
    }

    /// Reads a string, or a number or boolean as it is written.
    pub(super) fn text_of_scalar(&self, problems: &mut Problems) -> Option<&'n str> {
        match self.node.kind {
            Kind::Number(number) => Some(number),
            Kind::Bool(true) => Some("true"),
            Kind::Bool(false) => Some("false"),
            _ => self.string_of("a string, a number or a boolean", problems),
        }
    }

    /// Reads a string with `from_text`, or a whole number.
    pub(super) fn whole_or<T: FromStr>(
        &self,
        from_text: impl FnOnce(&str) -> Result<T, String>,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<T> {
        match &self.node.kind {
            Kind::String(text) => self.accept(from_text(text), problems),
            _ => self.whole(expected, problems),
        }
    }

    /// Reads a whole number that fits into `T`.
    pub(super) fn whole<T: FromStr>(&self, expected: &str, problems: &mut Problems) -> Option<T> {
        if let Kind::Number(number) = self.node.kind
            && let Ok(value) = number.parse()
        {
            return Some(value);
        }
        self.wrong_type(expected, problems)
    }

    /// Reads a number that `convert` takes.
    pub(super) fn number_as<T>(
        &self,
        expected: &str,
        problems: &mut Problems,
        convert: impl FnOnce(f64) -> Option<T>,
    ) -> Option<T> {
        if let Kind::Number(number) = self.node.kind
            && let Some(value) = duration::float(number).and_then(convert)
        {
            return Some(value);
        }
        self.wrong_type(expected, problems)
    }

    pub(super) fn duration(&self, problems: &mut Problems) -> Option<Duration> {
        match &self.node.kind {
            Kind::Number(number) => self.accept(duration::from_number(number), problems),
            Kind::String(text) => self.accept(duration::from_text(text), problems),
            _ => self.wrong_type(duration::EXPECTED, problems),
        }
    }

    pub(super) fn directory(&self, problems: &mut Problems) -> Option<PathBuf> {
        let directory = PathBuf::from(self.string(problems)?);
        self.passes(directory_problem(&directory), problems)
            .then_some(directory)
    }

    /// Returns the values of an array.
    pub(super) fn elements(
        &self,
        expected: &str,
        problems: &mut Problems,
    ) -> Option<Vec<Item<'n>>> {
        let Kind::Array(nodes) = &self.node.kind else {
            return self.wrong_type(expected, problems);
        };
        let element = |(index, node): (usize, &'n Node<'n>)| {
            let path = format!("{}[{index}]", self.path);
            Item { node, path }
        };
        Some(nodes.iter().enumerate().map(element).collect())
    }

    /// Reads a program and its arguments.
    pub(super) fn command(&self, problems: &mut Problems) -> Option<Vec<OsString>> {
        let words = self.elements(r#"an array such as ["program", "argument"]"#, problems)?;
        let mut command = Vec::with_capacity(words.len());
        for (index, word) in words.iter().enumerate() {
            command.extend(word.argument(index, problems));
        }
        // A command without its refused arguments is not checked as a whole.
        let complete = command.len() == words.len();
        (complete && self.passes(command_problem(&command), problems)).then_some(command)
    }

    fn argument(&self, index: usize, problems: &mut Problems) -> Option<OsString> {
        let argument = self.string(problems)?;
        self.passes(argument_problem(index, OsStr::new(argument)), problems)
            .then(|| argument.into())
    }

    /// Returns the members of an object in the order of the file, without ignored keys. A
    /// duplicate is an error, and is returned too, so that the errors in it are found.
    pub(super) fn members(&self, expected: &str, problems: &mut Problems) -> Vec<Member<'n>> {
        let Kind::Object(entries) = &self.node.kind else {
            return self.wrong_type(expected, problems).unwrap_or_default();
        };
        let mut first_places = BTreeMap::new();
        let mut members = Vec::new();
        for entry in entries.iter().filter(|entry| !is_ignored(&entry.key)) {
            let member = Member {
                key: &entry.key,
                key_place: entry.place,
                value: self.member(entry),
            };
            let first = *first_places.entry(member.key).or_insert(entry.place);
            if first != entry.place {
                let Place { line, column } = first;
                let message = format!("duplicate key: already defined at {line}:{column}");
                member.complain(problems, message);
            }
            members.push(member);
        }
        members
    }

    /// Reads an object with known keys into `target`.
    pub(super) fn read<T>(
        &self,
        target: &mut T,
        fields: &[Field<T>],
        expected: &str,
        problems: &mut Problems,
    ) {
        for member in self.members(expected, problems) {
            match fields.iter().find(|(name, _)| *name == member.key) {
                Some((_, read)) => read(target, &member.value, problems),
                None => member.complain_unknown(fields.iter().map(|(name, _)| *name), problems),
            }
        }
    }
}

/// Returns words as a message lists them: `"a", "b" or "c"`.
fn alternatives<'w>(words: impl Iterator<Item = &'w str>) -> String {
    let mut words: Vec<String> = words.map(quoted).collect();
    let last = words.pop().unwrap_or_default();
    match words.is_empty() {
        true => last,
        false => format!("{} or {last}", words.join(", ")),
    }
}

/// True for notes of people and editors, and for what `x-` switches off.
fn is_ignored(key: &str) -> bool {
    key == "$schema" || key.starts_with("x-")
}

fn is_plain(key: &str) -> bool {
    let plain = |byte: u8| byte.is_ascii_alphanumeric() || b"_-@$".contains(&byte);
    !key.is_empty() && key.bytes().all(plain)
}
