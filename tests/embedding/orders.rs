//! Orders for one program, with real processes: start, stop, restart, kill, add and remove, in the
//! order that programs need.

use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;

use procsched::{
    Builder, Cause, ChildSpec, ErrorKind, EventKind, ProcessScheduler, ProgramState, Reap, Restart,
    SignalTo, Status,
};
use tempfile::TempDir;

use super::host::{Test, host};
use super::kit::{self, List, MILLISECOND, turn_until};
use crate::process;

pub const TESTS: &[Test] = tests![
    one_program_is_stopped_started_and_restarted_and_the_others_run_on,
    what_requires_a_program_stops_before_it_and_comes_back_after_it,
    a_crash_of_what_is_required_stops_nobody,
    programs_start_and_stop_in_order,
    a_oneshot_comes_first_and_one_that_fails_holds_what_requires_it,
    a_program_is_added_and_removed_and_its_name_is_free,
    a_thousand_programs_come_and_go_and_nothing_stays,
    a_removed_program_takes_what_left_its_group_with_it,
    a_name_that_is_being_removed_can_be_added_again,
    a_refused_order_changes_nothing,
    limits_and_codes_end_a_program_for_good,
    a_killed_program_stays_down_and_a_start_forgives,
    orders_before_the_first_turn,
    a_restart_waits_for_what_left_the_group,
    a_thread_gives_orders_through_a_handle,
    orders_that_nobody_takes_are_bounded,
    a_signal_goes_to_the_group_or_to_the_first_process,
    logs_are_opened_anew_after_a_rotation,
    a_start_that_was_cancelled_between_turns_leaves_nothing,
    a_start_that_was_cancelled_and_stolen_is_over,
    nothing_waits_for_a_program_that_is_being_removed,
    no_order_comes_after_the_end,
    what_a_failed_program_left_ends_with_the_next_order,
    what_was_stopped_is_stopping_until_what_it_left_is_gone,
    a_cancelled_start_says_why,
    a_state_is_as_old_as_its_word,
    a_shortage_of_descriptors_is_reported_once,
];

/// What becomes of programs, in order: `+web` when it was executed, `?web` when it is asked to stop,
/// `-web` when it has ended.
pub fn noted(builder: Builder) -> (List<String>, Builder) {
    let list = List::new();
    let sink = list.clone();
    let builder = builder.on_event(move |event| {
        let sign = match event.kind() {
            EventKind::Started { .. } => '+',
            EventKind::Stopping { .. } => '?',
            EventKind::Exited { .. } => '-',
            EventKind::Up => '!',
            EventKind::Removed => '/',
            _ => return,
        };
        sink.push(format!("{sign}{}", event.program()));
    });
    (list, builder)
}

fn state(scheduler: &ProcessScheduler, name: &str) -> Option<ProgramState> {
    scheduler.program(name).map(|program| program.state())
}

#[track_caller]
pub fn until(scheduler: &mut ProcessScheduler, name: &str, wanted: ProgramState) {
    turn_until(scheduler, &format!("{name} is {wanted}"), |scheduler| {
        state(scheduler, name) == Some(wanted)
    });
}

/// Turns until that many more notes have come, and returns them.
#[track_caller]
pub fn next(
    scheduler: &mut ProcessScheduler,
    notes: &List<String>,
    from: &mut usize,
    wanted: &[&str],
) {
    let start = *from;
    *from += wanted.len();
    let end = *from;
    turn_until(scheduler, "the notes have come", |_| notes.len() >= end);
    assert_eq!(notes.items()[start..], *wanted);
}

fn count_of(notes: &List<String>, note: &str) -> usize {
    notes.items().iter().filter(|known| *known == note).count()
}

fn reason(scheduler: &ProcessScheduler, name: &str) -> Option<String> {
    scheduler.program(name)?.reason().map(str::to_owned)
}

fn to_the_end(scheduler: &mut ProcessScheduler) {
    scheduler.stop();
    while kit::turn(scheduler, 10_000 * MILLISECOND) == Status::Running {}
}

fn built(dir: &TempDir, programs: impl IntoIterator<Item = ChildSpec>) -> ProcessScheduler {
    kit::built(kit::all(dir).programs(programs))
}

fn one_program_is_stopped_started_and_restarted_and_the_others_run_on() {
    host(|| {
        for reap in [Reap::All, Reap::Own] {
            let dir = kit::directory();
            let programs = [kit::shell("web", "exec sleep 1000"), kit::sleeper("db")];
            let builder = kit::all(&dir).reap(reap).programs(programs);
            let (reports, sink) = kit::reports();
            let mut scheduler = kit::built(builder.error_handler(sink));
            let before = kit::all_up(&mut scheduler);
            scheduler.restart_program("web").expect("it runs");
            turn_until(&mut scheduler, "web has a new pid", |scheduler| {
                kit::pid(scheduler, "web").is_some_and(|pid| pid != before[0])
            });
            scheduler.stop_program("web").expect("it runs");
            until(&mut scheduler, "web", ProgramState::Stopped);
            let web = scheduler.program("web").expect("it is known");
            assert_eq!((web.is_wanted(), web.pid()), (false, None));
            let last = web.last_exit().expect("it has ended");
            assert_eq!((last.cause(), last.return_code()), (Cause::Operator, -15));
            // A stop by hand is no end for good.
            assert_eq!(kit::turn(&mut scheduler, 10 * MILLISECOND), Status::Running);
            scheduler.start_program("web").expect("it is down");
            until(&mut scheduler, "web", ProgramState::Running);
            scheduler.start_program("web").expect("it runs already");
            assert_eq!(kit::pid(&scheduler, "db"), Some(before[1]));
            let causes: Vec<Cause> = reports
                .items()
                .iter()
                .map(|report| report.cause())
                .collect();
            assert_eq!(causes, [Cause::Operator; 2]);
            assert_eq!(scheduler.program("web").map(|web| web.restarts()), Some(2));
            to_the_end(&mut scheduler);
            assert_eq!(reports.items()[3].cause(), Cause::Shutdown);
        }
    });
}

fn what_requires_a_program_stops_before_it_and_comes_back_after_it() {
    host(|| {
        let dir = kit::directory();
        let programs = [
            kit::sleeper("web").requires(["app"]),
            kit::sleeper("app").requires(["db"]),
            kit::sleeper("db"),
            kit::sleeper("other"),
        ];
        let (notes, builder) = noted(kit::all(&dir).programs(programs));
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        next(
            &mut scheduler,
            &notes,
            &mut at,
            &["+db", "+other", "+app", "+web"],
        );
        let other = kit::pid(&scheduler, "other");
        scheduler.stop_program("db").expect("it runs");
        let down = ["?web", "-web", "?app", "-app", "?db", "-db"];
        next(&mut scheduler, &notes, &mut at, &down);
        until(&mut scheduler, "db", ProgramState::Stopped);
        for (name, why) in [
            ("app", "requires db: stopped"),
            ("web", "requires db: stopped"),
        ] {
            assert_eq!(state(&scheduler, name), Some(ProgramState::Pending));
            assert_eq!(reason(&scheduler, name).as_deref(), Some(why));
            let last = scheduler
                .program(name)
                .and_then(|program| program.last_exit().cloned());
            assert_eq!(last.map(|last| last.cause()), Some(Cause::Requirement));
        }
        scheduler.start_program("db").expect("it is down");
        next(&mut scheduler, &notes, &mut at, &["+db", "+app", "+web"]);
        scheduler.restart_program("app").expect("it runs");
        let again = ["?web", "-web", "?app", "-app", "+app", "+web"];
        next(&mut scheduler, &notes, &mut at, &again);
        assert_eq!(kit::pid(&scheduler, "other"), other);
        kit::end(&mut scheduler);
    });
}

fn a_crash_of_what_is_required_stops_nobody() {
    host(|| {
        let dir = kit::directory();
        let db = kit::churner("db", 10 * MILLISECOND, "exec sleep 1000");
        let mut scheduler = built(&dir, [kit::sleeper("web").requires(["db"]), db]);
        let [web, db] = kit::all_up(&mut scheduler)[..] else {
            panic!("two run");
        };
        process::signal(db, libc::SIGKILL);
        turn_until(&mut scheduler, "db is back", |scheduler| {
            kit::pid(scheduler, "db").is_some_and(|pid| pid != db)
        });
        assert_eq!(kit::pid(&scheduler, "web"), Some(web));
        kit::end(&mut scheduler);
    });
}

fn programs_start_and_stop_in_order() {
    host(|| {
        let dir = kit::directory();
        // Against the order of the list.
        let programs = [
            kit::sleeper("c").after(["b"]),
            kit::sleeper("b").after(["a"]),
            kit::sleeper("a"),
        ];
        let (notes, builder) = noted(kit::all(&dir).programs(programs));
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        next(&mut scheduler, &notes, &mut at, &["+a", "+b", "+c"]);
        scheduler.stop();
        while kit::turn(&mut scheduler, 10_000 * MILLISECOND) == Status::Running {}
        next(
            &mut scheduler,
            &notes,
            &mut at,
            &["?c", "-c", "?b", "-b", "?a", "-a"],
        );
    });
}

fn a_oneshot_comes_first_and_one_that_fails_holds_what_requires_it() {
    host(|| {
        let migrate = || kit::shell("migrate", "test -e ok").oneshot(true);
        let web = || kit::sleeper("web").requires(["migrate"]);
        let dir = kit::directory();
        let (notes, builder) = noted(kit::all(&dir).programs([web(), migrate()]));
        let mut scheduler = kit::built(builder);
        until(&mut scheduler, "migrate", ProgramState::Failed);
        assert_eq!(state(&scheduler, "web"), Some(ProgramState::Pending));
        let why = reason(&scheduler, "web");
        assert_eq!(why.as_deref(), Some("requires migrate: failed"));
        // Nothing will happen by itself: that is the end.
        while kit::turn(&mut scheduler, 10_000 * MILLISECOND) == Status::Running {}
        assert_eq!(notes.items(), ["+migrate", "-migrate"]);
        drop(scheduler);

        fs::write(dir.path().join("ok"), "").expect("a file");
        let (notes, builder) = noted(kit::all(&dir).programs([web(), migrate()]));
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        let ready = ["+migrate", "-migrate", "!migrate", "+web"];
        next(&mut scheduler, &notes, &mut at, &ready);
        assert_eq!(state(&scheduler, "migrate"), Some(ProgramState::Exited));
        let web = kit::pid(&scheduler, "web");
        // Running it again stops no program that requires it.
        scheduler.start_program("migrate").expect("it has ended");
        let again = ["+migrate", "-migrate", "!migrate"];
        next(&mut scheduler, &notes, &mut at, &again);
        assert_eq!(kit::pid(&scheduler, "web"), web);
        kit::end(&mut scheduler);
    });
}

fn a_program_is_added_and_removed_and_its_name_is_free() {
    host(|| {
        for reap in [Reap::All, Reap::Own] {
            let dir = kit::directory();
            let (notes, builder) = noted(kit::all(&dir).reap(reap).keep_running());
            let mut scheduler = kit::built(builder);
            assert_eq!(kit::turn(&mut scheduler, MILLISECOND), Status::Running);
            let mut pids = Vec::new();
            for _ in 0..3 {
                let spec = kit::shell("web", "echo hello >&2; exec sleep 1000");
                scheduler.add(spec).expect("a free name");
                until(&mut scheduler, "web", ProgramState::Running);
                let pid = kit::all_up(&mut scheduler)[0];
                assert!(!pids.contains(&pid), "{pid} of {pids:?}");
                pids.push(pid);
                turn_until(&mut scheduler, "the line is logged", |_| {
                    kit::log_of(&dir, "web").len() == 6 * pids.len()
                });
                scheduler.remove("web").expect("it runs");
                turn_until(&mut scheduler, "it is removed", |_| {
                    count_of(&notes, "/web") == pids.len()
                });
                assert!(scheduler.programs().is_empty());
            }
            kit::end(&mut scheduler);
        }
    });
}

fn a_thousand_programs_come_and_go_and_nothing_stays() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler =
            kit::built(kit::all(&dir).program(kit::sleeper("stays")).keep_running());
        let stays = kit::all_up(&mut scheduler)[0];
        let mut descriptors = None;
        for round in 0..50 {
            for index in 0..20 {
                let name = format!("p{}", round * 20 + index);
                let spec = kit::shell(&name, "exec sleep 1000");
                scheduler.add(spec.after(["stays"])).expect("a free name");
            }
            kit::all_up(&mut scheduler);
            for index in 0..20 {
                let name = format!("p{}", round * 20 + index);
                scheduler.kill_program(&name).expect("it runs");
                scheduler.remove(&name).expect("it is known");
            }
            turn_until(&mut scheduler, "they are gone", |scheduler| {
                scheduler.programs().len() == 1
            });
            let open = process::descriptors(std::process::id() as i32).len();
            assert_eq!(
                *descriptors.get_or_insert(open),
                open,
                "after round {round}"
            );
        }
        assert_eq!(kit::pid(&scheduler, "stays"), Some(stays));
        kit::end(&mut scheduler);
    });
}

/// Starts a process that leaves the session and writes its pid to a file.
const ESCAPE: &str = "setsid sh -c 'echo $$ > escaped; exec sleep 1000' < /dev/null & \
                      while ! test -s escaped; do sleep 0.01; done; exec sleep 1000";

fn escaped(dir: &Path) -> Option<i32> {
    let text = fs::read_to_string(dir.join("escaped")).ok()?;
    text.trim().parse().ok()
}

fn a_removed_program_takes_what_left_its_group_with_it() {
    host(|| {
        let dir = kit::directory();
        let (notes, builder) = noted(kit::all(&dir).keep_running().subreaper());
        let mut scheduler = kit::built(builder.program(kit::shell("web", ESCAPE)));
        let path = dir.path().to_owned();
        turn_until(&mut scheduler, "a process has left", |_| {
            escaped(&path).is_some()
        });
        let pid = escaped(dir.path()).expect("it was seen");
        scheduler.remove("web").expect("it runs");
        turn_until(&mut scheduler, "it is removed", |_| {
            count_of(&notes, "/web") == 1
        });
        assert!(!process::alive(pid), "{pid} is gone before its program is");
        kit::end(&mut scheduler);
    });
}

fn a_name_that_is_being_removed_can_be_added_again() {
    host(|| {
        let dir = kit::directory();
        let (notes, builder) = noted(kit::all(&dir).program(kit::sleeper("web")).keep_running());
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        next(&mut scheduler, &notes, &mut at, &["+web"]);
        scheduler.remove("web").expect("it runs");
        let error = scheduler
            .start_program("web")
            .expect_err("it is being removed");
        assert_eq!(error.kind(), ErrorKind::Stopping, "{error}");
        scheduler
            .add(kit::sleeper("web").report_bytes(7))
            .expect("its name is taken over");
        next(&mut scheduler, &notes, &mut at, &["?web", "-web", "+web"]);
        assert_eq!(scheduler.programs().len(), 1);
        let error = scheduler.add(kit::sleeper("web")).expect_err("it is there");
        assert_eq!(error.kind(), ErrorKind::Exists);
        assert_eq!(error.to_string(), "a program \"web\" exists already");
        kit::end(&mut scheduler);
    });
}

fn a_refused_order_changes_nothing() {
    host(|| {
        let dir = kit::directory();
        let programs = [kit::sleeper("web").requires(["db"]), kit::sleeper("db")];
        let mut scheduler = built(&dir, programs);
        let pids = kit::all_up(&mut scheduler);
        let sleeper = || kit::sleeper("new");
        let refused: [(procsched::Result<()>, ErrorKind, &str); 6] = [
            (
                scheduler.stop_program("wbe"),
                ErrorKind::UnknownProgram,
                r#"no program "wbe" (did you mean "web"?)"#,
            ),
            (
                scheduler.remove("db"),
                ErrorKind::Invalid,
                r#"program "web" waits for "db": remove it first"#,
            ),
            (
                scheduler.add(sleeper().requires(["wbe"])),
                ErrorKind::Invalid,
                r#"program "new": requires: no program "wbe" (did you mean "web"?)"#,
            ),
            (
                scheduler.add(sleeper().after(["new"])),
                ErrorKind::Invalid,
                r#"program "new": after: "new" cannot wait for itself"#,
            ),
            (
                scheduler.add(sleeper().oneshot(true).restart(Restart::Always)),
                ErrorKind::Invalid,
                r#"program "new": restart: a oneshot runs until it succeeds: use "never" or "on-failure""#,
            ),
            (
                scheduler.add(sleeper().success_codes([3]).permanent_failure_codes([3])),
                ErrorKind::Invalid,
                r#"program "new": permanent_failure_codes: 3 is in success_codes, too: it can be in one of them"#,
            ),
        ];
        for (result, kind, text) in refused {
            let error = result.expect_err(text);
            assert_eq!((error.kind(), error.to_string().as_str()), (kind, text));
        }
        assert_eq!(scheduler.programs().len(), 2);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        scheduler.stop();
        kit::turn(&mut scheduler, MILLISECOND);
        for result in [scheduler.start_program("web"), scheduler.add(sleeper())] {
            assert_eq!(result.expect_err("a stop").kind(), ErrorKind::Stopping);
        }
        kit::end(&mut scheduler);
        drop(scheduler);
        let cycle = [
            kit::sleeper("a").after(["b"]),
            kit::sleeper("b").requires(["c"]),
            kit::sleeper("c").after(["a"]),
        ];
        let error = kit::all(&dir).programs(cycle).build().expect_err("a cycle");
        let text = r#"program "a": waits for itself, in a cycle: a → b → c → a"#;
        assert_eq!(error.to_string(), text);
    });
}

fn limits_and_codes_end_a_program_for_good() {
    host(|| {
        let dir = kit::directory();
        let programs = [
            kit::churner("limited", MILLISECOND, "exit 1").max_restarts(3),
            kit::churner("never", MILLISECOND, "exit 1").max_restarts(0),
            kit::churner("permanent", MILLISECOND, "exit 78").permanent_failure_codes([78]),
            kit::shell("fine", "exit 143")
                .restart(Restart::OnFailure)
                .success_codes([143]),
            kit::once("failed", "exit 3"),
            kit::once("done", "exit 0"),
        ];
        let (reports, sink) = kit::reports();
        let mut scheduler = kit::built(kit::all(&dir).programs(programs).error_handler(sink));
        while kit::turn(&mut scheduler, 10_000 * MILLISECOND) == Status::Running {}
        let found: Vec<(ProgramState, Option<String>, u64)> = scheduler
            .programs()
            .iter()
            .map(|program| {
                (
                    program.state(),
                    program.reason().map(str::to_owned),
                    program.restarts(),
                )
            })
            .collect();
        let reason = |text: &str| Some(text.to_owned());
        use ProgramState::{Exited, Failed};
        assert_eq!(
            found,
            [
                (Failed, reason("3 restarts in a row"), 3),
                (Failed, reason("max_restarts is 0"), 0),
                (Failed, reason("exit code 78 is permanent"), 0),
                (Exited, None, 0),
                (Failed, None, 0),
                (Exited, None, 0),
            ]
        );
        assert!(
            reports
                .items()
                .iter()
                .all(|report| report.cause() == Cause::Exit)
        );
    });
}

fn a_killed_program_stays_down_and_a_start_forgives() {
    host(|| {
        let dir = kit::directory();
        let web = kit::shell("web", "trap '' TERM; while :; do sleep 0.01; done");
        let crashing = kit::shell("crash", "exit 1");
        let mut scheduler = built(&dir, [web, crashing]);
        until(&mut scheduler, "crash", ProgramState::Backoff);
        let starts = |scheduler: &ProcessScheduler| kit::status(scheduler, "crash").restarts();
        // It waits for a second, and then for two: a start does not.
        let mut backoff = Vec::new();
        for start in 1..4 {
            scheduler.start_program("crash").expect("it waits");
            turn_until(&mut scheduler, "it was started", |s| starts(s) >= start);
            until(&mut scheduler, "crash", ProgramState::Backoff);
            backoff.push(kit::status(&scheduler, "crash").backoff().as_secs());
        }
        assert_eq!(backoff, [2; 3], "each start begins anew");
        scheduler.stop_program("crash").expect("it waits");
        assert_eq!(state(&scheduler, "crash"), Some(ProgramState::Stopped));
        until(&mut scheduler, "web", ProgramState::Running);
        scheduler.kill_program("web").expect("it runs");
        until(&mut scheduler, "web", ProgramState::Stopped);
        assert_eq!(kit::code(&scheduler, "web"), Some(-libc::SIGKILL));
        kit::end(&mut scheduler);
    });
}

fn orders_before_the_first_turn() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [kit::sleeper("web"), kit::sleeper("db")]);
        scheduler.stop_program("web").expect("it is known");
        scheduler.add(kit::sleeper("cache")).expect("a free name");
        scheduler.remove("db").expect("it is known");
        until(&mut scheduler, "cache", ProgramState::Running);
        assert_eq!(state(&scheduler, "web"), Some(ProgramState::Stopped));
        assert_eq!(scheduler.programs().len(), 2);
        kit::end(&mut scheduler);
    });
}

/// A restart by hand has no delay, and still no two runs at a time.
fn a_restart_waits_for_what_left_the_group() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = kit::built(
            kit::all(&dir)
                .subreaper()
                .program(kit::shell("web", ESCAPE)),
        );
        let path = dir.path().to_owned();
        for _ in 0..5 {
            turn_until(&mut scheduler, "a process has left", |_| {
                escaped(&path).is_some()
            });
            let pid = escaped(&path).expect("it was seen");
            fs::remove_file(path.join("escaped")).expect("the file");
            scheduler.restart_program("web").expect("it runs");
            let starts = kit::status(&scheduler, "web").restarts();
            turn_until(&mut scheduler, "it starts again", |scheduler| {
                kit::status(scheduler, "web").restarts() > starts
            });
            assert!(
                !process::alive(pid),
                "{pid} of the last run lives beside the new one"
            );
        }
        kit::end(&mut scheduler);
    });
}

/// A copy of a program whose file does not answer for as long as the lease is held.
pub fn leased(dir: &TempDir, program: &str) -> (fs::File, String) {
    let path = dir.path().join("leased");
    fs::copy(program, &path).expect("a copy");
    let file = fs::File::open(&path).expect("the copy");
    // SAFETY: plain numbers; the signal tells the holder that another wants the file.
    unsafe { libc::signal(libc::SIGIO, libc::SIG_IGN) };
    // What copied it may have it open for a moment yet, in a child that was forked meanwhile.
    process::wait_for("the lease", || {
        // SAFETY: plain numbers, and the descriptor is open.
        unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK) == 0 }
    });
    let path = path.to_str().expect("a UTF-8 path");
    (file, path.to_owned())
}

/// One that sleeps, once its file answers.
fn leased_sleep(dir: &TempDir, name: &str) -> (fs::File, ChildSpec) {
    let (file, path) = leased(dir, "/bin/sleep");
    (file, ChildSpec::new(name, [&*path, "1000"]))
}

/// A kill between two turns notes a group that is to be probed; the program may be gone by then.
fn a_start_that_was_cancelled_between_turns_leaves_nothing() {
    host(|| {
        let dir = kit::directory();
        let (lease, web) = leased_sleep(&dir, "web");
        let mut scheduler = kit::built(kit::all(&dir).program(web).keep_running());
        kit::all_spawned(&mut scheduler);
        assert_eq!(state(&scheduler, "web"), Some(ProgramState::Starting));
        scheduler.kill_program("web").expect("it is late");
        let pid = kit::status(&scheduler, "web").pid().expect("it is late");
        process::wait_for("it is dead", || !process::alive(pid));
        scheduler.remove("web").expect("it is late");
        kit::turn(&mut scheduler, MILLISECOND);
        assert!(scheduler.programs().is_empty());
        drop(lease);
        kit::end(&mut scheduler);
    });
}

/// Another part of the host may be the one that reaps it.
fn a_start_that_was_cancelled_and_stolen_is_over() {
    for reap in [Reap::Own, Reap::All] {
        host(move || {
            let dir = kit::directory();
            let (lease, web) = leased_sleep(&dir, "web");
            let builder = kit::all(&dir).reap(reap).program(web).keep_running();
            let mut scheduler = kit::built(builder.safety_sweep(false));
            kit::all_spawned(&mut scheduler);
            scheduler.kill_program("web").expect("it is late");
            let pid = kit::status(&scheduler, "web").pid().expect("it is late");
            kit::ended(pid);
            let begin = std::time::Instant::now();
            turn_until(&mut scheduler, "it is over", |scheduler| {
                state(scheduler, "web") != Some(ProgramState::Stopping)
            });
            assert_eq!(
                state(&scheduler, "web"),
                Some(ProgramState::Stopped),
                "{:?}",
                begin.elapsed()
            );
            drop(lease);
            kit::end(&mut scheduler);
        });
    }
}

fn nothing_waits_for_a_program_that_is_being_removed() {
    host(|| {
        let dir = kit::directory();
        let programs = [kit::sleeper("db"), kit::sleeper("web").requires(["db"])];
        let (notes, builder) = noted(kit::all(&dir).keep_running().programs(programs));
        let mut scheduler = kit::built(builder);
        kit::all_up(&mut scheduler);
        let from = notes.len();
        scheduler.remove("web").expect("nothing waits for it");
        scheduler
            .remove("db")
            .expect("what waits for it goes first");
        for (key, spec) in [
            ("requires", kit::sleeper("new").requires(["db"])),
            ("after", kit::sleeper("new").after(["db"])),
        ] {
            let error = scheduler.add(spec).expect_err("it is being removed");
            let text = format!(r#"program "new": {key}: program "db" is being removed"#);
            assert_eq!(
                (error.kind(), error.to_string()),
                (ErrorKind::Invalid, text)
            );
        }
        let mut at = from;
        let down = ["?web", "-web", "?db", "/web", "-db", "/db"];
        next(&mut scheduler, &notes, &mut at, &down);
        assert!(scheduler.programs().is_empty());
        kit::end(&mut scheduler);
    });
}

fn no_order_comes_after_the_end() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [kit::sleeper("web")]);
        kit::all_up(&mut scheduler);
        scheduler.remove("web").expect("it runs");
        turn_until(&mut scheduler, "it is gone", |scheduler| {
            scheduler.programs().is_empty()
        });
        let refused = |result: procsched::Result<()>| {
            assert_eq!(result.expect_err("the end").kind(), ErrorKind::Stopping);
        };
        refused(scheduler.add(kit::sleeper("new")));
        while kit::turn(&mut scheduler, MILLISECOND) == Status::Running {}
        refused(scheduler.add(kit::sleeper("new")));
        drop(scheduler);

        let mut scheduler = built(&dir, [kit::sleeper("web")]);
        scheduler.stop();
        refused(scheduler.add(kit::sleeper("new")));
        refused(scheduler.start_program("web"));
        kit::end(&mut scheduler);
        drop(scheduler);

        let mut scheduler = kit::built(kit::all(&dir).keep_running());
        kit::turn(&mut scheduler, MILLISECOND);
        scheduler.add(kit::sleeper("new")).expect("it goes on");
        kit::end(&mut scheduler);
    });
}

/// Leaves a process in another session, and fails.
const ESCAPE_AND_FAIL: &str = "setsid sh -c 'echo $$ > escaped; exec sleep 1000' & \
                               while ! test -s escaped; do sleep 0.01; done; exit 3";

fn what_a_failed_program_left_ends_with_the_next_order() {
    host(|| {
        for order in ["start", "stop", "remove", "start what requires it"] {
            let dir = kit::directory();
            let programs = [
                kit::once("web", ESCAPE_AND_FAIL),
                kit::sleeper("user").requires(["web"]),
            ];
            let needed = if order.len() > 6 { 2 } else { 1 };
            let programs = programs.into_iter().take(needed);
            let builder = kit::all(&dir).keep_running().subreaper();
            let mut scheduler = kit::built(builder.programs(programs));
            until(&mut scheduler, "web", ProgramState::Failed);
            for _ in 0..5 {
                kit::turn(&mut scheduler, 10 * MILLISECOND);
            }
            let pid = escaped(dir.path()).expect("it has left");
            assert!(process::alive(pid), "it may go on until an order");
            let ordered = match order {
                "start" => scheduler.start_program("web"),
                "stop" => scheduler.stop_program("web"),
                "remove" => scheduler.remove("web"),
                _ => scheduler.start_program("user"),
            };
            ordered.expect(order);
            turn_until(&mut scheduler, "it is carried out", |scheduler| {
                scheduler.program("web").is_none_or(|web| match order {
                    "stop" => web.state() == ProgramState::Stopped,
                    _ => web.restarts() == 1,
                })
            });
            assert!(!process::alive(pid), "{order}: {pid} lives");
            kit::end(&mut scheduler);
        }
    });
}

fn what_was_stopped_is_stopping_until_what_it_left_is_gone() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::all(&dir).keep_running().subreaper();
        let mut scheduler = kit::built(builder.program(kit::shell("web", ESCAPE)));
        turn_until(&mut scheduler, "a process has left", |_| {
            escaped(dir.path()).is_some()
        });
        let pid = escaped(dir.path()).expect("it was seen");
        scheduler.stop_program("web").expect("it runs");
        turn_until(&mut scheduler, "it is stopped", |scheduler| {
            let is_stopped = state(scheduler, "web") == Some(ProgramState::Stopped);
            assert!(!is_stopped || !process::alive(pid), "{pid} lives");
            is_stopped
        });
        kit::end(&mut scheduler);
    });
}

fn a_cancelled_start_says_why() {
    host(|| {
        for (order, why) in [
            ("stop", "a stop"),
            ("kill", "a kill"),
            ("restart", "a restart"),
            ("remove", "the removal"),
            ("stop all", "the stop"),
        ] {
            let dir = kit::directory();
            let (lease, web) = leased_sleep(&dir, "web");
            let (reports, sink) = kit::reports();
            let builder = kit::all(&dir).program(web).keep_running();
            let mut scheduler = kit::built(builder.error_handler(sink));
            kit::all_spawned(&mut scheduler);
            let ordered = match order {
                "stop" => scheduler.stop_program("web"),
                "kill" => scheduler.kill_program("web"),
                "restart" => scheduler.restart_program("web"),
                "remove" => scheduler.remove("web"),
                _ => {
                    scheduler.stop();
                    Ok(())
                }
            };
            ordered.expect("it is late");
            turn_until(&mut scheduler, "it is reported", |_| reports.len() == 1);
            let error = reports.items()[0].error().unwrap_or_default();
            let text = format!("start cancelled by {why}: pid");
            assert!(error.starts_with(&text), "{order}: {error}");
            drop(lease);
            kit::end(&mut scheduler);
        }
    });
}

fn a_state_is_as_old_as_its_word() {
    host(|| {
        let dir = kit::directory();
        let programs = [
            kit::churner("web", 1_000_000 * MILLISECOND, "exit 1"),
            kit::once("db", "exit 1"),
            kit::sleeper("user").requires(["db"]),
        ];
        let mut scheduler = built(&dir, programs);
        until(&mut scheduler, "web", ProgramState::Backoff);
        until(&mut scheduler, "user", ProgramState::Pending);
        until(&mut scheduler, "db", ProgramState::Failed);
        let age = 300 * MILLISECOND;
        std::thread::sleep(age);
        kit::turn(&mut scheduler, MILLISECOND);
        assert!(kit::status(&scheduler, "web").state_for() >= age);
        for name in ["web", "user"] {
            scheduler.stop_program(name).expect("it does not run");
            let program = kit::status(&scheduler, name);
            assert_eq!(program.state(), ProgramState::Stopped, "{name}");
            assert!(program.state_for() < age, "{name}: {program:?}");
        }
        // No event tells that a delay is over while something else holds the start.
        let delay = 2 * age;
        let crash = kit::churner("crash", delay, "exit 1").requires(["up"]);
        scheduler.add(kit::sleeper("up")).expect("a free name");
        scheduler.add(crash).expect("a free name");
        until(&mut scheduler, "crash", ProgramState::Backoff);
        scheduler.stop_program("up").expect("it runs");
        until(&mut scheduler, "crash", ProgramState::Pending);
        std::thread::sleep(age);
        let held_for = kit::status(&scheduler, "crash").state_for();
        assert!((age..delay).contains(&held_for), "{held_for:?}");
        kit::end(&mut scheduler);
    });
}

fn a_shortage_of_descriptors_is_reported_once() {
    host(|| {
        let limit = libc::rlimit {
            rlim_cur: 64,
            rlim_max: 64,
        };
        // SAFETY: a live structure.
        assert_eq!(unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &limit) }, 0);
        let dir = kit::directory();
        let (warnings, sink) = kit::warnings();
        let mut scheduler = kit::built(kit::all(&dir).keep_running().on_event(sink));
        let name = |index: u32| format!("p{index}");
        let count = |scheduler: &mut ProcessScheduler| {
            kit::turn(scheduler, MILLISECOND);
            let all = warnings.items();
            all.iter()
                .filter(|(_, text)| text.starts_with("RLIMIT_NOFILE="))
                .count()
        };
        let add = |scheduler: &mut ProcessScheduler| {
            // One whose log cannot be opened is refused.
            (0..29).for_each(|index| _ = scheduler.add(kit::sleeper(&name(index))));
            count(scheduler)
        };
        assert_eq!(add(&mut scheduler), 1, "once, although each makes it worse");
        for index in 10..29 {
            // One that was refused is not known.
            let _ = scheduler.remove(&name(index));
        }
        turn_until(&mut scheduler, "they are gone", |scheduler| {
            scheduler.programs().len() == 10
        });
        assert_eq!(count(&mut scheduler), 1);
        assert_eq!(add(&mut scheduler), 2, "and again after they fitted");
        kit::end(&mut scheduler);
    });
}

fn a_thread_gives_orders_through_a_handle() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::all(&dir).programs([kit::sleeper("web"), kit::sleeper("db")]);
        let refused = List::new();
        let sink = refused.clone();
        let mut scheduler = kit::built(builder.on_event(move |event| {
            if let EventKind::Refused { error, .. } = event.kind() {
                sink.push((event.program().to_owned(), error.to_string()));
            }
        }));
        let pids = kit::all_up(&mut scheduler);
        let handle = scheduler.handle();
        let thread = std::thread::spawn(move || {
            handle.restart_program("web").expect("it is queued");
            handle.stop_program("db").expect("it is queued");
            handle
                .signal_program("none", 10, SignalTo::Main)
                .expect("it is queued");
        });
        // No turn is due: the handle alone wakes this one.
        kit::turn(&mut scheduler, kit_patience());
        until(&mut scheduler, "db", ProgramState::Stopped);
        turn_until(&mut scheduler, "web has a new pid", |scheduler| {
            kit::pid(scheduler, "web").is_some_and(|pid| pid != pids[0])
        });
        thread.join().expect("no panic");
        turn_until(&mut scheduler, "the last is refused", |_| {
            refused.len() == 1
        });
        let text = r#"no program "none""#;
        assert_eq!(refused.items(), [("none".to_owned(), text.to_owned())]);
        kit::end(&mut scheduler);
    });
}

/// Longer than any test waits.
fn kit_patience() -> std::time::Duration {
    60_000 * MILLISECOND
}

fn orders_that_nobody_takes_are_bounded() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [kit::sleeper("web")]);
        kit::all_up(&mut scheduler);
        let handle = scheduler.handle();
        for _ in 0..1024 {
            handle.start_program("web").expect("there is room");
        }
        let error = handle.start_program("web").expect_err("there is none");
        assert_eq!(error.kind(), ErrorKind::Full);
        let text = "1024 orders wait for the scheduler already";
        assert_eq!(error.to_string(), text);
        kit::turn(&mut scheduler, MILLISECOND);
        handle.start_program("web").expect("there is room again");
        let copy = handle.clone();
        let child = kit::copy(move || {
            let error = copy.start_program("web").expect_err("it is a copy");
            i32::from(error.kind() != ErrorKind::Invalid)
        });
        assert_eq!(kit::ended(child).code(), Some(0));
        kit::end(&mut scheduler);
        let error = handle.start_program("web").expect_err("it has stopped");
        assert_eq!(error.kind(), ErrorKind::Stopping);
    });
}

fn a_signal_goes_to_the_group_or_to_the_first_process() {
    host(|| {
        for reap in [Reap::All, Reap::Own] {
            signal_to_group_and_leader(reap);
        }
    });
}

/// A shell with a child; both say which signal they got.
fn signal_to_group_and_leader(reap: Reap) {
    {
        let dir = kit::directory();
        let script = "trap 'echo shell >> got' USR1; \
                      sh -c 'trap \"echo child >> got\" USR1; echo up >> got; \
                             while :; do sleep 0.01; done' & \
                      while :; do sleep 0.01; done";
        let builder = kit::all(&dir).reap(reap).program(kit::shell("web", script));
        let mut scheduler = kit::built(builder);
        let path = dir.path().join("got");
        let got = || {
            let text = fs::read_to_string(&path).unwrap_or_default();
            let mut lines: Vec<String> = text.lines().map(str::to_owned).collect();
            lines.sort();
            lines
        };
        turn_until(&mut scheduler, "both are up", |_| got() == ["up"]);
        let mut send = |to| scheduler.signal_program("web", libc::SIGUSR1, to);
        send(SignalTo::Main).expect("it runs");
        process::wait_for("the shell alone", || got() == ["shell", "up"]);
        send(SignalTo::Group).expect("it runs");
        process::wait_for("both", || got() == ["child", "shell", "shell", "up"]);
        for invalid in [0, -1, 65] {
            let error = scheduler.signal_program("web", invalid, SignalTo::Group);
            assert_eq!(error.expect_err("no signal").kind(), ErrorKind::Invalid);
        }
        // A KILL by hand is a crash like any other.
        scheduler
            .signal_program("web", libc::SIGKILL, SignalTo::Group)
            .expect("it runs");
        until(&mut scheduler, "web", ProgramState::Backoff);
        let error = scheduler.signal_program("web", libc::SIGUSR1, SignalTo::Group);
        let error = error.expect_err("it does not run");
        assert_eq!(error.kind(), ErrorKind::NotRunning);
        assert_eq!(error.to_string(), r#"program "web" does not run"#);
        kit::end(&mut scheduler);
    }
}

fn logs_are_opened_anew_after_a_rotation() {
    host(|| {
        let dir = kit::directory();
        let script = "while :; do if test -e go; then rm go; echo line >&2; fi; sleep 0.01; done";
        let mut scheduler = built(&dir, [kit::shell("web", script)]);
        kit::all_up(&mut scheduler);
        let log = dir.path().join("logs/web.stderr.log");
        let write = |scheduler: &mut ProcessScheduler, path: &Path, length: u64| {
            fs::write(dir.path().join("go"), "").expect("a file");
            turn_until(scheduler, "the line is there", |_| {
                fs::metadata(path).is_ok_and(|file| file.len() == length)
            });
        };
        write(&mut scheduler, &log, 5);
        let old = log.with_extension("log.1");
        fs::rename(&log, &old).expect("a rename");
        write(&mut scheduler, &old, 10);
        scheduler.reopen_logs().expect("a new log");
        write(&mut scheduler, &log, 5);
        assert_eq!(fs::metadata(&old).map(|file| file.len()).ok(), Some(10));
        kit::end(&mut scheduler);
    });
}
