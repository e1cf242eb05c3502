//! What holds for every file, tried on generated ones.

use std::path::Path;

use proptest::collection::vec;
use proptest::prelude::*;
use serde_json::Value;

use super::EXAMPLE;
use crate::config::scan::{Kind, Node, scan, scan_keys};
use crate::config::{Config, Control, keys};

/// Reads a file; its specifications are right, or its errors have a place inside of it.
fn try_file(bytes: &[u8]) -> Result<(), TestCaseError> {
    let errors = match Config::parse(bytes, "f", Path::new("/")) {
        Ok(config) => {
            prop_assert!(!config.programs.is_empty());
            let control = Control::parse(bytes, "f", Path::new("/"));
            prop_assert_eq!(control, Ok(config.control));
            for spec in &config.programs {
                prop_assert_eq!(spec.problems(), Vec::new());
            }
            return Ok(());
        }
        Err(errors) => errors,
    };
    prop_assert!(errors.iter().next().is_some());
    prop_assert_eq!(errors.to_string().lines().count(), errors.iter().count());
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    let mut last = (1, 1);
    for error in &errors {
        let place = (error.line(), error.column());
        prop_assert!(last <= place, "{} after {:?}", error, last);
        let line = lines.get(error.line() - 1);
        let columns_max = line.map(|line| line.chars().count() + 1);
        prop_assert!(
            columns_max.is_some_and(|max| error.column() <= max),
            "{error} {place:?}"
        );
        prop_assert!(!error.to_string().chars().any(char::is_control), "{error}");
        last = place;
    }
    Ok(())
}

/// A client finds the same socket, or the same errors, however little of the file it reads.
fn try_client(bytes: &[u8]) -> Result<(), TestCaseError> {
    if let Ok(text) = std::str::from_utf8(bytes) {
        let (source, directory) = ("f", Path::new("/"));
        let whole = text.strip_prefix('\u{feff}').unwrap_or(text);
        prop_assert_eq!(
            Control::parse(bytes, source, directory),
            Control::read(whole, source, directory),
            "{}",
            text
        );
    }
    Ok(())
}

/// What may stand in a file besides its keys, right and wrong, so that most values are met.
const WORDS: &[&str] = &[
    "json",
    "none",
    "notify",
    "%i",
    "027",
    "nofile",
    "core",
    "64K",
    "1:unlimited",
    "main",
    "root",
    "null",
    "inherit",
    "127.0.0.1:80",
    "./a.sock",
    "$schema",
    "x-note",
    "web",
    "always",
    "on-failure",
    "TERM",
    "5s",
    "0.5m",
    "",
];

const SIGNS: &[&str] = &[
    "{",
    "}",
    "[",
    "]",
    ",",
    ":",
    "\"",
    "\\",
    "/",
    "//",
    "/*",
    "*/",
    " ",
    "\n",
    "\t",
    "1",
    "tru",
    "é",
    "\"control\"",
    "\"base_dir\":",
    "\"c\"",
    "\"\\u0061\"",
    "false",
];

/// The example, and what only a client reads past.
const CLIENT_EXAMPLE: &str = r#"// "
{ "base_dir": "/b", /* } */ "defaults": {"control": "]\\"}, "programs": {"web": [1 2, "\"{", // }
    true /**/]}, "control" : // :
    "run/c.sock", "env": tru,} // "#;

fn words_and_keys() -> Vec<&'static str> {
    let keys = keys().into_iter().map(|key| key.place().1);
    keys.chain(WORDS.iter().copied()).collect()
}

fn words() -> impl Strategy<Value = String> {
    prop_oneof![
        4 => prop::sample::select(words_and_keys()).prop_map(str::to_owned),
        1 => any::<String>(),
    ]
}

fn json() -> impl Strategy<Value = String> {
    let leaf = prop_oneof![
        words().prop_map(|word| Value::from(word).to_string()),
        any::<i64>().prop_map(|number| number.to_string()),
        any::<u64>().prop_map(|number| number.to_string()),
        any::<f64>()
            .prop_filter("no JSON", |number| number.is_finite())
            .prop_map(|number| format!("{number:e}")),
        prop::sample::select(&["null", "true", "false", "0", "1", "-0", "1e-9"][..])
            .prop_map(str::to_owned),
    ];
    leaf.prop_recursive(6, 64, 6, |inner| {
        let entry = (
            words(),
            inner.clone(),
            prop::sample::select(&["", " ", "\r\n"][..]),
        );
        prop_oneof![
            vec(inner, 0..4).prop_map(|values| format!("[{}]", values.join(","))),
            vec(entry, 0..6).prop_map(|entries| {
                let entry = |(key, value, space): &(String, String, &str)| {
                    format!("{space}{}{space}:{space}{value}", Value::from(key.as_str()))
                };
                let entries: Vec<String> = entries.iter().map(entry).collect();
                format!("{{{}}}", entries.join(","))
            }),
        ]
    })
}

/// `serde_json` rounds a little beside.
fn close(a: &str, b: &str) -> bool {
    let (Ok(a), Ok(b)) = (a.parse::<f64>(), b.parse::<f64>()) else {
        return false;
    };
    (a - b).abs() <= a.abs() * 1e-14 + f64::MIN_POSITIVE
}

/// The same value as `serde_json` has it.
fn same(node: &Node<'_>, value: &Value) -> bool {
    match (&node.kind, value) {
        (Kind::Null, Value::Null) => true,
        (Kind::Bool(a), Value::Bool(b)) => a == b,
        (Kind::Number(a), Value::Number(b)) => close(a, &b.to_string()),
        (Kind::String(a), Value::String(b)) => a == b,
        (Kind::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| same(a, b))
        }
        // Of duplicates `serde_json` keeps the last.
        (Kind::Object(a), Value::Object(b)) => {
            b.iter().all(|(key, value)| {
                let last = a.iter().rev().find(|entry| entry.key == *key);
                last.is_some_and(|entry| same(&entry.value, value))
            }) && a.iter().all(|entry| b.contains_key(&entry.key))
        }
        _ => false,
    }
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        try_file(&bytes)?;
    }

    #[test]
    fn any_text(text in any::<String>()) {
        try_file(text.as_bytes())?;
        try_client(text.as_bytes())?;
        // It ends, whatever it says.
        let _ = scan(&text);
        let _ = scan_keys(&text, &["control"]);
    }

    #[test]
    fn any_json(text in json()) {
        try_file(text.as_bytes())?;
        try_client(text.as_bytes())?;
        let value: Value = serde_json::from_str(&text).expect("JSON");
        let node = scan(&text).expect("what serde_json reads, the scanner reads");
        prop_assert!(same(&node, &value), "{}", text);
        let keys = ["control", "base_dir"];
        let mut part = node.clone();
        if let Kind::Object(entries) = &mut part.kind {
            entries.retain(|entry| keys.contains(&&*entry.key));
        }
        prop_assert_eq!(scan_keys(&text, &keys), Ok(part), "{}", text);
    }

    #[test]
    fn any_settings(defaults in json(), program in json()) {
        let text = format!(
            r#"{{"defaults": {defaults}, "programs": {{"a": ["a"], "web": {program}}}}}"#
        );
        try_file(text.as_bytes())?;
    }

    /// The example with some bytes cut out and others in their place.
    #[test]
    fn any_damage(at in 0..EXAMPLE.len(), cut in 0..20usize, put in vec(any::<u8>(), 0..4)) {
        let mut bytes = EXAMPLE.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put);
        try_file(&bytes)?;
    }

    /// Whatever is made of the signs that end and separate keys, values and comments.
    #[test]
    fn any_signs(signs in vec(prop::sample::select(SIGNS), 0..30)) {
        try_client(signs.concat().as_bytes())?;
        let text = format!("{{\"a\": [{}], \"control\": \"c\"}}", signs.concat());
        try_client(text.as_bytes())?;
    }

    #[test]
    fn any_damage_for_a_client(
        at in 0..CLIENT_EXAMPLE.len(),
        cut in 0..20usize,
        put in vec(prop::sample::select(SIGNS), 0..4),
    ) {
        let mut bytes = CLIENT_EXAMPLE.as_bytes().to_vec();
        let end = (at + cut).min(bytes.len());
        bytes.splice(at..end, put.concat().bytes());
        try_client(&bytes)?;
    }

    /// The example with a value replaced by any other.
    #[test]
    fn any_replaced_value(which in 0..20usize, with in json()) {
        let values: Vec<usize> = EXAMPLE.match_indices(": ").map(|(at, _)| at + 2).collect();
        let start = values[which % values.len()];
        let mut rest = serde_json::Deserializer::from_str(&EXAMPLE[start..]).into_iter::<Value>();
        rest.next().expect("a value").expect("JSON");
        let end = start + rest.byte_offset();
        try_file([&EXAMPLE[..start], &with, &EXAMPLE[end..]].concat().as_bytes())?;
    }
}
