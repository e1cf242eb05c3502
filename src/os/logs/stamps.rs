//! The time before each line of a log.

use crate::os::clock;
use crate::os::utc::{UTC_BYTES, utc_millis};

use super::Log;

/// A time and a space.
pub(super) const STAMP_BYTES: usize = UTC_BYTES + 1;

/// How much is written at once: a few lines.
const CHUNK_BYTES: usize = 4096;

impl Log {
    /// Appends bytes with the time before each line, and returns how many of them could not be
    /// written.
    pub(super) fn append_stamped(&mut self, mut bytes: &[u8]) -> usize {
        let mut stamp = [b' '; STAMP_BYTES];
        stamp[..UTC_BYTES].copy_from_slice(&utc_millis(clock::wall()));
        let mut chunk = [0; CHUNK_BYTES];
        while !bytes.is_empty() {
            let is_start = self.is_line_over;
            let (filled, taken) = fill(&mut chunk, &stamp, is_start, bytes);
            let written = filled - self.append(&chunk[..filled]);
            if written < filled {
                let unstamped = without_stamps(&chunk[..filled], is_start, written);
                return bytes.len() - taken + unstamped;
            }
            bytes = &bytes[taken..];
        }
        0
    }
}

/// Fills a chunk with stamps and bytes. Returns how much of it is in use, and how many of the bytes
/// are in it.
fn fill(
    chunk: &mut [u8],
    stamp: &[u8; STAMP_BYTES],
    mut is_start: bool,
    bytes: &[u8],
) -> (usize, usize) {
    let (mut filled, mut taken) = (0, 0);
    while taken < bytes.len() {
        let needed = if is_start { STAMP_BYTES } else { 0 };
        if chunk.len() - filled <= needed {
            break;
        }
        if is_start {
            chunk[filled..filled + STAMP_BYTES].copy_from_slice(stamp);
            filled += STAMP_BYTES;
        }
        let rest = &bytes[taken..];
        let line = rest.iter().position(|&byte| byte == b'\n');
        let line = line.map_or(rest.len(), |at| at + 1);
        let count = line.min(chunk.len() - filled);
        chunk[filled..filled + count].copy_from_slice(&rest[..count]);
        (filled, taken) = (filled + count, taken + count);
        is_start = rest[count - 1] == b'\n';
    }
    (filled, taken)
}

/// Returns how many bytes of a chunk from this one on are not of a stamp.
fn without_stamps(chunk: &[u8], mut is_start: bool, from: usize) -> usize {
    let (mut at, mut count) = (0, 0);
    while at < chunk.len() {
        if is_start {
            at += STAMP_BYTES;
        }
        let line = chunk[at..].iter().position(|&byte| byte == b'\n');
        let end = line.map_or(chunk.len(), |length| at + length + 1);
        count += end - at.max(from).min(end);
        (at, is_start) = (end, true);
    }
    count
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: [u8; STAMP_BYTES] = *b"2024-01-01T12:00:00.000Z ";

    /// All of it, in chunks of this size.
    fn stamped(size: usize, text: &[u8]) -> Vec<u8> {
        let (mut all, mut rest, mut is_start) = (Vec::new(), text, true);
        let mut chunk = vec![0; size];
        while !rest.is_empty() {
            let (filled, taken) = fill(&mut chunk, &STAMP, is_start, rest);
            assert!(taken > 0);
            for from in 0..=filled {
                let behind = without_stamps(&chunk[..filled], is_start, from);
                assert!(behind <= taken && (from < filled || behind == 0));
                assert!(from > 0 || behind == taken);
            }
            all.extend(&chunk[..filled]);
            is_start = all.ends_with(b"\n");
            rest = &rest[taken..];
        }
        all
    }

    #[test]
    fn each_line_has_its_time_whatever_the_chunks_are() {
        let text = b"first\n\nsecond line\nthe rest";
        let lines = text.split_inclusive(|&byte| byte == b'\n');
        let expected: Vec<u8> = lines.flat_map(|line| [&STAMP[..], line].concat()).collect();
        for size in STAMP_BYTES + 1..=expected.len() + 1 {
            assert_eq!(stamped(size, text), expected, "{size}");
        }
    }
}
