//! Programs that cannot be started: a failed run of that program alone, with its own code.

use std::fs::OpenOptions;
use std::path::PathBuf;

use serde_json::json;

use crate::common::{Report, Scene, probe, process, tools, wait_for};

/// What every failed start has in common.
#[track_caller]
pub fn assert_failed_start(report: &Report, code: i64, words: &[&str]) {
    assert_eq!(report.code(), code, "{report:?}");
    assert_eq!(report.pid(), None, "{report:?}");
    assert_eq!(report.seconds("uptime"), 0.0, "{report:?}");
    assert_eq!(report.signal(), None, "{report:?}");
    assert_eq!(report.data(), b"", "{report:?}");
    assert!(!report.flag("core_dumped"), "{report:?}");
    for word in words {
        assert!(report.error().contains(word), "no {word:?} in {report:?}");
    }
}

#[test]
fn m1_what_cannot_be_executed_is_no_exit() {
    let mut scene = Scene::new();
    scene.mkdir("directory");
    scene.write("plain", "#!/bin/sh\n");
    scene.write_executable("orphan", "#!/nope/interpreter\n");
    scene.write_executable("text", "echo this is no program\n");
    let cases = [
        ("missing", "./missing", 127, "No such file or directory"),
        ("directory", "./directory", 126, "Permission denied"),
        ("plain", "./plain", 126, "Permission denied"),
        ("orphan", "./orphan", 127, "No such file or directory"),
        ("text", "./text", 126, "Exec format error"),
        ("below", "./plain/below", 127, "Not a directory"),
        (
            "nowhere",
            "no-such-command-anywhere",
            127,
            "not found in PATH",
        ),
    ];
    scene.add("steady", "hold");
    for (name, command, ..) in cases {
        scene.add_raw(name, json!([command]));
    }
    let mut command = scene.command();
    // All of it can be searched, whoever runs this test.
    command.env("PATH", "/usr/bin:/bin");
    let mut supervisor = scene.launch(command);
    let steady = supervisor.wait_started("steady", 1);
    for (name, command, code, word) in cases {
        let report = supervisor.wait_report(name, 1);
        assert_failed_start(&report, code, &[word, command.trim_start_matches("./")]);
        assert_eq!(report.retry_in(), Some(1.0), "{report:?}");
    }
    let descriptors = process::quiet_descriptor_kinds(supervisor.pid());
    for (name, _, code, word) in cases {
        let report = supervisor.wait_report(name, 2);
        assert_failed_start(&report, code, &[word]);
        assert_eq!(
            (report.retry_in(), report.count("restarts")),
            (Some(2.0), 1),
            "{report:?}"
        );
        assert_eq!(supervisor.started(name), [0; 0]);
    }
    let after = process::quiet_descriptor_kinds(supervisor.pid());
    assert_eq!(after, descriptors);
    assert_eq!(process::zombies(supervisor.pid()), [0; 0]);
    assert_eq!(
        supervisor.started("steady"),
        [steady],
        "the others are untouched"
    );
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn m2_a_missing_directory_is_not_a_missing_program() {
    let mut scene = Scene::new();
    scene.write_executable("dos", "#!/bin/sh\r\nexit 0\n");
    scene.add_raw(
        "cwd",
        json!({"command": ["/bin/true"], "cwd": "/nope/at/all"}),
    );
    scene.add_raw("dos", json!(["./dos"]));
    let supervisor = scene.start();
    let report = supervisor.wait_report("cwd", 1);
    assert_failed_start(&report, 125, &["/nope/at/all", "No such file or directory"]);
    let report = supervisor.wait_report("dos", 1);
    assert_failed_start(&report, 127, &["dos", "No such file or directory"]);
    supervisor.end();
}

/// Lets `programs` fail to start `rounds` times each and looks for descriptors left behind.
fn assert_no_descriptor_leak(scene: &mut Scene, programs: usize, rounds: usize) {
    let backoff = json!({"initial": 0, "max": "100ms"});
    for index in 0..programs {
        scene.add_raw(
            &format!("p{index}"),
            json!({"command": ["./no"], "backoff": backoff}),
        );
    }
    let supervisor = scene.start();
    supervisor.wait_reports(programs * 2);
    let before = process::quiet_descriptor_kinds(supervisor.pid());
    supervisor.wait_reports(programs * rounds);
    wait_for("no more descriptors than before", || {
        process::descriptor_kinds(supervisor.pid()).len() <= before.len()
    });
    for report in supervisor.end() {
        assert_failed_start(&report, 127, &["No such file or directory"]);
    }
}

#[test]
fn m3_failed_starts_leave_no_descriptor() {
    assert_no_descriptor_leak(&mut Scene::new(), 200, 25);
}

#[test]
fn m5_failed_starts_back_off_like_exits() {
    let mut scene = Scene::new();
    let backoff = json!({"initial": "100ms", "max": "500ms"});
    scene.add_raw(
        "missing",
        json!({"command": ["./missing"], "backoff": backoff}),
    );
    let supervisor = scene.start();
    let reports = supervisor.wait_reports(6);
    let delays: Vec<f64> = reports.iter().filter_map(Report::retry_in).collect();
    assert_eq!(delays[..6], [0.1, 0.2, 0.4, 0.5, 0.5, 0.5]);
    for pair in reports.windows(2) {
        let gap = pair[1].seconds("timestamp") - pair[0].seconds("timestamp");
        assert!(gap > 0.9 * pair[0].retry_in().unwrap_or(0.0), "{pair:?}");
    }
    supervisor.end();
}

#[test]
fn a_backoff_of_zero_does_not_make_failed_starts_spin() {
    let mut scene = Scene::new();
    let backoff = json!({"initial": 0, "max": 0});
    scene.add_raw(
        "missing",
        json!({"command": ["./missing"], "backoff": backoff}),
    );
    let supervisor = scene.start();
    for report in &supervisor.wait_reports(4) {
        assert_eq!(
            report.retry_in(),
            Some(0.1),
            "never sooner than 100 ms: {report:?}"
        );
    }
    supervisor.end();
}

#[test]
fn m6_a_program_that_is_being_written_is_tried_again() {
    let mut scene = Scene::new();
    scene.copy_probe("tool");
    let backoff = json!({"initial": "50ms", "max": "100ms"});
    let command = ["./tool", "append ran x\\n ; hold"];
    scene.add_raw("tool", json!({"command": command, "backoff": backoff}));
    let open = OpenOptions::new().append(true).open(scene.path("tool"));
    let writer = open.expect("a copy can be opened");
    let supervisor = scene.start();
    let report = supervisor.wait_report("tool", 1);
    assert_failed_start(&report, 126, &["Text file busy", "tool"]);
    drop(writer);
    supervisor.wait_started("tool", 1);
    scene.wait_lines("ran", 1);
    supervisor.end();
}

#[test]
fn m7_the_path_is_the_programs_own_and_a_slash_means_the_base_directory() {
    let mut scene = Scene::new();
    for place in ["a", "b", "data", "."] {
        scene.mkdir(place);
        scene.copy_probe(&format!("{place}/tool"));
    }
    let place = |name: &str| scene.path(name).to_string_lossy().into_owned();
    let (a, b) = (place("a"), place("b"));
    let script = |file: &str| format!("dump {} ; hold", place(file));
    let own = json!({"command": ["tool", script("own")], "env": {"PATH": &b}});
    let inherited = json!(["tool", script("inherited")]);
    let slash = json!({"command": ["./tool", script("slash")], "cwd": "data"});
    scene
        .add_raw("own", own)
        .add_raw("inherited", inherited)
        .add_raw("slash", slash);
    let mut command = scene.command();
    command.env("PATH", format!("{a}:/usr/bin:/bin"));
    let supervisor = scene.launch(command);
    for (name, tool) in [
        ("own", "b/tool"),
        ("inherited", "a/tool"),
        ("slash", "tool"),
    ] {
        let dump = scene.wait_dump(name);
        let executed = PathBuf::from(dump["executable"].as_str().expect("a string"));
        let expected = scene.path(tool).canonicalize().expect("it exists");
        assert_eq!(executed, expected, "{name}");
    }
    supervisor.end();
}

#[test]
fn an_argv0_with_a_slash_is_passed_resolved() {
    let mut scene = Scene::new();
    scene.mkdir("bin");
    std::os::unix::fs::symlink(tools::probe_path(), scene.path("bin/tool")).expect("a link");
    scene.add_raw(
        "tool",
        json!({"command": ["bin/tool", "dump ../dump ; hold"], "cwd": "bin"}),
    );
    let supervisor = scene.start();
    let dump = scene.wait_dump("dump");
    let argv0 = dump["argv"][0].as_str().expect("a string").to_owned();
    assert!(argv0.starts_with('/'), "{argv0}");
    let expected = scene
        .directory()
        .canonicalize()
        .expect("it exists")
        .join("bin/tool");
    assert_eq!(PathBuf::from(&argv0), expected);
    supervisor.end();
}

#[test]
fn m9_an_environment_that_is_too_big_is_a_failed_start() {
    let mut scene = Scene::new();
    let many: serde_json::Map<_, _> = (0..70)
        .map(|index| (format!("VARIABLE_{index}"), json!(format!("value {index}"))))
        .collect();
    scene.add_with("many", "dump many ; hold", json!({"env": many}));
    scene.add_with(
        "huge",
        "touch huge",
        json!({"env": {"HUGE": "x".repeat(200 * 1024)}}),
    );
    let supervisor = scene.start();
    let report = supervisor.wait_report("huge", 1);
    assert_failed_start(&report, 126, &["Argument list too long"]);
    assert_eq!(report.retry_in(), Some(1.0));
    let dump = scene.wait_dump("many");
    assert_eq!(dump["env"]["VARIABLE_0"], "value 0");
    assert_eq!(dump["env"]["VARIABLE_69"], "value 69");
    supervisor.end();
    assert!(!scene.path("huge").exists());
}

#[test]
fn a_failed_start_is_final_with_restart_never() {
    let mut scene = Scene::new();
    let never = |command: serde_json::Value| json!({"command": command, "restart": "never"});
    scene.add_raw("missing", never(json!(["./missing"])));
    scene.add_raw("fine", never(probe("touch ran")));
    let reports = scene.start().ends_with(1);
    assert_eq!(reports.len(), 2, "{reports:?}");
    let missing = reports
        .iter()
        .find(|report| report.name() == "missing")
        .expect("its report");
    assert_failed_start(missing, 127, &["missing"]);
    assert_eq!(missing.retry_in(), None);
    assert!(scene.path("ran").exists());
}
