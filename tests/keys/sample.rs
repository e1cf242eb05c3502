//! Configs in which one key has one value.

use procsched::config::{Key, KeyDefault, KeyType, Rule, Scope};
use serde_json::{Map, Value, json};

/// Where a key of a program stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Home {
    Program,
    Defaults,
}

impl Home {
    /// The places that a key has: of one of the file the first does not matter.
    pub fn of(key: &Key) -> &'static [Self] {
        match key.scope() {
            Scope::File | Scope::ProgramOnly => &[Self::Program],
            Scope::Program => &[Self::Program, Self::Defaults],
        }
    }
}

/// A value of the table.
pub fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_else(|error| panic!("{text}: {error}"))
}

/// The default, if it is a value.
pub fn default(key: &Key) -> Option<Value> {
    match key.default() {
        KeyDefault::Json(text) => Some(value(text)),
        _ => None,
    }
}

/// A config with little that could be left out. `web` is the program that keys are given to. All have
/// a nice value: a default that is given as their first attribute would be another thing than none.
pub fn base() -> Value {
    let program = json!({"command": ["sleep", "600"], "nice": 5});
    json!({"programs": {"web": program, "db": program, "cache": program}})
}

/// The rules of the object that a key stands in.
fn rules_around(keys: &[Key], key: &Key) -> &'static [Rule] {
    let rules = |key_type: &KeyType| match key_type {
        KeyType::Object(rules) => Some(*rules),
        _ => None,
    };
    let object = keys.iter().find(|other| other.name() == key.place().0);
    let found = object.and_then(|object| match object.key_type() {
        KeyType::OneOf(types) => types.iter().find_map(rules),
        other => rules(&other),
    });
    found.unwrap_or(&[])
}

/// What else an object has to have, so that this key of it may be there.
fn companion(rules: &[Rule], name: &str) -> Option<&'static str> {
    rules.iter().find_map(|rule| match *rule {
        Rule::Required(required) if required != name => Some(required),
        Rule::ExactlyOne(names) if names.split(' ').all(|one| one != name) => {
            names.split(' ').find(|one| *one == "connect")
        }
        Rule::NotBoth(one, other) if ![one, other].contains(&name) => Some(one),
        _ => None,
    })
}

/// The object that has the key, in the config; it is made if it is missing.
pub fn container<'c>(config: &'c mut Value, key: &Key, home: Home) -> &'c mut Map<String, Value> {
    let around = match (key.scope(), home) {
        (Scope::File, _) => config,
        (_, Home::Program) => &mut config["programs"]["web"],
        (_, Home::Defaults) => made(config, "defaults"),
    };
    let object = match key.place().0 {
        "" => around,
        place => made(around, place),
    };
    object.as_object_mut().expect("an object")
}

fn made<'c>(object: &'c mut Value, name: &str) -> &'c mut Value {
    let object = object.as_object_mut().expect("an object");
    object.entry(name).or_insert_with(|| json!({}))
}

/// A config in which the key has this value.
pub fn with(keys: &[Key], key: &Key, home: Home, value: Value) -> Value {
    let mut config = without(keys, key, home);
    container(&mut config, key, home).insert(key.place().1.to_owned(), value);
    config
}

/// The same without the key, and with what the key needs.
pub fn without(keys: &[Key], key: &Key, home: Home) -> Value {
    let mut config = base();
    let (place, name) = key.place();
    let object = container(&mut config, key, home);
    if let Some(other) = companion(rules_around(keys, key), name) {
        let other = keys.iter().find(|known| known.place() == (place, other));
        let other = other.expect("a rule names a key");
        object.insert(other.place().1.to_owned(), value(other.example()));
    }
    config
}
