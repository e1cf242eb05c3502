//! The other side: the least that could be called the same work. It spawns by
//! `std::process::Command` (which shares memory with the child until its exec), has a pipe and
//! an open log for each program, and knows no policy, no report, no message and no failure.

use std::collections::HashMap;
use std::fs::{File, OpenOptions};
use std::io::{Read, Write};
use std::os::fd::AsFd;
use std::os::unix::process::CommandExt;
use std::process::{Child, ChildStderr, Command, Stdio};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::signal::Signal;
use nix::unistd::Pid;

use crate::keeper::{Keeper, send};
use crate::place::Place;
use crate::proc;

/// What is read at once: a whole pipe of the usual size.
const READ_BYTES: usize = 64 * 1024;

/// The children of this process.
pub struct Floor {
    programs: HashMap<Pid, Program>,
    cpu_before: Duration,
}

struct Program {
    index: usize,
    process: Child,
    pipe: ChildStderr,
    log: File,
}

impl Program {
    fn start(place: &Place, index: usize) -> (Pid, Self) {
        let log = OpenOptions::new()
            .append(true)
            .create(true)
            .open(place.log(index));
        let command = place.command();
        let mut process = Command::new(&command[0])
            .args(&command[1..])
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .process_group(0)
            .spawn()
            .expect("a child");
        let pipe = process.stderr.take().expect("a pipe");
        let pid = Pid::from_raw(i32::try_from(process.id()).expect("pids are small"));
        (
            pid,
            Self {
                index,
                process,
                pipe,
                log: log.expect("a log"),
            },
        )
    }

    /// Moves what one read gives.
    fn drain_once(&mut self, buffer: &mut [u8]) -> u64 {
        let count = self.pipe.read(buffer).expect("a pipe");
        self.log.write_all(&buffer[..count]).expect("a log");
        count as u64
    }
}

impl Keeper for Floor {
    fn start(place: &Place) -> Self {
        let cpu_before = proc::cpu("thread-self");
        let programs = (0..place.count)
            .map(|index| Program::start(place, index))
            .collect();
        Self {
            programs,
            cpu_before,
        }
    }

    fn replace(&mut self, place: &Place, dead: Pid) {
        let mut program = self.programs.remove(&dead).expect("a child of ours");
        program.process.wait().expect("a child of ours");
        self.programs.extend([Program::start(place, program.index)]);
    }

    fn drain(&mut self, _: &Place, bytes_each: u64) {
        let mut buffer = vec![0; READ_BYTES];
        let mut open: Vec<(&mut Program, u64)> = self
            .programs
            .values_mut()
            .map(|program| (program, bytes_each))
            .collect();
        while !open.is_empty() {
            // One pipe needs no poll: the read waits.
            let ready = if open.len() == 1 {
                vec![0]
            } else {
                readable(&open)
            };
            for index in ready {
                let (program, left) = &mut open[index];
                *left -= program.drain_once(&mut buffer);
            }
            open.retain(|(_, left)| *left > 0);
        }
    }

    fn cpu(&self) -> Duration {
        proc::cpu("thread-self") - self.cpu_before
    }

    fn stop(mut self) {
        for pid in self.programs.keys() {
            send(*pid, Signal::SIGTERM);
        }
        for (_, mut program) in self.programs.drain() {
            program.process.wait().expect("a child of ours");
        }
    }
}

/// The places of those that can be read.
fn readable(open: &[(&mut Program, u64)]) -> Vec<usize> {
    let mut fds: Vec<PollFd<'_>> = open
        .iter()
        .map(|(program, _)| PollFd::new(program.pipe.as_fd(), PollFlags::POLLIN))
        .collect();
    poll(&mut fds, PollTimeout::NONE).expect("poll");
    let ready = |fd: &PollFd<'_>| fd.any().unwrap_or(true);
    (0..fds.len()).filter(|&index| ready(&fds[index])).collect()
}

impl Drop for Floor {
    fn drop(&mut self) {
        for program in self.programs.values_mut() {
            let _ = program.process.kill();
            let _ = program.process.wait();
        }
    }
}
