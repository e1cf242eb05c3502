//! Up or not yet: readiness and its deadline, the watchdog, health, and what a fault leads to.

use super::*;

const START_TIMEOUT: Duration = Duration::from_secs(60);
const WATCHDOG: Duration = Duration::from_secs(20);
const GRACE: Duration = Duration::from_secs(10);

/// A program that says when it is ready, and has so long for that.
fn ready() -> Policy {
    Policy {
        ready: true,
        start_timeout: Some(START_TIMEOUT),
        ..policy()
    }
}

fn watched() -> Policy {
    Policy {
        watchdog: Some(WATCHDOG),
        ..policy()
    }
}

fn asked(run: Run, signal: i32) -> [Order; 3] {
    let timeout = GRACE;
    [
        super::signal(run, signal),
        super::signal(run, 18),
        note(run, Change::Stopping { signal, timeout }),
    ]
}

/// The report of a run that was ended for this cause, and is restarted after this delay.
fn ended(run: Run, uptime: Duration, cause: Cause, retry_in: Option<Duration>) -> [Order; 2] {
    let exited = Change::Exited {
        exit: CLEAN,
        uptime,
        cause,
        retry_in,
    };
    [signal(run, 9), note(run, exited)]
}

#[test]
fn a_program_is_up_when_it_says_so_and_once() {
    let (mut desk, run) = Desk::running(ready());
    let since = desk.now;
    assert_eq!(desk.state(0), State::Starting { since });
    assert_eq!(
        desk.machine.next_deadline(),
        Some(since.after(START_TIMEOUT))
    );
    desk.pass(secs(3));
    assert_eq!(desk.tell(Input::Ready { run }), [note(run, Change::Up)]);
    assert_eq!(desk.state(0), State::Running { since });
    assert_eq!(
        desk.machine.next_deadline(),
        None,
        "its deadline is called off"
    );
    assert_eq!(desk.tell(Input::Ready { run }), []);
    desk.command(Command::Stop(id(0)));
    assert_eq!(
        desk.tell(Input::Ready { run }),
        [],
        "too late to be of interest"
    );
}

/// The time in which it was not ready counts: it ran.
#[test]
fn uptime_begins_with_the_start_and_not_with_readiness() {
    let (mut desk, run) = Desk::running(ready());
    desk.pass(secs(20));
    desk.tell(Input::Ready { run });
    desk.pass(secs(10));
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
    assert_eq!(desk.view(0).restarts_in_row, 1, "thirty seconds reset it");
}

#[test]
fn a_program_that_is_not_ready_in_time_has_failed_whatever_its_code() {
    let (mut desk, run) = Desk::running(Policy {
        restart: Restart::OnFailure,
        ..ready()
    });
    let begin = desk.now;
    assert_eq!(desk.timeout_at_deadline(), asked(run, 15));
    assert_eq!(desk.now.since(begin), START_TIMEOUT);
    assert_eq!(desk.tell(Input::Ready { run }), [], "it is being ended");
    let told = desk.exit(run, CLEAN);
    let retry_in = Some(secs(1));
    assert_eq!(
        told,
        ended(run, START_TIMEOUT, Cause::StartTimeout, retry_in)
    );
    desk.gone(run);
    desk.timeout_at_deadline();
    assert_eq!(desk.spawn().generation, 2);
    assert_eq!(
        desk.machine.next_deadline(),
        Some(desk.now.after(START_TIMEOUT)),
        "and has its time anew"
    );
}

#[test]
fn a_start_timeout_counts_from_the_moment_of_the_start() {
    let (mut desk, run) = Desk::spawning(ready());
    let at = desk.now;
    desk.pass(secs(2));
    desk.tell(Input::Spawned { run, at });
    assert_eq!(desk.machine.next_deadline(), Some(at.after(START_TIMEOUT)));
}

#[test]
fn a_start_timeout_of_what_is_up_at_its_start_never_comes() {
    let (desk, _) = Desk::running(Policy {
        ready: false,
        ..ready()
    });
    assert_eq!(desk.machine.next_deadline(), None);
}

#[test]
fn what_ends_well_before_it_is_ready_has_ended_well() {
    let (mut desk, run) = Desk::running(Policy {
        restart: Restart::OnFailure,
        ..ready()
    });
    assert_eq!(desk.end(run, CLEAN), None);
    assert_eq!(desk.view(0).why, Why::Exited);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.machine.next_deadline(), None);
}

#[test]
fn a_stuck_program_gets_abrt_and_then_kill() {
    let (mut desk, run) = Desk::running(watched());
    let begin = desk.now;
    assert_eq!(desk.timeout_at_deadline(), asked(run, 6));
    assert_eq!(desk.now.since(begin), WATCHDOG);
    let killed = [signal(run, 9), note(run, Change::Killed)];
    assert_eq!(desk.timeout_at_deadline(), killed);
    assert_eq!(desk.now.since(begin), WATCHDOG + GRACE);
    let told = desk.exit(run, CLEAN);
    let uptime = WATCHDOG + GRACE;
    assert_eq!(told, ended(run, uptime, Cause::Watchdog, Some(secs(1))));
}

#[test]
fn each_sign_of_life_begins_the_time_anew() {
    let (mut desk, run) = Desk::running(watched());
    for _ in 0..5 {
        desk.pass(secs(19));
        assert_eq!(desk.timeout(), []);
        assert_eq!(desk.tell(Input::Alive { run }), []);
        assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(WATCHDOG)));
    }
    assert_eq!(desk.timeout_at_deadline(), asked(run, 6));
    assert_eq!(desk.tell(Input::Alive { run }), [], "too late");
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(GRACE)));
}

/// It was killed while it was still starting, by a clock that was for what is up.
#[test]
fn the_watchdog_begins_when_it_is_up() {
    let (mut desk, run) = Desk::running(Policy {
        watchdog: Some(WATCHDOG),
        ..ready()
    });
    assert_eq!(desk.tell(Input::Alive { run }), [], "not up yet");
    desk.pass(secs(50));
    assert_eq!(desk.timeout(), []);
    desk.tell(Input::Ready { run });
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(WATCHDOG)));
    desk.command(Command::Stop(id(0)));
    assert_eq!(desk.machine.next_deadline(), Some(desk.now.after(GRACE)));
    desk.exit(run, CLEAN);
    desk.gone(run);
    assert_eq!(desk.machine.next_deadline(), None);
}

/// A turn read the clock, started it and found it ready: the time of its watchdog had begun before it
/// was executed.
#[test]
fn the_watchdog_begins_with_the_run_and_not_before() {
    let (mut desk, run) = Desk::spawning(Policy {
        watchdog: Some(WATCHDOG),
        ..ready()
    });
    let at = desk.now.after(Duration::from_millis(1));
    desk.machine.handle(at, Input::Spawned { run, at });
    desk.tell(Input::Ready { run });
    assert_eq!(desk.machine.next_deadline(), Some(at.after(WATCHDOG)));
}

#[test]
fn a_sign_of_life_of_what_has_no_watchdog_plans_nothing() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.tell(Input::Alive { run }), []);
    assert_eq!(desk.machine.next_deadline(), None);
}

#[test]
fn a_stuck_program_without_grace_gets_abrt_and_kill() {
    let (mut desk, _) = Desk::running(Policy {
        stop_timeout: ZERO,
        ..watched()
    });
    assert_eq!(signals(&desk.timeout_at_deadline()), [6, 18, 9]);
}

/// Also without a watchdog: it knows best.
#[test]
fn one_that_says_that_it_hangs_gets_abrt() {
    for policy in [watched(), policy()] {
        let (mut desk, run) = Desk::running(policy);
        assert_eq!(desk.tell(Input::Hung { run }), asked(run, 6));
        assert_eq!(desk.tell(Input::Hung { run }), [], "it is known");
        let told = desk.exit(run, CLEAN);
        assert_eq!(told, ended(run, ZERO, Cause::Watchdog, Some(secs(1))));
    }
}

#[test]
fn a_sick_program_is_stopped_and_its_policy_decides() {
    for (restart, retry_in) in [
        (Restart::Always, Some(secs(1))),
        (Restart::OnFailure, Some(secs(1))),
        (Restart::Never, None),
    ] {
        let (mut desk, run) = Desk::running(restarted(restart));
        assert_eq!(desk.tell(Input::Unhealthy { run }), asked(run, 15));
        assert_eq!(desk.tell(Input::Unhealthy { run }), [], "it is known");
        let told = desk.exit(run, CLEAN);
        assert_eq!(told, ended(run, ZERO, Cause::Unhealthy, retry_in));
        desk.gone(run);
        assert_eq!(desk.machine.is_settled(), retry_in.is_none());
        if retry_in.is_none() {
            assert_eq!(desk.view(0).why, Why::Failed);
        }
    }
}

#[test]
fn what_is_not_up_is_not_sick() {
    let (mut desk, run) = Desk::running(ready());
    assert_eq!(desk.tell(Input::Unhealthy { run }), []);
    assert_eq!(desk.tell(Input::Hung { run }), []);
    assert_eq!(desk.state(0), State::Starting { since: desk.now });
}

#[test]
fn the_fault_of_an_essential_program_stops_the_rest_when_it_has_ended() {
    let essential = essential(Restart::Never);
    let (mut desk, runs) = Desk::all_running(&[policy(), essential]);
    desk.tell(Input::Unhealthy { run: runs[1] });
    assert!(!desk.machine.is_stopping(), "it may take its time");
    let told = desk.exit(runs[1], CLEAN);
    assert_eq!(signals(&told), [9, 15, 18]);
    assert_eq!(desk.machine.essential_ended(), Some(id(1)));
}

/// A stop sent its signal again, began the grace anew, or was forgotten.
#[test]
fn a_stop_takes_over_a_run_that_is_ended_for_a_fault() {
    let (mut desk, run) = Desk::running(policy());
    desk.tell(Input::Unhealthy { run });
    let deadline = desk.machine.next_deadline();
    desk.pass(secs(1));
    assert_eq!(desk.command(Command::Stop(id(0))), []);
    assert_eq!(desk.machine.next_deadline(), deadline);
    let told = desk.exit(run, CLEAN);
    let [_, exited] = ended(run, secs(1), Cause::Operator, None);
    assert_eq!(told, [exited]);
    desk.gone(run);
    assert_eq!(desk.view(0).why, Why::Stopped);
    assert!(desk.machine.is_settled());
}

#[test]
fn a_restart_takes_over_a_run_that_is_ended_for_a_fault() {
    let (mut desk, run) = Desk::running(restarted(Restart::Never));
    desk.tell(Input::Unhealthy { run });
    assert_eq!(desk.command(Command::Restart(id(0))), []);
    let [_, exited] = ended(run, ZERO, Cause::Operator, None);
    assert_eq!(desk.exit(run, CLEAN), [exited]);
    desk.gone(run);
    assert_eq!(desk.spawn().generation, 2, "without a delay");
}
