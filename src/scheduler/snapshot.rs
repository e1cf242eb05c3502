//! What a host can see: a snapshot of every program, and how everything ends.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::machine::state::{Goal, State, Why};
use crate::machine::{Cause, Hold, Moment, Policy, ProgramId, ProgramState, View};
use crate::orphans::Orphans;
use crate::program::Program;
use crate::spec::StdStream;
use crate::status::ProgramStatus;
use crate::text::duration;

use super::ProcessScheduler;
use super::core::Core;
use super::orphan_sweep::OrphanSweep;

/// How far a chain of requirements is followed: each program of a long one asks.
const CHAIN_STEPS_MAX: usize = 64;

impl ProcessScheduler {
    /// True if a stop was asked for, or an essential program has ended for good.
    #[must_use]
    pub fn is_stopping(&self) -> bool {
        self.core.machine().is_stopping()
    }

    /// Returns the code of the first essential program that ended for good, and so stopped the rest:
    /// see [`ErrorReport::return_code`](crate::ErrorReport::return_code). It is 1 if it was not up in
    /// time, or has failed for another reason than its code, which is 0.
    #[must_use]
    pub fn essential_exit(&self) -> Option<i32> {
        self.core.essential_exit()
    }

    /// True if a process did not die and was given up.
    #[must_use]
    pub fn is_abandoned(&self) -> bool {
        let orphans = self.sweep.as_ref().map(OrphanSweep::orphans);
        self.core.abandoned().is_some() || orphans.is_some_and(Orphans::is_abandoned)
    }

    /// Returns a snapshot of every program, in the order in which they were added.
    ///
    /// It shows what the latest turn and the orders since then have made of it: a death of which no
    /// turn has heard is not in it, but times are of now. Each program is copied, with its command:
    /// [`ProcessScheduler::program`] is enough for one, [`ProcessScheduler::names`] for names, and
    /// [`ProcessScheduler::take_changed`] says which have changed.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramStatus> {
        let now = self.clock.now();
        let programs = self.core.programs().iter();
        programs
            .filter_map(|program| status_of(self, program, now))
            .collect()
    }

    /// Returns the name of every program, in the order in which they were added. It is quicker than
    /// [`ProcessScheduler::programs`].
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// let programs = ["web", "db"].map(|name| ChildSpec::new(name, ["sleep", "9"]));
    /// let scheduler = ProcessScheduler::new("/", programs)?;
    /// let names: Vec<&str> = scheduler.names().map(|name| &**name).collect();
    /// assert_eq!(names, ["web", "db"]);
    /// # Ok::<(), procsched::Error>(())
    /// ```
    pub fn names(&self) -> impl Iterator<Item = &Arc<str>> {
        let is_known = |program: &&Program| self.core.machine().view(program.id).is_some();
        self.core
            .programs()
            .iter()
            .filter(is_known)
            .map(Program::name)
    }

    /// Returns the number of [`ProcessScheduler::names`], at once however many there are.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// let programs = ["web", "db"].map(|name| ChildSpec::new(name, ["sleep", "9"]));
    /// assert_eq!(ProcessScheduler::new("/", programs)?.program_count(), 2);
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn program_count(&self) -> usize {
        self.core.machine().count()
    }

    /// Says whether it is noted from now on which programs change, for
    /// [`ProcessScheduler::take_changed`].
    pub fn watch_changes(&mut self, watch: bool) {
        self.core.watch_changes(watch);
    }

    /// Takes the names of the programs whose state may have changed since the last call, or since
    /// they are watched: a host that waits for one of many need not look at all of them. A program
    /// that was removed is reported by [`EventKind::Removed`](crate::EventKind::Removed) alone.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler};
    /// # use std::time::Duration;
    /// # fn main() -> procsched::Result<()> {
    /// # let logs = tempfile::tempdir().unwrap();
    /// let programs = ["web", "db"].map(|name| ChildSpec::new(name, ["sleep", "9"]));
    /// let programs = programs.map(|program| program.autostart(false));
    /// # let mut scheduler = ProcessScheduler::builder("/")
    /// #     .programs(programs).err_dir(logs.path()).kill_on_drop().build()?;
    /// scheduler.step(Some(Duration::ZERO))?;
    /// scheduler.watch_changes(true);
    /// assert!(scheduler.take_changed().is_empty());
    /// scheduler.start_program("web")?;
    /// assert_eq!(scheduler.take_changed(), ["web".into()]);
    /// # Ok(())
    /// # }
    /// ```
    pub fn take_changed(&mut self) -> Vec<Arc<str>> {
        self.core.take_changed()
    }

    /// Returns a snapshot of the program of this name, as [`ProcessScheduler::programs`]; `None` if
    /// there is none.
    ///
    /// ```
    /// # use procsched::{ChildSpec, ProcessScheduler, ProgramState};
    /// let scheduler = ProcessScheduler::new("/", [ChildSpec::new("web", ["sleep", "9"])])?;
    /// let web = scheduler.program("web").expect("it was added");
    /// assert_eq!(web.state(), ProgramState::Stopped);
    /// # Ok::<(), procsched::Error>(())
    /// ```
    #[must_use]
    pub fn program(&self, name: &str) -> Option<ProgramStatus> {
        let id = self.core.programs().find(name.as_bytes())?;
        status_of(self, &self.core.programs()[id], self.clock.now())
    }
}

fn status_of(
    scheduler: &ProcessScheduler,
    program: &Program,
    now: Moment,
) -> Option<ProgramStatus> {
    let core = &scheduler.core;
    let view = core.machine().view(program.id)?;
    let next_start = match view.state {
        State::Waiting { until: at } | State::Clearing { start_at: at } => Some(at.since(now)),
        State::Due | State::Spawning if view.word == ProgramState::Starting => Some(Duration::ZERO),
        _ => None,
    };
    let links = core.machine().links_of(program.id);
    let names = |ids: &[ProgramId]| {
        let found = ids.iter().filter_map(|&id| core.programs().get(id));
        found.map(|program| program.name().clone()).collect()
    };
    let living = program.live.as_ref().filter(|live| !live.leader_dead);
    Some(ProgramStatus {
        name: program.name().clone(),
        command: program.exec.command(),
        state: view.word,
        reason: reason_of(core, program, &view),
        is_wanted: view.goal == Goal::Up,
        state_for: now.since(view.word_since),
        pid: living.map(|live| live.pid()),
        backoff: view.delay,
        restarts: view.starts.saturating_sub(1),
        restarts_in_row: view.restarts_in_row,
        last_start: program.last_start,
        last_exit: program.last_exit.as_deref().cloned(),
        next_start,
        is_up: core.machine().is_up(program.id),
        is_blocked: core.machine().is_blocked(program.id),
        log: log_directory(program, StdStream::Stderr),
        stdout_log: log_directory(program, StdStream::Stdout),
        after: names(links.after()),
        requires: names(links.requires()),
        is_changed: core.is_outdated(program.id),
        status_text: scheduler.readiness.status_text(program.id).map(Into::into),
        health: core
            .signs(program.id)
            .and_then(|signs| signs.health.as_ref())
            .map(|_| scheduler.probes.health_of(program.id)),
    })
}

/// Returns the directory of a log that is open and there.
fn log_directory(program: &Program, stream: StdStream) -> Option<Arc<PathBuf>> {
    let log = &program.output(stream)?.log;
    log.is_in_place().then(|| log.directory().clone())
}

fn reason_of(core: &Core, program: &Program, view: &View) -> Option<String> {
    let last = program.last_exit.as_ref();
    let policy = core.machine().policy(program.id);
    let fault = || fault_text(last?.cause, policy?);
    match view.word {
        ProgramState::Pending => view.hold.map(|hold| hold_text(core, program.id, hold)),
        ProgramState::Backoff => fault(),
        ProgramState::Failed => match (view.why, last) {
            (Why::Permanent, Some(last)) => Some(permanent_text(last.return_code)),
            (Why::GaveUp, _) => {
                let limit = gave_up_text(view.restarts_in_row);
                Some(match fault() {
                    Some(fault) => format!("{fault}, {limit}"),
                    None => limit,
                })
            }
            _ => fault(),
        },
        ProgramState::Stopping if view.cause != Cause::Exit => Some(view.cause.to_string()),
        _ => None,
    }
}

/// Says what holds a program. Behind a chain of requirements it is the first one, which holds all of
/// them.
fn hold_text(core: &Core, program: ProgramId, hold: Hold) -> String {
    let name = |id: ProgramId| core.programs()[id].name();
    match hold {
        Hold::After(id) => format!("after {}", name(id)),
        Hold::Requires(id) => {
            let id = first_requirement(core, id);
            match core.machine().view(id) {
                Some(view) => format!(
                    "requires {}: {}",
                    name(id),
                    word_to_come(core, program, &view)
                ),
                None => format!("requires {}", name(id)),
            }
        }
        Hold::Escaped => "after processes of its last run that left its group".to_owned(),
        Hold::Removals => "after programs that are being removed".to_owned(),
    }
}

/// Returns what holds a program in the end that is required.
fn first_requirement(core: &Core, id: ProgramId) -> ProgramId {
    let mut first = id;
    for _ in 0..CHAIN_STEPS_MAX {
        match core.machine().view(first).and_then(|view| view.hold) {
            Some(Hold::Requires(next)) => first = next,
            _ => break,
        }
    }
    first
}

/// Returns the state of what a program requires; if that does not come up and is still being ended,
/// the state that it is about to have.
fn word_to_come(core: &Core, program: ProgramId, required: &View) -> ProgramState {
    let is_ending = required.word == ProgramState::Stopping && required.goal != Goal::Up;
    match required.why {
        _ if !(is_ending && core.machine().is_blocked(program)) => required.word,
        Why::New | Why::Stopped => ProgramState::Stopped,
        Why::Exited => ProgramState::Exited,
        Why::Failed | Why::Permanent | Why::GaveUp => ProgramState::Failed,
    }
}

/// Says what a run was ended for, if it neither ended by itself nor was asked to.
pub(super) fn fault_text(cause: Cause, policy: &Policy) -> Option<String> {
    let fault = match cause {
        Cause::StartTimeout => {
            let what = if policy.oneshot { "done" } else { "ready" };
            let timeout = policy.start_timeout.map(duration);
            let timeout = timeout.map(|timeout| format!(" (start_timeout {timeout})"));
            format!("not {what} in time{}", timeout.unwrap_or_default())
        }
        Cause::Unhealthy | Cause::Watchdog => cause.to_string(),
        Cause::Exit
        | Cause::StartFailed
        | Cause::Operator
        | Cause::Reload
        | Cause::Requirement
        | Cause::Shutdown => return None,
    };
    Some(fault)
}

/// Says why a program is not restarted after this code.
pub(super) fn permanent_text(return_code: i32) -> String {
    match return_code {
        ..0 => format!("{} is permanent", crate::signal::signal_name(-return_code)),
        code => format!("exit code {code} is permanent"),
    }
}

/// Says why a program is not restarted again.
pub(super) fn gave_up_text(restarts: u32) -> String {
    if restarts == 0 {
        return "max_restarts is 0".to_owned();
    }
    let s = if restarts == 1 { "" } else { "s" };
    format!("{restarts} restart{s} in a row")
}
