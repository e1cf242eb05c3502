//! Starts that hang: between the creation of a process and its exec, anything may stop it. That
//! must hold up that program alone.

use std::fs::File;
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::common::init::init_of;
use crate::common::{Scene, Supervisor, probe, process, tools};

/// A copy of the probe that nobody can execute before this is dropped, or for 45 s: a lease
/// (fcntl(2)) lets an open(2), and so an exec, wait in the kernel.
fn lease(scene: &Scene, name: &str) -> File {
    const F_SETSIG: i32 = 10;
    let path = scene.copy_probe(name);
    let file = File::open(path).expect("a file");
    // SAFETY: plain numbers; the descriptor is open. A signal that is ignored tells of the end.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGWINCH);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
    file
}

/// The one line that USR1 prints of this program.
fn status_of(supervisor: &Supervisor, name: &str, state: &str) -> String {
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&[name, state])
}

/// `kill -STOP` and `kill -CONT` to the supervisor's group, as a terminal or a batch system sends
/// them, again and again while programs start: within seconds one was stopped between its creation
/// and its exec, in a session of its own that the CONT missed, and the supervisor waited for it in
/// the kernel for good. SIGTERM had no answer.
#[test]
fn stop_and_cont_to_the_group_while_programs_start_hang_nothing() {
    let mut scene = Scene::new();
    for index in 0..6 {
        let backoff = json!({"initial": 0, "max": 0});
        scene.add_with(&format!("p{index}"), "exit 0", json!({"backoff": backoff}));
    }
    let mut command = scene.command();
    command.process_group(0);
    let supervisor = scene.launch(command);
    supervisor.wait_reports(6);
    let group = supervisor.pid();
    for _ in 0..tools::whole(2_000, 50_000) {
        for signal in [libc::SIGSTOP, libc::SIGCONT] {
            // SAFETY: plain numbers; the group is that of a child that was not waited for.
            assert_eq!(unsafe { libc::kill(-group, signal) }, 0);
        }
        // Time for a start or two.
        std::thread::sleep(Duration::from_micros(500));
    }
    for name in (0..6).map(|index| format!("p{index}")) {
        let before = supervisor.reports_of(&name).len();
        supervisor.wait_reports_of(&name, before + 2);
    }
    supervisor.end();
}

/// A lease on one program's file: every other program stood still for 45 s.
#[test]
fn a_program_that_cannot_be_executed_yet_holds_up_that_program_alone() {
    let mut scene = Scene::new();
    let lease = lease(&scene, "leased");
    scene.add_raw("before", probe("exit 0"));
    scene.add_raw("leased", json!(["./leased", "say here\\n ; hold"]));
    scene.add_raw("after", probe("say there\\n ; exit 0"));
    let mut supervisor = scene.start();
    for name in ["before", "after"] {
        supervisor.wait_reports_of(name, 2);
    }
    status_of(&supervisor, "leased", "starting");
    supervisor.wait_message(&[
        "leased",
        "start delayed: pid",
        "has not executed its program",
    ]);
    assert_eq!(
        supervisor.messages_with(&["leased", "start delayed"]).len(),
        1
    );
    assert_eq!(supervisor.started("leased").len(), 0);
    drop(lease);
    supervisor.wait_started("leased", 1);
    scene.wait_lines("logs/leased.stderr.log", 1);
    status_of(&supervisor, "leased", "running");
    assert_eq!(supervisor.stop(), 0);
    let report = supervisor.wait_report("leased", 1);
    assert_eq!(report.data(), b"here\n");
    assert_eq!(report.signal(), Some("SIGTERM"));
}

/// A stop ends at once what has not even begun.
#[test]
fn a_stop_cancels_a_start_that_hangs() {
    let mut scene = Scene::new();
    let _lease = lease(&scene, "leased");
    let keys = json!({"command": ["./leased", "hold"], "stop_timeout": "1h"});
    scene.add_raw("leased", keys);
    scene.add("steady", "hold");
    let mut supervisor = scene.start();
    supervisor.wait_started("steady", 1);
    status_of(&supervisor, "leased", "starting");
    let asked = Instant::now();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    // A lease takes 45 s.
    assert!(
        asked.elapsed() < Duration::from_secs(30),
        "{}",
        supervisor.said()
    );
    let report = supervisor.wait_report("leased", 1);
    assert_eq!((report.code(), report.pid()), (125, None), "{report:?}");
    assert!(report.stopping(), "{report:?}");
    assert!(
        report.error().contains("cancelled by the stop"),
        "{report:?}"
    );
    assert_eq!(supervisor.strangers(), Vec::<String>::new());
}

/// It may be killed by hand as well, and is tried again like any other.
#[test]
fn a_start_that_is_killed_is_tried_again() {
    let mut scene = Scene::new();
    let lease = lease(&scene, "leased");
    let backoff = json!({"initial": "100ms", "max": "100ms"});
    let keys = json!({"command": ["./leased", "hold"], "backoff": backoff});
    scene.add_raw("leased", keys);
    let supervisor = scene.start();
    supervisor.wait_message(&["leased", "start delayed: pid"]);
    let children = process::children(supervisor.pid());
    let [child] = children[..] else {
        panic!("one child, and not {children:?}");
    };
    process::signal(child, libc::SIGKILL);
    let report = supervisor.wait_report("leased", 1);
    assert_eq!(report.signal(), Some("SIGKILL"), "{report:?}");
    drop(lease);
    supervisor.wait_started("leased", 2);
    supervisor.end();
}

/// The command that handles reports is started in the same way.
#[test]
fn an_error_handler_that_cannot_be_executed_yet_holds_up_nothing() {
    let mut scene = Scene::new();
    let lease = lease(&scene, "handler");
    scene.set("error_handler", json!(["./handler", "append handled x\\n"]));
    let backoff = json!({"initial": "10ms", "max": "10ms"});
    scene.add_with("p", "exit 1", json!({"backoff": backoff}));
    let supervisor = scene.start();
    supervisor.wait_reports_of("p", 20);
    assert!(!scene.path("handled").exists());
    drop(lease);
    scene.wait_lines("handled", 10);
    supervisor.end();
}

/// And `init` answers a signal while its command has not even begun.
#[test]
fn init_is_not_deaf_while_its_command_cannot_be_executed() {
    let scene = Scene::new();
    let _lease = lease(&scene, "leased");
    let leased = scene.path("leased");
    let command = [leased.to_str().expect("text"), "hold"];
    let mut init = scene.launch(init_of(&scene, &[], &["-v"], &command));
    init.wait_message(&["started"]);
    init.signal(libc::SIGTERM);
    assert_eq!(init.wait_exit(), 128 + libc::SIGTERM, "{}", init.said());
}
