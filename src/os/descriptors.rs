//! Descriptors for children: the null device, pipes for their output, a file in memory.
//!
//! All are opened close-on-exec and numbered 3 or higher, whatever the host has closed: a child
//! gets them by `dup2`, and none may be in the place of a standard stream.

use std::ffi::CStr;
use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::{Mode, fchmod};

use super::numbers::numbers_of;
use super::retry;
use crate::error::{Error, Result};

/// The lowest number after the standard streams.
const FIRST: i32 = 3;

/// The device number of `/dev/null` on Linux: character device 1:3.
const NULL_DEVICE: u64 = (1 << 8) | 3;

/// Opens `/dev/null`, and refuses another file of that name.
pub(crate) fn null_device() -> Result<OwnedFd> {
    let what = "failed to open \"/dev/null\"";
    let flags = OFlag::O_RDWR | OFlag::O_CLOEXEC | OFlag::O_NOCTTY;
    let opened = retry(|| nix::fcntl::open("/dev/null", flags, Mode::empty()));
    let file = File::from(opened.map_err(|errno| Error::os(what, errno as i32))?);
    let metadata = file.metadata().map_err(|error| Error::io(what, &error))?;
    if !metadata.file_type().is_char_device() || metadata.rdev() != NULL_DEVICE {
        return Err(Error::because(
            what,
            "it is not the null device (character device 1:3)",
        ));
    }
    above_standard(file.into()).map_err(|errno| Error::os(what, errno as i32))
}

/// Makes a pipe for a child to write to: our end does not block, the child's end does.
pub(crate) fn child_pipe() -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = retry(|| nix::unistd::pipe2(OFlag::O_CLOEXEC))?;
    let (read, write) = (above_standard(read)?, above_standard(write)?);
    retry(|| fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)))?;
    Ok((read, write))
}

/// Lets a process of another user open this end of a pipe once more, by `/dev/stderr`.
pub(crate) fn let_others_write(end: &OwnedFd) -> std::result::Result<(), Errno> {
    retry(|| fchmod(end, Mode::from_bits_truncate(0o622)))
}

/// Opens a file for a child to read from, without waiting for what may be behind it.
pub(crate) fn open_to_read(path: &CStr) -> std::result::Result<OwnedFd, Errno> {
    let flags = OFlag::O_RDONLY | OFlag::O_CLOEXEC | OFlag::O_NONBLOCK | OFlag::O_NOCTTY;
    let file = above_standard(retry(|| nix::fcntl::open(path, flags, Mode::empty()))?)?;
    // The child's reads may wait.
    retry(|| fcntl(&file, FcntlArg::F_SETFL(OFlag::empty())))?;
    Ok(file)
}

/// Makes a pipe to wake our own poll: neither end blocks.
pub(crate) fn wake_pipe() -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = retry(|| nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK))?;
    Ok((above_standard(read)?, above_standard(write)?))
}

/// Makes a file in memory with `text` in it, to be read from its start: a stdin that cannot block.
pub(crate) fn memory_file(text: &[u8]) -> std::io::Result<OwnedFd> {
    let fd = memfd_create(c"procsched", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(above_standard(fd)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}

/// Without `/proc` the descriptors below this are tried.
const TRIED_MAX: i32 = 1024;

/// Closes the inherited descriptors from 3 on that would survive an exec. What this process has
/// opened itself is close-on-exec and stays.
pub(crate) fn close_inheritable() {
    let mut open = Vec::new();
    if numbers_of(c"/proc/self/fd", |fd| open.push(fd)).is_err() {
        open = (FIRST..TRIED_MAX).collect();
    }
    for fd in open.into_iter().filter(|&fd| fd >= FIRST) {
        // SAFETY: fcntl takes plain numbers. A descriptor without close-on-exec is not ours; it
        // was meant for the command, which runs by now.
        unsafe {
            if libc::fcntl(fd, libc::F_GETFD) == 0 {
                libc::close(fd);
            }
        }
    }
}

pub(super) fn above_standard(fd: OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= FIRST {
        Ok(fd)
    } else {
        duplicate(fd.as_fd())
    }
}

/// Duplicates a descriptor.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    retry(|| {
        fd.try_clone_to_owned()
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    })
}

/// Waits until what the close of a descriptor brings about is the case. In the tests' process it may
/// take a moment: the child of another test has a copy of each descriptor until its exec.
#[cfg(test)]
pub(crate) fn wait_for_close(mut is_so: impl FnMut() -> bool) {
    for _ in 0..30_000 {
        if is_so() {
            return;
        }
        super::pause::pause(std::time::Duration::from_millis(1));
    }
    panic!("a descriptor was closed half a minute ago, and nothing came of it");
}
