//! What the words of the tables mean: each is a page of what an operator sees, and knows nothing
//! of how the machine comes to it.

use super::super::child::{ABANDON_AFTER, LAUNCH_TIMEOUT};
use super::super::state::{Fact, Goal, Leader, Purpose, State, Trigger, Verb};
use super::every::{LATER, NOW, SINCE, deadline_of, moment};
use super::*;

const START_TIMEOUT: Duration = Duration::from_secs(20);
const WATCHDOG: Duration = Duration::from_secs(30);

/// The delay of a program that was restarted twice.
const DELAY: Duration = Duration::from_secs(4);

/// One program, and what is the case.
#[derive(Debug, Clone, Copy)]
pub struct Case {
    pub state: State,
    pub goal: Goal,
    pub cause: Cause,
    pub hold: Option<Hold>,
}

/// All that a program and its surroundings are after a trigger.
#[derive(Debug, Clone, PartialEq)]
pub struct After {
    pub goal: Goal,
    pub why: Why,
    pub cause: Cause,
    pub state: State,
    pub orders: Vec<Order>,
    pub deadlines: Vec<(Purpose, Moment)>,
    /// The delay before the next restart, and the number of restarts in a row.
    pub delay: (Duration, u32),
    pub again: bool,
    pub escaped: bool,
    pub escaped_abandoned: bool,
}

pub const RUN: Run = Run {
    program: ProgramId(1),
    generation: 1,
};

pub fn table_policy() -> Policy {
    Policy {
        ready: true,
        start_timeout: Some(START_TIMEOUT),
        watchdog: Some(WATCHDOG),
        ..policy()
    }
}

impl Case {
    pub fn before(self) -> After {
        After {
            goal: self.goal,
            why: Why::Failed,
            cause: self.cause,
            state: self.state,
            orders: Vec::new(),
            deadlines: deadline_of(self.state).into_iter().collect(),
            delay: (DELAY, 2),
            again: false,
            escaped: self.hold == Some(Hold::Escaped),
            escaped_abandoned: false,
        }
    }

    fn leader(self) -> Leader {
        match self.state {
            State::Stopping { leader, .. }
            | State::Killed { leader, .. }
            | State::Abandoned { leader } => leader,
            State::Launching { .. } => Leader::New,
            _ => Leader::Alive,
        }
    }

    /// When its run began; a run that has not executed anything has not begun.
    fn since(self) -> Moment {
        moment(match self.state {
            State::Launching { .. } | State::Spawning => NOW,
            _ => SINCE,
        })
    }

    fn was_asked(self) -> bool {
        self.goal != Goal::Up || self.cause.is_stop()
    }

    /// What is so after a trigger whose outcome has this name.
    pub fn after(self, trigger: Trigger, word: &str) -> After {
        match trigger {
            Trigger::Command(verb, cause) => self.after_command(verb, cause, word),
            Trigger::Fact(Fact::Deadline(_)) => self.after_deadline(word),
            Trigger::Fact(_) => self.after_fact(word),
        }
    }

    /// The goal is what was commanded; a later stop does not soften a kill.
    fn commanded(self, verb: Verb, cause: Cause) -> After {
        let mut after = self.before();
        after.goal = match verb {
            Verb::Start | Verb::Restart => Goal::Up,
            Verb::Stop if self.goal == Goal::DownNow => Goal::DownNow,
            Verb::Stop => Goal::Down,
            Verb::Kill => Goal::DownNow,
        };
        // What has ended before a shutdown keeps its reason.
        let is_stop = matches!(verb, Verb::Stop | Verb::Kill);
        if is_stop && (self.goal == Goal::Up || cause != Cause::Shutdown) {
            after.why = Why::Stopped;
        }
        after
    }

    fn after_command(self, verb: Verb, cause: Cause, word: &str) -> After {
        let mut same = self.commanded(verb, cause);
        if verb == Verb::Restart && cause != Cause::Requirement && word != "go on" {
            same = same.forgiven();
        }
        let prevails = if self.cause.is_stop() {
            self.cause
        } else {
            cause
        };
        match word {
            // The goal is set, and nothing else happens.
            "goal" => same,
            "start" => same.forgiven().due(),
            "rest" => same.then(State::Inactive, None),
            "forgive" => same.forgiven(),
            "go on" => same.because(Cause::Exit),
            "call off" => same.because(cause),
            "take over" => same.because(prevails),
            "again" => After {
                again: true,
                ..same.forgiven()
            },
            "now" => same.forgiven().then(
                State::Clearing {
                    start_at: moment(NOW),
                },
                None,
            ),
            // Its leftovers got their SIGKILL at the exit; only the patience begins now.
            "await" => same.awaited(NOW),
            "hold" => same.because(cause).awaited(NOW),
            "stop" => same.because(cause).stopping(15, SINCE),
            "kill" => same.because(prevails).killed(self.since(), self.leader()),
            _ => panic!("no command does {word}"),
        }
    }

    fn after_fact(self, word: &str) -> After {
        let same = self.before();
        let exited = |retry_in| Change::Exited {
            exit: CRASH,
            uptime: NOW - SINCE,
            cause: self.cause,
            retry_in,
        };
        match word {
            "." => same,
            "escaped" | "free" => After {
                escaped: word == "escaped",
                ..same
            },
            "escaped abandoned" => After {
                escaped_abandoned: same.escaped,
                ..same
            },
            "launch" | "run" | "too late" | "failed" => self.after_answer(word),
            "ended" => {
                let start_at = moment(NOW + DELAY);
                let ended = same.signal(9).note(exited(Some(DELAY))).doubled();
                ended.then(State::Clearing { start_at }, None)
            }
            "asked" => {
                let (since, leader) = (moment(SINCE), Leader::Dead);
                let state = match self.state {
                    State::Stopping { .. } => State::Stopping { since, leader },
                    _ => State::Killed { since, leader },
                };
                same.note(exited(None))
                    .then(state, Some((Purpose::Stop, LATER)))
            }
            "drained" => same.signal(9).note(exited(None)).awaited(SINCE),
            "up" => {
                let since = moment(SINCE);
                same.note(Change::Up).running(since)
            }
            "alive" => same.running(moment(SINCE)),
            "sick" => same.because(Cause::Unhealthy).stopping(15, SINCE),
            "hung" => same.because(Cause::Watchdog).stopping(6, SINCE),
            "gone" if self.goal == Goal::Up => same.due(),
            "gone" => same.then(State::Inactive, None),
            "wait" => {
                let until = moment(LATER);
                same.then(State::Waiting { until }, Some((Purpose::Next, LATER)))
            }
            "silent" => {
                let leader = match self.leader() {
                    Leader::New => Leader::Alive,
                    Leader::Alive | Leader::Dead => Leader::Dead,
                };
                same.then(State::Abandoned { leader }, None)
            }
            _ => panic!("no fact does {word}"),
        }
    }

    /// What becomes of a start when its answer comes.
    fn after_answer(self, word: &str) -> After {
        let same = self.before();
        let since = moment(NOW);
        match (word, self.was_asked()) {
            ("launch", false) => {
                let end = NOW + LAUNCH_TIMEOUT;
                let until = moment(end);
                same.then(State::Launching { until }, Some((Purpose::Launch, end)))
            }
            ("launch", true) => same.killed(moment(NOW), Leader::New),
            ("run", false) => {
                let deadline = Some((Purpose::Ready, NOW + START_TIMEOUT));
                let started = same.note(Change::Started).because(Cause::Exit);
                started.then(State::Starting { since }, deadline)
            }
            ("run", true) if self.goal == Goal::DownNow => {
                same.note(Change::Started).killed(since, Leader::Alive)
            }
            ("run", true) => same.note(Change::Started).stopping(15, NOW),
            ("too late", _) => {
                let leader = Leader::Alive;
                let state = State::Killed { since, leader };
                let started = same.note(Change::Started);
                started.then(state, Some((Purpose::Stop, LATER)))
            }
            ("failed", false) => {
                let (retry_in, end) = (Some(DELAY), NOW + DELAY);
                let until = moment(end);
                same.note(Change::StartFailed {
                    cause: Cause::StartFailed,
                    retry_in,
                })
                .because(Cause::StartFailed)
                .doubled()
                .then(State::Waiting { until }, Some((Purpose::Next, end)))
            }
            _ => {
                let failed = same.note(Change::StartFailed {
                    cause: self.cause,
                    retry_in: None,
                });
                if self.goal == Goal::Up {
                    return failed.due();
                }
                failed.then(State::Inactive, None)
            }
        }
    }

    fn after_deadline(self, word: &str) -> After {
        let mut same = self.before();
        same.deadlines.clear();
        match word {
            "due" => same.due(),
            "late" => same
                .because(Cause::StartFailed)
                .killed(moment(NOW), Leader::New),
            "too slow" => same.because(Cause::StartTimeout).stopping(15, SINCE),
            "stuck" => same.because(Cause::Watchdog).stopping(6, SINCE),
            "kill" => same.killed(moment(SINCE), self.leader()),
            // A start that could not even be killed has failed.
            "give up" => {
                let leader = self.leader();
                let is_failed = leader == Leader::New && !self.was_asked();
                let given_up = same
                    .note(Change::Abandoned { cause: self.cause })
                    .then(State::Abandoned { leader }, None);
                if is_failed {
                    given_up.doubled()
                } else {
                    given_up
                }
            }
            _ => panic!("no deadline does {word}"),
        }
    }
}

impl After {
    fn signal(mut self, signal: i32) -> Self {
        self.orders.push(super::signal(RUN, signal));
        self
    }

    pub fn note(mut self, change: Change) -> Self {
        self.orders.push(note(RUN, change));
        self
    }

    fn then(mut self, state: State, deadline: Option<(Purpose, Duration)>) -> Self {
        self.state = state;
        let deadline = deadline.map(|(purpose, at)| (purpose, moment(at)));
        self.deadlines = deadline.into_iter().collect();
        self
    }

    fn because(mut self, cause: Cause) -> Self {
        self.cause = cause;
        self
    }

    /// The delay and the count begin anew.
    fn forgiven(mut self) -> Self {
        self.delay = (secs(1), 0);
        self
    }

    /// One restart more, and the next delay is twice as long.
    fn doubled(mut self) -> Self {
        self.delay = (2 * DELAY, 3);
        self
    }

    fn due(self) -> Self {
        self.then(State::Due, None)
    }

    fn running(self, since: Moment) -> Self {
        self.then(
            State::Running { since },
            Some((Purpose::Watchdog, NOW + WATCHDOG)),
        )
    }

    /// Its leader is dead, and its group is waited for.
    fn awaited(self, since: Duration) -> Self {
        let (since, leader) = (moment(since), Leader::Dead);
        let deadline = Some((Purpose::Stop, NOW + ABANDON_AFTER));
        self.then(State::Killed { since, leader }, deadline)
    }

    fn killed(self, since: Moment, leader: Leader) -> Self {
        let deadline = Some((Purpose::Stop, NOW + ABANDON_AFTER));
        let killed = self.signal(9).note(Change::Killed);
        killed.then(State::Killed { since, leader }, deadline)
    }

    /// It got this signal, and has its time from now on.
    fn stopping(self, signal: i32, since: Duration) -> Self {
        let (since, leader) = (moment(since), Leader::Alive);
        let timeout = policy().stop_timeout;
        let deadline = Some((Purpose::Stop, NOW + timeout));
        let asked = self.signal(signal).signal(18);
        let asked = asked.note(Change::Stopping { signal, timeout });
        asked.then(State::Stopping { since, leader }, deadline)
    }
}
