//! The machine with links between programs, commands for each of them, and definitions that come,
//! change and go.
//!
//! The observer is not the machine: it knows what was commanded and what has happened, and works
//! out from that, anew after each step, what every program's goal is, what is up, what is held and
//! by what, what has to end before what, and when something has to happen. What the machine says
//! and orders is compared with it. At the end of each life is a fair run, in which everything that
//! is wanted and can come up has to.
//!
//! That is done for lives of chance, with up to eight programs, and for small worlds, in which
//! everything is tried that can happen, in every order, until nothing in them is new.
//!
//! - `PROCSCHED_ORDERS_WORLDS=related cargo test --test orders` tries more small worlds, `all` each
//!   of two programs, `three` those of three.
//! - `PROCSCHED_ORDERS_SEED=4711 cargo test --test orders` lives that one again, and prints it.
//! - `PROCSCHED_ORDERS_SEEDS=1000000 cargo test --test orders` tries more of them.

#[path = "../src/machine/mod.rs"]
#[allow(dead_code)] // The scheduler uses the rest of it.
mod machine;

#[macro_use]
#[path = "model"]
mod model {
    pub mod lives;
    pub mod rng;
    #[macro_use]
    pub mod tallying;
    pub mod trial;
}

mod orders {
    pub mod book;
    pub mod chaos;
    pub mod claims;
    pub mod definition;
    pub mod edit;
    pub mod ending;
    pub mod explore;
    pub mod fresh;
    pub mod judge;
    pub mod life;
    pub mod page;
    pub mod scene;
    pub mod standing;
    pub mod stops;
    pub mod tally;
    pub mod watch;
    pub mod words;
    pub mod worlds;
}

use std::time::Instant;

use model::trial::{Trial, print};
use orders::explore::{Seen, Which, explore_all, settings};
use orders::life;
use orders::tally::Tally;

const TRIAL: Trial<Tally> = Trial {
    test: "orders",
    variables: "PROCSCHED_ORDERS",
    seeds: 100_000,
    seeds_complete: 100_000,
    steps: 40,
    live: life::live,
};

#[test]
fn every_small_world_keeps_every_promise() {
    let which = match std::env::var("PROCSCHED_ORDERS_WORLDS").as_deref() {
        Ok("all") => Which::All,
        Ok("related") => Which::Related,
        Ok("three") => Which::Three,
        Ok(other) => {
            panic!("PROCSCHED_ORDERS_WORLDS={other}: expected \"related\", \"three\" or \"all\"")
        }
        Err(_) => Which::Few,
    };
    let begin = Instant::now();
    let seen = explore_all(&settings(which)).unwrap_or_else(|story| panic!("{story}"));
    let took = begin.elapsed().as_secs_f64();
    let Seen {
        worlds,
        states,
        steps,
    } = seen;
    print(&format!(
        "{worlds} small worlds in {took:.1} s: {states} states, {steps} steps"
    ));
}

#[test]
fn no_order_of_commands_breaks_a_promise() {
    TRIAL.run();
}

#[test]
fn one_seed_is_one_life() {
    TRIAL.one_seed_is_one_life();
}
