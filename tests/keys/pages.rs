//! What is made of the table in files of the repository, between two markers: the reference in the
//! guide, and words for the fuzzer. With `PROCSCHED_WRITE=1` it is written there.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use procsched::config::{Key, KeyDefault, KeyType, Reload, Scope, keys};
use serde_json::Value;

use super::{part, sample};

const PAGE: &str = "src/guide/configuration.md";

/// A name of a key in a text as code, as far as it is no word of English, too.
fn marked(text: &str, names: &BTreeSet<&str>) -> String {
    let words = text.split(' ').map(|word| {
        let bare = word.trim_end_matches(['.', ',', ';', ':', '?']);
        let is_code = names.contains(bare) && (bare.contains(['_', '.']) || bare == "env")
            || bare.contains(['"', '=', '%', '/', '[', '@'])
            || bare.chars().any(char::is_uppercase) && bare.contains('_');
        match is_code && !bare.is_empty() {
            true => format!("`{bare}`{}", &word[bare.len()..]),
            false => word.to_owned(),
        }
    });
    words.collect::<Vec<_>>().join(" ")
}

fn default_of(key: &Key) -> String {
    match key.default() {
        KeyDefault::Json(text) => format!("`{text}`"),
        other => other.to_string(),
    }
}

/// The keys of a scope as a table, and what else there is to know of them as a list.
fn reference(keys: &[Key], is_wanted: impl Fn(&Key) -> bool) -> String {
    let names: BTreeSet<&str> = keys.iter().map(Key::name).collect();
    let mut text =
        String::from("| key | meaning | value | default | a reload |\n|---|---|---|---|---|\n");
    let wanted: Vec<&Key> = keys.iter().filter(|key| is_wanted(key)).collect();
    for key in &wanted {
        let (name, summary) = (key.name(), marked(key.summary(), &names));
        let (values, default, reload) = (key.key_type(), default_of(key), key.reload());
        text += &format!("| `{name}` | {summary} | {values} | {default} | {reload} |\n");
    }
    text += "\nMore about some of them:\n\n";
    for key in wanted.iter().filter(|key| !key.details().is_empty()) {
        text += &format!("- `{}`: {}\n", key.name(), marked(key.details(), &names));
    }
    text
}

#[test]
fn the_reference_of_the_guide() {
    let keys = keys();
    let of_file = reference(&keys, |key| key.scope() == Scope::File);
    let of_program = reference(&keys, |key| key.scope() != Scope::File);
    let text = format!(
        "### Keys of the file\n\n{of_file}\n### Keys of a program\n\n\
         All but `command`, `after`, `requires` and `instances` may stand in `defaults`, too.\n\n\
         {of_program}"
    );
    part::check(PAGE, "keys", &text);
}

/// The page has a list of the keys by what a reload does about them.
#[test]
fn the_classes_of_a_reload_in_the_guide() {
    let path = Path::new(env!("CARGO_MANIFEST_DIR")).join(PAGE);
    let page = std::fs::read_to_string(path).expect("the page");
    let (_, table) = page
        .split_once("| changed key | effect |\n")
        .expect("the table");
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    let mut listed = BTreeMap::new();
    for row in rows {
        let class = match row {
            row if row.contains("every other key") => Reload::Live,
            row if row.contains("restart the supervisor") => Reload::Supervisor,
            _ => Reload::Restart,
        };
        let names = row.split('`').skip(1).step_by(2);
        listed.extend(names.map(|name| (name.to_owned(), class)));
    }
    for key in keys().iter().filter(|key| key.place().0.is_empty()) {
        let class = listed.remove(key.name());
        let is_other = key.scope() != Scope::File || key.reload() == Reload::Inside;
        let is_right = match class {
            Some(class) => class == key.reload(),
            None => is_other && matches!(key.reload(), Reload::Live | Reload::Inside),
        };
        assert!(
            is_right,
            "{}: {class:?}, and not {:?}",
            key.name(),
            key.reload()
        );
    }
    assert!(listed.is_empty(), "{listed:?}");
}

#[test]
fn the_words_of_others_in_the_guide() {
    let mut text = String::from("| key | systemd | supervisord | Compose |\n|---|---|---|---|\n");
    for key in keys() {
        let others = [key.systemd(), key.supervisord(), key.compose()];
        if others.iter().any(|other| !other.is_empty()) {
            let cell = |other: &str| match other {
                "" => " ".to_owned(),
                other => format!(" `{other}` "),
            };
            let cells = others.map(cell).join("|");
            text += &format!("| `{}` |{cells}|\n", key.name());
        }
    }
    part::check("src/guide/migrating.md", "keys of others", &text);
}

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
