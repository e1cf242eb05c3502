//! Scripts and fragments of the guide that a supervisor runs or asks for, on a supervisor.

use std::process::Command;

use serde_json::{Value, json};

use super::blocks::file;
use super::recipes::desk;
use super::room;
use crate::common::{Need, missing, second_run};

#[test]
fn the_error_handler_gets_a_report_on_its_stdin() {
    if missing(&[Need::Tool("jq")]) {
        return;
    }
    let mut scene = desk();
    scene.write_executable("notify.sh", file("notify.sh"));
    let config: Value = serde_json::from_str(&file("handler.json")).expect("JSON");
    scene.set("error_handler", config["error_handler"].clone());
    scene.add_raw("web", json!({ "command": config["programs"]["web"] }));
    let supervisor = scene.start();
    scene.wait_lines("failures.txt", 1);
    assert_eq!(
        scene.lines("failures.txt")[0],
        "web has ended, code 3: no database"
    );
    supervisor.end();
}

/// Without its messages it would be killed in the time that the other program takes.
#[test]
fn a_program_says_that_it_lives_without_a_library() {
    if missing(&[Need::Tool("python3")]) {
        return;
    }
    let mut scene = desk();
    scene.write("watchdog.py", file("watchdog.py"));
    let command = ["python3", "watchdog.py"];
    scene.add_raw(
        "web",
        json!({ "command": command, "ready": "notify", "watchdog": "2s" }),
    );
    let other = json!({ "command": ["sleep", "5"], "oneshot": true, "requires": ["web"] });
    scene.add_raw("other", other);
    let supervisor = scene.start();
    assert_eq!(supervisor.wait_report("other", 1).code(), 0);
    assert_eq!(supervisor.reports_of("web").len(), 0);
    supervisor.end();
}

#[test]
fn the_probes_ask_at_the_socket_of_the_pod() {
    let manifest: Value = serde_norway::from_str(&file("kubernetes/app.yaml")).expect("YAML");
    let arguments = &manifest["spec"]["template"]["spec"]["containers"][0]["args"];
    let socket = arguments[2].as_str().expect("the socket");
    let probes: Value = serde_norway::from_str(&file("kubernetes/probes.yaml")).expect("YAML");
    let probes = probes.as_object().expect("probes");
    assert_eq!(probes.len(), 3);
    for (name, probe) in probes {
        let words = probe["exec"]["command"].as_array().expect("a command");
        let words: Vec<&str> = words.iter().filter_map(Value::as_str).collect();
        assert_eq!((words[0], words[1]), ("/procsched-min", "status"), "{name}");
        let asks_there = words.windows(2).any(|pair| pair == ["-s", socket]);
        assert!(asks_there, "{name}: {words:?}");
        // Another program's restart must not end the container.
        assert_eq!(name == "livenessProbe", words[2] == "web", "{name}");
        let mut command = Command::new(second_run::binary());
        let (out, _) = room::run(command.args(&words[1..]).arg("--help"));
        assert!(out.starts_with("Usage: "), "{name}: {out}");
    }
}
