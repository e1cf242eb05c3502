//! Configs most of which are broken: each key with values of every type, at and beyond its limits,
//! and objects with a key too many or too few.

use procsched::config::{Key, KeyType};
use serde_json::{Value, json};

use super::sample::{self, Home};

/// Values of every type, some of which each key refuses.
const VALUES: &str = r#"[
        null, true, false, 0, 1, -1, 1.5, -0.5, 3, 65, 99, 1001, 70000, 4294967295, 5e9, 1e20,
        "", "x", "x y", "8s", "30s1m", "10M", "10MB", "TERM", "TREM", "STOP", "15", "SIG15", "027",
        "028", "1000", "~/x", "-", "-~/x", "-x", "a/b", "127.0.0.1:80", "localhost:80", "http://a/b",
        "[::1]:80", "%", "root", "notify", "null", "log", "no such",
        [], [null], [1], [0], [256], [-65], [""], ["~/x"], ["a"], ["a", 1], ["db"], ["db", "wbe"],
        ["TERM", "trem"], {}, {"x": 1}, {"x-note": 1, "$schema": ""}, {"": "a"}, {"A=B": "a"},
        {"x-A=B": null}, {"A": null}, {"A": 1}, {"command": ["a"]}, {"command": []},
        {"connect": "a/b"}, {"connect": "a"}, {"connect": "a/b", "command": ["a"]},
        {"fd": 3, "delay": 1}, {"fd": 3, "interval": 1}, {"delay": 1, "timeout": 1}, {"interval": 1},
        {"nofile": 9}, {"nofile": "9:1"}, {"nofile": "9:many"}, {"nofile": -1}, {"nofiles": 9},
        {"a b": ["a"]}, {"-a": ["a"]}, {"x-a": ["a"]}, {"a": []}, {"a": {}}, {"a": {"x": 1}},
        {"a": {"command": ["a"], "instances": 0}}, {"web": ["a"], "x-b": 5}]"#;

fn values() -> Vec<Value> {
    serde_json::from_str(VALUES).expect("JSON")
}

/// Values at the limits of a type, and beyond them.
fn at_the_limits(key_type: KeyType) -> Vec<Value> {
    match key_type {
        KeyType::Whole { min, max } => [min - 1, min, max, max + 1]
            .into_iter()
            .map(Value::from)
            .collect(),
        KeyType::Size { min } => vec![json!(min - 1), json!(min), json!(min.to_string() + "T")],
        KeyType::Share => vec![json!(1), json!(1.001), json!(-0.001)],
        KeyType::Word(words) => {
            let words = words.split(' ').map(Value::from);
            words.chain([json!(words_joined(key_type))]).collect()
        }
        KeyType::OneOf(types) => types.iter().flat_map(|one| at_the_limits(*one)).collect(),
        _ => Vec::new(),
    }
}

/// All words of a type in one.
fn words_joined(key_type: KeyType) -> String {
    match key_type {
        KeyType::Word(words) => words.replace(' ', "-"),
        _ => String::new(),
    }
}

/// Returns the configs, and for each the key that it is about.
pub fn configs(keys: &[Key]) -> Vec<(&'static str, Value)> {
    let mut all = Vec::new();
    for key in keys {
        let limits = at_the_limits(key.key_type());
        let examples = [sample::value(key.example())];
        let default = sample::default(key);
        let values = values()
            .into_iter()
            .chain(limits)
            .chain(examples)
            .chain(default);
        for value in values {
            for &home in Home::of(key) {
                let config = sample::with(keys, key, home, value.clone());
                all.push((key.name(), config));
            }
        }
        for &home in Home::of(key) {
            all.push((key.name(), sample::without(keys, key, home)));
            let mut unknown = sample::without(keys, key, home);
            let name = format!("{}x", key.place().1);
            sample::container(&mut unknown, key, home).insert(name, json!(1));
            all.push((key.name(), unknown));
        }
    }
    let whole = [
        json!({}),
        json!([]),
        json!(null),
        json!({"programs": {"": ["a"]}}),
        json!({"programs": {"a": ["a"]}, "x": 1}),
        json!({"programs": {"a": ["a"]}, "command": ["a"]}),
        json!({"programs": {"a": ["a"]}, "defaults": {"after": []}}),
        json!({"programs": {"a": {"restart": "never"}}}),
        json!({"programs": {"n".repeat(64): ["a"]}}),
        json!({"programs": {"n".repeat(65): ["a"]}}),
    ];
    all.extend(whole.map(|config| ("programs", config)));
    all
}
