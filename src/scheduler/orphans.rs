//! What came home to us, as a subreaper or PID 1: looked for where a start or the shutdown
//! waits for it, once a turn at most.

use std::collections::BTreeSet;
use std::io;

use crate::error::Error;
use crate::event::EventKind;
use crate::lineage::CHAIN_VARIABLE;
use crate::machine::state::State;
use crate::machine::{Event, Moment, ProgramId};
use crate::orphans::{Dispatch, EVERYBODY, Whose};
use crate::os::group::Sent;
use crate::os::subreaper::is_pid_1;
use crate::os::{children, reap};
use crate::program::Live;

use super::household::DELAY_SAID_AFTER;
use super::pace::Pace;
use super::{Owner, ProcessScheduler};

/// How many lists of few children one look may take.
const LISTS_PER_LOOK_MAX: usize = 8;

/// How many orphans are named at once; the others are counted.
const NAMED_MAX: usize = 32;

impl ProcessScheduler {
    /// A child has died: who has lost a parent may have come home.
    pub(super) fn want_look_for_orphans(&mut self, now: Moment) {
        if let Some(household) = &mut self.household {
            household.want_look(now, self.owners.len());
        }
    }

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
        household.search_for(now, id, self.owners.len());
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
        let searching = !self.deaths_left && household.is_look_due(now);
        let mut looked = false;
        if settled && household.orphans.is_closing() && !reap::has_children() {
            household.orphans.found_nobody();
        } else if household.orphans.begin_look(now, searching, settled) {
            household.pace.done();
            looked = self.look_at_all_children(now, settled);
        }
        if let Some(household) = &mut self.household {
            let sends = household.orphans.due(now);
            let given_up = household.orphans.abandon(now, settled);
            self.send_to_orphans(sends);
            self.say_abandoned(given_up);
        }
        self.end_searches(now, looked);
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
            if !Pace::is_few(self.owners.len()) {
                household.orphans.put_off_look(now);
            }
        }
    }

    /// Whether the starts that wait for it need not wait any more: it has told who is there, or
    /// has failed so often that it never may.
    ///
    /// Who dies before it is asked whose it is may send its own children home, too late for the
    /// list that it was found in itself: then there is another list, at once for few. Each is
    /// asked once.
    fn look_at_all_children(&mut self, now: Moment, settled: bool) -> bool {
        let children = self.owners.len();
        let is_few = Pace::is_few(children);
        for _ in 0..if is_few { LISTS_PER_LOOK_MAX } else { 1 } {
            match self.look_through_list(now, settled) {
                Ok(true) => {}
                Ok(false) => {
                    if let Some(household) = &mut self.household {
                        household.look_is_over();
                    }
                    return true;
                }
                Err(error) if children::is_not_yet(&error) => break,
                Err(error) => return self.look_failed(now, error),
            }
        }
        let household = self.household.as_mut();
        household.is_none_or(|household| household.look_on(now, children))
    }

    /// Has it tried again, and says whether nobody is to wait for that.
    fn look_failed(&mut self, now: Moment, error: io::Error) -> bool {
        let what = "failed to look for processes that left their group";
        self.say_blindness(Error::io(what, &error));
        let household = self.household.as_mut();
        household.is_none_or(|household| household.look_failed(now))
    }

    /// Whether another list is needed. An error, too, if somebody in it cannot be asked yet.
    fn look_through_list(&mut self, now: Moment, settled: bool) -> io::Result<bool> {
        let children = match children::list()? {
            Some(children) => children,
            None if is_pid_1() => {
                let is_anybody_left = settled && reap::has_children();
                is_anybody_left.then_some(EVERYBODY).into_iter().collect()
            }
            None => {
                let text = "without /proc nothing tells which processes left their group: they \
                            are left alone";
                self.say_blindness(Error::new(text));
                Vec::new()
            }
        };
        let Some(household) = &mut self.household else {
            return Ok(false);
        };
        let (programs, names) = (&self.programs, &mut household.names);
        // Who cannot be asked at the end is nobody's, and is stopped with the rest.
        let may_wait = !household.orphans.is_closing();
        let mut trouble = None;
        let mut whose = |pid: i32| match children::variable(pid, CHAIN_VARIABLE) {
            Ok(Some(chain)) => names.whose(programs, &chain),
            Ok(None) => Whose::Nobodys,
            Err(error) => {
                let is_not_yet = children::is_not_yet(&error);
                if !is_not_yet || (may_wait && trouble.is_none()) {
                    trouble = Some(error);
                }
                if may_wait {
                    Whose::Unknown
                } else {
                    Whose::Nobodys
                }
            }
        };
        // Who is still in the group of a program is asked, and killed, with that. Such a group
        // has a leader that was not reaped yet, or it lingers.
        let groups = self.lingering.iter().filter_map(|id| {
            let live = programs[id.0 as usize].live.as_ref();
            live.filter(|live| !live.awaits_search()).map(Live::pid)
        });
        let mut lingering = BTreeSet::new();
        lingering.extend(groups);
        let is_group = |group: i32| {
            matches!(self.owners.get(&group), Some(Owner::Program(_))) || lingering.contains(&group)
        };
        let is_member = |pid: i32| children::group_of(pid).is_some_and(is_group);
        // One that could not be started is about to end, and is reaped by whoever made it.
        let has_failed = |pid: i32| self.spawner.has_failed(pid);
        let is_ours =
            |pid: i32| self.owners.contains_key(&pid) || has_failed(pid) || is_member(pid);
        let again = household.orphans.found(
            now,
            &children,
            is_ours,
            children::is_withheld_zombie,
            &mut whose,
        );
        match trouble {
            Some(error) => Err(error),
            None => Ok(again),
        }
    }

    /// Once, for as long as it lasts.
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

    /// Kills what holds up a start, and lets the machine know where nothing does any more. Only
    /// a look tells (`looked`): the death of one that was known may have sent another home.
    fn end_searches(&mut self, now: Moment, looked: bool) {
        let is_stopping = self.machine.is_stopping();
        let Some(household) = &mut self.household else {
            return;
        };
        let is_word_due = household.next_word.is_some_and(|at| at <= now);
        if !(looked || is_word_due || is_stopping) {
            return;
        }
        household.next_word = None;
        let mut index = 0;
        while let Some(household) = &mut self.household
            && let Some(search) = household.searching.get_mut(index)
        {
            let id = search.program;
            let word_at = search.since.after(DELAY_SAID_AFTER);
            let is_news = word_at <= now && !std::mem::replace(&mut search.delay_said, true);
            // The shutdown has a deadline for them, and kills those that were not killed.
            let is_over = is_stopping || (looked && !household.orphans.has_those_of(id));
            if is_over {
                household.searching.swap_remove(index);
                if let Some(live) = self.program_mut(id).live.take() {
                    self.tell(now, Event::GroupGone { run: live.run });
                }
                continue;
            }
            if !search.delay_said {
                let next = household.next_word.get_or_insert(word_at);
                *next = word_at.min(*next);
            }
            index += 1;
            let sends = household.orphans.kill_those_of(now, id);
            self.send_to_orphans(sends);
            if is_news {
                let text = "waits for a process that left its group and is there after SIGKILL";
                let error = Error::new(text);
                self.event(id, EventKind::Warning { error });
            }
        }
        let children = self.owners.len();
        if let Some(household) = &mut self.household
            && (looked || is_stopping)
        {
            household.plan_silent_look(now, children);
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
