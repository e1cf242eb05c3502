//! New definitions of programs: what each of them changes, and whether all of them fit together.

use std::collections::{BTreeMap, BTreeSet};

use crate::error::{Error, Result};
use crate::exec::Exec;
use crate::machine::graph::{Graph, Links};
use crate::machine::state::{Goal, State, Why};
use crate::machine::{Machine, ProgramId, View};
use crate::plan::PlannedKind;
use crate::program::ProgramTable;
use crate::spec::ChildSpec;

use super::definitions::{cycle_text, unknown_name};

/// A new definition, checked, and the program that has its name already.
pub(super) struct Wanted {
    pub spec: ChildSpec,
    /// Until its program has it.
    pub exec: Option<Exec>,
    pub old: Option<ProgramId>,
    /// True if it differs in something that cannot change while it runs.
    pub restart: bool,
    pub kind: Option<PlannedKind>,
}

/// Returns what a definition that differs changes.
pub(super) fn kind_of(
    view: &View,
    is_restart: bool,
    starts: bool,
    keys: Vec<String>,
) -> PlannedKind {
    if view.goal == Goal::Up {
        return match (is_restart, is_run(view)) {
            (false, _) => PlannedKind::Change { keys },
            (true, true) => PlannedKind::Restart { keys },
            (true, false) => PlannedKind::Start { keys },
        };
    }
    match view.why {
        Why::Stopped => PlannedKind::StaysStopped { keys },
        Why::Failed | Why::Permanent | Why::GaveUp => PlannedKind::Start { keys },
        Why::Exited if is_restart => PlannedKind::Start { keys },
        Why::New if starts => PlannedKind::Start { keys },
        Why::Exited | Why::New => PlannedKind::Change { keys },
    }
}

/// True if it has processes.
pub(super) fn is_run(view: &View) -> bool {
    !matches!(
        view.state,
        State::Inactive | State::Waiting { .. } | State::Due | State::Clearing { .. }
    )
}

/// What requires a program that is restarted, and did before, is restarted with it, if both run. A
/// requirement that is new takes nothing down.
pub(super) fn restart_with_required(wanted: &mut [Wanted], machine: &Machine) {
    let was_oneshot = |id| machine.policy(id).is_some_and(|policy| policy.oneshot);
    let mut requirers: BTreeMap<String, Vec<usize>> = BTreeMap::new();
    for (index, one) in wanted.iter().enumerate() {
        for name in &one.spec.requires {
            requirers.entry(name.clone()).or_default().push(index);
        }
    }
    let is_run = |one: &Wanted| one.old.is_some_and(|id| machine.is_run(id));
    let is_restart = |one: &Wanted| {
        let is_with = matches!(one.kind, Some(PlannedKind::RestartWith { .. }));
        is_run(one) && (one.restart || is_with)
    };
    let mut restarted: Vec<usize> = (0..wanted.len())
        .filter(|&at| is_restart(&wanted[at]))
        .collect();
    while let Some(index) = restarted.pop() {
        let Wanted { spec, old, .. } = &wanted[index];
        // A oneshot takes nothing down, but what becomes one does.
        if spec.oneshot && old.is_none_or(&was_oneshot) {
            continue;
        }
        let Some(restarted_id) = *old else { continue };
        let required = spec.name.clone();
        for &other in requirers.get(&required).into_iter().flatten() {
            let one = &mut wanted[other];
            let requires = |id| machine.links_of(id).requires().contains(&restarted_id);
            if is_run(one) && !is_restart(one) && one.old.is_some_and(requires) {
                let required = required.clone();
                one.kind = Some(PlannedKind::RestartWith { required });
                restarted.push(other);
            }
        }
    }
}

/// Returns the programs that start although nothing else begins their start, as one of these requires
/// them that starts or begins to require them; each with that one.
pub(super) fn required_starts(wanted: &[Wanted], machine: &Machine) -> Vec<(String, String)> {
    let by_name: BTreeMap<&str, &Wanted> = wanted
        .iter()
        .map(|one| (one.spec.name.as_str(), one))
        .collect();
    let mut next: Vec<(&String, &Wanted)> = Vec::new();
    for one in wanted {
        let begins = |name: &&String| {
            let other = by_name.get(name.as_str()).and_then(|other| other.old);
            begins_to_require(one, other, machine)
        };
        let begun = one.spec.requires.iter().filter(begins);
        next.extend(begun.map(|name| (name, one)));
    }
    // In the order of the file.
    next.reverse();
    let mut seen = BTreeSet::new();
    let mut starts = Vec::new();
    while let Some((name, by)) = next.pop() {
        let Some(one) = by_name.get(name.as_str()) else {
            continue;
        };
        if is_down(one, machine) && seen.insert(name) {
            starts.push((name.clone(), by.spec.name.clone()));
            next.extend(one.spec.requires.iter().map(|name| (name, *one)));
        }
    }
    starts
}

/// True if a program starts with its new definition, or goes on with it and did not require this one
/// before.
fn begins_to_require(one: &Wanted, required: Option<ProgramId>, machine: &Machine) -> bool {
    let starts = matches!(
        one.kind,
        Some(PlannedKind::Add | PlannedKind::Start { .. } | PlannedKind::Restart { .. })
    );
    let goes_on = |id: ProgramId| {
        let is_up = machine.view(id).is_some_and(|view| view.goal == Goal::Up);
        let before = machine.links_of(id);
        is_up && required.is_none_or(|required| !before.requires().contains(&required))
    };
    starts || one.old.is_some_and(goes_on)
}

/// True if only what requires a program starts it.
fn is_down(one: &Wanted, machine: &Machine) -> bool {
    match one.kind {
        Some(PlannedKind::Add | PlannedKind::Start { .. } | PlannedKind::Restart { .. }) => false,
        _ => one.old.is_none_or(|id| machine.is_pulled_up(id)),
    }
}

/// Returns the links to programs whose names were checked.
pub(super) fn links_in(programs: &ProgramTable, spec: &ChildSpec) -> Links {
    let ids = |names: &[String]| -> Vec<ProgramId> {
        let found = names.iter().map(|name| programs.find(name.as_bytes()));
        found.flatten().collect()
    };
    Links::new(&ids(&spec.requires), &ids(&spec.after))
}

/// Checks that each name in `after` and `requires` is one of these, and that there is no cycle.
pub(super) fn check_links(specs: &[ChildSpec], names: &BTreeMap<&str, usize>) -> Result<()> {
    let mut all = BTreeMap::new();
    for (index, spec) in specs.iter().enumerate() {
        let find = |key: &'static str, name: &String| match names.get(name.as_str()) {
            Some(&index) => Ok(ProgramId(index as u32)),
            None => {
                let unknown = unknown_name(names.keys().copied(), name);
                Err(Error::of_key(&spec.name, key, unknown))
            }
        };
        let requires = spec.requires.iter().map(|name| find("requires", name));
        let requires = requires.collect::<Result<Vec<_>>>()?;
        let after = spec.after.iter().map(|name| find("after", name));
        let after = after.collect::<Result<Vec<_>>>()?;
        all.insert(ProgramId(index as u32), Links::new(&requires, &after));
    }
    let Some(cycle) = Graph::default().find_cycle(&all) else {
        return Ok(());
    };
    let names: Vec<&str> = cycle.iter().map(|id| &*specs[id.0 as usize].name).collect();
    Err(cycle_text(&names))
}
