//! A request and its answer, line by line. A supervisor that has too many clients is asked again
//! for a while.

use std::path::Path;
use std::time::{Duration, Instant};

use serde_json::{Map, Value};

use super::answer::{self, Answer};
use super::connection::{Connection, Received};
use super::failure::{Failure, gave_up};
use crate::clock;
use crate::commands::{FAILED, TIMED_OUT};
use crate::control::protocol::VERSION;
use crate::messages::SELF;
use crate::stdio::complain;

/// How long a supervisor that is busy is asked again.
const BUSY_TIME_MAX: Duration = Duration::from_secs(5);

/// The pause before it is asked again.
const BUSY_PAUSE: Duration = Duration::from_millis(100);

/// How long nothing may come of an answer that waits for nothing, before a message says so.
const QUIET_TIME: Duration = Duration::from_secs(3);

/// How long nothing may come before the command gives up, without `--timeout`.
const SILENCE_TIME_MAX: Duration = Duration::from_secs(10);

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
    /// When `--timeout` expires.
    end: Option<Instant>,
    /// Until then a supervisor that is busy is asked again; `None` once it has answered.
    busy_until: Option<Instant>,
    /// True if a message has said that nothing comes.
    is_silence_told: bool,
}

/// A line of an answer, with its text; or none until the deadline.
#[derive(Debug)]
pub enum Next {
    Answer(Answer, String),
    Nothing,
    End,
}

impl<'p> Talk<'p> {
    /// Sends a request to the socket at this path. `end` is when `--timeout` expires.
    pub fn open(path: &'p Path, request: &Request, end: Option<Instant>) -> Result<Self, Failure> {
        let request = request.line();
        Ok(Self {
            path,
            connection: connected(path, &request, end)?,
            request,
            end,
            busy_until: Some(clock::steady() + BUSY_TIME_MAX),
            is_silence_told: false,
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
        self.connection.send(&self.request, self.end)
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
            if self.is_late()
                && let Answer::Refused { message, .. } = answer
            {
                return Err(Failure::new(TIMED_OUT, message));
            }
            clock::pause(BUSY_PAUSE);
            self.connection = connected(self.path, &self.request, self.end)?;
        }
    }

    /// True if `--timeout` has expired, whatever still comes.
    pub fn is_late(&self) -> bool {
        self.end.is_some_and(|end| clock::until(end).is_zero())
    }

    /// Reads the next line of an answer that waits for nothing: it comes in time, and the last one
    /// has `ok`.
    pub fn expect(&mut self) -> Result<(Answer, String), Failure> {
        match self.next_soon()? {
            Next::Answer(..) if self.is_late() => Err(self.no_answer()),
            Next::Answer(Answer::Refused { code, message }, _) => {
                Err(Failure::refused(&code, &message))
            }
            Next::Answer(answer, line) => Ok((answer, line)),
            Next::Nothing => Err(self.no_answer()),
            Next::End => Err(closed()),
        }
    }

    /// Reads the next line of an answer that waits for nothing. After some time without one it says
    /// why there may be none, and after more it returns none.
    pub fn next_soon(&mut self) -> Result<Next, Failure> {
        let now = clock::steady();
        let end = self.end.unwrap_or(now + SILENCE_TIME_MAX);
        let quiet_end = now + QUIET_TIME;
        if !self.is_silence_told && quiet_end < end {
            match self.next(Some(quiet_end))? {
                Next::Nothing => {}
                next => return Ok(next),
            }
            self.is_silence_told = true;
            complain(&format!(
                "{SELF}: still waiting: {}",
                self.connection.silence()
            ));
        }
        self.next(Some(end))
    }

    /// The answer has not come in time.
    pub fn no_answer(&self) -> Failure {
        Failure::new(gave_up(self.end), self.connection.silence())
    }
}

/// Connects and sends a request.
fn connected(path: &Path, request: &str, end: Option<Instant>) -> Result<Connection, Failure> {
    let mut connection = Connection::open(path, end)?;
    connection.send(request, end)?;
    Ok(connection)
}

/// The connection was closed before the answer's end.
pub fn closed() -> Failure {
    let message = "the supervisor closed the connection before the end of its answer";
    Failure::new(FAILED, message)
}
