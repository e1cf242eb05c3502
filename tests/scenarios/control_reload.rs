//! A reload that an operator orders: its answer, and what it waits for.

use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::operator::{Operator, control, order, order_with, status, wait_state};
use crate::common::{Scene, probe};

/// A scene with a socket, and `web`, which stays as it is.
fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("web", "hold");
    (scene, path)
}

/// Writes a config that has these programs beside `web`.
fn rewrite(scene: &Scene, programs: Value) {
    let mut all = programs;
    let object = all.as_object_mut().expect("programs are an object");
    object.insert("web".to_owned(), probe("hold"));
    let config = json!({"err_dir": "logs", "control": "control.sock", "programs": all});
    scene.write("procsched.json", config.to_string());
}

fn reload(keys: Value) -> Value {
    let mut request = keys;
    request["v"] = json!(1);
    request["command"] = json!("reload");
    request
}

#[test]
fn a_reload_is_answered_when_it_has_come_about() {
    let (mut scene, path) = scene();
    scene.add("old", "hold").add("app", "hold");
    let supervisor = scene.start();
    let web = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    let app = wait_state(&supervisor, &path, "app", "running")["pid"].clone();
    wait_state(&supervisor, &path, "old", "running");
    let env = json!({"command": probe("hold"), "env": {"MODE": "new"}});
    rewrite(&scene, json!({"app": env, "new": probe("hold")}));
    let mut operator = Operator::connect(&path);
    let changes = |answer: &crate::common::operator::Answer| {
        let lines = answer.data.iter().filter_map(|line| line.get("change"));
        let text = |change: &Value, key: &str| change[key].as_str().unwrap_or("-").to_owned();
        lines
            .map(|change| text(change, "change") + " " + &text(change, "program"))
            .collect::<Vec<_>>()
    };
    let expected = ["~ app", "+ new", "- old", "= -"];
    let planned = operator.ask(&reload(json!({"dry_run": true}))).fine();
    assert_eq!(changes(&planned), expected);
    assert_eq!(status(&path, "app")["pid"], app);
    let answer = operator.ask(&reload(json!({}))).fine();
    assert_eq!(changes(&answer), expected);
    assert_eq!(answer.program("new")["state"], "running");
    assert_eq!(answer.program("app")["state"], "running");
    assert_ne!(answer.program("app")["pid"], app);
    assert_eq!(status(&path, "web")["pid"], web);
    let all = operator.ask(&json!({"v": 1, "command": "status"})).fine();
    assert_eq!(all.programs().len(), 3, "{all:?}");
    supervisor.wait_message(&["reloading", "the config as ordered by uid="]);
    supervisor.end();
}

#[test]
fn what_was_stopped_by_hand_stays_so_and_the_plan_says_by_whom() {
    let (mut scene, path) = scene();
    scene.add("app", "hold");
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.ask(&order("stop", &["app"])).fine();
    rewrite(
        &scene,
        json!({"app": {"command": probe("hold"), "env": {"A": "b"}}}),
    );
    for keys in [json!({"dry_run": true}), json!({})] {
        let answer = operator.ask(&reload(keys)).fine();
        let text = answer.data[0]["change"]["text"].as_str().expect("text");
        assert!(text.starts_with("stays stopped, by uid "), "{text}");
    }
    assert_eq!(status(&path, "app")["state"], "stopped");
    supervisor.end();
}

#[test]
fn a_config_with_errors_changes_nothing() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let pid = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    rewrite(
        &scene,
        json!({"bad": {"command": ["x"], "restart": "on-fail"}}),
    );
    let answer = Operator::ask_once(&path, &reload(json!({})));
    let problem = &answer.data[0]["problem"];
    assert_eq!(problem["code"], "invalid-config");
    let message = problem["message"].as_str().expect("text");
    let end =
        "error: programs.bad.restart: unknown value \"on-fail\" (did you mean \"on-failure\"?)";
    assert!(message.ends_with(end), "{message}");
    answer.refused("invalid-config", "the config has an error");
    assert_eq!(status(&path, "web")["pid"], pid);
    supervisor.end();
}

/// It was refused without saying where in the file.
#[test]
fn what_cannot_change_without_a_restart_is_named_with_its_place() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let pid = wait_state(&supervisor, &path, "web", "running")["pid"].clone();
    let hold = probe("hold");
    let web = format!("{{\"command\": {hold},\n   \"oneshot\": true}}");
    let defaults = "\"defaults\":\n {\"oneshot\": true}";
    let plain = format!("{{\"command\": {hold}}}");
    for (web, more, place) in [(&*web, "\"x-more\": 0", "3:15"), (&plain, defaults, "2:14")] {
        let config = format!(
            "{{\"err_dir\": \"logs\", \"control\": \"control.sock\", {more},\n\"programs\": {{\"web\": {web}}}}}"
        );
        scene.write("procsched.json", config);
        for dry_run in [true, false] {
            let keys = json!({"restart": false, "dry_run": dry_run});
            let answer = Operator::ask_once(&path, &reload(keys));
            let message = answer.data[0]["problem"]["message"].as_str();
            let end = format!(
                "/procsched.json:{place}: error: programs.web.oneshot: \
                 a change needs a restart of the program, which was ruled out"
            );
            let is_placed = message.is_some_and(|message| message.ends_with(&end));
            assert!(is_placed, "{answer:?}");
            answer.refused("invalid-config", "the config has an error");
        }
    }
    assert_eq!(status(&path, "web")["pid"], pid);
    supervisor.end();
}

#[test]
fn a_later_reload_takes_the_place_of_one_that_is_waited_for() {
    let (mut scene, path) = scene();
    let slow = json!({"command": probe("ignore TERM ; touch ready ; hold"), "stop_timeout": "1h"});
    scene.add_raw("slow", slow);
    let supervisor = scene.start();
    scene.wait_file("ready");
    rewrite(&scene, json!({}));
    let (mut first, mut second) = (Operator::connect(&path), Operator::connect(&path));
    first.send(format!("{}\n", reload(json!({}))).as_bytes());
    wait_state(&supervisor, &path, "slow", "stopping");
    let again = second.ask(&reload(json!({"wait": false}))).fine();
    assert!(again.programs().is_empty());
    let asked = Instant::now();
    let answer = first.answer();
    assert!(asked.elapsed() < Duration::from_secs(5), "it is not woken");
    assert_eq!(answer.last["error"]["code"], "superseded", "{answer:?}");
    let late = second.ask(&reload(json!({"timeout": 0.05})));
    // It has nothing more to wait for than what it began itself.
    late.fine();
    second
        .ask(&json!({"v": 1, "command": "shutdown", "kill": true}))
        .fine();
    supervisor.ends_with(0);
}

#[test]
fn a_reload_waits_for_what_an_earlier_one_has_begun() {
    let (mut scene, path) = scene();
    let slow = |mode: &str| {
        let command = probe("ignore TERM ; touch ready ; hold");
        json!({"command": command, "stop_timeout": "1h", "env": {"MODE": mode}})
    };
    scene.add_raw("slow", slow("old"));
    let supervisor = scene.start();
    scene.wait_file("ready");
    let old = status(&path, "slow")["pid"].clone();
    rewrite(&scene, json!({"slow": slow("new")}));
    let mut operator = Operator::connect(&path);
    operator.ask(&reload(json!({"wait": false}))).fine();
    let again = operator.ask(&reload(json!({"timeout": 0.05})));
    assert_eq!(again.last["error"]["code"], "timeout", "{again:?}");
    operator
        .ask(&order_with("signal", &["slow"], json!({"signal": "KILL"})))
        .fine();
    let done = operator.ask(&reload(json!({}))).fine();
    let new = &status(&path, "slow");
    assert_eq!(new["state"], "running", "{done:?}");
    assert_ne!(new["pid"], old);
    operator
        .ask(&json!({"v": 1, "command": "shutdown", "kill": true}))
        .fine();
    supervisor.ends_with(0);
}

#[test]
fn a_plan_says_who_has_stopped_a_program_and_its_removal_forgets_that() {
    let (mut scene, path) = scene();
    scene.add("app", "hold");
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.ask(&order("stop", &["app"])).fine();
    let reason = format!("by uid {}", nix::unistd::Uid::effective());
    assert_eq!(status(&path, "app")["reason"], reason);
    let env = json!({"command": probe("hold"), "env": {"MODE": "new"}});
    rewrite(&scene, json!({"app": env}));
    let planned = operator.ask(&reload(json!({"dry_run": true}))).fine();
    let change = &planned.data[0]["change"];
    assert_eq!(change["text"], format!("stays stopped, {reason}"));
    // A signal that asks for the same says the same.
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["app", "stopped", &format!("reason={reason:?}")]);
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["! app  stays stopped, ", &reason]);
    rewrite(&scene, json!({}));
    operator.ask(&reload(json!({}))).fine();
    let down = json!({"command": probe("hold"), "autostart": false});
    rewrite(&scene, json!({"app": down}));
    operator.ask(&reload(json!({}))).fine();
    let app = status(&path, "app");
    assert_eq!(
        (&app["state"], &app["reason"]),
        (&json!("stopped"), &json!(null))
    );
    supervisor.end();
}

#[test]
fn a_stop_supersedes_the_reload_that_waits_for_the_program() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    let once = json!({"command": probe("hold"), "oneshot": true});
    let held = json!({"command": probe("hold"), "requires": ["once"]});
    rewrite(&scene, json!({"once": once, "held": held}));
    let mut first = Operator::connect(&path);
    first.send(format!("{}\n", reload(json!({}))).as_bytes());
    wait_state(&supervisor, &path, "held", "pending");
    // It is stopped at once, as it does not run.
    let mut second = Operator::connect(&path);
    second.ask(&order("stop", &["held"])).fine();
    second.ask(&order("stop", &["once"])).fine();
    let answer = first.answer();
    assert_eq!(answer.problem("held")["code"], "superseded", "{answer:?}");
    supervisor.end();
}

/// It waited for ever: what requires a program that never comes up never fails by itself. Neither
/// do orders for both.
#[test]
fn what_waits_for_a_program_that_has_failed_has_failed_too() {
    let (mut scene, path) = scene();
    let app = json!({"command": probe("hold"), "requires": ["db"]});
    let site = json!({"command": probe("hold"), "requires": ["app"]});
    scene.add("db", "hold");
    scene.add_raw("app", app.clone());
    scene.add_raw("site", site.clone());
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "site", "running");
    let mut db = json!({"command": probe("hold"), "env": {"A": "b"}});
    db["ready"] = json!({"fd": 3});
    db["start_timeout"] = json!(0.2);
    db["backoff"] = json!({"initial": 60});
    rewrite(&scene, json!({"db": db, "app": app, "site": site}));
    let all = ["db", "app", "site"];
    for request in [
        reload(json!({})),
        order("restart", &all),
        order("start", &all),
    ] {
        let answer = Operator::ask_once(&path, &request);
        let problems = answer.data.iter().filter_map(|line| line.get("problem"));
        let message = |problem: &Value| problem["message"].as_str().unwrap_or("-").to_owned();
        let messages: Vec<String> = problems.map(message).collect();
        assert_eq!(messages.len(), 3, "{request}: {answer:?}");
        let count = |reason: &str| {
            let with = messages.iter().filter(|message| message.contains(reason));
            with.count()
        };
        let counts = [count("not ready in time"), count("requires db: ")];
        assert_eq!(counts, [1, 2], "{request}: {messages:?}");
        assert_eq!(answer.last["error"]["code"], "failed", "{request}");
    }
    supervisor.end();
}
