//! Processes that came home: they left their program's group and lost their parent, and as a
//! subreaper (prctl(2)) or as PID 1 we are the next in line.
//!
//! Each belongs to the program that its environment proves, or to none. Those of a program are
//! killed before that starts again, like any leftover. The others are left alone until the
//! shutdown, which ends when we have no children: TERM and CONT when it begins or when they
//! come home, KILL at its deadline. What was our child before there was a supervisor belongs to
//! whoever exec'd us, and is not signalled; PID 1 is spared nothing.
//!
//! A zombie that another process traces cannot be reaped before that process takes its end, which
//! may be never. It is dead all the same: nothing waits for it.
//!
//! This decides; who our children are, and what they carry, is told by the scheduler.

use std::collections::{BTreeMap, BTreeSet};
use std::ops::RangeInclusive;
use std::time::Duration;

use crate::machine::{Moment, ProgramId};

/// The least time between two looks at all children during a shutdown: while it waits for
/// programs, or for nothing else. There may be tens of thousands of children.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);
const LAST_LOOK_INTERVAL: Duration = Duration::from_millis(10);

/// How long the last look of the shutdown is good for where nothing happens, at most: no signal
/// tells of a death that another process is told of first.
const LAST_LOOK_INTERVAL_MAX: Duration = Duration::from_secs(1);

/// How long the killed may take to disappear before they are given up.
const ABANDON_AFTER: Duration = Duration::from_secs(5);

/// What is known of the orphans.
#[derive(Debug, Default)]
pub(crate) struct Orphans {
    inherited: BTreeSet<i32>,
    known: BTreeMap<i32, Orphan>,
    /// Those of `known` that belong to a program.
    owned: BTreeSet<(ProgramId, i32)>,
    /// Zombies that cannot be reaped before another process lets go of them.
    withheld: BTreeSet<i32>,
    closing: Option<Closing>,
    /// Something has happened since the last look.
    look_wanted: bool,
    /// The last look has failed.
    is_blind: bool,
}

/// Whose a process is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Whose {
    Of(ProgramId),
    Nobodys,
    /// It could not be asked.
    Unknown,
}

impl From<Option<ProgramId>> for Whose {
    fn from(program: Option<ProgramId>) -> Self {
        program.map_or(Self::Nobodys, Self::Of)
    }
}

#[derive(Debug)]
struct Orphan {
    program: Option<ProgramId>,
    asked: bool,
    /// Since when it has its SIGKILL.
    killed_at: Option<Moment>,
}

impl Orphan {
    /// Whether it may have died of what it was sent.
    fn was_signalled(&self) -> bool {
        self.asked || self.killed_at.is_some()
    }
}

/// The shutdown.
#[derive(Debug)]
struct Closing {
    kill_at: Moment,
    last_look: Option<Moment>,
    /// How long that look is good for if nothing happens.
    look_again_after: Duration,
    /// Its deadline has passed.
    killing: bool,
    /// Since when it waits for nothing else.
    settled_at: Option<Moment>,
    /// What did not die was given up.
    abandoned: bool,
}

/// Stands for every process that is left, where nothing tells which there are.
pub(crate) const EVERYBODY: i32 = -1;

/// A signal that an orphan shall get.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Dispatch {
    pub(crate) pid: i32,
    pub(crate) program: Option<ProgramId>,
    /// SIGKILL at once, or SIGTERM and SIGCONT.
    pub(crate) kill: bool,
}

impl Closing {
    fn next_look(&self, settled: bool) -> Moment {
        let interval = if settled {
            LAST_LOOK_INTERVAL
        } else {
            LOOK_INTERVAL
        };
        self.last_look
            .map_or(Moment::default(), |at| at.after(interval))
    }

    /// When to look again although nothing has happened, in case one has died unnoticed.
    fn next_silent_look(&self) -> Moment {
        let last = self.last_look.unwrap_or_default();
        last.after(self.look_again_after)
    }
}

impl Orphans {
    /// `inherited` is what was there before us and is to be spared.
    pub(crate) fn new(inherited: impl IntoIterator<Item = i32>) -> Self {
        let mut orphans = Self::default();
        orphans.inherited.extend(inherited);
        orphans
    }

    /// A child has died, or a program waits for the look.
    pub(crate) fn want_look(&mut self) {
        self.look_wanted = true;
    }

    /// This child has been reaped; its number may be another's by now.
    pub(crate) fn reaped(&mut self, pid: i32) {
        let program = self.known.remove(&pid).and_then(|orphan| orphan.program);
        if let Some(program) = program {
            self.owned.remove(&(program, pid));
        }
        self.inherited.remove(&pid);
        self.withheld.remove(&pid);
    }

    /// The shutdown begins, or its deadline comes nearer; never later.
    pub(crate) fn close(&mut self, kill_at: Moment) {
        match &mut self.closing {
            Some(closing) => closing.kill_at = closing.kill_at.min(kill_at),
            None => {
                self.look_wanted = true;
                self.closing = Some(Closing {
                    kill_at,
                    last_look: None,
                    look_again_after: LAST_LOOK_INTERVAL,
                    killing: false,
                    settled_at: None,
                    abandoned: false,
                });
            }
        }
    }

    /// The first look of the shutdown can wait like any later one: there are many programs, most
    /// of which are about to end, and as a rule nobody is left then who had to be looked for.
    pub(crate) fn put_off_look(&mut self, now: Moment) {
        if let Some(closing) = &mut self.closing {
            closing.last_look.get_or_insert(now);
        }
    }

    pub(crate) fn is_closing(&self) -> bool {
        self.closing.is_some()
    }

    /// Whether to look at all children now, which is then to be done: where a start waits for
    /// it (`searching`), and during the shutdown, seldom for as long as that waits for anything
    /// else (not `settled`).
    pub(crate) fn begin_look(&mut self, now: Moment, searching: bool, settled: bool) -> bool {
        let Some(closing) = &mut self.closing else {
            return self.look_wanted && searching;
        };
        // Who comes home while its parent lives is announced by nobody.
        if now >= closing.kill_at && !closing.killing {
            closing.killing = true;
            return true;
        }
        // Nor who leaves the group of a program.
        if settled && closing.settled_at.is_none() {
            return true;
        }
        if closing.abandoned {
            return false;
        }
        if self.look_wanted {
            return closing.next_look(settled) <= now;
        }
        let is_silent_look = settled && !self.known.is_empty() && closing.next_silent_look() <= now;
        if is_silent_look {
            let longer = closing.look_again_after * 2;
            closing.look_again_after = longer.min(LAST_LOOK_INTERVAL_MAX);
        }
        is_silent_look
    }

    /// The look has failed, and is to be tried again.
    pub(crate) fn found_nothing_out(&mut self, now: Moment) {
        self.look_wanted = true;
        self.is_blind = true;
        if let Some(closing) = &mut self.closing {
            closing.last_look = Some(now);
        }
    }

    /// There are no children at all.
    pub(crate) fn found_nobody(&mut self) {
        self.look_wanted = false;
        self.is_blind = false;
        self.known.clear();
        self.owned.clear();
        self.inherited.clear();
        self.withheld.clear();
    }

    /// Takes in what the look has found: all our children at this moment. True if it has met
    /// somebody who is nobody's, or dead and cannot be asked, or a zombie that is withheld: that
    /// may have sent its own children home since.
    pub(crate) fn found(
        &mut self,
        now: Moment,
        children: &[i32],
        is_ours: impl Fn(i32) -> bool,
        is_withheld: impl Fn(i32) -> bool,
        mut whose: impl FnMut(i32) -> Whose,
    ) -> bool {
        self.look_wanted = false;
        self.is_blind = false;
        if let Some(closing) = &mut self.closing {
            closing.last_look = Some(now);
        }
        let mut still = children.to_vec();
        still.sort_unstable();
        let is_there = |pid: &i32| still.binary_search(pid).is_ok();
        self.known.retain(|pid, _| is_there(pid));
        self.owned.retain(|(_, pid)| is_there(pid));
        self.inherited.retain(is_there);
        self.withheld.retain(is_there);
        let mut is_another_needed = false;
        for pid in still {
            if self.inherited.contains(&pid) || self.withheld.contains(&pid) {
                continue;
            }
            if let Some(orphan) = self.known.get(&pid) {
                if orphan.was_signalled() && is_withheld(pid) {
                    self.reaped(pid);
                    self.withheld.insert(pid);
                    is_another_needed = true;
                }
                continue;
            }
            if is_ours(pid) {
                continue;
            }
            let program = match whose(pid) {
                Whose::Of(program) => Some(program),
                Whose::Nobodys => None,
                // The next look may tell.
                Whose::Unknown => continue,
            };
            is_another_needed |= program.is_none();
            if program.is_none() && is_withheld(pid) {
                self.withheld.insert(pid);
                continue;
            }
            self.owned.extend(program.map(|program| (program, pid)));
            let orphan = Orphan {
                program,
                asked: false,
                killed_at: None,
            };
            self.known.insert(pid, orphan);
        }
        is_another_needed
    }

    /// Those of a program that is to start again, and have not been killed yet.
    pub(crate) fn kill_those_of(&mut self, now: Moment, program: ProgramId) -> Vec<Dispatch> {
        let mut sends = Vec::new();
        for &(_, pid) in self.owned.range(those_of(program)) {
            let orphan = self.known.get_mut(&pid);
            let Some(orphan) = orphan.filter(|orphan| orphan.killed_at.is_none()) else {
                continue;
            };
            orphan.killed_at = Some(now);
            sends.push(Dispatch {
                pid,
                program: orphan.program,
                kill: true,
            });
        }
        sends
    }

    /// Whether there is one of this program, as far as is known.
    pub(crate) fn has_those_of(&self, program: ProgramId) -> bool {
        self.owned.range(those_of(program)).next().is_some()
    }

    /// What the shutdown has to send.
    pub(crate) fn due(&mut self, now: Moment) -> Vec<Dispatch> {
        let Some(closing) = &self.closing else {
            return Vec::new();
        };
        let kill = now >= closing.kill_at;
        let mut sends = Vec::new();
        for (&pid, orphan) in &mut self.known {
            if orphan.killed_at.is_some() || (orphan.asked && !kill) {
                continue;
            }
            orphan.asked = true;
            orphan.killed_at = kill.then_some(now);
            sends.push(Dispatch {
                pid,
                program: orphan.program,
                kill,
            });
        }
        sends
    }

    /// When something has to be done even if nothing happens. `settled` is whether nothing else
    /// is left to wait for; the shutdown has to be told so, whatever brought it about.
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
            self.give_up_at()
        } else {
            Some(closing.kill_at)
        };
        let look = self.look_wanted.then(|| closing.next_look(settled));
        let needed = deadline.filter(|_| !self.known.is_empty() || self.is_blind);
        let is_silence = settled && !self.look_wanted && !self.known.is_empty();
        let silent_look = is_silence.then(|| closing.next_silent_look());
        needed.into_iter().chain(look).chain(silent_look).min()
    }

    /// When those that are left are waited for no longer: some time after the first of them got
    /// its SIGKILL, or after all else was over, so that who comes home again and again cannot
    /// put off the end for ever.
    fn give_up_at(&self) -> Option<Moment> {
        let closing = self.closing.as_ref()?;
        let settled_at = closing.settled_at?;
        let killed = self.known.values().filter_map(|orphan| orphan.killed_at);
        let first = killed.fold(settled_at, Moment::min);
        Some(first.max(closing.kill_at).after(ABANDON_AFTER))
    }

    /// Whether the shutdown waits for none of them: none is left since all else was over, or they
    /// were given up.
    pub(crate) fn is_gone(&self) -> bool {
        let is_nobody_left = self.known.is_empty() && !self.look_wanted;
        let is_over = |closing: &Closing| {
            closing.abandoned || (closing.settled_at.is_some() && is_nobody_left)
        };
        self.closing.as_ref().is_some_and(is_over)
    }

    /// Gives up what has not died long after its SIGKILL, and names it. Not before all else is
    /// over (`settled`): until then more may come home, and is owed its SIGKILL.
    pub(crate) fn abandon(&mut self, now: Moment, settled: bool) -> Vec<(i32, Option<ProgramId>)> {
        let Some(closing) = self.closing.as_mut().filter(|_| settled) else {
            return Vec::new();
        };
        closing.settled_at.get_or_insert(now);
        let is_nothing_left = self.known.is_empty() && !self.is_blind;
        let is_over = closing.abandoned || !closing.killing || is_nothing_left;
        if is_over || self.give_up_at().is_none_or(|at| now < at) {
            return Vec::new();
        }
        let Some(closing) = &mut self.closing else {
            return Vec::new();
        };
        closing.abandoned = true;
        let named = self
            .known
            .iter()
            .map(|(&pid, orphan)| (pid, orphan.program));
        named.collect()
    }

    /// Whether something was given up.
    pub(crate) fn is_abandoned(&self) -> bool {
        self.closing
            .as_ref()
            .is_some_and(|closing| closing.abandoned)
    }
}

/// Where those of a program are among all that belong to one.
fn those_of(program: ProgramId) -> RangeInclusive<(ProgramId, i32)> {
    (program, i32::MIN)..=(program, i32::MAX)
}

#[cfg(test)]
mod tests;
