//! Orders: the one door through which the machine is told a fact, and what it answers is
//! carried out until nothing is left.

use std::os::fd::{AsFd, OwnedFd};

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::launch::failed_start_code;
use crate::machine::{Event, Moment, Order, ProgramId, Run};
use crate::os::clock;
use crate::os::descriptors;
use crate::os::group::{Group, Sent};
use crate::os::spawn::{Failure, Started, Step};
use crate::os::tail::Tail;
use crate::program::{FailedStart, Live};
use crate::report::CODE_UNKNOWN;

use super::launches::Launching;
use super::{Owner, ProcessScheduler, Reap};

/// Starts in one turn, at about half a millisecond each.
const STARTS_PER_TURN_MAX: usize = 32;

impl ProcessScheduler {
    /// Tells the machine a fact and carries out what it orders.
    pub(super) fn tell(&mut self, now: Moment, event: Event) {
        self.machine.handle(now, event);
        self.carry_out(now);
    }

    pub(super) fn carry_out(&mut self, now: Moment) {
        while let Some(order) = self.machine.next_order() {
            match order {
                Order::Signal { run, signal } => self.signal(now, run, signal),
                Order::Notify { run, change } => self.note(now, run, change),
            }
        }
    }

    /// A refused signal is said once a run, and a refused SIGKILL once more; the program counts as
    /// alive, and the machine's deadlines go on.
    fn signal(&mut self, now: Moment, run: Run, signal: i32) {
        let Some(live) = self.program_mut(run.program).live_run(run) else {
            return;
        };
        match live.group.signal(signal) {
            Sent::Delivered if signal == libc::SIGKILL => {
                live.was_killed(now);
                self.keep_lingering(run.program);
            }
            Sent::Delivered | Sent::Gone => {}
            Sent::Refused(errno) => {
                let leaving = live.leaving();
                let is_said = if signal == libc::SIGKILL {
                    &mut leaving.kill_refusal_said
                } else {
                    &mut leaving.refusal_said
                };
                if std::mem::replace(is_said, true) {
                    return;
                }
                let name = crate::report::signal_name(signal);
                let what = format!("failed to send {name} to process group {}", live.pid());
                let error = Error::os(what, errno as i32);
                self.event(run.program, EventKind::Warning { error });
            }
        }
    }

    /// Starts what may start, up to the turn's limit, or to one that is late. The clock is read
    /// for each, as each takes its time; no start comes before a death that is known of, nor after
    /// a stop that has arrived meanwhile.
    pub(super) fn start_what_is_due(&mut self) {
        self.answer_for_a_panic();
        for _ in 0..STARTS_PER_TURN_MAX {
            let stop_arrived = self.waker.is_asked() || self.signals.is_pending(&self.stop_signals);
            if stop_arrived || self.deaths_left {
                return;
            }
            let Some(run) = self.machine.next_start() else {
                return;
            };
            self.starting = Some(run);
            let now = self.clock.now();
            let log_offset = self.open_log(now, run);
            let spawned = self.spawn(run, log_offset);
            let is_late = matches!(spawned, Ok(false));
            self.answer(run, spawned);
            if is_late {
                return;
            }
        }
    }

    pub(super) fn answer(&mut self, run: Run, spawned: std::result::Result<bool, FailedStart>) {
        let at = self.clock.now();
        self.starting = None;
        match spawned {
            Ok(true) => self.tell(at, Event::Spawned { run, at }),
            Ok(false) => self.tell(at, Event::SpawnDelayed { run, at }),
            Err(failed) => {
                self.program_mut(run.program).failed_start = Some(Box::new(failed));
                self.tell(at, Event::SpawnFailed { run, at });
            }
        }
    }

    /// The machine waits for the answer to a start whatever comes between, a panic of ours too.
    fn answer_for_a_panic(&mut self) {
        let Some(run) = self.starting else { return };
        let spawned = match self.program_mut(run.program).live_run(run) {
            Some(live) => Ok(!live.is_launching),
            None => Err(FailedStart {
                return_code: CODE_UNKNOWN,
                error: Error::new("failed to start: the supervisor panicked meanwhile"),
                log_offset: 0,
            }),
        };
        self.answer(run, spawned);
    }

    /// A program whose log cannot be opened runs without it. Returns the log's size.
    fn open_log(&mut self, now: Moment, run: Run) -> u64 {
        let size = self.open_log_of(run.program).unwrap_or_else(|error| {
            self.event(run.program, EventKind::Warning { error });
            0
        });
        self.tell_losses(now, run.program, false);
        size
    }

    pub(super) fn open_log_of(&mut self, id: ProgramId) -> Result<u64> {
        let opened = self.open_log_or_make_room(id);
        while let Some(error) = self.log_flaws.take() {
            self.own_event(EventKind::Warning { error });
        }
        opened
    }

    fn open_log_or_make_room(&mut self, id: ProgramId) -> Result<u64> {
        match self.try_to_open_log_of(id) {
            Err(error) if error.is_descriptor_shortage() && self.close_idle_logs(id) => {
                let again = self.try_to_open_log_of(id);
                // The same reason is said once, and was not said yet.
                let is_news = again.is_ok() && self.program(id).log.is_refused();
                if is_news { Err(error) } else { again }
            }
            result => result,
        }
    }

    fn try_to_open_log_of(&mut self, id: ProgramId) -> Result<u64> {
        let (log, place) = self.programs[id.0 as usize].log(&self.err_dir);
        log.open(place, &mut self.log_flaws)
    }

    /// When descriptors run out although there was room for all, the logs of programs that do
    /// not run give theirs back. Those of programs that run keep them: what they write next
    /// would be lost if nobody gave one back. Whether there were any besides that of `id`.
    fn close_idle_logs(&mut self, id: ProgramId) -> bool {
        if self.no_idle_logs {
            return false;
        }
        let mut closed = false;
        for program in self.programs.iter_mut().filter(|program| program.id != id) {
            let streams = program.stream.is_some() || program.old_stream.is_some();
            if program.live.is_none() && !streams {
                closed |= program.log.close();
            }
        }
        self.no_idle_logs = !closed;
        closed
    }

    pub(super) fn explain(&self, id: ProgramId, failure: Failure) -> Error {
        match failure.step {
            Step::Process => self.refusal("failed to create a process", failure.errno),
            _ => self.program(id).launch.explain(failure),
        }
    }

    fn stderr_pipe(&mut self, id: ProgramId) -> Result<(OwnedFd, OwnedFd)> {
        let room = self.room;
        let make = || {
            let (read, write) = descriptors::stderr_pipe()?;
            if room.is_almost_used_up(&write) {
                return Err(Errno::EMFILE);
            }
            Ok((read, write))
        };
        let made = match make() {
            Err(Errno::EMFILE | Errno::ENFILE) if self.close_idle_logs(id) => make(),
            made => made,
        };
        made.map_err(|errno| self.refusal("failed to make a pipe for stderr", errno as i32))
    }

    /// True if the program has been executed, false if that is not known yet.
    fn spawn(&mut self, run: Run, log_offset: u64) -> std::result::Result<bool, FailedStart> {
        let failed = |return_code, error| FailedStart {
            return_code,
            error,
            log_offset,
        };
        let pipe = self.stderr_pipe(run.program);
        let (read, write) = pipe.map_err(|error| failed(CODE_UNKNOWN, error))?;
        let program = &mut self.programs[run.program.0 as usize];
        let stdio = [self.null.as_fd(), self.null.as_fd(), write.as_fd()];
        self.spawner.wait_for(self.launches.wait());
        let started = program
            .launch
            .spawn_with(&mut self.spawner, stdio, self.limit, None)
            .map_err(|failure| {
                failed(
                    failed_start_code(failure),
                    self.explain(run.program, failure),
                )
            })?;
        drop(write);
        let now = self.clock.now();
        let program = &mut self.programs[run.program.0 as usize];
        program.last_start = Some(clock::wall());
        let tail = Tail::new(program.report_bytes);
        let (group, late) = match started {
            Started::Executed(pid) => (Group::new(pid), None),
            Started::Late(late) => (Group::of_new(late.pid()), Some(late)),
        };
        let pid = group.number();
        program.live = Some(Live::new(run, group, log_offset, now, tail));
        if self.reap == Reap::Own {
            // Without a pidfd it may be dead, and gone, already: somebody else was faster.
            if !program.watch_leader(&mut self.watch) {
                self.unwatched.push(run.program);
            }
        }
        self.owners.insert(pid, Owner::Program(run.program));
        let is_executed = late.is_none();
        match late {
            None => self.attach(run, read),
            Some(late) => self.watch_launch(Launching::new(run.program, late, read, now)),
        }
        Ok(is_executed)
    }
}
