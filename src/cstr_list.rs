//! A list of strings as the kernel takes them: back to back in one allocation, each ended by a NUL.
//!
//! Most of what a supervisor of thousands of programs has to remember is their commands. A string
//! of its own for each word would cost more than the words.

use std::ffi::CStr;
use std::ops::Range;

/// A list that never changes.
#[derive(Debug, Clone, Default)]
pub(crate) struct CStrList(Box<[u8]>);

impl CStrList {
    /// Returns all strings in order.
    pub(crate) fn iter(&self) -> impl Iterator<Item = &CStr> {
        self.part(0..u32::MAX)
    }

    /// Returns the strings that stand between these offsets, in bytes.
    pub(crate) fn part(&self, part: Range<u32>) -> impl Iterator<Item = &CStr> {
        let offset = |at: u32| (at as usize).min(self.0.len());
        let mut rest = &self.0[offset(part.start)..offset(part.end)];
        std::iter::from_fn(move || {
            let string = CStr::from_bytes_until_nul(rest).ok()?;
            rest = &rest[string.count_bytes() + 1..];
            Some(string)
        })
    }

    /// Returns the string with this index.
    pub(crate) fn get(&self, index: usize) -> Option<&CStr> {
        self.iter().nth(index)
    }
}

impl<T: AsRef<CStr>> FromIterator<T> for CStrList {
    fn from_iter<I: IntoIterator<Item = T>>(strings: I) -> Self {
        let mut bytes = Vec::new();
        for string in strings {
            bytes.extend(string.as_ref().to_bytes_with_nul());
        }
        Self(bytes.into())
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
    fn strings_come_back_as_they_went_in_empty_ones_too() {
        for list in LISTS {
            let strings: CStrList = list.iter().collect();
            assert_eq!(strings.iter().collect::<Vec<_>>(), list);
            let mut offset = 0;
            for (index, string) in list.iter().enumerate() {
                let rest: Vec<&CStr> = strings.part(offset..u32::MAX).collect();
                assert_eq!(rest, list[index..]);
                let end = offset + u32::try_from(string.to_bytes_with_nul().len()).unwrap();
                assert_eq!(strings.part(offset..end).collect::<Vec<_>>(), [*string]);
                offset = end;
            }
            assert_eq!(strings.part(offset..u32::MAX).next(), None);
            assert_eq!(strings.get(1), list.get(1).copied());
        }
    }
}
