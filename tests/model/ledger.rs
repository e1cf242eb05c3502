//! What is owed: after each fact, what the promises made to users ask of the machine.
//!
//! The ledger knows the promises and nothing of how the machine keeps them: each program has an
//! account of what happened to it, and what is to be ordered, which deadline is next and what
//! may start follow from that.

use std::time::Duration;

use crate::machine::state::{Cause, Goal, State, Why};
use crate::machine::{Change, Command, Exit, Hold, Input, Machine, Order, Policy, ProgramId, Run};

use super::account::{Account, Escape, Life, Time, moment, nanos, time};

pub type Check = Result<(), String>;

/// Entries that the timers may keep beside twice the number of programs.
const DEADLINES_SPARE: usize = 17;

#[derive(Clone)]
pub struct Ledger {
    pub accounts: Vec<Account>,
    pub stopping: bool,
    /// What stopped a program in the middle of its start.
    pub stop_cause: Cause,
    pub shutdown_timeout: Option<Duration>,
    /// When a shutdown kills what is left, and when it gives that up.
    pub shutdown: Option<(Time, Time)>,
    pub essential_ended: Option<ProgramId>,
    /// How often a deadline was set.
    deadlines_set: u64,
    owed: Vec<Order>,
    /// Where two lists are put in the order of their programs.
    sorted: [Vec<Order>; 2],
    pub resets: u64,
}

impl Default for Ledger {
    fn default() -> Self {
        Self {
            accounts: Vec::new(),
            stopping: false,
            stop_cause: Cause::Operator,
            shutdown_timeout: None,
            shutdown: None,
            essential_ended: None,
            deadlines_set: 0,
            owed: Vec::new(),
            sorted: Default::default(),
            resets: 0,
        }
    }
}

impl Ledger {
    pub fn add(&mut self, policy: Policy) {
        self.accounts.push(Account::new(policy));
    }

    pub fn next_deadline(&self) -> Option<Time> {
        let shutdown = self.shutdown.filter(|_| !self.is_settled());
        let deadlines = self.accounts.iter().filter_map(Account::deadline);
        deadlines.chain(shutdown.map(|(kill, _)| kill)).min()
    }

    pub fn is_settled(&self) -> bool {
        self.accounts.iter().all(Account::is_settled)
    }

    pub fn has_ready(&self) -> bool {
        self.accounts.iter().any(Account::may_start)
    }

    /// A program has a new deadline, or may have one: it comes after those that are equal to it.
    pub(super) fn set_deadline(&mut self, index: usize) {
        self.deadlines_set += 1;
        self.accounts[index].set = self.deadlines_set;
    }

    fn run(&self, index: usize) -> Run {
        Run {
            program: ProgramId(index as u32),
            generation: self.accounts[index].starts,
        }
    }

    pub(super) fn owe_signal(&mut self, index: usize, signal: i32) {
        self.owed.push(Order::Signal {
            run: self.run(index),
            signal,
        });
    }

    pub(super) fn owe_note(&mut self, index: usize, change: Change) {
        self.owed.push(Order::Notify {
            run: self.run(index),
            change,
        });
    }

    /// A start is being asked for.
    pub fn begin(&mut self, run: Run) -> Check {
        let account = &mut self.accounts[run.program.0 as usize];
        account.starts += 1;
        let problem = match account {
            _ if self.stopping => "after a stop request",
            Account { life: Some(_), .. } => "next to an earlier run",
            Account { plan: Some(_), .. } => "before its deadline",
            Account { ready: false, .. } => "that nobody wants",
            Account {
                escaped: Some(_), ..
            } => "next to processes that escaped",
            _ if account.starts != run.generation => "with a wrong generation",
            _ => {
                account.ready = false;
                account.starting = true;
                account.again = false;
                return Ok(());
            }
        };
        Err(format!("a start {problem}: {run:?}"))
    }

    /// Takes in what the machine is being told, and works out what it owes for that.
    pub fn take_in(&mut self, now: Time, event: Input) {
        match event {
            Input::Commanded(command) => return self.commanded(now, command),
            Input::Spawned { run, .. }
            | Input::SpawnFailed { run, .. }
            | Input::SpawnDelayed { run, .. }
            | Input::LeaderExited { run, .. }
            | Input::GroupGone { run }
            | Input::Ready { run }
            | Input::Alive { run }
            | Input::Unhealthy { run }
            | Input::Hung { run }
            | Input::Escaped { run }
            | Input::EscapedGone { run }
            | Input::EscapedAbandoned { run }
                if self.is_stale(run) => {}
            Input::Spawned { run, at } => self.spawned(now, run, time(at)),
            Input::SpawnFailed { run, at } => self.start_failed(now, run, time(at)),
            Input::SpawnDelayed { run, at } => self.start_delayed(now, run, time(at)),
            Input::LeaderExited { run, exit } => self.exited(now, run, exit),
            Input::GroupGone { run } => self.gone(now, run),
            Input::Ready { run } => self.told_ready(now, run),
            Input::Alive { run } => {
                let index = run.program.0 as usize;
                let account = &mut self.accounts[index];
                let is_up = account.is_up();
                if let Some(life) = account.life.as_mut().filter(|_| is_up) {
                    life.alive_at = now;
                    self.set_deadline(index);
                }
            }
            Input::Unhealthy { run } => self.is_faulty(now, run, Cause::Unhealthy),
            Input::Hung { run } => self.is_faulty(now, run, Cause::Watchdog),
            Input::Escaped { run } => self.escape(run, Some(Escape::Ending)),
            Input::EscapedGone { run } => self.escape(run, None),
            Input::EscapedAbandoned { run } => {
                if self.accounts[run.program.0 as usize].escaped.is_some() {
                    self.escape(run, Some(Escape::GivenUp));
                }
            }
        }
        self.forget();
    }

    fn is_faulty(&mut self, now: Time, run: Run, cause: Cause) {
        let index = run.program.0 as usize;
        if self.accounts[index].is_up() {
            self.fault(now, index, cause);
        }
    }

    fn escape(&mut self, run: Run, escape: Option<Escape>) {
        self.accounts[run.program.0 as usize].escaped = escape;
    }

    fn commanded(&mut self, now: Time, command: Command) {
        let index = |program: ProgramId| program.0 as usize;
        match command {
            Command::Start(program) => self.start(now, index(program)),
            Command::StartNew(program) => self.start_new(now, index(program)),
            Command::StartAll => {
                for index in 0..self.accounts.len() {
                    self.start_new(now, index);
                }
            }
            Command::Restart(program) => self.restart(now, index(program)),
            Command::Stop(program) => self.call_off(now, index(program), false, Cause::Operator),
            Command::Kill(program) => self.call_off(now, index(program), true, Cause::Operator),
            Command::Remove(program) => {
                if !std::mem::replace(&mut self.accounts[index(program)].removed, true) {
                    self.call_off(now, index(program), false, Cause::Reload);
                }
            }
            Command::StopAll => self.stop_all(now, false),
            Command::KillAll => self.stop_all(now, true),
        }
        self.forget();
    }

    /// Late news of an earlier run, or of a program that was forgotten; nothing is owed for it.
    fn is_stale(&self, run: Run) -> bool {
        let account = &self.accounts[run.program.0 as usize];
        account.starts != run.generation || account.forgotten
    }

    /// What was removed is forgotten when nothing of it is left.
    pub(super) fn forget(&mut self) {
        for index in 0..self.accounts.len() {
            let account = &mut self.accounts[index];
            if account.removed && !account.forgotten && account.is_down() {
                account.forgotten = true;
                self.owe_note(index, Change::Removed);
            }
        }
    }

    /// Starts a program that was never started and was not stopped.
    fn start_new(&mut self, now: Time, index: usize) {
        let account = &self.accounts[index];
        if !account.wanted && account.why == Why::New {
            self.start(now, index);
        }
    }

    /// It is wanted, and what was is forgiven, unless it is on its way or there.
    fn start(&mut self, now: Time, index: usize) {
        let account = &mut self.accounts[index];
        if self.stopping || account.removed {
            return;
        }
        (account.wanted, account.hard) = (true, false);
        if account.starting || account.life.is_some_and(|life| life.goes_on()) {
            return;
        }
        account.doublings = 0;
        match account.life {
            None => (account.plan, account.ready) = (None, true),
            Some(life) if life.leader_dead => account.plan = account.plan.map(|_| now),
            Some(life) => account.again = !life.given_up && !life.was_asked(),
        }
    }

    fn restart(&mut self, now: Time, index: usize) {
        let account = &mut self.accounts[index];
        if self.stopping || account.removed {
            return;
        }
        let ends = |life: &Life| life.goes_on() || life.ending.is_some() || life.awaited.is_some();
        if account.life.as_ref().is_some_and(ends) {
            (account.wanted, account.hard, account.doublings) = (true, false, 0);
            self.stop(now, index, Cause::Operator);
        } else {
            self.start(now, index);
        }
    }

    fn spawned(&mut self, now: Time, run: Run, at: Time) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        account.starting = false;
        let asked = account.was_asked();
        let policy = account.policy;
        let life = account.life.get_or_insert(Life::new(at));
        life.since = at;
        life.executed = true;
        if life.given_up {
            return;
        }
        // It was killed for being late, and was executed before that: its end is like any other.
        if !asked {
            (life.awaited, life.ending) = (None, None);
            (life.ready, life.alive_at) = (!policy.ready && !policy.oneshot, at);
            self.set_deadline(index);
        }
        self.owe_note(index, Change::Started);
        if asked {
            self.stop(now, index, self.stop_cause);
        }
    }

    /// It has a process from now on, and no more than that.
    fn start_delayed(&mut self, now: Time, run: Run, at: Time) {
        let index = run.program.0 as usize;
        self.accounts[index].starting = false;
        self.accounts[index].life = Some(Life::new(at));
        self.set_deadline(index);
        if !self.accounts[index].wanted {
            self.stop(now, index, self.stop_cause);
        }
    }

    fn start_failed(&mut self, now: Time, run: Run, at: Time) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        let asked = account.was_asked();
        account.starting = false;
        let life = account.life.take();
        if life.as_ref().is_some_and(|life| life.given_up) {
            return self.gone(now, run);
        }
        if asked {
            account.ready = account.wanted;
            let ending = life.and_then(|life| life.ending);
            let cause = ending.map_or(self.stop_cause, |(cause, _)| cause);
            let retry_in = None;
            return self.owe_note(index, Change::StartFailed { cause, retry_in });
        }
        let follows = account.follows(Exit::Unknown, Cause::StartFailed, None);
        let retry_in = follows.ok();
        account.plan = retry_in.map(|delay| at.saturating_add(nanos(delay)));
        // What was asked for meanwhile starts without a delay.
        if retry_in == Some(Duration::ZERO) {
            (account.plan, account.ready) = (None, true);
        }
        self.set_deadline(index);
        let cause = Cause::StartFailed;
        self.owe_note(index, Change::StartFailed { cause, retry_in });
        if let Err(why) = follows {
            self.ended_for_good(now, index, why);
        }
    }

    fn told_ready(&mut self, now: Time, run: Run) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        if account.runs() && !account.is_up() && !account.policy.oneshot {
            if let Some(life) = account.life.as_mut() {
                (life.ready, life.alive_at) = (true, now);
            }
            self.set_deadline(index);
            self.owe_note(index, Change::Up);
        }
    }

    fn exited(&mut self, now: Time, run: Run, exit: Exit) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        let asked = account.was_asked();
        let Some(life) = account.life.as_mut() else {
            return;
        };
        life.leader_dead = true;
        if life.given_up {
            return;
        }
        let uptime = Duration::from_nanos(now.saturating_sub(life.since));
        let cause = life.ending.map_or(Cause::Exit, |(cause, _)| cause);
        let mut follows = None;
        if !asked {
            (life.ending, life.awaited, life.fault) = (None, None, cause);
            let before = account.doublings;
            let next = account.follows(exit, cause, Some(uptime));
            self.resets += u64::from(account.doublings == 1 && before > 0);
            account.plan = next.ok().map(|delay| now.saturating_add(nanos(delay)));
            follows = Some(next);
            self.owe_signal(index, 9);
        }
        let change = Change::Exited {
            exit,
            uptime,
            cause,
            retry_in: follows.and_then(Result::ok),
        };
        self.owe_note(index, change);
        if let Some(Err(why)) = follows {
            if let Some(life) = self.accounts[index].life.as_mut() {
                life.awaited = Some(now);
            }
            self.set_deadline(index);
            self.ended_for_good(now, index, why);
        }
    }

    pub(super) fn ended_for_good(&mut self, now: Time, index: usize, why: Why) {
        let account = &mut self.accounts[index];
        (account.wanted, account.why) = (false, why);
        let is_done = account.policy.oneshot && why == Why::Exited;
        if account.policy.essential && !is_done && !self.stopping {
            self.essential_ended = Some(ProgramId(index as u32));
            self.stop_all(now, false);
        }
    }

    fn gone(&mut self, now: Time, run: Run) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        account.life = None;
        if account.wanted && account.plan.is_none_or(|plan| plan <= now) {
            account.plan = None;
            account.ready = true;
        }
        if !account.wanted && account.policy.oneshot && account.why == Why::Exited {
            self.owe_note(index, Change::Up);
        }
        self.set_deadline(index);
    }

    /// The machine ordered what it owed, no less and no more. Between programs no order is
    /// owed; for one program it is.
    pub fn settle(&mut self, got: &[Order]) -> Check {
        if self.owed != got {
            let of = |order: &Order| match *order {
                Order::Signal { run, .. } | Order::Notify { run, .. } => run.program,
            };
            for (sorted, from) in self.sorted.iter_mut().zip([self.owed.as_slice(), got]) {
                sorted.clear();
                sorted.extend_from_slice(from);
                sorted.sort_by_key(of);
            }
            if self.sorted[0] != self.sorted[1] {
                return Err(format!(
                    "wrong orders\n    owed: {:?}\n    got:  {got:?}",
                    self.owed
                ));
            }
        }
        self.owed.clear();
        Ok(())
    }

    /// The machine looks from outside as this ledger says.
    pub fn agrees(&self, machine: &Machine) -> Check {
        let deadline = self.next_deadline().map(moment);
        if machine.next_deadline() != deadline {
            let got = machine.next_deadline();
            return Err(format!("the next deadline is {got:?} and not {deadline:?}"));
        }
        if machine.deadlines() > 2 * self.accounts.len() + DEADLINES_SPARE {
            return Err(format!("{} deadlines are kept", machine.deadlines()));
        }
        // What was called off, or is held, may be in the queue.
        if self.has_ready() && !machine.has_starts() {
            return Err("a start is forgotten".to_owned());
        }
        let got = [machine.is_settled(), machine.is_stopping()];
        let owed = [self.is_settled(), self.stopping];
        if got != owed {
            return Err(format!("settled, stopping are {got:?} and not {owed:?}"));
        }
        if machine.essential_ended() != self.essential_ended {
            return Err("another essential program ended".to_owned());
        }
        for (index, account) in self.accounts.iter().enumerate() {
            let view = machine.view(ProgramId(index as u32));
            let right = match view {
                None => account.forgotten,
                Some(view) => {
                    let is_up = matches!(view.state, State::Running { .. });
                    let held =
                        (account.ready && account.escaped.is_some()).then_some(Hold::Escaped);
                    !account.forgotten
                        && view.starts == account.starts
                        && view.delay == account.next_delay()
                        && view.restarts_in_row == account.doublings
                        && is_up == account.is_up()
                        && (view.goal == Goal::Up) == account.wanted
                        && (account.wanted || view.why == account.why)
                        && view.hold == held
                }
            };
            if !right {
                return Err(format!(
                    "program {index} looks wrong: {view:?}, {account:?}"
                ));
            }
        }
        Ok(())
    }
}
