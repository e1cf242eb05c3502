//! Every state, goal, cause, hold and trigger that there is.
//!
//! Each list is made by a `match` that names what follows each value, without a default: a new
//! variant does not compile before it has a place in its list.

use std::iter::successors;

use super::super::child::{ABANDON_AFTER, LAUNCH_TIMEOUT};
use super::super::state::{Cause, Fact, Goal, Leader, Purpose, State, Trigger, Verb};
use super::*;

pub const SINCE: Duration = Duration::from_secs(100);
pub const NOW: Duration = Duration::from_secs(107);
/// When what is waited for ends, where a state has a deadline before the trigger.
pub const LATER: Duration = Duration::from_secs(108);

pub fn moment(since: Duration) -> Moment {
    Moment::from_origin(since)
}

pub fn states() -> impl Iterator<Item = State> {
    use Leader::{Alive, Dead, New};
    let [since, until] = [SINCE, LATER].map(moment);
    let next = move |state: &State| {
        Some(match *state {
            State::Inactive => State::Waiting { until },
            State::Waiting { .. } => State::Due,
            State::Due => State::Spawning,
            State::Spawning => State::Launching { until },
            State::Launching { .. } => State::Starting { since },
            State::Starting { .. } => State::Running { since },
            State::Running { .. } => State::Draining { since },
            State::Draining { .. } => State::Stopping { since, leader: New },
            State::Stopping { leader, .. } => match leader {
                New => State::Stopping {
                    since,
                    leader: Alive,
                },
                Alive => State::Stopping {
                    since,
                    leader: Dead,
                },
                Dead => State::Killed { since, leader: New },
            },
            State::Killed { leader, .. } => match leader {
                New => State::Killed {
                    since,
                    leader: Alive,
                },
                Alive => State::Killed {
                    since,
                    leader: Dead,
                },
                Dead => State::Clearing { start_at: until },
            },
            State::Clearing { .. } => State::Abandoned { leader: New },
            State::Abandoned { leader } => match leader {
                New => State::Abandoned { leader: Alive },
                Alive => State::Abandoned { leader: Dead },
                Dead => return None,
            },
        })
    };
    successors(Some(State::Inactive), next)
}

pub fn goals() -> impl Iterator<Item = Goal> {
    let next = |goal: &Goal| match goal {
        Goal::Up => Some(Goal::Down),
        Goal::Down => Some(Goal::DownNow),
        Goal::DownNow => None,
    };
    successors(Some(Goal::Up), next)
}

pub fn causes() -> impl Iterator<Item = Cause> {
    let next = |cause: &Cause| match cause {
        Cause::Exit => Some(Cause::StartFailed),
        Cause::StartFailed => Some(Cause::StartTimeout),
        Cause::StartTimeout => Some(Cause::Unhealthy),
        Cause::Unhealthy => Some(Cause::Watchdog),
        Cause::Watchdog => Some(Cause::Operator),
        Cause::Operator => Some(Cause::Reload),
        Cause::Reload => Some(Cause::Requirement),
        Cause::Requirement => Some(Cause::Shutdown),
        Cause::Shutdown => None,
    };
    successors(Some(Cause::Exit), next)
}

/// What may hold a start. Of others, `OTHER` is the one that is not up.
pub fn holds() -> impl Iterator<Item = Option<Hold>> {
    let next = |hold: &Option<Hold>| match hold {
        None => Some(Some(Hold::Requires(OTHER))),
        Some(Hold::Requires(_)) => Some(Some(Hold::After(OTHER))),
        Some(Hold::After(_)) => Some(Some(Hold::Escaped)),
        Some(Hold::Escaped) => Some(Some(Hold::Removals)),
        Some(Hold::Removals) => None,
    };
    successors(Some(None), next)
}

pub const OTHER: ProgramId = ProgramId(0);

fn verbs() -> impl Iterator<Item = Verb> {
    let next = |verb: &Verb| match verb {
        Verb::Start => Some(Verb::Restart),
        Verb::Restart => Some(Verb::Stop),
        Verb::Stop => Some(Verb::Kill),
        Verb::Kill => None,
    };
    successors(Some(Verb::Start), next)
}

fn purposes() -> impl Iterator<Item = Purpose> {
    let next = |purpose: &Purpose| match purpose {
        Purpose::Next => Some(Purpose::Launch),
        Purpose::Launch => Some(Purpose::Ready),
        Purpose::Ready => Some(Purpose::Watchdog),
        Purpose::Watchdog => Some(Purpose::Stop),
        Purpose::Stop => None,
    };
    successors(Some(Purpose::Next), next)
}

fn facts() -> impl Iterator<Item = Fact> {
    let at = moment(NOW);
    let next = move |fact: &Fact| {
        Some(match *fact {
            Fact::Spawned { .. } => Fact::SpawnFailed { at },
            Fact::SpawnFailed { .. } => Fact::SpawnDelayed { at },
            Fact::SpawnDelayed { .. } => Fact::LeaderExited { exit: CRASH },
            Fact::LeaderExited { .. } => Fact::GroupGone,
            Fact::GroupGone => Fact::Ready,
            Fact::Ready => Fact::Alive,
            Fact::Alive => Fact::Unhealthy,
            Fact::Unhealthy => Fact::Hung,
            Fact::Hung => Fact::Escaped,
            Fact::Escaped => Fact::EscapedGone,
            Fact::EscapedGone => Fact::EscapedAbandoned,
            Fact::EscapedAbandoned => Fact::Deadline(purposes().next()?),
            Fact::Deadline(purpose) => {
                let mut rest = purposes().skip_while(|&other| other != purpose);
                Fact::Deadline(rest.nth(1)?)
            }
        })
    };
    successors(Some(Fact::Spawned { at }), next)
}

pub fn triggers() -> impl Iterator<Item = Trigger> {
    let commands = verbs().flat_map(|verb| causes().map(move |cause| (verb, cause)));
    let commands = commands.filter(|&(verb, cause)| is_given(verb, cause));
    let commands = commands.map(|(verb, cause)| Trigger::Command(verb, cause));
    commands.chain(facts().map(Trigger::Fact))
}

/// What goes into a machine about this run and its program.
pub fn inputs(run: Run) -> impl Iterator<Item = Input> {
    let (at, exit, program) = (moment(NOW), CRASH, run.program);
    let next = move |input: &Input| {
        Some(match *input {
            Input::Spawned { .. } => Input::SpawnFailed { run, at },
            Input::SpawnFailed { .. } => Input::SpawnDelayed { run, at },
            Input::SpawnDelayed { .. } => Input::LeaderExited { run, exit },
            Input::LeaderExited { .. } => Input::GroupGone { run },
            Input::GroupGone { .. } => Input::Ready { run },
            Input::Ready { .. } => Input::Alive { run },
            Input::Alive { .. } => Input::Unhealthy { run },
            Input::Unhealthy { .. } => Input::Hung { run },
            Input::Hung { .. } => Input::Escaped { run },
            Input::Escaped { .. } => Input::EscapedGone { run },
            Input::EscapedGone { .. } => Input::EscapedAbandoned { run },
            Input::EscapedAbandoned { .. } => Input::Commanded(Command::Start(program)),
            Input::Commanded(command) => Input::Commanded(match command {
                Command::Start(_) => Command::StartNew(program),
                Command::StartNew(_) => Command::StartAll,
                Command::StartAll => Command::Stop(program),
                Command::Stop(_) => Command::Restart(program),
                Command::Restart(_) => Command::Kill(program),
                Command::Kill(_) => Command::Remove(program),
                Command::Remove(_) => Command::StopAll,
                Command::StopAll => Command::KillAll,
                Command::KillAll => return None,
            }),
        })
    };
    successors(Some(Input::Spawned { run, at }), next)
}

/// The trigger that an input is for its program. `None` for what does nothing to a program that
/// has run, and for a removal, after which there may be no program to look at.
pub fn trigger_of(input: Input) -> Option<Trigger> {
    Some(Trigger::Fact(match input {
        Input::Spawned { at, .. } => Fact::Spawned { at },
        Input::SpawnFailed { at, .. } => Fact::SpawnFailed { at },
        Input::SpawnDelayed { at, .. } => Fact::SpawnDelayed { at },
        Input::LeaderExited { exit, .. } => Fact::LeaderExited { exit },
        Input::GroupGone { .. } => Fact::GroupGone,
        Input::Ready { .. } => Fact::Ready,
        Input::Alive { .. } => Fact::Alive,
        Input::Unhealthy { .. } => Fact::Unhealthy,
        Input::Hung { .. } => Fact::Hung,
        Input::Escaped { .. } => Fact::Escaped,
        Input::EscapedGone { .. } => Fact::EscapedGone,
        Input::EscapedAbandoned { .. } => Fact::EscapedAbandoned,
        Input::Commanded(command) => {
            let (verb, cause) = match command {
                Command::Start(_) => (Verb::Start, Cause::Operator),
                Command::Stop(_) => (Verb::Stop, Cause::Operator),
                Command::Restart(_) => (Verb::Restart, Cause::Operator),
                Command::Kill(_) => (Verb::Kill, Cause::Operator),
                Command::StopAll => (Verb::Stop, Cause::Shutdown),
                Command::KillAll => (Verb::Kill, Cause::Shutdown),
                Command::StartNew(_) | Command::StartAll | Command::Remove(_) => return None,
            };
            return Some(Trigger::Command(verb, cause));
        }
    }))
}

/// True if a program may get this command for this reason.
fn is_given(verb: Verb, cause: Cause) -> bool {
    match cause {
        Cause::Operator => true,
        Cause::Reload => verb != Verb::Kill,
        Cause::Requirement => verb == Verb::Restart,
        Cause::Shutdown => matches!(verb, Verb::Stop | Verb::Kill),
        Cause::Exit
        | Cause::StartFailed
        | Cause::StartTimeout
        | Cause::Unhealthy
        | Cause::Watchdog => false,
    }
}

/// True if a program can be in this state with this goal, its latest run ended or ending for this
/// cause. The searches look that it is in no other.
pub fn can_be(state: State, goal: Goal, cause: Cause) -> bool {
    let is_up = goal == Goal::Up;
    let is_own = cause == Cause::Exit;
    let is_fault = !is_own && !cause.is_stop();
    let runs_fault = is_fault && cause != Cause::StartFailed;
    match state {
        State::Inactive => !is_up,
        State::Waiting { .. } | State::Due => is_up,
        State::Spawning => (is_up && is_own) || (!is_up && cause.is_stop()),
        State::Launching { .. } | State::Starting { .. } | State::Running { .. } => is_up && is_own,
        State::Draining { .. } => cause.is_stop() && goal != Goal::DownNow,
        State::Stopping { leader, .. } => match leader {
            Leader::New => false,
            Leader::Alive if runs_fault => is_up,
            Leader::Alive | Leader::Dead => cause.is_stop() && goal != Goal::DownNow,
        },
        State::Killed { leader, .. } => match leader {
            Leader::New => cause.is_stop() || (is_up && cause == Cause::StartFailed),
            Leader::Alive => cause.is_stop() || (is_up && runs_fault),
            Leader::Dead => cause != Cause::StartFailed,
        },
        State::Clearing { .. } => is_up && !cause.is_stop() && cause != Cause::StartFailed,
        State::Abandoned { .. } => true,
    }
}

/// What each state waits for by the clock, and until when.
pub fn deadline_of(state: State) -> Option<(Purpose, Moment)> {
    let later = moment(LATER);
    match state {
        State::Waiting { until } => Some((Purpose::Next, until)),
        State::Launching { until } => Some((Purpose::Launch, until)),
        State::Starting { .. } => Some((Purpose::Ready, later)),
        State::Running { .. } => Some((Purpose::Watchdog, later)),
        State::Stopping { .. } | State::Killed { .. } => Some((Purpose::Stop, later)),
        State::Inactive | State::Due | State::Spawning => None,
        State::Draining { .. } | State::Clearing { .. } | State::Abandoned { .. } => None,
    }
}

#[test]
fn the_lists_are_whole() {
    assert_eq!(
        [states().count(), goals().count(), causes().count()],
        [18, 3, 9]
    );
    assert_eq!(
        [holds().count(), facts().count(), triggers().count()],
        [5, 17, 27]
    );
    let run = Run {
        program: OTHER,
        generation: 1,
    };
    assert_eq!(inputs(run).count(), 21);
    assert!(LAUNCH_TIMEOUT > ABANDON_AFTER);
}
