//! Whole-process figures: the release binary, driven as a process, beside a floor.
//!
//! A figure in seconds or bytes tells more about the machine than about the program. So each is
//! taken twice in one run: from `procsched-min`, and from a *floor*, which does the least that
//! could be called the same work, in plain Rust and in this process. What counts is the ratio.
//! The two take turns, so that a slow minute of the machine is slow for both.
//!
//! This program is its own child, too: what is supervised is this file, with `child` as its
//! first argument. Nothing here asserts on speed; a bench fails only if the work is not done.
//!
//! `cargo bench` prints everything. `cargo bench -- throughput` prints one theme.

mod child;
mod floor;
mod footprint;
mod keeper;
mod latency;
mod place;
mod proc;
mod reaping;
#[path = "../../tests/embedding/refusals.rs"]
mod refusals;
mod supervisor;
mod table;
mod throughput;

use nix::sys::resource::{Resource, getrlimit, setrlimit};

use table::Table;

/// How many programs "many" are, if the limit on descriptors allows it.
const MANY: usize = 1_000;

/// What either side may hold for one program: two pipe ends and a log, and one to spare.
const DESCRIPTORS_PER_PROGRAM: usize = 4;

/// A word of the command line, and what adds its rows, with as many programs as "many" are.
type Theme = (&'static str, fn(&mut Table, usize));

/// In the order of the table.
const THEMES: [Theme; 4] = [
    ("footprint", footprint::measure),
    ("latency", latency::measure),
    ("throughput", throughput::measure),
    ("reaping", reaping::measure),
];

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    if arguments.first().is_some_and(|first| first == "child") {
        child::run(&arguments[1..]);
    }
    if arguments.first().is_some_and(|first| first == "host") {
        return reaping::host(&arguments[1..]);
    }
    // `cargo test --all-targets` runs benches, too, and wants no figures.
    if !arguments.iter().any(|argument| argument == "--bench") {
        return;
    }
    let wanted: Vec<&String> = arguments
        .iter()
        .filter(|word| !word.starts_with('-'))
        .collect();
    for word in &wanted {
        let known = THEMES.iter().any(|(name, _)| *name == word.as_str());
        assert!(known, "no theme is called {word:?}");
    }
    let mut table = Table::default();
    let many = raise_descriptor_limit(&mut table);
    for (name, measure) in THEMES {
        if wanted.is_empty() || wanted.iter().any(|word| *word == name) {
            measure(&mut table, many);
        }
    }
    table.print();
}

/// Makes room for many programs; returns how many there is room for.
fn raise_descriptor_limit(table: &mut Table) -> usize {
    let (_, hard) = getrlimit(Resource::RLIMIT_NOFILE).expect("a limit on descriptors");
    setrlimit(Resource::RLIMIT_NOFILE, hard, hard).expect("a limit may be raised to the hard one");
    let room = usize::try_from(hard).unwrap_or(usize::MAX) / DESCRIPTORS_PER_PROGRAM;
    if room < MANY {
        table.remark(format!(
            "RLIMIT_NOFILE is {hard}: figures of {MANY} programs are taken with {room} instead"
        ));
    }
    MANY.min(room)
}
