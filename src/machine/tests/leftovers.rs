//! What a run leaves behind, and what does not die.

use super::super::state::Leader;
use super::*;

const PATIENCE: Duration = Duration::from_secs(5);

/// The leftovers are killed while the dead leader pins their number, and nothing starts next
/// to them.
#[test]
fn the_next_start_waits_until_the_leftovers_are_gone() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(
        signals(&desk.exit(run, CRASH)),
        [9],
        "in answer to the exit"
    );
    assert_eq!(
        desk.machine.next_deadline(),
        None,
        "nothing to wait for but the group"
    );
    desk.pass(secs(3));
    assert_eq!(desk.timeout(), []);
    assert!(!desk.machine.has_starts());
    assert_eq!(desk.gone(run), []);
    assert!(desk.machine.has_starts(), "the delay was over meanwhile");

    let (mut desk, run) = Desk::running(policy());
    desk.exit(run, CRASH);
    let due = desk.now.after(secs(1));
    desk.pass(millis(400));
    desk.gone(run);
    assert!(!desk.machine.has_starts());
    assert_eq!(
        desk.machine.next_deadline(),
        Some(due),
        "the rest of the delay"
    );
}

#[test]
fn leftovers_that_do_not_die_are_given_up_five_seconds_after_a_stop() {
    let (mut desk, run) = Desk::running(policy());
    desk.exit(run, CRASH);
    desk.pass(secs(60));
    assert_eq!(
        desk.command(Command::StopAll),
        [],
        "they have their SIGKILL"
    );
    assert!(!desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(PATIENCE)));
    assert_eq!(
        desk.timeout_at_deadline(),
        [note(run, Change::Abandoned { cause: Cause::Exit })]
    );
    assert!(desk.machine.is_settled());
    assert_eq!(desk.gone(run), []);
    assert_eq!(desk.state(0), State::Inactive);
    assert!(desk.machine.next_start().is_none());
}

#[test]
fn leftovers_that_die_after_a_stop_leave_nothing_to_wait_for() {
    let (mut desk, run) = Desk::running(policy());
    desk.exit(run, CRASH);
    desk.command(Command::StopAll);
    assert_eq!(desk.gone(run), []);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
}

/// One report a run: the abandonment was it.
#[test]
fn what_was_given_up_and_dies_after_all_is_not_reported_again() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    desk.timeout_at_deadline();
    assert_eq!(
        desk.timeout_at_deadline(),
        [note(
            run,
            Change::Abandoned {
                cause: Cause::Shutdown
            }
        )]
    );
    assert!(desk.machine.is_settled());
    assert_eq!(
        desk.state(0),
        State::Abandoned {
            leader: Leader::Alive
        }
    );
    assert_eq!(desk.exit(run, CRASH), []);
    assert_eq!(desk.gone(run), []);
    assert_eq!(desk.state(0), State::Inactive);
}

/// A program had ended, its leftovers survived SIGKILL, and it was started again meanwhile: that
/// start was forgotten when they were abandoned, and a start after that was called impossible.
#[test]
fn a_start_that_is_asked_for_while_leftovers_do_not_die_is_held() {
    let never = restarted(Restart::Never);
    for early in [true, false] {
        let (mut desk, run) = Desk::running(never);
        assert_eq!(signals(&desk.exit(run, CRASH)), [9]);
        if early {
            assert_eq!(desk.command(Command::Start(run.program)), []);
        }
        assert_eq!(
            desk.timeout_at_deadline(),
            [note(run, Change::Abandoned { cause: Cause::Exit })]
        );
        if !early {
            assert!(desk.machine.is_settled());
            assert_eq!(desk.command(Command::Start(run.program)), []);
        }
        assert!(!desk.machine.has_starts(), "never two runs");
        assert!(!desk.machine.is_settled(), "it is going to start");
        assert_eq!(desk.gone(run), []);
        assert_eq!(desk.spawn().generation, 2);
    }
}

#[test]
fn a_stop_takes_back_a_start_that_is_held() {
    let never = restarted(Restart::Never);
    let (mut desk, run) = Desk::running(never);
    desk.exit(run, CRASH);
    desk.timeout_at_deadline();
    desk.command(Command::Start(run.program));
    assert_eq!(desk.command(Command::StopAll), []);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.gone(run), []);
    assert!(desk.machine.next_start().is_none());
}
