//! The library in real hosts, each a process of its own.
//!
//! A scheduler shares signals, children, descriptors and threads with the program that it lives
//! in, so that none of these cases could stand another beside it. Each test starts this very
//! file once more as a process that runs that test alone, on its first and only thread (see
//! `host`), and looks at how it ended and at what it left behind.
//! `cargo test --test embedding part_of_a_name` works as ever.
//!
//! Names that begin with `m` and a number tell which known bug of other supervisors and
//! libraries the test is about.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

use common::{process, tools};

/// A list of tests: the functions of these names.
macro_rules! tests {
    ($($name:ident,)*) => {
        &[$((concat!(module_path!(), "::", stringify!($name)), $name),)*]
    };
}

mod embedding {
    pub mod answers;
    pub mod closures;
    pub mod copies;
    pub mod drops;
    pub mod escapes;
    pub mod faults;
    pub mod handlers;
    pub mod hints;
    pub mod host;
    pub mod kit;
    pub mod neighbours;
    pub mod numbers;
    pub mod orders;
    pub mod own;
    pub mod reactors;
    pub mod refusals;
    pub mod reload;
    pub mod replaced;
    pub mod sandboxes;
    pub mod spawns;
    pub mod starts;
    pub mod storms;
    pub mod theft;
    pub mod threads;
    pub mod tracers;
    pub mod turns;
    pub mod zombies;
}

use embedding::host;
use embedding::{
    closures, copies, drops, escapes, faults, handlers, hints, neighbours, numbers, orders, own,
    reactors, reload, replaced, sandboxes, spawns, starts, storms, theft, threads, tracers, turns,
    zombies,
};

fn main() {
    let tests = [
        closures::TESTS,
        copies::TESTS,
        drops::TESTS,
        escapes::TESTS,
        faults::TESTS,
        handlers::TESTS,
        hints::TESTS,
        neighbours::TESTS,
        numbers::TESTS,
        orders::TESTS,
        own::TESTS,
        reactors::TESTS,
        reload::TESTS,
        replaced::TESTS,
        sandboxes::TESTS,
        spawns::TESTS,
        starts::TESTS,
        storms::TESTS,
        theft::TESTS,
        threads::TESTS,
        tracers::TESTS,
        turns::TESTS,
        zombies::TESTS,
    ];
    host::main(&tests.concat());
}
