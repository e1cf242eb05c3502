//! The output of programs, as the host wants it: held back for a while, and in logs that are opened
//! anew.

use crate::error::{Error, Result};
use crate::machine::ProgramId;
use crate::os::logs::Log;
use crate::spec::StdStream;

use super::ProcessScheduler;

impl ProcessScheduler {
    /// Says that the host takes nothing of this stream of programs for now (`true`), or that it does
    /// again (`false`): see [`Builder::on_output`](crate::Builder::on_output). Meanwhile the programs
    /// that write to it wait when their pipes are full, and nothing else does. At the end of a run
    /// what is left in its pipes is given all the same.
    ///
    /// Apart from the ends of runs, a turn gives at most 2,400 lines and 72 KiB of each stream. A host
    /// with room for that much loses nothing if it looks after each turn, and holds the stream when it
    /// has less.
    ///
    /// ```
    /// # use procsched::{ProcessScheduler, StdStream};
    /// # fn main() -> procsched::Result<()> {
    /// let mut scheduler = ProcessScheduler::builder("/").keep_running().build()?;
    /// scheduler.hold_output(StdStream::Stdout, true);
    /// scheduler.hold_output(StdStream::Stdout, false);
    /// # Ok(())
    /// # }
    /// ```
    pub fn hold_output(&mut self, stream: StdStream, is_held: bool) {
        if self.inbox.waker().is_ours() {
            self.capture.hold(&mut self.core, stream, is_held);
        }
    }

    /// Opens the log of each program anew whose path leads elsewhere by now: it was renamed or
    /// removed. For log rotation, after the files were renamed. One that was refused is tried again.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # use std::fs;
    /// # fn main() -> Result<(), Box<dyn std::error::Error>> {
    /// # let logs = tempfile::tempdir()?;
    /// # let web = ChildSpec::new("web", ["sleep", "60"]);
    /// # let mut scheduler = ProcessScheduler::builder("/").program(web).err_dir(logs.path()).build()?;
    /// let log = logs.path().join("web.stderr.log");
    /// fs::rename(&log, logs.path().join("web.stderr.log.1"))?;
    /// scheduler.reopen_logs()?;
    /// assert!(log.exists());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// Why a log cannot be opened; each is a warning, too, and the others are opened all the same.
    /// Until it can be, a file that was renamed is written on.
    pub fn reopen_logs(&mut self) -> Result<()> {
        if !self.inbox.waker().is_ours() {
            return Ok(());
        }
        let programs = self.core.programs().iter();
        let logs = programs.flat_map(|program| {
            let is_wanted = |&stream: &StdStream| {
                let output = program.output(stream);
                let is_log = |log: &Log| log.is_open() || log.refusal().is_some();
                program.exec.outputs().is_logged(stream)
                    && output.is_some_and(|output| is_log(&output.log))
            };
            let wanted = StdStream::ALL.into_iter().filter(is_wanted);
            wanted.map(|stream| (program.id, stream))
        });
        let logs: Vec<(ProgramId, StdStream)> = logs.collect();
        let (mut first, mut others) = (None, 0);
        for (id, stream) in logs {
            // What is known already is said again: this time it was asked for.
            let opened = self.capture.open_log(&mut self.core, id, stream);
            let output = self.core.programs()[id].output(stream);
            let refusal = output.and_then(|output| output.log.refusal().cloned());
            let Some(error) = opened.err().or(refusal) else {
                continue;
            };
            self.core.warn(id, error.clone());
            match first {
                None => first = Some(error),
                Some(_) => others += 1,
            }
        }
        match (first, others) {
            (None, _) => Ok(()),
            (Some(error), 0) => Err(error),
            (Some(error), _) => Err(Error::new(format!("{error} (and {others} more)"))),
        }
    }

    /// Opens the logs of a program. One that is refused is a warning, unless another supervisor has
    /// it.
    pub(super) fn open_logs_of(&mut self, id: ProgramId) -> Result<()> {
        for refused in self.try_logs(id)? {
            self.core.warn(id, refused);
        }
        Ok(())
    }

    /// The same, for a program that may be taken back: the warnings are returned.
    pub(super) fn try_logs(&mut self, id: ProgramId) -> Result<Vec<Error>> {
        let mut refused = Vec::new();
        for stream in StdStream::ALL {
            let Err(error) = self.capture.open_log(&mut self.core, id, stream) else {
                continue;
            };
            let output = self.core.programs()[id].output(stream);
            if output.is_some_and(|output| output.log.is_locked_by_another()) {
                return Err(error);
            }
            refused.push(error);
        }
        Ok(refused)
    }
}
