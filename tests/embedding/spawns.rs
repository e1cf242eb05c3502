//! What a program gets from a host with signals of its own, and how its start and its end are
//! told, however short it is.

use std::time::{Duration, Instant};

use procsched::{EventKind, ProgramState};

use super::host::{Test, host, host_under};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse;
use crate::process;
use crate::tools::{Need, missing};

pub const TESTS: &[Test] = tests![
    m24_m25_a_program_blocks_and_ignores_nothing,
    m34_a_program_that_is_stopped_and_continued_wakes_nobody,
    m42_a_program_that_is_dead_before_it_is_known_is_seen,
    m42_short_programs_are_seen_each_time,
    m55_m56_what_may_not_be_signalled_is_abandoned_and_named,
    m52_a_stop_right_after_the_start_is_heard,
];

/// What the host blocks and ignores is the host's.
fn m24_m25_a_program_blocks_and_ignores_nothing() {
    host(|| {
        for signal in [libc::SIGPIPE, libc::SIGHUP, libc::SIGUSR2, libc::SIGINT] {
            kit::handle(signal, libc::SIG_IGN, 0);
        }
        kit::block(
            &(1..=64)
                .filter(|signal| ![32, 33].contains(signal))
                .collect::<Vec<_>>(),
        );
        let dir = kit::directory();
        let script = "grep -E 'Sig(Blk|Ign|Cgt)' /proc/self/status >&2; exec sleep 1000";
        let builder = kit::own(&dir).program(kit::once("web", script));
        let mut scheduler = kit::built(builder.safety_sweep(false));
        kit::turn_until(&mut scheduler, "it has spoken", |_| {
            kit::log_of(&dir, "web")
                .iter()
                .filter(|&&byte| byte == b'\n')
                .count()
                == 3
        });
        let text = String::from_utf8(kit::log_of(&dir, "web")).expect("text");
        for line in text.lines().filter(|line| !line.starts_with("SigCgt")) {
            assert!(line.ends_with("0000000000000000"), "{text}");
        }
        let start = Instant::now();
        scheduler.stop();
        while kit::turn(&mut scheduler, 10 * MILLISECOND) == procsched::Status::Running {}
        assert_eq!(kit::code(&scheduler, "web"), Some(-libc::SIGTERM));
        assert!(
            start.elapsed() < procsched::STOP_TIMEOUT_DEFAULT,
            "TERM was not heard"
        );
    });
}

/// A debugger's stops and continues are no news.
fn m34_a_program_that_is_stopped_and_continued_wakes_nobody() {
    host(|| {
        let dir = kit::directory();
        let events = kit::List::new();
        let sink = events.clone();
        let builder = kit::own(&dir)
            .program(kit::sleeper("web"))
            .safety_sweep(false);
        let mut scheduler = kit::built(builder.on_event(move |event| {
            sink.push(format!("{:?}", event.kind()));
        }));
        let pid = kit::all_up(&mut scheduler)[0];
        kit::turn_until(&mut scheduler, "nothing is left to do", |scheduler| {
            scheduler.next_deadline().is_none()
        });
        let before = events.len();
        for round in 0..1000 {
            for (signal, state) in [(libc::SIGSTOP, 'T'), (libc::SIGCONT, 'S')] {
                process::signal(pid, signal);
                process::wait_for("the state", || {
                    process::stat(pid).is_some_and(|stat| stat.state == state)
                });
            }
            assert!(
                !kit::readable(&scheduler, Duration::ZERO),
                "woken in round {round}"
            );
        }
        kit::turn(&mut scheduler, Duration::ZERO);
        assert_eq!(events.items()[before..], [] as [String; 0]);
        assert_eq!(kit::pid(&scheduler, "web"), Some(pid));
        kit::end(&mut scheduler);
    });
}

const SHORT_RUNS: u64 = 200;

fn short_runs() {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let programs = (0..10).map(|i| kit::churner(&format!("web{i}"), MILLISECOND, ""));
    let builder = kit::own(&dir).programs(programs).safety_sweep(false);
    let mut scheduler = kit::built(builder.error_handler(handler));
    kit::turn_until(&mut scheduler, "each has had its runs", |scheduler| {
        let programs = scheduler.programs();
        programs
            .iter()
            .all(|program| program.restarts() >= SHORT_RUNS / 10)
    });
    kit::end(&mut scheduler);
    for report in reports.items() {
        if kit::was_cancelled(&report) {
            continue;
        }
        assert_eq!(report.error(), None, "{report:?}");
        assert!(
            [0, -libc::SIGKILL].contains(&report.return_code()),
            "{report:?}"
        );
    }
    for program in scheduler.programs() {
        let told = reports.items();
        let told = told
            .iter()
            .filter(|r| r.process() == program.name())
            .count() as u64;
        assert_eq!(told, program.restarts() + 1, "{}", program.name());
    }
}

/// Dead before its start has returned: the tracer holds us where the process was made.
fn m42_a_program_that_is_dead_before_it_is_known_is_seen() {
    if missing(&[Need::Strace]) {
        return;
    }
    let words = [
        "strace",
        "-qq",
        "-o",
        "/dev/null",
        "-e",
        "trace=clone,clone3,vfork",
        "-e",
        "inject=clone,clone3,vfork:delay_exit=10000",
    ];
    host_under(&words, short_runs);
}

fn m42_short_programs_are_seen_each_time() {
    host(short_runs);
}

/// The kernel takes no signal from us, as where a program has become somebody else's.
fn m55_m56_what_may_not_be_signalled_is_abandoned_and_named() {
    host(|| {
        let dir = kit::directory();
        let script = "until test -e end; do sleep 0.01; done; touch ended";
        let web = kit::once("web", script).stop_timeout(Duration::ZERO);
        let (warnings, handler) = kit::warnings();
        let mut scheduler = kit::built(kit::own(&dir).program(web).on_event(handler));
        kit::all_up(&mut scheduler);
        refuse(&[libc::SYS_kill, libc::SYS_pidfd_send_signal], libc::EPERM);
        scheduler.stop();
        let start = Instant::now();
        while kit::turn(&mut scheduler, 100 * MILLISECOND) == procsched::Status::Running {
            assert!(start.elapsed() < process::PATIENCE, "it waits for ever");
        }
        assert!(scheduler.is_abandoned());
        assert_eq!(scheduler.programs()[0].state(), ProgramState::Abandoned);
        assert!(
            warnings
                .items()
                .iter()
                .any(|(name, text)| name == "web" && text.contains("SIGTERM")),
            "{:?}",
            warnings.items()
        );
        drop(scheduler);
        std::fs::write(dir.path().join("end"), "").expect("a file");
        kit::wait_for_file(&dir.path().join("ended"));
    });
}

/// A stop that comes before the first turn, in the middle of the starts, and right after each.
fn m52_a_stop_right_after_the_start_is_heard() {
    host(|| {
        for stop_at in 0..20 {
            let dir = kit::directory();
            let programs = (0..20).map(|i| kit::sleeper(&format!("web{i}")));
            let handle = std::sync::Arc::new(std::sync::Mutex::new(None::<procsched::Handle>));
            let late = handle.clone();
            let mut started = 0;
            let builder = kit::own(&dir).programs(programs).safety_sweep(false);
            let mut scheduler = kit::built(builder.on_event(move |event| {
                if matches!(event.kind(), EventKind::Started { .. }) {
                    started += 1;
                    if started > stop_at {
                        late.lock()
                            .expect("no panic")
                            .as_ref()
                            .expect("a handle")
                            .stop();
                    }
                }
            }));
            *handle.lock().expect("no panic") = Some(scheduler.handle());
            scheduler.start().expect("a clean end");
            assert!(process::children(kit::me()).is_empty());
        }
    });
}
