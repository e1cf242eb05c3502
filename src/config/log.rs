//! `log`: how large the logs of a program grow, and what is in them besides its own words.

use super::item::Field;
use super::size;
use crate::spec::LogOptions;
use crate::text::quoted;

const SIZE: &str = r#"a number of bytes, or "64K", "10M", "1G""#;

pub(super) const EXPECTED: &str = r#"an object such as {"max_bytes": "10M", "keep": 5}"#;

pub(super) const FIELDS: [Field<LogOptions>; 4] = [
    ("max_bytes", |log, item, problems| {
        let read = |text: &str| {
            let invalid = || format!("invalid size {}: expected {SIZE}", quoted(text));
            size::from_text(text).ok_or_else(invalid)
        };
        let bytes = item.whole_or(read, SIZE, problems);
        let is_possible =
            |bytes: &u64| item.passes(LogOptions::max_bytes_problem(*bytes), problems);
        if let Some(bytes) = bytes.filter(is_possible) {
            log.max_bytes = bytes;
        }
    }),
    ("keep", |log, item, problems| {
        let logs = item.whole("a whole number", problems);
        let is_possible = |logs: &u32| item.passes(LogOptions::keep_problem(*logs), problems);
        if let Some(logs) = logs.filter(is_possible) {
            log.keep = logs;
        }
    }),
    ("timestamps", |log, item, problems| {
        log.timestamps = item.boolean(problems).unwrap_or(log.timestamps);
    }),
    ("marks", |log, item, problems| {
        log.marks = item.boolean(problems).unwrap_or(log.marks);
    }),
];
