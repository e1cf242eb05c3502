//! Text for messages: escaping, quoting, and suggestions for misspelled words.

use std::borrow::Cow;
use std::io;
use std::time::Duration;

use crate::error::errno_text;

/// The longest part of an input that a message repeats, in characters.
const QUOTED_CHARS_MAX: usize = 64;

/// The longest word for which there is a suggestion, in characters. It bounds the work.
const WORD_CHARS_MAX: usize = 64;

/// The least number of leading characters that make one word a likely abbreviation of another.
const PREFIX_CHARS_MIN: usize = 3;

/// How many names of a long way are shown at its beginning.
const PATH_NAMES_MAX: usize = 8;

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

/// Returns the characters of a text, each invalid sequence of bytes replaced by one.
pub(crate) fn lossy_chars(bytes: &[u8]) -> impl Iterator<Item = char> {
    bytes.utf8_chunks().flat_map(|chunk| {
        let replaced = (!chunk.invalid().is_empty()).then_some(char::REPLACEMENT_CHARACTER);
        chunk.valid().chars().chain(replaced)
    })
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

/// Returns the way from the first of these to the last; of a long one its beginning and its end.
///
/// ```
/// # use procsched::text::shortened_path;
/// assert_eq!(shortened_path(&["web", "db"]), "web → db");
/// let numbers: Vec<String> = (1..=1_000).map(|number| number.to_string()).collect();
/// let numbers: Vec<&str> = numbers.iter().map(String::as_str).collect();
/// let path = shortened_path(&numbers);
/// assert_eq!(path, "1 → 2 → 3 → 4 → 5 → 6 → 7 → 8 → 991 more → 1000");
/// ```
#[must_use]
pub fn shortened_path(names: &[&str]) -> String {
    match names {
        [start @ .., last] if start.len() > PATH_NAMES_MAX => {
            let more = start.len() - PATH_NAMES_MAX;
            let start = start[..PATH_NAMES_MAX].join(" → ");
            format!("{start} → {more} more → {last}")
        }
        _ => names.join(" → "),
    }
}

/// Returns a duration in its largest units: `0s 350us 350ms 12.3s 2m05s 3h12m 5d04h`.
///
/// ```
/// use std::time::Duration;
///
/// assert_eq!(procsched::text::duration(Duration::from_millis(125_400)), "2m05s");
/// ```
#[must_use]
pub fn duration(length: Duration) -> String {
    let (seconds, nanos) = (length.as_secs(), length.subsec_nanos());
    match seconds {
        0 if nanos == 0 => "0s".to_owned(),
        0 if nanos < 1_000 => format!("{nanos}ns"),
        0 if nanos < 1_000_000 => format!("{}us", nanos / 1_000),
        0 => format!("{}ms", nanos / 1_000_000),
        1..60 if nanos < 100_000_000 => format!("{seconds}s"),
        1..60 => format!("{seconds}.{}s", nanos / 100_000_000),
        60..3_600 => two_units(seconds / 60, "m", seconds % 60, "s"),
        3_600..86_400 => two_units(seconds / 3_600, "h", seconds / 60 % 60, "m"),
        _ => two_units(seconds / 86_400, "d", seconds / 3_600 % 24, "h"),
    }
}

fn two_units(large: u64, large_unit: &str, small: u64, small_unit: &str) -> String {
    match small {
        0 => format!("{large}{large_unit}"),
        _ => format!("{large}{large_unit}{small:02}{small_unit}"),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_short() {
        let table = [
            (Duration::ZERO, "0s"),
            (Duration::from_nanos(7), "7ns"),
            (Duration::from_micros(250), "250us"),
            (Duration::from_millis(999), "999ms"),
            (Duration::from_secs(1), "1s"),
            (Duration::from_millis(12_340), "12.3s"),
            (Duration::from_millis(59_999), "59.9s"),
            (Duration::from_secs(60), "1m"),
            (Duration::from_secs(125), "2m05s"),
            (Duration::from_secs(3_599), "59m59s"),
            (Duration::from_secs(11_520), "3h12m"),
            (Duration::from_secs(446_400), "5d04h"),
            (Duration::MAX, "213503982334601d07h"),
        ];
        for (length, text) in table {
            assert_eq!(duration(length), text);
        }
    }
}
