//! What happened to one program, and the table of delays.
//!
//! An account has no states: everything is derived anew from what happened, and when.

use std::time::Duration;

use crate::machine::state::{Cause, Why};
use crate::machine::{Exit, Moment, Policy, ProgramState, Restart};

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

/// True if a program was asked to end, and does not end for a fault of its own.
pub fn was_asked(cause: Cause) -> bool {
    use Cause::{Operator, Reload, Requirement, Shutdown};
    [Operator, Reload, Requirement, Shutdown].contains(&cause)
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
    /// It is up.
    pub ready: bool,
    /// When it showed last that it is not stuck.
    pub alive_at: Time,
    pub leader_dead: bool,
    /// What ends it, and since when, if it did not end by itself.
    pub ending: Option<(Cause, Time)>,
    /// It has got its stop signal: what has not executed anything gets none.
    pub signalled: bool,
    /// Since when nothing is left to do but to wait for its death.
    pub awaited: Option<Time>,
    pub given_up: bool,
    /// What ended it, if it was not asked to end.
    pub fault: Cause,
}

impl Life {
    pub fn new(since: Time) -> Self {
        Self {
            since,
            executed: false,
            ready: false,
            alive_at: since,
            leader_dead: false,
            ending: None,
            signalled: false,
            awaited: None,
            given_up: false,
            fault: Cause::Exit,
        }
    }

    pub fn was_asked(&self) -> bool {
        self.ending.is_some_and(|(cause, _)| was_asked(cause))
    }

    /// Nothing ends it, and it has not ended.
    pub fn goes_on(&self) -> bool {
        !self.leader_dead && self.ending.is_none() && self.awaited.is_none() && !self.given_up
    }

    /// Something ends it from now on. What was asked for prevails over a fault.
    pub fn end_for(&mut self, now: Time, cause: Cause) {
        let (first, since) = *self.ending.get_or_insert((cause, now));
        if was_asked(cause) && !was_asked(first) {
            self.ending = Some((cause, since));
        }
    }
}

/// A moment at which something happens that no fact brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Due {
    Start,
    GiveUp,
    Kill,
    KillNew,
    StartTimeout,
    Watchdog,
}

/// What is done about processes that left a group.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Escape {
    Ending,
    GivenUp,
}

/// What happened to one program.
#[derive(Debug, Clone)]
pub struct Account {
    pub policy: Policy,
    /// Somebody wants it to run, and it did not end for good since.
    pub wanted: bool,
    /// It is to be killed, and not asked.
    pub hard: bool,
    /// Why it is not wanted.
    pub why: Why,
    pub starts: u64,
    /// The number of restarts in a row.
    pub doublings: u32,
    pub life: Option<Life>,
    /// The delay before its next start ends then.
    pub plan: Option<Time>,
    /// It may start, but for what escaped.
    pub ready: bool,
    /// It is being started.
    pub starting: bool,
    /// It was told to start while a run was being ended for a fault.
    pub again: bool,
    /// Processes left its group, and are there.
    pub escaped: Option<Escape>,
    /// When its deadline was set last, in the order in which those of all programs were.
    pub set: u64,
    /// It is to be forgotten when nothing of it is left.
    pub removed: bool,
    pub forgotten: bool,
    /// The word for its state, and when that was another one last.
    pub word: ProgramState,
    pub word_since: Time,
}

impl Account {
    pub fn new(policy: Policy) -> Self {
        Self {
            policy,
            wanted: false,
            hard: false,
            why: Why::New,
            starts: 0,
            doublings: 0,
            life: None,
            plan: None,
            ready: false,
            starting: false,
            again: false,
            escaped: None,
            set: 0,
            removed: false,
            forgotten: false,
            word: ProgramState::Stopped,
            word_since: 0,
        }
    }

    /// When something is to happen to it that no fact brings.
    pub fn deadline(&self) -> Option<Time> {
        self.due().map(|(at, _)| at)
    }

    /// What is to happen to it that no fact brings, and when.
    pub fn due(&self) -> Option<(Time, Due)> {
        let Some(life) = self.life else {
            return self.plan.map(|plan| (plan, Due::Start));
        };
        let after = |since: Time, span: Duration| since.saturating_add(nanos(span));
        if life.given_up {
            return None;
        }
        if let Some(awaited) = life.awaited {
            return Some((awaited.saturating_add(PATIENCE), Due::GiveUp));
        }
        if let Some((_, since)) = life.ending {
            return Some((after(since, self.policy.stop_timeout), Due::Kill));
        }
        if life.leader_dead {
            return None;
        }
        if !life.executed {
            return Some((life.since.saturating_add(LAUNCH_MAX), Due::KillNew));
        }
        if !life.ready {
            let timeout = self.policy.start_timeout?;
            return Some((after(life.since, timeout), Due::StartTimeout));
        }
        let watchdog = self.policy.watchdog?;
        Some((after(life.alive_at, watchdog), Due::Watchdog))
    }

    pub fn is_settled(&self) -> bool {
        let at_rest = self.life.is_none_or(|life| life.given_up && !self.wanted);
        at_rest && !self.ready && !self.starting && self.plan.is_none()
    }

    /// Nothing of it is left that is waited for, and nothing is planned.
    pub fn is_down(&self) -> bool {
        let is_gone = self
            .life
            .map_or(self.escaped != Some(Escape::Ending), |life| life.given_up);
        !self.wanted && !self.starting && is_gone
    }

    /// Nothing is left to do but to wait for its death.
    pub fn was_killed(&self) -> bool {
        self.life.is_some_and(|life| life.awaited.is_some())
    }

    /// It runs, and nothing ends it.
    pub fn runs(&self) -> bool {
        self.life
            .is_some_and(|life| life.executed && life.goes_on())
    }

    /// It is up.
    pub fn is_up(&self) -> bool {
        self.runs() && self.life.is_some_and(|life| life.ready)
    }

    /// It was asked to end, or is not wanted any more.
    pub fn was_asked(&self) -> bool {
        !self.wanted || self.life.is_some_and(|life| life.was_asked())
    }

    /// It may be started now.
    pub fn may_start(&self) -> bool {
        self.ready && self.escaped.is_none()
    }

    /// When it has run long enough for its delay to begin anew.
    pub fn resets_at(&self) -> Option<Time> {
        let life = self.life.filter(|_| self.runs())?;
        Some(
            life.since
                .saturating_add(nanos(self.policy.backoff.reset_after)),
        )
    }

    /// The delay before its next restart, were its run a short one.
    pub fn next_delay(&self) -> Duration {
        delay(&self.policy, self.doublings)
    }

    /// What follows a run that was not asked to end: a delay, or an end for good. `cause` is what
    /// ended it. Without an uptime the start failed.
    pub fn follows(
        &mut self,
        exit: Exit,
        cause: Cause,
        uptime: Option<Duration>,
    ) -> Result<Duration, Why> {
        let Policy {
            restart,
            oneshot,
            success,
            permanent,
            max_restarts,
            backoff,
            ..
        } = self.policy;
        let by_itself = cause == Cause::Exit && uptime.is_some();
        let good = by_itself && (exit == Exit::Code(0) || success.contains(exit));
        if std::mem::take(&mut self.again) {
            return Ok(Duration::ZERO);
        }
        if by_itself && permanent.contains(exit) {
            return Err(Why::Permanent);
        }
        match restart {
            Restart::Always | Restart::OnFailure if !good => {}
            Restart::Always if !oneshot => {}
            _ if good => return Err(Why::Exited),
            _ => return Err(Why::Failed),
        }
        if uptime.is_some_and(|uptime| uptime >= backoff.reset_after) {
            self.doublings = 0;
        }
        if max_restarts == Some(self.doublings) {
            return Err(Why::GaveUp);
        }
        let delay = self.next_delay();
        self.doublings += 1;
        Ok(match uptime {
            Some(_) => delay,
            None => delay.max(FAILED_START_MIN),
        })
    }
}
