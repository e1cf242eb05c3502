//! The corpora of the fuzzer, and everything that it once found, given to the same checks.
//!
//! `cargo fuzz` wants a lot of time. What it has learnt in that is in `tests/fuzz/corpus` and
//! `tests/fuzz/crashes`, and takes none: a test for each target, which names the file that fails.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

use std::path::Path;
use std::process::Command;
use std::sync::Once;

use common::tools;

/// A corpus that has lost its files would check nothing.
const CORPUS_FILES_MIN: usize = 30;

/// How many files there are; each was checked and is fine.
#[track_caller]
fn check(target: &str, kind: &str) -> usize {
    static BUILD: Once = Once::new();
    let example = tools::example("corpus");
    BUILD.call_once(|| tools::build_example(&example));
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let directory = root.join("tests/fuzz").join(kind).join(target);
    let mut command = Command::new(&example);
    let output = command.arg(target).arg(directory).output();
    let output = output.expect("the example can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{kind}: {said}");
    let files = String::from_utf8_lossy(&output.stdout);
    files.trim().parse().expect("a number of files")
}

fn check_both(target: &str) {
    assert!(check(target, "crashes") > 0);
    assert!(check(target, "corpus") >= CORPUS_FILES_MIN);
}

#[test]
fn config() {
    check_both("config");
}

#[test]
fn machine() {
    check_both("machine");
}

#[test]
fn stderr() {
    check_both("stderr");
}

#[test]
fn request() {
    check_both("request");
}

#[test]
fn lines() {
    check_both("lines");
}
