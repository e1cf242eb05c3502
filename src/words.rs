//! Texts as the kernel takes them, back to back in one piece of memory, each ended by a NUL.
//!
//! Most of what a supervisor of thousands of programs has to remember is their commands. A
//! string of its own for each word would cost more than the words, and a thousand lists of them
//! scattered among what building took would keep all of that from being given back. So what is
//! built together is kept together.

use std::ffi::CStr;
use std::ops::Range;
use std::sync::Arc;

/// Many lists of words under construction.
#[derive(Debug, Default)]
pub(crate) struct Text(Vec<u8>);

impl Text {
    /// Where the next list begins.
    pub(crate) fn end(&self) -> usize {
        self.0.len()
    }

    pub(crate) fn push(&mut self, word: &CStr) {
        self.0.extend_from_slice(word.to_bytes_with_nul());
    }

    /// No more words come.
    pub(crate) fn finish(self) -> Arc<[u8]> {
        self.0.into()
    }
}

/// A list of words that never changes.
#[derive(Debug, Clone)]
pub(crate) struct Words {
    text: Arc<[u8]>,
    /// Less than 4 GiB, so that a list is small.
    start: u32,
    end: u32,
}

impl Words {
    /// The list that stands in this part of the text, whose end is below 4 GiB.
    pub(crate) fn of(text: &Arc<[u8]>, range: &Range<usize>) -> Self {
        let place = |at: usize| u32::try_from(at).unwrap_or(u32::MAX);
        Self {
            text: text.clone(),
            start: place(range.start),
            end: place(range.end),
        }
    }

    /// All words in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.part(0..u32::MAX)
    }

    /// The words that stand between these places, in bytes.
    pub(crate) fn part(&self, part: Range<u32>) -> impl Iterator<Item = &CStr> {
        let place = |at: u32| self.start.saturating_add(at).min(self.end) as usize;
        let text = self.text.get(place(part.start)..place(part.end));
        let mut rest = text.unwrap_or_default();
        std::iter::from_fn(move || {
            let word = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[word.count_bytes() + 1..];
            Some(word)
        })
    }

    /// The word with this index.
    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        self.iter().nth(index)
    }
}

/// A list by itself.
impl<T: AsRef<CStr>> FromIterator<T> for Words {
    fn from_iter<I: IntoIterator<Item = T>>(words: I) -> Self {
        let mut text = Text::default();
        for word in words {
            text.push(word.as_ref());
        }
        let range = 0..text.end();
        Self::of(&text.finish(), &range)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const LISTS: [&[&CStr]; 5] = [
        &[],
        &[c""],
        &[c"one"],
        &[c"", c"two", c"", c"four", c""],
        &[c"x", c"y"],
    ];

    #[test]
    fn words_come_back_as_they_went_in_empty_ones_too() {
        for list in LISTS {
            let words: Words = list.iter().collect();
            assert_eq!(words.iter().collect::<Vec<_>>(), list);
            let mut place = 0;
            for (index, word) in list.iter().enumerate() {
                let rest: Vec<&CStr> = words.part(place..u32::MAX).collect();
                assert_eq!(rest, list[index..]);
                let end = place + u32::try_from(word.to_bytes_with_nul().len()).unwrap();
                assert_eq!(words.part(place..end).collect::<Vec<_>>(), [*word]);
                place = end;
            }
            assert_eq!(words.part(place..u32::MAX).next(), None);
            assert_eq!(words.get(1), list.get(1).copied());
        }
    }

    #[test]
    fn lists_of_one_text_do_not_run_into_each_other() {
        let mut text = Text::default();
        let ranges = LISTS.map(|list| {
            let start = text.end();
            list.iter().for_each(|word| text.push(word));
            start..text.end()
        });
        let text = text.finish();
        for (list, range) in LISTS.iter().zip(&ranges) {
            let words = Words::of(&text, range);
            assert_eq!(words.iter().collect::<Vec<_>>(), *list);
        }
    }
}
