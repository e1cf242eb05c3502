//! The log files: what programs write, at once and unchanged. A log that cannot be
//! written blocks nothing: the pipe is drained, lost bytes are counted, and the log says so when it
//! can be written again.
//!
//! Bytes are lost without being counted in few places only: a log that was removed while it was open
//! takes what is written until the next look at its path ([`Log::is_look_due`]); a pipe that a process outside its group still holds
//! is closed when it becomes the third (`capture::attach`), and at the end (`capture::release`); and
//! a start that was cancelled although its exec was faster drops its pipe
//! (`launcher::late_start_is_over`).
//!
//! An opened log is checked before it is trusted: a regular file, ours, with one name, not reached
//! through a symlink. The default directory is world-writable.

mod open;
mod rotation;
mod stamps;

use std::fs::File;
use std::os::fd::AsRawFd;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use self::open::{Opened, Refusal, is_removed, last_byte, open_file, size_of};
use super::retry;
use crate::error::{Error, Result, errno_text};
use crate::machine::Moment;
use crate::spec::{LogOptions, StdStream, log_path};

/// The time between two looks at the path of a log that is written to.
const LOOK_INTERVAL_SECONDS: u16 = 10;

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
    /// When its path was last looked at: the second, as far as that fits beside the others.
    looked_at: u16,
    more: Option<Box<More>>,
}

/// What few logs have.
#[derive(Debug, Default)]
struct More {
    loss: Loss,
    options: LogOptions,
    /// The size of the file, as far as only we write it.
    size: u64,
    /// How often it was rotated since the run began.
    rotations: u64,
    /// True if the latest rotation has failed.
    is_rotation_refused: bool,
    /// Why, if that was not reported yet.
    rotation_error: Option<Error>,
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
            looked_at: 0,
            more: None,
        }
    }

    /// Sets how it is kept.
    pub(crate) fn set_options(&mut self, options: LogOptions) {
        if options != self.options() {
            let size = self.file.as_ref().and_then(|file| file.metadata().ok());
            let more = self.more();
            more.options = options;
            more.size = size.map_or(0, |found| found.len());
            self.learn_end();
        }
    }

    /// Returns how it is kept.
    pub(crate) fn options(&self) -> LogOptions {
        self.more
            .as_ref()
            .map_or(LogOptions::default(), |more| more.options)
    }

    /// Returns the name of its program.
    pub(crate) fn name(&self) -> &Arc<str> {
        &self.name
    }

    /// Returns a log of the same program for another stream.
    pub(crate) fn beside(&self, stream: StdStream) -> Self {
        let mut log = Self::new(self.directory.clone(), self.name.clone(), stream);
        log.set_options(self.options());
        log
    }

    /// True if its file is open: it can be written as far as is known.
    pub(crate) fn is_open(&self) -> bool {
        self.file.is_some()
    }

    /// True if its file is open and at its path, as far as is known.
    pub(crate) fn is_in_place(&self) -> bool {
        self.is_open() && self.refusal().is_none()
    }

    /// Returns its path, if its file is open and there.
    pub(crate) fn path(&self) -> Option<PathBuf> {
        self.is_in_place().then(|| self.full_path())
    }

    fn full_path(&self) -> PathBuf {
        log_path(&self.directory, &self.name, self.stream)
    }

    /// Returns the directory that it is in.
    pub(crate) fn directory(&self) -> &Arc<PathBuf> {
        &self.directory
    }

    /// Opens it, or opens it anew if the path leads elsewhere by now (renamed, removed), and
    /// returns its size in bytes; 0 if it cannot be opened. Until it can be, what was renamed is
    /// written on.
    ///
    /// An error is returned once for each reason, as a program without a log runs all the same; a
    /// lack of descriptors is returned each time.
    pub(crate) fn open(&mut self, flaws: &mut Flaws) -> Result<u64> {
        let path = self.full_path();
        if let Some(size) = self.file.as_ref().and_then(|file| size_of(file, &path)) {
            self.forget_refusal();
            return Ok(size);
        }
        match self.replace(&path, flaws) {
            Ok(Some(size)) => {
                self.is_line_over |= size == 0;
                self.learn_end();
                Ok(size)
            }
            Ok(None) => {
                self.forget_refusal();
                let own = self.file.as_ref().and_then(|file| file.metadata().ok());
                Ok(own.map_or(0, |own| own.len()))
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

    /// Opens the file at the path, and returns its size; `None` if it is the one that is open. The
    /// one before is written on until there is another, unless it was removed: what that is given
    /// would be lost, and not be counted.
    fn replace(
        &mut self,
        path: &Path,
        flaws: &mut Flaws,
    ) -> std::result::Result<Option<u64>, Refusal> {
        match open_file(path, self.file.as_ref()) {
            Ok(Some(opened)) => {
                flaws.note(path, &opened);
                let size = opened.size;
                self.close();
                self.adopt(opened);
                Ok(Some(size))
            }
            Ok(None) => Ok(None),
            Err(refusal) => {
                if self.file.as_ref().is_some_and(is_removed) {
                    self.close();
                }
                Err(refusal)
            }
        }
    }

    /// Learns whether what is in the file ends a line, if that matters: the first line after it gets
    /// its time, and a mark is not behind an empty line.
    fn learn_end(&mut self) {
        let options = self.options();
        if (options.timestamps || options.marks)
            && let Some(file) = &self.file
            && let Some(last) = last_byte(file, &self.full_path())
        {
            self.is_line_over = last == b'\n';
        }
    }

    fn forget_refusal(&mut self) {
        if let Some(more) = &mut self.more {
            more.loss.refused = None;
        }
    }

    /// Returns why the file at its path was refused, if it was when it was last looked at.
    pub(crate) fn refusal(&self) -> Option<&Error> {
        let refused = self.more.as_ref()?.loss.refused.as_ref();
        refused.map(|refusal| &refusal.error)
    }

    fn adopt(&mut self, opened: Opened) {
        self.file = Some(opened.file);
        if let Some(more) = &mut self.more {
            more.loss.refused = None;
            more.size = opened.size;
        }
    }

    /// True if its path was not looked at for a while: a log that is written to is compared with its
    /// path now and then, so that one that was renamed or removed is replaced. From now on it was
    /// looked at.
    pub(crate) fn is_look_due(&mut self, now: Moment) -> bool {
        // After 18 hours these seconds begin anew, and a look may be missed for as long as two are
        // apart.
        let second = now.since(Moment::default()).as_secs() as u16;
        let is_due = second.wrapping_sub(self.looked_at) >= LOOK_INTERVAL_SECONDS;
        if is_due {
            self.looked_at = second;
        }
        is_due
    }

    /// Counts its rotations from here on.
    pub(crate) fn begin_run(&mut self) {
        if let Some(more) = &mut self.more {
            more.rotations = 0;
        }
    }

    /// Returns how often it was rotated since the run began.
    pub(crate) fn rotations(&self) -> u64 {
        self.more.as_ref().map_or(0, |more| more.rotations)
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
        let refused = self
            .more
            .as_ref()
            .and_then(|more| more.loss.refused.as_ref());
        refused.is_some_and(|refusal| refusal.is_lock)
    }

    /// Appends bytes, or counts them as lost.
    pub(crate) fn write(&mut self, bytes: &[u8]) {
        match &self.more {
            Some(more) if more.options.max_bytes > 0 => self.write_in_turn(bytes),
            _ => self.write_piece(bytes),
        }
    }

    fn write_piece(&mut self, bytes: &[u8]) {
        let lost = match self.write_note() {
            true => self.append_line(bytes),
            false => bytes.len(),
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
    pub(crate) fn remark(&mut self, text: &dyn std::fmt::Display) {
        self.write_own_line("procsched:", text);
    }

    /// The same for the start and the end of a run, if they are to be marked.
    pub(crate) fn mark(&mut self, text: &dyn std::fmt::Display) {
        if self.options().marks {
            self.write_own_line("---", text);
        }
    }

    fn write_own_line(&mut self, begin: &str, text: &dyn std::fmt::Display) {
        if !self.write_note() || (!self.is_line_over && self.append(b"\n") > 0) {
            return;
        }
        let line = format!("{begin} {text}\n");
        self.make_room(line.len());
        self.append_line(line.as_bytes());
    }

    /// Appends with the time before each line if that is wanted, and returns how many bytes could
    /// not be written.
    fn append_line(&mut self, bytes: &[u8]) -> usize {
        match self.options().timestamps {
            true => self.append_stamped(bytes),
            false => self.append(bytes),
        }
    }

    /// Returns why it cannot be written, if that is new and was not reported a moment ago.
    pub(crate) fn take_warning(&mut self, now: Moment) -> Option<Error> {
        let more = self.more.as_mut()?;
        if more.rotation_error.is_some() {
            return more.rotation_error.take();
        }
        let loss = &mut more.loss;
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
        let loss = &mut self.more.as_mut()?.loss;
        if loss.unreported == 0 || (loss.unlogged > 0 && !finally) {
            return None;
        }
        Some(std::mem::take(&mut loss.unreported))
    }

    /// Says in the log what is missing there. Whether there is nothing left to be said.
    fn write_note(&mut self) -> bool {
        let loss = self.more.as_ref().map(|more| &more.loss);
        let Some(loss) = loss.filter(|loss| loss.unlogged > 0) else {
            return true;
        };
        let why = match &loss.cause {
            Cause::NoLog => "no log".to_owned(),
            Cause::NotWritten(errno) | Cause::NotRead(errno) => errno_text(*errno as i32),
        };
        let (lost, stream) = (loss.unlogged, self.stream);
        let note = format!("\nprocsched: {lost} bytes of {stream} were lost here: {why}\n");
        self.make_room(note.len());
        // An empty line would get a time of its own.
        let is_bare = self.is_line_over && self.options().timestamps;
        if self.append_line(&note.as_bytes()[usize::from(is_bare)..]) > 0 {
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
                    if let Some(more) = &mut self.more {
                        more.size = more.size.saturating_add(count as u64);
                    }
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
        &mut self.more().loss
    }

    fn more(&mut self) -> &mut More {
        self.more.get_or_insert_default()
    }
}

#[cfg(test)]
mod tests;
