//! Breadth first through all states of one setting, until there is no new one.

use std::collections::hash_map::Entry;
use std::collections::{HashMap, HashSet, VecDeque};
use std::mem::{Discriminant, discriminant};
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::machine::ProgramId;
use crate::machine::state::State as Life;
use crate::model::ledger::Check;

use super::fair::{Edge, FairSet, Graph};
use super::key::Key;
use super::state::{PROGRAMS, Setting, State, Step};

/// What there was to see.
#[derive(Debug, Clone, Default)]
pub struct Seen {
    pub states: usize,
    pub steps: usize,
    /// The kinds of steps that led somewhere new, and of lives that programs were in.
    pub kinds: HashSet<Discriminant<Step>>,
    pub lives: HashSet<Discriminant<Life>>,
}

impl Seen {
    pub fn add(&mut self, other: &Self) {
        self.states += other.states;
        self.steps += other.steps;
        self.kinds.extend(&other.kinds);
        self.lives.extend(&other.lives);
    }
}

/// How a state was found first: from which one, and by which step.
type Origin = Option<(u32, Step)>;

/// What liveness asks about a state.
#[derive(Clone, Copy)]
struct Facts {
    stopping: bool,
    settled: bool,
    over: bool,
    missed: [bool; PROGRAMS],
    leaving: [bool; PROGRAMS],
}

struct Explorer {
    setting: Setting,
    known: HashMap<Key, u32>,
    origins: Vec<Origin>,
    facts: Vec<Facts>,
    graph: Graph,
    seen: Seen,
}

/// Tries everything that can happen in this setting. What is wrong is told as the shortest
/// sequence of steps that leads there.
pub fn explore(setting: Setting) -> Result<Seen, String> {
    let mut explorer = Explorer {
        setting,
        known: HashMap::new(),
        origins: Vec::new(),
        facts: Vec::new(),
        graph: Graph::default(),
        seen: Seen::default(),
    };
    explorer.safety()?;
    explorer.liveness()?;
    Ok(Seen {
        states: explorer.graph.states(),
        steps: explorer.graph.steps(),
        ..explorer.seen
    })
}

fn guarded(check: impl FnOnce() -> Check) -> Check {
    let panicked = |panic: Box<dyn std::any::Any + Send>| {
        let text = panic.downcast_ref::<String>().cloned();
        Err(text.unwrap_or_else(|| "a panic".to_owned()))
    };
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(panicked)
}

/// At the end every run was reported once; and what is late changes nothing.
fn check_new(state: &State, key: &Key) -> Check {
    if let Some(child) = state.machine.snapshot().impossible() {
        return Err(format!("this cannot be: {child:?}"));
    }
    if state.is_over() {
        state.witness.ends()?;
    }
    let mut told = state.clone();
    told.shrug_at_stale_news()?;
    if Key::of(&told) == *key {
        Ok(())
    } else {
        Err("news of an earlier run changed something".to_owned())
    }
}

impl Explorer {
    /// Every state and every step, each checked by the witness and the ledger.
    fn safety(&mut self) -> Check {
        let mut frontier = VecDeque::new();
        let first = State::new(&self.setting);
        self.number(first, None, &mut frontier)?;
        let mut steps = Vec::new();
        let mut edges: Vec<Edge> = Vec::new();
        while let Some(state) = frontier.pop_front() {
            let from = self.graph.states() as u32;
            steps.clear();
            state.steps(|step, fair| steps.push((step, fair)));
            edges.clear();
            for &(step, fair) in &steps {
                let mut next = state.clone();
                guarded(|| next.take(step, &mut |_| {}))
                    .map_err(|problem| self.story(from, &[step], &problem))?;
                let to = self.number(next, Some((from, step)), &mut frontier)?;
                let mut done = FairSet::default();
                if let Some(fair) = fair {
                    done.insert(fair);
                }
                edges.push(Edge { to, done });
            }
            self.graph.push(state.owed(), &edges);
        }
        Ok(())
    }

    /// The number of a state, which is a new one if nobody was there before.
    fn number(
        &mut self,
        state: State,
        origin: Origin,
        frontier: &mut VecDeque<State>,
    ) -> Result<u32, String> {
        let key = Key::of(&state);
        let next = self.origins.len() as u32;
        match self.known.entry(key) {
            Entry::Occupied(known) => return Ok(*known.get()),
            Entry::Vacant(vacant) => vacant.insert(next),
        };
        self.origins.push(origin);
        let kind = origin.map(|(_, step)| discriminant(&step));
        self.seen.kinds.extend(kind);
        let children = state.machine.snapshot().children;
        let lives = children.iter().map(|child| discriminant(&child.state));
        self.seen.lives.extend(lives);
        guarded(|| check_new(&state, &key)).map_err(|problem| self.story(next, &[], &problem))?;
        self.facts.push(Facts {
            stopping: state.is_stopping(),
            settled: state.ledger.is_settled(),
            over: state.is_over(),
            missed: std::array::from_fn(|program| state.is_missed(program)),
            leaving: std::array::from_fn(|program| state.is_leaving(program)),
        });
        frontier.push_back(state);
        Ok(next)
    }

    fn liveness(&self) -> Check {
        let facts = &self.facts;
        self.comes(
            "a stop never ends, though the clock goes on",
            FairSet::WITHOUT_DEATHS,
            |state| facts[state].stopping && !facts[state].settled,
        )?;
        self.comes(
            "a stop never ends, though what is killed dies",
            FairSet::ALL,
            |state| facts[state].stopping && !facts[state].over,
        )?;
        for program in 0..PROGRAMS {
            let what = format!("program {program} never comes back, though nobody stopped it");
            self.comes(&what, FairSet::ALL, |state| facts[state].missed[program])?;
            let what = format!("program {program} never leaves, though nobody wants it");
            let fair = FairSet::WITHOUT_DEATHS;
            self.comes(&what, fair, |state| facts[state].leaving[program])?;
        }
        Ok(())
    }

    /// Every path leaves these states, if all of `fair` do what they owe.
    fn comes(&self, what: &str, fair: FairSet, within: impl Fn(usize) -> bool) -> Check {
        let trap = self.graph.trap(fair, within);
        let Some(&nearest) = trap.first() else {
            return Ok(());
        };
        // States are numbered as they are found, so that the first one is the nearest.
        let round = self.graph.round(&trap, fair);
        let steps: Vec<Step> = round
            .iter()
            .filter_map(|&(state, place)| self.step(state, place))
            .collect();
        let how = match steps.len() {
            0 => "there is nothing to wait for".to_owned(),
            1 => "the last step repeats for ever".to_owned(),
            count => format!("the last {count} steps repeat for ever"),
        };
        Err(self.story(nearest as u32, &steps, &format!("{what}: {how}")))
    }

    /// The step of a state with this place among its steps.
    fn step(&self, state: usize, place: usize) -> Option<Step> {
        let mut steps = Vec::new();
        let (state, _) = self.live(self.path(state as u32), |_| {});
        state.steps(|step, _| steps.push(step));
        steps.get(place).copied()
    }

    fn path(&self, state: u32) -> Vec<Step> {
        let mut path = Vec::new();
        let mut at = state;
        while let Some((before, step)) = self.origins[at as usize] {
            path.push(step);
            at = before;
        }
        path.reverse();
        path
    }

    /// Goes these steps once more, and says what happens.
    fn live(&self, path: Vec<Step>, mut say: impl FnMut(String)) -> (State, Check) {
        let mut state = State::new(&self.setting);
        for step in path {
            let ms = state.now / 1_000_000;
            say(format!("{ms:>8} ms  {step:?}"));
            let mut orders = |order: std::fmt::Arguments<'_>| say(format!("             {order}"));
            let outcome = guarded(|| state.take(step, &mut orders));
            if outcome.is_err() {
                return (state, outcome);
            }
        }
        (state, Ok(()))
    }

    fn story(&self, state: u32, steps: &[Step], problem: &str) -> String {
        let mut lines = Vec::new();
        for (program, policy) in self.setting.policies.iter().enumerate() {
            lines.push(format!("program {program}: {policy:?}"));
        }
        let by = if self.setting.by_number {
            "number"
        } else {
            "handle"
        };
        lines.push(format!("signalled by {by}"));
        let mut path = self.path(state);
        path.extend_from_slice(steps);
        let (state, _) = self.live(path, |line| lines.push(line));
        for program in 0..PROGRAMS {
            let snapshot = state.machine.snapshot();
            let Some(child) = snapshot.children.get(ProgramId(program as u32)) else {
                continue;
            };
            lines.push(format!(
                "program {program} is {:?}, and shall be {:?}",
                child.state, child.goal
            ));
        }
        lines.push(problem.to_owned());
        lines.join("\n")
    }
}
