//! One command instead of a whole config: what a container's first process has to do.
//!
//! The whole process is its instrument: every signal waits, blocked, until the loop takes it
//! (`os::accept`), so that there is no handler and no moment in which one is lost. Two lives
//! follow each other: while the command runs (`command`), and what is left after it (`rest`).

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
use crate::os::accept;
use crate::report::CODE_UNKNOWN;
use crate::signal::{SIGNAL_MAX, signal_name, signal_problem};
use command::Running;

/// Runs one command as the first process of a container does, or of whatever else has none:
/// signals are passed on, orphans are reaped, and the command's exit code is the answer.
///
/// It is the whole life of a process with one thread, not a part of a larger one: it takes over
/// every signal and every child, leaves the working directory for `/` once the command runs,
/// closes what only the command inherits (descriptors above 2 without close-on-exec), and leaves
/// the signals blocked when it returns.
///
/// - The command gets what this process was given: standard streams, descriptors,
///   environment, working directory, limits, ignored signals (but SIGPIPE, which Rust's runtime
///   ignores, and SIGCHLD). Its signal mask is empty, and it has a process group of its own.
/// - Every signal that can be caught is sent to its group, but SIGCHLD, the faults (SIGSEGV,
///   SIGBUS, SIGFPE, SIGILL, SIGTRAP, SIGSYS, SIGABRT), SIGTTIN and SIGTTOU.
/// - On a terminal the command's group gets the foreground if this process has it and the terminal
///   is its stdin, else when the command asks for it; and this process takes it back. What a script
///   starts with `&` leaves the terminal alone. Keys that stop the command or end it (Ctrl-Z,
///   Ctrl-C, Ctrl-\) do the same to this process and its group; where nobody could continue it, as
///   with PID 1, the command is continued instead.
/// - When the command has ended, what is left of its group and what came home to this process
///   gets SIGTERM, and SIGKILL 2 s later (or 10 s after the first SIGTERM that was passed on, if
///   that is earlier). All of it is reaped. Only PID 1 signals children that it had before.
///
/// See prctl(2) for PR_SET_CHILD_SUBREAPER, which this process becomes unless it is PID 1, and
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

/// What does not change once it runs.
struct Options {
    /// What comes, and what is sent instead; 0 for nothing.
    rewrites: Vec<(i32, i32)>,
    success_codes: Vec<u8>,
    single: bool,
    parent_death_signal: Option<i32>,
    on_event: Box<dyn FnMut(&InitEvent)>,
}

impl Init {
    /// Blocks every signal that [`Init::run`] passes on, in this thread and from now on. To be
    /// called before anything else, so that none is lost, or ends this process, until then.
    pub fn hold_signals() {
        accept::hold();
    }

    /// This command and its arguments. Without a slash it is looked up in `PATH`; there is no
    /// shell.
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

    /// Sends `to` where `from` comes; with 0 nothing. The last rule for a signal counts.
    #[must_use]
    pub fn rewrite(mut self, from: i32, to: i32) -> Self {
        self.options.rewrites.push((from, to));
        self
    }

    /// Turns this exit code of the command, 128 + n for signal n, into 0. May be said of
    /// several.
    #[must_use]
    pub fn success_code(mut self, code: u8) -> Self {
        self.options.success_codes.push(code);
        self
    }

    /// Sends signals to the command's process alone, instead of its group. What is left when it
    /// has ended is stopped all the same.
    #[must_use]
    pub fn single(mut self) -> Self {
        self.options.single = true;
        self
    }

    /// Asks the kernel for this signal when the parent dies, or the thread of it that started
    /// this process (PR_SET_PDEATHSIG, prctl(2)). It is passed on like any other; SIGKILL ends
    /// this process and nothing else.
    #[must_use]
    pub fn parent_death_signal(mut self, signal: i32) -> Self {
        self.options.parent_death_signal = Some(signal);
        self
    }

    /// Is told what happens. It must not block; a panic of it is not told to anybody.
    #[must_use]
    pub fn on_event(mut self, on_event: impl FnMut(&InitEvent) + 'static) -> Self {
        self.options.on_event = Box::new(on_event);
        self
    }

    /// Whether these options make sense, without running anything.
    ///
    /// # Errors
    ///
    /// An empty command, a number that is no signal, or a rewrite of a signal that never comes.
    pub fn check(&self) -> Result<()> {
        if self.command.is_empty() {
            return Err(Error::new("the command is empty"));
        }
        let rewrites = &self.options.rewrites;
        let sent = rewrites.iter().map(|&(_, to)| to).filter(|&to| to != 0);
        let taken = rewrites.iter().map(|&(from, _)| from);
        for signal in sent.chain(taken).chain(self.options.parent_death_signal) {
            if let Some(problem) = signal_problem(signal) {
                return Err(Error::new(problem));
            }
        }
        let never = |from: &i32| *from == libc::SIGCHLD || !accept::is_takeable(*from);
        match rewrites.iter().map(|&(from, _)| from).find(never) {
            None => Ok(()),
            Some(from) => {
                let what = format!("failed to rewrite {}", signal_name(from));
                Err(Error::because(what, "it is never passed on"))
            }
        }
    }

    /// Runs the command, and returns with which code to exit: the command's own, 128 + n if
    /// signal n ended it, 127 if it was not found, 126 if it could not be executed, and 125 if
    /// anything else failed. Why is told to [`Init::on_event`].
    ///
    /// Does not return if the command has died of Ctrl-C or Ctrl-\ on the terminal: this process
    /// dies of the same signal then, unless it is PID 1, so that the caller sees what it would see
    /// without it. [`InitEvent::EndingBy`] is the last event, and the moment to clean up.
    #[must_use]
    pub fn run(self) -> u8 {
        Self::hold_signals();
        let checked = self.check();
        let mut options = self.options;
        if let Err(error) = checked {
            options.tell(InitEvent::Failed { error });
            return CODE_FAILED;
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

/// What is not the command's fault, and not its code either.
const CODE_FAILED: u8 = CODE_UNKNOWN as u8;

impl Options {
    /// A host that panics here must not take down whatever depends on this process.
    fn tell(&mut self, event: InitEvent) {
        let _ = catch_unwind(AssertUnwindSafe(|| (self.on_event)(&event)));
    }

    fn warn(&mut self, error: Error) {
        self.tell(InitEvent::Warning { error });
    }

    /// What is sent where this comes; `None` for nothing.
    fn rewritten(&self, signal: i32) -> Option<i32> {
        let rule = |&&(from, _): &&(i32, i32)| from == signal;
        match self.rewrites.iter().rev().find(rule) {
            Some(&(_, 0)) => None,
            Some(&(_, to)) => Some(to),
            None => (![libc::SIGTTIN, libc::SIGTTOU].contains(&signal)).then_some(signal),
        }
    }

    /// The code with which this process ends for such an end of the command.
    fn mapped(&self, code: u8) -> u8 {
        if self.success_codes.contains(&code) {
            0
        } else {
            code
        }
    }
}

/// As a shell tells it: 128 + n for signal n.
fn exit_code(exit: Exit) -> u8 {
    let code = match exit {
        Exit::Code(code) => code,
        Exit::Signal { signal, .. } => 128 + signal.clamp(0, SIGNAL_MAX),
        Exit::Unknown => CODE_UNKNOWN,
    };
    u8::try_from(code).unwrap_or(CODE_FAILED)
}
