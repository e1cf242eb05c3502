//! Descriptors, pipes of one page, and a disk.

use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};

use real_nix::errno::Errno;
use real_nix::fcntl::OFlag;

use super::fates::killed_by;
use super::{Call, Kernel};
use crate::spec::StdStream;

const PAGE: i32 = 4096;

/// What a number of the library's stands for, as far as it matters here.
#[derive(Debug, Clone, Copy)]
pub(super) enum Descriptor {
    Read(usize),
    Write(usize),
    /// A log.
    File,
    Process {
        pid: i32,
        serial: u64,
    },
    Ourselves,
    /// The notification socket of a run.
    Notify(usize),
    /// A connection that checks.
    Stream(usize),
}

/// The pipe of one run. The byte at each place of it is known: see [`byte_of`].
#[derive(Debug, Default)]
pub(super) struct Pipe {
    /// Bytes that programs have written into it.
    pub written: u64,
    /// Bytes that the library has read out of it.
    pub read: u64,
    /// The library closed it while somebody held it.
    pub closed_early: bool,
    /// A newline in it says that a run is ready.
    pub tells_ready: bool,
    /// The program and the stream that it is of.
    pub owner: Option<(usize, StdStream)>,
    /// Its bytes go to the host, have line feeds, and bear this mark.
    pub relayed: Option<u8>,
    /// Bytes that the host was given.
    pub given: u64,
}

/// The marks of pipes whose bytes go to the host.
const MARKS: u8 = 8;

/// The mean length of a line that goes to the host, in bytes.
const LINE_BYTES: u8 = 24;

/// Returns what stands at this place of this pipe: never ASCII, unlike what a log says itself, but
/// for the line feeds of what goes to the host. No two of those are next to each other.
fn byte_at(pipe: usize, relayed: Option<u8>, at: u64) -> u8 {
    let Some(mark) = relayed else {
        return 0x80 | mixed(pipe, at);
    };
    let may_end = |at: u64| at > 0 && mixed(pipe, at).is_multiple_of(LINE_BYTES);
    match may_end(at) && !may_end(at - 1) {
        true => b'\n',
        false => 0x80 | mark << 4 | mixed(pipe, at) & 0xf,
    }
}

/// Returns the mark that a byte bears.
pub(super) fn mark_of(byte: u8) -> u8 {
    byte >> 4 & (MARKS - 1)
}

fn mixed(pipe: usize, at: u64) -> u8 {
    let mut bits = (pipe as u64 + 1).wrapping_mul(0x9e37_79b9_7f4a_7c15) ^ at;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    (bits >> 32) as u8
}

impl Kernel {
    /// A call that gives a descriptor: it may be refused, and may not be over the limit.
    pub fn opened(
        &mut self,
        call: Call,
        open: impl FnOnce() -> Result<OwnedFd, Errno>,
    ) -> Result<OwnedFd, Errno> {
        if let Some(errno) = self.fault(call) {
            // Without a descriptor for its log a program is not started.
            if matches!(errno, libc::EMFILE | libc::ENFILE) {
                self.pipe_failed();
            }
            return Err(Errno::from_raw(errno));
        }
        let fd = open()?;
        self.descriptors.insert(fd.as_raw_fd(), Descriptor::File);
        if fd.as_raw_fd() as u64 >= self.weather.descriptors_max {
            self.pipe_failed();
            return Err(Errno::EMFILE);
        }
        Ok(fd)
    }

    /// pipe2(2); of one page, if it is for a program.
    pub fn pipe(&mut self, flags: OFlag) -> Result<(OwnedFd, OwnedFd), Errno> {
        if let Some(errno) = self.fault(Call::Pipe) {
            self.pipe_failed();
            return Err(Errno::from_raw(errno));
        }
        let (read, write) = real_nix::unistd::pipe2(flags)?;
        let (from, to) = (read.as_raw_fd(), write.as_raw_fd());
        let more = if self.has_streams { 8 } else { 4 };
        if from.max(to) as u64 + more >= self.weather.descriptors_max {
            // Too few are left for a start, or will be after this one.
            self.pipe_failed();
        }
        if from.max(to) as u64 >= self.weather.descriptors_max {
            return Err(Errno::EMFILE);
        }
        self.descriptors.remove(&from);
        self.descriptors.remove(&to);
        if !flags.contains(OFlag::O_NONBLOCK) {
            // What is much is to find a way within a few turns.
            let size = if self.writes_much { 16 * PAGE } else { PAGE };
            // SAFETY: plain numbers.
            unsafe { real_libc::fcntl(from, libc::F_SETPIPE_SZ, size) };
            let pipe = self.pipes.len();
            self.pipes.push(Pipe::default());
            self.descriptors.insert(from, Descriptor::Read(pipe));
            self.descriptors.insert(to, Descriptor::Write(pipe));
        }
        Ok((read, write))
    }

    pub(super) fn pipe_behind(&self, fd: i32) -> Option<usize> {
        match self.descriptors.get(&fd) {
            Some(&Descriptor::Write(pipe)) => Some(pipe),
            _ => None,
        }
    }

    pub(super) fn pipe_written_by(&self, fd: i32) -> usize {
        let pipe = self.pipe_behind(fd);
        pipe.unwrap_or_else(|| panic!("{fd} is no pipe that was made for it"))
    }

    /// A pipe of a stream of a program; where its bytes go to the host, with a mark of its own.
    pub(super) fn pipe_is_of(&mut self, pipe: usize, index: usize, stream: StdStream) {
        let program = &mut self.programs[index];
        let relayed = program.outputs.is_inherited(stream).then(|| {
            program.relayed = program.relayed.wrapping_add(1);
            program.relayed % MARKS
        });
        let pipe = &mut self.pipes[pipe];
        (pipe.owner, pipe.relayed) = (Some((index, stream)), relayed);
    }

    /// A pipe that nothing is ever written into.
    pub(super) fn no_pipe(&mut self) -> usize {
        self.pipes.push(Pipe::default());
        self.pipes.len() - 1
    }

    /// What stands at this place of this pipe.
    pub fn byte_of(&self, pipe: usize, at: u64) -> u8 {
        byte_at(pipe, self.pipes[pipe].relayed, at)
    }

    /// A process writes, as far as there is room; the rest waits for more.
    pub(super) fn write(&mut self, pid: i32, stream: StdStream, bytes: usize) {
        let process = self.processes.get_mut(&pid).expect("a process that writes");
        process.writes_to = stream;
        let Some(end) = process.end_of(stream) else {
            // To the null device, or nowhere.
            process.unwritten = 0;
            return;
        };
        let (number, fd) = (end.pipe, end.fd.as_raw_fd());
        let pipe = &mut self.pipes[number];
        let mut left = bytes;
        while left > 0 {
            let next = left.min(PAGE as usize) as u64;
            let piece: Vec<u8> = (pipe.written..pipe.written + next)
                .map(|at| byte_at(number, pipe.relayed, at))
                .collect();
            // SAFETY: the process has it open.
            let end = unsafe { BorrowedFd::borrow_raw(fd) };
            match real_nix::unistd::write(end, &piece) {
                Ok(count) => {
                    pipe.written += count as u64;
                    left -= count;
                }
                Err(Errno::EAGAIN) => break,
                Err(Errno::EPIPE) => {
                    self.counts.broken_pipes += 1;
                    return self.end(pid, killed_by(libc::SIGPIPE));
                }
                Err(errno) => panic!("a pipe answers with {errno}"),
            }
        }
        process.unwritten = left;
        self.counts.waits_for_room += u64::from(left > 0);
    }

    /// The library has read from a descriptor; writers that waited for room go on.
    pub fn was_read(&mut self, fd: i32, bytes: &[u8]) {
        let Some(&Descriptor::Read(pipe)) = self.descriptors.get(&fd) else {
            return;
        };
        self.acts += u64::from(!bytes.is_empty());
        if self.pipes[pipe].tells_ready {
            return;
        }
        let from = self.pipes[pipe].read;
        let right = (from..)
            .zip(bytes)
            .all(|(at, &byte)| byte == self.byte_of(pipe, at));
        if !right {
            self.violated(format!("pipe {pipe} gave other bytes than were written"));
        }
        self.pipes[pipe].read += bytes.len() as u64;
        if let Some((index, stream)) = self.pipes[pipe].owner
            && self.pipes[pipe].relayed.is_none()
            && self.runs.iter().any(|run| run.has(pipe))
        {
            let drained = &mut self.programs[index].drained[stream as usize];
            drained.push((pipe, from, bytes.len() as u64));
        }
        let waits = self.processes.iter().filter(|(_, process)| {
            let end = process.end_of(process.writes_to);
            process.lives() && process.unwritten > 0 && end.is_some_and(|end| end.pipe == pipe)
        });
        let waiting: Vec<i32> = waits.map(|(&pid, _)| pid).collect();
        for pid in waiting {
            let process = &self.processes[&pid];
            let (stream, bytes) = (process.writes_to, process.unwritten);
            self.write(pid, stream, bytes);
            // What it does next is due since long.
            let now = self.now;
            let process = self.process_mut(pid);
            if process.lives() && process.unwritten == 0 {
                process.at = process.at.map(|at| at.max(now));
            }
        }
    }

    /// What of this the disk takes.
    pub fn fitting<'a>(&mut self, fd: i32, bytes: &'a [u8]) -> Result<&'a [u8], Errno> {
        if !matches!(self.descriptors.get(&fd), Some(Descriptor::File)) {
            return Ok(bytes);
        }
        if self.interrupts() {
            return Err(Errno::EINTR);
        }
        if let Some(errno) = self.fault(Call::Write) {
            return Err(Errno::from_raw(errno));
        }
        self.acts += 1;
        let Some(room) = &mut self.disk else {
            return Ok(bytes);
        };
        let count = (bytes.len() as u64).min(*room);
        if count == 0 {
            return Err(Errno::ENOSPC);
        }
        *room -= count;
        self.counts.short_writes += u64::from((count as usize) < bytes.len());
        Ok(&bytes[..count as usize])
    }

    pub(super) fn read_of_pipe(&self, pipe: usize) -> u64 {
        self.pipes[pipe].read
    }

    pub(super) fn pipe_of(&self, run: usize) -> &Pipe {
        &self.pipes[self.runs[run].pipe]
    }
}
