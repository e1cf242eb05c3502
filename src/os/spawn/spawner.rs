//! Makes processes, in the best way that the system allows, and knows which that is.

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::time::Duration;

use nix::errno::Errno;

use super::super::pause::pause;
use super::super::reap::{self, Seen};
use super::super::signal_queue::{SignalSet, set_mask};
use super::super::{descriptors, raw};
use super::child::{self, Said, Word};
use super::late::{Answer, Late};
use super::slot::Slot;
use super::table::{Cut, Table};
use super::{Command, Failure, Place, Started, Step};
use crate::error::{Error, errno_text};

/// How often, and how long after each other, it is looked whether a child that failed is dead.
const BURIAL_LOOKS_MAX: u32 = 20;
const BURIAL_PAUSE: Duration = Duration::from_micros(50);

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
pub(super) enum Way {
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
    /// Children that failed before their exec and were not dead yet when that was reported.
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
    pub(crate) fn spawn(&mut self, command: Command<'_>) -> Result<Started, Failure> {
        let no_memory = |errno: Errno| Failure::new(Step::Process, errno as i32);
        let slot = self.slot.take().map_or_else(Slot::new, Ok);
        let mut slot = slot.map_err(no_memory)?;
        slot.fill(&command);
        self.start(slot, &command)
    }

    /// What the host should know of the way in which programs are started here; told once.
    pub(crate) fn take_warning(&mut self) -> Option<Error> {
        self.warning.take()
    }

    /// Reaps those that failed before their exec and have died since.
    pub(crate) fn reap_failed(&mut self) {
        self.unreaped.retain(|&pid| is_there(pid));
    }

    /// True if a child that failed before its exec is not reaped yet.
    pub(crate) fn has_unreaped(&self) -> bool {
        !self.unreaped.is_empty()
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
    fn start(&mut self, slot: Slot, command: &Command<'_>) -> Result<Started, Failure> {
        let slot = match self.start_sharing_table(slot, command) {
            Ok(started) => return started,
            Err((slot, _)) => slot,
        };
        let (slot, refused) = match self.start_sharing_memory(slot, command) {
            Ok(started) => return started,
            Err(refused) => refused,
        };
        match self.start_as(Way::Copying, slot, command, numbers(&command.place)) {
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
    fn start_sharing_table(&mut self, slot: Slot, command: &Command<'_>) -> Tried {
        self.take_back();
        let mut stdio = numbers(&command.place);
        let is_for_it = self.memory == Memory::Shared && self.lent_to.is_none();
        let is_for_it = is_for_it && matches!(command.place, Place::Apart(_));
        let table = self.table.as_mut().filter(|_| is_for_it);
        let Some(cut) = table.and_then(|table| table.lend(&mut stdio)) else {
            return Err((slot, 0));
        };
        self.lent_to = Some(slot.said().clone());
        let tried = self.start_as(Way::SharingTable(cut), slot, command, stdio);
        self.take_back();
        if let Err((_, errno)) = tried {
            self.note_table_kept(errno);
        }
        tried
    }

    /// Refused with no errno if that is known already.
    fn start_sharing_memory(&mut self, slot: Slot, command: &Command<'_>) -> Tried {
        if self.memory == Memory::Refused || matches!(command.place, Place::Inside(_)) {
            return Err((slot, 0));
        }
        self.start_as(Way::SharingMemory, slot, command, numbers(&command.place))
    }

    fn start_as(
        &mut self,
        way: Way,
        mut slot: Slot,
        command: &Command<'_>,
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
        let child = slot.prepare(&command.place, stdio, cut, wire);
        let blocked = AllBlocked::new();
        let pid = match self.make(way, &slot, child) {
            Ok(pid) => {
                // Another part of the host has reaped the one that had this number before.
                self.forget_failed(pid);
                pid
            }
            Err(errno) => {
                slot.said().nothing_was_made();
                if is_refusal(errno) {
                    return Err((slot, errno));
                }
                self.keep(slot);
                return Ok(Err(Failure::new(Step::Process, errno)));
            }
        };
        drop(write);
        let late = Late::new(pid, way, slot, read);
        late.wait(command.wait);
        drop(blocked);
        self.settle(late)
    }

    /// What has become of a child by now.
    fn settle(&mut self, mut late: Late) -> Tried {
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
                match late.take_free_slot() {
                    Some(slot) => Err((slot, errno)),
                    None => Ok(Err(Failure::new(Step::Process, errno))),
                }
            }
        }
    }

    /// Makes the process. The error is an errno.
    fn make(&self, way: Way, slot: &Slot, child: *mut c_void) -> Result<c_int, c_int> {
        let flags = match way {
            Way::SharingTable(_) => self.flags | libc::CLONE_FILES,
            Way::SharingMemory | Way::Copying => self.flags,
        };
        // SAFETY: stack, child and number are parts of a slot, which is kept until the child has
        // left our memory; a copy has its own.
        unsafe {
            if way == Way::Copying {
                fork().map(|pid| if pid == 0 { child::main(child) } else { pid })
            } else {
                // SIGCHLD is what the child sends at its end, as after fork.
                let flags = flags | libc::SIGCHLD;
                let tid = slot.said().tid.as_ptr();
                raw::clone_sharing(flags, slot.stack_top(), tid, child::main, child)
            }
        }
    }

    /// A first child has told how it is with our memory: `None` if it has not.
    pub(super) fn learn(&mut self, is_shared: Option<bool>) {
        if let Some(is_shared) = is_shared.filter(|_| self.memory == Memory::Unknown) {
            self.memory = if is_shared {
                Memory::Shared
            } else {
                Memory::Refused
            };
        }
    }

    /// Takes back what was lent of the table, if the child that it was lent to needs it no more.
    pub(super) fn take_back(&mut self) {
        let needs_it = |said: &Arc<Said>| !said.has_left() && said.heard() == Word::Nothing;
        if self.lent_to.take_if(|said| !needs_it(said)).is_some() {
            self.table.iter().for_each(Table::take_back);
        }
    }

    /// A child could not leave our table, or could not be made to share it, for this errno.
    pub(super) fn note_table_kept(&mut self, errno: c_int) {
        if errno != libc::ENOMEM {
            self.table.iter_mut().for_each(Table::refuse);
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

    pub(super) fn keep(&mut self, slot: Slot) {
        self.slot.get_or_insert(slot);
    }

    fn keep_of(&mut self, mut late: Late) {
        self.take_back();
        if let Some(slot) = late.take_free_slot() {
            self.keep(slot);
        }
    }
}

/// The numbers of what a late child was lent must not become those of other files.
impl Drop for Spawner {
    fn drop(&mut self) {
        self.take_back();
        if self.lent_to.is_some() {
            std::mem::forget(self.table.take());
        }
    }
}

/// Blocks every signal in this thread until it is dropped: no handler runs in the child, and none
/// interrupts the short wait for it. The deaths of others would, in a storm, at each start.
struct AllBlocked {
    before: SignalSet,
}

impl AllBlocked {
    fn new() -> Self {
        let before = set_mask(libc::SIG_SETMASK, &SignalSet::FULL);
        Self { before }
    }
}

impl Drop for AllBlocked {
    fn drop(&mut self) {
        set_mask(libc::SIG_SETMASK, &self.before);
    }
}

fn numbers(place: &Place<'_>) -> [c_int; 3] {
    match place {
        Place::Apart(apart) => apart.stdio.map(|fd| fd.as_raw_fd()),
        Place::Inside(_) => [-1; 3],
    }
}

/// True if the system refuses this kind of process, and is not short of something for now. A
/// sandbox refuses with any errno that it likes.
fn is_refusal(errno: c_int) -> bool {
    errno != libc::EAGAIN && errno != libc::ENOMEM
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
/// runs that was registered to run around a fork.
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
