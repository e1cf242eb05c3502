//! Rotation: a log that would exceed its size is renamed to `.1`, what was `.1` to `.2` and so on,
//! and a new one is opened under the same checks and lock as any log.
//!
//! A line stays whole where a piece has its end. What cannot be renamed or opened is reported once,
//! and the file grows by as much again before the next try: nothing is lost. Between any two of these
//! calls another process may do what it likes to the directory; a rename follows no link, and what
//! is opened is checked.

use std::fs;
use std::io::ErrorKind;
use std::mem::replace;
use std::path::{Path, PathBuf};

use super::open::size_of;
use super::stamps::STAMP_BYTES;
use super::{Flaws, Log, More};
use crate::error::Error;

/// How much longer a file may become by the rest of a line whose end is not there yet.
const LINE_BYTES_MAX: u64 = 8 * 1024;

/// How often one piece may lead to another file, while another process empties or replaces them.
const TURNS_MAX: usize = 64;

impl Log {
    /// Appends bytes, in as many files as that takes.
    pub(super) fn write_in_turn(&mut self, mut bytes: &[u8]) {
        // It takes room.
        if !self.write_note() {
            return self.lose(bytes.len());
        }
        for _ in 0..TURNS_MAX {
            let (now, later) = bytes.split_at(self.cut(bytes));
            if !now.is_empty() {
                self.write_piece(now);
            }
            bytes = later;
            if bytes.is_empty() || !self.rotate() {
                break;
            }
        }
        if !bytes.is_empty() {
            self.write_piece(bytes);
        }
    }

    /// Goes on in another file if a line of our own of this length is too much for this one.
    pub(super) fn make_room(&mut self, bytes: usize) {
        for _ in 0..TURNS_MAX {
            let Some(More { options, size, .. }) = self.more.as_deref() else {
                return;
            };
            let stamp = if options.timestamps { STAMP_BYTES } else { 0 };
            let needed = *size + (bytes + stamp) as u64;
            let is_full = options.max_bytes > 0 && *size > 0 && needed > options.max_bytes;
            if !is_full || !self.rotate() {
                return;
            }
        }
    }

    /// Returns how much of this fits into the file, up to the end of a line if there is one. All of
    /// it where no other file would do better.
    fn cut(&self, bytes: &[u8]) -> usize {
        let Some(more) = &self.more else {
            return bytes.len();
        };
        let options = more.options;
        if options.max_bytes == 0 || self.file.is_none() {
            return bytes.len();
        }
        let stamp = if options.timestamps { STAMP_BYTES } else { 0 };
        let room = options.max_bytes.saturating_sub(more.size);
        let (mut taken, mut needed, mut is_start) = (0, 0, self.is_line_over);
        for line in bytes.split_inclusive(|&byte| byte == b'\n') {
            needed += (line.len() + if is_start { stamp } else { 0 }) as u64;
            if needed > room {
                break;
            }
            (taken, is_start) = (taken + line.len(), true);
        }
        if taken > 0 {
            return taken;
        }
        let end_of_line = || {
            bytes
                .iter()
                .position(|&byte| byte == b'\n')
                .map(|at| at + 1)
        };
        match self.is_line_over {
            // A line that is longer than a file.
            true if more.size == 0 => end_of_line().unwrap_or(bytes.len()),
            true => 0,
            false if more.size == 0 => end_of_line().unwrap_or(bytes.len()),
            // The line that has begun is ended, if its end is here or may still come.
            false => end_of_line().unwrap_or_else(|| {
                let most = options.max_bytes + LINE_BYTES_MAX;
                match more.size + bytes.len() as u64 <= most {
                    true => bytes.len(),
                    false => 0,
                }
            }),
        }
    }

    /// Goes on in an empty file. False if that cannot be had.
    fn rotate(&mut self) -> bool {
        let (Some(file), Some(more)) = (&self.file, &mut self.more) else {
            return false;
        };
        // Another process may have emptied it, as logrotate's copytruncate does.
        let size = file.metadata().map_or(more.size, |found| found.len());
        if size < more.size {
            more.size = size;
            return true;
        }
        let path = self.full_path();
        let result = match self.file.as_ref().and_then(|file| size_of(file, &path)) {
            // It was renamed or removed, and is not ours to rename.
            None => self.go_on_at(&path),
            Some(_) => self.shift(&path),
        };
        let Some(more) = &mut self.more else {
            return false;
        };
        let is_done = result.is_ok();
        match result {
            Ok(()) => more.is_rotation_refused = false,
            Err(error) => {
                // It is tried again when it has grown by as much.
                more.size = 0;
                if !replace(&mut more.is_rotation_refused, true) {
                    more.rotation_error = Some(error);
                }
            }
        }
        is_done
    }

    /// Makes room at the path, and opens a new file there.
    fn shift(&mut self, path: &Path) -> Result<(), Error> {
        let (Some(file), Some(more)) = (&self.file, &mut self.more) else {
            return Ok(());
        };
        let failed = |error| Error::io(format!("failed to rotate log {path:?}"), &error);
        let keep = more.options.keep;
        if keep == 0 {
            file.set_len(0).map_err(failed)?;
            more.size = 0;
        } else {
            for number in (1..keep).rev() {
                let (old, new) = (numbered(path, number), numbered(path, number + 1));
                match fs::rename(old, new) {
                    Err(error) if error.kind() == ErrorKind::NotFound => {}
                    renamed => renamed.map_err(failed)?,
                }
            }
            fs::rename(path, numbered(path, 1)).map_err(failed)?;
        }
        more.rotations = more.rotations.saturating_add(1);
        match keep {
            0 => Ok(()),
            _ => self.go_on_at(path),
        }
    }

    fn go_on_at(&mut self, path: &Path) -> Result<(), Error> {
        let replaced = self.replace(path, &mut Flaws::default());
        replaced.map(drop).map_err(|refusal| refusal.error)
    }
}

/// Returns the path of an older log.
fn numbered(path: &Path, number: u32) -> PathBuf {
    let mut path = path.as_os_str().to_owned();
    path.push(format!(".{number}"));
    path.into()
}

#[cfg(test)]
mod tests;
