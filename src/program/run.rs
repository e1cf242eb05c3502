//! One run of a program, from its start until nothing is left of its process group.

use std::time::Duration;

use crate::callbacks::Lines;
use crate::error::Error;
use crate::machine::{Moment, Restart, Run};
use crate::os::group::Group;
use crate::os::tail::Tail;
use crate::report::ErrorReport;

/// The delay between two probes of a group: the first, and the longest. In between it doubles.
const PROBE_DELAY_MIN: Duration = Duration::from_millis(1);
const PROBE_DELAY_MAX: Duration = Duration::from_millis(100);

/// From this delay between probes on, a group may consist of zombies that another process does not
/// reap: 7 ms after its leader was reaped. As a rule the members killed with their leader are
/// reaped earlier, so that an ordinary restart costs no look into `/proc`.
const SUSPECT_DELAY_MIN: Duration = Duration::from_millis(16);

/// How long after an accepted SIGKILL a group that still answers counts as one of zombies where
/// `/proc` cannot tell.
const ZOMBIES_ASSUMED_AFTER: Duration = Duration::from_secs(1);

/// How long after an accepted SIGKILL a warning says that the group still exists.
const DELAY_REPORTED_AFTER: Duration = Duration::from_secs(5);

/// A run that may have processes.
pub(crate) struct LiveRun {
    pub(crate) run: Run,
    pub(crate) group: Group,
    /// True if a descriptor reports its leader's death.
    pub(crate) is_watched: bool,
    /// True if the machine knows of its leader's death; the zombie may still exist.
    pub(crate) leader_dead: bool,
    /// True if it was up when its leader died.
    pub(crate) was_up: bool,
    /// True until its process has executed the program.
    pub(crate) is_launching: bool,
    pub(crate) log_offset: u64,
    pub(crate) started_at: Moment,
    /// The last bytes that it wrote. It outlives the pipe, whose end may be seen before the death.
    /// At the death it goes to the report; bytes that come later belong to no run.
    pub(crate) tail: Tail,
    exit: Option<Box<ExitTracking>>,
}

/// What is tracked of a run whose group was signalled, or is probed.
pub(crate) struct ExitTracking {
    /// When its SIGKILL was accepted.
    killed_at: Option<Moment>,
    /// True if a warning about a refused signal was written; the second, about a refused SIGKILL.
    pub(crate) refusal_reported: bool,
    pub(crate) kill_refusal_reported: bool,
    delay_reported: bool,
    probe_at: Moment,
    probe_delay: Duration,
}

impl Default for ExitTracking {
    fn default() -> Self {
        Self {
            killed_at: None,
            refusal_reported: false,
            kill_refusal_reported: false,
            delay_reported: false,
            probe_at: Moment::default(),
            probe_delay: PROBE_DELAY_MIN,
        }
    }
}

/// The end of a run. Its report waits until the pipe was drained.
pub(crate) struct ExitRecord {
    /// Without the last bytes.
    pub(crate) report: ErrorReport,
    /// True if it ended in another way than it was asked to.
    pub(crate) has_failed: bool,
    /// True if it was up before.
    pub(crate) was_up: bool,
    /// What it was ended for, if it neither ended by itself nor was asked to.
    pub(crate) fault: Option<String>,
    pub(crate) restart: Restart,
    /// Why it is not restarted, if its policy alone does not say it.
    pub(crate) reason: Option<String>,
    /// Complete when the pipe has been drained.
    pub(crate) tail: Tail,
    /// The same of stdout, if it passes through us.
    pub(crate) stdout_tail: Option<Tail>,
    /// What it wrote at last and goes to the host, before its end is reported.
    pub(crate) lines: Vec<Lines>,
}

/// A failed start, to be reported.
pub(crate) struct FailedStart {
    pub(crate) return_code: i32,
    pub(crate) error: Error,
    pub(crate) log_offset: u64,
}

impl LiveRun {
    pub(crate) fn new(run: Run, group: Group, log_offset: u64, now: Moment, tail: Tail) -> Self {
        Self {
            tail,
            run,
            group,
            is_watched: false,
            leader_dead: false,
            was_up: false,
            is_launching: false,
            log_offset,
            started_at: now,
            exit: None,
        }
    }

    pub(crate) fn exit(&mut self) -> &mut ExitTracking {
        self.exit.get_or_insert_default()
    }

    /// Returns the number of its leader and its group.
    pub(crate) fn pid(&self) -> i32 {
        self.group.number()
    }

    /// Returns when its SIGKILL was accepted, if it was sent.
    pub(crate) fn killed_at(&self) -> Option<Moment> {
        self.exit.as_ref()?.killed_at
    }

    /// Returns the last bytes that it wrote, for the report; none are kept from now on.
    pub(crate) fn take_tail(&mut self) -> Tail {
        std::mem::replace(&mut self.tail, Tail::new(0))
    }

    /// Returns when to probe its group next, if there is something to find out.
    pub(crate) fn next_probe(&self) -> Option<Moment> {
        let exit = self.exit.as_ref();
        let is_dying = !self.leader_dead && self.killed_at().is_some();
        let is_probed = self.group.is_leader_reaped() || is_dying;
        is_probed.then(|| exit.map_or(Moment::default(), |exit| exit.probe_at))
    }

    /// Sets when to probe again, if a probe was due.
    pub(crate) fn put_off_probe(&mut self, now: Moment) {
        let exit = self.exit();
        if now >= exit.probe_at {
            exit.probe_at = now.after(exit.probe_delay);
            exit.probe_delay = (exit.probe_delay * 2).min(PROBE_DELAY_MAX);
        }
    }

    /// True if its group has answered without a leader for so long that it may consist of zombies.
    pub(crate) fn may_be_zombies(&self) -> bool {
        self.group.is_leader_reaped() && self.has_answered_long()
    }

    /// True if it was probed several times and still exists.
    pub(crate) fn has_answered_long(&self) -> bool {
        let exit = self.exit.as_ref();
        exit.is_some_and(|exit| exit.probe_delay >= SUSPECT_DELAY_MIN)
    }

    /// Records a SIGKILL that was accepted. Its group is probed from now on.
    pub(crate) fn was_killed(&mut self, now: Moment) {
        let exit = self.exit();
        if exit.killed_at.is_none() {
            exit.killed_at = Some(now);
            exit.probe_at = exit.probe_at.max(now.after(PROBE_DELAY_MIN));
        }
    }

    /// True if its group answers long after its SIGKILL.
    pub(crate) fn is_overdue(&self, now: Moment) -> bool {
        let is_late = |at: Moment| now.since(at) >= ZOMBIES_ASSUMED_AFTER;
        self.group.is_leader_reaped() && self.killed_at().is_some_and(is_late)
    }

    /// Returns a warning that its group has survived SIGKILL, once, after a while.
    pub(crate) fn take_delay_warning(&mut self, now: Moment) -> Option<Error> {
        let group = self.group.number();
        let exit = self.exit.as_mut()?;
        let killed_at = exit.killed_at?;
        if exit.delay_reported || now.since(killed_at) < DELAY_REPORTED_AFTER {
            return None;
        }
        exit.delay_reported = true;
        Some(Error::new(format!(
            "process group {group} still exists after SIGKILL"
        )))
    }
}
