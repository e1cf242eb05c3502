//! Several schedulers in one process: with `Reap::Own` as many as you like, in any threads;
//! with `Reap::All` one, and no other beside it.

use std::collections::HashMap;
use std::sync::Barrier;
use std::thread;

use procsched::{ErrorReport, Reap};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse_pidfds;

pub const TESTS: &[Test] = tests![
    m147_schedulers_in_several_threads_live_in_peace,
    m147_schedulers_in_several_threads_live_in_peace_without_pidfds,
    m147_two_in_one_thread_and_one_is_dropped,
    all_tolerates_no_other_of_either_kind,
    all_hands_over_every_status_that_is_not_ours,
    own_hands_over_no_status,
];

const NEIGHBOURS: usize = 3;
const CHURNERS: usize = 20;
const RUNS: u64 = 10;

/// One scheduler's life: each of its runs is told once, with its own code, and to nobody else.
fn life(number: usize, together: &Barrier) {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let script = format!("exit {}", 10 + number);
    let churn = |i| kit::churner(&format!("life{number}-{i}"), 10 * MILLISECOND, &script);
    let builder = kit::own(&dir)
        .programs((0..CHURNERS).map(churn))
        .safety_sweep(false);
    let mut scheduler = kit::built(builder.error_handler(handler));
    together.wait();
    // The first goes early, and takes nothing of the others with it.
    let wanted = if number == 0 { RUNS / 3 } else { RUNS };
    kit::turn_until(&mut scheduler, "each has had its runs", |scheduler| {
        scheduler
            .programs()
            .iter()
            .all(|program| program.restarts() >= wanted)
    });
    kit::end(&mut scheduler);
    let programs = scheduler.programs();
    drop(scheduler);
    let mut told: HashMap<String, u64> = HashMap::new();
    for report in reports.items() {
        let own = [10 + number as i32, -libc::SIGKILL].contains(&report.return_code());
        assert!(
            kit::was_cancelled(&report) || (own && report.error().is_none()),
            "{report:?}"
        );
        *told.entry(report.process().to_owned()).or_default() += 1;
    }
    for program in programs {
        assert_eq!(
            told[program.name()],
            program.restarts() + 1,
            "{}",
            program.name()
        );
    }
}

fn lives() {
    let together = Barrier::new(NEIGHBOURS);
    thread::scope(|scope| {
        let together = &together;
        let lives: Vec<_> = (0..NEIGHBOURS)
            .map(|number| scope.spawn(move || life(number, together)))
            .collect();
        for life in lives {
            life.join().expect("a life in peace");
        }
    });
}

fn m147_schedulers_in_several_threads_live_in_peace() {
    host(|| {
        let before = kit::actions();
        lives();
        assert_eq!(kit::actions(), before);
    });
}

fn m147_schedulers_in_several_threads_live_in_peace_without_pidfds() {
    host(|| {
        refuse_pidfds(libc::ENOSYS);
        lives();
    });
}

/// Two in one thread, turn by turn; one is dropped with its program alive.
fn m147_two_in_one_thread_and_one_is_dropped() {
    host(|| {
        let dirs = [kit::directory(), kit::directory()];
        let script = "exec sleep 1000";
        let build = |index: usize| {
            let program = kit::churner("web", MILLISECOND, script);
            kit::built(kit::own(&dirs[index]).program(program).safety_sweep(false))
        };
        let (mut stays, mut goes) = (build(0), build(1));
        let left = kit::all_up(&mut goes)[0];
        for round in 0..6 {
            let pid = kit::all_up(&mut stays)[0];
            crate::process::signal(pid, libc::SIGKILL);
            kit::turn_until(
                &mut stays,
                "its own program is started again",
                |scheduler| kit::status(scheduler, "web").restarts() > round,
            );
            if round == 2 {
                drop(goes);
                goes = build(1);
            }
        }
        assert!(crate::process::alive(left), "dropping kills nobody");
        crate::process::signal(left, libc::SIGKILL);
        assert!(kit::ended(left).code().is_none(), "and nobody reaped it");
        kit::end(&mut stays);
        kit::end(&mut goes);
    });
}

fn all_tolerates_no_other_of_either_kind() {
    host(|| {
        let dirs = [kit::directory(), kit::directory()];
        let build = |index: usize, reap| {
            let builder = kit::own(&dirs[index]).reap(reap);
            builder.program(kit::once("web", "exit 5")).build()
        };
        for (first, second) in [
            (Reap::All, Reap::All),
            (Reap::All, Reap::Own),
            (Reap::Own, Reap::All),
        ] {
            let before = (kit::actions(), kit::descriptors());
            let mut alive = build(0, first).expect("the first");
            let during = (kit::actions(), kit::descriptors());
            let error = build(1, second).expect_err("the second").to_string();
            assert!(
                error.contains("another ProcessScheduler is alive"),
                "{error}"
            );
            assert_eq!(
                (kit::actions(), kit::descriptors()),
                during,
                "{first:?} {second:?}"
            );
            alive.start().expect("a clean end");
            assert_eq!(kit::code(&alive, "web"), Some(5));
            drop(alive);
            assert_eq!((kit::actions(), kit::descriptors()), before);
            drop(build(1, second).expect("after the first"));
        }
    });
}

/// The statuses of a host that asks for all of them, each once.
fn all_hands_over_every_status_that_is_not_ours() {
    host(|| {
        let dir = kit::directory();
        let strays = kit::List::new();
        let sink = strays.clone();
        let churn = kit::churner("churn", 5 * MILLISECOND, "exit 7");
        let builder = kit::all(&dir).program(churn);
        let mut scheduler = kit::built(builder.on_stray(move |pid, status| {
            sink.push((pid, status.code()));
        }));
        let mut expected = Vec::new();
        for code in 0..100 {
            expected.push((kit::copy(|| code), Some(code)));
        }
        kit::turn_until(&mut scheduler, "each was handed over", |_| {
            strays.len() >= 100
        });
        let mut found = strays.items();
        found.sort_unstable();
        expected.sort_unstable();
        assert_eq!(found, expected);
        kit::end(&mut scheduler);
    });
}

/// `Reap::Own` never calls it: those are the host's to wait for.
fn own_hands_over_no_status() {
    host(|| {
        let dir = kit::directory();
        let (reports, mut handler) = kit::reports();
        let builder = kit::own(&dir).program(kit::churner("churn", MILLISECOND, "exit 7"));
        let builder = builder.on_stray(|pid, status| panic!("{pid}: {status}"));
        let panics = kit::List::new();
        let sink = panics.clone();
        let builder = builder.on_event(move |event| {
            if let procsched::EventKind::HandlerPanicked { message, .. } = event.kind() {
                sink.push(message.clone());
            }
        });
        let mut scheduler = kit::built(builder.error_handler(move |name, report: &ErrorReport| {
            handler(name, report);
        }));
        let child = kit::copy(|| 42);
        kit::turn_until(&mut scheduler, "there were deaths", |_| reports.len() >= 10);
        assert_eq!(kit::ended(child).code(), Some(42));
        assert_eq!(panics.items(), Vec::<String>::new());
        kit::end(&mut scheduler);
    });
}
