//! New definitions of all programs at once, and what they allow to happen: what may be signalled,
//! what may start and with which definition, and what has to be gone before.

use std::collections::BTreeMap;

use super::Kernel;
use super::process::Time;
use super::programs::{Program, Removal, Wish};
use super::signs::Signs;
use crate::machine::Cause;
use crate::plan::{Plan, PlannedKind};
use crate::spec::ChildSpec;

/// What a change that is refused takes back.
pub struct Before {
    programs: Vec<Program>,
    was_ordered: Vec<bool>,
    launches: BTreeMap<u64, Option<Time>>,
    ordered: u64,
}

impl Kernel {
    /// Keeps what a change of all definitions may change here.
    pub fn before_reload(&self) -> Before {
        Before {
            programs: self.programs.clone(),
            was_ordered: self.runs.iter().map(|run| run.was_ordered).collect(),
            launches: self.launches_ordered(),
            ordered: self.ordered,
        }
    }

    /// The change was refused.
    pub fn reload_is_refused(&mut self, before: Before) {
        self.programs = before.programs;
        for (run, was_ordered) in self.runs.iter_mut().zip(before.was_ordered) {
            run.was_ordered = was_ordered;
        }
        self.order_launches(before.launches);
        self.ordered = before.ordered;
    }

    /// These are the definitions from now on, and the plan says what they change.
    pub fn is_reloaded(&mut self, specs: &[ChildSpec], plan: &Plan, keeps_runs: bool) {
        self.ordered = self.stamp().serial;
        self.say(format_args!("reload    {plan} {specs:?}"));
        for program in &mut self.programs {
            program.is_touched = true;
        }
        let kinds: Vec<(&str, &PlannedKind)> = plan
            .changes()
            .iter()
            .map(|change| (change.program(), change.kind()))
            .collect();
        self.note_what_is_lost();
        for &(name, kind) in &kinds {
            self.ends_by_reload(name, kind);
        }
        let removed: Vec<usize> = (0..self.programs.len())
            .filter(|&index| self.programs[index].removal == Removal::Asked)
            .collect();
        for &(name, kind) in &kinds {
            let Some(spec) = specs.iter().find(|spec| spec.name() == name) else {
                continue;
            };
            if let PlannedKind::Add | PlannedKind::AddDown = kind {
                let index = self.programs.len();
                self.programs.push(Program::new(spec));
                let program = &mut self.programs[index];
                program.is_touched = true;
                program.gone_before.clone_from(&removed);
            }
        }
        for &(name, kind) in &kinds {
            let Some(spec) = specs.iter().find(|spec| spec.name() == name) else {
                continue;
            };
            let index = self.index_of(name);
            let old = self.programs[index].requires.clone();
            self.is_redefined(index, spec, kind, keeps_runs);
            let is_anew = matches!(
                kind,
                PlannedKind::Add | PlannedKind::Restart { .. } | PlannedKind::Start { .. }
            );
            let program = &self.programs[index];
            let is_new = |other: &usize| is_anew || !old.contains(other);
            let new = program.requires.iter().copied().filter(is_new).collect();
            match program.wish {
                Wish::Down => {}
                // It may have ended for good, and then it requires nothing.
                Wish::Up if is_anew || !program.may_end_for_good() => {
                    self.are_pulled(new, Wish::Up)
                }
                Wish::Up | Wish::Either => self.are_pulled(new, Wish::Either),
            }
        }
        self.note_what_is_lost();
    }

    /// What had lost what it requires, by the definitions of before or those of now, ended for that, or
    /// will, whatever comes.
    fn note_what_is_lost(&mut self) {
        for index in 0..self.programs.len() {
            let program = &self.programs[index];
            let runs = program.runs.iter().map(|&run| self.runs[run].serial);
            let mut serials: Vec<u64> = runs.chain(self.serial_launched(index)).collect();
            serials.retain(|serial| program.lost.iter().all(|(known, _)| known != serial));
            for serial in serials {
                let lost = self.requirement_lost(index, serial);
                let lost = lost.map(|time| (serial, time));
                self.programs[index].lost.extend(lost);
            }
        }
    }

    /// The runs that go on by this plan, and that nothing ends yet.
    pub fn going_on(&self, plan: &Plan) -> Vec<usize> {
        let ends = |name: &str| {
            plan.changes().iter().any(|change| {
                let is_change = matches!(
                    change.kind(),
                    PlannedKind::Change { .. } | PlannedKind::ChangeLater { .. }
                );
                change.program() == name && !is_change
            })
        };
        let goes_on = |index: &usize| {
            let program = &self.programs[*index];
            program.removal == Removal::No && program.wish == Wish::Up && !ends(&program.name)
        };
        let indexes = (0..self.programs.len()).filter(goes_on);
        let runs = indexes.filter_map(|index| {
            let run = *self.programs[index].runs.last()?;
            let serial = self.runs[run].serial;
            let is_free = !self.runs[run].is_signalled
                && self.runs_for_all_we_know(index)
                && self.may_end_since(index, serial).is_none();
            is_free.then_some(run)
        });
        runs.collect()
    }

    /// What was to go on was not asked to end.
    pub fn check_goes_on(&self, runs: &[usize]) -> Result<(), String> {
        let ended = runs.iter().find(|&&run| self.runs[run].is_signalled);
        ended.map_or(Ok(()), |&run| {
            let run = &self.runs[run];
            let name = &self.programs[run.program].name;
            Err(format!(
                "{name} was to go on, and was asked to end: {run:?}"
            ))
        })
    }

    /// The runs that end by this plan.
    pub fn restarted_by(&self, plan: &Plan) -> Vec<usize> {
        let names = plan.changes().iter().filter(|change| {
            matches!(
                change.kind(),
                PlannedKind::Restart { .. } | PlannedKind::RestartWith { .. }
            )
        });
        let indexes = names.map(|change| self.index_of(change.program()));
        let runs = indexes.filter_map(|index| self.programs[index].runs.last().copied());
        runs.collect()
    }

    /// What a change of the definitions ends.
    fn ends_by_reload(&mut self, name: &str, kind: &PlannedKind) {
        if !matches!(kind, PlannedKind::Remove | PlannedKind::Restart { .. }) {
            return;
        }
        let index = self.index_of(name);
        let now = self.stamp();
        let must_say_so = self.runs_for_all_we_know(index);
        if let Some(&run) = self.programs[index].runs.last() {
            self.runs[run].was_ordered |= must_say_so;
        }
        self.order_ends_launch(index);
        let program = &mut self.programs[index];
        program.ends.push((now, Cause::Reload));
        if *kind == PlannedKind::Remove {
            (program.wish, program.removal) = (Wish::Down, Removal::Asked);
        }
    }

    fn is_redefined(
        &mut self,
        index: usize,
        spec: &ChildSpec,
        kind: &PlannedKind,
        keeps_runs: bool,
    ) {
        if matches!(kind, PlannedKind::Add | PlannedKind::AddDown) {
            return self.link(index, spec);
        }
        let was_removed = self.programs[index].removal == Removal::Asked;
        if was_removed {
            self.counts.replaced += 1;
            return self.was_replaced(index, spec);
        }
        let now = self.next_serial();
        let program = &mut self.programs[index];
        program.former.push(program.policy);
        let links = [&program.requires[..], &program.after].concat();
        program.former_links.extend(links);
        program.policy = spec.policy();
        program.report_bytes = spec.report_bytes;
        program.signs = Signs::of(spec);
        program.relinked = now;
        program.has_marks |= spec.log.marks;
        if program.command != spec.command || program.outputs != spec.outputs {
            program.command.clone_from(&spec.command);
            program.outputs = spec.outputs;
            if keeps_runs {
                program.kept = now;
            }
        }
        if let PlannedKind::Start { .. } = kind {
            program.wish = Wish::Up;
        }
        self.link(index, spec);
    }

    /// What is required by something that is wanted anew is wanted too, but for what was stopped by
    /// hand.
    pub fn are_required(&mut self, spec: &ChildSpec) {
        let required = spec.requires.iter().map(|name| self.index_of(name));
        self.are_pulled(required.collect(), Wish::Up);
    }

    fn are_pulled(&mut self, mut wanted: Vec<usize>, wish: Wish) {
        while let Some(index) = wanted.pop() {
            let program = &mut self.programs[index];
            if program.wish == Wish::Down && !program.by_hand && program.removal == Removal::No {
                program.wish = wish;
                wanted.extend(program.requires.iter().copied());
            }
        }
    }

    /// Why this program may not start with this command.
    pub(super) fn problem_with_definition(
        &self,
        index: usize,
        command: &[String],
    ) -> Option<String> {
        let program = &self.programs[index];
        let expected = program.command.iter().map(|word| word.to_string_lossy());
        if !expected.eq(command.iter().map(String::as_str)) {
            return Some(format!(
                "with {command:?}, and {:?} is its command",
                program.command
            ));
        }
        let mut before = program.gone_before.iter();
        let left = before.find_map(|&other| self.is_left_of_removed(other));
        left.map(|pid| format!("beside {pid} of a program that the same change removes"))
    }

    fn is_left_of_removed(&self, index: usize) -> Option<i32> {
        let is_asked = self.programs[index].removal == Removal::Asked;
        self.is_there(index).filter(|_| is_asked)
    }

    /// It runs, or is being launched, by an earlier definition, as a change was to wait for its next
    /// start.
    pub fn is_kept(&self, index: usize) -> bool {
        let program = &self.programs[index];
        let command = self.command_launched(index);
        let command = command.or(self
            .latest_run(index)
            .map(|run| (&run.command, run.outputs)));
        program.kept > program.tried
            && command.is_none_or(|known| known != (&program.command, program.outputs))
    }

    /// What was to be restarted has ended.
    pub fn check_restarted(&self, runs: &[usize]) -> Result<(), String> {
        let lives = |run: &&usize| {
            let run = &self.runs[**run];
            run.exit.is_none() && !self.may_be_given_up(run)
        };
        match runs.iter().find(lives) {
            Some(&run) => Err(format!(
                "it was to be restarted, and goes on: {:?}",
                self.runs[run]
            )),
            None => Ok(()),
        }
    }

    /// Its latest run was asked to end, and ends by whatever definition.
    pub fn is_ending(&self, index: usize) -> bool {
        let run = self.latest_run(index).filter(|run| run.exit.is_none());
        run.is_some_and(|run| self.may_end_since(index, run.serial).is_some())
    }

    /// What runs in the end runs by the last definition, unless that was to wait for its next start.
    pub fn check_definitions(&self) -> Result<(), String> {
        for (index, program) in self.programs.iter().enumerate() {
            let Some(run) = self.latest_run(index) else {
                continue;
            };
            let runs = self.runs_for_all_we_know(index) && program.removal == Removal::No;
            let is_same = run.command == program.command && run.outputs == program.outputs;
            if runs && !self.is_kept(index) && !is_same {
                return Err(format!(
                    "{run:?} runs, and {:?} with {:?} is its command",
                    program.command, program.outputs
                ));
            }
        }
        Ok(())
    }
}
