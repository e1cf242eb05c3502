//! The log of one program as the product writes it, and what its files should have in them:
//! all that was written while it could be opened, and a note where something is missing.

use std::fs;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use super::choices::Rng;
use crate::machine::Moment;
use crate::os::logs::{Flaws, Log};
use crate::spec::StdStream;

pub const NAME: &str = "a.b-c@d_E9";

/// A directory of its own, gone when this is dropped.
pub struct Place(PathBuf);

impl Place {
    fn new() -> Self {
        static COUNT: AtomicU64 = AtomicU64::new(0);
        let count = COUNT.fetch_add(1, Ordering::Relaxed);
        let name = format!("procsched-fuzz-{}-{count}", std::process::id());
        // In memory where that can be had: there are thousands of them.
        let memory = PathBuf::from("/dev/shm");
        let usual = std::env::temp_dir();
        let directory = if memory.is_dir() { memory } else { usual }.join(name);
        fs::create_dir(&directory).expect("a temporary directory");
        Self(directory)
    }

    fn path(&self) -> PathBuf {
        self.0.join(format!("{NAME}.stderr.log"))
    }
}

impl Drop for Place {
    fn drop(&mut self) {
        let removed = fs::remove_dir_all(&self.0);
        assert!(removed.is_ok() || std::thread::panicking(), "{removed:?}");
    }
}

/// What stands where the log should be.
#[derive(Debug, Clone, Copy, PartialEq)]
enum There {
    Nothing,
    Directory,
    File(usize),
}

pub struct Logs {
    pub place: Place,
    pub log: Log,
    /// What is in each file, and where it is by now.
    files: Vec<(PathBuf, Vec<u8>)>,
    there: There,
    /// What the log has open.
    open: Option<usize>,
    /// True if it was refused what is at its path.
    is_refused: bool,
    cause: String,
    unlogged: u64,
    lost: u64,
    told: u64,
}

impl Logs {
    pub fn new() -> Self {
        let place = Place::new();
        Self {
            log: Log::new(Arc::new(place.0.clone()), NAME.into(), StdStream::Stderr),
            place,
            files: Vec::new(),
            there: There::Nothing,
            open: None,
            is_refused: false,
            cause: String::new(),
            unlogged: 0,
            lost: 0,
            told: 0,
        }
    }

    /// As at a start; the size that it says.
    pub fn open(&mut self) -> u64 {
        let size = self.log.open(&mut Flaws::default());
        // What was renamed is written on until there is another.
        let there = self.file_there();
        self.open = there.or(self.open);
        self.is_refused = there.is_none();
        let expected = there.map(|there| self.files[there].1.len() as u64);
        assert_eq!(size.unwrap_or(0), expected.unwrap_or(0));
        expected.unwrap_or(0)
    }

    pub fn path(&self) -> Option<PathBuf> {
        let path = self.log.path();
        assert_eq!(
            path,
            self.open
                .filter(|_| !self.is_refused)
                .map(|_| self.place.path())
        );
        path
    }

    /// The product has written these bytes; the same in the model.
    pub fn wrote(&mut self, bytes: &[u8]) {
        if self.unlogged > 0 {
            let (lost, cause) = (self.unlogged, &self.cause);
            let note = format!("\nprocsched: {lost} bytes of stderr were lost here: {cause}\n");
            if self.append(note.as_bytes()) {
                self.unlogged = 0;
            }
        }
        if self.unlogged > 0 || !self.append(bytes) {
            self.unlogged += bytes.len() as u64;
            self.lost += bytes.len() as u64;
        }
    }

    fn append(&mut self, bytes: &[u8]) -> bool {
        let Some(open) = self.open else {
            "no log".clone_into(&mut self.cause);
            return false;
        };
        self.files[open].1.extend(bytes);
        true
    }

    /// What is opened there, new if there is nothing.
    fn file_there(&mut self) -> Option<usize> {
        match self.there {
            There::Directory => None,
            There::File(file) => Some(file),
            There::Nothing => {
                let file = self.files.len();
                self.files.push((self.place.path(), Vec::new()));
                self.there = There::File(file);
                Some(file)
            }
        }
    }

    pub fn tell_losses(&mut self, now: Moment, finally: bool) {
        if let Some(error) = self.log.take_warning(now) {
            assert!(!error.to_string().chars().any(char::is_control), "{error}");
        }
        self.told += self.log.take_unreported(finally).unwrap_or(0);
        if finally {
            assert_eq!(self.told, self.lost, "lost bytes are not told");
        }
        assert!(self.told <= self.lost, "more is told than was lost");
    }

    /// Something happens to the log, or to what is at its place.
    pub fn trouble(&mut self, choices: &mut Rng) {
        match choices.below(5) {
            0 | 1 => {
                self.log.close();
                self.open = None;
            }
            2 => self.move_away(),
            3 => {
                self.move_away();
                fs::create_dir(self.place.path()).expect("a directory");
                self.there = There::Directory;
            }
            _ => _ = self.open(),
        }
    }

    fn move_away(&mut self) {
        let path = self.place.path();
        match self.there {
            There::Nothing => {}
            There::Directory => fs::remove_dir(&path).expect("an empty directory"),
            There::File(file) => {
                let away = self.place.0.join(format!("away-{file}"));
                fs::rename(&path, &away).expect("a log that is there");
                self.files[file].0 = away;
            }
        }
        self.there = There::Nothing;
    }

    pub fn check_at_the_end(&mut self) {
        self.tell_losses(Moment::from_origin(std::time::Duration::MAX), true);
        for (path, expected) in &self.files {
            let found = fs::read(path).expect("a log");
            assert!(found == *expected, "{}", difference(path, &found, expected));
        }
    }
}

fn difference(path: &Path, found: &[u8], expected: &[u8]) -> String {
    let same = found.iter().zip(expected).take_while(|(a, b)| a == b);
    let (same, lengths) = (same.count(), (found.len(), expected.len()));
    let part = |bytes: &[u8]| {
        let part = &bytes[same.min(bytes.len())..bytes.len().min(same + 100)];
        String::from_utf8_lossy(part).into_owned()
    };
    let (found, expected) = (part(found), part(expected));
    format!("{path:?}: of {lengths:?} bytes {same} are the same, then {found:?}, not {expected:?}")
}
