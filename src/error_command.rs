//! The command that is run for each report: the program's name is its last argument, the
//! report its stdin.
//!
//! It must never hold up supervision, so everything about it is bounded: how many run at a
//! time, for how long, how many reports wait. What is over a bound is dropped or killed,
//! counted, and said.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::launch::Launch;
use crate::machine::Moment;
use crate::os::descriptors;
use crate::os::group::Group;
use crate::os::limits::DescriptorLimit;
#[cfg(feature = "json")]
use crate::os::reserve::Reserve;
use crate::os::spawn::{Late, Spawner, Started};
#[cfg(feature = "json")]
use crate::report::ErrorReport;

const RUNNING_MAX: usize = 4;
const RUN_TIME_MAX: Duration = Duration::from_secs(30);
const WAITING_MAX: usize = 1024;
/// So many at once are many.
const BACKLOG: usize = 16;
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;
/// How long it may go on after the last program has ended.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the dying may take after that, before nobody waits for them any more.
const DYING_TIME_MAX: Duration = Duration::from_secs(1);

/// The command, with what waits for it and what runs.
pub(crate) struct ErrorCommand {
    launch: Launch,
    /// Our stderr, for the command's.
    stderr: Option<OwnedFd>,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    /// Many have waited at once, and not all of these are gone yet.
    is_backlog: bool,
    running: Vec<Running>,
    /// Reports that found no room since this was said last.
    dropped: u64,
    /// No deadline of a run is later than this one, once it is set.
    closing_at: Option<Moment>,
}

struct Job {
    name: Arc<str>,
    json: String,
}

struct Running {
    name: Arc<str>,
    group: Group,
    /// Set until the command has been executed.
    late: Option<Late>,
    deadline: Moment,
    killed: bool,
}

impl Running {
    /// Why the command could not be executed, once that is known; its process is reaped then.
    fn look_at_late(&mut self, spawner: &mut Spawner, launch: &Launch) -> Option<Error> {
        let answer = self.late.as_mut()?.poll(spawner)?;
        self.group.was_made();
        if answer.is_err() {
            spawner.bury(self.group.number());
        }
        // Only now: a child that is still on its stack would keep that for good.
        self.late = None;
        let failure = answer.err()?;
        Some(launch.explain(failure))
    }
}

/// What a turn has to say about the command.
pub(crate) enum Said {
    Started(i32),
    Trouble(Arc<str>, Error),
}

impl ErrorCommand {
    pub(crate) fn new(launch: Launch) -> Self {
        let stderr = descriptors::duplicate(std::io::stderr().as_fd()).ok();
        Self {
            launch,
            stderr,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_backlog: false,
            running: Vec::new(),
            dropped: 0,
            closing_at: None,
        }
    }

    /// Puts a report in the queue, if there is room, and memory.
    #[cfg(feature = "json")]
    pub(crate) fn push(&mut self, report: &ErrorReport) {
        let json = match self.waiting.len() < WAITING_MAX {
            true => report.try_to_json(),
            false => None,
        };
        let room = WAITING_BYTES_MAX - self.waiting_bytes;
        let has_place = Reserve::spare(|| self.waiting.try_reserve(1)).is_ok();
        let Some(json) = json.filter(|json| has_place && json.len() <= room) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.waiting_bytes += json.len();
        let name = report.process.clone();
        self.waiting.push_back(Job { name, json });
        self.is_backlog |= self.waiting.len() >= BACKLOG;
    }

    /// Whether the last of many is gone, once: what they needed may go back to the system.
    pub(crate) fn take_relief(&mut self) -> bool {
        self.waiting.is_empty() && std::mem::take(&mut self.is_backlog)
    }

    /// Looks at those that had not been executed yet, and returns the pids of those that cannot
    /// be: their numbers are another's from now on.
    pub(crate) fn look_at_late(
        &mut self,
        spawner: &mut Spawner,
        mut say: impl FnMut(Said),
    ) -> Vec<i32> {
        let launch = &self.launch;
        let failed = self.running.extract_if(.., |running| {
            let Some(error) = running.look_at_late(spawner, launch) else {
                return false;
            };
            say(Said::Trouble(running.name.clone(), error));
            true
        });
        failed.map(|running| running.group.number()).collect()
    }

    /// Takes note of the runs that have ended, and returns their pids.
    pub(crate) fn forget(
        &mut self,
        spawner: &mut Spawner,
        has_ended: impl Fn(i32) -> bool,
        mut say: impl FnMut(Said),
    ) -> Vec<i32> {
        let ended = self
            .running
            .extract_if(.., |running| has_ended(running.group.number()));
        let mut pids = Vec::new();
        for mut running in ended {
            pids.push(running.group.number());
            if let Some(error) = running.look_at_late(spawner, &self.launch) {
                say(Said::Trouble(running.name, error));
            }
        }
        pids
    }

    /// No program will end any more: what is left has five seconds.
    pub(crate) fn close(&mut self, now: Moment) {
        self.closing_at.get_or_insert(now.after(CLOSING_TIME_MAX));
    }

    pub(crate) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// When [`ErrorCommand::turn`] has something to do, unless a run ends before.
    pub(crate) fn next_deadline(&self) -> Option<Moment> {
        let closing = self.closing_at.map(|at| {
            let all_killed = self.running.iter().all(|running| running.killed);
            let is_dying = self.waiting.is_empty() && all_killed;
            at.after(if is_dying {
                DYING_TIME_MAX
            } else {
                Duration::ZERO
            })
        });
        let late = self.running.iter().filter(|running| !running.killed);
        let runs = late.map(|running| running.deadline);
        runs.chain(closing.filter(|_| !self.is_idle())).min()
    }

    /// Kills what is over its time, and starts what there is room for.
    pub(crate) fn turn(
        &mut self,
        now: Moment,
        spawner: &mut Spawner,
        null: &OwnedFd,
        limit: Option<DescriptorLimit>,
        mut say: impl FnMut(Said),
    ) {
        let closed = self.closing_at.is_some_and(|at| now >= at);
        if closed {
            self.dropped = self.dropped.saturating_add(self.waiting.len() as u64);
            self.waiting.clear();
            self.waiting_bytes = 0;
        }
        self.kill_late(now, closed, &mut say);
        if self
            .closing_at
            .is_some_and(|at| now >= at.after(DYING_TIME_MAX))
        {
            self.running.clear();
        }
        while self.running.len() < RUNNING_MAX
            && let Some(job) = self.waiting.pop_front()
        {
            self.waiting_bytes -= job.json.len();
            match self.start(&job, spawner, null, limit) {
                Ok(started) => {
                    let deadline = now.after(RUN_TIME_MAX);
                    let (group, late) = match started {
                        Started::Executed(pid) => (Group::new(pid), None),
                        Started::Late(late) => (Group::of_new(late.pid()), Some(late)),
                    };
                    let pid = group.number();
                    self.running.push(Running {
                        name: job.name,
                        group,
                        late,
                        deadline,
                        killed: false,
                    });
                    say(Said::Started(pid));
                }
                Err(error) => say(Said::Trouble(job.name, error)),
            }
        }
        if self.dropped > 0 {
            let count = std::mem::take(&mut self.dropped);
            let error = Error::new(format!(
                "dropped {count} reports that waited for error_handler"
            ));
            say(Said::Trouble(Arc::from(""), error));
        }
    }

    fn kill_late(&mut self, now: Moment, closed: bool, say: &mut impl FnMut(Said)) {
        for running in &mut self.running {
            if running.killed || (now < running.deadline && !closed) {
                continue;
            }
            running.killed = true;
            running.group.signal(libc::SIGKILL);
            let pid = running.group.number();
            let why = if now < running.deadline {
                "had not ended 5 s after the last program"
            } else {
                "ran for too long"
            };
            let error = Error::new(format!("error_handler {why} and was killed, pid={pid}"));
            say(Said::Trouble(running.name.clone(), error));
        }
    }

    fn start(
        &self,
        job: &Job,
        spawner: &mut Spawner,
        null: &OwnedFd,
        limit: Option<DescriptorLimit>,
    ) -> Result<Started, Error> {
        let stdin = descriptors::memory_file(job.json.as_bytes())
            .map_err(|error| Error::io("failed to hand a report to error_handler", &error))?;
        let name =
            CString::new(&*job.name).map_err(|_| Error::new("a name has a NUL byte in it"))?;
        let stderr = self.stderr.as_ref().unwrap_or(null);
        let stdio = [stdin.as_fd(), null.as_fd(), stderr.as_fd()];
        self.launch
            .spawn_with(spawner, stdio, limit, Some(&name))
            .map_err(|failure| self.launch.explain(failure))
    }
}
