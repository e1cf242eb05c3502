//! What must come true, if everybody does what is owed.
//!
//! A liveness property says of a set of states that no path stays in it for ever. A path could
//! where the states of the set, with the steps between them, have a strongly connected part
//! that is *fair*: what is owed in each of its states is done by one of its steps. Staying in
//! one state and doing nothing is such a path, too, where nobody owes anything.

use std::collections::{HashMap, VecDeque};

/// Who owes something.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Fair {
    /// Time goes on.
    Clock,
    /// The caller lets deadlines pass, asks for starts, and answers them.
    Timeout,
    Begin,
    Answer,
    /// The caller tells that a group is gone.
    News(usize),
    /// Who got SIGKILL dies.
    Death(usize),
    MembersDeath(usize),
}

/// Some of them.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct FairSet(u16);

impl Fair {
    fn bit(self) -> u16 {
        let place = match self {
            Self::Clock => 0,
            Self::Timeout => 1,
            Self::Begin => 2,
            Self::Answer => 3,
            Self::News(program) => 4 + program,
            Self::Death(program) => 6 + program,
            Self::MembersDeath(program) => 8 + program,
        };
        1 << place
    }
}

impl FairSet {
    pub const ALL: Self = Self(u16::MAX);
    /// The caller keeps its promises and time goes on, but nothing has to die.
    pub const WITHOUT_DEATHS: Self = Self(0b11_1111);

    pub fn insert(&mut self, fair: Fair) {
        self.0 |= fair.bit();
    }

    fn and(self, other: Self) -> Self {
        Self(self.0 & other.0)
    }

    fn or(self, other: Self) -> Self {
        Self(self.0 | other.0)
    }

    /// All but these.
    fn other(self) -> Self {
        Self(!self.0)
    }

    fn is_within(self, other: Self) -> bool {
        self.0 & !other.0 == 0
    }
}

/// A step from one state to another, and what was owed and is done by it.
#[derive(Debug, Clone, Copy)]
pub struct Edge {
    pub to: u32,
    pub done: FairSet,
}

/// All states by number, each with what is owed in it and the steps that leave it.
#[derive(Default)]
pub struct Graph {
    owed: Vec<FairSet>,
    edges: Vec<Edge>,
    /// Where the steps of each state end.
    ends: Vec<usize>,
}

impl Graph {
    /// The next state is complete with these.
    pub fn push(&mut self, owed: FairSet, edges: &[Edge]) {
        self.owed.push(owed);
        self.edges.extend_from_slice(edges);
        self.ends.push(self.edges.len());
    }

    pub fn states(&self) -> usize {
        self.ends.len()
    }

    pub fn steps(&self) -> usize {
        self.edges.len()
    }

    pub fn edges(&self, state: usize) -> &[Edge] {
        let from = state.checked_sub(1).map_or(0, |before| self.ends[before]);
        &self.edges[from..self.ends[state]]
    }

    /// The states of a part in which a path can stay for ever without leaving `within`, though
    /// everything of `fair` that is owed is done; empty if there is none. Of all such parts it
    /// is the one with the lowest number in it.
    pub fn trap(&self, fair: FairSet, within: impl Fn(usize) -> bool) -> Vec<usize> {
        let mut search = Search {
            graph: self,
            within: &within,
            order: vec![0; self.states()],
            low: vec![0; self.states()],
            on_stack: vec![false; self.states()],
            stack: Vec::new(),
            seen: 0,
        };
        let mut trap: Vec<usize> = Vec::new();
        for state in 0..self.states() {
            if within(state) && search.order[state] == 0 {
                search.parts_from(state, &mut |part| {
                    let nearer = trap.first().is_none_or(|first| part[0] < *first);
                    if nearer && self.is_fair(&part, fair) {
                        trap = part;
                    }
                });
            }
        }
        trap
    }

    /// A walk from the first state of a trap back to it in which all is done that anybody does
    /// there: each step as the state it leaves and its place there.
    pub fn round(&self, trap: &[usize], fair: FairSet) -> Vec<(usize, usize)> {
        let Some(&start) = trap.first() else {
            return Vec::new();
        };
        let mut left = fair.and(self.done(trap));
        let mut walk: Vec<(usize, usize)> = Vec::new();
        let mut at = start;
        while left != FairSet::default() {
            let steps = self.way(trap, at, |edge| edge.done.and(left) != FairSet::default());
            let Some(&(from, place)) = steps.last() else {
                break;
            };
            let last = self.edges(from)[place];
            left = left.and(last.done.other());
            at = last.to as usize;
            walk.extend(steps);
        }
        if at != start || walk.is_empty() {
            walk.extend(self.way(trap, at, |edge| edge.to as usize == start));
        }
        walk
    }

    /// The shortest way within a part that ends with a step of which `wanted` holds.
    fn way(
        &self,
        part: &[usize],
        start: usize,
        wanted: impl Fn(&Edge) -> bool,
    ) -> Vec<(usize, usize)> {
        let mut origins: HashMap<usize, (usize, usize)> = HashMap::new();
        let mut frontier = VecDeque::from([start]);
        while let Some(state) = frontier.pop_front() {
            for (place, edge) in self.edges(state).iter().enumerate() {
                let to = edge.to as usize;
                if part.binary_search(&to).is_err() {
                    continue;
                }
                if wanted(edge) {
                    let mut way = vec![(state, place)];
                    let mut at = state;
                    while at != start {
                        let origin = origins[&at];
                        way.push(origin);
                        at = origin.0;
                    }
                    way.reverse();
                    return way;
                }
                if to != start {
                    origins.entry(to).or_insert_with(|| {
                        frontier.push_back(to);
                        (state, place)
                    });
                }
            }
        }
        Vec::new()
    }

    /// What is done by the steps within a part.
    fn done(&self, part: &[usize]) -> FairSet {
        let steps = part.iter().flat_map(|&state| self.edges(state));
        steps
            .filter(|edge| part.binary_search(&(edge.to as usize)).is_ok())
            .fold(FairSet::default(), |done, edge| done.or(edge.done))
    }

    /// Nothing is owed for ever: what is owed in every state of this part is done in it.
    fn is_fair(&self, part: &[usize], fair: FairSet) -> bool {
        let owed = |owed: FairSet, state: &usize| owed.and(self.owed[*state]);
        let always_owed = part.iter().fold(fair, owed);
        always_owed.is_within(self.done(part))
    }
}

/// Tarjan's search for the strongly connected parts, without recursion.
struct Search<'a, W> {
    graph: &'a Graph,
    within: &'a W,
    /// When each state was found, from 1; 0 if it was not.
    order: Vec<u32>,
    low: Vec<u32>,
    on_stack: Vec<bool>,
    stack: Vec<usize>,
    seen: u32,
}

impl<W: Fn(usize) -> bool> Search<'_, W> {
    fn find(&mut self, state: usize) {
        self.seen += 1;
        self.order[state] = self.seen;
        self.low[state] = self.seen;
        self.on_stack[state] = true;
        self.stack.push(state);
    }

    /// Each new part among those that can be reached from `root`, sorted.
    fn parts_from(&mut self, root: usize, each: &mut dyn FnMut(Vec<usize>)) {
        self.find(root);
        let mut path = vec![(root, 0)];
        while let Some((state, next)) = path.last_mut() {
            let state = *state;
            if let Some(edge) = self.graph.edges(state).get(*next) {
                *next += 1;
                let to = edge.to as usize;
                if !(self.within)(to) {
                    continue;
                }
                if self.order[to] == 0 {
                    self.find(to);
                    path.push((to, 0));
                } else if self.on_stack[to] {
                    self.low[state] = self.low[state].min(self.order[to]);
                }
                continue;
            }
            path.pop();
            if let Some(&(parent, _)) = path.last() {
                self.low[parent] = self.low[parent].min(self.low[state]);
            }
            if self.low[state] == self.order[state] {
                each(self.take_part(state));
            }
        }
    }

    fn take_part(&mut self, root: usize) -> Vec<usize> {
        let from = self.stack.iter().rposition(|&state| state == root);
        let mut part = self.stack.split_off(from.unwrap_or_default());
        for &state in &part {
            self.on_stack[state] = false;
        }
        part.sort_unstable();
        part
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn set(fair: &[Fair]) -> FairSet {
        let mut set = FairSet::default();
        fair.iter().for_each(|&fair| set.insert(fair));
        set
    }

    /// States 0, 1, 2 …, each with its steps: whereto, and what is owed and done by it.
    fn graph(states: &[&[(u32, &[Fair])]]) -> Graph {
        let mut graph = Graph::default();
        for steps in states {
            let edge = |&(to, fair): &(u32, &[Fair])| Edge {
                to,
                done: set(fair),
            };
            let edges: Vec<Edge> = steps.iter().map(edge).collect();
            let owed = edges
                .iter()
                .fold(FairSet::default(), |owed, edge| owed.or(edge.done));
            graph.push(owed, &edges);
        }
        graph
    }

    #[test]
    fn who_owes_nothing_may_stay() {
        let idle = graph(&[&[(1, &[])], &[]]);
        assert_eq!(idle.trap(FairSet::ALL, |state| state == 0), [0]);
        let driven = graph(&[&[(1, &[Fair::Clock])], &[]]);
        assert!(driven.trap(FairSet::ALL, |state| state == 0).is_empty());
        let undriven = driven.trap(set(&[Fair::Begin]), |state| state == 0);
        assert_eq!(undriven, [0], "the clock stands");
    }

    #[test]
    fn a_cycle_that_takes_what_it_owes_is_a_trap() {
        let clock: &[Fair] = &[Fair::Clock];
        let round = graph(&[&[(1, clock)], &[(0, clock), (2, &[Fair::Begin])], &[]]);
        let trap = round.trap(FairSet::ALL, |state| state < 2);
        assert_eq!(trap, [0, 1], "the start is owed in one of them only");
        assert_eq!(round.round(&trap, FairSet::ALL), [(0, 0), (1, 0)]);
    }

    #[test]
    fn a_cycle_that_never_takes_what_it_always_owes_is_none() {
        let begin: (u32, &[Fair]) = (2, &[Fair::Begin]);
        let round = graph(&[&[(1, &[Fair::Clock]), begin], &[(0, &[]), begin], &[]]);
        assert!(round.trap(FairSet::ALL, |state| state < 2).is_empty());
    }

    #[test]
    fn every_part_is_looked_at() {
        let clock: &[Fair] = &[Fair::Clock];
        let chain = graph(&[
            &[(1, clock)],
            &[(0, clock), (2, clock), (4, clock)],
            &[(3, clock)],
            &[(2, clock)],
            &[],
        ]);
        assert_eq!(chain.trap(FairSet::ALL, |state| state > 1), [2, 3]);
        assert_eq!(chain.trap(FairSet::ALL, |state| state < 2), [0, 1]);
        assert_eq!(chain.trap(FairSet::ALL, |state| state == 4), [4]);
    }
}
