//! When a program is up: by a newline on a descriptor, by a message, by its age. What waits for it,
//! and what becomes of one that is not ready in time.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::operator::{Operator, control, order, status, wait_state};
use crate::common::second_run::binary;
use crate::common::{Scene, Supervisor, probe, process};

/// A scene with a socket.
fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    (scene, path)
}

/// The lines that begin with these words behind the time, by their numbers.
fn lines_with(supervisor: &Supervisor, words: &str) -> Vec<usize> {
    let words: Vec<&str> = words.split(' ').collect();
    let begins = |line: &String| {
        let said: Vec<&str> = line.split_whitespace().skip(1).collect();
        said.starts_with(&words)
    };
    let lines = supervisor.messages().into_iter().enumerate();
    let found = lines.filter(|(_, line)| begins(line));
    found.map(|(number, _)| number).collect()
}

/// Waits for the last of these lines, and fails unless the others came before, in this order.
#[track_caller]
fn in_order(supervisor: &Supervisor, lines: &[&str]) {
    let first = |line: &&str| lines_with(supervisor, line).first().copied();
    let last = lines.last().expect("a line");
    supervisor.wait(last, || first(last).is_some());
    let places: Vec<Option<usize>> = lines.iter().map(first).collect();
    let is_right = places.iter().all(Option::is_some) && places.is_sorted();
    assert!(is_right, "{lines:?} at {places:?}; {}", supervisor.said());
}

/// How often such a line came.
fn count(supervisor: &Supervisor, words: &str) -> usize {
    lines_with(supervisor, words).len()
}

#[test]
fn what_requires_a_program_waits_until_that_is_ready() {
    let forms = [
        ("fd", json!({"fd": 3}), "say \\n 3"),
        (
            "high",
            json!({"fd": 63}),
            "say almost 63 ; say ,ready\\nand\\smore 63",
        ),
        ("notify", json!("notify"), "notify READY=1"),
    ];
    let (mut scene, path) = scene();
    for (name, ready, says) in &forms {
        let script = format!("wait-file go ; {says} ; hold");
        scene.add_with(name, &script, json!({"ready": ready}));
        let keys = json!({"requires": [name]});
        scene.add_with(&format!("of-{name}"), "hold", keys);
    }
    let supervisor = scene.start();
    for (name, ..) in &forms {
        supervisor.wait_started(name, 1);
        let program = status(&path, name);
        assert_eq!(program["state"], "starting");
        assert!(program["pid"].is_i64(), "{program}");
        let held = wait_state(&supervisor, &path, &format!("of-{name}"), "pending");
        assert_eq!(held["reason"], format!("requires {name}: starting"));
    }
    scene.write("go", "");
    for (name, ..) in &forms {
        let other = format!("of-{name}");
        wait_state(&supervisor, &path, &other, "running");
        assert_eq!(status(&path, name)["state"], "running");
        let (started, up) = (format!("{name} started"), format!("{name} up"));
        in_order(&supervisor, &[&started, &up, &format!("{other} started")]);
    }
    supervisor.end();
}

/// The delay is counted from its execution. The hour would be longer than a start may take, if that
/// were for a delay.
#[test]
fn a_delay_makes_it_ready() {
    let (mut scene, path) = scene();
    scene
        .add_with("soon", "hold", json!({"ready": {"delay": "50ms"}}))
        .add_with("later", "hold", json!({"ready": {"delay": "1h"}}))
        .add_with("next", "hold", json!({"requires": ["soon"]}))
        .add_with("never", "hold", json!({"requires": ["later"]}));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "next", "running");
    in_order(&supervisor, &["soon started", "soon up", "next started"]);
    assert_eq!(status(&path, "later")["state"], "starting");
    assert_eq!(status(&path, "never")["state"], "pending");
    supervisor.end();
}

#[test]
fn a_program_gets_the_descriptor_that_it_asks_for_and_no_other() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": {"fd": 7}});
    scene.add_with("web", "dump given ; say \\n 7 ; hold", keys);
    let supervisor = scene.start();
    let given = scene.wait_dump("given");
    let fds: Vec<&String> = given["fds"]
        .as_object()
        .expect("an object")
        .keys()
        .collect();
    assert_eq!(fds, ["0", "1", "2", "7"]);
    wait_state(&supervisor, &path, "web", "running");
    supervisor.end();
}

/// What a former run was given is closed: as many descriptors are open in the thirtieth as in the
/// first.
#[test]
fn thirty_runs_leave_no_descriptor_behind() {
    let (mut scene, path) = scene();
    let quick = json!({"initial": "1ms", "max": "1ms"});
    let script = "notify-address address ; once first { touch one ; wait-file go } ; \
                  every 30 runs { notify STATUS=thirty ; hold } ; \
                  say x 3 ; notify WATCHDOG=1 ; exit 1";
    let keys = json!({"ready": {"fd": 3}, "watchdog": "1m", "backoff": quick});
    scene.add_with("web", script, keys);
    let supervisor = scene.start();
    scene.wait_file("one");
    // A start is not over when its program runs: the supervisor still holds the program's ends.
    let before = process::quiet_descriptor_kinds(supervisor.pid());
    scene.write("go", "");
    supervisor.wait("the thirtieth run", || {
        status(&path, "web")["status_text"] == "thirty"
    });
    let after = process::quiet_descriptor_kinds(supervisor.pid());
    assert_eq!(before.len(), after.len(), "{before:?} became {after:?}");
    assert_eq!(supervisor.reports_of("web").len(), 29);
    supervisor.end();
}

/// Whatever was said before a death counts before the death does.
#[test]
fn one_that_ends_as_soon_as_it_is_ready_was_ready() {
    const RUNS: usize = 20;
    let mut scene = Scene::new();
    let quick = json!({"initial": "1ms", "max": "1ms"});
    let keys = |ready: Value| json!({"ready": ready, "backoff": quick});
    scene
        .add_with("by-fd", "say \\n 3 ; exit 0", keys(json!({"fd": 3})))
        .add_with(
            "by-message",
            "notify READY=1 ; exit 0",
            keys(json!("notify")),
        );
    let mut supervisor = scene.start();
    for name in ["by-fd", "by-message"] {
        supervisor.wait_reports_of(name, RUNS);
    }
    assert_eq!(supervisor.stop(), 0);
    for name in ["by-fd", "by-message"] {
        let ups = count(&supervisor, &format!("{name} up"));
        let starts = supervisor.started(name).len();
        // The last one may have been asked to stop before.
        assert!(ups == starts || ups + 1 == starts, "{ups} of {starts}");
    }
}

#[test]
fn one_that_is_not_ready_in_time_is_ended() {
    let (mut scene, path) = scene();
    let keys = |ready: Value| json!({"ready": ready, "start_timeout": "300ms", "restart": "never"});
    scene
        .add_with("by-fd", "hold", keys(json!({"fd": 3})))
        .add_with(
            "by-message",
            "notify STATUS=x ; hold",
            keys(json!("notify")),
        )
        .add_with("next", "hold", json!({"requires": ["by-fd"]}))
        .add_with("after", "hold", json!({"after": ["by-message"]}));
    let supervisor = scene.start();
    for name in ["by-fd", "by-message"] {
        let report = supervisor.wait_report(name, 1);
        assert_eq!(*report.get("cause"), "start-timeout");
        assert_eq!(report.signal(), Some("SIGTERM"));
        assert_eq!(report.retry_in(), None);
        let program = wait_state(&supervisor, &path, name, "failed");
        assert_eq!(program["last_exit"]["cause"], "start-timeout");
        assert_eq!(program["reason"], "not ready in time (start_timeout 300ms)");
        assert_eq!(program["status_text"], Value::Null);
        supervisor.wait_message(&[name, "stopping", "cause=start-timeout"]);
        assert_eq!(count(&supervisor, &format!("{name} up")), 0);
    }
    let next = wait_state(&supervisor, &path, "next", "pending");
    assert_eq!(next["reason"], "requires by-fd: failed");
    wait_state(&supervisor, &path, "after", "running");
    supervisor.end();
}

/// It says so once, and while it lives: an exit closes everything, too.
#[test]
fn a_descriptor_that_is_closed_without_a_newline_is_a_message() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": {"fd": 3}, "start_timeout": "2s", "restart": "never"});
    scene
        .add_with("closes", "say half 3 ; close 3 ; hold", keys.clone())
        .add_with("exits", "say half 3 ; exit 0", keys)
        .add("stays", "hold");
    let supervisor = scene.start();
    let words = "closed descriptor 3 without a newline: it cannot become ready; write one before";
    supervisor.wait_message(&["closes warning", words]);
    let program = wait_state(&supervisor, &path, "closes", "failed");
    assert_eq!(program["last_exit"]["cause"], "start-timeout");
    assert_eq!(supervisor.messages_with(&[words]).len(), 1);
    assert_eq!(status(&path, "exits")["state"], "exited");
    supervisor.end();
}

/// `after` goes ahead, `requires` holds.
#[test]
fn one_that_exits_before_it_is_ready_has_not_been_up() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": "notify", "restart": "on-failure"});
    scene
        .add_with("db", "exit 0", keys)
        .add_with("waits", "hold", json!({"after": ["db"]}))
        .add_with("needs", "hold", json!({"requires": ["db"]}));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "exited");
    wait_state(&supervisor, &path, "waits", "running");
    let needs = wait_state(&supervisor, &path, "needs", "pending");
    assert_eq!(needs["reason"], "requires db: exited");
    assert_eq!(count(&supervisor, "db up"), 0);
    supervisor.end();
}

#[test]
fn readiness_after_the_request_to_stop_is_ignored() {
    let (mut scene, path) = scene();
    let late = |name: &str, says: &str| {
        format!("trap TERM ; pid {name}.pid ; await TERM ; {says} ; exit 0")
    };
    let by_fd = late("by-fd", "say \\n 3");
    let by_message = late("by-message", "notify READY=1");
    scene
        .add_with("by-fd", &by_fd, json!({"ready": {"fd": 3}}))
        .add_with("by-message", &by_message, json!({"ready": "notify"}))
        .add_with("next", "hold", json!({"requires": ["by-fd", "by-message"]}));
    let supervisor = scene.start();
    for name in ["by-fd", "by-message"] {
        scene.wait_pid(&format!("{name}.pid"));
    }
    for name in ["by-fd", "by-message"] {
        Operator::ask_once(&path, &order("stop", &[name])).fine();
        wait_state(&supervisor, &path, name, "stopped");
        assert_eq!(count(&supervisor, &format!("{name} up")), 0);
    }
    assert_eq!(supervisor.started("next").len(), 0);
    supervisor.end();
}

/// Nothing starts that a program which is not ready holds.
#[test]
fn a_shutdown_before_anything_is_ready_starts_nothing() {
    let (mut scene, path) = scene();
    scene
        .add_with("db", "touch begun ; hold", json!({"ready": "notify"}))
        .add_with("web", "hold", json!({"requires": ["db"]}));
    let mut supervisor = scene.start();
    scene.wait_file("begun");
    wait_state(&supervisor, &path, "web", "pending");
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(supervisor.started("web").len(), 0);
}

/// A start waits until the program is up, and says why it will not be.
#[test]
fn a_start_by_hand_waits_for_readiness() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": "notify", "autostart": false, "restart": "never"});
    scene
        .add_with("good", "notify READY=1 ; hold", keys.clone())
        .add_with("bad", "say not\\stoday\\n ; exit 3", keys)
        .add("other", "hold");
    let supervisor = scene.start();
    let started = Operator::ask_once(&path, &order("start", &["good"])).fine();
    assert_eq!(started.program("good")["state"], "running");
    let failed = Operator::ask_once(&path, &order("start", &["bad"]));
    let problem = failed.problem("bad")["message"].to_string();
    assert!(problem.contains("exited with code 3"), "{problem}");
    supervisor.end();
}

/// A oneshot has no readiness but a limit for its whole run.
#[test]
fn the_whole_run_of_a_oneshot_can_have_a_limit() {
    let (mut scene, path) = scene();
    let keys = |time: &str| json!({"oneshot": true, "start_timeout": time});
    scene
        .add_with("slow", "hold", keys("200ms"))
        .add_with("quick", "exit 0", keys("1m"))
        .add_with("endless", "hold", json!({"oneshot": true}));
    let supervisor = scene.start();
    let slow = wait_state(&supervisor, &path, "slow", "failed");
    assert_eq!(slow["last_exit"]["cause"], "start-timeout");
    wait_state(&supervisor, &path, "quick", "exited");
    assert_eq!(status(&path, "endless")["state"], "starting");
    supervisor.end();
}

/// Writes the config anew and has it read, with these arguments; returns what that prints.
#[track_caller]
pub fn reload(scene: &Scene, path: &std::path::Path, arguments: &[&str]) -> String {
    scene.write("procsched.json", scene.config());
    let mut words = vec![binary().to_owned(), "reload".into(), "--socket".into()];
    words.push(path.to_owned());
    words.extend(arguments.iter().map(PathBuf::from));
    let mut command = scene.marked(&words);
    command.stdout(std::process::Stdio::piped());
    command.stderr(std::process::Stdio::piped());
    let (child, _namespace) = scene.spawn(command).expect("a command can be started");
    let output = child.wait_with_output().expect("it ends");
    let text = [output.stdout, output.stderr].concat();
    String::from_utf8_lossy(&text).into_owned()
}

#[test]
fn a_reload_changes_readiness_at_the_next_start_and_a_watchdog_by_a_restart() {
    let (mut scene, path) = scene();
    let script = "notify READY=1 ; hold";
    let set = |scene: &mut Scene, keys: Value| {
        scene.remove("web").add_with("web", script, keys);
    };
    set(&mut scene, json!({"ready": "notify"}));
    let supervisor = scene.start();
    let first = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    set(
        &mut scene,
        json!({"ready": {"fd": 4}, "start_timeout": "40s"}),
    );
    let plan = reload(&scene, &path, &[]);
    assert!(plan.contains("* web"), "{plan}");
    assert!(
        plan.contains("changes in place: start_timeout, ready"),
        "{plan}"
    );
    assert_eq!(status(&path, "web")["pid"], first);
    set(&mut scene, json!({"ready": "notify", "watchdog": "20s"}));
    let plan = reload(&scene, &path, &["--no-restart"]);
    assert!(plan.contains("watchdog"), "{plan}");
    let web = status(&path, "web");
    assert_eq!((&web["pid"], &web["changed"]), (&first, &json!(true)));
    Operator::ask_once(&path, &order("restart", &["web"])).fine();
    let web = status(&path, "web");
    assert_ne!(web["pid"], first);
    assert_eq!(web["changed"], false);
    let second = web["pid"].clone();
    set(&mut scene, json!({"ready": "notify", "watchdog": "30s"}));
    let plan = reload(&scene, &path, &[]);
    assert!(plan.contains("~ web"), "{plan}");
    assert!(plan.contains("will be restarted: watchdog"), "{plan}");
    assert!(!plan.contains("WATCHDOG_USEC"), "{plan}");
    let web = wait_state(&supervisor, &path, "web", "running");
    assert_ne!(web["pid"], second);
    supervisor.end();
}

/// The old definition is forgotten when its run is over, and the new watchdog holds all the same.
#[test]
fn a_watchdog_that_a_reload_left_for_the_next_start_watches_it() {
    let (mut scene, path) = scene();
    let script = "notify READY=1 ; hold";
    scene.add_with("web", script, json!({"ready": "notify"}));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    let keys = json!({"ready": "notify", "watchdog": "300ms"});
    scene.remove("web").add_with("web", script, keys);
    let plan = reload(&scene, &path, &["--no-restart"]);
    assert!(
        plan.contains("changes at its next start: watchdog"),
        "{plan}"
    );
    Operator::ask_once(&path, &order("restart", &["web"])).fine();
    let report = supervisor.wait_report("web", 2);
    assert_eq!(*report.get("cause"), "watchdog");
    supervisor.end();
}

/// A program that has failed starts again when anything of it differs, also what the next start alone
/// needs.
#[test]
fn one_that_was_not_ready_starts_again_when_its_readiness_changes() {
    let (mut scene, path) = scene();
    let keys = |ready: Value| json!({"ready": ready, "restart": "never", "start_timeout": "200ms"});
    let script = "say \\n 3 ; hold";
    scene.add("stays", "hold");
    scene.add_with("web", script, keys(json!({"fd": 4})));
    let scene = &mut scene;
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "failed");
    scene
        .remove("web")
        .add_with("web", script, keys(json!({"fd": 3})));
    let plan = reload(scene, &path, &[]);
    assert!(plan.contains("will be started"), "{plan}");
    wait_state(&supervisor, &path, "web", "running");
    supervisor.end();
}

/// A probe that is ready by a descriptor is the shell's, too.
#[test]
fn a_shell_writes_its_newline() {
    let (mut scene, path) = scene();
    let command = json!(["/bin/sh", "-c", "echo >&3; exec 3>&-; exec \"$@\"", "sh"]);
    let mut command = command.as_array().expect("an array").clone();
    command.extend(probe("hold").as_array().expect("an array").clone());
    let keys = json!({"command": command, "ready": {"fd": 3}});
    scene.add_raw("web", keys);
    if crate::common::second_run::is_pid1() {
        // There is no shell.
        return;
    }
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    supervisor.end();
}

/// A script that ends with code 0 when it is asked to, or for its watchdog.
const GRACEFUL: &str = "trap TERM ; await TERM ; exit 0";

/// It was `failed`, `stopping` or `backoff` with the exit code of a success.
#[test]
fn a_start_fails_if_its_run_ends_before_it_is_up_whatever_its_code() {
    const HOUR: &str = "1h";
    // Long enough for the trap to be set, wherever it runs.
    let late = json!({"ready": {"fd": 3}, "start_timeout": "3s"});
    let oneshot = json!({"oneshot": true, "start_timeout": "3s"});
    let ready = json!({"ready": {"fd": 3}});
    let again = json!({"restart": "on-failure"});
    let never = json!({"restart": "never"});
    let always = json!({"restart": "always"});
    let sevens = json!({"success_codes": [7]});
    let in_time = "not ready in time (start_timeout 3s): exited with code 0 after ";
    let done = "not done in time (start_timeout 3s): exited with code 0 after ";
    let (zero, seven) = ("exited with code 0 after ", "exited with code 7 after ");
    let early = ", before it was up, ";
    let cases = [
        (GRACEFUL, vec![&late, &never], in_time, ", not restarted"),
        (GRACEFUL, vec![&late, &again], in_time, ", next start in 1h"),
        (
            GRACEFUL,
            vec![&late, &always],
            in_time,
            ", next start in 1h",
        ),
        (GRACEFUL, vec![&oneshot], done, ", not restarted"),
        (GRACEFUL, vec![&oneshot, &again], done, ", next start in 1h"),
        ("exit 0", vec![&ready, &always], zero, early),
        ("exit 0", vec![&ready, &never], zero, early),
        ("exit 7", vec![&ready, &again, &sevens], seven, early),
    ];
    let (mut scene, path) = scene();
    for (index, (script, all, ..)) in cases.iter().enumerate() {
        let mut keys = json!({
            "autostart": false,
            "backoff": {"initial": HOUR, "max": HOUR},
        });
        let object = keys.as_object_mut().expect("an object");
        for more in all {
            object.extend(more.as_object().expect("an object").clone());
        }
        scene.add_with(&format!("p{index}"), script, keys);
    }
    let supervisor = scene.start();
    for command in ["start", "restart"] {
        let orders: Vec<(String, Operator)> = (0..cases.len())
            .map(|index| {
                let (name, mut operator) = (format!("p{index}"), Operator::connect(&path));
                operator.send(format!("{}\n", order(command, &[&name])).as_bytes());
                (name, operator)
            })
            .collect();
        for ((name, mut operator), (.., begin, part)) in orders.into_iter().zip(&cases) {
            let answer = operator.answer();
            assert_eq!(answer.last["error"]["code"], "failed", "{name}: {answer:?}");
            let message = answer.last["error"]["message"].as_str().expect("text");
            let begin = format!("{name}: {begin}");
            assert!(message.starts_with(&begin), "{message}");
            assert!(message.contains(part), "{message}");
            let program = status(&path, &name);
            if program["state"] == "backoff" && begin.contains("in time") {
                let reason = program["reason"].as_str().expect("a reason");
                assert!(begin.contains(reason), "{program}");
            }
        }
    }
    supervisor.end();
}

/// Nothing but `success_codes` makes it a success, and it was up.
#[test]
fn a_start_of_what_ends_well_at_once_is_a_success() {
    let (mut scene, path) = scene();
    let keys = json!({"restart": "on-failure", "success_codes": [7], "autostart": false});
    scene.add_with("seven", "exit 7", keys);
    let keys = json!({"oneshot": true, "autostart": false});
    // What it leaves in its group ends before it is up.
    scene.add_with("once", "fork { hold } ; exit 0", keys);
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let seven = Operator::ask_once(&path, &order("start", &["seven"])).fine();
    assert_eq!(seven.program("seven")["note"], Value::Null);
    for _ in 0..10 {
        let once = Operator::ask_once(&path, &order("start", &["once"])).fine();
        assert_eq!(once.program("once")["state"], "exited");
    }
    supervisor.end();
}

#[test]
fn a_reload_fails_if_a_new_program_is_not_up_in_time_and_ends_well() {
    let (mut scene, path) = scene();
    scene.add("stays", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "stays", "running");
    let keys = json!({"ready": {"fd": 3}, "start_timeout": "600ms", "restart": "never"});
    scene.add_with("late", GRACEFUL, keys);
    scene.write("procsched.json", scene.config());
    let answer = Operator::ask_once(&path, &json!({"v": 1, "command": "reload"}));
    assert_eq!(answer.last["error"]["code"], "failed", "{answer:?}");
    supervisor.end();
}
