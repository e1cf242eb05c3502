//! An operator who changes the definitions of all programs between two turns, and knows what the
//! plan has to be: whatever was, in the end everything is as after a fresh start with the last
//! definitions, but for what was stopped by hand, what has ended for good and did not change, and
//! what is to wait for its next start.

use std::collections::{BTreeMap, BTreeSet};

use super::driver::{Account, Check, Driver, descriptors};
use super::setting::{NAMES, any_spec, with_streams};
use super::world::{self, Removal, Wish};
use crate::error::ErrorKind;
use crate::machine::ProgramState;
use crate::plan::{ApplyOptions, Plan, PlannedKind};
use crate::spec::ChildSpec;

/// Programs at a time.
const PROGRAMS_MAX: usize = 4;

/// What is there: the programs and their processes, what is open, and what would change if the
/// definitions were given once more.
#[derive(Debug)]
struct Whole {
    programs: Vec<(String, ProgramState, Option<i32>)>,
    descriptors: usize,
    plan: String,
}

impl Driver {
    pub(super) fn reload_some(&mut self) -> Check {
        // As with an order for one program.
        let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
        if (self.is_to_end() || is_asked) && !self.takes_no_orders() {
            return Ok(());
        }
        let specs = self.any_set();
        let keeps_runs = self.rng.one_in(4);
        if self.rng.one_in(8) {
            // A dry run.
            let options = ApplyOptions::new().restart(!keeps_runs);
            let before = self.whole();
            drop(self.scheduler.plan_with(&specs, &options));
            return self.is_unchanged(&before);
        }
        self.reload(specs, keeps_runs)
    }

    /// The definitions that hold, of what is not being removed.
    pub(super) fn definitions(&self) -> Vec<ChildSpec> {
        let there = self.there().into_iter();
        let stays =
            |index: &usize| world::with(|kernel| kernel.programs[*index].removal == Removal::No);
        let specs = there
            .filter(stays)
            .map(|index| self.setting.specs[index].clone());
        specs.collect()
    }

    fn any_set(&mut self) -> Vec<ChildSpec> {
        let old = self.definitions();
        let mut names = NAMES.to_vec();
        for at in (1..names.len()).rev() {
            let other = self.rng.index(at + 1);
            names.swap(at, other);
        }
        let mut specs: Vec<ChildSpec> = Vec::new();
        for name in names {
            let before: Vec<&str> = specs.iter().map(ChildSpec::name).collect();
            let before: Vec<String> = before.into_iter().map(str::to_owned).collect();
            let before: Vec<&str> = before.iter().map(String::as_str).collect();
            let known = old.iter().find(|spec| spec.name() == name);
            let spec = match known {
                Some(_) if self.rng.one_in(6) => continue,
                Some(known) if self.rng.one_in(2) => known.clone(),
                Some(known) => self.mutated(known.clone(), &before),
                None if specs.len() >= PROGRAMS_MAX || !self.rng.one_in(4) => continue,
                None => self.new_spec(name, &before),
            };
            specs.push(spec);
        }
        if !self.rng.one_in(16) {
            without_strangers(&mut specs);
        }
        specs
    }

    fn new_spec(&mut self, name: &str, others: &[&str]) -> ChildSpec {
        let directory = self.directory.clone();
        let mut spec = any_spec(&mut self.rng, name, others, &directory);
        if self.setting.has_streams {
            spec = with_streams(spec, &mut self.rng);
        }
        let is_up = !self.rng.one_in(6);
        spec.autostart(is_up)
    }

    /// A definition that differs, more or less.
    fn mutated(&mut self, known: ChildSpec, others: &[&str]) -> ChildSpec {
        let other = self.new_spec(known.name(), others);
        let mut spec = known.clone();
        // Whether an end for good ends everything is judged by one definition.
        if !known.essential && self.rng.one_in(3) {
            spec = other.clone().essential(false);
        }
        spec.command.clone_from(&known.command);
        match self.rng.below(6) {
            0 | 1 => {
                let version = self.rng.below(4).to_string();
                spec.command.truncate(1);
                spec.command.push(version.into());
            }
            2 => spec = spec.stop_timeout(other.stop_timeout).backoff(other.backoff),
            3 => spec = spec.report_bytes(other.report_bytes),
            4 => spec = spec.requires(other.requires).after(other.after),
            _ => spec = spec.autostart(other.autostart),
        }
        if self.setting.has_streams {
            (spec.outputs, spec.log) = match self.rng.below(6) {
                0 => (other.outputs, other.log),
                1 => (known.outputs, other.log),
                _ => (known.outputs, known.log),
            };
        }
        spec
    }

    fn reload(&mut self, specs: Vec<ChildSpec>, keeps_runs: bool) -> Check {
        let options = ApplyOptions::new().restart(!keeps_runs);
        let expected = self.refusal_of_set(&specs);
        let planned = self.scheduler.plan_with(&specs, &options);
        let whole = self.whole();
        let plan = match (planned, expected) {
            (Ok(plan), None) => plan,
            (Err(error), kind) => {
                world::with(|kernel| kernel.counts.reloads_refused += 1);
                let is_oneshot = keeps_runs && error.to_string().contains("oneshot");
                let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
                if is_asked && error.kind() == ErrorKind::Stopping {
                    return self.is_unchanged(&whole);
                }
                if Some(error.kind()) != kind && !is_oneshot {
                    return Err(format!("{specs:?} refused: {error}, expected: {kind:?}"));
                }
                let applied = self.scheduler.apply_with(specs, &options);
                if applied.err().map(|other| other.kind()) != Some(error.kind()) {
                    return Err(format!("it was carried out, and the plan said {error}"));
                }
                return self.is_unchanged(&whole);
            }
            (Ok(plan), Some(kind)) => return Err(format!("expected {kind:?}, but not:\n{plan}")),
        };
        self.check_plan(&specs, &plan, keeps_runs)?;
        let running = self.running();
        let (before, going_on, restarted, launching) = world::with(|kernel| {
            let before = kernel.before_reload();
            let (going_on, restarted) = (kernel.going_on(&plan), kernel.restarted_by(&plan));
            let launching = kernel.launching();
            kernel.is_reloaded(&specs, &plan, keeps_runs);
            (before, going_on, restarted, launching)
        });
        match self.scheduler.apply_with(specs.clone(), &options) {
            Ok(applied) if applied == plan => {}
            Ok(applied) => return Err(format!("planned:\n{plan}\napplied:\n{applied}")),
            Err(error) => {
                let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
                let is_stop = is_asked && error.kind() == ErrorKind::Stopping;
                world::with(|kernel| {
                    kernel.say(format_args!("refused   {error}"));
                    kernel.reload_is_refused(before);
                    kernel.counts.reloads_refused += 1;
                });
                if !is_stop && !self.a_log_may_be_refused() {
                    return Err(format!("planned:\n{plan}\nand then refused: {error}"));
                }
                return self.is_unchanged(&whole);
            }
        }
        self.check_required(&plan)?;
        self.restarted.extend(restarted);
        self.check_ended(&running, &plan, launching > 0)?;
        world::with(|kernel| kernel.check_goes_on(&going_on))
            .map_err(|problem| format!("{problem}; planned:\n{plan}"))?;
        self.takes_over(specs, &plan, keeps_runs)
    }

    /// The programs that have a process, and that nothing ends.
    fn running(&self) -> BTreeSet<String> {
        let programs = self.scheduler.programs();
        let runs = programs.iter().filter(|program| {
            let is_up = matches!(
                program.state(),
                ProgramState::Running | ProgramState::Starting
            );
            is_up && program.pid().is_some()
        });
        runs.map(|program| program.name().to_owned()).collect()
    }

    /// What ran and is to end by a plan ends from now on, and nothing else does. A start that had not
    /// been answered when the plan was made may have failed since, and takes nothing down.
    fn check_ended(&self, running: &BTreeSet<String>, plan: &Plan, was_launching: bool) -> Check {
        let ends = |name: &str| {
            plan.changes().iter().any(|change| {
                let is_end = matches!(
                    change.kind(),
                    PlannedKind::Remove
                        | PlannedKind::Restart { .. }
                        | PlannedKind::RestartWith { .. }
                );
                change.program() == name && is_end
            })
        };
        for program in self.scheduler.programs() {
            let name = program.name();
            if !running.contains(name) {
                continue;
            }
            let (ends, state) = (ends(name), program.state());
            let is_ended = state == ProgramState::Stopping;
            if is_ended && !ends || ends && !is_ended && !was_launching {
                return Err(format!("{name} is {state}, and this was planned:\n{plan}"));
            }
        }
        Ok(())
    }

    /// What a plan starts because it is required is wanted from now on.
    fn check_required(&self, plan: &Plan) -> Check {
        for change in plan.required() {
            let program = self.scheduler.program(change.program());
            if !program.is_some_and(|program| program.is_wanted()) {
                let name = change.program();
                return Err(format!(
                    "{name} is not wanted, and this was planned:\n{plan}"
                ));
            }
        }
        Ok(())
    }

    /// Notes the definitions that were accepted, and looks whether what they end was asked to.
    fn takes_over(&mut self, specs: Vec<ChildSpec>, plan: &Plan, keeps_runs: bool) -> Check {
        let mut ended = Vec::new();
        for change in plan.changes() {
            match change.kind() {
                PlannedKind::Remove => {
                    let index = world::with(|kernel| kernel.index_of(change.program()));
                    ended.push(index);
                    if !self.names().iter().any(|name| name == change.program()) {
                        self.its_log_ends(index);
                    }
                }
                PlannedKind::Restart { .. } => {
                    ended.push(world::with(|kernel| kernel.index_of(change.program())));
                }
                _ => {}
            }
        }
        for spec in specs {
            let index = world::with(|kernel| kernel.index_of(spec.name()));
            match self.setting.specs.get_mut(index) {
                Some(known) => *known = spec,
                None => {
                    let programs = world::with(|kernel| kernel.programs.len());
                    self.setting.specs.resize(programs, spec.clone());
                    self.accounts.resize(programs, Account::default());
                    self.setting.specs[index] = spec;
                }
            }
        }
        world::with(|kernel| {
            kernel.counts.reloads += 1;
            kernel.counts.reloads_without_restarts += u64::from(keeps_runs);
            let mut ended = ended.into_iter();
            ended.try_for_each(|index| kernel.check_is_signalled(index))
        })
    }

    /// What a plan says follows from what differs.
    fn check_plan(&self, specs: &[ChildSpec], plan: &Plan, keeps_runs: bool) -> Check {
        let kinds: BTreeMap<&str, &PlannedKind> = plan
            .changes()
            .iter()
            .map(|change| (change.program(), change.kind()))
            .collect();
        let wrong = |name: &str| {
            let known = self.setting.specs.iter().rfind(|spec| spec.name() == name);
            let new = specs.iter().find(|spec| spec.name() == name);
            Err(format!(
                "{name}: {:?} for {new:?} after {known:?}",
                kinds.get(name)
            ))
        };
        for spec in specs {
            let kind = kinds.get(spec.name()).copied();
            let index = self.index_of(spec.name());
            let Some(index) = index else {
                let is_added = match spec.autostart {
                    true => kind == Some(&PlannedKind::Add),
                    false => kind == Some(&PlannedKind::AddDown),
                };
                if !is_added {
                    return wrong(spec.name());
                }
                continue;
            };
            if self.is_being_removed(index) {
                if !matches!(kind, Some(PlannedKind::Restart { .. })) {
                    return wrong(spec.name());
                }
                continue;
            }
            let known = &self.setting.specs[index];
            let is_kept = world::with(|kernel| kernel.is_kept(index));
            let is_command = known.command != spec.command || known.outputs != spec.outputs;
            let runs = world::with(|kernel| {
                let is_wanted = kernel.programs[index].wish == Wish::Up;
                is_wanted && kernel.runs_for_all_we_know(index)
            });
            let is_right = match kind {
                None => same(known, spec),
                Some(PlannedKind::RestartWith { required }) => spec.requires.contains(required),
                Some(PlannedKind::Restart { .. }) => {
                    let is_ending = world::with(|kernel| kernel.is_ending(index));
                    let differs = is_command || is_kept || known.oneshot != spec.oneshot;
                    (differs || is_ending) && !keeps_runs
                }
                Some(PlannedKind::ChangeLater { .. }) => keeps_runs,
                Some(PlannedKind::Change { .. }) => {
                    let must_restart = is_command && runs && !is_kept && !keeps_runs;
                    (!same(known, spec) || is_kept) && !must_restart
                }
                Some(PlannedKind::Start { .. } | PlannedKind::StaysStopped { .. }) => {
                    !same(known, spec) || is_kept
                }
                Some(_) => false,
            };
            if !is_right {
                return wrong(spec.name());
            }
        }
        self.check_removals(specs, &kinds)
    }

    /// What is not among them is removed, unless it is already.
    fn check_removals(&self, specs: &[ChildSpec], kinds: &BTreeMap<&str, &PlannedKind>) -> Check {
        for index in self.there() {
            let name = self.setting.specs[index].name();
            let stays = self.is_being_removed(index) || specs.iter().any(|s| s.name() == name);
            if (kinds.get(name) == Some(&&PlannedKind::Remove)) == stays {
                return Err(format!(
                    "{name}: {:?}, removed: {}",
                    kinds.get(name),
                    !stays
                ));
            }
        }
        Ok(())
    }

    fn refusal_of_set(&self, specs: &[ChildSpec]) -> Option<ErrorKind> {
        if self.takes_no_orders() {
            return Some(ErrorKind::Stopping);
        }
        let names: BTreeSet<&str> = specs.iter().map(ChildSpec::name).collect();
        // In any order without a cycle, one after the other is free.
        let mut free: BTreeSet<&str> = BTreeSet::new();
        for _ in specs {
            for spec in specs {
                let mut links = spec.requires.iter().chain(&spec.after);
                if links.all(|link| free.contains(link.as_str())) {
                    free.insert(spec.name());
                }
            }
        }
        (free != names).then_some(ErrorKind::Invalid)
    }

    /// What a refused change, or a dry run, leaves as it is.
    fn whole(&self) -> Whole {
        let programs = self.scheduler.programs();
        let programs = programs.iter().map(|program| {
            let (state, pid) = (program.state(), program.pid());
            (program.name().to_owned(), state, pid)
        });
        let plan = self.scheduler.plan(&self.definitions());
        Whole {
            programs: programs.collect(),
            descriptors: descriptors(),
            plan: plan.map_or_else(
                |error| format!("{:?}", error.kind()),
                |plan| plan.to_string(),
            ),
        }
    }

    fn is_unchanged(&self, before: &Whole) -> Check {
        let after = self.whole();
        let is_asked = world::with(|kernel| kernel.stop_asked.is_some());
        let is_same =
            (&after.programs, after.descriptors) == (&before.programs, before.descriptors);
        // A stop may have come during the call.
        if is_same && (is_asked || after.plan == before.plan) {
            return Ok(());
        }
        Err(format!(
            "a change was refused; before: {before:?}, after: {after:?}"
        ))
    }

    /// In the end there is nothing to change: each definition is the last, and so are the links; and
    /// what runs was started with it.
    pub(super) fn definitions_came_true(&self) -> Check {
        let specs = self.definitions();
        let Ok(plan) = self.scheduler.plan(&specs) else {
            return Ok(());
        };
        for change in plan.changes() {
            let index = world::with(|kernel| kernel.index_of(change.program()));
            let is_kept = world::with(|kernel| kernel.is_kept(index));
            let is_with = matches!(change.kind(), PlannedKind::RestartWith { .. });
            if !is_kept && !is_with {
                return Err(format!("in the end there is something to change:\n{plan}"));
            }
        }
        world::with(|kernel| {
            kernel.check_restarted(&self.restarted)?;
            kernel.check_definitions()
        })
    }
}

/// They differ in nothing that a plan names.
fn same(one: &ChildSpec, other: &ChildSpec) -> bool {
    let links = |spec: &ChildSpec| {
        let requires: BTreeSet<String> = spec.requires.iter().cloned().collect();
        let after: BTreeSet<String> = spec.after.iter().cloned().collect();
        let after: BTreeSet<String> = after.difference(&requires).cloned().collect();
        (requires, after)
    };
    links(one) == links(other)
        && one.command == other.command
        && one.policy() == other.policy()
        && one.report_bytes == other.report_bytes
        && (one.outputs, one.log) == (other.outputs, other.log)
}

/// Nothing waits for what is not there.
fn without_strangers(specs: &mut [ChildSpec]) {
    let names: BTreeSet<String> = specs.iter().map(|spec| spec.name.clone()).collect();
    for spec in specs {
        spec.requires.retain(|name| names.contains(name));
        spec.after.retain(|name| names.contains(name));
    }
}
