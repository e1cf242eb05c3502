//! The library in a host program, as far as one process can show it: callbacks and errors.
//!
//! A scheduler reaps every child of its process and there is one at a time, so that these
//! cases take turns.

use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use procsched::{
    Backoff, Builder, ChildSpec, ErrorReport, ProcessScheduler, ProgramState, Restart, Status,
};
use tempfile::TempDir;

static TURN: Mutex<()> = Mutex::new(());

const PATIENCE: Duration = Duration::from_secs(30);

/// The process is ours until this is dropped.
fn my_turn() -> MutexGuard<'static, ()> {
    TURN.lock().unwrap_or_else(PoisonError::into_inner)
}

fn shell(name: &str, script: &str) -> ChildSpec {
    ChildSpec::new(name, ["sh", "-c", script])
}

fn once(name: &str, script: &str) -> ChildSpec {
    shell(name, script).restart(Restart::Never)
}

fn again(name: &str, script: &str) -> ChildSpec {
    let backoff = Backoff {
        initial: Duration::from_millis(1),
        ..Backoff::default()
    };
    shell(name, script).backoff(backoff)
}

fn builder(directory: &TempDir) -> Builder {
    ProcessScheduler::builder(directory.path())
        .err_dir("logs")
        .error_handler(|_, _| {})
}

fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// Turns until something holds; fails if it never does.
fn turn_until(scheduler: &mut ProcessScheduler, mut holds: impl FnMut(&ProcessScheduler) -> bool) {
    let start = Instant::now();
    while !holds(scheduler) {
        assert!(
            start.elapsed() < PATIENCE,
            "it never came true: {:#?}",
            scheduler.programs()
        );
        scheduler
            .step(Some(Duration::from_millis(10)))
            .expect("a turn");
    }
}

type Reports = Arc<Mutex<Vec<ErrorReport>>>;

fn collector() -> (Reports, impl FnMut(&str, &ErrorReport) + Send) {
    let reports = Reports::default();
    let sink = reports.clone();
    (reports, move |_: &str, report: &ErrorReport| {
        sink.lock().expect("no panic").push(report.clone());
    })
}

#[test]
fn a_scheduler_can_be_sent_and_a_handle_shared() {
    fn send<T: Send>() {}
    fn share<T: Clone + Send + Sync>() {}
    send::<ProcessScheduler>();
    send::<Builder>();
    share::<procsched::Handle>();
}

#[test]
fn a_run_is_reported_with_its_words_and_its_place_in_the_log() {
    let _turn = my_turn();
    let dir = directory();
    let (reports, handler) = collector();
    std::fs::create_dir(dir.path().join("logs")).expect("logs");
    std::fs::write(dir.path().join("logs/web.stderr.log"), "before\n").expect("a log");
    let mut scheduler = builder(&dir)
        .program(once("web", "printf 'a\\0b' >&2; exit 7"))
        .error_handler(handler)
        .build()
        .expect("a scheduler");
    scheduler.start().expect("a clean end");
    let reports = reports.lock().expect("no panic");
    assert_eq!(reports.len(), 1);
    let report = &reports[0];
    assert_eq!((report.process(), report.return_code()), ("web", 7));
    assert_eq!(report.stderr(), b"a\0b");
    assert_eq!((report.log_offset(), report.data_omitted()), (7, 0));
    assert_eq!((report.restarts(), report.retry_in()), (0, None));
    assert!(!report.stopping() && !report.core_dumped() && report.error().is_none());
    let log = report.log().expect("a log");
    assert_eq!(std::fs::read(log).expect("the log"), b"before\na\0b");
}

#[test]
fn even_the_event_handler_may_panic() {
    let _turn = my_turn();
    let dir = directory();
    let mut scheduler = builder(&dir)
        .program(again("web", "exit 1"))
        .on_event(|_| panic!("not even this"))
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].restarts() >= 3
    });
    scheduler.stop();
    scheduler.start().expect_err("it was started before");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
}

#[test]
fn a_stop_before_the_start_is_remembered_and_a_second_start_is_an_error() {
    let _turn = my_turn();
    let dir = directory();
    let marker = dir.path().join("started");
    let mut scheduler = builder(&dir)
        .program(shell("web", "touch started; exec sleep 1000"))
        .build()
        .expect("a scheduler");
    scheduler.stop();
    scheduler.start().expect("a clean end");
    assert!(!marker.exists());
    let error = scheduler.start().expect_err("a second start");
    assert!(error.to_string().contains("started before"), "{error}");
    assert_eq!(scheduler.step(None).expect("a turn"), Status::Stopped);
}

#[test]
fn kill_leaves_no_time_to_anybody() {
    let _turn = my_turn();
    let dir = directory();
    let mut scheduler = builder(&dir)
        .program(shell(
            "stubborn",
            "trap '' TERM; touch ready; while :; do sleep 0.01; done",
        ))
        .build()
        .expect("a scheduler");
    let ready = dir.path().join("ready");
    turn_until(&mut scheduler, |_| ready.exists());
    let start = Instant::now();
    scheduler.stop();
    scheduler.step(Some(Duration::ZERO)).expect("a turn");
    assert_eq!(scheduler.programs()[0].state(), ProgramState::Stopping);
    scheduler.kill();
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
    assert_eq!(
        scheduler.programs()[0].last_return_code(),
        Some(-libc::SIGKILL)
    );
    assert!(
        start.elapsed() < procsched::STOP_TIMEOUT_DEFAULT,
        "it waited for the grace"
    );
}

#[test]
fn a_status_that_is_not_ours_is_handed_over() {
    let _turn = my_turn();
    let dir = directory();
    let (tell, told) = mpsc::channel();
    let mut scheduler = builder(&dir)
        .program(shell("web", "exec sleep 1000"))
        .on_stray(move |pid, status| {
            tell.send((pid, status.code())).ok();
        })
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].pid().is_some()
    });
    // Nobody waits for it but the scheduler: that is what this is about.
    #[allow(clippy::zombie_processes)]
    let host = Command::new("sh")
        .args(["-c", "exit 42"])
        .spawn()
        .expect("a child of the host");
    let mut stray = None;
    turn_until(&mut scheduler, |_| {
        stray = stray.or(told.try_recv().ok());
        stray.is_some()
    });
    assert_eq!(
        stray,
        Some((i32::try_from(host.id()).expect("a pid"), Some(42)))
    );
    scheduler.kill();
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
}

/// A name was pasted into a path, and a log landed where it liked.
#[test]
fn museum_86_impossible_names_are_refused_and_nothing_is_touched() {
    let _turn = my_turn();
    let dir = directory();
    let long = "a".repeat(65);
    let names = [
        "",
        ".",
        "..",
        "a/b",
        "/a",
        "a\0b",
        "a\nb",
        "-rf",
        "\u{1b}[31m",
        "\u{e4}",
        &long,
    ];
    for name in names {
        let error = builder(&dir)
            .program(once(name, "true"))
            .build()
            .expect_err("a bad name");
        assert!(error.to_string().contains(": name: "), "{error}");
        assert!(
            !error.to_string().contains(['\n', '\u{1b}', '\0']),
            "{error:?}"
        );
    }
    assert_eq!(
        std::fs::read_dir(dir.path())
            .expect("the directory")
            .count(),
        0
    );
}

/// A NUL in an argument was found out at the fork, and tried again for ever.
#[test]
fn museum_8_impossible_programs_are_refused_and_nothing_is_touched() {
    let _turn = my_turn();
    let dir = directory();
    let web = || once("web", "true");
    for (spec, part) in [
        (ChildSpec::new("web", Vec::<String>::new()), "command: "),
        (ChildSpec::new("web", [""]), "command: "),
        (ChildSpec::new("web", ["a\0b"]), "command: "),
        (web().env("A=B", "x"), "env: "),
        (web().env("", "x"), "env: "),
        (web().env("A", "x\0"), "env: "),
        (web().cwd(""), "cwd: "),
        (web().cwd("~/data"), "cwd: \"~\" at the beginning"),
        (ChildSpec::new("web", ["~/bin/web"]), "command: \"~\" at"),
        (web().stop_signal(0), "stop_signal: "),
        (web().stop_signal(65), "stop_signal: "),
        (
            web().stop_signal(libc::SIGTSTP),
            "stop_signal: SIGTSTP suspends",
        ),
        (
            web().report_bytes(procsched::REPORT_BYTES_MAX + 1),
            "report_bytes: ",
        ),
        (
            web().backoff(Backoff {
                max: Duration::ZERO,
                ..Backoff::default()
            }),
            "backoff: ",
        ),
    ] {
        let error = builder(&dir).program(spec).build().expect_err(part);
        assert!(
            error.to_string().starts_with("program \"web\": "),
            "{error}"
        );
        assert!(error.to_string().contains(part), "{error}");
    }
    for home in [
        ProcessScheduler::builder("~/app").program(web()),
        builder(&dir).err_dir("~/logs").program(web()),
    ] {
        let error = home.build().expect_err("no shell").to_string();
        assert!(error.contains("directory \"~/"), "{error}");
        assert!(error.contains(": \"~\" at the beginning"), "{error}");
    }
    let twice = builder(&dir)
        .program(web())
        .program(web())
        .build()
        .expect_err("two of a name");
    assert!(
        twice.to_string().contains("two programs are named \"web\""),
        "{twice}"
    );
    let signal = builder(&dir)
        .program(web())
        .stop_on_signals([libc::SIGKILL])
        .build();
    assert!(signal.is_err());
    assert_eq!(
        std::fs::read_dir(dir.path())
            .expect("the directory")
            .count(),
        0
    );
}

#[test]
fn impossible_shares_and_times_of_everything_are_refused() {
    let _turn = my_turn();
    let dir = directory();
    let web = || once("web", "true");
    for share in [1.01, -0.01, f64::NAN] {
        let built = builder(&dir).program(web().jitter(share)).build();
        let error = built.expect_err("no share").to_string();
        let expected =
            "program \"web\": backoff.jitter: invalid jitter: expected a number from 0 to 1";
        assert_eq!(error, expected);
    }
    let hasty = builder(&dir)
        .program(web())
        .shutdown_timeout(Duration::from_millis(99))
        .build()
        .expect_err("too short");
    assert_eq!(
        hasty.to_string(),
        "shutdown_timeout: invalid shutdown_timeout 99ms: expected 100ms or more"
    );
}

/// A command that held up the end had a whole timeout anew.
#[test]
fn a_stop_after_everything_has_ended_does_not_put_off_the_end() {
    let _turn = my_turn();
    let dir = directory();
    let wait = "until test -e go; do sleep 0.02; done";
    let mut scheduler = ProcessScheduler::builder(dir.path())
        .err_dir("logs")
        .program(once("p", "exit 1"))
        .error_command(["sh", "-c", wait])
        .shutdown_timeout(Duration::from_secs(600))
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |all| all.shutdown_deadline().is_some());
    let deadline = scheduler.shutdown_deadline();
    scheduler.stop();
    for _ in 0..3 {
        let status = scheduler.step(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(status, Status::Running, "the command still runs");
        assert_eq!(scheduler.shutdown_deadline(), deadline);
    }
    std::fs::write(dir.path().join("go"), "").expect("a file");
    let start = Instant::now();
    while scheduler
        .step(Some(Duration::from_millis(10)))
        .expect("a turn")
        == Status::Running
    {
        assert!(start.elapsed() < PATIENCE, "it does not end");
    }
}

/// Zero, a nanosecond and the end of time, in every place where a duration goes.
#[test]
fn museum_92_93_extreme_durations_neither_panic_nor_hang() {
    let _turn = my_turn();
    let dir = directory();
    let extremes = [
        Duration::ZERO,
        Duration::from_nanos(1),
        Duration::from_secs(u64::MAX),
    ];
    for initial in extremes {
        for time in extremes {
            let backoff = Backoff {
                initial,
                max: Duration::MAX,
                reset_after: time,
            };
            let spec = shell("web", "exit 1").backoff(backoff).stop_timeout(time);
            let stubborn = shell("sleeper", "exec sleep 1000").stop_timeout(time);
            let mut scheduler = builder(&dir)
                .program(spec)
                .program(stubborn)
                .build()
                .expect("a scheduler");
            turn_until(&mut scheduler, |scheduler| {
                let programs = scheduler.programs();
                programs[0].last_return_code() == Some(1) && programs[1].pid().is_some()
            });
            scheduler.stop();
            turn_until(&mut scheduler, |scheduler| {
                let stopped =
                    |program: &procsched::ProgramStatus| program.state() == ProgramState::Stopped;
                scheduler.programs().iter().all(stopped)
            });
        }
    }
}
