//! Starts: from a program that is due to a process, or to the reason why there is none.

use std::ffi::CStr;
use std::os::fd::OwnedFd;
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::{Error, Result};
use crate::exec::{More, failed_start_code};
use crate::machine::state::Goal;
use crate::machine::{Cause, Moment, ProgramId, Run};
use crate::os::clock::{self, Clock};
use crate::os::descriptors;
use crate::os::group::Group;
use crate::os::limits::DescriptorLimit;
use crate::os::spawn::{Failure, Place, Spawner, Started, Step};
use crate::os::tail::Tail;
use crate::program::{FailedStart, LiveRun};
use crate::report::CODE_UNKNOWN;
use crate::spec::StdStream;
use crate::text::duration;

use super::capture::{Capture, report_losses};
use super::core::{Core, Owner, Start};
use super::fd_budget::{FdBudget, Planned};
use super::inbox::Inbox;
use super::late_starts::{LateStarts, Over};
use super::pipes::Pipes;
use super::readiness::{Given, Readiness};
use super::reaper::Reaper;

/// Starts in one turn, at about half a millisecond each.
const STARTS_PER_TURN_MAX: usize = 32;

/// How long the end waits for the death of children that could not be executed; a tracer may keep
/// it from us.
const BURIAL_WAIT: Duration = Duration::from_secs(1);

pub(super) struct Launcher {
    clock: Clock,
    spawner: Spawner,
    null: Arc<OwnedFd>,
    /// The limit on descriptors that children get, if it is not ours.
    limit: Option<DescriptorLimit>,
    budget: FdBudget,
    late: LateStarts,
    /// The run that is being started: set only if a panic came between.
    starting: Option<Run>,
    /// True if this turn has looked for logs of idle programs to close, and found none.
    no_idle_logs: bool,
    /// True if the start at hand has failed for lack of descriptors.
    lacks_descriptors: bool,
    /// When the end waits no longer for children that could not be executed.
    burial_end: Option<Moment>,
}

impl Launcher {
    pub(super) fn new(
        clock: Clock,
        spawner: Spawner,
        null: Arc<OwnedFd>,
        budget: FdBudget,
    ) -> Self {
        Self {
            clock,
            spawner,
            null,
            limit: None,
            budget,
            late: LateStarts::default(),
            starting: None,
            no_idle_logs: false,
            lacks_descriptors: false,
            burial_end: None,
        }
    }

    /// Plans for these programs. Returns how many of them fit, and a warning if that are not all.
    pub(super) fn plan_for(&mut self, needs: Planned) -> (usize, Option<Error>) {
        let before = self.budget.plan_for(needs);
        self.limit = self.limit.or(before);
        (self.budget.programs_that_fit(), self.budget.take_shortage())
    }

    pub(super) fn spawner(&mut self) -> &mut Spawner {
        &mut self.spawner
    }

    /// Returns what a side command needs to be started.
    pub(super) fn for_command(&mut self) -> (&mut Spawner, &OwnedFd, Option<DescriptorLimit>) {
        (&mut self.spawner, &self.null, self.limit)
    }

    /// Returns when a late start is to be looked at.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.late.next_deadline()
    }

    /// Returns until when the end waits at most for children that could not be executed.
    pub(super) fn burial_end(&self) -> Moment {
        self.burial_end.unwrap_or_default()
    }

    /// True if the end has to wait for the death of a child that could not be executed.
    pub(super) fn awaits_burial(&mut self, now: Moment) -> bool {
        self.spawner.reap_failed();
        self.spawner.has_unreaped() && now < *self.burial_end.get_or_insert(now.after(BURIAL_WAIT))
    }

    /// Starts what is due, up to the turn's limit, or to a start that is late. The clock is read
    /// for each, as each takes its time. No start comes before a death that is known, or after a
    /// stop that has arrived.
    pub(super) fn start_due(
        &mut self,
        core: &mut Core,
        capture: &mut Capture,
        reaper: &mut Reaper,
        readiness: &mut Readiness,
        inbox: &Inbox,
    ) {
        self.no_idle_logs = false;
        self.answer_for_a_panic(core);
        for _ in 0..STARTS_PER_TURN_MAX {
            if inbox.has_stop() || reaper.has_deaths_left() {
                break;
            }
            let Some(run) = core.next_start() else {
                break;
            };
            self.starting = Some(run);
            let start = self.start(core, capture, reaper, readiness, run);
            let start = start.unwrap_or_else(Start::Failed);
            let is_late = matches!(start, Start::Late);
            self.starting = None;
            core.started(self.clock.now(), run, start);
            if std::mem::take(&mut self.lacks_descriptors) {
                // Otherwise the logs of programs that cannot start would take the last ones.
                core.program_mut(run.program).close_logs();
            }
            if is_late {
                break;
            }
        }
        if let Some(error) = self.spawner.take_warning() {
            core.outbox_mut().warn(error);
        }
    }

    /// The machine waits for the answer to a start whatever comes between, a panic of ours too.
    fn answer_for_a_panic(&mut self, core: &mut Core) {
        let Some(run) = self.starting.take() else {
            return;
        };
        let start = match core.program_mut(run.program).live_run(run) {
            Some(live) if live.is_launching => Start::Late,
            Some(_) => Start::Executed,
            None => Start::Failed(FailedStart {
                return_code: CODE_UNKNOWN,
                error: Error::new("failed to start: the supervisor panicked meanwhile"),
                log_offset: 0,
            }),
        };
        core.started(self.clock.now(), run, start);
    }

    #[cfg(test)]
    pub(super) fn panicked_while_starting(&mut self, run: Run) {
        self.starting = Some(run);
    }

    fn start(
        &mut self,
        core: &mut Core,
        capture: &mut Capture,
        reaper: &mut Reaper,
        readiness: &mut Readiness,
        run: Run,
    ) -> std::result::Result<Start, FailedStart> {
        let id = run.program;
        let failed = |return_code, error, log_offset| FailedStart {
            return_code,
            error,
            log_offset,
        };
        let opened = self.open_logs(core, capture, id);
        let log_offset = opened.map_err(|error| failed(CODE_UNKNOWN, error, 0))?;
        let pipes = self.pipes(core, id);
        let pipes = pipes.map_err(|error| failed(CODE_UNKNOWN, error, log_offset))?;
        let given = self.prepare(core, capture, readiness, run);
        let given = given.map_err(|error| failed(CODE_UNKNOWN, error, log_offset))?;
        let stdin = self.open_stdin(core, id);
        let stdin = stdin.map_err(|error| failed(CODE_UNKNOWN, error, log_offset))?;
        let program = &core.programs()[id];
        let place = Place::Apart {
            stdio: pipes.stdio(&self.null, stdin.as_ref(), program.exec.outputs()),
            limit: self.limit,
            passed: given.passed(),
        };
        let more = More {
            variable: readiness.variable(run),
            ..More::default()
        };
        let (name, wait) = (program.name(), self.late.wait());
        let spawner = &mut self.spawner;
        let started = program.exec.spawn_at(name, spawner, place, more, wait);
        let started = started.map_err(|failure| {
            let error = self.explain(core, id, failure);
            failed(failed_start_code(failure), error, log_offset)
        })?;
        drop((given, stdin));
        let ends = pipes.ends();
        let now = self.clock.now();
        let (group, late) = match started {
            Started::Executed(pid) => (Group::new(pid), None),
            Started::Late(late) => (Group::of_new(late.pid()), Some(late)),
        };
        let pid = group.number();
        let program = core.program_mut(id);
        program.last_start = Some(clock::wall());
        let tail = Tail::new(program.report_bytes);
        let live = program
            .live
            .insert(LiveRun::new(run, group, log_offset, now, tail));
        live.is_launching = late.is_some();
        reaper.watch(program, capture.poller_mut());
        core.own(pid, Owner::Program(id));
        Ok(match late {
            None => {
                capture.attach(now, core, id, ends);
                Start::Executed
            }
            Some(late) => {
                self.late.push(id, late, ends, now);
                Start::Late
            }
        })
    }

    /// Opens the logs of a program, and returns the size of that of its stderr.
    fn open_logs(&mut self, core: &mut Core, capture: &mut Capture, id: ProgramId) -> Result<u64> {
        let mut size = 0;
        for stream in StdStream::ALL {
            size = self.open_log(core, capture, id, stream)?;
        }
        core.program_mut(id).stderr.log.begin_run();
        report_losses(self.clock.now(), core, id, false);
        Ok(size)
    }

    /// Opens a log of a program, and returns its size. A program whose log is refused runs without it;
    /// one that lacks descriptors for it is not started.
    fn open_log(
        &mut self,
        core: &mut Core,
        capture: &mut Capture,
        id: ProgramId,
        stream: StdStream,
    ) -> Result<u64> {
        let mut opened = capture.open_log(core, id, stream);
        let shortage = |opened: &Result<u64>| opened.as_ref().err()?.descriptor_shortage();
        if shortage(&opened).is_some() && self.close_idle_logs(core, id) {
            opened = capture.open_log(core, id, stream);
        }
        if let Some(errno) = shortage(&opened) {
            return Err(self.budget.explain("failed to open its log", errno));
        }
        Ok(opened.unwrap_or_else(|error| {
            core.warn(id, error);
            0
        }))
    }

    /// Makes the pipes of a run.
    fn pipes(&mut self, core: &mut Core, id: ProgramId) -> Result<Pipes> {
        let outputs = core.programs()[id].exec.outputs();
        let mut make = |stream: StdStream| {
            let is_wanted = outputs.has_pipe(stream);
            is_wanted.then(|| self.pipe(core, id, stream)).transpose()
        };
        let stderr = make(StdStream::Stderr)?;
        Ok(Pipes::new(make(StdStream::Stdout)?, stderr))
    }

    fn pipe(
        &mut self,
        core: &mut Core,
        id: ProgramId,
        stream: StdStream,
    ) -> Result<(OwnedFd, OwnedFd)> {
        let budget = self.budget;
        let is_of_another = core.programs()[id].exec.uid().is_some();
        let make = || {
            let (read, write) = descriptors::child_pipe()?;
            budget.check(&write)?;
            if is_of_another {
                descriptors::let_others_write(&write)?;
            }
            Ok((read, write))
        };
        let made = match make() {
            Err(Errno::EMFILE | Errno::ENFILE) if self.close_idle_logs(core, id) => make(),
            made => made,
        };
        self.lacks_descriptors = matches!(made, Err(Errno::EMFILE | Errno::ENFILE));
        let what = match stream {
            StdStream::Stdout => "failed to make a pipe for stdout",
            StdStream::Stderr => "failed to make a pipe for stderr",
        };
        made.map_err(|errno| budget.explain(what, errno as i32))
    }

    /// Opens the file that a program reads, if it has one.
    fn open_stdin(&mut self, core: &mut Core, id: ProgramId) -> Result<Option<OwnedFd>> {
        let Some(path) = core.programs()[id].exec.stdin().map(CStr::to_owned) else {
            return Ok(None);
        };
        let budget = self.budget;
        let open = || {
            let file = descriptors::open_to_read(&path)?;
            budget.check(&file)?;
            Ok(file)
        };
        let opened = match open() {
            Err(Errno::EMFILE | Errno::ENFILE) if self.close_idle_logs(core, id) => open(),
            opened => opened,
        };
        opened.map(Some).map_err(|errno| {
            self.lacks_descriptors = matches!(errno, Errno::EMFILE | Errno::ENFILE);
            let what = format!("failed to open its stdin {:?}", path.to_string_lossy());
            match errno {
                // There it is not for a limit on processes.
                Errno::EAGAIN => Error::os(what, errno as i32),
                _ => budget.explain(&what, errno as i32),
            }
        })
    }

    /// Makes what a run needs to say of itself.
    fn prepare(
        &mut self,
        core: &mut Core,
        capture: &mut Capture,
        readiness: &mut Readiness,
        run: Run,
    ) -> Result<Given> {
        let budget = self.budget;
        let mut make = |core: &Core| {
            let signs = core.signs(run.program);
            let uid = core.programs()[run.program].exec.uid();
            readiness.prepare(run, signs, uid, &budget, capture.poller_mut())
        };
        let is_lack = |errno: i32| [libc::EMFILE, libc::ENFILE].contains(&errno);
        let made = match make(core) {
            Err((_, errno)) if is_lack(errno) && self.close_idle_logs(core, run.program) => {
                make(core)
            }
            made => made,
        };
        made.map_err(|(what, errno)| {
            self.lacks_descriptors = is_lack(errno);
            budget.explain(what, errno)
        })
    }

    /// When descriptors run out, the logs of programs that do not run give theirs back. Those of
    /// programs that run keep them: the next bytes would be lost. True if there were any besides
    /// that of `id`.
    fn close_idle_logs(&mut self, core: &mut Core, id: ProgramId) -> bool {
        if self.no_idle_logs {
            return false;
        }
        let mut closed = false;
        let programs = core.programs_mut().iter_mut();
        for program in programs.filter(|program| program.id != id) {
            if program.live.is_none() && !program.has_pipes() {
                closed |= program.close_logs();
            }
        }
        self.no_idle_logs = !closed;
        closed
    }

    fn explain(&self, core: &Core, id: ProgramId, failure: Failure) -> Error {
        match failure.step {
            Step::Process => self
                .budget
                .explain("failed to create a process", failure.errno),
            _ => core.programs()[id].exec.explain(failure),
        }
    }

    /// Looks at the late starts.
    pub(super) fn look_at_late(&mut self, now: Moment, core: &mut Core, capture: &mut Capture) {
        while let Some(over) = self
            .late
            .next_over(now, core, &mut self.spawner, |_, _| true)
        {
            self.late_start_is_over(core, capture, over);
        }
    }

    /// Does the same, but for programs that are being removed: the end of such a start would end
    /// the removal, and a reload that takes it back has found it going on.
    pub(super) fn look_at_late_kept(
        &mut self,
        now: Moment,
        core: &mut Core,
        capture: &mut Capture,
    ) {
        let is_kept = |core: &Core, id| !core.machine().is_being_removed(id);
        while let Some(over) = self.late.next_over(now, core, &mut self.spawner, is_kept) {
            self.late_start_is_over(core, capture, over);
        }
    }

    /// Takes in that the process of a program is dead. False if that ends a start that has failed:
    /// then there is no run.
    pub(super) fn on_death(
        &mut self,
        core: &mut Core,
        capture: &mut Capture,
        id: ProgramId,
    ) -> bool {
        match self.late.take_dead(id, &mut self.spawner) {
            None => true,
            Some(over) => {
                self.late_start_is_over(core, capture, over);
                core.programs().live(id).is_some()
            }
        }
    }

    fn late_start_is_over(&mut self, core: &mut Core, capture: &mut Capture, over: Over) {
        // A child that failed may still be on its stack: its late start is kept until it is buried.
        let (id, ends, begun_at, _late, answer) = over;
        let at = self.clock.now();
        let program = core.programs_mut().get_mut(id);
        let Some(live) = program.and_then(|program| program.live.as_mut()) else {
            return;
        };
        let (run, pid, log_offset) = (live.run, live.pid(), live.log_offset);
        live.is_launching = false;
        live.group.on_made();
        // The answer is `Ok` for a process that has executed its program, and for one that was
        // killed before. After our SIGKILL we assume the latter; if the exec was faster, what the
        // program wrote is dropped with its pipe.
        let was_killed = live.killed_at().is_some();
        let (return_code, error) = match answer {
            Ok(()) if !was_killed => {
                live.started_at = at;
                capture.attach(at, core, id, ends);
                core.started(at, run, Start::Executed);
                return;
            }
            Ok(()) => {
                let age = duration(at.since(begun_at));
                let cause = cancelled_by(core, id);
                let error = Error::new(format!(
                    "start cancelled by {cause}: pid {pid} had not executed its program after \
                     {age}"
                ));
                (CODE_UNKNOWN, error)
            }
            Err(failure) => (failed_start_code(failure), self.explain(core, id, failure)),
        };
        // Nothing was executed, so that there is no run. The process is dead.
        let program = core.program_mut(id);
        program.unwatch_leader(capture.poller_mut());
        program.live = None;
        core.disown(pid);
        self.spawner.bury(pid);
        let failed = FailedStart {
            return_code,
            error,
            log_offset,
        };
        core.started(self.clock.now(), run, Start::Failed(failed));
    }
}

/// Says why a start is cancelled that was not over yet.
fn cancelled_by(core: &Core, id: ProgramId) -> &'static str {
    let machine = core.machine();
    let Some(view) = machine.view(id).filter(|_| !machine.is_being_removed(id)) else {
        return "the removal";
    };
    match (view.cause, view.goal) {
        (Cause::Operator, Goal::Up) => "a restart",
        (Cause::Operator, Goal::DownNow) => "a kill",
        (Cause::Operator, Goal::Down) => "a stop",
        (Cause::Reload, _) => "its new definition",
        (Cause::Requirement, _) => "the stop of a program that it requires",
        (Cause::Shutdown, _) => "the stop",
        _ => "its deadline",
    }
}
