//! Programs that are up once they have ended.

use super::super::graph::Links;
use super::*;

fn oneshot(restart: Restart) -> Policy {
    Policy {
        oneshot: true,
        ..restarted(restart)
    }
}

/// It counted as done while what it had started was still at work.
#[test]
fn a_oneshot_is_up_when_its_whole_group_is_gone() {
    for restart in [Restart::Always, Restart::OnFailure, Restart::Never] {
        let (mut desk, run) = Desk::running(oneshot(restart));
        assert_eq!(desk.state(0), State::Starting { since: desk.now });
        assert_eq!(desk.tell(Input::Ready { run }), [], "it is no service");
        assert_eq!(signals(&desk.exit(run, CLEAN)), [9]);
        assert!(!desk.machine.is_settled());
        assert_eq!(desk.gone(run), [note(run, Change::Up)]);
        assert!(desk.machine.is_settled());
        assert_eq!(desk.view(0).why, Why::Exited);
        assert!(desk.machine.next_start().is_none(), "once is enough");
    }
}

#[test]
fn a_oneshot_that_fails_is_not_up() {
    let (mut desk, run) = Desk::running(oneshot(Restart::Never));
    assert_eq!(desk.end(run, CRASH), None);
    assert_eq!(desk.view(0).why, Why::Failed);
    let (mut desk, run) = Desk::running(oneshot(Restart::OnFailure));
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
    desk.timeout_at_deadline();
    let run = desk.spawn();
    desk.exit(run, CLEAN);
    assert_eq!(desk.gone(run), [note(run, Change::Up)], "in the end it is");
}

#[test]
fn a_oneshot_that_takes_too_long_has_failed() {
    let (mut desk, run) = Desk::running(Policy {
        start_timeout: Some(secs(60)),
        ..oneshot(Restart::Never)
    });
    assert_eq!(signals(&desk.timeout_at_deadline()), [15, 18]);
    desk.exit(run, CLEAN);
    assert_eq!(desk.gone(run), [], "its code does not help");
    assert_eq!(desk.view(0).why, Why::Failed);
}

#[test]
fn an_essential_oneshot_ends_everything_if_it_fails_and_not_when_it_is_done() {
    let essential = Policy {
        essential: true,
        ..oneshot(Restart::Never)
    };
    for (exit, ends) in [(CLEAN, false), (CRASH, true)] {
        let (mut desk, runs) = Desk::all_running(&[policy(), essential]);
        desk.exit(runs[1], exit);
        assert_eq!(desk.machine.is_stopping(), ends, "{exit:?}");
        assert_eq!(desk.machine.essential_ended().is_some(), ends, "{exit:?}");
    }
}

#[test]
fn a_code_that_counts_as_success_makes_a_oneshot_up() {
    let mut policy = oneshot(Restart::OnFailure);
    policy.success.insert(Exit::Code(3));
    let (mut desk, run) = Desk::running(policy);
    desk.exit(run, Exit::Code(3));
    assert_eq!(desk.gone(run), [note(run, Change::Up)]);
}

#[test]
fn a_oneshot_that_is_asked_to_stop_is_not_up() {
    let (mut desk, run) = Desk::running(oneshot(Restart::Never));
    desk.command(Command::Stop(id(0)));
    desk.exit(run, CLEAN);
    assert_eq!(desk.gone(run), []);
    assert_eq!(desk.view(0).why, Why::Stopped);
}

#[test]
fn a_oneshot_that_is_done_runs_once_more_when_it_is_started() {
    let (mut desk, run) = Desk::running(oneshot(Restart::Never));
    desk.exit(run, CLEAN);
    desk.command(Command::Start(id(0)));
    assert_eq!(desk.gone(run), [], "started before it was up");
    let run = desk.spawn();
    desk.exit(run, CLEAN);
    assert_eq!(desk.gone(run), [note(run, Change::Up)]);
    desk.command(Command::Start(id(0)));
    assert_eq!(desk.spawn().generation, 3);
}

/// What requires it starts when it is done, and does not make it run once more.
#[test]
fn a_oneshot_that_is_done_stays_up_for_what_requires_it() {
    let mut desk = Desk::new(&[oneshot(Restart::Never), policy()]);
    let links = vec![(id(1), Links::new(&[id(0)], &[]))];
    assert_eq!(desk.machine.link(desk.now, links), Ok(()));
    desk.command(Command::Start(id(1)));
    let run = desk.spawn();
    assert_eq!(run.program, id(0), "it starts what it requires");
    desk.exit(run, CLEAN);
    assert!(desk.machine.next_start().is_none(), "its group is there");
    assert_eq!(desk.view(1).hold, Some(Hold::Requires(id(0))));
    desk.gone(run);
    let run = desk.spawn();
    assert_eq!(run.program, id(1));
    assert_eq!(desk.end(run, CRASH), Some(secs(1)));
    desk.command(Command::Start(id(1)));
    assert_eq!(desk.spawn().program, id(1), "it alone");
    assert!(desk.machine.next_start().is_none());
}
