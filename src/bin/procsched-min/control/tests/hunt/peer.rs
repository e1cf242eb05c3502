//! A client: what it has sent byte by byte, and whether each answer fits its request.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::Shutdown;
use std::os::unix::net::UnixStream;
use std::path::Path;

use serde_json::Value;

use super::ask::{Ask, Kind, Order};
use crate::control::protocol::REQUEST_BYTES_MAX;

/// What is known of an order from the answer to it.
pub enum Answered {
    /// It was carried out, at least for one program.
    Taken(Order),
    Refused(Order),
}

/// A client that sends and reads as it likes.
pub struct Peer {
    pub number: usize,
    stream: UnixStream,
    /// The bytes of the requests that are not sent yet.
    script: VecDeque<u8>,
    /// The requests that are not sent whole, with the number of bytes that are missing.
    unsent: VecDeque<(usize, Ask)>,
    /// The requests that are sent, and not answered.
    pub sent: VecDeque<Ask>,
    input: Vec<u8>,
    /// The data lines of the answer so far.
    lines: usize,
    answers: usize,
    pub reads: bool,
    has_ended_input: bool,
    /// True if the server is about to close the connection.
    is_refused: bool,
    pub is_closed: bool,
}

const DATA_KEYS: [&str; 4] = ["program", "event", "change", "problem"];

const CODES: [&str; 12] = [
    "usage",
    "version",
    "too-long",
    "busy",
    "unknown-program",
    "not-running",
    "stopping",
    "superseded",
    "timeout",
    "failed",
    "abandoned",
    "invalid-config",
];

impl Peer {
    pub fn connect(number: usize, socket: &Path) -> Self {
        let stream = UnixStream::connect(socket).expect("a connection");
        stream.set_nonblocking(true).expect("non-blocking");
        Self {
            number,
            stream,
            script: VecDeque::new(),
            unsent: VecDeque::new(),
            sent: VecDeque::new(),
            input: Vec::new(),
            lines: 0,
            answers: 0,
            reads: true,
            has_ended_input: false,
            is_refused: false,
            is_closed: false,
        }
    }

    /// True if more requests may be written down for it.
    pub fn can_ask(&self) -> bool {
        let is_following = self.sent.iter().any(|ask| matches!(ask.kind, Kind::Follow));
        self.is_open() && self.script.len() < 2 * REQUEST_BYTES_MAX && !is_following
    }

    fn is_open(&self) -> bool {
        !(self.has_ended_input || self.is_refused || self.is_closed)
    }

    /// Writes a request down, which is sent by and by.
    pub fn ask(&mut self, ask: Ask) {
        self.script.extend(&ask.line);
        let missing = match ask.kind {
            // It is known to be too long then.
            Kind::TooLong => REQUEST_BYTES_MAX + 1,
            _ => ask.line.len(),
        };
        let before = self.script.len() - ask.line.len();
        self.unsent.push_back((before + missing, ask));
    }

    /// Returns the number of bytes that are to be sent.
    pub fn left(&self) -> usize {
        self.script.len()
    }

    /// Sends some bytes, and returns the requests that are whole by that.
    pub fn send(&mut self, most: usize) -> Vec<Ask> {
        let mut left = most.min(self.script.len());
        let mut whole = Vec::new();
        while left > 0 && self.is_open() {
            let chunk = self.script.make_contiguous();
            match self.stream.write(&chunk[..left]) {
                Ok(bytes) => {
                    self.script.drain(..bytes);
                    left -= bytes;
                    self.unsent.iter_mut().for_each(|unsent| {
                        unsent.0 = unsent.0.saturating_sub(bytes);
                    });
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                // What the server has said before is still read.
                Err(_) => {
                    self.script.clear();
                    self.unsent.clear();
                    return whole;
                }
            }
        }
        while let Some((0, _)) = self.unsent.front() {
            let (_, ask) = self.unsent.pop_front().expect("the first");
            whole.push(ask.clone());
            self.sent.push_back(ask);
        }
        whole
    }

    /// Ends its input; it may still read.
    pub fn end_input(&mut self) {
        let _ = self.stream.shutdown(Shutdown::Write);
        self.has_ended_input = true;
        self.script.clear();
        self.unsent.clear();
    }

    /// Reads what is there. `was_full` if the server may have had all of its clients.
    pub fn read(&mut self, most: usize, was_full: bool) -> Result<Vec<Answered>, String> {
        let mut chunk = vec![0; most];
        let mut answered = Vec::new();
        while self.reads && !self.is_closed {
            match self.stream.read(&mut chunk) {
                Ok(0) => self.is_closed = true,
                Ok(bytes) => {
                    self.input.extend_from_slice(&chunk[..bytes]);
                    self.take_lines(was_full, &mut answered)?;
                    if bytes == most {
                        break;
                    }
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Err(_) => self.is_closed = true,
            }
        }
        if self.is_closed && !self.input.is_empty() {
            return Err(format!("client {}: half a line at the end", self.number));
        }
        Ok(answered)
    }

    fn take_lines(&mut self, was_full: bool, answered: &mut Vec<Answered>) -> Result<(), String> {
        while let Some(end) = self.input.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = self.input.drain(..=end).collect();
            let found = self.take_line(&line, was_full);
            let found = found.map_err(|problem| {
                let text = String::from_utf8_lossy(&line);
                format!("client {}: {problem}: {text}", self.number)
            });
            answered.extend(found?);
        }
        Ok(())
    }

    fn take_line(&mut self, line: &[u8], was_full: bool) -> Result<Option<Answered>, String> {
        let value: Value = serde_json::from_slice(line).map_err(|error| error.to_string())?;
        let keys = value.as_object().ok_or("no object")?;
        if self.is_refused {
            return Err("a line after the last one".to_owned());
        }
        let Some(ok) = keys.get("ok") else {
            let is_data = keys.len() == 1 && keys.keys().all(|key| DATA_KEYS.contains(&&**key));
            self.lines += 1;
            return match is_data && !self.sent.is_empty() {
                true => Ok(None),
                false => Err("no data line of an answer".to_owned()),
            };
        };
        let code = value["error"]["code"].as_str();
        if ok.as_bool() == Some(false) && !code.is_some_and(|code| CODES.contains(&code)) {
            return Err("no code".to_owned());
        }
        if code == Some("busy") && self.answers == 0 && was_full {
            self.is_refused = true;
            self.sent.clear();
            return Ok(None);
        }
        let ask = self.sent.pop_front().ok_or("an answer without a request")?;
        self.answers += 1;
        let lines = std::mem::take(&mut self.lines);
        self.check(ask, code, lines)
    }

    fn check(
        &mut self,
        ask: Ask,
        code: Option<&str>,
        lines: usize,
    ) -> Result<Option<Answered>, String> {
        let is_allowed = match code {
            None => ask.may_succeed && ask.lines.is_none_or(|expected| expected == lines),
            Some(code) => ask.codes.contains(&code),
        };
        if !is_allowed {
            let text = String::from_utf8_lossy(&ask.line);
            let text: String = text.chars().take(200).collect();
            return Err(format!(
                "after {lines} lines, an answer that is not to {text}"
            ));
        }
        if matches!(ask.kind, Kind::TooLong) {
            self.is_refused = true;
            self.sent.clear();
        }
        let Kind::Order(order) = ask.kind else {
            return Ok(None);
        };
        Ok(match code {
            // Of several programs, others may have got the signal.
            Some("not-running") if order.programs.len() > 1 => None,
            Some("busy" | "not-running") => Some(Answered::Refused(order)),
            _ => Some(Answered::Taken(order)),
        })
    }

    /// Returns what is still to come for a client that reads.
    pub fn missing(&self) -> Option<String> {
        let first = self.sent.front()?;
        if matches!(first.kind, Kind::Follow) {
            return None;
        }
        let text = String::from_utf8_lossy(&first.line);
        let text: String = text.chars().take(200).collect();
        Some(format!("client {} has no answer to {text}", self.number))
    }

    /// True if the server may close the connection now.
    pub fn may_be_closed(&self) -> bool {
        self.is_refused || self.has_ended_input && self.sent.is_empty()
    }

    /// Returns the order that the server takes even if the client goes now: all before it is
    /// answered.
    pub fn standing(&self) -> Option<&Order> {
        match &self.sent.front()?.kind {
            Kind::Order(order) if !order.waits && order.verb != "signal" => Some(order),
            _ => None,
        }
    }
}
