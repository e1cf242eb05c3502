//! Links that would make a program wait for itself.

use std::collections::{BTreeMap, BTreeSet};

use super::super::interface::ProgramId;
use super::{Graph, Links, pairs};

impl Graph {
    /// Returns the path of a cycle that there would be with these links, from a program back to
    /// itself.
    #[must_use]
    pub fn find_cycle(&self, new: &BTreeMap<ProgramId, Links>) -> Option<Vec<ProgramId>> {
        let none = Links::default();
        let links = |id: ProgramId| new.get(&id).or_else(|| self.links(id)).unwrap_or(&none);
        // What nothing depends on is in no cycle.
        let named: BTreeSet<ProgramId> = new.values().flat_map(pairs).map(|(id, _)| id).collect();
        let may_cycle = |id: &&ProgramId| self.has_dependents(**id) || named.contains(*id);
        let mut known = BTreeSet::new();
        for &start in new.keys().filter(may_cycle) {
            // The path from the start, each with what is left of its links.
            let mut path = Vec::new();
            let mut on_path = BTreeSet::new();
            if known.insert(start) {
                on_path.insert(start);
                path.push((start, pairs(links(start))));
            }
            while let Some((id, rest)) = path.last_mut() {
                let id = *id;
                let Some((next, _)) = rest.next() else {
                    on_path.remove(&id);
                    path.pop();
                    continue;
                };
                if on_path.contains(&next) {
                    let ids = path.iter().map(|(id, _)| *id);
                    let cycle = ids.skip_while(|&id| id != next).chain([next]);
                    return Some(cycle.collect());
                }
                if known.insert(next) {
                    on_path.insert(next);
                    path.push((next, pairs(links(next))));
                }
            }
        }
        None
    }
}
