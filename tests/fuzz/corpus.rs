//! The checks of the fuzzer without a fuzzer: those of one target, for every file in a directory.
//!
//! `corpus TARGET DIRECTORY`. The first file that fails is named, and the code is then 101. It
//! is an example for the reason that the probe is one, and because the unit tests of the modules
//! in it are not to be compiled once more.

#![allow(dead_code, unreachable_patterns, unused_imports)]

extern crate self as procsched;

mod checks;

include!("modules.rs");

use std::panic::catch_unwind;

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let [target, directory] = &*arguments else {
        panic!("corpus TARGET DIRECTORY, and not {arguments:?}");
    };
    let check = match target.as_str() {
        "config" => checks::config::check,
        "lines" => checks::lines::check,
        "machine" => checks::machine::check,
        "request" => checks::request::check,
        "stderr" => checks::stderr::check,
        _ => panic!("there is no target {target:?}"),
    };
    let mut files = 0;
    for entry in std::fs::read_dir(directory).expect("a directory") {
        let path = entry.expect("an entry").path();
        let bytes = std::fs::read(&path).expect("a file");
        let passes = catch_unwind(|| check(&bytes)).is_ok();
        assert!(passes, "{target} fails with {}", path.display());
        files += 1;
    }
    let mut stdout = std::io::stdout().lock();
    std::io::Write::write_fmt(&mut stdout, format_args!("{files}\n")).expect("stdout takes a line");
}
