//! Programs that start after others, or require them.

use super::super::definitions::Replacement;
use super::super::graph::Links;
use super::*;

fn links(requires: &[usize], after: &[usize]) -> Links {
    let ids = |of: &[usize]| of.iter().map(|&index| id(index)).collect::<Vec<_>>();
    Links::new(&ids(requires), &ids(after))
}

/// Programs with links: each has its index, what it requires, and what it starts after.
fn linked(policies: &[Policy], all: &[(usize, &[usize], &[usize])]) -> Desk {
    let mut desk = Desk::new(policies);
    let all = all.iter();
    let all = all.map(|&(index, requires, after)| (id(index), links(requires, after)));
    let linked = desk.machine.link(desk.now, all.collect());
    linked.expect("there is no cycle");
    desk
}

/// Starts every program, and answers every start that nothing holds. Returns the runs by program.
fn start_all(desk: &mut Desk, programs: usize) -> Vec<Run> {
    for index in 0..programs {
        desk.command(Command::Start(id(index)));
    }
    let mut runs = spawn_all(desk);
    runs.sort_unstable();
    runs
}

fn spawn_all(desk: &mut Desk) -> Vec<Run> {
    let mut runs = Vec::new();
    while desk.machine.has_starts() {
        let Some(run) = desk.machine.next_start() else {
            break;
        };
        desk.tell(Input::Spawned { run, at: desk.now });
        runs.push(run);
    }
    runs
}

fn end_as_asked(desk: &mut Desk, run: Run) -> Vec<Order> {
    desk.exit(run, CLEAN);
    desk.gone(run)
}

/// It waited for those that were ending when it began to wait, and not for those that the
/// shutdown stopped.
#[test]
fn a_shutdown_during_a_stop_waits_for_all_that_depend_on_it() {
    let mut desk = linked(&[policy(); 3], &[(1, &[0], &[]), (2, &[], &[0])]);
    let runs = start_all(&mut desk, 3);
    desk.command(Command::Stop(id(0)));
    desk.command(Command::StopAll);
    assert_eq!(end_as_asked(&mut desk, runs[1]), []);
    assert!(matches!(desk.state(0), State::Draining { .. }));
    assert_eq!(signals(&end_as_asked(&mut desk, runs[2])), [15, 18]);
}

/// Each waited for the other if only one of them looked again at what depends on it.
#[test]
fn a_shutdown_after_links_were_turned_round_ends() {
    let mut desk = linked(&[policy(); 3], &[(1, &[0], &[]), (2, &[1], &[])]);
    let runs = start_all(&mut desk, 3);
    desk.command(Command::Stop(id(0)));
    let turn = |program, requires: &[usize]| Replacement {
        program: id(program),
        policy: policy(),
        links: links(requires, &[]),
        restart: false,
    };
    let all = vec![turn(0, &[1]), turn(1, &[])];
    desk.machine.replace(desk.now, all).expect("no cycle");
    desk.orders();
    desk.command(Command::Stop(id(1)));
    desk.command(Command::StopAll);
    desk.command(Command::StopAll);
    for round in 0..3 {
        for &run in &runs {
            if matches!(desk.state(run.program.0 as usize), State::Stopping { .. }) {
                end_as_asked(&mut desk, run);
            }
        }
        assert!(round < 2 || desk.machine.is_settled());
    }
}

/// It came to what is required at first hand, and to nothing behind that.
#[test]
fn a_start_starts_what_is_required_at_any_depth() {
    let chain: [(usize, &[usize], &[usize]); 2] = [(1, &[0], &[]), (2, &[1], &[])];
    let diamond: [(usize, &[usize], &[usize]); 3] =
        [(1, &[0], &[]), (2, &[0], &[]), (3, &[1, 2], &[])];
    for all in [&chain[..], &diamond[..]] {
        for command in [Command::Start, Command::Restart] {
            let count = all.len() + 1;
            let mut desk = linked(&vec![policy(); count], all);
            let runs = start_all(&mut desk, count);
            desk.command(Command::Stop(id(0)));
            for &run in runs.iter().rev() {
                end_as_asked(&mut desk, run);
            }
            assert!(desk.machine.next_start().is_none());
            desk.command(command(id(count - 1)));
            assert_eq!(spawn_all(&mut desk).len(), count, "{command:?}");
        }
    }
}

/// 3 requires 2, which requires 1, which requires 0; each was stopped but 2, which is pending.
#[test]
fn a_start_reaches_what_was_stopped_behind_what_is_pending() {
    let all: [(usize, &[usize], &[usize]); 3] = [(1, &[0], &[]), (2, &[1], &[]), (3, &[2], &[])];
    let mut desk = linked(&[policy(); 4], &all);
    let runs = start_all(&mut desk, 4);
    for index in [3, 1, 0] {
        desk.command(Command::Stop(id(index)));
    }
    for &run in runs.iter().rev() {
        end_as_asked(&mut desk, run);
    }
    assert_eq!(desk.view(2).hold, Some(Hold::Requires(id(1))));
    desk.command(Command::Start(id(3)));
    assert_eq!(spawn_all(&mut desk).len(), 4);
}

/// A program that runs, and requires a oneshot that has succeeded and was stopped by hand.
fn one_that_runs_beside_a_stopped_oneshot() -> Desk {
    let mut desk = linked(&[oneshot(), policy()], &[(1, &[0], &[])]);
    desk.command(Command::Start(id(1)));
    let run = desk.spawn();
    desk.exit(run, CLEAN);
    desk.gone(run);
    desk.spawn();
    desk.command(Command::Stop(id(0)));
    desk
}

/// It ran the oneshot again.
#[test]
fn a_start_of_what_runs_does_nothing_for_what_it_requires() {
    let mut desk = one_that_runs_beside_a_stopped_oneshot();
    assert_eq!(desk.command(Command::Start(id(1))), []);
    assert_eq!(desk.state(0), State::Inactive);
    assert!(desk.machine.next_start().is_none());
    desk.command(Command::Restart(id(1)));
    assert_eq!(desk.state(0), State::Due);
}

/// What required it was stopped, and the plan of the reload did not say so.
#[test]
fn a_stopped_oneshot_that_is_to_be_none_takes_nothing_down() {
    for restart in [false, true] {
        let mut desk = one_that_runs_beside_a_stopped_oneshot();
        let new = Replacement {
            program: id(0),
            policy: policy(),
            links: Links::default(),
            restart,
        };
        desk.machine.replace(desk.now, vec![new]).expect("no cycle");
        assert_eq!(desk.orders(), []);
        assert!(matches!(desk.state(1), State::Running { .. }));
        // Once it has been up it is a requirement like any other.
        desk.command(Command::Start(id(0)));
        desk.spawn();
        assert_eq!(signals(&desk.command(Command::Stop(id(0)))), [15, 18]);
        assert!(matches!(desk.state(1), State::Stopping { .. }));
    }
}

/// A program in its delay got a requirement that was stopped, and what required it was stopped.
#[test]
fn what_waits_and_cannot_come_up_any_more_takes_nothing_down_by_a_new_definition() {
    let mut desk = linked(&[policy(); 3], &[(1, &[0], &[])]);
    let runs = start_all(&mut desk, 3);
    desk.command(Command::Stop(id(2)));
    end_as_asked(&mut desk, runs[2]);
    desk.end(runs[0], CRASH);
    let new = Replacement {
        program: id(0),
        policy: policy(),
        links: links(&[2], &[]),
        restart: false,
    };
    desk.machine.replace(desk.now, vec![new]).expect("no cycle");
    assert_eq!(desk.orders(), []);
    assert!(matches!(desk.state(1), State::Running { .. }));
}

#[test]
fn what_is_being_removed_is_not_started_by_what_requires_it() {
    let (mut desk, run) = Desk::running(policy());
    desk.command(Command::Remove(id(0)));
    let new = desk.machine.add(desk.now, policy()).expect("an id is left");
    let all = vec![(new, links(&[0], &[]))];
    desk.machine.link(desk.now, all).expect("no cycle");
    desk.command(Command::Start(new));
    end_as_asked(&mut desk, run);
    assert_eq!(desk.machine.view(id(0)), None);
    let runs = spawn_all(&mut desk);
    assert_eq!(runs.len(), 1, "only the new one");
    assert_eq!(runs[0].program, new);
}

/// What it starts after was no matter while it waited for what it requires; it is one when that
/// is up.
#[test]
fn what_it_starts_after_is_looked_at_when_all_that_it_requires_is_up() {
    let mut desk = linked(&[policy(); 3], &[(2, &[0], &[1])]);
    desk.command(Command::Start(id(0)));
    let slow = desk.machine.next_start().expect("a start is due");
    desk.command(Command::Start(id(2)));
    desk.tell(Input::SpawnDelayed {
        run: slow,
        at: desk.now,
    });
    desk.command(Command::Start(id(1)));
    let cache = desk.machine.next_start().expect("a start is due");
    assert_eq!(cache.program, id(1));
    desk.tell(Input::SpawnDelayed {
        run: cache,
        at: desk.now,
    });
    desk.tell(Input::Spawned {
        run: slow,
        at: desk.now,
    });
    assert!(desk.machine.next_start().is_none());
    assert_eq!(desk.view(2).hold, Some(Hold::After(id(1))));
    desk.tell(Input::Spawned {
        run: cache,
        at: desk.now,
    });
    assert_eq!(desk.spawn().program, id(2));
}

/// 2 requires 0, which fails to start, and starts after 1, which is tried twice.
#[test]
fn a_try_that_failed_before_what_it_requires_was_up_is_not_the_one_it_waits_for() {
    let once = Policy {
        oneshot: true,
        ..restarted(Restart::OnFailure)
    };
    let mut desk = linked(&[policy(), once, policy()], &[(2, &[0], &[1])]);
    for index in 0..3 {
        desk.command(Command::Start(id(index)));
    }
    assert_eq!(desk.fail_to_spawn(), Some(secs(1)));
    let warmup = desk.spawn();
    assert!(desk.machine.next_start().is_none());
    desk.end(warmup, CRASH);
    desk.timeout_at_deadline();
    let started = spawn_all(&mut desk);
    assert_eq!(started.len(), 2, "2 waits for the second try: {started:?}");
}

/// A program that was ending for a fault exited: nothing said any more that it was to be stopped,
/// and what it requires was stopped while its group was there.
#[test]
fn a_stop_waits_for_the_group_of_what_ends_for_a_fault() {
    let mut desk = linked(&[policy(); 2], &[(1, &[0], &[])]);
    let runs = start_all(&mut desk, 2);
    desk.tell(Input::Unhealthy { run: runs[1] });
    desk.command(Command::Stop(id(0)));
    desk.exit(runs[1], CRASH);
    assert!(matches!(desk.state(0), State::Draining { .. }));
    assert_eq!(signals(&desk.gone(runs[1])), [15, 18]);
}

/// 2 requires 1, which is in its delay; new definitions give 0 its first link, to 1, and 1 one to
/// 3. What was known of 3 before it had told was that it does not run.
#[test]
fn new_definitions_stop_nothing_for_what_has_not_told_yet() {
    let mut desk = linked(&[policy(); 4], &[(2, &[1], &[])]);
    let runs = start_all(&mut desk, 4);
    desk.end(runs[1], CRASH);
    let linked = |program, to| Replacement {
        program: id(program),
        policy: policy(),
        links: links(&[to], &[]),
        restart: false,
    };
    let all = vec![linked(0, 1), linked(1, 3)];
    desk.machine.replace(desk.now, all).expect("no cycle");
    assert_eq!(desk.orders(), []);
    assert!(matches!(desk.state(2), State::Running { .. }));
}

/// The start was lost.
#[test]
fn a_start_goes_on_when_its_last_link_is_gone() {
    for is_removed in [false, true] {
        let mut desk = linked(&[policy(); 2], &[(1, &[0], &[])]);
        let runs = start_all(&mut desk, 2);
        desk.command(if is_removed {
            Command::Remove(id(0))
        } else {
            Command::Stop(id(0))
        });
        end_as_asked(&mut desk, runs[1]);
        assert!(desk.machine.next_start().is_none());
        end_as_asked(&mut desk, runs[0]);
        if !is_removed {
            let new = Replacement {
                program: id(1),
                policy: policy(),
                links: links(&[], &[]),
                restart: false,
            };
            desk.machine.replace(desk.now, vec![new]).expect("no cycle");
        }
        assert_eq!(desk.spawn().program, id(1));
    }
}

/// The first start of everything started what had been stopped before, as something required it.
#[test]
fn a_start_of_what_is_new_starts_nothing_that_was_stopped_by_hand() {
    // 2 requires 1, which requires 0.
    let all: [(usize, &[usize], &[usize]); 2] = [(1, &[0], &[]), (2, &[1], &[])];
    for command in [Command::StartAll, Command::StartNew(id(2))] {
        for stopped in [0, 1] {
            let mut desk = linked(&[policy(); 3], &all);
            desk.command(Command::Stop(id(stopped)));
            desk.command(command);
            assert_eq!(desk.state(stopped), State::Inactive);
            assert_eq!(desk.state(2), State::Due, "{command:?}");
            spawn_all(&mut desk);
            assert_eq!(desk.view(2).hold, Some(Hold::Requires(id(1))));
            desk.command(Command::Start(id(2)));
            spawn_all(&mut desk);
            assert!(matches!(desk.state(2), State::Running { .. }));
        }
    }
}

#[test]
fn a_start_of_what_is_new_starts_what_that_requires() {
    let all: [(usize, &[usize], &[usize]); 2] = [(1, &[0], &[]), (2, &[1], &[])];
    let mut desk = linked(&[policy(), restarted(Restart::Never), policy()], &all);
    desk.command(Command::Start(id(1)));
    let runs = spawn_all(&mut desk);
    desk.end(runs[1], CRASH);
    desk.command(Command::StartNew(id(2)));
    assert_eq!(spawn_all(&mut desk).len(), 2, "what failed, too");
}

#[test]
fn a_start_of_what_is_new_is_none_of_what_ran_was_stopped_or_goes() {
    let mut desk = Desk::new(&[policy(); 4]);
    desk.command(Command::Start(id(0)));
    let run = desk.spawn();
    desk.command(Command::Stop(id(0)));
    end_as_asked(&mut desk, run);
    desk.command(Command::Stop(id(1)));
    desk.command(Command::Start(id(2)));
    let run = desk.machine.next_start().expect("a start is due");
    desk.tell(Input::SpawnDelayed { run, at: desk.now });
    desk.command(Command::Remove(id(2)));
    for command in [Command::StartAll, Command::StartNew(id(0))] {
        desk.command(command);
        desk.command(Command::StartNew(id(1)));
        desk.command(Command::StartNew(id(2)));
    }
    let runs = spawn_all(&mut desk);
    assert_eq!(runs.len(), 1);
    assert_eq!(runs[0].program, id(3), "it is the only new one");
    desk.command(Command::StopAll);
    desk.command(Command::StartAll);
    assert!(!desk.machine.has_starts());
}

#[test]
fn all_start_in_the_order_in_which_they_were_added() {
    let mut desk = linked(&[policy(); 4], &[(0, &[3], &[])]);
    desk.command(Command::StartAll);
    let started: Vec<usize> = spawn_all(&mut desk)
        .iter()
        .map(|run| run.program.0 as usize)
        .collect();
    assert_eq!(started, [1, 2, 3, 0]);
}

const MANY: usize = 4_000;

fn oneshot() -> Policy {
    Policy {
        oneshot: true,
        ..restarted(Restart::Never)
    }
}

/// What cost the square of the number of programs would take minutes here.
fn in_no_time(act: impl FnOnce()) {
    act();
}

/// At each end of one of them the first that was not up was looked for.
#[test]
fn many_programs_that_one_requires_cost_a_step_each() {
    let all: Vec<usize> = (1..MANY).collect();
    for policy_of in [oneshot(), policy()] {
        let mut policies = vec![policy_of; MANY];
        policies[0] = policy();
        let mut desk = linked(&policies, &[(0, &all, &[])]);
        in_no_time(|| {
            let runs = start_all(&mut desk, MANY);
            for run in runs.into_iter().filter(|_| policy_of.oneshot) {
                end_as_asked(&mut desk, run);
            }
            spawn_all(&mut desk);
        });
        assert!(matches!(desk.state(0), State::Running { .. }));
    }
}

/// A cycle was looked for through all that a new program requires.
#[test]
fn a_program_that_is_added_to_a_long_chain_costs_a_step() {
    let mut desk = Desk::new(&[policy()]);
    in_no_time(|| {
        for index in 1..MANY {
            let new = desk.machine.add(desk.now, policy()).expect("an id is left");
            let all = vec![(new, links(&[index - 1], &[]))];
            desk.machine.link(desk.now, all).expect("no cycle");
        }
    });
}

/// All that stayed was looked at after each of them.
#[test]
fn a_removal_costs_a_step() {
    let mut desk = Desk::new(&vec![policy(); MANY]);
    in_no_time(|| {
        for index in 0..MANY {
            desk.command(Command::Remove(id(index)));
        }
    });
}

#[test]
fn a_start_at_the_end_of_a_long_chain_costs_a_step_for_each_program() {
    let chain: Vec<(ProgramId, Links)> = (1..10_000)
        .map(|index| (id(index), links(&[index - 1], &[])))
        .collect();
    let mut desk = Desk::new(&vec![policy(); 10_000]);
    desk.machine.link(desk.now, chain).expect("no cycle");
    let mut other = Desk {
        machine: desk.machine.clone(),
        now: desk.now,
    };
    in_no_time(|| {
        desk.command(Command::Start(id(9_999)));
    });
    assert_eq!(desk.state(0), State::Due);
    in_no_time(|| {
        other.command(Command::StartAll);
        assert_eq!(spawn_all(&mut other).len(), 10_000);
    });
}
