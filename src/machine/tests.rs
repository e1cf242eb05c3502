//! The machine under virtual time: tables, boundaries and old bugs of other supervisors.
//!
//! The clock is an argument, and moves when a test says so. Every order of facts is the matter of
//! `tests/simulation.rs`, which compiles this module too.

use std::time::Duration;

use super::*;

mod backoff;
mod by_hand;
pub mod every;
mod extremes;
mod leftovers;
mod limits;
mod links;
mod oneshots;
mod outcomes;
mod pairs;
mod readiness;
mod removal;
mod shutdown;
mod snapshot;
mod stopping;
mod timing;

const ZERO: Duration = Duration::ZERO;
const CRASH: Exit = Exit::Code(1);
const CLEAN: Exit = Exit::Code(0);

fn secs(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

fn millis(milliseconds: u64) -> Duration {
    Duration::from_millis(milliseconds)
}

/// The default policy.
fn policy() -> Policy {
    Policy::default()
}

fn restarted(restart: Restart) -> Policy {
    Policy {
        restart,
        ..policy()
    }
}

fn essential(restart: Restart) -> Policy {
    Policy {
        essential: true,
        ..restarted(restart)
    }
}

/// A machine, its clock, and a caller that keeps its promises.
struct Desk {
    machine: Machine,
    now: Moment,
}

impl Desk {
    fn new(policies: &[Policy]) -> Self {
        let mut machine = Machine::default();
        let now = Moment::from_origin(secs(1_000));
        for &policy in policies {
            machine.add(now, policy).expect("an id is left");
        }
        Self { machine, now }
    }

    /// One program, to be started now.
    fn starting(policy: Policy) -> Self {
        let mut desk = Self::new(&[policy]);
        desk.command(Command::Start(ProgramId(0)));
        desk
    }

    /// One program whose start is not answered yet.
    fn spawning(policy: Policy) -> (Self, Run) {
        let mut desk = Self::starting(policy);
        let run = desk.machine.next_start().expect("a start is due");
        (desk, run)
    }

    /// One program, started, running since now.
    fn running(policy: Policy) -> (Self, Run) {
        let mut desk = Self::starting(policy);
        let run = desk.spawn();
        (desk, run)
    }

    /// As many programs, all started, all running since now.
    fn all_running(policies: &[Policy]) -> (Self, Vec<Run>) {
        let mut desk = Self::new(policies);
        for index in 0..policies.len() {
            desk.command(Command::Start(id(index)));
        }
        let runs = policies.iter().map(|_| desk.spawn()).collect();
        (desk, runs)
    }

    fn pass(&mut self, time: Duration) {
        self.now = self.now.after(time);
    }

    fn orders(&mut self) -> Vec<Order> {
        std::iter::from_fn(|| self.machine.next_order()).collect()
    }

    fn tell(&mut self, input: Input) -> Vec<Order> {
        self.machine.handle(self.now, input);
        self.orders()
    }

    fn command(&mut self, command: Command) -> Vec<Order> {
        self.tell(Input::Commanded(command))
    }

    fn timeout(&mut self) -> Vec<Order> {
        self.machine.handle_timeout(self.now);
        self.orders()
    }

    /// Moves the clock to the next deadline and lets it pass.
    fn timeout_at_deadline(&mut self) -> Vec<Order> {
        self.now = self.machine.next_deadline().expect("there is a deadline");
        self.timeout()
    }

    /// The next start, and it succeeds.
    fn spawn(&mut self) -> Run {
        let run = self.machine.next_start().expect("a start is due");
        let told = self.tell(Input::Spawned { run, at: self.now });
        assert_eq!(told[0], note(run, Change::Started));
        run
    }

    /// The next start, and it fails; the answer is when it is tried again.
    fn fail_to_spawn(&mut self) -> Option<Duration> {
        let run = self.machine.next_start().expect("a start is due");
        let told = self.tell(Input::SpawnFailed { run, at: self.now });
        match told[0] {
            Order::Notify {
                run: of,
                change: Change::StartFailed { retry_in, .. },
            } if of == run => retry_in,
            other => panic!("a failed start gave {other:?}"),
        }
    }

    fn exit(&mut self, run: Run, exit: Exit) -> Vec<Order> {
        self.tell(Input::LeaderExited { run, exit })
    }

    fn gone(&mut self, run: Run) -> Vec<Order> {
        self.tell(Input::GroupGone { run })
    }

    /// Ends a run without leftovers; returns the delay before its restart.
    fn end(&mut self, run: Run, exit: Exit) -> Option<Duration> {
        let told = self.exit(run, exit);
        assert_eq!(told[0], signal(run, 9), "leftovers are killed at once");
        assert_eq!(self.gone(run), []);
        match told[1] {
            Order::Notify {
                run: of,
                change:
                    Change::Exited {
                        cause: Cause::Exit,
                        retry_in,
                        ..
                    },
            } if of == run => retry_in,
            other => panic!("an exit gave {other:?}"),
        }
    }

    fn state(&self, program: usize) -> State {
        self.view(program).state
    }

    fn view(&self, program: usize) -> View {
        self.machine.view(id(program)).expect("it was not removed")
    }
}

fn id(index: usize) -> ProgramId {
    ProgramId(u32::try_from(index).expect("a small index"))
}

fn signal(run: Run, signal: i32) -> Order {
    Order::Signal { run, signal }
}

fn note(run: Run, change: Change) -> Order {
    Order::Notify { run, change }
}

/// The signals among these orders.
fn signals(orders: &[Order]) -> Vec<i32> {
    let signal = |order: &Order| match *order {
        Order::Signal { signal, .. } => Some(signal),
        Order::Notify { .. } => None,
    };
    orders.iter().filter_map(signal).collect()
}
