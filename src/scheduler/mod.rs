//! Joins the machine and the system: facts in, orders out, turn by turn.
//!
//! One turn has a fixed order, and each of its stages a limit, so that a flood on one pipe or
//! a storm of crashes never delays a death, a deadline or a stop:
//!
//! 1. wait, and read the clock once
//! 2. reap all the dead, kill their leftovers first; see which groups are gone; drain last words
//! 3. the host's and the operator's wishes
//! 4. deadlines that are due
//! 5. starts
//! 6. what the living wrote
//! 7. news for the host's closures
//!
//! Facts come before wishes, control before data, and every death before the first start.

mod builder;
mod facts;
mod orders;
mod pipes;
mod tell;

use std::collections::{HashMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use builder::Builder;

use crate::callbacks::{Callbacks, News};
use crate::error::{Error, Result};
use crate::error_command::ErrorCommand;
use crate::event::EventKind;
use crate::handle::Handle;
use crate::machine::child::State;
use crate::machine::{Command, Event, Machine, Moment, ProgramId, Run};
use crate::os::clock::Clock;
use crate::os::limits::DescriptorLimit;
use crate::os::poll::PollSet;
use crate::os::signals::Signals;
use crate::os::spawn::Spawner;
use crate::os::wake::{WakeReader, Waker};
use crate::program::Program;
use crate::spec::ChildSpec;
use crate::status::{ProgramState, ProgramStatus};

/// A second stop signal within this time is taken for the same wish: `timeout`, terminals and
/// people's fingers repeat themselves.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(200);

/// Keeps programs running.
///
/// It signals nobody when it is dropped and waits for nobody: what still runs then runs on,
/// and gets SIGPIPE when it writes to stderr. [`ProcessScheduler::stop`], and turns until
/// [`Status::Stopped`], is the clean way; [`Builder::kill_on_drop`] is the rough one.
///
/// It reaps every child of this process ([`Builder::on_stray`] gets what is not its own), so
/// that there can be one of it at a time.
pub struct ProcessScheduler {
    machine: Machine,
    /// Indexed by [`ProgramId`]; programs are never removed.
    programs: Vec<Program>,
    /// Whose a process is. Removed at the reap, when the number may be given to another.
    owners: HashMap<i32, Owner>,
    /// Programs whose leader was reaped in this turn.
    dying: Vec<ProgramId>,
    /// Programs whose leader was reaped and whose group is not gone.
    lingering: Vec<ProgramId>,
    /// When all processes may be looked at again.
    next_zombie_look: Moment,
    news: VecDeque<Item>,
    callbacks: Callbacks,
    error_command: Option<ErrorCommand>,
    poll: PollSet<Key>,
    ready: Vec<(usize, Key)>,
    /// Where in the poll set the next turn begins to read, for fairness.
    next_read: usize,
    buffer: Box<[u8]>,
    clock: Clock,
    stop_signals: Vec<i32>,
    first_stop_signal: Option<Moment>,
    phase: Phase,
    /// Who kills the groups on drop: this process, and not a copy of it that was forked.
    kill_on_drop: Option<u32>,
    /// A SIGCHLD has arrived since the last look for stolen statuses.
    theft_possible: bool,
    next_theft_look: Moment,
    /// The run that is being started: set only if a panic came between.
    starting: Option<Run>,
    /// Signals that arrived before this turn's look at the dead.
    arrived: Vec<i32>,
    /// This turn's limit left dead children unreaped.
    deaths_left: bool,
    signals: Signals,
    wake_reader: WakeReader,
    waker: Arc<Waker>,
    null: OwnedFd,
    spawner: Spawner,
    limit: Option<DescriptorLimit>,
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

/// What a descriptor in the poll set is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Key {
    Wake,
    Stream(ProgramId),
    OldStream(ProgramId),
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Owner {
    Program(ProgramId),
    ErrorCommand,
}

/// What waits to be told at the end of the turn.
enum Item {
    News(News),
    /// The end of a run, as soon as its last words are there.
    Ending(ProgramId),
}

impl Drop for ProcessScheduler {
    fn drop(&mut self) {
        if self.kill_on_drop == Some(std::process::id()) {
            for live in self
                .programs
                .iter()
                .filter_map(|program| program.live.as_ref())
            {
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
        let names = self
            .programs
            .iter()
            .map(|program| &program.name)
            .collect::<Vec<_>>();
        f.debug_struct("ProcessScheduler")
            .field("programs", &names)
            .finish_non_exhaustive()
    }
}

impl ProcessScheduler {
    /// Describes a scheduler whose programs run in `base_dir`, relative to the current
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

    /// The short form: logs in `/tmp`, and the default handler, which prints each report on
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
        match self.abandoned() {
            None => Ok(()),
            Some(names) => Err(Error::new(format!("abandoned what would not die: {names}"))),
        }
    }

    /// One turn: waits until there is something to do, at most for `timeout` (for ever if it
    /// is `None`), and does it. The first turn starts the programs.
    ///
    /// # Errors
    ///
    /// None at present: what goes wrong in a turn is told as an event, and the turns go on.
    pub fn step(&mut self, timeout: Option<Duration>) -> Result<Status> {
        match self.phase {
            Phase::Finished => return Ok(Status::Stopped),
            Phase::Started => {}
            Phase::Built => self.wish_all_up(),
        }
        self.wait(timeout);
        self.arrived.extend(self.signals.take());
        let now = self.clock.now();
        self.reap_all(now);
        self.look_for_groups(now);
        self.drain_the_dead(now);
        self.obey(now);
        self.machine.handle_timeout(now);
        self.carry_out(now);
        self.start_what_is_due();
        self.drain_the_living(now);
        self.tell_the_host();
        self.run_error_command();
        Ok(self.finish_if_settled())
    }

    /// Asks every program to stop; the turns that follow carry it out. The same as
    /// [`Handle::stop`].
    pub fn stop(&self) {
        self.waker.stop();
    }

    /// Kills every program at once. The same as [`Handle::kill`].
    pub fn kill(&self) {
        self.waker.kill();
    }

    /// A remote control for other threads and signal handlers.
    #[must_use]
    pub fn handle(&self) -> Handle {
        Handle(self.waker.clone())
    }

    /// Whether a stop was asked for, or an essential program has ended for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.machine.is_stopping()
    }

    /// How the first essential program ended that ended for good, and so stopped the rest: see
    /// [`ErrorReport::return_code`](crate::ErrorReport::return_code).
    #[must_use]
    pub fn essential_exit(&self) -> Option<i32> {
        let program = self.machine.essential_ended()?;
        self.program(program).last_return_code
    }

    /// Whether something would not die and was given up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        self.abandoned().is_some()
    }

    /// A picture of every program, in the order in which they were added.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramStatus> {
        let now = self.clock.now();
        self.ids().map(|id| self.status_of(id, now)).collect()
    }

    fn status_of(&self, id: ProgramId, now: Moment) -> ProgramStatus {
        let program = self.program(id);
        let view = self.machine.view(id);
        let (state, next_start) = match view.state {
            State::Inactive => (ProgramState::Stopped, None),
            State::Waiting { until } => (ProgramState::Waiting, Some(until.since(now))),
            State::Due | State::Spawning => (ProgramState::Starting, Some(Duration::ZERO)),
            State::Running { .. } => (ProgramState::Running, None),
            State::Clearing { start_at } => (ProgramState::Waiting, Some(start_at.since(now))),
            State::Stopping { .. } | State::Killed { .. } => (ProgramState::Stopping, None),
            State::Abandoned { .. } => (ProgramState::Abandoned, None),
        };
        let living = program.live.as_ref().filter(|live| !live.leader_dead);
        ProgramStatus {
            name: program.name.clone(),
            command: program.command.clone(),
            state,
            state_for: now.since(program.changed_at),
            pid: living.map(|live| live.pid()),
            backoff: view.delay,
            restarts: view.starts.saturating_sub(1),
            last_start: program.last_start,
            last_return_code: program.last_return_code,
            next_start,
        }
    }

    fn wish_all_up(&mut self) {
        self.phase = Phase::Started;
        let now = self.clock.now();
        for id in self.ids() {
            self.program_mut(id).changed_at = now;
            self.tell(now, Event::Commanded(Command::Start(id)));
        }
    }

    /// How long the wait may be.
    fn wait_time(&self, limit: Option<Duration>) -> Option<Duration> {
        if self.deaths_left || self.machine.has_starts() || !self.news.is_empty() {
            return Some(Duration::ZERO);
        }
        let probes = self
            .lingering
            .iter()
            .filter_map(|&id| self.program(id).live.as_ref());
        let deadline = probes
            .map(|live| live.probe.at)
            .chain(self.machine.next_deadline())
            .chain(self.theft_possible.then_some(self.next_theft_look))
            .chain(
                self.error_command
                    .as_ref()
                    .and_then(ErrorCommand::next_deadline),
            )
            .min();
        let until = deadline.map(|at| self.clock.until(at));
        // Nothing runs and nothing will: there is nothing left to wait for.
        let settled = self.is_settled().then_some(Duration::ZERO);
        [limit, until, settled].into_iter().flatten().min()
    }

    /// Whether nothing is left to be done: no program runs or will, and every report was handed
    /// to the error command.
    fn is_settled(&self) -> bool {
        self.machine.is_settled()
            && self
                .error_command
                .as_ref()
                .is_none_or(ErrorCommand::is_idle)
    }

    /// Stops turning when nothing runs and nothing is going to.
    fn finish_if_settled(&mut self) -> Status {
        let now = self.clock.now();
        if self.machine.is_settled()
            && let Some(command) = &mut self.error_command
        {
            command.close(now);
        }
        if !self.is_settled() || self.deaths_left {
            return Status::Running;
        }
        self.close_pipes(now);
        self.tell_the_host();
        self.phase = Phase::Finished;
        Status::Stopped
    }

    /// Opens every log, so that what is wrong with one is known before anything starts.
    fn open_logs(&mut self) -> Result<()> {
        for id in self.ids() {
            let Err(error) = self.open_log_of(id) else {
                continue;
            };
            if self.program(id).log.is_locked_by_another() {
                return Err(error);
            }
            self.event(id, EventKind::Warning { error });
        }
        Ok(())
    }

    fn abandoned(&self) -> Option<String> {
        let is_abandoned =
            |id: &ProgramId| matches!(self.machine.view(*id).state, State::Abandoned { .. });
        let names: Vec<&str> = self
            .ids()
            .filter(is_abandoned)
            .map(|id| &*self.program(id).name)
            .collect();
        (!names.is_empty()).then(|| names.join(", "))
    }

    fn ids(&self) -> impl Iterator<Item = ProgramId> + use<> {
        (0..self.programs.len() as u32).map(ProgramId)
    }

    fn program(&self, id: ProgramId) -> &Program {
        &self.programs[id.0 as usize]
    }

    fn program_mut(&mut self, id: ProgramId) -> &mut Program {
        &mut self.programs[id.0 as usize]
    }
}

#[cfg(test)]
mod tests;
