//! Stops that come at the wrong moment, twice, or from the program itself.

use super::*;
use crate::machine::child::LAUNCH_TIMEOUT;

const GRACE: Duration = Duration::from_secs(10);
const PATIENCE: Duration = Duration::from_secs(5);

/// The orders of a stop, in their order: SIGCONT follows, so that a stopped process sees it.
fn asked(run: Run, timeout: Duration) -> [Order; 3] {
    [
        signal(run, 15),
        signal(run, 18),
        note(
            run,
            Change::Stopping {
                signal: 15,
                timeout,
            },
        ),
    ]
}

fn killed(run: Run) -> [Order; 2] {
    [signal(run, 9), note(run, Change::Killed)]
}

/// A stopped process never saw its SIGTERM, and was always killed.
#[test]
fn museum_115_cont_follows_the_stop_signal() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.command(Command::StopAll), asked(run, GRACE));
    let (mut desk, _) = Desk::running(Policy {
        stop_signal: 2,
        ..policy()
    });
    assert_eq!(signals(&desk.command(Command::StopAll)), [2, 18]);
    assert_eq!(desk.view(0).starts, 1);
}

/// The respawn timer of a program in its delay fired during the shutdown, and the supervisor
/// left one more behind.
#[test]
fn museum_110_a_stop_during_the_delay_starts_nothing_any_more() {
    let (mut desk, run) = Desk::running(policy());
    desk.end(run, CRASH);
    assert_eq!(desk.command(Command::StopAll), []);
    assert!(desk.machine.is_settled(), "at once");
    assert_eq!(desk.machine.next_deadline(), None);
    desk.pass(secs(86_400));
    assert_eq!(desk.timeout(), []);
    assert!(!desk.machine.has_starts());
    assert!(desk.machine.next_start().is_none());
}

#[test]
fn a_stop_takes_back_the_starts_that_were_not_asked_for_yet() {
    let mut desk = Desk::new(&[policy(); 3]);
    for index in 0..3 {
        desk.command(Command::Start(id(index)));
    }
    let first = desk.spawn();
    assert!(desk.machine.has_starts());
    assert_eq!(desk.command(Command::StopAll), asked(first, GRACE));
    assert!(!desk.machine.has_starts());
    assert!(desk.machine.next_start().is_none());
    desk.exit(first, CRASH);
    desk.gone(first);
    assert!(desk.machine.is_settled());
}

#[test]
fn a_stop_during_a_start_waits_for_the_answer_and_then_stops_it() {
    let (mut desk, run) = Desk::spawning(policy());
    assert_eq!(
        desk.command(Command::StopAll),
        [],
        "there is nothing to signal yet"
    );
    assert!(!desk.machine.is_settled());
    let told = desk.tell(Input::Spawned { run, at: desk.now });
    assert_eq!(told[0], note(run, Change::Started));
    assert_eq!(told[1..], asked(run, GRACE));
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(GRACE)));
}

#[test]
fn a_kill_during_a_start_kills_it_when_it_is_there() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.command(Command::KillAll);
    desk.command(Command::StopAll);
    let told = desk.tell(Input::Spawned { run, at: desk.now });
    assert_eq!(told[1..], killed(run), "a later stop does not soften it");
}

#[test]
fn a_start_that_fails_during_a_stop_is_reported_and_not_tried_again() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.command(Command::StopAll);
    let told = desk.tell(Input::SpawnFailed { run, at: desk.now });
    assert_eq!(
        told,
        [note(
            run,
            Change::StartFailed {
                cause: Cause::Shutdown,
                retry_in: None
            }
        )]
    );
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
}

/// A second SIGTERM began the ten seconds anew.
#[test]
fn museum_112_a_second_stop_moves_no_deadline_and_sends_nothing() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    let deadline = desk.machine.next_deadline();
    desk.pass(secs(5));
    assert_eq!(desk.command(Command::StopAll), []);
    assert_eq!(desk.machine.next_deadline(), deadline);
    assert_eq!(desk.timeout_at_deadline(), killed(run));
    let patience = desk.machine.next_deadline();
    desk.pass(secs(3));
    assert_eq!(desk.command(Command::StopAll), []);
    assert_eq!(desk.command(Command::KillAll), [], "it was killed already");
    assert_eq!(desk.machine.next_deadline(), patience);
}

#[test]
fn a_kill_after_a_stop_is_at_once_and_once() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    desk.pass(secs(1));
    assert_eq!(desk.command(Command::KillAll), killed(run));
    assert_eq!(desk.command(Command::KillAll), []);
    assert_eq!(
        desk.machine.next_deadline(),
        Some(desk.now.after(PATIENCE)),
        "earlier than before"
    );
    desk.exit(run, CRASH);
    assert_eq!(desk.gone(run), []);
    assert_eq!(desk.machine.next_deadline(), None);
}

#[test]
fn a_kill_without_a_stop_asks_no_program() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.command(Command::KillAll), killed(run));
    let (mut desk, run) = Desk::running(Policy {
        stop_signal: 9,
        ..policy()
    });
    assert_eq!(
        desk.command(Command::StopAll),
        killed(run),
        "SIGKILL leaves no grace to wait for"
    );
}

#[test]
fn no_grace_is_term_cont_and_kill_in_that_order() {
    let (mut desk, run) = Desk::running(Policy {
        stop_timeout: ZERO,
        ..policy()
    });
    let told = desk.command(Command::StopAll);
    assert_eq!(told[..3], asked(run, ZERO));
    assert_eq!(told[3..], killed(run));
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(PATIENCE)));
}

/// The exit and the end of its grace are in one wake-up, and the fact comes first.
#[test]
fn an_exit_in_the_same_wake_up_as_its_kill_deadline_is_not_killed() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    desk.pass(GRACE);
    let exited = Change::Exited {
        exit: CLEAN,
        uptime: GRACE,
        cause: Cause::Shutdown,
        retry_in: None,
    };
    assert_eq!(desk.exit(run, CLEAN), [note(run, exited)]);
    assert_eq!(desk.gone(run), []);
    assert_eq!(desk.timeout(), []);
    assert!(desk.machine.is_settled());
}

/// During a stop the others of the group keep their grace, and get no more than that.
#[test]
fn members_that_outlive_their_leader_in_a_stop_keep_their_grace() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    desk.pass(secs(1));
    assert_eq!(
        signals(&desk.exit(run, CLEAN)),
        [0; 0],
        "no leftover of a stop is killed early"
    );
    assert!(!desk.machine.is_settled());
    desk.pass(secs(9));
    assert_eq!(desk.timeout(), killed(run));
    assert_eq!(desk.gone(run), []);
    assert!(desk.machine.is_settled());
}

/// A reload or another signal during the shutdown called it off.
#[test]
fn museum_113_nothing_calls_a_stop_off() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::StopAll);
    let late = desk.machine.add(desk.now, policy()).expect("an id is left");
    for program in [run.program, late] {
        assert_eq!(desk.command(Command::Start(program)), []);
        assert!(!desk.machine.has_starts());
    }
    desk.exit(run, CRASH);
    desk.gone(run);
    desk.command(Command::Start(run.program));
    assert!(desk.machine.is_stopping() && desk.machine.is_settled());
    assert!(desk.machine.next_start().is_none());
}

/// "No process" was written as 0 or -1, and a stop signalled everything there was.
#[test]
fn museum_54_what_does_not_run_is_never_signalled() {
    let mut desk = Desk::new(&[policy(); 4]);
    for index in 1..4 {
        desk.command(Command::Start(id(index)));
    }
    desk.fail_to_spawn();
    let run = desk.spawn();
    desk.end(run, CRASH);
    assert_eq!(
        desk.command(Command::StopAll),
        [],
        "never started, failed, in its delay, due"
    );
    assert_eq!(desk.command(Command::KillAll), []);
    assert!(desk.machine.is_settled());
    let mut nothing = Desk::new(&[]);
    assert_eq!(nothing.command(Command::StopAll), []);
    assert!(nothing.machine.is_settled());
}

#[test]
fn the_end_of_an_essential_program_stops_the_rest() {
    let essential = essential(Restart::OnFailure);
    let (mut desk, runs) = Desk::all_running(&[policy(), essential, essential]);
    assert_eq!(
        desk.end(runs[1], CRASH),
        Some(secs(1)),
        "it is restarted: nothing ended for good"
    );
    assert!(!desk.machine.is_stopping());
    let told = desk.exit(runs[2], CLEAN);
    let exited = Change::Exited {
        exit: CLEAN,
        uptime: ZERO,
        cause: Cause::Exit,
        retry_in: None,
    };
    assert_eq!(told[..2], [signal(runs[2], 9), note(runs[2], exited)]);
    assert_eq!(
        told[2..],
        asked(runs[0], GRACE),
        "and the waiting one only waits no more"
    );
    assert!(desk.machine.is_stopping());
    assert_eq!(desk.machine.essential_ended(), Some(id(2)));
    desk.gone(runs[2]);
    desk.exit(runs[0], CLEAN);
    desk.gone(runs[0]);
    assert!(desk.machine.is_settled());
    assert_eq!(
        desk.machine.essential_ended(),
        Some(id(2)),
        "the first one stays the first"
    );
}

#[test]
fn an_essential_program_that_cannot_be_started_and_never_will_stops_the_rest() {
    let essential = essential(Restart::Never);
    let mut desk = Desk::new(&[policy(), essential]);
    desk.command(Command::Start(id(0)));
    desk.command(Command::Start(id(1)));
    let run = desk.spawn();
    let failed = desk.machine.next_start().expect("a start is due");
    let told = desk.tell(Input::SpawnFailed {
        run: failed,
        at: desk.now,
    });
    assert_eq!(
        told[0],
        note(
            failed,
            Change::StartFailed {
                cause: Cause::StartFailed,
                retry_in: None
            }
        )
    );
    assert_eq!(told[1..], asked(run, GRACE));
    assert_eq!(desk.machine.essential_ended(), Some(id(1)));
}

#[test]
fn an_essential_program_that_was_asked_to_stop_did_not_end_by_itself() {
    let essential = essential(Restart::Never);
    let (mut desk, run) = Desk::running(essential);
    desk.command(Command::StopAll);
    desk.exit(run, CLEAN);
    desk.gone(run);
    assert_eq!(desk.machine.essential_ended(), None);
}

/// A process that was stopped before its exec kept its supervisor from answering for ever. Now a
/// start may take its time; a stop ends it at once, as nothing of the program has run yet.
#[test]
fn a_start_that_hangs_is_killed_by_a_stop() {
    let (mut desk, run) = Desk::spawning(policy());
    assert_eq!(desk.tell(Input::SpawnDelayed { run, at: desk.now }), []);
    desk.pass(secs(7));
    assert_eq!(
        desk.command(Command::StopAll),
        [signal(run, 9), note(run, Change::Killed)]
    );
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(PATIENCE)));
    let failed = Input::SpawnFailed { run, at: desk.now };
    let change = Change::StartFailed {
        cause: Cause::Shutdown,
        retry_in: None,
    };
    assert_eq!(desk.tell(failed), [note(run, change)]);
    assert_eq!(desk.state(0), State::Inactive);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
}

/// It was executed between the last look and the SIGKILL: it has started, and it is dying.
#[test]
fn a_program_that_was_executed_before_its_kill_has_started() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.command(Command::StopAll);
    let told = desk.tell(Input::Spawned { run, at: desk.now });
    assert_eq!(told, [note(run, Change::Started)]);
    let killed = Exit::Signal {
        signal: 9,
        core_dumped: false,
    };
    let told = desk.exit(run, killed);
    assert!(matches!(
        told[..],
        [Order::Notify {
            change: Change::Exited {
                cause: Cause::Shutdown,
                ..
            },
            ..
        }]
    ));
    assert_eq!(desk.gone(run), []);
    assert!(desk.machine.is_settled());
}

/// Without a stop it is killed in the end, and tried again like any start that failed.
#[test]
fn a_start_that_hangs_is_given_up_and_tried_again() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    let begun_at = desk.now;
    assert_eq!(signals(&desk.timeout_at_deadline()), [9]);
    assert_eq!(desk.now.since(begun_at), LAUNCH_TIMEOUT);
    let told = desk.tell(Input::SpawnFailed { run, at: desk.now });
    let retry_in = Some(secs(1));
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
    desk.timeout_at_deadline();
    assert_eq!(desk.spawn().generation, 2);
}

/// It could not be killed for as long as it was in the kernel, and was given up; then it died.
#[test]
fn a_start_that_was_abandoned_and_ends_after_all_is_reported_once() {
    let (mut desk, run) = Desk::spawning(policy());
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.command(Command::KillAll);
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
    assert_eq!(desk.tell(Input::SpawnFailed { run, at: desk.now }), []);
    assert_eq!(desk.state(0), State::Inactive);
}

/// A stop came in the moment of the start, whose answer was that it would take longer: the stop
/// was forgotten, and the process had its 90 s.
#[test]
fn a_stop_that_came_before_it_was_known_that_a_start_is_late_is_not_forgotten() {
    for command in [Command::StopAll, Command::KillAll] {
        let (mut desk, run) = Desk::spawning(policy());
        desk.command(command);
        let told = desk.tell(Input::SpawnDelayed { run, at: desk.now });
        assert_eq!(told, [signal(run, 9), note(run, Change::Killed)]);
    }
}

/// It was executed just before it was killed for being late, or could not be killed any more.
/// It had not been asked to stop, and yet its end was reported so, and it was started again
/// whatever its policy.
#[test]
fn a_program_that_was_executed_before_the_kill_that_was_to_end_its_launch_runs() {
    let never = restarted(Restart::Never);
    let (mut desk, run) = Desk::spawning(never);
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.timeout_at_deadline();
    let told = desk.tell(Input::Spawned { run, at: desk.now });
    assert_eq!(told, [note(run, Change::Started)]);
    assert_eq!(desk.state(0), State::Running { since: desk.now });
    assert_eq!(desk.machine.next_deadline(), None);
    desk.end(run, CRASH);
    assert_eq!(desk.state(0), State::Inactive);
    assert_eq!(desk.machine.next_start(), None);
}

/// A start that could not even be killed was waited for, and made again when it ended after all,
/// although its policy is to try it once.
#[test]
fn a_start_that_was_given_up_is_the_end_of_a_program_that_is_not_started_again() {
    let once = essential(Restart::Never);
    let (mut desk, run) = Desk::spawning(once);
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.timeout_at_deadline();
    assert_eq!(
        desk.timeout_at_deadline(),
        [note(
            run,
            Change::Abandoned {
                cause: Cause::StartFailed
            }
        )]
    );
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.essential_ended(), Some(id(0)));
    assert_eq!(desk.tell(Input::SpawnFailed { run, at: desk.now }), []);
    assert_eq!(desk.state(0), State::Inactive);
    assert_eq!(desk.machine.next_start(), None);
}
