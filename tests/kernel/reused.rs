//! A number that two groups of ours have had, one after the other.

use std::time::Duration;

use super::life;
use super::world::{self, Action, Kernel, Moods, Plan, Temper, Weather, Whose};
use crate::model::rng::Rng;
use crate::scheduler::ProcessScheduler;
use crate::spec::ChildSpec;

const MILLISECOND: u64 = 1_000_000;

/// A leader that ends when it is asked to, and one member that does not.
fn with_a_deaf_member() -> Plan {
    let mut plan = Plan::hold(Temper::Dies);
    let member = Plan::hold(Temper::Ignores);
    plan.steps.push((0, Action::Fork(member)));
    plan
}

/// Takes turns until it is so.
fn turn_until(scheduler: &mut ProcessScheduler, what: &str, is_so: impl Fn(&Kernel) -> bool) {
    for _ in 0..1_000 {
        if world::with(|kernel| is_so(kernel)) {
            return;
        }
        let turned = scheduler.step(Some(Duration::from_millis(1)));
        turned.expect("a turn does not fail");
    }
    panic!(
        "in vain: {what}; {}",
        world::with(|kernel| kernel.describe())
    );
}

/// The living member of a run whose leader is dead.
fn member(kernel: &Kernel, run: usize) -> Option<i32> {
    let leader = kernel.runs.get(run)?.pid;
    let mut living = kernel.living();
    let of_it = living.find(|(pid, process)| process.whose == Whose::Run(run) && *pid != leader);
    of_it.map(|(pid, _)| pid)
}

/// Without pidfds a group is known by its number alone. One was empty and had not been probed since,
/// when a program got that number, made a group, and was stopped: its member was killed at the
/// deadline of the other.
pub fn the_deadline_of_a_group_that_is_gone_kills_nothing() {
    let directory = life::directory();
    life::empty(&directory);
    let mut weather = Weather::fair();
    weather.no_pidfd = true;
    let mut moods = Moods::default();
    moods.fair = true;
    let spec = |name: &str, stop_timeout: u64| {
        ChildSpec::new(name, [directory.join("program")])
            .stop_timeout(Duration::from_secs(stop_timeout))
            .autostart(name == "first")
    };
    let specs = [spec("first", 1), spec("other", 1), spec("second", 3_600)];
    let mut kernel = Kernel::new(Rng::new(1), weather, moods, 3);
    kernel.add_programs(&specs);
    for name in ["first", "second"] {
        let index = kernel.index_of(name);
        kernel.programs[index].script = Some(vec![with_a_deaf_member()]);
    }
    world::boot(kernel);
    let builder = ProcessScheduler::builder(&directory).err_dir(&directory);
    let builder = builder
        .programs(specs)
        .safety_sweep(false)
        .error_handler(|_, _| {});
    let mut scheduler = builder.build().expect("nothing fails");
    turn_until(&mut scheduler, "the first", |kernel| {
        member(kernel, 0).is_some()
    });
    scheduler.stop_program("first").expect("it runs");
    let stopped_at = world::with(|kernel| kernel.now);
    // By then it is probed every 100 ms.
    turn_until(&mut scheduler, "half of its time", |kernel| {
        kernel.runs[0].reaped && kernel.now > stopped_at + 500 * MILLISECOND
    });
    let first = world::with(|kernel| {
        let member = member(kernel, 0).expect("it is deaf");
        // Its parent by now is the first process of the system, so that no SIGCHLD comes.
        kernel.hit(member, libc::SIGKILL);
        kernel.runs[0].pid
    });
    for (name, runs) in [("other", 2), ("second", 3)] {
        scheduler.start_program(name).expect("it is down");
        turn_until(&mut scheduler, name, |kernel| kernel.runs.len() == runs);
    }
    turn_until(&mut scheduler, "the second", |kernel| {
        member(kernel, 2).is_some()
    });
    let second = world::with(|kernel| kernel.runs[2].pid);
    assert_eq!(second, first, "it has the number of the first");
    scheduler.stop_program("second").expect("it runs");
    turn_until(&mut scheduler, "the end of its leader", |kernel| {
        kernel.runs[2].reaped
    });
    let began = world::with(|kernel| kernel.now);
    assert!(
        began < stopped_at + 900 * MILLISECOND,
        "too late to prove it"
    );
    turn_until(&mut scheduler, "the deadline of the first", |kernel| {
        kernel.now > stopped_at + 1_500 * MILLISECOND
    });
    let is_left = world::with(|kernel| member(kernel, 2).is_some());
    assert!(is_left, "it has an hour to end");
    drop(scheduler);
    world::halt();
}
