//! What a request does to programs: each is given its order in its turn, and then waited for.
//!
//! Programs are ordered, and looked at, a few in each turn, so that an order for ten thousand
//! delays no death. A program that is waited for is looked at once, and again when it has changed:
//! nothing wakes up while nothing happens.

use std::collections::{BTreeMap, VecDeque};
use std::ops::Bound;
use std::sync::Arc;
use std::time::{Duration, Instant};

use procsched::text::{did_you_mean, duration};
use procsched::{Event, ProcessScheduler, ProgramState, ProgramStatus};

use super::client::{Client, Peer};
use super::held::Held;
use super::judge::{Failure, Target, judge_start, judge_stop, judge_wait};
use super::preface::Preface;
use super::protocol::{Code, Problem};
use super::runs::RunEnd;
use super::starts::Starts;
use super::status::{Remarks, write_problem, write_program};
use super::stopped_by::StoppedBy;
use super::verb::Verb;
use crate::clock;

/// The most programs that are ordered, or looked at, for one client in a turn.
const PROGRAMS_PER_TURN: usize = 64;

/// The most names that an unknown one is compared with. Each takes microseconds.
const COMPARED_MAX: usize = 1000;

/// What an order works with.
pub struct Desk<'a> {
    pub scheduler: &'a mut ProcessScheduler,
    pub stopped_by: &'a mut StoppedBy,
    /// The programs that were given an order in this turn, for others that wait for them.
    pub given: Vec<(Arc<str>, Verb, Peer)>,
}

/// An order for programs.
#[derive(Debug)]
pub struct Order {
    verb: Verb,
    /// Those that were not ordered yet.
    names: std::vec::IntoIter<Arc<str>>,
    count: usize,
    waits: bool,
    /// What the answer says before it says anything of a program.
    preface: Option<Preface>,
    targets: BTreeMap<Arc<str>, Target>,
    /// The targets that are to be looked at, each once.
    due: VecDeque<Arc<str>>,
    /// How many of the targets a look at all of them has not come to yet.
    unseen: usize,
    /// The target behind which that look goes on, in the order of names; the first comes after the
    /// last.
    seen: Option<Arc<str>>,
    /// What others have started since a stop was given.
    starts: Starts,
    held: Held,
    /// Why a reload has taken the place of this one.
    reloaded: Option<Arc<str>>,
    /// How often a target was noted, or looked at.
    #[cfg(test)]
    pub steps: usize,
    /// True if its time is over: then every target is looked at, and fails.
    is_expired: bool,
    began_at: Instant,
    timeout: Option<Duration>,
    failed: usize,
    /// What the last line says, of one program or of several.
    last_problem: Option<Problem>,
}

impl Order {
    /// Returns an order that was not given yet.
    pub fn new(verb: Verb, names: Vec<Arc<str>>, waits: bool, timeout: Option<Duration>) -> Self {
        Self {
            verb,
            count: names.len(),
            names: names.into_iter(),
            waits,
            preface: None,
            targets: BTreeMap::new(),
            due: VecDeque::new(),
            unseen: 0,
            seen: None,
            starts: Starts::default(),
            held: Held::default(),
            reloaded: None,
            #[cfg(test)]
            steps: 0,
            is_expired: false,
            began_at: clock::steady(),
            timeout,
            failed: 0,
            last_problem: None,
        }
    }

    /// Returns the answer to a reload: what was found, and then the programs that it has begun to
    /// change, which are waited for. Without a program it ends with the preface, and with the
    /// problem if there is one.
    pub fn settling(
        preface: Preface,
        programs: impl Iterator<Item = (Arc<str>, Target)>,
        timeout: Option<Duration>,
        problem: Option<Problem>,
    ) -> Self {
        let mut order = Self::new(Verb::Settle, Vec::new(), false, timeout);
        programs.for_each(|(program, target)| order.await_program(program, target));
        order.count = order.targets.len();
        order.waits = order.count > 0;
        order.preface = Some(preface);
        order.last_problem = problem;
        order
    }

    /// A later reload has taken the place of the one that is waited for.
    pub fn on_reload(&mut self, by: &str) {
        if self.verb == Verb::Settle {
            self.reloaded = Some(format!("superseded: reload by {by}").into());
            self.look_at_all();
        }
    }

    /// True if it is a status, whose last line describes the supervisor.
    pub fn is_description(&self) -> bool {
        self.verb == Verb::Describe
    }

    /// True if it went wrong for a program.
    pub fn has_failed(&self) -> bool {
        self.last_problem.is_some()
    }

    /// True if it may last.
    pub fn waits(&self) -> bool {
        self.waits
    }

    /// True if something can be done at once.
    pub fn has_work(&self, client: &Client) -> bool {
        let has_names = self.names.len() > 0;
        match client.is_gone() {
            true => has_names,
            false if client.has_room() => {
                let has_due = !self.due.is_empty() || self.unseen > 0;
                has_names || self.preface.is_some() || has_due
            }
            // Then its reader wakes us, or its own deadline.
            false => false,
        }
    }

    /// Returns when it has to be looked at, whatever happens.
    pub fn deadline(&self, client: &Client) -> Option<Instant> {
        let is_open = client.has_room() && !self.targets.is_empty();
        self.end().filter(|_| is_open)
    }

    fn end(&self) -> Option<Instant> {
        self.began_at.checked_add(self.timeout?)
    }

    /// Takes in an event about a program that it waits for.
    pub fn on_event(&mut self, event: &Event) {
        if let Some(target) = self.targets.get_mut(event.program()) {
            let end = RunEnd::of(event.kind());
            let is_new = |end: &RunEnd| end.pid.is_none() || end.pid != target.old_pid;
            if let Some(end) = end.filter(is_new) {
                target.end = Some(end);
            }
            self.on_change(event.program());
        }
    }

    /// Takes in the end of the stderr of a failed run.
    pub fn on_tail(&mut self, program: &str, tail: &[String]) {
        if let Some(target) = self.targets.get_mut(program)
            && target.end.is_some()
        {
            tail.clone_into(&mut target.tail);
        }
    }

    /// Another client has given an order to a program that it may wait for.
    pub fn on_order(&mut self, program: &Arc<str>, verb: Verb, peer: Peer) {
        if !self.verb.is_superseded_by(verb) {
            return;
        }
        if let Some(target) = self.targets.get_mut(program) {
            target.superseded = Some(format!("superseded: {} by {peer}", verb.word()).into());
            self.on_change(program);
        }
        // What it requires is started, too.
        if self.verb.is_stop() {
            self.starts.note(program, verb, peer);
        }
    }

    /// A program has changed that it may wait for.
    pub fn on_change(&mut self, program: &str) {
        #[cfg(test)]
        {
            self.steps += 1;
        }
        if let Some((name, _)) = self.targets.get_key_value(program) {
            let name = name.clone();
            self.look_at(name);
        }
    }

    /// Programs may have changed without an event or a name that is known: looks at all of them, a
    /// few in each turn. One that has begun goes on, and comes once more to those that it has seen.
    pub fn look_at_all(&mut self) {
        self.unseen = self.targets.len();
    }

    fn look_at_none(&mut self) {
        self.targets.clear();
        self.due.clear();
        self.unseen = 0;
    }

    /// Takes the next target that is to be looked at.
    fn next_target(&mut self) -> Option<Arc<str>> {
        if let Some(name) = self.due.pop_front() {
            if let Some(target) = self.targets.get_mut(&name) {
                target.is_due = false;
            }
            return Some(name);
        }
        self.unseen = self.unseen.checked_sub(1)?;
        let seen = self.seen.take();
        let seen = seen.as_deref().map_or(Bound::Unbounded, Bound::Excluded);
        let mut behind = self.targets.range::<str, _>((seen, Bound::Unbounded));
        let next = behind.next().or_else(|| self.targets.first_key_value());
        self.seen = next.map(|(name, _)| name.clone());
        self.seen.clone()
    }

    /// Has a target looked at by and by.
    fn look_at(&mut self, name: Arc<str>) {
        if let Some(target) = self.targets.get_mut(&name)
            && !std::mem::replace(&mut target.is_due, true)
        {
            self.due.push_back(name);
        }
    }

    fn await_program(&mut self, name: Arc<str>, target: Target) {
        self.targets.insert(name.clone(), target);
        self.look_at(name);
    }

    /// Goes on with it. True when it is finished, but for its last line.
    pub fn go_on(&mut self, client: &mut Client, desk: &mut Desk<'_>) -> bool {
        if client.is_gone() {
            self.preface = None;
            self.look_at_none();
        }
        if let Some(preface) = &mut self.preface {
            for _ in 0..PROGRAMS_PER_TURN {
                if client.has_room() && !preface.queue_next(client, desk) {
                    self.preface = None;
                    break;
                }
            }
        }
        if self.preface.is_some() {
            return false;
        }
        for _ in 0..PROGRAMS_PER_TURN {
            if !(client.has_room() || client.is_gone()) {
                break;
            }
            if let Some(name) = self.names.next() {
                self.give(name, client, desk);
            }
        }
        if client.is_gone() {
            self.look_at_none();
        }
        self.look(client, desk);
        self.names.len() == 0 && self.targets.is_empty()
    }

    /// Queues the last line, which `ok` writes if nothing went wrong.
    pub fn finish(&mut self, client: &mut Client, ok: impl FnOnce(&mut Vec<u8>)) {
        match &self.last_problem {
            None => client.queue(ok),
            Some(problem) => client.queue(|out| problem.write(out)),
        }
    }

    fn give(&mut self, name: Arc<str>, client: &mut Client, desk: &mut Desk<'_>) {
        let Some(before) = desk.scheduler.program(&name) else {
            let names = desk.scheduler.names().map(|name| &**name);
            // The first problem alone has a suggestion: ten thousand would delay supervision.
            let compared = if self.failed == 0 { COMPARED_MAX } else { 0 };
            let meant = match &*name {
                "all" => " (for all programs: --all)".to_owned(),
                _ => did_you_mean(&name, names.take(compared)).unwrap_or_default(),
            };
            let message = format!("no program {name:?}{meant}");
            self.fail(&name, Failure::whole(Code::UnknownProgram, message), client);
            return;
        };
        let done = match self.verb {
            Verb::Describe | Verb::Wait(_) | Verb::Settle => Ok(()),
            Verb::Start => desk.scheduler.start_program(&name),
            Verb::Stop => desk.scheduler.stop_program(&name),
            Verb::Kill => desk.scheduler.kill_program(&name),
            Verb::Restart => desk.scheduler.restart_program(&name),
            Verb::Signal(signal, to) => desk.scheduler.signal_program(&name, signal, to),
        };
        if let Err(error) = done {
            self.fail(&name, Failure::refused(&error), client);
            return;
        }
        let peer = client.peer();
        desk.stopped_by.note(self.verb, &name, peer);
        if !matches!(self.verb, Verb::Describe | Verb::Wait(_)) {
            desk.given.push((name.clone(), self.verb, peer));
        }
        let is_starting = matches!(
            before.state(),
            ProgramState::Running | ProgramState::Starting
        );
        let is_start = self.verb == Verb::Start;
        // Not if this very order has started it, as another of its programs requires it.
        let is_older = before.state_for() > clock::steady().duration_since(self.began_at);
        let is_started = is_start && is_starting && is_older;
        // A run that is being ended is not the one that a start is for.
        let is_ending = before.state() == ProgramState::Stopping;
        let target = Target {
            old_pid: before.pid().filter(|_| !is_start || is_ending),
            note: is_started.then_some("already running"),
            ..Target::default()
        };
        if self.waits {
            self.await_program(name, target);
        } else {
            describe(&name, target.note, client, desk);
        }
    }

    /// Looks at some of the programs that have changed, or at all when its time is over.
    fn look(&mut self, client: &mut Client, desk: &mut Desk<'_>) {
        let is_late = self.end().is_some_and(|end| clock::until(end).is_zero());
        if is_late && !std::mem::replace(&mut self.is_expired, true) {
            self.look_at_all();
        }
        for _ in 0..PROGRAMS_PER_TURN {
            if !client.has_room() {
                return;
            }
            let Some(name) = self.next_target() else {
                return;
            };
            #[cfg(test)]
            {
                self.steps += 1;
            }
            let Some(target) = self.targets.get_mut(&name) else {
                continue;
            };
            if target.superseded.is_none() {
                target.superseded.clone_from(&self.reloaded);
            }
            let status = desk.scheduler.program(&name);
            let is_wanted = status.as_ref().is_some_and(ProgramStatus::is_wanted);
            if self.verb.is_stop() && is_wanted && target.superseded.is_none() {
                target.superseded = Some(self.starts.why(&name, desk.scheduler).into());
            }
            let is_stopping = desk.scheduler.is_stopping();
            let target = &self.targets[&name];
            let judged = self.judge(target, status.as_ref(), is_stopping);
            let Some(result) = judged.or_else(|| self.judge_hold(&name, status.as_ref()?, desk))
            else {
                continue;
            };
            let target = self.targets.remove(&name).unwrap_or_default();
            match result {
                Ok(()) => describe(&name, target.note, client, desk),
                Err(failure) => {
                    let tail = target.tail;
                    self.fail(&name, Failure { tail, ..failure }, client);
                }
            }
        }
    }

    /// Returns what has come of the order for one program; `None` while that is open.
    fn judge(
        &self,
        target: &Target,
        status: Option<&ProgramStatus>,
        is_stopping: bool,
    ) -> Option<Result<(), Failure>> {
        let Some(status) = status else {
            let is_stop = target.is_removal || self.verb.is_stop();
            let removed = || Failure::new(Code::UnknownProgram, "it was removed");
            return Some(if is_stop { Ok(()) } else { Err(removed()) });
        };
        let judged = match self.verb {
            Verb::Start | Verb::Restart => judge_start(target, status, is_stopping),
            Verb::Stop | Verb::Kill => judge_stop(target, status),
            Verb::Wait(until) => judge_wait(until, status),
            Verb::Settle if target.is_removal => {
                judge_stop(target, status).filter(|judged| judged.is_err())
            }
            Verb::Settle if is_left_down(target, status, is_stopping) => Some(Ok(())),
            Verb::Settle => judge_start(target, status, is_stopping),
            Verb::Describe | Verb::Signal(..) => Some(Ok(())),
        };
        judged.or_else(|| self.is_expired.then(|| Err(self.late(status))))
    }

    /// Returns the failure of a start that waits for one of this order that has failed.
    fn judge_hold(
        &mut self,
        name: &Arc<str>,
        status: &ProgramStatus,
        desk: &Desk<'_>,
    ) -> Option<Result<(), Failure>> {
        let is_start = matches!(self.verb, Verb::Start | Verb::Restart | Verb::Settle);
        let failure = is_start.then(|| self.held.judge(name, status, desk.scheduler));
        failure.flatten().map(Err)
    }

    fn late(&self, status: &ProgramStatus) -> Failure {
        let time = duration(self.timeout.unwrap_or_default());
        let is_held = status.state() == ProgramState::Pending;
        let reason = status.reason().filter(|_| is_held);
        let reason = reason.map(|reason| format!(": {reason}"));
        let reason = reason.unwrap_or_default();
        let message = format!("still {} after {time}{reason}", status.state());
        Failure::new(Code::Timeout, message)
    }

    fn fail(&mut self, name: &str, failure: Failure, client: &mut Client) {
        let Failure {
            problem,
            is_whole,
            tail,
        } = failure;
        if self.count > 1 || !tail.is_empty() {
            client.queue(|out| write_problem(out, name, &problem, &tail));
        }
        self.failed += 1;
        for waiting in self.held.fail(name) {
            self.look_at(waiting);
        }
        let last = match &self.last_problem {
            None if is_whole => problem,
            None => Problem::new(problem.code, format!("{name}: {}", problem.message)),
            Some(last) => {
                let code = match last.code == problem.code {
                    true => last.code,
                    false => Code::Failed,
                };
                let (failed, count) = (self.failed, self.count);
                Problem::new(code, format!("{failed} of {count} programs failed"))
            }
        };
        self.last_problem = Some(last);
    }
}

/// True if a reload leaves a program down, and nothing else has stopped it.
fn is_left_down(target: &Target, status: &ProgramStatus, is_stopping: bool) -> bool {
    status.state() == ProgramState::Stopped && target.superseded.is_none() && !is_stopping
}

/// Queues the line of a program.
fn describe(name: &str, note: Option<&str>, client: &mut Client, desk: &Desk<'_>) {
    if let Some(status) = desk.scheduler.program(name) {
        let reason = desk.stopped_by.reason(&status);
        let reason = reason.as_deref();
        // It may have ended since.
        let runs = matches!(
            status.state(),
            ProgramState::Running | ProgramState::Starting
        );
        let note = note.filter(|_| runs);
        client.queue(|out| write_program(out, &status, Remarks { reason, note }));
    }
}
