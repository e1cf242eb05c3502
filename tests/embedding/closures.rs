//! The host's closures: they panic, take their time, start processes, and use the handle of the
//! very scheduler that calls them.

use std::process::Command;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use procsched::{EventKind, Handle, ProgramState, Reap};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use crate::process;

pub const TESTS: &[Test] = tests![
    m143_panics_in_every_closure_are_survived,
    m144_a_slow_closure_delays_and_loses_nothing,
    m144_a_slow_closure_loses_no_byte,
    m145_closures_may_use_the_handle_of_their_own_scheduler,
    m146_closures_may_start_processes_and_wait_for_them,
];

/// Every closure that there is panics at everything, and each panic is told.
fn m143_panics_in_every_closure_are_survived() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let panics = kit::List::new();
            let sink = panics.clone();
            let programs = (0..5).map(|i| kit::churner(&format!("web{i}"), MILLISECOND, "exit 1"));
            let builder = kit::own(&dir).reap(reap).programs(programs);
            let builder = builder
                .error_handler(|_, _| panic!("of a report"))
                .on_stray(|_, _| panic!("of a stray"))
                .on_signals([libc::SIGUSR1], |_, _| panic!("of a signal"))
                .on_event(move |event| match event.kind() {
                    EventKind::HandlerPanicked { message, .. } => {
                        sink.push(format!("{} {message}", event.program()));
                    }
                    _ => panic!("of an event"),
                });
            std::panic::set_hook(Box::new(|_| {}));
            let mut scheduler = kit::built(builder);
            kit::raise(libc::SIGUSR1);
            let child = kit::copy(|| 42);
            let has = |word: &str| panics.items().iter().any(|told| told.ends_with(word));
            kit::turn_until(&mut scheduler, "every panic was told, often", |scheduler| {
                let stray = reap == Reap::Own || has("of a stray");
                let restarts = |p: &procsched::ProgramStatus| p.restarts() >= 10;
                stray
                    && has("web0 of a report")
                    && has("of an event")
                    && has("of a signal")
                    && scheduler.programs().iter().all(restarts)
            });
            if reap == Reap::Own {
                assert_eq!(kit::ended(child).code(), Some(42));
            }
            kit::end(&mut scheduler);
            drop(std::panic::take_hook());
        }
    });
}

/// A closure that is slow: what falls due meanwhile is made up for, a stop first of all.
fn m144_a_slow_closure_delays_and_loses_nothing() {
    host(|| {
        let dir = kit::directory();
        let (reports, mut handler) = kit::reports();
        let flood = kit::once("flood", "head -c 1048576 /dev/zero >&2; exit 2");
        let quick = kit::once("quick", "exit 1");
        let builder = kit::own(&dir).programs([quick, flood, kit::sleeper("web")]);
        let handle = Arc::new(Mutex::new(None::<Handle>));
        let late = handle.clone();
        let mut scheduler = kit::built(builder.error_handler(move |name, report| {
            if name == "quick" {
                // Slow: until the other program has filled its pipe and waits for us.
                process::wait_for("a full pipe", || {
                    process::children(kit::me())
                        .iter()
                        .any(|&pid| process::stat(pid).is_some())
                });
                std::thread::sleep(50 * MILLISECOND);
                late.lock()
                    .expect("no panic")
                    .as_ref()
                    .expect("a handle")
                    .stop();
            }
            handler(name, report);
        }));
        *handle.lock().expect("no panic") = Some(scheduler.handle());
        scheduler.start().expect("a clean end");
        let reports = reports.items();
        assert_eq!(reports.len(), 3);
        for report in reports {
            assert!(
                report.stopping() || report.process() == "quick",
                "{report:?}"
            );
        }
    });
}

/// A closure that took its time once left others blocked on full pipes.
fn m144_a_slow_closure_loses_no_byte() {
    const BYTES: u64 = 1_048_576;
    host(|| {
        let dir = kit::directory();
        let (reports, mut handler) = kit::reports();
        let flood = kit::once("flood", "head -c 1048576 /dev/zero >&2; exit 2");
        let builder = kit::own(&dir).programs([kit::once("quick", "exit 1"), flood]);
        let mut scheduler = kit::built(builder.error_handler(move |name, report| {
            if name == "quick" {
                std::thread::sleep(500 * MILLISECOND); // Being slow is what it is for.
            }
            handler(name, report);
        }));
        scheduler.start().expect("a clean end");
        let reports = reports.items();
        let flood = reports.iter().find(|report| report.process() == "flood");
        let flood = flood.expect("its report");
        assert_eq!(flood.data_omitted() + flood.stderr().len() as u64, BYTES);
        assert_eq!(kit::log_of(&dir, "flood").len() as u64, BYTES);
    });
}

/// Numbers by chance, the same in each run.
fn chance(seed: &AtomicUsize) -> usize {
    let step = |x: usize| Some(x.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1));
    let old = seed.fetch_update(Ordering::SeqCst, Ordering::SeqCst, step);
    old.unwrap_or_default() >> 33
}

/// Uses every method of the handle, in the middle of the scheduler's own turn.
fn meddle(handle: &Handle, what: usize) {
    let copy = handle.clone();
    match what % 16 {
        0 => copy.stop(),
        1 => copy.kill(),
        2 => {
            copy.stop();
            copy.kill();
            copy.stop();
        }
        _ => {}
    }
    // A stop is seen at once, and the end only when it is there.
    let asked = what % 16 < 3;
    assert!(!asked || handle.is_stopping());
    assert!(!handle.is_stopped());
}

fn m145_closures_may_use_the_handle_of_their_own_scheduler() {
    host(|| {
        let seed = Arc::new(AtomicUsize::new(4711));
        for life in 0..100 {
            let dir = kit::directory();
            let handle = Arc::new(Mutex::new(None::<Handle>));
            let use_it = || {
                let (handle, seed) = (handle.clone(), seed.clone());
                move || {
                    let handle = handle.lock().expect("no panic").clone().expect("a handle");
                    meddle(&handle, chance(&seed));
                }
            };
            let (a, b, c) = (use_it(), use_it(), use_it());
            let script = "kill -USR1 $PPID; exit 1";
            let churn = |i| kit::churner(&format!("web{i}"), MILLISECOND, script);
            let panics = kit::List::new();
            let sink = panics.clone();
            let builder = kit::own(&dir).programs((0..3).map(churn));
            let mut scheduler = kit::built(
                builder
                    .error_handler(move |_, _| a())
                    .on_signals([libc::SIGUSR1], move |_, _| b())
                    .on_event(move |event| match event.kind() {
                        EventKind::HandlerPanicked { message, .. } => sink.push(message.clone()),
                        _ => c(),
                    }),
            );
            let remote = scheduler.handle();
            *handle.lock().expect("no panic") = Some(remote.clone());
            scheduler
                .start()
                .unwrap_or_else(|error| panic!("life {life}: {error}"));
            assert_eq!(panics.items(), Vec::<String>::new(), "life {life}");
            assert!(remote.is_stopping() && remote.is_stopped());
            for program in scheduler.programs() {
                assert_eq!(
                    (program.state(), program.pid()),
                    (ProgramState::Stopped, None)
                );
            }
            assert!(process::children(kit::me()).is_empty(), "life {life}");
        }
    });
}

/// What a process of the host has open, by number, and its exit code.
fn list() -> (Option<i32>, Vec<String>) {
    let script = "ls /proc/self/fd; exit 5";
    let output = Command::new("sh")
        .args(["-c", script])
        .output()
        .expect("a shell");
    let text = String::from_utf8_lossy(&output.stdout).into_owned();
    (
        output.status.code(),
        text.lines().map(str::to_owned).collect(),
    )
}

/// They inherit nothing, and their codes are the host's.
fn m146_closures_may_start_processes_and_wait_for_them() {
    host(|| {
        for reap in [Reap::Own, Reap::All] {
            let dir = kit::directory();
            let outputs = kit::List::new();
            let sink = outputs.clone();
            let builder = kit::own(&dir).reap(reap).program(kit::sleeper("other"));
            let builder = builder.program(kit::churner("web", MILLISECOND, "exit 1"));
            let before = list();
            let mut scheduler = kit::built(builder.error_handler(move |_, _| sink.push(list())));
            kit::turn_until(&mut scheduler, "there were some", |_| outputs.len() >= 20);
            kit::end(&mut scheduler);
            for output in outputs.items() {
                assert_eq!(output, before, "{reap:?}");
            }
        }
    });
}
