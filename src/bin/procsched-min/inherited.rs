//! What an inherited descriptor is, and the same once more for ourselves.

use std::fs::{File, OpenOptions};
use std::io::IsTerminal;
use std::os::fd::{AsFd, AsRawFd};
use std::os::unix::fs::{FileTypeExt, OpenOptionsExt};

/// Whether it is a file, which is always ready.
pub fn is_regular(descriptor: &impl AsFd) -> bool {
    let copy = descriptor.as_fd().try_clone_to_owned().map(File::from);
    copy.and_then(|file| file.metadata())
        .is_ok_and(|found| found.is_file())
}

/// The same pipe or terminal once more, with a description of our own that does not block.
/// A file is left alone: it has an offset, which is shared on purpose.
pub fn reopen(descriptor: &impl AsFd) -> Option<File> {
    let descriptor = descriptor.as_fd();
    let file = File::from(descriptor.try_clone_to_owned().ok()?);
    if !file.is_terminal() && !file.metadata().ok()?.file_type().is_fifo() {
        return None;
    }
    OpenOptions::new()
        .write(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(format!("/proc/self/fd/{}", descriptor.as_raw_fd()))
        .ok()
}
