//! `env_file`: files of variables, found when the base directory is known, and read with the config.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use super::Config;
use super::errors::{Place, Problems};
use super::item::Item;
use crate::spec::env_file::{Variables, is_missing, read};
use crate::spec::{ChildSpec, path_problem};

/// A file of a program.
#[derive(Clone)]
pub(super) struct EnvFile {
    path: PathBuf,
    /// True if it may be missing.
    is_optional: bool,
    position: (Place, String),
}

/// Reads a path, or several: later files win. A `-` in front: it may be missing.
pub(super) fn paths(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<EnvFile>> {
    let expected = r#"a path, or an array such as ["app.env", "-local.env"]"#;
    let items = match item.text() {
        Some(_) => return Some(vec![path(item, problems)?]),
        None => item.elements(expected, problems)?,
    };
    let files: Vec<EnvFile> = items
        .iter()
        .filter_map(|item| path(item, problems))
        .collect();
    (files.len() == items.len()).then_some(files)
}

fn path(item: &Item<'_>, problems: &mut Problems) -> Option<EnvFile> {
    let text = item.string(problems)?;
    let (is_optional, text) = match text.strip_prefix('-') {
        Some(rest) => (true, rest),
        None => (false, text),
    };
    let path = PathBuf::from(text);
    let is_valid = item.passes(path_problem("path", &path), problems);
    is_valid.then(|| EnvFile {
        path,
        is_optional,
        position: item.position(),
    })
}

/// Adds the variables of the files of each program to those that it has itself, which win. Each file is
/// read once. Returns them, each with the first key that names it.
pub(super) fn add(
    programs: &mut [ChildSpec],
    files: &[Vec<EnvFile>],
    base_dir: &Path,
    problems: &mut Problems,
) -> Vec<(String, PathBuf)> {
    let mut read_ones = Vec::new();
    let mut known: BTreeMap<PathBuf, Result<Variables, String>> = BTreeMap::new();
    for (spec, files) in programs.iter_mut().zip(files) {
        if files.is_empty() {
            continue;
        }
        let mut all = Vec::new();
        for file in files {
            let path = base_dir.join(&file.path);
            if file.is_optional && is_missing(&path) {
                continue;
            }
            if !known.contains_key(&path) {
                read_ones.push((file.position.1.clone(), path.clone()));
            }
            match known.entry(path.clone()).or_insert_with(|| read(&path)) {
                Ok(variables) => all.extend(variables.iter().cloned()),
                Err(problem) => {
                    let (place, key) = &file.position;
                    problems.add(*place, key, problem.clone());
                }
            }
        }
        all.append(&mut spec.env);
        spec.env = last_of_each(all);
    }
    read_ones
}

impl Config {
    /// Returns the files of variables that were read, absolute, each with the first key that names it.
    ///
    /// ```
    /// use procsched::config::Config;
    /// # let directory = tempfile::tempdir()?;
    /// # let directory = directory.path();
    ///
    /// std::fs::write(directory.join("web.env"), "MODE=prod\n")?;
    /// let text = br#"{"programs": {"web": {"command": ["true"], "env_file": "web.env"}}}"#;
    /// let config = Config::parse(text, "procsched.json", directory)?;
    /// let (key, path) = &config.env_files()[0];
    /// assert_eq!(key, "programs.web.env_file");
    /// assert_eq!(*path, directory.join("web.env"));
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    #[must_use]
    pub fn env_files(&self) -> &[(String, PathBuf)] {
        &self.env_files
    }
}

/// Returns the last variable of each name.
fn last_of_each(mut all: Variables) -> Variables {
    let mut names = BTreeSet::new();
    all.reverse();
    all.retain(|(name, _)| names.insert(name.clone()));
    all.reverse();
    all
}
