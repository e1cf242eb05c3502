//! All programs: by id, in the order in which they were added, and by name.

use std::ops::{Index, IndexMut};

use crate::machine::ProgramId;

use super::Program;

#[derive(Default)]
pub(crate) struct ProgramTable {
    /// Indexed by id.
    programs: Vec<Program>,
    /// Sorted by name.
    by_name: Vec<ProgramId>,
}

impl ProgramTable {
    /// Returns a table of these programs, whose ids count from 0 in this order.
    pub(crate) fn new(programs: Vec<Program>) -> Self {
        let mut by_name: Vec<ProgramId> = programs.iter().map(|program| program.id).collect();
        by_name.sort_unstable_by_key(|id| programs[id.0 as usize].name());
        Self { programs, by_name }
    }

    pub(crate) fn len(&self) -> usize {
        self.programs.len()
    }

    pub(crate) fn is_empty(&self) -> bool {
        self.programs.is_empty()
    }

    pub(crate) fn ids(&self) -> impl Iterator<Item = ProgramId> + use<> {
        (0..self.programs.len() as u32).map(ProgramId)
    }

    pub(crate) fn iter(&self) -> impl Iterator<Item = &Program> {
        self.programs.iter()
    }

    pub(crate) fn iter_mut(&mut self) -> impl Iterator<Item = &mut Program> {
        self.programs.iter_mut()
    }

    /// Returns the program of this name.
    pub(crate) fn find(&self, name: &[u8]) -> Option<ProgramId> {
        let name_of = |id: &ProgramId| self[*id].name().as_bytes();
        let found = self.by_name.binary_search_by(|id| name_of(id).cmp(name));
        found.ok().map(|place| self.by_name[place])
    }
}

impl Index<ProgramId> for ProgramTable {
    type Output = Program;

    fn index(&self, id: ProgramId) -> &Program {
        &self.programs[id.0 as usize]
    }
}

impl IndexMut<ProgramId> for ProgramTable {
    fn index_mut(&mut self, id: ProgramId) -> &mut Program {
        &mut self.programs[id.0 as usize]
    }
}
