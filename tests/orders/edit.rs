//! Changes of many programs at once, as a reload makes them, and what refuses them.

use std::collections::BTreeMap;

use crate::machine::ProgramId;
use crate::machine::definitions::{self, Replacement};
use crate::machine::graph::Links;

use super::book::{Change, Check};
use super::definition::Definition;
use super::scene::Scene;

/// Programs that go, change and come.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Edit {
    pub removes: Vec<ProgramId>,
    pub replaces: Vec<Change>,
    /// They get the ids that follow the last one, and have links to each other by these.
    pub adds: Vec<Definition>,
    /// What is new is started, unless it does not start by itself.
    pub starts: bool,
}

impl Scene {
    /// Returns true if nothing may follow.
    pub fn edit(&mut self, edit: &Edit) -> Result<bool, String> {
        let mut news = edit.clone();
        news.replaces.retain(|new| self.book.is_new(new));
        let ids = edit.adds.iter().map(|new| self.give_id(new));
        let ids: Vec<ProgramId> = ids.collect::<Result<_, String>>()?;
        let gone = Definition::default();
        let mut changes: BTreeMap<ProgramId, &Definition> = BTreeMap::new();
        changes.extend(edit.removes.iter().map(|id| (*id, &gone)));
        changes.extend(news.replaces.iter().map(|(id, new, _)| (*id, new)));
        changes.extend(ids.iter().copied().zip(&edit.adds));
        let replacements = edit.replaces.iter().map(|(id, new, restart)| Replacement {
            program: *id,
            policy: new.policy,
            links: new.links(),
            restart: *restart,
        });
        let adds = ids.iter().copied();
        let adds = adds.zip(edit.adds.iter().map(Definition::links));
        let given = definitions::Edit {
            removes: edit.removes.clone(),
            replaces: replacements.collect(),
            adds: adds.collect(),
            starts: edit.starts,
        };
        let answer = self.machine.edit(self.now, given);
        self.judge_links(&changes, &answer)?;
        if answer.is_err() {
            ids.iter().for_each(|&id| self.machine.take_back(id));
            return Ok(true);
        }
        self.book.edit(self.now, &news, &ids);
        let is_empty = edit.removes.is_empty() && edit.adds.is_empty();
        let changes_nothing = is_empty && news.replaces.is_empty();
        let tally = &mut self.book.tally;
        tally.equal += u64::from(changes_nothing);
        tally.reloads += u64::from(!is_empty && !news.replaces.is_empty());
        Ok(changes_nothing)
    }

    pub fn link(&mut self, all: &[(ProgramId, Definition)]) -> Result<bool, String> {
        let changes = all.iter().map(|(id, new)| (*id, new)).collect();
        let links: Vec<(ProgramId, Links)> =
            all.iter().map(|(id, new)| (*id, new.links())).collect();
        let answer = self.machine.link(self.now, links);
        self.judge_links(&changes, &answer)?;
        if answer.is_ok() {
            return Err("these links make a cycle, and were taken".to_owned());
        }
        Ok(true)
    }

    /// A cycle is refused with its path, and nothing else is.
    fn judge_links(
        &mut self,
        new: &BTreeMap<ProgramId, &Definition>,
        answer: &Result<(), Vec<ProgramId>>,
    ) -> Check {
        let links = |id: ProgramId| -> Vec<ProgramId> {
            let old = self.book.page(id).map(|page| &page.definition);
            let definition = new.get(&id).copied().or(old);
            definition.map_or_else(Vec::new, |definition| {
                definition
                    .requires
                    .iter()
                    .chain(&definition.after)
                    .copied()
                    .collect()
            })
        };
        let Err(path) = answer else {
            let cyclic = new.keys().find(|&&id| leads_to(id, id, &links));
            return cyclic.map_or(Ok(()), |id| Err(format!("a cycle from {id:?} was taken")));
        };
        let is_true = path.len() > 1
            && path.first() == path.last()
            && path
                .windows(2)
                .all(|pair| links(pair[0]).contains(&pair[1]));
        if !is_true {
            return Err(format!("{path:?} is no path of a cycle"));
        }
        self.book.tally.refused += 1;
        Ok(())
    }
}

/// True if a way of at least one link leads from a program to another.
fn leads_to(from: ProgramId, to: ProgramId, links: &impl Fn(ProgramId) -> Vec<ProgramId>) -> bool {
    let mut known = Vec::new();
    let mut next = links(from);
    while let Some(id) = next.pop() {
        if id == to {
            return true;
        }
        if !known.contains(&id) {
            known.push(id);
            next.extend(links(id));
        }
    }
    false
}
