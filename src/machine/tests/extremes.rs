//! Values at the ends of their ranges: nothing panics, nothing overflows, nothing spins.

use super::*;

const EXTREMES: [Duration; 4] = [
    ZERO,
    Duration::from_nanos(1),
    Duration::from_secs(u64::MAX),
    Duration::MAX,
];

/// Every policy that can be made of them, and that a specification would let pass.
fn policies() -> impl Iterator<Item = Policy> {
    let pairs = EXTREMES.into_iter().flat_map(|a| EXTREMES.map(|b| (a, b)));
    pairs
        .filter(|(initial, max)| max >= initial)
        .flat_map(|(initial, max)| {
            let pairs = EXTREMES.into_iter().flat_map(|a| EXTREMES.map(|b| (a, b)));
            pairs.map(move |(reset_after, stop_timeout)| Policy {
                backoff: Backoff {
                    initial,
                    max,
                    reset_after,
                },
                stop_timeout,
                ..policy()
            })
        })
}

/// Adding a large configured duration to the clock was a panic elsewhere, or wrapped.
#[test]
fn museum_93_every_duration_may_be_extreme() {
    let mut tried = 0;
    for policy in policies() {
        for begin in [ZERO, secs(1), Duration::MAX] {
            for uptime in EXTREMES {
                live_and_stop(policy, begin, uptime);
                tried += 1;
            }
        }
    }
    assert_eq!(tried, 10 * 16 * 3 * 4);
}

/// A whole life: crashes, failed starts, a stop that is ignored.
fn live_and_stop(policy: Policy, begin: Duration, uptime: Duration) {
    let mut desk = Desk::new(&[policy]);
    desk.now = Moment::from_origin(begin);
    desk.command(Command::Start(id(0)));
    for _ in 0..3 {
        let run = desk.spawn();
        desk.pass(uptime);
        let delay = desk.end(run, CRASH).expect("always is always");
        assert!(policy.backoff.initial <= delay && delay <= policy.backoff.max);
        come_back(&mut desk, delay);
        let delay = desk.fail_to_spawn().expect("always is always");
        assert!(delay >= millis(100));
        come_back(&mut desk, delay);
    }
    let run = desk.spawn();
    let told = desk.command(Command::StopAll);
    if policy.stop_timeout.is_zero() {
        assert_eq!(signals(&told), [15, 18, 9]);
    } else {
        assert_eq!(signals(&told), [15, 18]);
        assert_eq!(
            desk.machine.next_deadline(),
            Some(desk.now.after(policy.stop_timeout))
        );
        assert_eq!(signals(&desk.timeout_at_deadline()), [9]);
    }
    while desk.machine.next_deadline().is_some() {
        desk.timeout_at_deadline();
    }
    assert_eq!(
        desk.state(0),
        State::Abandoned {
            leader: state::Leader::Alive
        }
    );
    desk.exit(run, CRASH);
    desk.gone(run);
    assert!(desk.machine.is_settled());
}

/// Exactly the delay later, and not a nanosecond before: but never later than the end of time.
fn come_back(desk: &mut Desk, delay: Duration) {
    let due = desk.now.after(delay);
    if due > desk.now {
        assert_eq!(desk.machine.next_deadline(), Some(due));
        assert!(!desk.machine.has_starts());
        desk.timeout_at_deadline();
    }
    assert!(desk.machine.has_starts());
}

/// A deadline sixty days away was an error or an endless sleep; one that never comes is one
/// that sorts last.
#[test]
fn museum_92_a_deadline_that_never_comes_hides_no_other() {
    let never = Policy {
        stop_timeout: secs(u64::MAX),
        ..policy()
    };
    let (mut desk, runs) = Desk::all_running(&[never, policy(), never]);
    desk.command(Command::StopAll);
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(secs(10))));
    assert_eq!(signals(&desk.timeout_at_deadline()), [9]);
    for (index, &run) in runs.iter().enumerate() {
        assert!(!desk.machine.is_settled(), "program {index} still runs");
        desk.exit(run, CRASH);
        desk.gone(run);
    }
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
}

#[test]
fn the_end_of_time_is_reached_without_a_spin() {
    let (mut desk, _) = Desk::all_running(&[policy(); 50]);
    desk.command(Command::StopAll);
    desk.now = Moment::NEVER;
    let told = desk.timeout();
    assert_eq!(
        told.len(),
        50 * 3,
        "killed, said so, and given up: once each"
    );
    assert!(desk.machine.is_settled());
}

/// A counter wrapped, or grew beyond what its readers could hold.
#[test]
fn museum_108_a_number_of_starts_saturates() {
    let mut desk = Desk::new(&[policy()]);
    let child = desk.machine.children.get_mut(id(0));
    child.expect("it was added").starts = u64::MAX - 1;
    desk.command(Command::Start(id(0)));
    for _ in 0..3 {
        let run = desk.spawn();
        assert_eq!(run.generation, u64::MAX);
        desk.end(run, CRASH);
        desk.timeout_at_deadline();
    }
}

/// A list that doubles as it grows would keep room for twice as many.
#[test]
fn a_machine_has_room_for_its_programs_and_no_more() {
    let mut machine = Machine::with_capacity(100);
    for _ in 0..100 {
        machine
            .add(Moment::default(), policy())
            .expect("an id is left");
    }
    assert_eq!(machine.children.capacity(), 100);
}
