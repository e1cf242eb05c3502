//! Checks from outside: the probing forms of `ready`, and `health`.

use std::fs;
use std::net::TcpListener;
use std::os::fd::{AsRawFd, OwnedFd};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;

use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, SockaddrIn, bind, getsockname, listen, socket,
};
use serde_json::{Value, json};

use crate::common::levers::Gate;
use crate::common::operator::{control, status, wait_state};
use crate::common::{Scene, Supervisor, alive, probe, process, wait_for};

/// A port of 127.0.0.1 that is taken, and refuses connections until something listens on it.
struct Port {
    socket: OwnedFd,
    number: u16,
}

impl Port {
    fn new() -> Self {
        let flags = SockFlag::SOCK_CLOEXEC;
        let made = socket(AddressFamily::Inet, SockType::Stream, flags, None);
        let socket = made.expect("a socket");
        let any = SockaddrIn::new(127, 0, 0, 1, 0);
        bind(socket.as_raw_fd(), &any).expect("a port");
        let bound: SockaddrIn = getsockname(socket.as_raw_fd()).expect("its name");
        let number = bound.port();
        Self { socket, number }
    }

    fn address(&self) -> String {
        format!("127.0.0.1:{}", self.number)
    }

    fn listen(self) -> TcpListener {
        listen(&self.socket, Backlog::new(128).expect("a length")).expect("it listens");
        self.socket.into()
    }
}

/// Soon again, and patient with a machine that is busy.
fn quick(mut check: Value) -> Value {
    let object = check.as_object_mut().expect("a check is an object");
    object.insert("interval".to_owned(), json!("20ms"));
    object.entry("timeout").or_insert(json!("60s"));
    check
}

fn ready(check: Value) -> Value {
    json!({"ready": quick(check), "start_timeout": 0})
}

fn health(check: Value) -> Value {
    json!({"health": quick(check)})
}

/// Waits until the health of a program is this.
#[track_caller]
fn wait_health(supervisor: &Supervisor, path: &Path, name: &str, health: &Value) {
    supervisor.wait(&format!("{name} {health}"), || {
        status(path, name)["health"] == *health
    });
}

/// How often a program has come up.
fn ups(supervisor: &Supervisor, name: &str) -> usize {
    let messages = supervisor.messages();
    let is_up = |line: &&String| line.split_whitespace().skip(1).eq([name, "up"]);
    messages.iter().filter(is_up).count()
}

/// Waits for this many runs of a check that counts them.
#[track_caller]
fn wait_count(scene: &Scene, name: &str, count: usize) {
    wait_for(&format!("{count} in {name}"), || {
        scene.read(name).len() >= count
    });
}

#[test]
fn a_program_is_up_when_its_port_is_open() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let port = Port::new();
    scene.add_with("db", "hold", ready(json!({"connect": port.address()})));
    scene.add_with("web", "hold", json!({"requires": ["db"]}));
    let never = json!({"command": probe("count tries ; exit 1")});
    scene.add_with("other", "hold", ready(never));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "starting");
    let web = status(&path, "web");
    assert_eq!(web["state"], "pending");
    assert_eq!(web["reason"], "requires db: starting");
    let listener = port.listen();
    wait_state(&supervisor, &path, "db", "running");
    supervisor.wait_started("web", 1);
    // The other program has the same interval.
    let tries = scene.read("tries").len();
    wait_count(&scene, "tries", tries + 10);
    listener.set_nonblocking(true).expect("it does not wait");
    let accepted = listener.incoming().take_while(Result::is_ok).count();
    assert_eq!(accepted, 1, "asked no more once it was up");
    assert_eq!(ups(&supervisor, "db"), 1);
    supervisor.end();
}

/// The path is relative to the base directory, and the socket may come at any time.
#[test]
fn a_program_is_up_when_its_socket_is_there() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add_with("db", "hold", ready(json!({"connect": "./db.sock"})));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "starting");
    scene.write("db.sock", "a file of another kind");
    fs::remove_file(scene.path("db.sock")).expect("it was written");
    let listener = UnixListener::bind(scene.path("db.sock")).expect("a socket");
    wait_state(&supervisor, &path, "db", "running");
    drop(listener);
    supervisor.end();
}

/// A program that accepts nothing does not answer, whatever its kernel takes in its place.
#[test]
fn a_socket_with_a_full_queue_is_not_ready() {
    let mut scene = Scene::new();
    let listener = UnixListener::bind(scene.path("db.sock")).expect("a socket");
    listen(&listener, Backlog::new(0).expect("a length")).expect("a shorter queue");
    // One more than the length has a place.
    let first = UnixStream::connect(scene.path("db.sock")).expect("a place");
    let mut keys = ready(json!({"connect": "./db.sock"}));
    keys["start_timeout"] = json!("500ms");
    keys["restart"] = json!("never");
    scene.add_with("db", "hold", keys.clone());
    // Its next start is in the turn of its end.
    keys["restart"] = json!("always");
    keys["backoff"] = json!({"initial": 0, "max": 0});
    scene.add_with("again", "hold", keys);
    let supervisor = scene.start();
    supervisor.wait_message(&[" again ", "warning not ready:", "readiness probe"]);
    let report = supervisor.wait_report("db", 1);
    assert_eq!(report.text("cause"), Some("start-timeout"), "{report:?}");
    let text = supervisor.wait_message(&[" db ", "warning not ready:", "readiness probe"]);
    let end = "/./db.sock\": Resource temporarily unavailable";
    assert!(text.ends_with(end), "{text}");
    drop((first, listener));
    supervisor.end();
}

#[test]
fn a_program_is_up_when_a_command_has_succeeded() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let command = probe("count tries ; unless ok { exit 3 }");
    scene.add_with("db", "hold", ready(json!({"command": command})));
    scene.add_with("web", "hold", json!({"requires": ["db"]}));
    let supervisor = scene.start();
    wait_count(&scene, "tries", 3);
    assert_eq!(status(&path, "db")["state"], "starting");
    assert!(supervisor.started("web").is_empty());
    scene.write("ok", "");
    wait_state(&supervisor, &path, "db", "running");
    supervisor.wait_started("web", 1);
    let warnings = supervisor.messages_with(&["warning"]);
    assert!(
        warnings.is_empty(),
        "a try that fails is no news: {warnings:?}"
    );
    supervisor.end();
}

#[test]
fn a_command_runs_as_its_program_does() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.mkdir("data");
    let mut keys = ready(json!({"command": probe("dump ../dump")}));
    keys["cwd"] = json!("data");
    keys["env"] = json!({"MODE": "prod"});
    keys["watchdog"] = json!("1h");
    scene.add_with("db", "hold", keys);
    let supervisor = scene.start();
    let dump = scene.wait_dump("dump");
    wait_state(&supervisor, &path, "db", "running");
    assert_eq!((&dump["sid"], &dump["pgid"]), (&dump["pid"], &dump["pid"]));
    let cwd = scene.path("data").canonicalize().expect("it exists");
    assert_eq!(dump["cwd"], cwd.to_string_lossy().as_ref());
    let nothing = json!({"0": "/dev/null", "1": "/dev/null", "2": "/dev/null"});
    assert_eq!(dump["fds"], nothing);
    assert_eq!(dump["env"]["MODE"], "prod");
    assert_eq!(dump["env"]["PROCSCHED_PROGRAM"], "db");
    assert_eq!(dump["env"].get("WATCHDOG_USEC"), None, "it has no socket");
    for set in ["SigBlk", "SigIgn", "SigCgt"] {
        assert_eq!(dump["status"][set], "0000000000000000", "{set}");
    }
    supervisor.end();
}

/// Each try is ended, and the next comes; nothing else has to wait. It is reported once a run.
#[test]
fn a_command_that_hangs_or_floods_is_killed_and_reported_once() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let timed = |script: &str| {
        let check = json!({"command": probe(script), "timeout": "100ms"});
        ready(check)
    };
    scene.add_with(
        "hangs",
        "hold",
        timed("ignore TERM ; count hung ; pid hanging ; hold"),
    );
    scene.add_with("floods", "hold", timed("count flooded ; endless lines"));
    scene.add("calm", "hold");
    let supervisor = scene.start();
    wait_count(&scene, "hung", 4);
    wait_count(&scene, "flooded", 4);
    wait_state(&supervisor, &path, "calm", "running");
    for name in ["hangs", "floods"] {
        assert_eq!(status(&path, name)["state"], "starting");
        let parts = [&*format!(" {name} "), "warning"];
        supervisor.wait_message(&parts);
        let told = supervisor.messages_with(&parts);
        assert_eq!(told.len(), 1, "{told:?}");
        let text =
            "readiness probe failed: its command took longer than 100ms and was killed, pid=";
        assert!(told[0].contains(text), "{told:?}");
    }
    assert_eq!(scene.log("floods"), b"", "its output is not the program's");
    let pid = scene.wait_pid("hanging");
    supervisor.end();
    assert!(!alive(pid));
}

/// What it leaves in its group is killed at its end. What has left that belongs to the program, and
/// ends with it.
#[test]
fn what_a_command_leaves_behind_ends() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let script = "fork { pid member ; hold } ; escape { pid escaped ; hold } ; \
                  wait-file member ; wait-file escaped";
    scene.add_with("db", "hold", ready(json!({"command": probe(script)})));
    let supervisor = scene.start();
    wait_state(&supervisor, &path, "db", "running");
    let member = scene.wait_pid("member");
    wait_for("the end of the member", || !alive(member));
    let escaped = scene.wait_pid("escaped");
    assert!(alive(escaped));
    supervisor.end();
    assert!(!alive(escaped));
}

#[test]
fn a_command_that_cannot_be_executed_is_reported_once_a_run() {
    let mut scene = Scene::new();
    scene.write("plain", "no program");
    let check = |command: &str| {
        let mut keys = ready(json!({"command": [command]}));
        keys["start_timeout"] = json!("500ms");
        keys["restart"] = json!("never");
        keys
    };
    scene.add_with("missing", "hold", check("./missing"));
    scene.add_with("plain", "hold", check("./plain"));
    let supervisor = scene.start();
    for (name, why) in [
        ("missing", "No such file or directory"),
        ("plain", "Permission denied"),
    ] {
        let report = supervisor.wait_report(name, 1);
        assert_eq!(report.text("cause"), Some("start-timeout"), "{report:?}");
        let parts = [
            &*format!(" {name} "),
            "warning readiness probe failed: failed to execute",
            why,
        ];
        supervisor.wait_message(&parts);
        assert_eq!(supervisor.messages_with(&parts).len(), 1);
        supervisor.wait_message(&[&format!(" {name} "), "warning not ready: ", why]);
    }
    supervisor.ends_with(1);
}

/// Its restart is its policy's matter, and what requires it goes on.
#[test]
fn an_unhealthy_program_is_ended_and_started_again() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let mut keys = health(json!({"command": probe("unless sick { exit 0 } ; exit 7")}));
    keys["backoff"] = json!({"initial": 0, "max": 0});
    scene.add_with("db", "hold", keys);
    scene.add_with("web", "hold", json!({"requires": ["db"]}));
    scene.add("other", "hold");
    let supervisor = scene.start();
    wait_health(&supervisor, &path, "db", &json!("healthy"));
    assert_eq!(status(&path, "other")["health"], Value::Null);
    let web = supervisor.wait_started("web", 1);
    scene.write("sick", "");
    let text = supervisor.wait_message(&[" db ", "warning unhealthy:"]);
    let end = "unhealthy: 3 health checks in a row failed, the last: its command ended with code 7";
    assert!(text.ends_with(end), "{text}");
    let report = supervisor.wait_report("db", 1);
    assert_eq!(report.text("cause"), Some("unhealthy"), "{report:?}");
    assert_eq!(report.signal(), Some("SIGTERM"));
    assert!(!report.stopping() && report.retry_in().is_some());
    fs::remove_file(scene.path("sick")).expect("it was written");
    wait_health(&supervisor, &path, "db", &json!("healthy"));
    let db = status(&path, "db");
    assert_eq!(db["last_exit"]["cause"], "unhealthy");
    assert!(db["restarts"].as_u64() >= Some(1), "{db}");
    let all = supervisor.started("web");
    assert_eq!(all, [web], "it went on");
    assert!(alive(web));
    supervisor.end();
}

#[test]
fn a_success_between_failures_begins_the_count_anew() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    // Each third succeeds.
    let script = "count checks ; every 3 thirds { exit 0 } ; exit 1";
    scene.add_with("db", "hold", health(json!({"command": probe(script)})));
    let supervisor = scene.start();
    wait_count(&scene, "checks", 12);
    assert_eq!(status(&path, "db")["state"], "running");
    assert!(supervisor.messages_with(&["warning"]).is_empty());
    assert_eq!(supervisor.started("db").len(), 1);
    supervisor.end();
}

#[test]
fn the_health_of_a_port_is_its_connection() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let port = Port::new();
    let mut keys = health(json!({"connect": port.address(), "retries": 2}));
    keys["restart"] = json!("never");
    let listener = port.listen();
    let address = listener.local_addr().expect("its name");
    scene.add_with("db", "hold", keys);
    let supervisor = scene.start();
    wait_health(&supervisor, &path, "db", &json!("healthy"));
    drop(listener);
    let report = supervisor.wait_report("db", 1);
    assert_eq!(report.text("cause"), Some("unhealthy"), "{report:?}");
    let text = supervisor.wait_message(&[" db ", "warning unhealthy: 2 health checks"]);
    let end = format!("failed to connect to {address}: Connection refused");
    assert!(text.ends_with(&end), "{text}");
    supervisor.ends_with(1);
}

/// A status says how often it has failed so far.
#[test]
fn a_failing_program_is_not_yet_an_unhealthy_one() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let mut check = json!({"command": probe("once first { exit 1 } ; wait-file go ; exit 1")});
    check["retries"] = json!(3);
    scene.add_with("db", "hold", health(check));
    let supervisor = scene.start();
    wait_health(&supervisor, &path, "db", &json!({"failing": 1}));
    assert_eq!(status(&path, "db")["state"], "running");
    scene.write("go", "");
    supervisor.wait_message(&[" db ", "warning unhealthy: 3 health checks"]);
    supervisor.end();
}

#[test]
fn sixteen_checks_are_under_way_at_a_time() {
    const PROGRAMS: usize = 40;
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let mut gate = Gate::new(&scene, "gate");
    let script = "append log in\\n ; gate gate ; append log out\\n";
    for index in 0..PROGRAMS {
        let keys = ready(json!({"command": probe(script)}));
        scene.add_with(&format!("p{index}"), "hold", keys);
    }
    let supervisor = scene.start();
    supervisor.wait_started(&format!("p{}", PROGRAMS - 1), 1);
    scene.wait_lines("log", 16);
    assert_eq!(status(&path, "p39")["state"], "starting");
    gate.open();
    let lines = scene.wait_lines("log", 2 * PROGRAMS);
    let (mut underway, mut most) = (0_i32, 0);
    for line in &lines {
        underway += if line == "in" { 1 } else { -1 };
        most = most.max(underway);
    }
    assert_eq!((most, underway), (16, 0), "{lines:?}");
    for index in 0..PROGRAMS {
        wait_state(&supervisor, &path, &format!("p{index}"), "running");
    }
    assert!(
        supervisor.messages_with(&["warning"]).is_empty(),
        "no failure"
    );
    supervisor.end();
}

/// Neither its end nor its stop waits for a check, and nothing of one is left.
#[test]
fn a_stop_ends_the_checks_that_are_under_way() {
    let mut scene = Scene::new();
    let stubborn = "ignore TERM ; append pids %p\\n ; fork { ignore TERM ; hold } ; hold";
    let check = json!({"command": probe(stubborn)});
    scene.add_with("starts", "hold", ready(check.clone()));
    scene.add_with("runs", "hold", health(check));
    let supervisor = scene.start();
    let pids = scene.wait_lines("pids", 2);
    let reports = supervisor.end();
    assert_eq!(reports.len(), 2, "a check has no report");
    for pid in pids {
        assert!(!alive(pid.parse().expect("a pid")));
    }
}

/// A check that was begun for one run says nothing of the next.
#[test]
fn a_check_ends_with_its_run() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let mut keys = ready(json!({"command": probe("append pids %p\\n ; wait-file ok")}));
    keys["backoff"] = json!({"initial": 0, "max": 0});
    scene.add_with("db", "hold", keys);
    let supervisor = scene.start();
    let first: i32 = scene.wait_lines("pids", 1)[0].parse().expect("a pid");
    process::signal(supervisor.wait_started("db", 1), libc::SIGKILL);
    supervisor.wait_started("db", 2);
    scene.wait_lines("pids", 2);
    assert!(!alive(first));
    assert_eq!(status(&path, "db")["state"], "starting");
    scene.write("ok", "");
    wait_state(&supervisor, &path, "db", "running");
    // The message comes another way than the state.
    supervisor.wait("word of it", || ups(&supervisor, "db") > 0);
    assert_eq!(ups(&supervisor, "db"), 1, "of the second run");
    supervisor.end();
}

#[track_caller]
fn reload(scene: &Scene, supervisor: &Supervisor, expected: &str) {
    scene.write("procsched.json", scene.config());
    supervisor.signal(libc::SIGHUP);
    supervisor.wait_message(&[expected]);
}

#[test]
fn a_reload_changes_health_in_place() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("db", "hold");
    let supervisor = scene.start();
    let pid = supervisor.wait_started("db", 1);
    assert_eq!(status(&path, "db")["health"], Value::Null);
    let change = |scene: &mut Scene, keys: Value| {
        scene.remove("db");
        scene.add_with("db", "hold", keys);
    };
    change(&mut scene, health(json!({"command": probe("touch first")})));
    reload(&scene, &supervisor, "* db  changes in place: health");
    wait_health(&supervisor, &path, "db", &json!("healthy"));
    scene.wait_file("first");
    let hanging = json!({"command": probe("pid hanging ; hold"), "timeout": "60s"});
    change(&mut scene, health(hanging));
    reload(&scene, &supervisor, "* db  changes in place: health");
    let hanging = scene.wait_pid("hanging");
    // A check that is under way ends with its definition.
    scene.remove("db");
    scene.add("db", "hold");
    reload(&scene, &supervisor, "* db  changes in place: health");
    wait_for("the end of the check", || !alive(hanging));
    assert_eq!(status(&path, "db")["health"], Value::Null);
    assert_eq!(supervisor.started("db"), [pid]);
    supervisor.end();
}

/// After hundreds of checks of each kind, good ones and bad ones.
#[test]
fn checks_leave_no_descriptor_and_no_zombie() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let port = Port::new();
    let refused = Port::new();
    let mut add = |name: &str, check: Value| {
        let mut check = check;
        check["retries"] = json!(1_000_000);
        let mut keys = health(check);
        keys["health"]["interval"] = json!("1ms");
        scene.add_with(name, "hold", keys);
    };
    add("connects", json!({"connect": port.address()}));
    add("refused", json!({"connect": refused.address()}));
    add("passes", json!({"command": probe("count passed")}));
    add("fails", json!({"command": probe("count failed ; exit 1")}));
    add(
        "hangs",
        json!({"command": probe("count hung ; hold"), "timeout": "50ms"}),
    );
    add("missing", json!({"command": ["./missing"]}));
    let listener = port.listen();
    let accepted = std::thread::spawn(move || listener.incoming().take(300).count());
    let supervisor = scene.start();
    wait_health(&supervisor, &path, "passes", &json!("healthy"));
    for name in ["passed", "failed"] {
        wait_count(&scene, name, 20);
    }
    let before = process::quiet_descriptor_kinds(supervisor.pid());
    for (name, count) in [("passed", 150), ("failed", 150), ("hung", 20)] {
        wait_count(&scene, name, count);
    }
    wait_for("300 connections", || accepted.is_finished());
    assert_eq!(accepted.join().expect("it ends"), 300);
    let after = process::quiet_descriptor_kinds(supervisor.pid());
    assert_eq!(after, before);
    wait_for("no zombie", || {
        process::zombies(supervisor.pid()).is_empty()
    });
    supervisor.end();
}
