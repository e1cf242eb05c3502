//! A new set of definitions for all programs: the change, all or nothing.

use std::collections::BTreeSet;

use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::machine::definitions::{Edit, Replacement};
use crate::machine::state::{Goal, Why};
use crate::machine::{Command, Moment, ProgramId};
use crate::os::emergency_heap;
use crate::plan::{ApplyOptions, Plan, PlannedKind};
use crate::spec::ChildSpec;

use super::builder::check_shutdown_timeout;
use super::core::Kept;
use super::planning::Common;
use super::signs::Signs;
use super::wanted::{Wanted, is_run, links_in};
use super::{Phase, ProcessScheduler};

impl ProcessScheduler {
    /// Returns what [`ProcessScheduler::apply`] would do with these definitions. Opens no log and
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::apply`], but for what only shows when logs are opened.
    pub fn plan(&self, specs: &[ChildSpec]) -> Result<Plan> {
        self.plan_with(specs, &ApplyOptions::default())
    }

    /// Returns what [`ProcessScheduler::apply_with`] would do. Opens no log and changes nothing.
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::apply_with`], but for what only shows when logs are opened.
    pub fn plan_with(&self, specs: &[ChildSpec], options: &ApplyOptions) -> Result<Plan> {
        let common = self.common(options)?;
        let wanted = self.wanted(specs.to_vec(), &common, options)?;
        Ok(self.plan_of(&wanted, &common))
    }

    /// Makes these the definitions of all programs, with as little disturbance as possible: what
    /// does not differ runs on; what can change while it runs, such as backoff and stop timeout,
    /// changes in place; what cannot, such as command and environment, is restarted, and what
    /// requires it with it; what is not among them any more is stopped and removed; and what is new
    /// is started when that is gone, so that a program that was renamed finds its port free. What
    /// was stopped by hand stays so; what has failed and differs starts again.
    ///
    /// Returns what was begun. It comes about in the turns that follow, and arrives as events.
    ///
    /// ```
    /// # use procsched::{ChildSpec, PlannedKind, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let web = |port| ChildSpec::new("web", ["sleep", port]);
    /// let old = ChildSpec::new("old", ["sleep", "60"]);
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .programs([web("80"), old]).err_dir(logs.path()).kill_on_drop().build()?;
    /// # while scheduler.programs().iter().any(|program| program.pid().is_none()) {
    /// #     scheduler.step(Some(std::time::Duration::from_secs(1)))?;
    /// # }
    /// let new = [web("81"), ChildSpec::new("cache", ["sleep", "60"]).after(["web"])];
    /// let plan = scheduler.plan(&new)?;
    /// assert_eq!(
    ///     plan.to_string(),
    ///     "~ web    will be restarted: command\n\
    ///      + cache  new, will be started\n\
    ///      - old    will be stopped and removed\n\
    ///      = 0 unchanged"
    /// );
    /// assert_eq!(scheduler.apply(new.to_vec())?, plan);
    /// assert!(scheduler.apply(new.to_vec())?.is_empty());
    /// # Ok(())
    /// # }
    /// ```
    ///
    /// # Errors
    ///
    /// [`ErrorKind::Stopping`](crate::ErrorKind) if everything is being stopped; `Invalid` for an
    /// impossible specification, two of one name, an unknown name in `after` or `requires`, or a
    /// cycle; `Os` for a log that cannot be locked, or too little memory. Then nothing
    /// has changed.
    pub fn apply(&mut self, specs: Vec<ChildSpec>) -> Result<Plan> {
        self.apply_with(specs, &ApplyOptions::default())
    }

    /// Does the same with other settings that come with the definitions, or without restarts.
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::apply`]; and for a base directory that cannot be used, a command that
    /// cannot be used, or a program that runs, or has succeeded as a oneshot, and would become a
    /// oneshot, or be none any more, without a restart.
    pub fn apply_with(&mut self, specs: Vec<ChildSpec>, options: &ApplyOptions) -> Result<Plan> {
        let common = self.common(options)?;
        let mut wanted = self.wanted(specs, &common, options)?;
        let plan = self.plan_of(&wanted, &common);
        let now = self.clock.now();
        let removes = self.not_wanted(&wanted);
        let ids = self.add_new(now, &mut wanted)?;
        self.set_common(common);
        // What has been executed by now is asked to stop, and what has not is killed.
        let (core, capture) = (&mut self.core, &mut self.capture);
        self.launcher.look_at_late_kept(now, core, capture);
        self.warn_of_stopped(&wanted);
        self.end_left_by(now, &removes);
        self.commit(now, removes, wanted, &ids, options);
        self.after_order(now);
        self.release_removed(now);
        self.drop_removed();
        self.plan_for_programs();
        self.trim_memory();
        Ok(plan)
    }

    /// Returns freed memory to the system, if [`Builder::trim_memory`](crate::Builder::trim_memory)
    /// has it so: for a host that has freed much, such as definitions that were refused.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let builder = ProcessScheduler::builder("/").program(ChildSpec::new("web", ["true"]));
    /// let mut scheduler = builder.err_dir(logs.path()).trim_memory().build()?;
    /// let many = (0..1000).map(|index| ChildSpec::new(format!("p{index}"), ["true"]));
    /// let twice = many.chain([ChildSpec::new("p1", ["true"])]);
    /// assert!(scheduler.apply(twice.collect()).is_err());
    /// scheduler.trim_memory();
    /// # Ok(())
    /// # }
    /// ```
    pub fn trim_memory(&self) {
        self.side_commands.trim_memory();
    }

    /// Checks what the definitions have in common.
    fn common(&self, options: &ApplyOptions) -> Result<Common> {
        self.check_orders()?;
        let definitions = match &options.base_dir {
            Some(base_dir) => self.definitions.at(base_dir)?,
            None => None,
        };
        let made_by = definitions.as_ref().unwrap_or(&self.definitions);
        let error_command = match &options.error_command {
            Some(command) => {
                let new = command.as_ref().map(|wanted| made_by.handler(wanted));
                let new = new.transpose()?;
                let differs = self.side_commands.is_changed_by(new.as_ref());
                differs.then_some(new)
            }
            None => None,
        };
        let shutdown_timeout = options.shutdown_timeout;
        check_shutdown_timeout(shutdown_timeout.flatten())?;
        let old = self.core.machine().shutdown_timeout();
        Ok(Common {
            definitions,
            error_command,
            shutdown_timeout: shutdown_timeout.filter(|new| *new != old),
        })
    }

    fn set_common(&mut self, common: Common) {
        if let Some(definitions) = common.definitions {
            self.definitions = definitions;
        }
        if let Some(command) = common.error_command {
            self.side_commands.set_handler(command);
        }
        if let Some(timeout) = common.shutdown_timeout {
            self.core.set_shutdown_timeout(timeout);
        }
    }

    /// Warns of each program that begins to require one that stays stopped, or requires it as a
    /// oneshot no more.
    fn warn_of_stopped(&mut self, wanted: &[Wanted]) {
        let mut warnings = Vec::new();
        let stays = wanted.iter().filter(|one| !one.spec.oneshot);
        let stays: BTreeSet<Option<ProgramId>> = stays.map(|one| one.old).collect();
        for one in wanted {
            for required in &one.spec.requires {
                let Some(id) = self.core.programs().find(required.as_bytes()) else {
                    continue;
                };
                let machine = self.core.machine();
                let links = one.old.map(|id| machine.links_of(id)).unwrap_or_default();
                let view = machine.view(id);
                let is_stopped =
                    view.is_some_and(|view| view.goal != Goal::Up && view.why == Why::Stopped);
                let policy = machine.policy(id);
                let was_oneshot = policy.is_some_and(|policy| policy.oneshot);
                let is_new = !links.requires().contains(&id);
                if is_stopped && (is_new || was_oneshot && stays.contains(&Some(id))) {
                    let text = format!("requires {required:?}, which is stopped: start that, too");
                    warnings.push((one.spec.name.as_str().into(), Error::new(text)));
                }
            }
        }
        for (program, error) in warnings {
            let kind = EventKind::Warning { error };
            self.core.outbox_mut().event(program, kind);
        }
    }

    /// True if a program has a run that is wanted.
    fn runs(&self, id: ProgramId) -> bool {
        let view = self.core.machine().view(id);
        view.is_some_and(|view| view.goal == Goal::Up && is_run(&view))
    }

    /// Adds what is new, down and without links, and opens its logs. Returns the id of each
    /// definition; on failure, nothing is left.
    fn add_new(&mut self, now: Moment, wanted: &mut [Wanted]) -> Result<Vec<ProgramId>> {
        let new = wanted.iter().filter(|wanted| wanted.old.is_none()).count();
        emergency_heap::reserve_for(self.core.programs().len() + new)
            .map_err(|errno| Error::os("failed to reserve memory", errno as i32))?;
        let mut ids = Vec::with_capacity(wanted.len());
        let (mut added, mut refused) = (Vec::new(), Vec::new());
        for one in wanted {
            let id = match one.old {
                Some(id) => Ok(id),
                None => self.add_one(now, one, &mut added, &mut refused),
            };
            match id {
                Ok(id) => ids.push(id),
                Err(error) => {
                    added.into_iter().for_each(|id| self.core.take_back(id));
                    return Err(error);
                }
            }
        }
        // No earlier: a program that is taken back was never there.
        for (id, error) in refused {
            self.core.warn(id, error);
        }
        Ok(ids)
    }

    fn add_one(
        &mut self,
        now: Moment,
        one: &mut Wanted,
        added: &mut Vec<ProgramId>,
        refused: &mut Vec<(ProgramId, Error)>,
    ) -> Result<ProgramId> {
        let exec = one.exec.take();
        let exec = exec.map_or_else(|| self.definitions.exec(&one.spec), Ok)?;
        let id = self.core.add(now, &self.definitions, &one.spec, exec)?;
        added.push(id);
        let errors = self.try_logs(id)?;
        refused.extend(errors.into_iter().map(|error| (id, error)));
        Ok(id)
    }

    /// What programs that are removed left when they ended for good goes on no longer.
    fn end_left_by(&mut self, now: Moment, removes: &[ProgramId]) {
        if let Some(sweep) = &mut self.sweep {
            for &id in removes {
                sweep.before_order(now, &mut self.core, id, Command::Remove(id));
            }
        }
    }

    /// Hands all of it to the machine at once.
    fn commit(
        &mut self,
        now: Moment,
        removes: Vec<ProgramId>,
        wanted: Vec<Wanted>,
        ids: &[ProgramId],
        options: &ApplyOptions,
    ) {
        let mut edit = Edit {
            removes,
            ..Edit::default()
        };
        let mut replaced = Vec::new();
        for (one, &id) in wanted.into_iter().zip(ids) {
            let links = links_in(self.core.programs(), &one.spec);
            match one.kind {
                Some(PlannedKind::Add | PlannedKind::AddDown) => edit.adds.push((id, links)),
                None => {}
                Some(_) => {
                    let Some(exec) = one.exec else { continue };
                    let goes_on = options.keeps_runs && self.runs(id);
                    let mut policy = one.spec.policy();
                    let old = self.core.machine().policy(id);
                    if let Some(old) = old.filter(|_| goes_on) {
                        // The run goes by the time that it was given.
                        policy.watchdog = old.watchdog;
                    }
                    let is_start = matches!(one.kind, Some(PlannedKind::Start { .. }));
                    edit.replaces.push(Replacement {
                        program: id,
                        policy,
                        links,
                        // Of what differs, the machine does not know all.
                        restart: one.restart || is_start,
                    });
                    let signs = Signs::of(&one.spec, exec.base_dir());
                    replaced.push((id, exec, Kept::of(&one.spec), signs, goes_on));
                }
            }
        }
        edit.starts = self.phase == Phase::Started;
        let edited = self.core.edit(now, edit);
        debug_assert!(edited.is_ok(), "the links were checked");
        for (id, exec, kept, signs, goes_on) in replaced {
            self.core.redefine(id, exec, kept, signs, goes_on);
        }
    }
}
