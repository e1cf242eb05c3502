//! A new set of definitions for all programs: what it changes, and the change, all or nothing.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::machine::definitions::{Edit, Replacement};
use crate::machine::graph::{Graph, Links};
use crate::machine::state::{Goal, State, Why};
use crate::machine::{Moment, ProgramId, View};
use crate::os::emergency_heap;
use crate::plan::{Plan, PlannedChange, PlannedKind};
use crate::program::ProgramTable;
use crate::spec::ChildSpec;

use super::definitions::unknown_name;
use super::{Phase, ProcessScheduler};

/// A new definition, checked, and the program that has its name already.
struct Wanted {
    spec: ChildSpec,
    /// Until its program has it.
    exec: Option<Exec>,
    old: Option<ProgramId>,
    kind: Option<PlannedKind>,
}

impl ProcessScheduler {
    /// Returns what [`ProcessScheduler::apply`] would do with these definitions. Opens no log and
    /// changes nothing.
    ///
    /// # Errors
    ///
    /// As [`ProcessScheduler::apply`], but for what only shows when logs are opened.
    pub fn plan(&self, specs: &[ChildSpec]) -> Result<Plan> {
        let wanted = self.wanted(specs.to_vec())?;
        Ok(self.plan_of(&wanted))
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
        let mut wanted = self.wanted(specs)?;
        let plan = self.plan_of(&wanted);
        let now = self.clock.now();
        let ids = self.add_new(now, &mut wanted)?;
        // What has been executed by now is asked to stop, and what has not is killed.
        let (core, capture) = (&mut self.core, &mut self.capture);
        self.launcher.look_at_late(now, core, capture);
        self.commit(now, wanted, &ids);
        self.after_order(now);
        self.release_removed(now);
        self.drop_removed();
        self.plan_for_programs();
        Ok(plan)
    }

    /// Checks the definitions, and finds out what each of them changes.
    fn wanted(&self, specs: Vec<ChildSpec>) -> Result<Vec<Wanted>> {
        self.check_orders()?;
        let mut names = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            spec.check()?;
            if names.insert(spec.name.as_str(), index).is_some() {
                let text = format!("two programs are named {:?}", spec.name);
                return Err(Error::new(text));
            }
        }
        check_links(&specs, &names)?;
        let mut wanted = Vec::with_capacity(specs.len());
        for spec in specs {
            let exec = self.definitions.exec(&spec)?;
            let old = self.core.programs().find(spec.name.as_bytes());
            let kind = match old {
                Some(id) => self.change_of(id, &spec, &exec),
                None => Some(PlannedKind::Add),
            };
            wanted.push(Wanted {
                spec,
                exec: Some(exec),
                old,
                kind,
            });
        }
        restart_with_required(&mut wanted, |id| self.runs(id));
        Ok(wanted)
    }

    /// Returns what a new definition changes about a program.
    fn change_of(&self, id: ProgramId, spec: &ChildSpec, exec: &Exec) -> Option<PlannedKind> {
        let program = &self.core.programs()[id];
        let machine = self.core.machine();
        let view = machine.view(id)?;
        let (old, new) = (machine.policy(id)?, spec.policy());
        let mut keys = program.exec.differences(exec);
        if old.oneshot != new.oneshot {
            keys.push("oneshot".to_owned());
        }
        let is_restart = !keys.is_empty() || machine.is_being_removed(id);
        keys.extend(old.differences(&new).into_iter().map(str::to_owned));
        if program.report_bytes as usize != spec.report_bytes {
            keys.push("report_bytes".to_owned());
        }
        let links = machine.links_of(id);
        let names = |ids: &[ProgramId]| -> BTreeSet<&str> {
            let names = ids.iter().map(|&id| &**self.core.programs()[id].name());
            names.collect()
        };
        let requires: BTreeSet<&str> = spec.requires.iter().map(String::as_str).collect();
        let after = spec.after.iter().map(String::as_str);
        // What is required is started after, too.
        let after: BTreeSet<&str> = after.filter(|name| !requires.contains(name)).collect();
        if names(links.after()) != after {
            keys.push("after".to_owned());
        }
        if names(links.requires()) != requires {
            keys.push("requires".to_owned());
        }
        if machine.is_being_removed(id) {
            return Some(PlannedKind::Restart { keys });
        }
        (!keys.is_empty()).then(|| kind_of(&view, is_restart, keys))
    }

    /// True if a program has a run that is wanted.
    fn runs(&self, id: ProgramId) -> bool {
        let view = self.core.machine().view(id);
        view.is_some_and(|view| view.goal == Goal::Up && is_run(&view))
    }

    fn plan_of(&self, wanted: &[Wanted]) -> Plan {
        let mut plan = Plan::default();
        for Wanted { spec, kind, .. } in wanted {
            match kind.clone() {
                Some(kind) => plan.changes.push(PlannedChange {
                    program: spec.name.as_str().into(),
                    kind,
                }),
                None => plan.unchanged += 1,
            }
        }
        for id in self.not_wanted(wanted) {
            plan.changes.push(PlannedChange {
                program: self.core.programs()[id].name().clone(),
                kind: PlannedKind::Remove,
            });
        }
        plan
    }

    /// Returns the programs that are not among these, unless they are being removed already.
    fn not_wanted(&self, wanted: &[Wanted]) -> Vec<ProgramId> {
        let kept: BTreeSet<ProgramId> = wanted.iter().filter_map(|wanted| wanted.old).collect();
        let machine = self.core.machine();
        let goes = |id: &ProgramId| {
            let is_known = machine.view(*id).is_some() && !machine.is_being_removed(*id);
            is_known && !kept.contains(id)
        };
        self.core
            .programs()
            .ids()
            .into_iter()
            .filter(goes)
            .collect()
    }

    /// Adds what is new, down and without links, and opens its logs. Returns the id of each
    /// definition; on failure, nothing is left.
    fn add_new(&mut self, now: Moment, wanted: &mut [Wanted]) -> Result<Vec<ProgramId>> {
        let new = wanted.iter().filter(|wanted| wanted.old.is_none()).count();
        emergency_heap::reserve_for(self.core.programs().len() + new)
            .map_err(|errno| Error::os("failed to reserve memory", errno as i32))?;
        let mut ids = Vec::with_capacity(wanted.len());
        let mut added = Vec::new();
        for one in wanted {
            let id = match one.old {
                Some(id) => Ok(id),
                None => self.add_one(now, one, &mut added),
            };
            match id {
                Ok(id) => ids.push(id),
                Err(error) => {
                    added.into_iter().for_each(|id| self.core.take_back(id));
                    return Err(error);
                }
            }
        }
        Ok(ids)
    }

    fn add_one(
        &mut self,
        now: Moment,
        one: &mut Wanted,
        added: &mut Vec<ProgramId>,
    ) -> Result<ProgramId> {
        let exec = one.exec.take();
        let exec = exec.map_or_else(|| self.definitions.exec(&one.spec), Ok)?;
        let id = self.core.add(now, &self.definitions, &one.spec, exec)?;
        added.push(id);
        self.open_log(id)?;
        Ok(id)
    }

    /// Hands all of it to the machine at once.
    fn commit(&mut self, now: Moment, wanted: Vec<Wanted>, ids: &[ProgramId]) {
        let mut edit = Edit {
            removes: self.not_wanted(&wanted),
            ..Edit::default()
        };
        // They are not wanted for being new; they have no links yet.
        edit.removes.retain(|id| !ids.contains(id));
        let mut replaced = Vec::new();
        for (one, &id) in wanted.into_iter().zip(ids) {
            let links = links_in(self.core.programs(), &one.spec);
            match one.kind {
                Some(PlannedKind::Add) => edit.adds.push((id, links)),
                None => {}
                Some(_) => {
                    let Some(exec) = one.exec else { continue };
                    let old = &self.core.programs()[id].exec;
                    let oneshot = self.core.machine().policy(id).map(|policy| policy.oneshot);
                    let restart = !old.differences(&exec).is_empty()
                        || oneshot != Some(one.spec.policy().oneshot);
                    edit.replaces.push(Replacement {
                        program: id,
                        policy: one.spec.policy(),
                        links,
                        restart,
                    });
                    replaced.push((id, exec, one.spec.report_bytes));
                }
            }
        }
        edit.starts = self.phase == Phase::Started;
        let edited = self.core.edit(now, edit);
        debug_assert!(edited.is_ok(), "the links were checked");
        for (id, exec, report_bytes) in replaced {
            self.core.program_mut(id).redefine(exec, report_bytes);
        }
    }
}

/// Returns what a definition that differs changes.
fn kind_of(view: &View, is_restart: bool, keys: Vec<String>) -> PlannedKind {
    if view.goal == Goal::Up {
        return match (is_restart, is_run(view)) {
            (false, _) => PlannedKind::Change { keys },
            (true, true) => PlannedKind::Restart { keys },
            (true, false) => PlannedKind::Start { keys },
        };
    }
    match view.why {
        Why::Stopped => PlannedKind::StaysStopped { keys },
        Why::Failed | Why::Permanent | Why::GaveUp => PlannedKind::Start { keys },
        Why::Exited if is_restart => PlannedKind::Start { keys },
        Why::Exited | Why::New => PlannedKind::Change { keys },
    }
}

/// True if it has processes.
fn is_run(view: &View) -> bool {
    !matches!(
        view.state,
        State::Inactive | State::Waiting { .. } | State::Due | State::Clearing { .. }
    )
}

/// What requires a program that is restarted is restarted with it, if it runs.
fn restart_with_required(wanted: &mut [Wanted], runs: impl Fn(ProgramId) -> bool) {
    let mut requirers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, one) in wanted.iter().enumerate() {
        for name in &one.spec.requires {
            requirers.entry(name.clone()).or_default().push(index);
        }
    }
    let is_restart = |one: &Wanted| {
        matches!(
            one.kind,
            Some(PlannedKind::Restart { .. } | PlannedKind::RestartWith { .. })
        )
    };
    let mut restarted: Vec<usize> = (0..wanted.len())
        .filter(|&at| is_restart(&wanted[at]))
        .collect();
    while let Some(index) = restarted.pop() {
        let Wanted { spec, .. } = &wanted[index];
        // A oneshot takes nothing down.
        if spec.oneshot {
            continue;
        }
        let required = spec.name.clone();
        for &other in requirers.get(&required).into_iter().flatten() {
            let one = &mut wanted[other];
            if !is_restart(one) && one.old.is_some_and(&runs) {
                let required = required.clone();
                one.kind = Some(PlannedKind::RestartWith { required });
                restarted.push(other);
            }
        }
    }
}

/// Returns the links to programs whose names were checked.
fn links_in(programs: &ProgramTable, spec: &ChildSpec) -> Links {
    let ids = |names: &[String]| -> Vec<ProgramId> {
        let found = names.iter().map(|name| programs.find(name.as_bytes()));
        found.flatten().collect()
    };
    Links::new(&ids(&spec.requires), &ids(&spec.after))
}

/// Checks that each name in `after` and `requires` is one of these, and that there is no cycle.
fn check_links(specs: &[ChildSpec], names: &BTreeMap<&str, usize>) -> Result<()> {
    let mut all = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let find = |key: &str, name: &String| match names.get(name.as_str()) {
            Some(&index) => Ok(ProgramId(index as u32)),
            None => Err(Error::new(format!(
                "program {:?}: {key}: {}",
                spec.name,
                unknown_name(names.keys().copied(), name)
            ))),
        };
        let requires = spec.requires.iter().map(|name| find("requires", name));
        let requires = requires.collect::<Result<Vec<_>>>()?;
        let after = spec.after.iter().map(|name| find("after", name));
        let after = after.collect::<Result<Vec<_>>>()?;
        all.insert(ProgramId(index as u32), Links::new(&requires, &after));
    }
    let Some(cycle) = Graph::default().find_cycle(&all) else {
        return Ok(());
    };
    let names: Vec<&str> = cycle.iter().map(|id| &*specs[id.0 as usize].name).collect();
    Err(super::definitions::cycle_text(&names))
}
