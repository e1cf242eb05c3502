//! A prepared program in, a process out.
//!
//! The child shares our memory until its exec (`CLONE_VM`), on a stack of its own: nothing is
//! copied, however large the host is. But it is not waited for as after vfork(2), where anything
//! that stops the child before its exec (a signal, a tracer, a lease on the file) stops its parent
//! in the kernel, deaf to every signal. It has a short time ([`LAUNCH_WAIT`]), which is plenty as a
//! rule; one that takes longer is [`Late`], and is asked again. What fails in the child is written
//! where we can read it, and the kernel says when the child has left our memory
//! (`CLONE_CHILD_CLEARTID`). Five things follow:
//!
//! - All signals are blocked around it, so that no handler of the host runs in the child and
//!   takes the host's variables for its own. The child sets every disposition to its default
//!   before it empties its mask.
//! - The child makes system calls and nothing else, without the C library; see [`child`].
//! - What it needs is in a [`Slot`], which is nobody else's until it has left.
//! - A process that shares memory shares what hangs on it: if somebody writes to the
//!   `oom_score_adj` of one, both have it, and the killer of a system without memory ends both.
//!   That is over with the exec. So whoever wants a score, or another user, for a child alone
//!   has to make a copy.
//! - When the child has left, the program has been executed, in its own group, or has failed:
//!   before that a signal to its group may miss it, and after it none can.
//!
//! Where many descriptors are open the child shares their table, too, for a moment; see [`table`].
//!
//! Not every system can do that. Where such a clone is refused the child is a copy, made by fork;
//! and some systems may not say when a child has left our memory. A child in a memory of its own
//! is heard through a pipe that its exec closes. What the system does is not known before the
//! first child has shown it, so that the first has the pipe as well.

mod child;
mod closing;
mod late;
mod lists;
mod slot;
mod stack;
mod table;

use std::ffi::{CStr, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use self::child::{Said, Word};
use self::late::Answer;
pub(crate) use self::late::Late;
use self::slot::Slot;
use self::table::{Cut, Table};
use super::accept::{SignalSet, set_mask};
use super::limits::DescriptorLimit;
use super::pause::pause;
use super::reap::{self, Seen};
use super::{descriptors, raw};
use crate::error::{Error, errno_text};

/// How long a start may hold up everything else. An exec takes a fifth of a millisecond.
const LAUNCH_WAIT: Duration = Duration::from_millis(2);

/// How often, and how long after each other, it is looked whether a child that failed is dead.
const BURIAL_LOOKS_MAX: u32 = 20;
const BURIAL_PAUSE: Duration = Duration::from_micros(50);

/// What to execute, and with what.
pub(crate) struct Command<'a, Candidates, Argv, Env> {
    /// The files to try, in order; the first that can be executed is.
    pub(crate) candidates: Candidates,
    pub(crate) argv: Argv,
    pub(crate) env: Env,
    pub(crate) place: Place<'a>,
}

/// Where a command runs, and what of ours it gets. Nothing in it has a destructor.
pub(crate) enum Place<'a> {
    Apart(Apart<'a>),
    Inside(Inside<'a>),
}

/// In a session of its own, with every disposition default and with these things only.
pub(crate) struct Apart<'a> {
    pub(crate) cwd: &'a CStr,
    /// stdin, stdout, stderr; each numbered 3 or higher.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// The limit on descriptors, if it is not to be ours.
    pub(crate) limit: Option<DescriptorLimit>,
}

/// In our session, in a group of its own, with all that we were given ourselves.
pub(crate) struct Inside<'a> {
    /// The terminal, if the command's group is to have it.
    pub(crate) terminal: Option<BorrowedFd<'a>>,
    /// The signals that it shall ignore.
    pub(crate) ignored: SignalSet,
}

/// The step at which a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Step {
    Process,
    Session,
    Group,
    Limit,
    Directory,
    Descriptors,
    Exec,
}

impl Step {
    const ALL: [Self; 7] = [
        Self::Process,
        Self::Session,
        Self::Group,
        Self::Limit,
        Self::Directory,
        Self::Descriptors,
        Self::Exec,
    ];

    fn of_number(number: i32) -> Self {
        let is_it = |step: &&Self| **step as i32 == number;
        Self::ALL.iter().find(is_it).copied().unwrap_or(Self::Exec)
    }
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
    /// Which of the candidates it was that could not be executed.
    pub(crate) candidate: usize,
}

impl Failure {
    fn new(step: Step, errno: i32) -> Self {
        Self {
            step,
            errno,
            candidate: 0,
        }
    }

    /// As it goes through a pipe.
    fn to_numbers(self) -> [usize; 3] {
        [self.step as usize, raw::int(self.errno), self.candidate]
    }

    fn of_numbers([step, errno, candidate]: [usize; 3]) -> Self {
        let number = |number: usize| i32::try_from(number).unwrap_or_default();
        Self {
            step: Step::of_number(number(step)),
            errno: number(errno),
            candidate,
        }
    }
}

/// What is known of a child's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// No child has shown yet that it is ours.
    Unknown,
    Shared,
    /// The system refuses to share it, or does not say when the child has left it.
    Refused,
}

/// How a child is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    SharingTable(Cut),
    SharingMemory,
    Copying,
}

/// One try to make a child. An error is that the system refuses this way, for this errno; the
/// slot is for the next.
type Tried = Result<Result<Started, Failure>, (Slot, c_int)>;

/// Makes processes.
pub(crate) struct Spawner {
    /// The place of the next child; one that is late takes it along.
    slot: Option<Slot>,
    /// Set if what is started here may get a table of its own.
    table: Option<Table>,
    /// A late child that may still need what it was lent of the table.
    lent_to: Option<Arc<Said>>,
    memory: Memory,
    /// How a child is made that shares our memory. The tests do as an emulator does.
    flags: c_int,
    warning: Option<Error>,
    /// Children that failed before their exec and were not dead yet when that was told.
    unreaped: Vec<i32>,
}

impl Spawner {
    /// `null` keeps the place of what is lent to a child: without it each start costs what a copy
    /// of all our descriptors costs. To be made early, while low numbers are free.
    pub(crate) fn new(null: Option<Arc<OwnedFd>>) -> Result<Self, Errno> {
        let is_sharing = raw::IS_DIRECT && !is_under_valgrind();
        Ok(Self {
            slot: Some(Slot::new()?),
            table: null.map(Table::new).transpose()?,
            lent_to: None,
            memory: if is_sharing {
                Memory::Unknown
            } else {
                Memory::Refused
            },
            flags: libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID,
            warning: None,
            unreaped: Vec::new(),
        })
    }

    /// Runs the command. Its pid is the number of its group.
    pub(crate) fn spawn<'a>(
        &mut self,
        command: Command<
            'a,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
        >,
    ) -> Result<Started, Failure> {
        let no_room = |errno: Errno| Failure::new(Step::Process, errno as i32);
        let slot = self.slot.take().map_or_else(Slot::new, Ok);
        let mut slot = slot.map_err(no_room)?;
        let place = command.place;
        slot.fill(command.candidates, command.argv, command.env, &place);
        self.start(slot, &place)
    }

    /// What the host should know of the way in which programs are started here; told once.
    pub(crate) fn take_warning(&mut self) -> Option<Error> {
        self.warning.take()
    }

    /// Reaps those that failed before their exec and have died since.
    pub(crate) fn reap_failed(&mut self) {
        self.unreaped.retain(|&pid| is_there(pid));
    }

    /// True if this is a child that failed before its exec and is not reaped yet.
    pub(crate) fn has_failed(&self, pid: i32) -> bool {
        self.unreaped.contains(&pid)
    }

    /// Takes note of the death of a child that failed before its exec. False if it is none.
    pub(crate) fn forget_failed(&mut self, pid: i32) -> bool {
        let before = self.unreaped.len();
        self.unreaped.retain(|&unreaped| unreaped != pid);
        self.unreaped.len() < before
    }

    /// In the best way that the system allows.
    fn start(&mut self, slot: Slot, place: &Place<'_>) -> Result<Started, Failure> {
        let slot = match self.start_sharing_table(slot, place) {
            Ok(started) => return started,
            Err((slot, _)) => slot,
        };
        let (slot, refused) = match self.start_sharing_memory(slot, place) {
            Ok(started) => return started,
            Err(refused) => refused,
        };
        match self.start_as(Way::Copying, slot, place, numbers(place)) {
            Ok(started) => {
                // Where a copy cannot be made either, it was not for the sharing.
                if refused != 0 {
                    self.memory = Memory::Refused;
                    self.warning = Some(cannot_share_memory(refused));
                }
                started
            }
            Err((_, errno)) => Err(Failure::new(Step::Process, errno)),
        }
    }

    /// Refused with no errno if that does not pay, or is known to be impossible.
    fn start_sharing_table(&mut self, slot: Slot, place: &Place<'_>) -> Tried {
        self.take_back();
        let mut stdio = numbers(place);
        let is_for_it = self.memory == Memory::Shared && self.lent_to.is_none();
        let is_for_it = is_for_it && matches!(place, Place::Apart(_));
        let table = self.table.as_mut().filter(|_| is_for_it);
        let Some(cut) = table.and_then(|table| table.lend(&mut stdio)) else {
            return Err((slot, 0));
        };
        self.lent_to = Some(slot.said().clone());
        let tried = self.start_as(Way::SharingTable(cut), slot, place, stdio);
        if tried.is_err() {
            self.lent_to = None;
            self.table.iter_mut().for_each(Table::refuse);
        }
        tried
    }

    /// Refused with no errno if that is known already.
    fn start_sharing_memory(&mut self, slot: Slot, place: &Place<'_>) -> Tried {
        if self.memory == Memory::Refused || matches!(place, Place::Inside(_)) {
            return Err((slot, 0));
        }
        self.start_as(Way::SharingMemory, slot, place, numbers(place))
    }

    fn start_as(
        &mut self,
        way: Way,
        mut slot: Slot,
        place: &Place<'_>,
        stdio: [c_int; 3],
    ) -> Tried {
        let is_heard = self.memory == Memory::Shared && way != Way::Copying;
        let (read, write) = match is_heard {
            true => (None, None),
            false => match wire() {
                Ok((read, write)) => (Some(read), Some(write)),
                Err(failure) => return Ok(Err(failure)),
            },
        };
        let cut = match way {
            Way::SharingTable(cut) => Some(cut),
            Way::SharingMemory | Way::Copying => None,
        };
        let wire = write.as_ref().map(AsRawFd::as_raw_fd);
        let child = slot.prepare(place, stdio, cut, wire);
        let pid = match self.make(way, &slot, child) {
            Ok(pid) => pid,
            Err(errno) if is_refusal(errno) => return Err((slot, errno)),
            Err(errno) => {
                self.keep(slot);
                return Ok(Err(Failure::new(Step::Process, errno)));
            }
        };
        drop(write);
        let late = Late::new(pid, way, slot, read);
        late.wait(LAUNCH_WAIT);
        self.settle(late)
    }

    /// What has become of a child by now.
    fn settle(&mut self, late: Late) -> Tried {
        let Some(answer) = late.ask(self) else {
            return Ok(Ok(Started::Late(late)));
        };
        let pid = late.pid();
        match answer {
            Answer::Executed => {
                if let Way::SharingTable(cut) = late.way() {
                    self.table
                        .iter_mut()
                        .for_each(|table| table.has_worked(cut));
                }
                self.keep_of(late);
                Ok(Ok(Started::Executed(pid)))
            }
            Answer::Failed(failure) => {
                self.bury(pid);
                self.keep_of(late);
                Ok(Err(failure))
            }
            Answer::TableKept(errno) => {
                self.bury(pid);
                self.take_back();
                match late.into_slot() {
                    Some(slot) => Err((slot, errno)),
                    None => Ok(Err(Failure::new(Step::Process, errno))),
                }
            }
        }
    }

    /// Makes the process, and nothing else while signals are blocked. The error is an errno.
    fn make(&self, way: Way, slot: &Slot, child: *mut c_void) -> Result<c_int, c_int> {
        let flags = match way {
            Way::SharingTable(_) => self.flags | libc::CLONE_FILES,
            Way::SharingMemory | Way::Copying => self.flags,
        };
        let before = set_mask(libc::SIG_SETMASK, &SignalSet::FULL);
        // SAFETY: stack, child and number are parts of a slot, which is kept until the child has
        // left our memory; a copy has its own.
        let made = unsafe {
            if way == Way::Copying {
                fork().map(|pid| if pid == 0 { child::main(child) } else { pid })
            } else {
                // SIGCHLD is what the child sends at its end, as after fork.
                let flags = flags | libc::SIGCHLD;
                let tid = slot.said().tid.as_ptr();
                raw::clone_sharing(flags, slot.stack_top(), tid, child::main, child)
            }
        };
        set_mask(libc::SIG_SETMASK, &before);
        made
    }

    /// A first child has told how it is with our memory: `None` if it has not.
    fn learn(&mut self, is_shared: Option<bool>) {
        if let Some(is_shared) = is_shared.filter(|_| self.memory == Memory::Unknown) {
            self.memory = if is_shared {
                Memory::Shared
            } else {
                Memory::Refused
            };
        }
    }

    /// Takes back what was lent of the table, if the child that it was lent to needs it no more.
    fn take_back(&mut self) {
        let needs_it = |said: &Arc<Said>| !said.has_left() && said.heard() == Word::Nothing;
        if self.lent_to.take_if(|said| !needs_it(said)).is_some() {
            self.table.iter().for_each(Table::take_back);
        }
    }

    /// Reaps a child that is dying, and does not wait long for that: a tracer may keep it.
    pub(crate) fn bury(&mut self, pid: i32) {
        for _ in 0..BURIAL_LOOKS_MAX {
            if !is_there(pid) {
                return;
            }
            pause(BURIAL_PAUSE);
        }
        self.unreaped.push(pid);
    }

    fn keep(&mut self, slot: Slot) {
        self.slot.get_or_insert(slot);
    }

    fn keep_of(&mut self, late: Late) {
        self.take_back();
        if let Some(slot) = late.into_slot() {
            self.keep(slot);
        }
    }
}

fn numbers(place: &Place<'_>) -> [c_int; 3] {
    match place {
        Place::Apart(apart) => apart.stdio.map(|fd| fd.as_raw_fd()),
        Place::Inside(_) => [-1; 3],
    }
}

/// True if the system refuses this kind of process, and not any process for now.
fn is_refusal(errno: c_int) -> bool {
    [libc::EPERM, libc::EINVAL, libc::ENOSYS, libc::EACCES].contains(&errno)
}

fn cannot_share_memory(errno: i32) -> Error {
    let reason = format!(
        "{}; they are started by fork instead, and each start takes the longer the more memory \
         this process uses",
        errno_text(errno)
    );
    Error::because(
        "failed to share memory with starting programs (clone with CLONE_VM)",
        reason,
    )
}

/// False if this child is reaped, now or before.
fn is_there(pid: i32) -> bool {
    match reap::look(pid, None) {
        Seen::Alive => true,
        Seen::Dead(_) => reap::reap(pid).is_none(),
        Seen::Stolen => false,
    }
}

/// Valgrind ends a process that makes such a child, and has put this into its environment.
fn is_under_valgrind() -> bool {
    let preloaded = std::env::var_os("LD_PRELOAD").unwrap_or_default();
    preloaded.to_string_lossy().contains("vgpreload")
}

/// A copy of this process, made without the C library: it takes none of its locks, and nothing
/// runs that somebody has asked to be run around a fork.
///
/// # Safety
///
/// The child may make system calls, and end.
unsafe fn fork() -> Result<c_int, c_int> {
    // The newer architectures have clone(2) alone.
    #[cfg(any(
        target_arch = "aarch64",
        target_arch = "riscv32",
        target_arch = "riscv64",
        target_arch = "loongarch64",
        target_arch = "hexagon",
        target_arch = "csky",
    ))]
    let (number, flags) = (libc::SYS_clone, raw::int(libc::SIGCHLD));
    #[cfg(not(any(
        target_arch = "aarch64",
        target_arch = "riscv32",
        target_arch = "riscv64",
        target_arch = "loongarch64",
        target_arch = "hexagon",
        target_arch = "csky",
    )))]
    let (number, flags) = (libc::SYS_fork, 0);
    // SAFETY: a copy of everything, the stack too; no pointer is handed over.
    let made = unsafe { raw::call(number, [flags, 0, 0, 0, 0, 0]) };
    made.map(|pid| c_int::try_from(pid).unwrap_or(c_int::MAX))
}

/// The pipe through which a child in a memory of its own is heard. Our end does not block.
fn wire() -> Result<(OwnedFd, OwnedFd), Failure> {
    descriptors::failure_pipe().map_err(|errno| Failure::new(Step::Process, errno as i32))
}

#[cfg(test)]
mod tests;
