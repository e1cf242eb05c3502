//! Orphans: processes that left their group and were reparented to this process, as a subreaper or
//! PID 1. They are looked for where a start, a stop or the shutdown waits for that, at most once a
//! turn.
//!
//! What becomes of each is decided in [`crate::orphans`].

mod signals;
mod timing;

use std::cell::LazyCell;
use std::collections::BTreeSet;
use std::io;
use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lineage::{CHAIN_VARIABLE, Lineage};
use crate::machine::state::Goal;
use crate::machine::{Command, Input, Moment, ProgramId, Run, View};
use crate::orphans::{ALL_PROCESSES, OrphanOwner, Orphans};
use crate::os::spawn::Spawner;
use crate::os::subreaper::{Subreaper, become_subreaper, is_pid_1};
use crate::os::{children, reap};
use crate::program::{LiveRun, Sparse};
use crate::spec::STOP_TIMEOUT_DEFAULT;

use super::capture::Capture;
use super::core::{Core, Owner};
use super::rate_limit::RateLimit;
use signals::{report_abandoned, send_all};
use timing::LookTiming;

/// Lists of few children that one look may take.
const LISTS_PER_LOOK_MAX: usize = 8;

/// How long after a SIGKILL an orphan is abandoned that delays the end of a stop, or a warning says
/// that it delays a start.
const DELAY_REPORTED_AFTER: Duration = Duration::from_secs(5);

/// The orphans of a process that gets them.
pub(super) struct OrphanSweep {
    orphans: Orphans,
    lineage: Arc<Lineage>,
    /// Programs whose orphans are being ended.
    ending: Sparse<Ending>,
    /// Programs that have ended for good, and what they left may go on until they get an order.
    spared: BTreeSet<ProgramId>,
    timing: LookTiming,
    /// When a SIGKILL for an orphan may be due, or what follows where it survives that.
    next_step: Option<Moment>,
    /// True if a warning says that orphans cannot be found.
    blindness_reported: bool,
    _subreaper: Subreaper,
}

struct Ending {
    run: Run,
    /// When they are sent SIGKILL. Until then they are asked to end.
    kill_at: Moment,
    /// True if the group of the run is gone: the orphans hold the next start, or the end of a stop.
    holds: bool,
    /// True if a warning says that an orphan delays the start.
    is_reported: bool,
    /// True if those that survived SIGKILL were abandoned, and delay nothing but a start.
    is_abandoned: bool,
}

impl OrphanSweep {
    /// Makes this process one that gets orphans. Children that it has already belong to another part
    /// of it, unless it is PID 1.
    pub(super) fn establish(lineage: Arc<Lineage>) -> Result<Self> {
        let subreaper = become_subreaper()?;
        let inherited = if is_pid_1() {
            None
        } else {
            let what = "failed to look for the children that this process has already";
            children::list().map_err(|error| Error::io(what, &error))?
        };
        Ok(Self {
            orphans: Orphans::new(inherited.unwrap_or_default()),
            lineage,
            ending: Sparse::default(),
            spared: BTreeSet::new(),
            timing: LookTiming::new(),
            next_step: None,
            blindness_reported: false,
            _subreaper: subreaper,
        })
    }

    pub(super) fn orphans(&self) -> &Orphans {
        &self.orphans
    }

    pub(super) fn orphans_mut(&mut self) -> &mut Orphans {
        &mut self.orphans
    }

    /// Returns when there is something to do. `settled` is true if only orphans are waited for.
    pub(super) fn next_deadline(&self, settled: bool) -> Option<Moment> {
        let waited_for = self.timing.next().into_iter().chain(self.next_step);
        // At the end no start is waited for, and the scans have times of their own.
        let is_waiting = !self.ending.is_empty() && !self.orphans.is_closing();
        let waited_for = waited_for.filter(|_| is_waiting);
        waited_for.chain(self.orphans.next_deadline(settled)).min()
    }

    /// A child has died: its own children may have been reparented to us.
    pub(super) fn want_look(&mut self, now: Moment, children: usize) {
        self.orphans.request_scan();
        if !self.ending.is_empty() {
            self.timing.want(now, children);
        }
    }

    /// The group of a program is gone: holds its next start, or the end of its stop, until its orphans
    /// are, too, unless they may go on. Those that were asked to end have until their deadline. After
    /// an end by itself, a delay of 0 costs a look only if a process still holds the pipe.
    pub(super) fn hold(
        &mut self,
        now: Moment,
        core: &mut Core,
        capture: &mut Capture,
        id: ProgramId,
    ) {
        // It may have been asked and have ended in this turn.
        self.end_with_stops(now, core);
        let asked = self.ending.remove(&id);
        let machine = core.machine();
        if !machine.ends_escaped(id) {
            self.spared.insert(id);
            return;
        }
        let policy = machine.policy(id);
        let is_at_once = policy.is_some_and(|policy| policy.backoff.initial.is_zero());
        let may_pass = asked.is_none() && is_at_once && is_wanted(core, id);
        if may_pass && capture.drain_run(now, core, id) {
            return;
        }
        let kill_at = asked.map_or(now, |asked| asked.kill_at);
        let run = core.programs().live(id).map(|live| live.run);
        if let Some(run) = run {
            self.hold_run(now, core, run, kill_at);
        }
    }

    fn hold_run(&mut self, now: Moment, core: &mut Core, run: Run, kill_at: Moment) {
        core.apply(now, Input::Escaped { run });
        self.end(now, core, run, kill_at).holds = true;
    }

    /// Ends the orphans of a run: they are asked by the next look, and killed then.
    fn end(&mut self, now: Moment, core: &Core, run: Run, kill_at: Moment) -> &mut Ending {
        self.orphans.request_scan();
        self.timing.want(now, core.children());
        let first = Ending {
            run,
            kill_at,
            holds: false,
            is_reported: false,
            is_abandoned: false,
        };
        let ending = self.ending.get_or_insert(run.program, first);
        // No deadline moves later.
        ending.kill_at = ending.kill_at.min(kill_at);
        ending
    }

    /// The orphans of programs that are being stopped are asked with them, and killed at their
    /// deadline.
    fn end_with_stops(&mut self, now: Moment, core: &mut Core) {
        for id in core.take_asked() {
            if let Some(view) = core.machine().view(id) {
                let kill_at = match view.goal {
                    Goal::DownNow => now,
                    Goal::Up | Goal::Down => stop_deadline(now, core, id),
                };
                self.end(now, core, latest_run(id, &view), kill_at);
            }
        }
    }

    /// A start that was cancelled has executed nothing, and its group is never found gone: what the
    /// next run lets go is not to be ended with it.
    fn forget_cancelled(&mut self, core: &Core) {
        let programs = core.programs();
        self.ending.retain(|id, ending| {
            let live = programs.live(*id);
            ending.holds || live.is_some_and(|live| live.run == ending.run)
        });
    }

    /// A program gets an order: what it left when it ended for good goes on no longer.
    pub(super) fn before_order(
        &mut self,
        now: Moment,
        core: &mut Core,
        id: ProgramId,
        command: Command,
    ) {
        let kill_at = match command {
            Command::Stop(_) | Command::Remove(_) => stop_deadline(now, core, id),
            _ => now,
        };
        self.end_spared(now, core, id, kill_at);
    }

    fn end_spared(&mut self, now: Moment, core: &mut Core, id: ProgramId, kill_at: Moment) {
        if self.spared.remove(&id)
            && let Some(view) = core.machine().view(id)
        {
            self.hold_run(now, core, latest_run(id, &view), kill_at);
        }
    }

    /// A program got an order, others may have been started or stopped for it, and what was waited
    /// for may be so no more.
    pub(super) fn after_order(&mut self, now: Moment, core: &mut Core) {
        let machine = core.machine();
        let is_wanted = |id| machine.view(id).is_none_or(|view| view.goal == Goal::Up);
        let spared = self.spared.iter().copied();
        let started: Vec<ProgramId> = spared.filter(|&id| is_wanted(id)).collect();
        for id in started {
            self.end_spared(now, core, id, now);
        }
        self.end_with_stops(now, core);
        if !self.ending.is_empty() {
            self.next_step = Some(now);
        }
    }

    /// Looks for orphans if it is time to, and does about them what is due. `settled` is true if only
    /// orphans are waited for, and `deaths_left` if dead children were left unreaped.
    pub(super) fn turn(
        &mut self,
        now: Moment,
        core: &mut Core,
        spawner: &Spawner,
        settled: bool,
        deaths_left: bool,
    ) {
        if core.machine().is_stopping() || settled {
            self.begin_closing(now, core);
        }
        self.end_with_stops(now, core);
        self.forget_cancelled(core);
        let settled = settled && !deaths_left;
        // The zombies of a storm are not worth a look.
        let searching = !deaths_left && self.timing.is_due(now);
        let mut is_complete = false;
        if settled && self.orphans.is_closing() && !reap::has_children() {
            self.orphans.scanned(
                now,
                Vec::new(),
                |_| false,
                |_| false,
                |_| OrphanOwner::Unknown,
            );
        } else if self.orphans.begin_scan(now, searching, settled) {
            self.timing.begin(now, core.children());
            is_complete = self.look(now, core, spawner, settled);
        }
        let sends = self.orphans.due(now);
        let abandoned = self.orphans.abandon(now, settled);
        send_all(core, sends);
        let shutdown = core.shutdown();
        let is_early = shutdown.is_some_and(|all| all.abandon_at <= now);
        report_abandoned(core, abandoned, is_early);
        self.release(now, core, is_complete);
    }

    /// The shutdown of the orphans begins with that of the programs, or when all of those have ended
    /// for good.
    fn begin_closing(&mut self, now: Moment, core: &Core) {
        if !self.orphans.is_closing() {
            let longest_stop = core.machine().longest_stop();
            let kill_at = now.after(longest_stop.unwrap_or(STOP_TIMEOUT_DEFAULT));
            let last_scan = (!RateLimit::is_few(core.children())).then_some(now);
            self.orphans.close(kill_at, last_scan);
        }
        if let Some(shutdown) = core.shutdown() {
            let (kill_at, end_at) = (shutdown.kill_at, shutdown.abandon_at);
            self.orphans.end_by(kill_at, end_at);
        }
    }

    /// Looks at all children. True if starts need not wait for another look: this one has found out
    /// everything, or looks have failed so often that none ever may.
    ///
    /// A process that dies before it is asked for its owner may send its own children to us, too
    /// late for the list in which it was found: then there is another list, at once for few. Each
    /// is asked once.
    fn look(&mut self, now: Moment, core: &mut Core, spawner: &Spawner, settled: bool) -> bool {
        let children = core.children();
        let is_few = RateLimit::is_few(children);
        for _ in 0..if is_few { LISTS_PER_LOOK_MAX } else { 1 } {
            match self.look_through_list(now, core, spawner, settled) {
                Ok(true) => {}
                Ok(false) => {
                    // The next that fails is reported again.
                    self.blindness_reported &= !self.timing.was_complete();
                    return true;
                }
                Err(error) if children::is_not_yet(&error) => break,
                Err(error) => {
                    let what = "failed to look for processes that left their group";
                    self.report_blindness(core, Error::io(what, &error));
                    self.orphans.scan_failed(now);
                    return self.timing.has_failed(now);
                }
            }
        }
        self.orphans.request_scan();
        self.timing.was_incomplete(now, children)
    }

    /// True if another list is needed. An error also if a process in it cannot be asked yet.
    fn look_through_list(
        &mut self,
        now: Moment,
        core: &mut Core,
        spawner: &Spawner,
        settled: bool,
    ) -> io::Result<bool> {
        let children = match children::list()? {
            Some(children) => children,
            None if is_pid_1() => {
                let is_any_left = settled && reap::has_children();
                is_any_left.then_some(ALL_PROCESSES).into_iter().collect()
            }
            None => {
                let text = "without /proc nothing tells which processes left their group: they \
                            are left alone";
                self.report_blindness(core, Error::new(text));
                Vec::new()
            }
        };
        let programs = core.programs();
        // At the end a process that cannot be asked has no owner, and is stopped with the rest.
        let may_wait = !self.orphans.is_closing();
        let lineage = &self.lineage;
        let mut trouble = None;
        let mut whose = |pid: i32| match children::variable(pid, CHAIN_VARIABLE) {
            Ok(chain) => {
                let program = |chain: &Vec<u8>| programs.find(lineage.program_in(chain)?);
                OrphanOwner::Known(chain.as_ref().and_then(program))
            }
            Err(error) => {
                let is_not_yet = children::is_not_yet(&error);
                if !is_not_yet || (may_wait && trouble.is_none()) {
                    trouble = Some(error);
                }
                if may_wait {
                    OrphanOwner::Unknown
                } else {
                    OrphanOwner::Known(None)
                }
            }
        };
        // A process that is still in the group of a program is asked, and killed, with that. Such a
        // group has a leader that was not reaped yet, or it is probed.
        let without_leader = LazyCell::new(|| {
            let live = programs.iter().filter_map(|program| program.live.as_ref());
            let reaped = live.filter(|live| live.group.is_leader_reaped());
            reaped.map(LiveRun::pid).collect::<BTreeSet<i32>>()
        });
        let is_group = |group: i32| {
            matches!(core.owner(group), Some(Owner::Program(_))) || without_leader.contains(&group)
        };
        let is_member = |pid: i32| children::group_of(pid).is_some_and(is_group);
        // Nearly all of ten thousand children have an owner.
        let mut owned = core.owned().peekable();
        let mut is_owned = |pid: i32| {
            while owned.next_if(|&owned| owned < pid).is_some() {}
            owned.peek() == Some(&pid)
        };
        // A child that could not be started is about to end, and is reaped by the spawner.
        let is_ours = |pid: i32| is_owned(pid) || spawner.has_failed(pid) || is_member(pid);
        let again = self.orphans.scanned(
            now,
            children,
            is_ours,
            children::is_withheld_zombie,
            &mut whose,
        );
        match trouble {
            Some(error) => Err(error),
            None => Ok(again),
        }
    }

    /// Reports once, for as long as it lasts, that orphans cannot be found.
    fn report_blindness(&mut self, core: &mut Core, error: Error) {
        if !std::mem::replace(&mut self.blindness_reported, true) {
            core.outbox_mut().warn(error);
        }
    }

    /// Asks or kills the orphans of programs that stop or start, and releases what none of them holds
    /// any more. Only a complete look tells that: the death of a known orphan may have sent another
    /// to us.
    fn release(&mut self, now: Moment, core: &mut Core, is_complete: bool) {
        let is_stopping = core.machine().is_stopping();
        let is_step_due = self.next_step.is_some_and(|at| at <= now);
        if !(is_complete || is_step_due || is_stopping) {
            return;
        }
        let owners: BTreeSet<ProgramId> = self.orphans.owned().map(|(_, id, _)| id).collect();
        self.ending.retain(|id, ending| {
            let is_none_left = ending.holds && is_complete && !owners.contains(id);
            let is_forgotten = core.machine().view(*id).is_none();
            // The shutdown has a deadline for orphans, and kills those that were not killed.
            let is_over = is_stopping || is_forgotten || is_none_left;
            if is_over && ending.holds {
                core.apply(now, Input::EscapedGone { run: ending.run });
            }
            !is_over
        });
        let kills = |id| {
            let ending = self.ending.get(&id)?;
            Some(ending.kill_at <= now)
        };
        let sends = self.orphans.end_orphans_of(now, kills);
        send_all(core, sends);
        self.look_at_survivors(now, core);
        let mut ending = self.ending.iter();
        let is_awaited = ending.any(|(&id, ending)| {
            let is_awaited = !ending.is_abandoned || is_wanted(core, id);
            is_awaited && (ending.holds || owners.contains(&id))
        });
        if !is_awaited {
            self.timing.stop_silent();
        } else if is_complete {
            self.timing.plan_silent(now, core.children());
            self.orphans.request_scan();
        }
    }

    /// Deals with orphans that survive SIGKILL: those that delay a start are warned of, once for
    /// each start, and those that delay the end of a stop or a removal are abandoned.
    fn look_at_survivors(&mut self, now: Moment, core: &mut Core) {
        self.next_step = None;
        let mut survivors = Vec::new();
        let mut waited_for = BTreeSet::new();
        for (pid, id, killed_at) in self.orphans.owned() {
            let Some(ending) = self.ending.get_mut(&id) else {
                continue;
            };
            let is_wanted = is_wanted(core, id);
            let is_done = if is_wanted {
                ending.is_reported
            } else {
                ending.is_abandoned
            };
            let at = killed_at.map_or(ending.kill_at, |at| at.after(DELAY_REPORTED_AFTER));
            if at > now && !(is_done && killed_at.is_some()) {
                let next = self.next_step.get_or_insert(at);
                *next = at.min(*next);
                waited_for.insert(id);
            } else if is_done || !ending.holds {
                // Nothing is to be said of it, yet or any more.
            } else if is_wanted {
                ending.is_reported = true;
                let error = Error::new(format!(
                    "start delayed: pid {pid} left the program's group and survived SIGKILL"
                ));
                core.warn(id, error);
            } else {
                survivors.push((pid, Some(id)));
            }
        }
        survivors.retain(|(_, id)| id.is_some_and(|id| !waited_for.contains(&id)));
        let programs: BTreeSet<ProgramId> = survivors.iter().filter_map(|&(_, id)| id).collect();
        report_abandoned(core, survivors, false);
        for id in programs {
            if let Some(ending) = self.ending.get_mut(&id) {
                ending.is_abandoned = true;
                core.apply(now, Input::EscapedAbandoned { run: ending.run });
            }
        }
    }
}

fn is_wanted(core: &Core, id: ProgramId) -> bool {
    let view = core.machine().view(id);
    view.is_some_and(|view| view.goal == Goal::Up)
}

/// Returns when a program is killed that is asked to stop now.
fn stop_deadline(now: Moment, core: &Core, id: ProgramId) -> Moment {
    let policy = core.machine().policy(id);
    policy.map_or(now, |policy| now.after(policy.stop_timeout))
}

fn latest_run(id: ProgramId, view: &View) -> Run {
    Run {
        program: id,
        generation: view.starts,
    }
}
