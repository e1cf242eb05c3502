//! One connection to a supervisor: a request is written, and lines are read, each with a bound on
//! its length and on the time.

use std::io::{self, ErrorKind, Read, Write};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::path::Path;
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::sys::socket::sockopt::PeerCredentials;
use nix::sys::socket::{AddressFamily, SockFlag, SockType, UnixAddr, getsockopt, socket};
use procsched::text::error_text;

use super::failure::{Failure, connecting, gave_up};
use crate::clock;
use crate::commands::FAILED;

/// The longest line of an answer that is read, in bytes: four times what a supervisor queues for a
/// client.
const LINE_BYTES_MAX: usize = 1 << 20;

/// What is read at a time, in bytes: at first enough for the answer about one program, and twice as
/// much after each read that has found as much as that.
const READ_BYTES_MIN: usize = 4 * 1024;
const READ_BYTES_MAX: usize = 64 * 1024;

/// The time that a supervisor has to take a connection, and then a request, without `--timeout`. One
/// that is stopped lets connections wait until there is room for no more, and from then on a connect
/// waits as well.
const WRITE_TIME_MAX: Duration = Duration::from_secs(10);

/// The shortest timeout of a read or write: 0 would be none (setsockopt(2), SO_RCVTIMEO).
const TIMEOUT_MIN: Duration = Duration::from_millis(1);

/// A connection, and what was read of it.
#[derive(Debug)]
pub struct Connection {
    stream: UnixStream,
    buffer: Vec<u8>,
    /// The lines before this are handled.
    start: usize,
    /// The bytes before this have no line feed behind `start`.
    searched: usize,
    /// How much the next read is to find at most, in bytes.
    read_bytes: usize,
}

/// What a read gives.
#[derive(Debug, PartialEq, Eq)]
pub enum Received<'c> {
    Line(&'c str),
    /// There is no line until the deadline.
    Nothing,
    /// The supervisor has closed the connection.
    End,
}

impl Connection {
    /// Connects to the socket at this path. `end` is when `--timeout` expires.
    pub fn open(path: &Path, end: Option<Instant>) -> Result<Self, Failure> {
        let stream = connect(path, end).map_err(|error| connecting(path, &error, end))?;
        Ok(Self {
            stream,
            buffer: Vec::new(),
            start: 0,
            searched: 0,
            read_bytes: READ_BYTES_MIN,
        })
    }

    /// Sends a request. A supervisor that has too many clients closes the connection before it
    /// reads, and its answer is there to be read nevertheless.
    pub fn send(&mut self, line: &str, end: Option<Instant>) -> Result<(), Failure> {
        let mut write = || {
            self.stream.set_write_timeout(Some(write_time(end)))?;
            self.stream.write_all(line.as_bytes())
        };
        match write() {
            Err(error) if !is_closed(&error) => {
                let (code, cause) = match error.kind() {
                    ErrorKind::WouldBlock => {
                        let cause = "the supervisor does not read it";
                        (gave_up(end), cause.to_owned())
                    }
                    _ => (FAILED, error_text(&error)),
                };
                let message = format!("failed to send the request: {cause}");
                Err(Failure::new(code, message))
            }
            _ => Ok(()),
        }
    }

    /// Reads the next line, without its line feed.
    pub fn receive(&mut self, deadline: Option<Instant>) -> Result<Received<'_>, Failure> {
        loop {
            let behind = self.searched;
            let found = self.buffer[behind..].iter().position(|byte| *byte == b'\n');
            if let Some(length) = found {
                let line = self.start..behind + length;
                (self.start, self.searched) = (line.end + 1, line.end + 1);
                let line = std::str::from_utf8(&self.buffer[line]);
                let line = line.map_err(|_| Failure::protocol("a line that is not UTF-8"))?;
                return Ok(Received::Line(line));
            }
            self.buffer.drain(..self.start);
            (self.start, self.searched) = (0, self.buffer.len());
            if self.buffer.len() > LINE_BYTES_MAX {
                let problem = format!("a line of over {LINE_BYTES_MAX} bytes");
                return Err(Failure::protocol(problem));
            }
            match self.read(deadline) {
                Ok(0) if self.buffer.is_empty() => return Ok(Received::End),
                Ok(0) => return Err(Failure::protocol("half a line, and the end")),
                Ok(_) => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => {
                    return Ok(Received::Nothing);
                }
                Err(error) if is_closed(&error) => return Ok(Received::End),
                Err(error) => {
                    let message = format!("failed to read the answer: {}", error_text(&error));
                    return Err(Failure::new(FAILED, message));
                }
            }
        }
    }

    /// Says what may be the matter with a supervisor that does not answer.
    pub fn silence(&self) -> String {
        let credentials = getsockopt(&self.stream, PeerCredentials);
        // One of another PID namespace has no number here.
        let pid = credentials.map_or(0, |credentials| credentials.pid());
        match pid {
            1.. if is_stopped(pid) => format!(
                "the supervisor does not answer: process {pid} is stopped; \"kill -CONT {pid}\" \
                 continues it"
            ),
            1.. => {
                format!("the supervisor does not answer; see whether process {pid} is overloaded")
            }
            _ => {
                "the supervisor does not answer; see whether it is stopped or overloaded".to_owned()
            }
        }
    }

    /// Reads once into the buffer.
    fn read(&mut self, deadline: Option<Instant>) -> io::Result<usize> {
        let timeout = deadline.map(|deadline| clock::until(deadline).max(TIMEOUT_MIN));
        self.stream.set_read_timeout(timeout)?;
        let filled = self.buffer.len();
        self.buffer.resize(filled + self.read_bytes, 0);
        let read = loop {
            match self.stream.read(&mut self.buffer[filled..]) {
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        let count = *read.as_ref().unwrap_or(&0);
        self.buffer.truncate(filled + count);
        if count == self.read_bytes {
            self.read_bytes = READ_BYTES_MAX.min(2 * count);
        }
        read
    }
}

/// True if a process was stopped by a signal (proc_pid_stat(5), `state`).
fn is_stopped(pid: i32) -> bool {
    let stat = std::fs::read(format!("/proc/{pid}/stat")).unwrap_or_default();
    let stat = String::from_utf8_lossy(&stat);
    // The name before it may have a parenthesis in it.
    let state = stat.rsplit_once(") ");
    state.is_some_and(|(_, fields)| fields.starts_with('T'))
}

/// Connects, and waits for that no longer than for a write (connect(2), SO_SNDTIMEO).
pub fn connect(path: &Path, end: Option<Instant>) -> io::Result<UnixStream> {
    let fd = socket(
        AddressFamily::Unix,
        SockType::Stream,
        SockFlag::SOCK_CLOEXEC,
        None,
    )?;
    let stream = UnixStream::from(fd);
    stream.set_write_timeout(Some(write_time(end)))?;
    let address = UnixAddr::new(path)?;
    loop {
        match nix::sys::socket::connect(stream.as_raw_fd(), &address) {
            Ok(()) => return Ok(stream),
            Err(Errno::EINTR) => {}
            Err(errno) => return Err(errno.into()),
        }
    }
}

/// Returns how long a write may wait.
fn write_time(end: Option<Instant>) -> Duration {
    end.map_or(WRITE_TIME_MAX, |end| clock::until(end).max(TIMEOUT_MIN))
}

fn is_closed(error: &io::Error) -> bool {
    [ErrorKind::BrokenPipe, ErrorKind::ConnectionReset].contains(&error.kind())
}
