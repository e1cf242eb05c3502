//! A new set of definitions while programs run: what changes, in which order, and what does not.

use std::time::Duration;

use std::sync::{Arc, Mutex};

use procsched::{
    ApplyOptions, ChildSpec, ErrorKind, EventKind, Plan, ProcessScheduler, ProgramState, Restart,
    Status,
};

use super::host::{Test, host};
use super::kit::{self, MILLISECOND, turn_until};
use super::orders::{next, noted, until};

pub const TESTS: &[Test] = tests![
    what_does_not_differ_runs_on,
    keys_of_both_classes_do_what_their_class_says,
    a_removed_program_is_gone_before_a_new_one_starts,
    what_requires_a_restarted_program_is_restarted_after_it,
    stopped_stays_stopped_and_failed_starts_again,
    the_direction_of_a_link_can_turn,
    a_refused_set_changes_nothing,
    a_set_refused_for_a_log_warns_of_nothing,
    a_set_before_the_first_turn,
    a_program_that_waits_is_started_with_its_new_definition,
    ten_sets_in_a_row_end_as_the_last,
    without_restarts_a_change_waits_and_can_be_taken_back,
    nothing_becomes_a_oneshot_without_a_restart,
    a_new_requirement_does_not_start_what_was_stopped,
    a_requirement_that_is_dropped_takes_nothing_down,
    a_requirement_that_is_new_takes_nothing_down,
    what_requires_a_program_that_becomes_a_oneshot_is_restarted_with_it,
    what_has_succeeded_stays_a_oneshot_without_a_restart,
];

fn apply<const N: usize>(scheduler: &mut ProcessScheduler, specs: [ChildSpec; N]) -> Plan {
    let planned = scheduler.plan(&specs).expect("a plan");
    let plan = scheduler.apply(specs.to_vec()).expect("it is accepted");
    assert_eq!(plan, planned);
    plan
}

fn built<const N: usize>(dir: &tempfile::TempDir, specs: [ChildSpec; N]) -> ProcessScheduler {
    kit::built(kit::all(dir).programs(specs).keep_running())
}

fn sleeper(name: &str) -> ChildSpec {
    ChildSpec::new(name, ["sleep", "1000"])
}

fn what_does_not_differ_runs_on() {
    host(|| {
        let dir = kit::directory();
        let specs = || {
            [
                sleeper("web").env("MODE", "prod").requires(["db"]),
                sleeper("db"),
            ]
        };
        let mut scheduler = built(&dir, specs());
        let pids = kit::all_up(&mut scheduler);
        let plan = apply(&mut scheduler, specs());
        assert!(plan.is_empty());
        assert_eq!(plan.to_string(), "= 2 unchanged");
        kit::turn(&mut scheduler, 50 * MILLISECOND);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        kit::end(&mut scheduler);
    });
}

fn keys_of_both_classes_do_what_their_class_says() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("db")]);
        let pids = kit::all_up(&mut scheduler);
        let live = sleeper("db")
            .stop_timeout(Duration::from_secs(3))
            .max_restarts(4)
            .report_bytes(7)
            .after(["web"]);
        let plan = apply(&mut scheduler, [sleeper("web"), live.clone()]);
        let text = "* db  changes in place: max_restarts, stop_timeout, report_bytes, after\n\
                    = 1 unchanged";
        assert_eq!(plan.to_string(), text);
        kit::turn(&mut scheduler, 50 * MILLISECOND);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        let other = sleeper("web").env("A", "1").cwd("/");
        let plan = apply(&mut scheduler, [other, live]);
        let text = "~ web  will be restarted: cwd, env.A\n= 1 unchanged";
        assert_eq!(plan.to_string(), text);
        turn_until(&mut scheduler, "web has a new pid", |scheduler| {
            kit::pid(scheduler, "web").is_some_and(|pid| pid != pids[0])
        });
        assert_eq!(kit::pid(&scheduler, "db"), Some(pids[1]));
        // A restart by a new definition is no failure.
        assert_eq!(kit::status(&scheduler, "web").backoff().as_secs(), 1);
        kit::end(&mut scheduler);
    });
}

fn a_removed_program_is_gone_before_a_new_one_starts() {
    host(|| {
        let dir = kit::directory();
        let slow = kit::shell(
            "old",
            "trap 'sleep 0.3; exit' TERM; while :; do sleep 0.01; done",
        );
        let builder = kit::all(&dir).program(slow).keep_running();
        let (notes, builder) = noted(builder);
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        next(&mut scheduler, &notes, &mut at, &["+old"]);
        let plan = apply(&mut scheduler, [sleeper("renamed")]);
        let text = "+ renamed  new, will be started\n\
                    - old      will be stopped and removed\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        let status = kit::status(&scheduler, "renamed");
        assert_eq!(status.state(), ProgramState::Pending);
        assert_eq!(
            status.reason(),
            Some("after programs that are being removed")
        );
        let order = ["?old", "-old", "+renamed", "/old"];
        next(&mut scheduler, &notes, &mut at, &order);
        kit::end(&mut scheduler);
    });
}

fn what_requires_a_restarted_program_is_restarted_after_it() {
    host(|| {
        let dir = kit::directory();
        let web = || sleeper("web").requires(["db"]);
        let (notes, builder) = noted(kit::all(&dir).programs([web(), sleeper("db")]));
        let mut scheduler = kit::built(builder);
        let mut at = 0;
        next(&mut scheduler, &notes, &mut at, &["+db", "+web"]);
        let plan = apply(&mut scheduler, [web(), sleeper("db").env("A", "1")]);
        let text = "~ web  will be restarted: requires db\n\
                    ~ db   will be restarted: env.A\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        let order = ["?web", "-web", "?db", "-db", "+db", "+web"];
        next(&mut scheduler, &notes, &mut at, &order);
        kit::end(&mut scheduler);
    });
}

fn stopped_stays_stopped_and_failed_starts_again() {
    host(|| {
        let dir = kit::directory();
        let failed = || kit::once("failed", "exit 3");
        let done = || kit::once("done", "exit 0");
        let mut scheduler = built(&dir, [sleeper("stopped"), failed(), done()]);
        until(&mut scheduler, "failed", ProgramState::Failed);
        until(&mut scheduler, "done", ProgramState::Exited);
        scheduler.stop_program("stopped").expect("it runs");
        until(&mut scheduler, "stopped", ProgramState::Stopped);
        let later = |spec: ChildSpec| spec.stop_timeout(Duration::from_secs(1));
        let set = [
            later(sleeper("stopped")).env("A", "1"),
            later(failed()),
            later(done()),
        ];
        let plan = apply(&mut scheduler, set);
        let text = "! stopped  stays stopped\n\
                    ~ failed   will be started: stop_timeout\n\
                    * done     changes in place: stop_timeout\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        turn_until(&mut scheduler, "failed has run again", |scheduler| {
            kit::status(scheduler, "failed").restarts() == 1
        });
        assert_eq!(kit::status(&scheduler, "done").restarts(), 0);
        let stopped = kit::status(&scheduler, "stopped");
        assert_eq!(stopped.state(), ProgramState::Stopped);
        kit::end(&mut scheduler);
    });
}

fn the_direction_of_a_link_can_turn() {
    host(|| {
        let dir = kit::directory();
        let one = [sleeper("a").requires(["b"]), sleeper("b")];
        let other = [sleeper("a"), sleeper("b").requires(["a"])];
        let mut scheduler = built(&dir, one.clone());
        let pids = kit::all_up(&mut scheduler);
        for _ in 0..3 {
            apply(&mut scheduler, other.clone());
            apply(&mut scheduler, one.clone());
        }
        kit::turn(&mut scheduler, 50 * MILLISECOND);
        assert_eq!(kit::all_up(&mut scheduler), pids, "links change in place");
        // And the last ones hold.
        scheduler.stop_program("b").expect("it runs");
        until(&mut scheduler, "a", ProgramState::Pending);
        kit::end(&mut scheduler);
    });
}

fn a_refused_set_changes_nothing() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("db")]);
        let pids = kit::all_up(&mut scheduler);
        let sets = [
            (
                vec![sleeper("web"), sleeper("web")],
                "two programs are named \"web\"",
            ),
            (
                vec![sleeper("web").after(["bd"]), sleeper("db"), sleeper("new")],
                "program \"web\": after: no program \"bd\" (did you mean \"db\"?)",
            ),
            (
                vec![sleeper("a").after(["b"]), sleeper("b").requires(["a"])],
                "program \"a\": waits for itself, in a cycle: a → b → a",
            ),
            (
                vec![sleeper("new"), ChildSpec::new("db", [""])],
                "program \"db\": command: the program to run is an empty string",
            ),
        ];
        for (set, text) in sets {
            for result in [scheduler.plan(&set), scheduler.apply(set.clone())] {
                let error = result.expect_err(text);
                assert_eq!(error.kind(), ErrorKind::Invalid);
                assert!(error.to_string().starts_with(&text[..25]), "{error}");
            }
        }
        assert_eq!(scheduler.programs().len(), 2);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        scheduler.stop();
        kit::turn(&mut scheduler, MILLISECOND);
        let error = scheduler.apply(vec![]).expect_err("a stop");
        assert_eq!(error.kind(), ErrorKind::Stopping);
        kit::end(&mut scheduler);
    });
}

/// The log of the first one is refused, too, which is only a warning.
fn a_set_refused_for_a_log_warns_of_nothing() {
    host(|| {
        let dir = kit::directory();
        let warned = Arc::new(Mutex::new(Vec::new()));
        let sink = warned.clone();
        let builder = kit::all(&dir).keep_running().on_event(move |event| {
            if let EventKind::Warning { .. } = event.kind() {
                let name = event.program().to_owned();
                sink.lock().expect("a list").push(name);
            }
        });
        let mut scheduler = kit::built(builder);
        let log = |name: &str| dir.path().join(format!("logs/{name}.stderr.log"));
        // Where no program logs there is none.
        std::fs::create_dir_all(log("a")).expect("a directory in the place of a log");
        let file = std::fs::File::create(log("b")).expect("a file");
        let other = nix::fcntl::Flock::lock(file, nix::fcntl::FlockArg::LockExclusiveNonblock);
        let other = other.expect("a lock of another supervisor");
        let set = [sleeper("a"), sleeper("b")];
        let refused = scheduler.apply(set.to_vec()).expect_err("a log in use");
        assert!(
            refused.to_string().contains("another supervisor"),
            "{refused}"
        );
        kit::turn(&mut scheduler, MILLISECOND);
        assert_eq!(*warned.lock().expect("a list"), [""; 0]);
        drop(other);
        apply(&mut scheduler, set);
        kit::all_up(&mut scheduler);
        let names = warned.lock().expect("a list");
        assert!(names.contains(&"a".to_owned()), "{names:?}");
        drop(names);
        kit::end(&mut scheduler);
    });
}

fn a_set_before_the_first_turn() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("old")]);
        apply(
            &mut scheduler,
            [sleeper("web").env("A", "1"), sleeper("new")],
        );
        assert_eq!(kit::all_up(&mut scheduler).len(), 2);
        assert!(scheduler.program("old").is_none());
        // And nothing at all.
        assert_eq!(apply(&mut scheduler, []).changes().len(), 2);
        turn_until(&mut scheduler, "all are gone", |scheduler| {
            scheduler.programs().is_empty()
        });
        assert_eq!(kit::turn(&mut scheduler, MILLISECOND), Status::Running);
        kit::end(&mut scheduler);
    });
}

fn a_program_that_waits_is_started_with_its_new_definition() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [kit::shell("web", "exit 1")]);
        until(&mut scheduler, "web", ProgramState::Backoff);
        let plan = apply(&mut scheduler, [kit::shell("web", "exec sleep 1000")]);
        let text = "~ web  will be started: command\n= 0 unchanged";
        assert_eq!(plan.to_string(), text);
        until(&mut scheduler, "web", ProgramState::Running);
        kit::end(&mut scheduler);
    });
}

/// Each of them takes back what the one before has begun.
fn ten_sets_in_a_row_end_as_the_last() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [sleeper("a"), sleeper("b")]);
        kit::all_up(&mut scheduler);
        for round in 0..10 {
            let value = round.to_string();
            let specs = match round % 3 {
                0 => vec![sleeper("a").env("N", &value), sleeper("c").requires(["a"])],
                1 => vec![sleeper("b").env("N", &value)],
                _ => vec![
                    sleeper("a"),
                    sleeper("b").restart(Restart::Never).after(["a"]),
                ],
            };
            scheduler.apply(specs).expect("it is accepted");
        }
        // The last is round 9.
        turn_until(&mut scheduler, "a and c run, alone", |scheduler| {
            let programs = scheduler.programs();
            let names: Vec<&str> = programs.iter().map(|program| program.name()).collect();
            let runs = programs
                .iter()
                .all(|program| program.state() == ProgramState::Running);
            names == ["a", "c"] && runs
        });
        let pid = kit::pid(&scheduler, "a").expect("it runs");
        // The kernel shows it a moment after the exec.
        crate::process::wait_for("the environment of the last set", || {
            let environ = std::fs::read(format!("/proc/{pid}/environ")).unwrap_or_default();
            environ.split(|&byte| byte == 0).any(|text| text == b"N=9")
        });
        kit::end(&mut scheduler);
    });
}

fn without_restarts_a_change_waits_and_can_be_taken_back() {
    host(|| {
        let dir = kit::directory();
        let later = ApplyOptions::new().restart(false);
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("api").requires(["web"])]);
        let pids = kit::all_up(&mut scheduler);
        let set = |value: &str| {
            let web = sleeper("web")
                .env("A", value)
                .stop_timeout(Duration::from_secs(3));
            vec![web, sleeper("api").requires(["web"])]
        };
        let planned = scheduler.plan_with(&set("1"), &later).expect("a plan");
        let plan = scheduler.apply_with(set("1"), &later).expect("accepted");
        let text = "* web  changes at its next start: env.A; in place: stop_timeout\n= 1 unchanged";
        assert_eq!((plan.to_string(), plan), (text.to_owned(), planned));
        kit::turn(&mut scheduler, 50 * MILLISECOND);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        assert!(kit::status(&scheduler, "web").is_changed());
        assert!(!kit::status(&scheduler, "api").is_changed());
        // The definition that it runs with is wanted again.
        let old = sleeper("web").stop_timeout(Duration::from_secs(3));
        let plan = apply(&mut scheduler, [old, sleeper("api").requires(["web"])]);
        assert_eq!(
            plan.to_string(),
            "* web  changes in place: env.A\n= 1 unchanged"
        );
        assert!(!kit::status(&scheduler, "web").is_changed());
        kit::turn(&mut scheduler, 50 * MILLISECOND);
        assert_eq!(kit::all_up(&mut scheduler), pids);
        // Its next start has the new one, for whatever reason it comes.
        scheduler.apply_with(set("2"), &later).expect("accepted");
        assert!(kit::status(&scheduler, "web").is_changed());
        scheduler.restart_program("web").expect("it runs");
        turn_until(&mut scheduler, "web has a new pid", |scheduler| {
            kit::pid(scheduler, "web").is_some_and(|pid| pid != pids[0])
        });
        assert!(!kit::status(&scheduler, "web").is_changed());
        let plan = scheduler.apply(set("2")).expect("accepted");
        assert!(plan.is_empty(), "{plan}");
        // And a set with restarts does what waits.
        scheduler.apply_with(set("3"), &later).expect("accepted");
        let plan = scheduler.apply(set("3")).expect("accepted");
        let text = "~ web  will be restarted: env.A\n~ api  will be restarted: requires web\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        kit::end(&mut scheduler);
    });
}

fn nothing_becomes_a_oneshot_without_a_restart() {
    host(|| {
        let dir = kit::directory();
        let later = ApplyOptions::new().restart(false);
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("old")]);
        let pids = kit::all_up(&mut scheduler);
        let set = vec![sleeper("web").oneshot(true), sleeper("new")];
        let error = scheduler.apply_with(set, &later).expect_err("it runs");
        let text = "program \"web\": oneshot: a change needs a restart of the program, which was ruled out";
        assert_eq!(
            (error.kind(), &*error.to_string()),
            (ErrorKind::Invalid, text)
        );
        assert_eq!(kit::all_up(&mut scheduler), pids);
        kit::end(&mut scheduler);
    });
}

fn a_new_requirement_does_not_start_what_was_stopped() {
    host(|| {
        let dir = kit::directory();
        let warnings = Arc::new(Mutex::new(Vec::new()));
        let sink = warnings.clone();
        let builder = kit::all(&dir).on_event(move |event| {
            if let EventKind::Warning { error, .. } = event.kind() {
                let text = format!("{}: {error}", event.program());
                sink.lock().expect("no panic").push(text);
            }
        });
        let programs = [
            sleeper("web"),
            sleeper("db"),
            sleeper("cache").autostart(false),
        ];
        let mut scheduler = kit::built(builder.programs(programs).keep_running());
        until(&mut scheduler, "web", ProgramState::Running);
        until(&mut scheduler, "db", ProgramState::Running);
        let pid = kit::pid(&scheduler, "web");
        scheduler.stop_program("db").expect("it runs");
        until(&mut scheduler, "db", ProgramState::Stopped);
        let web = || sleeper("web").requires(["db", "cache"]);
        let cache = || sleeper("cache").autostart(false);
        let plan = apply(&mut scheduler, [web(), sleeper("db"), cache()]);
        assert_eq!(
            plan.to_string(),
            "* web    changes in place: requires\n\
             ~ cache  will be started: web requires it\n\
             = 2 unchanged"
        );
        assert_eq!(plan.required()[0].program(), "cache");
        until(&mut scheduler, "cache", ProgramState::Running);
        assert_eq!(kit::status(&scheduler, "db").state(), ProgramState::Stopped);
        assert_eq!(kit::pid(&scheduler, "web"), pid, "it runs on");
        // It is said once, when it is new.
        apply(&mut scheduler, [web(), sleeper("db"), cache()]);
        kit::turn(&mut scheduler, MILLISECOND);
        let text = "web: requires \"db\", which is stopped: start that, too";
        assert_eq!(*warnings.lock().expect("no panic"), [text]);
        kit::end(&mut scheduler);
    });
}

/// The plan said that it would run on, and it was stopped with what it had required.
fn a_requirement_that_is_dropped_takes_nothing_down() {
    host(|| {
        let dir = kit::directory();
        let api = || sleeper("api").requires(["db"]);
        let web = sleeper("web").requires(["db", "api"]);
        let mut scheduler = built(&dir, [web, api(), sleeper("db")]);
        let pids = kit::all_up(&mut scheduler);
        let plan = apply(
            &mut scheduler,
            [sleeper("web"), api(), sleeper("db").env("A", "1")],
        );
        let text = "* web  changes in place: requires\n\
                    ~ api  will be restarted: requires db\n\
                    ~ db   will be restarted: env.A\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        turn_until(&mut scheduler, "the others have new pids", |scheduler| {
            let new = |name, old| kit::pid(scheduler, name).is_some_and(|pid| pid != old);
            new("api", pids[1]) && new("db", pids[2])
        });
        assert_eq!(kit::pid(&scheduler, "web"), Some(pids[0]));
        kit::end(&mut scheduler);
    });
}

/// The plan said that it would be restarted, and it ran on.
fn a_requirement_that_is_new_takes_nothing_down() {
    host(|| {
        let dir = kit::directory();
        let mut scheduler = built(&dir, [sleeper("web"), sleeper("db")]);
        let pids = kit::all_up(&mut scheduler);
        let web = sleeper("web").requires(["db"]);
        let plan = apply(&mut scheduler, [web, sleeper("db").env("A", "1")]);
        let text = "* web  changes in place: requires\n\
                    ~ db   will be restarted: env.A\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        turn_until(&mut scheduler, "db has a new pid", |scheduler| {
            kit::pid(scheduler, "db").is_some_and(|pid| pid != pids[1])
        });
        assert_eq!(kit::pid(&scheduler, "web"), Some(pids[0]));
        kit::end(&mut scheduler);
    });
}

/// The plan said nothing of it, and it was stopped.
fn what_requires_a_program_that_becomes_a_oneshot_is_restarted_with_it() {
    host(|| {
        let dir = kit::directory();
        let web = || sleeper("web").requires(["db"]);
        let mut scheduler = built(&dir, [web(), sleeper("db")]);
        kit::all_up(&mut scheduler);
        let db = sleeper("db").oneshot(true).restart(Restart::OnFailure);
        let plan = apply(&mut scheduler, [web(), db]);
        let text = "~ web  will be restarted: requires db\n\
                    ~ db   will be restarted: oneshot, restart\n\
                    = 0 unchanged";
        assert_eq!(plan.to_string(), text);
        until(&mut scheduler, "web", ProgramState::Pending);
        kit::end(&mut scheduler);
    });
}

/// It counted as up without a process, and what requires it was started.
fn what_has_succeeded_stays_a_oneshot_without_a_restart() {
    host(|| {
        let dir = kit::directory();
        let migrate = || kit::once("migrate", "exit 0");
        let mut scheduler = built(&dir, [migrate().oneshot(true)]);
        until(&mut scheduler, "migrate", ProgramState::Exited);
        let later = ApplyOptions::new().restart(false);
        let refused = scheduler.apply_with(vec![migrate()], &later);
        let error = refused.expect_err("it counts as up");
        assert_eq!(error.kind(), ErrorKind::Invalid);
        let text = "program \"migrate\": oneshot: a change needs a restart of the program, which was ruled out";
        assert_eq!(error.to_string(), text);
        let plan = apply(&mut scheduler, [migrate()]);
        assert_eq!(plan.changes()[0].kind().sign(), '~');
        kit::end(&mut scheduler);
    });
}
