//! What tells that a program is up, well and alive, and what has happened to its runs, for the
//! components that find that out. Kept for the programs that have any of it, and for no others.

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::machine::{Cause, ProgramId, Run};
use crate::program::Sparse;
use crate::spec::{ChildSpec, Health, Ready};

/// What tells that a program is up, well and alive, by its definition. Paths are absolute.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Signs {
    pub ready: Option<Ready>,
    pub health: Option<Health>,
    pub watchdog: Option<Duration>,
}

impl Signs {
    /// Returns those of a definition. `base_dir` is absolute.
    pub(super) fn of(spec: &ChildSpec, base_dir: &Path) -> Self {
        let mut signs = Self {
            ready: spec.ready.as_deref().cloned(),
            health: spec.health.as_deref().cloned(),
            watchdog: spec.watchdog,
        };
        if let Some(Ready::Probe(probe)) = &mut signs.ready {
            probe.check.resolve(base_dir);
        }
        if let Some(health) = &mut signs.health {
            health.probe.check.resolve(base_dir);
        }
        signs
    }

    fn is_empty(&self) -> bool {
        self.ready.is_none() && self.health.is_none() && self.watchdog.is_none()
    }

    /// True if its runs tell of themselves, or of their age, and are not looked at from outside.
    pub(super) fn come_from_it(&self) -> bool {
        let by_itself = matches!(
            self.ready,
            Some(Ready::Fd(_) | Ready::Notify | Ready::Delay(_))
        );
        by_itself || self.watchdog.is_some()
    }

    /// True if its runs have a notification socket.
    pub(super) fn have_socket(&self) -> bool {
        self.ready == Some(Ready::Notify) || self.watchdog.is_some()
    }

    /// Returns the number of descriptors that a run needs for it.
    fn descriptors(&self) -> usize {
        let has_pipe = matches!(self.ready, Some(Ready::Fd(_)));
        usize::from(has_pipe) + usize::from(self.have_socket())
    }
}

/// What has happened to a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Phase {
    /// It has executed its program.
    Executed,
    /// It is up: at once, or because it is ready.
    Up,
    /// Its leader is dead, it could not be started, or it was abandoned; and why, which the machine
    /// forgets with the next start, in the same turn it may be.
    Ended(Cause),
    /// Its program has another definition.
    Redefined,
}

/// The signs of all programs that have any, and what has happened to their runs.
#[derive(Debug, Default)]
pub(super) struct Watchlist {
    /// Once a program has had any it stays here: the run at hand may have them still.
    signs: Sparse<Arc<Signs>>,
    phases: Vec<(Run, Phase)>,
}

impl Watchlist {
    pub(super) fn get(&self, id: ProgramId) -> Option<&Arc<Signs>> {
        self.signs.get(&id)
    }

    /// Sets the signs of a program. True if there are any, or were.
    pub(super) fn set(&mut self, id: ProgramId, signs: Signs) -> bool {
        let is_known = self.signs.contains_key(&id);
        if is_known || !signs.is_empty() {
            self.signs.insert(id, Arc::new(signs));
            return true;
        }
        false
    }

    pub(super) fn remove(&mut self, id: ProgramId) {
        self.signs.remove(&id);
    }

    /// Notes what has happened to a run, if its program is here.
    pub(super) fn note(&mut self, run: Run, phase: Phase) {
        if self.signs.contains_key(&run.program) {
            self.phases.push((run, phase));
        }
    }

    pub(super) fn has_phases(&self) -> bool {
        !self.phases.is_empty()
    }

    pub(super) fn take_phases(&mut self) -> Vec<(Run, Phase)> {
        std::mem::take(&mut self.phases)
    }

    /// Returns the number of descriptors that all runs at once need for their signs.
    pub(super) fn descriptors(&self) -> usize {
        self.signs.values().map(|signs| signs.descriptors()).sum()
    }
}
