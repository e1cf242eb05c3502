//! A simulation under trial: one seed decides all of a life, and the environment which seeds are
//! lived. Many are, without a word, and what was seen is told; or one, with all that happens.

use std::io::Write;
use std::time::Instant;

use super::lives;
use super::tallying::Seen;

/// How one life went.
pub struct Life<T> {
    pub outcome: Result<(), String>,
    /// Empty, unless it was asked for.
    pub trace: Vec<String>,
    pub seen: T,
}

pub struct Trial<T> {
    /// The test, as cargo knows it.
    pub test: &'static str,
    /// What the variables in the environment begin with.
    pub variables: &'static str,
    /// How many are lived, and of how many steps, unless the environment says something else.
    pub seeds: u64,
    /// Among this many, everything that can happen is met.
    pub seeds_complete: u64,
    pub steps: u64,
    /// The life of a seed, of so many steps, with its trace or without.
    pub live: fn(u64, usize, bool) -> Life<T>,
}

pub fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|error| panic!("{variable}={text}: {error}")))
}

/// Past the capture of the test harness: who asks for a trace wants to see it.
pub fn print(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").expect("stderr takes a line");
}

impl<T: Seen> Trial<T> {
    /// Lives what the environment asks for, and panics with the story of the first that fails, or
    /// if there is a thing that was never seen.
    pub fn run(&self) {
        let steps = self.number("STEPS").unwrap_or(self.steps) as usize;
        if let Some(seed) = self.number("SEED") {
            let life = (self.live)(seed, steps, true);
            print(&life.trace.join("\n"));
            return life
                .outcome
                .unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
        }
        let begin = Instant::now();
        let seeds = self.number("SEEDS").unwrap_or(self.seeds);
        let live = |seed| {
            let life = (self.live)(seed, steps, false);
            (life.seen, life.outcome.is_err())
        };
        let seen = lives::live_all(seeds, live, T::add)
            .unwrap_or_else(|seed| panic!("{}", self.shortest_failure(seed, steps)));
        let told: Vec<String> = seen
            .list()
            .map(|(what, times)| format!("{times} {what}"))
            .collect();
        let took = begin.elapsed().as_secs_f64();
        print(&format!(
            "{seeds} seeds in {took:.1} s: {}",
            told.join(", ")
        ));
        for (what, times) in seen.list() {
            assert!(
                times > 0 || seeds < self.seeds_complete,
                "the simulation has not met any {what}"
            );
        }
    }

    /// A replay that differs would be worth nothing.
    pub fn one_seed_is_one_life(&self) {
        let steps = self.steps as usize;
        for seed in 0..50 {
            let [one, other] = [(); 2].map(|()| (self.live)(seed, steps, true));
            assert_eq!(one.trace, other.trace, "seed {seed}");
            let untraced = (self.live)(seed, steps, false);
            assert_eq!(
                one.outcome, untraced.outcome,
                "seed {seed} without its trace"
            );
        }
    }

    /// The story of a failure: the fewest steps after which this seed fails, all of them, and how
    /// to see it again.
    fn shortest_failure(&self, seed: u64, steps: usize) -> String {
        let fails = |steps| (self.live)(seed, steps, false).outcome.is_err();
        let shortest = lives::fewest_steps(steps, fails);
        let Life { outcome, trace, .. } = (self.live)(seed, shortest, true);
        let failure = outcome
            .err()
            .unwrap_or_else(|| "it does not fail again".to_owned());
        let (test, variables, trace) = (self.test, self.variables, trace.join("\n"));
        format!(
            "seed {seed} fails after {shortest} steps and a fair end:\n{trace}\n{failure}\n\
             to see all of it: {variables}_SEED={seed} cargo test --test {test}"
        )
    }

    fn number(&self, what: &str) -> Option<u64> {
        number_from(&format!("{}_{what}", self.variables))
    }
}
