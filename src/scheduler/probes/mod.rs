//! Checks of programs from outside: whether one that starts is ready, and whether one that is up
//! still works. `schedule` decides when, and what a result means; this makes them.
//!
//! A check is a connection, or a command that runs beside the program as the program does. It must
//! never hold up supervision, nor outlive what it is about. So everything about it is bounded: how
//! many are under way, for how long, how many begin in a turn. When a check is over, its command's
//! process group is killed; when the run of its program is, the check is ended, and what comes of it
//! later has no effect.

mod command;
mod schedule;

use std::os::fd::AsFd;
use std::time::Duration;

use nix::errno::Errno;

use crate::error::Error;
use crate::machine::state::State;
use crate::machine::{Cause, Exit, Input, Moment, ProgramId, Run};
use crate::os::connect::{Begun, Connection, is_shortage};
use crate::os::reap;
use crate::os::spawn::Spawner;
use crate::program::{Key, Sparse};
use crate::signal::exit_label;
use crate::spec::{Address, Check, Ready};
use crate::status::HealthStatus;
use crate::text::duration;

use super::capture::Capture;
use super::core::Core;
use super::launcher::Launcher;
use super::signs::Phase;
use command::Command;
use schedule::{Aim, Outcome, Schedule, Verdict};

/// Checks that begin in one turn, at about half a millisecond each.
const BEGUN_PER_TURN_MAX: usize = 4;

/// How long the end waits for commands that were killed.
const DYING_TIME_MAX: Duration = Duration::from_secs(1);

/// How long, and after which pauses, a check waits for the command of an earlier one of its program
/// that was killed. One that is there after that time has survived SIGKILL.
const FORMER_TIME_MAX: Duration = Duration::from_secs(1);
const FORMER_PAUSE: Duration = Duration::from_millis(20);

/// The checks that are under way, and those that are to come.
#[derive(Default)]
pub(super) struct Probes {
    schedule: Schedule,
    underway: Sparse<Underway>,
    /// Commands that were killed and are not reaped yet. They have no slot: one that cannot be killed
    /// holds up only its own program.
    dying: Sparse<Dying>,
    /// True if the end waits for what is dying, and for nothing else.
    is_closing: bool,
}

/// A check that has a slot.
struct Underway {
    run: Run,
    deadline: Moment,
    act: Act,
}

enum Act {
    Connection(Connection),
    Command(Command),
    /// It has a result, which is taken in at the end of the turn.
    Over(Outcome),
}

struct Dying {
    command: Command,
    killed_at: Moment,
}

impl Probes {
    /// True if nothing is under way or dying.
    pub(super) fn is_idle(&self) -> bool {
        self.underway.is_empty() && self.dying.is_empty()
    }

    /// True if no program is checked.
    pub(super) fn is_unused(&self) -> bool {
        self.is_idle() && self.schedule.is_empty()
    }

    /// Returns what the health checks of a program have found.
    pub(super) fn health_of(&self, program: ProgramId) -> HealthStatus {
        self.schedule.health_of(program)
    }

    /// Returns when a turn has something to do, unless a check is over before.
    pub(super) fn next_deadline(&self) -> Option<Moment> {
        if self.is_unused() {
            return None;
        }
        let underway = self.underway.values().map(|underway| underway.deadline);
        let dying = self.dying.values().filter(|_| self.is_closing);
        let dying = dying.map(|dying| dying.killed_at.after(DYING_TIME_MAX));
        let all = underway.chain(dying).chain(self.schedule.next_deadline());
        all.min()
    }

    /// No program runs any more: nothing begins, and what is dying is waited for a while.
    pub(super) fn close(&mut self) {
        self.is_closing = true;
    }

    /// Kills what is under way, and forgets it: its scheduler is dropped.
    pub(super) fn kill_all(&mut self) {
        for underway in std::mem::take(&mut self.underway).into_values() {
            if let Act::Command(command) = underway.act {
                command.kill();
            }
        }
    }

    /// Reaps a command that is dead, after the rest of its group was killed. Without an exit another
    /// part of the process has reaped it.
    pub(super) fn on_death(
        &mut self,
        core: &mut Core,
        spawner: &mut Spawner,
        pid: i32,
        exit: Option<Exit>,
    ) {
        core.disown(pid);
        let underway = self.underway.values_mut();
        let with_pid = |act: &Act| matches!(act, Act::Command(command) if command.pid() == pid);
        if let Some(underway) = underway.into_iter().find(|one| with_pid(&one.act)) {
            let over = Act::Over(Outcome::Passed);
            if let Act::Command(command) = std::mem::replace(&mut underway.act, over) {
                underway.act = Act::Over(command.reap(spawner, exit));
            }
            return;
        }
        let is_it = |(_, dying): &(&ProgramId, &Dying)| dying.command.pid() == pid;
        let program = self.dying.iter().find(is_it).map(|(program, _)| *program);
        match program.and_then(|program| self.dying.remove(&program)) {
            Some(dying) => _ = dying.command.reap(spawner, exit),
            // The end has waited for it for too long.
            None => _ = reap::reap(pid),
        }
    }

    /// Takes in what has happened to runs and to checks, and begins the checks that are due, if they
    /// may: none does after a stop that has arrived.
    pub(super) fn turn(
        &mut self,
        now: Moment,
        phases: &[(Run, Phase)],
        may_begin: bool,
        core: &mut Core,
        launcher: &mut Launcher,
        capture: &mut Capture,
    ) {
        for &(run, phase) in phases {
            self.on_phase(now, run, phase, core, capture);
        }
        self.look_at_late(core, launcher.spawner());
        self.take_results(now, core, capture);
        if core.machine().is_stopping() {
            self.end_all(now, capture);
        }
        let is_over = |dying: &Dying| now >= dying.killed_at.after(DYING_TIME_MAX);
        if self.is_closing {
            self.dying.retain(|_, dying| !is_over(dying));
        }
        self.schedule.queue_due(now);
        for _ in 0..BEGUN_PER_TURN_MAX {
            let Some(run) = may_begin.then(|| self.schedule.take()).flatten() else {
                break;
            };
            self.begin(now, run, core, launcher, capture);
        }
    }

    /// Takes in the results of checks whose runs are about to be ended because nothing had shown in time
    /// that they are ready.
    pub(super) fn take_last(&mut self, now: Moment, core: &mut Core, capture: &mut Capture) {
        if self.underway.is_empty() {
            return;
        }
        let due: Vec<ProgramId> = core.machine().due_for_a_sign(now).collect();
        for id in due {
            let underway = self.underway.get(&id);
            let over = underway.and_then(|underway| Some((underway.run, self.result(underway)?)));
            if let Some((run, outcome)) = over {
                self.end_underway(now, id, capture);
                self.finish(now, run, outcome, core);
            }
        }
    }

    fn on_phase(
        &mut self,
        now: Moment,
        run: Run,
        phase: Phase,
        core: &mut Core,
        capture: &mut Capture,
    ) {
        let id = run.program;
        let signs = core.signs(id).cloned();
        let health = signs.as_ref().and_then(|signs| signs.health.clone());
        let ready = signs.as_ref().and_then(|signs| signs.ready.as_ref());
        let next = match phase {
            Phase::Executed => match ready {
                Some(Ready::Probe(probe)) => Some(Aim::Ready(probe.clone())),
                Some(_) | None => None,
            },
            Phase::Up => health.map(Aim::Health),
            Phase::Redefined => match (self.schedule.aim(run), health) {
                (Some(Aim::Ready(_)), _) => return,
                (Some(Aim::Health(old)), Some(new)) if *old == new => return,
                (Some(Aim::Health(_)), new) => new.map(Aim::Health),
                (None, new) => new.filter(|_| is_state(core, run, true)).map(Aim::Health),
            },
            Phase::Ended(cause) => {
                self.explain_unready(run, cause, core);
                None
            }
        };
        self.end(now, id, capture);
        if let Some(aim) = next {
            self.schedule.begin(now, run, aim);
        }
    }

    /// Says why a run that was ended for its start timeout was not ready.
    fn explain_unready(&self, run: Run, cause: Cause, core: &mut Core) {
        let is_timeout = cause == Cause::StartTimeout;
        let error = self.schedule.explain_unready(run).filter(|_| is_timeout);
        if let Some(error) = error {
            core.warn(run.program, error);
        }
    }

    /// Ends the checks of a program, and the one that is under way.
    fn end(&mut self, now: Moment, program: ProgramId, capture: &mut Capture) {
        self.schedule.end(program);
        self.end_underway(now, program, capture);
    }

    fn end_all(&mut self, now: Moment, capture: &mut Capture) {
        self.schedule.clear();
        while let Some(program) = self.underway.first_key() {
            self.end_underway(now, program, capture);
        }
    }

    /// Frees the slot of a program.
    fn end_underway(&mut self, now: Moment, program: ProgramId, capture: &mut Capture) {
        let Some(underway) = self.underway.remove(&program) else {
            return;
        };
        match underway.act {
            Act::Connection(connection) => {
                let number = Key::Connection(program).number();
                capture.poller_mut().remove(connection.as_fd(), number);
            }
            Act::Command(command) => {
                command.kill();
                let killed_at = now;
                self.dying.insert(program, Dying { command, killed_at });
            }
            Act::Over(_) => {}
        }
    }

    /// Looks at the commands that have not been executed yet.
    fn look_at_late(&mut self, core: &mut Core, spawner: &mut Spawner) {
        for underway in self.underway.values_mut() {
            if let Act::Command(command) = &mut underway.act
                && let Some(outcome) = command.look_at_late(core, spawner)
            {
                underway.act = Act::Over(outcome);
            }
        }
        self.dying
            .retain(|_, dying| dying.command.look_at_late(core, spawner).is_none());
    }

    /// Takes in the results of checks, and ends those whose time is over.
    fn take_results(&mut self, now: Moment, core: &mut Core, capture: &mut Capture) {
        let ready: Vec<ProgramId> = capture.ready_connections().collect();
        let mut over = Vec::new();
        let mut is_answered = false;
        for (&program, underway) in self.underway.iter() {
            let is_late = now >= underway.deadline;
            let is_connection = matches!(underway.act, Act::Connection(_));
            // A wait does not report all that is ready.
            let is_asked = !is_connection || is_late || ready.contains(&program);
            let result = is_asked.then(|| self.result(underway)).flatten();
            is_answered |= is_connection && result.is_some();
            let late = || is_late.then(|| self.timed_out(underway));
            if let Some(outcome) = result.or_else(late) {
                over.push((underway.run, outcome));
            }
        }
        if is_answered {
            capture.poller_mut().note_useful();
        }
        for (run, outcome) in over {
            self.end_underway(now, run.program, capture);
            self.finish(now, run, outcome, core);
        }
    }

    /// Returns what has come of a check, if that is known.
    fn result(&self, underway: &Underway) -> Option<Outcome> {
        match &underway.act {
            Act::Over(outcome) => Some(outcome.clone()),
            Act::Connection(connection) => {
                let address = self.address(underway.run);
                let answer = connection.poll()?;
                Some(outcome_of(address.as_ref(), answer))
            }
            Act::Command(_) => None,
        }
    }

    fn address(&self, run: Run) -> Option<Address> {
        match self.schedule.aim(run)?.probe().check() {
            Check::Connect(address) => Some(address.clone()),
            Check::Command(_) => None,
        }
    }

    fn timed_out(&self, underway: &Underway) -> Outcome {
        let aim = self.schedule.aim(underway.run);
        let time = duration(aim.map(|aim| aim.probe().timeout).unwrap_or_default());
        match &underway.act {
            Act::Command(command) => {
                let pid = command.pid();
                let text = format!("its command took longer than {time} and was killed, pid={pid}");
                Outcome::Hung(Error::new(text))
            }
            Act::Connection(_) | Act::Over(_) => {
                let to = self.address(underway.run);
                let to = to.map(|to| to.to_string()).unwrap_or_default();
                let what = format!("failed to connect to {to}");
                Outcome::Failed(Error::because(what, format!("no answer within {time}")))
            }
        }
    }

    fn finish(&mut self, now: Moment, run: Run, outcome: Outcome, core: &mut Core) {
        if !self.is_wanted(run, core) {
            return self.schedule.rest(run);
        }
        let (verdict, warning) = self.schedule.finish(now, run, outcome);
        if let Some(error) = warning {
            core.warn(run.program, error);
        }
        match verdict {
            Verdict::Nothing => {}
            Verdict::Ready => core.apply(now, Input::Ready { run }),
            Verdict::Unhealthy => core.apply(now, Input::Unhealthy { run }),
        }
    }

    /// True if a check of this run still makes a difference: it was not asked to end.
    fn is_wanted(&self, run: Run, core: &Core) -> bool {
        let aim = self.schedule.aim(run);
        aim.is_some_and(|aim| is_state(core, run, matches!(aim, Aim::Health(_))))
    }

    /// Begins a check that has a slot.
    fn begin(
        &mut self,
        now: Moment,
        run: Run,
        core: &mut Core,
        launcher: &mut Launcher,
        capture: &mut Capture,
    ) {
        let id = run.program;
        let aim = self.schedule.aim(run).cloned();
        let Some(aim) = aim.filter(|_| self.is_wanted(run, core)) else {
            return self.schedule.rest(run);
        };
        if let Some(former) = self.dying.get(&id) {
            if now < former.killed_at.after(FORMER_TIME_MAX) {
                return self.schedule.put_off(now, run, FORMER_PAUSE);
            }
            let pid = former.command.pid();
            let text = format!("the command of an earlier one has survived SIGKILL, pid={pid}");
            return self.finish(now, run, Outcome::Hung(Error::new(text)), core);
        }
        let begun = match aim.probe().check() {
            Check::Connect(address) => begin_connection(address, run, core, capture),
            Check::Command(words) => {
                let exec = core.running_exec(id).beside(words);
                let exec = exec.map_err(Outcome::Unexecuted);
                exec.and_then(|exec| Command::start(exec, id, core, launcher))
                    .map(Act::Command)
            }
        };
        match begun {
            Ok(act) => {
                let deadline = now.after(aim.probe().timeout);
                self.underway.insert(id, Underway { run, deadline, act });
            }
            Err(outcome) => self.finish(now, run, outcome, core),
        }
    }
}

/// True if this is the latest run of its program, and is up; or is not up yet.
fn is_state(core: &Core, run: Run, is_up: bool) -> bool {
    let live = core.programs().live(run.program);
    let view = core.machine().view(run.program);
    let is_latest = live.is_some_and(|live| live.run == run);
    is_latest
        && view.is_some_and(|view| match view.state {
            State::Running { .. } => is_up,
            State::Starting { .. } => !is_up,
            _ => false,
        })
}

/// Begins a connection. It is over at once, as a rule: then there is an outcome.
fn begin_connection(
    address: &Address,
    run: Run,
    core: &Core,
    capture: &mut Capture,
) -> Result<Act, Outcome> {
    let base_dir = core.running_exec(run.program).base_dir();
    match Connection::begin(address, base_dir) {
        Ok(Begun::Connected) => Err(Outcome::Passed),
        Ok(Begun::Underway(connection)) => {
            let number = Key::Connection(run.program).number();
            let poller = capture.poller_mut();
            poller.add_connecting(connection.as_fd(), number);
            Ok(Act::Connection(connection))
        }
        Err(errno) => Err(outcome_of(Some(address), Err(errno))),
    }
}

fn outcome_of(address: Option<&Address>, answer: Result<(), Errno>) -> Outcome {
    let errno = match answer {
        Ok(()) => return Outcome::Passed,
        Err(errno) => errno,
    };
    let to = address.map(Address::to_string).unwrap_or_default();
    let error = Error::os(format!("failed to connect to {to}"), errno as i32);
    if is_shortage(errno, address) {
        Outcome::Untried(error)
    } else {
        Outcome::Failed(error)
    }
}

/// Returns what the end of a command says.
fn outcome_of_exit(exit: Option<Exit>) -> Outcome {
    let code = match exit {
        Some(Exit::Code(0)) => return Outcome::Passed,
        Some(Exit::Code(code)) => code,
        Some(Exit::Signal { signal, .. }) => -signal,
        Some(Exit::Unknown) | None => {
            let text = "another part of this process has reaped its command";
            return Outcome::Failed(Error::new(text));
        }
    };
    let (key, value) = exit_label(code);
    Outcome::Failed(Error::new(format!("its command ended with {key} {value}")))
}
