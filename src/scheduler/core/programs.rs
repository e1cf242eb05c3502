//! Programs come, change and go: the machine and the table of programs together.

use std::sync::Arc;

use super::super::definitions::{Definitions, seed_for};
use super::super::signs::{Phase, Signs};
use super::Core;
use crate::error::Result;
use crate::event::EventKind;
use crate::exec::Exec;
use crate::machine::definitions::{Edit, Replacement};
use crate::machine::graph::Links;
use crate::machine::{Moment, ProgramId, Run};
use crate::spec::{ChildSpec, LogOptions};

/// How much is kept of what a program writes.
#[derive(Debug, Clone, Copy)]
pub(in super::super) struct Kept {
    report_bytes: usize,
    log: LogOptions,
}

impl Kept {
    pub(in super::super) fn of(spec: &ChildSpec) -> Self {
        Self {
            report_bytes: spec.report_bytes,
            log: spec.log,
        }
    }
}

impl Core {
    /// Adds a program, which has no links yet and is down.
    pub(in super::super) fn add(
        &mut self,
        now: Moment,
        definitions: &Definitions,
        spec: &ChildSpec,
        exec: Exec,
    ) -> Result<ProgramId> {
        let id = definitions.add(now, &mut self.machine, &mut self.programs, spec, exec)?;
        let signs = Signs::of(spec, self.programs[id].exec.base_dir());
        self.watchlist.set(id, signs);
        Ok(id)
    }

    /// Takes back a program that was added just now.
    pub(in super::super) fn take_back(&mut self, id: ProgramId) {
        self.machine.take_back(id);
        self.programs.forget_name(id);
        self.programs.remove(id);
        self.watchlist.remove(id);
    }

    /// Sets what a program that was added just now waits for.
    pub(in super::super) fn link(&mut self, now: Moment, id: ProgramId, links: Links) {
        let linked = self.machine.link(now, vec![(id, links)]);
        debug_assert_eq!(linked, Ok(()), "nothing waits for a program that is new");
        self.carry_out(now);
    }

    /// Replaces the definition of a program. A run with the former one is stopped. If there were a
    /// cycle, its path is returned, and nothing has changed.
    pub(in super::super) fn replace(
        &mut self,
        now: Moment,
        id: ProgramId,
        spec: &ChildSpec,
        links: Links,
        exec: Exec,
    ) -> std::result::Result<(), Vec<ProgramId>> {
        let replacement = Replacement {
            program: id,
            policy: spec.policy(),
            links,
            restart: true,
        };
        let edit = Edit {
            replaces: vec![replacement],
            ..Edit::default()
        };
        self.edit(now, edit)?;
        let signs = Signs::of(spec, exec.base_dir());
        self.redefine(id, exec, Kept::of(spec), signs, false);
        Ok(())
    }

    /// Gives a program a new definition, which holds from its next start on. If its run `goes_on`,
    /// what that was started with is kept, to be compared with later definitions.
    pub(in super::super) fn redefine(
        &mut self,
        id: ProgramId,
        exec: Exec,
        kept: Kept,
        signs: Signs,
        goes_on: bool,
    ) {
        let is_same = self.signs(id).is_some_and(|old| **old == signs);
        if !is_same && self.watchlist.set(id, signs) {
            let generation = self.machine.view(id).map_or(0, |view| view.starts);
            let program = id;
            let run = Run {
                program,
                generation,
            };
            self.watchlist.note(run, Phase::Redefined);
        }
        let is_older = goes_on && !self.running_exec(id).differences(&exec).is_empty();
        let old = self.programs.redefine(id, exec, kept.report_bytes);
        self.programs[id].set_log_options(kept.log);
        if is_older {
            self.outdated.get_or_insert(id, old);
        } else {
            self.outdated.remove(&id);
        }
    }

    /// Returns what the run of a program was started with, or its next one will be.
    pub(in super::super) fn running_exec(&self, id: ProgramId) -> &Exec {
        let older = self.outdated.get(&id);
        older.unwrap_or(&self.programs[id].exec)
    }

    /// True if the run of a program has an older definition than its next one will have.
    pub(in super::super) fn is_outdated(&self, id: ProgramId) -> bool {
        self.outdated.contains_key(&id)
    }

    /// Changes many programs at once. If there were a cycle, its path is returned, and nothing has
    /// changed.
    pub(in super::super) fn edit(
        &mut self,
        now: Moment,
        edit: Edit,
    ) -> std::result::Result<(), Vec<ProgramId>> {
        for replacement in &edit.replaces {
            seed_for(&mut self.machine, &replacement.policy);
        }
        self.machine.edit(now, edit)?;
        self.carry_out(now);
        Ok(())
    }

    /// Says whether programs that change are noted from now on.
    pub(in super::super) fn watch_changes(&mut self, watch: bool) {
        self.machine.watch_changes(watch);
    }

    /// Takes the names of the programs whose state may have changed since the last call.
    pub(in super::super) fn take_changed(&mut self) -> Vec<Arc<str>> {
        let changed = self.machine.take_changed().into_iter();
        let programs = changed.filter_map(|id| self.programs.get(id));
        programs.map(|program| program.name().clone()).collect()
    }

    /// Takes the programs that the machine has forgotten, whose removal is to be reported.
    pub(in super::super) fn take_forgotten(&mut self) -> Vec<ProgramId> {
        std::mem::take(&mut self.forgotten)
    }

    /// Reports that a program was removed: the last event with its name.
    pub(in super::super) fn report_removal(&mut self, id: ProgramId) {
        self.event(id, EventKind::Removed);
        self.removed.push(id);
    }

    /// Forgets the programs whose removal was reported. One stays as long as a process of it is left
    /// that was abandoned, or its last run is not reported. True if one was forgotten.
    pub(in super::super) fn drop_removed(&mut self) -> bool {
        let before = self.removed.len();
        self.removed.retain(|&id| {
            let program = &self.programs[id];
            let is_left = program.live.is_some() || program.exit_record.is_some();
            if !is_left {
                self.programs.remove(id);
                self.outdated.remove(&id);
                self.watchlist.remove(id);
            }
            is_left
        });
        self.removed.len() < before
    }
}
