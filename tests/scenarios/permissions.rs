//! Whom the supervisor must not signal, and whom it may not.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::Helper;
use crate::common::scene::spawn;
use crate::common::{Need, Scene, Supervisor, alive, missing, second_run, tools};

/// A number of a user that is nobody's on any machine of these tests.
const USER: u32 = 64_321;

/// A supervisor that shares its process group with somebody else stops programs of all kinds
/// that have no process: none of them may stand for "my group" or "everybody".
#[test]
fn m54_a_program_without_a_process_is_no_signal_to_others() {
    if second_run::is_pid1() {
        return tools::skip("a bystander in the group of PID 1 is no PID 1's");
    }
    let mut scene = Scene::new();
    let backoff = json!({"initial": "1h", "max": "1h"});
    scene.add_with("waits", "exit 1", json!({"backoff": backoff.clone()}));
    scene.add_with("ended", "exit 0", json!({"restart": "never"}));
    scene.add_raw("failed", json!({"command": ["./no"], "backoff": backoff}));
    let mut command = scene.command();
    command.process_group(0);
    let mut supervisor = scene.launch(command);
    supervisor.wait_reports(3);
    let mut bystander = Command::new(tools::probe_path());
    bystander.arg("hold").process_group(supervisor.pid());
    let bystander = Helper::start(&mut bystander);
    assert_eq!(supervisor.stop(), 0);
    assert!(alive(bystander.pid()), "it was signalled");
    assert_eq!(supervisor.report_count(), 3);
}

/// A scene for a supervisor that is not root, with a probe `./root` that becomes so.
fn scene_of_a_user() -> Option<Scene> {
    if second_run::is_pid1() {
        tools::skip("the root of PID 1 has no shell, and no program that is another user's");
        return None;
    }
    if missing(&[Need::Root]) {
        return None;
    }
    let mut scene = Scene::new();
    scene.setting.user(USER);
    scene.chmod("", 0o777);
    scene.copy_probe("root");
    scene.chmod("root", 0o4755);
    let mut tried = Command::new(scene.path("root"));
    tried.arg("become 0 ; exit 0");
    scene.setting.apply(&mut tried, false);
    let tried = spawn(&mut tried).and_then(|mut child| child.wait());
    if !tried.expect("the probe runs").success() {
        tools::lacks("nobody becomes root in the directory for temporary files (nosuid?)");
        return None;
    }
    Some(scene)
}

#[track_caller]
fn assert_abandoned(supervisor: &mut Supervisor, pid: i32) {
    supervisor.spare(pid);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 1, "{}", supervisor.said());
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(5300),
        "given up after {took:?}"
    );
    assert!(alive(pid), "no point");
    assert!(
        !supervisor.messages_with(&["abandoned"]).is_empty(),
        "{}",
        supervisor.said()
    );
}

/// A signal to a group succeeds if one member gets it; whoever did not get it is left.
#[test]
fn m56_a_member_that_may_not_be_killed_is_not_taken_for_dead() {
    let Some(mut scene) = scene_of_a_user() else {
        return;
    };
    let probe = tools::probe_path().display();
    let script = format!("./root 'become 0 ; pid up ; hold' & exec {probe} 'wait-file up ; hold'");
    let keys =
        json!({"command": ["sh", "-c", script], "restart": "never", "stop_timeout": "300ms"});
    scene.add_raw("p", keys);
    let mut supervisor = scene.start();
    let root = scene.wait_pid("up");
    assert_abandoned(&mut supervisor, root);
    supervisor.wait_message(&["p", "abandoned"]);
}

#[test]
fn m55_an_orphan_that_may_not_be_signalled_is_waited_for_and_named() {
    let Some(mut scene) = scene_of_a_user() else {
        return;
    };
    let script = "escape { become 0 ; pid up ; hold } ; wait-file up ; hold";
    let command = json!(["./root", script]);
    let keys = json!({"command": command, "restart": "never", "stop_timeout": "300ms"});
    scene.add_raw("p", keys);
    let mut supervisor = scene.start();
    let root = scene.wait_pid("up");
    assert_abandoned(&mut supervisor, root);
    let what = format!("failed to signal process {root}");
    let said = supervisor.messages_with(&["warning", &what, "Operation not permitted"]);
    assert!(
        (1..=2).contains(&said.len()),
        "for each signal once: {said:?}"
    );
    supervisor.wait_message(&["abandoned", &root.to_string()]);
}
