//! The machine in every small world: everything that can happen, in every order.
//!
//! Where the simulation tries what chance thinks of, this leaves nothing out. Two programs, every
//! command, every fact, two process numbers; deadlines are told from now, counters saturate, and
//! the clock moves only to the next moment at which anything differs: so the world is finite,
//! and is walked breadth first until nothing in it is new. That is done for many pairs of
//! policies, with signals that go to handles and with signals that go to numbers, and for each
//! policy with starts that are late.
//!
//! After each step the witness and the ledger of the simulation compare what is with what may
//! be. When all states are known, their graph answers what no single step shows: that a stop
//! always ends, and that a program that crashed always comes back unless it is stopped, if only
//! the clock goes on, the caller does what it promised, and who is killed dies. A failure is
//! told as the shortest sequence of steps that leads to it.
//!
//! By itself it tries each policy beside its like. `PROCSCHED_SMALL_WORLDS=related cargo test
//! --test small_worlds`, the hunt of `.ci/run`, tries all pairs that have their ends or their times
//! in common; `all` tries every pair.

#[path = "../src/machine/mod.rs"]
#[allow(dead_code)] // The scheduler uses the rest of it.
mod machine;

// The observers of the simulation. What a life of chance needs is of no use here.
#[path = "model"]
mod model {
    #[allow(dead_code)]
    pub mod account;
    #[allow(dead_code)]
    pub mod ledger;
    #[allow(dead_code)]
    pub mod stops;
    pub mod witness;
    pub mod words;
}

mod small_worlds {
    pub mod explore;
    pub mod fair;
    pub mod key;
    pub mod settings;
    pub mod state;
    pub mod world;
}

use std::io::Write;
use std::sync::Mutex;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::time::Instant;

use small_worlds::explore::{Seen, explore};
use small_worlds::settings::{Which, settings};

/// What a world has not met it has not tried.
const KINDS: usize = 18;
const LIVES: usize = 10;

#[test]
fn every_small_world_is_safe_and_every_wish_comes_true() {
    let which = match std::env::var("PROCSCHED_SMALL_WORLDS").as_deref() {
        Ok("all") => Which::All,
        Ok("related") => Which::Related,
        Ok(other) => panic!("PROCSCHED_SMALL_WORLDS={other}: expected \"related\" or \"all\""),
        Err(_) => Which::Alike,
    };
    let begin = Instant::now();
    let settings = settings(which);
    let next = AtomicUsize::new(0);
    let seen = Mutex::new(Seen::default());
    let work = || {
        while let Some(setting) = settings.get(next.fetch_add(1, Ordering::Relaxed)) {
            match explore(*setting) {
                Ok(new) => seen.lock().expect("nobody panics with it").add(&new),
                Err(story) => {
                    next.store(settings.len(), Ordering::Relaxed);
                    panic!("{story}");
                }
            }
        }
    };
    std::thread::scope(|scope| {
        for _ in 0..std::thread::available_parallelism().map_or(1, usize::from) {
            scope.spawn(work);
        }
    });
    let seen = seen.into_inner().expect("nobody panics with it");
    let (worlds, took) = (settings.len(), begin.elapsed().as_secs_f64());
    let Seen { states, steps, .. } = seen;
    // Past the capture of the test harness, as the simulation's figures.
    let text = format!("{worlds} small worlds in {took:.1} s: {states} states, {steps} steps");
    writeln!(std::io::stderr().lock(), "{text}").expect("stderr takes a line");
    assert_eq!([seen.kinds.len(), seen.lives.len()], [KINDS, LIVES]);
}
