//! Things by program: found by an id that is never given again, and told in the order in which
//! they were added.
//!
//! As long as nothing was removed, an id is a position, and costs no memory. After that it is
//! searched for; what was removed leaves a gap until gaps outnumber the rest. A look by id is made
//! several times in every turn, and so is compiled into its caller.

use super::interface::ProgramId;

/// The number of gaps that are always kept; in tests few, so that lives with few programs have ids
/// that are no positions.
const GAPS_MIN: usize = if cfg!(test) { 1 } else { 16 };

#[derive(Debug, Clone)]
pub struct IdMap<T> {
    items: Vec<Option<T>>,
    /// The id of each item; empty while the item at position n has id n.
    ids: Vec<ProgramId>,
    live: usize,
    next: u32,
}

impl<T> Default for IdMap<T> {
    fn default() -> Self {
        Self::with_capacity(0)
    }
}

impl<T> IdMap<T> {
    /// Returns a map with memory for this many items.
    #[must_use]
    pub fn with_capacity(items: usize) -> Self {
        Self {
            items: Vec::with_capacity(items),
            ids: Vec::new(),
            live: 0,
            next: 0,
        }
    }

    /// Returns the id that the next item gets, if one is left.
    #[must_use]
    pub fn next_id(&self) -> Option<ProgramId> {
        (self.next < u32::MAX).then_some(ProgramId(self.next))
    }

    /// Adds an item. Returns its id, or `None` if all have been given.
    pub fn push(&mut self, item: T) -> Option<ProgramId> {
        let id = self.next_id()?;
        self.next += 1;
        if !self.ids.is_empty() || self.items.len() != id.0 as usize {
            self.ids.push(id);
        }
        self.items.push(Some(item));
        self.live += 1;
        Some(id)
    }

    /// Removes an item. Its id leads nowhere from now on.
    pub fn remove(&mut self, id: ProgramId) -> Option<T> {
        let position = self.position(id)?;
        let item = self.items[position].take()?;
        self.live -= 1;
        if self.items.len() > 2 * self.live + GAPS_MIN {
            self.close_gaps();
        }
        Some(item)
    }

    #[inline]
    #[must_use]
    pub fn get(&self, id: ProgramId) -> Option<&T> {
        self.items[self.position(id)?].as_ref()
    }

    #[inline]
    #[must_use]
    pub fn get_mut(&mut self, id: ProgramId) -> Option<&mut T> {
        let position = self.position(id)?;
        self.items[position].as_mut()
    }

    /// Returns the number of items.
    #[cfg_attr(test, allow(dead_code))]
    #[must_use]
    pub fn count(&self) -> usize {
        self.live
    }

    /// Returns the number of items that there is memory for.
    #[cfg(test)]
    #[must_use]
    pub fn capacity(&self) -> usize {
        self.items.capacity() + self.ids.capacity()
    }

    /// Returns the item that was added last.
    #[must_use]
    pub fn last(&self) -> Option<&T> {
        self.items.iter().rev().flatten().next()
    }

    pub fn iter(&self) -> impl Iterator<Item = &T> {
        self.items.iter().flatten()
    }

    pub fn iter_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.items.iter_mut().flatten()
    }

    /// Returns the items with their ids.
    pub fn pairs(&self) -> impl Iterator<Item = (ProgramId, &T)> {
        let items = self.items.iter().enumerate();
        items.filter_map(|(at, item)| Some((self.id_at(at), item.as_ref()?)))
    }

    /// Returns the first id at or after this one.
    #[must_use]
    pub fn first_from(&self, id: ProgramId) -> Option<ProgramId> {
        let start = self.position_from(id);
        let found = self.items[start..].iter().position(Option::is_some)?;
        Some(self.id_at(start + found))
    }

    fn id_at(&self, position: usize) -> ProgramId {
        let id = self.ids.get(position).copied();
        id.unwrap_or(ProgramId(position as u32))
    }

    #[inline]
    fn position(&self, id: ProgramId) -> Option<usize> {
        if self.ids.is_empty() {
            return ((id.0 as usize) < self.items.len()).then_some(id.0 as usize);
        }
        self.ids.binary_search(&id).ok()
    }

    fn position_from(&self, id: ProgramId) -> usize {
        if self.ids.is_empty() {
            return self.items.len().min(id.0 as usize);
        }
        self.ids.partition_point(|&at| at < id)
    }

    fn close_gaps(&mut self) {
        let live = (0..self.items.len()).filter(|&at| self.items[at].is_some());
        self.ids = live.map(|at| self.id_at(at)).collect();
        self.items.retain(Option::is_some);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Beside a map of std, with ids that are removed in every order.
    #[test]
    fn it_answers_as_a_map_of_std_does_and_stays_small() {
        use std::collections::BTreeMap;
        let mut map = IdMap::default();
        let mut model = BTreeMap::new();
        let mut chance = 7_u64;
        for round in 0..20_000_u64 {
            chance = chance
                .wrapping_mul(6_364_136_223_846_793_005)
                .wrapping_add(1);
            let is_growing = (round / 1_000) % 2 == 0;
            if (chance >> 33) % 4 < if is_growing { 3 } else { 1 } {
                let id = map.push(round).expect("an id is left");
                assert!(model.insert(id, round).is_none(), "{id:?} is new");
            } else if let Some(&id) = model
                .keys()
                .nth((chance >> 40) as usize % model.len().max(1))
            {
                assert_eq!(map.remove(id), model.remove(&id));
                assert_eq!([map.remove(id), map.get(id).copied()], [None, None]);
                assert_eq!(map.get_mut(id), None);
            }
            assert_eq!(map.live, model.len());
            assert!(map.items.len() <= 2 * model.len() + GAPS_MIN + 1);
            if round % 97 == 0 {
                assert!(map.iter().eq(model.values()));
                let ids = std::iter::successors(map.first_from(ProgramId(0)), |id| {
                    map.first_from(ProgramId(id.0 + 1))
                });
                assert!(ids.eq(model.keys().copied()));
                assert!(model.iter().all(|(&id, item)| map.get(id) == Some(item)));
            }
        }
    }

    #[test]
    fn a_map_that_has_given_all_ids_takes_no_more() {
        let mut map = IdMap {
            next: u32::MAX - 1,
            ..IdMap::default()
        };
        assert_eq!(map.push("last"), Some(ProgramId(u32::MAX - 1)));
        assert_eq!(map.push("one too many"), None);
        assert_eq!(map.get(ProgramId(u32::MAX - 1)), Some(&"last"));
    }
}
