//! What new definitions of all programs would change: nothing is changed here.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::error::{Error, Result};
use crate::exec::{Exec, WATCHDOG_VARIABLE};
use crate::machine::state::{Goal, Why};
use crate::machine::{Policy, ProgramId};
use crate::plan::{ApplyOptions, Plan, PlannedChange, PlannedKind};
use crate::spec::ChildSpec;

use super::definitions::Definitions;
use super::side_commands::Handler;
use super::signs::Signs;
use super::wanted::{Wanted, check_links, is_run, kind_of, required_starts, restart_with_required};
use super::{Phase, ProcessScheduler};

/// What everything has in common by new definitions.
pub(super) struct Common {
    /// `None` if they are made as those before.
    pub definitions: Option<Definitions>,
    /// `None` if it stays as it is.
    pub error_command: Option<Option<Handler>>,
    /// `None` if it stays as it is.
    pub shutdown_timeout: Option<Option<Duration>>,
}

impl ProcessScheduler {
    /// Checks the definitions, and finds out what each of them changes.
    pub(super) fn wanted(
        &self,
        specs: Vec<ChildSpec>,
        common: &Common,
        options: &ApplyOptions,
    ) -> Result<Vec<Wanted>> {
        let mut names = BTreeMap::new();
        for (index, spec) in specs.iter().enumerate() {
            spec.check()?;
            if names.insert(spec.name.as_str(), index).is_some() {
                let text = format!("two programs are named {:?}", spec.name);
                return Err(Error::new(text));
            }
        }
        check_links(&specs, &names)?;
        let definitions = common.definitions.as_ref().unwrap_or(&self.definitions);
        let mut wanted = Vec::with_capacity(specs.len());
        for spec in specs {
            let exec = definitions.exec(&spec)?;
            let old = self.core.programs().find(spec.name.as_bytes());
            let (restart, kind) = match old {
                Some(id) => self.change_of(id, &spec, &exec, options)?,
                None if spec.autostart => (false, Some(PlannedKind::Add)),
                None => (false, Some(PlannedKind::AddDown)),
            };
            wanted.push(Wanted {
                spec,
                exec: Some(exec),
                old,
                restart,
                kind,
            });
        }
        restart_with_required(&mut wanted, self.core.machine());
        Ok(wanted)
    }

    pub(super) fn plan_of(&self, wanted: &[Wanted], common: &Common) -> Plan {
        let mut plan = Plan::default();
        let error_command = common.error_command.as_ref().map(|_| "error_handler");
        let shutdown_timeout = common.shutdown_timeout.map(|_| "shutdown_timeout");
        plan.settings.extend(error_command);
        plan.settings.extend(shutdown_timeout);
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
        if self.phase == Phase::Started {
            let starts = required_starts(wanted, self.core.machine());
            let starts = starts.into_iter().map(|(program, by)| PlannedChange {
                program: program.into(),
                kind: PlannedKind::StartRequired { by },
            });
            plan.required.extend(starts);
        }
        plan
    }

    /// Returns the programs that are not among these, unless they are being removed already.
    pub(super) fn not_wanted(&self, wanted: &[Wanted]) -> Vec<ProgramId> {
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

    /// Returns what a new definition changes about a program, and whether something of that cannot
    /// change while it runs.
    fn change_of(
        &self,
        id: ProgramId,
        spec: &ChildSpec,
        exec: &Exec,
        options: &ApplyOptions,
    ) -> Result<(bool, Option<PlannedKind>)> {
        let machine = self.core.machine();
        let (Some(view), Some(old)) = (machine.view(id), machine.policy(id)) else {
            return Ok((false, None));
        };
        let new = spec.policy();
        let mut fixed = self.core.running_exec(id).differences(exec);
        if old.oneshot != new.oneshot {
            fixed.push("oneshot".to_owned());
        }
        if old.watchdog != new.watchdog {
            // It is a variable of the program as well.
            fixed.retain(|key| key.strip_prefix("env.") != Some(WATCHDOG_VARIABLE));
            fixed.push("watchdog".to_owned());
        }
        let is_removed = machine.is_being_removed(id);
        let runs_on = view.goal == Goal::Up && is_run(&view) && !is_removed;
        // What requires it counts on its success.
        let has_succeeded = view.goal != Goal::Up && view.why == Why::Exited && old.oneshot;
        let counts = (runs_on || has_succeeded) && !is_removed;
        if options.keeps_runs && counts && old.oneshot != new.oneshot {
            let text = "a change needs a restart of the program, which was ruled out";
            return Err(Error::of_key(&spec.name, "oneshot", text));
        }
        let keys = self.live_keys(id, spec, exec, &new);
        let is_fixed = !fixed.is_empty();
        if keys.is_empty() && !is_fixed && !is_removed {
            return Ok((false, None));
        }
        if options.keeps_runs && is_fixed && view.goal == Goal::Up && !is_removed {
            let later = fixed;
            return Ok((false, Some(PlannedKind::ChangeLater { keys, later })));
        }
        let keys = [fixed, keys].concat();
        if is_removed {
            return Ok((is_fixed, Some(PlannedKind::Restart { keys })));
        }
        let restart = is_fixed && !options.keeps_runs;
        let starts = new.autostart && !old.autostart && self.phase == Phase::Started;
        Ok((restart, Some(kind_of(&view, restart, starts, keys))))
    }

    /// Returns the keys in which a new definition differs and that change in place.
    fn live_keys(&self, id: ProgramId, spec: &ChildSpec, exec: &Exec, new: &Policy) -> Vec<String> {
        let program = &self.core.programs()[id];
        let machine = self.core.machine();
        let mut keys = Vec::new();
        // A change that waited for the next start may be taken back.
        if self.core.is_outdated(id) && self.core.running_exec(id).differences(exec).is_empty() {
            keys.extend(program.exec.differences(exec));
        }
        let old = machine.policy(id).into_iter();
        let policy = old.flat_map(|old| old.differences(new));
        keys.extend(policy.map(str::to_owned));
        let (signs, others) = (self.core.signs(id), Signs::of(spec, exec.base_dir()));
        if signs.and_then(|signs| signs.ready.as_ref()) != others.ready.as_ref() {
            keys.push("ready".to_owned());
        }
        if signs.and_then(|signs| signs.health.as_ref()) != others.health.as_ref() {
            keys.push("health".to_owned());
        }
        if program.report_bytes as usize != spec.report_bytes {
            keys.push("report_bytes".to_owned());
        }
        let log = program.stderr.log.options().differences(spec.log);
        keys.extend(log.map(str::to_owned));
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
        keys
    }
}
