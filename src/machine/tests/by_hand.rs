//! Commands for one program, in every moment of its life.

use super::*;

/// It was ended for a fault, and its policy was not to restart it: the start that was asked for
/// meanwhile was lost.
#[test]
fn a_start_while_a_run_is_ended_for_a_fault_is_not_lost() {
    let (mut desk, run) = Desk::running(restarted(Restart::Never));
    desk.tell(Input::Unhealthy { run });
    assert_eq!(desk.command(Command::Start(id(0))), []);
    let told = desk.exit(run, CRASH);
    let exited = Change::Exited {
        exit: CRASH,
        uptime: ZERO,
        cause: Cause::Unhealthy,
        retry_in: Some(ZERO),
    };
    assert_eq!(told, [signal(run, 9), note(run, exited)]);
    desk.gone(run);
    let run = desk.spawn();
    assert_eq!(
        desk.end(run, CRASH),
        None,
        "and after that its policy decides"
    );
}

#[test]
fn a_start_while_a_late_start_is_killed_is_not_lost() {
    let (mut desk, run) = Desk::spawning(restarted(Restart::Never));
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.timeout_at_deadline();
    desk.command(Command::Start(id(0)));
    let told = desk.tell(Input::SpawnFailed { run, at: desk.now });
    let retry_in = Some(ZERO);
    assert_eq!(told, [note(run, Change::StartFailed { retry_in })]);
    assert_eq!(desk.spawn().generation, 2);
}

#[test]
fn a_stop_takes_back_a_start_that_waits_for_the_end_of_a_fault() {
    let (mut desk, run) = Desk::running(policy());
    desk.tell(Input::Unhealthy { run });
    desk.command(Command::Start(id(0)));
    desk.command(Command::Stop(id(0)));
    desk.exit(run, CRASH);
    desk.gone(run);
    assert_eq!(desk.state(0), State::Inactive);
    assert!(desk.machine.next_start().is_none());
}
