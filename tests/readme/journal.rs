//! What the guide says of the journal and of collectors of logs: its commands, run on what the
//! binary prints.

use std::process::Command;

use serde_json::{Value, json};

use super::blocks::file;
use super::manager::{self, Manager, Systemd};
use super::recipes::block_with;
use super::room;
use crate::common::tools::lacks;
use crate::common::{Need, Scene, missing, second_run};

/// A program that fails, and a oneshot.
fn programs() -> Value {
    let failing = "echo no database >&2; exit 3";
    json!({
        "web": { "command": ["sh", "-c", failing], "restart": "never" },
        "migrate": { "command": ["sh", "-c", "echo done; echo twice >&2"], "oneshot": true },
    })
}

#[test]
fn the_journal_has_failures_as_errors() {
    let needs = [
        Need::Root,
        Need::Mounts,
        Need::Pids,
        Need::Tool("systemctl"),
        Need::Tool("jq"),
    ];
    if missing(&needs) {
        return;
    }
    let Some(cgroups) = manager::cgroups() else {
        return lacks("needs systemd, and a cgroup of version 2 of its own");
    };
    let scene = Scene::new();
    let config = json!({ "err_dir": "/var/log/app", "programs": programs() });
    let path = scene.write("procsched.json", config.to_string());
    let path = path.to_str().expect("a plain path");
    let unit = file("app.service").replace("/etc/app/procsched.json", path);
    let manager = Manager::start(
        &Systemd::of_machine(),
        &scene,
        &cgroups,
        "app.service",
        &unit,
    );
    manager.order(&["start", "app.service"]);
    // It has failed as often as it may.
    manager.wait("app.service", "ActiveState", "failed");
    let shell = |script: &str| {
        assert!(manager.run(&["journalctl", "--sync"]).0);
        let (is_fine, out, err) = manager.run(&["sh", "-euc", script]);
        assert!(is_fine, "{script}: {out}{err}");
        out
    };
    let failures = shell(&block_with("journalctl -u app -p err"));
    let lines: Vec<&str> = failures.lines().collect();
    assert!(!lines.is_empty());
    let is_failure =
        |line: &&str| line.contains(" web     exited  pid=") && line.contains("code=3");
    assert!(lines.iter().all(is_failure), "{failures}");
    let priorities = shell(&block_with("journalctl -u app -o json"));
    for (priority, message) in [
        ("3", " web     exited  pid="),
        ("6", " web     started pid="),
        ("6", " migrate exited  pid="),
    ] {
        let has_it = |line: &str| {
            let (found, text) = line.split_once('\t').expect("two columns");
            // The prefix is the journal's, and no part of the message.
            found == priority && text.contains(message) && !text.contains('<')
        };
        assert!(priorities.lines().any(has_it), "{message}: {priorities}");
    }
}

/// Whether it is `2024-01-01T12:00:00.000Z`, which RFC 3339 allows.
fn is_time(text: &str) -> bool {
    let digits = |char: char| if char.is_ascii_digit() { '0' } else { char };
    let shape: String = text.chars().map(digits).collect();
    shape == "0000-00-00T00:00:00.000Z"
}

/// Runs a config of this output by the guide's command, and returns what that prints.
fn output_of(scene: &Scene, command: &str) -> String {
    let mut programs = programs();
    for program in ["web", "migrate"] {
        programs[program]["stdout"] = json!("inherit");
        programs[program]["stderr"] = json!("inherit");
    }
    let config = json!({ "output": "json", "reports": "none", "programs": programs });
    scene.write("procsched.json", config.to_string());
    let binary = second_run::binary().parent().expect("a directory");
    let path = std::env::var("PATH").expect("PATH is set");
    let mut sh = Command::new("sh");
    sh.args(["-euc", command])
        .env("PATH", format!("{}:{path}", binary.display()))
        .current_dir(scene.directory());
    room::run(&mut sh).0
}

#[test]
fn a_collector_finds_the_time_the_program_and_the_line() {
    if missing(&[Need::Tool("jq")]) {
        return;
    }
    let scene = Scene::new();
    let printed = output_of(&scene, &block_with("procsched-min run 2>&1 | jq"));
    let mut lines: Vec<&str> = printed.lines().collect();
    lines.sort_by_key(|line| line.split_once(' ').map(|(_, rest)| rest));
    let lines: Vec<(&str, &str)> = lines
        .iter()
        .map(|line| line.split_once(' ').expect("a time"))
        .collect();
    assert!(lines.iter().all(|(time, _)| is_time(time)), "{printed}");
    let texts: Vec<&str> = lines.iter().map(|(_, text)| *text).collect();
    let expected = [
        "migrate stderr: twice",
        "migrate stdout: done",
        "web stderr: no database",
    ];
    assert_eq!(texts, expected);
}

/// The names in the collector's stages are those of the lines, and each line has a time.
#[test]
fn the_stages_of_the_collector_name_what_is_in_the_lines() {
    let scene = Scene::new();
    let printed = output_of(&scene, "procsched-min run 2>&1 || true");
    let lines: Vec<Value> = printed
        .lines()
        .map(|line| serde_json::from_str(line).unwrap_or_else(|_| panic!("no JSON: {line}")))
        .collect();
    let stages = file("config.alloy");
    let mut names: Vec<&str> = stages
        .split(['{', '}', '\n', ','])
        .filter_map(|part| part.trim().strip_suffix(" = \"\""))
        .collect();
    names.extend(
        stages
            .lines()
            .filter_map(|line| line.trim().strip_prefix("source = \"")?.strip_suffix('"')),
    );
    assert!(names.len() >= 6, "{names:?}");
    for name in names {
        let count = lines.iter().filter(|line| !line[name].is_null()).count();
        assert!(count > 0, "no line has {name:?}: {printed}");
    }
    for line in &lines {
        assert!(line["time"].as_str().is_some_and(is_time), "{line}");
        assert!(
            line["line"].is_string() != line["event"].is_string(),
            "{line}"
        );
    }
}
