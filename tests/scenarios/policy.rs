//! When a program is started again, and when that is the end of everything.

use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::levers::Gate;
use crate::common::{Report, Scene, probe, process, tools, wait_for};

fn delays(reports: &[Report]) -> Vec<f64> {
    reports.iter().filter_map(Report::retry_in).collect()
}

#[test]
fn the_policy_table() {
    let mut scene = Scene::new();
    let quick = json!({"initial": "1ms", "max": "1ms"});
    for policy in ["always", "on-failure", "never"] {
        for (end, script) in [
            ("clean", "exit 0"),
            ("crash", "exit 3"),
            ("signal", "sig KILL"),
        ] {
            let keys = json!({"restart": policy, "backoff": quick});
            scene.add_with(&format!("{policy}.{end}"), script, keys);
        }
        let keys = json!({"command": ["./no"], "restart": policy, "backoff": quick});
        scene.add_raw(&format!("{policy}.missing"), keys);
    }
    let supervisor = scene.start();
    let once = [
        "on-failure.clean",
        "never.clean",
        "never.crash",
        "never.signal",
        "never.missing",
    ];
    let again = [
        "always.clean",
        "always.crash",
        "always.signal",
        "always.missing",
        "on-failure.crash",
        "on-failure.signal",
        "on-failure.missing",
    ];
    for name in again {
        let reports = supervisor.wait_reports_of(name, 4);
        assert!(
            reports[..3]
                .iter()
                .all(|report| report.retry_in().is_some()),
            "{name}"
        );
    }
    for name in once {
        assert_eq!(supervisor.wait_report(name, 1).retry_in(), None, "{name}");
    }
    let reports = supervisor.end();
    for name in once {
        assert_eq!(
            reports
                .iter()
                .filter(|report| report.name() == name)
                .count(),
            1,
            "{name}"
        );
    }
}

#[test]
fn m101_the_default_delays_begin_with_one_second_and_double() {
    let mut scene = Scene::new();
    scene
        .add("crash", "stamp crash ; exit 1")
        .add("clean", "stamp clean ; exit 0");
    let supervisor = scene.start();
    for name in ["crash", "clean"] {
        let reports = supervisor.wait_reports_of(name, 3);
        assert_eq!(delays(&reports), [1.0, 2.0, 4.0], "{name}");
        let starts: Vec<u64> = scene
            .lines(name)
            .iter()
            .map(|line| line.parse().expect("nanoseconds"))
            .collect();
        let gaps: Vec<u64> = starts.windows(2).map(|pair| pair[1] - pair[0]).collect();
        assert!(
            gaps[0] >= 1_000_000_000 && gaps[0] < 1_900_000_000,
            "{name}: {gaps:?}"
        );
        assert!(
            gaps[1] >= 2_000_000_000 && gaps[1] < 3_900_000_000,
            "{name}: {gaps:?}"
        );
    }
    supervisor.end();
}

#[test]
fn m100_the_delay_doubles_to_its_cap_and_stays_there() {
    const RUNS: usize = 150;
    let mut scene = Scene::new();
    let backoff = json!({"initial": "1ms", "max": "9ms"});
    scene.add_with("p", "exit 1", json!({"backoff": backoff}));
    let supervisor = scene.start();
    let reports = supervisor.wait_reports(RUNS);
    let delays = delays(&reports);
    assert_eq!(delays[..5], [0.001, 0.002, 0.004, 0.008, 0.009]);
    assert!(
        delays[5..].iter().all(|&delay| delay == 0.009),
        "{delays:?}"
    );
    supervisor.end();
}

#[test]
fn a_run_that_lasted_resets_the_delay_and_waiting_does_not() {
    let mut scene = Scene::new();
    // The third delay alone is longer than what would reset it.
    let backoff = json!({"initial": "100ms", "max": "10s", "reset_after": "300ms"});
    let script = "count runs ; once 1 { exit 1 } ; once 2 { exit 1 } ; once 3 { exit 1 } ; \
                  once 4 { sleep 400 ; exit 1 } ; once 5 { exit 1 } ; hold";
    scene.add_with("p", script, json!({"backoff": backoff}));
    let supervisor = scene.start();
    let reports = supervisor.wait_reports(5);
    assert_eq!(delays(&reports), [0.1, 0.2, 0.4, 0.1, 0.2]);
    assert!(reports[3].seconds("uptime") >= 0.3);
    supervisor.end();
}

/// poll(2) may come back a little before its time, and whoever rounded down came earlier still.
#[test]
fn m98_a_restart_never_comes_early() {
    const PROGRAMS: usize = 4;
    let mut scene = Scene::new();
    let backoff = json!({"backoff": {"initial": "3ms", "max": "3ms"}, "report_bytes": 0});
    for index in 0..PROGRAMS {
        let script = format!("stamp starts{index} ; stamp ends{index} ; exit 1");
        scene.add_with(&format!("p{index}"), &script, backoff.clone());
    }
    let supervisor = scene.start();
    let restarts = tools::whole(1000, 10_000);
    for part in 1..=10 {
        supervisor.wait_reports(restarts * part / 10 + PROGRAMS);
    }
    supervisor.end();
    let read = |file: String| -> Vec<u64> {
        let lines = scene.lines(&file);
        lines.iter().filter_map(|line| line.parse().ok()).collect()
    };
    let mut compared = 0;
    for index in 0..PROGRAMS {
        let (starts, ends) = (read(format!("starts{index}")), read(format!("ends{index}")));
        for (start, end) in starts[1..].iter().zip(&ends) {
            assert!(*start >= end + 3_000_000, "{start} comes after {end}");
            compared += 1;
        }
    }
    assert!(compared >= restarts, "{compared} restarts");
}

#[test]
fn m94_a_deadline_that_passed_while_stopped_fires_once() {
    let mut scene = Scene::new();
    let backoff = json!({"initial": "300ms", "max": "300ms"});
    scene.add_with(
        "p",
        "once first { exit 1 } ; append up x\\n ; hold",
        json!({"backoff": backoff}),
    );
    let supervisor = scene.start();
    supervisor.wait_report("p", 1);
    supervisor.signal(libc::SIGSTOP);
    // The deadline has to pass while nobody looks: that is the point.
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(supervisor.started("p").len(), 1);
    supervisor.signal(libc::SIGCONT);
    scene.wait_lines("up", 1);
    supervisor.end();
    assert_eq!(scene.lines("up"), ["x"]);
}

/// What `run` ends with when an essential program ends like this.
fn code_of_essential(program: serde_json::Value) -> (i32, Vec<Report>) {
    let mut scene = Scene::new();
    let mut program = program;
    program["essential"] = json!(true);
    program["restart"] = json!("never");
    scene
        .add_raw("essential", program)
        .add("other", "touch up ; hold");
    let mut supervisor = scene.start();
    let code = supervisor.wait_exit();
    (code, supervisor.reports())
}

#[test]
fn the_end_of_an_essential_program_stops_the_rest_and_is_the_exit_code() {
    let script = |text: &str| json!({"command": probe(&format!("wait-file up ; {text}"))});
    let cases = [
        (script("exit 0"), 0, 0),
        (script("exit 7"), 7, 7),
        (script("exit 255"), 255, 255),
        (script("sig KILL"), 137, -9),
        (script("sig TERM"), 143, -15),
        (json!({"command": ["./no"]}), 127, 127),
        (json!({"command": ["/"]}), 126, 126),
    ];
    for (program, code, return_code) in cases {
        let shown = program.to_string();
        let (ended, reports) = code_of_essential(program);
        assert_eq!(ended, code, "{shown}");
        assert_eq!(reports[0].name(), "essential");
        assert_eq!(
            (reports[0].code(), reports[0].stopping()),
            (return_code, false),
            "{shown}"
        );
        let others = reports.iter().filter(|report| report.name() == "other");
        assert!(others.clone().all(Report::stopping), "{reports:?}");
    }
}

#[test]
fn an_essential_program_that_is_restarted_ends_nothing() {
    let mut scene = Scene::new();
    let keys = json!({
        "essential": true,
        "restart": "on-failure",
        "backoff": {"initial": "1ms", "max": "1ms"},
    });
    let script = "once 1 { exit 5 } ; once 2 { sig SEGV } ; wait-file go ; exit 0";
    scene.add_with("p", script, keys).add("other", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("p", 3);
    supervisor.wait_started("other", 1);
    scene.write("go", "");
    let reports = supervisor.ends_with(0);
    assert_eq!(reports.len(), 4, "{reports:?}");
    let codes: Vec<i64> = reports[..3].iter().map(Report::code).collect();
    assert_eq!(codes, [5, -11, 0]);
}

#[test]
fn a_stop_that_was_asked_for_is_code_0_whatever_the_programs_say() {
    let mut scene = Scene::new();
    scene.add_with(
        "p",
        "trap TERM ; touch up ; await TERM ; exit 9",
        json!({"essential": true}),
    );
    let supervisor = scene.start();
    scene.wait_file("up");
    let reports = supervisor.end();
    assert_eq!((reports[0].code(), reports[0].stopping()), (9, true));
}

#[test]
fn when_every_program_has_ended_for_good_so_does_the_supervisor() {
    let mut scene = Scene::new();
    scene.add_with("a", "exit 3", json!({"restart": "never"}));
    scene.add_with("b", "exit 0", json!({"restart": "on-failure"}));
    assert_eq!(scene.start().ends_with(1).len(), 2);
}

/// In the order in which their processes are made; on a busy machine one may overtake another on
/// the way to its exec.
#[test]
fn programs_start_in_the_order_of_the_config() {
    let mut scene = Scene::new();
    let names = ["zeta", "alpha", "mu", "beta", "omega", "a1", "a0"];
    names.iter().for_each(|name| _ = scene.add(name, "hold"));
    let supervisor = scene.start();
    let pids: Vec<i32> = names
        .iter()
        .map(|name| supervisor.wait_started(name, 1))
        .collect();
    // Numbers go up, until the highest is reached, once at most here.
    let descents = pids.windows(2).filter(|pair| pair[0] > pair[1]).count();
    assert!(descents <= 1, "{pids:?}");
    supervisor.end();
}

#[test]
fn m159_a_stop_in_a_storm_of_starts_is_heard() {
    let count = tools::whole(400, 2000);
    let mut scene = Scene::new();
    let mut gate = Gate::new(&scene, "gate");
    let quick = json!({"backoff": {"initial": "1ms", "max": "1ms"}, "report_bytes": 0});
    for index in 0..count {
        scene.add_with(&format!("p{index}"), "gate gate ; exit 1", quick.clone());
    }
    let mut supervisor = scene.start();
    supervisor.wait_started(&format!("p{}", count - 1), 1);
    gate.open();
    wait_for("the storm", || supervisor.report_count() > count);
    let start = Instant::now();
    assert_eq!(supervisor.stop(), 0);
    assert!(
        start.elapsed() < Duration::from_secs(10),
        "the stop took {:?}",
        start.elapsed()
    );
    let said = supervisor.messages();
    let first_stop = said
        .iter()
        .position(|line| line.contains(" stopping"))
        .unwrap_or(said.len());
    let late = said[first_stop..]
        .iter()
        .filter(|line| line.contains(" started "));
    assert_eq!(late.count(), 0, "started after the stop");
}

#[test]
fn m158_idle_programs_cost_no_wakeup() {
    let mut scene = Scene::new();
    let count = tools::whole(20, 100);
    for index in 0..count {
        scene.add(&format!("p{index}"), "append up x\\n ; hold");
    }
    let supervisor = scene.start();
    scene.wait_lines("up", count);
    let pid = supervisor.pid();
    let switches = || process::status_number(pid, "voluntary_ctxt_switches").expect("it runs");
    // Nothing happens, so there is no condition to wait for: silence itself is measured. It
    // begins when the last lines have been written.
    std::thread::sleep(Duration::from_secs(1));
    let before = switches();
    let silence = Duration::from_secs(tools::whole(4, 60) as u64);
    std::thread::sleep(silence);
    assert_eq!(switches() - before, 0, "woken in {silence:?} of silence");
    supervisor.end();
}

/// So many milliseconds that no `int` holds them were an error, an end, or a wait without one.
#[test]
fn m92_a_deadline_sixty_days_away_is_slept_for() {
    let mut scene = Scene::new();
    let backoff = json!({"backoff": {"initial": "1440h", "max": "1440h"}});
    scene.add_with("far", "exit 1", backoff);
    let supervisor = scene.start();
    assert_eq!(
        supervisor.wait_report("far", 1).retry_in(),
        Some(5_184_000.0)
    );
    let pid = supervisor.pid();
    let switches = || process::status_number(pid, "voluntary_ctxt_switches").expect("it runs");
    // Nothing happens, so there is no condition to wait for: silence itself is measured.
    std::thread::sleep(Duration::from_millis(500));
    let before = switches();
    std::thread::sleep(Duration::from_secs(1));
    assert_eq!(switches() - before, 0, "woken in a second of silence");
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["far", "backoff"]);
    assert_eq!(supervisor.end().len(), 1);
}

#[test]
fn m92_m93_extreme_values_neither_panic_nor_overflow() {
    let huge = u64::MAX;
    let mut scene = Scene::new();
    let extremes = [
        ("zero", json!({"initial": 0, "max": 0, "reset_after": 0})),
        (
            "tiny",
            json!({"initial": 1e-9, "max": 1e-9, "reset_after": 1e-9}),
        ),
        (
            "huge",
            json!({"initial": huge, "max": huge, "reset_after": huge}),
        ),
        (
            "mixed",
            json!({"initial": 0, "max": huge, "reset_after": 0}),
        ),
    ];
    for (name, backoff) in &extremes {
        let keys = json!({"backoff": backoff, "stop_timeout": huge});
        scene.add_with(name, "exit 1", keys);
    }
    let supervisor = scene.start();
    for (name, least) in [("zero", 20), ("tiny", 20), ("huge", 1), ("mixed", 20)] {
        supervisor.wait_reports_of(name, least);
    }
    let report = supervisor.wait_report("huge", 1);
    assert!(
        report.retry_in().is_some_and(|delay| delay >= 1.8e19),
        "{report:?}"
    );
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["huge", "backoff"]);
    assert_eq!(supervisor.messages_with(&["panick"]), [""; 0]);
    supervisor.end();
}
