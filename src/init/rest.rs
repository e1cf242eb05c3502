//! After the command: sends SIGTERM, then SIGKILL, to the rest of its group and to the orphans, and
//! reaps them.
//!
//! A pid is signalled only while it cannot be reused: that of a child until its reap, that of the
//! group while a child is in it. Other descendants are reparented to this process when their
//! parent dies.
//!
//! There may be new orphans faster than they can be reaped. No deadline waits for them: they are
//! reaped in batches, and scans of all children take a tenth of the time at most.
//!
//! A zombie that another process traces cannot be reaped before its tracer waits for it. Nothing
//! waits for it here.

use std::collections::BTreeSet;
use std::time::Duration;

use crate::error::Error;
use crate::machine::Moment;
use crate::os::children;
use crate::os::clock::Clock;
use crate::os::group::{Group, Sent};
use crate::os::reap::{self, Seen};
use crate::os::signal_queue;
use crate::os::stat::zombies_only;
use crate::os::subreaper::is_pid_1;
use crate::signal::signal_name;

use super::reaping::{CHECK_INTERVAL, Reaped, reap_batch};
use super::{InitEvent, Options};

/// The time from the command's exit to SIGKILL for the rest.
const GRACE: Duration = Duration::from_secs(2);

/// The time from the first forwarded SIGTERM to SIGKILL for everything.
const STOP_TIMEOUT: Duration = Duration::from_secs(10);

/// How long processes may exist after SIGKILL before they are abandoned.
const DEATH_TIME_MAX: Duration = Duration::from_secs(5);

/// The pause between two scans, in multiples of the first one's time.
const SCAN_PAUSE: u32 = 10;

/// The time to the next scan without a SIGCHLD: the death of a traced child is reported to its
/// tracer.
const SILENT_SCAN_INTERVAL: Duration = Duration::from_millis(250);

/// Which processes can be signalled.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Reach {
    /// All children.
    Children,
    /// Every process at once: PID 1 without `/proc`.
    All,
    /// The command's group.
    Group,
}

/// What is left after the command.
pub(super) struct Rest {
    /// The command's group, whose ID is its pid.
    pub(super) group: Group,
    reach: Reach,
    /// The children from before, which only PID 1 signals.
    inherited: BTreeSet<i32>,
    clock: Clock,
    /// When everything is killed, once a SIGTERM was forwarded.
    pub(super) kill_at: Option<Moment>,
    /// The children that were sent the current signal.
    signalled: BTreeSet<i32>,
    /// The children that this process may not signal.
    refused: BTreeSet<i32>,
}

/// Returns why only the command's group can be stopped.
pub(super) fn no_list() -> Error {
    let what = "failed to list child processes in \"/proc\"";
    let reason = "what leaves the command's group is reaped, but not stopped at the end";
    Error::because(what, reason)
}

impl Rest {
    pub(super) fn new(command: i32, reach: Reach, inherited: BTreeSet<i32>) -> Self {
        Self {
            group: Group::new(command),
            reach,
            inherited,
            clock: Clock::new(),
            kill_at: None,
            signalled: BTreeSet::new(),
            refused: BTreeSet::new(),
        }
    }

    /// Notes that a SIGTERM is forwarded.
    pub(super) fn note_asked(&mut self) {
        let kill_at = self.clock.now().after(STOP_TIMEOUT);
        self.kill_at.get_or_insert(kill_at);
    }

    /// True if the command was asked to end, and its time is over.
    pub(super) fn is_overdue(&self) -> bool {
        self.kill_at
            .is_some_and(|at| self.clock.until(at).is_zero())
    }

    /// Stops it after the command, a zombie with this exit code. Returns when nothing is left, or
    /// the rest survives SIGKILL.
    pub(super) fn end(&mut self, code: u8, options: &mut Options) {
        let exit_at = self.clock.now();
        if self.reach != Reach::All {
            // While the unreaped leader keeps the group ID from being reused.
            self.group.signal(libc::SIGTERM);
            self.group.signal(libc::SIGCONT);
        }
        self.reap_leader(code, options);
        let limit = exit_at.after(GRACE);
        let kill_at = self.kill_at.map_or(limit, |at| at.min(limit));
        let give_up_at = kill_at.max(exit_at).after(DEATH_TIME_MAX);

        if self.reap(None, options) == Reaped::All && self.is_over() {
            return;
        }
        options.emit(InitEvent::Stopping);
        if self.until(kill_at, libc::SIGTERM, options) {
            return;
        }
        options.emit(InitEvent::Killed);
        if !self.until(give_up_at, libc::SIGKILL, options) {
            self.abandon(options);
        }
    }

    /// Sends this signal to everything that is left, and to new orphans, until the deadline. True if
    /// nothing is left.
    fn until(&mut self, deadline: Moment, signal: i32, options: &mut Options) -> bool {
        self.signalled.clear();
        self.signal_all(signal);
        let (mut scan_wanted, mut next_scan) = (true, self.clock.now());
        loop {
            let left = self.reap(None, options);
            if left == Reaped::All && self.is_over() {
                return true;
            }
            if scan_wanted && self.clock.until(next_scan).is_zero() {
                let start = self.clock.now();
                if self.scan(signal, options) {
                    return true;
                }
                let end = self.clock.now();
                next_scan = end.after(end.since(start) * SCAN_PAUSE);
                scan_wanted = false;
            }
            let mut wait = self.clock.until(deadline);
            if wait.is_zero() {
                return false;
            }
            if let Some(pause) = left.pause() {
                wait = wait.min(pause);
            }
            let scan_at = match scan_wanted {
                true => next_scan,
                false => next_scan.after(SILENT_SCAN_INTERVAL),
            };
            wait = wait.min(self.clock.until(scan_at));
            if self.reach == Reach::Group {
                wait = wait.min(CHECK_INTERVAL);
            }
            match signal_queue::next(Some(wait)).map(|taken| taken.signal) {
                None => scan_wanted |= self.clock.until(scan_at).is_zero(),
                Some(libc::SIGCHLD) => scan_wanted = true,
                // Everything is being stopped already.
                Some(signal) => options.emit(InitEvent::Dropped { signal }),
            }
        }
    }

    /// Reaps dead children up to `kept`.
    pub(super) fn reap(&mut self, kept: Option<i32>, options: &mut Options) -> Reaped {
        reap_batch(kept, options, |pid| {
            for pids in [&mut self.inherited, &mut self.signalled, &mut self.refused] {
                pids.remove(&pid);
            }
        })
    }

    /// True if nothing is left, as far as is known without a scan.
    fn is_over(&self) -> bool {
        match self.reach {
            Reach::Group => self.is_group_over(),
            Reach::All | Reach::Children => !reap::has_children(),
        }
    }

    /// True if the group is gone, or has only zombies that their parent does not reap.
    fn is_group_over(&self) -> bool {
        let number = BTreeSet::from([self.group.number()]);
        let is_zombies_only =
            || zombies_only(&number, false).is_some_and(|groups| groups == number);
        self.group.is_gone() || is_zombies_only()
    }

    fn reap_leader(&mut self, code: u8, options: &mut Options) {
        let pid = self.group.number();
        self.group.pin();
        reap::reap(pid);
        self.group.on_leader_reaped();
        options.emit(InitEvent::Ended { pid, code });
    }

    /// Sends this signal to the processes for which no scan is needed.
    fn signal_all(&self, signal: i32) {
        match self.reach {
            // The group was sent SIGTERM before the leader's reap.
            Reach::Group if signal == libc::SIGTERM => {}
            Reach::Group => _ = self.group.signal(signal),
            Reach::All => signal_all_processes(signal),
            // No process can escape this by a fork.
            Reach::Children if signal == libc::SIGKILL && is_pid_1() => {
                signal_all_processes(signal)
            }
            Reach::Children => {}
        }
    }

    /// Signals the children that were not signalled yet. True if none is left that this signal
    /// could end.
    fn scan(&mut self, signal: i32, options: &mut Options) -> bool {
        if self.reach != Reach::Children {
            return false;
        }
        let Some(living) = self.living() else {
            self.scan_failed(signal, options);
            return false;
        };
        let mut is_group_signalled = false;
        for &pid in &living {
            if !self.signalled.insert(pid) {
                continue;
            }
            let is_member = children::group_of(pid) == Some(self.group.number());
            if is_member && signal == libc::SIGTERM {
                // It was sent that with the group, before the leader's reap.
                continue;
            }
            if is_member && !is_group_signalled {
                // This child keeps the group ID from being reused.
                self.group.signal(signal);
                is_group_signalled = true;
            }
            self.signal_child(pid, signal, options);
        }
        let is_refused = |pid: &i32| signal == libc::SIGKILL && self.refused.contains(pid);
        let is_over = |pid: &i32| is_refused(pid) || children::is_withheld_zombie(*pid);
        // A child that died since the list was made may have left new orphans.
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

    /// Handles a `/proc` that was unmounted, or that cannot be read for lack of a descriptor.
    fn scan_failed(&mut self, signal: i32, options: &mut Options) {
        if is_pid_1() {
            self.reach = Reach::All;
        } else {
            self.reach = Reach::Group;
            options.warn(no_list());
        }
        self.signal_all(signal);
    }

    /// Returns the children that may be signalled; `None` if they cannot be listed.
    fn living(&self) -> Option<Vec<i32>> {
        let mut children = children::of_this_process()?;
        children.retain(|pid| !self.inherited.contains(pid));
        Some(children)
    }

    /// Emits which processes survived SIGKILL, without zombies and those named in a warning.
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
            options.emit(InitEvent::Abandoned { pids });
        }
    }
}

fn signal_all_processes(signal: i32) {
    children::signal_all(signal);
    if signal == libc::SIGTERM {
        children::signal_all(libc::SIGCONT);
    }
}
