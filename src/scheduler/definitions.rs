//! From a description to a program: at the build, and when one is added later.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use crate::error::{Error, ErrorKind, Result};
use crate::exec::{BaseEnv, Exec};
use crate::machine::graph::Links;
use crate::machine::{Machine, Moment, Policy, ProgramId};
use crate::os::logs::Log;
use crate::os::secret::random_bits;
use crate::program::{Program, ProgramTable};
use crate::spec::{ChildSpec, ErrorCommand, StdStream};
use crate::text::did_you_mean;

use super::directories::check_base_dir;
use super::side_commands::Handler;
use super::signs::{Signs, Watchlist};

/// What every program is made from.
pub(super) struct Definitions {
    base_dir: PathBuf,
    err_dir: Arc<PathBuf>,
    base: Arc<BaseEnv>,
}

impl Definitions {
    pub(super) fn new(base_dir: PathBuf, err_dir: Arc<PathBuf>, base: Arc<BaseEnv>) -> Self {
        Self {
            base_dir,
            err_dir,
            base,
        }
    }

    /// Returns the same for another base directory, which is absolute; `None` if it is not another.
    pub(super) fn at(&self, base_dir: &Path) -> Result<Option<Self>> {
        if base_dir == self.base_dir {
            return Ok(None);
        }
        check_base_dir(base_dir)?;
        let (err_dir, base) = (self.err_dir.clone(), self.base.at(base_dir)?);
        Ok(Some(Self::new(base_dir.to_owned(), err_dir, base)))
    }

    /// Checks the command that is run for reports, and makes it ready.
    pub(super) fn handler(&self, wanted: &ErrorCommand) -> Result<Handler> {
        Handler::new(wanted, &self.base_dir, &self.base)
    }

    /// Makes programs of their descriptions. Each description is freed as soon as its program
    /// exists.
    pub(super) fn make_all(
        &self,
        specs: Vec<ChildSpec>,
    ) -> Result<(Machine, ProgramTable, Watchlist)> {
        let mut machine = Machine::with_capacity(specs.len());
        let mut programs = ProgramTable::with_capacity(specs.len());
        let mut watchlist = Watchlist::default();
        let mut linked = Vec::new();
        for mut spec in specs {
            let exec = self.exec(&spec)?;
            let now = Moment::default();
            let id = self.add(now, &mut machine, &mut programs, &spec, exec)?;
            watchlist.set(id, Signs::of(&spec, &self.base_dir));
            if !(spec.after.is_empty() && spec.requires.is_empty()) {
                spec.command = Vec::new();
                linked.push((id, spec));
            }
        }
        let link =
            |(id, spec): &(ProgramId, ChildSpec)| Ok((*id, links_of(spec, &machine, &programs)?));
        let links = linked.iter().map(link).collect::<Result<Vec<_>>>()?;
        let linked = machine.link(Moment::default(), links);
        linked.map_err(|cycle| cycle_error(&programs, &cycle))?;
        Ok((machine, programs, watchlist))
    }

    /// Checks a command and makes it ready.
    pub(super) fn exec(&self, spec: &ChildSpec) -> Result<Exec> {
        if let Some(problem) = spec.problem_at(&self.base_dir) {
            return Err(Error::new(format!("program {:?}: {problem}", spec.name)));
        }
        Exec::of_program(spec, &self.base_dir, &self.base)
    }

    /// Adds a program without links.
    pub(super) fn add(
        &self,
        now: Moment,
        machine: &mut Machine,
        programs: &mut ProgramTable,
        spec: &ChildSpec,
        exec: Exec,
    ) -> Result<ProgramId> {
        let name = spec.name.as_str().into();
        let mut log = Log::new(self.err_dir.clone(), name, StdStream::Stderr);
        log.set_options(spec.log);
        let policy = spec.policy();
        seed_for(machine, &policy);
        let id = machine.add(now, policy);
        let id = id.ok_or_else(|| Error::of(ErrorKind::Full, "too many programs were added"))?;
        programs.push(Program::new(id, exec, log, spec.report_bytes));
        Ok(id)
    }
}

/// Lets the system choose where the sequence of stretched delays begins, as soon as a program has
/// such delays.
pub(super) fn seed_for(machine: &mut Machine, policy: &Policy) {
    if policy.jitter > 0 && !machine.has_seed() {
        machine.set_seed(random_bits()[0]);
    }
}

/// Returns the programs that one waits for, found by their names. One that is being removed is
/// refused: it would never be forgotten.
pub(super) fn links_of(
    spec: &ChildSpec,
    machine: &Machine,
    programs: &ProgramTable,
) -> Result<Links> {
    let ids = |key: &'static str, names: &[String]| {
        let find = |name: &String| {
            let why = match programs.find(name.as_bytes()) {
                Some(id) if machine.is_being_removed(id) => {
                    format!("program {name:?} is being removed")
                }
                Some(id) => return Ok(id),
                None => unknown_program(programs, name),
            };
            Err(Error::of_key(&spec.name, key, why))
        };
        names.iter().map(find).collect::<Result<Vec<_>>>()
    };
    let requires = ids("requires", &spec.requires)?;
    let after = ids("after", &spec.after)?;
    Ok(Links::new(&requires, &after))
}

/// Says that no program has this name, and which one may be meant.
pub(super) fn unknown_program(programs: &ProgramTable, name: &str) -> String {
    unknown_name(programs.names(), name)
}

/// The same, of programs with these names.
pub(super) fn unknown_name<'a>(names: impl Iterator<Item = &'a str>, name: &str) -> String {
    let meant = did_you_mean(name, names).unwrap_or_default();
    format!("no program {name:?}{meant}")
}

/// Returns the error of programs that would wait for each other for ever.
pub(super) fn cycle_error(programs: &ProgramTable, cycle: &[ProgramId]) -> Error {
    let names: Vec<&str> = cycle.iter().map(|&id| &**programs[id].name()).collect();
    cycle_text(&names)
}

/// The same, with their names.
pub(super) fn cycle_text(names: &[&str]) -> Error {
    let first = names.first().copied().unwrap_or_default();
    let path = names.join(" → ");
    Error::new(format!(
        "program {first:?}: waits for itself, in a cycle: {path}"
    ))
}
