//! Room: whether the limits of the system leave enough for all programs.
//!
//! A program holds one descriptor for its stderr (two with [`Reap::Own`]), and as a rule one
//! for its log. Where they do not fit, logs go without first. What fits then runs; what does
//! not is told before the start as a whole, and program by program when its start fails, and is
//! tried again like any failed start.

use std::os::fd::{AsFd, AsRawFd};

use crate::error::Error;
use crate::event::EventKind;
use crate::os::limits::{self, DescriptorLimit, Needs};
use crate::os::watch::Watch;

use super::{ProcessScheduler, Reap};

/// Descriptors for what comes and goes: a start in the making, commands that handle reports, a
/// look into `/proc`, the host's own.
const DESCRIPTORS_TO_SPARE: u64 = 32;

/// Descriptors that no pipe is made of: a log to be opened and a look into `/proc`.
const DESCRIPTORS_LEFT_MIN: u64 = 4;

/// What no program has to itself: those, the log that stays open, and the other end of a pipe.
const DESCRIPTORS_BESIDE_MIN: u64 = DESCRIPTORS_LEFT_MIN + 2;

/// What there is room for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Room {
    pub(super) needs: Needs,
    /// How many descriptors there should be before a log keeps one.
    before_logs: u64,
    /// How many descriptors a program holds without its log.
    per_program: u64,
    programs: u64,
    limit: u64,
}

impl Room {
    /// Counts, and raises the limit first if it may. Also returns what that was then.
    pub(super) fn make(
        programs: usize,
        reap: Reap,
        watch: &Watch,
        may_raise: bool,
    ) -> (Self, Option<DescriptorLimit>) {
        let programs = programs as u64;
        let per_program = match reap {
            Reap::All => 1,
            Reap::Own => 2,
        };
        // A new descriptor gets the lowest number that is free, so that the number of a late
        // one tells how many there are.
        let in_use = u64::try_from(watch.as_fd().as_raw_fd()).unwrap_or_default() + 1;
        let spare = in_use + DESCRIPTORS_TO_SPARE;
        let before = if may_raise {
            limits::raise_descriptors(spare + programs * (per_program + 1))
        } else {
            None
        };
        let beside = in_use + DESCRIPTORS_BESIDE_MIN;
        let room = Self {
            needs: Needs {
                descriptors: beside + programs * per_program,
                processes: programs + 1,
            },
            before_logs: spare + programs * per_program,
            per_program,
            programs,
            limit: limits::descriptors(),
        };
        (room, before)
    }

    /// Whether hardly a descriptor is left after this one, the latest. The limit may have been
    /// raised since the start.
    pub(super) fn is_almost_used_up(&self, latest: &impl AsRawFd) -> bool {
        let least = u64::try_from(latest.as_raw_fd()).unwrap_or_default() + DESCRIPTORS_LEFT_MIN;
        least >= self.limit && least >= limits::descriptors()
    }

    /// How many logs may stay open.
    pub(super) fn logs(&self) -> u64 {
        self.limit.saturating_sub(self.before_logs)
    }

    /// What does not fit, if something does not.
    fn shortage(&self) -> Option<Error> {
        let least = self.needs.descriptors;
        let missing = least.saturating_sub(self.limit);
        let left_out = missing.div_ceil(self.per_program).min(self.programs);
        (left_out > 0).then(|| {
            Error::new(format!(
                "RLIMIT_NOFILE is {}, which leaves no room for about {left_out} of {} programs: they \
                 are tried again and again; {least} are needed, {} to keep all logs open (ulimit \
                 -n, or LimitNOFILE= in a unit of systemd, sets it)",
                self.limit,
                self.programs,
                self.before_logs + self.programs
            ))
        })
    }
}

impl ProcessScheduler {
    /// Lets the logs go without a descriptor that there is none for, and says what does not fit
    /// even so.
    pub(super) fn fit_in(&mut self) {
        let logs = usize::try_from(self.room.logs()).unwrap_or(usize::MAX);
        // One at least stays locked, so that a second supervisor with the same config is told.
        for program in self.programs.iter_mut().skip(logs.max(1)) {
            program.log.be_lean();
        }
        if let Some(error) = self.room.shortage() {
            self.own_event(EventKind::Warning { error });
        }
    }

    /// Why the system refused something that a start needs.
    pub(super) fn refusal(&self, what: &str, errno: i32) -> Error {
        Error::because(what, limits::explain(errno, self.room.needs))
    }
}
