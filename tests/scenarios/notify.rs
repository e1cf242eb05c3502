//! The notification socket of a run: which messages are believed, and what a watchdog does.

use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use crate::common::operator::{control, status, wait_state};
use crate::common::{Need, Scene, Supervisor, missing, process};

/// A scene with a control socket.
fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    (scene, path)
}

/// Waits until a program says this of itself.
#[track_caller]
fn wait_status(supervisor: &Supervisor, path: &Path, name: &str, text: &str) -> Value {
    let mut found = Value::Null;
    supervisor.wait(&format!("{name}: {text}"), || {
        found = status(path, name);
        found["status_text"] == text
    });
    found
}

fn notify() -> Value {
    json!({"ready": "notify"})
}

#[test]
fn the_status_of_a_program_is_its_own_word_on_one_line() {
    let (mut scene, path) = scene();
    let script = "notify STATUS=starting\\sup ; wait-file go ; \
                  notify READY=1\\nSTATUS=a\\x1b[31m\\xff ; wait-file again ; notify STATUS= ; \
                  touch cleared ; hold";
    scene.add_with("web", script, notify());
    scene.add("other", "hold");
    let supervisor = scene.start();
    let web = wait_status(&supervisor, &path, "web", "starting up");
    assert_eq!(web["state"], "starting");
    scene.write("go", "");
    wait_state(&supervisor, &path, "web", "running");
    wait_status(&supervisor, &path, "web", "a\\u{1b}[31m\u{fffd}");
    scene.write("again", "");
    supervisor.wait("no status", || {
        status(&path, "web")["status_text"].is_null()
    });
    assert_eq!(status(&path, "other")["status_text"], Value::Null);
    supervisor.end();
}

/// Neither what was meant for the supervisor, nor what the config says, is the way to it.
#[test]
fn only_what_asks_for_a_socket_gets_one() {
    let (mut scene, path) = scene();
    let script = |name: &str| format!("dump {name}.given ; hold");
    let own = json!({"NOTIFY_SOCKET": "/own", "WATCHDOG_USEC": "1"});
    scene
        .add("plain", &script("plain"))
        .add_with("own", &script("own"), json!({"env": own.clone()}))
        .add_with(
            "ready",
            &script("ready"),
            json!({"ready": "notify", "env": own.clone()}),
        )
        .add_with("by-fd", &script("by-fd"), json!({"ready": {"fd": 3}}))
        .add_with(
            "watched",
            &script("watched"),
            json!({"watchdog": "1m30s", "env": own}),
        );
    let mut command = scene.command();
    command
        .env("NOTIFY_SOCKET", "@ours")
        .env("WATCHDOG_USEC", "7");
    command.env("WATCHDOG_PID", "1");
    let supervisor = scene.launch(command);
    let env = |name: &str| scene.wait_dump(&format!("{name}.given"))["env"].clone();
    for name in ["plain", "by-fd"] {
        let env = env(name);
        for variable in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert_eq!(env[variable], Value::Null, "{name}: {variable}");
        }
    }
    let env_own = env("own");
    assert_eq!(env_own["NOTIFY_SOCKET"], "/own");
    assert_eq!(env_own["WATCHDOG_USEC"], "1");
    let (ready, watched) = (env("ready"), env("watched"));
    let address = |env: &Value| {
        env["NOTIFY_SOCKET"]
            .as_str()
            .expect("an address")
            .to_owned()
    };
    for address in [address(&ready), address(&watched)] {
        assert!(address.starts_with('@') && address != "@ours", "{address}");
    }
    assert_ne!(address(&ready), address(&watched));
    assert_eq!(ready["WATCHDOG_USEC"], "1");
    assert_eq!(watched["WATCHDOG_USEC"], "90000000");
    assert_eq!(watched["WATCHDOG_PID"], Value::Null);
    wait_state(&supervisor, &path, "watched", "running");
    supervisor.end();
}

/// The message of a run that has ended was taken for one of the next.
#[test]
fn a_late_message_of_a_former_run_reaches_no_run() {
    let (mut scene, path) = scene();
    let script = "once first { notify-address old ; exit 1 } ; \
                  notify-at old result READY=1 ; notify STATUS=here ; hold";
    let quick = json!({"initial": "1ms", "max": "1ms"});
    scene.add_with("web", script, json!({"ready": "notify", "backoff": quick}));
    let supervisor = scene.start();
    let web = wait_status(&supervisor, &path, "web", "here");
    assert_eq!(web["state"], "starting");
    assert_eq!(scene.read("result"), "refused");
    supervisor.end();
}

/// Children of a program speak for it, and other users do not.
#[test]
fn a_message_counts_by_the_uid_of_its_sender() {
    if missing(&[Need::Root]) {
        return;
    }
    let (mut scene, path) = scene();
    let child = |does: &str| format!("fork {{ {does} notify READY=1 ; touch sent }} ; hold");
    let other = "fork { become 65534 ; repeat 3 { notify READY=1\\nSTATUS=no } ; touch other } ; \
                 wait-file other ; notify STATUS=here ; hold";
    scene
        .add_with("other", other, notify())
        .add_with("child", &child(""), notify())
        .add_with("session", &child("setsid ;"), notify());
    scene.chmod(".", 0o777);
    let supervisor = scene.start();
    let other = wait_status(&supervisor, &path, "other", "here");
    assert_eq!(other["state"], "starting");
    let said = "warning dropped a message of uid 65534 on its notification socket";
    supervisor.wait_message(&[" other ", said, "those of uid 0 count"]);
    assert_eq!(supervisor.messages_with(&[said]).len(), 1, "once a run");
    for name in ["child", "session"] {
        wait_state(&supervisor, &path, name, "running");
    }
    supervisor.end();
}

#[test]
fn a_message_has_4096_bytes_at_most_or_is_ignored_as_a_whole() {
    let (mut scene, path) = scene();
    let script = |bytes: u32| format!("notify-long {bytes} READY=1 ; notify STATUS=here ; hold");
    scene
        .add_with("fits", &script(4096), notify())
        .add_with("long", &script(4097), notify())
        .add_with("huge", &script(100_000), notify());
    let supervisor = scene.start();
    for (name, state) in [
        ("fits", "running"),
        ("long", "starting"),
        ("huge", "starting"),
    ] {
        let program = wait_status(&supervisor, &path, name, "here");
        assert_eq!(program["state"], state, "{name}");
    }
    supervisor.end();
}

/// All of it is taken in, a part each turn, and others are supervised meanwhile.
#[test]
fn a_flood_of_messages_delays_no_other_program() {
    const MESSAGES: u32 = 100_000;
    let (mut scene, path) = scene();
    let script = format!(
        "wait-file go ; touch begun ; notify-flood {MESSAGES} STATUS=flood ; touch over ; \
         notify READY=1\\nSTATUS=over ; hold"
    );
    let quick = json!({"initial": "1ms", "max": "1ms"});
    scene
        .add_with("noisy", &script, notify())
        .add_with(
            "quick",
            "append beats .\\n ; exit 1",
            json!({"backoff": quick}),
        )
        .add_with("web", "notify READY=1 ; hold", notify());
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "web", "running");
    scene.write("go", "");
    scene.wait_file("begun");
    let before = scene.lines("beats").len();
    supervisor.wait("three runs of another, or the end of the flood", || {
        scene.lines("beats").len() >= before + 3 || scene.path("over").exists()
    });
    assert!(
        scene.lines("beats").len() >= before + 3,
        "{}",
        supervisor.said()
    );
    assert_eq!(status(&path, "web")["state"], "running");
    wait_status(&supervisor, &path, "noisy", "over");
    wait_state(&supervisor, &path, "noisy", "running");
    supervisor.end();
}

#[test]
fn descriptors_that_come_with_messages_are_closed() {
    let (mut scene, path) = scene();
    let script = "notify READY=1\\nSTATUS=before ; wait-file go ; \
                  repeat 100 { notify-fds FDSTORE=1\\nSTATUS=during } ; notify STATUS=after ; hold";
    scene.add_with("web", script, notify());
    let supervisor = scene.start();
    wait_status(&supervisor, &path, "web", "before");
    let before = process::quiet_descriptor_kinds(supervisor.pid());
    scene.write("go", "");
    wait_status(&supervisor, &path, "web", "after");
    supervisor.wait("the former descriptors", || {
        process::descriptor_kinds(supervisor.pid()) == before
    });
    supervisor.end();
}

#[test]
fn a_program_that_does_not_trigger_its_watchdog_gets_abrt_and_then_kill() {
    let (mut scene, path) = scene();
    let keys = |time: &str| json!({"ready": "notify", "watchdog": time, "stop_timeout": "200ms", "restart": "never"});
    let silent = "notify READY=1 ; hold";
    scene
        .add_with("silent", silent, keys("300ms"))
        .add_with("deaf", &format!("ignore 6 ; {silent}"), keys("300ms"))
        .add_with(
            "hung",
            "notify READY=1 ; notify WATCHDOG=trigger ; hold",
            keys("1h"),
        )
        .add_with(
            "early",
            "notify WATCHDOG=trigger ; notify STATUS=here ; hold",
            keys("1h"),
        )
        .add_with(
            "at-once",
            "hold",
            json!({"watchdog": "300ms", "restart": "never"}),
        )
        .add_with("next", "hold", json!({"after": ["silent"]}));
    let supervisor = scene.start();
    for (name, signal) in [
        ("silent", "SIGABRT"),
        ("deaf", "SIGKILL"),
        ("hung", "SIGABRT"),
        ("at-once", "SIGABRT"),
    ] {
        let report = supervisor.wait_report(name, 1);
        assert_eq!(report.signal(), Some(signal), "{name}");
        assert_eq!(*report.get("cause"), "watchdog", "{name}");
        supervisor.wait_message(&[name, "stopping", "signal=SIGABRT", "cause=watchdog"]);
        let program = wait_state(&supervisor, &path, name, "failed");
        assert_eq!(program["last_exit"]["cause"], "watchdog");
    }
    // What is not up is not watched.
    let early = wait_status(&supervisor, &path, "early", "here");
    assert_eq!(early["state"], "starting");
    supervisor.end();
}

/// Each message begins the time anew: three of them take longer than one may.
#[test]
fn a_program_that_triggers_its_watchdog_goes_on() {
    let (mut scene, path) = scene();
    let script = "notify READY=1 ; repeat 3 { sleep 2500 ; notify WATCHDOG=1 } ; \
                  notify STATUS=here ; notify WATCHDOG=1 ; hold";
    let keys = json!({"ready": "notify", "watchdog": "6s"});
    scene.add_with("web", script, keys);
    let supervisor = scene.start();
    let web = wait_status(&supervisor, &path, "web", "here");
    assert_eq!(
        (&web["state"], &web["restarts"]),
        (&json!("running"), &json!(0))
    );
    supervisor.end();
}

/// A socket is there for the watchdog alone, and libraries that use it say `READY=1` too.
#[test]
fn a_message_does_not_make_ready_what_is_ready_by_something_else() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let forms = [
        ("aged", json!({"delay": "1h"})),
        ("written", json!({"fd": 3})),
        ("checked", json!({"command": ["false"]})),
    ];
    for (name, ready) in &forms {
        let keys = json!({"ready": ready, "watchdog": "1h"});
        scene.add_with(name, "notify READY=1\\nSTATUS=said ; hold", keys);
    }
    let supervisor = scene.start();
    for (name, _) in &forms {
        supervisor.wait("what it says", || {
            status(&path, name)["status_text"] == "said"
        });
        assert_eq!(status(&path, name)["state"], "starting", "{name}");
    }
    supervisor.end();
}
