//! Bounded commands beside the programs: today the error handler, which is run for each report with
//! the program's name as its last argument and the report as its stdin.
//!
//! A command must never hold up supervision. So everything about it is bounded: how many run at a
//! time, for how long, how many reports wait. What is over a bound is dropped or killed, counted,
//! and reported.

use std::collections::VecDeque;
use std::ffi::CString;
use std::os::fd::{AsFd, AsRawFd, OwnedFd};
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::exec::{BaseEnv, Exec, More};
use crate::machine::{Moment, Shutdown};
use crate::os::descriptors;
#[cfg(feature = "json")]
use crate::os::emergency_heap::EmergencyHeap;
use crate::os::group::Group;
use crate::os::pages::trim_memory;
use crate::os::spawn::{Late, Place, Spawner, Started};
#[cfg(feature = "json")]
use crate::report::ErrorReport;
use crate::spec::ErrorCommand;

use super::core::{Core, Owner};
use super::launcher::Launcher;

const RUNNING_MAX: usize = 4;
const RUN_TIME_MAX: Duration = Duration::from_secs(30);
const WAITING_MAX: usize = 1024;
const WAITING_BYTES_MAX: usize = 4 * 1024 * 1024;

/// From this many waiting reports on, memory is given back once they are handled.
const BACKLOG: usize = 16;

/// How long commands may run after the last program has ended.
const CLOSING_TIME_MAX: Duration = Duration::from_secs(5);

/// How long the end waits after that for the commands that were killed.
const DYING_TIME_MAX: Duration = Duration::from_secs(1);

/// How long the exec of a command is waited for.
const START_WAIT: Duration = Duration::from_millis(10);

/// The error handler.
pub(super) struct Handler {
    exec: Exec,
    /// True if it is run for failures alone.
    only_failures: bool,
}

impl Handler {
    /// Checks the command, and makes it ready.
    pub(super) fn new(wanted: &ErrorCommand, base_dir: &Path, base: &Arc<BaseEnv>) -> Result<Self> {
        Ok(Self {
            exec: Exec::of_command(&wanted.command, base_dir, base)?,
            only_failures: wanted.only_failures,
        })
    }

    fn differs_from(&self, other: &Self) -> bool {
        self.only_failures != other.only_failures || !self.exec.differences(&other.exec).is_empty()
    }

    #[cfg(feature = "json")]
    fn handles(&self, report: &ErrorReport) -> bool {
        !self.only_failures || report.is_failure
    }
}

/// The reports that wait for the error handler, and its running commands; none without a handler.
pub(super) struct SideCommands {
    handler: Option<Handler>,
    /// False if the handler is only left for the reports that waited for it.
    is_on: bool,
    /// Our stderr, for the command's.
    stderr: Option<OwnedFd>,
    waiting: VecDeque<Job>,
    waiting_bytes: usize,
    /// True if many reports have waited at once, and not all of these are handled yet.
    is_backlog: bool,
    running: Vec<Running>,
    /// Reports that were dropped since the last warning.
    dropped: u64,
    /// Their end, once no program runs any more, or the shutdown has a deadline.
    closing: Option<Closing>,
    /// True if memory that many waiting reports have taken is given back to the system.
    trims_memory: bool,
}

/// The end of all commands.
#[derive(Clone, Copy)]
struct Closing {
    /// When those that run are killed, and those that wait are dropped.
    kill_at: Moment,
    /// Until when their death is waited for.
    leave_at: Moment,
    /// Why they are killed.
    why: &'static str,
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

impl SideCommands {
    pub(super) fn new(handler: Option<Handler>, trims_memory: bool) -> Self {
        Self {
            stderr: handler.as_ref().and_then(|_| own_stderr()),
            is_on: handler.is_some(),
            handler,
            waiting: VecDeque::new(),
            waiting_bytes: 0,
            is_backlog: false,
            running: Vec::new(),
            dropped: 0,
            closing: None,
            trims_memory,
        }
    }

    /// True if nothing runs or waits.
    pub(super) fn is_idle(&self) -> bool {
        self.waiting.is_empty() && self.running.is_empty()
    }

    /// True if a report leads to a command.
    pub(super) fn handle_reports(&self) -> bool {
        self.is_on
    }

    /// True if another handler would make a difference.
    pub(super) fn is_changed_by(&self, new: Option<&Handler>) -> bool {
        match (self.handler.as_ref().filter(|_| self.is_on), new) {
            (None, None) => false,
            (Some(old), Some(new)) => old.differs_from(new),
            (None, Some(_)) | (Some(_), None) => true,
        }
    }

    /// Sets the handler for the reports to come, and those that wait.
    pub(super) fn set_handler(&mut self, new: Option<Handler>) {
        self.is_on = new.is_some();
        if let Some(new) = new {
            self.stderr = self.stderr.take().or_else(own_stderr);
            self.handler = Some(new);
        }
    }

    /// Returns when a turn has something to do, unless a command ends before.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        let closing = self.closing.filter(|_| !self.is_idle()).map(|closing| {
            let all_killed = self.running.iter().all(|running| running.killed);
            if self.waiting.is_empty() && all_killed {
                closing.leave_at
            } else {
                closing.kill_at
            }
        });
        let living = self.running.iter().filter(|running| !running.killed);
        living.map(|running| running.deadline).chain(closing).min()
    }

    /// Queues a report for the error handler, if that is run for it and has room, and there is
    /// memory.
    #[cfg(feature = "json")]
    pub(super) fn push(&mut self, report: &ErrorReport) {
        let handler = self.handler.as_ref().filter(|_| self.is_on);
        if !handler.is_some_and(|handler| handler.handles(report)) {
            return;
        }
        let json = match self.waiting.len() < WAITING_MAX {
            true => report.try_to_json(),
            false => None,
        };
        let room = WAITING_BYTES_MAX - self.waiting_bytes;
        let has_place = EmergencyHeap::optional(|| self.waiting.try_reserve(1)).is_ok();
        let Some(json) = json.filter(|json| has_place && json.len() <= room) else {
            self.dropped = self.dropped.saturating_add(1);
            return;
        };
        self.waiting_bytes += json.len();
        let name = report.process.clone();
        self.waiting.push_back(Job { name, json });
        self.is_backlog |= self.waiting.len() >= BACKLOG;
    }

    /// Gives memory back to the system, if that is wanted.
    pub(super) fn trim_memory(&self) {
        if self.trims_memory {
            trim_memory();
        }
    }

    /// No program runs any more: the commands have five seconds.
    pub(super) fn close(&mut self, now: Moment) {
        let kill_at = now.after(CLOSING_TIME_MAX);
        self.close_by(Closing {
            kill_at,
            leave_at: kill_at.after(DYING_TIME_MAX),
            why: "had not ended 5 s after the last program",
        });
    }

    /// A shutdown with a deadline ends them in any case.
    fn close_with(&mut self, shutdown: &Shutdown) {
        self.close_by(Closing {
            kill_at: shutdown.kill_commands_at,
            leave_at: shutdown.abandon_at,
            why: "had not ended when shutdown_timeout was nearly over",
        });
    }

    /// No end moves later.
    fn close_by(&mut self, new: Closing) {
        let closing = self.closing.get_or_insert(new);
        let leave_at = closing.leave_at.min(new.leave_at);
        if new.kill_at < closing.kill_at {
            *closing = new;
        }
        closing.leave_at = leave_at;
    }

    /// Looks at the commands that have not been executed yet. One that could not be is reaped.
    fn look_at_late(&mut self, core: &mut Core, spawner: &mut Spawner) {
        let Some(Handler { exec, .. }) = &self.handler else {
            return;
        };
        self.running.retain_mut(|running| {
            let late = running.late.as_mut();
            let Some(answer) = late.and_then(|late| late.poll(spawner)) else {
                return true;
            };
            running.group.on_made();
            let pid = running.group.number();
            if answer.is_err() {
                spawner.bury(pid);
            }
            // Only now: a child that is still on its stack would keep it for good.
            running.late = None;
            let Err(failure) = answer else {
                return true;
            };
            core.disown(pid);
            warn(core, &running.name, not_started(&exec.explain(failure)));
            false
        });
    }

    /// Records that a command is dead and reaped.
    pub(super) fn on_exit(&mut self, core: &mut Core, spawner: &mut Spawner, pid: i32) {
        core.disown(pid);
        self.look_at_late(core, spawner);
        self.running.retain(|running| running.group.number() != pid);
    }

    /// Kills the commands whose time is over, and starts those that there is room for.
    pub(super) fn turn(&mut self, now: Moment, core: &mut Core, launcher: &mut Launcher) {
        if self.handler.is_none() {
            return;
        }
        if let Some(shutdown) = core.shutdown() {
            self.close_with(shutdown);
        }
        self.look_at_late(core, launcher.spawner());
        let is_past = |at: Option<Moment>| at.is_some_and(|at| now >= at);
        let is_closed = is_past(self.closing.map(|closing| closing.kill_at));
        if is_closed {
            self.dropped += self.waiting.len() as u64;
            self.waiting.clear();
            self.waiting_bytes = 0;
        }
        self.kill_overdue(now, is_closed, core);
        if is_past(self.closing.map(|closing| closing.leave_at)) {
            self.running.clear();
        }
        while self.running.len() < RUNNING_MAX
            && let Some(job) = self.waiting.pop_front()
        {
            self.waiting_bytes -= job.json.len();
            if let Err(error) = self.start(&job, now, core, launcher) {
                warn(core, &job.name, error);
            }
        }
        let dropped = std::mem::take(&mut self.dropped);
        if dropped > 0 {
            let text = format!("dropped {dropped} reports that waited for error_handler");
            core.outbox_mut().warn(Error::new(text));
        }
        if self.waiting.is_empty() && std::mem::take(&mut self.is_backlog) {
            self.trim_memory();
        }
    }

    fn kill_overdue(&mut self, now: Moment, is_closed: bool, core: &mut Core) {
        let why_closed = self.closing.map_or("", |closing| closing.why);
        for running in &mut self.running {
            let is_overdue = now >= running.deadline;
            if running.killed || !(is_overdue || is_closed) {
                continue;
            }
            running.killed = true;
            running.group.signal(libc::SIGKILL);
            let pid = running.group.number();
            let why = if is_overdue {
                "ran for too long"
            } else {
                why_closed
            };
            let text = format!("error_handler {why} and was killed, pid={pid}");
            warn(core, &running.name, Error::new(text));
        }
    }

    fn start(
        &mut self,
        job: &Job,
        now: Moment,
        core: &mut Core,
        launcher: &mut Launcher,
    ) -> Result<()> {
        let Some(Handler { exec, .. }) = &self.handler else {
            return Ok(());
        };
        let stdin = descriptors::memory_file(job.json.as_bytes())
            .map_err(|error| Error::io("failed to hand a report to error_handler", &error))?;
        let name =
            CString::new(&*job.name).map_err(|_| Error::new("a name has a NUL byte in it"))?;
        let (spawner, null, limit) = launcher.for_command();
        let stderr = self.stderr.as_ref().unwrap_or(null);
        let stdio = [stdin.as_raw_fd(), null.as_raw_fd(), stderr.as_raw_fd()];
        let place = Place::Apart {
            stdio,
            limit,
            passed: None,
        };
        let more = More {
            argument: Some(&name),
            ..More::default()
        };
        let started = exec.spawn_at("", spawner, place, more, START_WAIT);
        let (group, late) = match started.map_err(|failure| not_started(&exec.explain(failure)))? {
            Started::Executed(pid) => (Group::new(pid), None),
            Started::Late(late) => (Group::of_new(late.pid()), Some(late)),
        };
        core.own(group.number(), Owner::SideCommand);
        self.running.push(Running {
            name: job.name.clone(),
            group,
            late,
            deadline: now.after(RUN_TIME_MAX),
            killed: false,
        });
        Ok(())
    }
}

/// Says of a failure that it is the handler's: the warning has the name of a program.
fn not_started(cause: &Error) -> Error {
    Error::because("failed to start error_handler", cause.to_string())
}

fn own_stderr() -> Option<OwnedFd> {
    descriptors::duplicate(std::io::stderr().as_fd()).ok()
}

fn warn(core: &mut Core, program: &Arc<str>, error: Error) {
    let kind = EventKind::Warning { error };
    // Of a program that was removed nothing is heard any more.
    let is_there = core.programs().find(program.as_bytes()).is_some();
    if is_there {
        core.outbox_mut().event(program.clone(), kind);
    } else {
        core.outbox_mut().own_event(kind);
    }
}
