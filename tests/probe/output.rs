//! What the probe writes, and where.

use std::fs::OpenOptions;
use std::io::Write;

use crate::pattern::{self, Pattern};
use crate::{broken, must, waits};

/// As much as a pipe takes at once.
const CHUNK_BYTES: usize = 64 * 1024;

/// Writes all of it, whatever that takes.
pub fn write_all(fd: i32, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        // SAFETY: the buffer is valid for its length.
        let written = unsafe { libc::write(fd, bytes.as_ptr().cast(), bytes.len()) };
        match usize::try_from(written) {
            Ok(written) => bytes = &bytes[written..],
            Err(_) if interrupted() => {}
            Err(_) => broken("write"),
        }
    }
}

fn interrupted() -> bool {
    std::io::Error::last_os_error().kind() == std::io::ErrorKind::Interrupted
}

/// Writes this many bytes of a pattern.
pub fn spew(fd: i32, bytes: u64, pattern: &str) {
    let pattern = pattern
        .parse::<Pattern>()
        .unwrap_or_else(|why| broken(&why));
    let mut buffer = vec![0; CHUNK_BYTES];
    let mut at = 0;
    while at < bytes {
        let length = (bytes - at).min(CHUNK_BYTES as u64);
        let chunk = &mut buffer[..length as usize];
        pattern.fill(at, chunk);
        write_all(fd, chunk);
        at += length;
    }
}

/// Writes numbered lines of different lengths, this many a second, until all are written. Most writes
/// end in the midst of a line.
pub fn numbers(fd: i32, lines: u64, per_second: u64) {
    const PAUSE_MILLISECONDS: u64 = 5;
    let begin = waits::monotonic();
    let mut written = 0;
    while written < lines {
        let due = (waits::monotonic() - begin) / 1_000_000 * per_second / 1000;
        let due = due.min(lines);
        let text: String = (written..due).map(pattern::numbered).collect();
        let (first, second) = text
            .as_bytes()
            .split_at(text.len() * (due % 8) as usize / 8);
        write_all(fd, first);
        write_all(fd, second);
        written = due;
        waits::sleep(PAUSE_MILLISECONDS);
    }
}

/// Writes random bytes to stderr, and the same to a file first.
pub fn urandom(bytes: usize, file: &str) {
    let mut random = vec![0; bytes];
    let mut filled = 0;
    while filled < bytes {
        let rest = &mut random[filled..];
        // SAFETY: the buffer is valid for its length.
        let more = unsafe { libc::getrandom(rest.as_mut_ptr().cast(), rest.len(), 0) };
        filled += must(more as i64, "getrandom") as usize;
    }
    replace(file, &random);
    write_all(2, &random);
}

/// Appends to a file by one write.
pub fn append(file: &str, bytes: &[u8]) {
    let opened = OpenOptions::new().append(true).create(true).open(file);
    let written = opened.and_then(|mut file| file.write_all(bytes));
    written.unwrap_or_else(|_| broken(file));
}

/// Puts a whole file in place at once: who sees it sees all of it.
pub fn replace(file: &str, bytes: &[u8]) {
    let temporary = format!("{file}.{}.tmp", crate::process::pid());
    std::fs::write(&temporary, bytes).unwrap_or_else(|_| broken(&temporary));
    std::fs::rename(&temporary, file).unwrap_or_else(|_| broken(file));
}

/// Whether this call created the file.
pub fn create_new(file: &str) -> bool {
    match OpenOptions::new().write(true).create_new(true).open(file) {
        Ok(_) => true,
        Err(error) if error.kind() == std::io::ErrorKind::AlreadyExists => false,
        Err(_) => broken(file),
    }
}

/// How often this was called with this file. One process at a time.
pub fn count(file: &str) -> u64 {
    append(file, b".");
    std::fs::metadata(file).map_or_else(|_| broken(file), |metadata| metadata.len())
}

/// Appends all of stdin and a line feed to a file, by one write.
pub fn slurp(file: &str) {
    let mut bytes = Vec::new();
    let mut buffer = [0; 4096];
    loop {
        // SAFETY: the buffer is valid for its length.
        let read = unsafe { libc::read(0, buffer.as_mut_ptr().cast(), buffer.len()) };
        match must(read as i64, "read stdin") {
            0 => break,
            read => bytes.extend(&buffer[..read as usize]),
        }
    }
    bytes.push(b'\n');
    append(file, &bytes);
}
