//! What each request does, and how an order is reported.

use std::sync::Arc;
use std::time::Duration;

use procsched::ProcessScheduler;

use super::Server;
use super::client::Line;
use super::follow::Follow;
use super::orders::Order;
use super::pattern::{check, resolve};
use super::protocol::{self, Code, Command, Problem, Request, write_done};
use super::reload;
use super::session::Task;
use super::status::write_order;
use super::verb::Verb;
use crate::messages::{Level, SELF};
use crate::reload::Options;

/// The most clients that follow events or wait, so that others can still ask and order.
const FOLLOWERS_MAX: usize = 12;

/// The most names of an order that its message repeats.
const PROGRAMS_SHOWN_MAX: usize = 4;

impl Server {
    /// Begins to answer a request.
    pub(super) fn begin(&mut self, index: usize, line: Line, scheduler: &mut ProcessScheduler) {
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
                check(&request.programs)?;
                let order = snapshot.then(|| self.order(Verb::Describe, &request, scheduler));
                let order = order.transpose()?;
                return Ok(Task::Follow(Follow::new(request.programs), order));
            }
            Reload { dry_run, restart } => {
                let options = Options { dry_run, restart };
                let (waits, timeout) = (request.wait && !dry_run, request.timeout);
                return self.reload(index, options, waits, timeout, scheduler);
            }
            Reopen => {
                self.report_order(index, "reopen", &[]);
                let opened = scheduler.reopen_logs();
                let failed =
                    |error: procsched::Error| Problem::new(Code::Failed, error.to_string());
                return opened.map_err(failed).map(|()| Task::Idle);
            }
            Shutdown { kill } => {
                self.report_order(index, "shutdown", &[]);
                // What is abandoned from now on is an event.
                if scheduler.is_abandoned() {
                    let message = "a process was abandoned before the shutdown";
                    let problem = Problem::new(Code::Abandoned, message);
                    let client = &mut self.sessions[index].client;
                    client.queue(|out| problem.write_data(out));
                }
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
            // Others may give orders in this very turn.
            scheduler.watch_changes(true);
        }
        self.sessions[index].unreported = Some((order, request.programs));
        Ok(Task::Order(task))
    }

    fn reload(
        &mut self,
        index: usize,
        options: Options,
        waits: bool,
        timeout: Option<Duration>,
        scheduler: &mut ProcessScheduler,
    ) -> Result<Task, Problem> {
        if waits {
            self.check_followers()?;
            scheduler.watch_changes(true);
        }
        if !options.dry_run {
            self.report_order(index, "reload", &[]);
        }
        let by = self.sessions[index].client.peer().to_string();
        let (reloader, outputs) = (&self.about.reloader, &self.outputs);
        let by_users = &self.stopped_by;
        let order = reload::begin(
            reloader, scheduler, outputs, by_users, options, waits, timeout,
        )?;
        // A reload that was refused takes the place of none.
        if !(options.dry_run || order.has_failed()) {
            self.on_reload(&by, scheduler);
        }
        Ok(Task::Order(order))
    }

    /// The config was reloaded: nothing waits for an earlier reload any more.
    pub fn on_reload(&mut self, by: &str, scheduler: &ProcessScheduler) {
        self.stopped_by.forget_removed(scheduler);
        self.has_orders = true;
        for session in &mut self.sessions {
            if let Task::Order(order) = &mut session.task {
                order.on_reload(by);
            }
        }
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
            Verb::Start | Verb::Stop | Verb::Kill | Verb::Restart | Verb::Settle => request.wait,
        };
        Ok(Order::new(verb, names, waits, request.timeout))
    }

    /// Reports an order on stderr, and to the clients that follow.
    pub(super) fn report_order(&mut self, index: usize, order: &'static str, programs: &[String]) {
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
            "reload" => "reloading",
            _ => "reopening",
        };
        let what = match (order, programs) {
            ("shutdown", _) => "everything ".to_owned(),
            ("reopen", _) => "the logs ".to_owned(),
            ("reload", _) => "the config ".to_owned(),
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
}
