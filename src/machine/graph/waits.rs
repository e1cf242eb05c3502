//! Which programs wait before they stop, until others that depend on them have ended.

use std::collections::BTreeMap;

use super::super::interface::ProgramId;

#[derive(Debug, Clone, Default)]
pub(super) struct Waits {
    /// For each program that is ending, those that wait for its end, each with the number of its
    /// wait. One that has stopped waiting may still be listed.
    blocks: BTreeMap<ProgramId, Vec<(ProgramId, u64)>>,
    /// For each program that is to stop, the number of its wait, and of those that it waits for.
    counts: BTreeMap<ProgramId, (u64, usize)>,
    next_number: u64,
}

impl Waits {
    /// Lets a program wait for the end of these.
    pub(super) fn begin(&mut self, id: ProgramId, ending: &[ProgramId]) {
        self.next_number += 1;
        self.counts.insert(id, (self.next_number, ending.len()));
        for &other in ending {
            let waiting = self.blocks.entry(other).or_default();
            waiting.push((id, self.next_number));
        }
    }

    /// True if a program waits for others.
    pub(super) fn is_waiting(&self, id: ProgramId) -> bool {
        self.counts.contains_key(&id)
    }

    /// True if another program may wait for this one.
    pub(super) fn may_block(&self, id: ProgramId) -> bool {
        self.blocks.contains_key(&id)
    }

    /// A program does not wait any more.
    pub(super) fn stop(&mut self, id: ProgramId) {
        self.counts.remove(&id);
    }

    /// Ends every wait.
    pub(super) fn stop_all(&mut self) {
        self.counts.clear();
        self.blocks.clear();
    }

    /// A program has ended. Returns those that waited for nothing else.
    pub(super) fn release(&mut self, id: ProgramId) -> Vec<ProgramId> {
        let mut free = Vec::new();
        for (waiting, number) in self.blocks.remove(&id).unwrap_or_default() {
            let wait = self.counts.get_mut(&waiting);
            if let Some((_, count)) = wait.filter(|(current, _)| *current == number) {
                *count -= 1;
                if *count == 0 {
                    self.counts.remove(&waiting);
                    free.push(waiting);
                }
            }
        }
        free
    }

    /// Returns the number of ends that are waited for.
    #[cfg(test)]
    #[allow(dead_code)] // For tests/orders.rs.
    pub(super) fn awaited(&self) -> usize {
        self.counts.values().map(|&(_, count)| count).sum()
    }

    /// Returns the programs that wait, each with one that it waits for.
    #[cfg(test)]
    #[allow(dead_code)] // For tests/orders.rs.
    pub(super) fn waiting(&self) -> impl Iterator<Item = (ProgramId, ProgramId)> {
        let all = self.blocks.iter();
        let all = all.flat_map(|(&ending, waiting)| waiting.iter().map(move |one| (ending, one)));
        let is_current = |id: &ProgramId, number: u64| {
            let wait = self.counts.get(id);
            wait.is_some_and(|&(current, _)| current == number)
        };
        let current = all.filter(move |(_, (id, number))| is_current(id, *number));
        current.map(|(ending, &(id, _))| (id, ending))
    }
}
