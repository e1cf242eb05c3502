//! What chance does with a machine.

use std::time::Duration;

use crate::machine::state::{Leader, State};
use crate::machine::{Command, Exit, Moment, ProgramId, Run};
use crate::model::rng::Rng;

use super::book::{Change, Check};
use super::definition::{Definition, FINE, Fate, PERMANENT, any_policy, certain};
use super::edit::Edit;
use super::page::Page;
use super::scene::{Act, Scene};

const PROGRAMS_MAX: u64 = 8;

/// What kind of life it is.
#[derive(Debug, Clone, Copy)]
pub struct Mood {
    /// Definitions come, change and go, and no other command is given; how a run ends is certain.
    pub reloads: bool,
    /// One in how many steps is a command, or a change of definitions.
    pub commands: u64,
    pub changes: u64,
    /// One in how many starts fails, and one is late.
    pub failures: u64,
}

pub struct Chaos {
    pub rng: Rng,
    pub mood: Mood,
    pub scene: Scene,
}

pub fn begin(seed: u64, traced: bool) -> Chaos {
    let mut rng = Rng::new(seed);
    let mut scene = Scene {
        trace: traced.then(Vec::new),
        now: Moment::from_origin(Duration::from_secs(1_000)),
        ..Scene::default()
    };
    scene.machine.set_seed(seed);
    let timeout = rng
        .one_in(3)
        .then(|| Duration::from_millis(rng.pick(&[0, 500, 3_000, 20_000])));
    scene.machine.set_shutdown_timeout(timeout);
    scene.book.shutdown_timeout = timeout;
    let mood = Mood {
        reloads: rng.one_in(4),
        commands: rng.pick(&[3, 6, 20]),
        changes: rng.pick(&[4, 12, 40]),
        failures: rng.pick(&[3, 10, 100]),
    };
    Chaos { rng, mood, scene }
}

impl Chaos {
    /// Adds the first programs. In some lives all of them are started at once.
    pub fn open(&mut self) -> Check {
        let rng = &mut self.rng;
        let programs = 1 + rng.below(PROGRAMS_MAX).min(rng.below(PROGRAMS_MAX));
        let starts = self.mood.reloads || rng.one_in(2);
        for _ in 0..programs {
            let definition = self.definition();
            self.scene
                .take(&Act::Add(Box::new(definition), false, starts))?;
        }
        if self.rng.one_in(2) {
            self.scene.rest()?;
        }
        Ok(())
    }

    pub fn step(&mut self) -> Check {
        let act = self.choose();
        self.scene.take(&act)
    }

    fn ids(&self) -> Vec<ProgramId> {
        self.scene.book.pages.iter().map(|page| page.id).collect()
    }

    fn any_id(&mut self) -> Option<ProgramId> {
        let ids = self.ids();
        (!ids.is_empty()).then(|| self.rng.pick(&ids))
    }

    /// Returns a definition of a program to come, with links to any that are there.
    fn definition(&mut self) -> Definition {
        let (policy, fate) = if self.mood.reloads {
            certain(&mut self.rng)
        } else {
            (any_policy(&mut self.rng), Fate::Any)
        };
        let ids = self.ids();
        let mut new = Definition {
            policy,
            requires: Vec::new(),
            after: Vec::new(),
            fate,
        };
        self.link(&mut new, &ids);
        new
    }

    /// Draws the links of a definition.
    fn link(&mut self, new: &mut Definition, ids: &[ProgramId]) {
        (new.requires, new.after) = (Vec::new(), Vec::new());
        for &id in ids {
            match self.rng.below(6) {
                0 => new.requires.push(id),
                1 => new.after.push(id),
                _ => {}
            }
        }
    }

    fn choose(&mut self) -> Act {
        let is_asked = self.scene.starting.is_some();
        let mood = self.mood;
        if self.rng.one_in(mood.changes)
            && let Some(act) = self.change()
        {
            return act;
        }
        if !mood.reloads
            && self.rng.one_in(mood.commands)
            && let Some(act) = self.command()
        {
            return act;
        }
        if is_asked {
            return match self.rng.below(mood.failures) {
                0 => Act::SpawnFailed,
                1 => Act::SpawnDelayed,
                _ => Act::Spawned,
            };
        }
        if self.scene.machine.has_starts() && self.rng.one_in(2) {
            return Act::Begin;
        }
        if self.rng.one_in(4) {
            return self.clock();
        }
        let fact = self.fact();
        fact.unwrap_or_else(|| self.clock())
    }

    fn command(&mut self) -> Option<Act> {
        let id = self.any_id()?;
        Some(Act::Command(match self.rng.below(60) {
            0..22 => Command::Start(id),
            22..36 => Command::Stop(id),
            36..50 => Command::Restart(id),
            50..55 => Command::Kill(id),
            55..58 => Command::Remove(id),
            58 => Command::StopAll,
            _ if self.rng.one_in(2) => Command::KillAll,
            _ if self.rng.one_in(2) => Command::StartAll,
            _ => Command::StartNew(id),
        }))
    }

    /// A change of definitions.
    fn change(&mut self) -> Option<Act> {
        let programs = self.scene.book.pages.len() as u64;
        match self.rng.below(10) {
            0..3 if programs < PROGRAMS_MAX => {
                let new = self.definition();
                let starts = self.mood.reloads || self.rng.one_in(2);
                Some(Act::Add(Box::new(new), self.rng.one_in(2), starts))
            }
            0..3 => Some(Act::Command(Command::Remove(self.any_id()?))),
            3 => self.cycle(),
            4 if self.mood.reloads => Some(Act::Command(Command::Remove(self.any_id()?))),
            _ => self.edit().map(Act::Edit),
        }
    }

    /// New definitions; in some, programs go and come as well, as in a reload.
    fn edit(&mut self) -> Option<Edit> {
        let mut edit = Edit {
            starts: self.mood.reloads || self.rng.one_in(2),
            ..Edit::default()
        };
        let mut ids = self.ids();
        let is_reload = self.rng.one_in(3);
        if is_reload {
            for id in self.ids() {
                if self.rng.one_in(4) {
                    edit.removes.push(id);
                }
            }
            ids.retain(|id| !edit.removes.contains(id));
            self.adds(&mut edit.adds, &ids);
        }
        let count = 1 + self
            .rng
            .below(ids.len().max(1) as u64)
            .min(self.rng.below(4));
        for _ in 0..count {
            if ids.is_empty() {
                break;
            }
            let id = self.rng.pick(&ids);
            if edit.replaces.iter().all(|change| change.0 != id) {
                let mut change = self.replacement(id)?;
                let is_gone = |id: &ProgramId| edit.removes.contains(id);
                change.1.requires.retain(|id| !is_gone(id));
                change.1.after.retain(|id| !is_gone(id));
                edit.replaces.push(change);
            }
        }
        self.let_go(&mut edit);
        Some(edit)
    }

    /// Draws programs that come, with links to others that come, and to what is there.
    fn adds(&mut self, adds: &mut Vec<Definition>, there: &[ProgramId]) {
        let first = self.scene.book.last_id.map_or(0, |id| id.0 + 1);
        let room = PROGRAMS_MAX.saturating_sub(there.len() as u64);
        let mut ids = there.to_vec();
        for number in 0..self.rng.below(3).min(room) as u32 {
            let mut new = self.definition();
            self.link(&mut new, &ids);
            adds.push(new);
            ids.push(ProgramId(first + number));
        }
    }

    /// What stays has no links to what goes.
    fn let_go(&mut self, edit: &mut Edit) {
        for page in &self.scene.book.pages {
            let is_named = edit.removes.contains(&page.id)
                || edit.replaces.iter().any(|change| change.0 == page.id);
            if is_named || !page.links().any(|id| edit.removes.contains(&id)) {
                continue;
            }
            let mut new = page.definition.clone();
            new.requires.retain(|id| !edit.removes.contains(id));
            new.after.retain(|id| !edit.removes.contains(id));
            edit.replaces.push((page.id, new, self.rng.one_in(4)));
        }
    }

    /// A new definition of a program: an equal one, one with some difference, or quite another.
    fn replacement(&mut self, id: ProgramId) -> Option<Change> {
        let old = self.scene.book.page(id)?.definition.clone();
        let mut new = old.clone();
        let kind = self.rng.below(8);
        if kind == 0 {
            return Some((id, new, false));
        }
        if kind < 6 {
            // Links to what was added before it make no cycle; others may.
            let cyclic = self.rng.one_in(10);
            let mut ids = self.ids();
            ids.retain(|&other| other != id && (cyclic || other < id));
            self.link(&mut new, &ids);
        }
        if kind > 3 {
            let (policy, fate) = if self.mood.reloads {
                certain(&mut self.rng)
            } else {
                (any_policy(&mut self.rng), Fate::Any)
            };
            // What a oneshot leaves behind counts as long as it is one.
            if !self.mood.reloads || policy.oneshot == old.policy.oneshot {
                (new.policy, new.fate) = (policy, fate);
            }
        }
        let is_live = old.is_live_change(&new);
        let restart = !is_live || self.rng.one_in(4);
        Some((id, new, restart))
    }

    /// Links that make a cycle, of one program or of several.
    fn cycle(&mut self) -> Option<Act> {
        let mut ids = self.ids();
        let count = 1 + self.rng.index(ids.len());
        while ids.len() > count {
            ids.remove(self.rng.index(ids.len()));
        }
        let first = *ids.first()?;
        let others = ids.iter().skip(1).chain([&first]);
        let links = ids.iter().zip(others).map(|(&id, &other)| {
            let mut new = self.scene.book.page(id)?.definition.clone();
            if self.rng.one_in(2) {
                new.after.retain(|&old| old != other);
                new.requires.push(other);
            } else if !new.requires.contains(&other) {
                new.after.push(other);
            }
            Some((id, new))
        });
        Some(Act::Link(links.collect::<Option<Vec<_>>>()?))
    }

    fn clock(&mut self) -> Act {
        let now = self.scene.now;
        match (self.rng.below(4), self.scene.machine.next_deadline()) {
            (0, _) => Act::Clock(now.after(Duration::from_millis(self.rng.pick(&[1, 40, 700])))),
            (1, Some(next)) => Act::Clock(now.max(next)),
            (_, Some(next)) if next > now => Act::Clock(next),
            _ => Act::Timeout,
        }
    }

    /// A fact about some program.
    fn fact(&mut self) -> Option<Act> {
        if self.rng.one_in(40) {
            let past = self.scene.book.past.clone();
            if !past.is_empty() {
                return Some(Act::Stale(self.rng.pick(&past)));
            }
        }
        let id = self.any_id()?;
        let page = self.scene.book.page(id)?;
        if page.runs > 1 && self.rng.one_in(60) {
            return Some(Act::Stale(Run {
                program: id,
                generation: page.runs - 1,
            }));
        }
        let page = page.clone();
        if page.escaped && self.rng.one_in(3) {
            let is_abandoned = self.rng.one_in(3);
            return Some(match is_abandoned {
                true => Act::EscapedAbandoned(id),
                false => Act::EscapedGone(id),
            });
        }
        if page.runs > 0 && self.rng.one_in(40) && page.state != State::Spawning {
            return Some(Act::Escaped(id));
        }
        self.fact_of(&page)
    }

    fn fact_of(&mut self, page: &Page) -> Option<Act> {
        let id = page.id;
        let group = page.group.as_ref()?;
        let dies = group.killed && !group.stuck;
        Some(match group.leader {
            Leader::New if dies && self.rng.one_in(2) => Act::LateFailed(id),
            Leader::New => match self.rng.below(4) {
                0 => Act::Stick(id, true),
                1 if !group.killed => Act::LateFailed(id),
                _ => Act::LateSpawned(id),
            },
            Leader::Alive if dies => {
                let exit = Exit::Signal {
                    signal: 9,
                    core_dumped: false,
                };
                Act::Exit(id, exit)
            }
            Leader::Alive => self.life_of(page),
            Leader::Dead if group.members => {
                if dies {
                    Act::MembersDie(id)
                } else {
                    Act::Stick(id, !group.stuck)
                }
            }
            Leader::Dead => Act::Gone(id),
        })
    }

    /// What a process does by itself.
    fn life_of(&mut self, page: &Page) -> Act {
        let id = page.id;
        let is_ready = page.tells_ready && matches!(page.state, State::Starting { .. });
        match self.rng.below(12) {
            0..3 if is_ready => Act::Ready(id),
            0 => Act::Fork(id),
            1 => Act::Stick(id, self.rng.one_in(2)),
            2 if !self.mood.reloads || page.tells_ready => Act::Ready(id),
            3..5 => Act::Alive(id),
            5 if !self.mood.reloads => Act::Unhealthy(id),
            _ => Act::Exit(id, self.exit_of(page)),
        }
    }

    fn exit_of(&mut self, page: &Page) -> Exit {
        let code = match page.definition.fate {
            Fate::Any => {
                let codes = [0, 0, 0, 1, FINE, PERMANENT];
                self.rng.pick(&codes)
            }
            Fate::Good if page.is_oneshot() => self.rng.pick(&[0, 1]),
            Fate::Good => 1,
            Fate::Ends(code) => code,
        };
        if page.definition.fate == Fate::Any && self.rng.one_in(6) {
            return Exit::Unknown;
        }
        Exit::Code(code)
    }
}
