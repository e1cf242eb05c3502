//! Small worlds: two programs or three, with everything that can happen to them.
//!
//! The clock moves only to the next deadline. All times of a world are alike, or of two lengths,
//! so that there are few moments; nothing is ever forgiven by a long run.

use std::collections::hash_map::DefaultHasher;
use std::hash::{Hash, Hasher};
use std::time::Duration;

use crate::machine::state::{Leader, State};
use crate::machine::{Backoff, Command, Exit, Moment, Policy, ProgramId, Restart};

use super::book::Check;
use super::definition::{Definition, Fate};
use super::edit::Edit;
use super::page::Page;
use super::scene::{Act, Scene};

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    Plain,
    Ready,
    Oneshot,
    /// It has failed after one restart.
    Limited,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Edge {
    None,
    After,
    Requires,
}

/// What changes once in a world.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Change {
    None,
    /// A program comes that requires the last one.
    Add,
    /// The last program gets another edge, and restarts or not.
    Links(Edge, bool),
    /// The first program restarts, or becomes another kind.
    Replace(Kind, bool),
    Remove,
}

#[derive(Debug, Clone, Copy)]
pub struct Setting {
    /// Each program, and its edge to the one before it.
    pub programs: [Option<(Kind, Edge)>; 3],
    /// The edge of the third to the first.
    pub closing: Edge,
    pub change: Change,
    /// Processes leave their group; health checks fail; starts are late.
    pub escapes: bool,
    pub faults: bool,
    pub late: bool,
    /// Delays are shorter than the time to stop.
    pub two_times: bool,
}

#[derive(Clone)]
pub struct World {
    pub scene: Scene,
    setting: Setting,
    /// The change is still to come.
    changes: bool,
}

fn id(program: usize) -> ProgramId {
    ProgramId(program as u32)
}

fn links(edge: Edge, other: ProgramId) -> (Vec<ProgramId>, Vec<ProgramId>) {
    match edge {
        Edge::None => (Vec::new(), Vec::new()),
        Edge::After => (Vec::new(), vec![other]),
        Edge::Requires => (vec![other], Vec::new()),
    }
}

impl Setting {
    fn policy(&self, kind: Kind) -> Policy {
        let delay = Duration::from_secs(if self.two_times { 3 } else { 5 });
        Policy {
            restart: if kind == Kind::Oneshot {
                Restart::OnFailure
            } else {
                Restart::Always
            },
            backoff: Backoff {
                initial: delay,
                max: delay,
                reset_after: Duration::MAX,
            },
            max_restarts: (kind == Kind::Limited).then_some(1),
            ready: kind == Kind::Ready,
            oneshot: kind == Kind::Oneshot,
            start_timeout: (kind == Kind::Ready).then_some(Duration::from_secs(5)),
            stop_timeout: Duration::from_secs(5),
            ..Policy::default()
        }
    }

    fn definition(&self, kind: Kind, edge: Edge, program: usize) -> Definition {
        let (mut requires, mut after) = links(edge, id(program.saturating_sub(1)));
        if program == 2 {
            let (more_requires, more_after) = links(self.closing, id(0));
            requires.extend(more_requires);
            after.extend(more_after);
        }
        Definition {
            policy: self.policy(kind),
            requires,
            after,
            fate: Fate::Any,
        }
    }
}

impl World {
    pub fn new(setting: Setting) -> Result<Self, String> {
        let mut scene = Scene {
            now: Moment::from_origin(Duration::from_secs(100)),
            ..Scene::default()
        };
        for (program, kind) in setting.programs.iter().enumerate() {
            if let Some((kind, edge)) = *kind {
                let definition = setting.definition(kind, edge, program);
                scene.take(&Act::Add(Box::new(definition), false, false))?;
            }
        }
        Ok(Self {
            scene,
            setting,
            changes: setting.change != Change::None,
        })
    }

    /// Does one thing. A deadline is handled when it comes.
    pub fn take(&mut self, act: &Act) -> Check {
        if is_change(act) {
            self.changes = false;
        }
        self.scene.take(act)?;
        if matches!(act, Act::Clock(_)) {
            self.scene.take(&Act::Timeout)?;
        }
        self.scene.machine.recount()
    }

    /// All that can happen next.
    pub fn acts(&self) -> Vec<Act> {
        let mut acts = vec![
            Act::Command(Command::StopAll),
            Act::Command(Command::KillAll),
        ];
        for page in &self.scene.book.pages {
            let id = page.id;
            acts.extend([
                Act::Command(Command::Start(id)),
                Act::Command(Command::Stop(id)),
                Act::Command(Command::Restart(id)),
                Act::Command(Command::Kill(id)),
            ]);
        }
        if self.changes {
            self.add_change(&mut acts);
        }
        if self.scene.starting.is_some() {
            acts.extend([Act::Spawned, Act::SpawnFailed]);
            if self.setting.late {
                acts.push(Act::SpawnDelayed);
            }
            return acts;
        }
        if self.scene.machine.has_starts() {
            acts.push(Act::Begin);
        }
        if let Some(next) = self.scene.machine.next_deadline() {
            acts.push(Act::Clock(next.max(self.scene.now)));
        }
        for page in &self.scene.book.pages {
            self.add_facts(page, &mut acts);
        }
        acts
    }

    fn add_change(&self, acts: &mut Vec<Act>) {
        let pages = &self.scene.book.pages;
        let (Some(first), Some(last)) = (pages.first(), pages.last()) else {
            return;
        };
        match self.setting.change {
            Change::None => {}
            Change::Add => {
                let new = self
                    .setting
                    .definition(Kind::Plain, Edge::Requires, pages.len());
                acts.push(Act::Add(Box::new(new), false, true));
            }
            Change::Links(edge, restart) => {
                let mut new = last.definition.clone();
                (new.requires, new.after) = links(edge, first.id);
                acts.push(replace(last.id, new, restart));
            }
            Change::Replace(kind, restart) => {
                let mut new = first.definition.clone();
                new.policy = self.setting.policy(kind);
                acts.push(replace(first.id, new, restart));
            }
            Change::Remove => {
                acts.push(Act::Command(Command::Remove(first.id)));
                acts.push(Act::Command(Command::Remove(last.id)));
            }
        }
    }

    fn add_facts(&self, page: &Page, acts: &mut Vec<Act>) {
        let id = page.id;
        if self.setting.escapes && page.runs > 0 {
            if page.escaped {
                acts.extend([Act::EscapedGone(id), Act::EscapedAbandoned(id)]);
            } else {
                acts.push(Act::Escaped(id));
            }
        }
        let Some(group) = &page.group else {
            return;
        };
        match group.leader {
            Leader::New => acts.extend([Act::LateSpawned(id), Act::LateFailed(id)]),
            Leader::Alive => {
                let codes: &[i32] = if page.is_oneshot() { &[0, 1] } else { &[1] };
                acts.extend(codes.iter().map(|&code| Act::Exit(id, Exit::Code(code))));
                if matches!(page.state, State::Starting { .. }) && page.tells_ready {
                    acts.push(Act::Ready(id));
                }
                if self.setting.faults && matches!(page.state, State::Running { .. }) {
                    acts.push(Act::Unhealthy(id));
                }
            }
            Leader::Dead => acts.push(Act::Gone(id)),
        }
    }

    /// From here on everything goes well: what is wanted comes up, then all that is started, and
    /// a stop ends.
    pub fn ends_well(&self) -> Check {
        let mut scene = self.scene.clone();
        scene.rest()?;
        scene.wishes()?;
        if !scene.book.stopping {
            scene.start_all()?;
        }
        scene.stop_all(Command::StopAll)
    }

    /// What decides all that comes, with moments told from now.
    pub fn key(&self) -> u128 {
        let [mut one, mut other] = [DefaultHasher::new(), DefaultHasher::new()];
        1_u8.hash(&mut other);
        self.hash_all(&mut one);
        self.hash_all(&mut other);
        u128::from(one.finish()) << 64 | u128::from(other.finish())
    }

    fn hash_all(&self, hasher: &mut DefaultHasher) {
        let (scene, now) = (&self.scene, self.scene.now);
        scene.machine.hash_state(now, hasher);
        self.changes.hash(hasher);
        scene.starting.map(|(run, _)| run.program).hash(hasher);
        let book = &scene.book;
        (book.stopping, book.pages.len()).hash(hasher);
        for page in &book.pages {
            hash_page(page, now, hasher);
        }
    }
}

fn hash_page(page: &Page, now: Moment, hasher: &mut DefaultHasher) {
    let until = |at: Moment| at.since(now);
    let policy = &page.definition.policy;
    let is_idle = page.group.is_none() && page.state != State::Spawning;
    (page.id, page.wanted, page.done, page.reports).hash(hasher);
    Some(page.why).filter(|_| !page.wanted).hash(hasher);
    (
        page.removed,
        page.escaped,
        page.escaped_abandoned,
        page.passed,
    )
        .hash(hasher);
    let run = (
        page.hard,
        page.cause,
        page.tells_ready,
        page.was_oneshot,
        page.again,
        page.outdated,
    );
    (Some(run).filter(|_| !is_idle), &page.group).hash(hasher);
    let in_row = policy.max_restarts.map(|_| page.in_row);
    (in_row, &page.armed).hash(hasher);
    let is_planned = matches!(page.state, State::Clearing { .. } | State::Waiting { .. });
    let plan = page.plan.filter(|_| is_planned);
    let plan = plan.map(|(from, to)| (until(from), until(to)));
    (plan, page.deadline.map(until)).hash(hasher);
    let drain = page.drain.iter().flatten().map(|&(id, _)| id);
    drain.collect::<Vec<ProgramId>>().hash(hasher);
    page.drains_by_new_links.hash(hasher);
    (policy.ready, policy.oneshot, policy.max_restarts).hash(hasher);
    (&page.definition.requires, &page.definition.after).hash(hasher);
}

fn replace(id: ProgramId, new: Definition, restart: bool) -> Act {
    Act::Edit(Edit {
        replaces: vec![(id, new, restart)],
        ..Edit::default()
    })
}

fn is_change(act: &Act) -> bool {
    matches!(
        act,
        Act::Add(..) | Act::Edit(_) | Act::Command(Command::Remove(_))
    )
}
