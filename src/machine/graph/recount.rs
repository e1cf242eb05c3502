//! Counts anew what is counted step by step, and tells graphs apart, for tests.

use std::hash::{Hash, Hasher};

use super::super::interface::ProgramId;
use super::{Counts, Graph, count, pairs};

impl Graph {
    /// Counts anew what each program learned of others, and compares.
    pub fn recount(&self) -> Result<(), String> {
        for (id, node) in &self.nodes {
            let mut counts = Counts::default();
            for (other, requires) in pairs(&node.links) {
                let told = self.nodes.get(&other).ok_or("a link leads nowhere")?;
                let mut dependents = told.dependents.iter();
                let dependent = dependents
                    .find(|dependent| dependent.program == *id && dependent.requires == requires)
                    .ok_or("a link is known at one end only")?;
                count(&mut counts, dependent, told.told, true);
            }
            if counts != node.counts {
                return Err(format!("{id:?} has {:?}, of {counts:?}", node.counts));
            }
        }
        let known: usize = self.waits.values().map(|&(_, count)| count).sum();
        if self.waiting().count() != known {
            return Err("not all that wait for an end are known".to_owned());
        }
        Ok(())
    }

    /// Returns the programs that wait, each with one that it waits for.
    fn waiting(&self) -> impl Iterator<Item = (ProgramId, ProgramId)> {
        let all = self.blocks.iter();
        let all = all.flat_map(|(&ending, waiting)| waiting.iter().map(move |one| (ending, one)));
        let is_current = |id: &ProgramId, number: u64| {
            let wait = self.waits.get(id);
            wait.is_some_and(|&(current, _)| current == number)
        };
        let current = all.filter(move |(_, (id, number))| is_current(id, *number));
        current.map(|(ending, &(id, _))| (id, ending))
    }
}

/// The numbers of waits decide nothing.
impl Hash for Graph {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.nodes, &self.dirty, &self.arming).hash(hasher);
        self.waiting().for_each(|wait| wait.hash(hasher));
    }
}
