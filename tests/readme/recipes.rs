//! What a person pastes: typed into a shell on a terminal, in a fresh directory.

use std::ffi::OsString;
use std::os::unix::fs::symlink;
use std::path::PathBuf;
use std::process::Command;

use serde_json::{Value, json};

use super::blocks::{blocks_in, file, span};
use super::room;
use crate::common::pty::{Pty, Session};
use crate::common::{Need, Scene, missing, process, second_run, wait_for};

/// A directory in which the binary was built and is in `PATH`, too.
pub fn desk() -> Scene {
    let scene = Scene::new();
    for place in ["bin", "target/release"] {
        let binary = scene.mkdir(place).join("procsched-min");
        symlink(second_run::binary(), binary).expect("a symlink");
    }
    scene.write_executable("bin/cargo", "#!/bin/sh\necho $* >>cargo.calls\n");
    scene
}

pub fn path(scene: &Scene) -> OsString {
    let mut path = scene.path("bin").into_os_string();
    path.push(":");
    path.push(std::env::var_os("PATH").unwrap_or_default());
    path
}

/// A shell whose terminal is the test's.
fn shell(scene: &Scene) -> (Pty, Session) {
    let mut command = scene.marked(&["sh", "-i"].map(PathBuf::from));
    command
        .env("PATH", path(scene))
        .current_dir(scene.directory());
    Pty::start(command)
}

/// Leaves the shell: what was started last ended with this code, and nothing is left of it.
#[track_caller]
fn leave(scene: &Scene, pty: &Pty, mut session: Session, code: i32) {
    pty.keys("echo ended=$? ; exit\n");
    pty.wait_screen(&format!("ended={code}"));
    session.wait_exit();
    let mark = scene.mark();
    wait_for("nothing to be left", || process::marked(mark).is_empty());
}

/// The shell block that has this in it.
pub fn block_with(text: &str) -> String {
    let mut blocks = blocks_in("sh");
    blocks.retain(|block| block.text.contains(text));
    assert_eq!(blocks.len(), 1, "the pages have one block with {text:?}");
    blocks.remove(0).text
}

/// Its first config named a worker that was not there: `check` ended with 1, and `run` tried to
/// start it for ever.
#[test]
fn the_first_config_is_checked_and_runs_until_control_c() {
    let scene = desk();
    scene.write("procsched.json", file("procsched.json"));
    let (pty, session) = shell(&scene);
    pty.keys(&block_with("procsched-min check    #"));
    pty.wait_screen("procsched.json: ok, 2 programs");
    pty.wait_screen("web    | serving on port 8080");
    pty.wait_screen("retry_in=1s last=\"no database\"");
    pty.wait_screen("{\"process\":\"worker\",");
    scene.wait_lines("logs/worker.stderr.log", 1);
    pty.keys("\x03");
    pty.wait_screen("stopped code=0");
    leave(&scene, &pty, session, 0);
    let screen = pty.screen();
    for bad in ["warning", "killed"] {
        assert!(!screen.contains(bad), "{screen}");
    }
    let logs = std::fs::read_dir(scene.path("logs")).expect("the logs");
    let mut names: Vec<_> = logs.map(|log| log.expect("a log").file_name()).collect();
    names.sort();
    assert_eq!(names, ["web.stderr.log", "worker.stderr.log"]);
}

#[test]
fn the_config_in_the_help_is_one_without_warnings() {
    let scene = desk();
    let (help, _) = room::run(Command::new(second_run::binary()).arg("help"));
    let (_, rest) = help.split_once("\n  {\n").expect("an example");
    let (example, _) = rest.split_once("\n  }\n").expect("its end");
    scene.write("procsched.json", format!("{{{example}}}"));
    let mut check = Command::new(second_run::binary());
    let (said, _) = room::run(check.arg("check").current_dir(scene.directory()));
    assert_eq!(said, "procsched.json: ok, 2 programs\n");
}

/// Ctrl-C ended jq at once, and with it went the reports of the stop.
#[test]
fn the_reports_of_a_stop_by_control_c_are_shown_by_jq() {
    if missing(&[Need::Tool("jq")]) {
        return;
    }
    let scene = desk();
    let say = |words: &str| json!(["sh", "-c", format!("echo {words} >&2; exec sleep 1000")]);
    let programs = json!({"clock": say("noon"), "worker": say("ready for prod")});
    let config = json!({"err_dir": "logs", "programs": programs});
    scene.write("procsched.json", config.to_string());
    let (pty, session) = shell(&scene);
    pty.keys(&block_with("jq -r 'select(.return_code"));
    scene.wait_lines("logs/clock.stderr.log", 1);
    scene.wait_lines("logs/worker.stderr.log", 1);
    pty.keys("\x03");
    pty.wait_screen("stopped code=0");
    pty.wait_screen("worker: ready for prod");
    pty.wait_screen("clock: noon");
    leave(&scene, &pty, session, 0);
    assert!(!pty.screen().contains("stdout"), "{}", pty.screen());
}

#[test]
fn a_command_runs_under_init() {
    let scene = desk();
    scene.write_executable("server", "#!/bin/sh\necho server $*\n");
    let mut sh = Command::new("sh");
    sh.args(["-euc", &block_with("init -- ./server")]);
    sh.env("PATH", path(&scene)).current_dir(scene.directory());
    assert_eq!(room::run(&mut sh).0, "server --port 8000\n");
    scene.write("script", "echo a script without a first line\n");
    let mut sh = Command::new("sh");
    sh.args(["-euc", &format!("procsched-min {}", span("init -- sh "))]);
    sh.env("PATH", path(&scene)).current_dir(scene.directory());
    assert_eq!(room::run(&mut sh).0, "a script without a first line\n");
}

#[test]
fn a_pause_under_init_ends_by_control_c() {
    let scene = desk();
    let (pty, session) = shell(&scene);
    let group = pty.foreground();
    pty.keys(&format!("procsched-min {}\n", span("init -- sleep ")));
    let slept = || {
        let is_sleep = |&pid: &i32| {
            let name = std::fs::read_to_string(format!("/proc/{pid}/comm"));
            name.is_ok_and(|name| name == "sleep\n")
        };
        process::marked(scene.mark()).into_iter().find(is_sleep)
    };
    wait_for("a command in the foreground", || {
        slept().is_some_and(|pid| pty.foreground() == pid && pid != group)
    });
    pty.keys("\x03");
    leave(&scene, &pty, session, 130);
}

/// Runs a command of the page once, and returns its log.
fn logged(scene: &mut Scene, command: &str) -> String {
    let command: Value = serde_json::from_str(command).expect("an array");
    scene.add_raw("p", json!({"command": command, "restart": "never"}));
    let mut run = scene.command();
    run.env("PATH", path(scene));
    scene.launch(run).ends_with(0);
    scene.read("logs/p.stderr.log")
}

#[test]
fn a_cpu_is_chosen_by_a_command_in_front() {
    if missing(&[Need::Tool("taskset")]) {
        return;
    }
    let mut scene = desk();
    let program = "#!/bin/sh\ngrep Cpus_allowed_list /proc/self/status >&2\n";
    scene.write_executable("program", program);
    let command = span(r#"["taskset", "#).replace('…', "./program");
    assert_eq!(logged(&mut scene, &command), "Cpus_allowed_list:\t0\n");
}

#[test]
fn a_user_and_its_group_are_numbers_where_no_file_has_them() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = desk();
    scene.chmod("", 0o755);
    scene.write_executable("web", "#!/bin/sh\nid -u >&2\nid -g >&2\n");
    let keys = format!("{{{}}}", span(r#""user": 65532"#));
    let mut keys: Value = serde_json::from_str(&keys).expect("keys");
    keys["command"] = json!(["./web"]);
    keys["restart"] = json!("never");
    scene.add_raw("p", keys);
    let mut run = scene.command();
    run.env("PATH", path(&scene));
    scene.launch(run).ends_with(0);
    assert_eq!(scene.read("logs/p.stderr.log"), "65532\n65532\n");
}

#[test]
fn logrotate_empties_a_log_that_is_written() {
    if missing(&[Need::Tool("logrotate")]) {
        return;
    }
    let mut scene = desk();
    scene.add("p", "say one\\n ; wait-file rotated ; say two\\n ; hold");
    let supervisor = scene.start();
    wait_for("a log", || scene.log("p") == b"one\n");
    let logs = scene.path("logs/*.log");
    let rules = format!(
        "{} {{\n  {}\n  rotate 1\n}}\n",
        logs.display(),
        span("copytruncate")
    );
    let rules = scene.write("logrotate.conf", rules);
    let mut logrotate = Command::new("logrotate");
    logrotate
        .arg("--force")
        .arg("--state")
        .arg(scene.path("state"));
    room::run(logrotate.arg(rules));
    assert_eq!(scene.read("logs/p.stderr.log.1"), "one\n");
    scene.write("rotated", "");
    wait_for("the new log", || scene.log("p") == b"two\n");
    supervisor.end();
}
