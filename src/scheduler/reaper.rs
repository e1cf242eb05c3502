//! Finds the dead.
//!
//! A look at one child costs the same however many there are; a look at all, to find one that is
//! dead, costs more the more there are that live (0.3 ms with 10,000). So a turn looks at those
//! that something points to: the pids of the SIGCHLDs, and the programs whose stderr has come to
//! its end. With [`Reap::All`] the kernel also names the dead, whatever they are: a *full wait*,
//! until none is left, once a SIGCHLD has come since the last. With few children that is in the
//! same turn. With many it is rate-limited: it takes at most one part in three hundred of the time,
//! and in a storm far less than one for each death.
//!
//! Nothing is lost by that. One SIGCHLD may stand for many deaths, but it comes after all of them:
//! the kernel makes the zombie, then the signal. So the full wait that it asks for finds every
//! child that it was not about. The pid of a SIGCHLD is never believed, as any process may send
//! one: it costs a look at one number.
//!
//! With [`Reap::Own`] only our own pids are ever asked about: those whose pidfd is readable, and,
//! where the system has no pidfd for us or does not say which are readable, those of the SIGCHLDs,
//! and in a full wait each.
//!
//! Another part of the host may reap one of ours. Its status is *stolen* then, its end is not: a
//! SIGCHLD or the end of its pipe leads to it, and after a SIGCHLD each of ours is looked at, a few
//! at a time. As another part may even keep SIGCHLD from us, a *safety scan* looks at each now and
//! then without one. With [`Builder::subreaper`](super::Builder::subreaper) and without the scan we
//! are alone in the process, and no status is stolen.

use std::collections::VecDeque;
use std::time::Duration;

use crate::error::Error;
use crate::machine::{Exit, Moment, ProgramId};
use crate::os::poller::Poller;
use crate::os::reap::{self, Seen};
use crate::program::{Program, ProgramTable};
use crate::signal::signal_name;

use super::Reap;
use super::capture::Capture;
use super::core::{Core, Owner};
use super::inbox::Inbox;
use super::rate_limit::RateLimit;

/// Deaths that a full wait finds in one turn. A storm of them leaves room for the rest of the turn.
const DEATHS_PER_TURN_MAX: usize = 256;

/// Looks in one turn at programs whose pipe has ended.
const EOF_LOOKS_PER_TURN_MAX: usize = 256;

/// How long a full wait is put off for each child: three hundred times what it takes. So ten
/// thousand children, of which a hundred die each second, cost each death no more than a few
/// hundred do.
const WAIT_DELAY_PER_CHILD: Duration = Duration::from_micros(10);

/// The same where each of ours is asked about by its number.
const OWN_WAIT_DELAY_PER_CHILD: Duration = Duration::from_micros(30);

/// Looks for a stolen status in one turn, and the least time between two such turns.
const STOLEN_LOOKS_PER_TURN_MAX: usize = 256;
const STOLEN_LOOK_INTERVAL: Duration = Duration::from_millis(100);

/// The time between two safety scans.
const SAFETY_SCAN_INTERVAL: Duration = Duration::from_secs(15);

/// What was found.
#[derive(Debug)]
pub(super) enum Found {
    /// A program's leader is dead, and not reaped; without an exit, another process has reaped it.
    Leader(ProgramId, Option<Exit>),
    /// A leader's descriptor is readable, and the leader lives: a tracer keeps its end from us.
    /// SIGCHLD comes when the tracer lets go.
    UnreliablePidfd(ProgramId),
    /// A side command is dead.
    SideCommand(i32),
    /// The command of a check is dead, and not reaped; without an exit, another process has reaped it.
    Probe(i32, Option<Exit>),
    /// Another child is dead, and not reaped.
    Other(i32),
}

pub(super) struct Reaper {
    mode: Reap,
    /// True if no other part of the process reaps children.
    is_alone: bool,
    full_wait: RateLimit,
    /// `None` for never.
    next_safety_scan: Option<Moment>,
    /// Programs whose pipe has ended and whose leader is not known to be dead. The first of them
    /// are to be looked at.
    eof_candidates: VecDeque<ProgramId>,
    eof_looks_due: usize,
    /// Programs that are still to be looked at for a stolen status, and which is the next.
    stolen_looks_left: usize,
    latest_stolen: ProgramId,
    next_stolen_look: Moment,
    /// True if the turns with such looks follow each other at once.
    is_safety_scan: bool,
    /// Programs to be looked at in the next turn: no descriptor reports their leader's death, or
    /// this turn has found too many.
    unwatched: Vec<ProgramId>,
    /// True if the last turn's limit has left dead children unreaped.
    deaths_left: bool,
    turn: Turn,
}

/// What is left to look at in this turn.
#[derive(Default)]
struct Turn {
    /// The pids of the SIGCHLDs, or other numbers to ask about.
    pids: Vec<i32>,
    side_commands: Vec<i32>,
    /// Leaders to ask about by their numbers, and whether their descriptor is readable.
    leaders: VecDeque<(ProgramId, bool)>,
    eof_looks: usize,
    is_full_wait: bool,
    has_waited: bool,
    is_safety_scan: bool,
    deaths: usize,
    latest: Option<i32>,
}

impl Reaper {
    /// `is_subreaper` is true if orphans are reparented to this process.
    pub(super) fn new(mode: Reap, safety_scan: bool, is_subreaper: bool) -> Self {
        Self {
            mode,
            is_alone: is_subreaper && !safety_scan,
            full_wait: RateLimit::new(match mode {
                Reap::All => WAIT_DELAY_PER_CHILD,
                Reap::Own => OWN_WAIT_DELAY_PER_CHILD,
            }),
            next_safety_scan: safety_scan.then(Moment::default),
            eof_candidates: VecDeque::new(),
            eof_looks_due: 0,
            stolen_looks_left: 0,
            latest_stolen: ProgramId(u32::MAX),
            next_stolen_look: Moment::default(),
            is_safety_scan: false,
            unwatched: Vec::new(),
            deaths_left: false,
            turn: Turn::default(),
        }
    }

    /// Asks for a full wait: children that died before a signal was handled are found by the first
    /// turn.
    pub(super) fn want_full_wait(&mut self, now: Moment, children: usize) {
        self.full_wait.want(now, children);
    }

    /// True if dead children may be left.
    pub(super) fn may_have_missed(&self) -> bool {
        self.deaths_left || self.full_wait.next().is_some()
    }

    /// True if dead children are left, as there were too many for one turn.
    pub(super) fn has_deaths_left(&self) -> bool {
        self.deaths_left
    }

    /// Returns when there is something to look at, whatever the descriptors say. The beginning of
    /// time stands for "at once".
    pub(super) fn next_deadline(&self, children: usize) -> Option<Moment> {
        if self.deaths_left || self.eof_looks_due > 0 || !self.unwatched.is_empty() {
            return Some(Moment::default());
        }
        let stolen = (self.stolen_looks_left > 0).then_some(self.next_stolen_look);
        // Worth a wake-up only where another part of the process may reap.
        let stolen = stolen.filter(|_| self.next_safety_scan.is_some());
        let scan = self.next_safety_scan.filter(|_| children > 0);
        let looks = self.full_wait.next().into_iter().chain(stolen);
        looks.chain(scan).min()
    }

    /// Sees to it that the death of a program that has just started is found.
    pub(super) fn watch(&mut self, program: &mut Program, poller: &mut Poller) {
        // Without a pidfd it may be dead and reaped by another part of the host already.
        if self.mode == Reap::Own && !program.watch_leader(poller) {
            self.unwatched.push(program.id);
        }
    }

    /// No process writes to the pipe of this run any more. As a rule its leader is about to die, and
    /// SIGCHLD will say so; or it is dead by now, and SIGCHLD stood for another.
    pub(super) fn on_eof(&mut self, programs: &ProgramTable, id: ProgramId) {
        if self.mode == Reap::Own {
            return;
        }
        match look_at(programs, id) {
            Some(Seen::Dead(_) | Seen::Stolen) => {
                self.eof_candidates.push_front(id);
                self.eof_looks_due += 1;
            }
            Some(Seen::Alive) => self.eof_candidates.push_back(id),
            None => {}
        }
    }

    /// Decides what this turn looks at.
    pub(super) fn begin(
        &mut self,
        now: Moment,
        inbox: &mut Inbox,
        core: &mut Core,
        capture: &Capture,
    ) {
        self.turn = Turn::default();
        self.deaths_left = false;
        for id in self.unwatched.drain(..) {
            self.turn.leaders.push_back((id, false));
        }
        if inbox.has_sigchld() {
            inbox.take_sigchld_pids(&mut self.turn.pids);
            self.turn.pids.reverse();
            self.eof_looks_due = self.eof_candidates.len();
            if self.mode == Reap::All {
                // In a storm, looks that began anew at each death would never end.
                self.stolen_looks_left = core.programs().len();
                self.is_safety_scan = false;
            }
            self.full_wait.want(now, core.children());
        }
        self.turn.is_safety_scan = self.begin_safety_scan(now, inbox, core);
        // The end does not wait for the rate limit.
        let is_last = self.full_wait.next().is_some() && core.machine().is_settled();
        self.turn.is_full_wait = self.turn.is_safety_scan || is_last || self.full_wait.is_due(now);
        match self.mode {
            Reap::All => self.turn.eof_looks = self.eof_looks_due.min(EOF_LOOKS_PER_TURN_MAX),
            Reap::Own => self.begin_own(core, capture),
        }
    }

    fn begin_own(&mut self, core: &Core, capture: &Capture) {
        let turn = &mut self.turn;
        let readable = capture.readable_leaders();
        turn.leaders.extend(readable.map(|id| (id, true)));
        if turn.is_full_wait || !turn.pids.is_empty() {
            turn.side_commands.extend(core.side_commands());
        }
        for pid in std::mem::take(&mut turn.pids).into_iter().rev() {
            if let Some(Owner::Program(id)) = core.owner(pid) {
                turn.leaders.push_back((id, false));
            }
        }
        if turn.is_full_wait {
            let is_each = turn.is_safety_scan || capture.poller().lost_events();
            let programs = core.programs().iter().filter(|program| {
                let live = program.live.as_ref();
                live.is_some_and(|live| is_each || !live.is_watched)
            });
            turn.leaders
                .extend(programs.map(|program| (program.id, false)));
        }
    }

    /// True if it is time to look at everything. A handler that another part of the process has put
    /// over ours is reported once.
    fn begin_safety_scan(&mut self, now: Moment, inbox: &mut Inbox, core: &mut Core) -> bool {
        if self.next_safety_scan.is_none_or(|at| now < at) {
            return false;
        }
        self.next_safety_scan = Some(now.after(SAFETY_SCAN_INTERVAL));
        if self.mode == Reap::All {
            self.stolen_looks_left = core.programs().len();
            self.next_stolen_look = now;
            self.is_safety_scan = true;
        }
        for signal in inbox.take_replaced() {
            let name = signal_name(signal);
            core.outbox_mut().warn(Error::new(format!(
                "another handler for {name} was installed over ours; if it does not call ours, \
                 we check every {} s for what was missed",
                SAFETY_SCAN_INTERVAL.as_secs()
            )));
        }
        true
    }

    /// Returns the next child that is dead. It is to be reaped before the next call.
    pub(super) fn next(&mut self, now: Moment, core: &Core) -> Option<Found> {
        while let Some(pid) = self.turn.pids.pop() {
            if let Some(found) = look_at_pid(core, pid) {
                return Some(found);
            }
        }
        while self.turn.eof_looks > 0 {
            self.turn.eof_looks -= 1;
            if let Some(found) = self.look_at_eof_candidate(core) {
                return Some(found);
            }
        }
        if self.mode == Reap::All
            && self.turn.is_full_wait
            && let Some(found) = self.wait_for_any(now, core)
        {
            return Some(found);
        }
        if !self.deaths_left && !std::mem::replace(&mut self.turn.has_waited, true) {
            self.begin_stolen_looks(now, core);
        }
        while let Some((id, is_readable)) = self.turn.leaders.pop_front() {
            match look_at(core.programs(), id) {
                Some(Seen::Alive) if is_readable => return Some(Found::UnreliablePidfd(id)),
                Some(Seen::Alive) | None => {}
                Some(seen) => {
                    self.turn.deaths += 1;
                    if self.turn.deaths >= DEATHS_PER_TURN_MAX && !self.turn.leaders.is_empty() {
                        let rest = self.turn.leaders.drain(..);
                        self.unwatched.extend(rest.map(|(id, _)| id));
                        self.leave_deaths(now);
                    }
                    return leader(id, seen);
                }
            }
        }
        if self.turn.is_full_wait {
            self.full_wait_is_over();
        }
        let mut side_commands = std::iter::from_fn(|| self.turn.side_commands.pop());
        // One that was reaped since may have given its number to a child of the host.
        side_commands.find_map(|pid| core.owner(pid).and_then(|_| look_at_pid(core, pid)))
    }

    fn look_at_eof_candidate(&mut self, core: &Core) -> Option<Found> {
        let id = self.eof_candidates.pop_front()?;
        self.eof_looks_due -= 1;
        match look_at(core.programs(), id)? {
            Seen::Alive => {
                self.eof_candidates.push_back(id);
                None
            }
            seen => leader(id, seen),
        }
    }

    /// Asks the kernel for any dead child.
    fn wait_for_any(&mut self, now: Moment, core: &Core) -> Option<Found> {
        if self.turn.deaths == DEATHS_PER_TURN_MAX {
            self.leave_deaths(now);
            return None;
        }
        match reap::peek() {
            Ok(Some(death)) if Some(death.pid) != self.turn.latest => {
                self.turn.latest = Some(death.pid);
                self.turn.deaths += 1;
                return Some(of_owner(core, death.pid, Some(death.exit)));
            }
            Ok(None) => {}
            // A child that still exists after its reap cannot be reaped and hides the others, as
            // an error does.
            Ok(Some(_)) | Err(_) => {
                let ids = core.programs().ids();
                self.turn
                    .leaders
                    .extend(ids.into_iter().map(|id| (id, false)));
            }
        }
        self.full_wait_is_over();
        None
    }

    /// Every child that was dead is reaped: those with an ended pipe were alive.
    fn full_wait_is_over(&mut self) {
        self.turn.is_full_wait = false;
        self.full_wait.done();
        self.eof_candidates.clear();
        self.eof_looks_due = 0;
    }

    /// The next turn follows at once, and is a safety scan if this one was to be.
    fn leave_deaths(&mut self, now: Moment) {
        self.deaths_left = true;
        self.turn.is_full_wait = false;
        if self.turn.is_safety_scan {
            self.next_safety_scan = Some(now);
        }
    }

    /// Has some programs looked at: all of them would take milliseconds of a turn.
    fn begin_stolen_looks(&mut self, now: Moment, core: &Core) {
        let is_due = self.stolen_looks_left > 0 && self.next_stolen_look <= now;
        if self.is_alone || !is_due {
            return;
        }
        self.turn.side_commands.extend(core.side_commands());
        let count = self.stolen_looks_left.min(STOLEN_LOOKS_PER_TURN_MAX);
        self.stolen_looks_left -= count;
        self.is_safety_scan &= self.stolen_looks_left > 0;
        if !self.is_safety_scan {
            self.next_stolen_look = now.after(STOLEN_LOOK_INTERVAL);
        }
        for _ in 0..count {
            let Some(id) = core.programs().next_in_turn(self.latest_stolen) else {
                return;
            };
            self.latest_stolen = id;
            self.turn.leaders.push_back((id, false));
        }
    }
}

/// Looks at a leader that is not known to be dead.
fn look_at(programs: &ProgramTable, id: ProgramId) -> Option<Seen> {
    let live = programs.get(id)?.live.as_ref()?;
    (!live.leader_dead).then(|| reap::look(live.pid(), live.group.pidfd()))
}

fn leader(id: ProgramId, seen: Seen) -> Option<Found> {
    match seen {
        Seen::Dead(exit) => Some(Found::Leader(id, Some(exit))),
        Seen::Stolen => Some(Found::Leader(id, None)),
        Seen::Alive => None,
    }
}

/// A signal said that this child is dead. If that is not true, nothing is known.
fn look_at_pid(core: &Core, pid: i32) -> Option<Found> {
    match reap::look(pid, None) {
        Seen::Dead(exit) => Some(of_owner(core, pid, Some(exit))),
        Seen::Stolen => core.owner(pid).map(|_| of_owner(core, pid, None)),
        Seen::Alive => None,
    }
}

fn of_owner(core: &Core, pid: i32, exit: Option<Exit>) -> Found {
    match core.owner(pid) {
        Some(Owner::Program(id)) => Found::Leader(id, exit),
        Some(Owner::SideCommand) => Found::SideCommand(pid),
        Some(Owner::Probe) => Found::Probe(pid, exit),
        None => Found::Other(pid),
    }
}
