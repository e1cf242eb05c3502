//! Launches: starts whose process has not executed its program yet.
//!
//! A start is over within a fraction of a millisecond, as a rule, and answered at once. One that
//! takes longer must hold up nothing: its process may have been stopped, be traced, or wait for a
//! file that another process has a lease on; or the machine is busy. It is looked at again and
//! again, each turn and after pauses that grow. It has its run already, so that signals and its
//! death find it; what it writes waits in its pipe for a moment, until the program has been
//! executed.
//!
//! SIGSTOP cannot be blocked, and the SIGCONT that was sent to our own group misses a child that
//! has left that group in between. So one that is late is continued.

use std::os::fd::OwnedFd;
use std::time::Duration;

use crate::error::Error;
use crate::event::EventKind;
use crate::launch::failed_start_code;
use crate::machine::{Event, Moment, ProgramId, Run};
use crate::os::spawn::{Failure, Late};
use crate::os::stream::Stream;
use crate::program::{FailedStart, Key};
use crate::report::CODE_UNKNOWN;

use super::ProcessScheduler;

/// How long after one look the next follows, first and at most. In between it doubles.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

/// From when on a late one is continued at each look.
const CONTINUED_AFTER: Duration = Duration::from_millis(100);

/// From when on it is worth a message.
const REPORTED_AFTER: Duration = Duration::from_secs(1);

/// How long a start is waited for, and so how long everything else may have to wait for it: an
/// exec takes a fifth of a millisecond, and longer where the processors are busy. While one is
/// late, others may soon be, and get less.
const LAUNCH_WAIT: Duration = Duration::from_millis(50);
const LAUNCH_WAIT_BESIDE_LATE: Duration = Duration::from_millis(5);

/// One of them.
#[derive(Debug)]
pub(super) struct Launching {
    id: ProgramId,
    late: Late,
    /// Our end of its pipe.
    stderr: OwnedFd,
    begun_at: Moment,
    next_look: Moment,
    pause: Duration,
    /// A message was written that it is late.
    is_reported: bool,
}

impl Launching {
    pub(super) fn new(id: ProgramId, late: Late, stderr: OwnedFd, now: Moment) -> Self {
        Self {
            id,
            late,
            stderr,
            begun_at: now,
            next_look: now.after(LOOK_PAUSE_MIN),
            pause: LOOK_PAUSE_MIN,
            is_reported: false,
        }
    }
}

/// How long the end waits for the death of what could not be executed; a tracer may keep it.
const BURIAL_WAIT: Duration = Duration::from_secs(1);

/// All of them.
#[derive(Debug, Default)]
pub(super) struct Launches {
    all: Vec<Launching>,
    /// When the end waits no longer for what could not be executed.
    burial_end: Option<Moment>,
}

impl Launches {
    pub(super) fn next_look(&self) -> Option<Moment> {
        self.all.iter().map(|launching| launching.next_look).min()
    }

    /// When the end comes at the latest, or at once.
    pub(super) fn burial_end(&self) -> Moment {
        self.burial_end.unwrap_or_default()
    }

    /// How long the next start is waited for.
    pub(super) fn wait(&self) -> Duration {
        if self.all.is_empty() {
            LAUNCH_WAIT
        } else {
            LAUNCH_WAIT_BESIDE_LATE
        }
    }
}

impl ProcessScheduler {
    /// The process of a program is there, and late.
    pub(super) fn watch_launch(&mut self, launching: Launching) {
        if let Some(live) = &mut self.program_mut(launching.id).live {
            live.is_launching = true;
        }
        self.launches.all.push(launching);
    }

    /// Looks what has become of those that are late.
    pub(super) fn look_at_launches(&mut self, now: Moment) {
        let mut index = 0;
        while let Some(launching) = self.launches.all.get_mut(index) {
            if let Some(answer) = launching.late.poll(&mut self.spawner) {
                let launching = self.launches.all.swap_remove(index);
                self.launch_is_over(launching, answer);
            } else {
                self.take_care_of_launch(now, index);
                index += 1;
            }
        }
    }

    fn take_care_of_launch(&mut self, now: Moment, index: usize) {
        let launching = &mut self.launches.all[index];
        if now < launching.next_look {
            return;
        }
        launching.pause = (launching.pause * 2).min(LOOK_PAUSE_MAX);
        launching.next_look = now.after(launching.pause);
        let (id, age) = (launching.id, now.since(launching.begun_at));
        if age >= CONTINUED_AFTER
            && let Some(live) = &self.programs[id.0 as usize].live
        {
            live.group.signal(libc::SIGCONT);
        }
        if age >= REPORTED_AFTER && !std::mem::replace(&mut launching.is_reported, true) {
            let error = Error::new(format!(
                "start delayed: pid {} has not executed its program after {} s: it may be traced, \
                 or the file may not answer",
                launching.late.pid(),
                REPORTED_AFTER.as_secs()
            ));
            self.event(id, EventKind::Warning { error });
        }
    }

    /// The process is dead, whatever else is known of it. False if that ended a start that has
    /// failed: then there is no run.
    pub(super) fn end_launch(&mut self, id: ProgramId) -> bool {
        let mut all = self.launches.all.iter();
        let Some(index) = all.position(|launching| launching.id == id) else {
            return true;
        };
        let mut launching = self.launches.all.swap_remove(index);
        // An old kernel does not say that a child has left memory if it dumps core.
        let answer = launching.late.poll(&mut self.spawner).unwrap_or(Ok(()));
        self.launch_is_over(launching, answer);
        self.program(id).live.is_some()
    }

    /// True if the end has to wait for the death of a child that could not be executed.
    pub(super) fn awaits_burial(&mut self, now: Moment) -> bool {
        self.spawner.reap_failed();
        if !self.spawner.has_unreaped() {
            return false;
        }
        let launches = &mut self.launches;
        now < *launches.burial_end.get_or_insert(now.after(BURIAL_WAIT))
    }

    fn launch_is_over(&mut self, launching: Launching, answer: Result<(), Failure>) {
        let (id, at) = (launching.id, self.clock.now());
        let Some(live) = &mut self.programs[id.0 as usize].live else {
            return;
        };
        let run = live.run;
        live.is_launching = false;
        live.group.was_made();
        // Whoever was killed before anything was executed has left as if it had.
        let was_killed = live.killed_at().is_some();
        match answer {
            Ok(()) if !was_killed => {
                live.started_at = at;
                self.attach(run, launching.stderr);
                self.tell(at, Event::Spawned { run, at });
            }
            Ok(()) => {
                let age = at.since(launching.begun_at).as_secs_f64();
                let reason = match self.machine.is_stopping() {
                    true => "the stop",
                    false => "its deadline",
                };
                let error = Error::new(format!(
                    "start cancelled by {reason}: pid {} had not executed its program after \
                     {age:.1} s",
                    live.pid()
                ));
                self.launch_failed(run, CODE_UNKNOWN, error);
            }
            Err(failure) => {
                let error = self.explain(id, failure);
                self.launch_failed(run, failed_start_code(failure), error);
            }
        }
    }

    /// Nothing was executed, so that there is no run. The process is dead.
    fn launch_failed(&mut self, run: Run, return_code: i32, error: Error) {
        let program = &mut self.programs[run.program.0 as usize];
        program.unwatch_leader(&mut self.watch);
        let Some(live) = program.live.take() else {
            return;
        };
        self.owners.remove(&live.pid());
        self.spawner.bury(live.pid());
        self.answer(
            run,
            Err(FailedStart {
                return_code,
                error,
                log_offset: live.log_offset,
            }),
        );
    }

    /// From now on what the program writes is read.
    pub(super) fn attach(&mut self, run: Run, stderr: OwnedFd) {
        let id = run.program;
        // What is known of the pipes' habits was that of the runs before.
        self.chatter.forget(Key::OldStream(id).number());
        let usual = self.chatter.forget(Key::Stream(id).number());
        let program = &mut self.programs[id.0 as usize];
        if let (Some(pipe), Some(bytes)) = (&program.stream, usual) {
            pipe.resize(bytes);
        }
        let attached = program.attach(
            Stream::new(stderr),
            &mut self.watch,
            &mut self.buffer,
            &self.err_dir,
        );
        if let Err(error) = attached {
            self.event(id, EventKind::Warning { error });
        }
    }
}
