//! Starts that fail because the system refuses a step of theirs: a tracer sees to it.

use std::os::unix::process::CommandExt;

use serde_json::json;

use crate::common::levers::{FORKS, Gate, Helper, Tracer};
use crate::common::{Need, Report, Scene, missing, process, second_run, tools, wait_for};
use crate::start_failures::assert_failed_start;

#[test]
fn m3_failed_forks_and_pipes_leave_no_descriptor() {
    if missing(&[Need::Strace]) {
        return;
    }
    for inject in [
        format!("{FORKS}:error=EAGAIN"),
        "pipe2:error=EMFILE".to_owned(),
    ] {
        let mut scene = Scene::new();
        let mut gate = Gate::new(&scene, "gate");
        let backoff = json!({"initial": 0, "max": "100ms"});
        scene.add_with("p", "gate gate ; exit 1", json!({"backoff": backoff}));
        let supervisor = scene.start();
        supervisor.wait_started("p", 1);
        let before = process::descriptor_kinds(supervisor.pid());
        let inject = format!("inject={inject}");
        let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
        gate.open();
        let reports = supervisor.wait_reports(41);
        for report in &reports[1..] {
            assert_failed_start(report, 125, &[]);
        }
        assert!(tracer.injected() >= 40);
        // The gate is closed again, so that the next run stays.
        drop(gate);
        tracer.detach();
        supervisor.wait_started("p", 2);
        wait_for("no more descriptors than before", || {
            process::descriptor_kinds(supervisor.pid()) == before
        });
        supervisor.end();
    }
}

#[test]
fn m4_a_machine_out_of_processes_hurts_only_the_start_that_meets_it() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    scene.add("steady", "hold");
    let backoff = json!({"initial": "100ms", "max": "10s"});
    let script = "once first { gate gate ; exit 1 } ; hold";
    scene.add_with("unlucky", script, json!({"backoff": backoff}));
    let supervisor = scene.start();
    let steady = supervisor.wait_started("steady", 1);
    supervisor.wait_started("unlucky", 1);
    let inject = format!("inject={FORKS}:error=EAGAIN:when=1..3");
    let _tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
    gate.open();
    let reports = supervisor.wait_reports_of("unlucky", 4);
    let delays: Vec<f64> = reports.iter().filter_map(Report::retry_in).collect();
    assert_eq!(delays, [0.1, 0.2, 0.4, 0.8]);
    for pair in reports[1..].windows(2) {
        assert_failed_start(&pair[1], 125, &["failed to create a process"]);
        let gap = pair[1].seconds("timestamp") - pair[0].seconds("timestamp");
        // The wall clock may be slewed a little; a hot loop is far below.
        assert!(gap > 0.9 * pair[0].retry_in().unwrap_or(0.0), "{pair:?}");
    }
    supervisor.wait_started("unlucky", 2);
    assert_eq!(supervisor.started("steady"), [steady]);
    let reports = supervisor.end();
    assert_eq!(
        reports.len(),
        6,
        "four of the unlucky, and two at the stop: {reports:?}"
    );
}

#[test]
fn m10_a_child_that_cannot_exec_does_not_go_on_as_a_second_supervisor() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let backoff = json!({"initial": "100ms", "max": "100ms"});
    scene.add_with("p", "gate gate ; exit 1", json!({"backoff": backoff}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let inject = ["-f", "-e", "inject=execve:error=EACCES"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &inject);
    gate.open();
    let reports = supervisor.wait_reports(11);
    for (index, report) in reports.iter().enumerate().skip(1) {
        assert_failed_start(report, 126, &["Permission denied"]);
        assert_eq!(report.count("restarts"), index as u64, "each is told once");
    }
    assert_eq!(
        supervisor.descendants(),
        [0; 0],
        "no copy of the supervisor"
    );
    drop(gate);
    tracer.detach();
    supervisor.wait_started("p", 2);
    // What ends twice gives back what is the supervisor's, here its locks, and says once more what
    // was not written yet.
    let mut second = (!second_run::is_pid1()).then(|| scene.start());
    if let Some(second) = &mut second {
        assert_eq!(second.wait_exit(), 1, "the lock is gone");
    }
    assert_eq!(supervisor.stop(), 0);
    let failures = supervisor.report_count() - 2;
    let said = supervisor.messages_with(&["p failed"]).len();
    let remarks = String::from_utf8_lossy(&scene.log("p")).into_owned();
    let remarks = remarks.matches("failed to start: ").count();
    assert_eq!((said, remarks), (failures, failures));
}

#[test]
fn m53_without_a_session_of_its_own_nothing_is_executed() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let backoff = json!({"initial": "100ms", "max": "100ms"});
    let script = "count runs ; gate gate ; exit 1";
    scene.add_with("p", script, json!({"backoff": backoff}));
    let mut command = scene.command();
    // In one group with a bystander, whom a wrong signal to "the child's group" would hit.
    let bystander = {
        let words = [tools::probe_path().to_owned(), "hold".into()];
        let mut command = scene.marked(&words);
        command.process_group(0);
        Helper::start(&mut command)
    };
    command.process_group(bystander.pid());
    let mut supervisor = scene.launch(command);
    supervisor.spare(bystander.pid());
    supervisor.wait_started("p", 1);
    let inject = ["-f", "-e", "inject=setsid:error=EPERM"];
    let tracer = Tracer::attach(&scene, supervisor.pid(), &inject);
    gate.open();
    for report in &supervisor.wait_reports(5)[1..] {
        assert_failed_start(report, 125, &["Operation not permitted"]);
    }
    assert_eq!(scene.read("runs"), ".", "only the first was executed");
    tracer.detach();
    assert_eq!(supervisor.stop(), 0);
    assert!(
        process::alive(bystander.pid()),
        "the bystander was signalled"
    );
}
