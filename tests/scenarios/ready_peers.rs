//! The scenarios of other supervisors' own tests about readiness and health, tried here. Those about
//! dependencies, oneshots and limits are in `order_peers.rs`.
//!
//! | source | scenario | here |
//! |---|---|---|
//! | nitro `t/1300-readiness` | up by a newline on descriptor 37; without one two seconds after the start | the same; without `ready` as soon as it is executed, and `{"delay": "2s"}` is nitro's rule |
//! | nitro `t/1301-readiness-fail` | no newline, a word without one, a bad number: it goes on starting | the same until `start_timeout`; a bad number is an error of the config |
//! | nitro `t/1302-ready` | the program says so with a command of the supervisor's | there is no such command; `"notify"` is for it (`notify.rs`) |
//! | nitro `t/1006-wait` | a wait for several to be up, or down | the same |
//! | nitro `t/1602-timeout` | a start of several that takes too long: code 3 | the same, with code 124 |
//! | dinit `test_proc_notify_start`, `test_proc_notify_fail`, `test_proc_start_timeout` | up by its descriptor; closed without a word; not in time | the same, but that a descriptor which is closed fails only at `start_timeout` (`readiness.rs`) |
//! | process-compose `TestReadyLine` | a line of output makes it ready; what depends on it is pending until then | no line of output does: a descriptor or a message; the rest is the same (`readiness.rs`) |
//! | process-compose `TestReadyLineWithSkipped` | it fails before it is ready: what depends on it is skipped, and the code is 1 | the same: it is pending, and that ends it too |
//! | process-compose `TestReadinessProbeRestart` | a check that never succeeds: two restarts | the same, each by its `start_timeout` |
//! | process-compose `TestRestartWhilePendingOnDependency` | a restart of what waits for another | the same: one start, when that is ready |
//! | process-compose `TestStopWhilePendingReleasesTheProcess` | a stop of what waits, and a start after it | the same |
//! | process-compose `TestStopDuringRestartCancelsTheRestart` | a stop while a restart is under way | the same: the later order wins |
//! | process-compose `TestRestartWhilePendingPrematureProjectShutdown` | such a restart ends everything | it does not |
//! | process-compose `WaitForStartShutDown` | a shutdown while others wait | the same: nothing of them starts (`readiness.rs`) |
//! | process-compose `TestTerminatingWithOrphanedChildHoldingPipe` | a stop while a process in another session holds the pipe | the same: it ends with its program (`orphans.rs`, `stderr_pipe.rs`) |
//! | Horust `test_healthcheck_http` | healthy while a URL answers | no URLs: a connection (`probes.rs`), or a command such as curl |
//! | Horust `test_healthcheck_file` | healthy while a file is there | the same, by a command |

use std::path::PathBuf;

use serde_json::{Value, json};

use crate::common::operator::{Operator, control, order, order_with, status, wait_state};
use crate::common::{Scene, probe};
use crate::config_errors::assert_refused;

fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    (scene, path)
}

/// `a` is ready once there is a file, and `b` requires it and counts its runs.
fn waiting_pair() -> (Scene, PathBuf) {
    let (mut scene, path) = scene();
    let ready = json!({"ready": {"fd": 3}, "start_timeout": 0});
    scene.add_with("a", "wait-file go ; say \\n 3 ; hold", ready);
    let script = "append runs x\\n ; hold";
    scene.add_with("b", script, json!({"requires": ["a"]}));
    (scene, path)
}

/// nitro `t/1300-readiness`.
#[test]
fn a_newline_on_a_high_descriptor_makes_it_ready() {
    let (mut scene, path) = scene();
    scene.add("plain", "hold");
    scene.add_with(
        "readiness",
        "say up\\n 37 ; hold",
        json!({"ready": {"fd": 37}}),
    );
    scene.add_with("slow", "hold", json!({"ready": {"delay": "1h"}}));
    let supervisor = scene.start();
    for name in ["plain", "readiness"] {
        wait_state(&supervisor, &path, name, "running");
    }
    assert_eq!(status(&path, "slow")["state"], "starting");
    supervisor.end();
}

/// nitro `t/1301-readiness-fail`.
#[test]
fn without_a_newline_it_goes_on_starting() {
    let (mut scene, path) = scene();
    let never = |fd: u8| json!({"ready": {"fd": fd}, "start_timeout": 0});
    scene.add_with("readiness1", "touch one ; hold", never(3));
    scene.add_with("readiness2", "say up 3 ; touch two ; hold", never(3));
    scene.add_with("later", "hold", json!({"ready": {"delay": "500ms"}}));
    let supervisor = scene.start();
    scene.wait_file("one");
    scene.wait_file("two");
    wait_state(&supervisor, &path, "later", "running");
    for name in ["readiness1", "readiness2"] {
        assert_eq!(status(&path, name)["state"], "starting", "{name}");
    }
    supervisor.end();
    let config = r#"{"programs": {"p": {"command": ["true"], "ready": {"fd": "bad"}}}}"#;
    assert_refused(config, &["programs.p.ready.fd"]);
}

/// nitro `t/1006-wait`.
#[test]
fn a_wait_for_several_is_over_when_all_are_there() {
    let (mut scene, path) = waiting_pair();
    scene.add("c", "hold");
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "c", "running");
    let wait = |word: &str| order_with("wait", &["a", "b", "c"], json!({"for": word}));
    let mut up = Operator::connect(&path);
    up.send(format!("{}\n", wait("running")).as_bytes());
    let short = order_with("wait", &["a", "b", "c"], json!({"timeout": 0.1}));
    let late = Operator::ask_once(&path, &short);
    assert_eq!(late.last["error"]["code"], "timeout", "{late:?}");
    scene.write("go", "");
    up.answer().fine();
    let mut down = Operator::connect(&path);
    down.send(format!("{}\n", wait("down")).as_bytes());
    Operator::ask_once(&path, &order("stop", &["a", "b", "c"])).fine();
    down.answer().fine();
    supervisor.end();
}

/// nitro `t/1602-timeout`.
#[test]
fn a_start_of_several_that_takes_too_long_says_so() {
    let (mut scene, path) = scene();
    let keys = json!({"autostart": false, "ready": {"delay": "1h"}});
    for name in ["a", "b", "c"] {
        scene.add_with(name, "hold", keys.clone());
    }
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "c", "stopped");
    let start = order_with("start", &["a", "b", "c"], json!({"timeout": 0.2}));
    let late = Operator::ask_once(&path, &start);
    assert_eq!(late.last["error"]["code"], "timeout", "{late:?}");
    for name in ["a", "b", "c"] {
        wait_state(&supervisor, &path, name, "starting");
    }
    supervisor.end();
}

/// process-compose `TestReadyLineWithSkipped`.
#[test]
fn what_requires_one_that_fails_before_it_is_ready_never_starts() {
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    let keys = json!({"ready": {"fd": 3}, "restart": "never"});
    scene.add_with("proc1", "exit 1", keys);
    let keys = json!({"requires": ["proc1"]});
    scene.add_with("proc2", "append runs x\\n ; hold", keys);
    let reports = scene.start().ends_with(1);
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert_eq!(scene.lines("runs"), [""; 0]);
}

/// process-compose `TestReadinessProbeRestart`.
#[test]
fn a_check_that_never_succeeds_ends_its_restarts() {
    let (mut scene, path) = scene();
    let keys = json!({
        "ready": {"command": probe("exit 1"), "interval": "20ms", "timeout": "60s"},
        "start_timeout": "300ms",
        "backoff": {"initial": "20ms", "max": "20ms"},
        "max_restarts": 2,
    });
    scene.add_with("p", "hold", keys);
    // It ends when all have ended for good, and its socket with it.
    scene.add("stays", "hold");
    let supervisor = scene.start();
    let program = wait_state(&supervisor, &path, "p", "failed");
    assert_eq!(program["restarts"], 2);
    assert_eq!(program["last_exit"]["cause"], "start-timeout");
    let reports = supervisor.wait_reports_of("p", 3);
    assert_eq!(reports.len(), 3, "{reports:?}");
    supervisor.end();
}

/// process-compose `TestRestartWhilePendingOnDependency`,
/// `TestRestartWhilePendingPrematureProjectShutdown`.
#[test]
fn a_restart_of_what_is_pending_is_one_start() {
    let (scene, path) = waiting_pair();
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "b", "pending");
    let no_wait = |verb: &str| order_with(verb, &["b"], json!({"wait": false}));
    for _ in 0..3 {
        Operator::ask_once(&path, &no_wait("restart")).fine();
        assert_eq!(status(&path, "b")["state"], "pending");
    }
    scene.write("go", "");
    wait_state(&supervisor, &path, "b", "running");
    Operator::ask_once(&path, &no_wait("start")).fine();
    wait_state(&supervisor, &path, "b", "running");
    supervisor.wait_started("b", 1);
    assert_eq!(supervisor.started("b").len(), 1, "{}", supervisor.said());
    supervisor.end();
}

/// process-compose `TestStopWhilePendingReleasesTheProcess`.
#[test]
fn what_is_pending_can_be_stopped_and_started_again() {
    let (scene, path) = waiting_pair();
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "b", "pending");
    Operator::ask_once(&path, &order("stop", &["b"])).fine();
    assert_eq!(status(&path, "b")["state"], "stopped");
    let start = order_with("start", &["b"], json!({"wait": false}));
    Operator::ask_once(&path, &start).fine();
    assert_eq!(status(&path, "b")["state"], "pending");
    scene.write("go", "");
    wait_state(&supervisor, &path, "b", "running");
    supervisor.wait_started("b", 1);
    assert_eq!(supervisor.started("b").len(), 1, "{}", supervisor.said());
    supervisor.end();
}

/// process-compose `TestStopDuringRestartCancelsTheRestart`.
#[test]
fn a_stop_during_a_restart_is_a_stop() {
    let (mut scene, path) = scene();
    let script = "append runs x\\n ; trap TERM ; touch up ; await TERM ; wait-file go ; exit 0";
    scene.add_with("a", script, json!({"stop_timeout": "1h"}));
    let supervisor = scene.start();
    scene.wait_file("up");
    let mut restarting = Operator::connect(&path);
    restarting.send(format!("{}\n", order("restart", &["a"])).as_bytes());
    wait_state(&supervisor, &path, "a", "stopping");
    let mut stopping = Operator::connect(&path);
    stopping.send(format!("{}\n", order("stop", &["a"])).as_bytes());
    let superseded = restarting.answer();
    let code: &Value = &superseded.last["error"]["code"];
    assert_eq!(code, "superseded", "{superseded:?}");
    scene.write("go", "");
    stopping.answer().fine();
    assert_eq!(status(&path, "a")["state"], "stopped");
    assert_eq!(scene.lines("runs").len(), 1);
    supervisor.end();
}

/// Horust `test_healthcheck_file`.
#[test]
fn it_is_healthy_while_a_file_is_there() {
    let (mut scene, path) = scene();
    let check = json!({
        "command": probe("wait-file healthy"), "interval": "20ms", "timeout": "60s",
    });
    let script = "wait-file go ; touch healthy ; hold";
    scene.add_with("p", script, json!({"health": check}));
    let supervisor = scene.start();
    let running = wait_state(&supervisor, &path, "p", "running");
    assert_eq!(running["health"], "unknown");
    scene.write("go", "");
    supervisor.wait("a healthy program", || {
        status(&path, "p")["health"] == "healthy"
    });
    supervisor.end();
}
