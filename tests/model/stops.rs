//! What is owed when something ends: a stop, a fault, or a deadline that passes.

use crate::machine::state::{Cause, Why};
use crate::machine::{Change, Exit};

use super::account::{Account, Due, Time, nanos};
use super::ledger::Ledger;

/// How long before its end a shutdown kills everything.
const SHUTDOWN_KILL: Time = 1_000_000_000;

impl Ledger {
    pub(super) fn stop_all(&mut self, now: Time, kill: bool) {
        if !std::mem::replace(&mut self.stopping, true)
            && let Some(timeout) = self.shutdown_timeout
        {
            let timeout = nanos(timeout);
            let kill_in = timeout.saturating_sub(SHUTDOWN_KILL).max(timeout / 2);
            // Three tenths of the rest are left for the end itself.
            let until_end = timeout - (timeout - kill_in) * 3 / 10;
            let end = now.saturating_add(until_end);
            self.shutdown = Some((now.saturating_add(kill_in), end));
        }
        self.stop_cause = Cause::Shutdown;
        for index in 0..self.accounts.len() {
            self.call_off(now, index, kill, Cause::Shutdown);
        }
    }

    /// A program is not wanted any more. A later stop does not soften a kill; what has ended for
    /// good keeps its reason at a shutdown.
    pub(super) fn call_off(&mut self, now: Time, index: usize, kill: bool, cause: Cause) {
        let account = &mut self.accounts[index];
        if account.forgotten {
            return;
        }
        if account.wanted || cause != Cause::Shutdown {
            account.why = Why::Stopped;
        }
        if account.starting {
            self.stop_cause = cause;
        }
        account.wanted = false;
        account.hard |= kill;
        account.again = false;
        account.plan = None;
        account.ready = false;
        self.stop(now, index, cause);
    }

    /// What one program is owed by a stop: whoever lives and was not asked is asked, whoever was
    /// asked and has its grace loses that by a kill, and leftovers are only waited for.
    pub(super) fn stop(&mut self, now: Time, index: usize, cause: Cause) {
        let Account { policy, hard, .. } = self.accounts[index];
        let Some(life) = self.accounts[index].life.as_mut() else {
            return;
        };
        if life.given_up {
            return;
        }
        if life.leader_dead && life.ending.is_none() && life.awaited.is_none() {
            life.awaited = Some(now);
            return self.set_deadline(index);
        }
        life.end_for(now, cause);
        if life.awaited.is_some() {
            return;
        }
        // What has not executed its program has nothing to clean up.
        if hard || !life.executed {
            return self.kill(now, index);
        }
        if !std::mem::replace(&mut life.signalled, true) {
            self.ask(now, index, policy.stop_signal);
        }
    }

    /// A run has failed, and is ended.
    pub(super) fn fault(&mut self, now: Time, index: usize, cause: Cause) {
        let account = &mut self.accounts[index];
        let stop_signal = account.policy.stop_signal;
        if let Some(life) = account.life.as_mut() {
            life.end_for(now, cause);
            life.signalled = true;
        }
        let is_stuck = cause == Cause::Watchdog;
        self.ask(now, index, if is_stuck { 6 } else { stop_signal });
    }

    /// A run gets its stop signal, and its grace, if there is any.
    fn ask(&mut self, now: Time, index: usize, signal: i32) {
        let timeout = self.accounts[index].policy.stop_timeout;
        if signal != 9 {
            self.owe_signal(index, signal);
            self.owe_signal(index, 18);
            self.owe_note(index, Change::Stopping { signal, timeout });
            self.set_deadline(index);
        }
        if signal == 9 || timeout.is_zero() {
            self.kill(now, index);
        }
    }

    fn kill(&mut self, now: Time, index: usize) {
        if let Some(life) = self.accounts[index].life.as_mut() {
            life.awaited = Some(now);
        }
        self.set_deadline(index);
        self.owe_signal(index, 9);
        self.owe_note(index, Change::Killed);
    }

    /// Every deadline passes that is due: the earliest first, and of equal ones the one that was
    /// set first. That decides what else has come to its end when an essential program does.
    pub fn pass(&mut self, now: Time) {
        let due = |ledger: &Self| {
            let each = ledger.accounts.iter().enumerate();
            let all = each.filter_map(|(index, account)| Some((account.due()?, index)));
            all.filter(|((at, _), _)| *at <= now)
                .min_by_key(|((at, _), index)| (*at, ledger.accounts[*index].set))
        };
        while let Some(((_, due), index)) = due(self) {
            self.comes_due(now, index, due);
        }
        if let Some((kill_at, end_at)) = self.shutdown
            && !self.is_settled()
        {
            if kill_at <= now {
                self.shutdown = Some((end_at, end_at));
                self.stop_all(now, true);
            }
            for index in 0..self.accounts.len() {
                if end_at <= now && self.accounts[index].was_killed() {
                    self.give_up(now, index);
                }
            }
        }
        self.forget();
    }

    fn comes_due(&mut self, now: Time, index: usize, due: Due) {
        let account = &mut self.accounts[index];
        match due {
            Due::Start => (account.plan, account.ready) = (None, true),
            Due::GiveUp => self.give_up(now, index),
            Due::Kill => self.kill(now, index),
            Due::KillNew => {
                if let Some(life) = account.life.as_mut() {
                    life.end_for(now, Cause::StartFailed);
                }
                self.kill(now, index);
            }
            Due::StartTimeout => self.fault(now, index, Cause::StartTimeout),
            Due::Watchdog => self.fault(now, index, Cause::Watchdog),
        }
    }

    /// A start that could not even be killed has failed.
    fn give_up(&mut self, now: Time, index: usize) {
        let account = &mut self.accounts[index];
        let asked = account.was_asked();
        let Some(life) = account.life.as_mut().filter(|life| !life.given_up) else {
            return;
        };
        life.given_up = true;
        let executed = life.executed;
        let cause = life.ending.map_or(life.fault, |(cause, _)| cause);
        self.owe_note(index, Change::Abandoned { cause });
        if !executed && !asked {
            let account = &mut self.accounts[index];
            if let Err(why) = account.follows(Exit::Unknown, Cause::StartFailed, None) {
                self.ended_for_good(now, index, why);
            }
        }
    }
}
