//! What came home to us, as a subreaper or PID 1: looked for where a start or the shutdown
//! waits for it, once a turn at most.

use std::collections::HashSet;
use std::time::Duration;

use crate::error::{Error, Result};
use crate::event::EventKind;
use crate::launch::PROGRAM_VARIABLE;
use crate::machine::child::State;
use crate::machine::{Event, Moment, ProgramId};
use crate::orphans::{Dispatch, EVERYBODY, Orphans};
use crate::os::group::Sent;
use crate::os::subreaper::{Subreaper, become_subreaper, is_pid_1};
use crate::os::{children, reap};
use crate::program::{Live, Program};

use super::ProcessScheduler;

/// How long after a SIGKILL it is worth a word that an orphan still holds up a start.
const DELAY_SAID_AFTER: Duration = Duration::from_secs(5);

/// How many orphans are named at once; the others are counted.
const NAMED_MAX: usize = 32;

/// A process that gets orphans, and what it knows of them.
pub(super) struct Household {
    orphans: Orphans,
    /// Programs whose group is gone and whose orphans are not known to be.
    searching: Vec<Search>,
    /// How long a program may take to stop that takes longest.
    longest_stop: Duration,
    /// It was said that nothing tells who came home.
    blindness_said: bool,
    _subreaper: Subreaper,
}

struct Search {
    program: ProgramId,
    since: Moment,
    delay_said: bool,
}

impl Household {
    /// Makes this process one that gets orphans. What is its child already belongs to whoever
    /// started it, unless it is PID 1.
    pub(super) fn establish(longest_stop: Duration) -> Result<Self> {
        let subreaper = become_subreaper()?;
        let here = if is_pid_1() {
            None
        } else {
            let what = "failed to look for the children that this process has already";
            children::list().map_err(|error| Error::io(what, &error))?
        };
        Ok(Self {
            orphans: Orphans::new(here.unwrap_or_default()),
            searching: Vec::new(),
            longest_stop,
            blindness_said: false,
            _subreaper: subreaper,
        })
    }

    /// `settled` is whether nothing is left to wait for but what came home.
    pub(super) fn next_deadline(&self, settled: bool) -> Option<Moment> {
        let unsaid = self.searching.iter().filter(|search| !search.delay_said);
        let says = unsaid.map(|search| search.since.after(DELAY_SAID_AFTER));
        says.chain(self.orphans.next_deadline(settled)).min()
    }

    pub(super) fn reaped(&mut self, pid: i32) {
        self.orphans.reaped(pid);
    }

    pub(super) fn want_look(&mut self) {
        self.orphans.want_look();
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

impl ProcessScheduler {
    /// The group of a program is gone. Whether a start has to wait for what left it: where the
    /// delay before it is 0, that costs a look only if somebody still holds the pipe.
    pub(super) fn must_search(&mut self, now: Moment, id: ProgramId) -> bool {
        if self.household.is_none() || self.machine.is_stopping() {
            return false;
        }
        if !matches!(self.machine.view(id).state, State::Clearing { .. }) {
            return false;
        }
        let is_at_once = self.program(id).is_restarted_at_once();
        if is_at_once && self.is_pipe_at_its_end(now, id) {
            return false;
        }
        let Some(household) = &mut self.household else {
            return false;
        };
        household.want_look();
        household.searching.push(Search {
            program: id,
            since: now,
            delay_said: false,
        });
        true
    }

    /// Looks for orphans if it is time to, and does about them what is due.
    pub(super) fn look_for_orphans(&mut self, now: Moment) {
        self.begin_closing(now, self.is_settled_but_for_orphans());
        let settled = self.is_settled_but_for_orphans() && !self.deaths_left;
        let Some(household) = &mut self.household else {
            return;
        };
        // The zombies of a storm are not worth a look.
        let searching = !household.searching.is_empty() && !self.deaths_left;
        if settled && household.orphans.is_closing() && !reap::has_children() {
            household.orphans.found_nobody();
        } else if household.orphans.begin_look(now, searching, settled) {
            self.look_at_all_children(now, settled);
        }
        if let Some(household) = &mut self.household {
            let sends = household.orphans.due(now);
            let given_up = household.orphans.abandon(now, settled);
            self.send_to_orphans(sends);
            self.say_abandoned(given_up);
        }
        self.end_searches(now);
    }

    /// The shutdown of what came home begins with that of the programs, or when all of those
    /// have ended for good.
    fn begin_closing(&mut self, now: Moment, settled: bool) {
        let begins = self.machine.is_stopping() || settled;
        if let Some(household) = &mut self.household
            && begins
            && !household.orphans.is_closing()
        {
            household.close(now.after(household.longest_stop));
        }
    }

    fn look_at_all_children(&mut self, now: Moment, settled: bool) {
        let children = match children::list() {
            Ok(Some(children)) => children,
            Ok(None) if is_pid_1() => {
                let is_anybody_left = settled && reap::has_children();
                is_anybody_left.then_some(EVERYBODY).into_iter().collect()
            }
            Ok(None) => {
                let text = "without /proc nothing tells which processes left their group: they \
                            are left alone";
                self.say_blindness(Error::new(text));
                Vec::new()
            }
            Err(error) => {
                let what = "failed to look for processes that left their group";
                self.say_blindness(Error::io(what, &error));
                if let Some(household) = &mut self.household {
                    household.orphans.found_nothing_out(now);
                }
                return;
            }
        };
        let Some(household) = &mut self.household else {
            return;
        };
        let programs = &self.programs;
        let whose = |pid: i32| {
            let name = children::variable(pid, PROGRAM_VARIABLE)?;
            let is_it = |program: &&Program| program.name().as_bytes() == name;
            programs.iter().find(is_it).map(|program| program.id)
        };
        // Who has lost its leader and is still in its group is asked, and killed, with that.
        let live = programs.iter().filter_map(|program| program.live.as_ref());
        let groups: HashSet<i32> = live
            .filter(|live| !live.awaits_search())
            .map(Live::pid)
            .collect();
        let is_member =
            |pid: i32| children::group_of(pid).is_some_and(|group| groups.contains(&group));
        let is_ours = |pid: i32| self.owners.contains_key(&pid) || is_member(pid);
        household.orphans.found(now, &children, is_ours, whose);
    }

    /// Once: what is in the way of a look is there to stay, as a rule.
    fn say_blindness(&mut self, error: Error) {
        let Some(household) = &mut self.household else {
            return;
        };
        if !std::mem::replace(&mut household.blindness_said, true) {
            self.own_event(EventKind::Warning { error });
        }
    }

    fn say_abandoned(&mut self, given_up: Vec<(i32, Option<ProgramId>)>) {
        let more = given_up.len().saturating_sub(NAMED_MAX);
        for (pid, program) in given_up.into_iter().take(NAMED_MAX) {
            self.orphan_event(program, EventKind::Abandoned { pid });
        }
        if more > 0 {
            let error = Error::new(format!("abandoned {more} more processes"));
            self.own_event(EventKind::Warning { error });
        }
    }

    /// Kills what holds up a start, and lets the machine know where nothing does any more.
    fn end_searches(&mut self, now: Moment) {
        let is_stopping = self.machine.is_stopping();
        let mut index = 0;
        while let Some(household) = &mut self.household
            && let Some(search) = household.searching.get_mut(index)
        {
            let id = search.program;
            let is_late = now.since(search.since) >= DELAY_SAID_AFTER;
            let is_news = is_late && !std::mem::replace(&mut search.delay_said, is_late);
            let sends = household.orphans.kill_those_of(now, id);
            if is_stopping || !household.orphans.has_those_of(id) {
                household.searching.swap_remove(index);
                if let Some(live) = self.program_mut(id).live.take() {
                    self.tell(now, Event::GroupGone { run: live.run });
                }
                continue;
            }
            index += 1;
            self.send_to_orphans(sends);
            if is_news {
                let text = "waits for a process that left its group and has survived SIGKILL";
                let error = Error::new(text);
                self.event(id, EventKind::Warning { error });
            }
        }
    }

    fn send_to_orphans(&mut self, sends: Vec<Dispatch>) {
        let mut named = 0_usize;
        for Dispatch { pid, program, kill } in sends {
            let send = |signal| match pid {
                EVERYBODY => children::signal_everybody(signal),
                pid => children::signal(pid, signal),
            };
            let sent = if kill {
                send(libc::SIGKILL)
            } else {
                let sent = send(libc::SIGTERM);
                send(libc::SIGCONT);
                sent
            };
            let kind = match sent {
                Sent::Gone => continue,
                Sent::Delivered => EventKind::OrphanSignalled {
                    pid,
                    signal: if kill { libc::SIGKILL } else { libc::SIGTERM },
                },
                Sent::Refused(errno) => EventKind::Warning {
                    error: Error::os(
                        format!("failed to signal process {pid}, which left its group"),
                        errno as i32,
                    ),
                },
            };
            named += 1;
            if named <= NAMED_MAX {
                self.orphan_event(program, kind);
            }
        }
        if let Some(more @ 1..) = named.checked_sub(NAMED_MAX) {
            let error = Error::new(format!(
                "signalled {more} more processes that had left their groups"
            ));
            self.own_event(EventKind::Warning { error });
        }
    }

    fn orphan_event(&mut self, program: Option<ProgramId>, kind: EventKind) {
        match program {
            Some(id) => self.event(id, kind),
            None => self.own_event(kind),
        }
    }
}
