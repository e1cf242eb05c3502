//! The word for the state of each program: it is the one for what happened, and as old as the
//! latest change of it.

use crate::machine::state::Why;
use crate::machine::{Machine, ProgramId, ProgramState};

use super::account::{Account, Escape, Time, moment};
use super::ledger::{Check, Ledger};

impl Ledger {
    /// Judges the words after a step. It is asked after every one.
    pub fn see_words(&mut self, now: Time, machine: &Machine) -> Check {
        for (index, account) in self.accounts.iter_mut().enumerate() {
            let Some(view) = machine.view(ProgramId(index as u32)) else {
                continue;
            };
            let word = word_of(account);
            if word != account.word {
                (account.word, account.word_since) = (word, now);
            }
            let since = moment(account.word_since);
            if (view.word, view.word_since) != (word, since) {
                return Err(format!(
                    "program {index} is {word} since {since:?}, and not: {view:?}"
                ));
            }
        }
        Ok(())
    }
}

fn word_of(account: &Account) -> ProgramState {
    if let Some(life) = account.life {
        return if life.given_up {
            ProgramState::Abandoned
        } else if life.awaited.is_some() || life.ending.is_some() {
            ProgramState::Stopping
        } else if life.leader_dead {
            ProgramState::Backoff
        } else if account.is_up() {
            ProgramState::Running
        } else {
            ProgramState::Starting
        };
    }
    match account.why {
        _ if account.starting || account.may_start() => ProgramState::Starting,
        _ if account.ready => ProgramState::Pending,
        _ if account.plan.is_some() => ProgramState::Backoff,
        _ if account.escaped == Some(Escape::Ending) => ProgramState::Stopping,
        _ if account.escaped == Some(Escape::GivenUp) => ProgramState::Abandoned,
        Why::New | Why::Stopped => ProgramState::Stopped,
        Why::Exited => ProgramState::Exited,
        Why::Failed | Why::Permanent | Why::GaveUp => ProgramState::Failed,
    }
}
