//! Deadlines against a clock that stalls, jumps and is read late.

use super::*;

/// A small generator, so that a failure comes back.
fn random(state: &mut u64) -> u64 {
    *state ^= *state << 13;
    *state ^= *state >> 7;
    *state ^= *state << 17;
    *state
}

/// The next start was planned from the last plan instead of from the exit, and after a stall
/// they bunched. Here the gap is the delay at least, and late by no more than the stall.
#[test]
fn museum_99_the_gap_between_exit_and_start_is_never_less_than_the_delay() {
    let (mut desk, mut run) = Desk::running(policy());
    let mut seed = 0x5eed;
    for _ in 0..10_000 {
        desk.pass(Duration::from_nanos(random(&mut seed) % 40_000_000_000));
        let exit = desk.now;
        let delay = desk.end(run, CRASH).expect("always is always");
        let due = desk.machine.next_deadline().expect("it waits");
        assert_eq!(due.since(exit), delay);
        desk.now = desk
            .now
            .max(due.after(millis(1)).min(exit.after(delay / 2)));
        assert_eq!(desk.timeout(), []);
        assert!(
            !desk.machine.has_starts(),
            "half of the delay is not the delay"
        );
        let stall = Duration::from_nanos(random(&mut seed) % 5_000_000_000);
        desk.now = due.after(stall);
        desk.timeout();
        run = desk.spawn();
        assert!(desk.now.since(exit) >= delay && desk.now.since(exit) <= delay + stall);
    }
}

/// Waits were computed from a clock that was set back. The machine has one clock, which its
/// caller hands in, and only differences of it: where the clock begins makes no difference.
#[test]
fn museum_89_the_schedule_is_the_same_wherever_the_clock_begins() {
    let schedule = |begin: Duration| {
        let mut desk = Desk::new(&[policy()]);
        desk.now = Moment::from_origin(begin);
        desk.command(Command::Start(id(0)));
        let mut gaps = Vec::new();
        for n in 0..20 {
            let run = desk.spawn();
            desk.pass(secs(3 * n));
            let exit = desk.now;
            desk.end(run, CRASH);
            desk.timeout_at_deadline();
            gaps.push(desk.now.since(exit));
        }
        gaps
    };
    let ten_years = secs(10 * 365 * 86_400);
    assert_eq!(schedule(ZERO), schedule(ten_years));
    assert_eq!(schedule(ZERO), schedule(20 * ten_years));
}

/// A deadline that passed while the supervisor was stopped fired never, or again and again.
#[test]
fn museum_94_a_deadline_long_past_fires_once() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    desk.pass(secs(86_400));
    assert_eq!(desk.timeout(), [signal(run, 9), note(run, Change::Killed)]);
    assert_eq!(desk.timeout(), []);
    assert_eq!(
        desk.machine.next_deadline(),
        Some(desk.now.after(secs(5))),
        "patience begins now"
    );

    let (mut desk, run) = Desk::running(policy());
    desk.end(run, CRASH);
    desk.pass(secs(86_400));
    desk.timeout();
    desk.timeout();
    desk.spawn();
    assert!(desk.machine.next_start().is_none());
}

#[test]
fn a_deadline_is_due_at_its_nanosecond_and_not_before() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    let due = desk.now.after(secs(10));
    desk.pass(secs(10).saturating_sub(Duration::from_nanos(1)));
    assert_eq!(desk.timeout(), []);
    assert_eq!(
        desk.machine.next_deadline(),
        Some(due),
        "and stays the same between facts"
    );
    desk.now = due;
    assert_eq!(desk.timeout()[0], signal(run, 9));
    desk.pass(secs(5).saturating_sub(Duration::from_nanos(1)));
    assert_eq!(desk.timeout(), []);
    desk.pass(Duration::from_nanos(1));
    assert_eq!(
        desk.timeout(),
        [note(
            run,
            Change::Abandoned {
                cause: Cause::Shutdown
            }
        )]
    );
}

/// Deadlines that had been called off stayed in the heap for a month, and some came true.
#[test]
fn museum_96_a_million_called_off_deadlines_leave_nothing_behind() {
    let (mut desk, mut runs) = Desk::all_running(&[policy(); 10]);
    // Behind an early deadline that stays, the others cannot just be taken off the top.
    desk.end(runs[9], CRASH);
    for round in 0..1_000_000 {
        let slot = round % 9;
        let run = runs[slot];
        desk.end(run, CRASH);
        assert!(desk.machine.deadlines() >= 2, "both wait in round {round}");
        desk.command(Command::Start(run.program));
        runs[slot] = desk.spawn();
        assert!(desk.machine.deadlines() <= 4 * 10, "round {round}");
    }
    desk.pass(secs(86_400));
    assert_eq!(
        desk.timeout(),
        [],
        "no deadline of an earlier run comes true"
    );
    assert_eq!(desk.spawn().program, id(9), "the one that stayed does");
    assert!(!desk.machine.has_starts());
    assert_eq!(desk.machine.next_deadline(), None);
}

/// Equal deadlines came in the order of a hash, another one each time.
#[test]
fn museum_97_equal_deadlines_come_in_the_order_in_which_they_were_set() {
    let order: Vec<usize> = (0..100).map(|index| (index * 37) % 100).collect();
    for _ in 0..1_000 {
        let (mut desk, runs) = Desk::all_running(&[policy(); 100]);
        for &index in &order {
            desk.end(runs[index], CRASH);
        }
        desk.timeout_at_deadline();
        let started: Vec<ProgramId> = order.iter().map(|_| desk.spawn().program).collect();
        assert!(
            started
                .iter()
                .zip(&order)
                .all(|(&got, &index)| got == id(index))
        );
    }
}

#[test]
fn programs_start_in_the_order_in_which_they_were_asked_for() {
    let mut desk = Desk::new(&[policy(); 5]);
    for index in [3, 0, 4, 1, 2, 0, 3] {
        desk.command(Command::Start(id(index)));
    }
    let started: Vec<u32> = (0..5).map(|_| desk.spawn().program.0).collect();
    assert_eq!(started, [3, 0, 4, 1, 2]);
    assert!(
        desk.machine.next_start().is_none(),
        "asked twice is started once"
    );
}

/// A fact about an earlier run was taken for one about its successor.
#[test]
fn what_is_late_never_touches_a_successor() {
    let (mut desk, old) = Desk::running(policy());
    desk.end(old, CRASH);
    desk.timeout_at_deadline();
    let new = desk.spawn();
    let view = desk.machine.view(new.program);
    for event in [
        Input::LeaderExited {
            run: old,
            exit: CRASH,
        },
        Input::GroupGone { run: old },
        Input::Spawned {
            run: old,
            at: desk.now,
        },
        Input::SpawnFailed {
            run: old,
            at: desk.now,
        },
        Input::SpawnDelayed {
            run: old,
            at: desk.now,
        },
        Input::Ready { run: old },
        Input::Alive { run: old },
        Input::Unhealthy { run: old },
        Input::Hung { run: old },
        Input::Escaped { run: old },
        Input::EscapedGone { run: old },
        Input::EscapedAbandoned { run: old },
    ] {
        assert_eq!(desk.tell(event), [], "{event:?}");
        assert_eq!(desk.machine.view(new.program), view, "{event:?}");
        assert_eq!(desk.machine.next_deadline(), None, "{event:?}");
    }
}
