//! The bug museum: each failure of other supervisors that was collected for this one is a test
//! here, or there is a reason why it cannot be. `tests/museum.md` says which is which, and this
//! sees to it that it says the truth.
//!
//! A test tells its rows by its name, `m11_m24_…` or `museum_138_139_…`: every such test has to
//! stand in the table, and what stands there has to be a test that runs.

use std::collections::{BTreeMap, BTreeSet};
use std::path::Path;

use proc_macro2::{TokenStream, TokenTree};
use syn::visit::Visit;

mod sources;

use sources::{Source, flatten, root, sources_below};

/// The rows of the museum. Numbers that are missing were never used.
const IDS: [u32; 139] = [
    1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 16, 17, 19, 20, 23, 24, 25, 26, 28, 30, 32, 33,
    34, 35, 37, 38, 39, 41, 42, 44, 45, 46, 47, 48, 49, 51, 52, 53, 54, 55, 56, 58, 59, 60, 61, 62,
    63, 64, 65, 66, 67, 68, 70, 71, 72, 73, 75, 77, 78, 79, 80, 81, 82, 83, 84, 85, 86, 87, 88, 89,
    90, 92, 93, 94, 96, 97, 98, 99, 100, 101, 102, 104, 105, 106, 107, 108, 109, 110, 111, 112,
    113, 114, 115, 116, 117, 118, 120, 121, 122, 123, 124, 125, 126, 127, 128, 129, 130, 131, 132,
    133, 134, 135, 136, 137, 138, 139, 140, 141, 142, 143, 144, 145, 146, 147, 148, 150, 151, 152,
    153, 154, 155, 156, 157, 158, 159,
];

/// What a machine may have to have for all tests of a row.
const NEEDS: [&str; 11] = [
    "-", "attach", "root", "mounts", "pids", "times", "strace", "python3", "bash", "rustc", "tools",
];

/// How a row begins that has no test of a behaviour.
const NOT_APPLICABLE: &str = "does not apply: ";
/// A reason that is shorter is none.
const REASON_CHARS_MIN: usize = 60;

/// A function whose name says that it is about rows of the museum.
struct Exhibit {
    ids: BTreeSet<u32>,
    /// `file: function`
    place: String,
    is_test: bool,
    /// Whether it does more where all of it is asked for.
    has_whole: bool,
    /// What it asks its machine for.
    needs: BTreeSet<String>,
    /// Whether any function of its file does.
    file_has_whole: bool,
}

/// The rows that a test's name tells.
fn ids_of(name: &str) -> BTreeSet<u32> {
    let number = |word: &str| {
        let is_number = !word.is_empty() && word.bytes().all(|byte| byte.is_ascii_digit());
        is_number.then(|| word.parse().ok()).flatten()
    };
    match name.strip_prefix("museum_") {
        Some(rest) => rest.split('_').map_while(number).collect(),
        None => name
            .split('_')
            .map_while(|word| number(word.strip_prefix('m')?))
            .collect(),
    }
}

/// The functions of a file: which of them there are, which are tests, and which know the whole.
#[derive(Default)]
struct Functions {
    /// The one that is being read.
    current: String,
    all: BTreeSet<String>,
    tests: BTreeSet<String>,
    whole: BTreeSet<String>,
    /// What each asks its machine for itself, not through a helper: function and need.
    needs: BTreeSet<(String, String)>,
}

impl Functions {
    /// Those of a macro's arguments, which are tokens and no syntax yet: `proptest!` has
    /// functions there, and the lists of `tests/embedding` have names.
    fn look_into(&mut self, name: &syn::Ident, tokens: TokenStream) {
        let tokens: Vec<String> = flatten(tokens).iter().map(ToString::to_string).collect();
        if name == "tests" {
            self.tests
                .extend(tokens.iter().filter(|word| *word != ",").cloned());
        }
        let mut is_test = false;
        for pair in tokens.windows(2) {
            is_test |= pair == ["#", "test"];
            if pair[0] == "fn" {
                self.all.insert(pair[1].clone());
                if std::mem::take(&mut is_test) {
                    self.tests.insert(pair[1].clone());
                }
            }
        }
    }
}

impl<'ast> Visit<'ast> for Functions {
    fn visit_item_fn(&mut self, function: &'ast syn::ItemFn) {
        let name = function.sig.ident.to_string();
        if function
            .attrs
            .iter()
            .any(|attribute| attribute.path().is_ident("test"))
        {
            self.tests.insert(name.clone());
        }
        self.all.insert(name.clone());
        let outer = std::mem::replace(&mut self.current, name);
        syn::visit::visit_item_fn(self, function);
        self.current = outer;
    }

    fn visit_expr_path(&mut self, path: &'ast syn::ExprPath) {
        let words: Vec<String> = path
            .path
            .segments
            .iter()
            .map(|word| word.ident.to_string())
            .collect();
        if let [.., kind, need] = &*words
            && kind == "Need"
            && need != "Tool"
        {
            self.needs
                .insert((self.current.clone(), need.to_lowercase()));
        }
    }

    fn visit_expr_call(&mut self, call: &'ast syn::ExprCall) {
        if let (syn::Expr::Path(function), Some(syn::Expr::Lit(tool))) =
            (&*call.func, call.args.first())
            && let syn::Lit::Str(tool) = &tool.lit
            && function
                .path
                .segments
                .last()
                .is_some_and(|last| last.ident == "Tool")
        {
            let tool = tool.value();
            let need = if NEEDS.contains(&&*tool) {
                &*tool
            } else {
                "tools"
            };
            self.needs.insert((self.current.clone(), need.to_owned()));
        }
        if let syn::Expr::Path(function) = &*call.func
            && function
                .path
                .segments
                .last()
                .is_some_and(|last| last.ident == "whole")
        {
            self.whole.insert(self.current.clone());
        }
        syn::visit::visit_expr_call(self, call);
    }

    fn visit_macro(&mut self, call: &'ast syn::Macro) {
        if let Some(name) = call.path.segments.last() {
            self.look_into(&name.ident, call.tokens.clone());
        }
    }
}

/// The functions of a file whose names tell rows of the museum.
fn exhibits_of(source: &Source) -> Vec<Exhibit> {
    let file = syn::parse_file(&source.text).expect("Rust");
    let mut functions = Functions::default();
    functions.visit_file(&file);
    let exhibit = |name: &String| Exhibit {
        ids: ids_of(name),
        place: format!("{}: {name}", source.path.display()),
        is_test: functions.tests.contains(name),
        has_whole: functions.whole.contains(name),
        needs: {
            let own = functions
                .needs
                .iter()
                .filter(|(function, _)| function == name);
            own.map(|(_, need)| need.clone()).collect()
        },
        file_has_whole: !functions.whole.is_empty(),
    };
    let mut found: Vec<Exhibit> = functions.all.iter().map(exhibit).collect();
    found.retain(|exhibit| !exhibit.ids.is_empty());
    found
}

/// Those of this repository.
fn exhibits(sources: &[Source]) -> Vec<Exhibit> {
    let found: Vec<Exhibit> = sources.iter().flat_map(exhibits_of).collect();
    assert!(
        found.len() > 200,
        "only {} tests are of the museum",
        found.len()
    );
    found
}

fn sources() -> Vec<Source> {
    ["src", "tests"]
        .into_iter()
        .flat_map(sources_below)
        .collect()
}

/// A row of the table.
struct Row {
    id: u32,
    symptom: String,
    lever: String,
    needs: Vec<String>,
    tests: BTreeSet<String>,
    note: String,
}

/// Reads `| id | symptom | lever | needs | tests | note |`.
fn rows() -> Vec<Row> {
    let table = std::fs::read_to_string(root().join("tests/museum.md")).expect("the table");
    let row = |line: &str| {
        let inner = line.strip_prefix("| ")?.strip_suffix(" |")?;
        let cells: Vec<&str> = inner.split('|').map(str::trim).collect();
        let id = cells[0].parse().ok()?;
        let [_, symptom, lever, needs, tests, note] = *cells else {
            panic!("{} cells in {line}", cells.len());
        };
        let list = |cell: &str, end: &str| -> Vec<String> {
            cell.split(end)
                .map(str::trim)
                .filter(|word| !word.is_empty())
                .map(str::to_owned)
                .collect()
        };
        Some(Row {
            id,
            symptom: symptom.to_owned(),
            lever: lever.to_owned(),
            needs: list(needs, ","),
            tests: list(&tests.replace('`', ""), "<br>").into_iter().collect(),
            note: note.to_owned(),
        })
    };
    table.lines().filter_map(row).collect()
}

#[test]
fn the_table_has_every_row_once_and_in_order() {
    let ids: Vec<u32> = rows().iter().map(|row| row.id).collect();
    assert_eq!(ids, IDS);
}

/// Both ways: a test that is renamed, removed or new has to be so in the table as well.
#[test]
fn the_table_names_all_tests_of_each_row_and_no_others() {
    let mut of_id: BTreeMap<u32, BTreeSet<String>> = BTreeMap::new();
    let mut wrong = Vec::new();
    for exhibit in exhibits(&sources()) {
        if !exhibit.is_test {
            wrong.push(format!("{} is no test", exhibit.place));
        }
        for id in exhibit.ids {
            if !IDS.contains(&id) {
                wrong.push(format!("{}: there is no row {id}", exhibit.place));
            }
            of_id.entry(id).or_default().insert(exhibit.place.clone());
        }
    }
    for row in rows() {
        let there = of_id.remove(&row.id).unwrap_or_default();
        if row.tests != there {
            let wanted: Vec<String> = there.iter().map(|place| format!("`{place}`")).collect();
            wrong.push(format!(
                "row {} has to name: {}",
                row.id,
                wanted.join("<br>")
            ));
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn a_row_says_how_it_is_tried_or_why_it_is_not() {
    for row in rows() {
        assert!(row.symptom.len() >= 10, "row {}: no symptom", row.id);
        assert!(
            !row.needs.is_empty(),
            "row {}: needs nothing is \"-\"",
            row.id
        );
        for need in &row.needs {
            assert!(
                NEEDS.contains(&&**need),
                "row {}: no need is called {need:?}",
                row.id
            );
        }
        if row.tests.is_empty() {
            let reason = row.note.strip_prefix(NOT_APPLICABLE).unwrap_or_default();
            let is_one = reason.chars().count() >= REASON_CHARS_MIN;
            assert!(
                is_one,
                "row {} has no test and no reason: {:?}",
                row.id, row.note
            );
        } else {
            assert!(row.lever.len() >= 4, "row {}: no lever", row.id);
        }
    }
}

/// A test may ask for more through a helper, so that a row may have more than is seen here.
#[test]
fn a_row_says_what_its_tests_need() {
    let exhibits = exhibits(&sources());
    let mut lacking = Vec::new();
    for row in rows() {
        let of_row = exhibits
            .iter()
            .filter(|exhibit| exhibit.ids.contains(&row.id));
        let needs: BTreeSet<&String> = of_row.flat_map(|exhibit| &exhibit.needs).collect();
        let unsaid: Vec<&String> = needs
            .into_iter()
            .filter(|need| !row.needs.contains(need))
            .collect();
        if !unsaid.is_empty() {
            lacking.push(format!("row {} needs {unsaid:?}", row.id));
        }
    }
    assert!(lacking.is_empty(), "{}", lacking.join("\n"));
}

/// Where a test has a smaller number in every run, the row says so, and which the whole one is.
#[test]
fn a_row_says_which_numbers_are_smaller_in_every_run() {
    let exhibits = exhibits(&sources());
    let ids = |has: fn(&Exhibit) -> bool| -> BTreeSet<u32> {
        let those = exhibits.iter().filter(|exhibit| has(exhibit));
        those.flat_map(|exhibit| exhibit.ids.clone()).collect()
    };
    let certain = ids(|exhibit| exhibit.has_whole);
    // A helper of the test may be the one that asks.
    let possible = ids(|exhibit| exhibit.file_has_whole);
    assert!(certain.len() > 10, "no point");
    for Row { id, note, .. } in rows() {
        let says = note.contains("whole: ");
        assert!(
            says || !certain.contains(&id),
            "row {id} has a whole number: say it"
        );
        assert!(
            !says || possible.contains(&id),
            "row {id} has no whole number"
        );
    }
}

/// A file that no other names is compiled into nothing, and its tests are letters.
#[test]
fn every_file_with_such_a_test_is_part_of_something() {
    let sources = sources();
    let has_exhibits = |source: &&Source| !exhibits_of(source).is_empty();
    for source in sources.iter().filter(has_exhibits) {
        // Cargo finds these by itself.
        if source.path.parent() == Some(Path::new("tests")) {
            continue;
        }
        let stem = source
            .path
            .file_stem()
            .and_then(|stem| stem.to_str())
            .expect("UTF-8");
        let has_it = |other: &Source| other.tokens.windows(2).any(|pair| is_module(pair, stem));
        assert!(
            sources.iter().any(has_it),
            "{}: no module",
            source.path.display()
        );
    }
}

fn is_module(pair: &[TokenTree], name: &str) -> bool {
    matches!(pair, [TokenTree::Ident(word), TokenTree::Ident(module)] if word == "mod" && module == name)
}
