//! What may be left of a program that was removed, and of one that was to stop.

use std::os::fd::AsRawFd;

use super::law::LATE_MAX;
use super::process::{Parent, Process, Whose, WriteEnd};
use super::programs::{Removal, Run};
use super::{Kernel, OTHERS_DESCRIPTORS_FROM};
use crate::spec::StdStream;

impl Kernel {
    /// Each of its runs was reported and reaped, no process of it is there, and nobody reads what
    /// one that was given up writes.
    pub fn check_is_gone(&mut self, index: usize) -> Result<(), String> {
        if self.is_being_launched(index) && !self.is_given_up_in_launch(index) {
            return Err("a start of it is not over".to_owned());
        }
        let runs = self.programs[index].runs.clone();
        let mut is_given_up = self.is_being_launched(index);
        for run in runs.into_iter().map(|run| &self.runs[run]) {
            let may_be_given_up = self.may_be_given_up(run);
            if !run.reported {
                return Err(format!("this was not reported: {run:?}"));
            }
            is_given_up |= may_be_given_up && !run.reaped;
            if !run.reaped && !run.stolen && !run.is_misjudged && !may_be_given_up {
                return Err(format!("this was not reaped: {run:?}"));
            }
        }
        // Of one that is given up nobody looks for what has left its group.
        let latest = self.latest_run(index);
        let is_over = latest.is_some_and(|run| self.may_be_given_up(run));
        let left = self
            .processes
            .iter()
            .filter(|(_, process)| match process.whose {
                Whose::Run(run) => self.runs[run].program == index && process.lives(),
                _ => false,
            });
        let (mut wrong, mut survivors) = (Vec::new(), 0);
        for (pid, process) in left {
            let Whose::Run(run) = process.whose else {
                continue;
            };
            // One that has just come home may not have been found, and at the end none is waited for.
            let is_known = self.subreaper
                && self.stop_asked.is_none()
                && !is_over
                && process.adopted_at.saturating_add(LATE_MAX) < self.now
                && process.parent == Parent::Us
                && process.named == Some(index)
                && !self.is_overlooked(process, index)
                // One that survives SIGKILL is given up, and named.
                && !(process.lives() && process.doomed.is_some())
                && !self.programs[index].restarts_at_once();
            if !process.left && self.may_be_given_up(&self.runs[run]) {
                survivors += 1;
            } else if !process.left || is_known {
                wrong.push(*pid);
            }
        }
        if !wrong.is_empty() {
            return Err(format!("these are left: {wrong:?} of {}", self.describe()));
        }
        self.counts.removed_given_up += u64::from(is_given_up || survivors > 0);
        Ok(())
    }

    fn is_given_up_in_launch(&self, index: usize) -> bool {
        let mut living = self.living();
        living.any(|(_, process)| {
            process.whose == Whose::New(Some(index)) && self.launch_may_be_given_up(process.serial)
        })
    }

    /// After a turn nothing is open of what was removed: no pipe, and no log.
    pub fn check_removals(&self) -> Result<(), String> {
        for (_, process) in self.living() {
            let Whose::Run(run) = process.whose else {
                continue;
            };
            let program = &self.programs[self.runs[run].program];
            if program.removal == Removal::Told && has_reader(process) {
                return Err(format!(
                    "{} was removed, and {run} of it is still listened to",
                    program.name
                ));
            }
        }
        let is_there = |name: &str| {
            let mut programs = self.programs.iter();
            programs.any(|program| program.removal != Removal::Told && program.name == name)
        };
        for program in &self.programs {
            if program.removal == Removal::Told
                && !is_there(&program.name)
                && is_open(&program.name)
            {
                return Err(format!("{} was removed, and its log is open", program.name));
            }
        }
        Ok(())
    }

    /// After a turn everything was killed whose time to end is over.
    pub fn check_stops(&self) -> Result<(), String> {
        let is_late = |run: &&Run| {
            let time = self.programs[run.program].stop_timeout_max();
            let end = run
                .asked
                .map(|at| at.saturating_add(time).saturating_add(LATE_MAX));
            run.exit.is_none() && end.is_some_and(|end| end < self.now)
        };
        match self.runs.iter().find(is_late) {
            Some(run) => Err(format!("this was asked to end, and not killed: {run:?}")),
            None => Ok(()),
        }
    }
}

/// The other end of its stdout or its stderr is open.
fn has_reader(process: &Process) -> bool {
    let ends = StdStream::ALL.into_iter();
    ends.filter_map(|stream| process.end_of(stream))
        .any(is_read)
}

fn is_read(end: &WriteEnd) -> bool {
    let mut poll = libc::pollfd {
        fd: end.fd.as_raw_fd(),
        events: 0,
        revents: 0,
    };
    // SAFETY: one live structure, and no wait.
    unsafe { real_libc::poll(&raw mut poll, 1, 0) };
    poll.revents & libc::POLLERR == 0
}

/// The library has a log of this name open.
fn is_open(name: &str) -> bool {
    let entries = std::fs::read_dir("/proc/thread-self/fd").expect("the thread's own table");
    let leads_to = |entry: std::io::Result<std::fs::DirEntry>| {
        let entry = entry.ok()?;
        let number: i32 = entry.file_name().to_str()?.parse().ok()?;
        let path = std::fs::read_link(entry.path()).ok()?;
        let file = path.file_name()?.to_str()?;
        let is_it = file.starts_with(&format!("{name}.std"));
        (is_it && number < OTHERS_DESCRIPTORS_FROM).then_some(())
    };
    entries.filter_map(leads_to).next().is_some()
}
