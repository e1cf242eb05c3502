//! After the command: what is left of its group, and what came home to us, gets SIGTERM, then
//! SIGKILL, and is reaped.
//!
//! A number is signalled only while it is pinned: a child's by our not having reaped it, the
//! group's by a child of ours in it. Who is neither comes home when its parent dies, and that
//! parent is, or descends from, a child of ours.
//!
//! Somebody may make orphans faster than they can be reaped. No deadline waits for them: they
//! are reaped in bites, and a look at all children, which takes the longer the more they are,
//! has a tenth of the time at most.
//!
//! A zombie that another process traces cannot be reaped before that process lets go of it. It is
//! dead, and is not waited for.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Error;
use crate::machine::Moment;
use crate::os::accept;
use crate::os::children;
use crate::os::clock::Clock;
use crate::os::group::{Group, Sent};
use crate::os::reap::{self, Seen};
use crate::os::stat::zombies_only;
use crate::os::subreaper::is_pid_1;
use crate::signal::signal_name;

use super::reaping::{LOOK_INTERVAL, Left, bite};
use super::{InitEvent, Options};

/// How long what is left may take after the command's exit.
const GRACE: Duration = Duration::from_secs(2);

/// How long everything may take after the first SIGTERM.
pub(super) const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what was killed may take to be dead.
const DEATH_TIME_MAX: Duration = Duration::from_secs(5);

/// How much longer than a look itself it takes until the next one.
const LOOK_PAUSE: u32 = 10;

/// How soon there is a look although no child has died, as far as is known: the
/// death of a traced one is reported to its tracer.
const SILENT_LOOK_INTERVAL: Duration = Duration::from_millis(250);

/// Who can be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All that came home.
    Children,
    /// PID 1 without `/proc`: everybody at once.
    Everybody,
    /// The command's group alone.
    Group,
}

/// What is left.
pub(super) struct Rest {
    /// The command's pid, which is the number of its group. It is dead and not reaped.
    pub(super) leader: i32,
    pub(super) leader_code: u8,
    pub(super) group: Group,
    pub(super) reach: Reach,
    pub(super) inherited: BTreeSet<i32>,
    pub(super) clock: Clock,
    pub(super) asked_at: Option<Moment>,
    /// Who got the present signal.
    pub(super) told: BTreeSet<i32>,
    /// Who may not be signalled by us.
    pub(super) refused: BTreeSet<i32>,
}

/// Why the command's group is all that can be stopped.
pub(super) fn no_list() -> Error {
    let what = "failed to find out about our children in \"/proc\"";
    let reason = "what leaves the command's group is reaped, but not stopped at the end";
    Error::because(what, reason)
}

impl Rest {
    /// Ends it. Returns when nothing is left, or what is left will not die.
    pub(super) fn end(mut self, options: &mut Options) {
        let exit_at = self.clock.now();
        if self.reach != Reach::Everybody {
            // While the leader still pins the number.
            self.group.signal(libc::SIGTERM);
            self.group.signal(libc::SIGCONT);
        }
        self.bury_leader(options);
        let asked = self.asked_at.map(|asked| asked.after(STOP_TIMEOUT));
        let limit = exit_at.after(GRACE);
        let kill_at = asked.map_or(limit, |asked| asked.min(limit));
        let give_up_at = kill_at.max(exit_at).after(DEATH_TIME_MAX);

        if self.reap(options) == Left::Nobody && self.is_over() {
            return;
        }
        options.tell(InitEvent::Stopping);
        if self.until(kill_at, libc::SIGTERM, options) {
            return;
        }
        options.tell(InitEvent::Killed);
        if !self.until(give_up_at, libc::SIGKILL, options) {
            self.abandon(options);
        }
    }

    /// Sends this signal to all that is left, and to whoever comes home later, until nothing is
    /// left or the time is over. Whether nothing is left.
    fn until(&mut self, deadline: Moment, signal: i32, options: &mut Options) -> bool {
        self.told.clear();
        self.signal_all(signal);
        let (mut is_news, mut next_look) = (true, self.clock.now());
        loop {
            let left = self.reap(options);
            if left == Left::Nobody && self.is_over() {
                return true;
            }
            if is_news && self.clock.until(next_look).is_zero() {
                let start = self.clock.now();
                if self.look(signal, options) {
                    return true;
                }
                let end = self.clock.now();
                next_look = end.after(end.since(start) * LOOK_PAUSE);
                is_news = false;
            }
            let mut wait = self.clock.until(deadline);
            if wait.is_zero() {
                return false;
            }
            if let Some(rest) = left.rest() {
                wait = wait.min(rest);
            }
            let look_at = if is_news {
                next_look
            } else {
                next_look.after(SILENT_LOOK_INTERVAL)
            };
            wait = wait.min(self.clock.until(look_at));
            if self.reach == Reach::Group {
                wait = wait.min(LOOK_INTERVAL);
            }
            match accept::next(Some(wait)).map(|taken| taken.signal) {
                None => is_news |= self.clock.until(look_at).is_zero(),
                Some(libc::SIGCHLD) => is_news = true,
                // Everything is being stopped already.
                Some(signal) => options.tell(InitEvent::Dropped { signal }),
            }
        }
    }

    fn reap(&mut self, options: &mut Options) -> Left {
        bite(None, options, |pid| {
            for numbers in [&mut self.inherited, &mut self.told, &mut self.refused] {
                numbers.remove(&pid);
            }
        })
    }

    /// Whether there is nobody else, as far as can be seen without a look at all children.
    fn is_over(&self) -> bool {
        match self.reach {
            Reach::Group => self.is_group_over(),
            Reach::Everybody | Reach::Children => !reap::has_children(),
        }
    }

    /// Members may have become the zombies of somebody who does not reap.
    fn is_group_over(&self) -> bool {
        let number = BTreeSet::from([self.group.number()]);
        let is_zombies_only = || zombies_only(&number).is_some_and(|groups| groups == number);
        self.group.is_gone() || is_zombies_only()
    }

    fn bury_leader(&mut self, options: &mut Options) {
        self.group.pin();
        reap::reap(self.leader);
        self.group.leader_was_reaped();
        let (pid, code) = (self.leader, self.leader_code);
        options.tell(InitEvent::Ended { pid, code });
    }

    /// Everybody who can be told without a look.
    fn signal_all(&self, signal: i32) {
        match self.reach {
            // It had its SIGTERM when the leader had died.
            Reach::Group if signal == libc::SIGTERM => {}
            Reach::Group => _ = self.group.signal(signal),
            Reach::Everybody => signal_everybody(signal),
            // Nobody escapes this by a fork.
            Reach::Children if signal == libc::SIGKILL && is_pid_1() => signal_everybody(signal),
            Reach::Children => {}
        }
    }

    /// Tells the children who were not told yet. Whether there is nobody left, or nobody who
    /// would have to die of this.
    fn look(&mut self, signal: i32, options: &mut Options) -> bool {
        if self.reach != Reach::Children {
            return false;
        }
        let Some(living) = self.living() else {
            self.lose_sight(signal, options);
            return false;
        };
        let mut is_group_told = false;
        for &pid in &living {
            if !self.told.insert(pid) {
                continue;
            }
            let is_member = children::group_of(pid) == Some(self.group.number());
            if is_member && signal == libc::SIGTERM {
                // It had that with the group, when the leader had died.
                continue;
            }
            if is_member && !is_group_told {
                // This child pins the number.
                self.group.signal(signal);
                is_group_told = true;
            }
            self.signal_child(pid, signal, options);
        }
        let is_hopeless = |pid: &i32| signal == libc::SIGKILL && self.refused.contains(pid);
        let is_over = |pid: &i32| is_hopeless(pid) || children::is_withheld_zombie(*pid);
        // One that was alive when the list was made may have left children to us since.
        living.iter().all(is_over) && self.living().as_ref() == Some(&living)
    }

    fn signal_child(&mut self, pid: i32, signal: i32, options: &mut Options) {
        if let Sent::Refused(errno) = children::signal(pid, signal)
            && self.refused.insert(pid)
        {
            let what = format!("failed to send {} to process {pid}", signal_name(signal));
            options.warn(Error::os(what, errno as i32));
        }
        if signal == libc::SIGTERM {
            children::signal(pid, libc::SIGCONT);
        }
    }

    /// Somebody has taken `/proc` away, or there is no descriptor to read it by.
    fn lose_sight(&mut self, signal: i32, options: &mut Options) {
        if is_pid_1() {
            self.reach = Reach::Everybody;
        } else {
            self.reach = Reach::Group;
            options.warn(no_list());
        }
        self.signal_all(signal);
    }

    /// The children that are ours to signal; `None` if they cannot be found.
    fn living(&self) -> Option<Vec<i32>> {
        let mut children = children::of_this_process()?;
        children.retain(|pid| !self.inherited.contains(pid));
        Some(children)
    }

    /// Names who does not die. Who is dead, or was named before, is not.
    fn abandon(&self, options: &mut Options) {
        let is_alive = |pid: &i32| {
            reap::look(*pid, None) == Seen::Alive && !children::is_withheld_zombie(*pid)
        };
        let living = self.living().map(|mut pids| {
            pids.retain(|pid| !self.refused.contains(pid) && is_alive(pid));
            pids.sort_unstable();
            pids
        });
        let can_be_seen = living.is_some() && self.reach == Reach::Children;
        let pids = living.unwrap_or_default();
        if !(can_be_seen && pids.is_empty()) {
            options.tell(InitEvent::Abandoned { pids });
        }
    }
}

fn signal_everybody(signal: i32) {
    children::signal_everybody(signal);
    if signal == libc::SIGTERM {
        children::signal_everybody(libc::SIGCONT);
    }
}
