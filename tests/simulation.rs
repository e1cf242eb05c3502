//! The machine against a seeded world: every order of facts that chance can think of.
//!
//! The world has eight process numbers, which are given out again as soon as they may be; starts
//! fail, programs ignore SIGTERM, leave members behind, freeze, die all at once; orders are
//! carried out late; the clock stalls and jumps; commands come at any time. After each step two
//! observers compare what is with what may be: the witness knows what must never happen, the
//! ledger what the promises to users ask for. At the end is a fair run in which every wish must
//! come true.
//!
//! One seed decides all of a life. A failure prints the seed and its shortest life that fails:
//!
//! - `PROCSCHED_SIM_SEED=4711 cargo test --test simulation` lives that one again, and prints all
//!   of it.
//! - `PROCSCHED_SIM_SEEDS=1000000 cargo test --test simulation` tries more of them.
//!
//! The machine needs nothing but std, so it is compiled into this test as it stands, with its
//! own tests; it is no part of the library's interface.

#[path = "../src/machine/mod.rs"]
mod machine;

#[macro_use]
#[path = "simulation/tallying.rs"]
mod tallying;

mod simulation {
    pub mod account;
    pub mod chaos;
    pub mod driver;
    pub mod ending;
    pub mod ledger;
    pub mod life;
    pub mod lives;
    pub mod rng;
    pub mod tally;
    pub mod witness;
    pub mod world;
}

use std::io::Write;
use std::time::Instant;

use simulation::life::{self, Life};

const SEEDS: u64 = 100_000;
const STEPS: usize = 200;

fn number_from(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|error| panic!("{variable}={text}: {error}")),
    )
}

/// Past the capture of the test harness: who asks for a trace wants to see it.
fn print(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").expect("stderr takes a line");
}

#[test]
fn no_order_of_facts_breaks_a_promise() {
    if let Some(seed) = number_from("PROCSCHED_SIM_SEED") {
        let Life { trace, outcome, .. } = life::live(seed, STEPS, true);
        print(&trace.join("\n"));
        return outcome.unwrap_or_else(|failure| panic!("seed {seed}: {failure}"));
    }
    let begin = Instant::now();
    let seeds = number_from("PROCSCHED_SIM_SEEDS").unwrap_or(SEEDS);
    match life::live_all(seeds, STEPS) {
        Ok(tally) => {
            let seen = tally.list().map(|(what, times)| format!("{times} {what}"));
            let took = begin.elapsed().as_secs_f64();
            print(&format!(
                "{seeds} seeds in {took:.1} s: {}",
                seen.join(", ")
            ));
            for (what, times) in tally.list() {
                assert!(
                    times > 0 || seeds < SEEDS,
                    "the simulation has not met any {what}"
                );
            }
        }
        Err(seed) => panic!("{}", life::shortest_failure(seed, STEPS)),
    }
}

/// A replay that differs would be worth nothing.
#[test]
fn one_seed_is_one_life() {
    for seed in 0..50 {
        let [one, other] = [(); 2].map(|()| life::live(seed, STEPS, true));
        assert_eq!(one.trace, other.trace, "seed {seed}");
        let untraced = life::live(seed, STEPS, false);
        assert_eq!(
            one.outcome, untraced.outcome,
            "seed {seed} without its trace"
        );
    }
}
