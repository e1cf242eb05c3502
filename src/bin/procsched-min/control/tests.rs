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
        let directory = tempfile::tempdir().expect("a directory");
        let config = br#"{"programs": {"web": ["true"]}}"#;
        let mut config = Config::parse(config, "test", directory.path()).expect("a config");
        let web = ChildSpec::new("web", ["true"]).autostart(false);
        let scheduler = ProcessScheduler::builder("/")
            .program(web)
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
        let ready = vec![PollFlags::POLLIN; self.server.sessions.len() + 1];
        self.server.on_ready(ready.into_iter());
        self.server.serve(&mut self.scheduler, &[], true);
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

mod hunt;
