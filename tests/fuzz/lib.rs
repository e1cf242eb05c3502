//! What the fuzzer runs: one check for each target, on bytes that nobody has chosen.
//!
//! - `config`: a file is refused with places inside of it, or read; printed and read again it
//!   is the same.
//! - `machine`: the bytes decide a life of the simulation, whose observers judge it.
//! - `stderr`: what goes into pipes is in the log, in the report and in its JSON, or counted.
//! - `lines`: what a person reads is one line without anything that a terminal would obey.
//! - `request`: one to the control socket is understood, or refused with one short line.
//!
//! `cargo fuzz run --fuzz-dir tests/fuzz config` looks for new bytes. Those that were worth
//! keeping are in `corpus/`, those that once failed in `crashes/`; `tests/corpus.rs` gives all of
//! them to the same checks under `cargo test`.
//!
//! The checks look at more than a host can, so the modules of the product are part of this
//! library.

#![allow(dead_code, unreachable_patterns, unused_imports)]

/// The modules of the binary know the library by this name.
extern crate self as procsched;

pub mod checks;

include!("modules.rs");
