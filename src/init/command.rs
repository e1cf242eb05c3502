//! While the command runs: forwards signals, reaps orphans, follows job control.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use crate::error::Error;
use crate::exec::{Exec, More, failed_start_code};
use crate::machine::Exit;
use crate::os::children::{self, StateChange};
use crate::os::descriptors;
use crate::os::group::Sent;
use crate::os::signal_queue::{self, Taken, Target};
use crate::os::spawn::{Failure, Late, Place, Spawner, Started};
use crate::os::subreaper::{self, is_pid_1};
use crate::os::terminal::Terminal;
use crate::signal::signal_name;

use super::job::{Job, wants_terminal};
use super::reaping::{CHECK_INTERVAL, Reaped};
use super::rest::{Reach, Rest, no_list};
use super::{CODE_FAILED, InitEvent, Options, exit_code};

/// How long the command's exec is waited for before signals are handled again.
const START_WAIT: Duration = Duration::from_millis(10);

/// The signals by which a user or program asks another to end.
const ENDINGS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// The running command.
pub(super) struct Running {
    pid: i32,
    /// What is stopped after it.
    rest: Rest,
    options: Options,
    job: Job,
    /// The signal that stopped it, until it is continued.
    stopped: Option<i32>,
    /// Set while its exec takes too long to wait for.
    late: Option<Late>,
    /// Why its late exec failed.
    failure: Option<Failure>,
    exec: Exec,
    spawner: Spawner,
}

impl Running {
    /// Starts the command. On failure emits why, and returns the exit code.
    pub(super) fn start(command: &[OsString], mut options: Options) -> Result<Self, u8> {
        // While it is ignored, the kernel reaps the children, and their statuses are lost.
        signal_queue::set_default(libc::SIGCHLD);
        let reach = prepare(&mut options)?;
        let mut inherited = BTreeSet::new();
        if !is_pid_1() {
            inherited.extend(children::of_this_process().into_iter().flatten());
        }
        let ignored = signal_queue::ignored().without([libc::SIGPIPE, libc::SIGCHLD]);
        let mut job = Job::new(ignored);
        let offer = job.offer();
        let has_lent = offer.is_some();
        let exec = Exec::in_our_place(command).map_err(|error| options.fail(error, CODE_FAILED))?;
        let mut spawner = Spawner::new(None).map_err(|errno| {
            let what = "failed to make a stack for the command's first steps";
            options.fail(Error::os(what, errno as i32), CODE_FAILED)
        })?;
        let (pid, late) = execute(&exec, &mut spawner, offer, ignored, &mut options)?;
        job.started(pid, has_lent);
        // So that the command can close its descriptors, and its file system can be unmounted.
        descriptors::close_inheritable();
        let _ = std::env::set_current_dir("/");
        Ok(Self {
            pid,
            rest: Rest::new(pid, reach, inherited),
            options,
            job,
            stopped: None,
            late,
            failure: None,
            exec,
            spawner,
        })
    }

    /// Runs until the command and what it leaves have ended, and returns the exit code.
    pub(super) fn run(mut self) -> u8 {
        let mut taken = None;
        let exit = loop {
            let left = self.rest.reap(Some(self.pid), &mut self.options);
            if let Reaped::Kept(exit) = left {
                break exit;
            }
            let is_hidden =
                (left == Reaped::Failed && self.rest.is_overdue()) || self.is_withheld();
            if is_hidden {
                break Exit::Unknown;
            }
            self.turn(taken);
            self.ask_late();
            let again = self.late.as_ref().map(|_| CHECK_INTERVAL);
            taken = signal_queue::next(left.pause().or(again));
        };
        if exit == Exit::Unknown {
            let what = "the command's exit status is unknown";
            self.options.warn(Error::new(what));
        }
        let key = self.job.key_that_ended(exit);
        self.job.take_back();
        let code = self.failure_code().unwrap_or(exit_code(exit));
        self.rest.end(code, &mut self.options);
        // The group that had the terminal from the command is gone by now.
        self.job.take_back_abandoned();
        let mapped = self.options.mapped(code);
        if let Some((signal, target)) = key
            && mapped == code
        {
            self.options.emit(InitEvent::EndingBy { signal });
            signal_queue::end_by(signal, target);
        }
        mapped
    }

    /// Asks a late child what has become of it. After its answer it needs nothing of ours.
    fn ask_late(&mut self) {
        if let Some(late) = &mut self.late
            && let Some(answer) = late.poll(&mut self.spawner)
        {
            self.failure = answer.err();
            self.late = None;
        }
    }

    /// Returns the code of a command whose late exec failed, and emits why.
    fn failure_code(&mut self) -> Option<u8> {
        self.ask_late();
        let failure = self.failure?;
        let error = self.exec.explain(failure);
        Some(self.options.fail(error, code_of(failure)))
    }

    /// True if the command was asked to end and is a zombie that only its tracer can wait for.
    fn is_withheld(&self) -> bool {
        self.rest.kill_at.is_some() && children::is_withheld_zombie(self.pid)
    }

    /// Handles a stop or continue of the command, then the signal, and then stops this process
    /// too: a SIGTERM that was taken must not wait until this process is continued.
    fn turn(&mut self, taken: Option<Taken>) {
        let change = children::change(self.pid);
        match change {
            Some(StateChange::Stopped(signal)) => {
                self.stopped = Some(signal);
                self.options.emit(InitEvent::Stopped { signal });
            }
            Some(StateChange::Continued) => {
                self.stopped = None;
                self.job.note_continued();
                self.options.emit(InitEvent::Continued);
            }
            None => {}
        }
        match taken {
            Some(taken) if taken.signal == libc::SIGCONT => self.resume(),
            Some(taken) if taken.signal != libc::SIGCHLD => self.forward(taken),
            _ => {}
        }
        if let (Some(StateChange::Stopped(_)), Some(signal)) = (change, self.stopped) {
            self.follow(signal);
        }
    }

    fn forward(&mut self, taken: Taken) {
        let signal = taken.signal;
        let Some(sent) = self.options.rewritten(signal) else {
            self.options.emit(InitEvent::Dropped { signal });
            if self.job.stops_callers(signal) && self.job.stop(Target::Process, signal) {
                self.resume();
            }
            return;
        };
        if signal == libc::SIGTERM {
            self.rest.note_asked();
        }
        self.job.note_sent(taken, sent);
        match self.signal(sent) {
            Sent::Delivered => self.options.emit(InitEvent::Forwarded { signal, sent }),
            Sent::Gone => self.options.emit(InitEvent::Dropped { signal }),
            Sent::Refused(errno) => {
                let what = format!("failed to forward {}", signal_name(sent));
                self.options.warn(Error::os(what, errno as i32));
            }
        }
        // A stopped process handles no signal but SIGKILL until it is continued.
        let asks_to_end = |signal| ENDINGS.contains(&signal);
        if self.stopped.is_some() && (asks_to_end(signal) || asks_to_end(sent)) {
            self.continue_group();
        }
    }

    /// Sends a signal to the group; to the process alone, which is not reaped yet, if that is an
    /// option, or if it has left its group and that is gone.
    fn signal(&self, signal: i32) -> Sent {
        let sent = match self.options.single {
            true => Sent::Gone,
            false => self.rest.group.signal(signal),
        };
        match sent {
            Sent::Gone => children::signal(self.pid, signal),
            sent => sent,
        }
    }

    /// Handles SIGCONT: gives the command the terminal that a shell gave this process.
    fn resume(&mut self) {
        self.job.hand_over();
        let signal = libc::SIGCONT;
        if self.stopped.is_some() {
            self.continue_group();
            let sent = signal;
            self.options.emit(InitEvent::Forwarded { signal, sent });
        } else {
            self.forward(Taken {
                signal,
                is_from_kernel: false,
            });
        }
    }

    /// Handles a stop of the command: stops this process too, if a shell controls this job.
    fn follow(&mut self, signal: i32) {
        if wants_terminal(signal) && self.job.hand_over_on_demand() {
            return self.continue_group();
        }
        if let Some(target) = self.job.target_of_stop(signal)
            && self.job.stop(target, signal)
        {
            return self.resume();
        }
        if !self.job.is_stopped_by_terminal(signal) {
            // The process that stopped it will continue it.
        } else if wants_terminal(signal) {
            let what = "the command waits for the terminal";
            let reason = "another process group has it";
            self.options.warn(Error::because(what, reason));
        } else {
            // There is no shell that could continue it.
            self.continue_group();
        }
    }

    fn continue_group(&mut self) {
        self.stopped = None;
        self.job.note_continued();
        if self.rest.group.signal(libc::SIGCONT) == Sent::Gone {
            children::signal(self.pid, libc::SIGCONT);
        }
    }
}

/// Becomes a subreaper, and finds out which processes can be signalled.
fn prepare(options: &mut Options) -> Result<Reach, u8> {
    if let Some(signal) = options.parent_death_signal
        && let Err(errno) = signal_queue::on_parent_death(signal)
    {
        let what = "failed to ask for a signal when the parent dies";
        return Err(options.fail(Error::os(what, errno as i32), CODE_FAILED));
    }
    if is_pid_1() {
        return Ok(match children::of_this_process() {
            Some(_) => Reach::Children,
            None => Reach::All,
        });
    }
    match subreaper::become_subreaper() {
        // For the life of this process.
        Ok(subreaper) => std::mem::forget(subreaper),
        Err(error) => {
            options.warn(error);
            let what = "what leaves the command's group is neither reaped nor stopped";
            options.warn(Error::new(what));
            return Ok(Reach::Group);
        }
    }
    if children::of_this_process().is_none() {
        options.warn(no_list());
        return Ok(Reach::Group);
    }
    Ok(Reach::Children)
}

fn code_of(failure: Failure) -> u8 {
    u8::try_from(failed_start_code(failure)).unwrap_or(CODE_FAILED)
}

/// Executes the command, and returns its pid.
fn execute(
    exec: &Exec,
    spawner: &mut Spawner,
    offer: Option<&Terminal>,
    ignored: signal_queue::SignalSet,
    options: &mut Options,
) -> Result<(i32, Option<Late>), u8> {
    let place = Place::Inside {
        terminal: offer.map(|terminal| terminal.as_fd().as_raw_fd()),
        ignored,
    };
    let started = exec.spawn_at("", spawner, place, More::default(), START_WAIT);
    if let Some(error) = spawner.take_warning() {
        options.warn(error);
    }
    let (pid, late) = match started {
        Ok(Started::Executed(pid)) => (pid, None),
        Ok(Started::Late(late)) => (late.pid(), Some(late)),
        Err(failure) => {
            if let Some(terminal) = offer {
                terminal.take_back();
            }
            return Err(options.fail(exec.explain(failure), code_of(failure)));
        }
    };
    options.emit(InitEvent::Started { pid });
    Ok((pid, late))
}
