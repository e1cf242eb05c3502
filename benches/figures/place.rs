//! Where one measurement takes place: a directory with the config, the logs, and the FIFOs by
//! which children tell that they run and are told to write.
//!
//! A child announces itself by four bytes, its pid, as the first thing that it does. Whoever
//! waits for it sleeps in poll(2) meanwhile: that costs a few microseconds of the other
//! processor for each child, the same on both sides of the table.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsFd;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::Mode;
use nix::unistd::{Pid, mkfifo};
use tempfile::TempDir;

/// The FIFO into which each child writes its pid.
pub const ARRIVALS: &str = "arrivals";

/// The FIFO that has a writer once the children may write.
pub const GATE: &str = "gate";

/// A measurement that takes longer than this has failed. In milliseconds.
const PATIENCE_MS: u16 = 60_000;

/// Memory, for all that is not about throughput to a disk: creating files on some file systems
/// is slow for a while after many were removed, which would charge one run for the last one.
const MEMORY: &str = "/dev/shm";

/// One directory, removed at the end.
pub struct Place {
    directory: TempDir,
    arrivals: File,
    /// How many programs take part.
    pub count: usize,
    /// What each is given besides the directory.
    arguments: Vec<String>,
}

impl Place {
    /// In memory, for programs that stay.
    pub fn in_memory(count: usize) -> Self {
        let memory = Path::new(MEMORY);
        let root = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        Self::new(&root, count, Vec::new())
    }

    /// On the file system of temporary files, for programs that write.
    pub fn on_disk(count: usize, bytes: usize, total: u64) -> Self {
        Self::new(
            &std::env::temp_dir(),
            count,
            vec![bytes.to_string(), total.to_string()],
        )
    }

    fn new(root: &Path, count: usize, arguments: Vec<String>) -> Self {
        let directory = TempDir::with_prefix_in("procsched-bench-", root).expect("a directory");
        for name in [ARRIVALS, GATE] {
            mkfifo(&directory.path().join(name), Mode::S_IRWXU).expect("a FIFO");
        }
        std::fs::create_dir(directory.path().join("logs")).expect("a directory of logs");
        // Open for both, so that it opens at once and has no end of file.
        let arrivals = OpenOptions::new()
            .read(true)
            .write(true)
            .open(directory.path().join(ARRIVALS));
        Self {
            directory,
            arrivals: arrivals.expect("the FIFO"),
            count,
            arguments,
        }
    }

    /// A file of the place.
    pub fn path(&self, name: &str) -> PathBuf {
        self.directory.path().join(name)
    }

    /// The log of a program.
    pub fn log(&self, index: usize) -> PathBuf {
        self.path("logs")
            .join(format!("{}.stderr.log", name(index)))
    }

    /// What each program executes.
    pub fn command(&self) -> Vec<String> {
        let this = std::env::current_exe().expect("this program");
        let words = [this.as_path(), Path::new("child"), self.directory.path()];
        let words = words.map(|word| word.to_str().expect("paths of UTF-8").to_owned());
        words.into_iter().chain(self.arguments.clone()).collect()
    }

    /// Waits for the next child that runs.
    pub fn arrival(&mut self) -> Pid {
        let mut ready = [PollFd::new(self.arrivals.as_fd(), PollFlags::POLLIN)];
        let count = poll(&mut ready, PollTimeout::from(PATIENCE_MS)).expect("poll");
        assert!(
            count > 0,
            "no child came within {PATIENCE_MS} ms; {}",
            self.last_words()
        );
        let mut pid = [0; size_of::<i32>()];
        self.arrivals.read_exact(&mut pid).expect("a pid");
        Pid::from_raw(i32::from_ne_bytes(pid))
    }

    /// Waits until all children run.
    pub fn arrivals(&mut self) -> Vec<Pid> {
        (0..self.count).map(|_| self.arrival()).collect()
    }

    /// Lets the children write, as long as the file is kept.
    pub fn open_gate(&self) -> File {
        OpenOptions::new()
            .write(true)
            .open(self.path(GATE))
            .expect("the gate")
    }

    /// What the supervisor said last, for whoever looks for the cause of a failure.
    fn last_words(&self) -> String {
        let said = std::fs::read_to_string(self.path("messages")).unwrap_or_default();
        let last: Vec<&str> = said.lines().rev().take(3).collect();
        format!("the supervisor said last: {last:?}")
    }
}

/// The name of a program. Names sort as they count.
pub fn name(index: usize) -> String {
    format!("p{index:05}")
}

/// Asks again and again, with a nap in between, until the answer is yes.
pub fn wait_until(nap: Duration, what: &str, mut is_so: impl FnMut() -> bool) {
    let began = std::time::Instant::now();
    while !is_so() {
        assert!(
            began.elapsed().as_millis() < u128::from(PATIENCE_MS),
            "in vain: {what}"
        );
        std::thread::sleep(nap);
    }
}
