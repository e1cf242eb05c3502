//! Every trigger in every state, under every goal: the outcome is in a table.

use std::collections::VecDeque;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::child::{ABANDON_AFTER, Child, Effects, LAUNCH_TIMEOUT};
use super::super::state::{Fact, Goal, Leader, State, Trigger};
use super::super::timers::Timers;
use super::*;

const SINCE: Duration = Duration::from_secs(100);
const NOW: Duration = Duration::from_secs(107);
/// When the waiting and the clearing one may start: one second after now.
const LATER: Duration = Duration::from_secs(108);

/// When a new process that has not executed its program is killed, unless a stop comes first.
const LAUNCH_END: Duration = Duration::from_secs(150);

/// One row a state, one column an trigger. The words are those of [`expected`]; "-" cannot be.
#[rustfmt::skip]
const TABLE: [(&str, [&str; 9]); 15] = [
    // told             Start   Stop     Kill     Spawned   Failed    Delayed  Exited    Gone       Deadline
    ("Inactive",       ["due",  "goal",  "goal",  "-",      "-",      "-",     "-",      "-",       "-"]),
    ("Waiting",        ["due",  "rest",  "rest",  "-",      "-",      "-",     "-",      "-",       "due"]),
    ("Due",            ["goal", "rest",  "rest",  "-",      "-",      "-",     "-",      "-",       "-"]),
    ("Spawning",       ["goal", "goal",  "goal",  "run",    "failed", "launch","-",      "-",       "-"]),
    ("Launching",      ["goal", "kill",  "kill",  "run",    "failed", "-",     "-",      "-",       "kill"]),
    ("Running",        ["goal", "stop",  "kill",  "-",      "-",      "-",     "ended",  "-",       "-"]),
    ("Stopping",       ["goal", "goal",  "kill",  "-",      "-",      "-",     "asked",  "-",       "kill"]),
    ("Stopping, dead", ["goal", "goal",  "kill",  "-",      "-",      "-",     "-",      "stopped", "kill"]),
    ("Killed",         ["goal", "goal",  "goal",  "-",      "-",      "-",     "asked",  "-",       "give up"]),
    ("Killed, new",    ["goal", "goal",  "goal",  "too late", "failed", "-",   "-",      "-",       "give up"]),
    ("Killed, dead",   ["goal", "goal",  "goal",  "-",      "-",      "-",     "-",      "stopped", "give up"]),
    ("Clearing",       ["goal", "await", "await", "-",      "-",      "-",     "-",      "wait",    "-"]),
    ("Abandoned",      ["goal", "goal",  "goal",  "-",      "-",      "-",     "silent", "-",       "-"]),
    ("Abandoned, new", ["goal", "goal",  "goal",  "silent", "stopped", "-",    "-",      "-",       "-"]),
    ("Abandoned, dead",["goal", "goal",  "goal",  "-",      "-",      "-",     "-",      "stopped", "-"]),
];

/// All that a child and its surroundings are after an trigger.
#[derive(Debug, Clone, PartialEq)]
struct After {
    goal: Goal,
    state: State,
    orders: Vec<Order>,
    deadline: Option<Moment>,
    /// Whether it stands in the queue of starts.
    queued: bool,
    ended: Option<Exit>,
}

fn moment(since: Duration) -> Moment {
    Moment::from_origin(since)
}

fn state_of(name: &str) -> State {
    use Leader::{Alive, Dead, New};
    let [since, until, start_at] = [SINCE, LATER, LATER].map(moment);
    let stopping = |leader| State::Stopping { since, leader };
    let killed = |leader| State::Killed { since, leader };
    match name {
        "Inactive" => State::Inactive,
        "Waiting" => State::Waiting { until },
        "Due" => State::Due,
        "Spawning" => State::Spawning,
        "Launching" => State::Launching {
            until: moment(LAUNCH_END),
        },
        "Running" => State::Running { since },
        "Stopping" => stopping(Alive),
        "Stopping, dead" => stopping(Dead),
        "Killed" => killed(Alive),
        "Killed, new" => killed(New),
        "Killed, dead" => killed(Dead),
        "Clearing" => State::Clearing { start_at },
        "Abandoned" => State::Abandoned { leader: Alive },
        "Abandoned, new" => State::Abandoned { leader: New },
        "Abandoned, dead" => State::Abandoned { leader: Dead },
        _ => panic!("no state is called {name}"),
    }
}

fn triggers() -> [Trigger; 9] {
    let at = moment(NOW);
    [
        Trigger::Command(Goal::Up),
        Trigger::Command(Goal::Down),
        Trigger::Command(Goal::DownNow),
        Trigger::Fact(Fact::Spawned { at }),
        Trigger::Fact(Fact::SpawnFailed { at }),
        Trigger::Fact(Fact::SpawnDelayed { at }),
        Trigger::Fact(Fact::LeaderExited { exit: CRASH }),
        Trigger::Fact(Fact::GroupGone),
        Trigger::Fact(Fact::Deadline),
    ]
}

/// Where a state has a deadline, it is this one before the trigger.
fn deadline_before(state: State) -> Option<Moment> {
    match state {
        State::Launching { until } => Some(until),
        State::Waiting { .. } | State::Stopping { .. } | State::Killed { .. } => {
            Some(moment(LATER))
        }
        _ => None,
    }
}

fn before(goal: Goal, state: State) -> After {
    After {
        goal,
        state,
        orders: Vec::new(),
        deadline: deadline_before(state),
        queued: state == State::Due,
        ended: None,
    }
}

/// The goal after a trigger; facts leave it as it is.
fn goal_after(goal: Goal, trigger: Trigger) -> Goal {
    match (trigger, goal) {
        (Trigger::Command(Goal::Up), _) => Goal::Up,
        (Trigger::Command(Goal::DownNow), _) | (Trigger::Command(Goal::Down), Goal::DownNow) => {
            Goal::DownNow
        }
        (Trigger::Command(Goal::Down), _) => Goal::Down,
        _ => goal,
    }
}

impl After {
    fn signal(mut self, signal: i32) -> Self {
        self.orders.push(super::signal(RUN, signal));
        self
    }

    fn note(mut self, change: Change) -> Self {
        self.orders.push(note(RUN, change));
        self
    }

    fn then(mut self, state: State, deadline: Option<Duration>) -> Self {
        self.state = state;
        self.deadline = deadline.map(moment);
        self
    }

    fn due(mut self) -> Self {
        self.queued = true;
        self.then(State::Due, None)
    }

    fn killed(self, since: Duration, leader: Leader) -> Self {
        let since = moment(since);
        let state = State::Killed { since, leader };
        self.signal(9)
            .note(Change::Killed)
            .then(state, Some(NOW + ABANDON_AFTER))
    }

    /// Asked to stop while it runs: at once if the goal is to be down now.
    fn stop(self, since: Duration) -> Self {
        if self.goal == Goal::DownNow {
            return self.killed(since, Leader::Alive);
        }
        let (since, leader) = (moment(since), Leader::Alive);
        let state = State::Stopping { since, leader };
        let (signal, timeout) = (15, policy().stop_timeout);
        self.signal(signal)
            .signal(18)
            .note(Change::Stopping { signal, timeout })
            .then(state, Some(NOW + timeout))
    }
}

const RUN: Run = Run {
    program: ProgramId(3),
    generation: 1,
};

/// What becomes of a start that is late.
fn of_launch(word: &str, same: After) -> After {
    match (word, same.goal) {
        ("launch", Goal::Up) => {
            let end = NOW + LAUNCH_TIMEOUT;
            let until = moment(end);
            same.then(State::Launching { until }, Some(end))
        }
        ("launch", _) => same.killed(NOW, Leader::New),
        ("too late", Goal::Up) => same
            .note(Change::Started)
            .then(State::Running { since: moment(NOW) }, None),
        _ => {
            let (since, leader) = (moment(NOW), Leader::Alive);
            let state = State::Killed { since, leader };
            same.note(Change::Started).then(state, Some(LATER))
        }
    }
}

/// What a word of the table means. `None`: it cannot be.
fn expected(word: &str, goal: Goal, state: State, trigger: Trigger) -> Option<After> {
    let same = before(goal_after(goal, trigger), state);
    let leader = match state {
        State::Stopping { leader, .. }
        | State::Killed { leader, .. }
        | State::Abandoned { leader } => leader,
        _ => Leader::Alive,
    };
    let exited = |asked, retry_in| Change::Exited {
        exit: CRASH,
        uptime: NOW - SINCE,
        asked,
        retry_in,
    };
    Some(match word {
        "-" => return None,
        // The goal is set, and nothing else happens.
        "goal" => same,
        "due" => same.due(),
        "rest" => After {
            queued: false,
            ..same.then(State::Inactive, None)
        },
        "stop" | "kill" if matches!(state, State::Running { .. }) => same.stop(SINCE),
        "kill" if matches!(state, State::Launching { .. }) => same.killed(NOW, Leader::New),
        "kill" => same.killed(SINCE, leader),
        "launch" | "too late" => of_launch(word, same),
        "run" if goal == Goal::Up => same
            .note(Change::Started)
            .then(State::Running { since: moment(NOW) }, None),
        "run" => same.note(Change::Started).stop(NOW),
        "failed" if goal == Goal::Up => {
            let retry_in = Some(secs(1));
            same.note(Change::StartFailed { retry_in })
                .then(state_of("Waiting"), Some(LATER))
        }
        "failed" => same
            .note(Change::StartFailed { retry_in: None })
            .then(State::Inactive, None),
        "ended" => same
            .signal(9)
            .note(exited(false, Some(secs(1))))
            .then(state_of("Clearing"), None),
        "asked" => {
            let dead = match state {
                State::Stopping { .. } => state_of("Stopping, dead"),
                _ => state_of("Killed, dead"),
            };
            same.note(exited(true, None)).then(dead, Some(LATER))
        }
        "silent" if leader == Leader::New => same.then(state_of("Abandoned"), None),
        "silent" => same.then(state_of("Abandoned, dead"), None),
        "stopped" if goal == Goal::Up => same.due(),
        "stopped" => same.then(State::Inactive, None),
        // Its leftovers got their SIGKILL at the exit; only the patience begins now.
        "await" => {
            let (since, leader) = (moment(NOW), Leader::Dead);
            let state = State::Killed { since, leader };
            same.then(state, Some(NOW + ABANDON_AFTER))
        }
        "wait" => same.then(state_of("Waiting"), Some(LATER)),
        "give up" => same
            .note(Change::Abandoned)
            .then(State::Abandoned { leader }, None),
        _ => panic!("no outcome is called {word}"),
    })
}

/// In production what cannot be is said, and nothing else happens.
fn impossible(goal: Goal, state: State, trigger: Trigger) -> After {
    let Trigger::Fact(fact) = trigger else {
        panic!("{trigger:?} is possible in every state");
    };
    let same = before(goal, state).note(Change::Impossible { state, fact });
    match fact {
        Fact::Deadline => same.then(state, None),
        _ => same,
    }
}

/// Applies a trigger as the machine does: a deadline is removed from the timers first.
fn tell(goal: Goal, state: State, trigger: Trigger) -> After {
    let mut child = Child::new(RUN.program, policy().into());
    (child.goal, child.state, child.starts) = (goal, state, RUN.generation);
    let (mut orders, mut timers, mut starts) =
        (VecDeque::new(), Timers::default(), VecDeque::new());
    if let Some(at) = deadline_before(state) {
        timers.arm(RUN.program, at);
        if trigger == Trigger::Fact(Fact::Deadline) {
            timers.disarm(RUN.program);
        }
    }
    if state == State::Due {
        starts.push_back(RUN.program);
    }
    let mut out = Effects {
        orders: &mut orders,
        timers: &mut timers,
        starts: &mut starts,
        ended: None,
    };
    child.handle(moment(NOW), trigger, &mut out);
    let ended = out.ended;
    After {
        goal: child.goal,
        state: child.state,
        orders: orders.into(),
        deadline: timers.next(),
        // One that was called off may stay in the queue; the machine asks the state.
        queued: !starts.is_empty() && child.state == State::Due,
        ended,
    }
}

#[test]
fn every_trigger_in_every_state_does_what_the_table_says() {
    let mut tried = 0;
    for (name, row) in TABLE {
        for goal in [Goal::Up, Goal::Down, Goal::DownNow] {
            for (word, trigger) in row.into_iter().zip(triggers()) {
                let state = state_of(name);
                let got = catch_unwind(AssertUnwindSafe(|| tell(goal, state, trigger)));
                tried += 1;
                let case = format!("{goal:?}, {name}, told {trigger:?}: {word}");
                let Some(expected) = expected(word, goal, state, trigger) else {
                    assert_eq!(got.is_err(), cfg!(debug_assertions), "{case}: panics");
                    if let Ok(got) = got {
                        assert_eq!(got, impossible(goal, state, trigger), "{case}");
                    }
                    continue;
                };
                assert_eq!(got.ok(), Some(expected), "{case}");
            }
        }
    }
    assert_eq!(tried, 15 * 3 * 9);
}
