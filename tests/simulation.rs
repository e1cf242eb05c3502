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
#[allow(dead_code)] // The scheduler uses the rest of it.
mod machine;

#[macro_use]
#[path = "model"]
mod model {
    pub mod account;
    pub mod ledger;
    pub mod lives;
    pub mod rng;
    pub mod stops;
    #[macro_use]
    pub mod tallying;
    pub mod trial;
    pub mod witness;
    pub mod words;
}

mod simulation {
    pub mod chaos;
    pub mod driver;
    pub mod ending;
    pub mod life;
    pub mod tally;
    pub mod world;
}

use model::trial::Trial;
use simulation::life;
use simulation::tally::Tally;

const TRIAL: Trial<Tally> = Trial {
    test: "simulation",
    variables: "PROCSCHED_SIM",
    seeds: 100_000,
    seeds_complete: 100_000,
    steps: 200,
    live: life::live,
};

#[test]
fn no_order_of_facts_breaks_a_promise() {
    TRIAL.run();
}

#[test]
fn one_seed_is_one_life() {
    TRIAL.one_seed_is_one_life();
}
