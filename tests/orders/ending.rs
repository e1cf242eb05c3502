//! The fair run: starts succeed, what got a signal dies, what can be ready is ready, and the clock
//! goes from deadline to deadline. Nothing is left to chance.

use crate::machine::graph::Standing;
use crate::machine::state::{Leader, State};
use crate::machine::{Command, Exit, ProgramId};

use super::book::Check;
use super::definition::Fate;
use super::page::Page;
use super::scene::{Act, Scene};
use super::standing::Standings;

/// Turns until a fair run is over: each program has a few things to go through.
const TURNS_MAX: usize = 400;

/// Turns after which a program that ends again and again is left alone.
const PATIENCE: usize = 150;

const KILLED: Exit = Exit::Signal {
    signal: 9,
    core_dumped: false,
};

impl Scene {
    /// Goes on until nothing happens by itself any more.
    pub fn rest(&mut self) -> Check {
        self.say(format_args!("a fair run"));
        for turn in 0..TURNS_MAX {
            if self.turn(turn)? {
                continue;
            }
            let watchdogs = self.book.pages.iter().filter(|page| is_watched(page));
            let others = self.book.pages.iter().filter(|page| !is_watched(page));
            let is_waited = others.filter_map(|page| page.deadline).min();
            let shutdown = self.book.shutdown.filter(|_| !self.machine.is_settled());
            let shutdown = shutdown.map(|(kill, end)| kill.unwrap_or(end));
            let next = is_waited.into_iter().chain(shutdown).min();
            let Some(next) = next else {
                return Ok(());
            };
            for id in watchdogs.map(|page| page.id).collect::<Vec<_>>() {
                self.take(&Act::Alive(id))?;
            }
            let watchdogs = self.book.pages.iter().filter(|page| is_watched(page));
            let first = watchdogs.filter_map(|page| page.deadline).min();
            let next = first.map_or(next, |first| first.min(next));
            if next > self.now {
                self.take(&Act::Clock(next))?;
            }
            for id in self.alive() {
                self.take(&Act::Alive(id))?;
            }
            self.take(&Act::Timeout)?;
        }
        Err("a fair run does not end".to_owned())
    }

    fn alive(&self) -> Vec<ProgramId> {
        let pages = self.book.pages.iter().filter(|page| is_watched(page));
        pages.map(|page| page.id).collect()
    }

    /// Does all that is to be done now. Returns false if there is nothing.
    fn turn(&mut self, turn: usize) -> Result<bool, String> {
        let mut has_moved = false;
        if self.starting.is_some() {
            self.take(&Act::Spawned)?;
            has_moved = true;
        }
        while self.machine.has_starts() {
            self.take(&Act::Begin)?;
            if self.starting.is_some() {
                self.take(&Act::Spawned)?;
                has_moved = true;
            }
        }
        let ids: Vec<ProgramId> = self.book.pages.iter().map(|page| page.id).collect();
        for id in ids {
            while let Some(act) = self.book.page(id).and_then(|page| next_act(page, turn)) {
                self.take(&act)?;
                has_moved = true;
            }
        }
        Ok(has_moved)
    }

    /// After a fair run everything is as it is wanted, as far as it can be.
    pub fn wishes(&mut self) -> Check {
        let standings = Standings::of(&self.book);
        for (index, page) in self.book.pages.iter().enumerate() {
            let id = page.id;
            let state = page.state;
            let is_right = match (page.wanted, state) {
                (true, State::Running { .. }) => true,
                (true, State::Due) => standings.of_page(index) == Standing::Never,
                (false, State::Inactive) => true,
                _ => false,
            };
            if !is_right {
                let hold = standings.hold(&self.book, page);
                return Err(format!(
                    "at rest {id:?} is {state:?}, wanted: {}, held by {hold:?}",
                    page.wanted
                ));
            }
            // Nothing is pending without a program that is down, for a reason of its own.
            if state == State::Due && !self.is_blocked(page) {
                return Err(format!(
                    "{id:?} is pending, and all that it requires can run"
                ));
            }
            self.book.tally.pending += u64::from(state == State::Due);
            self.book.tally.wishes += u64::from(page.wanted && state != State::Due);
            self.book.tally.oneshots += u64::from(page.done);
        }
        Ok(())
    }

    /// True if something that it requires, however far, is down for a reason of its own.
    fn is_blocked(&self, page: &Page) -> bool {
        page.definition.requires.iter().any(|&id| {
            let Some(page) = self.book.page(id) else {
                return false;
            };
            (!page.wanted && !page.done) || (page.state == State::Due && self.is_blocked(page))
        })
    }

    /// Starts everything: now all of it has to be up.
    pub fn start_all(&mut self) -> Check {
        let ids: Vec<ProgramId> = self.book.pages.iter().map(|page| page.id).collect();
        for id in ids {
            self.take(&Act::Command(Command::Start(id)))?;
        }
        self.rest()?;
        self.wishes()?;
        if self.book.stopping {
            return Ok(());
        }
        for page in &self.book.pages {
            let is_up = page.done || matches!(page.state, State::Running { .. });
            if !is_up {
                return Err(format!(
                    "{:?} was started, and is not up: {page:?}",
                    page.id
                ));
            }
        }
        Ok(())
    }

    /// Stops everything: within its deadlines it is over.
    pub fn stop_all(&mut self, command: Command) -> Check {
        let timeouts = self.book.pages.iter();
        let timeouts = timeouts.map(|page| page.definition.policy.stop_timeout);
        let longest: std::time::Duration = timeouts.sum();
        let death = std::time::Duration::from_secs(5) * self.book.pages.len() as u32;
        let end = self.now.after(longest + death);
        self.take(&Act::Command(command))?;
        self.rest()?;
        if self.now > end || !self.machine.is_settled() {
            return Err("the stop of everything took too long".to_owned());
        }
        if self.machine.next_start().is_some() {
            return Err("something is planned after the end".to_owned());
        }
        for page in &self.book.pages {
            self.book.reported_once(page.id)?;
            if page.wanted
                || page.deadline.is_some()
                || page.group.is_some()
                || page.state != State::Inactive
            {
                return Err(format!("after the end there is {page:?}"));
            }
        }
        Ok(())
    }
}

fn is_watched(page: &Page) -> bool {
    matches!(page.state, State::Running { .. }) && page.deadline.is_some()
}

/// What a program does next by itself.
fn next_act(page: &Page, turn: usize) -> Option<Act> {
    let id = page.id;
    if page.escaped {
        return Some(Act::EscapedGone(id));
    }
    let group = page.group.as_ref()?;
    if group.stuck {
        return Some(Act::Stick(id, false));
    }
    match group.leader {
        Leader::New if group.killed => Some(Act::LateFailed(id)),
        Leader::New => Some(Act::LateSpawned(id)),
        Leader::Alive if group.killed => Some(Act::Exit(id, KILLED)),
        Leader::Alive if group.asked_to_stop => Some(Act::Exit(id, Exit::Code(0))),
        Leader::Alive => {
            let is_starting = matches!(page.state, State::Starting { .. });
            if let Fate::Ends(code) = page.definition.fate {
                return (turn < PATIENCE).then_some(Act::Exit(id, Exit::Code(code)));
            }
            if is_starting && page.tells_ready {
                return Some(Act::Ready(id));
            }
            let ends = is_starting && page.is_oneshot();
            ends.then_some(Act::Exit(id, Exit::Code(0)))
        }
        Leader::Dead if group.members => Some(Act::MembersDie(id)),
        Leader::Dead => Some(Act::Gone(id)),
    }
}
