//! Where what programs write goes: into logs that are rotated, and to the host line by line; and for
//! whom a stop is.

use super::Kernel;
use super::pipes::mark_of;
use super::programs::Run;
use crate::callbacks::LINE_BYTES_MAX;
use crate::spec::{Outputs, StdStream, Stderr, Stdout};

/// What the host was given: a line, or a part of one.
#[derive(Debug)]
pub struct Line {
    pub program: String,
    pub stream: StdStream,
    pub text: Vec<u8>,
    pub is_continued: bool,
}

impl Kernel {
    /// A program is given these streams, and these are what its definition says.
    pub(super) fn judge_stdio(&mut self, index: usize, stdio: [i32; 3]) {
        let Outputs { stdout, stderr } = self.programs[index].outputs;
        let (out, err) = (self.pipe_behind(stdio[1]), self.pipe_behind(stdio[2]));
        let is_err_right = err.is_some() == (stderr != Stderr::Null);
        let is_out_right = match stdout {
            Stdout::Null => out.is_none(),
            Stdout::Stderr => out == err,
            Stdout::Log | Stdout::Inherit => out.is_some() && out != err,
        };
        if !is_err_right || !is_out_right {
            let name = &self.programs[index].name;
            self.violated(format!(
                "{name} is given the pipes {out:?} and {err:?} for {stdout:?} and {stderr:?}"
            ));
        }
        if let Some(err) = err {
            self.pipe_is_of(err, index, StdStream::Stderr);
        }
        if let Some(out) = out.filter(|_| out != err) {
            self.pipe_is_of(out, index, StdStream::Stdout);
        }
    }

    /// How often the log of the stderr of a program was rotated.
    pub fn rotated(&self, index: usize) -> u64 {
        let name = &self.programs[index].name;
        rotated(&self.directory, name, StdStream::Stderr).count() as u64
    }

    /// How often a run's report says that its log was rotated.
    pub fn check_rotations(&self, run: usize, told: u64) -> Result<(), String> {
        let run = &self.runs[run];
        let least = run.rotated_at_reap.saturating_sub(run.rotated);
        let most = self.rotated(run.program).saturating_sub(run.rotated);
        let least = if run.reaped { least } else { 0 };
        if (least..=most).contains(&told) {
            return Ok(());
        }
        Err(format!(
            "its log was rotated {least} to {most} times, and the report has {told}"
        ))
    }

    /// Takes in a line: it is the next of its pipe.
    pub fn is_relayed(&mut self, line: &Line) -> Result<(), String> {
        self.counts.relayed += 1;
        self.counts.continued += u64::from(line.is_continued);
        let found = (0..self.pipes.len()).rfind(|&pipe| self.may_be_next(pipe, line));
        let Some(pipe) = found else {
            return Err(format!("nothing of the kind was read: {line:?}"));
        };
        let mut at = self.pipes[pipe].given;
        if line.text.is_empty() {
            self.pipes[pipe].given += 1;
            return Ok(());
        }
        let is_end = |at: u64| self.byte_of(pipe, at) == b'\n';
        // The end of a line that was given in parts is no line.
        at += u64::from(is_end(at));
        let continues = at > 0 && !is_end(at - 1);
        if line.is_continued && !continues {
            return Err(format!("it continues nothing: {line:?}"));
        }
        let end = at + line.text.len() as u64;
        let mut bytes = (at..).zip(&line.text);
        let is_same = bytes.all(|(at, &byte)| byte != b'\n' && byte == self.byte_of(pipe, at));
        if !is_same || end > self.pipes[pipe].read || line.text.len() > LINE_BYTES_MAX {
            return Err(format!(
                "at {at} of pipe {pipe} is something else: {line:?}"
            ));
        }
        self.pipes[pipe].given = end;
        Ok(())
    }

    fn may_be_next(&self, number: usize, line: &Line) -> bool {
        let pipe = &self.pipes[number];
        let is_its = pipe.owner.is_some_and(|(index, stream)| {
            stream == line.stream && self.programs[index].name == line.program
        });
        let is_marked = match line.text.first() {
            Some(&first) => {
                pipe.relayed == Some(mark_of(first)) && self.given_of(number) < pipe.read
            }
            None => pipe.given < pipe.read && self.byte_of(number, pipe.given) == b'\n',
        };
        is_its && pipe.relayed.is_some() && is_marked
    }

    /// What was in the pipes of a run at its reap, and is for the host, was given before its report.
    pub fn check_given(&self, run: usize) -> Result<(), String> {
        let run = &self.runs[run];
        let Run { pipe, stdout, .. } = *run;
        let ends = [
            (Some(pipe), run.written_at_reap),
            (stdout, run.stdout_at_reap),
        ];
        for (pipe, written) in ends {
            let Some(pipe) = pipe.filter(|&pipe| self.pipes[pipe].relayed.is_some()) else {
                continue;
            };
            if self.given_of(pipe) < written {
                return Err(format!(
                    "the host was not given all {written} bytes of pipe {pipe}"
                ));
            }
        }
        Ok(())
    }

    /// How much the host was given, with the end of a line whose parts it was given.
    fn given_of(&self, pipe: usize) -> u64 {
        let given = self.pipes[pipe].given;
        let is_end = given < self.pipes[pipe].read && self.byte_of(pipe, given) == b'\n';
        given + u64::from(is_end)
    }

    /// In the end the host was given everything that was read for it.
    pub fn check_all_given(&self) -> Result<(), String> {
        for number in 0..self.pipes.len() {
            let pipe = &self.pipes[number];
            let is_run = self.runs.iter().any(|run| run.has(number));
            if pipe.relayed.is_some() && is_run && self.given_of(number) != pipe.read {
                return Err(format!(
                    "of pipe {number} the host was not given all: {pipe:?}"
                ));
            }
        }
        Ok(())
    }

    /// A stop may be for the first process of a group alone; KILL is for all.
    pub(super) fn problem_with_scope(
        &mut self,
        pid: i32,
        run: usize,
        signal: i32,
    ) -> Option<&'static str> {
        let Run {
            program,
            pid: leader,
            ..
        } = self.runs[run];
        let program = &self.programs[program];
        let is_for_main = |policy: &crate::machine::Policy| policy.stops_main;
        let is_stop = signal != libc::SIGKILL && self.fault_since(&self.runs[run]).is_none();
        if !is_stop || !program.policies().all(is_for_main) {
            return None;
        }
        self.counts.stopped_alone += u64::from(pid == leader && signal != libc::SIGCONT);
        (pid != leader).then_some("whose stop is for its first process alone")
    }
}

/// The paths of the rotated logs of a stream, the newest first.
pub fn rotated(
    directory: &std::path::Path,
    name: &str,
    stream: StdStream,
) -> impl Iterator<Item = std::path::PathBuf> {
    let path = move |number: u32| directory.join(format!("{name}.{stream}.log.{number}"));
    (1..)
        .map(path)
        .take_while(|path| path.exists())
        .collect::<Vec<_>>()
        .into_iter()
}
