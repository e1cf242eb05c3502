//! The child's whole life before its exec. It makes system calls and nothing else: no allocation,
//! no lock, no panic, and no `errno`, which is the parent's where memory is shared (see
//! [`raw`](crate::os::raw)). All that it needs is prepared before.

use std::ffi::{c_char, c_int, c_void};
use std::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use super::super::raw::{self, int};
use super::super::signal_queue::{SignalSet, set_default, set_mask};
use super::super::terminal::move_foreground;
use super::attributes::{self, set_limit};
use super::closing::close_the_rest;
use super::table::Cut;
use super::{Failure, Passed, Place, Step};
use crate::os::limits::{DescriptorLimit, of_this_process};
use crate::spec::{Attributes, Resource};

/// What the child is handed: plain values and pointers, so that it never runs a destructor.
#[derive(Debug, Clone, Copy)]
pub(super) struct Child {
    pub(super) candidates: *const *const c_char,
    pub(super) argv: *const *const c_char,
    pub(super) env: *const *const c_char,
    pub(super) directory: *const c_char,
    /// Null if there are none.
    pub(super) attributes: *const Attributes,
    pub(super) place: Place,
    /// Set if the table of descriptors is the parent's, and has to be left first.
    pub(super) cut: Option<Cut>,
    /// Where a failure is written, too, if it is not certain that our memory is the parent's:
    /// a pipe, close-on-exec.
    pub(super) wire: Option<c_int>,
    pub(super) said: *const Said,
}

/// What the child has said, as far as the parent can see it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Word {
    /// Nothing: it has not come that far, or it speaks in a memory of its own.
    Nothing,
    Begun,
    /// At [`Step::Process`] if it could not leave the parent's table, and has done nothing at all.
    Failed(Failure),
}

/// Where parent and child meet, at the same time.
#[derive(Debug, Default)]
pub(super) struct Said {
    /// Not 0 for as long as the child is in our memory; the kernel clears it.
    pub(super) tid: AtomicU32,
    has_begun: AtomicBool,
    has_failed: AtomicBool,
    failure: [AtomicUsize; 3],
}

impl Said {
    /// Prepares for a child.
    pub(super) fn reset(&self) {
        self.has_begun.store(false, Ordering::Relaxed);
        self.has_failed.store(false, Ordering::Relaxed);
        self.tid.store(1, Ordering::Release);
    }

    /// There is no child after all.
    pub(super) fn nothing_was_made(&self) {
        self.tid.store(0, Ordering::Relaxed);
    }

    /// True if the child has executed something, or has ended.
    pub(super) fn has_left(&self) -> bool {
        self.tid.load(Ordering::Acquire) == 0
    }

    fn say_failed(&self, failure: Failure) {
        for (place, number) in self.failure.iter().zip(failure.to_numbers()) {
            place.store(number, Ordering::Relaxed);
        }
        self.has_failed.store(true, Ordering::Release);
    }

    pub(super) fn heard(&self) -> Word {
        if self.has_failed.load(Ordering::Acquire) {
            let numbers = self.failure.each_ref();
            let numbers = numbers.map(|number| number.load(Ordering::Relaxed));
            Word::Failed(Failure::of_numbers(numbers))
        } else if self.has_begun.load(Ordering::Acquire) {
            Word::Begun
        } else {
            Word::Nothing
        }
    }
}

/// Runs on a stack of its own or in a copy of the parent, with all signals blocked.
pub(super) extern "C" fn main(argument: *mut c_void) -> ! {
    // SAFETY: the argument is the `Child` of a slot, which nothing changes before the child has
    // left our memory, or a copy of it.
    let child = unsafe { &*argument.cast::<Child>() };
    // SAFETY: the same for what stands beside it there, which both sides use by atomics alone.
    let said = unsafe { &*child.said };
    if let Some(cut) = child.cut
        && let Err(errno) = cut.make()
    {
        said.say_failed(Failure::new(Step::Process, errno));
        exit();
    }
    said.has_begun.store(true, Ordering::Release);
    let mut wire = child.wire;
    let failure = prepare(child, &mut wire).map_or_else(|failure| failure, |()| execute(child));
    said.say_failed(failure);
    if let Some(wire) = wire {
        let numbers = failure.to_numbers();
        let bytes = (&raw const numbers).expose_provenance();
        let write = [int(wire), bytes, size_of_val(&numbers)];
        // SAFETY: as many bytes as the live numbers have, which a pipe takes at once.
        while unsafe { raw::call(libc::SYS_write, write) } == Err(libc::EINTR) {}
    }
    exit()
}

fn exit() -> ! {
    loop {
        // SAFETY: ends this process without running anything of the parent's.
        let _ = unsafe { raw::call(libc::SYS_exit_group, [127]) };
    }
}

/// The wire may get another number.
fn prepare(child: &Child, wire: &mut Option<c_int>) -> Result<(), Failure> {
    match child.place {
        Place::Apart {
            stdio,
            limit,
            passed,
        } => {
            // SAFETY: null, or attributes that the slot keeps alive.
            let attributes = unsafe { child.attributes.as_ref() };
            prepare_apart(child.directory, attributes, stdio, passed, wire)?;
            let own = attributes.and_then(|all| all.limit(Resource::Nofile));
            match (own, limit) {
                (Some(own), _) => attributes::set_nofile(own)?,
                (None, Some(limit)) => give_back(limit).map_err(failed(Step::Limit))?,
                (None, None) => {}
            }
        }
        Place::Inside { terminal, ignored } => prepare_inside(terminal, &ignored)?,
    }
    set_mask(libc::SIG_SETMASK, &SignalSet::EMPTY);
    Ok(())
}

fn failed(step: Step) -> impl FnOnce(c_int) -> Failure {
    move |errno| Failure::new(step, errno)
}

fn prepare_apart(
    cwd: *const c_char,
    attributes: Option<&Attributes>,
    stdio: [c_int; 3],
    passed: Option<Passed>,
    wire: &mut Option<c_int>,
) -> Result<(), Failure> {
    // SAFETY: plain system calls; every pointer is to memory that the slot keeps alive, and the
    // descriptor table is the child's own copy.
    unsafe {
        raw::call(libc::SYS_setsid, []).map_err(failed(Step::Session))?;
        default_dispositions(&SignalSet::EMPTY);
        if let Some(attributes) = attributes {
            attributes::set_first(attributes)?;
        }
        for (target, source) in stdio.into_iter().enumerate() {
            // dup3(2) refuses two equal numbers, and those here are 3 or higher.
            let copy = [int(source), target];
            loop {
                match raw::call(libc::SYS_dup3, copy) {
                    Ok(_) => break,
                    Err(libc::EINTR | libc::EBUSY) => {}
                    Err(errno) => return Err(Failure::new(Step::Descriptors, errno)),
                }
            }
        }
        if let Some(attributes) = attributes {
            attributes::set_limits(attributes)?;
            attributes::set_identity(attributes)?;
        }
        // As the user: what that may not enter is no working directory.
        let directory = cwd.expose_provenance();
        raw::call(libc::SYS_chdir, [directory]).map_err(failed(Step::Directory))?;
        if let Some(attributes) = attributes {
            attributes::set_no_new_privileges(attributes)?;
        }
        // Room for the descriptor that reads the list of the others.
        let _ = raw::call(libc::SYS_close, [int(stdio[2])]);
        if let Some(passed) = passed {
            pass(passed, wire).map_err(|errno| Failure {
                which: int(passed.to),
                ..Failure::new(Step::Passed, errno)
            })?;
        }
        close_the_rest([passed.map(|passed| passed.to), *wire]);
    }
    Ok(())
}

/// Gives one descriptor its number. The wire makes room, if it has that: the standard streams are in
/// their places, and nothing else is needed.
///
/// # Safety
///
/// For a child with a table of its own.
unsafe fn pass(Passed { from, to }: Passed, wire: &mut Option<c_int>) -> Result<(), c_int> {
    // SAFETY: plain numbers, of descriptors in the child's own table.
    unsafe {
        if let Some(old) = *wire
            && old == to
        {
            let copy = [int(old), int(libc::F_DUPFD_CLOEXEC), int(to) + 1];
            let moved = raw::call(libc::SYS_fcntl, copy)?;
            *wire = c_int::try_from(moved).ok();
        }
        if from == to {
            let flags = [int(to), int(libc::F_SETFD), 0];
            return raw::call(libc::SYS_fcntl, flags).map(drop);
        }
        loop {
            match raw::call(libc::SYS_dup3, [int(from), int(to)]) {
                Err(libc::EINTR | libc::EBUSY) => {}
                result => return result.map(drop),
            }
        }
    }
}

/// The terminal is moved while SIGTTOU is still blocked, and before the exec, so that the
/// command never runs in the background. A terminal that hangs up meanwhile is none. Such a child
/// is a copy, and `errno` its own.
fn prepare_inside(terminal: Option<c_int>, ignored: &SignalSet) -> Result<(), Failure> {
    // SAFETY: plain system calls on plain numbers.
    unsafe {
        raw::call(libc::SYS_setpgid, [0, 0]).map_err(failed(Step::Group))?;
        if let Some(terminal) = terminal {
            // Our group's number is our own, which an old C library keeps from before a fork.
            move_foreground(terminal, libc::getpgid(0));
        }
    }
    default_dispositions(ignored);
    Ok(())
}

/// Ignored signals survive an exec, and a handler of the host must not run in the child: all
/// but these become the default. Without CLONE_SIGHAND the table is the child's own.
fn default_dispositions(ignored: &SignalSet) {
    for signal in 1..=crate::signal::SIGNAL_MAX {
        if !ignored.has(signal) {
            set_default(signal);
        }
    }
}

/// Sets the limit on descriptors as it was when we were started, or as near to it as the hard
/// limit of this day allows. Comes last, as the old limit may be below what is open here.
fn give_back(DescriptorLimit(limit): DescriptorLimit) -> Result<(), c_int> {
    let wide = |value: libc::rlim_t| match value {
        libc::RLIM_INFINITY => u64::MAX,
        #[allow(clippy::useless_conversion)] // It is narrower on some architectures.
        value => u64::from(value),
    };
    let mut wanted = [wide(limit.rlim_cur), wide(limit.rlim_max)];
    if let Ok(now) = of_this_process(Resource::Nofile) {
        wanted[1] = wanted[1].min(now[1]);
        wanted[0] = wanted[0].min(wanted[1]);
    }
    set_limit(Resource::Nofile, wanted)
}

/// Tries the candidates as execvp(3) does, without its fallback to a shell. Returns only when
/// none could be executed.
fn execute(child: &Child) -> Failure {
    let mut denied = None;
    let mut last = Failure::new(Step::Exec, libc::ENOENT);
    let mut index = 0;
    loop {
        // SAFETY: the list ends with a null, at which the loop ends; all strings are alive.
        let candidate = unsafe { *child.candidates.add(index) };
        if candidate.is_null() {
            return denied.unwrap_or(last);
        }
        let (argv, env) = (
            child.argv.expose_provenance(),
            child.env.expose_provenance(),
        );
        let arguments = [candidate.expose_provenance(), argv, env];
        // SAFETY: three live, null-terminated things, as execve wants them.
        if let Err(errno) = unsafe { raw::call(libc::SYS_execve, arguments) } {
            last.errno = errno;
        }
        last.which = index;
        match last.errno {
            libc::EACCES => denied = Some(denied.unwrap_or(last)),
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
        index += 1;
    }
}
