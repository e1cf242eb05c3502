//! Job control: when the command gets the terminal, and what a key there means for the callers.
//!
//! The callers are the process group of init: a script that waits for it, the other members of a
//! pipeline. The command has a group of its own. While that group has the terminal, the callers
//! can neither read from it nor do they get its keys. So the command gets it at once only where
//! it is sure to be meant for it, and else when it asks (SIGTTIN, SIGTTOU); and a key that stops
//! or ends it does the same to the callers, by init.
//!
//! A key must be told from a kill(2), which is the command's alone. Only who is sent a signal
//! learns where it came from: what came to init is known, and what has come to the command by
//! other ways, while it had the terminal from init, is taken for a key.

use crate::machine::Exit;
use crate::os::accept::{self, SignalSet, Taken, Target};
use crate::os::subreaper::is_pid_1;
use crate::os::terminal::{self, Above, Terminal};

const STOPS: [i32; 4] = [libc::SIGSTOP, libc::SIGTSTP, libc::SIGTTIN, libc::SIGTTOU];

/// True for the signals to a group that wants the terminal and is not in the foreground.
pub(super) fn wants_terminal(signal: i32) -> bool {
    signal == libc::SIGTTIN || signal == libc::SIGTTOU
}

/// The command as a job of the terminal.
pub(super) struct Job {
    /// The number of the command's process and of its group.
    command: i32,
    terminal: Option<Terminal>,
    /// The terminal is init's stdin, and the command's.
    is_stdin: bool,
    /// A shell without job control has started init with `&`. By POSIX it ignores SIGINT and
    /// SIGQUIT there; the script goes on in the foreground, in the same group.
    is_asynchronous: bool,
    /// The command has got the terminal from init.
    has_lent: bool,
    /// The signals that init has passed on from other processes. One that stops is in it until
    /// the command is continued.
    sent: SignalSet,
    /// The same for those that are keys: init's own group had the terminal.
    typed: SignalSet,
}

impl Job {
    /// The job of a command that ignores these signals.
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

    /// Returns the terminal if the command is to have it from its start.
    pub(super) fn offer(&self) -> Option<&Terminal> {
        let is_offered = |terminal: &&Terminal| self.is_for_command() && terminal.is_ours();
        self.terminal.as_ref().filter(is_offered)
    }

    pub(super) fn started(&mut self, command: i32, has_lent: bool) {
        self.command = command;
        self.has_lent = has_lent;
    }

    /// True if the terminal is surely meant for the command: it is its stdin, and no script goes
    /// on beside it.
    fn is_for_command(&self) -> bool {
        self.is_stdin && !self.is_asynchronous
    }

    /// Notes what is sent to the command for a signal that was taken.
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

    /// Gives the terminal to the command after a SIGCONT, as at its start.
    pub(super) fn hand_over(&mut self) {
        if self.is_for_command() {
            self.lend();
        }
    }

    /// Gives the terminal to the command, which was stopped because it wants it. Not to one that
    /// was started with `&`, unless the terminal was made its stdin. Returns whether it has it.
    pub(super) fn hand_over_on_demand(&mut self) -> bool {
        (self.is_stdin || !self.is_asynchronous) && self.lend()
    }

    /// Gives it away if it is ours, or was, and the group that had it then is gone.
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

    /// True if the command is in the foreground because of init.
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

    /// Takes it back from a group that had it from the command, and is gone.
    pub(super) fn take_back_abandoned(&self) {
        if let Some(terminal) = &self.terminal
            && self.has_lent
            && terminal.is_abandoned()
        {
            terminal.take_back();
        }
    }

    /// True if this signal has stopped the command because of the terminal.
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

    /// Returns who is to stop after the command was stopped by this signal.
    ///
    /// The terminal stops a whole group, and so does init, unless Ctrl-Z has come to its own
    /// group, or the callers are in the foreground. After a kill(2) a shell with job control is
    /// told by init's own stop; a script waits for the command, as it would without init.
    pub(super) fn who_stops(&self, signal: i32) -> Option<Target> {
        match terminal::above() {
            Above::Nobody => None,
            _ if self.typed.has(signal) => Some(Target::Process),
            _ if self.is_stopped_by_terminal(signal) => {
                let is_ours = self.terminal.as_ref().is_some_and(Terminal::is_ours);
                (!is_ours).then_some(Target::Group)
            }
            Above::Shell if self.terminal.is_some() => Some(Target::Process),
            Above::Shell | Above::Script => None,
        }
    }

    /// True if this signal to init stops the callers because the terminal is not theirs, so that
    /// init has to stop with them: a shell looks after a job as a whole.
    pub(super) fn stops_callers(&self, signal: i32) -> bool {
        let is_elsewhere = |terminal: &Terminal| !terminal.is_ours();
        wants_terminal(signal)
            && self.terminal.as_ref().is_some_and(is_elsewhere)
            && terminal::above() != Above::Nobody
    }

    /// Stops init, as this signal has stopped the command, and returns whether it was continued;
    /// where no shell could do that it does not stop. The callers stop with the terminal in their
    /// group, as they would without init: by that another init above knows the key.
    pub(super) fn stop(&mut self, target: Target, signal: i32) -> bool {
        let gives_back = target == Target::Group && self.is_in_front();
        if gives_back {
            self.take_back();
        }
        let stop = if wants_terminal(signal) {
            signal
        } else {
            libc::SIGTSTP
        };
        let is_continued = accept::stop_self(target, stop);
        if gives_back && !is_continued {
            self.lend();
        }
        self.has_lent = self.is_in_front();
        is_continued
    }

    /// Returns the key that has ended the command, and who is to end by it now: a group to which
    /// it came has it already. Nothing for a PID 1, which cannot end by a signal.
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
