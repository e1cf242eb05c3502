//! What the manager above `run` hears of it: the messages of sd_notify(3), to a socket of the test.

use std::collections::VecDeque;
use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};
use std::process::Command;

use nix::time::{ClockId, clock_gettime};
use serde_json::json;

use crate::common::operator::{Operator, control, wait_state};
use crate::common::{Scene, Supervisor, probe};

/// What filled the queue before.
const FILLER: &[u8] = b"FILLER=1";

/// A manager: its socket, and what has come.
struct Manager {
    socket: UnixDatagram,
    queue: VecDeque<String>,
    /// All lines of `STATUS=` so far.
    lines: Vec<String>,
}

impl Manager {
    fn at(scene: &Scene) -> Self {
        Self::of(UnixDatagram::bind(scene.path("notify")).expect("a socket"))
    }

    fn of(socket: UnixDatagram) -> Self {
        socket.set_nonblocking(true).expect("non-blocking");
        Self {
            socket,
            queue: VecDeque::new(),
            lines: Vec::new(),
        }
    }

    fn read(&mut self) {
        let mut bytes = [0; 8192];
        loop {
            match self.socket.recv(&mut bytes) {
                Ok(length) => {
                    let message = String::from_utf8(bytes[..length].to_vec()).expect("UTF-8");
                    match message.strip_prefix("STATUS=") {
                        Some(line) => self.lines.push(line.to_owned()),
                        None if message.as_bytes() == FILLER => {}
                        None => self.queue.push_back(message),
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(error) => panic!("the manager's socket: {error}"),
            }
        }
    }

    /// Waits for the next message that is no line.
    #[track_caller]
    fn next(&mut self, supervisor: &Supervisor) -> String {
        supervisor.wait("a message to the manager", || {
            self.read();
            !self.queue.is_empty()
        });
        self.queue.pop_front().expect("a message")
    }

    /// Waits for a line.
    #[track_caller]
    fn wait_line(&mut self, supervisor: &Supervisor, line: &str) {
        supervisor.wait(&format!("STATUS={line}"), || {
            self.read();
            self.lines.iter().any(|sent| sent == line)
        });
    }

    /// Fills the queue of the socket. Each sender has room for some of it.
    fn fill(&self) {
        let address = self.socket.local_addr().expect("an address");
        let sent_by_one = || {
            let other = UnixDatagram::unbound().expect("a socket");
            other.set_nonblocking(true).expect("non-blocking");
            let results = (0..100_000).map(|_| other.send_to_addr(FILLER, &address));
            results.take_while(Result::is_ok).count()
        };
        let is_full = (0..1_000).any(|_| sent_by_one() == 0);
        assert!(is_full, "a queue has an end");
    }
}

/// The command of a scene with the address of its manager.
fn notified(scene: &Scene) -> Command {
    let mut command = scene.command();
    command.env("NOTIFY_SOCKET", scene.path("notify"));
    command
}

fn monotonic_microseconds() -> u64 {
    let now = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("a clock");
    now.tv_sec() as u64 * 1_000_000 + now.tv_nsec() as u64 / 1_000
}

/// `web` waits for `migrate`, which waits for a file.
fn slow_start(scene: &mut Scene) {
    let once = json!({"oneshot": true});
    scene.add_with("migrate", "wait-file go", once);
    scene.add_with("web", "hold", json!({"requires": ["migrate"]}));
}

#[test]
fn the_manager_hears_ready_when_all_are_up_and_stopping_at_the_end() {
    let mut scene = Scene::new();
    slow_start(&mut scene);
    let mut manager = Manager::at(&scene);
    let mut supervisor = scene.launch(notified(&scene));
    manager.wait_line(&supervisor, "1 starting: migrate, 1 pending: web");
    assert!(manager.queue.is_empty(), "{:?}", manager.queue);
    scene.write("go", "");
    assert_eq!(manager.next(&supervisor), "READY=1");
    supervisor.wait_started("web", 1);
    manager.wait_line(&supervisor, "1 running, 1 exited");
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(manager.next(&supervisor), "STOPPING=1");
    manager.read();
    assert!(manager.queue.is_empty(), "{:?}", manager.queue);
}

/// A program that cannot come up must not keep the manager waiting.
#[test]
fn what_is_blocked_or_has_failed_delays_no_readiness() {
    let mut scene = Scene::new();
    scene.add_with("migrate", "exit 1", json!({"oneshot": true}));
    scene.add_with("web", "hold", json!({"requires": ["migrate"]}));
    let backoff = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add_with("crashing", "exit 1", backoff);
    scene.add_with("off", "hold", json!({"autostart": false}));
    let mut manager = Manager::at(&scene);
    let supervisor = scene.launch(notified(&scene));
    assert_eq!(manager.next(&supervisor), "READY=1");
    let line = "1 pending: web, 1 backoff: crashing, 1 failed: migrate, 1 stopped";
    manager.wait_line(&supervisor, line);
    supervisor.end();
}

#[test]
fn a_stop_before_everything_is_up_is_no_readiness() {
    let mut scene = Scene::new();
    slow_start(&mut scene);
    let mut manager = Manager::at(&scene);
    let supervisor = scene.launch(notified(&scene));
    manager.wait_line(&supervisor, "1 starting: migrate, 1 pending: web");
    supervisor.signal(libc::SIGTERM);
    assert_eq!(manager.next(&supervisor), "STOPPING=1");
    supervisor.ends_with(0);
    manager.read();
    assert!(manager.queue.is_empty(), "{:?}", manager.queue);
}

/// systemd counts an end before `READY=1` as a failure, with code 0 too.
#[test]
fn programs_that_have_all_ended_were_up() {
    let mut scene = Scene::new();
    scene.add_with("migrate", "exit 0", json!({"oneshot": true}));
    scene.set("control", json!(false));
    let mut manager = Manager::at(&scene);
    let supervisor = scene.launch(notified(&scene));
    assert_eq!(manager.next(&supervisor), "READY=1");
    assert_eq!(manager.next(&supervisor), "STOPPING=1");
    supervisor.ends_with(0);
}

#[test]
fn a_reload_is_announced_and_concluded_whatever_comes_of_it() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    scene.add("web", "hold");
    let mut manager = Manager::at(&scene);
    let supervisor = scene.launch(notified(&scene));
    assert_eq!(manager.next(&supervisor), "READY=1");
    let mut operator = Operator::connect(&path);
    let reload = json!({"v": 1, "command": "reload"});
    let check = |manager: &mut Manager, reload: &mut dyn FnMut()| {
        let before = monotonic_microseconds();
        reload();
        let message = manager.next(&supervisor);
        let at = message.strip_prefix("RELOADING=1\nMONOTONIC_USEC=");
        let at = at.and_then(|at| at.parse().ok());
        let at: u64 = at.unwrap_or_else(|| panic!("{message:?}"));
        let now = monotonic_microseconds();
        assert!((before..=now).contains(&at), "{before} {at} {now}");
        assert_eq!(manager.next(&supervisor), "READY=1");
    };
    scene.add("cache", "hold");
    scene.write("procsched.json", scene.config());
    check(&mut manager, &mut || supervisor.signal(libc::SIGHUP));
    manager.wait_line(&supervisor, "2 running");
    scene.remove("cache");
    scene.write("procsched.json", scene.config());
    let mut dry = reload.clone();
    dry["dry_run"] = json!(true);
    operator.ask(&dry).fine();
    check(&mut manager, &mut || _ = operator.ask(&reload).fine());
    manager.wait_line(&supervisor, "1 running");
    scene.write("procsched.json", "{");
    check(&mut manager, &mut || supervisor.signal(libc::SIGHUP));
    let refused = "the config has an error";
    check(&mut manager, &mut || {
        _ = operator.ask(&reload).refused("invalid-config", refused);
    });
    manager.read();
    assert!(manager.queue.is_empty(), "{:?}", manager.queue);
    supervisor.end();
}

#[test]
fn the_line_follows_orders_and_crashes() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let backoff = json!({"backoff": {"initial": "1h", "max": "1h"}});
    scene.add("db", "hold");
    scene.add_with("web", "wait-file crash ; exit 3", backoff);
    let mut manager = Manager::at(&scene);
    let supervisor = scene.launch(notified(&scene));
    manager.wait_line(&supervisor, "2 running");
    scene.write("crash", "");
    manager.wait_line(&supervisor, "1 running, 1 backoff: web");
    let mut operator = Operator::connect(&path);
    // Nothing but the order itself makes a turn here.
    let stop = json!({"v": 1, "command": "stop", "programs": ["web"], "wait": false});
    operator.ask(&stop).fine();
    manager.wait_line(&supervisor, "1 running, 1 stopped");
    wait_state(&supervisor, &path, "web", "stopped");
    supervisor.end();
}

#[test]
fn the_watchdog_is_fed_without_a_control_socket_too() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let name = format!("procsched-{}", scene.mark());
    let address = SocketAddr::from_abstract_name(name.as_bytes()).expect("a name");
    let mut manager = Manager::of(UnixDatagram::bind_addr(&address).expect("a socket"));
    let mut command = scene.command();
    command
        .arg("--no-control")
        .env("NOTIFY_SOCKET", format!("@{name}"))
        .env("WATCHDOG_USEC", "100000");
    let mut supervisor = scene.launch(command);
    let mut counts = [0, 0];
    while counts[0] < 1 || counts[1] < 4 {
        match &*manager.next(&supervisor) {
            "READY=1" => counts[0] += 1,
            "WATCHDOG=1" => counts[1] += 1,
            other => panic!("{other:?}"),
        }
    }
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(supervisor.messages_with(&["warning"]), [""; 0]);
}

#[test]
fn the_watchdog_of_another_process_is_left_alone() {
    let mut scene = Scene::new();
    scene.add("web", "hold");
    let mut manager = Manager::at(&scene);
    let mut command = notified(&scene);
    // It would be due in each turn.
    command.env("WATCHDOG_USEC", "1").env("WATCHDOG_PID", "2");
    let mut supervisor = scene.launch(command);
    assert_eq!(manager.next(&supervisor), "READY=1");
    supervisor.signal(libc::SIGUSR1);
    supervisor.wait_message(&["web", "running"]);
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
    assert_eq!(manager.next(&supervisor), "STOPPING=1");
    manager.read();
    assert!(manager.queue.is_empty(), "{:?}", manager.queue);
}

/// Supervision went on while the manager did not read, and what counts has come when it did.
#[test]
fn a_manager_that_does_not_read_holds_up_nothing() {
    let mut scene = Scene::new();
    let path = control(&mut scene);
    let at_once = json!({"backoff": {"initial": 0, "max": 0}});
    scene.add_with("web", "count runs ; say x ; exit 1", at_once);
    let mut manager = Manager::at(&scene);
    manager.fill();
    let mut supervisor = scene.launch(notified(&scene));
    supervisor.wait_reports_of("web", 100);
    let mut operator = Operator::connect(&path);
    let stop = json!({"v": 1, "command": "stop", "programs": ["web"]});
    operator.ask(&stop).fine();
    assert_eq!(manager.next(&supervisor), "READY=1");
    manager.wait_line(&supervisor, "1 stopped");
    manager.fill();
    assert_eq!(supervisor.stop(), 0, "{}", supervisor.said());
}

#[test]
fn a_socket_that_cannot_be_used_is_one_warning() {
    let long = format!("/{}", "x".repeat(107));
    let long_problem = format!("invalid NOTIFY_SOCKET \"{long}\": expected an absolute path");
    let cases = [
        (
            "run/notify",
            "invalid NOTIFY_SOCKET \"run/notify\": expected an absolute path",
        ),
        (&*long, &*long_problem),
        (
            "/nowhere/notify",
            "failed to notify NOTIFY_SOCKET: No such file or directory",
        ),
    ];
    for (value, problem) in cases {
        let mut scene = Scene::new();
        scene.set("control", json!(false));
        scene.add_with("web", "exit 0", json!({"restart": "never"}));
        let mut command = scene.command();
        command.env("NOTIFY_SOCKET", value);
        let mut supervisor = scene.launch(command);
        assert_eq!(supervisor.wait_exit(), 0, "{}", supervisor.said());
        let warnings = supervisor.messages_with(&["warning"]);
        assert_eq!(warnings.len(), 1, "{warnings:?}");
        assert!(warnings[0].contains(problem), "{warnings:?}");
    }
}

#[test]
fn neither_programs_nor_the_error_handler_get_the_address() {
    let mut scene = Scene::new();
    scene.set("control", json!(false));
    scene.set("error_handler", probe("dump handler"));
    let never = json!({"restart": "never"});
    scene.add_with("web", "dump program ; exit 0", never);
    let _manager = Manager::at(&scene);
    let mut command = notified(&scene);
    command
        .env("WATCHDOG_USEC", "1000000")
        .env("WATCHDOG_PID", "2");
    scene.launch(command).ends_with(0);
    for file in ["program", "handler"] {
        let dump = scene.wait_dump(file);
        for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
            assert!(dump["env"].get(name).is_none(), "{file} has {name}");
        }
    }
}
