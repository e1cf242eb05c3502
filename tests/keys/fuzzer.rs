//! The fuzzer's check prints each key of a config: what it leaves out would be missing from what it
//! reads again.

use std::process::Command;

use procsched::config::keys;

use super::sample::{self, Home};
use crate::common::tools;

#[test]
fn the_fuzzer_prints_each_key() {
    let example = tools::example("corpus");
    tools::build_example(&example);
    let keys = keys();
    let directory = tempfile::tempdir().expect("a directory");
    for key in &keys {
        let value = sample::value(key.example());
        let config = sample::with(&keys, key, Home::Program, value);
        let path = directory.path().join(key.name());
        std::fs::write(path, config.to_string()).expect("a file");
    }
    let mut command = Command::new(&example);
    let output = command.arg("config").arg(directory.path()).output();
    let output = output.expect("the example can be run");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{said}");
    let files = String::from_utf8_lossy(&output.stdout);
    assert_eq!(files.trim(), keys.len().to_string());
}
