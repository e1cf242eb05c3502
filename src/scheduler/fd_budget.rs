//! The descriptor budget: whether RLIMIT_NOFILE leaves enough for all programs.
//!
//! A program holds a descriptor for each pipe that it writes to and for each log, one more with
//! [`Reap::Own`], and those by which its run says how it is. Programs that fit run. What does not
//! fit is reported before the start as a whole, and program by program when its start fails; it is
//! tried again like any failed start.

use std::os::fd::{AsFd, AsRawFd};

use nix::errno::Errno;

use crate::error::Error;
use crate::os::limits::{self, DescriptorLimit, Needs};
use crate::os::poller::Poller;

use super::Reap;

/// Descriptors for what comes and goes: a start, side commands, a look into `/proc`, the host's
/// own.
const SPARE: u64 = 32;

/// Descriptors that no pipe takes: a look into `/proc`, and a log that is opened again.
const LEFT_MIN: u64 = 4;

/// Descriptors that no program has to itself: those, and the other end of a pipe.
const SHARED_MIN: u64 = LEFT_MIN + 1;

/// How many times as many programs have to be left out before that is another warning.
const WARNED_AGAIN: u64 = 10;

/// What is to fit.
#[derive(Debug, Clone, Copy, Default)]
pub(super) struct Planned {
    pub programs: usize,
    /// Descriptors of their output.
    pub outputs: usize,
    /// Descriptors by which runs say how they are.
    pub signs: usize,
}

#[derive(Debug, Clone, Copy)]
pub(super) struct FdBudget {
    /// Descriptors that are open before the first start.
    in_use: u64,
    /// Descriptors of each program, whatever it is.
    per_program: u64,
    planned: Planned,
    limit: u64,
    may_raise: bool,
    /// How many programs did not fit at the last warning, or 0 if all fit since then.
    warned_of: u64,
}

impl FdBudget {
    /// Makes the budget of no programs.
    pub(super) fn new(reap: Reap, poller: &Poller, may_raise: bool) -> Self {
        Self {
            // A new descriptor gets the lowest free number, so that the number of a late one tells
            // how many there are.
            in_use: u64::try_from(poller.as_fd().as_raw_fd()).unwrap_or_default() + 1,
            per_program: match reap {
                Reap::All => 0,
                Reap::Own => 1,
            },
            planned: Planned::default(),
            limit: limits::descriptors(),
            may_raise,
            warned_of: 0,
        }
    }

    /// Plans for these programs, and raises the limit if it may. Returns the limit from before that.
    pub(super) fn plan_for(&mut self, planned: Planned) -> Option<DescriptorLimit> {
        self.planned = planned;
        let wanted = self.in_use + SPARE + self.of_programs() + planned.signs as u64;
        let raised = self.may_raise.then(|| limits::raise_descriptors(wanted));
        self.limit = limits::descriptors();
        raised.flatten()
    }

    fn needs(&self) -> Needs {
        Needs {
            descriptors: self.in_use + SHARED_MIN + self.of_programs() + self.planned.signs as u64,
            processes: self.programs() + 1,
        }
    }

    fn programs(&self) -> u64 {
        self.planned.programs as u64
    }

    /// Returns the descriptors that all programs hold, but for their signs.
    fn of_programs(&self) -> u64 {
        self.planned.outputs as u64 + self.programs() * self.per_program
    }

    /// True if hardly a descriptor is left after this one, the latest. The limit may have been
    /// raised since the start.
    fn is_almost_used_up(&self, latest: &impl AsRawFd) -> bool {
        let least = u64::try_from(latest.as_raw_fd()).unwrap_or_default() + LEFT_MIN;
        least >= self.limit && least >= limits::descriptors()
    }

    /// Refuses a descriptor, the latest, if hardly one is left after it.
    pub(super) fn check(&self, latest: &impl AsRawFd) -> Result<(), Errno> {
        match self.is_almost_used_up(latest) {
            true => Err(Errno::EMFILE),
            false => Ok(()),
        }
    }

    /// Returns how many programs fit; at least one, so that its lock shows a second supervisor with
    /// the same config that there is a first.
    pub(super) fn programs_that_fit(&self) -> usize {
        let fit = self.programs().saturating_sub(self.left_out()).max(1);
        usize::try_from(fit).unwrap_or(usize::MAX)
    }

    fn left_out(&self) -> u64 {
        let missing = self.needs().descriptors.saturating_sub(self.limit);
        // As if all had the same number.
        let each = self.of_programs() / self.programs().max(1);
        missing.div_ceil(each.max(1)).min(self.programs())
    }

    /// Returns a warning if not all programs fit. While that lasts, another comes only when far
    /// more do not.
    pub(super) fn take_shortage(&mut self) -> Option<Error> {
        let left_out = self.left_out();
        let is_worse = left_out > 0 && left_out >= self.warned_of.saturating_mul(WARNED_AGAIN);
        if is_worse || left_out == 0 {
            self.warned_of = left_out;
        }
        is_worse.then(|| {
            Error::new(format!(
                "RLIMIT_NOFILE={} is too low: about {left_out} of {} programs cannot start; need \
                 {} (ulimit -n, LimitNOFILE=)",
                self.limit,
                self.programs(),
                self.needs().descriptors
            ))
        })
    }

    /// Explains why the system refused something that a start needs.
    pub(super) fn explain(&self, what: &str, errno: i32) -> Error {
        Error::because(what, limits::explain(errno, self.needs()))
    }
}
