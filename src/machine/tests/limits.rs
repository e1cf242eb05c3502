//! When a program is not restarted any more, and by how much chance stretches a delay.

use super::*;

fn limited(max_restarts: u32) -> Policy {
    Policy {
        max_restarts: Some(max_restarts),
        ..policy()
    }
}

/// Ends it and starts it again, so often as it is restarted.
fn restarts(desk: &mut Desk, mut run: Run, exit: Exit, uptime: Duration) -> u32 {
    for restarts in 0..100 {
        desk.pass(uptime);
        if desk.end(run, exit).is_none() {
            return restarts;
        }
        desk.timeout_at_deadline();
        run = desk.spawn();
    }
    100
}

#[test]
fn a_program_is_restarted_as_often_in_a_row_as_it_may_be() {
    for (max, exit) in [(0, CRASH), (1, CRASH), (10, CRASH), (3, CLEAN)] {
        let (mut desk, run) = Desk::running(limited(max));
        assert_eq!(restarts(&mut desk, run, exit, ZERO), max, "{exit:?}");
        assert_eq!(desk.view(0).why, Why::GaveUp);
        assert_eq!(desk.view(0).restarts_in_row, max);
        assert!(desk.machine.is_settled());
        assert_eq!(desk.machine.next_deadline(), None);
    }
}

#[test]
fn a_long_run_begins_the_count_anew() {
    let (mut desk, run) = Desk::running(limited(2));
    assert_eq!(restarts(&mut desk, run, CRASH, secs(30)), 100);
    let (mut desk, run) = Desk::running(limited(2));
    let almost = millis(29_999);
    assert_eq!(restarts(&mut desk, run, CRASH, almost), 2);
}

/// Zero is no restart, however long it ran.
#[test]
fn a_limit_of_none_is_none() {
    let (mut desk, run) = Desk::running(limited(0));
    assert_eq!(restarts(&mut desk, run, CRASH, secs(86_400)), 0);
}

#[test]
fn failed_starts_count() {
    let mut desk = Desk::starting(limited(3));
    for n in 0..3 {
        assert_eq!(desk.fail_to_spawn(), Some(secs(1 << n)));
        desk.timeout_at_deadline();
    }
    assert_eq!(desk.fail_to_spawn(), None);
    assert_eq!(desk.view(0).why, Why::GaveUp);
}

#[test]
fn a_start_by_hand_forgives_them_all() {
    let (mut desk, run) = Desk::running(limited(2));
    assert_eq!(restarts(&mut desk, run, CRASH, ZERO), 2);
    for command in [Command::Start(id(0)), Command::Restart(id(0))] {
        desk.command(command);
        assert_eq!(desk.view(0).restarts_in_row, 0);
        let run = desk.spawn();
        assert_eq!(restarts(&mut desk, run, CRASH, ZERO), 2, "{command:?}");
    }
}

#[test]
fn an_essential_program_that_gave_up_ends_everything() {
    let essential = Policy {
        essential: true,
        ..limited(0)
    };
    let (mut desk, runs) = Desk::all_running(&[essential, policy()]);
    assert_eq!(signals(&desk.exit(runs[0], CRASH)), [9, 15, 18]);
    assert_eq!(desk.machine.essential_ended(), Some(id(0)));
}

#[test]
fn exits_that_count_as_success_are_no_failures() {
    let term = Exit::Signal {
        signal: 15,
        core_dumped: true,
    };
    let mut on_failure = restarted(Restart::OnFailure);
    on_failure.success.insert(Exit::Code(3));
    on_failure.success.insert(term);
    let kill = Exit::Signal {
        signal: 9,
        core_dumped: false,
    };
    for (exit, why) in [
        (CLEAN, Some(Why::Exited)),
        (Exit::Code(3), Some(Why::Exited)),
        (term, Some(Why::Exited)),
        (CRASH, None),
        (kill, None),
        (Exit::Unknown, None),
    ] {
        let (mut desk, run) = Desk::running(on_failure);
        assert_eq!(desk.end(run, exit).is_none(), why.is_some(), "{exit:?}");
        assert_eq!(why.unwrap_or(desk.view(0).why), desk.view(0).why);
    }
    let never = Policy {
        restart: Restart::Never,
        ..on_failure
    };
    let (mut desk, run) = Desk::running(never);
    desk.end(run, Exit::Code(3));
    assert_eq!(desk.view(0).why, Why::Exited);
    let (mut desk, run) = Desk::running(never);
    desk.end(run, CRASH);
    assert_eq!(desk.view(0).why, Why::Failed);
}

#[test]
fn a_permanent_exit_is_the_end_whatever_the_policy_says() {
    for restart in [Restart::Always, Restart::OnFailure, Restart::Never] {
        let mut policy = restarted(restart);
        policy.permanent.insert(Exit::Code(78));
        let (mut desk, run) = Desk::running(policy);
        assert_eq!(desk.end(run, Exit::Code(78)), None);
        assert_eq!(desk.view(0).why, Why::Permanent);
        assert!(desk.machine.is_settled());
        desk.command(Command::Start(id(0)));
        let run = desk.spawn();
        let is_restarted = desk.end(run, CRASH).is_some();
        assert_eq!(is_restarted, restart != Restart::Never);
    }
}

/// What it says when it is ended for a fault says nothing of its config; a failed start has no
/// code.
#[test]
fn a_fault_and_a_failed_start_are_never_permanent() {
    let mut policy = policy();
    policy.permanent.insert(CLEAN);
    policy.permanent.insert(Exit::Unknown);
    let (mut desk, run) = Desk::running(policy);
    desk.tell(Input::Unhealthy { run });
    desk.exit(run, CLEAN);
    desk.gone(run);
    desk.timeout_at_deadline();
    assert!(desk.fail_to_spawn().is_some());
}

#[test]
fn a_set_of_exits_knows_codes_and_signals_and_no_others() {
    let signal = |signal| Exit::Signal {
        signal,
        core_dumped: false,
    };
    let all = || (-1..=256).map(Exit::Code).chain((0..=65).map(signal));
    for one in all().chain([Exit::Unknown]) {
        let mut set = ExitSet::default();
        set.insert(one);
        let valid = match one {
            Exit::Code(code) => (0..=255).contains(&code),
            Exit::Signal { signal, .. } => (1..=64).contains(&signal),
            Exit::Unknown => false,
        };
        let expected: Vec<Exit> = all().filter(|&other| other == one && valid).collect();
        let got: Vec<Exit> = all().filter(|&other| set.contains(other)).collect();
        assert_eq!(got, expected);
        assert!(!set.contains(Exit::Unknown));
    }
}

/// The delays that a program that crashes has, each with the nominal one.
fn delays(jitter: u16, seed: u64, count: usize) -> Vec<(Duration, Duration)> {
    let mut desk = Desk::new(&[Policy { jitter, ..policy() }]);
    desk.machine.set_seed(seed);
    desk.command(Command::Start(id(0)));
    let mut delays = Vec::new();
    for n in 0..count {
        let end = desk.now;
        let told = if n % 2 == 0 {
            let run = desk.spawn();
            desk.end(run, CRASH)
        } else {
            desk.fail_to_spawn()
        };
        desk.timeout_at_deadline();
        delays.push((told.expect("always is always"), desk.now.since(end)));
    }
    delays
}

/// Programs that died together came back together, each time.
#[test]
fn chance_stretches_a_delay_and_never_shortens_it() {
    for jitter in [0, 1, 250, 1_000] {
        let delays = delays(jitter, 7, 2_000);
        let mut most = 0.0_f64;
        for (n, &(told, delay)) in delays.iter().enumerate() {
            let nominal = secs([1, 2, 4, 8, 16, 32].get(n).copied().unwrap_or(60));
            assert_eq!(told, nominal, "the report is nominal");
            let longest = nominal + nominal * u32::from(jitter) / 1_000;
            assert!(nominal <= delay && delay <= longest, "{jitter}: {delay:?}");
            most = most.max(delay.as_secs_f64() / nominal.as_secs_f64() - 1.0);
        }
        let all = f64::from(jitter) / 1_000.0;
        assert!(most >= 0.95 * all, "{jitter}: at most {most}");
        let middle = |(told, delay): &&(Duration, Duration)| {
            (delay.as_secs_f64() / told.as_secs_f64() - 1.0) < all / 2.0
        };
        let low = delays.iter().filter(middle).count();
        assert!(
            jitter == 0 || (800..1_200).contains(&low),
            "{jitter}: {low}"
        );
    }
}

#[test]
fn one_seed_is_one_sequence_of_delays() {
    assert_eq!(delays(500, 7, 50), delays(500, 7, 50));
    assert_ne!(delays(500, 7, 50), delays(500, 8, 50));
}

#[test]
fn a_delay_without_end_is_not_stretched_beyond() {
    for initial in [Duration::MAX, secs(u64::MAX), Duration::from_nanos(1)] {
        let backoff = Backoff {
            initial,
            max: Duration::MAX,
            reset_after: ZERO,
        };
        let jitter = u16::MAX;
        let (mut desk, run) = Desk::running(Policy {
            backoff,
            jitter,
            ..policy()
        });
        assert_eq!(desk.end(run, CRASH), Some(initial));
        assert!(desk.machine.next_deadline() >= Some(desk.now.after(initial)));
    }
}
