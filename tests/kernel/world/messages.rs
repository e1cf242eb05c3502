//! What a run says of itself: datagrams on its notification socket, a newline in its pipe.
//!
//! A socket is one end of a pair of the real kernel's; its other end is held here, and says when there
//! is something to receive, and when the library has closed its own. What is received is kept here,
//! with its sender: any user, and any process, can send to an address.

use std::collections::VecDeque;
use std::mem::size_of;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

use super::pipes::Descriptor;
use super::weather::Call;
use super::{Kernel, OTHERS_DESCRIPTORS_FROM};
use crate::os::spawn::Passed;
use crate::spec::Ready;

/// As net.unix.max_dgram_qlen bounds it.
const QUEUED_MAX: usize = 8;

/// The longest message that counts.
const LONGEST: usize = 4096;

/// The sender of a message, as the kernel names it to the receiver.
const SENDER_PID: i32 = 4711;

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Word {
    Ready,
    Alive,
    Both,
    Hung,
    Status,
    Garbage,
    /// Ready, in the longest message that counts, and in one that is longer.
    Longest,
    TooLong,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Sender {
    Us,
    UsEffectively,
    OtherUser,
    /// A process that is not visible here.
    Invisible,
}

#[derive(Debug)]
struct Datagram {
    bytes: Vec<u8>,
    sender: Sender,
}

/// A notification socket.
#[derive(Debug)]
pub struct Socket {
    end: OwnedFd,
    queue: VecDeque<Datagram>,
    /// The run that it was made for, once that was executed.
    run: Option<usize>,
    is_launched: bool,
    has_senders: bool,
    is_bound: bool,
}

/// What a process is given at its start, besides its standard streams.
#[derive(Debug, Default)]
pub struct Given {
    /// The values of the variables that lead to its socket, and say how often it is to be used.
    pub socket: Option<String>,
    pub watchdog: Option<String>,
    pub passed: Option<Passed>,
}

impl Word {
    fn bytes(self) -> Vec<u8> {
        let padded = |length: usize| {
            let mut bytes = b"READY=1\nX=".to_vec();
            bytes.resize(length, b'x');
            bytes
        };
        match self {
            Self::Ready => b"READY=1".to_vec(),
            Self::Alive => b"WATCHDOG=1\n".to_vec(),
            Self::Both => b"MAINPID=1\nREADY=1\nWATCHDOG=1".to_vec(),
            Self::Hung => b"WATCHDOG=trigger".to_vec(),
            Self::Status => b"STATUS=READY=1".to_vec(),
            Self::Garbage => b"READY=10\n READY=1\n\xff\0READY=1".to_vec(),
            Self::Longest => padded(LONGEST),
            Self::TooLong => padded(LONGEST + 1),
        }
    }
}

impl Kernel {
    /// socket(2), for datagrams.
    pub fn notify_socket(&mut self) -> Result<i32, i32> {
        if let Some(errno) = self.socket_fault(Call::Socket) {
            return Err(errno);
        }
        let mut ends = [0; 2];
        // SAFETY: room for two descriptors, of which one is the library's, and the other ours under
        // another number.
        let end = unsafe {
            let kind = libc::SOCK_SEQPACKET | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
            let made = real_libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr());
            assert_eq!(made, 0, "two ends of a socket");
            let end = real_libc::fcntl(ends[1], libc::F_DUPFD_CLOEXEC, OTHERS_DESCRIPTORS_FROM);
            assert!(end >= 0, "a descriptor for a simulated process");
            real_libc::close(ends[1]);
            OwnedFd::from_raw_fd(end)
        };
        if self.weather.descriptors_max < 1024 {
            self.pipe_failed();
        }
        if ends[0] as u64 >= self.weather.descriptors_max {
            // SAFETY: just made, and no other has it.
            unsafe { real_libc::close(ends[0]) };
            return Err(libc::EMFILE);
        }
        let socket = self.sockets.len();
        self.sockets.push(Socket {
            end,
            queue: VecDeque::new(),
            run: None,
            is_launched: false,
            has_senders: false,
            is_bound: false,
        });
        self.descriptors.insert(ends[0], Descriptor::Notify(socket));
        Ok(ends[0])
    }

    /// A start fails without its socket.
    fn socket_fault(&mut self, call: Call) -> Option<i32> {
        let errno = self.fault(call)?;
        self.pipe_failed();
        Some(errno)
    }

    fn socket_behind(&mut self, fd: i32) -> Result<&mut Socket, i32> {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Notify(socket)) => Ok(&mut self.sockets[socket]),
            other => panic!("{fd} is no notification socket: {other:?}"),
        }
    }

    /// setsockopt(2), SO_PASSCRED.
    pub fn pass_senders(&mut self, fd: i32) -> Result<i32, i32> {
        if let Some(errno) = self.socket_fault(Call::SetOption) {
            return Err(errno);
        }
        self.socket_behind(fd)?.has_senders = true;
        Ok(0)
    }

    /// bind(2), to an address that the kernel chooses.
    pub fn autobind(&mut self, fd: i32) -> Result<i32, i32> {
        if let Some(errno) = self.socket_fault(Call::Bind) {
            return Err(errno);
        }
        self.socket_behind(fd)?.is_bound = true;
        Ok(0)
    }

    /// getsockname(2): a name behind a first byte of 0.
    pub fn name_of_socket(&mut self, fd: i32) -> Result<String, i32> {
        if let Some(errno) = self.socket_fault(Call::SocketName) {
            return Err(errno);
        }
        if !self.socket_behind(fd)?.is_bound {
            return Ok(String::new());
        }
        match self.descriptors[&fd] {
            Descriptor::Notify(socket) => Ok(format!("\0{socket:05x}")),
            _ => unreachable!("it was one just now"),
        }
    }

    /// recvmsg(2).
    ///
    /// # Safety
    /// As with the real one.
    pub unsafe fn receive(&mut self, fd: i32, message: *mut libc::msghdr) -> Result<isize, i32> {
        if self.interrupts() {
            return Err(libc::EINTR);
        }
        if let Some(errno) = self.fault(Call::Receive) {
            return Err(errno);
        }
        let socket = self.socket_behind(fd)?;
        let Some(datagram) = socket.queue.pop_front() else {
            return Err(libc::EAGAIN);
        };
        let has_senders = socket.has_senders;
        let mut byte = [0_u8];
        // SAFETY: room for the one byte that stands for a message.
        let taken = unsafe { real_libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) };
        assert_eq!(taken, 1, "a byte for each message");
        self.acts += 1;
        let length = datagram.bytes.len();
        self.say(format_args!(
            "received  {length} bytes of {:?}",
            datagram.sender
        ));
        // SAFETY: as promised by who calls.
        unsafe { Ok(deliver(&datagram, has_senders, message)) }
    }

    /// The ends of a pipe or a socket that a new process is given.
    pub(super) fn judge_given(&mut self, index: usize, given: &Given) {
        let signs = self.programs[index].signs.clone();
        let name = self.programs[index].name.clone();
        let watchdog = signs.watchdog.map(|time| (time / 1_000).to_string());
        if given.watchdog != watchdog {
            self.violated(format!(
                "{name} starts with a watchdog of {:?}",
                given.watchdog
            ));
        }
        let number = given.passed.map(|passed| passed.to);
        let expected = match signs.ready {
            Some(Ready::Fd(number)) => Some(number),
            _ => None,
        };
        if number != expected {
            self.violated(format!("{name} starts with descriptor {number:?}"));
        }
        let socket = self.socket_named(given.socket.as_deref());
        let is_fresh = socket.is_some_and(|socket| !self.sockets[socket].is_launched);
        if given.socket.is_some() != signs.has_socket() || given.socket.is_some() != is_fresh {
            self.violated(format!("{name} starts with the socket {:?}", given.socket));
        }
        if let Some(socket) = socket {
            self.sockets[socket].is_launched = true;
        }
    }

    pub(super) fn socket_named(&self, variable: Option<&str>) -> Option<usize> {
        let name = variable?.strip_prefix('@')?;
        let socket = usize::from_str_radix(name, 16).ok()?;
        (socket < self.sockets.len()).then_some(socket)
    }

    pub(super) fn socket_is_of(&mut self, socket: Option<usize>, run: usize) {
        if let Some(socket) = socket {
            self.sockets[socket].run = Some(run);
        }
    }

    /// A process sends a message to the socket that it, or the process it comes from, was given.
    pub(super) fn send_word(&mut self, pid: i32, word: Word, sender: Sender) {
        let Some(index) = self.processes[&pid].socket else {
            return;
        };
        let socket = &mut self.sockets[index];
        if socket.queue.len() >= QUEUED_MAX {
            self.counts.words_lost += 1;
            return;
        }
        let (end, byte) = (socket.end.as_raw_fd(), [0_u8]);
        // SAFETY: one byte of a live buffer.
        let sent = unsafe { real_libc::send(end, byte.as_ptr().cast(), 1, libc::MSG_NOSIGNAL) };
        if sent < 0 {
            self.counts.words_late += 1;
            return;
        }
        let bytes = word.bytes();
        socket.queue.push_back(Datagram { bytes, sender });
        let counts = match (word, sender) {
            (Word::TooLong, _) | (_, Sender::OtherUser | Sender::Invisible) => false,
            (_, Sender::Us | Sender::UsEffectively) => true,
        };
        if counts {
            self.counts.words += 1;
            self.is_said(index, word);
        } else {
            self.counts.words_vain += 1;
        }
    }

    /// A message that counts is in the queue of a socket.
    fn is_said(&mut self, socket: usize, word: Word) {
        let Some(index) = self.sockets[socket].run else {
            return;
        };
        let (now, turn) = (self.now, self.turn_time());
        let run = &self.runs[index];
        let up = self.up_since(run);
        // Of a dead run the library reads no more once it knows.
        let is_certain = !self.weather.may_fail(Call::Receive) && run.exit.is_none();
        let truth = &mut self.runs[index].truth;
        let is_notify = truth.signs.ready == Some(Ready::Notify);
        match word {
            Word::Ready | Word::Longest if is_notify => truth.is_ready_at(now, turn, is_certain),
            Word::Both if is_notify => {
                truth.is_ready_at(now, turn, is_certain);
                truth.is_alive_at(now, turn, up.or(Some(turn)), is_certain);
            }
            Word::Alive | Word::Both => truth.is_alive_at(now, turn, up, is_certain),
            Word::Hung => _ = truth.hung.get_or_insert(now),
            Word::Ready | Word::Longest | Word::Status | Word::Garbage | Word::TooLong => {}
        }
    }

    /// A process writes into the pipe for its readiness: a newline, or something else.
    pub(super) fn write_word(&mut self, pid: i32, is_newline: bool) {
        let process = &self.processes[&pid];
        let Some(end) = &process.ready else {
            return;
        };
        let text: &[u8] = if is_newline { b"up\n" } else { b"soon " };
        match real_nix::unistd::write(&end.fd, text) {
            Err(real_nix::errno::Errno::EPIPE) => {
                return self.end(pid, super::fates::killed_by(libc::SIGPIPE));
            }
            written => assert_eq!(written, Ok(text.len()), "room in a pipe"),
        }
        let pipe = end.pipe;
        let (now, turn) = (self.now, self.turn_time());
        let mut runs = self.runs.iter_mut();
        if let Some(run) = runs.find(|run| run.truth.pipe == Some(pipe))
            && is_newline
        {
            let is_certain = run.exit.is_none();
            run.truth.is_ready_at(now, turn, is_certain);
            self.counts.newlines += 1;
        }
    }
}

/// Hands a message to who receives.
///
/// # Safety
/// The parts of `message` are live.
unsafe fn deliver(datagram: &Datagram, has_senders: bool, message: *mut libc::msghdr) -> isize {
    // SAFETY: no arguments, cannot fail.
    let (ours, effective) = unsafe { (real_libc::getuid(), real_libc::geteuid()) };
    let (pid, uid) = match datagram.sender {
        Sender::Us => (SENDER_PID, ours),
        Sender::UsEffectively => (SENDER_PID, effective),
        Sender::OtherUser => (SENDER_PID, ours.max(effective) + 1),
        Sender::Invisible => (0, ours),
    };
    // SAFETY: as promised by who calls; a header and a sender are written only if there is room.
    unsafe {
        let message = &mut *message;
        let part = &*message.msg_iov;
        let count = datagram.bytes.len().min(part.iov_len);
        std::ptr::copy_nonoverlapping(datagram.bytes.as_ptr(), part.iov_base.cast(), count);
        message.msg_flags = 0;
        if count < datagram.bytes.len() {
            message.msg_flags |= libc::MSG_TRUNC;
        }
        let length = libc::CMSG_LEN(size_of::<libc::ucred>() as u32) as usize;
        if has_senders && message.msg_controllen >= length as _ {
            let header = message.msg_control.cast::<libc::cmsghdr>();
            (*header).cmsg_len = length as _;
            (*header).cmsg_level = libc::SOL_SOCKET;
            (*header).cmsg_type = libc::SCM_CREDENTIALS;
            let sender = libc::ucred { pid, uid, gid: uid };
            std::ptr::write_unaligned(libc::CMSG_DATA(header).cast(), sender);
            message.msg_controllen = length as _;
        } else {
            message.msg_controllen = 0;
        }
        count as isize
    }
}
