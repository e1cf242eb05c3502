//! Time, and waiting for others.

use std::fs::File;
use std::path::Path;
use std::time::Duration;

use crate::broken;

/// CLOCK_MONOTONIC in nanoseconds: comparable between processes.
pub fn monotonic() -> u64 {
    let mut now = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `now` is a valid place for the answer.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut now) };
    now.tv_sec as u64 * 1_000_000_000 + now.tv_nsec as u64
}

/// Sleeps for this many milliseconds, signals or not.
pub fn sleep(milliseconds: u64) {
    std::thread::sleep(Duration::from_millis(milliseconds));
}

/// Stays for ever.
pub fn hold() -> ! {
    loop {
        // SAFETY: `pause` has no arguments.
        unsafe { libc::pause() };
    }
}

/// Waits until somebody has opened the FIFO for writing.
pub fn gate(fifo: &str) {
    File::open(fifo).unwrap_or_else(|_| broken(fifo));
}

/// Waits until the file exists.
pub fn wait_file(file: &str) {
    while !Path::new(file).exists() {
        sleep(2);
    }
}
