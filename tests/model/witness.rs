//! What a bystander sees: the world, the orders that came out, and what the host was told.
//!
//! The witness knows no policy. It says what must never be, whatever anybody intended: two runs
//! of one program, a signal to a number that was given back, a start after a stop request or
//! before the moment that the host was told, a run that is reported twice or never, or as started
//! although its process has not executed the program.

use crate::machine::{Change, Command, Order, Run};

use super::account::Time;
use super::ledger::Check;

const SIGKILL: i32 = 9;

#[derive(Debug, Clone, Copy, Default)]
pub struct Seen {
    /// The latest run.
    pub run: Option<Run>,
    /// It has a process or a group: it was started, and its group was not found gone.
    pub has_group: bool,
    /// Its process has executed the program.
    pub executed: bool,
    pub told_as_started: bool,
    pub leader_dead: bool,
    /// How often the latest run was reported.
    pub reports: u32,
    /// The host was told that it does not come back earlier.
    pub not_before: Option<Time>,
    /// It was told as up, after its start.
    pub told_as_up: bool,
    /// It was stopped by hand, and not started since.
    pub stopped: bool,
    /// It was removed, and nothing is heard of it any more.
    pub removed: bool,
}

#[derive(Clone, Default)]
pub struct Witness {
    pub programs: Vec<Seen>,
    pub stop_was_asked: bool,
}

impl Witness {
    pub fn new(programs: usize) -> Self {
        Self {
            programs: vec![Seen::default(); programs],
            stop_was_asked: false,
        }
    }

    fn seen(&mut self, run: Run) -> &mut Seen {
        &mut self.programs[run.program.0 as usize]
    }

    pub fn stop_asked(&mut self) {
        self.stop_was_asked = true;
    }

    /// A command to start: what the host was told about later is overruled.
    pub fn start_asked(&mut self, program: usize) {
        self.programs[program].not_before = None;
        self.programs[program].stopped = false;
    }

    /// One program is to stop, or to go.
    pub fn stopped(&mut self, program: usize) {
        self.programs[program].stopped = true;
    }

    /// Takes note of a command.
    pub fn commanded(&mut self, command: Command) {
        match command {
            Command::Start(id) | Command::Restart(id) => self.start_asked(id.0 as usize),
            Command::Stop(id) | Command::Kill(id) | Command::Remove(id) => {
                self.stopped(id.0 as usize);
            }
            Command::StartNew(_) | Command::StartAll => {}
            Command::StopAll | Command::KillAll => self.stop_asked(),
        }
    }

    /// A start is asked for; `alone` if no process of an earlier run is left.
    pub fn begins(&mut self, now: Time, run: Run, alone: bool) -> Check {
        let stopping = self.stop_was_asked;
        let seen = self.seen(run);
        let last = std::mem::replace(
            seen,
            Seen {
                run: Some(run),
                ..Seen::default()
            },
        );
        let problem = if stopping || last.stopped {
            "after a stop request"
        } else if last.removed {
            "after it was removed"
        } else if !alone {
            "next to a process of an earlier run"
        } else if last.not_before.is_some_and(|not_before| now < not_before) {
            "earlier than the host was told"
        } else if last.run.is_some() && last.reports != 1 {
            "before the last run was reported"
        } else {
            return Ok(());
        };
        Err(format!("{run:?} starts {problem}"))
    }

    pub fn started(&mut self, run: Run) {
        self.seen(run).has_group = true;
        self.seen(run).executed = true;
    }

    /// There is a process, which has not executed the program.
    pub fn delayed(&mut self, run: Run) {
        self.seen(run).has_group = true;
    }

    /// Nothing was executed, and no process is there.
    pub fn failed(&mut self, run: Run) {
        self.seen(run).has_group = false;
    }

    pub fn leader_died(&mut self, run: Run) {
        self.seen(run).leader_dead = true;
    }

    /// Its group was found gone, and the number is given back.
    pub fn gone(&mut self, run: Run) {
        self.seen(run).has_group = false;
    }

    /// An order, when it comes out of the machine.
    pub fn ordered(&mut self, now: Time, order: Order) -> Check {
        match order {
            Order::Signal { run, signal } => {
                let seen = *self.seen(run);
                if seen.run != Some(run) || !seen.has_group {
                    return Err(format!(
                        "signal {signal} for {run:?}, whose number was given back"
                    ));
                }
                if !seen.executed && signal != SIGKILL {
                    return Err(format!(
                        "signal {signal} for {run:?}, which has not executed its program"
                    ));
                }
                Ok(())
            }
            Order::Notify { run, change } => self.noted(now, run, change),
        }
    }

    fn noted(&mut self, now: Time, run: Run, change: Change) -> Check {
        let seen = self.seen(run);
        if seen.removed {
            return Err(format!("{change:?} is told of {run:?}, which was removed"));
        }
        seen.removed = change == Change::Removed;
        if seen.removed && run.generation == 0 {
            return Ok(());
        }
        if seen.run != Some(run) {
            return Err(format!(
                "{change:?} is told of {run:?}, which is not the latest"
            ));
        }
        let problem = match change {
            Change::Started if !seen.executed => "has not executed its program",
            Change::Started if seen.told_as_started => "was told as started before",
            Change::StartFailed { .. } if seen.executed => "has executed its program",
            Change::Exited { .. } | Change::Stopping { .. } | Change::Up
                if !seen.told_as_started =>
            {
                "was not told as started"
            }
            Change::Up if seen.told_as_up => "was told as up before",
            Change::Removed if seen.reports != 1 => "was not reported",
            _ => "",
        };
        if !problem.is_empty() {
            return Err(format!("{change:?} is told of {run:?}, which {problem}"));
        }
        seen.told_as_started |= change == Change::Started;
        seen.told_as_up |= change == Change::Up;
        let reported = match change {
            Change::Exited { .. } | Change::StartFailed { .. } => true,
            Change::Abandoned { .. } => !seen.leader_dead,
            Change::Impossible { .. } => return Err(format!("{run:?} met what cannot be")),
            Change::Started | Change::Up | Change::Stopping { .. } | Change::Killed => false,
            Change::Removed => false,
        };
        if let Change::Exited { retry_in, .. } | Change::StartFailed { retry_in, .. } = change {
            let told = |delay| now.saturating_add(u64::try_from(delay).unwrap_or(u64::MAX));
            seen.not_before = retry_in.map(|delay| told(delay.as_nanos()));
        }
        seen.reports += u32::from(reported);
        if seen.reports > 1 {
            return Err(format!("{run:?} is reported twice"));
        }
        Ok(())
    }

    /// At the end: every run that does not live was reported.
    pub fn ends(&self) -> Check {
        for seen in &self.programs {
            if let Some(run) = seen.run.filter(|_| seen.reports != 1) {
                return Err(format!("{run:?} was reported {} times", seen.reports));
            }
        }
        Ok(())
    }
}
