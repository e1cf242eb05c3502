//! Programs that have changed, each once, in the order of their first change. All may change in one
//! turn, and are handed out in the turns that follow.

use std::collections::{BTreeSet, VecDeque};
use std::sync::Arc;

#[derive(Debug, Default)]
pub struct Changed {
    names: VecDeque<Arc<str>>,
    known: BTreeSet<Arc<str>>,
}

impl Changed {
    pub fn is_empty(&self) -> bool {
        self.names.is_empty()
    }

    pub fn add(&mut self, names: &[Arc<str>]) {
        for name in names {
            if self.known.insert(name.clone()) {
                self.names.push_back(name.clone());
            }
        }
    }

    /// Takes this many of them at most.
    pub fn take(&mut self, most: usize) -> Vec<Arc<str>> {
        let count = most.min(self.names.len());
        let taken: Vec<Arc<str>> = self.names.drain(..count).collect();
        for name in &taken {
            self.known.remove(name);
        }
        taken
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_is_handed_out_once_and_again_when_it_has_changed_since() {
        let names = ["a", "b", "c"].map(Arc::from);
        let mut changed = Changed::default();
        changed.add(&names);
        changed.add(&names[..1]);
        assert_eq!(changed.take(2), names[..2]);
        changed.add(&names[..1]);
        assert!(!changed.is_empty());
        assert_eq!(
            changed.take(usize::MAX),
            [names[2].clone(), names[0].clone()]
        );
        assert!(changed.is_empty());
    }
}
