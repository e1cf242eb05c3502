//! Turns bytes into the tree of a JSON text, or returns the error that ends the reading. What
//! people add to JSON, comments and trailing commas, is blanked before, so that one grammar and one
//! set of places is left.

use serde_json::Value;

use super::errors::Place;
use super::scan::{Node, scan, scan_keys};

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

/// Returns the text as strict JSON: with spaces in place of comments (`// …`, `/* … */`) and of
/// commas after the last value of an array or object. Each character is one space, so that all
/// others keep their places.
pub(super) fn without_comments(text: &str) -> Result<String, Stop> {
    let mut plain = String::with_capacity(text.len());
    // The place in `plain` of a comma that stands behind a value, while no other value follows.
    let mut comma = None;
    let mut is_behind_value = false;
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let is_comment = rest.starts_with("//") || rest.starts_with("/*");
        let length = match next {
            '/' if is_comment => comment_length(rest).ok_or_else(|| {
                let (before, _) = text.split_at(text.len() - rest.len());
                let message = "this comment has no end: add */".to_owned();
                (Place::behind(before), message)
            })?,
            '"' => string_length(rest),
            _ => next.len_utf8(),
        };
        let (piece, behind) = rest.split_at(length);
        rest = behind;
        if is_comment {
            plain.extend(piece.chars().map(blank));
            continue;
        }
        match next {
            ' ' | '\t' | '\r' | '\n' => {}
            ',' => {
                comma = is_behind_value.then_some(plain.len());
                is_behind_value = false;
            }
            '[' | '{' | ':' => (comma, is_behind_value) = (None, false),
            ']' | '}' => {
                if let Some(at) = comma.take() {
                    plain.replace_range(at..=at, " ");
                }
                is_behind_value = true;
            }
            _ => (comma, is_behind_value) = (None, true),
        }
        plain.push_str(piece);
    }
    Ok(plain)
}

/// Returns the length in bytes of the comment that a text begins with, unless it has no end.
fn comment_length(text: &str) -> Option<usize> {
    if text.starts_with("//") {
        return Some(text.find('\n').unwrap_or(text.len()));
    }
    let (mark, body) = text.split_at("/*".len());
    Some(mark.len() + body.find("*/")? + "*/".len())
}

/// Returns the length in bytes of the string that a text begins with, or of all if it has no end.
fn string_length(text: &str) -> usize {
    let mut is_escaped = false;
    let is_end = |(_, character): &(usize, char)| {
        let ends = *character == '"' && !is_escaped;
        is_escaped = *character == '\\' && !is_escaped;
        ends
    };
    let end = text.char_indices().skip(1).find(is_end);
    end.map_or(text.len(), |(at, _)| at + 1)
}

/// Returns what stands in place of a character of a comment.
fn blank(character: char) -> char {
    match character {
        '\n' => '\n',
        _ => ' ',
    }
}

/// Returns the tree of a strict JSON text.
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

/// Returns the tree of these keys of an object. What else is in the text may be wrong.
pub(super) fn tree_of<'t>(text: &'t str, keys: &'t [&'t str]) -> Result<Node<'t>, Stop> {
    scan_keys(text, keys).or_else(|_| tree(text))
}

fn explain(text: &str, error: &serde_json::Error) -> Stop {
    let whole = error.to_string();
    let position = format!(" at line {} column {}", error.line(), error.column());
    let what = whole.strip_suffix(&position).unwrap_or(&whole);
    let (before, behind) = text.split_at(offset_of(text, error));
    let hint = match behind.chars().next() {
        Some('/' | '#') => "; a comment is // to the end of the line, or between /* and */",
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
