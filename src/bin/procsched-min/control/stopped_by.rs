//! Which user has stopped a program that is down: the library does not know it.

use std::collections::BTreeMap;
use std::sync::Arc;

use procsched::{PlannedChange, PlannedKind, ProcessScheduler, ProgramState, ProgramStatus};

use super::client::Peer;
use super::verb::Verb;

/// The users that stopped programs which are down.
#[derive(Debug, Default)]
pub struct StoppedBy(BTreeMap<Arc<str>, u32>);

impl StoppedBy {
    /// Takes in an order that was given.
    pub fn note(&mut self, verb: Verb, program: &Arc<str>, peer: Peer) {
        match verb {
            Verb::Stop | Verb::Kill => {
                self.0.insert(program.clone(), peer.uid);
            }
            Verb::Start | Verb::Restart => {
                self.0.remove(program);
            }
            Verb::Describe | Verb::Signal(..) | Verb::Wait(_) | Verb::Settle => {}
        }
    }

    /// Forgets programs that a reload has removed. Another of the same name may come.
    pub fn forget_removed(&mut self, scheduler: &ProcessScheduler) {
        self.0.retain(|name, _| scheduler.program(name).is_some());
    }

    /// Returns why a program stays stopped after a reload.
    pub fn reason_in_plan(
        &self,
        change: &PlannedChange,
        scheduler: &ProcessScheduler,
    ) -> Option<String> {
        match change.kind() {
            PlannedKind::StaysStopped { .. } => self.reason(&scheduler.program(change.program())?),
            _ => None,
        }
    }

    /// Returns why a program that was stopped by hand is down, or about to be: `by uid 0`.
    pub fn reason(&self, program: &ProgramStatus) -> Option<String> {
        let is_down = match program.state() {
            ProgramState::Stopped => true,
            ProgramState::Stopping => !program.is_wanted(),
            _ => false,
        };
        let uid = self.0.get(program.name()).filter(|_| is_down)?;
        Some(format!("by uid {uid}"))
    }
}
