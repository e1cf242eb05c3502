//! Job control: when the command gets the terminal, and what a key there does to the callers.
//!
//! The callers are the process group of init: a script that waits for it, or the rest of a
//! pipeline. The command has its own group. While that is in the foreground, the callers can
//! neither read from the terminal nor get its keys. So the command gets the terminal at once only
//! if that is surely meant for it, else when it needs it (SIGTTIN, SIGTTOU). Init applies a key
//! that stops or ends the command to the callers too.
//!
//! A kill(2) concerns the command alone and must be distinguished from a key. Init knows the origin
//! of the signals that it received itself. Any other signal that reached the command while it had
//! the terminal from init is taken for a key.

use crate::machine::Exit;
use crate::os::signal_queue::{self, SignalSet, Taken, Target};
use crate::os::subreaper::is_pid_1;
use crate::os::terminal::{self, Above, Terminal};

const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// True for the signals to a background group that accesses the terminal.
pub(super) fn wants_terminal(signal: i32) -> bool {
    signal == libc::SIGTTIN || signal == libc::SIGTTOU
}

/// The command as a job of the terminal.
pub(super) struct Job {
    /// The pid of the command, which is also its process group ID.
    command: i32,
    terminal: Option<Terminal>,
    /// The terminal is init's stdin, and the command's.
    is_stdin: bool,
    /// A shell without job control has started init with `&`: by POSIX, SIGINT and SIGQUIT are
    /// ignored then. The script goes on in the foreground, in the same group.
    is_asynchronous: bool,
    /// The command has got the terminal from init.
    has_lent: bool,
    /// The signals that init has forwarded from other processes. A stop signal is in it until the
    /// command is continued.
    sent: SignalSet,
    /// The same for keys, which init got because its own group had the terminal.
    typed: SignalSet,
}

impl Job {
    /// Returns the job of a command that ignores these signals.
    pub(super) fn new(ignored: SignalSet) -> Self {
        Self {
            command: 0,
            terminal: Terminal::of_this_session(),
            is_stdin: terminal::is_stdin(),
            is_asynchronous: ignored.has(libc::SIGINT) && ignored.has(libc::SIGQUIT),
            has_lent: false,
            sent: SignalSet::EMPTY,
            typed: SignalSet::EMPTY,
        }
    }

    /// Returns the terminal if the command gets it at its start.
    pub(super) fn offer(&self) -> Option<&Terminal> {
        let is_offered = |terminal: &&Terminal| self.is_for_command() && terminal.is_ours();
        self.terminal.as_ref().filter(is_offered)
    }

    pub(super) fn started(&mut self, command: i32, has_lent: bool) {
        self.command = command;
        self.has_lent = has_lent;
    }

    /// True if the terminal is surely meant for the command: it is its stdin, and no script runs
    /// beside it.
    fn is_for_command(&self) -> bool {
        self.is_stdin && !self.is_asynchronous
    }

    /// Notes that `sent` is forwarded for the signal that was taken.
    pub(super) fn note_sent(&mut self, taken: Taken, sent: i32) {
        if sent == libc::SIGCONT {
            self.note_continued();
        } else if taken.is_from_kernel {
            self.typed = self.typed.with(sent);
        } else {
            self.sent = self.sent.with(sent);
        }
    }

    /// Notes that the command is continued.
    pub(super) fn note_continued(&mut self) {
        self.sent = self.sent.without(STOPS);
        self.typed = self.typed.without(STOPS);
    }

    /// Gives the terminal to the command after a SIGCONT, under the same rule as at its start.
    pub(super) fn hand_over(&mut self) {
        if self.is_for_command() {
            self.lend();
        }
    }

    /// Gives the terminal to the command, which was stopped because it accessed it; not to one that
    /// was started with `&`, unless the terminal is its stdin. True if it has the terminal now.
    pub(super) fn hand_over_on_demand(&mut self) -> bool {
        (self.is_stdin || !self.is_asynchronous) && self.lend()
    }

    /// Gives the terminal to the command if this process has it, or had it and the group that has
    /// it now is gone.
    fn lend(&mut self) -> bool {
        let Some(terminal) = &self.terminal else {
            return false;
        };
        let is_ours = terminal.is_ours() || self.has_lent && terminal.is_abandoned();
        let has_lent = is_ours && terminal.give_to(self.command);
        self.has_lent |= has_lent;
        has_lent
    }

    fn foreground(&self) -> Option<i32> {
        self.terminal.as_ref().and_then(Terminal::foreground)
    }

    /// True if init has put the command into the foreground.
    fn is_in_front(&self) -> bool {
        self.has_lent && self.foreground() == Some(self.command)
    }

    /// Takes the terminal back from the command, which has ended.
    pub(super) fn take_back(&self) {
        if let Some(terminal) = &self.terminal
            && self.is_in_front()
        {
            terminal.take_back();
        }
    }

    /// Takes the terminal back from a group that had it from the command and is gone.
    pub(super) fn take_back_abandoned(&self) {
        if let Some(terminal) = &self.terminal
            && self.has_lent
            && terminal.is_abandoned()
        {
            terminal.take_back();
        }
    }

    /// True if the terminal has stopped the command by this signal.
    pub(super) fn is_stopped_by_terminal(&self, signal: i32) -> bool {
        match signal {
            _ if self.sent.has(signal) => false,
            libc::SIGTSTP => self.typed.has(signal) || self.is_in_front(),
            libc::SIGTTIN | libc::SIGTTOU => {
                let foreground = self.foreground();
                foreground.is_some_and(|group| group != self.command)
            }
            _ => false,
        }
    }

    /// Returns what to stop after this signal has stopped the command.
    ///
    /// The terminal stops a whole group, and so does init, unless Ctrl-Z came to its own group
    /// already, or the callers are in the foreground. After a kill(2), init stops itself to notify
    /// a shell with job control; a script keeps waiting, as it would without init.
    pub(super) fn target_of_stop(&self, signal: i32) -> Option<Target> {
        match terminal::above() {
            Above::OtherSession => None,
            _ if self.typed.has(signal) => Some(Target::Process),
            _ if self.is_stopped_by_terminal(signal) => {
                let is_ours = self.terminal.as_ref().is_some_and(Terminal::is_ours);
                (!is_ours).then_some(Target::Group)
            }
            Above::Shell if self.terminal.is_some() => Some(Target::Process),
            Above::Shell | Above::Script => None,
        }
    }

    /// True if this signal to init stops the callers because they are in the background. Init has
    /// to stop with them, because a shell controls a job as a whole.
    pub(super) fn stops_callers(&self, signal: i32) -> bool {
        let is_elsewhere = |terminal: &Terminal| !terminal.is_ours();
        wants_terminal(signal)
            && self.terminal.as_ref().is_some_and(is_elsewhere)
            && terminal::above() != Above::OtherSession
    }

    /// Stops init as this signal has stopped the command. True once it was continued; it does not
    /// stop without a shell that could continue it. The callers get the terminal first, as they
    /// have it without init: by that an outer init recognizes the key.
    pub(super) fn stop(&mut self, target: Target, signal: i32) -> bool {
        let gives_back = target == Target::Group && self.is_in_front();
        if gives_back {
            self.take_back();
        }
        let stop = match wants_terminal(signal) {
            true => signal,
            false => libc::SIGTSTP,
        };
        let is_continued = signal_queue::stop_self(target, stop);
        if gives_back && !is_continued {
            self.lend();
        }
        self.has_lent = self.is_in_front();
        is_continued
    }

    /// Returns the signal of the key that has ended the command, and what to end by it now: the
    /// group that the key was sent to has it already. `None` for PID 1, which no signal can end.
    pub(super) fn key_that_ended(&self, exit: Exit) -> Option<(i32, Target)> {
        let Exit::Signal { signal, .. } = exit else {
            return None;
        };
        let is_key = signal == libc::SIGINT || signal == libc::SIGQUIT;
        if !is_key || self.sent.has(signal) || is_pid_1() {
            None
        } else if self.typed.has(signal) {
            Some((signal, Target::Process))
        } else {
            self.is_in_front().then_some((signal, Target::Group))
        }
    }
}
