//! Opening a log: what is opened is a log of ours or refused, whatever another process does to the
//! path meanwhile.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::{FileExt, MetadataExt};
use std::path::Path;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod};

use super::super::retry;
use crate::error::Error;

/// How often opening or creating a file is tried while others keep removing it.
const OPEN_TRIES_MAX: usize = 16;

/// Why a file is not opened as a log.
#[derive(Debug)]
pub(super) struct Refusal {
    pub(super) error: Error,
    /// True if another supervisor has it.
    pub(super) is_lock: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let is_lock = false;
        Self { error, is_lock }
    }
}

/// Returns the size of the file, if `path` still leads to it, and not through a symlink.
pub(super) fn size_of(file: &File, path: &Path) -> Option<u64> {
    let (here, there) = (file.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
    is_same(&here, &there).then_some(here.len())
}

fn is_same(one: &Metadata, other: &Metadata) -> bool {
    (one.dev(), one.ino()) == (other.dev(), other.ino())
}

/// True if the file has no name any more: what is written to it cannot be found.
pub(super) fn is_removed(file: &File) -> bool {
    file.metadata().is_ok_and(|found| found.nlink() == 0)
}

/// Returns the last byte of the file, if it has one and the path leads to it. The file itself can
/// be written only.
pub(super) fn last_byte(file: &File, path: &Path) -> Option<u8> {
    let flags = OFlag::O_NOFOLLOW | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    let fd = retry(|| nix::fcntl::open(path, OFlag::O_RDONLY | flags, Mode::empty())).ok()?;
    let (there, found) = (File::from(fd), file.metadata().ok()?);
    if !is_same(&found, &there.metadata().ok()?) {
        return None;
    }
    let mut last = [0];
    there
        .read_exact_at(&mut last, found.len().checked_sub(1)?)
        .ok()?;
    Some(last[0])
}

/// A log that was opened.
pub(super) struct Opened {
    pub(super) file: File,
    /// Its size in bytes.
    pub(super) size: u64,
    /// Why a new one has not got its mode, if so.
    pub(super) mode_refused: Option<Errno>,
    /// Why it is not locked, if so.
    pub(super) lock_refused: Option<Errno>,
}

/// Opens the file, and refuses it only if it cannot be trusted: not every file system has modes or
/// locks. `None` if it is the one that we have open, whose own lock would keep it out.
pub(super) fn open_file(path: &Path, own: Option<&File>) -> Result<Option<Opened>, Refusal> {
    let own = own.and_then(|own| own.metadata().ok());
    let what = || format!("failed to open log {path:?}");
    let refuse = |reason: &str| Error::because(what(), reason);
    for _ in 0..OPEN_TRIES_MAX {
        let opened = match retry(|| nix::fcntl::open(path, log_flags(), Mode::empty())) {
            Err(Errno::ENOENT) => create(path),
            opened => opened.map(|fd| (File::from(fd), None)),
        };
        if let Err(Errno::EEXIST) = opened {
            // Put there just now.
            continue;
        }
        let (file, mode_refused) = opened.map_err(|errno| match errno {
            Errno::ELOOP => refuse("it is a symbolic link"),
            Errno::EISDIR => refuse("it is a directory"),
            Errno::ENXIO => refuse("it is not a regular file"),
            errno => Error::os(what(), errno as i32),
        })?;
        let found = file.metadata().map_err(|error| Error::io(what(), &error))?;
        // An unlink counts a link less before it takes away the name, and has its directory for
        // itself until both are done. So has this, which is refused where there is a name; and
        // what it makes where there is none any more is opened next.
        if create(path).is_ok() || !has_kept_its_name(&file, path) {
            // As by a rotation, just now.
            continue;
        }
        if own.as_ref().is_some_and(|own| is_same(own, &found)) {
            return Ok(None);
        }
        if let Some(reason) = mistrust(&found) {
            return Err(refuse(&reason).into());
        }
        let lock_refused = match lock(&file) {
            Err(Errno::EWOULDBLOCK) => {
                let error = refuse("another supervisor is writing to it");
                let is_lock = true;
                return Err(Refusal { error, is_lock });
            }
            result => result.err(),
        };
        return Ok(Some(Opened {
            file,
            size: found.len(),
            mode_refused,
            lock_refused,
        }));
    }
    Err(refuse("it is replaced again and again").into())
}

/// Whether the name by which it was opened was not taken away from it. Asked after its links were
/// counted: then this was the name that it had, if it had one. A process that takes away a link between
/// the open and the count leaves a file of ours with one name, which is another one.
///
/// Only `/proc` knows it for sure, as a name that is taken away and given once more is not the
/// same to it. Without it a look at the path has to do, which may be deceived.
fn has_kept_its_name(file: &File, path: &Path) -> bool {
    match std::fs::read_link(format!("/proc/thread-self/fd/{}", file.as_raw_fd())) {
        Ok(name) => !name.as_os_str().as_bytes().ends_with(b" (deleted)"),
        Err(_) => size_of(file, path).is_some(),
    }
}

/// Returns why the file cannot be trusted, if so.
fn mistrust(found: &Metadata) -> Option<String> {
    let uid = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        return Some("it is not a regular file".to_owned());
    }
    if found.uid() != uid {
        let owner = found.uid();
        return Some(format!("it belongs to uid {owner}, and we are uid {uid}"));
    }
    (found.nlink() != 1).then(|| format!("it has {} hard links", found.nlink()))
}

/// Locks the file against other supervisors, until the descriptor is closed.
fn lock(file: &File) -> Result<(), Errno> {
    retry(|| {
        // SAFETY: flock takes two integers, and the descriptor is open.
        let status = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        Errno::result(status).map(drop)
    })
}

/// Creates the file with mode 0640, whatever the umask, and returns why it has not got that, if so.
fn create(path: &Path) -> Result<(File, Option<Errno>), Errno> {
    let flags = log_flags() | OFlag::O_CREAT | OFlag::O_EXCL;
    let mode = Mode::from_bits_truncate(0o640);
    let file = File::from(retry(|| nix::fcntl::open(path, flags, mode))?);
    // Its mode at the creation was narrower, if it differed.
    let mode_refused = fchmod(&file, mode).err();
    Ok((file, mode_refused))
}

fn log_flags() -> OFlag {
    // O_NONBLOCK is for a FIFO without a reader; a regular file ignores it.
    OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC
}
