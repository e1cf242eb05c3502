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
use super::late::Late;
use super::slot::Slot;
use super::table::{Cut, Table};
use super::{Command, Failure, Place, Started, Step};
use crate::error::{Error, errno_text};

/// How often, and how long after each other, it is looked whether a child that failed is dead.
const BURIAL_LOOKS_MAX: u32 = 20;
const BURIAL_PAUSE: Duration = Duration::from_micros(50);

/// How a child is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Way {
    SharingTable(Cut),
    SharingMemory,
    Copying,
}

/// One try to make a child. An error is that the system refuses this way, for this errno.
type Tried = Result<Result<Started, Failure>, c_int>;

/// Makes processes.
pub(crate) struct Spawner {
    /// The place of the next child; one that is late takes it along.
    slot: Option<Slot>,
    /// Set if what is started here may get a table of its own.
    table: Option<Table>,
    /// A late child that may still need what it was lent of the table.
    lent_to: Option<Arc<Said>>,
    /// True if a child has shown that its memory is ours; false if the system refuses to share it,
    /// or does not say when the child has left it.
    is_shared: Option<bool>,
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
            is_shared: if is_sharing { None } else { Some(false) },
            flags: libc::CLONE_VM | libc::CLONE_CHILD_CLEARTID,
            warning: None,
            unreaped: Vec::new(),
        })
    }

    /// Runs the command, in the best way that the system allows. Its pid is the number of its
    /// group.
    pub(crate) fn spawn(&mut self, command: Command<'_>) -> Result<Started, Failure> {
        let (place, wait) = (command.place, command.wait);
        let slot = self.slot.take().map_or_else(Slot::new, Ok);
        let slot = self.slot.insert(slot.map_err(no_process)?);
        slot.lists.fill(&command);
        slot.attributes = command.attributes.cloned();
        if slot.attributes.as_ref().is_some_and(|all| all.need_copy()) {
            let started = self.start_as(Way::Copying, place, wait);
            return started.unwrap_or_else(|errno| Err(Failure::new(Step::Process, errno)));
        }
        if let Ok(started) = self.start_sharing_table(place, wait) {
            return started;
        }
        let refused = match self.start_sharing_memory(place, wait) {
            Ok(started) => return started,
            Err(errno) => errno,
        };
        let started = self.start_as(Way::Copying, place, wait);
        // Where a copy cannot be made either, it was not for the sharing.
        if started.is_ok() && refused != 0 {
            self.is_shared = Some(false);
            self.warning = Some(cannot_share_memory(refused));
        }
        started.unwrap_or_else(|errno| Err(Failure::new(Step::Process, errno)))
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

    /// Refused with no errno if that does not pay, or is known to be impossible.
    fn start_sharing_table(&mut self, place: Place, wait: Duration) -> Tried {
        self.take_back();
        let Place::Apart {
            mut stdio,
            limit,
            passed: None,
        } = place
        else {
            return Err(0);
        };
        let is_for_it = self.is_shared == Some(true) && self.lent_to.is_none();
        let table = self.table.as_mut().filter(|_| is_for_it);
        let (Some(slot), Some(table)) = (&self.slot, table) else {
            return Err(0);
        };
        let cut = table.lend(&mut stdio).ok_or(0)?;
        self.lent_to = Some(slot.said().clone());
        let passed = None;
        let place = Place::Apart {
            stdio,
            limit,
            passed,
        };
        let tried = self.start_as(Way::SharingTable(cut), place, wait);
        self.take_back();
        if let Err(errno) = tried {
            self.note_table_kept(errno);
        }
        tried
    }

    /// Refused with no errno if that is known already.
    fn start_sharing_memory(&mut self, place: Place, wait: Duration) -> Tried {
        if self.is_shared == Some(false) || matches!(place, Place::Inside { .. }) {
            return Err(0);
        }
        self.start_as(Way::SharingMemory, place, wait)
    }

    fn start_as(&mut self, way: Way, place: Place, wait: Duration) -> Tried {
        let is_heard = self.is_shared == Some(true) && way != Way::Copying;
        let (read, write) = match is_heard {
            true => (None, None),
            false => match descriptors::child_pipe() {
                Ok((read, write)) => (Some(read), Some(write)),
                Err(errno) => return Ok(Err(no_process(errno))),
            },
        };
        let cut = match way {
            Way::SharingTable(cut) => Some(cut),
            Way::SharingMemory | Way::Copying => None,
        };
        // A child that was refused our table, and is still there, has taken it along.
        let Some(mut slot) = self.slot.take() else {
            return Ok(Err(no_process(Errno::EAGAIN)));
        };
        let wire = write.as_ref().map(AsRawFd::as_raw_fd);
        let child = slot.prepare(place, cut, wire);
        // No handler runs in the child, and none interrupts the short wait for it. The deaths of
        // others would, in a storm, at each start.
        let before = set_mask(libc::SIG_SETMASK, &SignalSet::FULL);
        let made = self.make(way, &slot, child);
        drop(write);
        let late = match made {
            Ok(pid) => {
                let late = Late::new(pid, way, slot, read);
                late.wait(wait);
                Ok(late)
            }
            Err(errno) => {
                slot.said().nothing_was_made();
                self.slot = Some(slot);
                Err(errno)
            }
        };
        set_mask(libc::SIG_SETMASK, &before);
        match late {
            Ok(late) => self.settle(late),
            Err(errno) if is_refusal(errno) => Err(errno),
            Err(errno) => Ok(Err(Failure::new(Step::Process, errno))),
        }
    }

    /// What has become of a child by now.
    fn settle(&mut self, mut late: Late) -> Tried {
        let pid = late.pid();
        // Another part of the host has reaped the one that had this number before.
        self.forget_failed(pid);
        let Some(answer) = late.ask(self) else {
            return Ok(Ok(Started::Late(late)));
        };
        if answer.is_err() {
            self.bury(pid);
        }
        late.give_back(self);
        if let (Ok(()), Way::SharingTable(cut), Some(table)) = (answer, late.way(), &mut self.table)
        {
            table.has_worked(cut);
        }
        match answer {
            Err(failure) if failure.step == Step::Process => Err(failure.errno),
            answer => Ok(answer.map(|()| Started::Executed(pid))),
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

    /// Takes in what a first child has shown of our memory, if it has.
    pub(super) fn learn(&mut self, is_shared: Option<bool>) {
        self.is_shared = self.is_shared.or(is_shared);
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
        if let Some(table) = &mut self.table
            && errno != libc::ENOMEM
        {
            table.works = Some(false);
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

fn no_process(errno: Errno) -> Failure {
    Failure::new(Step::Process, errno as i32)
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
    let (flags, none) = (raw::int(libc::SIGCHLD), 0);
    // clone(2) takes flags and stack in another order there.
    let [first, second] = match cfg!(target_arch = "s390x") {
        true => [none, flags],
        false => [flags, none],
    };
    // SAFETY: a copy of everything, the stack too; no pointer is handed over.
    let made = unsafe { raw::call(libc::SYS_clone, [first, second]) };
    made.map(|pid| c_int::try_from(pid).unwrap_or(c_int::MAX))
}

#[cfg(test)]
mod tests;
