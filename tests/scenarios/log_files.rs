//! Log files that do not grow without end: rotation by the supervisor and by others, the lines that
//! it adds, and logs that are replaced.

use std::fs;
use std::path::PathBuf;
use std::process::Stdio;

use serde_json::{Value, json};

use crate::common::{Pattern, Scene, Supervisor, operator, scene, second_run, wait_for};
use crate::stderr_pipe::spewed;

/// The log of a program's stderr and those that were rotated, the oldest first.
fn files(scene: &Scene, name: &str) -> Vec<Vec<u8>> {
    let path = scene.log_path(name);
    let rotated = |number: u32| PathBuf::from(format!("{}.{number}", path.display()));
    let files = (1..).map(|number| fs::read(rotated(number)).ok());
    let mut files: Vec<Vec<u8>> = files.take_while(Option::is_some).flatten().collect();
    files.reverse();
    files.push(scene.log(name));
    files
}

#[test]
fn a_flood_is_rotated_and_every_byte_of_it_is_there() {
    const BYTES: usize = 10 << 20;
    const MOST: usize = 1 << 20;
    let mut scene = Scene::new();
    let keys = json!({
        "restart": "never",
        "log": {"max_bytes": "1M", "keep": 20},
    });
    for pattern in ["lines", "binary", "flat"] {
        let script = format!("spew {BYTES} {pattern} ; exit 1");
        scene.add_with(pattern, &script, keys.clone());
    }
    let reports = scene.start().ends_with(1);
    for (name, pattern) in [
        ("lines", Pattern::Lines),
        ("binary", Pattern::Binary),
        ("flat", Pattern::Flat),
    ] {
        let files = files(&scene, name);
        let all = spewed(pattern, BYTES);
        assert!(files.concat() == all, "{name} differs");
        assert!(files.iter().all(|file| file.len() <= MOST + 65_536));
        let report = reports.iter().find(|report| report.name() == name);
        let report = report.expect("a report");
        assert_eq!(report.count("log_rotated"), files.len() as u64 - 1);
        assert!(report.data() == all[BYTES - 65_536..]);
    }
    let lines = files(&scene, "lines");
    assert_eq!(lines.len(), 10);
    assert!(lines.iter().all(|file| file.ends_with(b"\n")));
}

/// Reloads with other options of the log.
fn keep_like(scene: &mut Scene, supervisor: &Supervisor, script: &str, log: Value) {
    scene.remove("p");
    scene.add_with("p", script, json!({ "log": log }));
    fs::write(scene.config_path(), scene.config()).expect("a config");
    supervisor.signal(libc::SIGHUP);
}

#[test]
fn options_of_logs_change_while_a_program_runs() {
    let mut scene = Scene::new();
    let script = "say one\\n ; wait-file two ; say two\\n ; wait-file three ; say three\\n ; hold";
    scene.add("p", script);
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    wait_for("a line", || scene.log("p") == b"one\n");
    keep_like(
        &mut scene,
        &supervisor,
        script,
        json!({"timestamps": true, "marks": true}),
    );
    supervisor.wait_message(&["* p", "changes in place: log.timestamps, log.marks"]);
    scene.write("two", "");
    wait_for("a line with its time", || {
        let log = String::from_utf8(scene.log("p")).expect("text");
        let line = log.lines().nth(1).unwrap_or_default();
        line.ends_with("Z two") && line.len() == 28
    });
    keep_like(&mut scene, &supervisor, script, json!({"marks": true}));
    wait_for("both reloads", || {
        supervisor.messages_with(&["* p", "changes in place"]).len() == 2
    });
    scene.write("three", "");
    wait_for("a line without", || scene.log("p").ends_with(b"\nthree\n"));
    assert_eq!(supervisor.started("p"), [pid]);
    supervisor.end();
    let log = String::from_utf8(scene.log("p")).expect("text");
    let last = log.lines().last().expect("a mark");
    assert!(
        last.starts_with("--- exited signal=SIGTERM after "),
        "{log}"
    );
}

/// A run that began in the turn in which the one before had ended had its mark before that one's.
#[test]
fn a_run_has_ended_in_its_log_before_the_next_begins() {
    const RUNS: usize = 30;
    let mut scene = Scene::new();
    let keys = json!({
        "backoff": {"initial": 0, "max": 0},
        "max_restarts": RUNS - 1,
        "log": {"marks": true},
    });
    scene.add_with("p", "say words\\n ; exit 1", keys);
    scene.start().ends_with(1);
    let log = String::from_utf8(scene.log("p")).expect("text");
    let lines: Vec<&str> = log.lines().collect();
    assert_eq!(lines.len(), 3 * RUNS, "{log}");
    for run in lines.chunks(3) {
        assert!(run[0].starts_with("--- started pid="), "{log}");
        assert_eq!(run[1], "words", "{log}");
        assert!(run[2].starts_with("--- exited code=1 after "), "{log}");
    }
}

/// No signal tells of it.
#[test]
fn a_log_that_was_removed_or_renamed_is_replaced_while_its_program_writes() {
    let mut scene = Scene::new();
    let script = "say first\\n ; wait-file go ; forever { say more\\n ; sleep 50 }";
    scene.add("removed", script).add("renamed", script);
    let supervisor = scene.start();
    for name in ["removed", "renamed"] {
        wait_for("its word", || scene.log(name) == b"first\n");
    }
    fs::remove_file(scene.log_path("removed")).expect("rm");
    let aside = scene.path("logs/aside");
    fs::rename(scene.log_path("renamed"), &aside).expect("mv");
    scene.write("go", "");
    for name in ["removed", "renamed"] {
        wait_for("a new log", || scene.log(name).starts_with(b"more\n"));
    }
    supervisor.end();
    let old = fs::read_to_string(aside).expect("the old one");
    assert!(old.starts_with("first\n") && old.ends_with('\n'), "{old}");
}

/// `logs -f` prints what was rotated meanwhile.
#[test]
fn logs_are_followed_over_rotation() {
    if second_run::is_pid1() {
        return;
    }
    const LINES: usize = 40_000;
    let mut scene = Scene::new();
    let socket = operator::control(&mut scene);
    let script = format!(
        "say begin\\n ; wait-file go ; repeat 10 {{ spew {} lines ; sleep 50 }} ; hold",
        LINES / 10 * 64
    );
    let log = json!({"max_bytes": "64K", "keep": 100});
    scene.add_with("p", &script, json!({ "log": log }));
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let mut command = scene.marked(&[
        second_run::binary().to_owned(),
        "logs".into(),
        "--socket".into(),
        socket,
        "-f".into(),
        "p".into(),
    ]);
    let out = fs::File::create(scene.path("followed")).expect("a file");
    command.stdout(out).stdin(Stdio::null());
    let mut follower = scene::spawn(&mut command).expect("it starts");
    wait_for("it to follow", || scene.read("followed") == "begin\n");
    scene.write("go", "");
    wait_for("all of it", || {
        fs::metadata(scene.path("followed")).is_ok_and(|file| file.len() >= 6 + LINES as u64 * 64)
    });
    let all = spewed(Pattern::Lines, LINES / 10 * 64).repeat(10);
    let followed = fs::read(scene.path("followed")).expect("it");
    assert!(followed[6..] == all, "what was followed differs");
    follower.kill().expect("it runs");
    follower.wait().expect("it ends");
    supervisor.end();
}
