//! Orders for one program, while the others run.
//!
//! Each order is accepted or refused at once; what comes of it arrives as events. It reaches the
//! machine at once as well, between two turns: a stop is sent before the method returns, and a
//! start follows in the next turn.

use crate::error::{Error, ErrorKind, Result};
use crate::event::EventKind;
use crate::handle::{NamedOrder, Order};
use crate::machine::{Command, Input, Moment, ProgramId};
use crate::os::emergency_heap;
use crate::os::group::Sent;
use crate::program::LiveRun;
use crate::signal::{SignalTo, signal_name, signal_problem};
use crate::spec::ChildSpec;

use super::definitions::{cycle_error, links_of, unknown_program};
use super::{Phase, ProcessScheduler};

impl ProcessScheduler {
    /// Starts a program, and first the programs that it requires, also those that were stopped. One
    /// that runs is left alone. One that waits for its next restart starts at once, and one that is
    /// being stopped as soon as its processes are gone. Its delay and its restarts in a row begin anew.
    ///
    /// Returns before it runs: the start follows in the next turn, or when what it waits for is up.
    /// After this, and after any other order, a host with a loop of its own asks for
    /// [`ProcessScheduler::next_deadline`] again.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let web = ChildSpec::new("web", ["sleep", "60"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .program(web)
    ///     .err_dir(logs.path())
    ///     .kill_on_drop()
    ///     .build()?;
    /// let mut turn_until = |scheduler: &mut ProcessScheduler, state| {
    ///     while scheduler.program("web").map(|web| web.state()) != Some(state) {
    ///         scheduler.step(Some(Duration::from_secs(1))).unwrap();
    ///     }
    /// };
    /// turn_until(&mut scheduler, ProgramState::Running);
    /// scheduler.stop_program("web")?;
    /// turn_until(&mut scheduler, ProgramState::Stopped);
    /// scheduler.start_program("web")?;
    /// turn_until(&mut scheduler, ProgramState::Running);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownProgram`]; [`ErrorKind::Stopping`] if everything is being stopped or
    /// has ended, or this program is being removed.
    pub fn start_program(&mut self, name: &str) -> Result<()> {
        let id = self.orderable(name)?;
        self.order(id, Command::Start(id))
    }

    /// Stops a program, and first what requires it. It stays down until it is started again; what
    /// requires it is pending until then. A stop is no failure, and does not end the scheduler.
    ///
    /// ```
    /// # use procsched::{Cause, ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let db = ChildSpec::new("db", ["sleep", "60"]);
    /// let web = ChildSpec::new("web", ["sleep", "60"]).requires(["db"]);
    /// let mut scheduler = ProcessScheduler::builder("/")
    ///     .programs([db, web])
    ///     .err_dir(logs.path())
    ///     .kill_on_drop()
    ///     .build()?;
    /// while scheduler.program("web").is_none_or(|web| web.state() != ProgramState::Running) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// scheduler.stop_program("db")?;
    /// while scheduler.program("db").is_none_or(|db| db.state() != ProgramState::Stopped) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// let web = scheduler.program("web").expect("it is known");
    /// assert_eq!(web.state(), ProgramState::Pending);
    /// assert_eq!(web.reason(), Some("requires db: stopped"));
    /// assert_eq!(web.last_exit().map(|last| last.cause()), Some(Cause::Requirement));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::start_program`].
    pub fn stop_program(&mut self, name: &str) -> Result<()> {
        let id = self.orderable(name)?;
        self.order(id, Command::Stop(id))
    }

    /// Stops a program and starts it again without a delay. What requires it is stopped before and
    /// comes back after it. One that does not run is started.
    ///
    /// Returns at once. Of a run that ends, [`EventKind::Exited`] follows, then
    /// [`EventKind::Started`] of the new one, and [`EventKind::Up`] unless the program is up as soon as
    /// it is executed. A host that looks at the state waits for another
    /// [`last_start`](crate::ProgramStatus::last_start), as here:
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramStatus};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// # let web = ChildSpec::new("web", ["sleep", "60"]);
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .program(web).err_dir(logs.path()).kill_on_drop().build()?;
    /// # while scheduler.programs()[0].pid().is_none() {
    /// #     scheduler.step(Some(Duration::from_secs(1)))?;
    /// # }
    /// for restarts in 1..=2 {
    ///     let before = scheduler.program("web").and_then(|web| web.last_start());
    ///     scheduler.restart_program("web")?;
    ///     let is_back = |web: ProgramStatus| web.is_up() && web.last_start() != before;
    ///     while !scheduler.program("web").is_some_and(is_back) {
    ///         scheduler.step(Some(Duration::from_secs(1)))?;
    ///     }
    ///     assert_eq!(scheduler.programs()[0].restarts(), restarts);
    /// }
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::start_program`].
    pub fn restart_program(&mut self, name: &str) -> Result<()> {
        let id = self.orderable(name)?;
        self.order(id, Command::Restart(id))
    }

    /// Kills a program's process group at once, and keeps it down as
    /// [`ProcessScheduler::stop_program`] does. What requires it is stopped as usual.
    ///
    /// ```
    /// # use procsched::{Cause, ChildSpec, ProcessScheduler, ProgramState};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// # let web = ChildSpec::new("web", ["sleep", "60"]);
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .program(web).err_dir(logs.path()).kill_on_drop().build()?;
    /// # while scheduler.programs()[0].pid().is_none() {
    /// #     scheduler.step(Some(Duration::from_secs(1)))?;
    /// # }
    /// scheduler.kill_program("web")?;
    /// while scheduler.program("web").is_none_or(|web| web.state() != ProgramState::Stopped) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// assert_eq!(scheduler.programs()[0].last_return_code(), Some(-libc::SIGKILL));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::start_program`].
    pub fn kill_program(&mut self, name: &str) -> Result<()> {
        let id = self.orderable(name)?;
        self.order(id, Command::Kill(id))
    }

    /// Sends a signal to a program whose first process lives: to its process group, or to its first process alone.
    /// What it does about that is its own matter: an end by the signal is an end by itself, after
    /// which it is restarted as its policy says.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ErrorKind, ProcessScheduler, ProgramState, SignalTo};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// # let web = ChildSpec::new("web", ["sleep", "60"]);
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .program(web).err_dir(logs.path()).kill_on_drop().build()?;
    /// let early = scheduler.signal_program("web", libc::SIGUSR1, SignalTo::Group);
    /// assert_eq!(early.unwrap_err().kind(), ErrorKind::NotRunning);
    /// while scheduler.program("web").is_none_or(|web| web.state() != ProgramState::Running) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// scheduler.signal_program("web", libc::SIGUSR1, SignalTo::Main)?;
    /// while scheduler.program("web").is_none_or(|web| web.state() != ProgramState::Backoff) {
    ///     scheduler.step(Some(Duration::from_secs(1)))?;
    /// }
    /// assert_eq!(scheduler.programs()[0].last_return_code(), Some(-libc::SIGUSR1));
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::UnknownProgram`]; [`ErrorKind::NotRunning`]; [`ErrorKind::Invalid`] for what is
    /// no signal, 0 too; [`ErrorKind::Os`] if the system refuses it.
    pub fn signal_program(&mut self, name: &str, signal: i32, to: SignalTo) -> Result<()> {
        self.check_owner()?;
        if let Some(problem) = signal_problem(signal) {
            return Err(Error::new(problem));
        }
        let programs = self.core.programs();
        let Some(id) = programs.find(name.as_bytes()) else {
            let text = unknown_program(programs, name);
            return Err(Error::of(ErrorKind::UnknownProgram, text));
        };
        let live = programs[id].live.as_ref();
        let runs = |live: &&LiveRun| !live.is_launching && !live.leader_dead;
        let sent = live.filter(runs).map(|live| match to {
            SignalTo::Group => live.group.signal(signal),
            SignalTo::Main => live.group.signal_leader(signal),
        });
        match sent {
            Some(Sent::Delivered) => Ok(()),
            None | Some(Sent::Gone) => {
                let text = format!("program {name:?} does not run");
                Err(Error::of(ErrorKind::NotRunning, text))
            }
            Some(Sent::Refused(errno)) => {
                let what = format!("failed to send {} to program {name:?}", signal_name(signal));
                Err(Error::os(what, errno as i32))
            }
        }
    }

    /// Adds a program, and starts it if the scheduler has been started, unless that is not wanted
    /// ([`ChildSpec::autostart`]). A program of this name that is being removed is replaced: its group
    /// ends first. It is the same program then, with a new definition: no [`EventKind::Removed`]
    /// comes, and its restarts are counted on.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// # let mut scheduler = ProcessScheduler::builder("/").err_dir(logs.path()).build()?;
    /// scheduler.add(ChildSpec::new("cache", ["sleep", "60"]))?;
    /// scheduler.add(ChildSpec::new("web", ["sleep", "60"]).after(["cache"]))?;
    /// assert_eq!(scheduler.programs().len(), 2);
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Exists`] if there is a program of this name, [`ErrorKind::Stopping`] if
    /// everything is being stopped or has ended, [`ErrorKind::Invalid`] if it waits for a program
    /// that is being removed, and what [`Builder::build`](crate::Builder::build) says of an
    /// impossible specification or an unusable log. Then nothing has changed. A log directory that
    /// has vanished is a warning.
    pub fn add(&mut self, spec: ChildSpec) -> Result<()> {
        self.check_orders()?;
        spec.check()?;
        let links = links_of(&spec, self.core.machine(), self.core.programs())?;
        let exec = self.definitions.exec(&spec)?;
        let now = self.clock.now();
        if let Some(id) = self.core.programs().find(spec.name.as_bytes()) {
            if !self.core.machine().is_being_removed(id) {
                let text = format!("a program {:?} exists already", spec.name);
                return Err(Error::of(ErrorKind::Exists, text));
            }
            let replaced = self.core.replace(now, id, &spec, links, exec);
            self.plan_for_programs();
            self.after_order(now);
            return replaced.map_err(|cycle| cycle_error(self.core.programs(), &cycle));
        }
        emergency_heap::reserve_for(self.core.programs().len() + 1)
            .map_err(|errno| Error::os("failed to reserve memory", errno as i32))?;
        let id = self.core.add(now, &self.definitions, &spec, exec)?;
        if let Err(error) = self.open_logs_of(id) {
            self.core.take_back(id);
            return Err(error);
        }
        self.core.link(now, id, links);
        self.plan_for_programs();
        if self.phase == Phase::Started {
            let command = Command::StartNew(id);
            self.core.apply(now, Input::Commanded(command));
            self.after_order(now);
        }
        Ok(())
    }

    /// Stops a program, and forgets it when nothing of it is left: then [`EventKind::Removed`] comes,
    /// and its name is free. What survives SIGKILL is abandoned, and may live on. The cause of its end
    /// is [`Cause::Reload`](crate::Cause::Reload). [`ProcessScheduler::add`] with its name before that
    /// replaces it.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .program(ChildSpec::new("web", ["sleep", "60"])).err_dir(logs.path()).build()?;
    /// scheduler.remove("web")?; // it does not run yet
    /// assert!(scheduler.programs().is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::start_program`], and [`ErrorKind::Invalid`] if another program,
    /// which is not being removed, requires this one or starts after it.
    pub fn remove(&mut self, name: &str) -> Result<()> {
        let id = self.orderable(name)?;
        let machine = self.core.machine();
        let stays = |&other: &ProgramId| !machine.is_being_removed(other);
        if let Some(other) = machine.dependents(id).find(stays) {
            let other = self.core.programs()[other].name();
            let text = format!("program {other:?} waits for {name:?}: remove it first");
            return Err(Error::new(text));
        }
        self.order(id, Command::Remove(id))?;
        self.release_removed(self.clock.now());
        self.drop_removed();
        Ok(())
    }

    /// Carries out what handles have asked for. What is refused is an event.
    pub(super) fn carry_out_orders(&mut self) {
        for NamedOrder { program, order } in self.inbox.take_orders() {
            let done = match order {
                Order::Start => self.start_program(&program),
                Order::Stop => self.stop_program(&program),
                Order::Restart => self.restart_program(&program),
                Order::Signal(signal, to) => self.signal_program(&program, signal, to),
            };
            if let Err(error) = done {
                let kind = EventKind::Refused { error };
                self.core.outbox_mut().event(program.into(), kind);
            }
        }
    }

    fn order(&mut self, id: ProgramId, command: Command) -> Result<()> {
        let now = self.clock.now();
        // What has been executed by now is asked to stop, and what has not is killed.
        let (core, capture) = (&mut self.core, &mut self.capture);
        self.launcher.look_at_late(now, core, capture);
        if let Some(sweep) = &mut self.sweep {
            sweep.before_order(now, core, id, command);
        }
        core.apply(now, Input::Commanded(command));
        self.after_order(now);
        Ok(())
    }

    pub(super) fn after_order(&mut self, now: Moment) {
        if let Some(sweep) = &mut self.sweep {
            sweep.after_order(now, &mut self.core);
        }
        // They are probed although no turn has come between.
        self.groups.take_in_killed(&mut self.core);
    }

    /// Returns the program of this name, if it takes orders.
    fn orderable(&self, name: &str) -> Result<ProgramId> {
        self.check_orders()?;
        let programs = self.core.programs();
        let Some(id) = programs.find(name.as_bytes()) else {
            let text = unknown_program(programs, name);
            return Err(Error::of(ErrorKind::UnknownProgram, text));
        };
        if self.core.machine().is_being_removed(id) {
            let text = format!("program {name:?} is being removed");
            return Err(Error::of(ErrorKind::Stopping, text));
        }
        Ok(id)
    }

    pub(super) fn check_orders(&self) -> Result<()> {
        self.check_owner()?;
        let is_over = match self.phase {
            Phase::Built => false,
            Phase::Started => self.core.is_over(),
            Phase::Finished => true,
        };
        let is_ending = self.core.machine().is_stopping() || self.core.is_ending();
        // A stop that was asked for comes first, taken or not.
        if is_ending || is_over || self.inbox.has_stop() {
            let text = match is_over && !is_ending {
                true => "everything has ended: no program takes orders any more",
                false => "everything is being stopped: no program takes orders any more",
            };
            return Err(Error::of(ErrorKind::Stopping, text));
        }
        Ok(())
    }

    /// Closes what is open of programs that the machine has forgotten, and reports their removal: after
    /// that nothing is heard of them.
    pub(super) fn release_removed(&mut self, now: Moment) {
        for id in self.core.take_forgotten() {
            self.capture.release(now, &mut self.core, id);
            self.core.program_mut(id).close_logs();
            self.groups.update(self.core.programs(), id);
            self.core.report_removal(id);
        }
    }

    /// Drops the programs that were removed and are gone.
    pub(super) fn drop_removed(&mut self) {
        if self.core.drop_removed() {
            self.plan_for_programs();
        }
    }

    /// Recomputes what depends on the number of programs.
    pub(super) fn plan_for_programs(&mut self) {
        let (_, shortage) = self.launcher.plan_for(self.core.planned());
        if let Some(error) = shortage {
            self.core.outbox_mut().warn(error);
        }
    }
}
