//! Joins the machine and the system: facts in, orders out, turn by turn.
//!
//! One turn has a fixed order, and each of its stages a limit, so that a flood on one pipe or
//! a storm of crashes never delays a death, a deadline or a stop:
//!
//! 1. wait, and read the clock once
//! 2. see which launches are over; reap all the dead, kill their leftovers first; see which groups
//!    are gone; drain last words
//! 3. the host's and the operator's wishes
//! 4. deadlines that are due
//! 5. starts
//! 6. what the living wrote
//! 7. news for the host's closures
//!
//! Facts come before wishes, control before data, and every death before the first start.

mod builder;
mod chatter;
pub(crate) mod directories;
mod due;
mod facts;
mod household;
mod launches;
mod lingering;
mod orders;
mod orphans;
mod pace;
mod picture;
mod pipes;
mod reaping;
mod room;
mod tell;

use std::collections::{BTreeMap, VecDeque};
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

pub use builder::Builder;
use chatter::Chatter;
use household::Household;
use launches::Launches;
use lingering::Lingering;
use reaping::Lookout;
use room::Room;

use crate::callbacks::{Callbacks, News};
use crate::error::{Error, Result};
use crate::error_command::ErrorCommand;
use crate::event::EventKind;
use crate::handle::Handle;
use crate::machine::{Command, Event, Machine, Moment, ProgramId, Run};
use crate::os::clock::Clock;
use crate::os::limits::DescriptorLimit;
use crate::os::logs::Flaws;
use crate::os::pages::Pages;
use crate::os::signals::Signals;
use crate::os::spawn::Spawner;
use crate::os::wake::{Asked, Waker};
use crate::os::watch::Watch;
use crate::program::Program;
use crate::spec::ChildSpec;

/// A second stop signal within this time is taken for the same wish: `timeout`, terminals and
/// people's fingers repeat themselves.
const SECOND_SIGNAL_AFTER: Duration = Duration::from_millis(200);

/// Keeps programs running.
///
/// It signals nobody when it is dropped and waits for nobody: what still runs then runs on,
/// and gets SIGPIPE when it writes to stderr. [`ProcessScheduler::stop`], and turns until
/// [`Status::Stopped`], is the clean way; [`Builder::kill_on_drop`] is the rough one.
///
/// By default it reaps every child of this process, so that there can be one of it at a time;
/// see [`Reap`].
///
/// The signals that it handles are unblocked in the thread that builds it and in each that
/// takes a turn, as nobody gets a signal that all threads block; the thread that drops it gets
/// its mask back.
///
/// It belongs to the process that built it. In a copy of that process, made by fork without an
/// exec, it is dead: a turn is an error, and to drop it, or to use a handle of it, does nothing.
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
    machine: Machine,
    /// Indexed by [`ProgramId`]; programs are never removed.
    programs: Vec<Program>,
    /// Whose a process is. Removed at the reap, when the number may be given to another.
    owners: BTreeMap<i32, Owner>,
    /// Programs whose leader was reaped in this turn.
    dying: Vec<ProgramId>,
    /// Programs that were given up, even if they have died since.
    abandoned: Vec<ProgramId>,
    /// Programs whose leader was reaped and whose group is not gone.
    lingering: Lingering,
    /// When all processes may be looked at again.
    next_zombie_look: Moment,
    news: VecDeque<Item>,
    callbacks: Callbacks,
    error_command: Option<ErrorCommand>,
    /// Set if orphans come home to this process.
    household: Option<Household>,
    /// Where the logs are.
    err_dir: PathBuf,
    log_flaws: Flaws,
    watch: Watch,
    /// What this turn's wait found ready, as [`Key`](crate::program::Key)s.
    ready: Vec<u64>,
    chatter: Chatter,
    buffer: Pages,
    clock: Clock,
    stop_signals: Vec<i32>,
    first_stop_signal: Option<Moment>,
    /// How much of a shutdown was told as an event, with its cause.
    shutdown_said: Option<Asked>,
    phase: Phase,
    kill_on_drop: bool,
    reap: Reap,
    /// Programs that have just started, and whose leaders no descriptor tells of.
    unwatched: Vec<ProgramId>,
    lookout: Lookout,
    /// When everything is looked at, whether there was a signal or not; `None` for never.
    next_sweep: Option<Moment>,
    /// Starts that are not over.
    launches: Launches,
    /// The run that is being started: set only if a panic came between.
    starting: Option<Run>,
    /// Signals that arrived before this turn's look at the dead.
    arrived: Vec<i32>,
    /// This turn's limit left dead children unreaped.
    deaths_left: bool,
    signals: Signals,
    waker: Arc<Waker>,
    null: Arc<OwnedFd>,
    spawner: Spawner,
    room: Room,
    limit: Option<DescriptorLimit>,
    /// This turn has looked for logs that give their descriptors back, and found none.
    no_idle_logs: bool,
    /// When it was last said that memory is short.
    memory_told: Option<Moment>,
    trims_memory: bool,
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
    /// All children of this process, whoever started them: right where this process is a
    /// supervisor and nothing else, and needed where orphans come home to it. The statuses that
    /// are not of our programs go to [`Builder::on_stray`]. No other scheduler may live in the
    /// process meanwhile. A [`std::process::Child`] of the host may find its status gone.
    #[default]
    All,
    /// Our programs and nobody else: right in a host that has children of its own, in whatever
    /// thread. Each program costs a descriptor more (a pidfd, pidfd_open(2)); where the system
    /// has none for us (before Linux 5.3, or none left), each program is asked about after each
    /// SIGCHLD.
    Own,
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
        if !self.waker.is_ours() {
            return;
        }
        for program in &mut self.programs {
            program.log.close();
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
        let names = self.programs.iter().map(Program::name).collect::<Vec<_>>();
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
            Some(names) => Err(Error::new(format!("abandoned what would not die: {names}"))),
            None if self.is_abandoned() => Err(Error::new(
                "abandoned what would not die: processes that left their group",
            )),
            None => Ok(()),
        }
    }

    /// One turn: waits until there is something to do, at most for `timeout` (for ever if it
    /// is `None`), and does it. The first turn starts the programs.
    ///
    /// # Errors
    ///
    /// In a copy of the process that was made by fork. Otherwise none: what goes wrong in a
    /// turn is told as an event, and the turns go on.
    pub fn step(&mut self, timeout: Option<Duration>) -> Result<Status> {
        self.check_owner()?;
        match self.phase {
            Phase::Finished => {
                // Signals still come, and the host may still wait for the descriptor.
                self.waker.clear();
                return Ok(Status::Stopped);
            }
            Phase::Started => {}
            Phase::Built => self.wish_all_up(),
        }
        self.signals.unblock_here();
        self.no_idle_logs = false;
        self.wait(timeout);
        self.arrived.extend(self.signals.take());
        let now = self.clock.now();
        self.look_at_launches(now);
        self.look_at_late_commands();
        self.reap(now);
        self.look_for_groups(now);
        self.drain_the_dead(now);
        self.obey(now);
        self.machine.handle_timeout(now);
        self.carry_out(now);
        self.say_if_all_ended();
        self.look_for_orphans(now);
        self.start_what_is_due();
        self.warn_of_the_spawner();
        self.drain_the_living(now);
        self.waker.publish(self.is_stopping(), false);
        self.warn_of_memory();
        self.tell_the_host();
        self.run_error_command();
        Ok(self.finish_if_settled())
    }

    /// Asks every program to stop; the turns that follow carry it out. The same as
    /// [`Handle::stop`].
    pub fn stop(&self) {
        self.waker.ask(Asked::Stop);
    }

    /// Kills every program at once. The same as [`Handle::kill`].
    pub fn kill(&self) {
        self.waker.ask(Asked::Kill);
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
        let household = self.household.as_ref();
        self.abandoned().is_some() || household.is_some_and(Household::is_abandoned)
    }

    fn wish_all_up(&mut self) {
        self.phase = Phase::Started;
        let now = self.clock.now();
        self.begin_to_reap(now);
        for id in self.ids() {
            self.program_mut(id).changed_at = now;
            self.tell(now, Event::Commanded(Command::Start(id)));
        }
    }

    /// The programs, pipes and signals are those of the process that built this.
    fn check_owner(&self) -> Result<()> {
        if self.waker.is_ours() {
            return Ok(());
        }
        Err(Error::new(format!(
            "the scheduler belongs to process {}, and this is a copy of that, made by fork; build \
             one of your own, after the fork",
            self.waker.owner()
        )))
    }

    /// Whether nothing is left to be done: no program runs or will, every report was handed to
    /// the error command, and nothing that came home is left.
    fn is_settled(&self) -> bool {
        let household = self.household.as_ref();
        self.is_settled_but_for_orphans() && household.is_none_or(Household::is_gone)
    }

    /// A report on its way is a command to be run, like one that waits.
    fn is_settled_but_for_orphans(&self) -> bool {
        let is_report = |item: &Item| matches!(item, Item::Ending(_) | Item::News(News::Report(_)));
        let has_work =
            |command: &ErrorCommand| !command.is_idle() || self.news.iter().any(is_report);
        self.machine.is_settled() && !self.error_command.as_ref().is_some_and(has_work)
    }

    /// Stops turning when nothing runs and nothing is going to.
    fn finish_if_settled(&mut self) -> Status {
        let now = self.clock.now();
        self.say_if_all_ended();
        if self.machine.is_settled()
            && let Some(command) = &mut self.error_command
        {
            command.close(now);
        }
        let may_be_dead = self.deaths_left || self.lookout.next_round().is_some();
        if !self.is_settled() || may_be_dead || self.awaits_burial(now) {
            return Status::Running;
        }
        self.close_pipes(now);
        for program in &mut self.programs {
            program.unwatch_leader(&mut self.watch);
        }
        self.warn_of_memory();
        self.tell_the_host();
        self.phase = Phase::Finished;
        self.waker.publish(self.is_stopping(), true);
        Status::Stopped
    }

    /// Opens every log, so that what is wrong with one is known before anything starts; a stop
    /// that arrives meanwhile does not wait for ten thousand of them.
    fn open_logs(&mut self) -> Result<()> {
        for id in self.ids() {
            if self.signals.is_pending(&self.stop_signals) {
                return Ok(());
            }
            let opened = self.open_log_of(id);
            self.program_mut(id).log.rest();
            let Err(error) = opened else { continue };
            if self.program(id).log.is_locked_by_another() {
                return Err(error);
            }
            self.event(id, EventKind::Warning { error });
        }
        Ok(())
    }

    fn abandoned(&self) -> Option<String> {
        let ids = self.abandoned.iter();
        let names: Vec<&str> = ids.map(|id| self.program(*id).name()).collect();
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
