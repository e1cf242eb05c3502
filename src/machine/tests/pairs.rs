//! Every trigger in every state, under every goal, for every cause and every hold: the outcome is
//! in a table. That there is nothing else is the matter of [`every`].

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use super::super::child::{Child, Flags};
use super::super::graph::Links;
use super::super::policy::Delay;
use super::super::state::{Fact, Goal, Leader, Purpose, State, Trigger, Verb};
use super::every::{self, LATER, NOW, OTHER, SINCE, deadline_of, moment};
use super::outcomes::{After, Case, RUN, table_policy};
use super::*;

/// A row for each state, and for what ends a run where that matters; a column for each command.
/// `Required` is a restart because of a requirement. The words are those of [`outcomes`]; "no" is
/// never told.
#[rustfmt::skip]
const COMMANDS: [(&str, [&str; 6]); 20] = [
    // told              Start      Restart      Required   Stop         Shutdown     Kill
    ("Inactive",        ["start",   "start",     "no",      "goal",      "goal",      "goal"]),
    ("Waiting",         ["start",   "start",     "no",      "rest",      "rest",      "rest"]),
    ("Due",             ["forgive", "forgive",   "no",      "rest",      "rest",      "rest"]),
    ("Spawning",        ["go on",   "go on",     "no",      "call off",  "call off",  "call off"]),
    ("Launching",       ["goal",    "kill",      "kill",    "kill",      "kill",      "kill"]),
    ("Starting",        ["goal",    "stop",      "stop",    "stop",      "stop",      "kill"]),
    ("Running",         ["goal",    "stop",      "stop",    "stop",      "stop",      "kill"]),
    ("Draining",        ["forgive", "take over", "no",      "take over", "take over", "kill"]),
    ("Stopping",        ["forgive", "take over", "no",      "take over", "take over", "kill"]),
    ("Stopping, fault", ["again",   "take over", "no",      "take over", "take over", "kill"]),
    ("Stopping, dead",  ["forgive", "take over", "no",      "take over", "take over", "kill"]),
    ("Killed",          ["forgive", "take over", "no",      "take over", "take over", "take over"]),
    ("Killed, fault",   ["again",   "take over", "no",      "take over", "take over", "take over"]),
    ("Killed, new",     ["forgive", "take over", "no",      "take over", "take over", "take over"]),
    ("Killed, late",    ["again",   "take over", "no",      "take over", "take over", "take over"]),
    ("Killed, dead",    ["forgive", "take over", "no",      "take over", "take over", "take over"]),
    ("Clearing",        ["now",     "now",       "hold",    "await",     "await",     "await"]),
    ("Abandoned",       ["forgive", "forgive",   "no",      "goal",      "goal",      "goal"]),
    ("Abandoned, new",  ["forgive", "forgive",   "no",      "goal",      "goal",      "goal"]),
    ("Abandoned, dead", ["forgive", "forgive",   "no",      "goal",      "goal",      "goal"]),
];

/// A column for each fact; "-" cannot be, and "." changes nothing.
#[rustfmt::skip]
const FACTS: [(&str, [&str; 9]); 20] = [
    // told              Spawned     Failed    Delayed   Exited     Gone    Ready  Alive    Unhealthy Hung
    ("Inactive",        ["-",        "-",      "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Waiting",         ["-",        "-",      "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Due",             ["-",        "-",      "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Spawning",        ["run",      "failed", "launch", "-",       "-",    ".",   ".",     ".",      "."]),
    ("Launching",       ["run",      "failed", "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Starting",        ["-",        "-",      "-",      "ended",   "-",    "up",  ".",     ".",      "."]),
    ("Running",         ["-",        "-",      "-",      "ended",   "-",    ".",   "alive", "sick",   "hung"]),
    ("Draining",        ["-",        "-",      "-",      "drained", "-",    ".",   ".",     ".",      "."]),
    ("Stopping",        ["-",        "-",      "-",      "asked",   "-",    ".",   ".",     ".",      "."]),
    ("Stopping, fault", ["-",        "-",      "-",      "ended",   "-",    ".",   ".",     ".",      "."]),
    ("Stopping, dead",  ["-",        "-",      "-",      "-",       "gone", ".",   ".",     ".",      "."]),
    ("Killed",          ["-",        "-",      "-",      "asked",   "-",    ".",   ".",     ".",      "."]),
    ("Killed, fault",   ["-",        "-",      "-",      "ended",   "-",    ".",   ".",     ".",      "."]),
    ("Killed, new",     ["too late", "failed", "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Killed, late",    ["run",      "failed", "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Killed, dead",    ["-",        "-",      "-",      "-",       "gone", ".",   ".",     ".",      "."]),
    ("Clearing",        ["-",        "-",      "-",      "-",       "wait", ".",   ".",     ".",      "."]),
    ("Abandoned",       ["-",        "-",      "-",      "silent",  "-",    ".",   ".",     ".",      "."]),
    ("Abandoned, new",  ["silent",   "gone",   "-",      "-",       "-",    ".",   ".",     ".",      "."]),
    ("Abandoned, dead", ["-",        "-",      "-",      "-",       "gone", ".",   ".",     ".",      "."]),
];

/// A column for each deadline. A state that is not here has none.
#[rustfmt::skip]
const DEADLINES: [(&str, [&str; 5]); 12] = [
    // over              Next   Launch  Ready       Watchdog  Stop
    ("Waiting",         ["due", "-",    "-",        "-",      "-"]),
    ("Launching",       ["-",   "late", "-",        "-",      "-"]),
    ("Starting",        ["-",   "-",    "too slow", "-",      "-"]),
    ("Running",         ["-",   "-",    "-",        "stuck",  "-"]),
    ("Stopping",        ["-",   "-",    "-",        "-",      "kill"]),
    ("Stopping, fault", ["-",   "-",    "-",        "-",      "kill"]),
    ("Stopping, dead",  ["-",   "-",    "-",        "-",      "kill"]),
    ("Killed",          ["-",   "-",    "-",        "-",      "give up"]),
    ("Killed, fault",   ["-",   "-",    "-",        "-",      "give up"]),
    ("Killed, new",     ["-",   "-",    "-",        "-",      "give up"]),
    ("Killed, late",    ["-",   "-",    "-",        "-",      "give up"]),
    ("Killed, dead",    ["-",   "-",    "-",        "-",      "give up"]),
];

fn name_of(state: State, cause: Cause) -> &'static str {
    let asked = cause.is_stop();
    match state {
        State::Inactive => "Inactive",
        State::Waiting { .. } => "Waiting",
        State::Due => "Due",
        State::Spawning => "Spawning",
        State::Launching { .. } => "Launching",
        State::Starting { .. } => "Starting",
        State::Running { .. } => "Running",
        State::Draining { .. } => "Draining",
        State::Stopping { leader, .. } => match leader {
            Leader::Dead => "Stopping, dead",
            Leader::New | Leader::Alive if asked => "Stopping",
            Leader::New | Leader::Alive => "Stopping, fault",
        },
        State::Killed { leader, .. } => match leader {
            Leader::Dead => "Killed, dead",
            Leader::Alive if asked => "Killed",
            Leader::Alive => "Killed, fault",
            Leader::New if asked => "Killed, new",
            Leader::New => "Killed, late",
        },
        State::Clearing { .. } => "Clearing",
        State::Abandoned { leader } => match leader {
            Leader::New => "Abandoned, new",
            Leader::Alive => "Abandoned",
            Leader::Dead => "Abandoned, dead",
        },
    }
}

/// The word of the tables for a trigger in a state.
fn word_of(name: &str, trigger: Trigger) -> &'static str {
    let command = |column: usize| row(&COMMANDS, name).expect("each state has a row")[column];
    let fact = |column: usize| row(&FACTS, name).expect("each state has a row")[column];
    let deadline = |column: usize| row(&DEADLINES, name).map_or("-", |row| row[column]);
    match trigger {
        Trigger::Command(verb, cause) => match verb {
            Verb::Start => command(0),
            Verb::Restart if cause == Cause::Requirement => command(2),
            Verb::Restart => command(1),
            Verb::Stop if cause == Cause::Shutdown => command(4),
            Verb::Stop => command(3),
            Verb::Kill => command(5),
        },
        Trigger::Fact(it) => match it {
            Fact::Spawned { .. } => fact(0),
            Fact::SpawnFailed { .. } => fact(1),
            Fact::SpawnDelayed { .. } => fact(2),
            Fact::LeaderExited { .. } => fact(3),
            Fact::GroupGone => fact(4),
            Fact::Ready => fact(5),
            Fact::Alive => fact(6),
            Fact::Unhealthy => fact(7),
            Fact::Hung => fact(8),
            Fact::Escaped => "escaped",
            Fact::EscapedGone => "free",
            Fact::EscapedAbandoned => "escaped abandoned",
            Fact::Deadline(purpose) => match purpose {
                Purpose::Next => deadline(0),
                Purpose::Launch => deadline(1),
                Purpose::Ready => deadline(2),
                Purpose::Watchdog => deadline(3),
                Purpose::Stop => deadline(4),
            },
        },
    }
}

fn row<const N: usize>(
    table: &[(&str, [&'static str; N])],
    name: &str,
) -> Option<[&'static str; N]> {
    let found = table.iter().find(|(other, _)| *other == name);
    found.map(|(_, row)| *row)
}

/// Makes this the case of a program that has run.
fn set(machine: &mut Machine, id: ProgramId, state: State, goal: Goal, cause: Cause) {
    let child = machine.children.get_mut(id).expect("it was added");
    (child.state, child.goal, child.cause) = (state, goal, cause);
    (child.starts, child.why) = (RUN.generation, Why::Failed);
    child.flags.set(Flags::TELLS_READY, child.policy.ready);
    machine.note(moment(SINCE), id);
}

impl Case {
    /// A machine in which this is so.
    fn machine(self) -> Machine {
        let mut machine = Machine::default();
        for _ in 0..3 {
            machine
                .add(moment(SINCE), table_policy())
                .expect("an id is left");
        }
        set(&mut machine, RUN.program, self.state, self.goal, self.cause);
        self.hold(&mut machine);
        self.drain(&mut machine);
        let child = self.child(&mut machine);
        child.delay = Delay::new(&Backoff::default());
        for _ in 0..2 {
            let policy = policy();
            policy.judge(&mut child.delay, CRASH, Cause::Exit, Some(ZERO));
        }
        if self.state == State::Due && self.hold.is_none() {
            let mut starts = std::mem::take(&mut machine.starts);
            self.child(&mut machine).queue(RUN.program, &mut starts);
            machine.starts = starts;
        }
        if let Some((purpose, at)) = deadline_of(self.state) {
            machine.timers.arm((RUN.program, purpose), at);
        }
        assert_eq!(machine.next_order(), None, "{self:?} is as it is");
        machine
    }

    /// Lets the other program, or a flag, hold this one.
    fn hold(self, machine: &mut Machine) {
        let (until, since) = (moment(LATER), moment(SINCE));
        let (links, state) = match self.hold {
            None => return,
            Some(Hold::Requires(id)) => (Links::new(&[id], &[]), State::Waiting { until }),
            Some(Hold::After(id)) => (Links::new(&[], &[id]), State::Starting { since }),
            Some(Hold::Escaped) => return self.child(machine).flags.set(Flags::ESCAPED, true),
            Some(Hold::Removals) => {
                machine.removing = 1;
                machine.added.push(RUN.program);
                let flags = &mut self.child(machine).flags;
                return flags.set(Flags::AFTER_REMOVALS, true);
            }
        };
        set(machine, OTHER, state, Goal::Up, Cause::Exit);
        machine.set_links(BTreeMap::from([(RUN.program, links)]));
        machine.resolve(moment(NOW));
    }

    /// What drains waits for a program that is ending.
    fn drain(self, machine: &mut Machine) {
        if !matches!(self.state, State::Draining { .. }) {
            return;
        }
        let dependent = ProgramId(2);
        let (since, leader) = (moment(SINCE), Leader::Alive);
        let state = State::Stopping { since, leader };
        set(machine, dependent, state, Goal::Up, Cause::Requirement);
        let links = Links::new(&[RUN.program], &[]);
        machine.set_links(BTreeMap::from([(dependent, links)]));
        machine.resolve(moment(NOW));
        assert!(machine.graph.drain(RUN.program));
    }

    fn child(self, machine: &mut Machine) -> &mut Child {
        let child = machine.children.get_mut(RUN.program);
        child.expect("it was added")
    }

    /// Applies a trigger as the machine does: a deadline is removed from the timers first. Returns
    /// what is so afterwards, and whether it is started.
    fn tell(self, trigger: Trigger) -> (After, bool) {
        self.outcome(|machine| {
            if let Trigger::Fact(Fact::Deadline(purpose)) = trigger {
                machine.timers.disarm((RUN.program, purpose));
            }
            machine.apply(moment(NOW), RUN.program, trigger);
            machine.resolve(moment(NOW));
        })
    }

    fn outcome(self, act: impl FnOnce(&mut Machine)) -> (After, bool) {
        let mut machine = self.machine();
        act(&mut machine);
        let orders = std::iter::from_fn(|| machine.next_order());
        let orders = orders.filter(|order| match order {
            Order::Signal { run, .. } | Order::Notify { run, .. } => *run == RUN,
        });
        let orders = orders.collect();
        let deadlines = machine.timers.in_order().into_iter();
        let deadlines = deadlines.filter(|(_, (id, _))| *id == RUN.program);
        let view = machine.view(RUN.program).expect("it was not removed");
        let child = self.child(&mut machine);
        let after = After {
            goal: child.goal,
            why: child.why,
            cause: child.cause,
            state: child.state,
            orders,
            deadlines: deadlines.map(|(at, (_, purpose))| (purpose, at)).collect(),
            delay: (child.delay.peek(), child.delay.restarts_in_row()),
            again: child.flags.has(Flags::AGAIN),
            escaped: child.flags.has(Flags::ESCAPED),
            escaped_abandoned: child.flags.has(Flags::ESCAPED_ABANDONED),
        };
        let _ = machine.is_settled();
        let run = machine.next_start();
        assert_eq!(
            view.hold.is_some(),
            after.state == State::Due && run.is_none()
        );
        assert!(run.is_none_or(|run| run.program == RUN.program));
        (after, run.is_some())
    }
}

/// In production what cannot be is said, and nothing else happens.
fn impossible(case: Case, trigger: Trigger) -> After {
    let Trigger::Fact(fact) = trigger else {
        panic!("{trigger:?} is possible in every state");
    };
    let state = case.state;
    case.before().note(Change::Impossible { state, fact })
}

/// Tries one case. Returns false if it is one that is never told.
fn try_case(case: Case, trigger: Trigger) -> bool {
    let word = word_of(name_of(case.state, case.cause), trigger);
    if word == "no" || (word == "-" && case.hold.is_some()) {
        return false;
    }
    let what = format!("{case:?}, told {trigger:?}: {word}");
    let got = catch_unwind(AssertUnwindSafe(|| case.tell(trigger)));
    if word == "-" {
        assert_eq!(got.is_err(), cfg!(debug_assertions), "{what}: panics");
        if let Ok((after, _)) = got {
            assert_eq!(after, impossible(case, trigger), "{what}");
        }
        return true;
    }
    let (after, is_started) = got.unwrap_or_else(|_| panic!("{what}"));
    assert_eq!(after, case.after(trigger, word), "{what}");
    // A hold has no effect but this one.
    let is_held = match case.hold {
        Some(Hold::Requires(_) | Hold::After(_) | Hold::Removals) => true,
        Some(Hold::Escaped) | None => after.escaped,
    };
    let is_due = after.state == State::Due;
    assert_eq!(is_started, is_due && !is_held, "{what}: is started");
    true
}

fn cases() -> impl Iterator<Item = Case> {
    let runs = every::states().flat_map(|state| every::goals().map(move |goal| (state, goal)));
    let runs = runs.flat_map(|(state, goal)| every::causes().map(move |it| (state, goal, it)));
    let runs = runs.filter(|&(state, goal, cause)| every::can_be(state, goal, cause));
    runs.flat_map(|(state, goal, cause)| {
        every::holds().map(move |hold| Case {
            state,
            goal,
            cause,
            hold,
        })
    })
}

#[test]
fn every_trigger_in_every_state_does_what_the_table_says() {
    let mut tried = BTreeMap::new();
    for case in cases() {
        for trigger in every::triggers().filter(|&it| try_case(case, it)) {
            let name = name_of(case.state, case.cause);
            *tried.entry((name, word_of(name, trigger))).or_insert(0) += 1;
        }
    }
    // No cell of the tables is left out.
    for (name, row) in COMMANDS {
        for word in row.into_iter().filter(|&word| word != "no") {
            assert!(tried.contains_key(&(name, word)), "{name}, {word}");
        }
    }
    for (name, row) in FACTS {
        for word in row {
            assert!(tried.contains_key(&(name, word)), "{name}, {word}");
        }
    }
    for (name, row) in DEADLINES {
        for word in row {
            assert!(tried.contains_key(&(name, word)), "{name}, {word}");
        }
    }
}

/// The table is about triggers: an input does what its trigger does, and none has no trigger.
#[test]
fn every_input_is_the_trigger_that_the_table_has() {
    let mut tried = BTreeMap::new();
    for case in cases() {
        for input in every::inputs(RUN) {
            let Some(trigger) = every::trigger_of(input) else {
                continue;
            };
            // What cannot be is tried above.
            if matches!(
                word_of(name_of(case.state, case.cause), trigger),
                "no" | "-"
            ) {
                continue;
            }
            let (got, is_started) = case.outcome(|machine| machine.handle(moment(NOW), input));
            let what = format!("{case:?}, told {input:?}");
            assert_eq!((got, is_started), case.tell(trigger), "{what}");
            *tried.entry(format!("{trigger:?}")).or_insert(0) += 1;
        }
    }
    assert_eq!(tried.len(), 18, "{tried:?}");
}
