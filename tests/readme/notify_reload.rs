//! The unit of the README with `Type=notify-reload`, which systemd has since version 253.

use serde_json::{Value, json};

use super::blocks::file;
use super::manager::{self, Manager, Systemd};
use crate::common::tools::lacks;
use crate::common::{Need, Scene, missing};

const APP: &str = "app-notify-reload.service";

/// The first version with `Type=notify-reload`.
const VERSION: u32 = 253;

/// systemd sends the signal itself, and waits until the supervisor says that the reload is over: with
/// a config that is taken over, and with one that is refused.
#[test]
fn a_unit_that_reloads_by_signal_needs_no_command_for_it() {
    let needs = [
        Need::Root,
        Need::Mounts,
        Need::Pids,
        Need::Tool("systemctl"),
    ];
    if missing(&needs) {
        return;
    }
    let Some(cgroups) = manager::cgroups() else {
        return lacks("needs systemd, and a cgroup of version 2 of its own");
    };
    let Some(systemd) = Systemd::at_least(VERSION) else {
        return lacks("needs systemd 253, or its packages unpacked in PROCSCHED_TEST_SYSTEMD");
    };
    let scene = Scene::new();
    let mut config: Value = serde_json::from_str(&file("procsched.json")).expect("JSON");
    config["err_dir"] = json!("/var/log/app");
    config["programs"] = json!({"web": ["sleep", "1000"]});
    let path = scene.write("procsched.json", config.to_string());
    let path = path.to_str().expect("a plain path");
    let unit = file("app.service").replace("/etc/app/procsched.json", path);
    let unit = unit.replace("Type=notify\n", "Type=notify-reload\n");
    let is_kept = |line: &&str| !line.starts_with("ExecReload=");
    let lines: Vec<&str> = unit.lines().filter(is_kept).collect();
    let manager = Manager::start(&systemd, &scene, &cgroups, APP, &lines.join("\n"));
    manager.order(&["start", APP]);
    assert_eq!(manager.property(APP, "Type"), "notify-reload");
    let pid = manager.property(APP, "MainPID");
    config["programs"]["cache"] = json!(["sleep", "1000"]);
    scene.write("procsched.json", config.to_string());
    manager.order(&["reload", APP]);
    manager.wait(APP, "StatusText", "2 running");
    scene.write("procsched.json", "{");
    manager.order(&["reload", APP]);
    let state = ["ActiveState", "SubState", "MainPID", "StatusText"];
    let state = state.map(|property| manager.property(APP, property));
    assert_eq!(state, ["active", "running", &*pid, "2 running"]);
    manager.order(&["stop", APP]);
    let end = ["ActiveState", "Result"].map(|property| manager.property(APP, property));
    assert_eq!(end, ["inactive", "success"]);
}
