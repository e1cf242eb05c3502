//! The log files: what programs write, at once and unchanged. A log that cannot be
//! written blocks nothing: the pipe is drained, lost bytes are counted, and the log says so when it
//! can be written again.
//!
//! Bytes are lost without being counted in few places only: a log that was removed while it was open
//! takes what is written until the next start; a pipe that a process outside its group still holds
//! is closed when it becomes the third (`capture::attach`), and at the end (`capture::release`); and
//! a start that was cancelled although its exec was faster drops its pipe
//! (`launcher::late_start_is_over`).
//!
//! An opened log is checked before it is trusted: a regular file, ours, with one name, not reached
//! through a symlink. The default directory is world-writable.

use std::fs::{File, Metadata};
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::sys::stat::{Mode, fchmod};

use super::retry;
use crate::error::{Error, Result, errno_text};
use crate::machine::Moment;
use crate::spec::{StdStream, log_path};

/// How often opening or creating a file is tried while others keep removing it.
const OPEN_TRIES_MAX: usize = 16;

/// The least time between two notices about the same log.
const NOTICE_INTERVAL: Duration = Duration::from_secs(10);

/// The log of one stream of a program, over all its runs. Its file stays open and locked.
#[derive(Debug)]
pub(crate) struct Log {
    /// Shared by all logs, behind a thin pointer.
    directory: Arc<PathBuf>,
    /// The program's name.
    name: Arc<str>,
    /// Locked until it is closed.
    file: Option<File>,
    /// True if what was written last ends a line.
    is_line_over: bool,
    stream: StdStream,
    loss: Option<Box<Loss>>,
}

/// Optional operations that the file system refuses. All logs are in one directory, so each is
/// reported once, and not for each of ten thousand logs.
#[derive(Debug, Default)]
pub(crate) struct Flaws {
    mode_reported: bool,
    lock_reported: bool,
    unreported: Vec<Error>,
}

impl Flaws {
    fn note(&mut self, path: &Path, opened: &Opened) {
        let mut tell = |reported: &mut bool, errno: Option<Errno>, what: &str, then: &str| {
            if let (Some(errno), false) = (errno, *reported) {
                *reported = true;
                let reason = format!("{}; {then}", errno_text(errno as i32));
                let what = format!("failed to {what} {path:?}");
                self.unreported.push(Error::because(what, reason));
            }
        };
        tell(
            &mut self.lock_reported,
            opened.lock_refused,
            "lock log",
            "logs are written without a lock, so that a second supervisor is not refused",
        );
        tell(
            &mut self.mode_reported,
            opened.mode_refused,
            "set mode 0640 of log",
            "new logs keep the mode that they are created with",
        );
    }

    /// Refusals that were not reported yet.
    pub(crate) fn take(&mut self) -> Option<Error> {
        self.unreported.pop()
    }
}

/// The troubles of a log, usually none.
#[derive(Debug, Default)]
struct Loss {
    /// Why the last attempt to open it failed, so that the same reason is reported once.
    refused: Option<Refusal>,
    /// Lost bytes that are not noted in the log yet.
    unlogged: u64,
    /// Lost bytes that are not reported to the host yet.
    unreported: u64,
    /// Bytes were lost since the reason was last reported.
    is_new: bool,
    /// Why the latest bytes were lost.
    cause: Cause,
    warned_at: Option<Moment>,
}

/// Why a file is not opened as a log.
#[derive(Debug)]
struct Refusal {
    error: Error,
    is_lock: bool,
}

impl From<Error> for Refusal {
    fn from(error: Error) -> Self {
        let is_lock = false;
        Self { error, is_lock }
    }
}

#[derive(Debug, Default)]
enum Cause {
    #[default]
    NoLog,
    NotWritten(Errno),
    /// The pipe cannot be read.
    NotRead(Errno),
}

impl Log {
    /// Returns a log in this directory for a stream of the program of this name; it is not opened
    /// yet.
    pub(crate) fn new(directory: Arc<PathBuf>, name: Arc<str>, stream: StdStream) -> Self {
        Self {
            directory,
            name,
            file: None,
            is_line_over: false,
            stream,
            loss: None,
        }
    }

    /// Returns the name of its program.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns a log of the same program for another stream.
    pub(crate) fn beside(&self, stream: StdStream) -> Self {
        Self::new(self.directory.clone(), self.name.clone(), stream)
    }

    /// True if its file is open: it can be written as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// Returns its path, if it is open.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.file.as_ref().map(|_| self.full_path())
    }

    fn full_path(&self) -> PathBuf {
        log_path(&self.directory, &self.name, self.stream)
    }

    /// Returns the directory that it is in.
    pub(crate) fn directory(&self) -> &Arc<PathBuf> {
        &self.directory
    }

    /// Opens it, or opens it anew if the path leads elsewhere by now (renamed, removed), and
    /// returns its size in bytes; 0 if it cannot be opened.
    ///
    /// An error is returned once for each reason, as a program without a log runs all the same; a
    /// lack of descriptors is returned each time.
    pub(crate) fn open(&mut self, flaws: &mut Flaws) -> Result<u64> {
        let path = self.full_path();
        if let Some(size) = self.file.as_ref().and_then(|file| size_of(file, &path)) {
            return Ok(size);
        }
        // Its own lock would keep out the same file, if the path leads to that again by now.
        self.close();
        match open_file(&path) {
            Ok(opened) => {
                flaws.note(&path, &opened);
                let size = opened.size;
                self.file = Some(opened.file);
                self.is_line_over |= size == 0;
                if let Some(loss) = &mut self.loss {
                    loss.refused = None;
                }
                Ok(size)
            }
            Err(refusal) => {
                let error = refusal.error.clone();
                let before = self.loss().refused.replace(refusal);
                let is_known = before.is_some_and(|before| before.error == error);
                if is_known && error.descriptor_shortage().is_none() {
                    Ok(0)
                } else {
                    Err(error)
                }
            }
        }
    }

    /// Gives its lock and its descriptor back; the next start opens it again. Must not be called
    /// in a copy of the process that was made by fork: that shares the lock.
    pub(crate) fn close(&mut self) {
        if let Some(file) = self.file.take() {
            // A copy of the process may hold the descriptor, and with it the lock, for as long as
            // it lives.
            // SAFETY: flock takes two integers, and the descriptor is open.
            unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_UN) };
        }
    }

    /// True if it was refused because another supervisor has it.
    pub(crate) fn is_locked_by_another(&self) -> bool {
        let refused = self.loss.as_ref().and_then(|loss| loss.refused.as_ref());
        refused.is_some_and(|refusal| refusal.is_lock)
    }

    /// Appends bytes, or counts them as lost.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        let lost = if self.write_note() {
            self.append(bytes)
        } else {
            bytes.len()
        };
        if lost > 0 {
            self.lose(lost);
        }
    }

    /// Counts the bytes of a pipe that cannot be read as lost.
    pub(crate) fn record_unreadable(&mut self, bytes: usize, errno: Errno) {
        self.loss().cause = Cause::NotRead(errno);
        self.lose(bytes);
    }

    fn lose(&mut self, bytes: usize) {
        let loss = self.loss();
        loss.unlogged = loss.unlogged.saturating_add(bytes as u64);
        loss.unreported = loss.unreported.saturating_add(bytes as u64);
        loss.is_new = true;
    }

    /// A word of the supervisor's own between the program's, on a line of its own; nothing is
    /// lost if it cannot be said here. What is missing is said before it: a torn note is
    /// recognised by the next, which says the same.
    pub(crate) fn remark(&mut self, text: &str) {
        if self.write_note() {
            let begin = if self.is_line_over { "" } else { "\n" };
            self.append(format!("{begin}procsched: {text}\n").as_bytes());
        }
    }

    /// Returns why it cannot be written, if that is new and was not reported a moment ago.
    pub(crate) fn take_warning(&mut self, now: Moment) -> Option<Error> {
        let loss = self.loss.as_mut()?;
        let recent = |at: Moment| now.since(at) < NOTICE_INTERVAL;
        if loss.unlogged == 0 || !loss.is_new || loss.warned_at.is_some_and(recent) {
            return None;
        }
        let error = match &loss.cause {
            // Why there is none was said when it was refused.
            Cause::NoLog => return None,
            Cause::NotWritten(errno) => {
                let path = log_path(&self.directory, &self.name, self.stream);
                Error::os(format!("failed to write log {path:?}"), *errno as i32)
            }
            Cause::NotRead(errno) => {
                Error::os(format!("failed to read its {}", self.stream), *errno as i32)
            }
        };
        loss.warned_at = Some(now);
        loss.is_new = false;
        Some(error)
    }

    /// Takes the number of unreported lost bytes: at the end of the run (`finally`), or when the
    /// log can be written again.
    pub(crate) fn take_unreported(&mut self, finally: bool) -> Option<u64> {
        let loss = self.loss.as_mut()?;
        if loss.unreported == 0 || (loss.unlogged > 0 && !finally) {
            return None;
        }
        Some(std::mem::take(&mut loss.unreported))
    }

    /// Says in the log what is missing there. Whether there is nothing left to be said.
    fn write_note(&mut self) -> bool {
        let Some(loss) = self.loss.as_ref().filter(|loss| loss.unlogged > 0) else {
            return true;
        };
        let why = match &loss.cause {
            Cause::NoLog => "no log".to_owned(),
            Cause::NotWritten(errno) | Cause::NotRead(errno) => errno_text(*errno as i32),
        };
        let (lost, stream) = (loss.unlogged, self.stream);
        let note = format!("\nprocsched: {lost} bytes of {stream} were lost here: {why}\n");
        if self.append(note.as_bytes()) > 0 {
            return false;
        }
        self.loss().unlogged = 0;
        true
    }

    /// Returns how many bytes could not be written.
    fn append(&mut self, mut bytes: &[u8]) -> usize {
        let Some(file) = &mut self.file else {
            self.loss().cause = Cause::NoLog;
            return bytes.len();
        };
        while !bytes.is_empty() {
            match retry(|| nix::unistd::write(&*file, bytes)) {
                Ok(0) => break,
                Ok(count) => {
                    self.is_line_over = bytes[count - 1] == b'\n';
                    bytes = &bytes[count..];
                }
                Err(errno) => {
                    self.loss().cause = Cause::NotWritten(errno);
                    break;
                }
            }
        }
        bytes.len()
    }

    fn loss(&mut self) -> &mut Loss {
        self.loss.get_or_insert_default()
    }
}

/// Returns the size of the file, if `path` still leads to it, and not through a symlink.
fn size_of(file: &File, path: &Path) -> Option<u64> {
    let (here, there) = (file.metadata().ok()?, std::fs::symlink_metadata(path).ok()?);
    let is_it = (here.dev(), here.ino()) == (there.dev(), there.ino());
    is_it.then_some(here.len())
}

/// A log that was opened.
struct Opened {
    file: File,
    /// Its size in bytes.
    size: u64,
    /// Why a new one has not got its mode, if so.
    mode_refused: Option<Errno>,
    /// Why it is not locked, if so.
    lock_refused: Option<Errno>,
}

/// Opens the file, and refuses it only if it cannot be trusted: not every file system has modes or
/// locks.
fn open_file(path: &Path) -> std::result::Result<Opened, Refusal> {
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
        return Ok(Opened {
            file,
            size: found.len(),
            mode_refused,
            lock_refused,
        });
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
fn lock(file: &File) -> std::result::Result<(), Errno> {
    retry(|| {
        // SAFETY: flock takes two integers, and the descriptor is open.
        let status = unsafe { libc::flock(file.as_raw_fd(), libc::LOCK_EX | libc::LOCK_NB) };
        Errno::result(status).map(drop)
    })
}

/// Creates the file with mode 0640, whatever the umask, and returns why it has not got that, if so.
fn create(path: &Path) -> std::result::Result<(File, Option<Errno>), Errno> {
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

#[cfg(test)]
mod tests;
