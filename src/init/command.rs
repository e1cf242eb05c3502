//! While the command runs: signals to it, deaths of others, job control.

use std::collections::BTreeSet;
use std::ffi::OsString;
use std::os::fd::AsFd;

use crate::error::Error;
use crate::launch::{Launch, failed_start_code};
use crate::machine::{Exit, Moment};
use crate::os::accept::{self, Taken, Target};
use crate::os::children::{self, Change};
use crate::os::clock::Clock;
use crate::os::descriptors;
use crate::os::group::{Group, Sent};
use crate::os::spawn::{Failure, Inside, Late, Place, Spawner, Started};
use crate::os::subreaper::{self, is_pid_1};
use crate::os::terminal::Terminal;
use crate::signal::signal_name;

use super::job::{Job, wants_terminal};
use super::reaping::{Left, ask, bite};
use super::rest::{Reach, Rest, STOP_TIMEOUT, no_list};
use super::{CODE_FAILED, InitEvent, Options, exit_code};

/// By these a person or a program asks another one to end.
const ENDINGS: [i32; 4] = [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT, libc::SIGHUP];

/// The command at work, and what is known of it.
pub(super) struct Running {
    pid: i32,
    group: Group,
    options: Options,
    job: Job,
    clock: Clock,
    reach: Reach,
    /// Children that were here before, which only PID 1 signals.
    inherited: BTreeSet<i32>,
    /// The first SIGTERM that was passed on.
    asked_at: Option<Moment>,
    /// By which signal it was stopped, until it is continued.
    stopped: Option<i32>,
    /// Set if it had not been executed yet when it was looked at first.
    late: Option<Late>,
    launch: Launch,
    spawner: Spawner,
}

impl Running {
    /// Starts it; or says why not, and returns the code for that.
    pub(super) fn start(command: &[OsString], mut options: Options) -> Result<Self, u8> {
        accept::stop_ignoring_deaths();
        let reach = prepare(&mut options)?;
        let mut inherited = BTreeSet::new();
        if !is_pid_1() {
            inherited.extend(children::of_this_process().into_iter().flatten());
        }
        let ignored = accept::ignored().without([libc::SIGPIPE, libc::SIGCHLD]);
        let mut job = Job::new(ignored);
        let offer = job.offer();
        let has_lent = offer.is_some();
        let executed = execute(command, offer, ignored, &mut options)?;
        let (pid, late) = match executed.started {
            Started::Executed(pid) => (pid, None),
            Started::Late(late) => (late.pid(), Some(late)),
        };
        job.started(pid, has_lent);
        // What is the command's alone now, it may close, and the mount it runs on may go.
        descriptors::close_inheritable();
        let _ = std::env::set_current_dir("/");
        Ok(Self {
            pid,
            group: Group::new(pid),
            options,
            job,
            clock: Clock::new(),
            reach,
            inherited,
            asked_at: None,
            stopped: None,
            late,
            launch: executed.launch,
            spawner: executed.spawner,
        })
    }

    /// To its end, and that of what it leaves behind.
    pub(super) fn run(mut self) -> u8 {
        let mut taken = None;
        let exit = loop {
            let gone = |pid| _ = self.inherited.remove(&pid);
            let left = bite(Some(self.pid), &mut self.options, gone);
            let left = ask(self.pid, left);
            if let Left::Kept(exit) = left {
                break exit;
            }
            let is_hidden = (left == Left::Blind && self.is_overdue()) || self.is_withheld();
            if is_hidden {
                break Exit::Unknown;
            }
            self.turn(taken);
            taken = accept::next(left.rest());
        };
        if exit == Exit::Unknown {
            let what = "the system does not tell how the command ended";
            self.options.warn(Error::new(what));
        }
        let key = self.job.key_that_ended(exit);
        self.job.take_back();
        let code = self.failure_code().unwrap_or(exit_code(exit));
        let rest = Rest {
            leader: self.pid,
            leader_code: code,
            group: self.group,
            reach: self.reach,
            inherited: self.inherited,
            clock: self.clock,
            asked_at: self.asked_at,
            told: BTreeSet::new(),
            refused: BTreeSet::new(),
        };
        rest.end(&mut self.options);
        // Whoever had it below the command is gone by now.
        self.job.take_back_abandoned();
        let mapped = self.options.mapped(code);
        if let Some((signal, target)) = key
            && mapped == code
        {
            self.options.tell(InitEvent::EndingBy { signal });
            accept::end_by(signal, target);
        }
        mapped
    }

    /// The code of a command that has ended without being executed, late; the reason is told.
    fn failure_code(&mut self) -> Option<u8> {
        let failure = self.late.as_mut()?.poll(&mut self.spawner)?.err()?;
        let error = self.launch.explain(failure);
        self.options.tell(InitEvent::Failed { error });
        Some(code_of(failure))
    }

    /// True if the command was asked to end and is dead, though only a process that traces it has
    /// its status.
    fn is_withheld(&self) -> bool {
        self.asked_at.is_some() && children::is_withheld_zombie(self.pid)
    }

    /// Whether the command was asked to end, and has had its time for that.
    fn is_overdue(&self) -> bool {
        let asked = self.asked_at.map(|asked| asked.after(STOP_TIMEOUT));
        asked.is_some_and(|end| self.clock.until(end).is_zero())
    }

    /// First what happened to the command, then the signal, and only then a stop of our own:
    /// a SIGTERM in hand must not wait until somebody continues us.
    fn turn(&mut self, taken: Option<Taken>) {
        let change = children::change(self.pid);
        match change {
            Some(Change::Stopped(signal)) => {
                self.stopped = Some(signal);
                self.options.tell(InitEvent::Stopped { signal });
            }
            Some(Change::Continued) => {
                self.stopped = None;
                self.job.note_continued();
                self.options.tell(InitEvent::Continued);
            }
            None => {}
        }
        match taken {
            Some(taken) if taken.signal == libc::SIGCONT => self.resume(),
            Some(taken) if taken.signal != libc::SIGCHLD => self.forward(taken),
            _ => {}
        }
        if let (Some(Change::Stopped(_)), Some(signal)) = (change, self.stopped) {
            self.follow(signal);
        }
    }

    fn forward(&mut self, taken: Taken) {
        let signal = taken.signal;
        let Some(sent) = self.options.rewritten(signal) else {
            self.options.tell(InitEvent::Dropped { signal });
            if self.job.stops_callers(signal) && self.job.stop(Target::Process, signal) {
                self.resume();
            }
            return;
        };
        if signal == libc::SIGTERM && self.asked_at.is_none() {
            self.asked_at = Some(self.clock.now());
        }
        self.job.note_sent(taken, sent);
        match self.signal(sent) {
            Sent::Delivered => self.options.tell(InitEvent::Forwarded { signal, sent }),
            Sent::Gone => self.options.tell(InitEvent::Dropped { signal }),
            Sent::Refused(errno) => {
                let what = format!("failed to forward {}", signal_name(sent));
                self.options.warn(Error::os(what, errno as i32));
            }
        }
        // Who is stopped dies of nothing but SIGKILL.
        let asks_to_end = |signal| ENDINGS.contains(&signal);
        if self.stopped.is_some() && (asks_to_end(signal) || asks_to_end(sent)) {
            self.continue_group();
        }
    }

    /// To the group; or to the process alone, if that is asked for, or it has left its group and
    /// that is gone. It was not reaped yet.
    fn signal(&self, signal: i32) -> Sent {
        let sent = match self.options.single {
            true => Sent::Gone,
            false => self.group.signal(signal),
        };
        match sent {
            Sent::Gone => children::signal(self.pid, signal),
            sent => sent,
        }
    }

    /// We were continued, or told to be: what a shell gave us is the command's, the terminal too.
    fn resume(&mut self) {
        self.job.hand_over();
        let signal = libc::SIGCONT;
        if self.stopped.is_some() {
            self.continue_group();
            let sent = signal;
            self.options.tell(InitEvent::Forwarded { signal, sent });
        } else {
            self.forward(Taken::from_process(signal));
        }
    }

    /// The command was stopped: where a shell looks after us, so are we, that it learns of it.
    fn follow(&mut self, signal: i32) {
        if wants_terminal(signal) && self.job.hand_over_on_demand() {
            return self.continue_group();
        }
        if let Some(target) = self.job.who_stops(signal)
            && self.job.stop(target, signal)
        {
            return self.resume();
        }
        if !self.job.is_stopped_by_terminal(signal) {
            // Whoever stopped it will continue it.
        } else if wants_terminal(signal) {
            let what = "the command waits for the terminal";
            let reason = "another process group has it";
            self.options.warn(Error::because(what, reason));
        } else {
            // There is no shell that could.
            self.continue_group();
        }
    }

    fn continue_group(&mut self) {
        self.stopped = None;
        self.job.note_continued();
        if self.group.signal(libc::SIGCONT) == Sent::Gone {
            children::signal(self.pid, libc::SIGCONT);
        }
    }
}

/// What makes us the one to whom orphans come, and how far our signals reach.
fn prepare(options: &mut Options) -> Result<Reach, u8> {
    if let Some(signal) = options.parent_death_signal
        && let Err(errno) = accept::on_parent_death(signal)
    {
        let what = "failed to ask for a signal when the parent dies";
        let error = Error::os(what, errno as i32);
        options.tell(InitEvent::Failed { error });
        return Err(CODE_FAILED);
    }
    if is_pid_1() {
        return Ok(match children::of_this_process() {
            Some(_) => Reach::Children,
            None => Reach::Everybody,
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

/// A command that has been started, and what belongs to that.
struct Executed {
    started: Started,
    launch: Launch,
    spawner: Spawner,
}

fn code_of(failure: Failure) -> u8 {
    u8::try_from(failed_start_code(failure)).unwrap_or(CODE_FAILED)
}

fn execute(
    command: &[OsString],
    offer: Option<&Terminal>,
    ignored: accept::SignalSet,
    options: &mut Options,
) -> Result<Executed, u8> {
    let fail = |options: &mut Options, error, code| {
        options.tell(InitEvent::Failed { error });
        Err(code)
    };
    let launch = match Launch::in_our_place(command) {
        Ok(launch) => launch,
        Err(error) => return fail(options, error, CODE_FAILED),
    };
    let mut spawner = match Spawner::new(None) {
        Ok(spawner) => spawner,
        Err(errno) => {
            let what = "failed to make a stack for the command's first steps";
            return fail(options, Error::os(what, errno as i32), CODE_FAILED);
        }
    };
    let place = Place::Inside(Inside {
        terminal: offer.map(|terminal| terminal.as_fd()),
        ignored,
    });
    let started = launch.spawn_at(&mut spawner, place, None);
    if let Some(error) = spawner.take_warning() {
        options.tell(InitEvent::Warning { error });
    }
    match started {
        Ok(started) => {
            let pid = match &started {
                Started::Executed(pid) => *pid,
                Started::Late(late) => late.pid(),
            };
            options.tell(InitEvent::Started { pid });
            Ok(Executed {
                started,
                launch,
                spawner,
            })
        }
        Err(failure) => {
            if let Some(terminal) = offer {
                terminal.take_back();
            }
            fail(options, launch.explain(failure), code_of(failure))
        }
    }
}
