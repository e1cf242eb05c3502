//! Turns bytes into the tree of a JSON text, or returns the error that ends the reading.

use serde_json::Value;

use super::errors::Place;
use super::scan::{Node, scan};

/// The largest file, in bytes: room for tens of thousands of programs.
pub(super) const FILE_BYTES_MAX: usize = 4 * 1024 * 1024;

/// An error that ends the reading, and its place.
pub(super) type Stop = (Place, String);

/// Returns the text of a file, without the byte order mark that some editors add.
pub(super) fn text(bytes: &[u8]) -> Result<&str, Stop> {
    if bytes.len() > FILE_BYTES_MAX {
        let limit = FILE_BYTES_MAX / 1024 / 1024;
        let message = format!("the file is too long: at most {limit} MiB are read");
        return Err((Place::START, message));
    }
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    std::str::from_utf8(bytes).map_err(|error| {
        let (valid, rest) = bytes.split_at(error.valid_up_to());
        let place = Place::behind(&String::from_utf8_lossy(valid));
        let byte = rest.first().copied().unwrap_or_default();
        let message = format!("not UTF-8: there is a byte 0x{byte:02x} here; save it as UTF-8");
        (place, message)
    })
}

/// Returns the tree of a JSON text.
pub(super) fn tree(text: &str) -> Result<Node<'_>, Stop> {
    if text.trim_ascii().is_empty() {
        let message = r#"the file is empty: begin with {"programs": {"name": ["command"]}}"#;
        return Err((Place::START, message.to_owned()));
    }
    // Only for its error: the values are read from the scanner's tree.
    if let Err(error) = serde_json::from_str::<Value>(text) {
        return Err(explain(text, &error));
    }
    // If the two ever disagree on what JSON is, that is an error instead of a panic.
    scan(text).map_err(|place| (place, "not valid JSON".to_owned()))
}

fn explain(text: &str, error: &serde_json::Error) -> Stop {
    let whole = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = whole.strip_suffix(&position).unwrap_or(&whole);
    let (before, behind) = text.split_at(offset_of(text, error));
    let hint = match behind.chars().next() {
        Some('/' | '#') => "; JSON has no comments, but keys that begin with \"x-\" are ignored",
        Some('\'') => "; strings stand in double quotes",
        _ => "",
    };
    let message = format!("cannot be read as JSON: {what}{hint}");
    (Place::behind(before), message)
}

/// Returns the byte offset of the offending character, or of the last one if the text ends too
/// early. `serde_json` counts columns in bytes, from 1, and is at column 0 of the next line after a
/// line feed.
fn offset_of(text: &str, error: &serde_json::Error) -> usize {
    let lines_before = text
        .split_inclusive('\n')
        .take(error.line().saturating_sub(1));
    let line_start: usize = lines_before.map(str::len).sum();
    let offset = match error.column() {
        0 if error.is_eof() => line_start,
        column => (line_start + column).saturating_sub(1),
    };
    let is_boundary = |offset: &usize| text.is_char_boundary(*offset);
    (0..=offset).rev().find(is_boundary).unwrap_or(0)
}
