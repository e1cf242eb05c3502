//! One program's life: wish x state x fact, in one exhaustive match.
//!
//! The wish ([`Goal`]) and the fact ([`State`]) are two fields. "Restarting" is no state.
//!
//! ```text
//!              Start                 next_start            Spawned
//!   Inactive ─────────► Due ───────────────────► Spawning ─────────► Running
//!      ▲                 ▲                          │                 │   │
//!      │            delay over                 SpawnFailed      exits │   │ Stop
//!      │                 │                          │       by itself │   ▼
//!      │              Waiting ◄─────────────────────┤                 │ Stopping
//!      │                 ▲                          │                 │   │ deadline,
//!      │                 │ group gone               │                 ▼   ▼ or Kill
//!      │                 └───────────────────── Clearing ◄────────────┤ Killed ──► Abandoned
//!      │                                                              │   │    5 s
//!      └──────────────────────────────────────────────────────────────┴───┘
//!        ended for good, or stopped, and the group is gone
//! ```
//!
//! A start that is not answered at once is `Launching` between `Spawning` and its answer: it has
//! a process, which has not executed the program yet. Nothing waits for it but a deadline.
//!
//! Three rules hold everywhere. A group is killed while its number is pinned: at the exit that
//! nobody asked for, before the reap. A new run begins only after the old group is gone. Once
//! the goal is not [`Goal::Up`], nothing starts, and no deadline moves later.

use std::time::Duration;

use super::event::{Change, Moment, Order, ProgramId, Run};
use super::policy::{Backoff, Delay, Exit, Policy, PolicyId};
use super::timers::Timers;

const SIGKILL: i32 = 9;
const SIGCONT: i32 = 18;

/// How long a killed group may take to disappear before it is given up.
pub const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// How long a new process may take to execute its program before it is killed. A lease on the
/// file (fcntl(2), F_SETLEASE) delays that by 45 s at most, and a start by systemd may take 90 s.
pub const LAUNCH_TIMEOUT: Duration = Duration::from_secs(90);

/// What is wanted of a program.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Goal {
    /// It shall run.
    Up,
    /// It shall end, in its own time.
    Down,
    /// It shall end at once.
    DownNow,
}

/// What is the case.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum State {
    /// Nothing runs and nothing is planned.
    Inactive,
    /// The delay before a start runs until this moment.
    Waiting { until: Moment },
    /// It may start; the scheduler has not come to it yet.
    Due,
    /// The scheduler is starting it; an answer comes before anything else.
    Spawning,
    /// It has a process that has not executed the program yet, and is killed then if it still
    /// has not. A stop may be over earlier, or later: the program keeps that time once it runs.
    Launching { until: Moment, stop_by: Moment },
    /// It runs, since this moment.
    Running { since: Moment },
    /// It was asked to stop and has a deadline.
    Stopping { since: Moment, leader: Leader },
    /// Its group got SIGKILL and nothing of it shall come back.
    Killed { since: Moment, leader: Leader },
    /// It ended by itself and its leftovers got SIGKILL; the next start is planned for then.
    Clearing { start_at: Moment },
    /// It did not even die, and was given up.
    Abandoned { leader: Leader },
}

/// The first process of a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Leader {
    /// It has not executed the program yet.
    New,
    Alive,
    Dead,
}

/// What one program can be told.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Input {
    Wish(Wish),
    Fact(Fact),
}

/// What somebody wants of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Wish {
    Start,
    Stop,
    Kill,
}

/// What has happened to it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Fact {
    Spawned { at: Moment },
    SpawnFailed { at: Moment },
    SpawnDelayed { at: Moment },
    LeaderExited { exit: Exit },
    GroupGone,
    Deadline,
}

/// What decides about a program, and where its answers go.
pub struct Effects<'a> {
    pub policy: &'a Policy,
    pub orders: &'a mut std::collections::VecDeque<Order>,
    pub timers: &'a mut Timers,
    /// Programs that may start, in order.
    pub starts: &'a mut std::collections::VecDeque<ProgramId>,
    /// The program ended by itself and its policy restarts it no more.
    pub ended: Option<Exit>,
}

/// One program.
#[derive(Debug, Clone)]
pub struct Child {
    pub id: ProgramId,
    /// Which of the machine's policies decides about it.
    pub policy: PolicyId,
    pub goal: Goal,
    pub state: State,
    pub delay: Delay,
    /// How many starts there were, failed ones too: the generation of the latest run.
    pub starts: u64,
}

impl Child {
    pub fn new(id: ProgramId, policy: PolicyId, backoff: &Backoff) -> Self {
        let delay = Delay::new(backoff);
        Self {
            id,
            policy,
            goal: Goal::Down,
            state: State::Inactive,
            delay,
            starts: 0,
        }
    }

    /// The latest run.
    pub fn run(&self) -> Run {
        Run {
            program: self.id,
            generation: self.starts,
        }
    }

    /// The scheduler starts it now.
    pub fn begin(&mut self) -> Run {
        debug_assert_eq!(self.state, State::Due);
        self.starts = self.starts.saturating_add(1);
        self.state = State::Spawning;
        self.run()
    }

    /// Takes in one fact or wish, and answers.
    pub fn handle(&mut self, now: Moment, input: Input, out: &mut Effects<'_>) {
        match input {
            Input::Wish(wish) => self.obey(now, wish, out),
            Input::Fact(fact) => self.learn(now, fact, out),
        }
    }

    /// Every state x every wish.
    fn obey(&mut self, now: Moment, wish: Wish, out: &mut Effects<'_>) {
        use State as S;
        use Wish as W;
        self.aim(wish);
        match (self.state, wish) {
            (S::Inactive | S::Waiting { .. }, W::Start) => {
                out.timers.disarm(self.id);
                self.become_due(out);
            }
            (
                S::Due | S::Spawning | S::Launching { .. } | S::Running { .. } | S::Clearing { .. },
                W::Start,
            ) => {}
            // Held until the group is gone.
            (S::Stopping { .. } | S::Killed { .. } | S::Abandoned { .. }, W::Start) => {}
            (S::Inactive | S::Killed { .. } | S::Abandoned { .. }, W::Stop | W::Kill) => {}
            (S::Waiting { .. } | S::Due, W::Stop | W::Kill) => {
                out.timers.disarm(self.id);
                self.state = S::Inactive;
            }
            // The answer to the start comes first, and finds the goal.
            (S::Spawning, W::Stop | W::Kill) => {}
            (S::Launching { until, stop_by }, W::Stop | W::Kill) => {
                self.stop_launch(now, until, stop_by, out);
            }
            (S::Running { since }, W::Stop | W::Kill) => {
                let deadline = now.after(out.policy.stop_timeout);
                self.stop(now, since, deadline, out);
            }
            (S::Stopping { .. }, W::Stop) => {}
            (S::Stopping { since, leader }, W::Kill) => self.kill(now, since, leader, out),
            // Its leftovers have their SIGKILL already; now somebody waits for them.
            (S::Clearing { .. }, W::Stop | W::Kill) => {
                self.await_death(now, now, Leader::Dead, out);
            }
        }
    }

    /// Every state x every fact.
    fn learn(&mut self, now: Moment, fact: Fact, out: &mut Effects<'_>) {
        use Fact as F;
        use Leader::{Alive, Dead, New};
        use State as S;
        match (self.state, fact) {
            (S::Spawning, F::Spawned { at }) => {
                let deadline = now.after(out.policy.stop_timeout);
                self.spawned(now, at, deadline, out);
            }
            (S::Spawning, F::SpawnFailed { at }) => self.start_failed(at, out),
            (S::Spawning, F::SpawnDelayed { at }) => {
                let until = at.after(LAUNCH_TIMEOUT);
                let stop_by = now.after(Duration::MAX);
                self.state = S::Launching { until, stop_by };
                out.timers.arm(self.id, until);
                if self.goal != Goal::Up {
                    self.stop_launch(now, until, stop_by, out);
                }
            }
            (S::Launching { stop_by, .. }, F::Spawned { at }) => {
                out.timers.disarm(self.id);
                self.spawned(now, at, stop_by, out);
            }
            (S::Launching { .. } | S::Killed { leader: New, .. }, F::SpawnFailed { at }) => {
                out.timers.disarm(self.id);
                self.start_failed(at, out);
            }
            (S::Launching { .. }, F::Deadline) => self.kill(now, now, New, out),
            // It was executed before the SIGKILL reached it. If that was for being late alone, its
            // end is like any other.
            (S::Killed { leader: New, .. }, F::Spawned { at }) if self.goal == Goal::Up => {
                out.timers.disarm(self.id);
                self.state = S::Running { since: at };
                self.notify(Change::Started, out);
            }
            (S::Killed { leader: New, .. }, F::Spawned { at }) => {
                self.state = S::Killed {
                    since: at,
                    leader: Alive,
                };
                self.notify(Change::Started, out);
            }
            // Its run was reported as abandoned; one report a run.
            (S::Abandoned { leader: New }, F::Spawned { .. }) => {
                self.state = S::Abandoned { leader: Alive };
            }
            (S::Abandoned { leader: New }, F::SpawnFailed { .. }) => self.stopped(out),
            (S::Running { since }, F::LeaderExited { exit }) => {
                self.ended_by_itself(now, since, exit, out);
            }
            (
                S::Stopping {
                    since,
                    leader: Alive,
                }
                | S::Killed {
                    since,
                    leader: Alive,
                },
                F::LeaderExited { exit },
            ) => self.ended_as_asked(now, since, exit, out),
            // Its run was reported as abandoned; one report a run.
            (S::Abandoned { leader: Alive }, F::LeaderExited { .. }) => {
                self.state = S::Abandoned { leader: Dead };
            }
            (S::Stopping { leader: Dead, .. }, F::GroupGone)
            | (S::Killed { leader: Dead, .. } | S::Abandoned { leader: Dead }, F::GroupGone) => {
                self.stopped(out);
            }
            (S::Clearing { start_at }, F::GroupGone) => self.wait_until(now, start_at, out),
            (S::Waiting { .. }, F::Deadline) => self.become_due(out),
            (S::Stopping { since, leader }, F::Deadline) => self.kill(now, since, leader, out),
            (S::Killed { leader, .. }, F::Deadline) => {
                self.state = S::Abandoned { leader };
                self.notify(Change::Abandoned, out);
                let is_start = leader == New && self.goal == Goal::Up;
                if is_start && !out.policy.restart.wants(Exit::Unknown) {
                    self.goal = Goal::Down;
                    out.ended = Some(Exit::Unknown);
                }
            }
            // What cannot be: each a defect of whoever told it.
            (
                S::Inactive | S::Waiting { .. } | S::Due,
                F::Spawned { .. } | F::SpawnFailed { .. } | F::LeaderExited { .. } | F::GroupGone,
            )
            | (S::Inactive | S::Due | S::Spawning | S::Running { .. }, F::Deadline)
            | (S::Clearing { .. } | S::Abandoned { .. }, F::Deadline)
            | (S::Spawning | S::Launching { .. }, F::LeaderExited { .. } | F::GroupGone)
            | (S::Running { .. }, F::Spawned { .. } | F::SpawnFailed { .. } | F::GroupGone)
            | (
                S::Stopping { .. } | S::Clearing { .. },
                F::Spawned { .. } | F::SpawnFailed { .. },
            )
            | (
                S::Killed {
                    leader: Alive | Dead,
                    ..
                }
                | S::Abandoned {
                    leader: Alive | Dead,
                },
                F::Spawned { .. } | F::SpawnFailed { .. },
            )
            | (
                S::Stopping {
                    leader: New | Dead, ..
                }
                | S::Killed {
                    leader: New | Dead, ..
                }
                | S::Abandoned { leader: New | Dead },
                F::LeaderExited { .. },
            )
            | (S::Clearing { .. }, F::LeaderExited { .. })
            | (
                S::Stopping {
                    leader: New | Alive,
                    ..
                }
                | S::Killed {
                    leader: New | Alive,
                    ..
                }
                | S::Abandoned {
                    leader: New | Alive,
                },
                F::GroupGone,
            )
            | (
                S::Inactive
                | S::Waiting { .. }
                | S::Due
                | S::Launching { .. }
                | S::Running { .. }
                | S::Stopping { .. }
                | S::Killed { .. }
                | S::Clearing { .. }
                | S::Abandoned { .. },
                F::SpawnDelayed { .. },
            ) => self.impossible(fact, out),
        }
    }

    /// A wish to be down is a latch: an urgent one is never softened by a later one.
    fn aim(&mut self, wish: Wish) {
        self.goal = match (self.goal, wish) {
            (_, Wish::Start) => Goal::Up,
            (Goal::DownNow, Wish::Stop) | (_, Wish::Kill) => Goal::DownNow,
            (Goal::Up | Goal::Down, Wish::Stop) => Goal::Down,
        };
    }

    fn become_due(&mut self, out: &mut Effects<'_>) {
        self.state = State::Due;
        out.starts.push_back(self.id);
    }

    fn wait_until(&mut self, now: Moment, until: Moment, out: &mut Effects<'_>) {
        if until <= now {
            return self.become_due(out);
        }
        self.state = State::Waiting { until };
        out.timers.arm(self.id, until);
    }

    /// If it is not wanted any more, `deadline` is when it has to have stopped: a stop that came
    /// while it was launched has set one already.
    fn spawned(&mut self, now: Moment, at: Moment, deadline: Moment, out: &mut Effects<'_>) {
        self.state = State::Running { since: at };
        self.notify(Change::Started, out);
        if self.goal != Goal::Up {
            self.stop(now, at, deadline, out);
        }
    }

    /// The answer to the start comes first, as long as it comes in time: what has not executed
    /// anything yet has nothing to clean up, but a signal of ours may meet it when it has.
    fn stop_launch(&mut self, now: Moment, until: Moment, stop_by: Moment, out: &mut Effects<'_>) {
        let timeout = out.policy.stop_timeout;
        let at_once = self.goal == Goal::DownNow || out.policy.stop_signal == SIGKILL;
        if at_once || timeout.is_zero() {
            return self.kill(now, now, Leader::New, out);
        }
        let stop_by = stop_by.min(now.after(timeout));
        self.state = State::Launching { until, stop_by };
        out.timers.arm(self.id, until.min(stop_by));
    }

    /// The failed try is a failed run: the same backoff, unless nobody wants it any more.
    fn start_failed(&mut self, at: Moment, out: &mut Effects<'_>) {
        if self.goal == Goal::Up && out.policy.restart.wants(Exit::Unknown) {
            let delay = self.delay.after_failed_start(&out.policy.backoff);
            self.notify(
                Change::StartFailed {
                    retry_in: Some(delay),
                },
                out,
            );
            return self.wait_until(at, at.after(delay), out);
        }
        self.state = State::Inactive;
        self.notify(Change::StartFailed { retry_in: None }, out);
        if self.goal == Goal::Up {
            self.goal = Goal::Down;
            out.ended = Some(Exit::Unknown);
        }
    }

    /// An exit that nobody asked for. The rest of the group goes at once, while the dead leader
    /// still pins its number.
    fn ended_by_itself(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        let uptime = now.since(since);
        self.signal(SIGKILL, out);
        let retry_in = out
            .policy
            .restart
            .wants(exit)
            .then(|| self.delay.after_run(&out.policy.backoff, uptime));
        self.notify(
            Change::Exited {
                exit,
                uptime,
                asked: false,
                retry_in,
            },
            out,
        );
        if let Some(delay) = retry_in {
            self.state = State::Clearing {
                start_at: now.after(delay),
            };
            return;
        }
        self.goal = Goal::Down;
        self.await_death(now, since, Leader::Dead, out);
        out.ended = Some(exit);
    }

    /// An exit in answer to a stop. The rest of the group keeps its grace.
    fn ended_as_asked(&mut self, now: Moment, since: Moment, exit: Exit, out: &mut Effects<'_>) {
        if let State::Stopping { leader, .. } | State::Killed { leader, .. } = &mut self.state {
            *leader = Leader::Dead;
        }
        let change = Change::Exited {
            exit,
            uptime: now.since(since),
            asked: true,
            retry_in: None,
        };
        self.notify(change, out);
    }

    /// Its group is gone after a stop. If it was wanted again meanwhile, it comes back.
    fn stopped(&mut self, out: &mut Effects<'_>) {
        out.timers.disarm(self.id);
        self.state = State::Inactive;
        if self.goal == Goal::Up {
            self.become_due(out);
        }
    }

    /// Asks the group to stop: the signal, then SIGCONT, so that a stopped process sees it.
    fn stop(&mut self, now: Moment, since: Moment, deadline: Moment, out: &mut Effects<'_>) {
        if self.goal == Goal::DownNow || out.policy.stop_signal == SIGKILL {
            return self.kill(now, since, Leader::Alive, out);
        }
        let timeout = out.policy.stop_timeout;
        self.signal(out.policy.stop_signal, out);
        self.signal(SIGCONT, out);
        self.notify(
            Change::Stopping {
                signal: out.policy.stop_signal,
                timeout,
            },
            out,
        );
        if timeout.is_zero() {
            return self.kill(now, since, Leader::Alive, out);
        }
        self.state = State::Stopping {
            since,
            leader: Leader::Alive,
        };
        out.timers.arm(self.id, deadline.min(now.after(timeout)));
    }

    fn kill(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.signal(SIGKILL, out);
        self.notify(Change::Killed, out);
        self.await_death(now, since, leader, out);
    }

    fn await_death(&mut self, now: Moment, since: Moment, leader: Leader, out: &mut Effects<'_>) {
        self.state = State::Killed { since, leader };
        out.timers.arm(self.id, now.after(ABANDON_AFTER));
    }

    fn signal(&self, signal: i32, out: &mut Effects<'_>) {
        out.orders.push_back(Order::Signal {
            run: self.run(),
            signal,
        });
    }

    fn notify(&self, change: Change, out: &mut Effects<'_>) {
        out.orders.push_back(Order::Notify {
            run: self.run(),
            change,
        });
    }

    /// In a test this is a failure; in production it is said, and supervision goes on.
    fn impossible(&self, fact: Fact, out: &mut Effects<'_>) {
        debug_assert!(
            false,
            "{:?} cannot be told {fact:?} in {:?}",
            self.id, self.state
        );
        self.notify(Change::Impossible, out);
    }
}
