//! All programs: by id, in the order in which they were added, and by name.
//!
//! A program that was removed is found by its id until what is left of it has been dealt with, and
//! by its name no more. A look by id is made some 40 times a start, and so is compiled into its
//! caller.

use std::ops::{Index, IndexMut};

use crate::machine::{IdMap, ProgramId};

use crate::exec::Exec;

use super::{LiveRun, Program};

#[derive(Default)]
pub(crate) struct ProgramTable {
    programs: IdMap<Program>,
    /// Sorted by name.
    by_name: Vec<ProgramId>,
    /// The number of descriptors that the output of those with a name needs.
    output_descriptors: usize,
}

impl ProgramTable {
    pub(crate) fn with_capacity(programs: usize) -> Self {
        Self {
            programs: IdMap::with_capacity(programs),
            by_name: Vec::with_capacity(programs),
            output_descriptors: 0,
        }
    }

    /// Adds a program, whose id the machine has given just now.
    pub(crate) fn push(&mut self, program: Program) {
        let place = self.place(program.name().as_bytes());
        self.output_descriptors += program.exec.outputs().descriptors();
        self.by_name
            .insert(place.unwrap_or_else(|at| at), program.id);
        let (given, id) = (program.id, self.programs.push(program));
        debug_assert_eq!(id, Some(given), "ids are given in one order");
    }

    /// Forgets a program's name, which another may have from now on.
    pub(crate) fn forget_name(&mut self, id: ProgramId) {
        self.by_name.retain(|&known| known != id);
        self.output_descriptors -= self[id].exec.outputs().descriptors();
    }

    /// Gives a program a new definition, which holds from the next start on, and returns the old one.
    pub(crate) fn redefine(&mut self, id: ProgramId, exec: Exec, report_bytes: usize) -> Exec {
        self.output_descriptors += exec.outputs().descriptors();
        let old = self[id].redefine(exec, report_bytes);
        self.output_descriptors -= old.outputs().descriptors();
        old
    }

    /// Returns the number of descriptors that the output of those with a name needs.
    pub(crate) fn output_descriptors(&self) -> usize {
        self.output_descriptors
    }

    /// Removes a program that has no name any more.
    pub(crate) fn remove(&mut self, id: ProgramId) -> Option<Program> {
        self.programs.remove(id)
    }

    /// Returns the number of programs with a name.
    pub(crate) fn len(&self) -> usize {
        self.by_name.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.by_name.is_empty()
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Program> {
        self.programs.iter_mut()
    }

    /// Returns the names, sorted.
    pub(crate) fn names(&self) -> impl Iterator<Item = &str> {
        self.by_name.iter().map(|&id| &**self[id].name())
    }

    #[inline]
    pub(crate) fn get(&self, id: ProgramId) -> Option<&Program> {
        self.programs.get(id)
    }

    #[inline]
    pub(crate) fn get_mut(&mut self, id: ProgramId) -> Option<&mut Program> {
        self.programs.get_mut(id)
    }

    /// Returns the current run of a program, if it was not removed.
    #[inline]
    pub(crate) fn live(&self, id: ProgramId) -> Option<&LiveRun> {
        self.get(id)?.live.as_ref()
    }

    /// Returns the ids, of those too that have no name any more.
    pub(crate) fn ids(&self) -> Vec<ProgramId> {
        self.iter().map(|program| program.id).collect()
    }

    /// Returns the first id after this one, and the first of all after the last.
    pub(crate) fn next_in_turn(&self, id: ProgramId) -> Option<ProgramId> {
        let after = ProgramId(id.0.saturating_add(1));
        let next = self.programs.first_from(after);
        next.or_else(|| self.programs.first_from(ProgramId(0)))
    }

    /// Returns the program of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<ProgramId> {
        self.place(name).ok().map(|place| self.by_name[place])
    }

    /// Returns where a name is among the sorted ones, or where it would be.
    fn place(&self, name: &[u8]) -> Result<usize, usize> {
        let name_of = |id: &ProgramId| self[*id].name().as_bytes();
        self.by_name.binary_search_by(|id| name_of(id).cmp(name))
    }
}

impl Index<ProgramId> for ProgramTable {
    type Output = Program;

    #[inline]
    fn index(&self, id: ProgramId) -> &Program {
        self.programs
            .get(id)
            .expect("a program that was not removed")
    }
}

impl IndexMut<ProgramId> for ProgramTable {
    #[inline]
    fn index_mut(&mut self, id: ProgramId) -> &mut Program {
        let found = self.programs.get_mut(id);
        found.expect("a program that was not removed")
    }
}
