//! The files that a supervisord.conf consists of: itself, and what its `[include]` names.

use std::path::{Path, PathBuf};

use super::ini::{self, Section};

/// How many files `[include]` may lead to.
const FILES_MAX: usize = 1_000;

/// The section that names further files.
pub const INCLUDE: &str = "include";

/// Reads a file and what it includes.
pub fn read(path: &Path, text: &str, sections: &mut Vec<Section>) -> Result<(), String> {
    let mut waiting = vec![(path.to_owned(), text.to_owned())];
    let mut count = 0;
    while let Some((path, text)) = waiting.pop() {
        count += 1;
        if count > FILES_MAX {
            return Err(format!(
                "{}: more than {FILES_MAX} files are included",
                path.display()
            ));
        }
        let directory = path.parent().unwrap_or(Path::new(""));
        for mut section in ini::parse(&path, &text)? {
            if section.name == INCLUDE {
                for file in included(&mut section, directory) {
                    waiting.push((file.clone(), super::read(&file)?));
                }
            }
            sections.push(section);
        }
    }
    Ok(())
}

/// Returns the files that a section names, by patterns in the last part of a path, and leaves in it
/// the patterns that none matches.
fn included(section: &mut Section, directory: &Path) -> Vec<PathBuf> {
    section.entries.retain(|entry| entry.key == "files");
    let mut found = Vec::new();
    for entry in &mut section.entries {
        let mut without: Vec<&str> = Vec::new();
        for pattern in entry.value.split_whitespace() {
            let mut matching = matching(&pattern.replace("%(here)s", &section.here), directory);
            if matching.is_empty() {
                without.push(pattern);
            }
            found.append(&mut matching);
        }
        entry.value = without.join(" ");
    }
    section.entries.retain(|entry| !entry.value.is_empty());
    found.reverse();
    found
}

/// Returns the files that a pattern matches, in their order.
fn matching(pattern: &str, directory: &Path) -> Vec<PathBuf> {
    let pattern = directory.join(pattern);
    let name = pattern
        .file_name()
        .unwrap_or_default()
        .to_string_lossy()
        .into_owned();
    let parent = pattern.parent().unwrap_or(directory);
    let parent = match parent == Path::new("") {
        true => Path::new("."),
        false => parent,
    };
    let mut matching: Vec<PathBuf> = std::fs::read_dir(parent)
        .into_iter()
        .flatten()
        .flatten()
        .filter(|entry| matches(&name, &entry.file_name().to_string_lossy()))
        .map(|entry| entry.path())
        .filter(|path| path.is_file())
        .collect();
    matching.sort();
    matching
}

/// True if a name matches a pattern in which `*` stands for anything.
fn matches(pattern: &str, name: &str) -> bool {
    let Some((start, mut rest)) = pattern.split_once('*') else {
        return pattern == name;
    };
    let Some(mut name) = name.strip_prefix(start) else {
        return false;
    };
    while let Some((part, after)) = rest.split_once('*') {
        let Some(at) = name.find(part) else {
            return false;
        };
        (name, rest) = (&name[at + part.len()..], after);
    }
    name.ends_with(rest)
}
