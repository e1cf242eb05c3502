//! A snapshot of every program, for the host.

use std::time::Duration;

use crate::machine::state::State;
use crate::machine::{Moment, ProgramId};
use crate::status::{ProgramState, ProgramStatus};

use super::ProcessScheduler;

impl ProcessScheduler {
    /// Returns a snapshot of every program, in the order in which they were added.
    #[must_use]
    pub fn programs(&self) -> Vec<ProgramStatus> {
        let now = self.clock.now();
        let ids = self.core.programs().ids();
        ids.map(|id| self.status_of(id, now)).collect()
    }

    fn status_of(&self, id: ProgramId, now: Moment) -> ProgramStatus {
        let program = &self.core.programs()[id];
        let view = self.core.machine().view(id);
        let (state, next_start) = match view.state {
            State::Inactive => (ProgramState::Stopped, None),
            State::Waiting { until } => (ProgramState::Waiting, Some(until.since(now))),
            State::Due | State::Spawning => (ProgramState::Starting, Some(Duration::ZERO)),
            State::Launching { .. } => (ProgramState::Starting, None),
            State::Running { .. } => (ProgramState::Running, None),
            State::Clearing { start_at } => (ProgramState::Waiting, Some(start_at.since(now))),
            State::Stopping { .. } | State::Killed { .. } => (ProgramState::Stopping, None),
            State::Abandoned { .. } => (ProgramState::Abandoned, None),
        };
        let living = program.live.as_ref().filter(|live| !live.leader_dead);
        ProgramStatus {
            name: program.name().clone(),
            command: program.exec.command(),
            state,
            state_for: now.since(program.changed_at),
            pid: living.map(|live| live.pid()),
            backoff: view.delay,
            restarts: view.starts.saturating_sub(1),
            last_start: program.last_start,
            last_return_code: program.last_return_code,
            next_start,
        }
    }
}
