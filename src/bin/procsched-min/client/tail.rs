//! The end of a log file, and what is added to it, over rotation, truncation and reopening.

use std::fs::{File, Metadata};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom};
use std::os::unix::fs::{FileExt, MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use procsched::LOG_KEEP_MAX;

/// How often the next file is looked for while the log is rotated again and again.
const OPEN_TRIES_MAX: usize = 16;

/// How much is read at once.
const BLOCK_BYTES: usize = 64 * 1024;

/// A log that is read from a place near its end.
#[derive(Debug)]
pub struct Tail {
    path: PathBuf,
    /// `None` while there is no file.
    file: Option<File>,
    /// Where the next read begins.
    position: u64,
}

/// What a read finds.
#[derive(Debug, PartialEq, Eq)]
pub enum Found {
    /// Bytes, at the start of the buffer.
    Bytes(usize),
    /// Nothing is added.
    Nothing,
    /// Another file is at the path, or the file was emptied: it is read from its start.
    Anew,
    /// The same, and files in between may be gone: the file that was read is not kept any more.
    AnewAfterGap,
}

/// What was begun after a file that is not at the path any more.
#[derive(Debug, Default)]
struct Before {
    /// The rotated file, with its number; `None` for the log itself.
    next: Option<(u32, Metadata)>,
    /// True if files before that may be gone.
    is_after_gap: bool,
}

impl Tail {
    /// Opens a log, and goes to the last `lines` lines; to the start for `None`.
    pub fn open(path: &Path, lines: Option<u64>) -> io::Result<Self> {
        let file = open(path)?;
        let position = match lines {
            Some(lines) => start_of_last(&file, lines)?,
            None => 0,
        };
        Ok(Self {
            path: path.to_owned(),
            file: Some(file),
            position,
        })
    }

    /// A log that is not there yet.
    pub fn missing(path: &Path) -> Self {
        Self {
            path: path.to_owned(),
            file: None,
            position: 0,
        }
    }

    pub fn path(&self) -> &Path {
        &self.path
    }

    /// Returns a buffer for reads.
    pub fn buffer() -> Vec<u8> {
        vec![0; BLOCK_BYTES]
    }

    /// Reads what comes next.
    pub fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let Some(file) = &mut self.file else {
            return Ok(0);
        };
        file.seek(SeekFrom::Start(self.position))?;
        let count = loop {
            match file.read(buffer) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read?,
            }
        };
        self.position += count as u64;
        Ok(count)
    }

    /// Reads what was added. What is left of a file that was renamed is read before the new one.
    pub fn follow(&mut self, buffer: &mut [u8]) -> io::Result<Found> {
        // Looked at before the read: what was written until then is read.
        let there = match std::fs::metadata(&self.path) {
            Ok(there) => Some(there),
            Err(error) if error.kind() == ErrorKind::NotFound => None,
            Err(error) => return Err(error),
        };
        let own = self.file.as_ref().map(File::metadata).transpose()?;
        if own.as_ref().is_some_and(|own| own.len() < self.position) {
            self.position = 0;
            return Ok(Found::Anew);
        }
        let count = self.read(buffer)?;
        if count > 0 {
            return Ok(Found::Bytes(count));
        }
        let is_same = |there: &Metadata| own.as_ref().is_some_and(|own| same(own, there));
        match there {
            Some(there) if !is_same(&there) => match self.open_next(own.as_ref()) {
                Ok(Some((next, is_after_gap))) => {
                    self.file = Some(next);
                    self.position = 0;
                    Ok(match is_after_gap {
                        true => Found::AnewAfterGap,
                        false => Found::Anew,
                    })
                }
                Ok(None) => Ok(Found::Nothing),
                // It was renamed since, too.
                Err(error) if error.kind() == ErrorKind::NotFound => Ok(Found::Nothing),
                Err(error) => Err(error),
            },
            _ => Ok(Found::Nothing),
        }
    }
}

impl Tail {
    /// Opens what was begun after a file that was renamed: the log may have been rotated several times
    /// since the last look. Also returns true if files in between may be gone. `None` if it is rotated
    /// so often just now that the next look has to find it.
    fn open_next(&self, own: Option<&Metadata>) -> io::Result<Option<(File, bool)>> {
        for _ in 0..OPEN_TRIES_MAX {
            let before = own.map(|own| self.before(own)).unwrap_or_default();
            let next = match &before.next {
                None => open(&self.path)?,
                Some((number, _)) => match open(&self.rotated(*number)) {
                    Err(error) if error.kind() == ErrorKind::NotFound => continue,
                    next => next?,
                },
            };
            let is_it = match &before.next {
                // What was at the path may have been renamed just before it was opened.
                None => own.is_none_or(|own| self.before(own).next.is_none()),
                Some((_, there)) => same(there, &next.metadata()?),
            };
            if is_it {
                return Ok(Some((next, before.is_after_gap)));
            }
        }
        Ok(None)
    }

    /// Looks for the rotated file that was begun next after this one: the one with the highest number
    /// below its own. A rotation renames the oldest first, so that for a moment a number in between may
    /// be missing; and as this looks from the lowest up, none is passed by that moves up meanwhile.
    ///
    /// If this one is not kept any more, the next is the oldest of those that were written to since.
    fn before(&self, own: &Metadata) -> Before {
        let written = |file: &Metadata| (file.mtime(), file.mtime_nsec());
        let (mut next, mut next_newer) = (None, None);
        for number in 1..=LOG_KEEP_MAX {
            match std::fs::metadata(self.rotated(number)) {
                Ok(there) if same(own, &there) => {
                    let is_after_gap = false;
                    return Before { next, is_after_gap };
                }
                Ok(there) => {
                    if written(&there) >= written(own) {
                        next_newer = Some((number, there.clone()));
                    }
                    next = Some((number, there));
                }
                Err(_) => {}
            }
        }
        Before {
            is_after_gap: next_newer.is_some(),
            next: next_newer,
        }
    }

    fn rotated(&self, number: u32) -> PathBuf {
        let mut path = self.path.clone().into_os_string();
        path.push(format!(".{number}"));
        path.into()
    }
}

fn same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// Opens a log. A FIFO in its place must not make this wait.
fn open(path: &Path) -> io::Result<File> {
    let mut options = File::options();
    let flags = libc::O_NONBLOCK | libc::O_NOCTTY;
    let file = options.read(true).custom_flags(flags).open(path)?;
    match file.metadata()?.is_file() {
        true => Ok(file),
        false => Err(io::Error::other("expected a regular file")),
    }
}

/// Returns where the last lines begin, by reading backwards. A last line may have no line feed.
fn start_of_last(file: &File, lines: u64) -> io::Result<u64> {
    let end = file.metadata()?.len();
    if lines == 0 {
        return Ok(end);
    }
    let mut block = vec![0; BLOCK_BYTES];
    let (mut before, mut left) = (end, lines);
    while before > 0 {
        let start = before.saturating_sub(BLOCK_BYTES as u64);
        let part = &mut block[..(before - start) as usize];
        match file.read_exact_at(part, start) {
            // It was emptied meanwhile.
            Err(error) if error.kind() == ErrorKind::UnexpectedEof => return Ok(0),
            read => read?,
        }
        let feeds = part.iter().enumerate().rev();
        for (index, _) in feeds.filter(|(_, byte)| **byte == b'\n') {
            let behind = start + index as u64 + 1;
            // At the very end it begins no line.
            if behind == end {
                continue;
            }
            left -= 1;
            if left == 0 {
                return Ok(behind);
            }
        }
        before = start;
    }
    Ok(0)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::clock;
    use std::fs;
    use std::io::Write;

    struct Log {
        _directory: tempfile::TempDir,
        path: PathBuf,
    }

    fn log(content: impl AsRef<[u8]>) -> Log {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("web.stderr.log");
        fs::write(&path, content).expect("a file");
        Log {
            _directory: directory,
            path,
        }
    }

    fn append(path: &Path, text: &str) {
        let file = File::options().append(true).create(true).open(path);
        let written = file.and_then(|mut file| file.write_all(text.as_bytes()));
        written.expect("a line");
    }

    /// All that is read until there is nothing more.
    fn rest(tail: &mut Tail) -> String {
        let mut buffer = Tail::buffer();
        let mut text = String::new();
        loop {
            match tail.follow(&mut buffer).expect("a read") {
                Found::Bytes(count) => text += std::str::from_utf8(&buffer[..count]).expect("text"),
                Found::Anew => text += "<anew>",
                Found::AnewAfterGap => text += "<gap>",
                Found::Nothing => return text,
            }
        }
    }

    fn last(content: impl AsRef<[u8]>, lines: Option<u64>) -> String {
        let log = log(content);
        rest(&mut Tail::open(&log.path, lines).expect("a log"))
    }

    #[test]
    fn the_last_lines() {
        assert_eq!(last("a\nb\nc\n", Some(2)), "b\nc\n");
        assert_eq!(last("a\nb\nc", Some(2)), "b\nc");
        assert_eq!(last("a\nb\n", Some(2)), "a\nb\n");
        assert_eq!(last("a\nb\n", Some(9)), "a\nb\n");
        assert_eq!(last("a\n\n\n", Some(2)), "\n\n");
        assert_eq!(last("a\nb\n", Some(0)), "");
        assert_eq!(last("ab", Some(0)), "");
        assert_eq!(last("", Some(3)), "");
        assert_eq!(last("a\nb\n", None), "a\nb\n");
    }

    #[test]
    fn lines_longer_than_a_block_are_found() {
        let long = "x".repeat(BLOCK_BYTES * 2 + 7);
        let content = format!("first\n{long}\nlast\n");
        assert_eq!(last(&content, Some(1)), "last\n");
        assert_eq!(last(&content, Some(2)), format!("{long}\nlast\n"));
        let exact = format!("{}\n{}\n", "a".repeat(9), "b".repeat(BLOCK_BYTES - 1));
        assert_eq!(last(&exact, Some(1)), exact[10..]);
    }

    #[test]
    fn what_is_added_is_followed_over_a_rename() {
        let log = log("old\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "old\n");
        append(&log.path, "more\n");
        assert_eq!(rest(&mut tail), "more\n");
        let renamed = log.path.with_extension("1");
        fs::rename(&log.path, &renamed).expect("a rename");
        append(&renamed, "to the old one\n");
        assert_eq!(rest(&mut tail), "to the old one\n");
        append(&renamed, "its end\n");
        append(&log.path, "new\n");
        assert_eq!(rest(&mut tail), "its end\n<anew>new\n");
    }

    #[test]
    fn what_was_rotated_several_times_is_read_whole() {
        let log = log("one\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "one\n");
        let numbered = |number: u32| tail.rotated(number);
        let paths: Vec<PathBuf> = (1..=3).map(numbered).collect();
        for text in ["two\n", "three\n", "four\n"] {
            append(&log.path, "its end\n");
            let _ = fs::rename(&paths[1], &paths[2]);
            let _ = fs::rename(&paths[0], &paths[1]);
            fs::rename(&log.path, &paths[0]).expect("a rename");
            append(&log.path, text);
        }
        assert_eq!(
            rest(&mut tail),
            "its end\n<anew>two\nits end\n<anew>three\nits end\n<anew>four\n"
        );
    }

    /// Nothing said that lines were missing.
    #[test]
    fn what_was_rotated_past_what_is_kept_is_a_gap() {
        let log = log("one\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "one\n");
        let paths: Vec<PathBuf> = (1..=2).map(|number| tail.rotated(number)).collect();
        append(&log.path, "its end\n");
        fs::remove_file(&log.path).expect("a file");
        append(&paths[1], "five\n");
        append(&paths[0], "six\n");
        append(&log.path, "seven\n");
        assert_eq!(
            rest(&mut tail),
            "its end\n<gap>five\n<anew>six\n<anew>seven\n"
        );
    }

    /// Files that had been rotated before were printed again.
    #[test]
    fn a_log_that_is_removed_leads_to_no_older_file() {
        let log = log("now\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "now\n");
        let older = tail.rotated(1);
        append(&older, "older\n");
        let hour = std::time::Duration::from_secs(3600);
        let before = fs::metadata(&log.path).and_then(|now| now.modified());
        let before = before.expect("a time") - hour;
        let file = File::options().append(true).open(&older).expect("a file");
        file.set_modified(before).expect("a time");
        fs::remove_file(&log.path).expect("a file");
        assert_eq!(rest(&mut tail), "");
        append(&log.path, "new\n");
        assert_eq!(rest(&mut tail), "<anew>new\n");
    }

    /// Whole files were passed over, as each rename leaves a number free for a moment.
    #[test]
    fn what_is_found_in_the_midst_of_a_rotation_is_read_whole() {
        let log = log("one\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "one\n");
        let paths: Vec<PathBuf> = (1..=4).map(|number| tail.rotated(number)).collect();
        fs::rename(&log.path, &paths[3]).expect("a rename");
        append(&paths[1], "two\n");
        append(&log.path, "three\n");
        assert_eq!(rest(&mut tail), "<anew>two\n<anew>three\n");
    }

    /// The same, at each moment of rotations that go on meanwhile.
    #[test]
    fn no_file_is_passed_over_while_the_log_is_rotated() {
        const FILES: usize = 90;
        let log = log("0\n");
        let mut tail = Tail::open(&log.path, None).expect("a log");
        let paths: Vec<PathBuf> = (1..=LOG_KEEP_MAX)
            .map(|number| tail.rotated(number))
            .collect();
        let text = std::thread::scope(|scope| {
            scope.spawn(|| {
                for file in 1..FILES {
                    for number in (1..file).rev() {
                        let _ = fs::rename(&paths[number - 1], &paths[number]);
                    }
                    fs::rename(&log.path, &paths[0]).expect("a rename");
                    append(&log.path, &format!("{file}\n"));
                }
            });
            let end = clock::steady() + std::time::Duration::from_secs(60);
            let mut text = String::new();
            while !text.ends_with(&format!(">{}\n", FILES - 1)) {
                assert!(!clock::until(end).is_zero(), "{text}");
                text += &rest(&mut tail);
            }
            text
        });
        let all: Vec<String> = (0..FILES).map(|file| format!("{file}\n")).collect();
        assert_eq!(text.replace("<anew>", ""), all.concat());
    }

    #[test]
    fn a_log_that_is_emptied_is_read_from_its_start() {
        let log = log("a long line\n");
        let mut tail = Tail::open(&log.path, Some(1)).expect("a log");
        assert_eq!(rest(&mut tail), "a long line\n");
        fs::write(&log.path, "new\n").expect("a shorter file");
        assert_eq!(rest(&mut tail), "<anew>new\n");
    }

    #[test]
    fn a_log_that_is_not_there_yet_is_waited_for() {
        let log = log("");
        fs::remove_file(&log.path).expect("no file");
        let mut tail = Tail::missing(&log.path);
        assert_eq!(rest(&mut tail), "");
        append(&log.path, "first\n");
        assert_eq!(rest(&mut tail), "<anew>first\n");
    }

    #[test]
    fn what_is_no_log_is_refused() {
        let error = Tail::open(Path::new("/dev/null"), None).expect_err("a device");
        assert_eq!(error.to_string(), "expected a regular file");
    }
}
