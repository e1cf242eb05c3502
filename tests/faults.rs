//! Every system call of the supervisor, failing in every way that its man page knows.
//!
//! One short, rich scenario is played under strace: programs that live, crash, cannot be
//! executed, leave members and escapees behind, ignore SIGTERM; a command for reports; clients of the
//! control socket; SIGUSR1; then SIGTERM. That tells which calls the supervisor makes, and for what. Then it is played
//! once for each call and each way to fail: once, from there on for ever, with a signal arriving
//! at it, with it taking long. One judge looks at all of them (see `judge`): nothing crashes,
//! hangs or spins, no process and no descriptor is left over, each start has its report, and
//! what was lost is counted and said.
//!
//! | command | |
//! |---|---|
//! | `cargo test --test faults` | a sample of 40, chosen by the commit, and what failed once |
//! | `cargo test --test faults -- sweep [PART]` | all of them, or those with PART in their names |
//! | `cargo test --test faults -- sweep resume [PART]` | those that this binary has not passed yet |
//! | `cargo test --test faults -- list [PART]` | their names |
//! | `cargo test --test faults -- own:ppoll:3:EINTR:once` | this one, told in full |
//!
//! A name is who calls, which call, its number among those of its kind, what happens, and for
//! how long. Who calls is one of
//!
//! | | |
//! |---|---|
//! | `own` | the supervisor, as `procsched-min run` |
//! | `child` | what it starts, until the exec |
//! | `host` | a host of the library that has children of its own |
//! | `init` | `procsched-min init` in a small scenario of its own |
//! | `memory` | the supervisor, where it asks for memory and there is none |
//!
//! `FAULTS_COMMIT` stands in for the commit, `FAULTS_JOBS` sets how many are played at a time.
//! `PROCSCHED_TEST_BINARY` names another binary than cargo's, as for the scenarios: the static one
//! makes other calls.
//!
//! The exit code is 1 if a play has failed, and 2 if what was asked for is no fault at all.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

mod faults {
    pub mod asked;
    pub mod fault;
    pub mod host;
    pub mod init;
    pub mod judge;
    pub mod losses;
    pub mod manual;
    pub mod memory;
    pub mod pinned;
    pub mod play;
    pub mod sites;
    pub mod subject;
    pub mod sweep;
}

use std::io::Write;

use common::{Need, process, tools};

fn main() {
    if let Some(config) = std::env::var_os(faults::host::CONFIG) {
        std::process::exit(i32::from(faults::host::run(config.as_ref())));
    }
    let words: Vec<String> = std::env::args().skip(1).collect();
    // What libtest would understand, as `--nocapture`, changes nothing here.
    let words: Vec<&str> = words
        .iter()
        .map(String::as_str)
        .filter(|word| !word.starts_with('-'))
        .collect();
    if tools::missing(&[Need::Strace]) {
        return;
    }
    let is_well = match *words {
        [] | ["sample"] => Ok(faults::sweep::sample()),
        ["list", ref parts @ ..] => faults::sweep::list(parts),
        ["sweep", "resume", ref parts @ ..] => faults::sweep::sweep(parts, true),
        ["sweep", ref parts @ ..] => faults::sweep::sweep(parts, false),
        ref names => faults::sweep::named(names),
    };
    match is_well {
        Ok(true) => {}
        Ok(false) => std::process::exit(1),
        Err(problem) => {
            writeln!(std::io::stderr().lock(), "{problem}").expect("stderr takes a line");
            std::process::exit(2);
        }
    }
}
