//! What only some programs have, by their ids: a sorted list.
//!
//! It has the methods of a `BTreeMap`, of which each kind of value adds five kilobytes to a binary,
//! and this a few hundred bytes. Ids are given in ascending order, so that most are added at the
//! end; to add one elsewhere moves those behind it, which takes less than a system call for ten
//! thousand.

use crate::machine::ProgramId;

#[derive(Debug)]
pub(crate) struct Sparse<T>(Vec<(ProgramId, T)>);

impl<T> Default for Sparse<T> {
    fn default() -> Self {
        Self(Vec::new())
    }
}

impl<T> Sparse<T> {
    pub(crate) fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    pub(crate) fn contains_key(&self, id: &ProgramId) -> bool {
        self.place(id).is_ok()
    }

    pub(crate) fn get(&self, id: &ProgramId) -> Option<&T> {
        self.place(id).ok().map(|place| &self.0[place].1)
    }

    pub(crate) fn get_mut(&mut self, id: &ProgramId) -> Option<&mut T> {
        self.place(id).ok().map(|place| &mut self.0[place].1)
    }

    /// Adds a value. Returns the one that it replaces.
    pub(crate) fn insert(&mut self, id: ProgramId, value: T) -> Option<T> {
        match self.place(&id) {
            Ok(place) => Some(std::mem::replace(&mut self.0[place].1, value)),
            Err(place) => {
                self.0.insert(place, (id, value));
                None
            }
        }
    }

    /// Returns the value of a program, which is this one if it has none yet.
    pub(crate) fn get_or_insert(&mut self, id: ProgramId, value: T) -> &mut T {
        let place = self.place(&id).unwrap_or_else(|place| {
            self.0.insert(place, (id, value));
            place
        });
        &mut self.0[place].1
    }

    pub(crate) fn remove(&mut self, id: &ProgramId) -> Option<T> {
        let place = self.place(id).ok()?;
        Some(self.0.remove(place).1)
    }

    pub(crate) fn retain(&mut self, mut stays: impl FnMut(&ProgramId, &mut T) -> bool) {
        self.0.retain_mut(|(id, value)| stays(id, value));
    }

    /// Returns the values with their ids, in the order of these.
    pub(crate) fn iter(&self) -> impl Iterator<Item = (&ProgramId, &T)> {
        self.0.iter().map(|(id, value)| (id, value))
    }

    pub(crate) fn first_key(&self) -> Option<ProgramId> {
        self.0.first().map(|(id, _)| *id)
    }

    pub(crate) fn values(&self) -> impl Iterator<Item = &T> {
        self.0.iter().map(|(_, value)| value)
    }

    pub(crate) fn values_mut(&mut self) -> impl Iterator<Item = &mut T> {
        self.0.iter_mut().map(|(_, value)| value)
    }

    pub(crate) fn into_values(self) -> impl Iterator<Item = T> {
        self.0.into_iter().map(|(_, value)| value)
    }

    /// Returns the place of an id, or where it would be.
    fn place(&self, id: &ProgramId) -> Result<usize, usize> {
        self.0.binary_search_by_key(id, |(id, _)| *id)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::collections::BTreeMap;

    #[test]
    fn it_is_a_map() {
        let (mut sparse, mut model) = (Sparse::default(), BTreeMap::new());
        let mut random = 1_u32;
        for step in 0..2_000 {
            random = random.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let id = ProgramId(random >> 16 & 31);
            match random >> 28 {
                0..6 => assert_eq!(sparse.insert(id, step), model.insert(id, step)),
                6..11 => assert_eq!(sparse.remove(&id), model.remove(&id)),
                11..13 => {
                    let own = sparse.get_or_insert(id, step);
                    let other = model.entry(id).or_insert(step);
                    assert_eq!(own, other);
                    *own += 1;
                    *other += 1;
                }
                13 => {
                    sparse.retain(|id, value| (id.0 + *value) % 3 > 0);
                    model.retain(|id, value| (id.0 + *value) % 3 > 0);
                }
                _ => {
                    assert_eq!(sparse.get_mut(&id), model.get_mut(&id));
                    sparse.values_mut().for_each(|value| *value += 1);
                    model.values_mut().for_each(|value| *value += 1);
                }
            }
            assert_eq!(sparse.get(&id), model.get(&id));
            assert_eq!(sparse.contains_key(&id), model.contains_key(&id));
            assert_eq!(sparse.is_empty(), model.is_empty());
            assert_eq!(sparse.first_key(), model.keys().next().copied());
            assert!(sparse.iter().eq(&model) && sparse.values().eq(model.values()));
        }
        assert!(!model.is_empty());
        assert!(sparse.into_values().eq(model.into_values()));
    }
}
