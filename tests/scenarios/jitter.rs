//! `backoff.jitter`: programs that died together come back one by one.

use serde_json::json;

use crate::common::Scene;
use crate::common::operator::{Operator, control};

/// Random delays were lost at the cap, where it matters most. Here each delay is at the cap.
#[test]
fn m107_chance_stretches_each_delay_at_the_cap_too() {
    const ENDS: usize = 12;
    let mut scene = Scene::new();
    let backoff = json!({"initial": "200ms", "max": "200ms", "jitter": 1});
    let script = "stamp starts ; exit 1";
    scene.add_with("p", script, json!({"backoff": backoff}));
    let supervisor = scene.start();
    let reports = supervisor.wait_reports_of("p", ENDS);
    supervisor.end();
    let is_nominal = |delay: Option<f64>| delay == Some(0.2);
    assert!(
        reports.iter().all(|report| is_nominal(report.retry_in())),
        "a report has the delay without it"
    );
    let starts = scene.lines("starts");
    let starts: Vec<u64> = starts.iter().filter_map(|line| line.parse().ok()).collect();
    let delays = starts
        .windows(2)
        .map(|pair| (pair[1] - pair[0]) as f64 / 1e9);
    let delays: Vec<f64> = delays.collect();
    assert!(delays.len() >= ENDS - 1, "{starts:?}");
    assert!(delays.iter().all(|&delay| delay >= 0.2), "{delays:?}");
    // Eleven delays without a quarter of what chance may add come once in 20 million runs.
    assert!(delays.iter().any(|&delay| delay >= 0.25), "{delays:?}");
}

/// All have the same delay; `status` shows when each of them really starts.
#[test]
fn programs_that_die_together_come_back_one_by_one() {
    const PROGRAMS: usize = 8;
    let mut scene = Scene::new();
    let socket = control(&mut scene);
    let backoff = json!({"initial": "1h", "max": "1h", "jitter": 0.5});
    scene.set("defaults", json!({"backoff": backoff}));
    for index in 0..PROGRAMS {
        scene.add(&format!("p{index}"), "exit 1");
    }
    let supervisor = scene.start();
    let reports = supervisor.wait_reports(PROGRAMS);
    let nominal = reports.iter().map(|report| report.retry_in());
    assert!(nominal.into_iter().all(|delay| delay == Some(3_600.0)));
    let answer = Operator::ask_once(&socket, &json!({"v": 1, "command": "status"}));
    let programs = answer.data.iter().filter_map(|line| line.get("program"));
    let mut delays: Vec<f64> = programs
        .filter_map(|program| program["retry_in"].as_f64())
        .collect();
    delays.sort_by(f64::total_cmp);
    assert_eq!(delays.len(), PROGRAMS, "{answer:?}");
    let [first, last] = [delays[0], delays[PROGRAMS - 1]];
    // A little of it has passed. All within a minute of the half hour come once in 10^9 runs.
    assert!(first > 3_500.0 && last <= 5_400.0, "{delays:?}");
    assert!(last - first > 60.0, "{delays:?}");
    supervisor.end();
}

/// A reload gives a running program another jitter, which counts from its next delay on.
#[test]
fn a_reload_changes_it_in_place() {
    let mut scene = Scene::new();
    let keys = |jitter: f64| json!({"backoff": {"initial": "1h", "max": "1h", "jitter": jitter}});
    scene.add_with("p", "hold", keys(0.0));
    let supervisor = scene.start();
    supervisor.wait_started("p", 1);
    scene.remove("p").add_with("p", "hold", keys(0.5));
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&["reload", "* p  changes in place: backoff.jitter"]);
    assert_eq!(supervisor.started("p").len(), 1);
    supervisor.end();
}
