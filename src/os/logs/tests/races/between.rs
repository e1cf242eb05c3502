//! What another process, or the system, may do between any two calls of a log that is rotated:
//! whatever it is, each byte is in a file, or was counted as lost.

use std::collections::BTreeSet;
use std::fs::File;
use std::os::unix::fs::FileExt;

use nix::errno::Errno;

use super::stops::stopped;
use super::*;
use crate::spec::LogOptions;

/// Not even the least size holds here.
const MOST: u64 = 60;
const LINE: usize = 11;
const BYTES: usize = 16 * LINE;

/// More than there are rotations.
const KEEP: u32 = 5;

/// Pieces that part lines, and that hold the ends of some.
const PIECES: [usize; 2] = [5, LINE + 3];

/// Shorter parts may be in more than one place.
const CERTAIN: usize = 4;

/// What another process does with the logs.
#[derive(Debug, Clone, Copy)]
enum Deed {
    Rename,
    RenameOlder,
    Remove,
    RemoveOlder,
    Truncate,
    TruncateOlder,
    /// Renames it and puts a directory in its place.
    Directory,
    /// Renames it and puts a symlink to a file in its place, which is not ours to write.
    Symlink,
    /// Puts a directory where the log is to be renamed to.
    InTheWay,
    /// Puts another file in its place, as logrotate does.
    Replace,
}

const DEEDS: [Deed; 10] = [
    Deed::Rename,
    Deed::RenameOlder,
    Deed::Remove,
    Deed::RemoveOlder,
    Deed::Truncate,
    Deed::TruncateOlder,
    Deed::Directory,
    Deed::Symlink,
    Deed::InTheWay,
    Deed::Replace,
];

/// What a program writes: no four bytes of it are there twice.
fn words() -> Vec<u8> {
    let mut bits = 1_u32;
    let letter = |at: usize| {
        bits = bits.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
        match at % LINE {
            10 => b'\n',
            _ => b'a' + (bits >> 16) as u8 % 26,
        }
    };
    (0..BYTES).map(letter).collect()
}

/// The place of a log, and what was taken out of it.
struct Logs {
    place: Place,
    removed: Vec<File>,
    emptied: Vec<Vec<u8>>,
}

impl Logs {
    fn new() -> Self {
        Self {
            place: Place::new(),
            removed: Vec::new(),
            emptied: Vec::new(),
        }
    }

    fn log(&self) -> Log {
        let mut log = log_in(&self.place.path("logs"));
        log.set_options(LogOptions::new().max_bytes(MOST).keep(KEEP));
        log
    }

    fn befall(&mut self, deed: Deed, index: usize) {
        let log = self.place.log_path();
        let older = self.place.path("logs/p.stderr.log.1");
        let aside = self.place.path(&format!("logs/aside{index}"));
        match deed {
            Deed::Rename => _ = fs::rename(log, aside),
            Deed::RenameOlder => _ = fs::rename(older, aside),
            Deed::Remove => self.remove(&log),
            Deed::RemoveOlder => self.remove(&older),
            Deed::Truncate => self.empty(&log),
            Deed::TruncateOlder => self.empty(&older),
            Deed::Directory => {
                let _ = fs::rename(&log, aside);
                let _ = fs::create_dir(log);
            }
            Deed::Symlink => {
                let _ = fs::rename(&log, aside);
                let _ = symlink(self.place.path("victim"), log);
            }
            Deed::InTheWay => {
                let _ = fs::rename(&older, aside);
                let _ = fs::create_dir_all(older.join("full"));
            }
            Deed::Replace => {
                let _ = fs::rename(&log, aside);
                let _ = File::create_new(log);
            }
        }
    }

    fn remove(&mut self, path: &Path) {
        self.removed.extend(File::open(path));
        let _ = fs::remove_file(path);
    }

    fn empty(&mut self, path: &Path) {
        if let Ok(file) = OpenOptions::new().read(true).write(true).open(path) {
            self.emptied.push(all_of(&file));
            file.set_len(0).expect("it can be emptied");
        }
    }

    /// What is in each file, those that were removed too.
    fn texts(&self) -> Vec<Vec<u8>> {
        let there = fs::read_dir(self.place.path("logs")).expect("a directory");
        let there = there.filter_map(|entry| {
            let entry = entry.expect("an entry");
            let is_file = entry.file_type().is_ok_and(|kind| kind.is_file());
            is_file.then(|| fs::read(entry.path()).expect("a file"))
        });
        let removed = self.removed.iter().map(all_of);
        there.chain(removed).chain(self.emptied.clone()).collect()
    }
}

fn all_of(file: &File) -> Vec<u8> {
    let length = file.metadata().expect("it is open").len();
    let mut text = vec![0; length as usize];
    file.read_exact_at(&mut text, 0).expect("it can be read");
    text
}

/// The words of the program in a text, parted where some are missing, and the sum of those that it
/// says are missing.
fn parts(text: &[u8]) -> (Vec<Vec<u8>>, u64) {
    const OURS: &str = "\nprocsched: ";
    let text = String::from_utf8(text.to_vec()).expect("text");
    let mut pieces = text.split(OURS);
    let first = pieces.next().expect("one at least");
    let (mut parts, mut missing) = (vec![first.as_bytes().to_vec()], 0);
    for piece in pieces {
        let (note, rest) = piece.split_once('\n').expect("a whole note");
        let (number, why) = note.split_once(' ').expect("a number");
        assert!(
            why.starts_with("bytes of stderr were lost here: "),
            "{note}"
        );
        missing += number.parse::<u64>().expect("a number");
        parts.push(rest.as_bytes().to_vec());
    }
    (parts, missing)
}

/// Each byte is there once, or was reported as lost, and what was lost was noted.
fn judge(what: &str, logs: &Logs, words: &[u8], reported: u64) {
    let (mut covered, mut found, mut noted) = (BTreeSet::new(), 0, 0);
    for text in logs.texts() {
        let (parts, missing) = parts(&text);
        noted += missing;
        for part in parts {
            found += part.len();
            let mut places = words.windows(part.len().max(1));
            let place = places.position(|window| window == part);
            assert!(part.is_empty() || place.is_some(), "{what}: other words");
            if part.len() >= CERTAIN {
                let begin = place.expect("just found");
                let is_new = (begin..begin + part.len()).all(|at| covered.insert(at));
                assert!(is_new, "{what}: words are there twice");
            }
        }
    }
    assert_eq!(
        found as u64 + reported,
        words.len() as u64,
        "{what}: bytes in files, and those that were reported as lost"
    );
    assert_eq!(noted, reported, "{what}: bytes noted as lost");
    let victim = fs::read(logs.place.path("victim")).expect("it");
    assert_eq!(victim, VICTIM, "{what}");
}

/// Writes all but the last line, looks at the path now and then, and returns the log.
fn write(mut log: Log, words: &[u8], piece: usize) -> Log {
    let _ = log.open(&mut Flaws::default());
    for (index, piece) in words[..BYTES - LINE].chunks(piece).enumerate() {
        log.write(piece);
        if index % 4 == 3 {
            let _ = log.open(&mut Flaws::default());
        }
    }
    log
}

/// Plays it once for each call of an undisturbed play: `at` gets the number of the call that the thread
/// is at, and of the one that is meant. The last line is written when all is well again.
fn between_any_two_calls(
    what: &str,
    at: impl Fn(&mut Logs, usize, usize) -> Option<Errno>,
    mend: impl Fn(&Logs),
) {
    let words = words();
    for piece in PIECES {
        let logs = Logs::new();
        let mut calls = 0;
        let log = logs.log();
        let undisturbed = stopped(
            || write(log, &words, piece),
            |index| {
                calls = index + 1;
                None
            },
        );
        if undisturbed.is_none() {
            skip("a thread that can be stopped at its calls");
            return;
        }
        assert!(calls > 40, "only {calls} calls");
        for meant in 0..calls {
            let mut logs = Logs::new();
            let log = logs.log();
            let disturb = |index: usize| at(&mut logs, index, meant);
            let log = stopped(|| write(log, &words, piece), disturb);
            let mut log = log.expect("it was stopped before");
            mend(&logs);
            let opened = log.open(&mut Flaws::default());
            let what = format!("{what}, call {meant}, pieces of {piece}, {opened:?}");
            log.write(&words[BYTES - LINE..]);
            let reported = log.take_unreported(true).unwrap_or_default();
            judge(&what, &logs, &words, reported);
        }
    }
}

#[test]
fn another_process_between_any_two_calls_of_a_rotation() {
    let mend = |logs: &Logs| {
        // What was put into its place goes, so that the last words find their way.
        let log = logs.place.log_path();
        let _ = fs::remove_dir(&log);
        if log.is_symlink() {
            fs::remove_file(&log).expect("it goes");
        }
    };
    for deed in DEEDS {
        let once = |logs: &mut Logs, index: usize, meant: usize| {
            if index == meant {
                logs.befall(deed, index);
            }
            None
        };
        between_any_two_calls(&format!("{deed:?}"), once, mend);
    }
}

/// A full disk, and what else a system has to say.
#[test]
fn an_error_at_any_call_of_a_rotation() {
    // What says "call again" says so a few times at most.
    let lengths: [(Errno, &[usize]); 3] = [
        (Errno::ENOSPC, &[1, 3, usize::MAX]),
        (Errno::EACCES, &[1, usize::MAX]),
        (Errno::EINTR, &[2]),
    ];
    for (errno, lengths) in lengths {
        for &length in lengths {
            let fail = |_: &mut Logs, index: usize, meant: usize| {
                let is_meant = index >= meant && index - meant < length;
                is_meant.then_some(errno)
            };
            between_any_two_calls(&format!("{errno}, {length} times"), fail, |_| {});
        }
    }
}

/// Says that this test does not run, as something is missing, and fails in CI.
fn skip(needed: &str) {
    let name = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{name} skipped: needs {needed}");
    assert_ne!(
        std::env::var("CI").as_deref(),
        Ok("true"),
        "CI has {needed}"
    );
}
