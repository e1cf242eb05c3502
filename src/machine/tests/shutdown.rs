//! A stop of everything that has a deadline of its own.

use super::*;

/// One program that is stopped, with so long for its stop and for everything.
fn stopped(stop_timeout: Duration, shutdown: Duration) -> (Desk, Run) {
    let (mut desk, run) = Desk::running(Policy {
        stop_timeout,
        ..policy()
    });
    desk.machine.set_shutdown_timeout(Some(shutdown));
    desk.command(Command::StopAll);
    (desk, run)
}

/// It woke its caller long after the end.
#[test]
fn a_shutdown_that_is_over_has_no_deadline() {
    let (mut desk, run) = stopped(secs(10), secs(8));
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(secs(7))));
    desk.exit(run, CLEAN);
    desk.gone(run);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
    desk.pass(secs(60));
    assert_eq!(desk.timeout(), []);
}

/// One second before its end, or at its half, if that is later. Three tenths of the rest are left
/// to tell of what was abandoned.
#[test]
fn a_shutdown_kills_everything_before_its_end() {
    for (shutdown, kill_in) in [
        (secs(8), secs(7)),
        (secs(2), secs(1)),
        (millis(1_500), millis(750)),
        (secs(1), millis(500)),
        (ZERO, ZERO),
    ] {
        let end_in = shutdown - (shutdown - kill_in) * 3 / 10;
        let (mut desk, run) = stopped(secs(60), shutdown);
        let begin = desk.now;
        assert_eq!(
            desk.machine.next_deadline(),
            Some(begin.after(kill_in)),
            "{shutdown:?}"
        );
        let mut told = desk.timeout_at_deadline();
        if !shutdown.is_zero() {
            assert!(!desk.machine.is_settled());
            assert_eq!(told.len(), 2);
            told.extend(desk.timeout_at_deadline());
        }
        assert_eq!(desk.now.since(begin), end_in);
        let killed = [signal(run, 9), note(run, Change::Killed)];
        assert_eq!(told[..2], killed, "{shutdown:?}");
        assert_eq!(
            told[2..],
            [note(
                run,
                Change::Abandoned {
                    cause: Cause::Shutdown
                }
            )],
            "{shutdown:?}"
        );
        assert!(desk.machine.is_settled());
        assert_eq!(desk.machine.next_deadline(), None);
    }
}

#[test]
fn what_ends_in_time_is_not_killed() {
    let (mut desk, run) = stopped(secs(3), secs(8));
    assert_eq!(
        signals(&desk.timeout_at_deadline()),
        [9],
        "its own time is shorter"
    );
    desk.exit(run, CRASH);
    desk.gone(run);
    assert!(desk.machine.is_settled());
}

/// Its abandonment would have been later than the end of everything.
#[test]
fn everything_is_settled_at_the_end() {
    let policies = [
        policy(),
        Policy {
            stop_timeout: millis(7_500),
            ..policy()
        },
        restarted(Restart::Never),
        policy(),
    ];
    let (mut desk, runs) = Desk::all_running(&policies);
    desk.machine.set_shutdown_timeout(Some(secs(8)));
    desk.exit(runs[2], CRASH);
    desk.exit(runs[3], CRASH);
    let begin = desk.now;
    desk.command(Command::StopAll);
    while !desk.machine.is_settled() {
        desk.timeout_at_deadline();
    }
    assert_eq!(desk.now.since(begin), millis(7_700));
    for &run in &runs[..2] {
        assert_eq!(desk.exit(run, CRASH), [], "it was reported");
    }
    for &run in &runs {
        assert_eq!(desk.gone(run), []);
    }
}

#[test]
fn a_second_stop_or_a_kill_does_not_move_the_end() {
    for second in [Command::StopAll, Command::KillAll] {
        let (mut desk, _) = stopped(secs(60), secs(3));
        let begin = desk.now;
        desk.pass(secs(1));
        desk.command(second);
        while !desk.machine.is_settled() {
            desk.timeout_at_deadline();
        }
        assert_eq!(desk.now.since(begin), millis(2_700), "{second:?}");
    }
}

#[test]
fn the_end_of_an_essential_program_begins_a_shutdown_with_its_time() {
    let (mut desk, runs) = Desk::all_running(&[essential(Restart::Never), policy()]);
    desk.machine.set_shutdown_timeout(Some(secs(4)));
    desk.exit(runs[0], CRASH);
    desk.gone(runs[0]);
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(secs(3))));
    assert_eq!(signals(&desk.timeout_at_deadline()), [9]);
}

#[test]
fn a_stop_of_one_program_is_no_shutdown() {
    let (mut desk, _) = Desk::running(policy());
    desk.machine.set_shutdown_timeout(Some(secs(4)));
    desk.command(Command::Stop(id(0)));
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(secs(10))));
}
