//! A client together with what it is being answered.

use std::time::Instant;

use super::client::Client;
use super::follow::Follow;
use super::orders::{Desk, Order, Verb};
use super::protocol::write_done;
use crate::clock;

/// A client, and what it is being answered.
pub struct Session {
    pub client: Client,
    pub task: Task,
    /// The order that is not reported yet, and the programs that it names: it is reported when it
    /// is given to the first.
    pub unreported: Option<(Verb, Vec<String>)>,
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
    /// Goes on with what it asked for. True if the last line of a status is due.
    pub fn go_on(&mut self, desk: &mut Desk<'_>) -> bool {
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
            Task::Follow(_, order) => {
                let work = order.as_ref().map(|order| order.has_work(&self.client));
                (work == Some(true), None)
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
