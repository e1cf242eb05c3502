//! The one door to the machine: facts go in, and what it orders is carried out until nothing is
//! left, before anything else is read. What its decisions are about is here, too: the programs,
//! and the owner of each child.

mod notices;
mod programs;

pub(super) use programs::Kept;

use std::collections::BTreeMap;
use std::sync::Arc;
use std::time::Duration;

use crate::error::Error;
use crate::event::{EventKind, StopCause};
use crate::exec::Exec;
use crate::machine::state::Why;
use crate::machine::{
    Cause, Command, Exit, Input, Machine, Moment, Order, ProgramId, Run, Shutdown,
};
use crate::os::group::Sent;
use crate::os::poller::Poller;
use crate::os::reap;
use crate::os::wake::Asked;
use crate::program::{FailedStart, Program, ProgramTable, Sparse};
use crate::signal::signal_name;
use crate::spec::StdStream;

use super::fd_budget::Planned;
use super::outbox::Outbox;
use super::side_commands::SideCommands;
use super::signs::{Phase, Signs, Watchlist};

/// The owner of a child.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Owner {
    Program(ProgramId),
    SideCommand,
    /// The command of a check.
    Probe,
}

/// What came of a start.
pub(super) enum Start {
    Executed,
    /// There is a process, which has not executed the program yet.
    Late,
    Failed(FailedStart),
}

pub(super) struct Core {
    machine: Machine,
    programs: ProgramTable,
    /// The owner of each child. Removed at the reap, when the number may be given to another.
    owners: BTreeMap<i32, Owner>,
    /// The children that are no program's leader.
    side_commands: Vec<i32>,
    /// The pids of the children that were started since the last reaps. Its memory is used again.
    started: Vec<i32>,
    outbox: Outbox,
    /// Why the start failed that the machine is being told of.
    failed_start: Option<FailedStart>,
    /// Programs whose leader was reaped and whose pipe was not drained since.
    exited: Vec<ProgramId>,
    /// Programs whose group was sent SIGKILL, and is to be probed.
    killed: Vec<ProgramId>,
    /// Programs that were sent a signal that stops them, and what left whose group ends with them.
    asked: Vec<ProgramId>,
    /// The names of programs that were abandoned, even if they have died since.
    abandoned: Vec<Arc<str>>,
    /// Programs that the machine has forgotten, and whose removal is not reported yet.
    forgotten: Vec<ProgramId>,
    /// Programs whose removal was reported, and of which something is left here.
    removed: Vec<ProgramId>,
    /// How much of a shutdown was reported as an event, with its cause.
    shutdown_reported: Option<Asked>,
    watchlist: Watchlist,
    /// What runs of programs were started with that have a newer definition by now.
    outdated: Sparse<Exec>,
    /// True if only a stop of everything ends it.
    keep_running: bool,
    /// True if programs that were stopped do not keep it running.
    ends_with_stopped: bool,
    /// True if everything had ended at the end of a turn. What follows cannot be taken back.
    has_ended: bool,
    /// The shutdown that follows then, if it has a deadline.
    ended: Option<Shutdown>,
}

impl Core {
    pub(super) fn new(
        machine: Machine,
        programs: ProgramTable,
        watchlist: Watchlist,
        outbox: Outbox,
        keep_running: bool,
        ends_with_stopped: bool,
    ) -> Self {
        Self {
            machine,
            programs,
            owners: BTreeMap::new(),
            side_commands: Vec::new(),
            started: Vec::new(),
            outbox,
            failed_start: None,
            exited: Vec::new(),
            killed: Vec::new(),
            asked: Vec::new(),
            abandoned: Vec::new(),
            forgotten: Vec::new(),
            removed: Vec::new(),
            shutdown_reported: None,
            watchlist,
            outdated: Sparse::default(),
            keep_running,
            ends_with_stopped,
            has_ended: false,
            ended: None,
        }
    }

    /// Tells the machine a fact or a command, and carries out what it orders.
    pub(super) fn apply(&mut self, now: Moment, event: Input) {
        self.machine.handle(now, event);
        self.carry_out(now);
    }

    /// Lets every deadline pass that is due.
    pub(super) fn handle_timeout(&mut self, now: Moment) {
        self.report_time_over(now);
        self.machine.handle_timeout(now);
        self.carry_out(now);
    }

    fn carry_out(&mut self, now: Moment) {
        while let Some(order) = self.machine.next_order() {
            match order {
                Order::Signal { run, signal } => self.signal(now, run, signal),
                Order::Notify { run, change } => self.on_change(now, run, change),
            }
        }
    }

    /// A refused signal is reported once a run, and a refused SIGKILL once more; the program counts
    /// as alive, and the machine's deadlines go on.
    fn signal(&mut self, now: Moment, run: Run, signal: i32) {
        let policy = self.machine.policy(run.program);
        let is_for_main = policy.is_some_and(|policy| policy.is_for_main(signal));
        let Some(live) = self.programs[run.program].live_run(run) else {
            return;
        };
        let sent = match is_for_main {
            true => live.group.signal_leader(signal),
            false => live.group.signal(signal),
        };
        match sent {
            Sent::Delivered if signal == libc::SIGKILL => {
                live.was_killed(now);
                self.killed.push(run.program);
            }
            Sent::Delivered | Sent::Gone => {}
            Sent::Refused(errno) => {
                let exit = live.exit();
                let is_reported = if signal == libc::SIGKILL {
                    &mut exit.kill_refusal_reported
                } else {
                    &mut exit.refusal_reported
                };
                if std::mem::replace(is_reported, true) {
                    return;
                }
                let (name, pid) = (signal_name(signal), live.pid());
                let what = format!("failed to send {name} to process group {pid}");
                let error = Error::os(what, errno as i32);
                self.event(run.program, EventKind::Warning { error });
            }
        }
    }

    /// Takes in the death of a leader. Without an exit, another process has its status. The machine's
    /// orders are carried out while the zombie still pins the group's number; only then is it
    /// reaped.
    pub(super) fn leader_exited(
        &mut self,
        now: Moment,
        id: ProgramId,
        exit: Option<Exit>,
        poller: &mut Poller,
    ) {
        let program = self.programs.get_mut(id);
        let Some(live) = program.and_then(|program| program.live.as_mut()) else {
            return;
        };
        live.leader_dead = true;
        live.was_up = self.machine.is_up(id);
        let (run, pid) = (live.run, live.pid());
        if exit.is_none() {
            live.group.on_leader_reaped();
        }
        self.owners.remove(&pid);
        let exit = exit.unwrap_or(Exit::Unknown);
        self.apply(now, Input::LeaderExited { run, exit });
        let program = &mut self.programs[id];
        let record = program.exit_record.as_ref();
        let asked = record.is_some_and(|record| record.report.stopping);
        program.unwatch_leader(poller);
        if let Some(live) = &mut program.live
            && !live.group.is_leader_reaped()
        {
            if asked {
                live.group.pin();
            }
            reap::reap(pid);
            live.group.on_leader_reaped();
        }
        self.exited.push(id);
    }

    /// Tells the machine that nothing is left of a program's run.
    pub(super) fn group_gone(&mut self, now: Moment, id: ProgramId) {
        let program = self.programs.get_mut(id);
        if let Some(live) = program.and_then(|program| program.live.take()) {
            // Nothing runs by a former definition any more, and it may be long until the next start.
            self.outdated.remove(&id);
            self.apply(now, Input::GroupGone { run: live.run });
        }
    }

    /// Answers a start.
    pub(super) fn started(&mut self, at: Moment, run: Run, start: Start) {
        match start {
            Start::Executed => self.apply(at, Input::Spawned { run, at }),
            Start::Late => self.apply(at, Input::SpawnDelayed { run, at }),
            Start::Failed(failed) => {
                self.failed_start = Some(failed);
                self.apply(at, Input::SpawnFailed { run, at });
            }
        }
    }

    pub(super) fn start_all(&mut self, now: Moment) {
        self.apply(now, Input::Commanded(Command::StartAll));
    }

    pub(super) fn shut_down(&mut self, now: Moment, asked: Asked, cause: StopCause) {
        self.report_shutdown(asked, cause);
        let command = match asked {
            Asked::Stop => Command::StopAll,
            Asked::Kill => Command::KillAll,
        };
        self.apply(now, Input::Commanded(command));
    }

    pub(super) fn next_start(&mut self) -> Option<Run> {
        let run = self.machine.next_start()?;
        self.outdated.remove(&run.program);
        // A reload may have left it for this start, whatever has happened since.
        if let Some(signs) = self.watchlist.get(run.program) {
            self.machine.set_watchdog(run.program, signs.watchdog);
        }
        Some(run)
    }

    /// Returns what tells that a program is up, well and alive, if it has any of that, or had.
    pub(super) fn signs(&self, id: ProgramId) -> Option<&Arc<Signs>> {
        self.watchlist.get(id)
    }

    /// Takes what has happened since the last call to runs of programs that have signs.
    pub(super) fn take_phases(&mut self) -> Vec<(Run, Phase)> {
        self.watchlist.take_phases()
    }

    /// True if something has happened that was not taken.
    pub(super) fn has_phases(&self) -> bool {
        self.watchlist.has_phases()
    }

    /// Returns what all runs at once need of descriptors.
    pub(super) fn planned(&self) -> Planned {
        Planned {
            programs: self.programs.len(),
            outputs: self.programs.output_descriptors(),
            signs: self.watchlist.descriptors(),
        }
    }

    /// Counts output that memory was refused for.
    pub(super) fn lost_output(&mut self, id: ProgramId, stream: StdStream, bytes: usize) {
        let bytes = bytes as u64;
        self.event(id, EventKind::BytesDropped { stream, bytes });
    }

    /// Returns the machine, to be asked.
    pub(super) fn machine(&self) -> &Machine {
        &self.machine
    }

    /// Returns the shutdown that has begun, if it has a deadline. A stop that is asked for once
    /// everything has ended by itself does not put off its end.
    pub(super) fn shutdown(&self) -> Option<&Shutdown> {
        match (self.machine.shutdown(), self.ended.as_ref()) {
            (Some(asked), Some(ended)) if ended.end_at < asked.end_at => Some(ended),
            (asked, ended) => asked.or(ended),
        }
    }

    /// Sets how long a shutdown may take.
    pub(super) fn set_shutdown_timeout(&mut self, timeout: Option<Duration>) {
        self.machine.set_shutdown_timeout(timeout);
    }

    /// True if an end of everything was reported, or has come.
    pub(super) fn is_ending(&self) -> bool {
        self.shutdown_reported.is_some() || self.has_ended
    }

    /// True if nothing happens any more without a command, and none is to come: everything is being
    /// stopped, or every program has ended for good.
    pub(super) fn is_over(&self) -> bool {
        let is_last =
            || !self.keep_running && (self.ends_with_stopped || !self.machine.has_stopped());
        self.machine.is_settled() && (self.machine.is_stopping() || is_last())
    }

    /// Returns how the first essential program ended that ended for good. A failure is never 0, and
    /// what a program makes of a stop signal for its late start says nothing.
    pub(super) fn essential_exit(&self) -> Option<i32> {
        let id = self.machine.essential_ended()?;
        let last = self.programs.get(id)?.last_exit.as_ref()?;
        let has_failed = self.machine.view(id)?.why != Why::Exited;
        match last.return_code {
            _ if last.cause == Cause::StartTimeout => Some(1),
            0 if has_failed => Some(1),
            code => Some(code),
        }
    }

    /// Returns the names of the programs that were abandoned, if there are any.
    pub(super) fn abandoned(&self) -> Option<String> {
        (!self.abandoned.is_empty()).then(|| self.abandoned.join(", "))
    }

    pub(super) fn programs(&self) -> &ProgramTable {
        &self.programs
    }

    pub(super) fn programs_mut(&mut self) -> &mut ProgramTable {
        &mut self.programs
    }

    #[inline]
    pub(super) fn program_mut(&mut self, id: ProgramId) -> &mut Program {
        &mut self.programs[id]
    }

    pub(super) fn owner(&self, pid: i32) -> Option<Owner> {
        self.owners.get(&pid).copied()
    }

    pub(super) fn own(&mut self, pid: i32, owner: Owner) {
        self.owners.insert(pid, owner);
        self.started.push(pid);
        match owner {
            Owner::Program(_) => {}
            Owner::SideCommand | Owner::Probe => self.side_commands.push(pid),
        }
    }

    pub(super) fn disown(&mut self, pid: i32) {
        self.owners.remove(&pid);
        self.side_commands.retain(|&command| command != pid);
    }

    /// Takes the pid of a child that was started, each once.
    pub(super) fn pop_started(&mut self) -> Option<i32> {
        self.started.pop()
    }

    /// Returns the number of children.
    pub(super) fn children(&self) -> usize {
        self.owners.len()
    }

    /// Returns the pids of all children, in ascending order.
    pub(super) fn owned(&self) -> impl Iterator<Item = i32> {
        self.owners.keys().copied()
    }

    /// Returns the pids of the side commands that run, and of the commands of checks.
    pub(super) fn side_commands(&self) -> impl Iterator<Item = i32> {
        self.side_commands.iter().copied()
    }

    /// Returns the programs whose leader was reaped and whose pipe was not drained since.
    pub(super) fn exited(&self) -> &[ProgramId] {
        &self.exited
    }

    pub(super) fn pop_exited(&mut self) -> Option<ProgramId> {
        self.exited.pop()
    }

    /// Takes the programs whose group was sent SIGKILL and is to be probed.
    pub(super) fn take_killed(&mut self) -> Vec<ProgramId> {
        std::mem::take(&mut self.killed)
    }

    /// Takes the programs that were sent a signal that stops them, for what left their groups.
    pub(super) fn take_asked(&mut self) -> Vec<ProgramId> {
        std::mem::take(&mut self.asked)
    }

    /// Forgets them, where nothing tells what left their groups.
    pub(super) fn forget_asked(&mut self) {
        self.asked.clear();
    }

    pub(super) fn outbox(&self) -> &Outbox {
        &self.outbox
    }

    pub(super) fn outbox_mut(&mut self) -> &mut Outbox {
        &mut self.outbox
    }

    /// Queues an event of this moment about a program; about none if that was removed.
    pub(super) fn event(&mut self, id: ProgramId, kind: EventKind) {
        let program = self.programs.get(id);
        match program.filter(|_| !self.removed.contains(&id)) {
            Some(program) => self.outbox.event(program.name().clone(), kind),
            None => self.outbox.own_event(kind),
        }
    }

    /// Queues a warning about a program.
    pub(super) fn warn(&mut self, id: ProgramId, error: Error) {
        self.event(id, EventKind::Warning { error });
    }

    /// Calls the host's closures with everything that is queued.
    pub(super) fn deliver(&mut self, side_commands: &mut SideCommands) {
        self.outbox.deliver(&mut self.programs, side_commands);
    }
}
