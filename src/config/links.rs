//! Which programs wait for which: that each of them is there, and that none waits for itself.

use std::collections::BTreeMap;

use super::errors::{Place, Problems};
use super::item::Item;
use crate::machine::ProgramId;
use crate::machine::graph::{self, Graph};
use crate::spec::ChildSpec;
use crate::text::{did_you_mean, quoted, shortened_path};

/// How many cycles are reported at once. Each costs a walk through all links.
const CYCLES_MAX: usize = 8;

/// For how many unknown names another is suggested. Each is compared with all programs.
const SUGGESTIONS_MAX: usize = 16;

const EXPECTED: &str = r#"an array of names such as ["db"]"#;

/// A name in `after` or `requires`.
struct Link {
    is_required: bool,
    name: String,
    /// Where the name is.
    own: (Place, String),
    /// Where the array is.
    list: (Place, String),
}

/// The names in `after` and `requires` of one program, with their places.
#[derive(Default)]
pub(super) struct Links(Vec<Link>);

impl Links {
    /// Reads `requires`, or `after`.
    pub(super) fn read(
        &mut self,
        is_required: bool,
        item: &Item<'_>,
        problems: &mut Problems,
    ) -> Option<Vec<String>> {
        let mut names = Vec::new();
        for element in item.elements(EXPECTED, problems)? {
            let name = element.string(problems)?.to_owned();
            names.push(name.clone());
            self.0.push(Link {
                is_required,
                name,
                own: element.position(),
                list: item.position(),
            });
        }
        Some(names)
    }
}

/// Adds an error for each name that no program has, and for what would wait for itself. The links
/// are those of the programs, in their order.
pub(super) fn check(
    programs: &[ChildSpec],
    links: &[Links],
    instances: &BTreeMap<String, Vec<String>>,
    problems: &mut Problems,
) {
    let mut ids = BTreeMap::new();
    for (index, spec) in programs.iter().enumerate() {
        ids.entry(spec.name()).or_insert(ProgramId(index as u32));
    }
    let mut suggestions = 0..SUGGESTIONS_MAX;
    let mut all = BTreeMap::new();
    for (spec, Links(links)) in programs.iter().zip(links) {
        let (mut requires, mut after) = (Vec::new(), Vec::new());
        for link in links {
            let (place, path) = &link.own;
            let list = match link.is_required {
                true => &mut requires,
                false => &mut after,
            };
            let all = instances.get(&link.name);
            match ids.get(&*link.name) {
                None if all.is_some_and(|all| all.iter().any(|name| name == spec.name())) => {
                    let message = format!("{} cannot wait for itself", quoted(&link.name));
                    problems.add(*place, path, message);
                }
                None if let Some(all) = all => {
                    list.extend(all.iter().filter_map(|name| ids.get(&**name)))
                }
                None => {
                    let meant = suggestions.next();
                    let meant = meant.and_then(|_| did_you_mean(&link.name, ids.keys().copied()));
                    let meant = meant.unwrap_or_default();
                    let message = format!("no program {}{meant}", quoted(&link.name));
                    problems.add(*place, path, message);
                }
                Some(_) if link.name == spec.name() => {
                    let message = format!("{} cannot wait for itself", quoted(&link.name));
                    problems.add(*place, path, message);
                }
                Some(&id) => list.push(id),
            }
        }
        if !links.is_empty() {
            all.insert(ids[spec.name()], (requires, after));
        }
    }
    let name = |id: &ProgramId| programs[id.0 as usize].name();
    for _ in 0..CYCLES_MAX {
        let Some(cycle) = cycle_of(&all) else { return };
        let [first, next, ..] = cycle[..] else { return };
        let Links(own) = &links[first.0 as usize];
        let leads_there = |link: &&Link| {
            let all = instances.get(&link.name).into_iter().flatten();
            link.name == name(&next) || all.into_iter().any(|one| one == name(&next))
        };
        if let Some(link) = own.iter().find(leads_there) {
            let (place, path) = &link.list;
            let names: Vec<&str> = cycle.iter().map(name).collect();
            problems.add(*place, path, format!("a cycle: {}", shortened_path(&names)));
        }
        // The others are found without this link.
        if let Some((requires, after)) = all.get_mut(&first) {
            requires.retain(|id| *id != next);
            after.retain(|id| *id != next);
        }
    }
}

/// Names all instances where the file names the program that they were written out from.
pub(super) fn write_out(programs: &mut [ChildSpec], instances: &BTreeMap<String, Vec<String>>) {
    if instances.is_empty() {
        return;
    }
    for spec in programs {
        for names in [&mut spec.after, &mut spec.requires] {
            let all = |name: String| instances.get(&name).cloned().unwrap_or_else(|| vec![name]);
            *names = std::mem::take(names).into_iter().flat_map(all).collect();
        }
    }
}

fn cycle_of(
    links: &BTreeMap<ProgramId, (Vec<ProgramId>, Vec<ProgramId>)>,
) -> Option<Vec<ProgramId>> {
    let links = links.iter();
    let links = links.map(|(id, (requires, after))| (*id, graph::Links::new(requires, after)));
    Graph::default().find_cycle(&links.collect())
}
