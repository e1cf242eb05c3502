//! The numbers in a directory of `/proc`: processes, threads, descriptors.
//!
//! They are read by getdents64(2), without errno (see [`raw`]) and with a buffer on the stack. A C
//! library allocates to read a directory, which must not be between fork and exec and may fail
//! where memory is short, and the standard library takes an error for its end.

use std::ffi::{CStr, c_int};
use std::os::fd::AsRawFd;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::{raw, retry};

/// The offsets of d_reclen and d_name in a `linux_dirent64` (getdents64(2)).
const RECLEN: usize = 16;
const NAME: usize = 19;

/// Opens a directory and visits each number in it.
pub(super) fn numbers_of(path: &CStr, visit: impl FnMut(c_int)) -> Result<(), Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_DIRECTORY | OFlag::O_CLOEXEC;
    let directory = retry(|| nix::fcntl::open(path, flags, Mode::empty()))?;
    numbers_in(directory.as_raw_fd(), visit)
}

/// Visits each number in an open directory, from its current position.
pub(super) fn numbers_in(directory: c_int, mut visit: impl FnMut(c_int)) -> Result<(), Errno> {
    let mut buffer = [0_u8; 4096];
    loop {
        let (base, length) = (buffer.as_mut_ptr(), buffer.len());
        let arguments = [raw::int(directory), base.expose_provenance(), length];
        // SAFETY: the kernel writes at most that much into a buffer of our own.
        let read = unsafe { raw::call(libc::SYS_getdents64, arguments) };
        let count = match read.map_err(Errno::from_raw)? {
            0 => return Ok(()),
            count => count,
        };
        let mut at = 0;
        while at + NAME < count {
            if let Some(number) = number(buffer.get(at + NAME..count).unwrap_or_default()) {
                visit(number);
            }
            let length = match buffer.get(at + RECLEN..at + RECLEN + 2) {
                Some(&[one, other]) => u16::from_ne_bytes([one, other]),
                _ => 0,
            };
            at += usize::from(length).max(NAME);
        }
    }
}

/// Parses the number before the NUL.
fn number(text: &[u8]) -> Option<c_int> {
    let end = text.iter().position(|byte| *byte == 0)?;
    let digits = text.get(..end)?;
    let add = |sum: c_int, digit: &u8| match digit {
        b'0'..=b'9' => sum.checked_mul(10)?.checked_add(c_int::from(digit - b'0')),
        _ => None,
    };
    (end > 0).then(|| digits.iter().try_fold(0, add))?
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_are_digits_up_to_a_nul() {
        let table: [(&[u8], Option<c_int>); 8] = [
            (b"0\0rest", Some(0)),
            (b"4711\0", Some(4711)),
            (b"2147483647\0", Some(c_int::MAX)),
            (b"2147483648\0", None),
            (b"\0", None),
            (b"12", None),
            (b"1a\0", None),
            (b".\0", None),
        ];
        for (text, expected) in table {
            assert_eq!(number(text), expected, "{text:?}");
        }
    }

    /// More than one buffer holds.
    #[test]
    fn every_number_of_a_large_directory_is_visited_once() {
        let directory = tempfile::tempdir().expect("a directory");
        for index in 0..1000 {
            std::fs::write(directory.path().join(index.to_string()), []).expect("a file");
        }
        std::fs::write(directory.path().join("name"), []).expect("a file");
        let path = std::ffi::CString::new(directory.path().to_str().expect("text"));
        let mut found = Vec::new();
        numbers_of(&path.expect("no NUL"), |number| found.push(number)).expect("a list");
        found.sort_unstable();
        assert!(found.into_iter().eq(0..1000));
        assert_eq!(numbers_of(c"/none", |_| ()), Err(Errno::ENOENT));
    }
}
