//! What a process that gets orphans knows of them, and when it looks for more.

use std::sync::Arc;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::lineage::Lineage;
use crate::machine::{Moment, ProgramId};
use crate::orphans::{Orphans, Whose};
use crate::os::children;
use crate::os::subreaper::{Subreaper, become_subreaper, is_pid_1};
use crate::program::Program;

use super::pace::Pace;

/// How long after a SIGKILL it is worth a word that an orphan still holds up a start.
pub(super) const DELAY_SAID_AFTER: Duration = Duration::from_secs(5);

/// How long a look at all children is put off for each of them, where a start waits for it:
/// ten times and more what it takes.
const LOOK_PACE: Duration = Duration::from_micros(10);

/// How soon there is another look if this one has not told all, and for how long starts wait for
/// one that does.
const LOOK_ON_AFTER: Duration = Duration::from_millis(5);
const LOOK_ON_MAX: Duration = Duration::from_secs(2);

/// How soon a look that has failed is tried again where a start waits for it, and how often in a
/// row: what is in its way may pass, as a shortage does, or may stay.
const LOOK_AGAIN_AFTER: Duration = Duration::from_millis(100);
const FAILED_LOOKS_MAX: u32 = 20;

/// How soon there is another look if what was killed before a start is still there and nothing
/// happens, first and at most; in between it doubles. It may be dead: no signal tells of a death
/// that another process, as its tracer, is told of first.
const SILENT_LOOK_AFTER_MIN: Duration = Duration::from_millis(5);
const SILENT_LOOK_AFTER_MAX: Duration = Duration::from_millis(500);

/// A process that gets orphans, and what it knows of them.
pub(super) struct Household {
    pub(super) orphans: Orphans,
    pub(super) names: Names,
    /// Programs whose group is gone and whose orphans are not known to be.
    pub(super) searching: Vec<Search>,
    /// When to look for them.
    pub(super) pace: Pace,
    /// When to look although nothing has happened, and after how long again.
    next_silent_look: Option<Moment>,
    silent_look_after: Duration,
    /// When it is worth a word of one of them, or may be.
    pub(super) next_word: Option<Moment>,
    /// How long a program may take to stop that takes longest.
    pub(super) longest_stop: Duration,
    /// How many looks in a row have failed.
    failed_looks: u32,
    /// Since when no look has told all.
    unsettled_since: Option<Moment>,
    /// It was said that nothing tells who came home.
    pub(super) blindness_said: bool,
    _subreaper: Subreaper,
}

/// Tells which program a process belongs to.
pub(super) struct Names {
    lineage: Arc<Lineage>,
    /// All programs, by name; made when it is needed first.
    by_name: Vec<ProgramId>,
}

impl Names {
    /// Returns whose a process is that carries this chain.
    pub(super) fn whose(&mut self, programs: &[Program], chain: &[u8]) -> Whose {
        let Some(name) = self.lineage.program_in(chain) else {
            return Whose::Nobodys;
        };
        let name_of = |id: &ProgramId| programs[id.0 as usize].name().as_bytes();
        if self.by_name.is_empty() {
            self.by_name
                .extend(programs.iter().map(|program| program.id));
            self.by_name.sort_unstable_by_key(name_of);
        }
        let found = self.by_name.binary_search_by(|id| name_of(id).cmp(name));
        Whose::from(found.ok().map(|place| self.by_name[place]))
    }
}

pub(super) struct Search {
    pub(super) program: ProgramId,
    pub(super) since: Moment,
    pub(super) delay_said: bool,
}

impl Household {
    /// Makes this process one that gets orphans. What is its child already belongs to whoever
    /// started it, unless it is PID 1.
    pub(super) fn establish(longest_stop: Duration, lineage: Arc<Lineage>) -> Result<Self> {
        let subreaper = become_subreaper()?;
        let here = if is_pid_1() {
            None
        } else {
            let what = "failed to look for the children that this process has already";
            children::list().map_err(|error| Error::io(what, &error))?
        };
        Ok(Self {
            orphans: Orphans::new(here.unwrap_or_default()),
            names: Names {
                lineage,
                by_name: Vec::new(),
            },
            searching: Vec::new(),
            pace: Pace::new(LOOK_PACE),
            next_silent_look: None,
            silent_look_after: SILENT_LOOK_AFTER_MIN,
            next_word: None,
            longest_stop,
            failed_looks: 0,
            unsettled_since: None,
            blindness_said: false,
            _subreaper: subreaper,
        })
    }

    /// `settled` is whether nothing is left to wait for but what came home.
    pub(super) fn next_deadline(&self, settled: bool) -> Option<Moment> {
        let looks = self.pace.next().into_iter().chain(self.next_silent_look);
        let waited_for = looks.chain(self.next_word);
        let waited_for = waited_for.filter(|_| !self.searching.is_empty());
        waited_for.chain(self.orphans.next_deadline(settled)).min()
    }

    pub(super) fn reaped(&mut self, pid: i32) {
        self.orphans.reaped(pid);
    }

    /// Something has happened since the last look, with so many children.
    pub(super) fn want_look(&mut self, now: Moment, children: usize) {
        self.orphans.want_look();
        if !self.searching.is_empty() {
            self.pace.want(now, children);
        }
    }

    /// Has it tried again, and says whether nobody is to wait for that.
    pub(super) fn look_failed(&mut self, now: Moment) -> bool {
        self.orphans.found_nothing_out(now);
        self.failed_looks = self.failed_looks.saturating_add(1);
        if self.failed_looks >= FAILED_LOOKS_MAX {
            return true;
        }
        self.pace.put_off(now.after(LOOK_AGAIN_AFTER));
        false
    }

    /// Who is dying cannot be asked yet, or there was always somebody new: has it looked again
    /// soon, and says whether nobody is to wait for that.
    pub(super) fn look_on(&mut self, now: Moment, children: usize) -> bool {
        self.orphans.want_look();
        let since = *self.unsettled_since.get_or_insert(now);
        if now.since(since) >= LOOK_ON_MAX {
            return true;
        }
        let children = u32::try_from(children).unwrap_or(u32::MAX);
        let soon = LOOK_PACE.saturating_mul(children).max(LOOK_ON_AFTER);
        self.pace.put_off(now.after(soon));
        false
    }

    /// Whether a start waits for a look that is due.
    pub(super) fn is_look_due(&mut self, now: Moment) -> bool {
        let is_silent_look = self.next_silent_look.is_some_and(|at| at <= now);
        if is_silent_look {
            self.next_silent_look = None;
            self.orphans.want_look();
        }
        is_silent_look || self.pace.is_due(now)
    }

    /// A look is over. What it has left of those that starts wait for is looked at again.
    pub(super) fn plan_silent_look(&mut self, now: Moment, children: usize) {
        if self.searching.is_empty() {
            self.next_silent_look = None;
            self.silent_look_after = SILENT_LOOK_AFTER_MIN;
            return;
        }
        let children = u32::try_from(children).unwrap_or(u32::MAX);
        let after = LOOK_PACE.saturating_mul(children);
        self.next_silent_look = Some(now.after(after.max(self.silent_look_after)));
        self.silent_look_after = (self.silent_look_after * 2).min(SILENT_LOOK_AFTER_MAX);
    }

    /// This look has told all. The next that fails is news again.
    pub(super) fn look_is_over(&mut self) {
        self.blindness_said &= self.failed_looks == 0;
        self.failed_looks = 0;
        self.unsettled_since = None;
    }

    pub(super) fn search_for(&mut self, now: Moment, program: ProgramId, children: usize) {
        self.searching.push(Search {
            program,
            since: now,
            delay_said: false,
        });
        self.next_word.get_or_insert(now.after(DELAY_SAID_AFTER));
        self.want_look(now, children);
    }

    pub(super) fn is_gone(&self) -> bool {
        self.orphans.is_gone()
    }

    pub(super) fn is_abandoned(&self) -> bool {
        self.orphans.is_abandoned()
    }

    /// Those that are left have until then.
    pub(super) fn close(&mut self, kill_at: Moment) {
        self.orphans.close(kill_at);
    }
}
