//! Programs that go, and starts that wait for what escaped.

use super::super::definitions::{Edit, Replacement};
use super::super::graph::Links;
use super::super::state::{Goal, Leader};
use super::*;

fn removed(run: Run) -> Order {
    note(run, Change::Removed)
}

#[test]
fn what_does_not_run_is_forgotten_at_once() {
    let mut desk = Desk::new(&[policy(); 2]);
    let never_ran = Run {
        program: id(0),
        generation: 0,
    };
    assert_eq!(desk.command(Command::Remove(id(0))), [removed(never_ran)]);
    assert_eq!(desk.machine.view(id(0)), None);
    assert_eq!(desk.command(Command::Remove(id(0))), [], "once");
    desk.command(Command::Start(id(1)));
    let run = desk.spawn();
    desk.end(run, CRASH);
    assert_eq!(desk.command(Command::Remove(id(1))), [removed(run)]);
    assert!(desk.machine.is_settled());
    assert_eq!(
        desk.machine.next_deadline(),
        None,
        "its delay is called off"
    );
    assert!(desk.machine.next_start().is_none());
}

#[test]
fn what_runs_is_stopped_and_then_forgotten() {
    let (mut desk, run) = Desk::running(essential(Restart::Never));
    let told = desk.command(Command::Remove(id(0)));
    assert_eq!(signals(&told), [15, 18]);
    assert_eq!(desk.command(Command::Remove(id(0))), []);
    for command in [Command::Start(id(0)), Command::Restart(id(0))] {
        assert_eq!(desk.command(command), [], "it does not come back");
    }
    let told = desk.exit(run, CLEAN);
    let exited = Change::Exited {
        exit: CLEAN,
        uptime: ZERO,
        cause: Cause::Reload,
        retry_in: None,
    };
    assert_eq!(told, [note(run, exited)]);
    assert_eq!(desk.gone(run), [removed(run)]);
    assert!(desk.machine.is_settled());
    assert!(!desk.machine.is_stopping());
}

/// A late fact about it found its successor, or a place in a list that was another's.
#[test]
fn what_was_forgotten_is_never_heard_of_again() {
    let (mut desk, old) = Desk::running(policy());
    desk.command(Command::Remove(id(0)));
    desk.exit(old, CLEAN);
    desk.gone(old);
    let new = desk.machine.add(desk.now, policy()).expect("an id is left");
    assert_eq!(new, id(1), "an id is given once");
    desk.command(Command::Start(new));
    desk.spawn();
    let view = desk.machine.view(new);
    let at = desk.now;
    let (run, exit) = (old, CRASH);
    for late in [
        Input::Spawned { run, at },
        Input::SpawnFailed { run, at },
        Input::SpawnDelayed { run, at },
        Input::LeaderExited { run, exit },
        Input::GroupGone { run },
        Input::Ready { run },
        Input::Alive { run },
        Input::Unhealthy { run },
        Input::Hung { run },
        Input::Escaped { run },
        Input::EscapedGone { run },
        Input::EscapedAbandoned { run },
    ] {
        assert_eq!(desk.tell(late), [], "{late:?}");
    }
    assert_eq!(desk.machine.view(new), view);
}

#[test]
fn what_does_not_die_is_abandoned_and_then_forgotten() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::Remove(id(0)));
    desk.command(Command::Kill(id(0)));
    let abandoned = note(
        run,
        Change::Abandoned {
            cause: Cause::Reload,
        },
    );
    assert_eq!(desk.timeout_at_deadline(), [abandoned, removed(run)]);
    assert_eq!(desk.machine.view(id(0)), None);
    assert!(desk.machine.is_settled());
    assert_eq!(desk.exit(run, CRASH), []);
    assert_eq!(desk.gone(run), []);
}

#[test]
fn a_removal_in_the_middle_of_a_start_waits_for_its_answer() {
    let (mut desk, run) = Desk::spawning(policy());
    assert_eq!(desk.command(Command::Remove(id(0))), []);
    let told = desk.tell(Input::SpawnFailed { run, at: desk.now });
    let failed = note(
        run,
        Change::StartFailed {
            cause: Cause::Reload,
            retry_in: None,
        },
    );
    assert_eq!(told, [failed, removed(run)]);
}

#[test]
fn a_removal_goes_on_during_a_shutdown_and_begins_in_one() {
    let (mut desk, runs) = Desk::all_running(&[policy(); 2]);
    desk.command(Command::Remove(id(0)));
    desk.command(Command::StopAll);
    desk.command(Command::Remove(id(1)));
    for run in runs {
        desk.exit(run, CLEAN);
        assert_eq!(desk.gone(run), [removed(run)]);
    }
    assert!(desk.machine.is_settled());
}

#[test]
fn a_start_is_held_while_processes_that_escaped_are_there() {
    let (mut desk, run) = Desk::running(policy());
    assert_eq!(desk.tell(Input::Escaped { run }), []);
    desk.end(run, CRASH);
    desk.timeout_at_deadline();
    assert!(desk.machine.next_start().is_none());
    assert_eq!(desk.view(0).hold, Some(Hold::Escaped));
    assert!(!desk.machine.is_settled(), "it starts some time");
    assert_eq!(desk.machine.next_deadline(), None);
    assert_eq!(desk.tell(Input::EscapedGone { run }), []);
    assert_eq!(desk.view(0).hold, None);
    assert!(desk.machine.has_starts());
    assert_eq!(desk.spawn().generation, 2);
}

#[test]
fn a_hold_that_was_lifted_before_the_start_is_none() {
    let (mut desk, run) = Desk::running(policy());
    desk.tell(Input::Escaped { run });
    desk.exit(run, CRASH);
    desk.tell(Input::EscapedGone { run });
    desk.gone(run);
    desk.timeout_at_deadline();
    desk.spawn();
}

/// Found when it was in the queue already.
#[test]
fn a_start_that_is_due_is_held_too() {
    let (mut desk, run) = Desk::running(policy());
    desk.end(run, CRASH);
    desk.timeout_at_deadline();
    desk.tell(Input::Escaped { run });
    assert!(desk.machine.next_start().is_none());
    desk.tell(Input::EscapedGone { run });
    desk.spawn();
    assert!(desk.machine.next_start().is_none(), "once");
}

#[test]
fn a_stop_takes_back_a_start_that_is_held_for_what_escaped() {
    let (mut desk, run) = Desk::running(policy());
    desk.tell(Input::Escaped { run });
    desk.end(run, CRASH);
    desk.timeout_at_deadline();
    assert_eq!(desk.command(Command::Stop(id(0))), []);
    assert!(desk.machine.is_settled());
    desk.tell(Input::EscapedGone { run });
    assert!(desk.machine.next_start().is_none());
    desk.command(Command::Start(id(0)));
    desk.spawn();
}

#[test]
fn a_start_by_hand_waits_for_what_escaped() {
    let (mut desk, run) = Desk::running(policy());
    desk.tell(Input::Escaped { run });
    desk.command(Command::Kill(id(0)));
    desk.timeout_at_deadline();
    let leader = Leader::Alive;
    assert_eq!(desk.state(0), State::Abandoned { leader });
    desk.command(Command::Start(id(0)));
    desk.exit(run, CRASH);
    desk.gone(run);
    assert_eq!(desk.view(0).hold, Some(Hold::Escaped));
    desk.tell(Input::EscapedGone { run });
    desk.spawn();
}

/// A program that was renamed found its port taken.
#[test]
fn what_was_added_starts_when_all_that_was_removed_is_gone() {
    let (mut desk, runs) = Desk::all_running(&[policy(); 2]);
    for run in &runs {
        desk.command(Command::Remove(run.program));
    }
    let new = desk.machine.add(desk.now, policy()).expect("an id is left");
    desk.machine.start_after_removals(new);
    desk.command(Command::Start(new));
    for &run in &runs {
        assert!(desk.machine.next_start().is_none());
        assert_eq!(desk.view(2).hold, Some(Hold::Removals));
        assert!(!desk.machine.is_settled());
        desk.exit(run, CLEAN);
        desk.gone(run);
    }
    assert_eq!(desk.spawn().program, new);
    desk.machine.start_after_removals(new);
    desk.command(Command::Restart(new));
    let run = Run {
        program: new,
        generation: 1,
    };
    desk.exit(run, CLEAN);
    desk.gone(run);
    assert_eq!(desk.spawn().generation, 2, "there is nothing to wait for");
}

/// What escaped survived SIGKILL, and was abandoned by the caller: nothing else ends this wait.
#[test]
fn what_is_removed_is_forgotten_when_what_escaped_is_given_up() {
    let mut desk = Desk::new(&[policy(); 2]);
    desk.command(Command::Start(id(0)));
    let run = desk.spawn();
    desk.command(Command::Remove(id(0)));
    desk.exit(run, CLEAN);
    desk.tell(Input::Escaped { run });
    assert_eq!(desk.gone(run), []);
    desk.machine.start_after_removals(id(1));
    desk.command(Command::Start(id(1)));
    assert!(desk.machine.next_start().is_none());
    assert_eq!(desk.tell(Input::EscapedGone { run }), [removed(run)]);
    assert_eq!(desk.spawn().program, id(1));
}

/// What cannot die kept a program stopping for ever.
#[test]
fn what_escaped_and_survives_sigkill_is_abandoned() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::Stop(id(0)));
    desk.exit(run, CLEAN);
    desk.tell(Input::Escaped { run });
    desk.gone(run);
    let since = desk.now;
    desk.pass(secs(5));
    let view = desk.view(0);
    assert_eq!(view.word, ProgramState::Stopping);
    assert_eq!(view.word_since, since);
    assert_eq!(desk.tell(Input::EscapedAbandoned { run }), []);
    let view = desk.view(0);
    assert_eq!(view.word, ProgramState::Abandoned);
    assert_eq!(view.word_since, desk.now);
    // It exists: a start waits for its end, and a removal does not.
    desk.command(Command::Start(id(0)));
    assert_eq!(desk.view(0).hold, Some(Hold::Escaped));
    assert_eq!(desk.view(0).word, ProgramState::Pending);
    desk.command(Command::Stop(id(0)));
    assert_eq!(desk.view(0).word, ProgramState::Abandoned);
    assert_eq!(desk.command(Command::Remove(id(0))), [removed(run)]);
}

/// Three programs that run, the last of which requires these.
fn last_requires(requires: &[ProgramId]) -> (Desk, Vec<Run>) {
    let mut desk = Desk::new(&[policy(); 3]);
    let links = vec![(id(2), Links::new(requires, &[]))];
    let linked = desk.machine.link(desk.now, links);
    linked.expect("there is no cycle");
    for program in 0..3 {
        desk.command(Command::Start(id(program)));
    }
    let runs = (0..3).map(|_| desk.spawn()).collect();
    (desk, runs)
}

fn replacement(program: usize, requires: &[ProgramId], restart: bool) -> Replacement {
    Replacement {
        program: id(program),
        policy: policy(),
        links: Links::new(requires, &[]),
        restart,
    }
}

/// Removes the first program. Returns the programs that get a signal.
fn remove_first(desk: &mut Desk, replaces: Vec<Replacement>) -> Vec<ProgramId> {
    let removes = vec![id(0)];
    let edit = Edit {
        removes,
        replaces,
        ..Edit::default()
    };
    let edited = desk.machine.edit(desk.now, edit);
    edited.expect("there is no cycle");
    signalled(&desk.orders())
}

fn signalled(orders: &[Order]) -> Vec<ProgramId> {
    let programs = orders.iter().filter_map(|order| match order {
        Order::Signal { run, signal: 15 } => Some(run.program),
        _ => None,
    });
    programs.collect()
}

/// It did not require the removed one any more, and both were stopped at once.
#[test]
fn what_restarts_with_another_stops_before_a_removed_one_that_it_required() {
    let (mut desk, runs) = last_requires(&[id(0), id(1)]);
    let replaces = vec![replacement(1, &[], true), replacement(2, &[id(1)], false)];
    assert_eq!(remove_first(&mut desk, replaces), [id(2)]);
    desk.exit(runs[2], CLEAN);
    let told = desk.gone(runs[2]);
    assert_eq!(signalled(&told), [id(0), id(1)]);
}

/// As above.
#[test]
fn what_stops_already_stops_before_a_removed_one_that_it_required() {
    let (mut desk, runs) = last_requires(&[id(0)]);
    desk.command(Command::Stop(id(2)));
    let replaces = vec![replacement(2, &[], false)];
    assert_eq!(remove_first(&mut desk, replaces), []);
    desk.exit(runs[2], CLEAN);
    let told = desk.gone(runs[2]);
    assert_eq!(signalled(&told), [id(0)]);
}

#[test]
fn what_requires_a_removed_one_no_more_runs_on() {
    let (mut desk, runs) = last_requires(&[id(0)]);
    let replaces = vec![replacement(2, &[], false)];
    assert_eq!(remove_first(&mut desk, replaces), [id(0)]);
    desk.exit(runs[0], CLEAN);
    assert_eq!(desk.gone(runs[0]), [removed(runs[0])]);
    assert_eq!(desk.state(2), State::Running { since: desk.now });
}

/// It was started by what was known of the links before.
#[test]
fn what_is_added_starts_what_keeps_down_what_it_requires_by_the_new_links() {
    let mut desk = Desk::new(&[restarted(Restart::Never), policy(), policy()]);
    let links = vec![(id(1), Links::new(&[id(0)], &[]))];
    let linked = desk.machine.link(desk.now, links);
    linked.expect("there is no cycle");
    desk.command(Command::Start(id(1)));
    let failed = desk.spawn();
    desk.end(failed, CRASH);
    desk.command(Command::Start(id(2)));
    let waiting = desk.spawn();
    desk.end(waiting, CRASH);
    let new = desk.machine.add(desk.now, policy()).expect("an id is left");
    let edit = Edit {
        replaces: vec![replacement(2, &[id(1)], false)],
        adds: vec![(new, Links::new(&[id(2)], &[]))],
        starts: true,
        ..Edit::default()
    };
    let edited = desk.machine.edit(desk.now, edit);
    edited.expect("there is no cycle");
    assert_eq!(desk.view(0).goal, Goal::Up);
}

/// What is in backoff is not restarted, and takes nothing down with it.
#[test]
fn a_requirement_in_backoff_that_changes_is_no_restart() {
    let (mut desk, runs) = last_requires(&[id(0), id(1)]);
    desk.exit(runs[0], CRASH);
    desk.gone(runs[0]);
    let replaces = vec![
        replacement(0, &[], true),
        replacement(1, &[], true),
        replacement(2, &[id(0)], false),
    ];
    let edit = Edit {
        replaces,
        ..Edit::default()
    };
    let edited = desk.machine.edit(desk.now, edit);
    edited.expect("there is no cycle");
    assert_eq!(signalled(&desk.orders()), [id(1)]);
}
