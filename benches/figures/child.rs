//! The supervised program: says that it runs, then stays, or writes to stderr when it is told.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;

use crate::place;

/// `PLACE` stays. `PLACE BYTES TOTAL` waits for the gate, writes TOTAL bytes to stderr, BYTES in
/// each write, and then stays.
pub fn run(arguments: &[String]) -> ! {
    let place = Path::new(&arguments[0]);
    let arrivals = OpenOptions::new()
        .write(true)
        .open(place.join(place::ARRIVALS));
    let pid = std::process::id().to_ne_bytes();
    arrivals
        .and_then(|mut fifo| fifo.write_all(&pid))
        .expect("a FIFO for arrivals");
    if let [_, bytes, total] = arguments {
        // The open returns when there is a writer.
        File::open(place.join(place::GATE)).expect("a FIFO for a gate");
        write(
            bytes.parse().expect("bytes"),
            total.parse().expect("a total"),
        );
    }
    loop {
        std::thread::park();
    }
}

/// Writes lines of this length. Rust's stderr has no buffer: each is one write(2).
fn write(bytes: usize, total: u64) {
    let mut line = vec![b'x'; bytes];
    line[bytes - 1] = b'\n';
    let mut stderr = std::io::stderr().lock();
    for _ in 0..total / bytes as u64 {
        stderr.write_all(&line).expect("a pipe that somebody reads");
    }
}
