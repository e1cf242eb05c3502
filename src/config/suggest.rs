//! "Did you mean": the known word that is nearest to what was written.

use super::errors::quoted;

/// A longer word is no slip of the keyboard; it also bounds the work.
const WORD_CHARS_MAX: usize = 64;

/// How many characters two words must have in common, one being the beginning of the other.
const PREFIX_CHARS_MIN: usize = 3;

/// ` (did you mean "restart"?)`, or `otherwise` if nothing known is near.
pub(super) fn did_you_mean<'k>(
    given: &str,
    known: impl IntoIterator<Item = &'k str>,
    otherwise: impl FnOnce() -> String,
) -> String {
    match nearest(given, known) {
        Some(word) => format!(" (did you mean {}?)", quoted(word)),
        None => otherwise(),
    }
}

/// The known word that takes the fewest slips to become `given`, if those are few for its
/// length; else the first that begins like it. Capitals do not count.
pub fn nearest<'k>(given: &str, known: impl IntoIterator<Item = &'k str>) -> Option<&'k str> {
    let given: Vec<char> = given.to_ascii_lowercase().chars().collect();
    if given.len() > WORD_CHARS_MAX {
        return None;
    }
    let mut best: Option<(usize, &str)> = None;
    for word in known {
        let candidate: Vec<char> = word.to_ascii_lowercase().chars().collect();
        let slips = slips_between(&given, &candidate);
        let near = slips <= given.len().max(candidate.len()) / 3;
        let begins = || {
            let shorter = given.len().min(candidate.len());
            shorter >= PREFIX_CHARS_MIN && given[..shorter] == candidate[..shorter]
        };
        // One that only begins alike comes after all that are near.
        let rank = if near {
            slips
        } else if begins() {
            WORD_CHARS_MAX
        } else {
            continue;
        };
        if best.is_none_or(|(least, _)| rank < least) {
            best = Some((rank, word));
        }
    }
    best.map(|(_, word)| word)
}

/// How many slips lead from one word to the other: a character too many, one missing, a wrong
/// one, or two neighbours swapped.
fn slips_between(a: &[char], b: &[char]) -> usize {
    let mut before_last = Vec::new();
    let mut last: Vec<usize> = (0..=b.len()).collect();
    for i in 1..=a.len() {
        let mut row = vec![i];
        for j in 1..=b.len() {
            let wrong = last[j - 1] + usize::from(a[i - 1] != b[j - 1]);
            let mut least = wrong.min(last[j] + 1).min(row[j - 1] + 1);
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
