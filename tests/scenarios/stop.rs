//! Stopping: the signal, the grace, the kill, and who is left.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::{FORKS, Gate, Tracer};
use crate::common::tools::whole;
use crate::common::{Need, Scene, Supervisor, missing, process, signal, wait_for};

/// The signals that a `record` wrote, without their moments.
pub fn recorded(scene: &Scene, file: &str) -> Vec<i32> {
    let lines = scene.lines(file);
    lines
        .iter()
        .skip(1)
        .filter_map(|line| line.split(' ').next()?.parse().ok())
        .collect()
}

/// Stops what records its signals and ends by none of them, with a `stop_timeout` that is never over:
/// once each of these files has this many lines, a second signal kills it. A slow machine has all the
/// time that it needs.
#[track_caller]
pub fn stop_recorders(scene: &Scene, supervisor: &mut Supervisor, files: &[&str], lines: usize) {
    supervisor.signal(libc::SIGTERM);
    for file in files {
        scene.wait_lines(file, lines);
    }
    // A second one that comes earlier is the same request.
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGINT);
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
}

#[test]
fn a_stop_is_sigterm_then_sigcont_and_not_more() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "2s"});
    scene.add_with("p", "record signals TERM CONT INT HUP USR1 QUIT", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    assert!(
        start.elapsed() >= Duration::from_secs(2),
        "the grace was cut short"
    );
    // Both may be pending together, and then the lower number is taken first: TERM is 15.
    assert_eq!(recorded(&scene, "signals"), [libc::SIGTERM, libc::SIGCONT]);
    let report = supervisor.reports().pop().expect("a report");
    assert_eq!((report.code(), report.stopping()), (-9, true));
    assert_eq!(report.retry_in(), None);
    supervisor.wait_message(&["p", "killed", "SIGKILL"]);
}

#[test]
fn the_stop_signal_is_the_programs_own() {
    let mut scene = Scene::new();
    let by = |signal: &str| json!({"stop_signal": signal});
    scene.add_with(
        "int",
        "trap INT ; touch int ; await INT ; exit 4",
        by("INT"),
    );
    scene.add_with(
        "usr1",
        "trap USR1 ; touch usr1 ; await USR1 ; exit 5",
        by("SIGUSR1"),
    );
    // The graceful stop of httpd, though it is ignored by default.
    let script = format!(
        "trap {0} ; touch winch ; await {0} ; exit 6",
        libc::SIGWINCH
    );
    scene.add_with("winch", &script, by("WINCH"));
    scene.add_with("kill", "ignore TERM ; touch kill ; hold", by("KILL"));
    let supervisor = scene.start();
    ["int", "usr1", "winch", "kill"]
        .iter()
        .for_each(|file| scene.wait_file(file));
    let reports = supervisor.end();
    let code = |name: &str| {
        let report = reports
            .iter()
            .find(|report| report.name() == name)
            .expect("a report");
        assert!(report.stopping());
        report.code()
    };
    assert_eq!((code("int"), code("usr1"), code("kill")), (4, 5, -9));
    assert_eq!(code("winch"), 6);
}

#[test]
fn a_stop_timeout_of_zero_kills_at_once() {
    let mut scene = Scene::new();
    scene.add_with(
        "p",
        "ignore TERM ; touch up ; hold",
        json!({"stop_timeout": 0}),
    );
    let supervisor = scene.start();
    scene.wait_file("up");
    let start = Instant::now();
    let reports = supervisor.end();
    assert_eq!((reports[0].code(), reports[0].stopping()), (-9, true));
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
}

#[test]
fn m110_a_stop_during_backoff_starts_nothing() {
    let mut scene = Scene::new();
    let backoff = json!({"initial": "32s", "max": "32s"});
    scene.add_with("p", "count runs ; exit 1", json!({"backoff": backoff}));
    let supervisor = scene.start();
    assert_eq!(supervisor.wait_report("p", 1).retry_in(), Some(32.0));
    let start = Instant::now();
    let reports = supervisor.end();
    assert!(
        start.elapsed() < Duration::from_secs(5),
        "it took {:?}",
        start.elapsed()
    );
    assert_eq!(
        reports.len(),
        1,
        "a program that waits has no run to report"
    );
    assert_eq!(scene.read("runs"), ".");
}

#[test]
fn m111_a_stop_between_fork_and_registration_leaves_nobody() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let backoff = json!({"initial": "1ms", "max": "1ms"});
    let script = "once first { gate gate ; exit 1 } ; pid second ; hold";
    scene.add_with("p", script, json!({"backoff": backoff}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let inject = format!("inject={FORKS}:delay_exit=1000000");
    let _tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", &inject]);
    gate.open();
    // The child runs already, while the supervisor is still on its way out of the fork.
    let pid = scene.wait_pid("second");
    assert_eq!(supervisor.started("p").len(), 1);
    assert_eq!(supervisor.stop(), 0);
    assert!(!process::alive(pid));
    let report = supervisor.reports().pop().expect("a report");
    assert_eq!((report.pid(), report.stopping()), (Some(pid), true));
}

#[test]
fn m112_a_second_signal_kills_and_the_deadline_never_moves() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1h"});
    scene.add_with("p", "record signals TERM INT", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("signals", 2);
    // The measure is the supervisor's: it had the first signal before its child did.
    std::thread::sleep(Duration::from_millis(250));
    assert!(supervisor.is_running());
    supervisor.signal(libc::SIGTERM);
    assert_eq!(supervisor.wait_exit(), 0, "killed at once, and as asked");
    assert_eq!(
        recorded(&scene, "signals"),
        [libc::SIGTERM],
        "TERM came once"
    );
    assert_eq!(supervisor.reports()[0].code(), -9);
}

#[test]
fn a_second_signal_within_200_ms_is_the_same_request() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1s"});
    scene.add_with("p", "record signals TERM INT", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    // Stopped meanwhile, it meets all three at the same moment, however slow the machine is.
    supervisor.signal(libc::SIGSTOP);
    for number in [libc::SIGTERM, libc::SIGINT, libc::SIGQUIT] {
        supervisor.signal(number);
    }
    let start = Instant::now();
    supervisor.signal(libc::SIGCONT);
    assert_eq!(supervisor.wait_exit(), 0);
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "it was killed before its time"
    );
    assert_eq!(supervisor.messages_with(&["p", "stopping pid="]).len(), 1);
}

#[test]
fn int_and_quit_stop_as_term_does() {
    for number in [libc::SIGINT, libc::SIGQUIT] {
        let mut scene = Scene::new();
        scene.add("p", "trap TERM ; touch up ; await TERM ; exit 0");
        let mut supervisor = scene.start();
        scene.wait_file("up");
        supervisor.signal(number);
        assert_eq!(supervisor.wait_exit(), 0);
        let report = supervisor.reports().pop().expect("a report");
        assert_eq!((report.code(), report.stopping()), (0, true), "{report:?}");
    }
}

#[test]
fn m113_no_other_signal_cancels_a_stop() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1s"});
    scene.add_with("p", "record signals TERM", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    let start = Instant::now();
    supervisor.signal(libc::SIGTERM);
    scene.wait_lines("signals", 2);
    for number in [libc::SIGHUP, libc::SIGUSR1, libc::SIGUSR2] {
        supervisor.signal(number);
    }
    supervisor.wait_message(&["p", "stopping", "pid="]);
    assert_eq!(supervisor.wait_exit(), 0);
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "the grace was cut short"
    );
    assert_eq!(recorded(&scene, "signals"), [libc::SIGTERM]);
}

#[test]
fn m114_m51_the_whole_group_is_waited_for_and_killed_at_the_deadline() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1s"});
    let member = |file: &str| format!("fork {{ ignore TERM ; pid {file} ; hold }}");
    let all = format!(
        "ignore TERM ; {} ; {} ; pid leader ; hold",
        member("m1"),
        member("m2")
    );
    scene.add_with("all", &all, keys.clone());
    let leader = format!(
        "trap TERM ; {} ; pid gone ; await TERM ; exit 0",
        member("m3")
    );
    scene.add_with("leaderless", &leader, keys);
    let supervisor = scene.start();
    let pids = ["m1", "m2", "leader", "m3", "gone"].map(|file| scene.wait_pid(file));
    let start = Instant::now();
    supervisor.signal(libc::SIGTERM);
    let report = supervisor.wait_report("leaderless", 1);
    assert_eq!(
        (report.code(), report.stopping()),
        (0, true),
        "told when it is reaped"
    );
    supervisor.wait_report("all", 1);
    let mut supervisor = supervisor;
    assert_eq!(supervisor.wait_exit(), 0);
    assert!(
        start.elapsed() >= Duration::from_secs(1),
        "the members' grace was cut short"
    );
    assert!(pids.iter().all(|&pid| !process::alive(pid)), "{pids:?}");
    for leader in [
        supervisor.started("all")[0],
        supervisor.started("leaderless")[0],
    ] {
        assert_eq!(process::members(leader), [0; 0]);
    }
    assert_eq!(supervisor.reports_of("all")[0].code(), -9);
    supervisor.wait_message(&["leaderless", "killed"]);
}

#[test]
fn members_that_obey_end_the_stop_before_its_deadline() {
    let mut scene = Scene::new();
    let script = "trap TERM ; fork { append member x\\n ; await TERM ; sleep 300 ; touch done } ; \
                  await TERM ; exit 0";
    scene.add_with("p", script, json!({"stop_timeout": "1h"}));
    let supervisor = scene.start();
    scene.wait_lines("member", 1);
    supervisor.end();
    assert!(scene.path("done").exists(), "the member had its time");
}

#[test]
fn m115_a_stopped_program_hears_the_stop() {
    let mut scene = Scene::new();
    scene.add_with(
        "p",
        "trap TERM ; touch up ; await TERM ; touch heard",
        json!({"stop_timeout": "1h"}),
    );
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    scene.wait_file("up");
    signal(pid, libc::SIGSTOP);
    wait_for("it to be stopped", || {
        process::stat(pid).is_some_and(|stat| stat.state == 'T')
    });
    let reports = supervisor.end();
    assert!(scene.path("heard").exists());
    assert_eq!(reports[0].code(), 0);
}

#[test]
fn m118_deaths_that_race_with_the_stop_are_no_error() {
    for round in 0..whole(12, 1000) {
        let mut scene = Scene::new();
        scene.set("control", json!(false));
        let quick = json!({"backoff": {"initial": 0, "max": 0}});
        for index in 0..10 {
            let script = format!("sleep {} ; exit 0", (index * 7 + round) % 23);
            scene.add_with(&format!("p{index}"), &script, quick.clone());
        }
        let mut supervisor = scene.start();
        supervisor.wait_reports(5 + round % 12 * 5);
        assert_eq!(supervisor.stop(), 0);
        assert_eq!(supervisor.messages_with(&["warning"]), [""; 0]);
        assert_eq!(supervisor.messages_with(&["failed"]), [""; 0]);
        let starts: usize = (0..10)
            .map(|i| supervisor.started(&format!("p{i}")).len())
            .sum();
        let mut reports = supervisor.reports();
        // One that had not executed its program yet was cancelled.
        reports.retain(|report| report.pid().is_some());
        assert_eq!(reports.len(), starts, "one report for each run");
    }
}

#[test]
fn m120_twenty_stubborn_programs_share_one_deadline() {
    let mut scene = Scene::new();
    for index in 0..20 {
        let script = "ignore TERM ; append up x\\n ; hold";
        scene.add_with(&format!("p{index}"), script, json!({"stop_timeout": "1s"}));
    }
    let supervisor = scene.start();
    scene.wait_lines("up", 20);
    let start = Instant::now();
    assert_eq!(supervisor.end().len(), 20);
    let took = start.elapsed();
    assert!(
        took >= Duration::from_secs(1) && took < Duration::from_secs(8),
        "it took {took:?}"
    );
}

#[test]
fn m52_a_stop_right_after_the_start_is_heard() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let backoff = json!({"initial": "1ms", "max": "1ms"});
    let script = "once first { gate gate ; exit 1 } ; hold";
    scene.add_with("p", script, json!({"backoff": backoff}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    // Long enough to be seen on a machine that is busy with other things.
    let inject = "inject=setsid:delay_enter=2000000";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-f", "-e", inject]);
    gate.open();
    wait_for("the second run to come to its setsid", || {
        process::children(supervisor.pid()).iter().any(|&child| {
            process::stat(child).is_some_and(|stat| stat.sid != child && stat.state != 'Z')
        })
    });
    assert_eq!(supervisor.stop(), 0);
    drop(tracer);
    assert_eq!(supervisor.descendants(), [0; 0]);
}

/// The program ended between the look and the kill, and "no such process" ended the supervisor.
/// Here the system says so although everybody is there: of the first signals of a stop nobody
/// hears, and the deadline makes up for them.
#[test]
fn m118_a_signal_that_finds_nobody_is_no_error() {
    if missing(&[Need::Strace]) {
        return;
    }
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    for name in ["a", "b"] {
        scene.add_with(
            name,
            "append up x\\n ; hold",
            json!({"stop_timeout": "300ms"}),
        );
    }
    let mut supervisor = scene.start();
    scene.wait_lines("up", 2);
    let inject = "inject=kill:error=ESRCH:when=1..4";
    let tracer = Tracer::attach(&scene, supervisor.pid(), &["-e", inject]);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(tracer.injected(), 4, "{:?}", tracer.lines());
    for wrong in ["warning", "failed", "abandoned"] {
        assert_eq!(supervisor.messages_with(&[wrong]), [""; 0]);
    }
    let codes: Vec<i64> = supervisor
        .reports()
        .iter()
        .map(|report| report.code())
        .collect();
    assert_eq!(codes, [-9, -9]);
}
