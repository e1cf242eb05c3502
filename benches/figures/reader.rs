//! The reader behind a supervisor that passes on what programs write. It counts, and looks at nothing:
//! the processors are for those that are measured.

use std::io::Read;
use std::process::ChildStdout;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

const READ_BYTES: usize = 64 * 1024;

/// A thread that reads until the other end is closed.
pub struct Reader {
    bytes: Arc<AtomicU64>,
}

impl Reader {
    pub fn start(mut pipe: ChildStdout) -> Self {
        let bytes = Arc::new(AtomicU64::new(0));
        let counted = Arc::clone(&bytes);
        thread::spawn(move || {
            let mut buffer = vec![0; READ_BYTES];
            while let Ok(count @ 1..) = pipe.read(&mut buffer) {
                counted.fetch_add(count as u64, Ordering::Relaxed);
            }
        });
        Self { bytes }
    }

    /// How many bytes it has read.
    pub fn bytes(&self) -> u64 {
        self.bytes.load(Ordering::Relaxed)
    }
}
