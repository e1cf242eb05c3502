//! A server and its scheduler, in the loop of the binary, and the client that follows it.

use std::collections::BTreeSet;
use std::io::{BufRead, BufReader, ErrorKind, Read};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::rc::Rc;
use std::time::Duration;

use nix::sys::socket::{setsockopt, sockopt::SndBuf};
use procsched::config::Config;
use procsched::{ProcessScheduler, ProgramState, ProgramStatus, Reap, Status};
use serde_json::{Value, json};
use tempfile::TempDir;

use super::book::Role;
use crate::control::client::OUTPUT_BYTES_MAX;
use crate::control::{About, CLIENTS_MAX, Feed, Server};
use crate::output::Outputs;
use crate::reload::Reloader;
use crate::turn::turn;
use crate::upward::Upward;

/// The names that guests have.
pub const GUESTS: [&str; 3] = ["guest-x", "guest-y", "guest-z"];

/// The least that the system buffers for a connection is about twice this.
const NARROW_BYTES: usize = 2048;

/// A program that no order names: reloads add, change and remove it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Guest {
    pub name: &'static str,
    /// What its definition differs in.
    pub version: usize,
    pub is_started: bool,
}

/// A supervisor in a directory of its own.
pub struct World {
    pub server: Server,
    pub scheduler: ProcessScheduler,
    outputs: Outputs,
    /// The other end of stderr.
    stderr: UnixStream,
    /// The client that follows everything; it is the first.
    follower: Option<BufReader<UnixStream>>,
    line: Vec<u8>,
    directory: TempDir,
    /// The guests of the config, unless that has an error, and those of the last reload.
    config: Option<Vec<Guest>>,
    guests: Vec<Guest>,
    /// True if what is sent to a client is hardly buffered.
    is_narrow: bool,
    /// The connections since the last turn.
    pub arrivals: usize,
    /// True if there may have been more clients than the server serves.
    pub was_full: bool,
    pub turns: usize,
}

fn config(directory: &Path, programs: &[(&'static str, Role, bool)], guests: &[Guest]) -> Vec<u8> {
    let program = |role| match role {
        Role::Sleeper => json!({"command": ["sleep", "1000"]}),
        Role::Stubborn => json!({
            "command": ["sh", "-c", "trap '' TERM; exec sleep 1000"], "stop_timeout": "20ms",
        }),
        Role::Once => json!({"command": ["true"], "restart": "never"}),
        Role::Failing => json!({"command": ["false"]}),
    };
    let mut all = json!({});
    for (name, role, is_started) in programs {
        all[name] = program(*role);
        all[name]["autostart"] = json!(is_started);
    }
    for guest in guests {
        let seconds = (1000 + guest.version).to_string();
        let command = ["sleep", &*seconds];
        all[guest.name] = json!({"command": command, "autostart": guest.is_started});
    }
    let backoff = json!({"initial": 1000, "max": 1000});
    let config = json!({
        "err_dir": directory, "defaults": {"backoff": backoff}, "programs": all,
    });
    config.to_string().into_bytes()
}

impl World {
    pub fn new(programs: &[(&'static str, Role, bool)], is_narrow: bool) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("config");
        std::fs::write(&path, config(directory.path(), programs, &[])).expect("a file");
        let mut config = Config::load(&path).expect("a config");
        let about = About {
            config: "config".to_owned(),
            reloader: Rc::new(Reloader::new(&mut config, Upward::default())),
        };
        let (stderr, theirs) = UnixStream::pair().expect("a pair");
        stderr.set_nonblocking(true).expect("non-blocking");
        let outputs = Outputs::with_stderr(theirs);
        let feed = Feed::default();
        let (events, reports) = (feed.clone(), feed.clone());
        let builder = config.into_builder().reap(Reap::Own).keep_running();
        let builder = builder.on_event(move |event| events.event(event));
        let builder = builder.error_handler(move |name, report| reports.report(name, report));
        let scheduler = builder.kill_on_drop().build().expect("a scheduler");
        let socket = directory.path().join("socket");
        let server = Server::open(&socket, None, about, feed, outputs.clone());
        let mut world = Self {
            server: server.expect("a socket"),
            scheduler,
            outputs,
            stderr,
            follower: None,
            line: Vec::new(),
            directory,
            config: Some(Vec::new()),
            guests: Vec::new(),
            is_narrow,
            arrivals: 1,
            was_full: false,
            turns: 0,
        };
        world.follow();
        world
    }

    fn follow(&mut self) {
        use std::io::Write;
        let mut stream = UnixStream::connect(self.socket()).expect("a connection");
        stream.set_nonblocking(true).expect("non-blocking");
        let request = b"{\"v\":1,\"command\":\"events\",\"snapshot\":false}\n";
        stream.write_all(request).expect("a request");
        self.follower = Some(BufReader::new(stream));
    }

    /// Has nothing follow any more.
    pub fn unfollow(&mut self) {
        self.follower = None;
    }

    pub fn socket(&self) -> PathBuf {
        self.directory.path().join("socket")
    }

    /// Writes the config anew, with these guests or with an error.
    pub fn rewrite_config(
        &mut self,
        programs: &[(&'static str, Role, bool)],
        guests: Option<Vec<Guest>>,
    ) {
        let bytes = match &guests {
            Some(guests) => config(self.directory.path(), programs, guests),
            None => b"{".to_vec(),
        };
        std::fs::write(self.directory.path().join("config"), bytes).expect("a file");
        self.config = guests;
    }

    /// Takes a turn, and returns the events of orders that the follower has got.
    pub fn turn(&mut self, timeout: Duration) -> Result<Vec<Value>, String> {
        match self.turn_or_end(timeout)? {
            (Status::Running, events) => Ok(events),
            (Status::Stopped, _) => Err("the scheduler has ended".to_owned()),
        }
    }

    /// Does the same, and says whether everything has ended by that.
    pub fn turn_or_end(&mut self, timeout: Duration) -> Result<(Status, Vec<Value>), String> {
        self.was_full |= self.server.sessions.len() + self.arrivals > CLIENTS_MAX;
        self.arrivals = 0;
        self.turns += 1;
        let (scheduler, server) = (&mut self.scheduler, &mut self.server);
        let status = turn(
            scheduler,
            &self.outputs,
            Some(server),
            &Upward::default(),
            Some(timeout),
        );
        for session in &self.server.sessions {
            let queued = session.client.queued();
            if queued > OUTPUT_BYTES_MAX {
                return Err(format!("{queued} bytes are queued for a client"));
            }
        }
        if self.server.sessions.len() > CLIENTS_MAX {
            return Err("there are too many clients".to_owned());
        }
        for session in self
            .server
            .sessions
            .iter()
            .skip(1)
            .filter(|_| self.is_narrow)
        {
            // The connection may have ended.
            let _ = setsockopt(&session.client, SndBuf, &NARROW_BYTES);
        }
        self.check_stderr()?;
        self.check_guests()?;
        Ok((status, self.events()?))
    }

    /// Guests come and go all at once, and as the config has it.
    fn check_guests(&mut self) -> Result<(), String> {
        let names = |guests: &[Guest]| -> BTreeSet<&'static str> {
            guests.iter().map(|guest| guest.name).collect()
        };
        let known = names(&GUESTS.map(|name| Guest {
            name,
            version: 0,
            is_started: false,
        }));
        let stays = |name: &&&'static str| {
            let program = self.scheduler.program(name);
            let is_going = |program: &ProgramStatus| {
                program.state() == ProgramState::Stopping && !program.is_wanted()
            };
            program.is_some_and(|program| !is_going(&program))
        };
        let there: BTreeSet<&'static str> = known.iter().filter(stays).copied().collect();
        let is_stopping = self.scheduler.is_stopping();
        if there == names(&self.guests) || is_stopping {
            return Ok(());
        }
        match &self.config {
            Some(config) if names(config) == there => self.guests.clone_from(config),
            config => {
                return Err(format!(
                    "{there:?} are there, and the config has {config:?}"
                ));
            }
        }
        Ok(())
    }

    /// Returns what is not as it should be of the guests, or not yet.
    pub fn unsettled_guest(&self) -> Option<String> {
        GUESTS.iter().find_map(|name| {
            let guest = self.guests.iter().find(|guest| guest.name == *name);
            let state = self.scheduler.program(name).map(|program| program.state());
            let is_right = match (guest, state) {
                (None, None) | (Some(_), Some(ProgramState::Running)) => true,
                (Some(guest), Some(ProgramState::Stopped)) => !guest.is_started,
                _ => false,
            };
            (!is_right).then(|| format!("{name} is {state:?}, and {guest:?} is its definition"))
        })
    }

    fn check_stderr(&mut self) -> Result<(), String> {
        let mut said = Vec::new();
        // It ends with what is there now.
        let _ = self.stderr.read_to_end(&mut said);
        let said = String::from_utf8_lossy(&said);
        let bug = said.lines().find(|line| line.contains("internal error"));
        bug.map_or(Ok(()), |bug| Err(bug.to_owned()))
    }

    fn events(&mut self) -> Result<Vec<Value>, String> {
        let mut orders = Vec::new();
        let Some(follower) = &mut self.follower else {
            return Ok(orders);
        };
        loop {
            match follower.read_until(b'\n', &mut self.line) {
                Ok(0) => return Err("the client that follows was closed".to_owned()),
                Ok(_) if self.line.ends_with(b"\n") => {}
                Ok(_) => continue,
                Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(orders),
                Err(error) => return Err(format!("the client that follows: {error}")),
            }
            let value: Value = serde_json::from_slice(&self.line).expect("JSON");
            self.line.clear();
            match value["event"]["event"].as_str() {
                Some("order") => orders.push(value["event"].clone()),
                Some("dropped") => return Err(format!("an event is lost: {value}")),
                _ => {}
            }
        }
    }

    /// True if the follower has got everything that was for it.
    pub fn is_followed(&self) -> bool {
        let first = self.server.sessions.first();
        first.is_some_and(|session| session.client.queued() == 0)
    }

    /// Returns the number of sockets of the server: the listener, and one for each connection.
    pub fn sockets(&self) -> usize {
        let path = self.socket();
        let path = path.to_str().expect("UTF-8");
        let all = std::fs::read_to_string("/proc/net/unix").expect("a list of sockets");
        all.lines().filter(|line| line.ends_with(path)).count()
    }
}
