//! One connection: what is read from it, what is to be written to it, and its limits.

use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::time::{Duration, Instant};

use nix::poll::PollFlags;
use nix::sys::socket::{getsockopt, sockopt::PeerCredentials};

use super::protocol::REQUEST_BYTES_MAX;
use crate::clock;

/// The time for a whole request, counted from the connect or the last answer.
const REQUEST_TIME_MAX: Duration = Duration::from_secs(10);

/// The time in which a client has to take some of its answer.
const PROGRESS_TIME_MAX: Duration = Duration::from_secs(30);

/// The most that is queued for one client. One line more fits into an empty queue.
pub const OUTPUT_BYTES_MAX: usize = 256 * 1024;

/// The most that is queued before a listing waits for its reader.
pub const PORTION_BYTES: usize = 16 * 1024;

/// The most that is read from one client in a turn.
const READ_BYTES_MAX: usize = 16 * 1024;

/// The capacity of a buffer that is kept.
const KEPT_BYTES_MAX: usize = 4096;

/// Who is at the other end.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Peer {
    pub uid: u32,
    /// 0 if it is outside of this PID namespace.
    pub pid: i32,
}

impl std::fmt::Display for Peer {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "uid={} pid={}", self.uid, self.pid)
    }
}

/// A line that was read.
#[derive(Debug, PartialEq, Eq)]
pub enum Line {
    Request(Vec<u8>),
    TooLong,
}

/// A connection.
pub struct Client {
    stream: UnixStream,
    peer: Peer,
    input: Vec<u8>,
    /// True if the input has a request, or is too long for one.
    has_line: bool,
    has_input_ended: bool,
    output: Vec<u8>,
    /// How much of the output is written.
    written: usize,
    /// When it has to have sent a request.
    request_until: Instant,
    /// When it has to have taken some of its output.
    progress_until: Instant,
    /// True while a request of it is being answered.
    is_busy: bool,
    /// True if it is closed as soon as its output is written.
    is_last_answer: bool,
    /// True if there is no reader any more.
    is_gone: bool,
}

impl Client {
    /// Takes over a connection. `None` if the system does not say who it is.
    pub fn new(stream: UnixStream) -> Option<Self> {
        let credentials = getsockopt(&stream, PeerCredentials).ok()?;
        let now = clock::steady();
        Some(Self {
            stream,
            peer: Peer {
                uid: credentials.uid(),
                pid: credentials.pid(),
            },
            input: Vec::new(),
            has_line: false,
            has_input_ended: false,
            output: Vec::new(),
            written: 0,
            request_until: now + REQUEST_TIME_MAX,
            progress_until: now,
            is_busy: false,
            is_last_answer: false,
            is_gone: false,
        })
    }

    pub fn peer(&self) -> Peer {
        self.peer
    }

    /// Returns what to wait for. A hang-up is always reported.
    pub fn interest(&self) -> PollFlags {
        let mut flags = PollFlags::empty();
        let reads = !self.is_busy && !self.has_output() && !self.has_input_ended;
        flags.set(PollFlags::POLLIN, reads && !self.has_line);
        flags.set(PollFlags::POLLOUT, self.has_output());
        flags
    }

    /// Reads and writes what is possible.
    pub fn on_ready(&mut self, ready: PollFlags) {
        if ready.contains(PollFlags::POLLIN) {
            self.read();
        }
        // With both directions shut down no answer arrives. What was sent before is still read.
        let is_hung_up = ready.intersects(PollFlags::POLLHUP | PollFlags::POLLERR);
        if is_hung_up && !ready.contains(PollFlags::POLLIN) {
            self.is_gone = true;
        }
    }

    fn read(&mut self) {
        let mut chunk = [0; 4096];
        let mut read = 0;
        while read < READ_BYTES_MAX {
            match self.stream.read(&mut chunk) {
                Ok(0) => {
                    self.has_input_ended = true;
                    return;
                }
                Ok(bytes) if self.input.try_reserve(bytes).is_err() => {
                    self.is_gone = true;
                    return;
                }
                Ok(bytes) => {
                    self.input.extend_from_slice(&chunk[..bytes]);
                    read += bytes;
                    self.has_line = self.find_line();
                    // The rest is read when this is answered.
                    if self.has_line {
                        return;
                    }
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Err(_) => {
                    self.is_gone = true;
                    return;
                }
            }
        }
    }

    fn find_line(&self) -> bool {
        self.input.len() > REQUEST_BYTES_MAX || self.input.contains(&b'\n')
    }

    /// True if a request waits to be answered.
    pub fn has_request(&self) -> bool {
        !self.is_busy && !self.is_last_answer && !self.has_output() && self.has_line
    }

    /// Takes the next request, whose answer has to follow.
    pub fn take_request(&mut self) -> Option<Line> {
        if !self.has_request() {
            return None;
        }
        self.is_busy = true;
        let end = self.input.iter().position(|byte| *byte == b'\n');
        let Some(end) = end.filter(|end| *end <= REQUEST_BYTES_MAX) else {
            self.input = Vec::new();
            self.has_line = false;
            return Some(Line::TooLong);
        };
        let rest = self.input.split_off(end + 1);
        let mut line = std::mem::replace(&mut self.input, rest);
        line.truncate(end);
        self.has_line = self.find_line();
        Some(Line::Request(line))
    }

    /// Ends the answer, after which the next request may come.
    pub fn end_answer(&mut self) {
        self.is_busy = false;
        self.request_until = clock::steady() + REQUEST_TIME_MAX;
    }

    /// Ends the answer, after which the connection is closed.
    pub fn end_last_answer(&mut self) {
        self.end_answer();
        self.is_last_answer = true;
    }

    fn has_output(&self) -> bool {
        self.written < self.output.len()
    }

    /// Returns the number of bytes that wait for the reader.
    pub fn queued(&self) -> usize {
        self.output.len() - self.written
    }

    /// True if another portion of a listing may be queued.
    pub fn has_room(&self) -> bool {
        self.queued() < PORTION_BYTES
    }

    /// Queues what is written, unless the reader is gone.
    pub fn queue(&mut self, write: impl FnOnce(&mut Vec<u8>)) {
        if self.is_gone {
            return;
        }
        if !self.has_output() {
            self.progress_until = clock::steady() + PROGRESS_TIME_MAX;
        }
        write(&mut self.output);
    }

    /// Queues a line if it fits. True if it did.
    pub fn queue_if_fits(&mut self, line: &[u8]) -> bool {
        let fits = self.queued() + line.len() <= OUTPUT_BYTES_MAX;
        if fits {
            self.queue(|out| out.extend_from_slice(line));
        }
        fits
    }

    /// Writes what the reader takes now.
    pub fn flush(&mut self) {
        while self.has_output() && !self.is_gone {
            match self.stream.write(&self.output[self.written..]) {
                Ok(bytes @ 1..) => {
                    self.written += bytes;
                    self.progress_until = clock::steady() + PROGRESS_TIME_MAX;
                }
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => break,
                Ok(0) | Err(_) => self.is_gone = true,
            }
        }
        if !self.has_output() {
            self.output.clear();
            self.output.shrink_to(KEPT_BYTES_MAX);
            self.written = 0;
        } else if self.written >= PORTION_BYTES {
            self.output.drain(..self.written);
            self.written = 0;
        }
    }

    /// Returns when it is closed if nothing comes from it.
    pub fn deadline(&self) -> Option<Instant> {
        match (self.has_output(), self.is_busy) {
            (true, _) => Some(self.progress_until),
            (false, true) => None,
            (false, false) => Some(self.request_until),
        }
    }

    /// Gives it up: nothing is read or written any more.
    pub fn give_up(&mut self) {
        self.is_gone = true;
        self.output = Vec::new();
        self.written = 0;
    }

    /// True if there is no reader any more.
    pub fn is_gone(&self) -> bool {
        self.is_gone
    }

    /// True if it is to be closed: nothing more is to come, or its time is over.
    pub fn is_over(&self) -> bool {
        let has_time = self.deadline().is_none_or(|at| !clock::until(at).is_zero());
        let is_idle = !self.is_busy && !self.has_output();
        let is_done = is_idle && (self.is_last_answer || self.has_input_ended && !self.has_line);
        self.is_gone || is_done || !has_time
    }
}

impl AsFd for Client {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.stream.as_fd()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pair() -> (UnixStream, Client) {
        let (ours, theirs) = UnixStream::pair().expect("a pair");
        theirs.set_nonblocking(true).expect("non-blocking");
        (ours, Client::new(theirs).expect("a peer"))
    }

    fn request(text: &str) -> Option<Line> {
        Some(Line::Request(text.as_bytes().to_vec()))
    }

    #[test]
    fn requests_are_taken_one_by_one() {
        let (mut peer, mut client) = pair();
        assert_eq!(client.peer().uid, nix::unistd::Uid::effective().as_raw());
        peer.write_all(b"one\ntwo\nth").expect("a write");
        client.on_ready(PollFlags::POLLIN);
        assert_eq!(client.take_request(), request("one"));
        assert_eq!(client.take_request(), None);
        assert!(client.deadline().is_none());
        client.queue(|out| out.extend_from_slice(b"answer\n"));
        client.end_answer();
        assert!(!client.has_request(), "the answer is not out");
        client.flush();
        assert_eq!(client.take_request(), request("two"));
        client.end_answer();
        assert_eq!(client.take_request(), None);
        drop(peer);
        client.on_ready(PollFlags::POLLIN | PollFlags::POLLHUP);
        assert!(client.is_over(), "half a line is not answered");
    }

    #[test]
    fn the_end_of_input_does_not_end_the_answer() {
        let (mut peer, mut client) = pair();
        peer.write_all(b"one\n").expect("a write");
        peer.shutdown(std::net::Shutdown::Write).expect("an end");
        client.on_ready(PollFlags::POLLIN);
        assert_eq!(client.take_request(), request("one"));
        client.on_ready(PollFlags::POLLIN);
        assert!(!client.is_over(), "the answer is to come");
        client.queue(|out| out.extend_from_slice(b"answer\n"));
        client.end_answer();
        client.flush();
        assert!(client.is_over());
        let mut answer = String::new();
        drop(client);
        peer.read_to_string(&mut answer).expect("an answer");
        assert_eq!(answer, "answer\n");
    }

    #[test]
    fn a_line_has_64_kib_at_most() {
        for (bytes, is_fine) in [(REQUEST_BYTES_MAX, true), (REQUEST_BYTES_MAX + 1, false)] {
            let (mut peer, mut client) = pair();
            peer.set_nonblocking(true).expect("non-blocking");
            let line = "x".repeat(bytes) + "\n";
            let mut rest = line.as_bytes();
            while !client.has_request() {
                if let Ok(written) = peer.write(rest) {
                    rest = &rest[written..];
                }
                client.on_ready(PollFlags::POLLIN);
                assert!(client.input.len() <= REQUEST_BYTES_MAX + 2 + KEPT_BYTES_MAX);
            }
            let taken = client.take_request().expect("a line");
            assert_eq!(taken != Line::TooLong, is_fine, "{bytes}");
        }
    }

    #[test]
    fn output_is_bounded_for_a_reader_that_does_not_read() {
        let (_peer, mut client) = pair();
        let line = [b'x'; 1000];
        let fits = (0..1000)
            .take_while(|_| client.queue_if_fits(&line))
            .count();
        assert_eq!(fits, OUTPUT_BYTES_MAX / line.len());
        client.flush();
        assert!(client.queued() > 0);
        assert!(client.deadline().is_some());
    }
}
