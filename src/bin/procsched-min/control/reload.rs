//! An order to read the config anew: what that changes, as an answer, and what is waited for.

use std::sync::Arc;
use std::time::Duration;

use procsched::{Plan, PlannedKind, ProcessScheduler};

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
    let targets = match waits {
        true => targets(&plan, scheduler),
        false => Vec::new(),
    };
    let (preface, targets) = (Preface::plan(plan), targets.into_iter());
    Ok(Order::settling(preface, targets, timeout, None))
}

/// Returns the programs that a reload has begun to start, stop or remove.
fn targets(plan: &Plan, scheduler: &ProcessScheduler) -> Vec<(Arc<str>, Target)> {
    let changes = plan.changes().iter();
    let targets = changes.filter_map(|change| {
        let is_removal = match change.kind() {
            PlannedKind::Remove => true,
            PlannedKind::Add
            | PlannedKind::Restart { .. }
            | PlannedKind::RestartWith { .. }
            | PlannedKind::Start { .. } => false,
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
