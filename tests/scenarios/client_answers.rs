//! The commands to a supervisor, against one that the test plays: what they ask, what they print,
//! and that no answer makes them wait for ever, grow or lie.

use std::io::{BufRead, BufReader, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixListener, UnixStream};
use std::os::unix::process::ExitStatusExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use serde_json::{Value, json};

use crate::command_line::{Said, run};
use crate::common::second_run::{self, binary};
use crate::common::{Need, Scene, missing, process, wait_for};

/// What a played supervisor does with one request.
enum Reply {
    /// Says this, and closes.
    Say(Vec<u8>),
    /// Says this, and nothing more until the client closes.
    Hold(Vec<u8>),
    /// Says this again and again until the client closes.
    Repeat(Vec<u8>),
}

/// A supervisor that is played.
struct Played {
    path: PathBuf,
    requests: Arc<Mutex<Vec<Value>>>,
    /// How many replies were written whole; a reader may have some of the last bytes still to read.
    written: Arc<AtomicUsize>,
    is_over: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl Played {
    /// Answers each connection by its number, counted from 0, and its request.
    fn start(
        scene: &Scene,
        answer: impl Fn(usize, &Value) -> Reply + Send + Sync + 'static,
    ) -> Self {
        let path = scene.path("control.sock");
        let _ = std::fs::remove_file(&path);
        let listener = UnixListener::bind(&path).expect("a socket");
        let requests = Arc::<Mutex<Vec<Value>>>::default();
        let is_over = Arc::new(AtomicBool::new(false));
        let written = Arc::<AtomicUsize>::default();
        let counted = Arc::clone(&written);
        let (kept, over) = (Arc::clone(&requests), Arc::clone(&is_over));
        let answer = Arc::new(answer);
        let thread = std::thread::spawn(move || {
            let mut players = Vec::new();
            for (number, stream) in listener.incoming().enumerate() {
                let stream = stream.expect("a connection");
                if over.load(Ordering::Relaxed) {
                    break;
                }
                let (kept, answer) = (Arc::clone(&kept), Arc::clone(&answer));
                let counted = Arc::clone(&counted);
                players.push(std::thread::spawn(move || {
                    play(stream, &kept, &counted, |request| answer(number, request));
                }));
            }
            players.into_iter().for_each(|player| drop(player.join()));
        });
        Self {
            path,
            requests,
            written,
            is_over,
            thread: Some(thread),
        }
    }

    /// One that answers every request with this, and closes.
    fn saying(scene: &Scene, lines: impl Into<Vec<u8>>) -> Self {
        let lines = lines.into();
        Self::start(scene, move |_, _| Reply::Say(lines.clone()))
    }

    /// Runs a command on it until it ends.
    fn run(&self, scene: &Scene, arguments: &[&str]) -> Said {
        let path = self.path.to_str().expect("text");
        run(scene, &[arguments, &["--socket", path]].concat())
    }

    /// Starts a command on it, whose stdout is a pipe.
    fn spawn(&self, scene: &Scene, arguments: &[&str]) -> Running {
        let mut words = vec![binary().to_owned()];
        words.extend(arguments.iter().map(PathBuf::from));
        words.extend(["--socket".into(), self.path.clone()]);
        let mut command = scene.marked(&words);
        command.stdin(Stdio::null()).stdout(Stdio::piped());
        Running::of(scene, command)
    }

    fn requests(&self) -> Vec<Value> {
        let requests = self.requests.lock();
        requests.unwrap_or_else(PoisonError::into_inner).clone()
    }
}

impl Drop for Played {
    fn drop(&mut self) {
        self.is_over.store(true, Ordering::Relaxed);
        let _ = UnixStream::connect(&self.path);
        let ended = self.thread.take().map(JoinHandle::join);
        assert!(std::thread::panicking() || matches!(ended, Some(Ok(()))));
    }
}

/// Plays one connection.
fn play(
    stream: UnixStream,
    kept: &Mutex<Vec<Value>>,
    written: &AtomicUsize,
    answer: impl Fn(&Value) -> Reply,
) {
    let mut reader = BufReader::new(stream.try_clone().expect("a descriptor"));
    let mut line = String::new();
    if !matches!(reader.read_line(&mut line), Ok(1..)) {
        return; // It was only looked whether anything is there.
    }
    let request = serde_json::from_str(&line).expect("a request is JSON");
    let reply = answer(&request);
    kept.lock()
        .unwrap_or_else(PoisonError::into_inner)
        .push(request);
    let mut stream = stream;
    match reply {
        Reply::Say(bytes) => drop(stream.write_all(&bytes)),
        Reply::Hold(bytes) => {
            let _ = stream.write_all(&bytes);
            written.fetch_add(1, Ordering::Relaxed);
            let _ = reader.read_line(&mut line);
        }
        Reply::Repeat(bytes) => while stream.write_all(&bytes).is_ok() {},
    }
}

/// A command that runs, and is ended with the test.
struct Running {
    child: Child,
    _namespace: Option<crate::common::namespace::Namespace>,
    out: Arc<Mutex<String>>,
}

impl Running {
    fn of(scene: &Scene, command: Command) -> Self {
        let (mut child, namespace) = scene.spawn(command).expect("a command can be started");
        let out = Arc::<Mutex<String>>::default();
        let mut stdout = child.stdout.take().expect("a pipe");
        let kept = Arc::clone(&out);
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            while let Ok(count @ 1..) = stdout.read(&mut buffer) {
                let text = String::from_utf8_lossy(&buffer[..count]);
                kept.lock()
                    .unwrap_or_else(PoisonError::into_inner)
                    .push_str(&text);
            }
        });
        Self {
            child,
            _namespace: namespace,
            out,
        }
    }

    fn out(&self) -> String {
        let out = self.out.lock();
        out.unwrap_or_else(PoisonError::into_inner).clone()
    }

    /// Waits until it has printed exactly this.
    #[track_caller]
    fn wait_out(&self, expected: &str) {
        let holds = || self.out() == expected;
        let start = std::time::Instant::now();
        while !holds() && start.elapsed() < process::PATIENCE {
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        assert_eq!(self.out(), expected);
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// Lines of an answer that ends well.
fn lines(data: &[Value]) -> Vec<u8> {
    let done = json!({"ok": true, "supervisor": {"pid": 77, "config": "/etc/app.json"}});
    let mut text = String::new();
    for line in data.iter().chain([&done]) {
        text += &format!("{line}\n");
    }
    text.into()
}

fn refusal(code: &str, message: &str) -> Vec<u8> {
    let line = json!({"ok": false, "error": {"code": code, "message": message}});
    format!("{line}\n").into()
}

fn program(name: &str, state: &str) -> Value {
    json!({"program": {
        "name": name, "state": state, "pid": if state == "running" { json!(4711) } else { json!(null) },
        "state_seconds": 12.0, "restarts": 3, "retry_in": null, "reason": null, "last_exit": null,
    }})
}

/// Command lines, and their requests without the version.
fn requests() -> [(&'static str, Value); 20] {
    [
        ("status", json!({"command": "status"})),
        (
            "status web db",
            json!({"command": "status", "programs": ["web", "db"]}),
        ),
        (
            "start web",
            json!({"command": "start", "programs": ["web"]}),
        ),
        (
            "start --all --no-wait",
            json!({"command": "start", "programs": ["*"], "wait": false}),
        ),
        (
            "stop web* --timeout 1m30s",
            json!({"command": "stop", "programs": ["web*"], "timeout": 90.0}),
        ),
        (
            "stop web --kill",
            json!({"command": "stop", "programs": ["web"], "kill": true}),
        ),
        (
            "restart web --timeout=1.5",
            json!({"command": "restart", "programs": ["web"], "timeout": 1.5}),
        ),
        (
            "signal hup web",
            json!({"command": "signal", "programs": ["web"], "signal": 1, "to": "group"}),
        ),
        (
            "signal 10 --main --all",
            json!({"command": "signal", "programs": ["*"], "signal": 10, "to": "main"}),
        ),
        (
            "logs web",
            json!({"command": "status", "programs": ["web"]}),
        ),
        ("events", json!({"command": "events"})),
        (
            "events web --no-snapshot",
            json!({"command": "events", "programs": ["web"], "snapshot": false}),
        ),
        (
            "wait web",
            json!({"command": "wait", "programs": ["web"], "for": "running"}),
        ),
        (
            "wait web --for=down --timeout 2",
            json!({"command": "wait", "programs": ["web"], "for": "down", "timeout": 2.0}),
        ),
        ("reload", json!({"command": "reload"})),
        (
            "reload --dry-run",
            json!({"command": "reload", "dry_run": true}),
        ),
        (
            "reload --no-restart --no-wait",
            json!({"command": "reload", "restart": false, "wait": false}),
        ),
        ("reopen", json!({"command": "reopen"})),
        ("shutdown --no-wait", json!({"command": "shutdown"})),
        (
            "shutdown --no-wait --kill",
            json!({"command": "shutdown", "kill": true}),
        ),
    ]
}

#[test]
fn each_command_asks_for_what_it_is_given() {
    let scene = Scene::new();
    let played = Played::saying(&scene, lines(&[]));
    for (index, (words, mut expected)) in requests().into_iter().enumerate() {
        let words: Vec<&str> = words.split(' ').collect();
        let said = played.run(&scene, &words);
        assert_eq!((said.code, &*said.err), (Some(0), ""), "{words:?}");
        expected["v"] = json!(1);
        assert_eq!(played.requests()[index..], [expected], "{words:?}");
    }
}

#[test]
fn wrong_usage_is_code_2_and_nothing_is_asked() {
    let scene = Scene::new();
    let played = Played::saying(&scene, lines(&[]));
    let cases = [
        (
            "start",
            "missing program: expected names, or --all to start all",
        ),
        (
            "stop web --all",
            "invalid --all: expected no names beside it",
        ),
        (
            "signal",
            "missing signal: expected a name such as HUP, or a number",
        ),
        (
            "signal HUP",
            "missing program: expected names, or --all to send it to all",
        ),
        ("signal 0 web", "invalid signal 0: expected 1 to 64"),
        (
            "signal HPU web",
            "unknown signal \"HPU\" (did you mean \"HUP\"?)",
        ),
        (
            "wait web --for runing",
            "invalid state \"runing\" (did you mean \"running\"?)",
        ),
        (
            "logs web -n ten",
            "invalid value \"ten\" of --lines: expected a number, or all",
        ),
        ("logs web --tail 5", "unknown option \"--tail\": --lines N"),
        (
            "status --color blue",
            "invalid value \"blue\" of --color: expected auto, always or never",
        ),
        ("reopen web", "unexpected argument \"web\""),
        ("restart web --kill", "unknown option \"--kill\""),
    ];
    for (words, expected) in cases {
        let words: Vec<&str> = words.split(' ').collect();
        let said = played.run(&scene, &words);
        assert_eq!(
            (said.code, &*said.out),
            (Some(2), ""),
            "{words:?}: {}",
            said.err
        );
        assert!(
            said.err.starts_with(&format!("procsched-min: {expected}")),
            "{}",
            said.err
        );
    }
    let said = played.run(&scene, &["wait", "web", "--timeout", "soon"]);
    let expected = "procsched-min: --timeout: invalid duration \"soon\": expected a number";
    assert!(
        said.code == Some(2) && said.err.starts_with(expected),
        "{}",
        said.err
    );
    assert_eq!(played.requests(), [json!(null); 0]);
}

/// What no supervisor says, and what is said about it.
#[test]
fn hostile_answers_are_errors_and_bounded() {
    let scene = Scene::new();
    let cases: [(&[u8], &str); 10] = [
        (b"", "closed the connection before the end of its answer"),
        (
            b"{\"program\":{\"name\":\"web\"}}\n",
            "closed the connection before the end",
        ),
        (
            b"{\"program\":{\"na",
            "unexpected answer: half a line, and the end",
        ),
        (
            b"HTTP/1.1 400 Bad Request\r\n\r\n",
            "unexpected answer: \"HTTP/1.1 400 Bad Request\\r\"",
        ),
        (b"\xff\xfe\n", "unexpected answer: a line that is not UTF-8"),
        (b"\n", "unexpected answer: \"\""),
        (b"[1]\n", "unexpected answer: \"[1]\""),
        (
            b"{\"ok\":false}\n",
            "unexpected answer: an error without a code",
        ),
        (
            b"{\"ok\":false,\"error\":{\"code\":\"version\",\"message\":\"unsupported version 1: \
              expected 2\"},\"supported\":[2]}\n",
            "unsupported version 1: expected 2",
        ),
        (
            b"{\"ok\":false,\"error\":{\"code\":\"new-code\",\"message\":\"so\\u001b[31m\"}}\n",
            "procsched-min: so\\u{1b}[31m\n",
        ),
    ];
    for (answer, expected) in cases {
        let played = Played::saying(&scene, answer);
        for (arguments, code) in [(["status", "web"], 4), (["restart", "web"], 1)] {
            let said = played.run(&scene, &arguments);
            assert_eq!(said.code, Some(code), "{arguments:?}: {}", said.err);
            assert!(said.err.contains(expected), "{}", said.err);
            assert!(
                !said.err.contains('\x1b') && said.err.lines().count() == 1,
                "{}",
                said.err
            );
        }
    }
}

#[test]
fn an_endless_line_is_given_up() {
    let scene = Scene::new();
    let played = Played::start(&scene, |_, _| Reply::Repeat(vec![b'x'; 4096]));
    for command in ["status", "events", "reopen"] {
        let said = played.run(&scene, &[command]);
        let problem = "unexpected answer: a line of over 1048576 bytes";
        assert!(said.err.contains(problem), "{command}: {}", said.err);
    }
}

#[test]
fn unknown_keys_and_lines_are_ignored() {
    let scene = Scene::new();
    let mut web = program("web", "running");
    web["newer"] = json!([1]);
    web["program"]["newer"] = json!({"x": 1});
    let played = Played::saying(&scene, lines(&[json!({"remark": 7}), web]));
    let said = played.run(&scene, &["status"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    assert!(
        said.out.contains("web   running  4711  12s"),
        "{}",
        said.out
    );
}

#[test]
fn codes_of_the_supervisor_are_exit_codes() {
    let scene = Scene::new();
    let cases = [
        ("usage", 2, 2),
        ("too-long", 2, 2),
        ("unknown-program", 5, 4),
        ("not-running", 1, 4),
        ("stopping", 1, 4),
        ("superseded", 1, 4),
        ("timeout", 124, 4),
        ("failed", 1, 4),
        ("abandoned", 1, 4),
        ("invalid-config", 2, 2),
    ];
    for (code, of_order, of_status) in cases {
        let played = Played::saying(&scene, refusal(code, "no program \"wbe\""));
        for (command, expected) in [("start", of_order), ("status", of_status)] {
            let said = played.run(&scene, &[command, "wbe"]);
            assert_eq!(said.code, Some(expected), "{command}: {code}");
            assert_eq!(said.err, "procsched-min: no program \"wbe\"\n");
            assert_eq!(said.out, "");
        }
    }
}

#[test]
fn a_busy_supervisor_is_asked_again() {
    let scene = Scene::new();
    let played = Played::start(&scene, |number, _| {
        Reply::Say(match number {
            0..3 => refusal("busy", "16 clients are connected"),
            _ => lines(&[program("web", "running")]),
        })
    });
    let said = played.run(&scene, &["restart", "web"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    assert_eq!(said.out, "web: running, pid 4711\n");
    assert_eq!(played.requests().len(), 4);
    drop(played);
    let always = Played::saying(&scene, refusal("busy", "16 clients are connected"));
    let start = std::time::Instant::now();
    let said = always.run(&scene, &["restart", "web"]);
    assert!(start.elapsed().as_secs() >= 5);
    assert_eq!(said.err, "procsched-min: 16 clients are connected\n");
    assert_eq!(said.code, Some(1));
}

#[test]
fn a_supervisor_that_does_not_answer_is_given_up() {
    let scene = Scene::new();
    let played = Played::start(&scene, |_, _| Reply::Hold(Vec::new()));
    for (words, code) in [("status", 4), ("reopen", 124), ("signal HUP web", 124)] {
        let words: Vec<&str> = words.split(' ').chain(["--timeout", "50ms"]).collect();
        let said = played.run(&scene, &words);
        assert_eq!(said.code, Some(code), "{words:?}: {}", said.err);
        assert!(
            said.err.contains("the supervisor does not answer"),
            "{}",
            said.err
        );
    }
}

/// It waited for ever, whatever the timeout: a supervisor that is stopped takes no connection, and
/// the kernel keeps a few for it.
#[test]
fn a_supervisor_that_takes_no_connection_is_given_up() {
    let scene = Scene::new();
    let path = scene.path("control.sock");
    let listener = UnixListener::bind(&path).expect("a socket");
    // SAFETY: plain numbers. It lowers the number of those that the kernel keeps.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let _kept = UnixStream::connect(&path).expect("there is room for one");
    let path = path.to_str().expect("text");
    for (words, code) in [
        ("status", 4),
        ("stop web", 124),
        ("logs web", 124),
        ("events", 124),
        ("reload", 124),
        ("shutdown", 124),
    ] {
        let ends = ["--timeout", "50ms", "--socket", path];
        let words: Vec<&str> = words.split(' ').chain(ends).collect();
        let said = run(&scene, &words);
        assert_eq!(said.code, Some(code), "{words:?}: {}", said.err);
        let problem = "the supervisor takes no connection";
        assert!(said.err.contains(problem), "{}", said.err);
    }
}

/// It waited for a writer.
#[test]
fn a_config_that_is_no_file_is_not_waited_for() {
    let scene = Scene::new();
    let fifo = scene.path("fifo");
    nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).expect("a FIFO");
    let path = fifo.to_str().expect("text");
    // An empty root has no terminal.
    let terminal = (!second_run::is_pid1()).then_some("/dev/tty");
    for config in [path, "/dev/null", "/"].into_iter().chain(terminal) {
        for words in [
            "status", "stop web", "logs web", "events", "reload", "shutdown",
        ] {
            let words: Vec<&str> = words.split(' ').chain(["--config", config]).collect();
            let said = run(&scene, &words);
            assert_eq!(said.code, Some(2), "{words:?}: {}", said.err);
            let problem = "it is not a regular file; name the supervisor's socket with --socket";
            let is_named = said.err.contains(problem) || config == "/dev/tty";
            assert!(is_named, "{words:?}: {}", said.err);
        }
    }
}

#[test]
fn status_shows_a_table_and_its_code_says_whether_all_is_well() {
    let scene = Scene::new();
    let mut web = program("web", "backoff");
    web["program"]["retry_in"] = json!(4.0);
    web["program"]["last_exit"] = json!({"return_code": 1, "last_line": "no database"});
    let db = program("db", "running");
    let cases: [(Vec<Value>, &[&str], i32); 5] = [
        (vec![db.clone(), program("once", "exited")], &[], 0),
        (vec![db.clone(), program("report", "stopped")], &[], 0),
        (vec![program("report", "stopped")], &["report"], 3),
        (vec![db.clone(), web.clone()], &[], 3),
        (vec![], &[], 0),
    ];
    for (programs, names, code) in cases {
        let played = Played::saying(&scene, lines(&programs));
        let said = played.run(&scene, &[&["status"], names].concat());
        assert_eq!((said.code, &*said.err), (Some(code), ""), "{programs:?}");
    }
    let played = Played::saying(&scene, lines(&[db, web]));
    let said = played.run(&scene, &["status"]);
    let expected = "\
NAME  STATE    PID   FOR  RESTARTS  LAST EXIT  NOTE
db    running  4711  12s         3  -
web   backoff  -     12s         3  1          starts in 4s: \"no database\"
";
    assert_eq!(said.out, expected);
    let said = played.run(&scene, &["status", "--color", "always"]);
    assert!(
        said.out.contains("\x1b[32mrunning\x1b[0m"),
        "{:?}",
        said.out
    );
}

#[test]
fn status_as_json_has_a_version_the_supervisor_and_the_programs() {
    let scene = Scene::new();
    for programs in [
        vec![],
        vec![program("db", "running"), program("web", "failed")],
    ] {
        let played = Played::saying(&scene, lines(&programs));
        let said = played.run(&scene, &["status", "--json"]);
        assert_eq!(said.out.lines().count(), 1);
        let found: Value = serde_json::from_str(&said.out).expect("JSON");
        let inner: Vec<&Value> = programs.iter().map(|line| &line["program"]).collect();
        let expected = json!({
            "v": 1,
            "supervisor": {"pid": 77, "config": "/etc/app.json"},
            "programs": inner,
        });
        assert_eq!(found, expected);
    }
    let played = Played::saying(&scene, refusal("unknown-program", "no program \"x\""));
    let said = played.run(&scene, &["status", "x", "--json"]);
    assert_eq!((said.code, &*said.out), (Some(4), ""));
}

#[test]
fn watched_status_is_shown_again() {
    let scene = Scene::new();
    let played = Played::start(&scene, |number, _| {
        Reply::Say(match number {
            0 => lines(&[program("web", "starting")]),
            1 => lines(&[program("web", "running")]),
            _ => refusal("stopping", "the supervisor is being stopped"),
        })
    });
    let said = played.run(&scene, &["status", "--watch=100ms"]);
    let states: Vec<&str> = said
        .out
        .lines()
        .filter(|line| line.starts_with("web"))
        .collect();
    assert_eq!(states.len(), 2, "{}", said.out);
    assert!(states[0].contains("starting") && states[1].contains("running"));
    assert!(
        said.code == Some(4) && said.err.contains("being stopped"),
        "{}",
        said.err
    );
}

#[test]
fn failures_of_an_order_are_told_with_the_last_lines() {
    let scene = Scene::new();
    let problem = json!({"problem": {
        "program": "web", "code": "failed",
        "message": "exited with code 1 after 0.1s, next start in 1s: \"no database\"",
        "output": ["connecting", "no database\u{7}"],
    }});
    let mut answer = format!("{}\n{problem}\n", program("db", "running")).into_bytes();
    answer.extend(refusal("failed", "1 of 2 programs failed"));
    let played = Played::saying(&scene, answer);
    let said = played.run(&scene, &["restart", "db", "web"]);
    assert_eq!(said.code, Some(1));
    assert_eq!(said.out, "db: running, pid 4711\n");
    assert_eq!(
        said.err,
        "web: exited with code 1 after 0.1s, next start in 1s: \"no database\"\n    connecting\n    \
         no database\\u{7}\n"
    );
    let said = played.run(&scene, &["restart", "db", "web", "--json"]);
    let last = said.out.lines().last().expect("a line");
    assert!(
        last.starts_with("{\"error\"") || last.starts_with("{\"ok\""),
        "{}",
        said.out
    );
    assert_eq!((said.code, said.out.lines().count()), (Some(1), 3));
}

#[test]
fn a_reload_shows_changes_and_errors() {
    let scene = Scene::new();
    let changes = [
        json!({"change": {"change": "+", "program": "cache", "text": "new, will be started"}}),
        json!({"change": {"change": "=", "text": "12 unchanged"}}),
    ];
    let played = Played::saying(&scene, lines(&changes));
    let said = played.run(&scene, &["reload", "--dry-run"]);
    assert_eq!(
        said.out,
        "+ cache     new, will be started\n= 12 unchanged\n"
    );
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    drop(played);
    let error = "procsched.json:7:18: error: programs.web.restart: unknown value \"on-fail\"";
    let problem = json!({"problem": {"code": "invalid-config", "message": error}});
    let mut answer = format!("{problem}\n").into_bytes();
    answer.extend(refusal(
        "invalid-config",
        "the config has 1 error; nothing has changed",
    ));
    let played = Played::saying(&scene, answer);
    let said = played.run(&scene, &["reload"]);
    assert_eq!((said.code, said.err), (Some(2), format!("{error}\n")));
}

#[test]
fn events_are_lines_until_the_end() {
    let scene = Scene::new();
    let event = json!({"event": {
        "time": "2024-01-01T12:00:00.000Z", "program": "web", "event": "exited",
        "pid": 4711, "return_code": 3, "uptime": 1.2,
    }});
    let answer = format!("{}\n{event}\n", program("web", "running"));
    let played = Played::saying(&scene, answer.clone());
    let said = played.run(&scene, &["events"]);
    assert_eq!((said.code, &*said.err), (Some(0), ""));
    let expected = "web is running, pid 4711\n\
                    2024-01-01T12:00:00.000Z web exited pid=4711 return_code=3 uptime=1.2s\n";
    assert_eq!(said.out, expected);
    let said = played.run(&scene, &["events", "--json"]);
    assert_eq!((said.code, said.out), (Some(0), answer));
}

/// Each is printed when it arrives, and not when there are enough for a block.
#[test]
fn an_event_is_printed_at_once() {
    let scene = Scene::new();
    let event = b"{\"event\":{\"event\":\"up\",\"program\":\"web\"}}\n";
    let played = Played::start(&scene, |_, _| Reply::Hold(event.to_vec()));
    let running = played.spawn(&scene, &["events"]);
    running.wait_out("web up\n");
    drop(running);
}

#[test]
fn a_shutdown_waits_for_the_end_and_tells_what_was_abandoned() {
    let scene = Scene::new();
    let abandoned = b"{\"event\":{\"event\":\"abandoned\",\"program\":\"web\",\"pid\":7}}\n";
    // A process of no program that is known.
    let of_none = b"{\"event\":{\"event\":\"abandoned\",\"program\":null,\"pid\":7}}\n";
    for (event, code, out) in [
        (&b""[..], 0, ""),
        (abandoned, 1, "web: abandoned\n"),
        (of_none, 1, "pid 7: abandoned\n"),
    ] {
        let played = Played::start(&scene, move |_, request| {
            Reply::Say(match request["command"] == "events" {
                true => event.to_vec(),
                false => lines(&[]),
            })
        });
        let said = played.run(&scene, &["shutdown"]);
        assert_eq!((said.code, &*said.out, &*said.err), (Some(code), out, ""));
        let asked = played.requests();
        assert_eq!(asked.len(), 2);
    }
    let before = json!({"problem": {"code": "abandoned", "message": "it was abandoned before"}});
    let played = Played::start(&scene, move |_, request| {
        Reply::Say(match request["command"] == "events" {
            true => Vec::new(),
            false => lines(std::slice::from_ref(&before)),
        })
    });
    let said = played.run(&scene, &["shutdown"]);
    assert_eq!(
        (said.code, &*said.err),
        (Some(1), "it was abandoned before\n")
    );
    drop(played);
    let played = Played::start(&scene, |_, request| match request["command"] == "events" {
        true => Reply::Hold(Vec::new()),
        false => Reply::Say(lines(&[])),
    });
    let said = played.run(&scene, &["shutdown", "--timeout", "1s"]);
    assert_eq!(said.code, Some(124));
    assert!(
        said.err.contains("still stopping its programs"),
        "{}",
        said.err
    );
}

/// A shell calls that 130.
#[test]
fn ctrl_c_ends_each_command_that_waits() {
    if second_run::is_pid1() {
        return; // No signal ends PID 1.
    }
    let scene = Scene::new();
    let played = Played::start(&scene, |_, request| {
        match request["command"] == "shutdown" {
            true => Reply::Say(lines(&[])),
            false => Reply::Hold(Vec::new()),
        }
    });
    let commands = [
        "start web",
        "stop web",
        "restart web",
        "wait web",
        "reload",
        "shutdown",
        "events",
    ];
    for (number, words) in commands.into_iter().enumerate() {
        let words: Vec<&str> = words.split(' ').collect();
        let mut running = played.spawn(&scene, &words);
        let written = || played.written.load(Ordering::Relaxed);
        wait_for("its request", || written() == number + 1);
        let pid = i32::try_from(running.child.id()).expect("a pid");
        process::signal(pid, libc::SIGINT);
        let status = running.child.wait().expect("a child");
        assert_eq!(status.signal(), Some(libc::SIGINT), "{words:?}");
    }
}

/// The listing, of 40 MB, is read as it comes: what is kept is the cells of the table.
#[test]
fn a_listing_of_ten_thousand_programs_takes_little_memory() {
    const KIB_MAX: u64 = 16 * 1024;
    let scene = Scene::new();
    let mut listing = Vec::new();
    for number in 0..10_000 {
        let mut line = program(&format!("worker-{number}"), "running");
        line["program"]["command"] = json!(["x".repeat(4_000)]);
        listing.extend_from_slice(line.to_string().as_bytes());
        listing.push(b'\n');
    }
    let played = Played::start(&scene, move |_, _| Reply::Hold(listing.clone()));
    for (number, arguments) in [&["status"][..], &["status", "--json"]]
        .into_iter()
        .enumerate()
    {
        let running = played.spawn(&scene, arguments);
        let pid = i32::try_from(running.child.id()).expect("a pid");
        let written = || played.written.load(Ordering::Relaxed);
        wait_for("the end of the listing", || written() == number + 1);
        let kib = process::status_number(pid, "VmHWM").expect("a process");
        assert!(kib < KIB_MAX, "{arguments:?}: {kib} KiB");
    }
}

fn with_logs(names: &[(&str, &Path)]) -> Vec<u8> {
    let line = |(name, path): &(&str, &Path)| json!({"program": {"name": name, "state": "running", "log": path, "stdout_log": null}});
    lines(&names.iter().map(line).collect::<Vec<_>>())
}

/// A program that writes to stdout alone seemed to say nothing.
#[test]
fn logs_say_where_the_output_is_if_it_is_not_on_stderr() {
    let scene = Scene::new();
    let empty = scene.write("empty.log", "");
    let full = scene.write("full.log", "tick\n");
    let elsewhere = "; --stdout shows its stdout\n";
    let no_log = ", and neither does the other stream; inherited output is on the supervisor's \
                  own stdout and stderr\n";
    let cases = [
        (
            Some(&empty),
            Some(&full),
            0,
            "its stderr log is empty",
            elsewhere,
        ),
        (Some(&empty), Some(&empty), 0, "", ""),
        (Some(&full), Some(&full), 0, "", ""),
        (Some(&empty), None, 0, "", ""),
        (None, Some(&full), 1, "its stderr goes to no log", elsewhere),
        (None, None, 1, "its stderr goes to no log", no_log),
    ];
    for (log, stdout_log, code, what, instead) in cases {
        let program = json!({"name": "clock", "log": log, "stdout_log": stdout_log});
        let played = Played::saying(&scene, lines(&[json!({"program": program})]));
        let said = played.run(&scene, &["logs", "clock"]);
        let expected = match what {
            "" => String::new(),
            what => format!("clock: {what}{instead}"),
        };
        assert_eq!((said.code, said.err), (Some(code), expected));
    }
}

#[test]
fn logs_are_read_from_their_files() {
    let scene = Scene::new();
    let web = scene.write("web.log", "1\n2\n3\x1b[0m\n");
    let worker = scene.write("worker.log", "a\nb");
    let none = scene.path("none.log");
    let played = Played::saying(&scene, with_logs(&[("web", &web)]));
    let run = |arguments: &[&str]| played.run(&scene, arguments);
    assert_eq!(run(&["logs", "web"]).out, "1\n2\n3\x1b[0m\n");
    assert_eq!(run(&["logs", "web", "-n1"]).out, "3\x1b[0m\n");
    assert_eq!(run(&["logs", "web", "-n", "all"]).out, "1\n2\n3\x1b[0m\n");
    assert_eq!(run(&["logs", "web", "--lines=0"]).out, "");
    let said = run(&["logs", "web", "--stdout"]);
    assert_eq!(
        (said.code, &*said.err),
        (Some(1), "web: its stdout goes to no log\n")
    );
    drop(played);
    let several = [("web", &*web), ("gone", &*none), ("worker", &*worker)];
    let played = Played::saying(&scene, with_logs(&several));
    let said = played.run(&scene, &["logs", "-n", "2", "--all"]);
    assert_eq!(
        said.out,
        "web    | 2\nweb    | 3\x1b[0m\nworker | a\nworker | b\n"
    );
    let problem = format!("gone: failed to read its log {none:?}: No such file or directory\n");
    assert_eq!((said.code, said.err), (Some(1), problem));
}

fn append(path: &Path, text: &str) {
    let file = std::fs::File::options()
        .append(true)
        .create(true)
        .open(path);
    file.expect("a log")
        .write_all(text.as_bytes())
        .expect("a line");
}

#[test]
fn logs_are_followed_over_a_rename_and_a_truncation() {
    let scene = Scene::new();
    let log = scene.write("web.log", "old\n");
    let played = Played::saying(&scene, with_logs(&[("web", &log)]));
    let running = played.spawn(&scene, &["logs", "-f", "web"]);
    running.wait_out("old\n");
    append(&log, "half");
    running.wait_out("old\nhalf");
    std::fs::rename(&log, scene.path("web.log.1")).expect("a rename");
    append(&scene.path("web.log.1"), " a line\n");
    append(&log, "new\n");
    running.wait_out("old\nhalf a line\nnew\n");
    std::fs::write(&log, "x\n").expect("a truncation");
    running.wait_out("old\nhalf a line\nnew\nx\n");
    std::fs::remove_file(&log).expect("a removal");
    append(&log, "last\n");
    running.wait_out("old\nhalf a line\nnew\nx\nlast\n");
}

#[test]
fn several_logs_are_followed_line_by_line() {
    let scene = Scene::new();
    let (web, worker) = (scene.write("web.log", ""), scene.path("worker.log"));
    let played = Played::saying(&scene, with_logs(&[("web", &web), ("worker", &worker)]));
    let running = played.spawn(&scene, &["logs", "--follow", "--all"]);
    append(&web, "part");
    running.wait_out("web    | part\n");
    append(&worker, "whole\n");
    running.wait_out("web    | part\nworker | whole\n");
    append(&web, " of a line\n");
    running.wait_out("web    | part\nworker | whole\nweb    +  of a line\n");
}

/// `--socket` comes first, then the variable, then the config.
#[test]
fn the_socket_is_found_by_option_variable_and_config() {
    let scene = Scene::new();
    let played = Played::saying(&scene, lines(&[program("web", "running")]));
    let path = played.path.to_str().expect("text");
    let with = |variable: Option<&str>, arguments: &[&str]| {
        let mut words = vec![binary().to_owned()];
        words.extend(arguments.iter().map(PathBuf::from));
        let mut command = scene.marked(&words);
        command.current_dir(scene.directory()).stdin(Stdio::null());
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        command.env_remove("PROCSCHED_SOCKET");
        if let Some(variable) = variable {
            command.env("PROCSCHED_SOCKET", variable);
        }
        let (child, _namespace) = scene.spawn(command).expect("a command");
        let output = child.wait_with_output().expect("an end");
        let err = String::from_utf8(output.stderr).expect("text");
        (output.status.code(), err)
    };
    let fine = (Some(0), String::new());
    assert_eq!(
        with(Some("/no/such.sock"), &["status", "--socket", path]),
        fine
    );
    assert_eq!(with(Some(path), &["status"]), fine);
    let config =
        json!({"control": "control.sock", "err_dir": "logs", "programs": {"web": ["true"]}});
    scene.write("app.json", config.to_string());
    assert_eq!(with(None, &["status", "-c", "app.json"]), fine);
    scene.write("procsched.json", config.to_string());
    assert_eq!(with(None, &["status"]), fine);

    let (code, err) = with(Some("/no/such.sock"), &["reopen"]);
    let expected = "procsched-min: no supervisor at \"/no/such.sock\": No such file or directory; ";
    assert!(code == Some(7) && err.starts_with(expected), "{err}");
    let (code, err) = with(None, &["status", "--socket", &"x".repeat(131)]);
    let expected = "invalid socket: the path has 131 bytes; a socket path can have 107";
    assert!(code == Some(2) && err.contains(expected), "{err}");
    let off = json!({"control": false, "programs": {"web": ["true"]}});
    scene.write("procsched.json", off.to_string());
    let (code, err) = with(None, &["restart", "web"]);
    assert!(
        code == Some(7) && err.contains("has \"control\": false"),
        "{err}"
    );
    scene.write("procsched.json", "{");
    let (code, err) = with(None, &["restart", "web"]);
    let lines: Vec<&str> = err.lines().collect();
    assert!(
        lines[0].contains("warning: looking for the default socket of"),
        "{err}"
    );
    assert!(lines[0].contains("procsched.json:1:1: error"), "{err}");
    assert!(
        code == Some(7) && lines[1].contains("no supervisor at"),
        "{err}"
    );
}

#[test]
fn a_socket_that_may_not_be_used_is_code_4() {
    if missing(&[Need::Root]) {
        return;
    }
    let mut scene = Scene::new();
    scene.chmod("", 0o755);
    let played = Played::saying(&scene, lines(&[]));
    scene.chmod("control.sock", 0o600);
    scene.setting.user(65_534);
    for words in [["status"], ["reopen"]] {
        let said = played.run(&scene, &words);
        assert_eq!(said.code, Some(4), "{}", said.err);
        assert!(said.err.contains("cannot connect to") && said.err.contains("Permission denied"));
        assert!(said.err.contains("control_group"), "{}", said.err);
    }
}
