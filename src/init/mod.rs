//! Runs one command as the first process of a container.
//!
//! Every signal is blocked until the loop takes it (`os::signal_queue`), so that none is lost and there
//! is no handler. There are two phases: while the command runs (`command`), and stopping what is
//! left after it (`rest`).

mod command;
mod event;
mod job;
mod reaping;
mod rest;
#[cfg(test)]
mod tests;

use std::ffi::OsString;
use std::panic::{AssertUnwindSafe, catch_unwind};

pub use event::InitEvent;

use crate::error::{Error, Result};
use crate::machine::Exit;
use crate::os::signal_queue;
use crate::report::{CODE_UNKNOWN, return_code};
use crate::signal::{Signal, signal_name};
use command::Running;

/// Runs one command as the first process of a container: forwards signals to it, reaps orphans and
/// returns its exit code.
///
/// It takes over the whole process, which has one thread: every signal and every child. Once the
/// command runs, it changes the working directory to `/` and closes the descriptors above 2 that
/// the command inherits. Signals are still blocked when it returns.
///
/// - The command inherits standard streams, descriptors without close-on-exec, environment,
///   working directory, limits and ignored signals, except SIGPIPE, which Rust's runtime ignores,
///   and SIGCHLD. Its signal mask is empty, and it has a process group of its own.
/// - Every signal that can be caught is forwarded to its group, except SIGCHLD, faults (SIGSEGV,
///   SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT), SIGTTIN and SIGTTOU.
/// - On a terminal, the command's group gets the foreground at once if this process has it and the
///   terminal is its stdin, else when the command needs it. This process takes it back. A script's
///   `&` leaves the terminal alone. Keys that stop or end the command (Ctrl-Z, Ctrl-C, Ctrl-\) do
///   the same to this process and its group. If there is no shell that could continue it, as for
///   PID 1, the command is continued instead.
/// - After the command, the rest of its group and the orphans get SIGTERM, and SIGKILL 2 s later,
///   or 10 s after the first forwarded SIGTERM if that is earlier. All of them are reaped. Children
///   from before are signalled by PID 1 only.
///
/// Unless it is PID 1, this process becomes a subreaper (PR_SET_CHILD_SUBREAPER, prctl(2)). See
/// credentials(7) for groups, sessions and terminals.
///
/// ```no_run
/// use procsched::Init;
///
/// Init::hold_signals(); // first thing of all
/// let code = Init::new(["java", "-jar", "app.jar"])
///     .rewrite(libc::SIGINT, libc::SIGTERM)
///     .success_code(143)
///     .on_event(|event| eprintln!("{event}"))
///     .run();
/// std::process::exit(code.into());
/// ```
pub struct Init {
    command: Vec<OsString>,
    options: Options,
}

struct Options {
    /// Received signals, each with the one that is sent instead; 0 for none.
    rewrites: Vec<(i32, i32)>,
    success_codes: Vec<u8>,
    single: bool,
    parent_death_signal: Option<i32>,
    on_event: Box<dyn FnMut(&InitEvent)>,
}

impl Init {
    /// Blocks every signal that [`Init::run`] forwards, in this thread. Call it first in `main`, so
    /// that no signal is lost or ends this process before [`Init::run`].
    pub fn hold_signals() {
        signal_queue::hold();
    }

    /// Returns an init for this command and its arguments. A command without a slash is looked up
    /// in `PATH`; there is no shell.
    pub fn new(command: impl IntoIterator<Item = impl Into<OsString>>) -> Self {
        Self {
            command: command.into_iter().map(Into::into).collect(),
            options: Options {
                rewrites: Vec::new(),
                success_codes: Vec::new(),
                single: false,
                parent_death_signal: None,
                on_event: Box::new(|_| {}),
            },
        }
    }

    /// Sends the signal `to` instead of `from`, or none if it is 0. The last rewrite of a signal
    /// counts.
    #[must_use]
    pub fn rewrite(mut self, from: i32, to: i32) -> Self {
        self.options.rewrites.push((from, to));
        self
    }

    /// Returns 0 for this exit code of the command, which is 128 + n for signal n. Can be called
    /// for several codes.
    #[must_use]
    pub fn success_code(mut self, code: u8) -> Self {
        self.options.success_codes.push(code);
        self
    }

    /// Forwards signals to the command's process instead of its group. After the command its group
    /// is stopped all the same.
    #[must_use]
    pub fn single(mut self) -> Self {
        self.options.single = true;
        self
    }

    /// Sets the signal, 1 to 64, that this process gets when the parent's thread that created it
    /// ends (PR_SET_PDEATHSIG, prctl(2)). It is forwarded like any other; SIGKILL ends this process
    /// alone. None by default.
    #[must_use]
    pub fn parent_death_signal(mut self, signal: i32) -> Self {
        self.options.parent_death_signal = Some(signal);
        self
    }

    /// Sets a closure that is called with each event. It must not block. Its panics are ignored.
    #[must_use]
    pub fn on_event(mut self, on_event: impl FnMut(&InitEvent) + 'static) -> Self {
        self.options.on_event = Box::new(on_event);
        self
    }

    /// Checks these options without running anything.
    ///
    /// # Errors
    ///
    /// For an empty command, a number that is not a signal, or the rewrite of a signal that is
    /// never forwarded.
    pub fn check(&self) -> Result<()> {
        if self.command.is_empty() {
            return Err(Error::new("the command is empty"));
        }
        for &(from, to) in &self.options.rewrites {
            Signal::new(from)?;
            if to != 0 {
                Signal::new(to)?;
            }
            if from == libc::SIGCHLD || !signal_queue::is_takeable(from) {
                let what = format!("failed to rewrite {}", signal_name(from));
                return Err(Error::because(what, "it is never passed on"));
            }
        }
        self.options
            .parent_death_signal
            .map_or(Ok(()), |signal| Signal::new(signal).map(drop))
    }

    /// Runs the command and returns the code to exit with: the command's exit code, 128 + n if
    /// signal n terminated it, 127 if it was not found, 126 if it could not be executed, and 125 if
    /// anything else failed. The reason is an [`InitEvent::Failed`].
    ///
    /// Does not return if Ctrl-C or Ctrl-\ on the terminal terminated the command: unless this
    /// process is PID 1, it then ends by the same signal, as the command would have for its caller.
    /// [`InitEvent::EndingBy`] is the last event before that.
    #[must_use]
    pub fn run(self) -> u8 {
        Self::hold_signals();
        let checked = self.check();
        let mut options = self.options;
        if let Err(error) = checked {
            return options.fail(error, CODE_FAILED);
        }
        match Running::start(&self.command, options) {
            Ok(running) => running.run(),
            Err(code) => code,
        }
    }
}

impl std::fmt::Debug for Init {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Init")
            .field("command", &self.command)
            .finish_non_exhaustive()
    }
}

/// The exit code for failures before exec.
const CODE_FAILED: u8 = CODE_UNKNOWN as u8;

impl Options {
    /// Calls the host's closure. Its panic must not end this process, which may be PID 1.
    fn emit(&mut self, event: InitEvent) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.on_event)(&event)));
    }

    /// Emits why the command could not be started, and returns the exit code for that.
    fn fail(&mut self, error: Error, code: u8) -> u8 {
        self.emit(InitEvent::Failed { error });
        code
    }

    fn warn(&mut self, error: Error) {
        self.emit(InitEvent::Warning { error });
    }

    /// Returns what is sent for a received signal; `None` for nothing.
    fn rewritten(&self, signal: i32) -> Option<i32> {
        let rule = |&&(from, _): &&(i32, i32)| from == signal;
        match self.rewrites.iter().rev().find(rule) {
            Some(&(_, 0)) => None,
            Some(&(_, to)) => Some(to),
            None => (![libc::SIGTTIN, libc::SIGTTOU].contains(&signal)).then_some(signal),
        }
    }

    /// Returns the exit code of this process for one of the command.
    fn mapped(&self, code: u8) -> u8 {
        match self.success_codes.contains(&code) {
            true => 0,
            false => code,
        }
    }
}

/// Returns the exit code of a shell: 128 + n for signal n.
fn exit_code(exit: Exit) -> u8 {
    let code = match return_code(exit) {
        signal @ ..0 => 128_i32.saturating_sub(signal),
        code => code,
    };
    u8::try_from(code).unwrap_or(CODE_FAILED)
}
