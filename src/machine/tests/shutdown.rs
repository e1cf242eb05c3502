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
