//! The table of keys is what the parser, a reload and the fuzzer know, and the schema that is made of
//! it is never stricter than the parser.

#[path = "common/mod.rs"]
#[allow(dead_code, unused_imports)] // The scenarios use the rest of it.
mod common;

mod keys {
    mod broken;
    mod fuzzer;
    mod judge;
    mod pages;
    mod part;
    mod reloads;
    pub mod sample;
    mod schema;
}

use std::path::Path;

use keys::sample::{self, Home};
use procsched::config::{Config, KeyDefault, KeyType, keys};
use serde_json::Value;

/// Parses a config as if it were in this directory.
pub fn parse(config: &Value, directory: &Path) -> Result<Config, String> {
    let text = config.to_string();
    let parsed = Config::parse(text.as_bytes(), "f", directory);
    parsed.map_err(|errors| format!("{text}\n{errors}"))
}

/// A directory that has the files that the examples name.
pub fn directory() -> tempfile::TempDir {
    let directory = tempfile::tempdir().expect("a directory");
    std::fs::write(directory.path().join("local.env"), "FROM_FILE=1\n").expect("a file");
    directory
}

#[test]
fn names_are_there_once_and_have_an_object_around_them() {
    let keys = keys();
    for (index, key) in keys.iter().enumerate() {
        let before = &keys[..index];
        assert!(
            before.iter().all(|other| other.name() != key.name()),
            "{key:?}"
        );
        let (place, _) = key.place();
        let is_known = |name: &str| before.iter().any(|other| other.name() == name);
        assert!(place.is_empty() || is_known(place), "{key:?}");
    }
}

#[test]
fn each_example_is_understood_and_no_default() {
    let (keys, directory) = (keys(), directory());
    let base = parse(&sample::base(), directory.path()).expect("it is right");
    for key in &keys {
        // Every program has its own nice value.
        let homes = match key.name() {
            "nice" => &[Home::Program],
            _ => Home::of(key),
        };
        for &home in homes {
            let config = sample::with(&keys, key, home, sample::value(key.example()));
            let config = parse(&config, directory.path()).unwrap_or_else(|error| panic!("{error}"));
            // What the key needs is in both.
            let without = parse(&sample::without(&keys, key, home), directory.path());
            let without = without.as_ref().unwrap_or(&base);
            assert_ne!(&config, without, "{} in {home:?}", key.name());
        }
    }
}

#[test]
fn each_default_is_what_holds_without_the_key() {
    let (keys, directory) = (keys(), directory());
    let mut tried = 0;
    for key in &keys {
        let Some(default) = sample::default(key) else {
            continue;
        };
        for &home in Home::of(key) {
            let without = parse(&sample::without(&keys, key, home), directory.path());
            let with = sample::with(&keys, key, home, default.clone());
            assert_eq!(
                parse(&with, directory.path()),
                without,
                "{} in {home:?}",
                key.name()
            );
            tried += 1;
        }
    }
    assert!(tried > keys.len() / 2, "{tried}");
}

#[test]
fn what_is_required_cannot_be_left_out() {
    let (keys, directory) = (keys(), directory());
    for key in keys
        .iter()
        .filter(|key| key.default() == KeyDefault::Required)
    {
        let mut config = sample::with(&keys, key, Home::Program, sample::value(key.example()));
        assert!(parse(&config, directory.path()).is_ok(), "{}", key.name());
        let object = sample::container(&mut config, key, Home::Program);
        object.remove(key.place().1);
        let error = parse(&config, directory.path()).expect_err(key.name());
        assert!(error.contains("is missing"), "{error}");
    }
}

/// A summary is one sentence for one line of a manual page.
#[test]
fn texts_are_sentences() {
    for key in keys() {
        let (summary, details) = (key.summary(), key.details());
        assert!(summary.ends_with('.') && summary.len() <= 80, "{summary}");
        assert!(!summary.trim_end_matches('.').contains(". "), "{summary}");
        assert!(details.is_empty() || details.ends_with('.'), "{details}");
        assert!(
            !details.contains("  ") && !summary.contains("  "),
            "{key:?}"
        );
        let is_listed = |text: &str| text.contains('|') || text.contains('`');
        assert!(!is_listed(summary) && !is_listed(details), "{key:?}");
        if let KeyType::Word(words) = key.key_type() {
            let example = sample::value(key.example());
            let mut words = words.split(' ');
            assert!(words.any(|word| example == word), "{key:?}");
        }
    }
}
