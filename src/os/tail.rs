//! The last bytes of a stream, for reports alone; a log has all of them. It is a ring that grows to its limit and no further, however much passes
//! through it; and the same bytes in order when the stream is over.
//!
//! A small ring is on the heap. A larger one is a mapping of its own, which costs the pages that
//! were touched, a sixteenth less than the same from malloc, and leaves no hole in the heap of a
//! process that lives for years. Where memory is short, the ring stays as small as it is, and
//! what is not in it is counted.

use std::fmt;
use std::ops::{Deref, DerefMut};

use super::emergency_heap::{self, EmergencyHeap};
use super::pages::Pages;
use crate::text::lossy_chars;

/// The largest ring on the heap.
const HEAP_BYTES_MAX: usize = 4096;

/// How much of a line is shown as the last one.
const LAST_LINE_BYTES_MAX: usize = 200;

/// How much of the end is shown as text, in bytes: what a person reads of a failure.
const TEXT_BYTES_MAX: usize = 2048;

/// What is kept of a stream that is shown as text alone: one byte more, which says whether the text
/// begins a line.
const TEXT_TAIL_BYTES: u32 = TEXT_BYTES_MAX as u32 + 1;

/// What the report of a ring needs on its way, in sizes of the ring: it is Base64, in a line, in a
/// queue that doubles. A ring that left no memory for its report would be useless.
const REPORT_TIMES: usize = 4;

/// The last `limit` bytes of everything that was pushed. Nothing is allocated before the first
/// byte, as there may be ten thousand silent programs.
#[derive(Debug)]
pub(crate) struct Tail {
    /// Lowered for the rest of the run once memory is short: a ring that has turned cannot grow.
    limit: u32,
    kept: Option<Box<Kept>>,
}

#[derive(Debug, Default)]
struct Kept {
    ring: Store,
    /// How much of the ring is in use. Only a full one turns.
    len: usize,
    /// Where the oldest byte is.
    oldest: usize,
    /// How many bytes were pushed or missed.
    total: u64,
}

impl Tail {
    pub(crate) fn new(limit: u32) -> Self {
        Self { limit, kept: None }
    }

    /// Returns one for what is shown as text alone, of at most `limit` bytes.
    pub(crate) fn for_text(limit: u32) -> Self {
        Self::new(limit.min(TEXT_TAIL_BYTES))
    }

    pub(crate) fn push(&mut self, bytes: &[u8]) {
        let kept = self.kept.get_or_insert_default();
        let limit = self.limit as usize;
        let wanted = kept.len.saturating_add(bytes.len()).min(limit);
        if wanted > kept.ring.len() {
            kept.grow(wanted, limit);
        }
        let size = kept.ring.len();
        if wanted > size {
            self.limit = u32::try_from(size).unwrap_or(self.limit);
        }
        kept.push(bytes);
    }

    /// Counts bytes that could not be read.
    pub(crate) fn miss(&mut self, bytes: usize) {
        let kept = self.kept.get_or_insert_default();
        kept.total = kept.total.saturating_add(bytes as u64);
    }

    /// Returns the kept bytes in order, and how many were pushed before them, or missed.
    pub(crate) fn into_words(self) -> (LastWords, u64) {
        let Some(mut kept) = self.kept else {
            return (LastWords::default(), 0);
        };
        kept.ring[..kept.len].rotate_left(kept.oldest);
        let omitted = kept.total - kept.len as u64;
        let (store, len) = (kept.ring, kept.len);
        (LastWords { store, len }, omitted)
    }
}

impl Kept {
    /// Makes room for `wanted` bytes, and for no more than `limit`, if there is memory.
    fn grow(&mut self, wanted: usize, limit: usize) {
        if wanted > HEAP_BYTES_MAX
            && let Some(mut pages) = map(limit)
        {
            pages[..self.len].copy_from_slice(&self.ring[..self.len]);
            self.ring = Store::Mapped(pages);
        } else if let Store::Heap(bytes) = &mut self.ring {
            let size = wanted.min(HEAP_BYTES_MAX).next_power_of_two().min(limit);
            let more = size.saturating_sub(bytes.len());
            if EmergencyHeap::optional(|| bytes.try_reserve_exact(more)).is_ok() {
                bytes.resize(bytes.len() + more, 0);
            }
        }
    }

    fn push(&mut self, bytes: &[u8]) {
        self.total = self.total.saturating_add(bytes.len() as u64);
        let size = self.ring.len();
        let mut rest = &bytes[bytes.len().saturating_sub(size)..];
        while !rest.is_empty() {
            let at = (self.oldest + self.len) % size;
            let (now, later) = rest.split_at(rest.len().min(size - at));
            self.ring[at..at + now.len()].copy_from_slice(now);
            let overwritten = (self.len + now.len()).saturating_sub(size);
            self.len += now.len() - overwritten;
            self.oldest = (self.oldest + overwritten) % size;
            rest = later;
        }
    }
}

/// Maps a ring, if that leaves memory for its report.
fn map(length: usize) -> Option<Pages> {
    let pages = Pages::new(length);
    let rest = Pages::new(length.saturating_mul(REPORT_TIMES));
    if pages.is_err() || rest.is_err() {
        emergency_heap::note_shortage();
        return None;
    }
    pages.ok()
}

#[derive(Debug)]
enum Store {
    Heap(Vec<u8>),
    Mapped(Pages),
}

impl Default for Store {
    fn default() -> Self {
        Self::Heap(Vec::new())
    }
}

impl Deref for Store {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(pages) => pages,
        }
    }
}

impl DerefMut for Store {
    fn deref_mut(&mut self) -> &mut [u8] {
        match self {
            Self::Heap(bytes) => bytes,
            Self::Mapped(pages) => pages,
        }
    }
}

/// What a [`Tail`] has kept, in order, where it was kept: a report needs no memory for it.
#[derive(Default)]
pub(crate) struct LastWords {
    store: Store,
    len: usize,
}

impl LastWords {
    /// Returns the last line that is not empty, truncated to 200 bytes, with invalid UTF-8
    /// replaced; `None` where memory is short, too. A carriage return ends a line.
    pub(crate) fn last_line(&self) -> Option<String> {
        let is_end = |byte: &u8| matches!(byte, b'\n' | b'\r');
        let mut lines = self.rsplit(is_end).map(<[u8]>::trim_ascii);
        let line = lines.find(|line| !line.is_empty())?;
        let mut text = String::new();
        EmergencyHeap::optional(|| text.try_reserve_exact(LAST_LINE_BYTES_MAX)).ok()?;
        for character in lossy_chars(line) {
            if text.len() + character.len_utf8() > LAST_LINE_BYTES_MAX {
                break;
            }
            text.push(character);
        }
        Some(text)
    }

    /// Returns the last 2 KiB of a text, of which `omitted` bytes came before these: from the start
    /// of a line, or of a character where it is all one line.
    pub(crate) fn last_text(&self, omitted: u64) -> &[u8] {
        let start = self.len().saturating_sub(TEXT_BYTES_MAX);
        let text = &self[start..];
        let begins_line = match start {
            0 => omitted == 0,
            _ => self[start - 1] == b'\n',
        };
        if begins_line {
            return text;
        }
        let is_continued = |byte: &u8| byte & 0b1100_0000 == 0b1000_0000;
        let is_inside = text.iter().take(3).take_while(|byte| is_continued(byte));
        let characters = &text[is_inside.count()..];
        let line_feed = text.iter().position(|&byte| byte == b'\n');
        let lines = line_feed.map(|at| &text[at + 1..]);
        lines
            .filter(|lines| !lines.is_empty())
            .unwrap_or(characters)
    }
}

impl Deref for LastWords {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        &self.store[..self.len]
    }
}

impl From<Vec<u8>> for LastWords {
    fn from(bytes: Vec<u8>) -> Self {
        let (len, store) = (bytes.len(), Store::Heap(bytes));
        Self { store, len }
    }
}

impl Clone for LastWords {
    fn clone(&self) -> Self {
        self.to_vec().into()
    }
}

impl PartialEq for LastWords {
    fn eq(&self, other: &Self) -> bool {
        **self == **other
    }
}

impl fmt::Debug for LastWords {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        (**self).fmt(f)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Bytes in which any two parts differ.
    fn stream(length: usize) -> Vec<u8> {
        let numbers = (0..length / 3 + 1).flat_map(|number| [number, number >> 8, number * 7]);
        numbers.map(|number| number as u8).take(length).collect()
    }

    #[test]
    fn keeps_exactly_the_last_bytes_however_they_come() {
        let short = [0, 1, 2, 3, 7, 64, 100, 999, 1000, 1001];
        let long = [
            HEAP_BYTES_MAX - 1,
            HEAP_BYTES_MAX,
            HEAP_BYTES_MAX + 1,
            2 * HEAP_BYTES_MAX,
            9_999,
            10_000,
            10_001,
        ];
        for (limits, length) in [(&short[..], 1000), (&long[..], 10_000)] {
            let stream = stream(length);
            for &limit in limits {
                for piece in [1, 2, 3, 5, 63, 64, 65, 500, 1000, 4097, 10_000] {
                    let mut tail = Tail::new(limit as u32);
                    for chunk in stream.chunks(piece) {
                        tail.push(chunk);
                        let size = tail.kept.as_ref().map_or(0, |kept| kept.ring.len());
                        assert!(size <= limit, "limit {limit}");
                    }
                    let (words, omitted) = tail.into_words();
                    let kept = limit.min(length);
                    let what = format!("limit {limit}, pieces of {piece}");
                    assert!(*words == stream[length - kept..], "{what}");
                    assert_eq!(omitted, (length - kept) as u64, "{what}");
                }
            }
        }
    }

    #[test]
    fn the_last_line_is_found_cut_and_made_text() {
        let of = |bytes: &[u8]| LastWords::from(bytes.to_vec()).last_line();
        let table: [(&[u8], Option<&str>); 8] = [
            (b"", None),
            (b"\n \r\n\t\n", None),
            (b"first\nno database\n", Some("no database")),
            (b"no line feed", Some("no line feed")),
            (b"  Caused by: x  \r\n\n \n", Some("Caused by: x")),
            (b"10 %\r20 %\r", Some("20 %")),
            (b"a\xffb\xc3\n", Some("a\u{fffd}b\u{fffd}")),
            (b"\x1b[31mred\x1b[0m\n", Some("\x1b[31mred\x1b[0m")),
        ];
        for (bytes, line) in table {
            assert_eq!(of(bytes).as_deref(), line, "{bytes:?}");
        }
        // Whole characters only.
        let long = |line: &str| of(line.as_bytes()).expect("a line");
        assert_eq!(long(&"x".repeat(10_000)), "x".repeat(200));
        assert_eq!(long(&"ä".repeat(10_000)), "ä".repeat(100));
        assert_eq!(long(&format!("x{}", "ä".repeat(200))).len(), 199);
        let invalid = of(&[0xff; 1000]).expect("a line");
        assert_eq!(invalid, "\u{fffd}".repeat(66));
    }

    #[test]
    fn the_last_text_begins_with_a_line_or_a_character() {
        let of =
            |bytes: &[u8], omitted| LastWords::from(bytes.to_vec()).last_text(omitted).to_vec();
        assert_eq!(of(b"", 0), b"");
        assert_eq!(of(b"a\nb\n", 0), b"a\nb\n");
        assert_eq!(of(b"a\nb\n", 1), b"b\n");
        assert_eq!(of(b"one\n", 1), b"one\n");
        assert_eq!(of(b"\xa4\xa4one", 1), b"one");
        let lines = "0123456\n".repeat(1000);
        assert_eq!(
            of(lines.as_bytes(), 0),
            lines.as_bytes()[lines.len() - 2048..]
        );
        let moved = format!("{lines}x");
        assert_eq!(
            of(moved.as_bytes(), 0),
            moved.as_bytes()[lines.len() - 2040..]
        );
        let wide = "\u{20ac}".repeat(1000);
        assert_eq!(of(wide.as_bytes(), 0), "\u{20ac}".repeat(682).as_bytes());
        // What is no UTF-8 is not left out beyond a character's length.
        assert_eq!(of(&[0x80; 3000], 0).len(), 2045);
    }

    #[test]
    fn an_empty_one_has_nothing() {
        let (words, omitted) = Tail::new(10).into_words();
        assert!(words.is_empty() && omitted == 0);
    }
}
