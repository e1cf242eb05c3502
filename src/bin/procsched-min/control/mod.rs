//! The control socket: through it an operator sees and changes what a running supervisor does.
//!
//! The server waits with the scheduler, and after each turn serves each client a little: one
//! request, a portion of a listing, a few programs of an order. While no client is connected it
//! costs no wake-up.

mod client;
mod feed;
mod follow;
mod json;
mod listener;
mod orders;
pub mod path;
mod pattern;
pub mod place;
pub mod protocol;
mod runs;
mod status;

use std::os::fd::AsFd;
use std::path::Path;
use std::sync::Arc;
use std::time::{Instant, SystemTime};

use nix::poll::{PollFd, PollFlags};
use procsched::ProcessScheduler;

use crate::clock;
use crate::messages::{Level, SELF};
use crate::output::Outputs;
use client::{Client, Line};
pub use feed::Feed;
use follow::Follow;
use listener::Listener;
pub use listener::{Refusal, prepare_default_directory};
use orders::{Desk, Order, StoppedBy, Verb};
use pattern::resolve;
use protocol::{Code, Command, Problem, Request, write_done};
use status::{Supervisor, write_event, write_order, write_supervisor};

/// The most clients at a time. One more gets `busy`.
const CLIENTS_MAX: usize = 16;

/// The most clients that follow events or wait, so that others can still ask and order.
const FOLLOWERS_MAX: usize = 12;

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
    config: String,
    /// True if connections wait.
    has_arrivals: bool,
}

/// A client, and what it is being answered.
struct Session {
    client: Client,
    task: Task,
    /// The order that is not reported yet, and the programs that it names: it is reported when it
    /// is given to the first.
    unreported: Option<(Verb, Vec<String>)>,
}

enum Task {
    /// It may ask.
    Idle,
    Order(Order),
    /// Until it goes, after a listing if it wanted one.
    Follow(Follow, Option<Order>),
}

impl Server {
    /// Makes the socket at `path`, for the owner and, if given, for a group.
    pub fn open(
        path: &Path,
        group: Option<u32>,
        config: &str,
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
            config: config.to_owned(),
            has_arrivals: false,
        })
    }

    /// Makes the socket again if it was removed.
    pub fn remake(&mut self) {
        if let Err(refusal) = self.listener.remake() {
            let mut outputs = self.outputs.lock();
            outputs.say_own(Level::Warning, "warning", refusal.message());
        }
    }

    /// Adds what to wait for: the listener, and the clients in their order.
    pub fn wait_for<'a>(&'a self, descriptors: &mut Vec<PollFd<'a>>) {
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
        let arrivals = ready.next().unwrap_or(PollFlags::empty());
        self.has_arrivals = arrivals.contains(PollFlags::POLLIN);
        for (session, ready) in self.sessions.iter_mut().zip(ready) {
            session.client.on_ready(ready);
        }
    }

    /// Returns when it has to be served, whatever the descriptors say.
    pub fn next_deadline(&self) -> Option<Instant> {
        let sessions = self.sessions.iter().filter_map(Session::deadline);
        sessions.chain(self.listener.paused_until()).min()
    }

    /// Serves every client a little, after a turn of the scheduler.
    pub fn serve(&mut self, scheduler: &mut ProcessScheduler) {
        if self.sessions.is_empty() && !self.has_arrivals {
            return;
        }
        self.hand_out();
        for index in 0..self.sessions.len() {
            self.serve_one(index, scheduler);
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
        }
        self.feed.want(self.followers() > 0);
    }

    /// Hands out the events of the turn.
    fn hand_out(&mut self) {
        let turn = self.feed.take();
        let mut line = Vec::new();
        for event in &turn.events {
            line.clear();
            for session in &mut self.sessions {
                match &mut session.task {
                    Task::Idle => {}
                    Task::Order(order) => order.on_event(event),
                    Task::Follow(follow, _) => {
                        if line.is_empty() {
                            write_event(&mut line, event);
                        }
                        follow.event(&mut session.client, event.program(), &line);
                    }
                }
            }
        }
        for session in &mut self.sessions {
            match &mut session.task {
                Task::Idle => {}
                Task::Order(order) => {
                    let tails = turn.tails.iter();
                    tails.for_each(|(program, tail)| order.on_tail(program, tail));
                }
                Task::Follow(follow, _) => follow.lose(turn.lost),
            }
        }
    }

    fn accept(&mut self) {
        for _ in 0..CLIENTS_MAX {
            let Some(stream) = self.listener.accept() else {
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
            self.sessions.push(Session {
                client,
                task: Task::Idle,
                unreported: None,
            });
        }
    }

    /// Returns the number of clients that follow or wait.
    fn followers(&self) -> usize {
        let tasks = self.sessions.iter().map(|session| &session.task);
        tasks
            .filter(|task| match task {
                Task::Idle => false,
                Task::Order(order) => order.waits(),
                Task::Follow(..) => true,
            })
            .count()
    }

    fn serve_one(&mut self, index: usize, scheduler: &mut ProcessScheduler) {
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

    /// Begins to answer a request.
    fn begin(&mut self, index: usize, line: Line, scheduler: &mut ProcessScheduler) {
        let request = match line {
            Line::Request(line) => Request::parse(&line),
            Line::TooLong => {
                let bytes = protocol::REQUEST_BYTES_MAX;
                let message = format!("the request is longer than {bytes} bytes");
                Err(Problem::new(Code::TooLong, message))
            }
        };
        let begun = request.and_then(|request| self.begin_request(index, request, scheduler));
        let session = &mut self.sessions[index];
        match begun {
            Ok(Task::Idle) => {
                session.client.queue(write_done);
                session.client.end_answer();
            }
            Ok(task) => session.task = task,
            Err(problem) => {
                session.client.queue(|out| problem.write(out));
                match problem.code {
                    Code::TooLong => session.client.end_last_answer(),
                    _ => session.client.end_answer(),
                }
            }
        }
    }

    /// Returns what has to be done for a request; idle if it is done.
    fn begin_request(
        &mut self,
        index: usize,
        request: Request,
        scheduler: &mut ProcessScheduler,
    ) -> Result<Task, Problem> {
        use Command::{
            Events, Reload, Reopen, Restart, Shutdown, Signal, Start, Status, Stop, Wait,
        };
        let is_allowed = matches!(
            request.command,
            Status | Events { .. } | Wait(_) | Shutdown { kill: true }
        );
        if scheduler.is_stopping() && !is_allowed {
            let message = "everything is being stopped";
            return Err(Problem::new(Code::Stopping, message));
        }
        let order = match request.command {
            Status => Verb::Describe,
            Wait(until) => Verb::Wait(until),
            Start => Verb::Start,
            Stop { kill: false } => Verb::Stop,
            Stop { kill: true } => Verb::Kill,
            Restart => Verb::Restart,
            Signal { signal, to } => Verb::Signal(signal, to),
            Events { snapshot } => {
                self.check_followers()?;
                let order = snapshot.then(|| self.order(Verb::Describe, &request, scheduler));
                let order = order.transpose()?;
                return Ok(Task::Follow(Follow::new(request.programs), order));
            }
            Reload { .. } => {
                let message = "unknown command \"reload\"";
                return Err(Problem::new(Code::Usage, message));
            }
            Reopen => {
                self.report_order(index, "reopen", &[]);
                scheduler.reopen_logs();
                return Ok(Task::Idle);
            }
            Shutdown { kill } => {
                self.report_order(index, "shutdown", &[]);
                match kill {
                    true => scheduler.kill(),
                    false => scheduler.stop(),
                }
                return Ok(Task::Idle);
            }
        };
        let task = self.order(order, &request, scheduler)?;
        if task.waits() {
            self.check_followers()?;
        }
        self.sessions[index].unreported = Some((order, request.programs));
        Ok(Task::Order(task))
    }

    fn check_followers(&self) -> Result<(), Problem> {
        if self.followers() < FOLLOWERS_MAX {
            return Ok(());
        }
        let message = format!("{FOLLOWERS_MAX} clients follow or wait already");
        Err(Problem::new(Code::Busy, message))
    }

    fn order(
        &self,
        verb: Verb,
        request: &Request,
        scheduler: &ProcessScheduler,
    ) -> Result<Order, Problem> {
        let names: Vec<Arc<str>> = match request.programs.is_empty() {
            true => scheduler.names().cloned().collect(),
            false => resolve(&request.programs, scheduler.names())?,
        };
        let waits = match verb {
            Verb::Describe | Verb::Signal(..) => false,
            Verb::Wait(_) => true,
            Verb::Start | Verb::Stop | Verb::Kill | Verb::Restart => request.wait,
        };
        Ok(Order::new(verb, names, waits, request.timeout))
    }

    /// Reports an order on stderr, and to the clients that follow.
    fn report_order(&mut self, index: usize, order: &'static str, programs: &[String]) {
        let peer = self.sessions[index].client.peer();
        let one = match programs {
            [one] if !one.contains(['*', '?', '[']) => one.as_str(),
            _ => "",
        };
        let verb = match order {
            "start" => "starting",
            "stop" | "shutdown" => "stopping",
            "kill" => "killing",
            "restart" => "restarting",
            "signal" => "signalling",
            _ => "reopening",
        };
        let what = match (order, programs) {
            ("shutdown", _) => "everything ".to_owned(),
            ("reopen", _) => "the logs ".to_owned(),
            _ if !one.is_empty() => String::new(),
            (_, programs) => {
                let shown = programs.iter().take(PROGRAMS_SHOWN_MAX);
                let shown: Vec<String> = shown.map(|name| format!("{name:?}")).collect();
                let more = if programs.len() > shown.len() {
                    ", …"
                } else {
                    ""
                };
                format!("{}{more} ", shown.join(", "))
            }
        };
        let details = format!("{what}as ordered by {peer}");
        let name = if one.is_empty() { SELF } else { one };
        self.outputs
            .lock()
            .say_of(name, Level::Info, verb, &details);
        let mut line = Vec::new();
        write_order(&mut line, one, order, programs, peer);
        for session in &mut self.sessions {
            if let Task::Follow(follow, _) = &mut session.task {
                follow.event(&mut session.client, one, &line);
            }
        }
    }

    /// Ends the answer of a status with what is known of the supervisor.
    fn describe_self(&mut self, index: usize, scheduler: &ProcessScheduler) {
        let about = Supervisor {
            is_stopping: scheduler.is_stopping(),
            since: self.since,
            config: &self.config,
            programs: scheduler.names().count(),
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

/// The most names of an order that its message repeats.
const PROGRAMS_SHOWN_MAX: usize = 4;

impl Session {
    /// Goes on with what it asked for. True if the last line of a status is due.
    fn go_on(&mut self, desk: &mut Desk<'_>) -> bool {
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

    fn end(&mut self) {
        self.task = Task::Idle;
        self.client.end_answer();
    }

    fn deadline(&self) -> Option<Instant> {
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
    fn is_over(&mut self) -> bool {
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
