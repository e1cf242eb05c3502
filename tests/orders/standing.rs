//! What is up, what is on its way, and what holds a start: worked out from all that is known, anew
//! for each question.

use crate::machine::graph::Standing;
use crate::machine::state::{Leader, State};
use crate::machine::{Hold, ProgramId};

use super::book::Book;
use super::page::Page;

/// The standing of each page of a book.
pub struct Standings(Vec<Standing>);

impl Standings {
    /// Works out all of them. A program comes after what it requires, as there is no cycle.
    pub fn of(book: &Book) -> Self {
        let mut known = vec![None; book.pages.len()];
        for index in 0..book.pages.len() {
            find(book, index, &mut known);
        }
        Self(known.into_iter().map(Option::unwrap).collect())
    }

    pub fn of_page(&self, index: usize) -> Standing {
        self.0[index]
    }

    pub fn get(&self, book: &Book, id: ProgramId) -> Standing {
        book.index(id)
            .map_or(Standing::Never, |index| self.0[index])
    }

    /// True if what requires this program may not run.
    pub fn is_down(&self, book: &Book, id: ProgramId) -> bool {
        let Some(index) = book.index(id) else {
            return true;
        };
        let page = &book.pages[index];
        let stopped = self.0[index] == Standing::Never || (page.is_ending() && page.was_asked());
        stopped && !page.is_oneshot()
    }

    /// True if a program that this one starts after is on its way.
    pub fn after_comes(&self, book: &Book, page: &Page) -> bool {
        let after = &page.definition.after;
        after
            .iter()
            .any(|&id| self.get(book, id) == Standing::Coming)
    }

    /// True if something that this program requires is not up.
    pub fn is_short(&self, book: &Book, page: &Page) -> bool {
        let requires = &page.definition.requires;
        requires
            .iter()
            .any(|&id| self.get(book, id) != Standing::Up)
    }

    /// Returns what holds a start that is due, and should be named.
    pub fn hold(&self, book: &Book, page: &Page) -> Option<Hold> {
        for wanted in [Standing::Never, Standing::Retrying, Standing::Coming] {
            let requires = &page.definition.requires;
            if let Some(&id) = requires.iter().find(|&&id| self.get(book, id) == wanted) {
                return Some(Hold::Requires(id));
            }
        }
        let mut after = page.definition.after.iter();
        if !page.passed
            && let Some(&id) = after.find(|&&id| self.get(book, id) == Standing::Coming)
        {
            return Some(Hold::After(id));
        }
        if page.escaped {
            return Some(Hold::Escaped);
        }
        let is_removing = book.pages.iter().any(|page| page.removed);
        (page.after_removals && is_removing).then_some(Hold::Removals)
    }
}

fn find(book: &Book, index: usize, known: &mut [Option<Standing>]) -> Standing {
    if let Some(standing) = known[index] {
        return standing;
    }
    let page = &book.pages[index];
    let standing = own_standing(page).unwrap_or_else(|| {
        let requires = page.definition.requires.iter();
        let required: Vec<Standing> = requires
            .map(|&id| {
                book.index(id)
                    .map_or(Standing::Never, |index| find(book, index, known))
            })
            .collect();
        if required.contains(&Standing::Never) {
            return Standing::Never;
        }
        let comes_back = match page.state {
            State::Due => !page.escaped && !required.contains(&Standing::Retrying),
            // What was asked to stop, or was started after its end, starts without a delay.
            State::Draining { .. } => true,
            State::Stopping { leader, .. } | State::Killed { leader, .. } => {
                page.was_asked() || leader == Leader::Dead
            }
            _ => false,
        };
        if comes_back {
            Standing::Coming
        } else {
            Standing::Retrying
        }
    });
    known[index] = Some(standing);
    standing
}

/// What needs no look at others.
fn own_standing(page: &Page) -> Option<Standing> {
    if page.done {
        return Some(Standing::Up);
    }
    match page.state {
        State::Running { .. } => Some(Standing::Up),
        State::Abandoned { .. } => Some(Standing::Never),
        _ if page.is_succeeding() => Some(Standing::Coming),
        _ if !page.wanted => Some(Standing::Never),
        State::Spawning | State::Launching { .. } | State::Starting { .. } => {
            Some(Standing::Coming)
        }
        _ => None,
    }
}
