//! The log files: what a program writes goes in as it is, at once, without a buffer of ours in
//! between. A log that cannot be written holds up nobody: the pipe is drained, what is lost is
//! counted, and the log says so as soon as it can be written again.
//!
//! A log is trusted only after a look at what was really opened: a regular file, ours, with
//! one name, not reached through a symlink. The default directory is writable by everybody.

use std::fs::File;
use std::io::Write;
use std::os::fd::AsRawFd;
use std::os::unix::fs::{MetadataExt, PermissionsExt};
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::Mode;

use super::retry;
use crate::error::{Error, Result, errno_text};
use crate::machine::Moment;

/// Between two tries to make a file that others remove again.
const OPEN_TRIES_MAX: usize = 8;

/// The least time between two notices about the same log.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// Why a log is refused that somebody else has locked.
const LOCKED: &str = "another supervisor is writing to it";

/// The log of one program, over all its runs.
#[derive(Debug)]
pub(crate) struct Log {
    path: PathBuf,
    file: Option<OpenFile>,
    /// Why the last try to open it failed, so that the same reason is said once.
    refused: Option<Error>,
    /// Bytes lost that the log has not been told of.
    unnoted: u64,
    /// Bytes lost that the host has not been told of.
    untold: u64,
    /// Why the latest bytes were lost.
    cause: Option<Errno>,
    warned_at: Option<Moment>,
}

#[derive(Debug)]
struct OpenFile {
    /// Locked until it is closed, at the latest.
    file: File,
    device: u64,
    inode: u64,
}

impl Log {
    pub(crate) fn new(path: PathBuf) -> Self {
        Self {
            path,
            file: None,
            refused: None,
            unnoted: 0,
            untold: 0,
            cause: None,
            warned_at: None,
        }
    }

    /// Its path, if it is open.
    pub(crate) fn path(&self) -> Option<&Path> {
        self.file.as_ref().map(|_| self.path.as_path())
    }

    /// Opens it, or opens it anew if the path leads elsewhere by now (renamed, removed).
    ///
    /// An error is returned once for each reason; a program without a log runs all the same.
    pub(crate) fn open(&mut self) -> Result<()> {
        if self
            .file
            .as_ref()
            .is_some_and(|open| open.is_at(&self.path))
        {
            return Ok(());
        }
        match open_file(&self.path) {
            Ok(file) => {
                self.file = Some(file);
                self.refused = None;
                Ok(())
            }
            Err(error) => {
                self.file = None;
                let news = self.refused.as_ref() != Some(&error);
                self.refused = Some(error.clone());
                if news { Err(error) } else { Ok(()) }
            }
        }
    }

    /// Gives its lock and its descriptor back; the next start opens it again. Not to be called
    /// in a copy of the process that was made by fork: the lock is shared with it.
    pub(crate) fn close(&mut self) -> bool {
        let Some(open) = self.file.take() else {
            return false;
        };
        // Such a copy may hold the descriptor, and with it the lock, for as long as it lives.
        // SAFETY: flock takes two integers, and the descriptor is open.
        unsafe { libc::flock(open.file.as_raw_fd(), libc::LOCK_UN) };
        true
    }

    /// Whether it was refused because another supervisor has it.
    pub(crate) fn is_locked_by_another(&self) -> bool {
        let refused = self.refused.as_ref().map(Error::to_string);
        refused.is_some_and(|error| error.ends_with(LOCKED))
    }

    /// Its size in bytes; 0 without a file.
    pub(crate) fn size(&self) -> u64 {
        let metadata = self
            .file
            .as_ref()
            .and_then(|open| open.file.metadata().ok());
        metadata.map_or(0, |metadata| metadata.len())
    }

    /// Appends, or counts as lost what cannot be appended.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let lost = if self.write_note() {
            self.append(bytes)
        } else {
            bytes.len()
        };
        self.unnoted = self.unnoted.saturating_add(lost as u64);
        self.untold = self.untold.saturating_add(lost as u64);
    }

    /// A word of the supervisor's own between the program's; nothing is lost if it cannot be
    /// said here.
    pub(crate) fn remark(&mut self, text: &str) {
        self.append(format!("procsched: {text}\n").as_bytes());
    }

    /// Why it cannot be written, if that is news and was not said a moment ago.
    pub(crate) fn take_warning(&mut self, now: Moment) -> Option<Error> {
        let errno = self.cause?;
        let recent = |at: Moment| now.since(at) < NOTICE_INTERVAL;
        if self.unnoted == 0 || self.file.is_none() || self.warned_at.is_some_and(recent) {
            return None;
        }
        self.warned_at = Some(now);
        Some(Error::os(
            format!("failed to write log {:?}", self.path),
            errno as i32,
        ))
    }

    /// How many bytes were lost that nobody has been told of. While the loss goes on it is
    /// told at the end of the run (`finally`), else when the log can be written again.
    pub(crate) fn take_untold(&mut self, finally: bool) -> Option<u64> {
        if self.untold == 0 || (self.unnoted > 0 && !finally) {
            return None;
        }
        Some(std::mem::take(&mut self.untold))
    }

    /// Says in the log what is missing there. Whether there is nothing left to be said.
    fn write_note(&mut self) -> bool {
        if self.unnoted == 0 {
            return true;
        }
        let why = self
            .cause
            .map_or_else(|| "no log".to_owned(), |errno| errno_text(errno as i32));
        let note = format!(
            "\nprocsched: {} bytes of stderr were lost here: {why}\n",
            self.unnoted
        );
        if self.append(note.as_bytes()) > 0 {
            return false;
        }
        self.unnoted = 0;
        true
    }

    /// Returns how many bytes could not be written.
    fn append(&mut self, mut bytes: &[u8]) -> usize {
        let Some(open) = &mut self.file else {
            self.cause = None;
            return bytes.len();
        };
        while !bytes.is_empty() {
            match retry(|| open.file.write(bytes).map_err(errno_of)) {
                Ok(0) => break,
                Ok(count) => bytes = &bytes[count..],
                Err(errno) => {
                    self.cause = Some(errno);
                    break;
                }
            }
        }
        bytes.len()
    }
}

impl OpenFile {
    /// Whether `path` still leads to this file, and not through a symlink.
    fn is_at(&self, path: &Path) -> bool {
        std::fs::symlink_metadata(path)
            .is_ok_and(|found| (found.dev(), found.ino()) == (self.device, self.inode))
    }
}

fn errno_of(error: std::io::Error) -> Errno {
    Errno::from_raw(error.raw_os_error().unwrap_or(libc::EIO))
}

/// Opens the file, and refuses what cannot be trusted to be a log of ours.
fn open_file(path: &Path) -> Result<OpenFile> {
    let what = || format!("failed to open log {path:?}");
    let refuse = |reason: String| Error::because(what(), reason);
    let file = open_or_create(path).map_err(|errno| match errno {
        Errno::ELOOP => refuse("it is a symbolic link".to_owned()),
        Errno::EISDIR => refuse("it is a directory".to_owned()),
        Errno::ENXIO => refuse("it is no regular file".to_owned()),
        errno => Error::os(what(), errno as i32),
    })?;
    let found = file.metadata().map_err(|error| Error::io(what(), &error))?;
    let uid = nix::unistd::geteuid().as_raw();
    if !found.is_file() {
        return Err(refuse("it is no regular file".to_owned()));
    }
    if found.uid() != uid {
        return Err(refuse(format!(
            "it belongs to uid {}, and we are uid {uid}",
            found.uid()
        )));
    }
    if found.nlink() != 1 {
        return Err(refuse(format!("it has {} hard links", found.nlink())));
    }
    lock(&file).map_err(|errno| match errno {
        Errno::EWOULDBLOCK => refuse(LOCKED.to_owned()),
        errno => Error::os(what(), errno as i32),
    })?;
    Ok(OpenFile {
        file,
        device: found.dev(),
        inode: found.ino(),
    })
}

/// Takes the lock that tells supervisors apart. It goes with the descriptor.
fn lock(file: &File) -> std::result::Result<(), Errno> {
    retry(|| {
        // SAFETY: flock takes two integers, and the descriptor is open.
        let status = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        Errno::result(status).map(drop)
    })
}

/// A new file gets mode 0640 whatever the umask; an old one keeps its own.
fn open_or_create(path: &Path) -> std::result::Result<File, Errno> {
    // O_NONBLOCK for a FIFO without a reader; a regular file takes no notice of it.
    let flags = OFlag::O_WRONLY
        | OFlag::O_APPEND
        | OFlag::O_NOFOLLOW
        | OFlag::O_NONBLOCK
        | OFlag::O_NOCTTY
        | OFlag::O_CLOEXEC;
    let mode = Mode::from_bits_truncate(0o640);
    for _ in 0..OPEN_TRIES_MAX {
        match retry(|| nix::fcntl::open(path, flags, mode)) {
            Err(Errno::ENOENT) => {}
            result => return result.map(File::from),
        }
        match retry(|| nix::fcntl::open(path, flags | OFlag::O_CREAT | OFlag::O_EXCL, mode)) {
            Err(Errno::EEXIST) => {}
            Err(errno) => return Err(errno),
            Ok(created) => {
                let file = File::from(created);
                let mode = PermissionsExt::from_mode(0o640);
                file.set_permissions(mode).map_err(errno_of)?;
                return Ok(file);
            }
        }
    }
    Err(Errno::ENOENT)
}
