//! Any sequence of adds, replacements and removals ends as a fresh start of the last definitions
//! would: the same programs run, are pending, have succeeded or have failed.

use std::collections::BTreeMap;

use crate::machine::ProgramId;
use crate::machine::state::{State, Why};

use super::book::Check;
use super::definition::{Definition, Fate};
use super::page::Page;
use super::scene::{Act, Scene};

/// How a program is when nothing happens by itself.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum End {
    Up,
    Done,
    Pending,
    Down(Why),
}

fn end_of(page: &Page) -> End {
    match page.state {
        _ if page.done => End::Done,
        State::Running { .. } => End::Up,
        State::Due => End::Pending,
        _ => End::Down(page.why),
    }
}

impl Scene {
    pub fn compare_with_fresh(&mut self) -> Check {
        let mut fresh = Self {
            now: self.now,
            ..Self::default()
        };
        let mut ids: BTreeMap<ProgramId, ProgramId> = BTreeMap::new();
        for (place, id) in self.in_order().into_iter().enumerate() {
            ids.insert(id, ProgramId(place as u32));
        }
        for &id in self.in_order().iter() {
            let Some(page) = self.book.page(id) else {
                continue;
            };
            let new = |old: &Vec<ProgramId>| old.iter().map(|id| ids[id]).collect();
            let definition = Definition {
                requires: new(&page.definition.requires),
                after: new(&page.definition.after),
                ..page.definition.clone()
            };
            fresh.take(&Act::Add(Box::new(definition), false, true))?;
        }
        fresh.rest()?;
        fresh.wishes()?;
        // What has been up in spite of what it requires now, and what was up thanks to that.
        let mut lucky: Vec<ProgramId> = Vec::new();
        for id in self.in_order() {
            let (Some(page), Some(other)) = (self.book.page(id), fresh.book.page(ids[&id])) else {
                continue;
            };
            let requires = &page.definition.requires;
            let (own, other) = (end_of(page), end_of(other));
            let is_short = |id: &ProgramId| {
                let end = self.book.page(*id).map(end_of);
                !matches!(end, Some(End::Up | End::Done)) || lucky.contains(id)
            };
            let is_lucky = (own == End::Up && requires.iter().any(is_short))
                || requires
                    .iter()
                    .any(|id| !page.armed.contains(id) || lucky.contains(id))
                || matches!(
                    (own, other),
                    (End::Done, End::Pending) | (End::Pending, End::Done)
                );
            if is_lucky {
                lucky.push(id);
            }
            // It fails before what it requires does, or waits for that.
            let fails = page.definition.fate != Fate::Good
                && [own, other]
                    .iter()
                    .all(|end| matches!(end, End::Down(_) | End::Pending));
            if own != other && !is_lucky && !fails {
                return Err(format!(
                    "{id:?} is {own:?}, and after a fresh start {other:?}: {page:?}"
                ));
            }
        }
        self.book.tally.fresh += 1;
        Ok(())
    }

    /// The programs, each after those that it has links to.
    fn in_order(&self) -> Vec<ProgramId> {
        let mut ids: Vec<ProgramId> = Vec::new();
        while ids.len() < self.book.pages.len() {
            for page in &self.book.pages {
                if !ids.contains(&page.id) && page.links().all(|id| ids.contains(&id)) {
                    ids.push(page.id);
                }
            }
        }
        ids
    }
}
