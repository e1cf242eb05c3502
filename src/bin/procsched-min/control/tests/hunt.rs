//! Clients of every kind at once, and what becomes of the programs.
//!
//! A life is a server, a scheduler with real programs, and up to sixteen clients that send requests
//! of every command whole, in pieces, several at once, or not to the end, that read or do not, and
//! go at any byte. One of them follows the events, which say in which sequence the server takes the
//! orders. The judge: no client changes what happens to a program but by its whole orders.
//!
//! - `PROCSCHED_CLIENT_SEEDS=2000` tries that many lives.
//! - `PROCSCHED_CLIENT_SEED=4711` lives that one again, and prints what happens in it.

mod ask;
mod book;
mod life;
mod peer;
// Chance, as in the other hunts.
#[path = "../../../../../tests/model/rng.rs"]
mod rng;
mod world;

use std::io::Write;

use life::Life;

/// The lives of each run. They take some seconds.
const SEEDS: u64 = 40;

/// The acts of a life that a failure prints.
const ACTS_SHOWN_MAX: usize = 20;

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    Some(
        text.parse()
            .unwrap_or_else(|_| panic!("invalid {variable}: expected a number")),
    )
}

fn say(text: &str) {
    writeln!(std::io::stderr().lock(), "{text}").expect("stderr takes a line");
}

/// It forks, and for a moment a new process has the pipes of all tests: one that closes a pipe
/// would see it open still.
#[test]
#[ignore = "it runs alone: cargo test --bin procsched-min no_client_changes -- --ignored"]
fn no_client_changes_a_program_but_by_its_orders() {
    let replayed = number("PROCSCHED_CLIENT_SEED");
    let seeds = match replayed {
        Some(seed) => seed..seed + 1,
        None => 0..number("PROCSCHED_CLIENT_SEEDS").unwrap_or(SEEDS),
    };
    let (mut orders, mut turns) = (0, 0);
    for seed in seeds.clone() {
        let mut life = Life::new(seed);
        let result = life.run();
        let acts = life.acts();
        let shown = match replayed {
            Some(_) => acts,
            None => &acts[acts.len().saturating_sub(ACTS_SHOWN_MAX)..],
        };
        let shown = shown.join("\n  ");
        if let Err(problem) = result {
            panic!("seed {seed}: {problem}\nthe acts before:\n  {shown}");
        }
        if replayed.is_some() {
            say(&shown);
        }
        orders += life.taken();
        turns += life.turns();
    }
    let lives = seeds.end - seeds.start;
    say(&format!("{lives} lives, {orders} orders, {turns} turns"));
}
