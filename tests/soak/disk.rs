//! The disk that the logs are on: full at times, their directory gone at others, cut to
//! nothing as rotation does it, and at the end counted.
//!
//! It is a small file system in memory, in a mount namespace of this process alone, which needs
//! root. Without that the disk is never full, and that is said.

use std::fs::{self, File, OpenOptions};
use std::io::{Read, Write};
use std::path::{Path, PathBuf};

use nix::mount::{MsFlags, mount, umount};
use nix::sched::{CloneFlags, unshare};

use crate::common::{Need, Scene, missing};

const SIZE: &str = "size=192m,mode=755";

/// Logs above this are cut, but for those that are accounted for.
const LOG_BYTES_MAX: u64 = 1 << 20;

const NOTE_BEGIN: &[u8] = b"\nprocsched: ";
/// What the supervisor says in the log of a start that failed, up to the end of its line.
const REMARK: &[u8] = b"procsched: failed to start: ";

const NOTE_MIDDLE: &[u8] = b" bytes of stderr were lost here: ";

pub struct Disk {
    root: PathBuf,
    is_small: bool,
    aways: u32,
}

/// Puts this process into a mount namespace of its own. To be called while it has one thread.
pub fn prepare() -> bool {
    if missing(&[Need::Root, Need::Mounts]) {
        return false;
    }
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    unshare(CloneFlags::CLONE_NEWNS).expect("a mount namespace");
    mount(NONE, "/", NONE, private, NONE).expect("mounts of our own");
    true
}

impl Disk {
    pub fn new(scene: &Scene, is_small: bool) -> Self {
        let root = scene.mkdir("disk");
        if is_small {
            let none = MsFlags::empty();
            mount(Some("soak"), &root, Some("tmpfs"), none, Some(SIZE)).expect("a tmpfs");
        }
        Self {
            root,
            is_small,
            aways: 0,
        }
    }

    pub fn is_small(&self) -> bool {
        self.is_small
    }

    /// Takes all the room that is left.
    pub fn fill(&self) {
        let mut ballast = File::create(self.root.join("ballast")).expect("room for a name");
        let bytes = vec![0; 1 << 16];
        while ballast.write_all(&bytes).is_ok() {}
        // The last few pages too.
        while ballast.write_all(&bytes[..512]).is_ok() {}
    }

    pub fn make_room(&self) {
        fs::remove_file(self.root.join("ballast")).expect("the ballast");
    }

    /// The directory of the logs is elsewhere; perhaps there is another in its place.
    pub fn take_away(&mut self, replace: bool) {
        let logs = self.root.join("logs");
        fs::rename(&logs, self.root.join("away")).expect("the logs");
        if replace {
            fs::create_dir(&logs).expect("another directory");
        }
    }

    pub fn bring_back(&mut self) {
        let logs = self.root.join("logs");
        if logs.exists() {
            self.aways += 1;
            let other = self.root.join(format!("other.{}", self.aways));
            fs::rename(&logs, other).expect("the other logs");
        }
        fs::rename(self.root.join("away"), &logs).expect("the logs");
    }

    /// Cuts long logs to nothing, wherever they are.
    pub fn rotate(&self, is_kept: impl Fn(&str) -> bool) {
        for (program, path) in self.logs() {
            let is_long = fs::metadata(&path).is_ok_and(|log| log.len() > LOG_BYTES_MAX);
            if is_long
                && !is_kept(&program)
                && let Ok(log) = OpenOptions::new().write(true).open(&path)
            {
                log.set_len(0).expect("a log can be cut");
            }
        }
    }

    /// Every log, with the program's name.
    fn logs(&self) -> Vec<(String, PathBuf)> {
        let mut found = Vec::new();
        for directory in fs::read_dir(&self.root).expect("the disk").flatten() {
            let Ok(entries) = fs::read_dir(directory.path()) else {
                continue;
            };
            for entry in entries.flatten() {
                let name = entry.file_name().to_string_lossy().into_owned();
                if let Some(program) = name.strip_suffix(".stderr.log") {
                    found.push((program.to_owned(), entry.path()));
                }
            }
        }
        found
    }

    /// The bytes of this program in its logs, without the supervisor's own words.
    pub fn bytes_of(&self, program: &str) -> u64 {
        let logs = self.logs().into_iter();
        let own = logs.filter(|(name, _)| name == program);
        own.map(|(_, path)| bytes_without_notes(&path)).sum()
    }
}

impl Drop for Disk {
    fn drop(&mut self) {
        if self.is_small {
            let _ = umount(&self.root);
        }
    }
}

fn bytes_without_notes(path: &Path) -> u64 {
    let mut log = Vec::new();
    let read = File::open(path).and_then(|mut file| file.read_to_end(&mut log));
    read.expect("a log can be read");
    without_notes(&without_remarks(&log))
}

/// Leaves out the remarks about starts that failed.
fn without_remarks(log: &[u8]) -> Vec<u8> {
    let mut kept = Vec::with_capacity(log.len());
    let mut rest = log;
    while let Some(at) = rest.windows(REMARK.len()).position(|part| part == REMARK) {
        kept.extend(&rest[..at]);
        let end = rest[at..].iter().position(|byte| *byte == b'\n');
        rest = end.map_or(&[], |end| &rest[at + end + 1..]);
    }
    kept.extend(rest);
    kept
}

/// Counts the bytes that are no notes. What the program writes has no line feed in it. A note
/// for which there was no room is cut off anywhere, and the next follows at once.
fn without_notes(log: &[u8]) -> u64 {
    let mut count = 0;
    let mut rest = log;
    while let Some(at) = rest.iter().position(|byte| *byte == b'\n') {
        count += at as u64;
        rest = &rest[at..];
        let end = rest[1..].iter().position(|byte| *byte == b'\n');
        let line = end.map_or(rest, |end| &rest[..=end]);
        rest = &rest[line.len()..];
        if !is_note(line) {
            count += (line.len() - cut_off_length(line)) as u64;
        } else if !rest[rest.len().min(1)..].starts_with(&NOTE_BEGIN[1..]) {
            // Its own line feed, unless it was cut off and this one begins the next.
            rest = &rest[rest.len().min(1)..];
        }
    }
    count + rest.len() as u64
}

/// From the line feed before it up to the one at its end, that left out.
fn is_note(text: &[u8]) -> bool {
    let Some(after) = text.strip_prefix(NOTE_BEGIN) else {
        return false;
    };
    let digits = after
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    digits > 0 && after[digits..].starts_with(NOTE_MIDDLE)
}

/// How much of the text can be the beginning of a note.
fn cut_off_length(text: &[u8]) -> usize {
    let common =
        |one: &[u8], other: &[u8]| one.iter().zip(other).take_while(|(a, b)| a == b).count();
    let begin = common(text, NOTE_BEGIN);
    if begin < NOTE_BEGIN.len() {
        return begin;
    }
    let digits = text[begin..]
        .iter()
        .take_while(|byte| byte.is_ascii_digit())
        .count();
    let middle = common(&text[begin + digits..], NOTE_MIDDLE);
    begin + digits + middle
}

/// Tries the counting, before it is relied on.
pub fn try_counting() {
    let count = |log: &str| without_notes(&without_remarks(log.as_bytes()));
    let note = "\nprocsched: 12 bytes of stderr were lost here: No space left on device\n";
    assert_eq!(count("abc"), 3);
    assert_eq!(count(&format!("abc{note}de")), 5);
    let remark = "procsched: failed to start: failed to create a process: no\n";
    assert_eq!(count(&format!("abc{remark}de{remark}")), 5);
    assert_eq!(count(&format!("abc{note}{remark}de")), 5);
    for cut in 0..note.len() {
        let log = format!("abc{}{note}de{}", &note[..cut], &note[..cut]);
        assert_eq!(count(&log), 5, "{log:?}");
    }
}
