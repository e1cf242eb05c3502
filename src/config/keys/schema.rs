//! The JSON Schema of a config, draft-07, made from the table of keys.
//!
//! What it refuses the parser refuses. The parser refuses more: what concerns two values, other
//! files or the system, and values whose rules a pattern cannot say. Keys apply only to values of
//! their own type, so that one object can say what is right of a number and of a string.

use serde_json::{Map, Value, json};

use super::{Key, KeyDefault, KeyType, Rule, Scope, keys};
use crate::config::instances;
use crate::signal::{SIGNAL_MAX, Signal};
use crate::spec::{Resource, stop_signal_problem};

/// The keys that every object may have, and whose values are ignored.
const IGNORED: &str = r"^(x-|\$schema$)";

const PROGRAM_NAME: &str = "^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$";

const DURATION: &str =
    r"^([0-9]+(\.[0-9]+)?h)?([0-9]+(\.[0-9]+)?m)?([0-9]+(\.[0-9]+)?s)?([0-9]+(\.[0-9]+)?ms)?$";

const SIZE: &str = "[0-9]+[KMGT]?";

/// A path has a slash. A `%` stands for the number of an instance.
const ADDRESS: &str = r"/|%|^([0-9.]+|\[[0-9A-Fa-f:.]+\]):[0-9]+$";

/// The name of a variable that has a `=`, but for those that are ignored.
const BAD_VARIABLE: &str = "^=|^x=|^([^x]|x[^-]).*=";

/// Names of signals in other spellings than that of the list: with `SIG`, or in lower case.
const OTHER_SIGNAL: &str = "^[Ss][Ii][Gg]|[a-z]";

/// The largest number of a user or a group.
const ID_MAX: u32 = u32::MAX - 1;

/// Returns the JSON Schema of a config, draft-07, for editors, and for tools that check a file
/// before it is used. What it refuses, [`Config::load`](crate::config::Config::load)
/// refuses. Comments and commas behind last values are for the reader of the JSON to take out.
///
/// ```
/// let schema = procsched::config::schema();
/// assert!(schema.contains("http://json-schema.org/draft-07/schema#"));
/// assert!(schema.contains("Time from stop_signal to SIGKILL"));
/// ```
#[must_use]
pub fn schema() -> String {
    let keys = keys();
    let schema = Schema { keys: &keys };
    let mut text = format!("{:#}", schema.file());
    text.push('\n');
    text
}

struct Schema<'k> {
    keys: &'k [Key],
}

impl Schema<'_> {
    fn file(&self) -> Value {
        let mut file = self.object("", &[Rule::Required("programs")], |key| {
            key.scope() == Scope::File
        });
        let parts = [
            ("$schema", json!("http://json-schema.org/draft-07/schema#")),
            ("title", json!("A config of procsched")),
            // For editors: standard schemas have no words for it.
            ("allowComments", json!(true)),
            ("allowTrailingCommas", json!(true)),
            ("definitions", self.definitions()),
        ];
        file.extend(parts.map(|(name, part)| (name.to_owned(), part)));
        file.into()
    }

    /// Returns what is used more than once: commands, and the keys of programs and defaults.
    fn definitions(&self) -> Value {
        let program = self.object("", &[Rule::Required("command")], |key| {
            key.scope() != Scope::File
        });
        let program = json!({"anyOf": [reference("command"), program]});
        let program_name = json!({"type": "string", "pattern": PROGRAM_NAME});
        let mut all = Map::new();
        all.insert("command".to_owned(), command());
        all.insert("program".to_owned(), program);
        all.insert("name".to_owned(), program_name);
        for key in self.keys {
            if key.scope() != Scope::File && key.place().0.is_empty() {
                all.insert(definition_name(key), self.key(key));
            }
        }
        all.into()
    }

    /// Returns what values a key can have, and what people need to know of it.
    fn key(&self, key: &Key) -> Value {
        let mut schema = self.of_type(key.key_type(), key);
        let description = [key.summary(), key.details()].join(" ");
        schema.insert("description".to_owned(), description.trim().into());
        if let KeyDefault::Json(text) = key.default() {
            schema.insert("default".to_owned(), value(text));
        }
        schema.insert("examples".to_owned(), json!([value(key.example())]));
        schema.into()
    }

    /// Returns an object with the keys directly below this one that are wanted.
    fn object(
        &self,
        place: &str,
        rules: &[Rule],
        is_wanted: impl Fn(&Key) -> bool,
    ) -> Map<String, Value> {
        let mut properties = Map::new();
        for key in self.keys.iter().filter(|key| is_wanted(key)) {
            let (object, name) = key.place();
            if object == place {
                let is_shared = place.is_empty() && key.scope() != Scope::File;
                let schema = match is_shared {
                    true => reference(&definition_name(key)),
                    false => self.key(key),
                };
                properties.insert(name.to_owned(), schema);
            }
        }
        let mut object = object_of(properties);
        rules.iter().for_each(|rule| add_rule(&mut object, *rule));
        object
    }

    fn of_type(&self, key_type: KeyType, key: &Key) -> Map<String, Value> {
        let schema = match key_type {
            KeyType::Boolean => json!({"type": "boolean"}),
            KeyType::False => json!({"const": false}),
            KeyType::Word(words) => json!({"enum": words.split(' ').collect::<Vec<_>>()}),
            KeyType::Whole { min, max } => {
                json!({"type": "integer", "minimum": min, "maximum": max})
            }
            KeyType::Share => json!({"type": "number", "minimum": 0, "maximum": 1}),
            KeyType::Duration { zero } => duration(zero, key.place().0),
            KeyType::Size { min } => json!({
                "type": ["integer", "string"],
                "pattern": format!("^{SIZE}$"),
                "anyOf": [{"const": 0}, {"minimum": min}],
            }),
            KeyType::Limits => limits(),
            KeyType::Path => path(),
            KeyType::EnvFile => json!({
                "type": "string",
                "minLength": 1,
                "not": {"anyOf": [{"const": "-"}, {"pattern": "^-?~/"}]},
            }),
            KeyType::Address => address(),
            KeyType::StopSignal => stop_signal(),
            KeyType::Exit => exit(),
            KeyType::Umask => json!({"type": "string", "pattern": "^0*[0-7]{1,3}$"}),
            KeyType::Account => {
                json!({"type": ["integer", "string"], "minimum": 0, "maximum": ID_MAX})
            }
            KeyType::Name => reference("name"),
            KeyType::Scalar => json!({"type": ["string", "number", "boolean"]}),
            KeyType::Command => reference("command"),
            KeyType::List(element) => {
                json!({"type": "array", "items": self.of_type(*element, key)})
            }
            KeyType::Variables(variable) => json!({
                "type": "object",
                "propertyNames": {"minLength": 1},
                "patternProperties": {IGNORED: true, BAD_VARIABLE: false},
                "additionalProperties": self.of_type(*variable, key),
            }),
            KeyType::Object(rules) => self.object(key.name(), rules, |_| true).into(),
            KeyType::Defaults => {
                let defaults = self.object("", &[], |key| key.scope() == Scope::Program);
                defaults.into()
            }
            KeyType::Programs => json!({
                "type": "object",
                "minProperties": 1,
                "propertyNames": {"anyOf": [{"pattern": PROGRAM_NAME}, {"pattern": IGNORED}]},
                "patternProperties": {IGNORED: true},
                "additionalProperties": reference("program"),
            }),
            KeyType::OneOf(types) => {
                let types = types.iter().map(|one| self.of_type(*one, key));
                json!({"anyOf": types.collect::<Vec<_>>()})
            }
        };
        match schema {
            // Nothing beside a reference counts.
            Value::Object(map) if map.contains_key("$ref") => {
                let reference = Value::Object(map);
                Map::from_iter([("allOf".to_owned(), json!([reference]))])
            }
            Value::Object(map) => map,
            _ => Map::new(),
        }
    }
}

/// Returns an object that has these keys and no others.
fn object_of(properties: Map<String, Value>) -> Map<String, Value> {
    let parts = [
        ("type", json!("object")),
        ("properties", properties.into()),
        ("patternProperties", json!({IGNORED: true})),
        ("additionalProperties", json!(false)),
    ];
    parts
        .map(|(name, part)| (name.to_owned(), part))
        .into_iter()
        .collect()
}

fn add_rule(object: &mut Map<String, Value>, rule: Rule) {
    let one_of = |names: &str| -> Vec<Value> {
        names
            .split(' ')
            .map(|name| json!({"required": [name]}))
            .collect()
    };
    let (name, part) = match rule {
        Rule::Required(name) => ("required", json!([name])),
        Rule::ExactlyOne(names) => ("oneOf", one_of(names).into()),
        Rule::NotBoth(one, other) => ("not", json!({"required": [one, other]})),
        Rule::Needs(name, others) => {
            let mut known = object.remove("dependencies").unwrap_or_else(|| json!({}));
            known[name] = json!({"anyOf": one_of(others)});
            ("dependencies", known)
        }
    };
    object.insert(name.to_owned(), part);
}

/// Returns a duration. Strings of a check may have the number of an instance in them.
fn duration(zero: bool, place: &str) -> Value {
    let least = if zero { "minimum" } else { "exclusiveMinimum" };
    let pattern = match instances::KEYS.contains(&place) {
        true => format!("%|{DURATION}"),
        false => DURATION.to_owned(),
    };
    json!({"type": ["number", "string"], "minLength": 1, "pattern": pattern, least: 0})
}

fn limits() -> Value {
    let one = format!("(unlimited|infinity|{SIZE})");
    let limit = json!({
        "type": ["integer", "string"],
        "minimum": 0,
        "pattern": format!("^{one}(:{one})?$"),
    });
    let resources = Resource::ALL.into_iter();
    let properties = resources.map(|resource| (resource.key().to_owned(), limit.clone()));
    object_of(properties.collect()).into()
}

fn path() -> Value {
    json!({"type": "string", "minLength": 1, "not": {"pattern": "^~/"}})
}

fn address() -> Value {
    json!({"type": "string", "pattern": ADDRESS, "not": {"pattern": "://|^~/"}})
}

fn command() -> Value {
    json!({
        "type": "array",
        "minItems": 1,
        "items": [path()],
        "additionalItems": {"type": "string"},
    })
}

fn stop_signal() -> Value {
    let is_usable = |signal: &i32| stop_signal_problem(*signal).is_none();
    let (usable, refused): (Vec<i32>, Vec<i32>) = signals().partition(is_usable);
    json!({"anyOf": [
        {"enum": names_of(usable.into_iter())},
        {"type": "integer", "minimum": 1, "maximum": SIGNAL_MAX, "not": {"enum": refused}},
        {"type": "string", "pattern": OTHER_SIGNAL},
    ]})
}

fn exit() -> Value {
    json!({"anyOf": [
        {"enum": names_of(signals())},
        {"type": "integer", "minimum": -SIGNAL_MAX, "maximum": 255, "not": {"const": 0}},
        {"type": "string", "pattern": OTHER_SIGNAL},
    ]})
}

fn signals() -> impl Iterator<Item = i32> {
    1..=SIGNAL_MAX
}

/// Returns the names of signals that have one, without `SIG`.
fn names_of(signals: impl Iterator<Item = i32>) -> Vec<String> {
    let names = signals.filter_map(|number| Signal::new(number).ok());
    let names = names.map(|signal| signal.to_string());
    names
        .filter_map(|name| Some(name.strip_prefix("SIG")?.to_owned()))
        .collect()
}

fn reference(name: &str) -> Value {
    json!({"$ref": format!("#/definitions/{name}")})
}

fn definition_name(key: &Key) -> String {
    format!("program.{}", key.name())
}

/// Returns a value of the table. All of them are JSON, as a test tries.
fn value(text: &str) -> Value {
    serde_json::from_str(text).unwrap_or_default()
}
