//! What happened to one program, and the table of delays.
//!
//! An account has no states: everything is derived anew from what happened, and when.

use std::time::Duration;

use crate::machine::{Exit, Moment, Policy, Restart};

/// Nanoseconds.
pub type Time = u64;

const PATIENCE: Time = 5_000_000_000;
const LAUNCH_MAX: Time = 90_000_000_000;
pub const FAILED_START_MIN: Duration = Duration::from_millis(100);

/// The table of delays: the first one, doubled so many times, but not over the cap.
pub fn delay(policy: &Policy, doublings: u32) -> Duration {
    let factor = 1_u128.checked_shl(doublings).unwrap_or(u128::MAX);
    let nanos = policy.backoff.initial.as_nanos().saturating_mul(factor);
    let nanos = nanos.min(policy.backoff.max.as_nanos());
    Duration::new(
        (nanos / 1_000_000_000) as u64,
        (nanos % 1_000_000_000) as u32,
    )
}

pub fn comes_back(restart: Restart, exit: Exit) -> bool {
    match restart {
        Restart::Always => true,
        Restart::OnFailure => exit != Exit::Code(0),
        Restart::Never => false,
    }
}

pub fn nanos(duration: Duration) -> Time {
    Time::try_from(duration.as_nanos()).unwrap_or(Time::MAX)
}

pub fn moment(time: Time) -> Moment {
    Moment::from_origin(Duration::from_nanos(time))
}

pub fn time(moment: Moment) -> Time {
    nanos(moment.since(Moment::default()))
}

/// A run whose process or group is not gone.
#[derive(Debug, Clone, Copy)]
pub struct Life {
    /// When it executed its program, or else when it became known that it had not yet.
    pub since: Time,
    pub executed: bool,
    pub leader_dead: bool,
    /// When it was asked to stop.
    pub asked: Option<Time>,
    /// It has got its stop signal: what has not executed anything gets none.
    pub signalled: bool,
    /// Since when nothing is left to do but to wait for its death.
    pub awaited: Option<Time>,
    pub given_up: bool,
}

impl Life {
    pub fn new(since: Time) -> Self {
        Self {
            since,
            executed: false,
            leader_dead: false,
            asked: None,
            signalled: false,
            awaited: None,
            given_up: false,
        }
    }
}

/// What happened to one program.
#[derive(Debug, Clone)]
pub struct Account {
    pub policy: Policy,
    /// Somebody wants it to run, and it did not end for good since.
    pub wanted: bool,
    pub starts: u64,
    pub doublings: u32,
    pub life: Option<Life>,
    /// The delay before its next start ends then.
    pub plan: Option<Time>,
    /// It may start.
    pub ready: bool,
    /// It is being started.
    pub starting: bool,
}

impl Account {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            wanted: false,
            starts: 0,
            doublings: 0,
            life: None,
            plan: None,
            ready: false,
            starting: false,
        }
    }

    /// When something is to happen to it that no fact brings.
    pub fn deadline(&self) -> Option<Time> {
        let Some(life) = self.life else {
            return self.plan;
        };
        if life.given_up {
            return None;
        }
        if let Some(awaited) = life.awaited {
            return Some(awaited.saturating_add(PATIENCE));
        }
        let stop = life
            .asked
            .map(|asked| asked.saturating_add(nanos(self.policy.stop_timeout)));
        let launch = (!life.executed).then(|| life.since.saturating_add(LAUNCH_MAX));
        stop.into_iter().chain(launch).min()
    }

    pub fn is_settled(&self) -> bool {
        let at_rest = self.life.is_none_or(|life| life.given_up && !self.wanted);
        at_rest && !self.ready && !self.starting && self.plan.is_none()
    }

    /// Nothing is left to do but to wait for its death.
    pub fn was_killed(&self) -> bool {
        self.life.is_some_and(|life| life.awaited.is_some())
    }

    /// It runs, and nobody asked it not to.
    pub fn is_up(&self) -> bool {
        self.life.is_some_and(|life| {
            life.executed && !life.leader_dead && life.asked.is_none() && !life.given_up
        })
    }

    /// When it has run long enough for its delay to begin anew.
    pub fn resets_at(&self) -> Option<Time> {
        let life = self.life.filter(|_| self.is_up())?;
        Some(
            life.since
                .saturating_add(nanos(self.policy.backoff.reset_after)),
        )
    }

    /// The delay before its next restart, were its run a short one.
    pub fn next_delay(&self) -> Duration {
        delay(&self.policy, self.doublings)
    }

    pub fn delay_and_double(&mut self) -> Duration {
        let delay = self.next_delay();
        self.doublings += 1;
        delay
    }
}
