//! The fair run at the end, in which every wish must come true.
//!
//! From here on starts succeed, those that were late too, orders are carried out at once, nothing
//! dies by itself and the clock goes from deadline to deadline. What was wanted must come up; then
//! a stop is asked for, if none was, and everything must be over within the longest grace and the
//! time after which what does not die is given up.

use std::time::Duration;

use crate::machine::state::Leader;
use crate::machine::{Command, Exit, Input, Policy};

use super::chaos::HORIZON;
use super::driver::Driver;
use crate::model::account::{Account, Due, Time};
use crate::model::ledger::Check;

/// Turns until a fair run is over: each program has a few things to go through.
const TURNS_MAX: usize = 100;

/// How long what got SIGKILL may take.
const PATIENCE: Time = 5_000_000_000;

impl Driver {
    pub fn end_fairly(&mut self) -> Check {
        self.say(format_args!("the fair run begins"));
        self.fair = true;
        self.world.be_fair();
        self.world.thaw();
        self.carry_out(usize::MAX)?;
        if !self.ledger.stopping {
            self.until("every wanted program is up", Self::is_up)?;
            self.tally.wishes += self
                .ledger
                .accounts
                .iter()
                .filter(|account| account.wanted)
                .count() as u64;
        }
        self.stop_fairly()?;
        self.nothing_is_left()
    }

    /// Turns until something holds. Where nothing happens, the clock goes to the next deadline.
    fn until(&mut self, goal: &str, holds: fn(&Self) -> bool) -> Check {
        let mut was_idle = false;
        for _ in 0..TURNS_MAX {
            let steps = (self.tally.starts, self.now);
            self.world.tidy_up();
            self.world.finish_members();
            for number in self.world.launching() {
                self.world.execute(number);
            }
            self.show_signs()?;
            self.turn()?;
            self.check()?;
            if holds(self) {
                return Ok(());
            }
            let rests = steps == (self.tally.starts, self.now) && !self.has_news();
            if rests {
                match self.next_event() {
                    Some(deadline) if deadline - self.now < HORIZON => self.now = deadline,
                    // Signs that came before the last turn are shown anew.
                    _ if was_idle => break,
                    _ => was_idle = true,
                }
            }
        }
        let world = self.world.describe();
        self.say(format_args!("at the end: {world}"));
        Err(format!("in a fair run it is not so that {goal}"))
    }

    /// The next deadline, but for those of watchdogs: a sign of life comes before each of them.
    fn next_event(&self) -> Option<Time> {
        let due = self.ledger.accounts.iter().filter_map(Account::due);
        let due = due.filter(|(_, due)| *due != Due::Watchdog);
        let shutdown = self.ledger.shutdown.filter(|_| !self.ledger.is_settled());
        let shutdown = shutdown.map(|(kill, _)| kill);
        due.map(|(at, _)| at).chain(shutdown).min()
    }

    /// What runs says that it is ready and alive, or does what it is for; what escaped ends.
    fn show_signs(&mut self) -> Check {
        for program in 0..self.programs() {
            let Some(run) = self.latest_run(program) else {
                continue;
            };
            for sign in [
                Input::Ready { run },
                Input::Alive { run },
                Input::EscapedGone { run },
            ] {
                if self.by_number {
                    self.facts()?;
                }
                self.tell(sign)?;
            }
            let account = &self.ledger.accounts[program];
            if account.policy.oneshot
                && account.runs()
                && let Some(number) = self.world.leader_of(program)
            {
                self.world.end(number, Exit::Code(0), false);
            }
        }
        Ok(())
    }

    /// Every program that is wanted runs, or waits for a moment that nobody lives to see; and
    /// nothing is left of those that are not. A stop that comes meanwhile, because an essential
    /// program has ended, may take as long as its grace, and is judged as a stop.
    fn is_up(&self) -> bool {
        if self.ledger.stopping {
            return true;
        }
        let far = |deadline: Time| deadline.saturating_sub(self.now) >= HORIZON;
        self.ledger
            .accounts
            .iter()
            .enumerate()
            .all(|(program, account)| {
                let waits = account.deadline().is_some_and(far);
                waits
                    || match account.wanted {
                        true => account.is_up() && self.world.leader_of(program).is_some(),
                        false => !self.world.has_process_of(program),
                    }
            })
    }

    fn stop_fairly(&mut self) -> Check {
        let hard = self.rng.one_in(4);
        if hard {
            for number in self.world.leaders() {
                if self.rng.one_in(2) {
                    self.say(format_args!("world     {number} freezes for good"));
                    self.world.freeze(number);
                }
            }
        }
        let from = self.now;
        let was_stopping = self.ledger.stopping;
        let grace = self
            .policies
            .iter()
            .map(|policy: &Policy| policy.stop_timeout)
            .max();
        let grace = grace.unwrap_or_default().as_nanos();
        let never = grace >= u128::from(HORIZON);
        // Who was promised for ever stops when it is killed.
        self.command(if never {
            Command::KillAll
        } else {
            Command::StopAll
        })?;
        self.until("everything is over after a stop", |driver| {
            driver.machine.is_settled()
        })?;
        let grace = if never { 0 } else { grace as Time };
        let took = self.now - from;
        if let Some((_, end)) = self.ledger.shutdown.filter(|_| !was_stopping) {
            self.tally.cut_short += 1;
            if self.now > end {
                return Err("the shutdown took longer than it may".to_owned());
            }
        }
        if took > grace + PATIENCE {
            return Err(format!("the stop took {:?}", Duration::from_nanos(took)));
        }
        self.tally.ends += 1;
        Ok(())
    }

    /// Only what cannot die is left, it was named, and when it dies after all nothing is said.
    fn nothing_is_left(&mut self) -> Check {
        // A shutdown that ran out of time may have given up what died in the same moment.
        self.facts()?;
        if self.machine.next_deadline().is_some() || self.machine.next_start().is_some() {
            return Err("something is planned after the end".to_owned());
        }
        for program in 0..self.programs() {
            let alive = self.world.leader_of(program).is_some();
            let named = self.is_abandoned(program);
            let right = match named {
                Some(Leader::New | Leader::Alive) => alive,
                Some(Leader::Dead) => !alive && self.world.has_process_of(program),
                None if self.ledger.accounts[program].forgotten => true,
                None => !self.world.has_process_of(program),
            };
            if !right {
                let world = self.world.describe();
                return Err(format!(
                    "at the end program {program} is {named:?}, and there is {world}"
                ));
            }
        }
        self.witness.ends()?;
        self.say(format_args!("what could not die does"));
        self.world.thaw();
        self.world.tidy_up();
        self.turn()?;
        self.witness.ends()?;
        if (0..self.programs()).any(|program| self.world.has_process_of(program)) {
            return Err(format!(
                "somebody is left for ever: {}",
                self.world.describe()
            ));
        }
        Ok(())
    }
}
