//! What programs do, by chance: run for a while, write, fork, leave their group, close what they
//! were given, ignore requests, freeze, and end or stay.

use super::Kernel;
use super::process::{Action, Plan, Temper, Time};
use crate::model::rng::Rng;
use crate::spec::StdStream;

const MICROSECOND: Time = 1_000;
pub const MILLISECOND: Time = 1_000 * MICROSECOND;
pub const SECOND: Time = 1_000 * MILLISECOND;

/// As much as a log has that is rotated.
const MUCH_MAX: usize = 70_000;

/// How deep a program's tree of processes gets.
const DEPTH_MAX: u32 = 3;

/// What the programs of a life are like.
#[derive(Debug, Clone, Default)]
pub struct Moods {
    /// Everybody stays, and ends when asked.
    pub fair: bool,
    forks: bool,
    escapes: bool,
    freezes: bool,
    ignores: bool,
    writes: bool,
    /// Pauses are so long that runs are steady.
    slow: bool,
    forgets: bool,
}

impl Moods {
    pub fn any(rng: &mut Rng) -> Self {
        Self {
            fair: false,
            forks: rng.one_in(2),
            escapes: rng.one_in(2),
            freezes: rng.one_in(6),
            ignores: rng.one_in(2),
            writes: !rng.one_in(4),
            slow: rng.one_in(3),
            forgets: rng.one_in(6),
        }
    }

    pub fn pause(&self, rng: &mut Rng) -> Time {
        let most = match rng.below(if self.slow { 6 } else { 4 }) {
            0 => return 0,
            1 => 20 * MICROSECOND,
            2 => 200 * MICROSECOND,
            3 => 20 * MILLISECOND,
            4 => SECOND,
            _ => 40 * SECOND,
        };
        rng.below(most)
    }

    fn temper(&self, rng: &mut Rng) -> Temper {
        match rng.below(4) {
            0 if self.ignores => Temper::Ignores,
            1 | 2 => Temper::Leaves(self.pause(rng), rng.pick(&[0, 0, 3, 143])),
            _ => Temper::Dies,
        }
    }

    fn bytes(&self, rng: &mut Rng) -> usize {
        let most = rng.pick(&[1, 100, 100, 4_000, 10_000]);
        1 + rng.index(most)
    }

    fn end(&self, rng: &mut Rng) -> Option<Action> {
        match rng.below(8) {
            0..=2 => Some(Action::Exit(0)),
            3 | 4 => Some(Action::Exit(1 + rng.below(255) as i32)),
            5 => Some(Action::Die(rng.pick(&[
                libc::SIGSEGV,
                libc::SIGABRT,
                libc::SIGKILL,
                37,
            ]))),
            _ => None,
        }
    }

    fn plan(&self, rng: &mut Rng, depth: u32) -> Plan {
        let mut steps = Vec::new();
        for _ in 0..rng.below(5) {
            let action = match rng.below(8) {
                0..=2 if self.writes => Action::Write(StdStream::Stderr, self.bytes(rng)),
                3 if self.forks && depth < DEPTH_MAX => Action::Fork(self.plan(rng, depth + 1)),
                4 if self.escapes && depth < DEPTH_MAX => {
                    Action::Fork(self.escapee(rng, depth + 1))
                }
                5 if self.freezes => Action::Freeze(rng.below(8 * SECOND)),
                6 if rng.one_in(4) => Action::Close(StdStream::Stderr),
                7 if rng.one_in(8) => Action::Stop,
                _ => continue,
            };
            steps.push((self.pause(rng), action));
        }
        steps.extend(self.end(rng).map(|end| (self.pause(rng), end)));
        Plan {
            steps,
            temper: self.temper(rng),
            reaps: !rng.one_in(4),
        }
    }

    /// One that leaves its group and, as a rule, its parent.
    fn escapee(&self, rng: &mut Rng, depth: u32) -> Plan {
        let leave = if rng.one_in(4) {
            Action::Setpgid
        } else {
            Action::Setsid
        };
        let mut inner = self.plan(rng, depth + 1);
        if self.forgets && rng.one_in(3) {
            inner.steps.insert(0, (0, Action::Forget));
        }
        let leaves = (self.pause(rng), leave);
        if rng.one_in(4) {
            inner.steps.insert(0, leaves);
            return inner;
        }
        let forks = (self.pause(rng), Action::Fork(inner));
        let ends = (self.pause(rng), Action::Exit(0));
        Plan {
            steps: vec![leaves, forks, ends],
            temper: self.temper(rng),
            reaps: false,
        }
    }

    pub(super) fn plan_of_command(&self, rng: &mut Rng) -> Plan {
        let mut plan = self.plan(rng, DEPTH_MAX);
        if self.fair || !rng.one_in(8) {
            plan.steps = vec![(self.pause(rng), Action::Exit(rng.pick(&[0, 1])))];
        }
        plan
    }

    /// Somebody who uses up numbers.
    pub(super) fn plan_of_others(&self, rng: &mut Rng) -> Plan {
        let mut plan = Plan::hold(Temper::Dies);
        plan.steps.push((self.pause(rng), Action::Exit(0)));
        plan
    }
}

/// Has some of what a process and its children write go to stdout, and some of it be much.
fn with_streams(plan: &mut Plan, is_much: bool, rng: &mut Rng) {
    for (_, action) in &mut plan.steps {
        match action {
            Action::Fork(inner) => with_streams(inner, is_much, rng),
            Action::Write(stream, bytes) => {
                if rng.one_in(2) {
                    *stream = StdStream::Stdout;
                }
                if is_much && rng.one_in(2) {
                    *bytes += rng.index(MUCH_MAX);
                }
            }
            Action::Close(stream) if rng.one_in(2) => *stream = StdStream::Stdout,
            _ => {}
        }
    }
}

impl Kernel {
    /// What a program does that may have two streams.
    fn with_streams(&mut self, plan: &mut Plan) {
        if self.has_streams {
            with_streams(plan, self.writes_much, &mut self.rng);
        }
    }

    pub(super) fn plan_of_program(&mut self, index: usize) -> Plan {
        if let Some(plans) = &self.programs[index].script {
            let run = self.programs[index].runs.len() - 1;
            return plans[run.min(plans.len() - 1)].clone();
        }
        if self.moods.fair {
            let mut plan = Plan::hold(Temper::Dies);
            if self.programs[index].is_oneshot() {
                plan.steps.push((MILLISECOND, Action::Exit(0)));
            } else {
                self.good_plan(index, &mut plan);
            }
            return plan;
        }
        let moods = self.moods.clone();
        let mut plan = moods.plan(&mut self.rng, 0);
        self.with_words(&mut plan, index);
        self.with_streams(&mut plan);
        plan
    }
}
