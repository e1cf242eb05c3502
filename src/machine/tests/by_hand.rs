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
    assert_eq!(
        told,
        [note(
            run,
            Change::StartFailed {
                cause: Cause::StartFailed,
                retry_in
            }
        )]
    );
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

fn asked(run: Run) -> [Order; 3] {
    let (signal, timeout) = (15, secs(10));
    [
        super::signal(run, signal),
        super::signal(run, 18),
        note(run, Change::Stopping { signal, timeout }),
    ]
}

/// The report of a run that was asked to end.
fn ended(run: Run, cause: Cause) -> Order {
    let exited = Change::Exited {
        exit: CLEAN,
        uptime: ZERO,
        cause,
        retry_in: None,
    };
    note(run, exited)
}

#[test]
fn a_stop_of_one_program_leaves_the_others_alone() {
    let (mut desk, runs) = Desk::all_running(&[policy(); 3]);
    assert_eq!(desk.command(Command::Stop(id(1))), asked(runs[1]));
    assert_eq!(desk.command(Command::Stop(id(1))), [], "once");
    assert!(!desk.machine.is_stopping());
    assert_eq!(desk.exit(runs[1], CLEAN), [ended(runs[1], Cause::Operator)]);
    desk.gone(runs[1]);
    let view = desk.view(1);
    assert_eq!(
        (view.state, view.goal, view.why),
        (State::Inactive, Goal::Down, Why::Stopped)
    );
    for other in [0, 2] {
        assert_eq!(desk.state(other), State::Running { since: desk.now });
    }
    desk.command(Command::Start(id(1)));
    assert_eq!(desk.spawn().generation, 2);
}

#[test]
fn a_kill_of_one_program_is_at_once_and_for_good() {
    let (mut desk, run) = Desk::running(policy());
    let killed = [signal(run, 9), note(run, Change::Killed)];
    assert_eq!(desk.command(Command::Kill(id(0))), killed);
    assert_eq!(desk.command(Command::Kill(id(0))), []);
    assert_eq!(desk.exit(run, CLEAN), [ended(run, Cause::Operator)]);
    desk.gone(run);
    assert!(desk.machine.is_settled());
    desk.command(Command::Start(id(0)));
    let run = desk.spawn();
    assert_eq!(
        desk.command(Command::Stop(id(0))),
        asked(run),
        "a kill is not remembered"
    );
}

#[test]
fn a_stop_in_the_delay_is_at_once_and_no_start_slips_through() {
    let (mut desk, run) = Desk::running(policy());
    desk.end(run, CRASH);
    desk.command(Command::Stop(id(0)));
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
    desk.command(Command::Start(id(0)));
    desk.command(Command::Stop(id(0)));
    assert!(desk.machine.next_start().is_none(), "nor when it was due");
}

#[test]
fn what_has_ended_becomes_stopped_by_a_stop() {
    for exit in [CLEAN, CRASH] {
        let (mut desk, run) = Desk::running(restarted(Restart::Never));
        desk.end(run, exit);
        assert_ne!(desk.view(0).why, Why::Stopped);
        assert_eq!(desk.command(Command::Stop(id(0))), []);
        assert_eq!(desk.view(0).why, Why::Stopped);
    }
    let (mut desk, run) = Desk::running(restarted(Restart::Never));
    desk.end(run, CRASH);
    desk.command(Command::StopAll);
    assert_eq!(desk.view(0).why, Why::Failed, "a shutdown is no stop of it");
}

#[test]
fn a_stop_by_hand_of_an_essential_program_ends_nothing_else() {
    let essential = essential(Restart::Never);
    let (mut desk, runs) = Desk::all_running(&[policy(), essential]);
    desk.command(Command::Stop(id(1)));
    desk.exit(runs[1], CLEAN);
    desk.gone(runs[1]);
    assert!(!desk.machine.is_stopping());
    assert_eq!(desk.machine.essential_ended(), None);
}

/// It was counted as a crash, and waited for a delay.
#[test]
fn a_restart_stops_and_starts_without_a_delay() {
    let (mut desk, run) = Desk::running(restarted(Restart::Never));
    assert_eq!(desk.command(Command::Restart(id(0))), asked(run));
    assert_eq!(desk.command(Command::Restart(id(0))), [], "once");
    assert_eq!(desk.exit(run, CLEAN), [ended(run, Cause::Operator)]);
    assert!(desk.machine.next_start().is_none(), "its group is there");
    desk.gone(run);
    let run = desk.spawn();
    assert_eq!((run.generation, desk.view(0).restarts_in_row), (2, 0));
}

/// Each state from which it is not started at once, and how to get there.
#[test]
fn a_restart_in_every_state_ends_in_a_new_run() {
    type Way = fn(&mut Desk, Run);
    let ways: [(&str, Way); 8] = [
        ("in its delay", |desk, run| {
            desk.end(run, CRASH);
        }),
        ("clearing", |desk, run| {
            desk.exit(run, CRASH);
        }),
        ("stopping", |desk, _| {
            desk.command(Command::Stop(id(0)));
        }),
        ("killed", |desk, _| {
            desk.command(Command::Kill(id(0)));
        }),
        ("stopped, its leader dead", |desk, run| {
            desk.command(Command::Stop(id(0)));
            desk.exit(run, CLEAN);
        }),
        ("abandoned", |desk, _| {
            desk.command(Command::Kill(id(0)));
            desk.timeout_at_deadline();
        }),
        ("stopped", |desk, run| {
            desk.command(Command::Stop(id(0)));
            desk.exit(run, CLEAN);
            desk.gone(run);
        }),
        ("sick", |desk, run| {
            desk.tell(Input::Unhealthy { run });
        }),
    ];
    for (what, go) in ways {
        let (mut desk, run) = Desk::running(policy());
        go(&mut desk, run);
        desk.command(Command::Restart(id(0)));
        assert!(!desk.machine.is_settled(), "{what}");
        if desk.view(0).state != State::Due {
            if !matches!(what, "clearing" | "stopped, its leader dead") {
                desk.exit(run, CLEAN);
            }
            assert!(desk.machine.next_start().is_none(), "{what}: too early");
            desk.gone(run);
        }
        assert_eq!(desk.spawn().generation, 2, "{what}");
        assert_eq!(desk.machine.next_deadline(), None, "{what}");
    }
}

#[test]
fn a_restart_of_a_late_start_kills_it_and_starts_anew() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    let killed = [signal(run, 9), note(run, Change::Killed)];
    assert_eq!(desk.command(Command::Restart(id(0))), killed);
    let told = desk.tell(Input::SpawnFailed { run, at: desk.now });
    assert_eq!(
        told,
        [note(
            run,
            Change::StartFailed {
                cause: Cause::Operator,
                retry_in: None
            }
        )]
    );
    assert_eq!(desk.spawn().generation, 2);
}

/// A start in that moment was dropped, and the program waited for the rest of its delay.
#[test]
fn a_start_while_leftovers_die_comes_as_soon_as_they_are_gone() {
    let (mut desk, run) = Desk::running(policy());
    desk.exit(run, CRASH);
    assert_eq!(desk.command(Command::Start(id(0))), []);
    assert!(desk.machine.next_start().is_none(), "they are there");
    desk.gone(run);
    let run = desk.spawn();
    assert_eq!(desk.end(run, CRASH), Some(secs(1)), "and it is forgiven");
}

#[test]
fn nothing_is_restarted_after_a_stop_of_everything() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    for command in [Command::Restart(id(0)), Command::Start(id(0))] {
        assert_eq!(desk.command(command), []);
    }
    desk.exit(run, CLEAN);
    desk.gone(run);
    assert!(desk.machine.is_settled());
    assert!(desk.machine.next_start().is_none());
}

#[test]
fn a_command_for_a_program_that_is_not_there_does_nothing() {
    let (mut desk, _) = Desk::running(policy());
    let gone = id(7);
    for command in [
        Command::Start(gone),
        Command::Stop(gone),
        Command::Restart(gone),
        Command::Kill(gone),
        Command::Remove(gone),
    ] {
        assert_eq!(desk.command(command), []);
        assert_eq!(desk.machine.view(gone), None);
    }
}
