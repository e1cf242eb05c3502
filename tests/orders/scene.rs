//! A machine, what it supervises, its caller and its observer: everything that can happen is an
//! act, and after each of them the observer looks at everything.

use std::collections::BTreeMap;
use std::fmt;

use crate::machine::state::{Leader, State};
use crate::machine::{Command, Exit, Input, Machine, Moment, Order, ProgramId, ProgramState, Run};

use super::book::{Book, Check};
use super::definition::Definition;
use super::edit::Edit;
use super::page::Page;
use super::standing::Standings;

const SIGKILL: i32 = 9;

#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Act {
    Command(Command),
    /// The caller asks for the next start, answers it, or says later how a late one went.
    Begin,
    Spawned,
    SpawnFailed,
    SpawnDelayed,
    LateSpawned(ProgramId),
    LateFailed(ProgramId),
    Exit(ProgramId, Exit),
    Fork(ProgramId),
    MembersDie(ProgramId),
    /// It does not die of SIGKILL, or it does again.
    Stick(ProgramId, bool),
    Gone(ProgramId),
    Ready(ProgramId),
    Alive(ProgramId),
    Unhealthy(ProgramId),
    Escaped(ProgramId),
    EscapedGone(ProgramId),
    EscapedAbandoned(ProgramId),
    Clock(Moment),
    Timeout,
    /// Adds a program that waits for what is being removed, or not, and starts it, or not.
    Add(Box<Definition>, bool, bool),
    /// Programs come, change and go at once.
    Edit(Edit),
    /// Links that may make a cycle.
    Link(Vec<(ProgramId, Definition)>),
    Stale(Run),
}

#[derive(Clone, Default)]
pub struct Scene {
    pub machine: Machine,
    pub book: Book,
    pub now: Moment,
    /// A start that was asked for and not answered, and when it began.
    pub starting: Option<(Run, Moment)>,
    /// The orders of the latest act.
    pub orders: Vec<Order>,
    pub trace: Option<Vec<String>>,
}

impl Scene {
    /// Writes a line of the trace, if there is one.
    pub fn say(&mut self, what: fmt::Arguments<'_>) {
        let now = self.now.since(Moment::default());
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{now:>14.3?}  {what}"));
        }
    }

    fn run(&self, id: ProgramId) -> Run {
        let generation = self.book.page(id).map_or(0, |page| page.runs);
        Run {
            program: id,
            generation,
        }
    }

    /// Does something, and has the observer look at everything.
    pub fn take(&mut self, act: &Act) -> Check {
        self.say(format_args!("{act:?}"));
        self.book.tally.steps += 1;
        self.orders.clear();
        self.book.changed.clear();
        self.book.kept.clear();
        let links = self.links();
        self.machine.watch_changes(true);
        let before = self.shown();
        let is_quiet = self.act(act)?;
        self.check_changed(&before)?;
        while let Some(order) = self.machine.next_order() {
            self.say(format_args!("    {order:?}"));
            self.orders.push(order);
        }
        if is_quiet && !self.orders.is_empty() {
            return Err(format!(
                "nothing has changed, and there is {:?}",
                self.orders
            ));
        }
        let pending = self.starting.map(|(run, _)| run.program);
        self.book
            .watch(&self.machine, self.now, &self.orders, &links, pending)
    }

    /// What is shown of each program: its state, whether it is up, and whether it is blocked.
    fn shown(&self) -> BTreeMap<ProgramId, (ProgramState, bool, bool)> {
        let machine = &self.machine;
        let of = |id| {
            let word = machine.view(id)?.word;
            Some((id, (word, machine.is_up(id), machine.is_blocked(id))))
        };
        let pages = self.book.pages.iter();
        pages.filter_map(|page| of(page.id)).collect()
    }

    /// A client that waits for a program looks at it only if it is among those that have changed.
    fn check_changed(&mut self, before: &BTreeMap<ProgramId, (ProgramState, bool, bool)>) -> Check {
        let changed = self.machine.take_changed();
        for (id, now) in self.shown() {
            let was = before.get(&id);
            if was.is_some_and(|was| *was != now) && !changed.contains(&id) {
                return Err(format!(
                    "{id:?} was {was:?}, is {now:?}, and that is not noted"
                ));
            }
        }
        Ok(())
    }

    /// Who waits for whom, before an act.
    fn links(&self) -> Vec<(ProgramId, ProgramId)> {
        let pages = self.book.pages.iter();
        let links = |page: &Page| {
            let id = page.id;
            page.links()
                .map(move |other| (id, other))
                .collect::<Vec<_>>()
        };
        pages.flat_map(links).collect()
    }

    /// Returns true if nothing may follow.
    fn act(&mut self, act: &Act) -> Result<bool, String> {
        let now = self.now;
        match act {
            Act::Command(command) => {
                self.book.command(*command, now);
                self.machine.handle(now, Input::Commanded(*command));
            }
            Act::Begin => self.begin()?,
            Act::Spawned | Act::SpawnFailed | Act::SpawnDelayed => self.answer(act)?,
            Act::Clock(to) => self.now = *to,
            Act::Timeout => {
                self.book.pass(now);
                self.machine.handle_timeout(now);
                self.check_timeout()?;
            }
            Act::Add(definition, after_removals, starts) => {
                self.add(definition, *after_removals, *starts)?;
            }
            Act::Edit(edit) => return self.edit(edit),
            Act::Link(all) => return self.link(all),
            Act::Stale(run) => {
                self.book.tally.stale += 1;
                for input in facts_of(*run, now) {
                    self.machine.handle(now, input);
                }
                return Ok(true);
            }
            _ => self.fact(act),
        }
        Ok(false)
    }

    fn fact(&mut self, act: &Act) {
        let now = self.now;
        let input = match *act {
            Act::LateSpawned(id) => {
                self.book.spawned(id, now, Leader::Alive);
                let run = self.run(id);
                Input::Spawned { run, at: now }
            }
            Act::LateFailed(id) => {
                let run = self.run(id);
                self.book.spawn_failed(id, now, now);
                Input::SpawnFailed { run, at: now }
            }
            Act::Exit(id, exit) => {
                self.book.exited(id, now, exit);
                let run = self.run(id);
                Input::LeaderExited { run, exit }
            }
            Act::Gone(id) => {
                self.book.gone(id);
                Input::GroupGone { run: self.run(id) }
            }
            Act::Ready(id) => {
                self.book.is_ready(id);
                Input::Ready { run: self.run(id) }
            }
            Act::Alive(id) => {
                self.book.is_alive(id, now);
                Input::Alive { run: self.run(id) }
            }
            Act::Unhealthy(id) => {
                self.book.is_unhealthy(id);
                Input::Unhealthy { run: self.run(id) }
            }
            Act::Escaped(id) => {
                self.book.escape(id, true);
                Input::Escaped { run: self.run(id) }
            }
            Act::EscapedGone(id) => {
                self.book.escape(id, false);
                Input::EscapedGone { run: self.run(id) }
            }
            Act::EscapedAbandoned(id) => {
                if let Some(page) = self.book.page_mut(id) {
                    page.escaped_abandoned = page.escaped;
                }
                self.book.tally.escapes_abandoned += 1;
                Input::EscapedAbandoned { run: self.run(id) }
            }
            _ => return self.world(act),
        };
        self.machine.handle(now, input);
    }

    /// What the machine does not learn.
    fn world(&mut self, act: &Act) {
        let (Act::Fork(id) | Act::MembersDie(id) | Act::Stick(id, _)) = *act else {
            return;
        };
        let Some(group) = self.book.page_mut(id).and_then(|page| page.group.as_mut()) else {
            return;
        };
        match act {
            Act::Fork(_) => group.members = true,
            Act::Stick(_, is_stuck) => group.stuck = *is_stuck,
            _ => group.members = false,
        }
    }

    /// A start: it may not be held, and is the next run of a program that is due.
    fn begin(&mut self) -> Check {
        let run = self.machine.next_start();
        self.say(format_args!("    start {run:?}"));
        let standings = Standings::of(&self.book);
        let free =
            |page: &&Page| page.state == State::Due && standings.hold(&self.book, page).is_none();
        let Some(run) = run else {
            let left = self.book.pages.iter().find(free);
            return left.map_or(Ok(()), |page| {
                Err(format!(
                    "nothing holds {:?}, and it does not start",
                    page.id
                ))
            });
        };
        let Some(page) = self.book.page(run.program) else {
            return Err(format!("{run:?} is of no program"));
        };
        if !free(&page) || self.book.stopping || !page.wanted {
            let hold = standings.hold(&self.book, page);
            return Err(format!(
                "{run:?} starts, {:?}, held by {hold:?}",
                page.state
            ));
        }
        if page.group.is_some() {
            return Err(format!("{run:?} starts beside the group of the run before"));
        }
        if run.generation != page.runs + 1 {
            return Err(format!("{run:?} follows {}", page.runs));
        }
        self.book.reported_once(run.program)?;
        self.book.begin(run.program);
        self.book.tally.starts += 1;
        self.starting = Some((run, self.now));
        Ok(())
    }

    fn answer(&mut self, act: &Act) -> Check {
        let Some((run, at)) = self.starting.take() else {
            return Err("there is no start to answer".to_owned());
        };
        let id = run.program;
        let input = match act {
            Act::Spawned => {
                self.book.spawned(id, at, Leader::Alive);
                Input::Spawned { run, at }
            }
            Act::SpawnDelayed => {
                self.book.spawned(id, at, Leader::New);
                self.book.tally.late += 1;
                Input::SpawnDelayed { run, at }
            }
            _ => {
                self.book.spawn_failed(id, self.now, at);
                Input::SpawnFailed { run, at }
            }
        };
        self.machine.handle(self.now, input);
        Ok(())
    }

    fn check_timeout(&self) -> Check {
        let next = self.machine.next_deadline();
        if next.is_some_and(|next| next <= self.now) {
            return Err(format!("after a timeout a deadline is past: {next:?}"));
        }
        Ok(())
    }

    /// Lets the machine know a program, which has no links yet.
    pub fn give_id(&mut self, definition: &Definition) -> Result<ProgramId, String> {
        let Some(id) = self.machine.add(self.now, definition.policy) else {
            return Err("no id is left".to_owned());
        };
        if self.book.last_id.is_some_and(|last| id <= last) {
            return Err(format!("{id:?} was given before"));
        }
        self.say(format_args!("    is {id:?}"));
        self.book.last_id = Some(id);
        Ok(id)
    }

    fn add(&mut self, definition: &Definition, after_removals: bool, starts: bool) -> Check {
        let id = self.give_id(definition)?;
        let now = self.now;
        let links = vec![(id, definition.links())];
        let linked = self.machine.link(now, links);
        linked.map_err(|cycle| format!("a new program cannot make a cycle: {cycle:?}"))?;
        self.book.add(now, id, definition, after_removals);
        if after_removals {
            self.machine.start_after_removals(id);
        }
        if starts {
            self.book.start(id, now, true);
            self.machine
                .handle(now, Input::Commanded(Command::Start(id)));
        }
        Ok(())
    }
}

/// Everything that could be said of a run that is over.
fn facts_of(run: Run, at: Moment) -> [Input; 12] {
    let exit = Exit::Signal {
        signal: SIGKILL,
        core_dumped: false,
    };
    [
        Input::Spawned { run, at },
        Input::SpawnFailed { run, at },
        Input::SpawnDelayed { run, at },
        Input::LeaderExited { run, exit },
        Input::GroupGone { run },
        Input::Ready { run },
        Input::Alive { run },
        Input::Unhealthy { run },
        Input::Hung { run },
        Input::Escaped { run },
        Input::EscapedGone { run },
        Input::EscapedAbandoned { run },
    ]
}
