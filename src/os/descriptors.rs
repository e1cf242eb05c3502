//! Descriptors that a child is given: the null device, the stderr pipe, a file in memory.
//!
//! All are close-on-exec from birth and numbered 3 or higher, whatever the host has closed:
//! a child gets them by `dup2`, and none may stand where a standard stream goes.

use std::fs::File;
use std::io::{Seek, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::os::unix::fs::{FileTypeExt, MetadataExt};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::sys::memfd::{MFdFlags, memfd_create};
use nix::sys::stat::Mode;

use super::retry;
use crate::error::{Error, Result};

/// The lowest number that is no standard stream.
const FIRST: i32 = 3;

/// The device number of `/dev/null` on Linux: character device 1:3.
const NULL_DEVICE: u64 = (1 << 8) | 3;

/// Opens `/dev/null`, and refuses anything else that stands in its place.
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

/// A pipe for a child's stderr: our end does not block, the child's end does.
pub(crate) fn stderr_pipe() -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = retry(|| nix::unistd::pipe2(OFlag::O_CLOEXEC))?;
    let (read, write) = (above_standard(read)?, above_standard(write)?);
    retry(|| fcntl(&read, FcntlArg::F_SETFL(OFlag::O_NONBLOCK)))?;
    Ok((read, write))
}

/// A pipe that wakes our own poll: neither end ever blocks.
pub(crate) fn wake_pipe() -> std::result::Result<(OwnedFd, OwnedFd), Errno> {
    let (read, write) = retry(|| nix::unistd::pipe2(OFlag::O_CLOEXEC | OFlag::O_NONBLOCK))?;
    Ok((above_standard(read)?, above_standard(write)?))
}

/// A nameless file with `text` in it, to be read from its start: a stdin that cannot block.
pub(crate) fn memory_file(text: &[u8]) -> std::io::Result<OwnedFd> {
    let fd = memfd_create(c"procsched", MFdFlags::MFD_CLOEXEC)?;
    let mut file = File::from(above_standard(fd)?);
    file.write_all(text)?;
    file.rewind()?;
    Ok(file.into())
}

/// A second descriptor for the same open file.
pub(crate) fn duplicate(fd: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    above_standard_copy(fd)
}

pub(super) fn above_standard(fd: OwnedFd) -> std::result::Result<OwnedFd, Errno> {
    if fd.as_raw_fd() >= FIRST {
        Ok(fd)
    } else {
        above_standard_copy(fd.as_fd())
    }
}

fn above_standard_copy(fd: BorrowedFd<'_>) -> std::result::Result<OwnedFd, Errno> {
    retry(|| {
        fd.try_clone_to_owned()
            .map_err(|error| Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO)))
    })
}
