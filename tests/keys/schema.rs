//! The schema: valid by the schema of schemas, and never stricter than the parser.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Command;

use procsched::config::{keys, schema};
use serde_json::Value;

use super::{broken, judge};
use crate::common::second_run::binary;
use crate::{directory, parse};

/// Fewer configs than this that the parser refuses would show little.
const REFUSED_MIN: usize = 200;

/// The part of what the parser refuses that the schema refuses at least, in hundredths. Of 9,933 it
/// refused 9,573.
const PERCENT_MIN: usize = 95;

/// Fewer configs than this in the repository would mean that they are not found any more.
const FOUND_MIN: usize = 40;

#[test]
fn the_command_prints_it() {
    let output = Command::new(binary()).arg("schema").output();
    let output = output.expect("the binary can be run");
    assert!(output.status.success() && output.stderr.is_empty());
    assert_eq!(String::from_utf8(output.stdout).expect("text"), schema());
}

/// Whatever a pattern may say of a value, a wrong type is found for each key.
#[test]
fn what_it_refuses_the_parser_refuses() {
    if judge::is_missing() {
        return;
    }
    let (keys, directory) = (keys(), directory());
    let configs = broken::configs(&keys);
    let texts: Vec<String> = configs
        .iter()
        .map(|(_, config)| config.to_string())
        .collect();
    let accepted = judge::accepts(&schema(), &texts);
    let (mut refused, mut refused_by_both) = (0, 0);
    let mut stricter = Vec::new();
    let mut keys_refused = BTreeSet::new();
    let mut missed: BTreeMap<&str, usize> = BTreeMap::new();
    for ((name, config), accepted) in configs.iter().zip(accepted) {
        match (parse(config, directory.path()), accepted) {
            (Ok(_), true) => {}
            (Ok(_), false) => stricter.push(config),
            (Err(_), true) => {
                refused += 1;
                *missed.entry(name).or_default() += 1;
            }
            (Err(_), false) => {
                refused += 1;
                refused_by_both += 1;
                keys_refused.insert(*name);
            }
        }
    }
    assert!(stricter.is_empty(), "the parser accepts {stricter:#?}");
    let never: Vec<_> = keys
        .iter()
        .filter(|key| !keys_refused.contains(key.name()))
        .collect();
    assert!(never.is_empty(), "any value fits: {never:?}");
    assert!(refused >= REFUSED_MIN, "{refused}");
    assert!(
        refused_by_both * 100 >= refused * PERCENT_MIN,
        "{refused_by_both} of {refused}; the parser alone: {missed:?}"
    );
}

/// The files below a directory of the repository with one of these endings; all of them without one.
fn files_below(directory: &Path, extensions: &[&str]) -> Vec<PathBuf> {
    let mut found = Vec::new();
    for entry in std::fs::read_dir(directory).expect("a directory").flatten() {
        let path = entry.path();
        let extension = path.extension().unwrap_or_default();
        if path.is_dir() && !path.ends_with("target") {
            found.extend(files_below(&path, extensions));
        } else if extensions.iter().any(|known| extension == *known) || extensions.is_empty() {
            found.push(path);
        }
    }
    found
}

/// What may be a config in a page or in a source: fenced blocks, and raw strings.
fn parts(text: &str) -> Vec<&str> {
    let fences = text.split("```").skip(1).step_by(2);
    let fences = fences.filter_map(|block| block.split_once('\n').map(|(_, inner)| inner));
    let raw = text.split("r#\"").skip(1);
    let raw = raw.filter_map(|rest| rest.split_once("\"#").map(|(inner, _)| inner));
    fences.chain(raw).collect()
}

/// The text without comments and commas behind last values.
fn strict(text: &str) -> String {
    let mut plain = String::new();
    let mut rest = text;
    while let Some(next) = rest.chars().next() {
        let length = match next {
            '"' => {
                let mut is_escaped = false;
                let end = rest.char_indices().skip(1).find(|(_, char)| {
                    let is_end = *char == '"' && !is_escaped;
                    is_escaped = *char == '\\' && !is_escaped;
                    is_end
                });
                end.map_or(rest.len(), |(at, _)| at + 1)
            }
            '/' if rest.starts_with("//") => {
                rest = rest.split_once('\n').map_or("", |(_, behind)| behind);
                continue;
            }
            '/' if rest.starts_with("/*") => {
                rest = rest.split_once("*/").map_or("", |(_, behind)| behind);
                continue;
            }
            ']' | '}' => {
                let end = plain.trim_end().trim_end_matches(',').len();
                plain.truncate(end);
                1
            }
            other => other.len_utf8(),
        };
        plain.push_str(&rest[..length]);
        rest = &rest[length..];
    }
    plain
}

/// Every text of the repository that the parser reads as a config.
fn configs_of_the_repository(directory: &Path) -> Vec<(PathBuf, String)> {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let mut texts = Vec::new();
    let mut pages = files_below(&root.join("src"), &["md", "rs"]);
    pages.extend(files_below(&root.join("tests"), &["md", "rs"]));
    pages.push(root.join("README.md"));
    for page in pages {
        let text = std::fs::read_to_string(&page).expect("UTF-8");
        texts.extend(
            parts(&text)
                .into_iter()
                .map(|part| (page.clone(), part.to_owned())),
        );
    }
    for path in files_below(&root.join("tests/fuzz/corpus/config"), &[]) {
        let bytes = std::fs::read(&path).expect("a file");
        texts.extend(String::from_utf8(bytes).ok().map(|text| (path, text)));
    }
    texts.retain(|(_, text)| {
        procsched::config::Config::parse(text.as_bytes(), "f", directory).is_ok()
    });
    texts
}

#[test]
fn each_config_of_the_repository_fits() {
    if judge::is_missing() {
        return;
    }
    let directory = directory();
    let configs = configs_of_the_repository(directory.path());
    assert!(configs.len() >= FOUND_MIN, "only {}", configs.len());
    let is_page = |(path, _): &&(PathBuf, String)| path.extension().is_some_and(|end| end == "md");
    assert!(configs.iter().filter(is_page).count() > 2);
    let one_line = |(path, text): &(PathBuf, String)| -> String {
        let value: Value = serde_json::from_str(strict(text).trim_start_matches('\u{feff}'))
            .unwrap_or_else(|error| panic!("{}: {error}\n{text}", path.display()));
        value.to_string()
    };
    let lines: Vec<String> = configs.iter().map(one_line).collect();
    let accepted = judge::accepts(&schema(), &lines);
    let refused = configs
        .iter()
        .zip(accepted)
        .filter(|(_, accepted)| !accepted);
    let refused: Vec<_> = refused.map(|(config, _)| config).collect();
    assert!(refused.is_empty(), "{refused:#?}");
}
