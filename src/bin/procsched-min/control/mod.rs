//! The control socket: through it an operator sees and changes what a running supervisor does.
//!
//! The server waits with the scheduler, and after each turn serves each client a little: one
//! request, a portion of a listing, a few programs of an order. While no client is connected it
//! costs no wake-up.

mod changed;
mod client;
mod feed;
mod follow;
mod held;
mod json;
mod judge;
mod listener;
mod orders;
pub mod path;
pub mod pattern;
pub mod place;
mod preface;
pub mod protocol;
mod reload;
mod requests;
mod runs;
mod session;
mod share;
mod starts;
mod status;
mod stopped_by;
mod verb;

use std::os::fd::AsFd;
use std::path::Path;
use std::rc::Rc;
use std::sync::Arc;
use std::time::{Duration, Instant, SystemTime};

use nix::poll::{PollFd, PollFlags};
use procsched::ProcessScheduler;

use crate::clock;
use crate::messages::Level;
use crate::output::Outputs;
use crate::panics::guarded;
use crate::reload::Reloader;
use changed::Changed;
use client::Client;
pub use feed::Feed;
use listener::Listener;
pub use listener::{Refusal, prepare_default_directory};
use orders::Desk;
use protocol::{Code, Problem};
use session::{Session, Task};
use share::Share;
use status::{Supervisor, write_supervisor};
pub use status::{json_line, text_as_json, write_message, write_own_message};
pub use stopped_by::StoppedBy;

/// The most clients at a time. One more gets `busy`.
const CLIENTS_MAX: usize = 16;

/// The most connections that are taken in a turn.
const ACCEPTS_PER_TURN: usize = 4;

/// The most changed programs in a turn that are looked up for each client that waits.
const CHANGES_PER_TURN: usize = 512;

/// How long a turn may serve clients before the rest of them wait for the next: one may ask for
/// something that takes long, such as a reload.
const TURN_TIME_MAX: Duration = Duration::from_millis(5);

/// The listener and the clients.
pub const DESCRIPTORS_MAX: usize = CLIENTS_MAX + 1;

/// The server behind a control socket.
pub struct Server {
    listener: Listener,
    feed: Feed,
    outputs: Outputs,
    sessions: Vec<Session>,
    stopped_by: StoppedBy,
    since: SystemTime,
    about: About,
    share: Share,
    /// The client that is served first in the next turn.
    first: usize,
    /// Programs that have changed, and were not handed out yet.
    changed: Changed,
    /// True if connections wait.
    has_arrivals: bool,
    /// True if an order of one client may have ended the wait of another.
    has_orders: bool,
}

/// What the server knows of the supervisor's config.
pub struct About {
    /// What messages call it.
    pub config: String,
    pub reloader: Rc<Reloader>,
}

impl Server {
    /// Makes the socket at `path`, for the owner and, if given, for a group.
    pub fn open(
        path: &Path,
        group: Option<u32>,
        about: About,
        feed: Feed,
        outputs: Outputs,
    ) -> Result<Self, Refusal> {
        Ok(Self {
            listener: Listener::open(path, group)?,
            feed,
            outputs,
            sessions: Vec::new(),
            stopped_by: StoppedBy::default(),
            since: clock::wall(),
            about,
            share: Share::new(),
            first: 0,
            changed: Changed::default(),
            has_arrivals: false,
            has_orders: false,
        })
    }

    /// Returns which users have stopped programs.
    pub fn stopped_by(&self) -> &StoppedBy {
        &self.stopped_by
    }

    /// Makes the socket again if it was removed.
    pub fn remake(&mut self) {
        if let Err(refusal) = self.listener.remake() {
            let mut outputs = self.outputs.lock();
            outputs.say_own(Level::Warning, "warning", refusal.message());
        }
    }

    /// Removes the socket. The connections end with this process: who waits for its end has waited
    /// for all of it then, such as the locks of its logs.
    pub fn close(mut self) {
        for session in &mut self.sessions {
            if let Task::Order(_) = session.task {
                let message = "everything has been stopped";
                let problem = Problem::new(Code::Stopping, message);
                session.client.queue(|out| problem.write(out));
                session.client.flush();
            }
        }
        drop(self.listener);
        std::mem::forget(self.sessions);
    }

    /// True while clients have to wait, as they have taken much time.
    pub fn rests(&self) -> bool {
        self.share.rests_until().is_some()
    }

    /// Adds what to wait for: the listener, and the clients in their order; nothing while it rests.
    pub fn wait_for<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
        if self.rests() {
            return;
        }
        let is_paused = self.listener.paused_until().is_some();
        let arrivals = match is_paused {
            true => PollFlags::empty(),
            false => PollFlags::POLLIN,
        };
        descriptors.push(PollFd::new(self.listener.as_fd(), arrivals));
        let clients = self.sessions.iter().map(|session| &session.client);
        descriptors.extend(clients.map(|client| PollFd::new(client.as_fd(), client.interest())));
    }

    /// Takes in what is ready, in the same order.
    pub fn on_ready(&mut self, mut ready: impl Iterator<Item = PollFlags>) {
        let began = clock::steady();
        let arrivals = ready.next().unwrap_or(PollFlags::empty());
        self.has_arrivals = arrivals.contains(PollFlags::POLLIN);
        for (session, ready) in self.sessions.iter_mut().zip(ready) {
            session.guard(&self.outputs, |session| session.client.on_ready(ready));
        }
        self.share.spend(began);
    }

    /// Returns when it has to be served, whatever the descriptors say.
    pub fn next_deadline(&self) -> Option<Instant> {
        let rest = self.share.rests_until();
        if rest.is_some() {
            return rest;
        }
        if self.has_orders || !self.changed.is_empty() {
            return Some(clock::steady());
        }
        let sessions = self.sessions.iter().filter_map(Session::deadline);
        sessions.chain(self.listener.paused_until()).min()
    }

    /// Serves every client a little, after a turn of the scheduler in which these programs have
    /// changed; if they have taken much time, and this is not the last turn, it only tells them what
    /// happened.
    pub fn serve(&mut self, scheduler: &mut ProcessScheduler, changed: &[Arc<str>], is_last: bool) {
        let rests = self.rests() && !is_last;
        if self.sessions.is_empty() && (!self.has_arrivals || rests) {
            // Without a client, too: a reload by a signal, and an order whose client has gone.
            self.has_orders &= rests;
            return;
        }
        let began = clock::steady();
        self.hand_out(changed, is_last);
        if !rests {
            self.has_orders = false;
            self.serve_all(scheduler, began, is_last);
        }
        self.share.spend(began);
    }

    fn serve_all(&mut self, scheduler: &mut ProcessScheduler, began: Instant, is_last: bool) {
        let first = std::mem::take(&mut self.first);
        for step in 0..self.sessions.len() {
            let index = (first + step) % self.sessions.len();
            self.serve_one(index, scheduler);
            if !is_last && clock::steady() > began + TURN_TIME_MAX {
                self.first = index + 1;
                break;
            }
        }
        self.sessions.retain_mut(|session| !session.is_over());
        // After those that have gone have made room.
        if std::mem::take(&mut self.has_arrivals) {
            let first = self.sessions.len();
            self.accept();
            for index in first..self.sessions.len() {
                self.sessions[index].client.on_ready(PollFlags::POLLIN);
                self.serve_one(index, scheduler);
            }
            // One that ended its input with half a line wakes us no more.
            self.sessions.retain_mut(|session| !session.is_over());
        }
        self.feed.want(self.is_followed());
        if !self.is_followed() {
            self.changed = Changed::default();
        }
    }

    /// True if a client follows or waits, so that changes of programs have to be noted.
    pub fn is_followed(&self) -> bool {
        self.followers() > 0
    }

    /// Hands out the events of the turn, and the names of some programs that have changed; in the
    /// last turn of all.
    fn hand_out(&mut self, changed: &[Arc<str>], is_last: bool) {
        let turn = self.feed.take();
        self.changed.add(changed);
        let changed = self.changed.take(if is_last {
            usize::MAX
        } else {
            CHANGES_PER_TURN
        });
        let mut line = Vec::new();
        for event in &turn.events {
            line.clear();
            for session in &mut self.sessions {
                session.guard(&self.outputs, |session| session.on_event(event, &mut line));
            }
        }
        for session in &mut self.sessions {
            session.guard(&self.outputs, |session| session.on_turn(&turn, &changed));
        }
    }

    fn accept(&mut self) {
        for accepted in 0..ACCEPTS_PER_TURN {
            let Some(stream) = self.listener.accept() else {
                if accepted == 0 {
                    // It is said to be ready, and is not: that would wake us at once again.
                    self.listener.pause();
                }
                return;
            };
            let Some(mut client) = Client::new(stream) else {
                continue;
            };
            if self.sessions.len() >= CLIENTS_MAX {
                let message = format!("{CLIENTS_MAX} clients are connected already");
                client.queue(|out| Problem::new(Code::Busy, message).write(out));
                client.flush();
                continue;
            }
            self.sessions.push(Session::new(client));
        }
    }

    /// Returns the number of clients that follow or wait.
    pub(super) fn followers(&self) -> usize {
        let tasks = self.sessions.iter().map(|session| &session.task);
        tasks
            .filter(|task| match task {
                Task::Idle => false,
                Task::Order(order) => order.waits(),
                Task::Follow(..) => true,
            })
            .count()
    }

    /// Serves one client. If that panics, its connection is closed, and the others are served: what
    /// was in its memory is not used again.
    fn serve_one(&mut self, index: usize, scheduler: &mut ProcessScheduler) {
        if let Err(problem) = guarded(|| self.serve_session(index, scheduler)) {
            self.sessions[index].fail(&self.outputs, &problem);
            // It may have given orders before.
            self.has_orders = true;
        }
    }

    fn serve_session(&mut self, index: usize, scheduler: &mut ProcessScheduler) {
        if let Some(line) = self.sessions[index].client.take_request() {
            self.begin(index, line, scheduler);
        }
        let session = &mut self.sessions[index];
        let mut desk = Desk {
            scheduler,
            stopped_by: &mut self.stopped_by,
            given: Vec::new(),
        };
        let is_describing = session.go_on(&mut desk);
        let given = std::mem::take(&mut desk.given);
        if is_describing {
            self.describe_self(index, scheduler);
        }
        if !given.is_empty()
            && let Some((verb, programs)) = self.sessions[index].unreported.take()
        {
            self.report_order(index, verb.word(), &programs);
        }
        self.has_orders |= !given.is_empty();
        for (other, session) in self.sessions.iter_mut().enumerate() {
            if other != index
                && let Task::Order(order) = &mut session.task
            {
                for (program, verb, peer) in &given {
                    order.on_order(program, *verb, *peer);
                }
            }
        }
        self.sessions[index].client.flush();
    }

    /// Ends the answer of a status with what is known of the supervisor.
    fn describe_self(&mut self, index: usize, scheduler: &ProcessScheduler) {
        let about = Supervisor {
            is_stopping: scheduler.is_stopping(),
            since: self.since,
            config: &self.about.config,
            programs: scheduler.program_count(),
            log_bytes_dropped: self.feed.log_bytes_dropped(),
            reports_dropped: self.outputs.lock().reports_dropped(),
        };
        let session = &mut self.sessions[index];
        if let Task::Order(order) = &mut session.task {
            order.finish(&mut session.client, |out| write_supervisor(out, &about));
        }
        session.end();
    }
}

#[cfg(test)]
mod tests;
