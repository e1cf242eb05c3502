//! Why it stopped and why it died: what a person reads about it, in one line.

use std::time::Duration;

use serde_json::json;

use crate::common::pty::Pty;
use crate::common::{Scene, Supervisor, probe, second_run};

/// All lines that say why everything stops.
fn reasons(supervisor: &Supervisor) -> Vec<String> {
    let said = supervisor.messages_with(&["procsched-min ", " everything: "]);
    let without_time = |line: &String| line.split_once(' ').map(|(_, rest)| rest.to_owned());
    said.iter().filter_map(without_time).collect()
}

/// How this test is named as the sender of a signal.
fn me() -> String {
    let uid = nix::unistd::getuid();
    if second_run::is_pid1() {
        return format!("from outside of this PID namespace, uid {uid}");
    }
    format!("from pid {} uid {uid}", std::process::id())
}

/// Everything stopped one night, and nothing told that an operator's script had asked for it.
#[test]
fn a_shutdown_says_once_who_asked_for_it_and_who_lost_patience() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1h"});
    scene.add_with("deaf", "record signals TERM", keys);
    let mut supervisor = scene.start();
    scene.wait_lines("signals", 1);
    supervisor.signal(libc::SIGTERM);
    // At once, and so the same wish.
    supervisor.signal(libc::SIGINT);
    scene.wait_lines("signals", 2);
    std::thread::sleep(Duration::from_millis(250));
    supervisor.signal(libc::SIGINT);
    assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
    let said = reasons(&supervisor);
    assert_eq!(said.len(), 2, "{said:?}");
    let first = ["SIGTERM", "SIGINT"].map(|signal| {
        let me = me();
        format!("procsched-min stopping everything: {signal} {me}")
    });
    assert!(first.contains(&said[0]), "{said:?}");
    let last = format!("procsched-min killing everything: SIGINT {}", me());
    assert_eq!(said[1], last);
    // The reason stands before what follows from it.
    let lines = supervisor.messages();
    let place = |part: &str| lines.iter().position(|line| line.contains(part));
    assert!(place("stopping everything") < place("deaf stopping pid="));
    assert!(place("killing everything") < place("killed"));
}

#[test]
fn a_shutdown_by_an_essential_program_names_it_and_its_end() {
    let cases = [
        (json!(["exit 3"]), "ended with code 3", 3),
        (json!(["sig KILL"]), "ended with signal SIGKILL", 137),
        (json!(["exit 0"]), "ended with code 0", 0),
    ];
    for (script, end, code) in cases {
        let mut scene = Scene::new();
        let script = script[0].as_str().expect("a script");
        let keys = json!({"essential": true, "restart": "never"});
        scene.add_with("db", &format!("wait-file up ; {script}"), keys);
        scene.add("web", "touch up ; hold");
        let mut supervisor = scene.start();
        assert_eq!(supervisor.wait_exit(), code, "{}", supervisor.said());
        let expected = format!("procsched-min stopping everything: essential program db {end}");
        assert_eq!(reasons(&supervisor), [expected]);
        let lines = supervisor.messages();
        let place = |parts: [&str; 2]| {
            let is_it = |line: &String| parts.iter().all(|part| line.contains(part));
            lines.iter().position(is_it).expect("a line")
        };
        let why = place(["stopping", "everything"]);
        assert!(place(["db ", "exited"]) < why && why < place(["web ", "stopping"]));
    }
    let mut scene = Scene::new();
    let keys = json!({"command": ["./no-such-file"], "essential": true, "restart": "never"});
    scene.add_raw("db", keys);
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 127, "{}", supervisor.said());
    let expected = "procsched-min stopping everything: essential program db could not be started";
    assert_eq!(reasons(&supervisor), [expected]);
}

/// Whatever it makes of its stop signal: it ended with code 0, and so did the supervisor.
#[test]
fn an_essential_program_that_is_ended_for_a_fault_is_a_failure_with_a_cause() {
    const GRACEFUL: &str = "trap TERM ; await TERM ; exit 0";
    let late = json!({"ready": {"fd": 3}, "start_timeout": "3s", "restart": "never"});
    let oneshot = json!({"oneshot": true, "start_timeout": "3s"});
    let health = json!({"command": probe("exit 1"), "interval": "1s"});
    let health = json!({"health": health, "restart": "never"});
    let watchdog = json!({"watchdog": "3s", "restart": "on-failure", "max_restarts": 0});
    let limit = json!({"max_restarts": 0});
    let in_time = "not ready in time (start_timeout 3s)";
    let done = "not done in time (start_timeout 3s)";
    let unwell = "watchdog, max_restarts is 0";
    let zero = "max_restarts is 0";
    let cases = [
        (GRACEFUL, &late, "code 0", in_time),
        ("hold", &late, "signal SIGTERM", in_time),
        (GRACEFUL, &oneshot, "code 0", done),
        (GRACEFUL, &health, "code 0", "unhealthy"),
        (
            "trap ABRT ; await ABRT ; exit 0",
            &watchdog,
            "code 0",
            unwell,
        ),
        ("wait-file up ; exit 0", &limit, "code 0", zero),
    ];
    // All at a time: each takes as long as a trap may need to be set.
    let running = cases.map(|(script, keys, code, cause)| {
        let mut scene = Scene::new();
        let mut keys = keys.clone();
        keys["essential"] = json!(true);
        scene.add_with("db", script, keys);
        scene.add("web", "touch up ; hold");
        let supervisor = scene.start();
        (scene, supervisor, code, cause)
    });
    for (_scene, mut supervisor, code, cause) in running {
        assert_eq!(supervisor.wait_exit(), 1, "{}", supervisor.said());
        let expected = format!(
            "procsched-min stopping everything: essential program db ended with {code}: {cause}"
        );
        assert_eq!(reasons(&supervisor), [expected]);
        supervisor.wait_message(&["stopped code=1"]);
    }
}

#[test]
fn a_shutdown_by_the_terminal_and_an_end_by_itself_have_their_reasons() {
    let terminal = Pty::open();
    let mut scene = Scene::new();
    scene.add("p", "touch up ; hold");
    let mut command = scene.command();
    terminal.hold(&mut command);
    let mut supervisor = scene.launch_as_is(command);
    scene.wait_file("up");
    terminal.keys("\x03");
    assert_eq!(supervisor.wait_exit(), 0);
    let sender = if second_run::is_pid1() {
        "the kernel"
    } else {
        "the terminal"
    };
    terminal.wait_screen(&format!("stopping everything: SIGINT from {sender}"));

    let mut scene = Scene::new();
    scene.add_with("once", "exit 0", json!({"restart": "never"}));
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 0);
    let expected = "procsched-min stopping everything: every program has ended for good";
    assert_eq!(reasons(&supervisor), [expected]);
}

/// `on-failure` means what it says; the line said `restart=never`.
#[test]
fn a_success_that_is_not_restarted_is_no_restart_never() {
    let mut scene = Scene::new();
    scene.add_with("once", "exit 0", json!({"restart": "never"}));
    scene.add_with("job", "exit 0", json!({"restart": "on-failure"}));
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 0);
    let end = |name: &str| supervisor.wait_message(&[name, "exited", "code=0"]);
    assert!(end(" once ").ends_with(" restart=never"));
    assert!(end(" job ").ends_with(" not restarted: it succeeded"));
}

/// Whoever looked for the reason had to open a log of a gigabyte, or to decode the report.
#[test]
fn a_failure_shows_the_last_line_of_its_stderr() {
    let mut scene = Scene::new();
    let last = "say 1\\n\\n ; say no-database\\n\\n\\n ; ";
    let once = || json!({"restart": "never"});
    let ends = [
        ("fails", "exit 3", r#" code=3 "#, true),
        ("dies", "sig KILL", r#" signal=SIGKILL "#, true),
        ("succeeds", "exit 0", r#" code=0 "#, false),
    ];
    for (name, end, ..) in ends {
        scene.add_with(name, &format!("{last}{end}"), once());
    }
    scene.add_with("silent", "exit 3", once());
    let none = json!({"restart": "never", "report_bytes": 0});
    scene.add_with("secretive", &format!("{last}exit 3"), none);
    let mut supervisor = scene.start();
    assert_eq!(supervisor.wait_exit(), 1);
    let line = |name: &str, how: &str| supervisor.wait_message(&[name, " exited ", how]);
    for (name, _, how, is_shown) in ends {
        let line = line(name, how);
        assert_eq!(line.contains("last="), is_shown, "{line}");
        assert!(
            !is_shown || line.ends_with(r#" last="no-database""#),
            "{line}"
        );
    }
    for name in ["silent", "secretive"] {
        let line = line(name, "code=3");
        assert!(line.ends_with(" restart=never"), "{line}");
    }
}

/// An end that was asked for is no failure, unless it says so itself.
#[test]
fn a_stop_shows_the_last_line_of_what_failed_at_it_alone() {
    let mut scene = Scene::new();
    let last = "trap TERM ; say bye\\n ; append up x\\n ; await TERM ; ";
    let ends = [
        ("dies", "sig TERM", false),
        ("says", "exit 0", false),
        ("killed", "hold", false),
        ("fails", "exit 1", true),
        ("crashes", "abort", true),
    ];
    for (name, end, _) in ends {
        let keys = json!({"stop_timeout": "500ms"});
        scene.add_with(name, &format!("{last}{end}"), keys);
    }
    let mut supervisor = scene.start();
    scene.wait_lines("up", ends.len());
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    for (name, _, is_shown) in ends {
        let line = supervisor.wait_message(&[name, " exited "]);
        assert_eq!(line.ends_with(r#" last="bye""#), is_shown, "{line}");
        assert_eq!(line.contains("last="), is_shown, "{line}");
    }
}
