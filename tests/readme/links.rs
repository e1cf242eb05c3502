//! Where links lead to: among the files of the repository, and in the crate's documentation.
//!
//! A page of the guide links to another by a label, whose target is at the page's end for readers of
//! the file, and in `links.md` for readers of the documentation.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use super::blocks::{Page, page, pages};

/// Where the guide is.
const GUIDE: &str = "src/guide";

/// Anchors that rustdoc has on each page. A heading with such a name would get another.
const RUSTDOC_ANCHORS: [&str; 7] = [
    "help",
    "settings",
    "search",
    "fields",
    "variants",
    "layout",
    "implementations",
];

/// The links of a page.
#[derive(Default)]
struct Links {
    /// Targets of `[text](target)`.
    inline: Vec<String>,
    /// Labels of `[text][label]` and `[label]`.
    labels: BTreeSet<String>,
    /// Targets by label, from lines `[label]: target`.
    definitions: BTreeMap<String, String>,
}

impl Links {
    fn of(lines: &[&str]) -> Self {
        let mut links = Self::default();
        for line in lines {
            if let Some((label, target)) = definition(line) {
                let before = links.definitions.insert(label, target);
                assert_eq!(before, None, "a label is defined twice: {line}");
            } else {
                // What is in a span of code is no link; a span may be the text of one.
                let spans = line.split('`').enumerate();
                let text = spans.filter(|(index, _)| index % 2 == 0);
                links.collect(&text.map(|(_, text)| text).collect::<String>());
            }
        }
        links
    }

    fn collect(&mut self, text: &str) {
        let mut rest = text;
        while let Some((_, behind)) = rest.split_once('[') {
            let (label, behind) = behind.split_once(']').expect("a bracket is closed");
            rest = behind;
            if let Some(behind) = behind.strip_prefix('(') {
                let (target, behind) = behind.split_once(')').expect("a link is closed");
                self.inline.push(target.to_owned());
                rest = behind;
            } else if !behind.starts_with('[') {
                self.labels.insert(label.to_owned());
            }
        }
    }
}

fn definition(line: &str) -> Option<(String, String)> {
    let (label, target) = line.strip_prefix('[')?.split_once("]: ")?;
    Some((label.to_owned(), target.to_owned()))
}

fn links(page: &'static Page) -> Links {
    Links::of(&page.prose())
}

/// Whether there is such a file, with a heading of that name.
fn exists(directory: &str, target: &str) -> bool {
    let (file, anchor) = match target.split_once('#') {
        Some((file, anchor)) => (file, Some(anchor)),
        None => (target, None),
    };
    let path = Path::new(directory).join(file);
    let Some(anchor) = anchor else {
        return Path::new(env!("CARGO_MANIFEST_DIR")).join(path).exists();
    };
    let page = pages().iter().find(|page| Path::new(&page.path) == path);
    page.is_some_and(|page| page.anchors().iter().any(|known| known == anchor))
}

#[test]
fn every_link_leads_somewhere() {
    let mut count = 0;
    for page in pages() {
        let path = &page.path;
        let links = links(page);
        let in_guide = path.starts_with(GUIDE);
        for target in &links.inline {
            let found = match target.strip_prefix('#') {
                Some(anchor) => page.anchors().iter().any(|known| known == anchor),
                None if target.starts_with("https://") => true,
                None => !in_guide && exists("", target),
            };
            assert!(found, "{path}: {target} leads nowhere, or needs a label");
        }
        for (label, target) in &links.definitions {
            let found = target.starts_with("https://") || exists(GUIDE, target);
            assert!(found && in_guide, "{path}: {label} leads nowhere");
        }
        let defined: BTreeSet<String> = links.definitions.into_keys().collect();
        assert_eq!(links.labels, defined, "{path}: labels used, and defined");
        count += links.inline.len() + defined.len();
    }
    assert!(count > 30, "{count} links");
}

/// The documentation reads `links.md` before a page, and the first definition of a label counts.
#[test]
fn a_label_leads_to_the_same_place_in_the_files_and_in_the_documentation() {
    let file = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/guide/links.md");
    let text = std::fs::read_to_string(file).expect("UTF-8");
    let documented = Links::of(&text.lines().collect::<Vec<_>>()).definitions;
    assert!(documented.len() > 10, "{documented:?}");
    let mut used = BTreeSet::new();
    for page in pages() {
        for (label, target) in links(page).definitions {
            if target.starts_with("https://") {
                continue;
            }
            let place = target.replacen(".md", "", 1);
            let expected = format!("crate::guide::{place}");
            let path = &page.path;
            assert_eq!(documented.get(&label), Some(&expected), "{path}: {label}");
            used.insert(label);
        }
    }
    for (label, target) in documented {
        let place = target.strip_prefix("crate::guide::").expect("a page");
        let (page, anchor) = place.split_once('#').unwrap_or((place, ""));
        assert!(!RUSTDOC_ANCHORS.contains(&anchor), "{label}");
        let hash = if anchor.is_empty() { "" } else { "#" };
        assert!(
            exists(GUIDE, &format!("{page}.md{hash}{anchor}")),
            "{label}"
        );
    }
    assert!(used.len() > 5, "{used:?}");
}

#[test]
fn a_heading_of_a_page_has_a_name_of_its_own() {
    for page in pages() {
        let anchors = page.anchors();
        let distinct: BTreeSet<&String> = anchors.iter().collect();
        assert_eq!(distinct.len(), anchors.len(), "{}: {anchors:?}", page.path);
    }
}

/// A page that is in no list is found by no reader.
#[test]
fn every_page_is_in_the_readme_and_in_the_documentation() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let module = std::fs::read_to_string(root.join("src/guide/mod.rs")).expect("UTF-8");
    let (index, list) = module.split_once("pages! {").expect("a list of pages");
    let listed: Vec<&str> = list.split_whitespace().collect();
    let readme = links(&pages()[0]).inline;
    for page in &pages()[1..] {
        let path = &page.path;
        let name = Path::new(path).file_stem().expect("a name");
        let name = name.to_str().expect("UTF-8");
        assert!(readme.contains(path), "README.md has no link to {path}");
        assert!(listed.contains(&name), "{path} is not in pages!");
        assert!(
            index.contains(&format!("[{name}]")),
            "{path} is not in the index"
        );
    }
}

/// It had 81 KB, and what mattered most stood eight screens down.
#[test]
fn the_readme_is_one_page() {
    const BYTES_MAX: usize = 12 << 10;
    const LINES_MAX: usize = 220;
    let text = pages()[0].text();
    assert!(text.len() <= BYTES_MAX, "{} bytes", text.len());
    let lines = text.lines().count();
    assert!(lines <= LINES_MAX, "{lines} lines");
}

/// Modules that the design names under a heading that is a directory.
#[test]
fn every_module_of_the_design_exists() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR"));
    let (mut directory, mut count) = (None, 0);
    for line in page("src/guide/design.md").prose() {
        if let Some(heading) = line.strip_prefix("### ") {
            directory = Some(root.join(heading));
        } else if line.starts_with("## ") {
            directory = None;
        }
        let (Some(directory), Some(row)) = (&directory, line.strip_prefix("| `")) else {
            continue;
        };
        let (names, _) = row.split_once(" | ").expect("two cells");
        for name in names.split('`').step_by(2).filter(|name| !name.is_empty()) {
            let place = directory.join(name);
            let found = place.is_dir() || place.with_extension("rs").is_file();
            assert!(found, "{} is no module", place.display());
            count += 1;
        }
    }
    assert!(count > 80, "{count} modules");
}
