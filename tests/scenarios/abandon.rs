//! Processes that do not die, or may not be signalled: waited for, named, given up.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::{Hold, Tracer};
use crate::common::{Need, Scene, missing, process, second_run};

#[test]
fn m117_what_cannot_die_is_named_and_left_behind() {
    if missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with(
        "stuck",
        "ignore TERM ; pid up ; hold",
        json!({"stop_timeout": "300ms"}),
    );
    scene.add("fine", "hold");
    let mut supervisor = scene.start();
    let pid = scene.wait_pid("up");
    supervisor.wait_started("fine", 1);
    let hold = Hold::on(&scene, pid);
    let start = Instant::now();
    supervisor.spare(pid);
    assert_eq!(supervisor.stop(), 1, "something abandoned is code 1");
    let took = start.elapsed();
    assert!(
        took >= Duration::from_millis(5300),
        "given up after {took:?}"
    );
    assert!(took < Duration::from_secs(15), "given up after {took:?}");
    let report = supervisor.reports_of("stuck").pop().expect("a report");
    assert!(report.error().starts_with("abandoned: "), "{report:?}");
    assert_eq!(
        (report.code(), report.pid(), report.signal()),
        (125, Some(pid), None)
    );
    assert!(report.stopping(), "{report:?}");
    let said = format!(" abandoned pid={pid} still exists 5 s after SIGKILL");
    supervisor.wait_message(&["stuck", &said]);
    assert_eq!(supervisor.reports_of("fine")[0].signal(), Some("SIGTERM"));
    hold.release();
}

/// What was given up died after all, while the stop still waited for another program: the line
/// said "abandoned", and the exit code 0.
#[test]
fn m117_what_was_given_up_once_is_code_1_even_if_it_dies_later() {
    if missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with("stuck", "pid up ; hold", json!({"stop_timeout": 0}));
    let slow = "ignore TERM ; pid slow ; hold";
    scene.add_with("slow", slow, json!({"stop_timeout": "60s"}));
    let mut supervisor = scene.start();
    let [pid, slow] = ["up", "slow"].map(|file| scene.wait_pid(file));
    let hold = Hold::on(&scene, pid);
    supervisor.signal(libc::SIGTERM);
    supervisor.wait_message(&["stuck", "abandoned", &pid.to_string()]);
    hold.release();
    crate::common::wait_for("it to be reaped", || !process::alive(pid));
    process::signal(slow, libc::SIGKILL);
    assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
    assert_eq!(supervisor.reports_of("stuck").len(), 1);
}

#[test]
fn m117_nothing_is_started_beside_what_cannot_die() {
    if missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    let quick = json!({"backoff": {"initial": 0, "max": 0}});
    scene.add_with("p", "pid up ; hold", quick);
    let supervisor = scene.start();
    let pid = scene.wait_pid("up");
    let hold = Hold::on(&scene, pid);
    process::signal(pid, libc::SIGKILL);
    hold.wait_dying();
    // Killed, and not to be waited for: it still counts as running.
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["p", "running", &format!("pid={pid}")]);
    std::thread::sleep(Duration::from_millis(1500));
    assert_eq!(
        (supervisor.report_count(), supervisor.started("p").len()),
        (0, 1)
    );
    hold.release();
    assert_eq!(supervisor.wait_report("p", 1).code(), -9);
    supervisor.wait_started("p", 2);
    supervisor.end();
}

#[test]
fn m55_who_may_not_be_signalled_is_alive_until_it_is_abandoned() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add_with("p", "pid up ; hold", json!({"stop_timeout": "500ms"}));
    let mut supervisor = scene.start();
    let pid = scene.wait_pid("up");
    let inject = "inject=kill,pidfd_send_signal:error=EPERM";
    let _tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", inject]);
    let start = Instant::now();
    supervisor.spare(pid);
    assert_eq!(supervisor.stop(), 1);
    assert!(
        start.elapsed() >= Duration::from_millis(5500),
        "given up after {:?}",
        start.elapsed()
    );
    // The end of PID 1 is the end of everybody.
    assert_eq!(process::alive(pid), !second_run::is_pid1());
    let reports = supervisor.reports();
    assert_eq!(reports.len(), 1, "{reports:?}");
    assert!(
        reports[0].error().starts_with("abandoned: "),
        "{:?}",
        reports[0]
    );
    let said = supervisor.messages_with(&[" p warning", "Operation not permitted"]);
    assert!(
        (1..=2).contains(&said.len()),
        "said for each signal at most once: {said:?}"
    );
    // A SIGKILL that was refused was told as "killed", and its refusal not at all.
    let refused = |signal: &str| supervisor.messages_with(&["p", "failed to send", signal]);
    assert_eq!((refused("SIGTERM").len(), refused("SIGKILL").len()), (1, 1));
    assert_eq!(supervisor.messages_with(&["p", " killed "]), [""; 0]);
}

#[test]
fn m125_the_code_of_a_second_signal_is_0_too() {
    let mut scene = Scene::new();
    scene.add_with("p", "record signals TERM", json!({"stop_timeout": "1h"}));
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("signals", 2);
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGINT);
    assert_eq!(supervisor.wait_exit(), 0);
}
