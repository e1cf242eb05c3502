//! The whole loop against a simulated kernel: the scheduler's real turn, line by line as it
//! ships, meets every order and every error that chance can think of.
//!
//! This crate is the library once more, with another kernel below it. The modules of `src/` are
//! compiled into it as they stand, those of `src/os` too; but for them the names `libc` and `nix`
//! lead here (see `seam`), where each system call is answered by a world of processes, groups and
//! sessions, with eight process numbers, pipes of one page, a disk that fills up, and a clock that
//! jumps (see `world`). Pipes, files and epoll are the real ones, in a table of descriptors of the
//! life's own. Left out are only what makes a process, installs handlers, reads a clock or looks
//! into `/proc`: their few functions are written anew (see `os`).
//!
//! In a third of the lives programs tell that they are ready and alive, by each means that there is,
//! or are checked by commands and connections (see `world/signs`, `messages` and `checks`). Messages
//! are lost, come too late, are too long, or are of strangers; commands hang, cannot be executed or
//! killed; connections are refused or never answered.
//!
//! In half of them programs have two streams: each goes into a log, which may be rotated and have
//! marks, or line by line to the host, which now and then takes nothing, or nowhere; and a stop may be
//! for the first process alone (see `world/streams`).
//!
//! Between any two calls anything may happen: processes write, fork, escape, die, strangers take
//! the numbers, signals arrive, operators lose patience, calls fail. After each turn witnesses
//! compare what was done with what may be done and what was promised. At the end is a fair run in
//! which every wish must come true.
//!
//! And so that this kernel is like the real one, both play the same scenarios (see `difference`);
//! `PROCSCHED_KERNEL_SCENARIOS=2000` plays more of them.
//!
//! One seed decides all of a life. A failure prints the seed and its shortest life that fails:
//!
//! - `PROCSCHED_KERNEL_SEED=4711 cargo test --test kernel` lives that one again, and prints all
//!   of it.
//! - `PROCSCHED_KERNEL_SEEDS=10000 cargo test --test kernel` is the hunt of `.ci/run`, and fails
//!   too if there is anything that it has never met; 1000000 tries more of them.

#![allow(dead_code, missing_docs, unused_imports)] // The binary, the first process and the host use the rest.

extern crate libc as real_libc;
extern crate nix as real_nix;
// For everything in this crate, `libc` and `nix` are what stands here.
extern crate self as libc;
extern crate self as nix;

#[path = "kernel/seam/mod.rs"]
mod seam;

pub(crate) use real_libc::*;
pub(crate) use seam::calls::{
    bind, fcntl, flock, getsockname, ioctl, kill, nanosleep, recvmsg, setsockopt, siginfo_t,
    socket, syscall, waitid, waitpid,
};
pub(crate) use seam::nixes::*;

include!("model/modules.rs");

#[path = "../src/os"]
mod os {
    pub(crate) mod bytes;
    mod calls;
    pub(crate) mod connect;
    pub(crate) mod descriptors;
    pub(crate) mod emergency_heap;
    pub(crate) mod group;
    mod hints;
    mod identity;
    pub(crate) mod limits;
    pub(crate) mod logs;
    pub(crate) mod notify;
    mod numbers;
    pub(crate) mod pages;
    mod pause;
    pub(crate) mod poller;
    pub(crate) mod privileges;
    mod raw;
    pub(crate) mod ready_pipe;
    pub(crate) mod reap;
    pub(crate) mod stream;
    pub(crate) mod subreaper;
    pub(crate) mod tail;
    pub(crate) mod utc;
    pub(crate) mod wake;

    // What is written anew has the same functions, and does what the manual says.
    #[path = "../../tests/kernel/os/children.rs"]
    pub(crate) mod children;
    #[path = "../../tests/kernel/os/clock.rs"]
    pub(crate) mod clock;
    #[path = "../../tests/kernel/os/secret.rs"]
    pub(crate) mod secret;
    #[path = "../../tests/kernel/os/signals.rs"]
    pub(crate) mod signals;
    #[path = "../../tests/kernel/os/spawn.rs"]
    pub(crate) mod spawn;
    #[path = "../../tests/kernel/os/stat.rs"]
    pub(crate) mod stat;

    pub(crate) use calls::{errno, retry};
}

#[macro_use]
#[path = "model"]
mod model {
    pub mod lives;
    pub mod rng;
    #[macro_use]
    pub mod tallying;
    pub mod trial;
}

#[path = "common/mod.rs"]
mod common;

mod kernel {
    pub mod books;
    pub mod difference;
    pub mod driver;
    pub mod ending;
    pub mod hearing;
    pub mod life;
    pub mod operator;
    pub mod reloads;
    pub mod reused;
    pub mod setting;
    pub mod story;
    pub mod unreapable;
    pub mod vain;
    pub mod world;
}

// What `src/lib.rs` has at its root, for those that name it.
pub(crate) use event::{Event, EventKind};
pub(crate) use report::ErrorReport;
pub(crate) use signal::signal_name;
pub(crate) use spec::{ChildSpec, REPORT_BYTES_MAX};

use std::time::Instant;

use kernel::world::Counts;
use kernel::{difference, life, reused, unreapable, vain};
use model::trial::{self, Trial};

const TRIAL: Trial<Counts> = Trial {
    test: "kernel",
    variables: "PROCSCHED_KERNEL",
    seeds: 2_500,
    seeds_complete: 10_000,
    steps: 120,
    live: life::live,
};

/// Played on the real kernel, too.
const SCENARIOS: u64 = 100;

fn main() {
    if difference::play_if_asked() {
        return;
    }
    let arguments = libtest_mimic::Arguments::from_args();
    let trial = |name: &str, test: fn()| {
        let run = move || {
            test();
            Ok(())
        };
        libtest_mimic::Trial::test(name, run)
    };
    let trials = vec![
        trial(
            "one_that_cannot_be_reaped_hides_nobody",
            unreapable::one_that_cannot_be_reaped_hides_nobody,
        ),
        trial(
            "the_deadline_of_a_group_that_is_gone_kills_nothing",
            reused::the_deadline_of_a_group_that_is_gone_kills_nothing,
        ),
        trial(
            "a_wait_that_took_its_time_is_not_vain",
            vain::a_wait_that_took_its_time_is_not_vain,
        ),
        trial(
            "waits_that_end_at_once_for_nothing_are_no_spin",
            vain::waits_that_end_at_once_for_nothing_are_no_spin,
        ),
        trial(
            "no_order_and_no_error_breaks_a_promise",
            no_order_and_no_error_breaks_a_promise,
        ),
        trial("one_seed_is_one_life", one_seed_is_one_life),
        trial(
            "both_kernels_have_the_same_stories",
            both_kernels_have_the_same_stories,
        ),
    ];
    libtest_mimic::run(&arguments, trials).exit();
}

fn no_order_and_no_error_breaks_a_promise() {
    TRIAL.run();
}

fn one_seed_is_one_life() {
    TRIAL.one_seed_is_one_life();
}

/// A simulated kernel that differs from the real one would find bugs in itself, and pass over
/// those that there are.
fn both_kernels_have_the_same_stories() {
    let begin = Instant::now();
    let scenarios = trial::number_from("PROCSCHED_KERNEL_SCENARIOS").unwrap_or(SCENARIOS);
    let late = difference::compare_all(scenarios).unwrap_or_else(|problem| panic!("{problem}"));
    let took = begin.elapsed().as_secs_f64();
    trial::print(&format!(
        "{scenarios} scenarios on both kernels in {took:.1} s, of which {late} were tried again"
    ));
}
