//! The word for the state of each program: it is the one for what is known of it and of others, and
//! as old as the latest change of it.

use crate::machine::graph::Standing;
use crate::machine::state::{State, Why};
use crate::machine::{Machine, Moment, ProgramState};

use super::book::{Book, Check};
use super::page::Page;
use super::standing::Standings;

impl Book {
    /// Judges the words after a step. It is asked after every one.
    pub fn see_words(&mut self, machine: &Machine, now: Moment) -> Check {
        let standings = Standings::of(self);
        for index in 0..self.pages.len() {
            let word = self.word_of(&standings, &self.pages[index]);
            let page = &mut self.pages[index];
            if word != page.word {
                self.tally.words += 1;
                self.tally.held_words += u64::from(word == ProgramState::Pending);
                (page.word, page.word_since) = (word, now);
            }
            let said = machine.view(page.id);
            let said = said.map(|view| (view.word, view.word_since));
            if said != Some((page.word, page.word_since)) {
                let (id, since) = (page.id, page.word_since);
                return Err(format!(
                    "{id:?} is {word} since {since:?}, and not {said:?}"
                ));
            }
        }
        self.see_answers(&standings, machine)
    }

    /// What the caller asks for beside the state of a program.
    fn see_answers(&self, standings: &Standings, machine: &Machine) -> Check {
        for (index, page) in self.pages.iter().enumerate() {
            let is_due = page.state == State::Due;
            let is_done = page.state == State::Inactive && page.done;
            let is_stopped = page.why == Why::Stopped;
            let right = [
                is_done || matches!(page.state, State::Running { .. }),
                is_due && standings.of_page(index) == Standing::Never,
                !self.stopping && (page.wanted || is_stopped),
            ];
            let said = [
                machine.is_up(page.id),
                machine.is_blocked(page.id),
                machine.ends_escaped(page.id),
            ];
            if said != right {
                let id = page.id;
                return Err(format!(
                    "{id:?}: is up, is blocked, ends what escaped: {said:?}, and not {right:?}"
                ));
            }
        }
        let is_stopped = |page: &Page| !page.wanted && matches!(page.why, Why::Stopped | Why::New);
        if machine.has_stopped() != self.pages.iter().any(is_stopped) {
            return Err("not agreed on whether a program is stopped".to_owned());
        }
        Ok(())
    }

    fn word_of(&self, standings: &Standings, page: &Page) -> ProgramState {
        match page.state {
            State::Inactive if page.escaped_abandoned => ProgramState::Abandoned,
            State::Inactive if page.escaped => ProgramState::Stopping,
            State::Inactive => match page.why {
                Why::New | Why::Stopped => ProgramState::Stopped,
                Why::Exited => ProgramState::Exited,
                Why::Failed | Why::Permanent | Why::GaveUp => ProgramState::Failed,
            },
            State::Waiting { .. } | State::Clearing { .. } => ProgramState::Backoff,
            State::Due if standings.hold(self, page).is_some() => ProgramState::Pending,
            State::Due | State::Spawning => ProgramState::Starting,
            State::Launching { .. } | State::Starting { .. } => ProgramState::Starting,
            State::Running { .. } => ProgramState::Running,
            _ if page.is_ending() => ProgramState::Stopping,
            _ => ProgramState::Abandoned,
        }
    }
}
