//! A prepared program in, a process out.
//!
//! The child shares our memory until its exec (`CLONE_VM`), on a stack of its own: nothing is
//! copied, however large the host is. But it is not waited for as after vfork(2), where anything
//! that stops the child before its exec (a signal, a tracer, a lease on the file) stops its parent
//! in the kernel, where no signal reaches it. It has a short time, which is plenty as a rule; one that takes
//! longer is [`Late`], and is asked again. What fails in the child is written
//! where we can read it, and the kernel says when the child has left our memory
//! (`CLONE_CHILD_CLEARTID`). Five things follow:
//!
//! - All signals are blocked around it, so that no handler of the host runs in the child and
//!   takes the host's variables for its own. The child sets every disposition to its default
//!   before it empties its mask.
//! - The child makes system calls and nothing else, without the C library; see [`child`].
//! - What it needs is in a [`Slot`](slot::Slot), which is given to no other child before it has
//!   left.
//! - A process that shares memory shares what hangs on it until its exec: a write to the
//!   `oom_score_adj` of one is a write to both, the killer of a system without memory ends both,
//!   and before Linux 5.16 a signal that dumps core ends both. So a score, or another user, for a
//!   child alone takes a copy. A debugger that follows forks takes the child for a copy, and takes
//!   its breakpoints out of our memory.
//! - When the child has left, the program has been executed, in its own group, or has failed:
//!   before that a signal to its group may miss it, and after it none can.
//!
//! Where many descriptors are open the child shares their table, too, for a moment; see [`table`].
//!
//! Not every system can do that. Where such a clone is refused the child is a copy, made by fork;
//! and some systems may not say when a child has left our memory. A child in a memory of its own
//! is heard through a pipe that its exec closes. What the system does is not known before the
//! first child has shown it, so that the first has the pipe as well.

mod attributes;
mod child;
mod closing;
mod late;
mod lists;
mod slot;
mod spawner;
mod table;

use std::ffi::{CStr, c_int};
use std::sync::Arc;
use std::time::Duration;

pub(crate) use self::late::Late;
pub(crate) use self::spawner::Spawner;
use super::limits::DescriptorLimit;
use super::raw;
use super::signal_queue::SignalSet;
use crate::cstr_list::CStrList;
use crate::spec::Attributes;

/// Visits each string of a list, in order.
pub(crate) type Each<'a> = &'a dyn Fn(&mut dyn FnMut(&CStr));

/// What to execute, and with what. Its strings are read once, when it is spawned.
pub(crate) struct Command<'a> {
    /// The files to try, in order; the first that can be executed is.
    pub(crate) candidates: CStrList,
    pub(crate) arguments: Each<'a>,
    pub(crate) variables: Each<'a>,
    /// The working directory of one in a session of its own.
    pub(crate) directory: &'a CStr,
    /// What one in a session of its own does not inherit from us.
    pub(crate) attributes: Option<&'a Arc<Attributes>>,
    pub(crate) place: Place,
    /// How long the child is waited for before it is late.
    pub(crate) wait: Duration,
}

/// Where a command runs, and what of ours it gets. The descriptors stay open until it is spawned.
#[derive(Debug, Clone, Copy)]
pub(crate) enum Place {
    /// In a session of its own, with every disposition default and with these things only.
    Apart {
        /// stdin, stdout, stderr; each numbered 3 or higher.
        stdio: [c_int; 3],
        /// The limit on descriptors, if it is not to be ours.
        limit: Option<DescriptorLimit>,
        /// One descriptor more.
        passed: Option<Passed>,
    },
    /// In our session, in a group of its own, with all that we were given ourselves.
    Inside {
        /// The terminal, if the command's group is to have it.
        terminal: Option<c_int>,
        /// The signals that it shall ignore.
        ignored: SignalSet,
    },
}

/// A descriptor of ours that a command gets under a number of its own.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Passed {
    /// 3 or higher.
    pub(crate) from: c_int,
    /// 3 or higher.
    pub(crate) to: c_int,
}

/// The step at which a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Step {
    Process,
    Session,
    Group,
    Limit,
    Attribute,
    Directory,
    Descriptors,
    Passed,
    Exec,
}

impl Step {
    /// In the order of their numbers.
    const ALL: [Self; 9] = [
        Self::Process,
        Self::Session,
        Self::Group,
        Self::Limit,
        Self::Attribute,
        Self::Directory,
        Self::Descriptors,
        Self::Passed,
        Self::Exec,
    ];
}

/// A child, or word of one.
pub(crate) enum Started {
    /// The program has been executed; this is its pid.
    Executed(i32),
    /// There is a process, which has not executed the program yet.
    Late(Late),
}

/// Why there is no process.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Failure {
    pub(crate) step: Step,
    pub(crate) errno: i32,
    /// Which of the candidates it was that could not be executed, which number a descriptor could not
    /// get, or the number of the attribute that was refused.
    pub(crate) which: usize,
}

impl Failure {
    fn new(step: Step, errno: i32) -> Self {
        Self {
            step,
            errno,
            which: 0,
        }
    }

    /// As the child tells it.
    fn to_numbers(self) -> [usize; 3] {
        [self.step as usize, raw::int(self.errno), self.which]
    }

    fn of_numbers([step, errno, which]: [usize; 3]) -> Self {
        Self {
            step: Step::ALL.get(step).copied().unwrap_or(Step::Exec),
            errno: i32::try_from(errno).unwrap_or_default(),
            which,
        }
    }
}
