//! An order to read the config anew: what that changes, as an answer, and what is waited for.

use std::sync::Arc;
use std::time::Duration;

use procsched::{Plan, PlannedKind, ProcessScheduler};

use super::client::Client;
use super::json;
use super::orders::{Order, StoppedBy};
use super::protocol::{Code, Problem};
use crate::output::Outputs;
use crate::reload::{Options, Refusal, Reloader};

/// Reloads the config, and queues a line for each change. Returns what is to be waited for; if the
/// config was refused, its errors are queued, and the problem is for the last line.
pub fn begin(
    client: &mut Client,
    reloader: &Reloader,
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    stopped_by: &StoppedBy,
    options: Options,
    timeout: Option<Duration>,
) -> Result<Order, Problem> {
    let plan = match reloader.reload(scheduler, outputs, options) {
        Ok(plan) => plan,
        Err(Refusal::Stopping(why)) => return Err(Problem::new(Code::Stopping, why)),
        Err(Refusal::Invalid(lines)) => {
            for line in &lines {
                client.queue(|out| write_error(out, line));
            }
            let message = match lines.len() {
                1 => "the config has an error".to_owned(),
                count => format!("the config has {count} errors"),
            };
            return Err(Problem::new(Code::InvalidConfig, message));
        }
    };
    let stopped_by = |name: &str| stopped_by.reason(&scheduler.program(name)?);
    client.queue(|out| write_plan(out, &plan, stopped_by));
    let changes = plan.changes().iter();
    let changes = changes.filter(|_| !options.dry_run);
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
        let old_pid = status.and_then(|status| status.pid());
        Some((Arc::from(change.program()), old_pid, is_removal))
    });
    Ok(Order::settling(targets, timeout))
}

fn write_error(out: &mut Vec<u8>, message: &str) {
    json::line(out, |line| {
        line.object("problem", |object| {
            object.text("code", Code::InvalidConfig.word());
            object.text("message", message);
        });
    });
}

fn write_plan(out: &mut Vec<u8>, plan: &Plan, stopped_by: impl Fn(&str) -> Option<String>) {
    for key in plan.settings() {
        write_change(out, "*", key, "changes in place");
    }
    for change in plan.changes() {
        let (sign, mut what) = (change.kind().sign(), change.kind().to_string());
        if let PlannedKind::StaysStopped { .. } = change.kind()
            && let Some(reason) = stopped_by(change.program())
        {
            what = format!("{what}, {reason}");
        }
        write_change(out, sign.encode_utf8(&mut [0; 4]), change.program(), &what);
    }
    json::line(out, |line| {
        line.object("change", |object| {
            object.text("change", "=");
            object.text("text", &format!("{} unchanged", plan.unchanged()));
        });
    });
}

fn write_change(out: &mut Vec<u8>, sign: &str, program: &str, text: &str) {
    json::line(out, |line| {
        line.object("change", |object| {
            object.text("program", program);
            object.text("change", sign);
            object.text("text", text);
        });
    });
}
