//! The child's whole life before its exec. It makes system calls and nothing else: no allocation,
//! no lock, no panic. All that it needs is prepared before.

use std::ffi::{c_char, c_int, c_void};
use std::os::fd::AsRawFd;
use std::ptr;

use super::super::accept::{SignalSet, set_default, set_mask};
use super::super::errno;
use super::super::terminal::move_foreground;
use super::closing::close_the_rest;
use super::table::Cut;
use super::{Apart, Failure, Inside, Place, Step};
use crate::os::limits::DescriptorLimit;

/// What the child is handed: pointers and numbers only, so that it never runs a destructor.
pub(super) struct Child<'a> {
    pub(super) candidates: *const *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) env: *const *const c_char,
    pub(super) place: &'a Place<'a>,
    /// stdin, stdout, stderr, by the numbers that they have for the child.
    pub(super) stdio: [c_int; 3],
    /// Set if the table of descriptors is the parent's, and has to be left first.
    pub(super) cut: Option<Cut>,
    /// Where a failure is written, too, if it is not certain that our memory is the parent's:
    /// a pipe, close-on-exec.
    pub(super) wire: Option<c_int>,
    pub(super) word: Word,
}

/// What the child has said, as far as the parent can see it.
#[derive(Debug, Clone, Copy)]
pub(super) enum Word {
    /// Nothing: it has not come that far, or it speaks in a memory of its own.
    Nothing,
    Begun,
    /// It could not leave the parent's table, for this errno, and has done nothing at all.
    TableKept(c_int),
    Failed(Failure),
}

impl Child<'_> {
    pub(super) fn say(&mut self, word: Word) {
        // SAFETY: a live variable; volatile, as the parent reads it behind the compiler's back.
        unsafe { ptr::write_volatile(&raw mut self.word, word) };
    }

    pub(super) fn heard(&self) -> Word {
        // SAFETY: as above.
        unsafe { ptr::read_volatile(&raw const self.word) }
    }
}

/// Runs on a stack of its own or in a copy of the parent, with all signals blocked. Never returns.
pub(super) extern "C" fn main(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the `Child` of the parent's frame, which sleeps until we exec or
    // exit, or a copy of it; nobody else uses it meanwhile.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    if let Some(cut) = child.cut
        && let Err(errno) = cut.make(child.stdio[2])
    {
        child.say(Word::TableKept(errno));
        exit();
    }
    child.say(Word::Begun);
    let failure = prepare(child).map_or_else(|failure| failure, |()| execute(child));
    child.say(Word::Failed(failure));
    if let Some(wire) = child.wire {
        let bytes = (&raw const failure).cast();
        // SAFETY: as many bytes as the live failure has, which a pipe takes at once.
        while unsafe { libc::write(wire, bytes, size_of::<Failure>()) } == -1
            && errno() == libc::EINTR
        {}
    }
    exit()
}

fn exit() -> ! {
    // SAFETY: _exit ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(child: &Child<'_>) -> Result<(), Failure> {
    match child.place {
        Place::Apart(apart) => prepare_apart(child, apart)?,
        Place::Inside(inside) => prepare_inside(inside)?,
    }
    set_mask(libc::SIG_SETMASK, &SignalSet::EMPTY);
    Ok(())
}

fn failed(step: Step) -> Failure {
    Failure::new(step, errno())
}

fn prepare_apart(child: &Child<'_>, place: &Apart<'_>) -> Result<(), Failure> {
    // SAFETY: plain system calls; every pointer is to memory that the sleeping parent keeps
    // alive, and the descriptor table is the child's own copy.
    unsafe {
        if libc::setsid() == -1 {
            return Err(failed(Step::Session));
        }
        default_dispositions(&SignalSet::EMPTY);
        if libc::chdir(place.cwd.as_ptr()) == -1 {
            return Err(failed(Step::Directory));
        }
        for (target, source) in child.stdio.iter().enumerate() {
            while libc::dup2(*source, target as c_int) == -1 {
                if !matches!(errno(), libc::EINTR | libc::EBUSY) {
                    return Err(failed(Step::Descriptors));
                }
            }
        }
        // Room for the descriptor that reads the list of the others.
        libc::close(child.stdio[2]);
        close_the_rest(child.wire);
        if let Some(limit) = place.limit
            && give_back(limit) == -1
        {
            return Err(failed(Step::Limit));
        }
    }
    Ok(())
}

/// The terminal is moved while SIGTTOU is still blocked, and before the exec, so that the
/// command never runs in the background. A terminal that hangs up meanwhile is none.
fn prepare_inside(place: &Inside<'_>) -> Result<(), Failure> {
    // SAFETY: plain system calls on plain numbers.
    unsafe {
        if libc::setpgid(0, 0) == -1 {
            return Err(failed(Step::Group));
        }
        if let Some(terminal) = place.terminal {
            // Our group's number is our own, which an old C library keeps from before a fork.
            move_foreground(terminal.as_raw_fd(), libc::getpgid(0));
        }
    }
    default_dispositions(&place.ignored);
    Ok(())
}

/// Ignored signals survive an exec, and a handler of the host must not run in the child: all
/// but these become the default. Without CLONE_SIGHAND the table is the child's own.
fn default_dispositions(ignored: &SignalSet) {
    for signal in 1..=crate::spec::SIGNAL_MAX {
        if !ignored.has(signal) {
            set_default(signal);
        }
    }
}

/// Sets the limit on descriptors as it was when we were started, or as near to it as the hard
/// limit of this day allows. Comes last, as the old limit may be below what is open here.
fn give_back(DescriptorLimit(mut limit): DescriptorLimit) -> c_int {
    let mut now = limit;
    // SAFETY: both pointers are to live structures.
    unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut now) == 0 {
            limit.rlim_max = limit.rlim_max.min(now.rlim_max);
            limit.rlim_cur = limit.rlim_cur.min(limit.rlim_max);
        }
        libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit)
    }
}

/// Tries the candidates as execvp(3) does, without its fallback to a shell. Returns only when
/// none could be executed.
fn execute(child: &Child<'_>) -> Failure {
    let mut denied = None;
    let mut last = Failure::new(Step::Exec, libc::ENOENT);
    let mut index = 0;
    loop {
        // SAFETY: the list ends with a null, at which the loop ends; all strings are alive.
        let candidate = unsafe { *child.candidates.add(index) };
        if candidate.is_null() {
            return denied.unwrap_or(last);
        }
        // SAFETY: three live, null-terminated things, as execve wants them.
        unsafe { libc::execve(candidate, child.argv, child.env) };
        last = failed(Step::Exec);
        last.candidate = index;
        match last.errno {
            libc::EACCES => denied = Some(denied.unwrap_or(last)),
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
        index += 1;
    }
}
