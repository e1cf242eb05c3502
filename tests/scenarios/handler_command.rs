//! The command `error_handler`: what it gets, and its bounds.

use std::time::Instant;

use serde_json::json;

use crate::common::levers::Gate;
use crate::common::{Scene, Supervisor, alive, probe, process, wait_for};

fn never() -> serde_json::Value {
    json!({"restart": "never"})
}

/// The sum of the numbers that are said to be dropped.
fn dropped(supervisor: &Supervisor) -> u64 {
    let lines = supervisor.messages_with(&["dropped", "error_handler"]);
    let number = |line: &String| {
        let after = line.split("dropped").nth(1)?;
        let digits: String = after
            .chars()
            .skip_while(|char| !char.is_ascii_digit())
            .take_while(char::is_ascii_digit)
            .collect();
        digits.parse::<u64>().ok()
    };
    lines.iter().filter_map(number).sum()
}

#[test]
fn it_gets_the_name_and_the_report() {
    let mut scene = Scene::new();
    scene.set(
        "error_handler",
        probe("slurp got ; dump handler ; say its\\swords\\n ; exit 7"),
    );
    scene
        .add_with("web-1", "say last\\swords\\n ; exit 3", never())
        .add("steady", "hold");
    let supervisor = scene.start();
    let dump = scene.wait_dump("handler");
    let report = supervisor.wait_report("web-1", 1);
    assert_eq!(
        scene.lines("got"),
        [report.line.as_str()],
        "byte for byte what stdout has"
    );
    let argv = dump["argv"].as_array().expect("an array");
    assert_eq!(
        (argv.len(), argv[2].as_str()),
        (3, Some("web-1")),
        "the name comes last"
    );
    assert_eq!((&dump["sid"], &dump["pgid"]), (&dump["pid"], &dump["pid"]));
    let base = scene.directory().canonicalize().expect("it exists");
    assert_eq!(dump["cwd"], base.to_string_lossy().as_ref());
    assert_eq!(dump["fds"]["1"], "/dev/null");
    let own = process::descriptors(supervisor.pid())[&2].clone();
    assert_eq!(dump["fds"]["2"], own, "its stderr is the supervisor's");
    assert_eq!(dump["fds"].as_object().expect("an object").len(), 3);
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(dump["status"][set], "0000000000000000", "{set}");
    }
    supervisor.wait_message(&["its words"]);
    wait_for("it to be reaped", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    assert_eq!(
        supervisor.report_count(),
        1,
        "its own end is nobody's report"
    );
    supervisor.end();
}

#[test]
fn it_runs_for_every_kind_of_report() {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("slurp got"));
    scene
        .add_with("clean", "exit 0", never())
        .add_with("killed", "sig KILL", never());
    scene.add_raw("missing", json!({"command": ["./no"], "restart": "never"}));
    scene.add("stopped", "touch up ; hold");
    let supervisor = scene.start();
    supervisor.wait_reports(3);
    scene.wait_file("up");
    let mut told: Vec<String> = supervisor
        .end()
        .iter()
        .map(|report| report.line.clone())
        .collect();
    let mut got = scene.lines("got");
    told.sort();
    got.sort();
    assert_eq!(got, told);
    assert_eq!(got.len(), 4);
}

/// A failure is what `on-failure` would restart, and no stop that was asked for.
#[test]
fn it_may_run_for_failures_alone() {
    let mut scene = Scene::new();
    let handler = json!({"command": probe("slurp got"), "when": "failure"});
    scene.set("error_handler", handler);
    let fine = json!({"restart": "never", "success_codes": [3, "USR1"]});
    scene
        .add_with("clean", "exit 0", never())
        .add_with("three", "exit 3", fine.clone())
        .add_with("usr1", "sig USR1", fine)
        .add_with("one", "exit 1", never())
        .add_with("killed", "sig KILL", never());
    scene.add_raw("missing", json!({"command": ["./no"], "restart": "never"}));
    let late = json!({"restart": "never", "ready": "notify", "start_timeout": "50ms"});
    scene.add_with("late", "trap TERM ; await TERM ; exit 0", late);
    scene.add("stopped", "touch up ; hold");
    let supervisor = scene.start();
    supervisor.wait_reports(7);
    scene.wait_file("up");
    let failed = ["one", "killed", "missing", "late"];
    let mut told: Vec<String> = supervisor
        .end()
        .iter()
        .filter(|report| failed.contains(&report.name()))
        .map(|report| report.line.clone())
        .collect();
    let mut got = scene.lines("got");
    told.sort();
    got.sort();
    assert_eq!((got.len(), got), (failed.len(), told));
}

#[test]
fn at_most_four_run_at_a_time() {
    const REPORTS: usize = 14;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.set(
        "error_handler",
        probe("append log in\\n ; gate gate ; append log out\\n"),
    );
    for index in 0..REPORTS {
        scene.add_with(&format!("p{index}"), "exit 1", never());
    }
    scene.add("steady", "hold");
    let supervisor = scene.start();
    supervisor.wait_reports(REPORTS);
    scene.wait_lines("log", 4);
    gate.open();
    let lines = scene.wait_lines("log", 2 * REPORTS);
    let mut running: usize = 0;
    let mut most = 0;
    for line in &lines {
        running = if line == "in" {
            running + 1
        } else {
            running - 1
        };
        most = most.max(running);
    }
    assert_eq!(most, 4, "{lines:?}");
    assert_eq!(dropped(&supervisor), 0);
    supervisor.end();
}

#[test]
fn what_waits_is_bounded_in_number() {
    const REPORTS: usize = 1100;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.set("error_handler", probe("gate gate ; append ran x\\n"));
    scene.add("steady", "hold");
    for index in 0..REPORTS {
        scene.add_raw(
            &format!("p{index}"),
            json!({"command": ["./no"], "restart": "never"}),
        );
    }
    let supervisor = scene.start();
    supervisor.wait_reports(REPORTS);
    supervisor.wait("72 to be dropped", || dropped(&supervisor) == 72);
    gate.open();
    scene.wait_lines("ran", 4 + 1024);
    supervisor.end();
    // And one for the program that was stopped.
    assert_eq!(scene.lines("ran").len(), 4 + 1024 + 1);
}

#[test]
fn what_waits_is_bounded_in_bytes() {
    const REPORTS: usize = 20;
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.set(
        "error_handler",
        probe("append in x\\n ; gate gate ; append ran x\\n"),
    );
    scene.add("steady", "hold");
    for index in 0..REPORTS {
        // As JSON some 700,000 bytes each: four run, five wait, eleven are too much.
        let keys = json!({"restart": "never", "report_bytes": 524_288});
        let wait = if index < 4 { "" } else { "wait-file go ;" };
        let script = format!("{wait} spew 600000 flat ; exit 1");
        scene.add_with(&format!("p{index}"), &script, keys);
    }
    let supervisor = scene.start();
    scene.wait_lines("in", 4);
    scene.write("go", "");
    supervisor.wait("the drops", || dropped(&supervisor) == 11);
    assert_eq!(supervisor.messages_with(&["exited"]).len(), REPORTS);
    gate.open();
    scene.wait_lines("ran", 9);
    supervisor.end();
    assert_eq!(scene.lines("ran").len(), 9 + 1);
}

#[test]
fn one_that_does_not_end_is_killed_after_thirty_seconds() {
    let mut scene = Scene::new();
    let script = "ignore TERM ; fork { ignore TERM ; pid member ; hold } ; pid handler ; hold";
    scene.set(
        "error_handler",
        probe(&format!("once first {{ {script} }}")),
    );
    scene.add_with("p", "exit 1", never()).add("steady", "hold");
    let supervisor = scene.start();
    let (pid, member) = (scene.wait_pid("handler"), scene.wait_pid("member"));
    let start = Instant::now();
    wait_for("the handler to be killed", || !alive(pid) && !alive(member));
    let took = start.elapsed();
    assert!(
        (29.0..45.0).contains(&took.as_secs_f64()),
        "killed after {took:?}"
    );
    supervisor.wait_message(&["error_handler ran for too long", &format!("pid={pid}")]);
    wait_for("it to be reaped", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    supervisor.end();
}

#[test]
fn a_stop_gives_it_five_seconds_more() {
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.set("error_handler", probe("append in x\\n ; gate gate"));
    for index in 0..8 {
        scene.add_with(&format!("p{index}"), "exit 1", never());
    }
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    supervisor.wait_reports(8);
    scene.wait_lines("in", 4);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    let took = start.elapsed().as_secs_f64();
    assert!((5.0..12.0).contains(&took), "it took {took} s");
    // It was not for being slow that it had no more time.
    let said = supervisor.messages_with(&["error_handler", "killed"]);
    let is_true = |line: &&String| line.contains("had not ended 5 s after the last program");
    assert_eq!(
        (said.len(), said.iter().filter(is_true).count()),
        (4, 4),
        "{said:?}"
    );
    assert_eq!(
        dropped(&supervisor),
        5,
        "four that waited, and the last program's"
    );
    assert_eq!(scene.lines("in").len(), 4);
    gate.open();
}

#[test]
fn a_stop_waits_for_a_handler_that_takes_its_time() {
    let mut scene = Scene::new();
    scene.set("error_handler", probe("sleep 700 ; slurp got"));
    scene.add("p", "touch up ; hold");
    let mut supervisor = scene.start();
    scene.wait_file("up");
    assert_eq!(supervisor.stop(), 0);
    assert_eq!(
        scene.lines("got").len(),
        1,
        "the last report reaches its handler"
    );
    // It had no need of all the time that handlers have at the end.
    assert_eq!(supervisor.messages_with(&["error_handler"]), [""; 0]);
}

#[test]
fn one_that_cannot_be_started_is_said_and_supervision_goes_on() {
    let mut scene = Scene::new();
    scene.set("error_handler", json!(["./no-such-handler"]));
    let quick = json!({"backoff": {"initial": "5ms", "max": "5ms"}});
    scene.add_with("p", "exit 1", quick);
    let supervisor = scene.start();
    supervisor.wait_reports(5);
    supervisor.wait_message(&[
        "p",
        "warning failed to start error_handler: failed to execute",
        "no-such-handler",
        "No such file or directory",
    ]);
    supervisor.end();
}
