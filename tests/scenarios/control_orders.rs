//! Orders for programs of a running supervisor: what each does in which state, and what its answer
//! says.

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::operator::{Operator, control, order, order_with, status, wait_state};
use crate::common::{Scene, Supervisor, process, wait_for};

/// A scene with a socket and a program that waits to be stopped.
fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("web", "hold");
    (scene, path)
}

/// The supervisor of such a scene, and of a program that does not end by SIGTERM.
fn with_slow(stop_timeout: &str) -> (Scene, PathBuf, Supervisor) {
    let (mut scene, path) = scene();
    let keys = json!({"stop_timeout": stop_timeout});
    scene.add_with("slow", "ignore TERM ; touch ready ; hold", keys);
    let supervisor = scene.start();
    scene.wait_file("ready");
    (scene, path, supervisor)
}

/// A program that fails at once, and is started again after a long time.
fn add_failing(scene: &mut Scene) {
    let keys = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add_with(
        "bad",
        "append runs x\\n ; say no_database\\n ; exit 3",
        keys,
    );
}

#[test]
fn a_status_has_every_field() {
    let (mut scene, path) = scene();
    add_failing(&mut scene);
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "bad", "backoff");
    let answer = Operator::ask_once(&path, &json!({"v": 1, "command": "status"})).fine();
    let names: Vec<&Value> = answer.programs().iter().map(|one| &one["name"]).collect();
    assert_eq!(names, ["web", "bad"]);
    let keys = |value: &Value| {
        let keys = value.as_object().expect("an object").keys();
        keys.cloned().collect::<Vec<String>>().join(" ")
    };
    let web = answer.program("web");
    let sorted = "after backoff changed command goal health last_exit log name pid reason requires \
                  restarts restarts_in_row retry_in since state state_seconds status_text \
                  stdout_log";
    let mut found: Vec<String> = keys(web).split(' ').map(str::to_owned).collect();
    found.sort();
    assert_eq!(found.join(" "), sorted);
    assert_eq!(web["goal"], "up");
    assert_eq!(web["last_exit"], Value::Null);
    assert_eq!(web["log"], json!(scene.log_path("web")));
    let bad = answer.program("bad");
    assert_eq!(bad["pid"], Value::Null);
    assert_eq!(bad["last_exit"]["return_code"], 3);
    assert_eq!(bad["last_exit"]["cause"], "exit");
    assert_eq!(bad["last_exit"]["last_line"], "no_database");
    assert!(bad["retry_in"].as_f64().expect("a number") > 3000.0);
    let about = &answer.last["supervisor"];
    assert_eq!(about["pid"], supervisor.inner_pid());
    assert_eq!(about["state"], "running");
    assert_eq!(about["programs"], 2);
    supervisor.end();
}

#[test]
fn stop_start_and_restart_leave_the_others_alone() {
    let (mut scene, path) = scene();
    scene.add("db", "hold").add("cache", "hold");
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let pids = |operator: &mut Operator| {
        let answer = operator.ask(&json!({"v": 1, "command": "status"})).fine();
        ["web", "db", "cache"].map(|name| answer.program(name)["pid"].clone())
    };
    let before = pids(&mut operator);
    let stopped = operator.ask(&order("stop", &["web"])).fine();
    let web = stopped.program("web");
    assert_eq!(
        (&web["state"], &web["goal"]),
        (&json!("stopped"), &json!("down"))
    );
    assert_eq!(web["last_exit"]["cause"], "operator");
    assert!(
        web["reason"]
            .as_str()
            .is_some_and(|reason| reason.starts_with("by uid "))
    );
    let started = operator.ask(&order("start", &["web"])).fine();
    assert_eq!(started.program("web")["state"], "running");
    assert_eq!(started.program("web")["reason"], Value::Null);
    let restarted = operator.ask(&order("restart", &["web"])).fine();
    let web = restarted.program("web");
    assert_eq!(
        (&web["state"], &web["restarts"]),
        (&json!("running"), &json!(2))
    );
    assert_ne!(web["pid"], started.program("web")["pid"]);
    let after = pids(&mut operator);
    assert_eq!(before[1..], after[1..]);
    assert_ne!(before[0], after[0]);
    for verb in [" stopping ", " starting ", " restarting "] {
        supervisor.wait_message(&["web", verb, "as ordered by uid="]);
        let lines = supervisor.messages_with(&["web", verb, "as ordered by uid="]);
        assert_eq!(lines.len(), 1, "{}", supervisor.said());
    }
    supervisor.end();
}

#[test]
fn a_start_of_what_runs_changes_nothing() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let pid = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    let answer = Operator::ask_once(&path, &order("start", &["web"])).fine();
    assert_eq!(answer.program("web")["note"], "already running");
    assert_eq!(answer.program("web")["pid"], pid);
    supervisor.end();
}

#[test]
fn m106_what_waits_for_its_restart_starts_now_or_not_at_all() {
    let (mut scene, path) = scene();
    add_failing(&mut scene);
    let supervisor = scene.start();
    let before = wait_state(&supervisor, &path, "bad", "backoff");
    assert_eq!(before["restarts"], 0);
    Operator::ask_once(
        &path,
        &order_with("start", &["bad"], json!({"wait": false})),
    )
    .fine();
    supervisor.wait_reports_of("bad", 2);
    let bad = wait_state(&supervisor, &path, "bad", "backoff");
    assert_eq!(bad["restarts"], 1);
    assert_eq!(bad["restarts_in_row"], before["restarts_in_row"]);
    let answer = Operator::ask_once(&path, &order("stop", &["bad"])).fine();
    assert_eq!(answer.program("bad")["state"], "stopped");
    assert_eq!(scene.lines("runs").len(), 2);
    supervisor.end();
}

#[test]
fn a_start_that_fails_says_how() {
    let (mut scene, path) = scene();
    let keys = json!({"command": ["./missing"], "backoff": {"initial": "1h", "max": "1h"}});
    scene.add_raw("lost", keys);
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "lost", "backoff");
    let answer = Operator::ask_once(&path, &order("start", &["lost", "web"]));
    assert_eq!(answer.last["error"]["code"], "failed");
    let message = answer.problem("lost")["message"].as_str().expect("text");
    assert!(
        message.starts_with("failed to start, next start in 1h: "),
        "{message}"
    );
    assert!(message.ends_with("No such file or directory"), "{message}");
    assert_eq!(answer.program("web")["note"], "already running");
    let alone = Operator::ask_once(&path, &order("start", &["lost"]));
    let message = alone.last["error"]["message"].as_str().expect("text");
    assert!(message.starts_with("lost: failed to start, "), "{message}");
    supervisor.end();
}

#[test]
fn a_run_that_ends_at_once_is_no_success_if_it_failed() {
    let (mut scene, path) = scene();
    scene.add_with(
        "late",
        "wait-file go ; say first\\n ; say no_database\\n ; exit 3",
        json!({"backoff": {"initial": "1h", "max": "1h"}}),
    );
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    // It is up as it was executed.
    operator.ask(&order("restart", &["late"])).fine();
    scene.write("go", "");
    let failed = json!({"for": "failed", "timeout": 0.2});
    let answer = operator.ask(&order_with("wait", &["late"], failed));
    assert_eq!(answer.last["error"]["code"], "timeout");
    let down = operator.ask(&order_with("wait", &["late"], json!({"for": "backoff"})));
    assert_eq!(down.fine().program("late")["last_exit"]["return_code"], 3);
    supervisor.end();
}

#[test]
fn a_kill_and_a_signal_reach_the_group_or_the_first_process() {
    let (mut scene, path) = scene();
    scene.add_with(
        "stubborn",
        "ignore TERM ; record got HUP USR1",
        json!({"stop_timeout": "1h"}),
    );
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let hup = json!({"signal": "HUP"});
    scene.wait_file("got");
    operator
        .ask(&order_with("signal", &["stubborn"], hup))
        .fine();
    scene.wait_lines("got", 1);
    let main = json!({"signal": 10, "to": "main"});
    operator
        .ask(&order_with("signal", &["stubborn"], main))
        .fine();
    scene.wait_lines("got", 2);
    let answer = operator.ask(&order_with("stop", &["stubborn"], json!({"kill": true})));
    let killed = answer.fine();
    assert_eq!(killed.program("stubborn")["last_exit"]["signal"], "SIGKILL");
    let again = operator.ask(&order_with(
        "signal",
        &["stubborn"],
        json!({"signal": "HUP"}),
    ));
    again.refused("not-running", "program \"stubborn\" does not run");
    let none = operator.ask(&order_with("signal", &["web"], json!({"signal": 0})));
    none.refused("usage", "invalid signal 0: expected 1 to 64");
    let kill = json!({"signal": "KILL"});
    operator.ask(&order_with("signal", &["web"], kill)).fine();
    assert_eq!(supervisor.wait_report("web", 1).code(), -9);
    supervisor.end();
}

#[test]
fn names_may_be_patterns_and_are_checked() {
    let (mut scene, path) = scene();
    scene.add("web@1", "hold").add("db", "hold");
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let answer = operator.ask(&order("restart", &["web*", "web"])).fine();
    let names: Vec<&Value> = answer.programs().iter().map(|one| &one["name"]).collect();
    assert_eq!(names.len(), 2, "each once: {answer:?}");
    let answer = operator.ask(&order("restart", &["web", "web"])).fine();
    assert_eq!(answer.data.len(), 1, "once: {answer:?}");
    assert_eq!(answer.program("web")["restarts"], 2);
    assert_eq!(status(&path, "db")["restarts"], 0);
    let unknown = "no program \"wbe\" (did you mean \"web\"?)";
    operator
        .ask(&order("stop", &["wbe"]))
        .refused("unknown-program", unknown);
    let all = "no program \"all\" (for all programs: --all)";
    operator
        .ask(&order("restart", &["all"]))
        .refused("unknown-program", all);
    let nothing = "no program matches \"x*\"";
    operator
        .ask(&order("stop", &["x*"]))
        .refused("unknown-program", nothing);
    let none = "missing programs: name at least one, or \"*\" for all";
    operator.ask(&order("stop", &[])).refused("usage", none);
    // All are tried.
    let answer = operator.ask(&order("stop", &["wbe", "db", "nix"]));
    assert_eq!(answer.program("db")["state"], "stopped");
    assert_eq!(answer.problem("wbe")["code"], "unknown-program");
    assert_eq!(answer.problem("nix")["code"], "unknown-program");
    answer.refused("unknown-program", "2 of 3 programs failed");
    supervisor.end();
}

#[test]
fn a_timeout_says_what_is_still_the_case() {
    let (_scene, path, supervisor) = with_slow("1h");
    let mut operator = Operator::connect(&path);
    let answer = operator.ask(&order_with("stop", &["slow"], json!({"timeout": 0.05})));
    answer.refused("timeout", "slow: still stopping after 50ms");
    let answer = operator.ask(&order_with(
        "wait",
        &["slow"],
        json!({"for": "down", "timeout": 0}),
    ));
    answer.refused("timeout", "slow: still stopping after 0s");
    let mut other = Operator::connect(&path);
    other.send(
        format!(
            "{}\n",
            order_with("wait", &["slow"], json!({"for": "down"}))
        )
        .as_bytes(),
    );
    operator
        .ask(&order_with("stop", &["slow"], json!({"kill": true})))
        .fine();
    assert_eq!(other.answer().fine().program("slow")["state"], "stopped");
    supervisor.end();
}

#[test]
fn of_two_opposite_orders_the_later_wins() {
    let (_scene, path, supervisor) = with_slow("300ms");
    let (mut first, mut second) = (Operator::connect(&path), Operator::connect(&path));
    first.send(format!("{}\n", order("stop", &["slow"])).as_bytes());
    wait_state(&supervisor, &path, "slow", "stopping");
    let started = second.ask(&order("start", &["slow"])).fine();
    assert_eq!(started.program("slow")["state"], "running");
    let answer = first.answer();
    assert_eq!(answer.last["error"]["code"], "superseded");
    let message = answer.last["error"]["message"].as_str().expect("text");
    assert!(
        message.starts_with("slow: superseded: start by uid="),
        "{message}"
    );
    supervisor.end();
}

/// It ran already, as the order for what requires it had started it.
#[test]
fn what_an_order_has_started_does_not_run_already() {
    let (mut scene, path) = scene();
    scene
        .add("db", "hold")
        .add_with("app", "hold", json!({"requires": ["db"]}));
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.ask(&order("start", &["app"])).fine();
    operator.ask(&order("stop", &["db"])).fine();
    let answer = operator.ask(&order("start", &["app", "db"])).fine();
    assert_eq!(answer.program("db")["note"], Value::Null);
    let answer = operator.ask(&order("start", &["app", "db"])).fine();
    assert_eq!(answer.program("db")["note"], "already running");
    supervisor.end();
}

/// What fails at the start of a chain holds all of it, and is what has to be mended.
#[test]
fn a_start_behind_a_chain_names_its_first_program() {
    let (mut scene, path) = scene();
    let keys = json!({"restart": "never", "oneshot": true, "autostart": false});
    scene.add_with("a", "exit 3", keys);
    for (name, required) in [("b", "a"), ("c", "b"), ("d", "c")] {
        let keys = json!({"requires": [required], "autostart": false});
        scene.add_with(name, "hold", keys);
    }
    let keys = json!({"ready": {"fd": 3}, "stop_timeout": "2s"});
    scene.add_with("slow", DEAF, keys);
    scene.add_with("near", "wait-file go ; hold", json!({"requires": ["slow"]}));
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator
        .ask(&order("start", &["d"]))
        .refused("failed", "d: requires a: failed");
    wait_state(&supervisor, &path, "near", "running");
    // The rest of its way is known.
    let stop = order_with("stop", &["slow"], json!({"wait": false}));
    operator.ask(&stop).fine();
    let near = wait_state(&supervisor, &path, "near", "pending");
    assert_eq!(near["reason"], "requires slow: stopped");
    supervisor.end();
}

/// A program that does not end by SIGTERM, and says so before it is up.
const DEAF: &str = "ignore TERM ; say \\n 3 ; hold";

/// A program that takes SIGTERM from when it is up, and ends once it may.
const SLOW: &str = "trap TERM ; say \\n 3 ; await TERM ; wait-file free";

/// The program ran on, and the client that had stopped it waited for ever.
#[test]
fn a_start_of_what_requires_a_program_wins_over_its_stop() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": {"fd": 3}, "stop_timeout": "1m"});
    scene
        .add_with("db", SLOW, keys)
        .add_with("app", "hold", json!({"requires": ["db"]}))
        .add_with("top", "hold", json!({"requires": ["app"]}));
    let supervisor = scene.start();
    let (mut first, mut second) = (Operator::connect(&path), Operator::connect(&path));
    let stops = [vec!["db"], vec!["*"]];
    for stopped in &stops {
        for (verb, name) in [("start", "app"), ("restart", "app"), ("start", "top")] {
            for name in ["db", "app", "top"] {
                second.ask(&order("start", &[name])).fine();
            }
            first.send(format!("{}\n", order("stop", stopped)).as_bytes());
            wait_state(&supervisor, &path, "db", "stopping");
            second.send(format!("{}\n", order(verb, &[name])).as_bytes());
            let answer = first.answer();
            scene.write("free", "");
            second.answer().fine();
            std::fs::remove_file(scene.path("free")).expect("it is there");
            let message = match stopped.as_slice() {
                ["db"] => answer.last["error"]["message"].as_str(),
                _ => answer.problem("db")["message"].as_str(),
            };
            let expected = format!("superseded: {verb} of {name} by uid=");
            let message = message.expect("text");
            assert!(message.contains(&expected), "{message}");
        }
    }
    scene.write("free", "");
    supervisor.end();
}

/// Both want it to be up, and so it is.
#[test]
fn a_restart_is_not_superseded_by_another() {
    let (mut scene, path) = scene();
    let keys = json!({"ready": {"fd": 3}, "stop_timeout": "1m"});
    scene.add_with("slow", SLOW, keys.clone());
    let script = format!("wait-file go ; {SLOW}");
    scene.add_with("late", &script, keys);
    let supervisor = scene.start();
    let (mut first, mut second) = (Operator::connect(&path), Operator::connect(&path));
    wait_state(&supervisor, &path, "slow", "running");
    first.send(format!("{}\n", order("restart", &["slow"])).as_bytes());
    wait_state(&supervisor, &path, "slow", "stopping");
    second.send(format!("{}\n", order("restart", &["slow"])).as_bytes());
    supervisor.wait_message(&["slow", "restarting"]);
    scene.write("free", "");
    first.answer().fine();
    second.answer().fine();
    wait_state(&supervisor, &path, "late", "starting");
    first.send(format!("{}\n", order("start", &["late"])).as_bytes());
    second.send(format!("{}\n", order("restart", &["late"])).as_bytes());
    supervisor.wait_started("late", 2);
    scene.write("go", "");
    first.answer().fine();
    second.answer().fine();
    supervisor.end();
}

#[test]
fn an_order_stands_although_its_client_has_gone() {
    let (mut scene, path) = scene();
    for index in 0..200 {
        scene.add(&format!("p{index}"), "hold");
    }
    let mut supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.ask(&json!({"v": 1, "command": "status"})).fine();
    operator.send(format!("{}\n", order("stop", &["p*"])).as_bytes());
    drop(operator);
    let mut other = Operator::connect(&path);
    supervisor.wait("the stops", || {
        let answer = other.ask(&json!({"v": 1, "command": "status"}));
        let stopped = |one: &&&Value| one["state"] == "stopped";
        answer.programs().iter().filter(stopped).count() == 200
    });
    assert!(supervisor.is_running());
    assert_eq!(status(&path, "web")["state"], "running");
    supervisor.end();
}

#[test]
fn what_was_stopped_keeps_the_supervisor() {
    let (scene, path) = scene();
    let mut supervisor = scene.start();
    Operator::ask_once(&path, &order("stop", &["*"])).fine();
    assert!(supervisor.is_running());
    Operator::ask_once(&path, &order("start", &["web"])).fine();
    supervisor.end();
}

#[test]
fn many_programs_that_are_done_at_once_are_all_answered() {
    let (mut scene, path) = scene();
    // More than are looked at in a turn; that many are left after the first look, and none of them
    // is heard of again.
    for number in 0..100 {
        let keys = json!({"stop_signal": "CONT", "stop_timeout": "1h"});
        scene.add_with(&format!("p{number}"), "hold", keys);
    }
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.ask(&order("wait", &["p*"])).fine();
    let mut waiter = Operator::connect(&path);
    let stopping = order_with("wait", &["p*"], json!({"for": "stopping"}));
    waiter.send(format!("{stopping}\n").as_bytes());
    // Each answer takes a turn, in which the wait has begun for some more.
    for _ in 0..4 {
        operator.ask(&order("status", &["web"])).fine();
    }
    let shutdown = |kill: bool| json!({"v": 1, "command": "shutdown", "kill": kill});
    operator.ask(&shutdown(false)).fine();
    assert_eq!(waiter.answer().fine().programs().len(), 100);
    operator.ask(&shutdown(true)).fine();
    supervisor.ends_with(0);
}

#[test]
fn what_is_being_stopped_says_by_whom() {
    let (_scene, path, supervisor) = with_slow("1h");
    let stop = order_with("stop", &["slow"], json!({"wait": false}));
    Operator::ask_once(&path, &stop).fine();
    let slow = wait_state(&supervisor, &path, "slow", "stopping");
    let reason = slow["reason"].as_str().expect("a reason").to_owned();
    assert!(reason.starts_with("by uid "), "{reason}");
    let kill = order_with("stop", &["slow"], json!({"kill": true}));
    let answer = Operator::ask_once(&path, &kill).fine();
    assert_eq!(answer.program("slow")["reason"], reason);
    supervisor.end();
}

#[test]
fn a_shutdown_takes_no_more_orders_but_can_be_watched() {
    let (_scene, path, supervisor) = with_slow("1h");
    let mut operator = Operator::connect(&path);
    let mut follower = Operator::connect(&path);
    follower.send(b"{\"v\":1,\"command\":\"events\",\"snapshot\":false}\n");
    let shutdown = json!({"v": 1, "command": "shutdown"});
    operator.ask(&shutdown).fine();
    supervisor.wait_message(&["stopping", "everything as ordered by uid="]);
    wait_for("the stop", || {
        let answer = operator.ask(&json!({"v": 1, "command": "status"})).fine();
        answer.last["supervisor"]["state"] == "stopping"
    });
    let message = "everything is being stopped";
    operator
        .ask(&order("start", &["web"]))
        .refused("stopping", message);
    operator
        .ask(&json!({"v": 1, "command": "reopen"}))
        .refused("stopping", message);
    operator.ask(&shutdown).refused("stopping", message);
    let down = order_with("wait", &["web"], json!({"for": "down"}));
    assert_eq!(
        operator.ask(&down).fine().program("web")["state"],
        "stopped"
    );
    // It is no first signal: this one asks again, and kills nothing.
    supervisor.signal(libc::SIGTERM);
    std::thread::sleep(std::time::Duration::from_millis(250));
    assert_eq!(status(&path, "slow")["state"], "stopping");
    operator
        .ask(&json!({"v": 1, "command": "shutdown", "kill": true}))
        .fine();
    follower.event(|event| event["event"] == "exited" && event["program"] == "slow");
    follower.wait_end();
    supervisor.ends_with(0);
}

#[test]
fn what_is_waited_for_in_vain_is_answered_at_the_end() {
    let (mut scene, path) = scene();
    scene.add("db", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "running");
    let mut waiter = Operator::connect(&path);
    let request = order_with("wait", &["db"], json!({"for": "failed"}));
    waiter.send(format!("{request}\n").as_bytes());
    let mut operator = Operator::connect(&path);
    operator.ask(&json!({"v": 1, "command": "shutdown"})).fine();
    let answer = waiter.answer();
    assert_eq!(answer.last["error"]["code"], "stopping", "{answer:?}");
    supervisor.ends_with(0);
}

#[test]
fn events_begin_with_a_snapshot_and_tell_of_orders() {
    let (mut scene, path) = scene();
    scene.add("db", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "running");
    let mut follower = Operator::connect(&path);
    follower.send(b"{\"v\":1,\"command\":\"events\",\"programs\":[\"d*\"]}\n");
    assert_eq!(follower.line().expect("a line")["program"]["name"], "db");
    let mut operator = Operator::connect(&path);
    operator.ask(&order("restart", &["web", "db"])).fine();
    operator.ask(&order("stop", &["db"])).fine();
    let order = follower.event(|event| event["event"] == "order" && event["program"] == "db");
    assert_eq!(order["order"], "stop");
    assert!(order["uid"].is_u64() && order["pid"].is_i64(), "{order}");
    let stopping = follower.event(|event| event["event"] == "stopping");
    assert_eq!(
        (&stopping["program"], &stopping["signal"]),
        (&json!("db"), &json!("SIGTERM"))
    );
    let exited = follower.event(|event| event["event"] == "exited");
    assert_eq!(
        (&exited["cause"], &exited["stopping"]),
        (&json!("operator"), &json!(true))
    );
    let mut wrong = Operator::connect(&path);
    wrong.send(b"{\"v\":1,\"command\":\"events\",\"programs\":[\"dbx\"]}\n");
    let answer = wrong.answer();
    answer.refused(
        "unknown-program",
        "no program \"dbx\" (did you mean \"db\"?)",
    );
    supervisor.end();
}

#[test]
fn logs_are_opened_anew() {
    let (mut scene, path) = scene();
    scene.add(
        "talk",
        "say one\\n ; wait-file go ; say two\\n ; wait-file on ; say three\\n ; hold",
    );
    let supervisor = scene.start();
    wait_for("one", || scene.log("talk") == b"one\n");
    std::fs::rename(scene.log_path("talk"), scene.path("old")).expect("a rename");
    Operator::ask_once(&path, &json!({"v": 1, "command": "reopen"})).fine();
    scene.write("go", "");
    wait_for("two", || scene.log("talk") == b"two\n");
    std::fs::rename(scene.log_path("talk"), scene.path("older")).expect("a rename");
    supervisor.signal(libc::SIGUSR2);
    wait_for("a new log", || scene.log_path("talk").exists());
    scene.write("on", "");
    wait_for("three", || scene.log("talk") == b"three\n");
    assert_eq!(scene.read("old"), "one\n");
    assert!(process::alive(supervisor.pid()));
    supervisor.end();
}

#[test]
fn what_requires_a_stopped_program_goes_first_and_returns_with_it() {
    let (mut scene, path) = scene();
    scene.add("db", "hold");
    scene.add_with("app", "hold", json!({"requires": ["db"], "after": ["web"]}));
    let supervisor = scene.start();
    let app = wait_state(&supervisor, &path, "app", "running");
    assert_eq!(app["requires"], json!(["db"]));
    assert_eq!(app["after"], json!(["web"]));
    let mut operator = Operator::connect(&path);
    operator.ask(&order("stop", &["db"])).fine();
    let app = status(&path, "app");
    assert_eq!(
        (&app["state"], &app["reason"], &app["goal"]),
        (
            &json!("pending"),
            &json!("requires db: stopped"),
            &json!("up")
        )
    );
    assert_eq!(app["last_exit"]["cause"], "requirement");
    // A start waits for nothing that cannot come.
    let waiting = json!({"for": "pending"});
    operator.ask(&order_with("wait", &["app"], waiting)).fine();
    operator.ask(&order("start", &["db"])).fine();
    operator
        .ask(&order_with("wait", &["app"], json!({})))
        .fine();
    operator.ask(&order("stop", &["db"])).fine();
    let answer = operator.ask(&order("start", &["app"])).fine();
    assert_eq!(answer.program("app")["state"], "running");
    assert_eq!(status(&path, "db")["state"], "running");
    supervisor.end();
}

#[test]
fn a_start_that_is_held_for_good_fails_with_the_reason() {
    let (mut scene, path) = scene();
    scene.add_with("db", "exit 3", json!({"oneshot": true}));
    scene.add_with("app", "hold", json!({"requires": ["db"]}));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "failed");
    let answer = Operator::ask_once(&path, &order("start", &["app"]));
    answer.refused("failed", "app: requires db: failed");
    let answer = Operator::ask_once(&path, &order("start", &["db"]));
    let message = answer.last["error"]["message"].as_str().expect("text");
    assert!(
        message.starts_with("db: exited with code 3 after "),
        "{message}"
    );
    supervisor.end();
}

/// No event tells of these changes: the client that waits has to be answered all the same.
#[test]
fn a_wait_hears_of_changes_that_are_no_event() {
    let (mut scene, path) = scene();
    let (once, requires) = (json!({"oneshot": true}), json!({"requires": ["db"]}));
    scene.add_with("db", "wait-file go ; exit 3", once);
    scene.add_with("app", "hold", requires);
    add_failing(&mut scene);
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "app", "pending");
    wait_state(&supervisor, &path, "bad", "backoff");
    let waiting = |request: Value| {
        let mut operator = Operator::connect(&path);
        operator.send(format!("{request}\n").as_bytes());
        operator
    };
    let start = waiting(order("start", &["app"]));
    let down = waiting(order_with("wait", &["bad"], json!({"for": "down"})));
    // Its answer comes after both have begun.
    status(&path, "web");
    // What it requires has failed for good: of `app` itself there is nothing to report.
    scene.write("go", "");
    let mut start = start;
    start.answer().refused("failed", "app: requires db: failed");
    // What waits for its restart is stopped at once.
    Operator::ask_once(&path, &order("stop", &["bad"])).fine();
    let mut down = down;
    down.answer().fine();
    supervisor.end();
}

#[test]
fn a_oneshot_is_up_when_it_has_succeeded() {
    let (mut scene, path) = scene();
    scene.add_with(
        "migrate",
        "append runs x\\n ; wait-file go",
        json!({"oneshot": true}),
    );
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let late = json!({"timeout": 0.05});
    let answer = operator.ask(&order_with("wait", &["migrate"], late));
    answer.refused("timeout", "migrate: still starting after 50ms");
    scene.write("go", "");
    operator.ask(&order("wait", &["migrate"])).fine();
    let again = operator.ask(&order("restart", &["migrate"])).fine();
    assert_eq!(again.program("migrate")["state"], "exited");
    assert_eq!(scene.lines("runs").len(), 2);
    supervisor.end();
}
