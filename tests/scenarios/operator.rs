//! An operator at work: the commands of the binary against a supervisor that runs, end to end.

use std::io::{BufRead, BufReader};
use std::os::unix::fs::symlink;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use serde_json::{Value, json};

use crate::command_line::Said;
use crate::common::operator::{control, wait_state};
use crate::common::second_run::binary;
use crate::common::{
    Need, Scene, Supervisor, alive, missing, probe, process, second_run, wait_for,
};

/// A supervisor with its socket.
struct Running {
    scene: Scene,
    path: PathBuf,
    supervisor: Supervisor,
}

impl Running {
    #[track_caller]
    fn start(mut scene: Scene) -> Self {
        let path = control(&mut scene);
        let supervisor = scene.start();
        wait_for("a control socket", || path.exists());
        Self {
            scene,
            path,
            supervisor,
        }
    }

    /// Starts a command of the operator, with its outputs in pipes.
    fn spawn(&self, arguments: &[&str]) -> Child {
        let mut words = vec![binary().to_owned()];
        words.extend(arguments.iter().map(PathBuf::from));
        words.extend(["--socket".into(), self.path.clone()]);
        let mut command = self.scene.marked(&words);
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, _namespace) = self.scene.spawn(command).expect("a command can be started");
        child
    }

    /// Runs a command of the operator until it ends.
    fn run(&self, arguments: &[&str]) -> Said {
        said(self.spawn(arguments))
    }

    /// The pid of a program that runs.
    #[track_caller]
    fn pid(&self, name: &str) -> i64 {
        let program = wait_state(&self.supervisor, &self.path, name, "running");
        program["pid"].as_i64().expect("a pid")
    }

    #[track_caller]
    fn wait(&self, name: &str, state: &str) -> Value {
        wait_state(&self.supervisor, &self.path, name, state)
    }
}

/// A command that goes on until the test ends it.
struct Follower {
    child: Child,
    lines: Arc<Mutex<Vec<String>>>,
}

impl Follower {
    fn of(mut child: Child) -> Self {
        let stdout = child.stdout.take().expect("a pipe");
        let lines = Arc::<Mutex<Vec<String>>>::default();
        let kept = Arc::clone(&lines);
        std::thread::spawn(move || {
            for line in BufReader::new(stdout).lines().map_while(Result::ok) {
                let mut kept = kept.lock().unwrap_or_else(PoisonError::into_inner);
                kept.push(line);
            }
        });
        Self { child, lines }
    }

    fn lines(&self) -> Vec<String> {
        let lines = self.lines.lock();
        lines.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits for a line that ends so.
    #[track_caller]
    fn wait_line(&self, end: &str) {
        let is_there = || self.lines().iter().any(|line| line.ends_with(end));
        wait_for(&format!("a line that ends with {end:?}"), is_there);
    }
}

impl Drop for Follower {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn said(child: Child) -> Said {
    let output = child.wait_with_output().expect("it ends");
    let text = |bytes: Vec<u8>| String::from_utf8(bytes).expect("text");
    Said {
        code: output.status.code(),
        out: text(output.stdout),
        err: text(output.stderr),
    }
}

/// What came of a command, when nothing was complained about.
#[track_caller]
fn assert_fine(said: &Said, out: &str) {
    assert_eq!((said.code, &*said.out, &*said.err), (Some(0), out, ""));
}

/// What Prometheus reads, of programs in three states, and the exit code of `status`.
/// `logs -f web | head -1` and `events | head -1` went on until the next line came.
#[test]
fn what_follows_ends_when_its_reader_is_gone() {
    let mut scene = Scene::new();
    scene.add("web", "say up\\n ; hold");
    let running = Running::start(scene);
    running.pid("web");
    for arguments in [
        &["logs", "-f", "web"] as &[_],
        &["events"],
        &["status", "--watch=100ms"],
    ] {
        let mut child = running.spawn(arguments);
        let mut reader = BufReader::new(child.stdout.take().expect("a pipe"));
        let mut line = String::new();
        reader.read_line(&mut line).expect("a line");
        assert_ne!(line, "", "{arguments:?}");
        drop(reader);
        let said = said(child);
        assert_eq!(
            (said.code, said.err.as_str()),
            (Some(0), ""),
            "{arguments:?}"
        );
    }
    running.supervisor.end();
}

#[test]
fn logs_are_json_for_programs_and_followed_for_a_time() {
    let mut scene = Scene::new();
    scene.add_with(
        "web",
        "say a\\n\\xff\\n ; touch said ; hold",
        json!({"stdout": "log"}),
    );
    let running = Running::start(scene);
    running.scene.wait_file("said");
    let json = running.run(&["logs", "--json", "web"]);
    let lines: Vec<&str> = json.out.lines().collect();
    let expected = [
        r#"{"program":"web","stream":"stderr","line":"a"}"#,
        r#"{"program":"web","stream":"stderr","line_b64":"/w=="}"#,
    ];
    assert_eq!((lines.as_slice(), json.code), (&expected as &[_], Some(0)));
    let followed = running.run(&["logs", "-f", "-n", "0", "web", "--timeout", "300ms"]);
    assert_eq!((followed.code, followed.err.as_str()), (Some(124), ""));
    assert_eq!(followed.out, "");
    running.supervisor.end();
}

#[test]
fn metrics_have_each_program_and_no_sample_twice() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    scene.add_with("once", "exit 3", json!({"restart": "never"}));
    scene.add_with("down", "hold", json!({"autostart": false}));
    let running = Running::start(scene);
    running.pid("web");
    running.wait("once", "failed");
    let said = running.run(&["status", "--prometheus"]);
    assert_eq!((said.code, said.err.as_str()), (Some(3), ""));
    for line in [
        "procsched_program_state{program=\"web\",state=\"running\"} 1",
        "procsched_program_state{program=\"web\",state=\"failed\"} 0",
        "procsched_program_state{program=\"once\",state=\"failed\"} 1",
        "procsched_program_state{program=\"down\",state=\"stopped\"} 1",
        "procsched_program_up{program=\"web\"} 1",
        "procsched_program_up{program=\"once\"} 0",
        "procsched_program_starts_total{program=\"web\"} 1",
        "procsched_program_starts_total{program=\"once\"} 1",
        "procsched_program_starts_total{program=\"down\"} 0",
        "procsched_program_last_exit_code{program=\"once\"} 3",
        "procsched_log_dropped_bytes_total 0",
    ] {
        assert!(
            said.out.lines().any(|found| found == line),
            "{line}\n{}",
            said.out
        );
    }
    let samples = said.out.lines().filter(|line| !line.starts_with('#'));
    let mut series: Vec<&str> = samples
        .filter_map(|line| Some(line.rsplit_once(' ')?.0))
        .collect();
    let count = series.len();
    series.sort_unstable();
    series.dedup();
    assert_eq!(series.len(), count, "{}", said.out);
    let of_one = running.run(&["status", "web", "--prometheus"]);
    assert_eq!(of_one.code, Some(0));
    assert!(!of_one.out.contains("once"), "{}", of_one.out);
    running.supervisor.end();
}

#[test]
fn a_restart_of_one_program_leaves_the_others_alone() {
    let mut scene = Scene::new();
    for name in ["web", "db", "mail"] {
        scene.add(name, "hold");
    }
    let running = Running::start(scene);
    let before = ["web", "db", "mail"].map(|name| running.pid(name));
    let said = running.run(&["restart", "web"]);
    let after = ["web", "db", "mail"].map(|name| running.pid(name));
    assert_fine(&said, &format!("web: running, pid {}\n", after[0]));
    assert_ne!(before[0], after[0]);
    assert_eq!(before[1..], after[1..]);
    running.supervisor.end();
}

#[test]
fn what_is_stopped_stays_so_until_it_is_started() {
    let mut scene = Scene::new();
    scene.add("web", "hold").add("db", "hold");
    let running = Running::start(scene);
    let old = running.pid("web");
    let by = format!("by uid {}", nix::unistd::getuid());
    let stopped = running.run(&["stop", "web"]);
    assert_fine(&stopped, &format!("web: stopped, {by}\n"));
    assert!(!alive(i32::try_from(old).expect("a pid")));
    let all = running.run(&["status"]);
    assert_eq!(all.code, Some(0), "{}", all.out);
    let line = all.out.lines().find(|line| line.starts_with("web"));
    assert!(line.is_some_and(|line| line.ends_with(&by)), "{}", all.out);
    assert_eq!(running.run(&["status", "web"]).code, Some(3));
    let started = running.run(&["start", "web"]);
    let new = running.pid("web");
    assert_fine(&started, &format!("web: running, pid {new}\n"));
    let again = running.run(&["start", "web"]);
    assert_fine(&again, &format!("web: already running, pid {new}\n"));
    running.supervisor.end();
}

/// The new binary is there behind the same path, and a restart is the whole deployment.
#[test]
fn a_release_is_deployed_by_a_symlink_and_a_restart() {
    let mut scene = Scene::new();
    for release in ["v1", "v2"] {
        scene.mkdir(release);
        scene.copy_probe(&format!("{release}/app"));
    }
    let current = scene.path("current");
    symlink("v1", &current).expect("a link");
    scene.add_raw("web", json!(["./current/app", "touch ready ; hold"]));
    scene.add("db", "hold");
    let running = Running::start(scene);
    let executable = |pid: i64| {
        let pid = i32::try_from(pid).expect("a pid");
        std::fs::read_link(process::directory(pid).join("exe")).expect("its executable")
    };
    let db = running.pid("db");
    assert!(executable(running.pid("web")).ends_with("v1/app"));
    let next = running.scene.path("next");
    symlink("v2", &next).expect("a link");
    std::fs::rename(&next, &current).expect("one link replaces the other");
    assert_eq!(running.run(&["restart", "web"]).code, Some(0));
    // With the shell of a program that is executed, its name is known a moment later.
    let web = running.pid("web");
    wait_for("the new release", || executable(web).ends_with("v2/app"));
    assert_eq!(running.pid("db"), db);
    running.supervisor.end();
}

/// The later order wins, and who gave the earlier one learns why it was not carried out.
#[test]
fn of_two_opposite_orders_the_later_one_wins() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "2s"});
    scene.add_with("web", "ignore TERM ; touch deaf ; hold", keys);
    let running = Running::start(scene);
    running.scene.wait_file("deaf");
    let stop = running.spawn(&["stop", "web"]);
    running.wait("web", "stopping");
    let start = running.run(&["start", "web"]);
    let stop = said(stop);
    assert_eq!(stop.code, Some(1), "{}", stop.err);
    assert!(
        stop.err.contains("superseded: start by uid="),
        "{}",
        stop.err
    );
    assert_eq!(start.code, Some(0), "{}", start.err);
    assert_eq!(
        start.out,
        format!("web: running, pid {}\n", running.pid("web"))
    );
    running.supervisor.end();
}

#[test]
fn logs_are_followed_over_a_rotation_with_reopen() {
    let mut scene = Scene::new();
    scene.add("web", "say first\\n ; await HUP ; say second\\n ; hold");
    let running = Running::start(scene);
    let log = running.scene.log_path("web");
    wait_for("the first line", || running.scene.log("web") == b"first\n");
    let follower = Follower::of(running.spawn(&["logs", "-f", "web"]));
    // Before the rename: else it opens the new log, and never sees the old one.
    follower.wait_line("first");
    std::fs::rename(&log, log.with_extension("1")).expect("a rename");
    assert_fine(&running.run(&["reopen"]), "");
    wait_for("a new log", || log.exists());
    let signalled = running.run(&["signal", "HUP", "web", "--main"]);
    let sent = format!("web: sent, pid {}\n", running.pid("web"));
    assert_fine(&signalled, &sent);
    follower.wait_line("second");
    assert_eq!(follower.lines(), ["first", "second"]);
    drop(follower);
    running.supervisor.end();
}

/// It said that all was well, and the log stayed closed until its program was started again.
#[test]
fn a_log_that_cannot_be_opened_again_is_said_and_written_on() {
    let mut scene = Scene::new();
    scene.add(
        "web",
        "say one\\n ; await HUP ; say two\\n ; await HUP ; say three\\n ; hold",
    );
    let running = Running::start(scene);
    let log = running.scene.log_path("web");
    wait_for("the first line", || running.scene.log("web") == b"one\n");
    let (logs, away) = (
        log.parent().expect("its directory"),
        running.scene.path("away"),
    );
    std::fs::rename(logs, &away).expect("a rename");
    for _ in 0..2 {
        let said = running.run(&["reopen"]);
        assert_eq!(said.code, Some(1), "{}", said.err);
        assert!(said.err.contains("failed to open log"), "{}", said.err);
    }
    let signal = || {
        assert_eq!(
            running.run(&["signal", "HUP", "web", "--main"]).code,
            Some(0)
        )
    };
    signal();
    let old = away.join(log.file_name().expect("its name"));
    wait_for("the old file", || {
        std::fs::read(&old).is_ok_and(|text| text == b"one\ntwo\n")
    });
    std::fs::create_dir(logs).expect("a directory");
    assert_fine(&running.run(&["reopen"]), "");
    assert!(log.exists());
    signal();
    wait_for("the new file", || running.scene.log("web") == b"three\n");
    running.supervisor.end();
}

#[test]
fn each_exit_code_is_met() {
    let mut scene = Scene::new();
    let late = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add("web", "hold");
    scene.add_with("bad", "say no_database\\n ; exit 3", late.clone());
    scene.add_raw(
        "none",
        json!({"command": ["./no-such-file"], "backoff": late["backoff"]}),
    );
    let running = Running::start(scene);
    running.wait("web", "running");
    running.wait("bad", "backoff");
    running.wait("none", "backoff");
    let cases: [(&[&str], i32, &str); 12] = [
        (&["status", "web"], 0, ""),
        (&["status"], 3, ""),
        (
            &["status", "wbe"],
            4,
            "no program \"wbe\" (did you mean \"web\"?)",
        ),
        (
            &["start", "wbe"],
            5,
            "no program \"wbe\" (did you mean \"web\"?)",
        ),
        (&["stop", "x*"], 5, "x*"),
        (&["start"], 2, "missing program"),
        (&["start", "none"], 1, "no-such-file"),
        (&["signal", "HUP", "bad"], 1, "does not run"),
        (&["logs", "wbe"], 5, "no program \"wbe\""),
        (
            &["wait", "bad", "--timeout", "50ms"],
            124,
            "bad: still backoff after 50ms",
        ),
        (&["wait", "bad", "--for", "backoff"], 0, ""),
        (
            &["wait", "web", "bad", "--timeout", "50ms"],
            124,
            "bad: still backoff",
        ),
    ];
    for (arguments, code, expected) in cases {
        let said = running.run(arguments);
        assert_eq!(
            said.code,
            Some(code),
            "{arguments:?}: {}{}",
            said.out,
            said.err
        );
        assert!(said.err.contains(expected), "{arguments:?}: {}", said.err);
        assert_eq!(said.err.is_empty(), expected.is_empty(), "{}", said.err);
    }
    running.supervisor.end();
}

#[test]
fn each_order_that_waits_gives_up_after_its_timeout() {
    let mut scene = Scene::new();
    let keys = json!({"stop_timeout": "1h"});
    scene.add_with("slow", "ignore TERM ; touch ready ; hold", keys);
    let running = Running::start(scene);
    running.scene.wait_file("ready");
    // The last one removes it.
    let programs = json!({"web": probe("hold")});
    let config = json!({"err_dir": "logs", "control": "control.sock", "programs": programs});
    running.scene.write("procsched.json", config.to_string());
    for words in [
        "stop slow",
        "restart slow",
        "start slow",
        "wait slow --for=down",
        "reload",
        "shutdown",
    ] {
        let words: Vec<&str> = words.split(' ').chain(["--timeout", "50ms"]).collect();
        let said = running.run(&words);
        assert_eq!(said.code, Some(124), "{words:?}: {}", said.err);
        assert!(
            said.err.contains("still stopping"),
            "{words:?}: {}",
            said.err
        );
    }
    let said = running.run(&["shutdown", "--kill"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    running.supervisor.ends_with(0);
}

/// `shutdown` ended with 1, and `events` never.
#[test]
fn each_command_gives_up_after_its_timeout_if_the_supervisor_is_stopped() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let running = Running::start(scene);
    running.pid("web");
    running.supervisor.signal(libc::SIGSTOP);
    let given: Vec<(&str, Child)> = [
        "status",
        "status web --json",
        "start web",
        "stop web --no-wait",
        "restart web",
        "signal HUP web",
        "logs web",
        "logs web -f",
        "events",
        "wait web --for=down",
        "reload",
        "reload --dry-run",
        "reopen",
        "shutdown",
        "shutdown --no-wait",
    ]
    .into_iter()
    .map(|words| {
        let words_of: Vec<&str> = words.split(' ').chain(["--timeout", "50ms"]).collect();
        (words, running.spawn(&words_of))
    })
    .collect();
    for (words, child) in given {
        let said = said(child);
        let code = if words.starts_with("status") { 4 } else { 124 };
        assert_eq!(said.code, Some(code), "{words}: {}", said.err);
        assert_eq!(said.err.lines().count(), 1, "{words}: {}", said.err);
    }
    // What was ordered is carried out, whoever has given up.
    running.supervisor.signal(libc::SIGCONT);
    running.supervisor.ends_with(0);
}

/// It was waited for without a word for half a minute, and the state of the process was not looked at.
#[test]
fn a_stopped_supervisor_is_named_and_then_given_up() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let running = Running::start(scene);
    running.pid("web");
    running.supervisor.signal(libc::SIGSTOP);
    // From inside of another PID namespace its number is not known.
    let problem = match second_run::is_pid1() {
        true => {
            "the supervisor does not answer; see whether it is stopped or overloaded".to_owned()
        }
        false => {
            let pid = running.supervisor.pid();
            format!(
                "the supervisor does not answer: process {pid} is stopped; \"kill -CONT {pid}\" \
                 continues it"
            )
        }
    };
    let given = [("status", 4), ("logs web", 1), ("reopen", 1)].map(|(words, code)| {
        let words: Vec<&str> = words.split(' ').collect();
        (running.spawn(&words), code)
    });
    for (child, code) in given {
        let said = said(child);
        let waiting = format!("procsched-min: still waiting: {problem}\n");
        assert_eq!(said.err, format!("{waiting}procsched-min: {problem}\n"));
        assert_eq!(said.code, Some(code));
    }
    running.supervisor.signal(libc::SIGCONT);
    running.supervisor.end();
}

/// It is neither an end in time nor one too late.
#[test]
fn a_supervisor_that_is_killed_while_a_command_waits_is_said_to_be_gone() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let mut running = Running::start(scene);
    running.pid("web");
    running.supervisor.signal(libc::SIGSTOP);
    // Those of commands before may not be closed yet.
    let path = running.path.to_str().expect("text").to_owned();
    let connected = || {
        let sockets = std::fs::read_to_string("/proc/net/unix").expect("the list of sockets");
        sockets.lines().filter(|line| line.ends_with(&path)).count()
    };
    let before = connected();
    let words = ["status", "stop web", "reopen", "shutdown", "logs web"];
    let given = words.map(|words| {
        let words: Vec<&str> = words.split(' ').chain(["--timeout", "1h"]).collect();
        running.spawn(&words)
    });
    // A shutdown follows events, too.
    wait_for("a connection of each", || {
        connected() > before + words.len()
    });
    running.supervisor.spare_all();
    running.supervisor.signal(libc::SIGKILL);
    for (words, child) in words.iter().zip(given) {
        let said = said(child);
        let code = if *words == "status" { 4 } else { 1 };
        assert_eq!(said.code, Some(code), "{words}: {}", said.err);
        let problem = "the supervisor closed the connection";
        assert!(said.err.contains(problem), "{words}: {}", said.err);
    }
    assert_eq!(running.supervisor.wait_exit(), 128 + libc::SIGKILL);
}

#[test]
fn a_socket_of_others_may_not_be_used() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("web", "hold");
    scene.chmod("", 0o755);
    let mut running = Running::start(scene);
    running.wait("web", "running");
    running.scene.setting.user(65_534);
    for command in [["stop", "web"], ["status", "web"]] {
        let said = running.run(&command);
        assert_eq!(said.code, Some(4), "{}", said.err);
        assert!(said.err.contains("Permission denied"), "{}", said.err);
    }
    running.pid("web");
    running.supervisor.end();
}

#[test]
fn a_shutdown_returns_when_the_supervisor_has_ended() {
    let mut scene = Scene::new();
    scene.add(
        "web",
        "trap TERM ; touch ready ; await TERM ; touch stopped ; exit 0",
    );
    let mut running = Running::start(scene);
    running.scene.wait_file("ready");
    assert_fine(&running.run(&["shutdown"]), "");
    assert!(running.scene.path("stopped").exists());
    assert_eq!(running.supervisor.wait_exit(), 0);
    let said = running.run(&["reopen"]);
    assert_eq!(said.code, Some(7), "{}", said.err);
    assert_eq!(running.run(&["status"]).code, Some(4));
}

#[test]
fn events_show_orders_and_what_comes_of_them() {
    let mut scene = Scene::new();
    scene.add("web", "hold").add("db", "hold");
    let running = Running::start(scene);
    let (web, _) = (running.pid("web"), running.pid("db"));
    let follower = Follower::of(running.spawn(&["events", "web"]));
    follower.wait_line(&format!("web is running, pid {web}"));
    assert_eq!(running.run(&["restart", "db"]).code, Some(0));
    assert_eq!(running.run(&["restart", "web"]).code, Some(0));
    let new = running.pid("web");
    follower.wait_line(&format!("web started pid={new}"));
    let lines = follower.lines();
    let has_order = lines.iter().any(|line| line.contains(" web order "));
    assert!(has_order, "{lines:?}");
    assert!(lines.iter().all(|line| !line.contains(" db ")), "{lines:?}");
    drop(follower);
    running.supervisor.end();
}

/// What a start waits for is shown on a terminal only, and a pending one says why it cannot start.
#[test]
fn a_start_that_cannot_be_says_what_it_requires() {
    let mut scene = Scene::new();
    let once = json!({"oneshot": true});
    scene.add_with("migrate", "say no_database\\n ; exit 3", once);
    scene.add_raw(
        "web",
        json!({"command": probe("hold"), "requires": ["migrate"]}),
    );
    scene.add("db", "hold");
    let running = Running::start(scene);
    running.wait("migrate", "failed");
    running.wait("web", "pending");
    let status = running.run(&["status", "web"]);
    assert_eq!(status.code, Some(3));
    assert!(
        status.out.contains("requires migrate: failed"),
        "{}",
        status.out
    );
    let said = running.run(&["start", "migrate"]);
    assert_eq!(said.code, Some(1), "{}", said.err);
    assert!(
        said.err.contains("migrate: exited with code 3"),
        "{}",
        said.err
    );
    assert!(said.err.contains("no_database"), "{}", said.err);
    let mut supervisor = running.supervisor;
    assert_eq!(supervisor.stop(), 0);
}

#[test]
fn the_default_socket_is_found_by_the_config_alone() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let supervisor = scene.start();
    supervisor.wait_started("web", 1);
    let run = |directory: &Path, arguments: &[&str]| {
        let mut words = vec![binary().to_owned()];
        words.extend(arguments.iter().map(PathBuf::from));
        let mut command = scene.marked(&words);
        command
            .current_dir(directory)
            .env_remove("PROCSCHED_SOCKET");
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, _namespace) = scene.spawn(command).expect("a command can be started");
        said(child)
    };
    let config = scene.config_path();
    let config = config.to_str().expect("text");
    assert_eq!(
        run(Path::new("/"), &["status", "web", "-c", config]).code,
        Some(0)
    );
    assert_eq!(run(scene.directory(), &["status", "web"]).code, Some(0));
    // A config that is being edited does not hide its supervisor.
    scene.write("procsched.json", "{");
    let said = run(scene.directory(), &["status", "web"]);
    assert_eq!(said.code, Some(0), "{}", said.err);
    assert!(
        said.err.contains("warning: looking for the default socket"),
        "{}",
        said.err
    );
    supervisor.end();
}

/// What is new is started, what differs restarted, and the rest is left alone.
#[test]
fn a_reload_changes_what_differs_and_an_invalid_config_changes_nothing() {
    let mut scene = Scene::new();
    scene.add("web", "hold").add("db", "hold");
    let mut running = Running::start(scene);
    let (web, db) = (running.pid("web"), running.pid("db"));
    running.scene.add("cache", "hold");
    let config = running.scene.config();
    running.scene.write("procsched.json", &config);
    let dry = running.run(&["reload", "--dry-run"]);
    assert_fine(&dry, "+ cache     new, will be started\n= 2 unchanged\n");
    let reload = running.run(&["reload"]);
    assert_eq!((reload.code, &*reload.err), (Some(0), ""), "{}", reload.out);
    running.pid("cache");
    assert_eq!((running.pid("web"), running.pid("db")), (web, db));
    running
        .scene
        .write("procsched.json", config.replace("hold", "hold\"x"));
    let broken = running.run(&["reload"]);
    assert_eq!(broken.code, Some(2), "{}{}", broken.out, broken.err);
    assert!(broken.err.contains("procsched.json:"), "{}", broken.err);
    assert_eq!((running.pid("web"), running.pid("db")), (web, db));
    running.supervisor.end();
}

/// A scene of a user whose sockets are in a directory that it shares with others of this user.
fn scene_of_user(first: Option<&Scene>) -> Scene {
    let mut scene = Scene::new();
    scene.setting.user(64_335);
    scene.chmod("", 0o777);
    scene.add("web", "hold");
    match first {
        Some(first) => scene.show(first),
        None => {
            scene.mkdir("run");
            scene.chmod("run", 0o777);
        }
    }
    scene
}

/// Returns the line that introduces the supervisor of a scene, if it is the only one.
fn asking(running: &Supervisor, scene: &Scene) -> String {
    let (pid, config) = (running.inner_pid(), scene.config_path());
    let config = config.display();
    format!("procsched-min: asking supervisor {pid} of {config}\n")
}

/// Where no config says which one is meant, two are a question, and the one that answers is none.
#[test]
fn of_several_supervisors_one_has_to_be_chosen() {
    if missing(&[Need::Root]) {
        return;
    }
    let first = scene_of_user(None);
    let second = scene_of_user(Some(&first));
    let elsewhere = scene_of_user(Some(&first));
    let with_runtime = |mut command: std::process::Command| {
        command.env("XDG_RUNTIME_DIR", first.path("run"));
        command.env_remove("PROCSCHED_SOCKET");
        command
    };
    let start = |scene: &Scene| scene.launch(with_runtime(scene.command()));
    let run = |arguments: &[&str]| {
        let mut words = vec![binary().to_owned()];
        words.extend(arguments.iter().map(PathBuf::from));
        let mut command = with_runtime(elsewhere.marked(&words));
        command.current_dir(elsewhere.directory());
        command.stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        let (child, _namespace) = elsewhere.spawn(command).expect("a command can be started");
        said(child)
    };
    let mut killed = start(&first);
    killed.wait_started("web", 1);
    let only = run(&["status"]);
    assert_eq!((only.code, only.err), (Some(0), asking(&killed, &first)));
    let supervisor = start(&second);
    supervisor.wait_started("web", 1);
    for arguments in [&["status"][..], &["stop", "web"]] {
        let said = run(arguments);
        assert_eq!((said.code, &*said.out), (Some(2), ""), "{arguments:?}");
        let (head, list) = said.err.split_once('\n').expect("a list");
        let expected = "several supervisors run: choose one with --config or --socket";
        assert_eq!(head, format!("procsched-min: {expected}"));
        assert_eq!(list.lines().count(), 2, "{list}");
        let sockets = first.path("run/procsched");
        for (running, scene) in [(&killed, &first), (&supervisor, &second)] {
            let end = format!(
                ".sock\" pid={} config={:?}",
                running.inner_pid(),
                scene.config_path()
            );
            let is_it = |line: &&str| {
                line.starts_with(&format!("  \"{}/", sockets.display())) && line.ends_with(&end)
            };
            assert_eq!(list.lines().filter(is_it).count(), 1, "{list}");
        }
    }
    killed.spare_all();
    killed.signal(libc::SIGKILL);
    assert_eq!(killed.wait_exit(), 128 + libc::SIGKILL);
    let left = std::fs::read_dir(first.path("run/procsched")).expect("a directory");
    let is_socket = |entry: &std::io::Result<std::fs::DirEntry>| {
        let path = entry.as_ref().expect("an entry").path();
        path.extension()
            .is_some_and(|extension| extension == "sock")
    };
    assert_eq!(left.filter(is_socket).count(), 2, "one is stale");
    let said = run(&["stop", "web"]);
    let expected = asking(&supervisor, &second);
    assert_eq!((said.code, said.err), (Some(0), expected), "{}", said.out);
    supervisor.wait_message(&["web", "exited"]);
    supervisor.end();
}
