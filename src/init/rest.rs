//! After the command: what is left of its group, and what came home to us, gets SIGTERM, then
//! SIGKILL, and is reaped.
//!
//! A number is signalled only while it is pinned: a child's by our not having reaped it, the
//! group's by a child of ours in it. Who is neither comes home when its parent dies, and that
//! parent is, or descends from, a child of ours.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::machine::Moment;
use crate::os::accept;
use crate::os::children;
use crate::os::clock::Clock;
use crate::os::group::{Group, living_groups};
use crate::os::reap;
use crate::os::subreaper::is_pid_1;
use crate::os::terminal::group_of;

use super::{InitEvent, Options, exit_code};

/// How long what is left may take after the command's exit.
const GRACE: Duration = Duration::from_secs(2);

/// How long everything may take after the first SIGTERM.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long what was killed may take to be dead.
const DEATH_TIME_MAX: Duration = Duration::from_secs(5);

/// How often is looked for deaths of which nobody is told.
const LOOK_INTERVAL: Duration = Duration::from_millis(100);

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

        let told = &mut BTreeSet::new();
        if self.is_over(options) {
            return;
        }
        options.tell(InitEvent::Stopping);
        self.signal_all(libc::SIGTERM, told);
        if self.until(kill_at, options, |rest| {
            rest.signal_newcomers(libc::SIGTERM, told);
        }) {
            return;
        }
        options.tell(InitEvent::Killed);
        told.clear();
        self.signal_all(libc::SIGKILL, told);
        if !self.until(give_up_at, options, |rest| {
            rest.signal_newcomers(libc::SIGKILL, told);
        }) {
            let mut pids = self.living().unwrap_or_default();
            pids.sort_unstable();
            options.tell(InitEvent::Abandoned { pids });
        }
    }

    /// Waits until nothing is left or the time is over, and looks after newcomers. Whether
    /// nothing is left.
    fn until(
        &mut self,
        deadline: Moment,
        options: &mut Options,
        mut look: impl FnMut(&Self),
    ) -> bool {
        loop {
            let wait = self.clock.until(deadline);
            if wait.is_zero() {
                return false;
            }
            let wait = match self.reach {
                Reach::Children | Reach::Everybody => wait,
                Reach::Group => wait.min(LOOK_INTERVAL),
            };
            match accept::next(Some(wait)) {
                None | Some(libc::SIGCHLD) => {}
                // Everything is being stopped already.
                Some(signal) => options.tell(InitEvent::Dropped { signal }),
            }
            if self.is_over(options) {
                return true;
            }
            look(self);
        }
    }

    /// Reaps whoever is dead. Whether there is nobody else.
    fn is_over(&mut self, options: &mut Options) -> bool {
        while let Some(death) = reap::peek() {
            reap::reap(death.pid);
            self.inherited.remove(&death.pid);
            let (pid, code) = (death.pid, exit_code(death.exit));
            options.tell(InitEvent::Reaped { pid, code });
        }
        match self.reach {
            Reach::Group => self.is_group_over(),
            Reach::Everybody => !children::has_any(),
            Reach::Children => {
                !children::has_any() || self.living().is_some_and(|left| left.is_empty())
            }
        }
    }

    /// Members may have become the zombies of somebody who does not reap.
    fn is_group_over(&self) -> bool {
        let number = self.group.number();
        let only_zombies = || living_groups().is_some_and(|living| !living.contains(&number));
        self.group.is_gone() || only_zombies()
    }

    fn bury_leader(&mut self, options: &mut Options) {
        self.group.pin();
        reap::reap(self.leader);
        self.group.leader_was_reaped();
        let (pid, code) = (self.leader, self.leader_code);
        options.tell(InitEvent::Ended { pid, code });
    }

    /// Everybody for the first time with this signal.
    fn signal_all(&self, signal: i32, told: &mut BTreeSet<i32>) {
        match self.reach {
            // It had its SIGTERM when the leader had died.
            Reach::Group if signal == libc::SIGTERM => {}
            Reach::Group => _ = self.group.signal(signal),
            Reach::Everybody => signal_everybody(signal),
            // Nobody escapes this by a fork.
            Reach::Children if signal == libc::SIGKILL && is_pid_1() => signal_everybody(signal),
            Reach::Children => self.signal_newcomers(signal, told),
        }
    }

    /// Children who were not told yet. Who is in the command's group has had its SIGTERM with
    /// the group, when the leader had died.
    fn signal_newcomers(&self, signal: i32, told: &mut BTreeSet<i32>) {
        if self.reach != Reach::Children {
            return;
        }
        let living = self.living().unwrap_or_default();
        // A number that was given back belongs to somebody new.
        told.retain(|pid| living.contains(pid));
        for pid in living {
            if !told.insert(pid) || signal == libc::SIGTERM && self.is_member(pid) {
                continue;
            }
            if self.is_member(pid) {
                // This child pins the number.
                self.group.signal(signal);
            }
            children::signal(pid, signal);
            if signal == libc::SIGTERM {
                children::signal(pid, libc::SIGCONT);
            }
        }
    }

    fn is_member(&self, pid: i32) -> bool {
        group_of(pid) == Some(self.group.number())
    }

    /// The children that are ours to signal; `None` if they cannot be found.
    fn living(&self) -> Option<Vec<i32>> {
        let mut children = children::of_this_process()?;
        children.retain(|pid| !self.inherited.contains(pid));
        Some(children)
    }
}

fn signal_everybody(signal: i32) {
    children::signal_everybody(signal);
    if signal == libc::SIGTERM {
        children::signal_everybody(libc::SIGCONT);
    }
}
