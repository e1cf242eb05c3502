//! Joins the machine and the system: facts in, orders out, turn by turn.
//!
//! One turn has a fixed order, and each of its stages a limit, so that a flood on one pipe or a
//! storm of crashes never delays a death, a deadline or a stop:
//!
//! 1. *wait* until something is readable or due, and *collect* the signals;
//! 2. *reap* the dead: each leader's group is killed before its reap;
//! 3. *probe groups* without a leader: which are gone;
//! 4. *drain the exited*: their last bytes belong to their reports;
//! 5. *release* the runs whose group is gone, or *hold* their next start for orphans;
//! 6. take in what runs *say of themselves*, that they are ready or alive, and what checks have found
//!    of those whose time is over;
//! 7. carry out *requests* of the operator and the host;
//! 8. let *deadlines* pass;
//! 9. look for *orphans*;
//! 10. *start* what is due;
//! 11. *check* the programs that are starting, or up;
//! 12. *drain the ready*: what the living wrote;
//! 13. *deliver* events and reports, and run the *side commands*.
//!
//! Facts come before requests, control before data, and every known death before the first start.
//!
//! Each stage is a component with state of its own. It gets the [`Core`](core::Core), through which
//! alone facts and commands reach the machine, and other components only as arguments.

mod builder;
mod capture;
mod coalescer;
mod core;
mod deadline;
mod definitions;
pub(crate) mod directories;
mod ending;
mod fd_budget;
mod groups;
mod inbox;
mod late_starts;
mod launcher;
mod operator;
mod orphan_sweep;
mod outbox;
mod outputs;
mod pipes;
mod planning;
mod probes;
mod rate_limit;
mod readiness;
mod reaper;
mod relay;
mod reload;
// Without JSON there is nothing to hand to a command, and no way to ask for one.
#[cfg_attr(not(feature = "json"), allow(dead_code))]
mod side_commands;
mod signs;
mod snapshot;
mod wanted;

use std::fmt;
use std::path::PathBuf;
use std::time::Duration;

pub use builder::Builder;

use crate::callbacks::Notice;
use crate::error::{Error, Result};
use crate::handle::Handle;
use crate::machine::{Exit, Moment, ProgramId};
use crate::os::clock::Clock;
use crate::os::reap;
use crate::os::wake::Asked;
use crate::spec::ChildSpec;

use self::core::Core;
use capture::Capture;
use definitions::Definitions;
use groups::GroupProbes;
use inbox::{Inbox, Request};
use launcher::Launcher;
use orphan_sweep::OrphanSweep;
use probes::Probes;
use readiness::Readiness;
use reaper::Reaper;
use side_commands::SideCommands;

/// Keeps programs running.
///
/// When it is dropped it signals no process and waits for none: what still runs goes on, and gets
/// SIGPIPE when it writes to stderr. [`ProcessScheduler::stop`], and turns until
/// [`Status::Stopped`], is the clean way; [`Builder::kill_on_drop`] is the rough one.
///
/// By default it reaps every child of this process, so that a process can have one at a time; see
/// [`Reap`].
///
/// The signals that it handles are unblocked in the thread that builds it and in each thread that
/// takes a turn, because a signal that all threads block is never delivered. The thread that drops
/// it gets its mask back.
///
/// It belongs to the process that built it. In a copy of that process, made by fork without an
/// exec, it is dead: a turn is an error, and dropping it, or using one of its handles, does nothing.
///
/// # Three ways to drive it
///
/// - [`ProcessScheduler::start`] blocks until everything has stopped.
/// - [`ProcessScheduler::step`] is one turn, for a host that waits here and nowhere else.
/// - A host with a loop of its own waits for the descriptor ([`AsFd`](std::os::fd::AsFd),
///   [`AsRawFd`](std::os::fd::AsRawFd)) to become
///   readable, for [`ProcessScheduler::next_deadline`] at most, and then calls
///   `step(Some(Duration::ZERO))`.
pub struct ProcessScheduler {
    core: Core,
    definitions: Definitions,
    reaper: Reaper,
    groups: GroupProbes,
    /// Of a process that gets orphans.
    sweep: Option<OrphanSweep>,
    launcher: Launcher,
    capture: Capture,
    readiness: Readiness,
    /// After the capture, which polls its pipe.
    inbox: Inbox,
    side_commands: SideCommands,
    probes: Probes,
    clock: Clock,
    phase: Phase,
    kill_on_drop: bool,
}

/// Whether there is more to come.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Status {
    /// Call [`ProcessScheduler::step`] again.
    Running,
    /// Every program has ended for good, or was stopped as asked. Nothing happens any more.
    Stopped,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Phase {
    Built,
    Started,
    Finished,
}

/// Which children are waited for, and so reaped.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Reap {
    /// All children of this process, whichever part of it started them: right where this process is
    /// a supervisor and nothing else, and needed where orphans are reparented to it. Statuses of
    /// other children than our programs go to [`Builder::on_stray`]. No other scheduler may live in
    /// the process meanwhile. A [`std::process::Child`] of the host may find its status gone.
    #[default]
    All,
    /// Our programs alone: right in a host that has children of its own, in any thread. Each program
    /// costs one descriptor more (a pidfd, pidfd_open(2)). Where the system has none for us (before
    /// Linux 5.3, or none left), each program is asked about after each SIGCHLD.
    ///
    /// A command of a check, or one that is run for reports (`Builder::error_command`), that is there
    /// one second after its SIGKILL, when everything else has ended, is waited for no more. The host
    /// has it as a child then.
    Own,
}

impl Drop for ProcessScheduler {
    fn drop(&mut self) {
        if !self.inbox.waker().is_ours() {
            return;
        }
        if self.kill_on_drop {
            self.probes.kill_all();
        }
        for program in self.core.programs_mut().iter_mut() {
            program.close_logs();
            if let Some(live) = program.live.as_ref().filter(|_| self.kill_on_drop) {
                // Without a pin its leftovers have their SIGKILL, and the number may be another's.
                if live.group.is_pinned() {
                    live.group.signal(libc::SIGKILL);
                }
            }
        }
    }
}

impl fmt::Debug for ProcessScheduler {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let programs = self.core.programs().iter();
        let names: Vec<&str> = programs.map(|program| &**program.name()).collect();
        f.debug_struct("ProcessScheduler")
            .field("programs", &names)
            .finish_non_exhaustive()
    }
}

impl ProcessScheduler {
    /// Returns a builder of a scheduler whose programs run in `base_dir`, relative to the current
    /// directory.
    ///
    /// ```no_run
    /// use procsched::{ChildSpec, ProcessScheduler};
    ///
    /// let mut scheduler = ProcessScheduler::builder("/srv/app")
    ///     .program(ChildSpec::new("web", ["python3", "web.py"]))
    ///     .err_dir("/var/log/app")
    ///     .error_handler(|name, report| eprintln!("{name}: code {}", report.return_code()))
    ///     .build()?;
    /// scheduler.start()?;
    /// # Ok::<(), procsched::Error>(())
    /// ```
    pub fn builder(base_dir: impl Into<PathBuf>) -> Builder {
        Builder::new(base_dir.into())
    }

    /// Builds a scheduler with logs in `/tmp` and the default handler, which prints each report on
    /// stdout.
    ///
    /// # Errors
    ///
    /// See [`Builder::build`].
    pub fn new(
        base_dir: impl Into<PathBuf>,
        programs: impl IntoIterator<Item = ChildSpec>,
    ) -> Result<Self> {
        Self::builder(base_dir).programs(programs).build()
    }

    /// Starts everything and blocks until everything has stopped: after
    /// [`ProcessScheduler::stop`] from another thread or a signal, or because every program
    /// has ended for good. A stop that was asked for before is remembered: then nothing starts.
    ///
    /// # Errors
    ///
    /// If it was started before, or if at the end a process would not die and was abandoned.
    pub fn start(&mut self) -> Result<()> {
        if self.phase != Phase::Built {
            return Err(Error::new(
                "the scheduler was started before; build another one",
            ));
        }
        while self.step(None)? == Status::Running {}
        match self.core.abandoned() {
            Some(names) => Err(Error::new(format!("abandoned what would not die: {names}"))),
            None if self.is_abandoned() => Err(Error::new(
                "abandoned what would not die: processes that left their group",
            )),
            None => Ok(()),
        }
    }

    /// Takes one turn: waits until there is something to do, at most for `timeout` (for ever if it
    /// is `None`), and does it. The first turn starts the programs.
    ///
    /// # Errors
    ///
    /// In a copy of the process that was made by fork. Otherwise none: what goes wrong in a turn is
    /// reported as an event, and the turns go on.
    pub fn step(&mut self, timeout: Option<Duration>) -> Result<Status> {
        self.check_owner()?;
        match self.phase {
            Phase::Finished => {
                // Signals still come, and the host may still wait for the descriptor.
                self.inbox.waker().clear();
                return Ok(Status::Stopped);
            }
            Phase::Started => {}
            Phase::Built => self.start_all(),
        }
        self.inbox.listen();
        let wait = self.wait_time(timeout);
        self.capture.wait(wait, &self.inbox);
        self.inbox.collect();
        let now = self.clock.now();
        self.launcher
            .look_at_late(now, &mut self.core, &mut self.capture);
        self.reap(now);
        let gone = self.probe_groups(now);
        self.capture.drain_exited(now, &mut self.core);
        self.release(now, gone);
        self.readiness.turn(now, &mut self.core, &mut self.capture);
        self.probes
            .take_last(now, &mut self.core, &mut self.capture);
        self.carry_out_requests(now);
        self.core.handle_timeout(now);
        self.core.report_if_all_ended(now);
        self.sweep_orphans(now);
        self.launcher.start_due(
            &mut self.core,
            &mut self.capture,
            &mut self.reaper,
            &mut self.readiness,
            &self.inbox,
        );
        self.check_programs(now);
        self.capture
            .drain_ready(now, &mut self.core, &mut self.reaper);
        self.capture.relay_late(now, &mut self.core);
        self.groups.take_in_killed(&mut self.core);
        self.inbox.waker().publish(self.is_stopping(), false);
        self.release_removed(now);
        self.deliver();
        self.drop_removed();
        let now = self.clock.now();
        self.side_commands
            .turn(now, &mut self.core, &mut self.launcher);
        Ok(self.finish_if_settled(now))
    }

    /// Asks every program to stop; the turns that follow carry it out. The same as
    /// [`Handle::stop`].
    pub fn stop(&self) {
        self.inbox.waker().ask(Asked::Stop);
    }

    /// Kills every program at once. The same as [`Handle::kill`].
    pub fn kill(&self) {
        self.inbox.waker().ask(Asked::Kill);
    }

    /// Returns a remote control for other threads and signal handlers.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.inbox.handle()
    }

    fn start_all(&mut self) {
        self.phase = Phase::Started;
        let now = self.clock.now();
        self.reaper.want_full_wait(now, 0);
        self.core.start_all(now);
    }

    fn reap(&mut self, now: Moment) {
        self.groups.take_in_started(&mut self.core);
        if self.inbox.has_sigchld() {
            self.launcher.spawner().reap_failed();
            self.want_look(now);
        }
        let (inbox, core) = (&mut self.inbox, &mut self.core);
        self.reaper.begin(now, inbox, core, &self.capture);
        while let Some(found) = self.reaper.next(now, &self.core) {
            self.bury(now, found);
        }
    }

    fn bury(&mut self, now: Moment, found: reaper::Found) {
        match found {
            reaper::Found::Leader(id, exit) => self.leader_exited(now, id, exit),
            reaper::Found::UnreliablePidfd(id) => {
                if let Some(program) = self.core.programs_mut().get_mut(id) {
                    program.unwatch_leader(self.capture.poller_mut());
                }
                return;
            }
            reaper::Found::SideCommand(pid) => {
                reap::reap(pid);
                let spawner = self.launcher.spawner();
                self.side_commands.on_exit(&mut self.core, spawner, pid);
            }
            reaper::Found::Probe(pid, exit) => {
                let spawner = self.launcher.spawner();
                self.probes.on_death(&mut self.core, spawner, pid, exit);
            }
            reaper::Found::Other(pid) => {
                let is_failed_start = self.launcher.spawner().forget_failed(pid);
                // Another part of the host may have been waiting for it, and was faster.
                if let Some(status) = reap::reap(pid)
                    && !is_failed_start
                {
                    self.groups.on_other_reaped(pid);
                    if let Some(sweep) = &mut self.sweep {
                        sweep.orphans_mut().reaped(pid);
                    }
                    self.core.outbox_mut().notice(Notice::Stray(pid, status));
                }
            }
        }
        self.want_look(now);
    }

    /// A child has died: its own children may have been reparented to us.
    fn want_look(&mut self, now: Moment) {
        if let Some(sweep) = &mut self.sweep {
            sweep.want_look(now, self.core.children());
        }
    }

    fn leader_exited(&mut self, now: Moment, id: ProgramId, exit: Option<Exit>) {
        let (core, capture) = (&mut self.core, &mut self.capture);
        if self.launcher.on_death(core, capture, id) {
            let poller = capture.poller_mut();
            self.readiness.read_last(now, core, poller, id);
            core.leader_exited(now, id, exit, poller);
        }
    }

    /// Tells those that find out how programs are what has happened to runs, and makes checks.
    fn check_programs(&mut self, now: Moment) {
        // As in every turn of a scheduler whose programs say nothing of themselves and are not checked.
        if !self.core.has_phases() && self.probes.is_unused() {
            return;
        }
        let phases = self.core.take_phases();
        let (core, launcher, capture) = (&mut self.core, &mut self.launcher, &mut self.capture);
        self.readiness
            .on_phases(core, capture.poller_mut(), &phases);
        let may_begin = !self.inbox.has_stop();
        self.probes
            .turn(now, &phases, may_begin, core, launcher, capture);
    }

    /// Returns the programs whose group is gone.
    fn probe_groups(&mut self, now: Moment) -> Vec<ProgramId> {
        let child_died = self.inbox.has_sigchld();
        let has_orphans = self.sweep.is_some();
        let (clock, core) = (self.clock, &mut self.core);
        let found = self.groups.probe(clock, now, core, child_died, has_orphans);
        let mut gone = Vec::new();
        for (id, what) in found {
            match what {
                groups::Found::Gone => gone.push(id),
                groups::Found::LeaderWithheld => {
                    self.leader_exited(now, id, None);
                    self.groups.update(self.core.programs(), id);
                }
            }
        }
        gone
    }

    /// Ends the runs whose group is gone, unless their next start is held for orphans.
    fn release(&mut self, now: Moment, gone: Vec<ProgramId>) {
        for id in gone {
            let (core, capture) = (&mut self.core, &mut self.capture);
            let sweep = self.sweep.as_mut();
            if let Some(sweep) = sweep {
                sweep.hold(now, core, capture, id);
            }
            core.group_gone(now, id);
            self.groups.update(core.programs(), id);
        }
    }

    fn carry_out_requests(&mut self, now: Moment) {
        // What has been executed by now is asked to stop, and what has not is killed.
        if self.inbox.has_requests() {
            self.launcher
                .look_at_late(now, &mut self.core, &mut self.capture);
        }
        while let Some(request) = self.inbox.next_request(now) {
            match request {
                Request::ShutDown(asked, cause) => {
                    self.core.shut_down(now, asked, cause);
                    if let (Asked::Kill, Some(sweep)) = (asked, &mut self.sweep) {
                        sweep.orphans_mut().close(now, None);
                    }
                }
                Request::Signal(signal, sender) => {
                    let notice = Notice::Signal(signal, sender);
                    self.core.outbox_mut().notice(notice);
                }
            }
        }
        self.carry_out_orders();
    }

    fn sweep_orphans(&mut self, now: Moment) {
        if self.sweep.is_none() {
            return self.core.forget_asked();
        }
        let settled = self.is_settled_but_for_orphans();
        let deaths_left = self.reaper.has_deaths_left();
        let spawner = self.launcher.spawner();
        if let Some(sweep) = &mut self.sweep {
            sweep.turn(now, &mut self.core, spawner, settled, deaths_left);
        }
    }

    fn deliver(&mut self) {
        let now = self.clock.now();
        self.core.outbox_mut().warn_of_memory(now);
        self.core.deliver(&mut self.side_commands);
    }

    /// The programs, pipes and signals are those of the process that built this.
    fn check_owner(&self) -> Result<()> {
        if self.inbox.waker().is_ours() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the scheduler belongs to process {}, and this is a copy of that, made by fork; build \
             one of your own, after the fork",
            self.inbox.waker().owner()
        )))
    }
}

#[cfg(test)]
mod tests;
