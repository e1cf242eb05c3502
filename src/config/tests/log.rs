//! How logs are kept: what is read, how it is merged with the defaults, and what is refused.

use super::program;
use super::programs::check_keys;
use crate::spec::LogOptions;

#[test]
fn keys_are_merged_with_those_of_the_defaults() {
    let defaults = r#"{"log": {"max_bytes": "10M", "keep": 5, "marks": true}}"#;
    let own = r#"{"command": ["a"], "log": {"keep": 0, "timestamps": true, "marks": false}}"#;
    let expected = LogOptions::new().max_bytes(10 << 20).keep(0);
    assert_eq!(program(defaults, own).log, expected.timestamps(true));
    let own = r#"{"command": ["a"], "log": {"max_bytes": 0}}"#;
    assert_eq!(
        program(defaults, own).log,
        LogOptions::new().keep(5).marks(true)
    );
    let log = program("{}", r#"{"command": ["a"]}"#).log;
    assert_eq!(log, LogOptions::default());
}

#[test]
fn what_is_refused() {
    check_keys(
        r#"
        "log": "10M" => 2:8: programs.web.log: expected an object such as {"max_bytes": "10M", "keep": 5}, got "10M"
        "log": {"max_bytes": 65535} => 2:22: programs.web.log.max_bytes: 65535 bytes are too few for a log: use at least 65536, or 0 for no limit
        "log": {"max_bytes": "63K"} => 2:22: programs.web.log.max_bytes: 64512 bytes are too few for a log: use at least 65536, or 0 for no limit
        "log": {"max_bytes": "10 M"} => 2:22: programs.web.log.max_bytes: invalid size "10 M": expected a number of bytes, or "64K", "10M", "1G"
        "log": {"max_bytes": 1.5} => 2:22: programs.web.log.max_bytes: expected a number of bytes, or "64K", "10M", "1G", got 1.5
        "log": {"keep": 101} => 2:17: programs.web.log.keep: 101 rotated logs are too many: use at most 100
        "log": {"keep": "5"} => 2:17: programs.web.log.keep: expected a whole number, got "5"
        "log": {"marks": 1} => 2:18: programs.web.log.marks: expected true or false, got 1
        "log": {"maxbytes": 1} => 2:9: programs.web.log.maxbytes: unknown key (did you mean "max_bytes"?)"#,
    );
}
