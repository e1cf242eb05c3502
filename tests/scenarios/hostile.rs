//! What nobody should do to a supervisor, and somebody does.

use std::process::Command;

use nix::sys::resource::Resource;
use serde_json::json;

use crate::common::{Need, Scene, missing, process};

fn set_limit(pid: i32, limit: &str) {
    let pid = pid.to_string();
    let status = Command::new("prlimit")
        .args(["--pid", &pid, &format!("--nofile={limit}")])
        .status();
    assert!(status.expect("prlimit").success(), "{limit}");
}

/// A stray SIGALRM, SIGPWR or real-time signal ended it, and left every program to itself.
#[test]
fn signals_that_mean_nothing_do_not_end_it() {
    let mut scene = Scene::new();
    scene.add("p", "hold");
    let mut supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    let stray = [
        libc::SIGALRM,
        libc::SIGVTALRM,
        libc::SIGPROF,
        libc::SIGIO,
        libc::SIGPWR,
        libc::SIGXCPU,
        libc::SIGSTKFLT,
        35,
        64,
    ];
    for (index, signal) in stray.into_iter().enumerate() {
        supervisor.signal(signal);
        let count = index + 1;
        supervisor.wait("a line for each", || {
            supervisor.messages_with(&["reserved"]).len() >= count
        });
    }
    assert!(process::alive(pid));
    assert_eq!(supervisor.stop(), 0);
}

/// With a limit below what is open, poll refuses to wait: the turns that do the rest must not
/// depend on it.
#[test]
fn a_limit_of_no_descriptors_holds_up_no_death_and_no_stop() {
    if missing(&[Need::Tool("prlimit")]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("p", "hold");
    scene.add_with("q", "hold", json!({"restart": "never"}));
    let mut supervisor = scene.start();
    supervisor.wait_started("p", 1);
    let pid = supervisor.wait_started("q", 1);
    let before = format!(":{}", 1024);
    set_limit(supervisor.pid(), &format!("0{before}"));
    process::signal(pid, libc::SIGKILL);
    supervisor.wait("the death is seen", || !process::alive(pid));
    set_limit(supervisor.pid(), &format!("1024{before}"));
    let report = supervisor.wait_report("q", 1);
    assert_eq!(report.code(), -9);
    set_limit(supervisor.pid(), &format!("0{before}"));
    assert_eq!(supervisor.stop(), 0);
}

/// What was taken away by the hard limit cannot be given back; the programs get what is left.
#[test]
fn a_hard_limit_that_was_lowered_fails_no_start() {
    if missing(&[Need::Tool("prlimit")]) {
        return;
    }
    let mut scene = Scene::new();
    scene.setting.limit(Resource::RLIMIT_NOFILE, 64, 128);
    let keys = json!({"backoff": {"initial": "10ms"}});
    scene.add_with("p", "dump limits ; hold", keys);
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    set_limit(supervisor.pid(), "100:100");
    process::signal(pid, libc::SIGKILL);
    supervisor.wait_started("p", 2);
    supervisor.end();
}

/// Linux 4.4 has none of these calls; what stands in for them must do the same.
#[test]
fn newer_system_calls_may_be_missing() {
    if missing(&[Need::Tool("strace")]) {
        return;
    }
    let mut scene = Scene::new();
    let stubborn = json!({"stop_timeout": "300ms"});
    scene
        .add("fds", "dump fds ; hold")
        // The first process obeys, and what it leaves behind does not.
        .add_raw(
            "group",
            json!({
                "command": ["sh", "-c", "(trap '' TERM; echo up >> ready; while :; do sleep 0.1; done) & wait"],
                "stop_timeout": "300ms",
            }),
        )
        .add_with("deaf", "ignore TERM ; append ready up\\n ; hold", stubborn);
    let calls = "close_range,pidfd_open,pidfd_send_signal";
    let inject = format!("inject={calls}:error=ENOSYS");
    let trace = format!("trace={calls}");
    let output = scene.path("strace");
    let output = output.to_str().expect("UTF-8");
    let wrapper = ["strace", "-f", "-o", output, "-e", &trace, "-e", &inject];
    let mut supervisor = scene.launch(scene.wrapped(&wrapper));
    supervisor.look_behind_wrapper();
    let dump = scene.wait_dump("fds");
    let numbers: Vec<&String> = dump["fds"].as_object().expect("an object").keys().collect();
    assert_eq!(numbers, ["0", "1", "2"]);
    scene.wait_lines("ready", 2);
    let reports = supervisor.end();
    assert_eq!(reports.len(), 3, "{reports:?}");
    let trace = scene.read("strace");
    for call in calls.split(',').take(2) {
        assert!(
            trace.contains(&format!("{call}(")),
            "{call} was not needed: {trace}"
        );
    }
}
