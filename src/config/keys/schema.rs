//! The JSON Schema of a config, draft-07, made from the table of keys.
//!
//! What it refuses the parser refuses. The parser refuses more: what concerns two values, other
//! files or the system, and values whose rules a pattern cannot say. Keys apply only to values of
//! their own type, so that one object can say what is right of a number and of a string.
//!
//! It is put together as text: a tree of values, built by code, made the binary 56 KB larger.

use serde_json::Value;

use super::{Key, KeyDefault, KeyType, Rule, Scope, keys};
use crate::config::instances;
use crate::signal::{SIGNAL_MAX, Signal};
use crate::spec::{Resource, stop_signal_problem};

/// The beginning of the whole. Editors know `allowComments` and `allowTrailingCommas`; standard
/// schemas have no words for it.
const HEAD: &str = r#"{"$schema":"http://json-schema.org/draft-07/schema#",
"title":"A config of procsched","allowComments":true,"allowTrailingCommas":true,"#;

/// The end of each object: the keys that it may have besides, and whose values are ignored.
const NO_OTHERS: &str =
    r#""patternProperties":{"^(x-|\\$schema$)":true},"additionalProperties":false"#;

const NAME: &str = r#""name":{"type":"string","pattern":"^[A-Za-z0-9][A-Za-z0-9._@-]{0,63}$"},"#;

/// Each program is an object or a command.
const PROGRAMS: &str = r##""type":"object","minProperties":1,
"propertyNames":{"pattern":"^([A-Za-z0-9][A-Za-z0-9._@-]{0,63}$|x-|\\$schema$)"},
"patternProperties":{"^(x-|\\$schema$)":true},
"additionalProperties":{"$ref":"#/definitions/program"}"##;

const DURATION: &str =
    r"^([0-9]+(\\.[0-9]+)?h)?([0-9]+(\\.[0-9]+)?m)?([0-9]+(\\.[0-9]+)?s)?([0-9]+(\\.[0-9]+)?ms)?$";

const PATH: &str = r#""type":"string","minLength":1,"not":{"pattern":"^~/"}"#;

const ENV_FILE: &str = r#""type":"string","minLength":1,
"not":{"anyOf":[{"const":"-"},{"pattern":"^-?~/"}]}"#;

/// A path has a slash. A `%` stands for the number of an instance.
const ADDRESS: &str = r#""type":"string","not":{"pattern":"://|^~/"},
"pattern":"/|%|^([0-9.]+|\\[[0-9A-Fa-f:.]+\\]):[0-9]+$""#;

/// Names of signals in other spellings than that of the list: with `SIG`, or in lower case.
const OTHER_SIGNAL: &str = r#"{"type":"string","pattern":"^[Ss][Ii][Gg]|[a-z]"}"#;

const LIMIT: &str = r#"{"type":["integer","string"],"minimum":0,
"pattern":"^(unlimited|infinity|[0-9]+[KMGT]?)(:(unlimited|infinity|[0-9]+[KMGT]?))?$"}"#;

/// The largest number of a user or a group is one less than what stands for none.
const ACCOUNT: &str = r#""type":["integer","string"],"minimum":0,"maximum":4294967294"#;

const COMMAND: &str = r#""type":"array","minItems":1,"additionalItems":{"type":"string"},"items":"#;

/// A name that has a `=` is refused, unless it is ignored.
const VARIABLES: &str = r#""type":"object","propertyNames":{"minLength":1},
"patternProperties":{"^(x-|\\$schema$)":true,"^=|^x=|^([^x]|x[^-]).*=":false},
"additionalProperties":"#;

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
    let mut text = Text(HEAD.to_owned());
    text.definitions(&keys);
    text.object(&keys, "", &[Rule::Required("programs")], |scope| {
        scope == Scope::File
    });
    text.add("}");
    // All of it is JSON, as a test tries: this is for the indentation.
    let value: Value = serde_json::from_str(&text.0).unwrap_or_default();
    format!("{value:#}\n")
}

/// The text so far.
struct Text(String);

impl Text {
    fn add(&mut self, text: &str) {
        self.0.push_str(text);
    }

    fn add_all(&mut self, texts: &[&str]) {
        texts.iter().for_each(|text| self.add(text));
    }

    /// Adds elements with commas between them.
    fn list<T>(
        &mut self,
        elements: impl IntoIterator<Item = T>,
        mut add: impl FnMut(&mut Self, T),
    ) {
        for (index, element) in elements.into_iter().enumerate() {
            if index > 0 {
                self.add(",");
            }
            add(self, element);
        }
    }

    /// Adds words in quotes. None of them has anything to escape.
    fn words<'w>(&mut self, words: impl IntoIterator<Item = &'w str>) {
        self.list(words, |text, word| text.add_all(&["\"", word, "\""]));
    }

    /// Adds what is used more than once: commands, and the keys of programs and defaults.
    fn definitions(&mut self, keys: &[Key]) {
        self.add_all(&[
            "\"definitions\":{",
            NAME,
            "\"command\":{",
            COMMAND,
            "[{",
            PATH,
            "}]}",
        ]);
        self.add(r##","program":{"anyOf":[{"$ref":"#/definitions/command"},{"##);
        self.object(keys, "", &[Rule::Required("command")], |scope| {
            scope != Scope::File
        });
        self.add("}]}");
        for key in keys {
            if key.scope() != Scope::File && key.place().0.is_empty() {
                self.add_all(&[",\"program.", key.name(), "\":"]);
                self.key(keys, key);
            }
        }
        self.add("},");
    }

    /// Adds what values a key can have, and what people need to know of it.
    fn key(&mut self, keys: &[Key], key: &Key) {
        self.add("{");
        self.key_type(keys, key.key_type(), key);
        let gap = if key.details().is_empty() { "" } else { " " };
        let description = [key.summary(), gap, key.details()].concat();
        self.add_all(&[",\"description\":", &Value::from(description).to_string()]);
        if let KeyDefault::Json(default) = key.default() {
            self.add_all(&[",\"default\":", default]);
        }
        self.add_all(&[",\"examples\":[", key.example(), "]}"]);
    }

    /// Adds an object with the keys directly below this one that are wanted.
    fn object(
        &mut self,
        keys: &[Key],
        place: &str,
        rules: &[Rule],
        is_wanted: impl Fn(Scope) -> bool,
    ) {
        self.add("\"type\":\"object\",\"properties\":{");
        let wanted = keys
            .iter()
            .filter(|key| key.place().0 == place && is_wanted(key.scope()));
        self.list(wanted, |text, key| {
            text.add_all(&["\"", key.place().1, "\":"]);
            if place.is_empty() && key.scope() != Scope::File {
                text.add_all(&[r##"{"$ref":"#/definitions/program."##, key.name(), "\"}"]);
            } else {
                text.key(keys, key);
            }
        });
        self.add_all(&["},", NO_OTHERS]);
        self.rules(rules);
    }

    fn rules(&mut self, rules: &[Rule]) {
        for rule in rules {
            match *rule {
                Rule::Required(name) => self.add_all(&[",\"required\":[\"", name, "\"]"]),
                Rule::ExactlyOne(names) => {
                    self.add(",\"oneOf\":[");
                    self.each_required(names);
                }
                Rule::NotBoth(one, other) => {
                    self.add(",\"not\":{\"required\":[");
                    self.words([one, other]);
                    self.add("]}");
                }
                Rule::Needs(..) => {}
            }
        }
        let needs = |rule: &Rule| match *rule {
            Rule::Needs(name, others) => Some((name, others)),
            _ => None,
        };
        if rules.iter().any(|rule| needs(rule).is_some()) {
            self.add(",\"dependencies\":{");
            self.list(rules.iter().filter_map(needs), |text, (name, others)| {
                text.add_all(&["\"", name, "\":{\"anyOf\":["]);
                text.each_required(others);
                text.add("}");
            });
            self.add("}");
        }
    }

    /// Adds that each of these names is required, by itself, and the end of that list.
    fn each_required(&mut self, names: &str) {
        self.list(names.split(' '), |text, name| {
            text.add_all(&["{\"required\":[\"", name, "\"]}"]);
        });
        self.add("]");
    }

    fn key_type(&mut self, keys: &[Key], key_type: KeyType, key: &Key) {
        match key_type {
            KeyType::Boolean => self.add(r#""type":"boolean""#),
            KeyType::False => self.add(r#""const":false"#),
            KeyType::Word(words) => {
                self.add("\"enum\":[");
                self.words(words.split(' '));
                self.add("]");
            }
            KeyType::Whole { min, max } => {
                let (min, max) = (min.to_string(), max.to_string());
                self.add_all(&[
                    r#""type":"integer","minimum":"#,
                    &min,
                    r#","maximum":"#,
                    &max,
                ]);
            }
            KeyType::Share => self.add(r#""type":"number","minimum":0,"maximum":1"#),
            KeyType::Duration { zero } => self.duration(zero, key.place().0),
            KeyType::Size { min } => {
                self.add(r#""type":["integer","string"],"pattern":"^[0-9]+[KMGT]?$","#);
                self.add_all(&[
                    r#""anyOf":[{"const":0},{"minimum":"#,
                    &min.to_string(),
                    "}]",
                ]);
            }
            KeyType::Limits => self.limits(),
            KeyType::Path => self.add(PATH),
            KeyType::EnvFile => self.add(ENV_FILE),
            KeyType::Address => self.add(ADDRESS),
            KeyType::StopSignal => self.stop_signal(),
            KeyType::Exit => self.exit(),
            KeyType::Umask => self.add(r#""type":"string","pattern":"^0*[0-7]{1,3}$""#),
            KeyType::Account => self.add(ACCOUNT),
            // Beside a reference nothing else would count.
            KeyType::Name => self.add(r##""allOf":[{"$ref":"#/definitions/name"}]"##),
            KeyType::Command => self.add(r##""allOf":[{"$ref":"#/definitions/command"}]"##),
            KeyType::Scalar => self.add(r#""type":["string","number","boolean"]"#),
            KeyType::List(element) => {
                self.add(r#""type":"array","items":{"#);
                self.key_type(keys, *element, key);
                self.add("}");
            }
            KeyType::Variables(variable) => {
                self.add_all(&[VARIABLES, "{"]);
                self.key_type(keys, *variable, key);
                self.add("}");
            }
            KeyType::Object(rules) => self.object(keys, key.name(), rules, |_| true),
            KeyType::Defaults => self.object(keys, "", &[], |scope| scope == Scope::Program),
            KeyType::Programs => self.add(PROGRAMS),
            KeyType::OneOf(types) => {
                self.add("\"anyOf\":[");
                self.list(types, |text, one| {
                    text.add("{");
                    text.key_type(keys, *one, key);
                    text.add("}");
                });
                self.add("]");
            }
        }
    }

    /// Adds a duration. Strings of a check may have the number of an instance in them.
    fn duration(&mut self, zero: bool, place: &str) {
        let least = if zero { "minimum" } else { "exclusiveMinimum" };
        let number = if instances::KEYS.contains(&place) {
            "%|"
        } else {
            ""
        };
        let start = r#""type":["number","string"],"minLength":1,"pattern":""#;
        self.add_all(&[start, number, DURATION, "\",\"", least, "\":0"]);
    }

    fn limits(&mut self) {
        self.add("\"type\":\"object\",\"properties\":{");
        self.list(Resource::ALL, |text, resource| {
            text.add_all(&["\"", resource.key(), "\":", LIMIT]);
        });
        self.add_all(&["},", NO_OTHERS]);
    }

    fn stop_signal(&mut self) {
        let is_usable = |signal: &i32| stop_signal_problem(*signal).is_none();
        self.signals(is_usable);
        let highest = SIGNAL_MAX.to_string();
        self.add_all(&[r#"{"type":"integer","minimum":1,"maximum":"#, &highest]);
        self.add(r#","not":{"enum":["#);
        let refused = (1..=SIGNAL_MAX).filter(|signal| !is_usable(signal));
        self.list(refused, |text, signal| text.add(&signal.to_string()));
        self.add_all(&["]}},", OTHER_SIGNAL, "]"]);
    }

    fn exit(&mut self) {
        self.signals(|_| true);
        let lowest = (-SIGNAL_MAX).to_string();
        self.add_all(&[
            r#"{"type":"integer","minimum":"#,
            &lowest,
            r#","maximum":255"#,
        ]);
        self.add_all(&[r#","not":{"const":0}},"#, OTHER_SIGNAL, "]"]);
    }

    /// Adds the beginning of a choice: the names of signals, without `SIG`.
    fn signals(&mut self, is_wanted: impl Fn(&i32) -> bool) {
        self.add("\"anyOf\":[{\"enum\":[");
        let names = (1..=SIGNAL_MAX).filter(is_wanted).filter_map(|number| {
            let name = Signal::new(number).ok()?.to_string();
            Some(name.strip_prefix("SIG")?.to_owned())
        });
        self.list(names, |text, name| text.add_all(&["\"", &name, "\""]));
        self.add("]},");
    }
}
