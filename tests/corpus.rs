//! The corpora of the fuzzer, and everything that it once found, given to the same checks.
//!
//! `cargo fuzz` needs a compiler of its own kind and a lot of time; what it has learnt is in
//! `tests/fuzz/corpus` and `tests/fuzz/crashes`, and takes neither. A test for each directory;
//! one that fails names the file. Without a harness, so that the unit tests of the modules that
//! the checks need are not part of this.

#![allow(dead_code, unreachable_patterns, unused_imports)]
#![cfg(feature = "json")]

#[path = "fuzz/checks/mod.rs"]
mod checks;

include!("fuzz/modules.rs");

use std::panic::catch_unwind;
use std::path::Path;

use libtest_mimic::{Arguments, Failed, Trial};

type Check = fn(&[u8]);

const CHECKS: [(&str, Check); 4] = [
    ("config", checks::config::check),
    ("lines", checks::lines::check),
    ("machine", checks::machine::check),
    ("stderr", checks::stderr::check),
];

/// One that has lost its files would check nothing.
const FILES_MIN: usize = 50;

fn main() {
    let fuzz = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/fuzz");
    let mut trials = Vec::new();
    for (target, check) in CHECKS {
        for (kind, files_min) in [("corpus", FILES_MIN), ("crashes", 1)] {
            let directory = fuzz.join(kind).join(target);
            let trial = move || check_all(&directory, files_min, check);
            trials.push(Trial::test(format!("{kind}::{target}"), trial));
        }
    }
    libtest_mimic::run(&Arguments::from_args(), trials).exit();
}

fn check_all(directory: &Path, files_min: usize, check: Check) -> Result<(), Failed> {
    let mut files = 0;
    for entry in std::fs::read_dir(directory)? {
        let path = entry?.path();
        let bytes = std::fs::read(&path)?;
        catch_unwind(|| check(&bytes)).map_err(|_| format!("{} fails", path.display()))?;
        files += 1;
    }
    if files < files_min {
        return Err(format!("{} has {files} files only", directory.display()).into());
    }
    Ok(())
}
