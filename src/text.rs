//! Text for messages: escaping, quoting, and suggestions for misspelled words.

use std::borrow::Cow;
use std::io;

use crate::error::errno_text;

/// The longest part of an input that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// The longest word for which there is a suggestion, in characters. It bounds the work.
const WORD_CHARS_MAX: usize = 64;

/// The least number of leading characters that make one word a likely abbreviation of another.
const PREFIX_CHARS_MIN: usize = 3;

/// True if a terminal shows this character and does nothing else: no control character, line
/// break, change of the text direction, or invisible character.
pub(crate) fn is_printable(character: char) -> bool {
    let is_plain = |character: char| character.escape_debug().len() == 1;
    matches!(character, ' '..='~') || (!character.is_ascii() && is_plain(character))
}

/// Returns `text` on one line: everything that is not printable is escaped, as Rust does.
///
/// ```
/// assert_eq!(procsched::text::escaped("a\n\u{1b}"), r"a\n\u{1b}");
/// ```
#[must_use]
pub fn escaped(text: &str) -> Cow<'_, str> {
    if text.chars().all(is_printable) {
        return text.into();
    }
    let mut line = String::with_capacity(text.len());
    for character in text.chars() {
        if is_printable(character) {
            line.push(character);
        } else {
            line.extend(character.escape_debug());
        }
    }
    line.into()
}

/// Returns `text` in quotes, escaped, and shortened if it is long.
pub(crate) fn quoted(text: &str) -> String {
    format!("{:?}", shortened(text))
}

/// Returns `text`, cut off with an ellipsis after 64 characters.
pub(crate) fn shortened(text: &str) -> Cow<'_, str> {
    match text.char_indices().nth(QUOTED_CHARS_MAX) {
        None => text.into(),
        Some((end, _)) => format!("{}…", &text[..end]).into(),
    }
}

/// Returns the system's description of an error (strerror(3)), without the errno that `io::Error`
/// appends.
#[must_use]
pub fn error_text(error: &io::Error) -> String {
    let errno = error.raw_os_error();
    errno.map_or_else(|| error.to_string(), errno_text)
}

/// Returns ` (did you mean "restart"?)` with the word of [`nearest`], if there is one.
pub fn did_you_mean<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<String> {
    let word = nearest(given, known)?;
    Some(format!(" (did you mean {}?)", quoted(word)))
}

/// Returns the known word that was probably meant by a misspelled or abbreviated one, ignoring
/// case.
///
/// That is the word with the least edits, if these are at most a third of its length; else the
/// first word of which `given` is a prefix, or which is a prefix of `given`.
///
/// ```
/// use procsched::text::nearest;
///
/// assert_eq!(nearest("restrat", ["start", "restart"]), Some("restart"));
/// assert_eq!(nearest("environment", ["env", "cwd"]), Some("env"));
/// assert_eq!(nearest("x", ["env", "cwd"]), None);
/// ```
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let given: Vec<char> = given.to_ascii_lowercase().chars().collect();
    if given.len() > WORD_CHARS_MAX {
        return None;
    }
    let rank = |word: &str| {
        let word: Vec<char> = word.to_ascii_lowercase().chars().collect();
        let edits_max = given.len().max(word.len()) / 3;
        // Each character that one word has more is an edit.
        if given.len().abs_diff(word.len()) <= edits_max {
            let edits = edits_between(&given, &word);
            if edits <= edits_max {
                return Some(edits);
            }
        }
        let shorter = given.len().min(word.len());
        let is_prefix = shorter >= PREFIX_CHARS_MIN && given[..shorter] == word[..shorter];
        is_prefix.then_some(WORD_CHARS_MAX)
    };
    let ranked = known
        .into_iter()
        .filter_map(|word| Some((rank(word)?, word)));
    ranked.min_by_key(|(rank, _)| *rank).map(|(_, word)| word)
}

/// Counts the edits that turn one word into the other: insert, remove or replace a character, or
/// swap two neighbours (the optimal string alignment distance).
fn edits_between(a: &[char], b: &[char]) -> usize {
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let replaced = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = replaced.min(last[j] + 1).min(row[j - 1] + 1);
            if i > 1 && j > 1 && a[i - 1] == b[j - 2] && a[i - 2] == b[j - 1] {
                let swapped: usize = before_last[j - 2];
                least = least.min(swapped + 1);
            }
            row.push(least);
        }
        before_last = std::mem::replace(&mut last, row);
    }
    last[b.len()]
}
