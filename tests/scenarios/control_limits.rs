//! Clients that are slow, silent, greedy, hostile or many: none of them delays supervision, and all
//! that they can make the supervisor hold is bounded.

use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use serde_json::json;

use crate::command_line::run;
use crate::common::operator::{Operator, control, order, order_with, status};
use crate::common::{Scene, Supervisor, process, second_run, wait_for};

const STATUS: &[u8] = b"{\"v\":1,\"command\":\"status\"}\n";

fn scene() -> (Scene, PathBuf) {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("web", "hold");
    (scene, path)
}

/// Sends these bytes, and measures the time until the connection ends.
fn time_to_end(path: PathBuf, bytes: &'static [u8]) -> std::thread::JoinHandle<Duration> {
    std::thread::spawn(move || {
        let mut operator = Operator::connect(&path);
        let start = Instant::now();
        operator.send(bytes);
        operator.wait_end();
        start.elapsed()
    })
}

#[test]
fn who_sends_no_whole_request_is_closed_after_ten_seconds() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    status(&path, "web");
    let silent = [&b""[..], b"{\"v\":1,", STATUS];
    let waiting = silent.map(|bytes| time_to_end(path.clone(), bytes));
    for waiting in waiting {
        let time = waiting.join().expect("no panic");
        let range = Duration::from_millis(9_900)..Duration::from_secs(15);
        assert!(range.contains(&time), "{time:?}");
    }
    supervisor.end();
}

#[test]
fn m156_who_reads_nothing_is_closed_after_thirty_seconds_and_holds_up_no_one() {
    let (mut scene, path) = scene();
    for index in 0..400 {
        scene.add(&format!("p{index}"), "hold");
    }
    let supervisor = scene.start();
    let mut other = Operator::connect(&path);
    other.ask(&json!({"v": 1, "command": "status"})).fine();
    let before = process::status_number(supervisor.pid(), "VmRSS").expect("a size");
    let mut greedy: Vec<Operator> = (0..8).map(|_| Operator::connect(&path)).collect();
    for operator in &mut greedy {
        (0..100).for_each(|_| operator.send(STATUS));
    }
    let start = Instant::now();
    let mut slowest = Duration::ZERO;
    while greedy.iter_mut().any(is_open) {
        assert!(
            start.elapsed() < Duration::from_secs(50),
            "they are not closed"
        );
        let asked = Instant::now();
        assert_eq!(status(&path, "web")["state"], "running");
        slowest = slowest.max(asked.elapsed());
        let now = process::status_number(supervisor.pid(), "VmRSS").expect("a size");
        assert!(now < before + 4096, "{before} kB grew to {now} kB");
        std::thread::sleep(Duration::from_millis(100));
    }
    assert!(
        start.elapsed() > Duration::from_secs(29),
        "{:?}",
        start.elapsed()
    );
    assert!(slowest < Duration::from_secs(2), "{slowest:?}");
    supervisor.end();
}

/// True if the other side has not closed: a write to it does not fail.
fn is_open(operator: &mut Operator) -> bool {
    let stream = operator.stream();
    stream.set_nonblocking(true).expect("non-blocking");
    match std::io::Write::write(stream, b" ") {
        Ok(_) => true,
        Err(error) => error.kind() == std::io::ErrorKind::WouldBlock,
    }
}

#[test]
fn a_request_has_64_kib_at_most() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let padded = |bytes: usize| {
        let mut request = STATUS[..STATUS.len() - 1].to_vec();
        request.resize(bytes, b' ');
        request.push(b'\n');
        request
    };
    let mut operator = Operator::connect(&path);
    operator.send(&padded(64 * 1024));
    operator.answer().fine();
    operator.send(&padded(64 * 1024 + 1));
    let answer = operator.answer();
    answer.refused("too-long", "the request is longer than 65536 bytes");
    operator.wait_end();
    supervisor.end();
}

#[test]
fn the_seventeenth_client_is_refused_and_the_thirteenth_follower() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    // What it says arrives later than its answers.
    supervisor.wait_started("web", 1);
    let mut clients: Vec<Operator> = (0..16).map(|_| Operator::connect(&path)).collect();
    // Each is answered, and so was accepted.
    for client in &mut clients {
        client.ask(&order("status", &["web"])).fine();
    }
    let mut one_more = Operator::connect(&path);
    let answer = one_more.answer();
    answer.refused("busy", "16 clients are connected already");
    one_more.wait_end();
    let down = order_with("wait", &["web"], json!({"for": "down"}));
    for (index, client) in clients.iter_mut().enumerate().take(12) {
        if index % 2 == 0 {
            client.send(format!("{down}\n").as_bytes());
        } else {
            client.send(b"{\"v\":1,\"command\":\"events\"}\n");
            client.line().expect("a snapshot");
        }
    }
    let message = "12 clients follow or wait already";
    wait_for("twelve followers", || {
        let down = order_with("wait", &["web"], json!({"for": "down", "timeout": 0.01}));
        clients[12].ask(&down).last["error"]["code"] == "busy"
    });
    clients[12]
        .ask(&order("restart", &["web"]))
        .refused("busy", message);
    assert_eq!(
        supervisor.started("web").len(),
        1,
        "a refused order is not given"
    );
    let no_wait = order_with("restart", &["web"], json!({"wait": false}));
    clients[12].ask(&no_wait).fine();
    drop(clients);
    wait_for("room", || {
        let mut operator = Operator::connect(&path);
        operator.send(STATUS);
        operator.answer().last["ok"] == true
    });
    supervisor.end();
}

/// It gave up, as it could not follow the events to the end.
#[test]
fn a_shutdown_waits_for_the_end_although_twelve_clients_follow() {
    let (mut scene, path) = scene();
    let stubborn = "ignore TERM ; touch ready ; hold";
    scene.add_with("slow", stubborn, json!({"stop_timeout": "700ms"}));
    let supervisor = scene.start();
    scene.wait_file("ready");
    let mut followers: Vec<Operator> = (0..12).map(|_| Operator::connect(&path)).collect();
    for follower in &mut followers {
        follower.send(b"{\"v\":1,\"command\":\"events\"}\n");
        follower.line().expect("a snapshot");
    }
    let socket = path.to_str().expect("text");
    let said = run(&scene, &["shutdown", "--socket", socket]);
    assert_eq!((said.code, &*said.out), (Some(0), ""), "{}", said.err);
    supervisor.ends_with(0);
}

#[test]
fn requests_in_one_piece_are_answered_in_order() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let requests = format!(
        "{}\n{}\n{}\n",
        order("stop", &["web"]),
        order("nonsense", &[]),
        order("start", &["web"])
    );
    operator.send(requests.as_bytes());
    let stopped = operator.answer().fine();
    assert_eq!(stopped.program("web")["state"], "stopped");
    let refused = operator.answer();
    let commands = "status, wait, start, stop, restart, signal, events, reload, reopen, shutdown";
    let problem = format!("unknown command \"nonsense\": expected one of {commands}");
    refused.refused("usage", &problem);
    let started = operator.answer().fine();
    assert_eq!(started.program("web")["state"], "running");
    supervisor.end();
}

#[test]
fn the_end_of_input_is_no_disconnect() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    operator.send(format!("{}\n", order("restart", &["web"])).as_bytes());
    operator.end_input();
    let answer = operator.answer().fine();
    assert_eq!(answer.program("web")["restarts"], 1);
    operator.wait_end();
    supervisor.end();
}

#[test]
fn half_a_line_that_has_ended_is_closed_at_once() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    status(&path, "web");
    // Stopped, so that it finds the connection and its end together.
    supervisor.signal(libc::SIGSTOP);
    let mut operator = Operator::connect(&path);
    operator.send(&STATUS[..10]);
    operator.end_input();
    supervisor.signal(libc::SIGCONT);
    let began = Instant::now();
    operator.wait_end();
    assert!(began.elapsed() < Duration::from_secs(5), "it is not woken");
    supervisor.end();
}

#[test]
fn hostile_bytes_get_an_answer_or_an_end() {
    let (scene, path) = scene();
    let mut supervisor = scene.start();
    let nested = "[".repeat(60_000);
    let many = "{\"v\":1,\"command\":\"status\",\"programs\":[".to_owned()
        + &"\"a\",".repeat(10_000)
        + "\"a\"]}";
    let lines: [&[u8]; 8] = [
        b"",
        b"\0\0\0",
        b"GET / HTTP/1.1\r",
        b"\xff\xfe\xfd",
        b"null",
        b"{\"v\":1,\"command\":\"status\",\"programs\":[\"\\u0000\"]}",
        nested.as_bytes(),
        many.as_bytes(),
    ];
    for line in lines {
        let mut operator = Operator::connect(&path);
        operator.send(&[line, b"\n"].concat());
        let answer = operator.answer();
        assert_eq!(answer.last["ok"], false, "{answer:?}");
        operator.ask(&order("status", &["web"])).fine();
    }
    // At each byte of a request the client may die.
    for end in 0..STATUS.len() {
        Operator::connect(&path).send(&STATUS[..end]);
    }
    assert!(supervisor.is_running());
    assert_eq!(status(&path, "web")["restarts"], 0);
    supervisor.end();
}

/// How a client goes that has sent a part of its request.
#[derive(Debug, Clone, Copy)]
enum Going {
    /// Killed: the kernel closes its end.
    Killed,
    /// Killed with an answer that it has not read, which resets the connection.
    Reset,
    /// Its input has ended, and it still listens.
    Ended,
}

impl Going {
    fn go(self, path: &std::path::Path, part: &[u8]) {
        let mut operator = Operator::connect(path);
        if matches!(self, Self::Reset) {
            operator.send(STATUS);
            let stream = operator.stream();
            wait_for("an answer", || {
                let mut byte = [0];
                // SAFETY: an open descriptor, and a buffer of one byte.
                let peeked = unsafe {
                    let buffer = byte.as_mut_ptr().cast();
                    libc::recv(stream.as_raw_fd(), buffer, 1, libc::MSG_PEEK)
                };
                peeked == 1
            });
        }
        operator.send(part);
        if matches!(self, Self::Ended) {
            operator.end_input();
            operator.wait_end();
        }
    }
}

/// An order is carried out if and only if its whole line has arrived, whatever becomes of who sent
/// it, and nothing else happens.
#[test]
fn a_client_may_die_at_each_byte_of_its_order() {
    let (mut scene, path) = scene();
    scene.add("other", "hold");
    let supervisor = scene.start();
    status(&path, "web");
    let sockets = || {
        let kinds = process::descriptor_kinds(supervisor.pid());
        kinds.iter().filter(|kind| *kind == "socket").count()
    };
    wait_for("the end of the first client", || sockets() == 1);
    let look = || {
        let answer = Operator::ask_once(&path, &json!({"v": 1, "command": "status"})).fine();
        let fact = |program: &&serde_json::Value| {
            ["name", "state", "goal", "pid", "restarts"].map(|key| program[key].clone())
        };
        answer.programs().iter().map(fact).collect::<Vec<_>>()
    };
    for (command, word) in [("restart", "restarts"), ("stop", "state")] {
        let line = format!("{}\n", order(command, &["web"]));
        for going in [Going::Killed, Going::Reset, Going::Ended] {
            supervisor.wait("both", || look().iter().all(|one| one[1] == "running"));
            let before = look();
            for end in 0..line.len() {
                going.go(&path, &line.as_bytes()[..end]);
                assert_eq!(look(), before, "{going:?} after {end} bytes of {line}");
            }
            let former = status(&path, "web")[word].clone();
            going.go(&path, line.as_bytes());
            supervisor.wait(&format!("the {command}, {going:?}"), || {
                let web = status(&path, "web");
                let is_done = command == "stop" || web["state"] == "running";
                is_done && web[word] != former && web["state"] != "stopping"
            });
            assert_eq!(look()[1], before[1], "the other one");
            if command == "stop" {
                assert_eq!(status(&path, "web")["state"], "stopped");
                Operator::ask_once(&path, &order("start", &["web"])).fine();
            }
        }
    }
    wait_for("its descriptors", || sockets() == 1);
    let orders = supervisor.messages_with(&["web", "by uid="]);
    assert_eq!(orders.len(), 6 + 3, "{orders:?}");
    supervisor.end();
}

#[test]
fn another_version_is_refused_with_those_that_are_known() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let answer = operator.ask(&json!({"v": 2, "command": "stop", "all": true}));
    assert_eq!(answer.last["supported"], json!([1]), "{answer:?}");
    answer.refused("version", "unsupported version 2: expected 1");
    // It may ask again in a version that both know.
    let answer = operator.ask(&order("status", &["web"])).fine();
    assert_eq!(answer.program("web")["state"], "running");
    supervisor.end();
}

#[test]
fn many_unknown_names_and_patterns_delay_nothing() {
    let (mut scene, path) = scene();
    let tail = "x".repeat(50);
    for index in 0..2_000 {
        let down = json!({"command": ["true"], "autostart": false});
        scene.add_raw(&format!("p{index:04}{tail}"), down);
    }
    let supervisor = scene.start();
    let mut operator = Operator::connect(&path);
    let names: Vec<String> = (0..900).map(|index| format!("q{index:04}{tail}")).collect();
    let names: Vec<&str> = names.iter().map(String::as_str).collect();
    let asked = Instant::now();
    let answer = operator.ask(&order("stop", &names));
    let message = "900 of 900 programs failed";
    answer.refused("unknown-program", message);
    assert!(asked.elapsed() < Duration::from_secs(10));
    // They would be matched with the name of every event.
    let patterns = ["*a*b"; 17];
    let events = order_with("events", &patterns, json!({"snapshot": false}));
    let message = "invalid programs: expected at most 16 patterns";
    operator.ask(&events).refused("usage", message);
    supervisor.end();
}

#[test]
fn events_that_are_not_read_are_dropped_and_counted() {
    let (mut scene, path) = scene();
    scene.add_with(
        "loop",
        "exit 1",
        json!({"backoff": {"initial": 0, "max": 0}}),
    );
    let supervisor = scene.start();
    let mut follower = Operator::connect(&path);
    follower.send(b"{\"v\":1,\"command\":\"events\",\"programs\":[\"loop\"],\"snapshot\":false}\n");
    // More than the queue and the buffers of the socket take.
    let enough = supervisor.report_count() + 4000;
    supervisor.wait("many ends", || supervisor.report_count() > enough);
    let dropped = follower.event(|event| event["event"] == "dropped");
    assert!(dropped["count"].as_u64().expect("a number") > 0);
    follower.event(|event| event["event"] == "started");
    supervisor.end();
}

/// Waits until a supervisor without clients has nothing to do, and fails if it wakes up again.
#[track_caller]
fn assert_idle(supervisor: &Supervisor) {
    // A loop that never waits makes involuntary switches alone.
    let switches = || {
        let number = |key| process::status_number(supervisor.pid(), key).expect("a number");
        number("voluntary_ctxt_switches") + number("nonvoluntary_ctxt_switches")
    };
    let mut last = switches();
    wait_for("the end of all work", || {
        std::thread::sleep(Duration::from_millis(100));
        last == std::mem::replace(&mut last, switches())
    });
    let before = process_time(supervisor.pid());
    std::thread::sleep(Duration::from_secs(2));
    assert_eq!((switches(), process_time(supervisor.pid())), (last, before));
}

/// The CPU time of a process, in ticks.
fn process_time(pid: i32) -> u64 {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).expect("a process");
    let (_, fields) = stat.rsplit_once(')').expect("a name");
    let fields: Vec<&str> = fields.split_whitespace().collect();
    let ticks = fields[11..=12].iter().map(|field| field.parse::<u64>());
    ticks.map(|ticks| ticks.expect("a number")).sum()
}

#[test]
fn an_idle_socket_costs_no_wake_up() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    status(&path, "web");
    assert_idle(&supervisor);
    supervisor.end();
}

/// A wait for more programs than are looked at in a turn woke the supervisor all the time.
#[test]
fn a_wait_for_many_programs_costs_no_wake_up() {
    let (mut scene, path) = scene();
    for index in 0..200 {
        scene.add(&format!("p{index}"), "hold");
    }
    let supervisor = scene.start();
    let mut waiter = Operator::connect(&path);
    waiter.ask(&order("wait", &["*"])).fine();
    let down = order_with("wait", &["p*"], json!({"for": "down"}));
    waiter.send(format!("{down}\n").as_bytes());
    // Its answer comes after the wait has begun.
    status(&path, "web");
    assert_idle(&supervisor);
    Operator::ask_once(&path, &order("stop", &["p*"])).fine();
    assert_eq!(waiter.answer().fine().programs().len(), 200);
    supervisor.end();
}

#[test]
fn a_reload_by_a_signal_and_an_order_without_a_reader_leave_it_idle() {
    let (scene, path) = scene();
    let supervisor = scene.start();
    supervisor.wait_started("web", 1);
    supervisor.signal(libc::SIGHUP);
    supervisor.wait("a reload", || {
        !supervisor.messages_with(&["unchanged"]).is_empty()
    });
    assert_idle(&supervisor);
    let mut gone = Operator::connect(&path);
    gone.send(b"{\"v\":1,\"command\":\"restart\",\"programs\":[\"web\"],\"wait\":false}\n");
    drop(gone);
    supervisor.wait_started("web", 2);
    assert_idle(&supervisor);
    supervisor.end();
}

/// Sets the soft limit of open files of a process that runs, and returns the former one.
fn set_limit(pid: i32, limit: u64) -> u64 {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is live.
    let read = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, std::ptr::null(), &mut limits) };
    assert_eq!(read, 0, "{}", std::io::Error::last_os_error());
    let former = std::mem::replace(&mut limits.rlim_cur, limit);
    // SAFETY: `limits` is live, and nothing is written back.
    let set = unsafe { libc::prlimit(pid, libc::RLIMIT_NOFILE, &limits, std::ptr::null_mut()) };
    assert_eq!(set, 0, "{}", std::io::Error::last_os_error());
    former
}

#[test]
fn without_a_descriptor_a_connection_waits_and_costs_nothing() {
    if second_run::is_pid1() {
        return;
    }
    let (scene, path) = scene();
    let supervisor = scene.start();
    status(&path, "web");
    let limit = set_limit(supervisor.pid(), 3);
    let mut waiting = UnixStream::connect(&path).expect("the queue takes it");
    std::io::Write::write_all(&mut waiting, STATUS).expect("it is sent");
    let switches = || process::status_number(supervisor.pid(), "voluntary_ctxt_switches");
    let first = switches().expect("a number");
    std::thread::sleep(Duration::from_millis(2_500));
    let later = switches().expect("a number");
    assert!(later - first <= 12, "{first} to {later} switches");
    set_limit(supervisor.pid(), limit);
    let timeout = Some(Duration::from_secs(20));
    waiting.set_read_timeout(timeout).expect("a timeout");
    let mut byte = [0];
    waiting.read_exact(&mut byte).expect("an answer");
    assert_eq!(&byte, b"{");
    drop(waiting);
    assert_eq!(status(&path, "web")["state"], "running");
    supervisor.end();
}
