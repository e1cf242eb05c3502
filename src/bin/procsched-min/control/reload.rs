//! An order to read the config anew: what that changes, as an answer, and what is waited for.

use std::sync::Arc;
use std::time::Duration;

use procsched::{Plan, PlannedKind, ProcessScheduler, ProgramState};

use super::judge::Target;
use super::orders::Order;
use super::preface::Preface;
use super::protocol::{Code, Problem};
use super::stopped_by::StoppedBy;
use crate::output::Outputs;
use crate::reload::{Options, Refusal, Reloader};

/// Reloads the config. Returns the answer: a line for each change, or for each error of the config,
/// and then what is waited for.
pub fn begin(
    reloader: &Reloader,
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    stopped_by: &StoppedBy,
    options: Options,
    waits: bool,
    timeout: Option<Duration>,
) -> Result<Order, Problem> {
    let plan = match reloader.reload(scheduler, outputs, Some(stopped_by), options) {
        Ok(plan) => plan,
        Err(Refusal::Stopping(why)) => return Err(Problem::new(Code::Stopping, why)),
        Err(Refusal::Invalid(lines)) => {
            let message = match lines.len() {
                1 => "the config has an error".to_owned(),
                count => format!("the config has {count} errors"),
            };
            let problem = Problem::new(Code::InvalidConfig, message);
            let preface = Preface::errors(lines);
            let none = std::iter::empty();
            return Ok(Order::settling(preface, none, None, Some(problem)));
        }
    };
    let mut waited_for = Vec::new();
    if waits {
        waited_for = on_their_way(scheduler);
        waited_for.extend(targets(&plan, scheduler));
    }
    let (preface, targets) = (Preface::plan(plan), waited_for.into_iter());
    Ok(Order::settling(preface, targets, timeout, None))
}

/// Returns the programs that are being started, by whatever: those of an earlier reload, too, whose
/// place this one takes.
fn on_their_way(scheduler: &ProcessScheduler) -> Vec<(Arc<str>, Target)> {
    let targets = scheduler.names().filter_map(|name| {
        let status = scheduler.program(name)?;
        let is_on_its_way = match status.state() {
            ProgramState::Starting => true,
            ProgramState::Stopping => status.is_wanted(),
            _ => false,
        };
        let old_pid = match status.state() {
            ProgramState::Stopping => status.pid(),
            _ => None,
        };
        let target = Target {
            old_pid,
            ..Target::default()
        };
        is_on_its_way.then(|| (name.clone(), target))
    });
    targets.collect()
}

/// Returns the programs that a reload has begun to start, stop or remove.
fn targets(plan: &Plan, scheduler: &ProcessScheduler) -> Vec<(Arc<str>, Target)> {
    let changes = plan.changes().iter().chain(plan.required());
    let targets = changes.filter_map(|change| {
        let is_removal = match change.kind() {
            PlannedKind::Remove => true,
            PlannedKind::Add
            | PlannedKind::Restart { .. }
            | PlannedKind::RestartWith { .. }
            | PlannedKind::Start { .. }
            | PlannedKind::StartRequired { .. } => false,
            _ => return None,
        };
        let status = scheduler.program(change.program());
        let target = Target {
            old_pid: status.and_then(|status| status.pid()),
            is_removal,
            ..Target::default()
        };
        Some((Arc::from(change.program()), target))
    });
    targets.collect()
}
