//! Orphans: processes that left their program's group, lost their parent, and were reparented to
//! this process, which is a subreaper (prctl(2)) or PID 1.
//!
//! Each belongs to the program that its environment proves, or to none. Those of a program are
//! killed before it starts again; when it is stopped, restarted or removed, they get SIGTERM and
//! SIGCONT with it, and SIGKILL at its deadline. The others are left alone until the shutdown, which
//! ends when there are no children: they get SIGTERM and SIGCONT when it begins, or when they are
//! found, and SIGKILL at its deadline. Children from before this supervisor are not signalled,
//! unless it is PID 1.
//!
//! A zombie that another process traces cannot be reaped before its tracer waits for it, which may
//! be never. Nothing waits for it here.
//!
//! This module decides. The scheduler scans the children and their environments, and sends the
//! signals.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use crate::machine::{Moment, ProgramId};

/// The least time between two scans of all children during a shutdown, while programs are still
/// stopping and after that. There may be tens of thousands of children.
const SCAN_INTERVAL: Duration = Duration::from_millis(100);
const LAST_SCAN_INTERVAL: Duration = Duration::from_millis(10);

/// The longest time between two scans at the end of the shutdown without a SIGCHLD: the death of a
/// traced child is reported to its tracer first.
const SILENT_SCAN_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How long an orphan may exist after SIGKILL before it is abandoned.
const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// The known orphans, and the state of the shutdown.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    known: BTreeMap<i32, Orphan>,
    /// Children from before, and zombies that only their tracer can wait for.
    spared: BTreeSet<i32>,
    closing: Option<Closing>,
    /// Something has happened since the last scan.
    scan_wanted: bool,
    /// The last scan has failed.
    has_failed: bool,
}

/// The owner of an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum OrphanOwner {
    /// The program that its environment proves, if it does.
    Known(Option<ProgramId>),
    /// Its environment could not be read.
    Unknown,
}

#[derive(Debug)]
struct Orphan {
    program: Option<ProgramId>,
    /// True if a signal may have terminated it.
    asked: bool,
    /// When it was sent SIGKILL.
    killed_at: Option<Moment>,
}

/// The shutdown.
#[derive(Debug)]
struct Closing {
    kill_at: Moment,
    last_scan: Option<Moment>,
    /// The time to the next scan if nothing happens.
    silent_interval: Duration,
    /// Its deadline has passed.
    killing: bool,
    /// Since when it waits for orphans alone.
    settled_at: Option<Moment>,
    /// The orphans that survived SIGKILL were abandoned.
    abandoned: bool,
    /// When what is left is abandoned, whatever it got before.
    end_at: Option<Moment>,
}

/// The pid that means every remaining process, if PID 1 cannot list them.
pub(crate) const ALL_PROCESSES: i32 = -1;

/// A signal to be sent to an orphan.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct PendingSignal {
    pub(crate) pid: i32,
    pub(crate) program: Option<ProgramId>,
    /// True for SIGKILL, false for SIGTERM and SIGCONT.
    pub(crate) kill: bool,
}

impl Closing {
    fn next_scan(&self, settled: bool) -> Moment {
        let interval = match settled {
            true => LAST_SCAN_INTERVAL,
            false => SCAN_INTERVAL,
        };
        self.last_scan
            .map_or(Moment::default(), |at| at.after(interval))
    }

    /// Returns when to scan although nothing has happened, for deaths without a SIGCHLD.
    fn next_silent_scan(&self) -> Moment {
        let last = self.last_scan.unwrap_or_default();
        last.after(self.silent_interval)
    }
}

impl Orphans {
    /// Spares the children in `inherited`, which this process had before.
    pub(crate) fn new(inherited: impl IntoIterator<Item = i32>) -> Self {
        Self {
            spared: inherited.into_iter().collect(),
            ..Self::default()
        }
    }

    /// Requests a scan: a child has died, or a start waits for one.
    pub(crate) fn request_scan(&mut self) {
        self.scan_wanted = true;
    }

    /// Forgets a reaped child, whose pid may be reused.
    pub(crate) fn reaped(&mut self, pid: i32) {
        self.known.remove(&pid);
        self.spared.remove(&pid);
    }

    /// Begins the shutdown, or moves its deadline to an earlier moment. With a `last_scan` its first
    /// scan waits like any later one: for many programs, most of which are about to end, it is
    /// expensive, and rarely finds an orphan.
    pub(crate) fn close(&mut self, kill_at: Moment, last_scan: Option<Moment>) {
        match &mut self.closing {
            Some(closing) => closing.kill_at = closing.kill_at.min(kill_at),
            None => {
                self.scan_wanted = true;
                self.closing = Some(Closing {
                    kill_at,
                    last_scan,
                    silent_interval: LAST_SCAN_INTERVAL,
                    killing: false,
                    settled_at: None,
                    abandoned: false,
                    end_at: None,
                });
            }
        }
    }

    /// Sets when a shutdown that has begun kills what is left at the latest, and when it abandons
    /// that. Neither moves later.
    pub(crate) fn end_by(&mut self, kill_at: Moment, end_at: Moment) {
        if let Some(closing) = &mut self.closing {
            closing.kill_at = closing.kill_at.min(kill_at);
            closing.end_at = Some(closing.end_at.map_or(end_at, |at| at.min(end_at)));
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// True if the caller has to scan all children now: for a start that waits for it
    /// (`searching`), and during the shutdown, less often while programs are left (not `settled`).
    pub(crate) fn begin_scan(&mut self, now: Moment, searching: bool, settled: bool) -> bool {
        let Some(closing) = &mut self.closing else {
            return self.scan_wanted && searching;
        };
        // There is no SIGCHLD for an orphan whose parent was not a child of this process.
        if now >= closing.kill_at && !closing.killing {
            closing.killing = true;
            return true;
        }
        // No signal announces a process that leaves its program's group.
        if settled && closing.settled_at.is_none() {
            return true;
        }
        if closing.abandoned {
            return false;
        }
        if self.scan_wanted {
            return closing.next_scan(settled) <= now;
        }
        let is_due = settled && !self.known.is_empty() && closing.next_silent_scan() <= now;
        if is_due {
            let longer = closing.silent_interval * 2;
            closing.silent_interval = longer.min(SILENT_SCAN_INTERVAL_MAX);
        }
        is_due
    }

    /// Notes that the scan has failed, and requests another.
    pub(crate) fn scan_failed(&mut self, now: Moment) {
        self.scan_wanted = true;
        self.has_failed = true;
        if let Some(closing) = &mut self.closing {
            closing.last_scan = Some(now);
        }
    }

    /// Applies the result of a scan: all children at one moment. True if it has to be repeated,
    /// because it found a process without an owner or a withheld zombie: either may be dead, and
    /// its own children reparented since. `is_ours` is asked in ascending order.
    pub(crate) fn scanned(
        &mut self,
        now: Moment,
        children: Vec<i32>,
        mut is_ours: impl FnMut(i32) -> bool,
        is_withheld: impl Fn(i32) -> bool,
        mut owner_of: impl FnMut(i32) -> OrphanOwner,
    ) -> bool {
        self.scan_wanted = false;
        self.has_failed = false;
        if let Some(closing) = &mut self.closing {
            closing.last_scan = Some(now);
        }
        let mut still = children;
        still.sort_unstable();
        let is_there = |pid: &i32| still.binary_search(pid).is_ok();
        self.known.retain(|pid, _| is_there(pid));
        self.spared.retain(is_there);
        let mut is_incomplete = false;
        for pid in still {
            if self.spared.contains(&pid) {
                continue;
            }
            if let Some(orphan) = self.known.get(&pid) {
                if orphan.asked && is_withheld(pid) {
                    self.known.remove(&pid);
                    self.spared.insert(pid);
                    is_incomplete = true;
                }
                continue;
            }
            if is_ours(pid) {
                continue;
            }
            // The next scan may find out what is unknown.
            let OrphanOwner::Known(program) = owner_of(pid) else {
                continue;
            };
            is_incomplete |= program.is_none();
            if program.is_none() && is_withheld(pid) {
                self.spared.insert(pid);
                continue;
            }
            let orphan = Orphan {
                program,
                asked: false,
                killed_at: None,
            };
            self.known.insert(pid, orphan);
        }
        is_incomplete
    }

    /// Returns the signals for the orphans of programs that stop or start again, each once. `kills`
    /// says for such a program whether it is time to kill them, or to ask them.
    pub(crate) fn end_orphans_of(
        &mut self,
        now: Moment,
        kills: impl Fn(ProgramId) -> Option<bool>,
    ) -> Vec<PendingSignal> {
        self.signal(now, |program| program.and_then(&kills))
    }

    /// Returns the known orphans that belong to a program, and when each was sent SIGKILL.
    pub(crate) fn owned(&self) -> impl Iterator<Item = (i32, ProgramId, Option<Moment>)> {
        let known = self.known.iter();
        known.filter_map(|(&pid, orphan)| Some((pid, orphan.program?, orphan.killed_at)))
    }

    /// Returns the signals that the shutdown has to send now.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<PendingSignal> {
        let Some(closing) = &self.closing else {
            return Vec::new();
        };
        let kill = now >= closing.kill_at;
        self.signal(now, |_| Some(kill))
    }

    /// Returns a signal for each of these that was sent neither it nor SIGKILL.
    fn signal(
        &mut self,
        now: Moment,
        kills: impl Fn(Option<ProgramId>) -> Option<bool>,
    ) -> Vec<PendingSignal> {
        let mut sends = Vec::new();
        for (&pid, orphan) in &mut self.known {
            let program = orphan.program;
            let Some(kill) = kills(program) else {
                continue;
            };
            if orphan.killed_at.is_some() || (orphan.asked && !kill) {
                continue;
            }
            orphan.asked = true;
            orphan.killed_at = kill.then_some(now);
            sends.push(PendingSignal { pid, program, kill });
        }
        sends
    }

    /// Returns when to act even if nothing happens. `settled` is true if orphans alone are waited
    /// for; once it is, the caller has to call [`Orphans::abandon`].
    pub(crate) fn next_deadline(&self, settled: bool) -> Option<Moment> {
        let at_once = Some(Moment::default());
        let Some(closing) = &self.closing else {
            return at_once.filter(|_| settled);
        };
        if closing.abandoned {
            return None;
        }
        if settled && closing.settled_at.is_none() {
            return at_once;
        }
        let deadline = if closing.killing {
            self.abandon_at()
        } else {
            Some(closing.kill_at)
        };
        let scan = self.scan_wanted.then(|| closing.next_scan(settled));
        let deadline = deadline.filter(|_| !self.known.is_empty() || self.has_failed);
        let is_silent = settled && !self.scan_wanted && !self.known.is_empty();
        let silent_scan = is_silent.then(|| closing.next_silent_scan());
        deadline.into_iter().chain(scan).chain(silent_scan).min()
    }

    /// Returns when to abandon the rest: some time after the first SIGKILL, and after all programs
    /// have ended. New orphans do not move that moment, or the shutdown might never end.
    fn abandon_at(&self) -> Option<Moment> {
        let closing = self.closing.as_ref()?;
        let settled_at = closing.settled_at?;
        let killed = self.known.values().filter_map(|orphan| orphan.killed_at);
        let first = killed.fold(settled_at, Moment::min);
        let usual = first.max(closing.kill_at).after(ABANDON_AFTER);
        Some(closing.end_at.map_or(usual, |end_at| end_at.min(usual)))
    }

    /// True if the shutdown waits for no orphan: none is left, or the rest was abandoned.
    pub(crate) fn is_gone(&self) -> bool {
        let is_none_left = self.known.is_empty() && !self.scan_wanted;
        let is_over =
            |closing: &Closing| closing.abandoned || (closing.settled_at.is_some() && is_none_left);
        self.closing.as_ref().is_some_and(is_over)
    }

    /// Abandons the orphans that survived SIGKILL, and returns them. Only after all programs have
    /// ended (`settled`): until then there may be new orphans, which need their SIGKILL.
    pub(crate) fn abandon(&mut self, now: Moment, settled: bool) -> Vec<(i32, Option<ProgramId>)> {
        let Some(closing) = self.closing.as_mut().filter(|_| settled) else {
            return Vec::new();
        };
        closing.settled_at.get_or_insert(now);
        if closing.end_at.is_some_and(|at| at <= now) {
            // There is no time for another scan.
            closing.killing = true;
            self.scan_wanted = false;
        }
        let is_nothing_left = self.known.is_empty() && !self.has_failed;
        let is_over = closing.abandoned || !closing.killing || is_nothing_left;
        if is_over || self.abandon_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let Some(closing) = &mut self.closing else {
            return Vec::new();
        };
        closing.abandoned = true;
        let known = self.known.iter();
        known.map(|(&pid, orphan)| (pid, orphan.program)).collect()
    }

    /// True if orphans were abandoned.
    pub(crate) fn is_abandoned(&self) -> bool {
        let closing = self.closing.as_ref();
        closing.is_some_and(|closing| closing.abandoned)
    }
}

#[cfg(test)]
mod tests;
