//! Programs of an order whose start waits for another program of it. When that one has failed, the
//! order is over for them, too: they start once it is up, and that may be never.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use procsched::{ProcessScheduler, ProgramState, ProgramStatus};

use super::judge::Failure;
use super::protocol::Code;

/// What an order knows of programs that wait for others.
#[derive(Debug, Default)]
pub struct Held {
    /// The programs for which the order has failed.
    failed: BTreeSet<Arc<str>>,
    /// By program, those that were seen to wait for it.
    waiting: BTreeMap<Arc<str>, BTreeSet<Arc<str>>>,
}

impl Held {
    /// Returns the failure of a program that waits for one that has failed, and is not up since.
    /// Otherwise remembers for which programs it waits.
    pub fn judge(
        &mut self,
        program: &Arc<str>,
        status: &ProgramStatus,
        scheduler: &ProcessScheduler,
    ) -> Option<Failure> {
        if status.state() != ProgramState::Pending {
            return None;
        }
        let is_up = |name: &str| scheduler.program(name).is_some_and(|other| other.is_up());
        for required in status.requires() {
            if self.failed.contains(required) && !is_up(required) {
                let message = status.reason().unwrap_or("what it requires has failed");
                return Some(Failure::new(Code::Failed, message));
            }
            let waiting = self.waiting.entry(required.into()).or_default();
            waiting.insert(program.clone());
        }
        None
    }

    /// The order has failed for a program. Returns those that were seen to wait for it.
    pub fn fail(&mut self, program: &str) -> BTreeSet<Arc<str>> {
        self.failed.insert(program.into());
        self.waiting.remove(program).unwrap_or_default()
    }
}
