//! What is made of the table in files of the repository, between two markers: words for the fuzzer.
//! With `PROCSCHED_WRITE=1` it is written there.

use std::collections::BTreeSet;

use procsched::config::{KeyType, keys};
use serde_json::Value;

use super::{part, sample};

/// A word as libFuzzer has it in a dictionary.
fn quoted(word: &str) -> String {
    format!("\"{}\"\n", word.replace('\\', "\\\\").replace('"', "\\\""))
}

/// The words of a type.
fn words_of(key_type: KeyType) -> Vec<&'static str> {
    match key_type {
        KeyType::Word(words) => words.split(' ').collect(),
        KeyType::OneOf(types) => types.iter().flat_map(|one| words_of(*one)).collect(),
        _ => Vec::new(),
    }
}

#[test]
fn the_words_of_the_fuzzer() {
    let mut lines = BTreeSet::new();
    for key in keys() {
        let name = key.place().1;
        let example = sample::value(key.example());
        let start = match example {
            Value::Array(_) => "[",
            Value::Object(_) => "{",
            _ => "",
        };
        lines.insert(quoted(&format!("\"{name}\":{start}")));
        if start.is_empty() {
            lines.insert(quoted(&example.to_string()));
        }
        let words = words_of(key.key_type()).into_iter();
        lines.extend(words.map(|word| quoted(&format!("\"{word}\""))));
    }
    let text: String = lines.into_iter().collect();
    part::check("tests/fuzz/config.dict", "keys", &text);
}
