//! What a program gets from its supervisor, and what it must not get.

use std::os::unix::process::CommandExt;
use std::process::Command;
use std::time::Instant;

use nix::sys::resource::Resource;
use serde_json::{Map, Value, json};

use crate::common::scene::spawn;
use crate::common::{Need, Scene, missing, probe, process, tools};

/// Starts the supervisor with these signals blocked and those ignored.
fn start_with_signals(
    scene: &Scene,
    blocked: &[i32],
    ignored: &[i32],
) -> crate::common::Supervisor {
    let mut command = scene.command();
    let (blocked, ignored) = (blocked.to_vec(), ignored.to_vec());
    // SAFETY: async-signal-safe calls on live locals; nothing is allocated.
    unsafe {
        command.pre_exec(move || {
            let mut set = std::mem::zeroed();
            libc::sigemptyset(&mut set);
            for &signal in &blocked {
                libc::sigaddset(&mut set, signal);
            }
            for &signal in &ignored {
                libc::signal(signal, libc::SIG_IGN);
            }
            libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut());
            Ok(())
        });
    }
    scene.launch(command)
}

const CLEAN: &str = "0000000000000000";

#[track_caller]
fn assert_clean_signals(dump: &Map<String, Value>) {
    for set in ["SigBlk", "SigIgn", "SigCgt", "SigPnd", "ShdPnd"] {
        assert_eq!(dump["status"][set], CLEAN, "{set}");
    }
}

#[test]
fn m24_m28_blocked_signals_are_neither_kept_nor_passed_on() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; hold").add("crasher", "exit 3");
    let blocked = [
        libc::SIGTERM,
        libc::SIGCHLD,
        libc::SIGINT,
        libc::SIGUSR1,
        libc::SIGALRM,
    ];
    let supervisor = start_with_signals(&scene, &blocked, &[]);
    assert_clean_signals(&scene.wait_dump("dump"));
    assert_eq!(
        supervisor.wait_report("crasher", 1).code(),
        3,
        "a death is noticed"
    );
    let start = Instant::now();
    let reports = supervisor.end();
    assert!(
        start.elapsed().as_secs() < 5,
        "the stop took {:?}",
        start.elapsed()
    );
    let stopped = reports
        .iter()
        .find(|report| report.name() == "p")
        .expect("its report");
    assert_eq!(
        (stopped.signal(), stopped.stopping()),
        (Some("SIGTERM"), true)
    );
}

#[test]
fn m25_ignored_signals_are_neither_kept_nor_passed_on() {
    let mut scene = Scene::new();
    scene.add("p", "dump dump ; hold");
    // Who goes on writing to nobody is ended, and says nothing.
    scene.add_with("yes", "unread-pipe", json!({"restart": "never"}));
    let ignored = [
        libc::SIGPIPE,
        libc::SIGCHLD,
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGTERM,
    ];
    let supervisor = start_with_signals(&scene, &[], &ignored);
    assert_clean_signals(&scene.wait_dump("dump"));
    let report = supervisor.wait_report("yes", 1);
    assert_eq!(
        (report.signal(), report.data()),
        (Some("SIGPIPE"), Vec::new()),
        "{report:?}"
    );
    supervisor.end();
}

#[test]
fn m25_a_pipeline_of_the_shell_ends_without_a_word() {
    let mut scene = Scene::new();
    let yes = json!({"command": ["/bin/sh", "-c", "yes | head -1"], "restart": "never"});
    scene.add_raw("yes", yes);
    let report = start_with_signals(&scene, &[], &[libc::SIGPIPE])
        .ends_with(0)
        .remove(0);
    assert_eq!((report.code(), report.data()), (0, Vec::new()));
}

#[test]
fn a_program_has_its_own_session_group_and_directory() {
    let mut scene = Scene::new();
    scene.mkdir("data");
    scene.add("base", "dump dump ; hold");
    scene.add_with("own", "dump ../own ; hold", json!({"cwd": "data"}));
    let supervisor = scene.start();
    let base = scene.directory().canonicalize().expect("it exists");
    for (name, file, cwd) in [
        ("base", "dump", base.clone()),
        ("own", "own", base.join("data")),
    ] {
        let dump = scene.wait_dump(file);
        let pid = supervisor.wait_started(name, 1);
        assert_eq!(dump["pid"], pid);
        assert_eq!(dump["pgid"], pid);
        assert_eq!(dump["sid"], pid);
        assert_eq!(dump["ppid"], supervisor.inner_pid());
        assert_eq!(dump["cwd"], cwd.to_string_lossy().as_ref());
        assert_clean_signals(&dump);
    }
    supervisor.end();
}

#[test]
fn m133_nobody_thinks_that_systemd_talks_to_it() {
    let mut scene = Scene::new();
    let own = json!({"OWN": "set here", "SHARED": "by the program", "EMPTY": ""});
    scene.set(
        "defaults",
        json!({"env": {"DEFAULT": "d", "OWN": "overridden"}}),
    );
    scene.add_with("web.1", "dump dump ; hold", json!({"env": own}));
    let mut command = scene.command();
    let meant_for_us = [
        ("NOTIFY_SOCKET", "/run/systemd/notify"),
        ("LISTEN_PID", "1"),
        ("LISTEN_FDS", "1"),
        ("LISTEN_FDNAMES", "web"),
        ("WATCHDOG_USEC", "1000"),
        ("WATCHDOG_PID", "1"),
    ];
    command
        .envs(meant_for_us)
        .env("SHARED", "by the host")
        .env("INHERITED", "yes");
    command.env("PROCSCHED_PROGRAM", "somebody else");
    let supervisor = scene.launch(command);
    let dump = scene.wait_dump("dump");
    let env = &dump["env"];
    for (name, _) in meant_for_us {
        assert!(env.get(name).is_none(), "{name} was passed on");
    }
    assert_eq!(env["OWN"], "set here");
    assert_eq!(env["DEFAULT"], "d");
    assert_eq!(env["SHARED"], "by the program");
    assert_eq!(env["INHERITED"], "yes");
    assert_eq!(env["EMPTY"], "");
    assert_eq!(env["PROCSCHED_PROGRAM"], "web.1");
    supervisor.end();
}

#[test]
fn m135_the_limits_are_those_that_the_supervisor_was_started_with() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    for (resource, soft, hard) in [
        (Resource::RLIMIT_NOFILE, 64, 4096),
        (Resource::RLIMIT_CORE, 0, 1_000_000),
        (Resource::RLIMIT_NPROC, 5000, 6000),
    ] {
        scene.setting.limit(resource, soft, hard);
    }
    scene.set("error_handler", probe("dump handler"));
    scene
        .add("p", "dump dump ; hold")
        .add_with("no", "exit 1", json!({"restart": "never"}));
    let supervisor = scene.start();
    let dump = scene.wait_dump("dump");
    let mut plain = Command::new(tools::probe_path());
    plain.arg("dump plain").current_dir(scene.directory());
    scene.setting.apply(&mut plain, false);
    spawn(&mut plain)
        .and_then(|mut child| child.wait())
        .expect("the probe runs");
    let plain = scene.wait_dump("plain");
    assert_eq!(dump["limits"], plain["limits"]);
    assert_eq!(scene.wait_dump("handler")["limits"], plain["limits"]);
    let own = std::fs::read_to_string(format!("/proc/{}/limits", supervisor.pid()));
    let own = own.expect("it runs");
    let line = own
        .lines()
        .find(|line| line.starts_with("Max open files"))
        .expect("a line");
    let words: Vec<&str> = line.split_whitespace().collect();
    assert_eq!(words[3..5], ["4096", "4096"], "the binary raises its own");
    supervisor.end();
}

#[test]
fn a_stopped_program_is_not_a_dead_one() {
    let mut scene = Scene::new();
    scene.add("p", "forever { append ticks x\\n ; sleep 1 }");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("p", 1);
    for _ in 0..100 {
        process::signal(pid, libc::SIGSTOP);
        process::signal(pid, libc::SIGCONT);
    }
    let ticks = scene.lines("ticks").len();
    scene.wait_lines("ticks", ticks + 10);
    assert_eq!(supervisor.report_count(), 0);
    assert_eq!(supervisor.started("p"), [pid]);
    supervisor.end();
}
