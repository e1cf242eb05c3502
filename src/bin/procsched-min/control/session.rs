//! A client together with what it is being answered.

use std::sync::Arc;
use std::time::Instant;

use procsched::Event;

use super::client::Client;
use super::feed::Turn;
use super::follow::Follow;
use super::orders::{Desk, Order};
use super::protocol::write_done;
use super::status::write_event;
use super::verb::Verb;
use crate::clock;
use crate::messages::Level;
use crate::output::Outputs;
use crate::panics::guarded;

/// A client, and what it is being answered.
pub struct Session {
    pub client: Client,
    pub task: Task,
    /// The order that is not reported yet, and the programs that it names: it is reported when it
    /// is given to the first.
    pub unreported: Option<(Verb, Vec<String>)>,
    /// What the next turn of it does first.
    #[cfg(test)]
    pub plant: Option<fn()>,
}

/// What a client is being answered.
pub enum Task {
    /// It may ask.
    Idle,
    Order(Order),
    /// Until it goes, after a listing if it wanted one.
    Follow(Follow, Option<Order>),
}

impl Session {
    pub fn new(client: Client) -> Self {
        Self {
            client,
            task: Task::Idle,
            unreported: None,
            #[cfg(test)]
            plant: None,
        }
    }

    /// Does something for this client alone, which goes if that panics.
    pub fn guard(&mut self, outputs: &Outputs, act: impl FnOnce(&mut Self)) {
        if let Err(problem) = guarded(|| act(self)) {
            self.fail(outputs, &problem);
        }
    }

    /// Reports why this client cannot be served, and gives it up.
    pub fn fail(&mut self, outputs: &Outputs, problem: &str) {
        let mut outputs = outputs.lock();
        outputs.say_own(Level::Error, "warning", problem);
        self.task = Task::Idle;
        self.unreported = None;
        self.client.give_up();
    }

    /// Takes in an event, whose line is written once for all clients.
    pub fn on_event(&mut self, event: &Event, line: &mut Vec<u8>) {
        match &mut self.task {
            Task::Idle => {}
            Task::Order(order) => order.on_event(event),
            Task::Follow(follow, _) => {
                if line.is_empty() {
                    write_event(line, event);
                }
                follow.event(&mut self.client, event.program(), line);
            }
        }
    }

    /// Takes in what else came of a turn, and the names of the programs that have changed.
    pub fn on_turn(&mut self, turn: &Turn, changed: &[Arc<str>]) {
        match &mut self.task {
            Task::Idle => {}
            Task::Order(order) => {
                let tails = turn.tails.iter();
                tails.for_each(|(program, tail)| order.on_tail(program, tail));
                changed.iter().for_each(|program| order.on_change(program));
                if !turn.lost.is_empty() {
                    order.look_at_all();
                }
            }
            Task::Follow(follow, _) => follow.lose(&turn.lost),
        }
    }

    /// Goes on with what it asked for. True if the last line of a status is due.
    pub fn go_on(&mut self, desk: &mut Desk<'_>) -> bool {
        #[cfg(test)]
        if let Some(plant) = self.plant {
            plant();
        }
        let client = &mut self.client;
        match &mut self.task {
            Task::Idle => {}
            Task::Order(order) => {
                let is_finished = order.go_on(client, desk);
                if is_finished && order.is_description() {
                    return true;
                }
                if is_finished {
                    order.finish(client, write_done);
                    self.end();
                }
            }
            Task::Follow(follow, snapshot) => {
                follow.report_dropped(client);
                if let Some(order) = snapshot
                    && order.go_on(client, desk)
                {
                    if order.has_failed() {
                        order.finish(client, |_| {});
                        self.end();
                    } else {
                        *snapshot = None;
                    }
                }
            }
        }
        false
    }

    pub fn end(&mut self) {
        self.task = Task::Idle;
        self.client.end_answer();
    }

    pub fn deadline(&self) -> Option<Instant> {
        let (has_work, deadline) = match &self.task {
            Task::Idle => (self.client.has_request(), None),
            Task::Order(order) => (order.has_work(&self.client), order.deadline(&self.client)),
            Task::Follow(follow, order) => {
                let order = order.as_ref();
                let has_listing = order.is_some_and(|order| order.has_work(&self.client));
                (has_listing || follow.has_work(&self.client), None)
            }
        };
        if has_work {
            return Some(clock::steady());
        }
        self.client.deadline().into_iter().chain(deadline).min()
    }

    /// True if the connection is to be closed. An order that was begun is given to the rest of its
    /// programs.
    pub fn is_over(&mut self) -> bool {
        if !self.client.is_over() {
            return false;
        }
        self.client.give_up();
        match &self.task {
            Task::Order(order) => !order.has_work(&self.client),
            Task::Idle | Task::Follow(..) => true,
        }
    }
}
