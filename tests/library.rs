//! The library in a host program, as far as one process can show it: callbacks, drop, errors.
//!
//! A scheduler reaps every child of its process and there is one at a time, so that these
//! cases take turns.

use std::collections::BTreeMap;
use std::path::Path;
use std::process::Command;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError, mpsc};
use std::time::{Duration, Instant};

use procsched::{
    Backoff, Builder, ChildSpec, ErrorReport, EventKind, ProcessScheduler, ProgramState, Restart,
    Status,
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

/// The panic of a callback once ended supervision and left every child an orphan.
#[test]
fn museum_143_a_handler_that_panics_is_survived_and_told() {
    let _turn = my_turn();
    let dir = directory();
    let (tell, told) = mpsc::channel();
    let mut scheduler = builder(&dir)
        .program(again("web", "exit 1"))
        .error_handler(|_, _| panic!("no, thanks"))
        .on_event(move |event| {
            if let EventKind::HandlerPanicked { message, .. } = event.kind() {
                tell.send((event.program().to_owned(), message.clone()))
                    .ok();
            }
        })
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].restarts() >= 3
    });
    for _ in 0..3 {
        let news = told.recv_timeout(PATIENCE).expect("the panic is told");
        assert_eq!(news, ("web".to_owned(), "no, thanks".to_owned()));
    }
    scheduler.stop();
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
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

/// A handler that took its time once left others blocked on full pipes, and deadlines lost.
#[test]
fn museum_144_a_slow_handler_loses_nothing() {
    let _turn = my_turn();
    let dir = directory();
    let (reports, handler) = collector();
    let mut handler = handler;
    let mut scheduler = builder(&dir)
        .program(once("quick", "exit 1"))
        .program(once("chatty", "head -c 1048576 /dev/zero >&2"))
        .error_handler(move |name, report| {
            if name == "quick" {
                std::thread::sleep(Duration::from_millis(500)); // Being slow is what it is for.
            }
            handler(name, report);
        })
        .build()
        .expect("a scheduler");
    scheduler.start().expect("a clean end");
    let reports = reports.lock().expect("no panic");
    let chatty = reports
        .iter()
        .find(|report| report.process() == "chatty")
        .expect("its report");
    assert_eq!(
        chatty.data_omitted() + chatty.stderr().len() as u64,
        1_048_576
    );
    let log = std::fs::metadata(dir.path().join("logs/chatty.stderr.log")).expect("its log");
    assert_eq!(log.len(), 1_048_576);
}

/// The handler was told of a state that the library had not taken note of yet.
#[test]
fn museum_145_a_handler_may_stop_everything() {
    let _turn = my_turn();
    let dir = directory();
    let late = Arc::new(Mutex::new(None::<procsched::Handle>));
    let remote = late.clone();
    let mut scheduler = builder(&dir)
        .program(again("web", "exit 1"))
        .program(shell("other", "exec sleep 1000"))
        .error_handler(move |_, _| {
            if let Some(handle) = &*remote.lock().expect("no panic") {
                handle.stop();
                handle.stop();
            }
        })
        .build()
        .expect("a scheduler");
    *late.lock().expect("no panic") = Some(scheduler.handle());
    scheduler.start().expect("a clean end");
    let states: Vec<_> = scheduler
        .programs()
        .iter()
        .map(|program| program.state())
        .collect();
    assert_eq!(states, [ProgramState::Stopped, ProgramState::Stopped]);
    assert_eq!(
        scheduler.programs()[1].last_return_code(),
        Some(-libc::SIGTERM)
    );
}

/// A callback's own processes inherit nothing of the scheduler's.
#[test]
fn museum_146_a_handler_may_start_processes() {
    let _turn = my_turn();
    let dir = directory();
    let list = || {
        let script = "for fd in /proc/self/fd/*; do test -e $fd && echo ${fd##*/}; done";
        let output = Command::new("sh")
            .args(["-c", script])
            .output()
            .expect("a shell");
        String::from_utf8_lossy(&output.stdout).into_owned()
    };
    let before = list();
    let (tell, told) = mpsc::channel();
    let mut scheduler = builder(&dir)
        .program(once("web", "exit 1"))
        .program(shell("other", "exec sleep 1000"))
        .error_handler(move |_, _| {
            tell.send(list()).ok();
        })
        .build()
        .expect("a scheduler");
    scheduler.step(None).expect("the starts");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
    assert_eq!(told.recv().expect("its output"), before);
    scheduler.kill();
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[1].state() == ProgramState::Stopped
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

/// Dropping a scheduler signals nobody; the next one finds the process as the first did.
#[test]
fn museum_148_151_a_hundred_times_and_everything_is_as_before() {
    let _turn = my_turn();
    let dir = directory();
    let before = (dispositions(), open_descriptors());
    for round in 0..100 {
        let mut scheduler = builder(&dir)
            .program(once("web", "exit 0"))
            .stop_on_signals([libc::SIGUSR1])
            .build()
            .expect("a scheduler");
        scheduler
            .start()
            .unwrap_or_else(|error| panic!("round {round}: {error}"));
    }
    assert_eq!((dispositions(), open_descriptors()), before);
    let mut scheduler = builder(&dir)
        .program(shell("web", "exec sleep 1000"))
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].pid().is_some()
    });
    let pid = scheduler.programs()[0].pid().expect("a pid");
    drop(scheduler);
    assert!(
        Path::new(&format!("/proc/{pid}")).exists(),
        "drop killed it"
    );
    let killed = Command::new("kill")
        .args(["-KILL", &pid.to_string()])
        .status()
        .expect("kill");
    assert!(killed.success());
}

/// The signals of this process: which are blocked, ignored and caught.
fn dispositions() -> BTreeMap<String, String> {
    let status = std::fs::read_to_string("/proc/thread-self/status").expect("/proc");
    let lines = status.lines().filter_map(|line| line.split_once(":\t"));
    lines
        .filter(|(key, _)| key.starts_with("Sig") && *key != "SigQ")
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .collect()
}

fn open_descriptors() -> usize {
    std::fs::read_dir("/proc/self/fd").expect("/proc").count()
}

#[test]
fn museum_147_a_second_scheduler_is_refused() {
    let _turn = my_turn();
    let dir = directory();
    let first = builder(&dir)
        .program(once("one", "true"))
        .build()
        .expect("the first");
    let error = builder(&dir)
        .program(once("two", "true"))
        .build()
        .expect_err("the second");
    assert!(
        error.to_string().contains("another ProcessScheduler"),
        "{error}"
    );
    drop(first);
    builder(&dir)
        .program(once("two", "true"))
        .build()
        .expect("after the first");
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

/// Another part of the host took the status of a child, and that child ran for ever in the
/// supervisor's books.
#[test]
fn museum_41_a_stolen_status_is_an_end_without_a_status() {
    let _turn = my_turn();
    let dir = directory();
    let (reports, handler) = collector();
    let mut scheduler = builder(&dir)
        .program(again("web", "echo words >&2; exec sleep 1000"))
        .error_handler(handler)
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |_| {
        let log = std::fs::read(dir.path().join("logs/web.stderr.log"));
        log.is_ok_and(|log| log == b"words\n")
    });
    let pid = scheduler.programs()[0].pid().expect("a pid");
    // No turn is taken meanwhile, so that the thief comes first.
    // SAFETY: two system calls about our own child.
    let stolen = unsafe {
        libc::kill(pid, libc::SIGKILL);
        libc::waitpid(pid, std::ptr::null_mut(), 0)
    };
    assert_eq!(stolen, pid);
    turn_until(&mut scheduler, |scheduler| {
        let program = &scheduler.programs()[0];
        program.restarts() == 1 && program.pid().is_some()
    });
    let report = reports.lock().expect("no panic")[0].clone();
    assert_eq!((report.return_code(), report.pid()), (125, Some(pid)));
    assert_eq!(report.stderr(), b"words\n");
    let error = report.error().expect("why there is no status");
    assert!(error.starts_with("exit status unknown: "), "{error}");
    scheduler.kill();
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Stopped
    });
}

/// The death of another program in the same turn hid the theft.
#[test]
fn museum_41_a_stolen_status_is_noticed_among_other_deaths() {
    let _turn = my_turn();
    let dir = directory();
    let mut scheduler = builder(&dir)
        .program(once("stolen", "exec sleep 1000"))
        .program(once("other", "exec sleep 1000"))
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler
            .programs()
            .iter()
            .all(|program| program.pid().is_some())
    });
    let pids: Vec<i32> = scheduler
        .programs()
        .iter()
        .filter_map(|program| program.pid())
        .collect();
    // SAFETY: system calls about our own children; the other one stays a zombie for the turn.
    unsafe {
        libc::kill(pids[1], libc::SIGKILL);
        libc::waitid(
            libc::P_PID,
            pids[1].unsigned_abs(),
            &mut std::mem::zeroed(),
            libc::WEXITED | libc::WNOWAIT,
        );
        libc::kill(pids[0], libc::SIGKILL);
        assert_eq!(libc::waitpid(pids[0], std::ptr::null_mut(), 0), pids[0]);
    }
    turn_until(&mut scheduler, |scheduler| {
        let codes: Vec<_> = scheduler
            .programs()
            .iter()
            .map(|p| p.last_return_code())
            .collect();
        codes == [Some(125), Some(-libc::SIGKILL)]
    });
    scheduler.step(Some(Duration::ZERO)).expect("a turn");
}

#[test]
fn museum_151_groups_are_killed_on_drop_if_asked_for() {
    let _turn = my_turn();
    let dir = directory();
    let mut scheduler = builder(&dir)
        .program(shell("web", "trap '' TERM; exec sleep 1000"))
        .kill_on_drop()
        .build()
        .expect("a scheduler");
    turn_until(&mut scheduler, |scheduler| {
        scheduler.programs()[0].pid().is_some()
    });
    let pid = scheduler.programs()[0].pid().expect("a pid");
    drop(scheduler);
    let mut status = 0;
    // SAFETY: a system call about our own child, which dies at once, or the test never ends.
    let reaped = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!((reaped, libc::WTERMSIG(status)), (pid, libc::SIGKILL));
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
