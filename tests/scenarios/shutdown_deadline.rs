//! `shutdown_timeout`: everything has ended within it, whatever its programs, error handlers,
//! readers and escaped processes do.

use std::time::{Duration, Instant};

use serde_json::{Value, json};

use crate::common::levers::Hold;
use crate::common::tools::whole;
use crate::common::{Need, Scene, Supervisor, alive, missing, probe, process};
use crate::orphans::{is_blind, wait_home};

const STUBBORN: &str = "ignore TERM ; append up x\\n ; hold";

/// Asks for a stop, and returns the code and the time until the process has ended.
#[track_caller]
fn stop(supervisor: &mut Supervisor) -> (i32, Duration) {
    let start = Instant::now();
    supervisor.signal(libc::SIGTERM);
    while supervisor.is_running() {
        assert!(
            start.elapsed() < process::PATIENCE,
            "it does not end; {}",
            supervisor.said()
        );
        std::thread::sleep(Duration::from_millis(2));
    }
    let took = start.elapsed();
    (supervisor.wait_exit(), took)
}

#[track_caller]
fn assert_in_time(supervisor: &Supervisor, took: Duration, timeout: Duration) {
    assert!(took <= timeout, "it took {took:?}; {}", supervisor.said());
}

fn hour() -> Value {
    json!({"stop_timeout": "1h"})
}

/// Ten chains of twenty programs, each of which requires the one before. A stop goes from rank to
/// rank; three of the two hundred do not obey, and hold up their chains.
fn twenty_ranks() -> Scene {
    const STUBBORN_ONES: [(usize, usize); 3] = [(0, 3), (9, 4), (19, 5)];
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    scene.set("shutdown_timeout", json!("3s"));
    for rank in 0..20 {
        for chain in 0..10 {
            let requires: Vec<String> = (rank > 0)
                .then(|| format!("p{}-{chain}", rank - 1))
                .into_iter()
                .collect();
            let script = match STUBBORN_ONES.contains(&(rank, chain)) {
                true => STUBBORN,
                false => "append up x\\n ; hold",
            };
            let name = format!("p{rank}-{chain}");
            scene.add_with(&name, script, json!({"requires": requires}));
        }
    }
    scene
}

/// Ten programs that each had their stop timeout of 10 s, one after the other, took minutes.
#[test]
fn two_hundred_programs_in_twenty_ranks_end_within_three_seconds() {
    for _ in 0..whole(2, 100) {
        let scene = twenty_ranks();
        let mut supervisor = scene.start();
        scene.wait_lines("up", 200);
        let (code, took) = stop(&mut supervisor);
        assert_in_time(&supervisor, took, Duration::from_secs(3));
        assert_eq!(code, 0, "{}", supervisor.said());
        let reports = supervisor.reports();
        assert_eq!(reports.len(), 200);
        let killed = reports.iter().filter(|report| report.code() == -9);
        assert!(killed.count() >= 3);
        let kill = ["killing everything: shutdown_timeout=3s is nearly over"];
        assert_eq!(supervisor.messages_with(&kill).len(), 1);
    }
}

#[test]
fn a_stop_timeout_that_is_shorter_counts() {
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("1h"));
    scene.add_with("p", STUBBORN, json!({"stop_timeout": "300ms"}));
    let mut supervisor = scene.start();
    scene.wait_lines("up", 1);
    let (code, _) = stop(&mut supervisor);
    assert_eq!(code, 0, "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["killing everything"]), [""; 0]);
    supervisor.wait_message(&["p", "killed"]);
}

#[test]
fn what_cannot_die_is_abandoned_in_time() {
    if missing(&[Need::Attach]) {
        return;
    }
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("3s"));
    scene.add_with("stuck", "ignore TERM ; pid up ; hold", hour());
    let mut supervisor = scene.start();
    let pid = scene.wait_pid("up");
    let hold = Hold::on(&scene, pid);
    supervisor.spare(pid);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 1, "{}", supervisor.said());
    assert_in_time(&supervisor, took, Duration::from_secs(3));
    let said = format!(" abandoned pid={pid} still exists at the end of shutdown_timeout");
    supervisor.wait_message(&["stuck", &said]);
    let report = supervisor.reports_of("stuck").pop().expect("a report");
    let expected = format!("abandoned: process group {pid} is not gone at the end");
    assert!(report.error().starts_with(&expected), "{report:?}");
    hold.release();
}

#[test]
fn an_error_handler_that_does_not_end_is_killed_in_time() {
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("2s"));
    scene.set(
        "error_handler",
        probe("ignore TERM ; append in x\\n ; hold"),
    );
    for index in 0..6 {
        scene.add_with(&format!("p{index}"), "exit 1", json!({"restart": "never"}));
    }
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    supervisor.wait_reports(6);
    scene.wait_lines("in", 4);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 0, "{}", supervisor.said());
    assert_in_time(&supervisor, took, Duration::from_secs(2));
    let said = supervisor.messages_with(&["error_handler had not ended when shutdown_timeout"]);
    assert_eq!(said.len(), 4, "{}", supervisor.said());
    // Two that waited, and that of the last program.
    supervisor.wait_message(&["dropped 3 reports that waited for error_handler"]);
}

/// The end of its own accord is a shutdown as well.
#[test]
fn a_handler_that_does_not_end_is_killed_in_time_when_everything_has_ended() {
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("1s"));
    scene.set("control", json!(false));
    scene.set("error_handler", probe("append in x\\n ; hold"));
    scene.add_with("p", "exit 0", json!({"restart": "never"}));
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 0);
    let said = supervisor.messages_with(&["error_handler had not ended when shutdown_timeout"]);
    assert_eq!(said.len(), 1, "{}", supervisor.said());
}

#[test]
fn what_left_its_group_is_killed_in_time() {
    if is_blind() {
        return;
    }
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("2s"));
    let orphan = "escape { escape { ignore TERM ; pid orphan ; hold } } ; hold";
    scene.add_with("p", orphan, hour());
    let mut supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    wait_home(&supervisor, orphan);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 0, "{}", supervisor.said());
    assert_in_time(&supervisor, took, Duration::from_secs(2));
    supervisor.wait_message(&["p", "SIGKILL", &format!("pid={orphan} had left its group")]);
    assert!(!alive(orphan));
}

#[test]
fn what_left_its_group_and_cannot_die_is_abandoned_in_time() {
    if missing(&[Need::Attach]) || is_blind() {
        return;
    }
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("3s"));
    scene.add(
        "p",
        "escape { escape { ignore TERM ; pid orphan ; hold } } ; hold",
    );
    let mut supervisor = scene.start();
    let orphan = scene.wait_pid("orphan");
    wait_home(&supervisor, orphan);
    let hold = Hold::on(&scene, orphan);
    supervisor.spare(orphan);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 1, "{}", supervisor.said());
    assert_in_time(&supervisor, took, Duration::from_secs(3));
    let said = format!("abandoned pid={orphan} still exists at the end of shutdown_timeout");
    supervisor.wait_message(&[&said]);
    hold.release();
}

/// All at once: what cannot die, handlers that do not end, and readers that take nothing.
#[test]
fn everything_that_can_hold_up_the_end_does_not() {
    if missing(&[Need::Attach]) || is_blind() {
        return;
    }
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("4s"));
    scene.set(
        "error_handler",
        probe("ignore TERM ; append in x\\n ; hold"),
    );
    let crash = "spew 65536 flat ; append runs x\\n ; exit 1";
    let quick = json!({"backoff": {"initial": "5ms", "max": "5ms"}});
    scene.add_with("crash", crash, quick);
    let stuck =
        "ignore TERM ; escape { escape { ignore TERM ; pid orphan ; hold } } ; pid up ; hold";
    scene.add_with("stuck", stuck, hour());
    scene.add_with("web", "hold", json!({"requires": ["stuck"]}));
    let (out, out_writer) = std::io::pipe().expect("a pipe");
    let (err, err_writer) = std::io::pipe().expect("a pipe");
    let mut command = scene.command();
    command.stdout(out_writer).stderr(err_writer);
    let mut supervisor = scene.launch_as_is(command);
    let [pid, orphan] = ["up", "orphan"].map(|file| scene.wait_pid(file));
    wait_home(&supervisor, orphan);
    scene.wait_lines("in", 4);
    // More than the pipe and the queue of stdout take.
    scene.wait_lines("runs", 30);
    let holds = [pid, orphan].map(|pid| Hold::on(&scene, pid));
    supervisor.spare(pid);
    supervisor.spare(orphan);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 1);
    assert_in_time(&supervisor, took, Duration::from_secs(4));
    holds.into_iter().for_each(Hold::release);
    drop((out, err));
}

#[test]
fn a_reload_changes_it_in_place() {
    let mut scene = Scene::new();
    scene.add_with("p", STUBBORN, hour());
    let mut supervisor = scene.start();
    scene.wait_lines("up", 1);
    scene.set("shutdown_timeout", json!("3s"));
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["reload", "* shutdown_timeout  changes in place"]);
    let (code, took) = stop(&mut supervisor);
    assert_eq!(code, 0, "{}", supervisor.said());
    assert_in_time(&supervisor, took, Duration::from_secs(3));
    supervisor.wait_message(&["killing everything: shutdown_timeout=3s is nearly over"]);
    assert_eq!(supervisor.started("p").len(), 1);
}

#[test]
fn a_second_signal_kills_before_the_time_is_over() {
    let mut scene = Scene::new();
    scene.set("shutdown_timeout", json!("1h"));
    scene.add_with("p", "record signals TERM", hour());
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("signals", 2);
    // The measure is the supervisor's: it had the first signal before its child did.
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["is nearly over"]), [""; 0]);
}

/// It read the file before it said that it was too late, and what is wrong with that.
#[test]
fn a_reload_during_a_stop_reads_nothing() {
    let mut scene = Scene::new();
    scene.add_with("p", "record signals TERM", hour());
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("signals", 2);
    scene.write("procsched.json", "{");
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["config not reloaded: everything is being stopped"]);
    assert_eq!(supervisor.messages_with(&["JSON"]), [""; 0]);
    process::signal(supervisor.started("p")[0], libc::SIGKILL);
    assert_eq!(supervisor.wait_exit(), 0);
}
