//! The server without a supervisor around it.

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use procsched::config::Config;
use procsched::{ChildSpec, Reap};
use tempfile::TempDir;

use super::*;
use crate::upward::Upward;

/// A server, and the scheduler of a program that is down.
struct Room {
    server: Server,
    scheduler: ProcessScheduler,
    /// The other end of stderr.
    stderr: UnixStream,
    directory: TempDir,
}

impl Room {
    fn new() -> Self {
        Self::with(vec![ChildSpec::new("web", ["true"]).autostart(false)])
    }

    fn with(programs: Vec<ChildSpec>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let config = br#"{"programs": {"web": ["true"]}}"#;
        let mut config = Config::parse(config, "test", directory.path()).expect("a config");
        let scheduler = ProcessScheduler::builder("/")
            .programs(programs)
            .err_dir(directory.path())
            .reap(Reap::Own)
            .build();
        let about = About {
            config: "test".to_owned(),
            reloader: Rc::new(Reloader::new(&mut config, Upward::default())),
        };
        let (stderr, theirs) = UnixStream::pair().expect("a pair");
        stderr.set_nonblocking(true).expect("non-blocking");
        let outputs = Outputs::with_stderr(theirs);
        let path = directory.path().join("socket");
        let server = Server::open(&path, None, about, Feed::default(), outputs);
        Self {
            server: server.expect("a socket"),
            scheduler: scheduler.expect("a scheduler"),
            stderr,
            directory,
        }
    }

    fn connect(&self) -> BufReader<UnixStream> {
        let stream = UnixStream::connect(self.directory.path().join("socket"));
        let stream = stream.expect("a connection");
        let patience = Some(Duration::from_secs(20));
        stream.set_read_timeout(patience).expect("a timeout");
        BufReader::new(stream)
    }

    /// Returns what was said since the last time.
    fn said(&mut self) -> String {
        let mut bytes = Vec::new();
        // It ends with what is there now.
        let _ = self.stderr.read_to_end(&mut bytes);
        String::from_utf8_lossy(&bytes).into_owned()
    }

    /// Takes a turn of the server, in which everything is ready.
    fn serve(&mut self) {
        self.take_turn(true);
    }

    fn take_turn(&mut self, is_last: bool) {
        while self.server.rests() && !is_last {
            clock::pause(Duration::from_millis(1));
        }
        let ready = vec![PollFlags::POLLIN; self.server.sessions.len() + 1];
        self.server.on_ready(ready.into_iter());
        let changed = self.scheduler.take_changed();
        let (server, scheduler) = (&mut self.server, &mut self.scheduler);
        server.serve(scheduler, &changed, is_last);
        scheduler.watch_changes(server.is_followed());
    }

    /// How often a waiting order has noted a program, or looked at it.
    fn steps(&self) -> usize {
        let tasks = self.server.sessions.iter().map(|session| &session.task);
        let steps = tasks.map(|task| match task {
            Task::Order(order) => order.steps,
            Task::Idle | Task::Follow(..) => 0,
        });
        steps.sum()
    }
}

fn send(client: &mut BufReader<UnixStream>, request: &str) {
    let sent = client.get_mut().write_all(request.as_bytes());
    sent.expect("it is sent");
}

fn line(client: &mut BufReader<UnixStream>) -> String {
    let mut line = String::new();
    client.read_line(&mut line).expect("a line");
    line
}

const STATUS: &str = "{\"v\":1,\"command\":\"status\"}\n";

#[test]
fn a_panic_ends_one_connection_and_is_reported_once() {
    let mut room = Room::new();
    let (mut bad, mut good) = (room.connect(), room.connect());
    room.serve();
    assert_eq!(room.server.sessions.len(), 2);
    room.server.sessions[0].plant = Some(|| panic!("planted"));
    send(&mut bad, STATUS);
    send(&mut good, STATUS);
    room.serve();
    assert_eq!(room.server.sessions.len(), 1);
    assert!(line(&mut good).starts_with("{\"program\":"));
    assert!(line(&mut good).starts_with("{\"ok\":true"));
    let end = bad.read(&mut [0]);
    let is_reset = |error: &std::io::Error| error.kind() == ErrorKind::ConnectionReset;
    assert!(end.as_ref().is_ok_and(|read| *read == 0) || end.as_ref().is_err_and(is_reset));
    let said = room.said();
    assert_eq!(said.matches("planted").count(), 1, "{said}");
    send(&mut good, STATUS);
    room.serve();
    assert!(line(&mut good).starts_with("{\"program\":"));
    assert_eq!(room.said(), "");
}

/// Twelve clients wait for ten thousand programs, all of which change: each turn told every client of
/// every program, while deaths waited.
#[test]
fn what_waiting_clients_look_at_in_a_turn_is_bounded() {
    const PROGRAMS: usize = 10_000;
    const CLIENTS: usize = 12;
    const STEPS_MAX: usize = CLIENTS * (CHANGES_PER_TURN + 64);
    let programs = (0..PROGRAMS).map(|index| {
        let name = format!("p{index}");
        ChildSpec::new(name, ["true"]).autostart(false)
    });
    let mut room = Room::with(programs.collect());
    let mut clients: Vec<_> = (0..CLIENTS).map(|_| room.connect()).collect();
    for client in &mut clients {
        let words = "\"programs\":[\"*\"],\"for\":\"running\"";
        send(
            client,
            &format!("{{\"v\":1,\"command\":\"wait\",{words}}}\n"),
        );
    }
    let mut turns = 0;
    while room.steps() < CLIENTS * PROGRAMS {
        room.take_turn(false);
        turns += 1;
        assert!(turns < 100_000, "{} steps", room.steps());
    }
    // Every one is noted by every client, a few in each turn, and looked at.
    let names: Vec<_> = room.scheduler.names().cloned().collect();
    for name in &names {
        room.scheduler.stop_program(name).expect("it is there");
    }
    let first = room.steps();
    let mut before = first;
    while room.steps() < first + 2 * CLIENTS * PROGRAMS {
        let is_due = room.server.next_deadline().is_some();
        assert!(is_due, "nothing more is to be done after {before} steps");
        room.take_turn(false);
        assert!(room.steps() - before <= STEPS_MAX, "in one turn");
        before = room.steps();
        turns += 1;
        assert!(turns < 200_000, "{before} steps");
    }
    // The same if it is not known which have changed.
    for session in &mut room.server.sessions {
        if let Task::Order(order) = &mut session.task {
            order.look_at_all();
        }
    }
    assert!(room.steps() - before <= STEPS_MAX, "at once");
    let first = room.steps();
    while room.steps() < first + CLIENTS * PROGRAMS {
        before = room.steps();
        room.take_turn(false);
        assert!(room.steps() - before <= STEPS_MAX, "in one turn");
        turns += 1;
        assert!(turns < 300_000, "{before} steps");
    }
}

mod hunt;
