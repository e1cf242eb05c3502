//! A prepared program in, a process out.
//!
//! The child shares our memory until its exec (`CLONE_VM | CLONE_VFORK`), on a stack of its
//! own, while this thread sleeps: nothing is copied, however large the host is. What fails in
//! the child is written where we can read it. Three things follow:
//!
//! - All signals are blocked around it, so that no handler of the host runs in the child and
//!   takes the host's variables for its own. The child sets every disposition to its default
//!   before it empties its mask.
//! - The child makes system calls and nothing else; see [`child`].
//! - When `spawn` returns, the program has been executed, in its own group, or has failed:
//!   there is no moment in which a signal to its group could miss it.
//!
//! Where many descriptors are open the child shares their table, too, for a moment; see [`table`].
//!
//! Not every system can do that. Where such a clone is refused the child is a copy, made by fork;
//! and an emulator (qemu, valgrind) may take the clone for a fork. A child in a memory of its own
//! is heard through a pipe that its exec closes. Whether memory is shared is not known before the
//! first child has shown it, so that the first has the pipe as well.

mod child;
mod closing;
mod lists;
mod stack;
mod table;

use std::ffi::{CStr, c_int, c_long};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd, OwnedFd};
use std::ptr;
use std::sync::Arc;

use nix::errno::Errno;

use self::child::{Child, Word};
use self::lists::Lists;
use self::stack::Stack;
use self::table::Table;
use super::accept::{SignalSet, set_mask};
use super::limits::DescriptorLimit;
use super::{descriptors, errno, reap, retry_waiting};
use crate::error::{Error, errno_text};

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
}

/// What is known of a child's memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Memory {
    /// No child has shown yet that it is ours, or none will, as under an emulator.
    Unknown,
    Shared,
    /// The system refuses to share it.
    Refused,
}

/// How a child is made.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Way {
    SharingTable,
    SharingMemory,
    Copying,
}

/// Makes processes.
pub(crate) struct Spawner {
    stack: Stack,
    lists: Lists,
    /// Set if what is started here may get a table of its own.
    table: Option<Table>,
    memory: Memory,
    /// How a child is made that shares our memory. The tests do as an emulator does.
    flags: c_int,
    warning: Option<Error>,
}

impl Spawner {
    /// `null` keeps the place of what is lent to a child: without it each start costs what a copy
    /// of all our descriptors costs. To be made early, while low numbers are free.
    pub(crate) fn new(null: Option<Arc<OwnedFd>>) -> Result<Self, Errno> {
        Ok(Self {
            stack: Stack::new()?,
            lists: Lists::default(),
            table: null.map(Table::new).transpose()?,
            memory: Memory::Unknown,
            flags: libc::CLONE_VM | libc::CLONE_VFORK,
            warning: None,
        })
    }

    /// Runs the command, and returns its pid, which is the number of its group.
    pub(crate) fn spawn<'a>(
        &mut self,
        command: Command<
            'a,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
            impl Iterator<Item = &'a CStr>,
        >,
    ) -> Result<i32, Failure> {
        self.lists
            .fill(command.candidates, command.argv, command.env);
        self.start(&command.place)
    }

    /// What the host should know of the way in which programs are started here; told once.
    pub(crate) fn take_warning(&mut self) -> Option<Error> {
        self.warning.take()
    }

    fn start(&mut self, place: &Place<'_>) -> Result<i32, Failure> {
        if let Some(started) = self.start_sharing_table(place) {
            return started;
        }
        if self.memory == Memory::Refused {
            return self.start_as(Way::Copying, place);
        }
        match self.start_as(Way::SharingMemory, place) {
            Err(failure) if is_refusal(failure) => {
                let started = self.start_as(Way::Copying, place);
                // Where a fork cannot be made either, it was not for the sharing.
                if !matches!(started, Err(failure) if failure.step == Step::Process) {
                    self.memory = Memory::Refused;
                    self.warning = Some(cannot_share_memory(failure.errno));
                }
                started
            }
            started => started,
        }
    }

    /// `None` if that does not pay, or cannot be done; nothing has happened then.
    fn start_sharing_table(&mut self, place: &Place<'_>) -> Option<Result<i32, Failure>> {
        let Place::Apart(apart) = place else {
            return None;
        };
        let mut table = self.table.take_if(|_| self.memory == Memory::Shared)?;
        let mut stdio = numbers(apart);
        let started = table.lend(&mut stdio).and_then(|cut| {
            let mut child = self.child(place, stdio, None);
            child.cut = Some(cut);
            let made = self.make(Way::SharingTable, &mut child);
            table.take_back();
            let ended = |pid, failure| {
                reap::reap_now(pid);
                Some(Err(failure))
            };
            match (made, child.heard()) {
                (Err(failure), _) if is_refusal(failure) => {
                    table.refuse();
                    None
                }
                (Err(failure), _) => Some(Err(failure)),
                (Ok(pid), Word::TableKept(libc::ENOMEM)) => {
                    ended(pid, Failure::new(Step::Process, libc::ENOMEM))
                }
                (Ok(pid), Word::TableKept(_)) => {
                    reap::reap_now(pid);
                    table.refuse();
                    None
                }
                (Ok(pid), Word::Failed(failure)) => ended(pid, failure),
                (Ok(pid), Word::Begun) => {
                    table.has_worked(cut);
                    Some(Ok(pid))
                }
                // Killed at once.
                (Ok(pid), Word::Nothing) => Some(Ok(pid)),
            }
        });
        self.table = Some(table);
        started
    }

    fn start_as(&mut self, way: Way, place: &Place<'_>) -> Result<i32, Failure> {
        let is_heard = self.memory == Memory::Shared && way == Way::SharingMemory;
        let wire = if is_heard { None } else { Some(wire()?) };
        let stdio = match place {
            Place::Apart(apart) => numbers(apart),
            Place::Inside(_) => [-1; 3],
        };
        let write_end = wire.as_ref().map(|(_, write)| write.as_raw_fd());
        let mut child = self.child(place, stdio, write_end);
        let pid = self.make(way, &mut child)?;
        let failure = match child.heard() {
            Word::Nothing | Word::TableKept(_) => wire.and_then(|(read, write)| {
                drop(write);
                listen(&read)
            }),
            said => {
                self.memory = Memory::Shared;
                match said {
                    Word::Failed(failure) => Some(failure),
                    Word::Begun | Word::Nothing | Word::TableKept(_) => None,
                }
            }
        };
        match failure {
            None => Ok(pid),
            Some(failure) => {
                reap::reap_now(pid);
                Err(failure)
            }
        }
    }

    fn child<'a>(&self, place: &'a Place<'a>, stdio: [c_int; 3], wire: Option<c_int>) -> Child<'a> {
        Child {
            candidates: self.lists.candidates(),
            argv: self.lists.argv(),
            env: self.lists.env(),
            place,
            stdio,
            cut: None,
            wire,
            word: Word::Nothing,
        }
    }

    /// Makes the process, and nothing else while signals are blocked.
    fn make(&self, way: Way, child: &mut Child<'_>) -> Result<i32, Failure> {
        let files = match way {
            Way::SharingTable => libc::CLONE_FILES,
            Way::SharingMemory | Way::Copying => 0,
        };
        let child = ptr::from_mut(child).cast();
        let before = set_mask(libc::SIG_SETMASK, &SignalSet::FULL);
        // SAFETY: The stack is ours, mapped, page-aligned and used by one child at a time, as
        // CLONE_VFORK suspends this thread until the child has left our memory; a copy has its
        // own. `child` and all it points to outlive that.
        let (pid, error) = unsafe {
            let pid = if way == Way::Copying {
                match fork() {
                    0 => child::main(child),
                    // A pid, or -1: both fit.
                    pid => pid as c_int,
                }
            } else {
                // SIGCHLD is what the child sends at its end, as after fork.
                let flags = self.flags | files | libc::SIGCHLD;
                libc::clone(child::main, self.stack.top(), flags, child)
            };
            (pid, errno())
        };
        set_mask(libc::SIG_SETMASK, &before);
        if pid == -1 {
            return Err(Failure::new(Step::Process, error));
        }
        Ok(pid)
    }
}

fn numbers(apart: &Apart<'_>) -> [c_int; 3] {
    apart.stdio.map(|fd| fd.as_raw_fd())
}

/// Whether the system refuses this kind of process, and not any process for now.
fn is_refusal(failure: Failure) -> bool {
    let refusals = [libc::EPERM, libc::EINVAL, libc::ENOSYS];
    failure.step == Step::Process && refusals.contains(&failure.errno)
}

fn cannot_share_memory(errno: i32) -> Error {
    let reason = format!(
        "{}; they are started by fork instead, and each start takes the longer the more memory \
         this process uses",
        errno_text(errno)
    );
    Error::because(
        "failed to share memory with starting programs (clone with CLONE_VM and CLONE_VFORK)",
        reason,
    )
}

/// A copy of this process, made without the C library: it takes none of its locks, and nothing
/// runs that somebody has asked to be run around a fork.
///
/// # Safety
///
/// The child may make system calls, and end.
unsafe fn fork() -> c_long {
    // SAFETY: a copy of everything, the stack too; no pointer is handed over.
    unsafe {
        // The newer architectures have clone(2) alone.
        #[cfg(any(
            target_arch = "aarch64",
            target_arch = "riscv32",
            target_arch = "riscv64",
            target_arch = "loongarch64",
            target_arch = "hexagon",
            target_arch = "csky",
        ))]
        return libc::syscall(libc::SYS_clone, libc::SIGCHLD, 0, 0, 0, 0);
        #[cfg(not(any(
            target_arch = "aarch64",
            target_arch = "riscv32",
            target_arch = "riscv64",
            target_arch = "loongarch64",
            target_arch = "hexagon",
            target_arch = "csky",
        )))]
        return libc::syscall(libc::SYS_fork);
    }
}

/// The pipe through which a child in a memory of its own is heard.
fn wire() -> Result<(OwnedFd, OwnedFd), Failure> {
    descriptors::failure_pipe().map_err(|errno| Failure::new(Step::Process, errno as i32))
}

/// What the child says before its exec or its end closes the pipe. A copy of this process that
/// somebody makes in another thread, without an exec, holds the pipe, too, if it is made in just
/// this moment: it is waited for as well.
fn listen(read: &OwnedFd) -> Option<Failure> {
    let mut failure = MaybeUninit::<Failure>::uninit();
    let (room, size) = (failure.as_mut_ptr().cast(), size_of::<Failure>());
    // SAFETY: as many bytes as the live failure has room for.
    let read = || Errno::result(unsafe { libc::read(read.as_raw_fd(), room, size) });
    let is_whole = retry_waiting(read).is_ok_and(|count| usize::try_from(count) == Ok(size));
    // SAFETY: these are the bytes of a failure in a copy of this very program.
    is_whole.then(|| unsafe { failure.assume_init() })
}

#[cfg(test)]
mod tests;
