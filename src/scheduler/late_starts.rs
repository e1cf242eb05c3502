//! Late starts: those whose process has not executed its program yet.
//!
//! As a rule a start is over within a fraction of a millisecond, and is answered at once. One that
//! takes longer must not hold up anything: its process may have been stopped, be traced, or wait
//! for a file that another process has a lease on; or the machine is busy. It is asked again in
//! each turn, and after pauses that grow. Its run exists already, so that signals and its death
//! find it. What it writes waits in its pipes until it has executed the program.
//!
//! SIGSTOP cannot be blocked, and a SIGCONT to our own group misses a child that has left that group
//! in between. So a late child is continued.

use std::time::Duration;

use crate::error::Error;
use crate::machine::{Moment, ProgramId};
use crate::os::spawn::{Failure, Late, Spawner};

use super::capture::Ends;
use super::core::Core;

/// The pause after the first look, and the longest. In between it doubles.
const LOOK_PAUSE_MIN: Duration = Duration::from_millis(1);
const LOOK_PAUSE_MAX: Duration = Duration::from_millis(100);

/// The age from which on a late child is continued at each look.
const CONTINUED_AFTER: Duration = Duration::from_millis(100);

/// The age from which on it is worth a warning.
const WARNED_AFTER: Duration = Duration::from_secs(1);

/// How long a start is waited for, and so how long everything else may have to wait for it. An exec
/// takes a fifth of a millisecond, and longer where the processors are busy. While one is late,
/// others may soon be, and get less.
const WAIT: Duration = Duration::from_millis(50);
const WAIT_BESIDE_LATE: Duration = Duration::from_millis(5);

#[derive(Debug)]
struct LateStart {
    id: ProgramId,
    late: Late,
    /// Our ends of its pipes.
    ends: Ends,
    begun_at: Moment,
    next_look: Moment,
    pause: Duration,
    is_reported: bool,
}

impl LateStart {
    fn over(self, answer: Result<(), Failure>) -> Over {
        (self.id, self.ends, self.begun_at, self.late, answer)
    }

    fn attend(&mut self, now: Moment, core: &mut Core) {
        if now < self.next_look {
            return;
        }
        self.pause = (self.pause * 2).min(LOOK_PAUSE_MAX);
        self.next_look = now.after(self.pause);
        let age = now.since(self.begun_at);
        if age >= CONTINUED_AFTER
            && let Some(live) = core.programs().live(self.id)
        {
            live.group.signal(libc::SIGCONT);
        }
        if age >= WARNED_AFTER && !std::mem::replace(&mut self.is_reported, true) {
            let error = Error::new(format!(
                "start delayed: pid {} has not executed its program after {} s: it may be traced, \
                 or the file may not answer",
                self.late.pid(),
                WARNED_AFTER.as_secs()
            ));
            core.warn(self.id, error);
        }
    }
}

/// A start that is over: whose it was, our ends of its pipes, when it began, what the child may still
/// use, and how it ended.
pub(super) type Over = (ProgramId, Ends, Moment, Late, Result<(), Failure>);

#[derive(Debug, Default)]
pub(super) struct LateStarts(Vec<LateStart>);

impl LateStarts {
    pub(super) fn push(&mut self, id: ProgramId, late: Late, ends: Ends, now: Moment) {
        self.0.push(LateStart {
            id,
            late,
            ends,
            begun_at: now,
            next_look: now.after(LOOK_PAUSE_MIN),
            pause: LOOK_PAUSE_MIN,
            is_reported: false,
        });
    }

    pub(super) fn next_deadline(&self) -> Option<Moment> {
        self.0.iter().map(|start| start.next_look).min()
    }

    /// Returns how long the next start is waited for.
    pub(super) fn wait(&self) -> Duration {
        if self.0.is_empty() {
            WAIT
        } else {
            WAIT_BESIDE_LATE
        }
    }

    /// Returns one that is over, of those that are looked at, and attends to those before it.
    pub(super) fn next_over(
        &mut self,
        now: Moment,
        core: &mut Core,
        spawner: &mut Spawner,
        is_looked_at: impl Fn(&Core, ProgramId) -> bool,
    ) -> Option<Over> {
        for index in 0..self.0.len() {
            if !is_looked_at(core, self.0[index].id) {
                continue;
            }
            if let Some(answer) = self.0[index].late.poll(spawner) {
                return Some(self.0.swap_remove(index).over(answer));
            }
            self.0[index].attend(now, core);
        }
        None
    }

    /// Takes out that of a program whose process is dead.
    pub(super) fn take_dead(&mut self, id: ProgramId, spawner: &mut Spawner) -> Option<Over> {
        let index = self.0.iter().position(|start| start.id == id)?;
        let mut start = self.0.swap_remove(index);
        // An old kernel does not say that a child has left memory if it dumps core.
        let answer = start.late.poll(spawner).unwrap_or(Ok(()));
        Some(start.over(answer))
    }
}
