//! Writes lines of JSON into a buffer, field by field, without a tree in between.

use std::fmt::Display;
use std::io::Write;

/// An object that is being written.
pub struct Object<'a> {
    out: &'a mut Vec<u8>,
    is_empty: bool,
}

/// Appends a line with one object.
pub fn line(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    object(out, write);
    out.push(b'\n');
}

fn object(out: &mut Vec<u8>, write: impl FnOnce(&mut Object<'_>)) {
    out.push(b'{');
    let is_empty = true;
    write(&mut Object { out, is_empty });
    out.push(b'}');
}

impl Object<'_> {
    /// Writes a string.
    pub fn text(&mut self, key: &str, value: &str) {
        self.key(key);
        string(self.out, value);
    }

    /// Writes a string or `null`.
    pub fn text_or_null(&mut self, key: &str, value: Option<&str>) {
        match value {
            Some(value) => self.text(key, value),
            None => self.null(key),
        }
    }

    /// Writes what displays as JSON: a number, `true` or `false`.
    pub fn value(&mut self, key: &str, value: impl Display) {
        self.key(key);
        // Writing to a buffer cannot fail.
        let _ = write!(self.out, "{value}");
    }

    /// Writes what displays as JSON, or `null`.
    pub fn value_or_null(&mut self, key: &str, value: Option<impl Display>) {
        match value {
            Some(value) => self.value(key, value),
            None => self.null(key),
        }
    }

    /// Writes `null`.
    pub fn null(&mut self, key: &str) {
        self.value(key, "null");
    }

    /// Writes an array of strings.
    pub fn texts<'t>(&mut self, key: &str, values: impl IntoIterator<Item = &'t str>) {
        self.key(key);
        self.out.push(b'[');
        for (index, value) in values.into_iter().enumerate() {
            if index > 0 {
                self.out.push(b',');
            }
            string(self.out, value);
        }
        self.out.push(b']');
    }

    /// Writes an object.
    pub fn object(&mut self, key: &str, write: impl FnOnce(&mut Object<'_>)) {
        self.key(key);
        object(self.out, write);
    }

    fn key(&mut self, key: &str) {
        if !std::mem::replace(&mut self.is_empty, false) {
            self.out.push(b',');
        }
        string(self.out, key);
        self.out.push(b':');
    }
}

fn string(out: &mut Vec<u8>, value: &str) {
    // Writing a string to a buffer cannot fail.
    let _ = serde_json::to_writer(out, value);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_line_has_every_kind_of_value() {
        let mut out = b"before\n".to_vec();
        line(&mut out, |object| {
            object.text("text", "a\n\"\u{1b}");
            object.text_or_null("none", None);
            object.value("number", 1.5);
            object.value_or_null("some", Some(true));
            object.texts("texts", ["a", "b"]);
            object.object("object", |inner| inner.texts("empty", []));
        });
        let expected = "before\n{\"text\":\"a\\n\\\"\\u001b\",\"none\":null,\"number\":1.5,\
                        \"some\":true,\"texts\":[\"a\",\"b\"],\"object\":{\"empty\":[]}}\n";
        assert_eq!(String::from_utf8(out).expect("text"), expected);
    }
}
