//! The rules of the house, as tests: what a reviewer would otherwise have to look for.
//!
//! The sources are read as tokens, so that comments and strings are not mistaken for code.

use std::collections::BTreeSet;
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::spanned::Spanned;
use syn::visit::Visit;

mod rooms;
mod sources;
mod words;

use sources::{Source, flatten, root, sources_below};

const FUNCTION_LINES_MAX: usize = 70;
const FILE_LINES_MAX: usize = 500;

/// The modules of the library. Each may import from those above it, and from none below.
const LAYERS: [&str; 21] = [
    "error",
    "text",
    "signal",
    "cstr_list",
    "machine",
    "orphans",
    "spec",
    "event",
    "status",
    "os",
    "report",
    "plan",
    "lineage",
    "exec",
    "init",
    "handle",
    "callbacks",
    "program",
    "scheduler",
    "config",
    "guide",
];

/// These stand alone: the machine decides about facts, not about anything of ours.
const LEAVES: [&str; 3] = ["error", "cstr_list", "machine"];

const RUNTIME_PACKAGES: [&str; 5] = ["base64", "libc", "nix", "serde_json", "time"];

impl Source {
    fn is_test(&self) -> bool {
        self.path
            .components()
            .any(|part| part.as_os_str() == "tests")
            || self.path.ends_with("tests.rs")
    }

    fn has_ident(&self, word: &str) -> bool {
        self.tokens
            .iter()
            .any(|token| matches!(token, TokenTree::Ident(ident) if ident == word))
    }

    /// The identifiers in it, but for those of the unit tests at its end.
    fn shipped(&self) -> BTreeSet<String> {
        let shipped = self.text.split("#[cfg(test)]\nmod tests").next();
        let stream: TokenStream = shipped.unwrap_or_default().parse().expect("Rust");
        let tokens = flatten(stream);
        let idents = tokens
            .iter()
            .filter(|token| matches!(token, TokenTree::Ident(_)));
        idents.map(ToString::to_string).collect()
    }

    /// Whether these tokens stand somewhere one after the other, as in `Instant :: now`.
    fn has_sequence(&self, words: &[&str]) -> bool {
        self.tokens.windows(words.len()).any(|window| {
            window
                .iter()
                .zip(words)
                .all(|(token, word)| token.to_string() == *word)
        })
    }

    /// The module of the library that it belongs to.
    fn module(&self) -> Option<String> {
        let inner = self.path.strip_prefix("src").ok()?;
        let first = inner.components().next()?.as_os_str().to_str()?;
        let name = first.strip_suffix(".rs").unwrap_or(first);
        (!["lib", "bin"].contains(&name)).then(|| name.to_owned())
    }
}

fn complain(rule: &str, offenders: BTreeSet<String>) {
    assert!(
        offenders.is_empty(),
        "{rule}:\n  {}",
        offenders.into_iter().collect::<Vec<_>>().join("\n  ")
    );
}

/// The paths of the sources for which something holds.
fn paths(sources: &[Source], offends: impl Fn(&Source) -> bool) -> BTreeSet<String> {
    sources
        .iter()
        .filter(|s| offends(s))
        .map(|s| s.path.display().to_string())
        .collect()
}

#[test]
fn imports_point_one_way() {
    let mut offenders = BTreeSet::new();
    for source in sources_below("src") {
        let Some(module) = source.module() else {
            continue;
        };
        let layer = LAYERS.iter().position(|known| *known == module);
        let layer = layer.unwrap_or_else(|| panic!("src/{module} has no place in LAYERS"));
        if source.text.contains("crate::{") {
            offenders.insert(format!(
                "{}: name each module by itself",
                source.path.display()
            ));
        }
        for window in source.tokens.windows(4) {
            let words: Vec<String> = window.iter().map(ToString::to_string).collect();
            if words[0] != "crate" || words[1] != ":" || words[2] != ":" {
                continue;
            }
            let target = LAYERS.iter().position(|known| *known == words[3]);
            let upwards = target.is_some_and(|target| target > layer);
            let alone = LEAVES.contains(&&*module) && target != Some(layer);
            if upwards || alone {
                offenders.insert(format!("{}: crate::{}", source.path.display(), words[3]));
            }
        }
    }
    complain("an import points the wrong way", offenders);
}

/// As a crate of its own it has nothing else, unless it includes a file of the library. Its tests may
/// include what other tests have.
#[test]
fn the_binary_uses_the_public_api_only() {
    let outside = paths(&sources_below("src/bin"), |source| {
        let mut included = source.text.lines().filter(|line| line.contains("#[path"));
        let is_of_library = |line: &str| !line.contains("/tests/");
        included.any(is_of_library) || source.has_ident("include")
    });
    complain("the binary reaches into the library", outside);
}

#[test]
fn unsafe_code_stands_in_os_alone() {
    let offenders = paths(&sources_below("src"), |source| {
        source.has_ident("unsafe") && !source.path.starts_with("src/os")
    });
    complain("unsafe outside of src/os", offenders);
}

/// Dispositions and the allocator belong to the process, in which a host may have threads, and a
/// mask to one of them; nothing else knows that there are any.
#[test]
fn no_thread_and_no_async() {
    let words = ["thread", "async", "await", "Mutex", "RwLock", "Condvar"];
    let allowed = [
        ("src/handle.rs", "Mutex"),
        ("src/os/handlers.rs", "Mutex"),
        ("src/os/emergency_heap.rs", "Mutex"),
        ("src/os/signals.rs", "thread"),
    ];
    let offenders = paths(&sources_below("src"), |source| {
        let library = !source.path.starts_with("src/bin");
        let is_allowed = |word: &str| {
            let here =
                |(path, allowed): &(&str, &str)| source.path.ends_with(path) && *allowed == word;
            allowed.iter().any(here) || (!library && word == "Mutex")
        };
        let shipped = source.shipped();
        let found = |word: &&str| shipped.contains(*word) && !is_allowed(word);
        words.iter().any(found) && !source.is_test()
    });
    complain("a thread, a lock or async code", offenders);
}

#[test]
fn the_clock_is_read_in_one_place() {
    let places = ["src/os/clock.rs", "src/bin/procsched-min/clock.rs"];
    let offenders = paths(&sources_below("src"), |source| {
        let reads = [
            ["Instant", ":", ":", "now"],
            ["SystemTime", ":", ":", "now"],
        ];
        let reads = reads.iter().any(|words| source.has_sequence(words));
        let reads = reads || source.has_ident("elapsed") || source.has_ident("clock_gettime");
        reads && !places.iter().any(|place| source.path.ends_with(place))
    });
    complain("a clock is read outside of its place", offenders);
}

#[test]
fn json_stands_in_its_places() {
    let offenders = paths(&sources_below("src"), |source| {
        let ours = source.path.starts_with("src/config") || source.path.starts_with("src/report");
        let ours = ours || source.path.ends_with("src/report.rs");
        let ours = ours || source.path.starts_with("src/bin/procsched-min/client");
        let ours = ours || source.path.starts_with("src/bin/procsched-min/control");
        let ours = ours || source.path.starts_with("src/bin/procsched-min/import");
        (source.has_ident("serde_json") || source.has_ident("base64")) && !ours
    });
    complain(
        "JSON outside of config, report, import and the control socket",
        offenders,
    );
}

#[test]
fn the_machine_does_no_io() {
    let words = [
        "libc",
        "nix",
        "Instant",
        "SystemTime",
        "File",
        "fs",
        "io",
        "process",
        "env",
    ];
    let offenders = paths(&sources_below("src/machine"), |source| {
        words.iter().any(|word| source.has_ident(word))
    });
    complain("the machine knows the outside", offenders);
}

#[test]
fn nothing_switched_off_and_nothing_promised() {
    let words = [
        "todo",
        "unimplemented",
        "dbg",
        "ignore",
        "println",
        "eprintln",
    ];
    let mut sources = sources_below("src");
    sources.retain(|source| !source.is_test());
    let offenders = paths(&sources, |source| {
        words.iter().any(|word| source.has_ident(word))
    });
    complain("a promise or a switch", offenders);
    let ignored = paths(&sources_below("tests"), |source| {
        source.has_sequence(&["#", "ignore"]) && !source.path.ends_with("tidy.rs")
    });
    complain("a test that is ignored", ignored);
}

#[test]
fn every_file_tells_its_idea_first_and_stays_short() {
    let mut offenders = BTreeSet::new();
    for source in sources_below("src") {
        let lines = source.text.lines().count();
        if lines > FILE_LINES_MAX {
            offenders.insert(format!("{}: {lines} lines", source.path.display()));
        }
        if !source.text.starts_with("//!") && !source.is_test() {
            offenders.insert(format!("{}: no head", source.path.display()));
        }
    }
    complain("a file without a head, or too long for one idea", offenders);
}

struct LongFunctions<'a> {
    path: &'a Path,
    found: BTreeSet<String>,
}

impl LongFunctions<'_> {
    fn look_at(&mut self, name: &syn::Ident, whole: impl Spanned) {
        let span = whole.span();
        let lines = span.end().line - span.start().line + 1;
        if lines > FUNCTION_LINES_MAX {
            self.found
                .insert(format!("{}: {name}: {lines} lines", self.path.display()));
        }
    }
}

impl<'ast> Visit<'ast> for LongFunctions<'_> {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        self.look_at(&function.sig.ident, &function.block);
        syn::visit::visit_item_fn(self, function);
    }

    fn visit_impl_item_fn(&mut self, function: &'ast syn::ImplItemFn) {
        self.look_at(&function.sig.ident, &function.block);
        syn::visit::visit_impl_item_fn(self, function);
    }
}

#[test]
fn no_function_is_longer_than_a_page() {
    let mut offenders = BTreeSet::new();
    for directory in ["src", "tests", "benches"] {
        for source in sources_below(directory) {
            let file = syn::parse_file(&source.text).expect("Rust");
            let mut visitor = LongFunctions {
                path: &source.path,
                found: BTreeSet::new(),
            };
            visitor.visit_file(&file);
            offenders.extend(visitor.found);
        }
    }
    complain("a function of over 70 lines", offenders);
}

#[test]
fn five_packages_at_run_time_and_no_other() {
    let manifest = std::fs::read_to_string(root().join("Cargo.toml")).expect("a manifest");
    let section = manifest
        .split("\n[")
        .find_map(|part| part.strip_prefix("dependencies]\n"));
    let lines = section.expect("dependencies").lines();
    let names: BTreeSet<&str> = lines
        .filter_map(|line| line.split_once('='))
        .map(|(name, _)| name.trim())
        .collect();
    assert_eq!(names, RUNTIME_PACKAGES.into_iter().collect());
}
