//! The delays before restarts, as a whole machine keeps them.

use super::*;

/// The default backoff, in seconds, at the n-th restart.
fn table(n: usize) -> Duration {
    secs([1, 2, 4, 8, 16, 32].get(n).copied().unwrap_or(60))
}

/// Takes the machine over the delay, and says how long that was.
fn wait(desk: &mut Desk) -> Duration {
    let from = desk.now;
    assert!(
        !desk.machine.has_starts(),
        "nothing starts before its delay is over"
    );
    assert_eq!(desk.timeout_at_deadline(), []);
    desk.now.since(from)
}

/// Shell arithmetic elsewhere shifted 1 by the number of failures, and the delay was 0 again
/// after the thirty-second; others counted the time spent waiting as time spent running.
#[test]
fn museum_100_a_hundred_thousand_crashes_are_1_2_4_8_16_32_60_for_ever() {
    let (mut desk, mut run) = Desk::running(policy());
    for n in 0..100_000 {
        desk.pass(millis(3));
        assert_eq!(desk.end(run, CRASH), Some(table(n)));
        assert_eq!(wait(&mut desk), table(n), "restart {n}");
        run = desk.spawn();
    }
    assert_eq!(desk.view(0).starts, 100_001);
}

#[test]
fn a_hundred_thousand_failed_starts_follow_the_same_table() {
    let mut desk = Desk::starting(policy());
    for n in 0..100_000 {
        assert_eq!(desk.fail_to_spawn(), Some(table(n)));
        assert_eq!(wait(&mut desk), table(n), "restart {n}");
    }
}

/// Container runtimes retried a missing command at a flat rate, for ever.
#[test]
fn museum_5_a_missing_command_is_tried_at_0_1_3_7_15_31_63_123_183() {
    let mut desk = Desk::new(&[policy()]);
    let begin = desk.now;
    desk.command(Command::Start(id(0)));
    let mut tries = Vec::new();
    while desk.now.since(begin) < secs(600) {
        tries.push(desk.now.since(begin).as_secs());
        desk.fail_to_spawn();
        wait(&mut desk);
    }
    assert_eq!(
        tries,
        [
            0, 1, 3, 7, 15, 31, 63, 123, 183, 243, 303, 363, 423, 483, 543
        ]
    );
}

#[test]
fn crashes_and_failed_starts_are_one_sequence() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
    wait(&mut desk);
    assert_eq!(desk.fail_to_spawn(), Some(secs(2)));
    wait(&mut desk);
    let run = desk.spawn();
    assert_eq!(desk.end(run, CRASH), Some(secs(4)));
}

/// Restarted at once after the first crash, or after twice the first delay.
#[test]
fn museum_101_the_very_first_exit_waits_the_first_delay() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
    assert_eq!(wait(&mut desk), secs(1));
}

/// A run of 29.999 s keeps the delay, one of 30.000 s resets it, whatever was waited before.
#[test]
fn museum_102_the_reset_is_at_thirty_seconds_of_running() {
    for (uptime, expected) in [(29_999, 8), (30_000, 1), (30_001, 1)] {
        let (mut desk, mut run) = Desk::running(policy());
        for n in 0..3 {
            desk.end(run, CRASH);
            assert_eq!(wait(&mut desk), table(n));
            run = desk.spawn();
        }
        desk.pass(millis(uptime));
        assert_eq!(
            desk.end(run, CRASH),
            Some(secs(expected)),
            "after {uptime} ms"
        );
        wait(&mut desk);
        let run = desk.spawn();
        assert_eq!(
            desk.end(run, CRASH),
            Some(secs(2 * expected)),
            "and doubles from there"
        );
    }
}

/// One nanosecond less is less; and the start's own moment counts, not that of its turn.
#[test]
fn uptime_runs_from_the_moment_of_the_start() {
    for (lacking, expected) in [(1, 2), (0, 1)] {
        let (mut desk, run) = Desk::running(policy());
        desk.end(run, CRASH);
        wait(&mut desk);
        let run = desk.machine.next_start().expect("a start is due");
        let at = desk.now.after(millis(700));
        desk.tell(Input::Spawned { run, at });
        desk.now = at.after(secs(30).saturating_sub(Duration::from_nanos(lacking)));
        assert_eq!(
            desk.end(run, CRASH),
            Some(secs(expected)),
            "{lacking} ns before thirty seconds"
        );
    }
}

#[test]
fn a_failed_start_never_counts_as_running_however_long_it_took() {
    let mut desk = Desk::starting(policy());
    assert_eq!(desk.fail_to_spawn(), Some(secs(1)));
    wait(&mut desk);
    desk.pass(secs(3_600));
    assert_eq!(desk.fail_to_spawn(), Some(secs(2)));
}

#[test]
fn a_failed_start_waits_a_tenth_of_a_second_even_where_a_crash_waits_nothing() {
    let backoff = Backoff {
        initial: ZERO,
        ..Backoff::default()
    };
    let mut desk = Desk::starting(Policy {
        backoff,
        ..policy()
    });
    assert_eq!(desk.fail_to_spawn(), Some(millis(100)));
    assert_eq!(wait(&mut desk), millis(100));
    let run = desk.spawn();
    assert_eq!(desk.end(run, CRASH), Some(ZERO));
    assert!(desk.machine.has_starts(), "at once");
}

/// Exit 0 in a loop was a hot loop, or was never started again.
#[test]
fn museum_104_exit_0_follows_the_policy_and_the_same_backoff() {
    let (mut desk, mut run) = Desk::running(policy());
    for n in 0..20 {
        assert_eq!(desk.end(run, CLEAN), Some(table(n)));
        wait(&mut desk);
        run = desk.spawn();
    }
    let (mut desk, run) = Desk::running(restarted(Restart::OnFailure));
    assert_eq!(desk.end(run, CLEAN), None);
    assert!(desk.machine.is_settled());
    assert!(!desk.machine.is_stopping(), "it is not essential");
}

/// The delay held only while it was "starting"; once "up", it crashed in a hot loop.
#[test]
fn museum_105_a_crash_five_milliseconds_after_the_start_still_waits() {
    let (mut desk, mut run) = Desk::running(policy());
    for n in 0..20 {
        desk.pass(millis(5));
        assert_eq!(desk.end(run, CRASH), Some(table(n)));
        wait(&mut desk);
        run = desk.spawn();
    }
}

#[test]
fn an_exit_is_restarted_as_its_policy_says() {
    let killed = Exit::Signal {
        signal: 9,
        core_dumped: false,
    };
    for (restart, exit, again) in [
        (Restart::Always, CLEAN, true),
        (Restart::Always, killed, true),
        (Restart::OnFailure, CLEAN, false),
        (Restart::OnFailure, CRASH, true),
        (Restart::OnFailure, killed, true),
        (Restart::OnFailure, Exit::Unknown, true),
        (Restart::Never, CRASH, false),
        (Restart::Never, Exit::Unknown, false),
    ] {
        let (mut desk, run) = Desk::running(restarted(restart));
        assert_eq!(
            desk.end(run, exit).is_some(),
            again,
            "{restart:?} after {exit:?}"
        );
        assert_eq!(
            desk.machine.is_settled(),
            !again,
            "{restart:?} after {exit:?}"
        );
    }
    for (restart, again) in [
        (Restart::Always, true),
        (Restart::OnFailure, true),
        (Restart::Never, false),
    ] {
        let mut desk = Desk::starting(restarted(restart));
        assert_eq!(
            desk.fail_to_spawn().is_some(),
            again,
            "{restart:?} after a failed start"
        );
        assert_eq!(desk.machine.next_deadline().is_some(), again);
    }
}

/// A restart by hand inherited the delay of the last crash. A start that is asked for during the
/// delay is at once, and the sequence begins anew: the operator may have mended it.
#[test]
fn museum_106_a_start_during_the_delay_is_at_once_and_forgives_what_was() {
    let (mut desk, run) = Desk::running(policy());
    desk.end(run, CRASH);
    desk.command(Command::Start(run.program));
    assert_eq!(
        desk.machine.next_deadline(),
        None,
        "the delay is called off"
    );
    let run = desk.spawn();
    assert!(desk.machine.next_start().is_none(), "once");
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
}
