//! Which programs start after others, which require others, and what each one's neighbours know
//! of it.
//!
//! Only programs with an edge are here. Each tells its neighbours three facts about itself; what
//! they need is counted at the receiver, so that a change costs a look at each neighbour and
//! a decision costs none. A program whose counts or state changed is dirty, and the machine takes
//! the dirty ones one by one: there is no recursion, and an order of a thousand programs takes a
//! thousand steps.

mod cycle;
mod waits;

use std::collections::{BTreeMap, BTreeSet, VecDeque};

use super::interface::ProgramId;
use waits::Waits;

/// The programs that a program waits for at each start, each of them once.
#[cfg_attr(test, derive(Hash))]
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Links {
    requires: Vec<ProgramId>,
    after: Vec<ProgramId>,
}

impl Links {
    /// Returns links to programs that are up while it runs, and to programs that are up at its
    /// start, or have failed to come up.
    #[must_use]
    pub fn new(requires: &[ProgramId], after: &[ProgramId]) -> Self {
        let mut seen = BTreeSet::new();
        let mut once = |ids: &[ProgramId]| {
            let ids = ids.iter().copied();
            ids.filter(|&id| seen.insert(id)).collect()
        };
        let requires = once(requires);
        let after = once(after);
        Self { requires, after }
    }

    #[must_use]
    pub fn after(&self) -> &[ProgramId] {
        &self.after
    }

    #[must_use]
    pub fn requires(&self) -> &[ProgramId] {
        &self.requires
    }
}

/// Whether a program is up, or when it may be.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Standing {
    Up,
    /// It is on its way.
    Coming,
    /// Its start has failed and is repeated later, or waits for one that has.
    Retrying,
    /// It does not come up without another command.
    Never,
}

/// What a program tells its neighbours.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Facts {
    pub standing: Standing,
    /// Its group is being ended.
    pub ending: bool,
    /// What requires it may not run.
    pub downs: bool,
}

impl Facts {
    /// Those of a program that does not exist.
    pub const NONE: Self = Self {
        standing: Standing::Never,
        ending: false,
        downs: true,
    };
}

/// How many of the programs that one requires, or starts after, are in each standing.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default)]
pub struct Counts {
    pub never: u32,
    pub retrying: u32,
    pub coming: u32,
    /// Of those that it starts after.
    pub after_coming: u32,
    /// Of those that it requires: it may not run.
    pub downs: u32,
}

impl Counts {
    /// True if something that it requires is not up.
    #[must_use]
    pub fn is_short(self) -> bool {
        self.never + self.retrying + self.coming > 0
    }

    fn count(&mut self, standing: Standing) -> Option<&mut u32> {
        match standing {
            Standing::Up => None,
            Standing::Coming => Some(&mut self.coming),
            Standing::Retrying => Some(&mut self.retrying),
            Standing::Never => Some(&mut self.never),
        }
    }
}

#[cfg_attr(test, derive(Hash))]
#[derive(Debug, Clone)]
struct Node {
    links: Links,
    dependents: Vec<Dependent>,
    told: Facts,
    counts: Counts,
    is_dirty: bool,
}

impl Node {
    fn new(told: Facts) -> Self {
        Self {
            links: Links::default(),
            dependents: Vec::new(),
            told,
            counts: Counts::default(),
            is_dirty: false,
        }
    }
}

#[cfg_attr(test, derive(Hash))]
#[derive(Debug, Clone, Copy)]
struct Dependent {
    program: ProgramId,
    requires: bool,
    /// False while the dependent runs on although what it requires does not, as that was so when
    /// the edge was made, or has become so by new definitions.
    is_armed: bool,
}

#[derive(Debug, Clone, Default)]
pub struct Graph {
    nodes: BTreeMap<ProgramId, Node>,
    dirty: VecDeque<ProgramId>,
    /// Programs that were not down when they told last.
    arming: BTreeSet<ProgramId>,
    waits: Waits,
}

impl Graph {
    /// Replaces the links of these programs, which make no cycle. `facts` are those of a program
    /// without an edge.
    pub fn link(&mut self, links: BTreeMap<ProgramId, Links>, facts: impl Fn(ProgramId) -> Facts) {
        let mut concerned: BTreeSet<ProgramId> = links.keys().copied().collect();
        let mut armed = BTreeMap::new();
        for (&id, new) in &links {
            let old = self.links(id).into_iter().flat_map(pairs);
            concerned.extend(old.chain(pairs(new)).map(|(other, _)| other));
            armed.insert(id, self.unlink(id));
        }
        for &id in &concerned {
            self.nodes.entry(id).or_insert_with(|| Node::new(facts(id)));
        }
        for (id, links) in links {
            self.arming.extend(&links.requires);
            self.set_links(id, links, &armed[&id]);
        }
        for id in concerned {
            self.drop_if_bare(id);
        }
    }

    /// Forgets a program, with every edge from and to it. Returns the programs that had waited for
    /// its end and wait for nothing any more.
    pub fn remove(&mut self, id: ProgramId) -> Vec<ProgramId> {
        let Some(node) = self.nodes.get(&id) else {
            return Vec::new();
        };
        let mut bare: Vec<ProgramId> = pairs(&node.links).map(|(other, _)| other).collect();
        for dependent in node.dependents.clone() {
            let mut links = self.links(dependent.program).cloned().unwrap_or_default();
            links.requires.retain(|&other| other != id);
            links.after.retain(|&other| other != id);
            let armed = self.unlink(dependent.program);
            self.set_links(dependent.program, links, &armed);
            bare.push(dependent.program);
        }
        self.unlink(id);
        bare.push(id);
        for id in bare {
            self.drop_if_bare(id);
        }
        self.waits.stop(id);
        self.waits.release(id)
    }

    #[must_use]
    pub fn links(&self, id: ProgramId) -> Option<&Links> {
        self.nodes.get(&id).map(|node| &node.links)
    }

    #[must_use]
    pub fn counts(&self, id: ProgramId) -> Counts {
        self.nodes
            .get(&id)
            .map(|node| node.counts)
            .unwrap_or_default()
    }

    /// Returns what a program told last.
    #[must_use]
    pub fn told(&self, id: ProgramId) -> Option<Facts> {
        self.nodes.get(&id).map(|node| node.told)
    }

    /// True if another program requires this one, or starts after it.
    #[must_use]
    pub fn has_dependents(&self, id: ProgramId) -> bool {
        let node = self.nodes.get(&id);
        node.is_some_and(|node| !node.dependents.is_empty())
    }

    /// Returns the programs that others require, or start after.
    pub fn with_dependents(&self) -> impl Iterator<Item = ProgramId> {
        let nodes = self.nodes.iter();
        let nodes = nodes.filter(|(_, node)| !node.dependents.is_empty());
        nodes.map(|(&id, _)| id)
    }

    /// Returns the programs that require this one, or start after it.
    pub fn dependents(&self, id: ProgramId) -> impl Iterator<Item = ProgramId> {
        let dependents = self.nodes.get(&id).map(|node| node.dependents.iter());
        let dependents = dependents.into_iter().flatten();
        dependents.map(|dependent| dependent.program)
    }

    /// Marks a program whose state has changed, unless no other is concerned: then it is false.
    pub fn touch(&mut self, id: ProgramId) -> bool {
        let is_new = match self.nodes.get_mut(&id) {
            Some(node) => !std::mem::replace(&mut node.is_dirty, true),
            None if self.waits.may_block(id) => true,
            None => return false,
        };
        if is_new {
            self.dirty.push_back(id);
        }
        true
    }

    /// True if no program is marked, and what requires one knows whether it may run without it.
    #[must_use]
    pub fn is_calm(&self) -> bool {
        self.dirty.is_empty() && self.arming.is_empty()
    }

    /// Takes a program whose state or counts have changed.
    pub fn pop_dirty(&mut self) -> Option<ProgramId> {
        let id = self.dirty.pop_front()?;
        if let Some(node) = self.nodes.get_mut(&id) {
            node.is_dirty = false;
        }
        Some(id)
    }

    /// Tells the neighbours of a program what is so. Returns the programs that had waited for its
    /// end and wait for nothing any more.
    pub fn tell(&mut self, id: ProgramId, facts: Facts) -> Vec<ProgramId> {
        if let Some(node) = self.nodes.get_mut(&id)
            && node.told != facts
        {
            let told = std::mem::replace(&mut node.told, facts);
            if !facts.downs {
                self.arming.insert(id);
            }
            let mut dependents = std::mem::take(&mut node.dependents);
            for dependent in &mut dependents {
                self.tell_dependent(dependent, told, facts);
            }
            if let Some(node) = self.nodes.get_mut(&id) {
                node.dependents = dependents;
            }
        }
        if facts.ending {
            return Vec::new();
        }
        self.waits.release(id)
    }

    fn tell_dependent(&mut self, dependent: &mut Dependent, told: Facts, facts: Facts) {
        let Some(node) = self.nodes.get_mut(&dependent.program) else {
            return;
        };
        count(&mut node.counts, dependent, told, false);
        count(&mut node.counts, dependent, facts, true);
        self.touch(dependent.program);
    }

    /// When all have told how they are: what requires one that is not down may not run without it
    /// from now on.
    pub fn arm(&mut self) {
        while let Some(id) = self.arming.pop_first() {
            if let Some(node) = self.nodes.get_mut(&id)
                && !node.told.downs
            {
                for dependent in &mut node.dependents {
                    dependent.is_armed = true;
                }
            }
        }
    }

    /// Lets what requires a program run on without it until all have told how they are, unless it
    /// is down already.
    pub fn disarm(&mut self, id: ProgramId) {
        if let Some(node) = self.nodes.get_mut(&id)
            && !node.told.downs
        {
            for dependent in &mut node.dependents {
                dependent.is_armed = false;
            }
            self.arming.insert(id);
        }
    }

    /// A program is to stop. True if it has to wait for programs that depend on it and are ending:
    /// [`Graph::tell`] returns it when they have.
    pub fn drain(&mut self, id: ProgramId) -> bool {
        let Some(node) = self.nodes.get(&id) else {
            return false;
        };
        let ending = |dependent: &&Dependent| {
            let node = self.nodes.get(&dependent.program);
            node.is_some_and(|node| node.told.ending)
        };
        let ending = node.dependents.iter().filter(ending);
        let ending: Vec<ProgramId> = ending.map(|dependent| dependent.program).collect();
        if ending.is_empty() {
            return false;
        }
        self.waits.begin(id, &ending);
        true
    }

    /// True if a program waits for others before it stops.
    #[must_use]
    pub fn is_waiting(&self, id: ProgramId) -> bool {
        self.waits.is_waiting(id)
    }

    /// A program does not wait for others any more.
    pub fn stop_waiting(&mut self, id: ProgramId) {
        self.waits.stop(id);
    }

    /// Ends every wait: all that drain look anew at what depends on them. Never one of them alone,
    /// which could begin to wait for a program that waits for it by former links.
    pub fn stop_all_waits(&mut self) {
        self.waits.stop_all();
    }

    /// Returns the program that keeps this one from its start, and whether it is required. What
    /// keeps it longest comes first.
    #[must_use]
    pub fn blame(&self, id: ProgramId, has_passed: bool) -> Option<(ProgramId, bool)> {
        let node = self.nodes.get(&id)?;
        let standing = |other: &ProgramId| self.told(*other).map(|facts| facts.standing);
        for wanted in [Standing::Never, Standing::Retrying, Standing::Coming] {
            let mut requires = node.links.requires.iter();
            if let Some(&other) = requires.find(|other| standing(other) == Some(wanted)) {
                return Some((other, true));
            }
        }
        let mut after = node.links.after.iter().filter(|_| !has_passed);
        let found = after.find(|other| standing(other) == Some(Standing::Coming));
        found.map(|&other| (other, false))
    }

    fn set_links(&mut self, id: ProgramId, links: Links, armed: &[ProgramId]) {
        for (other, requires) in pairs(&links) {
            let Some(node) = self.nodes.get_mut(&other) else {
                continue;
            };
            let told = node.told;
            let dependent = Dependent {
                program: id,
                requires,
                is_armed: armed.contains(&other),
            };
            node.dependents.push(dependent);
            if let Some(node) = self.nodes.get_mut(&id) {
                count(&mut node.counts, &dependent, told, true);
            }
        }
        if let Some(node) = self.nodes.get_mut(&id) {
            node.links = links;
        }
        self.touch(id);
    }

    /// Removes the edges from a program to others. Returns those that it may not run without.
    fn unlink(&mut self, id: ProgramId) -> Vec<ProgramId> {
        let mut armed = Vec::new();
        let Some(node) = self.nodes.get_mut(&id) else {
            return armed;
        };
        node.counts = Counts::default();
        let links = std::mem::take(&mut node.links);
        for (other, _) in pairs(&links) {
            let Some(node) = self.nodes.get_mut(&other) else {
                continue;
            };
            let is_armed = |dependent: &Dependent| {
                dependent.program == id && dependent.requires && dependent.is_armed
            };
            if node.dependents.iter().any(is_armed) {
                armed.push(other);
            }
            node.dependents.retain(|dependent| dependent.program != id);
        }
        armed
    }

    fn drop_if_bare(&mut self, id: ProgramId) {
        let is_bare = |node: &Node| node.dependents.is_empty() && node.links == Links::default();
        if self.nodes.get(&id).is_some_and(is_bare) {
            self.nodes.remove(&id);
        }
    }
}

/// Adds what a program tells to the counts of one that depends on it, or takes it off.
fn count(counts: &mut Counts, dependent: &Dependent, facts: Facts, add: bool) {
    let apply = |count: &mut u32| {
        if add {
            *count += 1;
        } else {
            *count -= 1;
        }
    };
    if !dependent.requires {
        if facts.standing == Standing::Coming {
            apply(&mut counts.after_coming);
        }
        return;
    }
    if let Some(count) = counts.count(facts.standing) {
        apply(count);
    }
    if facts.downs && dependent.is_armed {
        apply(&mut counts.downs);
    }
}

/// Returns each program in these links, and whether it is required.
fn pairs(links: &Links) -> impl Iterator<Item = (ProgramId, bool)> + use<'_> {
    let requires = links.requires.iter().map(|&id| (id, true));
    requires.chain(links.after.iter().map(|&id| (id, false)))
}

#[cfg(test)]
#[allow(dead_code)] // For tests/orders.rs.
mod recount;
