//! A client of the control socket that speaks the bare protocol, and the socket of a scene.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};

use serde_json::{Value, json};

use super::process::PATIENCE;
use super::{Scene, Supervisor, wait_until};

/// A connection to a supervisor.
pub struct Operator {
    stream: BufReader<UnixStream>,
}

/// What comes for one request.
#[derive(Debug, Clone)]
pub struct Answer {
    /// The lines with data.
    pub data: Vec<Value>,
    /// The line with `ok`.
    pub last: Value,
}

/// Has a scene's supervisor make its socket in the scene's directory.
pub fn control(scene: &mut Scene) -> PathBuf {
    scene.set("control", json!("control.sock"));
    scene.path("control.sock")
}

/// A request for programs.
pub fn order(command: &str, programs: &[&str]) -> Value {
    json!({"v": 1, "command": command, "programs": programs})
}

/// The same with further keys.
pub fn order_with(command: &str, programs: &[&str], mut keys: Value) -> Value {
    let object = keys.as_object_mut().expect("keys are an object");
    object.insert("v".to_owned(), json!(1));
    object.insert("command".to_owned(), json!(command));
    object.insert("programs".to_owned(), json!(programs));
    keys
}

impl Operator {
    /// Connects as soon as there is a socket.
    #[track_caller]
    pub fn connect(path: &Path) -> Self {
        let stream = wait_until("a control socket", || UnixStream::connect(path).ok());
        let limit = Some(PATIENCE);
        stream.set_read_timeout(limit).expect("a timeout");
        stream.set_write_timeout(limit).expect("a timeout");
        Self {
            stream: BufReader::new(stream),
        }
    }

    /// Connects, asks once, and goes.
    #[track_caller]
    pub fn ask_once(path: &Path, request: &Value) -> Answer {
        Self::connect(path).ask(request)
    }

    /// Sends a request, and returns its answer.
    #[track_caller]
    pub fn ask(&mut self, request: &Value) -> Answer {
        self.send(format!("{request}\n").as_bytes());
        self.answer()
    }

    /// Sends bytes as they are.
    #[track_caller]
    pub fn send(&mut self, bytes: &[u8]) {
        self.stream.get_mut().write_all(bytes).expect("it is sent");
    }

    /// Says that nothing more comes, as `nc -N` does.
    pub fn end_input(&mut self) {
        let ended = self.stream.get_mut().shutdown(Shutdown::Write);
        ended.expect("the input can be ended");
    }

    /// Returns the connection itself.
    pub fn stream(&mut self) -> &mut UnixStream {
        self.stream.get_mut()
    }

    /// Returns the next line; `None` at the end.
    #[track_caller]
    pub fn line(&mut self) -> Option<Value> {
        let mut line = String::new();
        // With unread input a close is a reset.
        match self.stream.read_line(&mut line) {
            Ok(0) => return None,
            Err(error) if error.kind() == std::io::ErrorKind::ConnectionReset => return None,
            read => read.expect("a line"),
        };
        let value = serde_json::from_str(&line);
        Some(value.unwrap_or_else(|error| panic!("{line:?}: {error}")))
    }

    /// Returns the next answer.
    #[track_caller]
    pub fn answer(&mut self) -> Answer {
        let mut data = Vec::new();
        loop {
            let line = self.line();
            let line = line.unwrap_or_else(|| panic!("the answer breaks off after {data:?}"));
            if line.get("ok").is_some() {
                return Answer { data, last: line };
            }
            data.push(line);
        }
    }

    /// Returns the next event for which `is_it` holds.
    #[track_caller]
    pub fn event(&mut self, is_it: impl Fn(&Value) -> bool) -> Value {
        loop {
            let line = self.line().expect("an event");
            if is_it(&line["event"]) {
                return line["event"].clone();
            }
        }
    }

    /// Waits for the end of the connection.
    #[track_caller]
    pub fn wait_end(&mut self) {
        let mut rest = Vec::new();
        let end = self.stream.read_to_end(&mut rest);
        let is_reset = |error: &std::io::Error| error.kind() == std::io::ErrorKind::ConnectionReset;
        assert!(
            end.as_ref().is_ok() || end.as_ref().is_err_and(is_reset),
            "{end:?}"
        );
    }
}

impl Answer {
    /// Returns what is said of each program.
    pub fn programs(&self) -> Vec<&Value> {
        let lines = self.data.iter();
        lines.filter_map(|line| line.get("program")).collect()
    }

    /// Returns what is said of this program.
    #[track_caller]
    pub fn program(&self, name: &str) -> &Value {
        let found = self.programs().into_iter().find(|one| one["name"] == name);
        found.unwrap_or_else(|| panic!("nothing of {name} in {self:?}"))
    }

    /// Returns what is wrong with this program.
    #[track_caller]
    pub fn problem(&self, name: &str) -> &Value {
        let problems = self.data.iter().filter_map(|line| line.get("problem"));
        let found = problems.into_iter().find(|one| one["program"] == name);
        found.unwrap_or_else(|| panic!("no problem of {name} in {self:?}"))
    }

    /// Fails unless all is well.
    #[track_caller]
    pub fn fine(self) -> Self {
        assert_eq!(self.last["ok"], true, "{self:?}");
        self
    }

    /// Fails unless this is wrong: the code and the message.
    #[track_caller]
    pub fn refused(self, code: &str, message: &str) -> Self {
        assert_eq!(self.last["ok"], false, "{self:?}");
        let error = &self.last["error"];
        let found = (error["code"].as_str(), error["message"].as_str());
        assert_eq!(found, (Some(code), Some(message)), "{self:?}");
        self
    }
}

/// The state of a program, as its supervisor tells it.
#[track_caller]
pub fn status(path: &Path, name: &str) -> Value {
    let answer = Operator::ask_once(path, &order("status", &[name])).fine();
    answer.program(name).clone()
}

/// Waits for a state of a program.
#[track_caller]
pub fn wait_state(supervisor: &Supervisor, path: &Path, name: &str, state: &str) -> Value {
    let what = format!("{name} {state}");
    let mut found = Value::Null;
    supervisor.wait(&what, || {
        found = status(path, name);
        found["state"] == state
    });
    found
}
