//! Counts anew what is counted step by step, and tells graphs apart, for tests.

use std::hash::{Hash, Hasher};

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
        if self.waits.waiting().count() != self.waits.awaited() {
            return Err("not all that wait for an end are known".to_owned());
        }
        Ok(())
    }
}

/// The numbers of waits decide nothing.
impl Hash for Graph {
    fn hash<H: Hasher>(&self, hasher: &mut H) {
        (&self.nodes, &self.dirty, &self.arming).hash(hasher);
        self.waits.waiting().for_each(|wait| wait.hash(hasher));
    }
}
