//! In which order the programs of a config start, and how long their stop may take.
//!
//! A program's rank is one more than the highest of those that it waits for. A stop goes the other
//! way, from one to the next, each with its own time.

use std::collections::{BTreeMap, VecDeque};
use std::time::Duration;

use crate::spec::ChildSpec;

/// The ranks of programs, and the chain of them that may take longest to stop.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(super) struct Order {
    /// The programs of each rank, by their index, in the order of the file.
    pub(super) ranks: Vec<Vec<usize>>,
    /// The programs of that chain, in the order in which they stop.
    pub(super) chain: Vec<usize>,
    /// The sum of their times.
    pub(super) stop_time: Duration,
}

/// What is found out of one program.
#[derive(Clone, Default)]
struct Standing {
    rank: usize,
    /// The number of programs that it waits for and that are not known yet.
    unknown: usize,
    /// Those that wait for it.
    dependents: Vec<usize>,
    /// The longest time until it has stopped, and all that stops after it has.
    stop_time: Duration,
    /// The next in that chain.
    next: Option<usize>,
}

impl Order {
    /// Finds it out. Names that no program has are not looked at, nor is what is in a cycle or behind
    /// one: a file with such links is refused before.
    pub(super) fn of(programs: &[ChildSpec]) -> Self {
        let mut all = links_of(programs);
        let is_first = |(_, standing): &(usize, &Standing)| standing.unknown == 0;
        let first = all.iter().enumerate().filter(is_first);
        let mut known: VecDeque<usize> = first.map(|(index, _)| index).collect();
        let mut order = Self::default();
        while let Some(index) = known.pop_front() {
            let own = programs[index].stop_timeout;
            let standing = &mut all[index];
            standing.stop_time = standing.stop_time.saturating_add(own);
            let (rank, stop_time) = (standing.rank, standing.stop_time);
            let dependents = std::mem::take(&mut standing.dependents);
            for &other in &dependents {
                let other_standing = &mut all[other];
                other_standing.rank = other_standing.rank.max(rank + 1);
                if other_standing.next.is_none() || other_standing.stop_time < stop_time {
                    other_standing.next = Some(index);
                    other_standing.stop_time = stop_time;
                }
                other_standing.unknown -= 1;
                if other_standing.unknown == 0 {
                    known.push_back(other);
                }
            }
        }
        for (index, standing) in all.iter().enumerate().filter(is_first) {
            let ranks = order.ranks.len().max(standing.rank + 1);
            order.ranks.resize(ranks, Vec::new());
            order.ranks[standing.rank].push(index);
            if order.chain.is_empty() || standing.stop_time > order.stop_time {
                order.stop_time = standing.stop_time;
                order.chain = vec![index];
            }
        }
        while let Some(next) = order.chain.last().and_then(|&last| all[last].next) {
            order.chain.push(next);
        }
        order
    }
}

/// Returns for each program those that wait for it, and for how many it waits, each once.
fn links_of(programs: &[ChildSpec]) -> Vec<Standing> {
    let names = programs.iter().enumerate();
    let ids: BTreeMap<&str, usize> = names.map(|(index, spec)| (spec.name(), index)).collect();
    let mut all = vec![Standing::default(); programs.len()];
    for (index, spec) in programs.iter().enumerate() {
        let links = spec.requires.iter().chain(&spec.after);
        let mut others: Vec<usize> = links.filter_map(|name| ids.get(&**name).copied()).collect();
        others.sort_unstable();
        others.dedup();
        all[index].unknown = others.len();
        for other in others {
            all[other].dependents.push(index);
        }
    }
    all
}

#[cfg(test)]
mod tests {
    use super::*;

    fn spec(name: &str, requires: &[&str], seconds: u64) -> ChildSpec {
        let spec = ChildSpec::new(name, ["true"]).stop_timeout(Duration::from_secs(seconds));
        spec.requires(requires.iter().copied())
    }

    #[test]
    fn a_rank_is_one_more_than_the_highest_that_is_waited_for() {
        let programs = [
            spec("web", &["api", "cache"], 1),
            spec("api", &["db", "db"], 2),
            spec("db", &[], 3),
            spec("cache", &[], 10).after(["db"]),
            spec("alone", &[], 12),
        ];
        let order = Order::of(&programs);
        assert_eq!(order.ranks, [vec![2, 4], vec![1, 3], vec![0]]);
        assert_eq!(order.chain, [0, 3, 2], "web, cache, db");
        assert_eq!(order.stop_time, Duration::from_secs(14));
    }

    #[test]
    fn what_waits_for_nothing_may_take_longest() {
        let programs = [spec("a", &[], 2), spec("b", &["a"], 3), spec("c", &[], 6)];
        let order = Order::of(&programs);
        assert_eq!(order.chain, [2]);
        assert_eq!(order.stop_time, Duration::from_secs(6));
        assert_eq!(Order::of(&[]), Order::default());
    }

    #[test]
    fn a_sum_of_times_saturates() {
        let forever = |spec: ChildSpec| spec.stop_timeout(Duration::MAX);
        let programs = [forever(spec("a", &[], 0)), forever(spec("b", &["a"], 0))];
        assert_eq!(Order::of(&programs).stop_time, Duration::MAX);
    }

    /// A walk along each chain took a time that grew with the square of their length, or the stack.
    #[test]
    fn a_chain_of_a_hundred_thousand_programs_is_one_walk() {
        const COUNT: usize = 100_000;
        let mut programs = vec![spec("p0", &[], 1)];
        for index in 1..COUNT {
            let before = format!("p{}", index - 1);
            programs.push(spec(&format!("p{index}"), &[&before], 1));
        }
        let order = Order::of(&programs);
        assert_eq!(order.ranks.len(), COUNT);
        assert_eq!(order.chain.len(), COUNT);
        assert_eq!(order.stop_time, Duration::from_secs(COUNT as u64));
    }

    #[test]
    fn what_a_file_cannot_have_ends_all_the_same() {
        let programs = [
            spec("a", &["b"], 1),
            spec("b", &["a"], 1),
            spec("c", &["missing"], 2),
        ];
        let order = Order::of(&programs);
        assert_eq!((order.ranks, order.chain), (vec![vec![2]], vec![2]));
    }
}
