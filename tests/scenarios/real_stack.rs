//! An application as people have it, in one config: PostgreSQL, a migration that runs once, redis,
//! a web app in Python, and nginx in front of it. Each waits for what it needs, and each is killed
//! again and again; the app answers again every time, and the migration has run once.
//!
//! `PROCSCHED_STACK_SECONDS=120 cargo test --test scenarios real_stack` goes on for two minutes, and
//! `PROCSCHED_STACK_SEED=n` kills in the same order once more.

use std::fmt::Write as _;
use std::io::Write as _;
use std::net::TcpListener;
use std::os::unix::fs::chown;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::{Duration, Instant};

use serde_json::json;

use self::rng::Rng;
use super::real_programs::get;
use crate::common::operator::{control, status, wait_state};
use crate::common::scene::spawn;
use crate::common::tools::lacks;
use crate::common::{Need, Scene, Supervisor, missing, signal};

#[path = "../model/rng.rs"]
#[allow(dead_code)] // It has more than is needed here.
mod rng;

/// How long it is killed, unless the environment says something else.
const SECONDS: u64 = 10;

/// What is killed; the migration has ended by then.
const KILLED: [&str; 4] = ["db", "cache", "app", "web"];

/// Counts the visit in redis, and the migrations in PostgreSQL. It reads redis's protocol itself,
/// and asks PostgreSQL through its client.
const APP: &str = r#"
import http.server, os, socket, socketserver, subprocess, sys
directory = sys.argv[1]
def visits():
    with socket.socket(socket.AF_UNIX) as redis:
        redis.settimeout(5)
        redis.connect(directory + "/redis.sock")
        redis.sendall(b"INCR visits\r\n")
        answer = redis.recv(100)
        if not answer.startswith(b":"):
            raise OSError(answer)
        return int(answer[1:])
def migrations():
    query = ["psql", "-qtA", "-h", directory, "-U", "postgres", "-c", "SELECT count(*) FROM migration"]
    return int(subprocess.run(query, check=True, timeout=10, stdout=subprocess.PIPE).stdout)
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        try:
            body, code = f"visits {visits()} migrations {migrations()}\n", 200
        except Exception as problem:
            body, code = f"{problem}\n", 503
        self.send_response(code)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())
    def address_string(self):
        return "nginx"
class Server(socketserver.ThreadingMixIn, socketserver.UnixStreamServer):
    daemon_threads = True
path = directory + "/app.sock"
if os.path.exists(path):
    os.unlink(path)
Server(path, Handler).serve_forever()
"#;

/// A second run would fail at the table, and so would a half one.
const MIGRATION: &str = "CREATE TABLE migration (at timestamptz NOT NULL);\n\
    INSERT INTO migration VALUES (now());\n";

fn number(variable: &str) -> Option<u64> {
    let text = std::env::var(variable).ok()?;
    let number = text.parse();
    Some(number.unwrap_or_else(|_| panic!("invalid {variable}: expected a number")))
}

/// Where PostgreSQL is, which Debian keeps out of `PATH`.
fn postgres() -> Option<PathBuf> {
    let versions = std::fs::read_dir("/usr/lib/postgresql").ok()?;
    let places = versions.filter_map(|version| Some(version.ok()?.path().join("bin")));
    let mut places: Vec<PathBuf> = places
        .filter(|place| place.join("initdb").exists())
        .collect();
    places.sort();
    places.pop()
}

fn is_root() -> bool {
    // SAFETY: no arguments, cannot fail.
    unsafe { libc::geteuid() == 0 }
}

/// PostgreSQL refuses to run as root.
fn as_postgres(words: &[&str]) -> Vec<String> {
    let user = [
        "setpriv",
        "--reuid=postgres",
        "--regid=postgres",
        "--clear-groups",
    ];
    let user = user.iter().take(if is_root() { user.len() } else { 0 });
    user.chain(words).map(|&word| word.to_owned()).collect()
}

#[track_caller]
fn run(words: &[String]) {
    let mut command = Command::new(&words[0]);
    command
        .args(&words[1..])
        .current_dir("/")
        .stdout(std::process::Stdio::null());
    let status = spawn(&mut command).and_then(|mut child| child.wait());
    assert!(
        status.as_ref().is_ok_and(|status| status.success()),
        "{words:?}: {status:?}"
    );
}

/// A port that nothing has, below those that connections are given.
fn free_port() -> u16 {
    let first = 10_000 + (std::process::id() % 10_000) as u16;
    let is_free = |port: &u16| TcpListener::bind(("127.0.0.1", *port)).is_ok();
    (first..first + 10_000).find(is_free).expect("a free port")
}

/// The directory of the database, made and empty.
fn database(scene: &Scene, tools: &Path) -> PathBuf {
    // Its user reaches its directory, and makes its socket beside it.
    scene.chmod("", 0o777);
    let directory = scene.mkdir("db");
    let id = |option: &str| {
        let output = Command::new("id").args([option, "postgres"]).output();
        let text = String::from_utf8(output.ok()?.stdout).ok()?;
        text.trim().parse::<u32>().ok()
    };
    if is_root() {
        chown(&directory, id("-u"), id("-g")).expect("the directory changes hands");
    }
    let initdb = tools.join("initdb");
    let (initdb, path) = (initdb.to_string_lossy(), directory.to_string_lossy());
    run(&as_postgres(&[
        &initdb,
        "-D",
        &path,
        "-U",
        "postgres",
        "-A",
        "trust",
        "--no-sync",
    ]));
    directory
}

/// The config of nginx: nothing of it is outside of the scene.
fn nginx(scene: &Scene, port: u16) -> PathBuf {
    let directory = scene.directory().display().to_string();
    let mut temporary = String::new();
    for kind in ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"] {
        writeln!(temporary, "    {kind}_temp_path {directory}/nginx-{kind};").expect("text");
    }
    // As root its workers would be another user, who may not use the app's socket.
    let user = if is_root() { "user root;" } else { "" };
    let config = format!(
        "daemon off;\npid {directory}/nginx.pid;\nerror_log stderr;\n{user}\nevents {{}}\n\
         http {{\n{temporary}    access_log off;\n    server {{\n        \
         listen 127.0.0.1:{port};\n        location / {{\n            \
         proxy_pass http://unix:{directory}/app.sock:/;\n        }}\n    }}\n}}\n"
    );
    scene.write("nginx.conf", config)
}

/// Adds all programs. What needs another one stands before it: the order is by need.
fn furnish(scene: &mut Scene, tools: &Path, port: u16) {
    let directory = scene.directory().display().to_string();
    let tool = |name: &str| tools.join(name).display().to_string();
    let database = database(scene, tools).display().to_string();
    let nginx = nginx(scene, port).display().to_string();
    scene.write("app.py", APP);
    scene.write("migration.sql", MIGRATION);
    scene.set(
        "defaults",
        json!({"backoff": {"initial": "100ms", "max": "500ms"}, "stop_timeout": "30s"}),
    );
    let health = json!({"connect": format!("{directory}/redis.sock"), "interval": "1s"});
    scene.add_raw(
        "web",
        json!({
            "command": ["nginx", "-e", "stderr", "-c", nginx], "requires": ["app"],
            "ready": {"connect": format!("127.0.0.1:{port}"), "interval": "100ms"},
            "health": {"connect": format!("127.0.0.1:{port}"), "interval": "1s"},
            "stop_signal": "QUIT",
        }),
    );
    scene.add_raw(
        "app",
        json!({
            "command": ["python3", "app.py", directory], "requires": ["migrate", "cache"],
            "env": {"PATH": format!("{}:{}", tools.display(), path())},
            "ready": {"connect": format!("{directory}/app.sock"), "interval": "100ms"},
        }),
    );
    scene.add_raw(
        "migrate",
        json!({
            "command": [
                tool("psql"), "-q1", "-v", "ON_ERROR_STOP=1", "-h", directory, "-U", "postgres",
                "-f", "migration.sql",
            ],
            "oneshot": true, "restart": "on-failure", "max_restarts": 3, "requires": ["db"],
        }),
    );
    scene.add_raw(
        "cache",
        json!({
            "command": [
                "redis-server", "--port", "0", "--unixsocket", format!("{directory}/redis.sock"),
                "--save", "", "--appendonly", "no", "--supervised", "systemd",
            ],
            "ready": "notify", "health": health,
        }),
    );
    let postgres = ["-D", &database, "-k", &directory, "-c", "listen_addresses="];
    let postgres: Vec<&str> = postgres.into_iter().chain(["-c", "fsync=off"]).collect();
    let is_ready = json!([tool("pg_isready"), "-q", "-h", directory, "-U", "postgres"]);
    let program = tool("postgres");
    let words = [&[&*program][..], &postgres].concat();
    scene.add_raw(
        "db",
        json!({
            "command": as_postgres(&words), "stop_signal": "INT",
            "ready": {"command": is_ready, "interval": "100ms"},
            "health": {"command": is_ready, "interval": "1s"},
        }),
    );
}

fn path() -> String {
    std::env::var("PATH").unwrap_or_default()
}

/// Waits until the app answers through nginx, with one migration and a visit more than none.
#[track_caller]
fn wait_answer(supervisor: &Supervisor, port: u16) {
    let mut last = None;
    supervisor.wait("an answer of the app", || {
        last = get(port);
        let words = last.as_deref().unwrap_or_default();
        let words: Vec<&str> = words.split_whitespace().collect();
        matches!(*words, ["visits", _, "migrations", "1"])
    });
}

#[test]
fn an_application_answers_again_whatever_of_it_is_killed() {
    let tools = ["python3", "setpriv"].map(Need::Tool);
    if missing(&tools) {
        return;
    }
    let is_there = |name: &str, option: &str| Command::new(name).arg(option).output().is_ok();
    let (Some(tools), true, true) = (
        postgres(),
        is_there("redis-server", "--version"),
        is_there("nginx", "-v"),
    ) else {
        return lacks("needs PostgreSQL, redis and nginx");
    };
    let seed = number("PROCSCHED_STACK_SEED").unwrap_or(u64::from(std::process::id()));
    let time = Duration::from_secs(number("PROCSCHED_STACK_SECONDS").unwrap_or(SECONDS));
    let mut scene = Scene::new();
    let (socket, port) = (control(&mut scene), free_port());
    furnish(&mut scene, &tools, port);
    let mut supervisor = scene.start();
    wait_answer(&supervisor, port);
    let order = ["db", "migrate", "app", "web"];
    let starts = order.map(|name| position(&supervisor, name));
    assert!(
        starts.is_sorted(),
        "{order:?} at {starts:?}; {}",
        supervisor.said()
    );
    let (begun, mut numbers, mut kills) = (Instant::now(), Rng::new(seed), [0; KILLED.len()]);
    // Each is killed, however slow the machine is.
    while begun.elapsed() < time || kills.contains(&0) {
        let index = match kills.iter().position(|kills| *kills == 0) {
            Some(first) if begun.elapsed() >= time => first,
            _ => numbers.index(KILLED.len()),
        };
        kill(&supervisor, &socket, KILLED[index]);
        kills[index] += 1;
        // Often another one is killed before the first is back.
        if !numbers.one_in(3) {
            wait_answer(&supervisor, port);
        }
    }
    wait_answer(&supervisor, port);
    for name in KILLED {
        wait_state(&supervisor, &socket, name, "running");
    }
    let migrate = status(&socket, "migrate");
    let once = (&migrate["state"], &migrate["restarts"]);
    assert_eq!(
        once,
        (&json!("exited"), &json!(0)),
        "seed {seed}: {migrate}"
    );
    assert_eq!(supervisor.stop(), 0, "seed {seed}: {}", supervisor.said());
    let killed = supervisor.reports();
    let killed = killed
        .iter()
        .filter(|report| report.signal() == Some("SIGKILL"));
    if number("PROCSCHED_STACK_SECONDS").is_some() {
        let text = format!("seed {seed}: killed {KILLED:?} {kills:?} times\n");
        std::io::stderr()
            .write_all(text.as_bytes())
            .expect("stderr takes a line");
    }
    let (killed, kills) = (killed.count(), kills.iter().sum::<usize>());
    // A few of them were dying already when they were killed.
    assert!(killed >= kills / 2, "seed {seed}: {killed} of {kills}");
}

/// Kills the process that a program has, or will have.
#[track_caller]
fn kill(supervisor: &Supervisor, socket: &Path, name: &str) {
    let mut pid = None;
    supervisor.wait("a process to kill", || {
        pid = status(socket, name)["pid"].as_i64();
        pid.is_some()
    });
    let pid = pid.and_then(|pid| i32::try_from(pid).ok());
    signal(pid.expect("a pid"), libc::SIGKILL);
}

/// Where in the messages a program was first started.
fn position(supervisor: &Supervisor, name: &str) -> usize {
    let is_it = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        matches!(*words, [_, who, "started", ..] if who == name)
    };
    let found = supervisor.messages().iter().position(is_it);
    found.unwrap_or_else(|| panic!("{name} was not started; {}", supervisor.said()))
}
