//! The page that is shared with the children: who started when, and what each has done. It is
//! a file that they map and that is read here, which the kernel keeps the same.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

/// As in `benches/child.c`.
const HEAD_BYTES: u64 = 4096;
const SLOT_BYTES: usize = 64;
const WORDS: usize = SLOT_BYTES / 8;

/// The file.
pub struct Page {
    file: File,
    count: usize,
}

/// What a program has told. Times are nanoseconds of CLOCK_MONOTONIC.
pub struct Slot {
    pub starts: u64,
    pub pid: i32,
    pub started_at: u64,
    pub first_write_at: u64,
    pub done_at: u64,
    /// Processor time of the writes.
    pub cpu: u64,
    /// Writes and messages that failed.
    pub errors: u64,
    /// Messages to the supervisor.
    pub sent: u64,
}

impl Page {
    pub fn create(path: &Path, count: usize) -> Self {
        let file = File::options()
            .read(true)
            .write(true)
            .create_new(true)
            .open(path);
        let file = file.expect("a file to share");
        let slots = (count * SLOT_BYTES) as u64;
        let bytes = HEAD_BYTES + slots.next_multiple_of(4096);
        file.set_len(bytes).expect("room in memory");
        Self { file, count }
    }

    /// Starts of all programs so far.
    pub fn starts(&self) -> u64 {
        self.word(0)
    }

    /// How many have written everything.
    pub fn done(&self) -> u64 {
        self.word(8)
    }

    fn word(&self, at: u64) -> u64 {
        let mut bytes = [0; 8];
        self.file.read_exact_at(&mut bytes, at).expect("the page");
        u64::from_ne_bytes(bytes)
    }

    pub fn slot(&self, index: usize) -> Slot {
        let mut bytes = [0; SLOT_BYTES];
        let at = HEAD_BYTES + (index * SLOT_BYTES) as u64;
        self.file.read_exact_at(&mut bytes, at).expect("the page");
        let words: [u64; WORDS] = std::array::from_fn(|word| {
            let bytes = bytes[word * 8..][..8].try_into();
            u64::from_ne_bytes(bytes.expect("eight bytes"))
        });
        let [
            starts,
            pid,
            started_at,
            first_write_at,
            done_at,
            cpu,
            errors,
            sent,
        ] = words;
        Slot {
            starts,
            pid: i32::try_from(pid).expect("pids are small"),
            started_at,
            first_write_at,
            done_at,
            cpu,
            errors,
            sent,
        }
    }

    pub fn slots(&self) -> impl Iterator<Item = Slot> {
        (0..self.count).map(|index| self.slot(index))
    }
}
