//! What the state of a program comes to: its word, whether its start is held, and whether it is
//! settled. It depends on the program itself and on what it has learned of its neighbours.

use super::{Child, Flags};
use crate::machine::graph::Counts;
use crate::machine::interface::Moment;
use crate::machine::state::Goal::Up;
use crate::machine::state::{ProgramState, State as S, Why};

impl Child {
    /// True if something keeps it from a start that is due.
    #[must_use]
    pub fn is_held(&self, counts: Counts) -> bool {
        counts.is_short()
            || (counts.after_coming > 0 && !self.flags.has(Flags::PASSED))
            || self.flags.has(Flags::ESCAPED)
            || self.flags.has(Flags::AFTER_REMOVALS)
    }

    /// True if it does nothing any more without another command or a change of its neighbours.
    #[must_use]
    pub fn is_settled(&self, counts: Counts) -> bool {
        match self.state {
            S::Inactive => true,
            S::Abandoned { .. } => self.goal != Up,
            S::Due => counts.never > 0,
            S::Waiting { .. }
            | S::Spawning
            | S::Launching { .. }
            | S::Starting { .. }
            | S::Running { .. }
            | S::Draining { .. }
            | S::Stopping { .. }
            | S::Killed { .. }
            | S::Clearing { .. } => false,
        }
    }

    /// Returns the word for its state.
    #[must_use]
    pub fn find_word(&self, counts: Counts) -> ProgramState {
        match self.state {
            // What left its group is being ended.
            S::Inactive if self.is_ending_escaped() => ProgramState::Stopping,
            S::Inactive if self.flags.has(Flags::ESCAPED) => ProgramState::Abandoned,
            S::Inactive => match self.why {
                Why::New | Why::Stopped => ProgramState::Stopped,
                Why::Exited => ProgramState::Exited,
                Why::Failed | Why::Permanent | Why::GaveUp => ProgramState::Failed,
            },
            S::Waiting { .. } | S::Clearing { .. } => ProgramState::Backoff,
            S::Due if self.is_held(counts) => ProgramState::Pending,
            S::Due | S::Spawning | S::Launching { .. } | S::Starting { .. } => {
                ProgramState::Starting
            }
            S::Running { .. } => ProgramState::Running,
            S::Draining { .. } | S::Stopping { .. } | S::Killed { .. } => ProgramState::Stopping,
            S::Abandoned { .. } => ProgramState::Abandoned,
        }
    }

    /// Keeps the word for its state, and when that was another one last.
    pub fn keep_word(&mut self, now: Moment, counts: Counts) {
        let word = self.find_word(counts);
        if word != self.word {
            (self.word, self.word_since) = (word, now);
        }
    }
}
