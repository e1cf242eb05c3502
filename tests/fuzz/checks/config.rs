//! A file that nobody has written: refused with the place of everything that is wrong with it,
//! or read; and what was read, printed and read again, is the same.

use std::collections::BTreeSet;
use std::path::Path;

use serde_json::{Map, Value, json};

use super::print;
use crate::config::{Config, ConfigErrors};

/// What is compared piece by piece is of a size that this takes no time for.
const COMPARED_BYTES_MAX: usize = 4 * 1024;

pub fn check(bytes: &[u8]) {
    match parse(bytes) {
        Ok(config) => {
            check_config(&config, bytes);
            let printed = print::config(&config);
            let again = Config::parse(printed.as_bytes(), "printed", Path::new("/elsewhere"));
            assert_eq!(again.as_ref(), Ok(&config), "{printed}");
        }
        Err(errors) => check_errors(&errors, bytes),
    }
    if bytes.len() <= COMPARED_BYTES_MAX {
        check_completeness(bytes);
    }
}

fn parse(bytes: &[u8]) -> Result<Config, ConfigErrors> {
    Config::parse(bytes, "f", Path::new("/srv/shop"))
}

/// Nothing is in it that the builder would refuse, and nothing of the file is missing.
fn check_config(config: &Config, bytes: &[u8]) {
    for spec in &config.programs {
        assert_eq!(spec.problems(), Vec::new());
    }
    assert!(config.base_dir.is_absolute() && config.err_dir.is_absolute());
    let file = json_of(bytes).expect("what was read is JSON");
    let names: BTreeSet<&str> = config.programs.iter().map(|spec| spec.name()).collect();
    assert_eq!(
        names.len(),
        config.programs.len(),
        "two programs of one name"
    );
    let described = file["programs"].as_object().expect("it was read");
    let described = described.keys().map(String::as_str);
    let written: BTreeSet<&str> = names.iter().map(|name| written_name(&file, name)).collect();
    assert_eq!(
        written,
        described.filter(|name| !is_ignored(name)).collect()
    );
    for spec in &config.programs {
        let described = &file["programs"][written_name(&file, spec.name())];
        if described.get("instances").is_some() {
            // Its command has the number in it.
            continue;
        }
        let command = described.get("command").unwrap_or(described);
        let command: Option<Vec<&str>> = command
            .as_array()
            .map(|words| words.iter().filter_map(Value::as_str).collect());
        let read: Vec<&str> = spec
            .command
            .iter()
            .filter_map(|word| word.to_str())
            .collect();
        assert_eq!(Some(read), command);
    }
}

/// The name that the file has for a program: an instance has a number behind that.
fn written_name<'n>(file: &Value, name: &'n str) -> &'n str {
    let inner = name.rsplit_once('@').map(|(inner, _)| inner);
    let is_instance = file["programs"].get(name).is_none();
    inner.filter(|_| is_instance).unwrap_or(name)
}

/// One line each, in the order of the file, told once, and there is something at its place.
fn check_errors(errors: &ConfigErrors, bytes: &[u8]) {
    let shown = errors.to_string();
    assert_eq!(shown.lines().count(), errors.iter().count());
    assert!(errors.iter().next().is_some(), "refused without a reason");
    let text = String::from_utf8_lossy(bytes);
    let text = text.strip_prefix('\u{feff}').unwrap_or(&text);
    let lines: Vec<&str> = text.split('\n').collect();
    let mut told = BTreeSet::new();
    let mut last = (1, 1);
    for (error, shown) in errors.iter().zip(shown.lines()) {
        let place = (error.line(), error.column());
        assert_eq!(shown, format!("f:{}:{}: error: {error}", place.0, place.1));
        assert!(!shown.chars().any(char::is_control), "{shown:?}");
        assert!(last <= place, "{shown} comes after {last:?}");
        assert!(told.insert(shown), "{shown} is told twice");
        let line = lines.get(place.0.wrapping_sub(1));
        let line = line.unwrap_or_else(|| panic!("{shown}: there is no such line"));
        let found = line.chars().nth(place.1.wrapping_sub(1));
        // A value or a key begins there, or the text was not even JSON: then there is a
        // character, be it a line feed, or the end of the file.
        let begins = found.is_some_and(|found| "\"{[-0123456789tfn".contains(found));
        let feed = line.chars().count() + usize::from(place.0 < lines.len());
        let is_inside = (1..=feed.max(1)).contains(&place.1);
        let is_right = begins || (error.path().is_empty() && is_inside);
        assert!(is_right, "{shown}: there is {found:?}");
        last = place;
    }
}

/// All errors are shown at once: what is wrong with a program is told beside other programs if
/// it is told of a file in which it is alone.
fn check_completeness(bytes: &[u8]) {
    let Some(Value::Object(file)) = json_of(bytes) else {
        return;
    };
    let Some(Value::Object(programs)) = file.get("programs") else {
        return;
    };
    let with = |programs: Map<String, Value>| {
        let mut file = file.clone();
        file["programs"] = Value::Object(programs);
        wrong(&json!(file).to_string())
    };
    let mut apart = BTreeSet::new();
    for (name, program) in programs.iter().filter(|(name, _)| !is_ignored(name)) {
        apart.extend(with(Map::from_iter([(name.clone(), program.clone())])));
    }
    // Links are to the other programs.
    let is_link = |(path, _): &(String, String)| {
        let keys = [".after", ".requires"];
        keys.iter().any(|key| path.contains(key))
    };
    apart.retain(|error| !is_link(error));
    let mut together = with(programs.clone());
    together.retain(|error| !is_link(error));
    if programs.keys().any(|name| !is_ignored(name)) {
        assert_eq!(together, apart, "{}", json!(file));
    }
}

/// Where something is wrong, and what.
fn wrong(text: &str) -> BTreeSet<(String, String)> {
    match parse(text.as_bytes()) {
        Ok(_) => BTreeSet::new(),
        Err(errors) => errors
            .iter()
            .map(|error| (error.path().to_owned(), error.message().to_owned()))
            .collect(),
    }
}

fn json_of(bytes: &[u8]) -> Option<Value> {
    let bytes = bytes.strip_prefix(b"\xef\xbb\xbf").unwrap_or(bytes);
    let strict = serde_json::from_slice(bytes);
    strict
        .or_else(|_| serde_json::from_slice(&strict_json(bytes)))
        .ok()
}

/// The same without comments and trailing commas, taken out in two passes over tokens.
fn strict_json(bytes: &[u8]) -> Vec<u8> {
    let mut tokens: Vec<&[u8]> = Vec::new();
    let mut rest = bytes;
    while !rest.is_empty() {
        let find = |end: &[u8], from: usize| {
            let at = rest
                .windows(end.len())
                .skip(from)
                .position(|window| window == end);
            at.map_or(rest.len(), |at| from + at + end.len())
        };
        let length = match rest {
            [b'/', b'/', ..] => find(b"\n", 2),
            [b'/', b'*', ..] => find(b"*/", 2),
            [b'"', ..] => {
                let mut at = 1;
                while at < rest.len() && rest[at] != b'"' {
                    at += 1 + usize::from(rest[at] == b'\\');
                }
                (at + 1).min(rest.len())
            }
            _ => 1,
        };
        let (token, behind) = rest.split_at(length);
        rest = behind;
        let is_comment = token.starts_with(b"//") || token.starts_with(b"/*");
        tokens.push(if is_comment { b" " } else { token });
    }
    let space = |token: &&[u8]| token.len() == 1 && b" \t\r\n".contains(&token[0]);
    let next = |at: usize| tokens[at + 1..].iter().find(|token| !space(token));
    let is_trailing = |at: usize| tokens[at] == b"," && matches!(next(at), Some(&b"]" | &b"}"));
    let kept = (0..tokens.len()).filter(|&at| !is_trailing(at));
    kept.flat_map(|at| tokens[at].iter().copied()).collect()
}

fn is_ignored(key: &str) -> bool {
    key == "$schema" || key.starts_with("x-")
}
