//! What is owed: after each fact, what the promises made to users ask of the machine.
//!
//! The ledger knows the promises and nothing of how the machine keeps them: each program has an
//! account of what happened to it, and what is to be ordered, which deadline is next and what
//! may start follow from that.

use std::time::Duration;

use crate::machine::state::State;
use crate::machine::{Change, Command, Exit, Input, Machine, Order, Policy, ProgramId, Run};

use super::account::{Account, FAILED_START_MIN, Life, Time, comes_back, moment, nanos, time};

pub type Check = Result<(), String>;

/// Entries that the timers may keep beside twice the number of programs.
const DEADLINES_SPARE: usize = 17;

#[derive(Clone, Default)]
pub struct Ledger {
    pub accounts: Vec<Account>,
    pub stopping: bool,
    /// What is not softened by a later stop.
    pub killing: bool,
    pub essential_ended: Option<ProgramId>,
    owed: Vec<Order>,
    /// Where two lists are put in the order of their programs.
    sorted: [Vec<Order>; 2],
    pub resets: u64,
}

impl Ledger {
    pub fn add(&mut self, policy: Policy) {
        self.accounts.push(Account::new(policy));
    }

    pub fn next_deadline(&self) -> Option<Time> {
        self.accounts.iter().filter_map(Account::deadline).min()
    }

    pub fn is_settled(&self) -> bool {
        self.accounts.iter().all(Account::is_settled)
    }

    pub fn has_ready(&self) -> bool {
        self.accounts.iter().any(|account| account.ready)
    }

    fn run(&self, index: usize) -> Run {
        Run {
            program: ProgramId(index as u32),
            generation: self.accounts[index].starts,
        }
    }

    fn owe_signal(&mut self, index: usize, signal: i32) {
        self.owed.push(Order::Signal {
            run: self.run(index),
            signal,
        });
    }

    fn owe_note(&mut self, index: usize, change: Change) {
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
            _ if account.starts != run.generation => "with a wrong generation",
            _ => {
                account.ready = false;
                account.starting = true;
                return Ok(());
            }
        };
        Err(format!("a start {problem}: {run:?}"))
    }

    /// Takes in what the machine is being told, and works out what it owes for that.
    pub fn take_in(&mut self, now: Time, event: Input) {
        match event {
            Input::Spawned { run, at } => self.spawned(now, run, time(at)),
            Input::SpawnFailed { run, at } => self.start_failed(now, run, time(at)),
            Input::SpawnDelayed { run, at } => self.start_delayed(now, run, time(at)),
            Input::LeaderExited { run, exit } => self.exited(now, run, exit),
            Input::GroupGone { run } => self.gone(now, run),
            Input::Commanded(Command::Start(program)) => self.wanted(program),
            Input::Commanded(Command::StopAll) => self.stop_all(now, false),
            Input::Commanded(Command::KillAll) => self.stop_all(now, true),
        }
    }

    /// Late news of an earlier run; nothing is owed for it.
    fn is_stale(&self, run: Run) -> bool {
        self.accounts[run.program.0 as usize].starts != run.generation
    }

    fn wanted(&mut self, program: ProgramId) {
        if self.stopping {
            return;
        }
        let account = &mut self.accounts[program.0 as usize];
        account.wanted = true;
        if account.life.is_none() && !account.starting {
            account.plan = None;
            account.ready = true;
        }
    }

    fn spawned(&mut self, now: Time, run: Run, at: Time) {
        if self.is_stale(run) {
            return;
        }
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        account.starting = false;
        let life = account.life.get_or_insert(Life::new(at));
        life.since = at;
        life.executed = true;
        if life.given_up {
            return;
        }
        // It was killed for being late, and was executed before that: its end is like any other.
        if !self.stopping {
            life.awaited = None;
        }
        self.owe_note(index, Change::Started);
        if self.stopping {
            self.stop(now, index, self.killing);
        }
    }

    /// It has a process from now on, and no more than that.
    fn start_delayed(&mut self, now: Time, run: Run, at: Time) {
        if self.is_stale(run) {
            return;
        }
        let index = run.program.0 as usize;
        self.accounts[index].starting = false;
        self.accounts[index].life = Some(Life::new(at));
        if self.stopping {
            self.stop(now, index, self.killing);
        }
    }

    fn start_failed(&mut self, now: Time, run: Run, at: Time) {
        if self.is_stale(run) {
            return;
        }
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        account.starting = false;
        if account.life.take().is_some_and(|life| life.given_up) {
            return self.gone(now, run);
        }
        let again = account.wanted && comes_back(account.policy.restart, Exit::Unknown);
        let retry_in = again.then(|| account.delay_and_double().max(FAILED_START_MIN));
        account.plan = retry_in.map(|delay| at.saturating_add(nanos(delay)));
        let ended_for_good = account.wanted && !again;
        self.owe_note(index, Change::StartFailed { retry_in });
        if ended_for_good {
            self.ended_for_good(now, index);
        }
    }

    fn exited(&mut self, now: Time, run: Run, exit: Exit) {
        let index = run.program.0 as usize;
        let account = &mut self.accounts[index];
        let Some(life) = account
            .life
            .as_mut()
            .filter(|_| account.starts == run.generation)
        else {
            return;
        };
        life.leader_dead = true;
        if life.given_up {
            return;
        }
        let uptime = now.saturating_sub(life.since);
        let asked = life.asked.is_some();
        let again = !asked && comes_back(account.policy.restart, exit);
        if !asked && !again {
            life.awaited = Some(now);
        }
        if again && u128::from(uptime) >= account.policy.backoff.reset_after.as_nanos() {
            self.resets += u64::from(account.doublings > 0);
            account.doublings = 0;
        }
        let retry_in = again.then(|| account.delay_and_double());
        account.plan = retry_in.map(|delay| now.saturating_add(nanos(delay)));
        if !asked {
            self.owe_signal(index, 9);
        }
        let uptime = Duration::from_nanos(uptime);
        self.owe_note(
            index,
            Change::Exited {
                exit,
                uptime,
                asked,
                retry_in,
            },
        );
        if !asked && !again {
            self.ended_for_good(now, index);
        }
    }

    fn ended_for_good(&mut self, now: Time, index: usize) {
        self.accounts[index].wanted = false;
        if self.accounts[index].policy.essential && !self.stopping {
            self.essential_ended = Some(ProgramId(index as u32));
            self.stop_all(now, false);
        }
    }

    fn gone(&mut self, now: Time, run: Run) {
        if self.is_stale(run) {
            return;
        }
        let account = &mut self.accounts[run.program.0 as usize];
        account.life = None;
        if account.wanted && account.plan.is_none_or(|plan| plan <= now) {
            account.plan = None;
            account.ready = true;
        }
    }

    fn stop_all(&mut self, now: Time, kill: bool) {
        self.stopping = true;
        self.killing |= kill;
        for index in 0..self.accounts.len() {
            let account = &mut self.accounts[index];
            account.wanted = false;
            account.plan = None;
            account.ready = false;
            self.stop(now, index, kill);
        }
    }

    /// What one program is owed by a stop: whoever lives and was not asked is asked, whoever was
    /// asked and has its grace loses that by a kill, and leftovers are only waited for.
    fn stop(&mut self, now: Time, index: usize, kill: bool) {
        let Policy {
            stop_signal,
            stop_timeout,
            ..
        } = self.accounts[index].policy;
        let Some(life) = self.accounts[index].life.as_mut() else {
            return;
        };
        if life.awaited.is_some() {
            // It was killed for being late, and now it is not wanted either.
            life.asked.get_or_insert(now);
            return;
        }
        if life.leader_dead && life.asked.is_none() {
            life.awaited = Some(now);
            return;
        }
        // What has not executed its program has nothing to clean up.
        let kill = kill || stop_signal == 9 || !life.executed;
        life.asked.get_or_insert(now);
        let signalled = std::mem::replace(&mut life.signalled, life.executed);
        if life.executed && !signalled && !kill {
            self.owe_signal(index, stop_signal);
            self.owe_signal(index, 18);
            self.owe_note(
                index,
                Change::Stopping {
                    signal: stop_signal,
                    timeout: stop_timeout,
                },
            );
        }
        if kill || stop_timeout.is_zero() {
            self.kill(now, index);
        }
    }

    fn kill(&mut self, now: Time, index: usize) {
        if let Some(life) = self.accounts[index].life.as_mut() {
            life.awaited = Some(now);
        }
        self.owe_signal(index, 9);
        self.owe_note(index, Change::Killed);
    }

    /// Every deadline passes that is due.
    pub fn pass(&mut self, now: Time) {
        for index in 0..self.accounts.len() {
            while self.accounts[index]
                .deadline()
                .is_some_and(|deadline| deadline <= now)
            {
                let account = &mut self.accounts[index];
                match account.life.as_mut() {
                    None => {
                        account.plan = None;
                        account.ready = true;
                    }
                    Some(life) if life.awaited.is_some() => {
                        life.given_up = true;
                        let failed_to_start = account.wanted && !life.executed;
                        let again = comes_back(account.policy.restart, Exit::Unknown);
                        self.owe_note(index, Change::Abandoned);
                        if failed_to_start && !again {
                            self.ended_for_good(now, index);
                        }
                    }
                    Some(_) => self.kill(now, index),
                }
            }
        }
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
        let got = [
            machine.has_starts(),
            machine.is_settled(),
            machine.is_stopping(),
        ];
        let owed = [self.has_ready(), self.is_settled(), self.stopping];
        if got != owed {
            return Err(format!(
                "has starts, settled, stopping are {got:?} and not {owed:?}"
            ));
        }
        if machine.essential_ended() != self.essential_ended {
            return Err("another essential program ended".to_owned());
        }
        for (index, account) in self.accounts.iter().enumerate() {
            let view = machine.view(ProgramId(index as u32));
            let is_up = matches!(view.state, State::Running { .. });
            let right = view.starts == account.starts
                && view.delay == account.next_delay()
                && is_up == account.is_up();
            if !right {
                return Err(format!(
                    "program {index} looks wrong: {view:?}, {account:?}"
                ));
            }
        }
        Ok(())
    }
}
