//! A request and its answer, line by line. A supervisor that has too many clients is asked again
//! for a while.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::answer::{self, Answer};
use super::connection::{Connection, Received};
use super::failure::Failure;
use crate::clock;
use crate::commands::FAILED;
use crate::control::protocol::VERSION;

/// How long a supervisor that is busy is asked again.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// The pause before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// The time that an answer may take which waits for nothing.
pub const ANSWER_TIME_MAX: Duration = Duration::from_secs(30);

/// A request under construction: keys and values.
#[derive(Debug, Clone)]
pub struct Request(Map<String, Value>);

impl Request {
    pub fn new(command: &str) -> Self {
        let mut keys = Map::new();
        keys.insert("v".to_owned(), VERSION.into());
        keys.insert("command".to_owned(), command.into());
        Self(keys)
    }

    /// Adds a key.
    pub fn with(mut self, key: &str, value: impl Into<Value>) -> Self {
        self.0.insert(key.to_owned(), value.into());
        self
    }

    /// Adds the names or patterns of programs; without any, all are meant.
    pub fn programs(self, names: &[String]) -> Self {
        match names {
            [] => self,
            names => self.with("programs", names),
        }
    }

    fn line(&self) -> String {
        let mut line = serde_json::to_string(&self.0).unwrap_or_default();
        line.push('\n');
        line
    }
}

/// An answer that is being read.
#[derive(Debug)]
pub struct Talk<'p> {
    path: &'p Path,
    request: String,
    connection: Connection,
    /// Until then a supervisor that is busy is asked again; `None` once it has answered.
    busy_until: Option<Instant>,
}

/// A line of an answer, with its text; or none until the deadline.
#[derive(Debug)]
pub enum Next {
    Answer(Answer, String),
    Nothing,
    End,
}

impl<'p> Talk<'p> {
    /// Sends a request to the socket at this path.
    pub fn open(path: &'p Path, request: &Request) -> Result<Self, Failure> {
        let request = request.line();
        Ok(Self {
            path,
            connection: connected(path, &request)?,
            request,
            busy_until: Some(clock::steady() + BUSY_TIME_MAX),
        })
    }

    /// Has it take "busy" for an answer.
    pub fn without_retries(mut self) -> Self {
        self.busy_until = None;
        self
    }

    /// Sends another request on the same connection, as the last one was answered.
    pub fn ask_again(&mut self, request: &Request) -> Result<(), Failure> {
        self.request = request.line();
        self.busy_until = None;
        self.connection.send(&self.request)
    }

    /// Reads the next line.
    pub fn next(&mut self, deadline: Option<Instant>) -> Result<Next, Failure> {
        loop {
            let line = match self.connection.receive(deadline)? {
                Received::Line(line) => line.to_owned(),
                Received::Nothing => return Ok(Next::Nothing),
                Received::End => return Ok(Next::End),
            };
            let answer = answer::parse(&line)?;
            let is_busy = matches!(&answer, Answer::Refused { code, .. } if code == "busy");
            let end = self.busy_until.filter(|_| is_busy);
            if end.is_none_or(|end| clock::until(end).is_zero()) {
                self.busy_until = None;
                return Ok(Next::Answer(answer, line));
            }
            clock::pause(BUSY_PAUSE);
            self.connection = connected(self.path, &self.request)?;
        }
    }

    /// Reads the next line of an answer that waits for nothing: it comes in time, and the last one
    /// has `ok`.
    pub fn expect(&mut self, deadline: Instant) -> Result<(Answer, String), Failure> {
        match self.next(Some(deadline))? {
            Next::Answer(Answer::Refused { code, message }, _) => {
                Err(Failure::refused(&code, &message))
            }
            Next::Answer(answer, line) => Ok((answer, line)),
            Next::Nothing => Err(no_answer()),
            Next::End => Err(closed()),
        }
    }
}

/// Connects and sends a request.
fn connected(path: &Path, request: &str) -> Result<Connection, Failure> {
    let mut connection = Connection::open(path)?;
    connection.send(request)?;
    Ok(connection)
}

/// The answer has not come in time.
pub fn no_answer() -> Failure {
    let message = "the supervisor does not answer; see whether it is stopped or overloaded";
    Failure::new(FAILED, message)
}

/// The connection was closed before the answer's end.
pub fn closed() -> Failure {
    let message = "the supervisor closed the connection before the end of its answer";
    Failure::new(FAILED, message)
}
