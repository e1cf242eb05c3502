//! A prepared program in, a process out.
//!
//! The child shares our memory until its exec (`CLONE_VM | CLONE_VFORK`), on a stack of its
//! own, while this thread sleeps: nothing is copied, however large the host is. What fails in
//! the child is written where we can read it. Three things follow:
//!
//! - All signals are blocked around it, so that no handler of the host runs in the child and
//!   takes the host's variables for its own. The child sets every disposition to its default
//!   before it empties its mask.
//! - The child makes system calls and nothing else: no allocation, no lock, no panic. All that
//!   it needs is prepared before.
//! - When `spawn` returns, the program has been executed, in its own group, or has failed:
//!   there is no moment in which a signal to its group could miss it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

use super::accept::{SignalSet, set_default, set_mask};
use super::limits::DescriptorLimit;
use super::terminal::move_foreground;
use super::{errno, reap};

/// What to execute, and with what. Lists of pointers end with a null.
pub(crate) struct Command<'a> {
    /// The files to try, in order; the first that can be executed is.
    pub(crate) candidates: &'a [&'a CStr],
    pub(crate) argv: &'a [&'a CStr],
    pub(crate) env: &'a [&'a CStr],
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

/// Enough for the child's few frames, with room for a libc that is generous with its own.
const STACK_BYTES: usize = 64 * 1024;

/// The child's stack, with a page below it that must not be touched.
pub(crate) struct Spawner {
    base: usize,
    length: usize,
}

impl Spawner {
    pub(crate) fn new() -> Result<Self, Errno> {
        // SAFETY: sysconf takes an integer.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let length = STACK_BYTES + page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing
        // that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Self {
            base: base as usize,
            length,
        };
        // SAFETY: the first page of a mapping that we have just made and nobody uses.
        if unsafe { libc::mprotect(base, page, libc::PROT_NONE) } == -1 {
            return Err(Errno::last());
        }
        Ok(stack)
    }

    /// Runs the command, and returns its pid, which is the number of its group.
    pub(crate) fn spawn(&mut self, command: &Command<'_>) -> Result<i32, Failure> {
        let pointers = |list: &[&CStr]| -> Vec<*const c_char> {
            list.iter()
                .map(|text| text.as_ptr())
                .chain([ptr::null()])
                .collect()
        };
        let (candidates, argv, env) = (
            pointers(command.candidates),
            pointers(command.argv),
            pointers(command.env),
        );
        let mut child = Child {
            candidates: candidates.as_ptr(),
            argv: argv.as_ptr(),
            env: env.as_ptr(),
            place: &command.place,
            failure: None,
        };
        let pid = self.clone_with_signals_blocked(&mut child)?;
        // SAFETY: `child` is live; the volatile read sees what the child wrote behind the
        // compiler's back.
        match unsafe { ptr::read_volatile(&raw const child.failure) } {
            None => Ok(pid),
            Some(failure) => {
                reap::reap_now(pid);
                Err(failure)
            }
        }
    }

    fn clone_with_signals_blocked(&mut self, child: &mut Child<'_>) -> Result<i32, Failure> {
        let top = (self.base + self.length) as *mut c_void;
        // SIGCHLD is what the child sends at its end, as after fork.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        let before = set_mask(libc::SIG_SETMASK, &SignalSet::FULL);
        // SAFETY: The stack is ours, mapped, page-aligned and used by one child at a time, as
        // CLONE_VFORK suspends this thread until the child has left our memory. `child` and all
        // it points to outlive that.
        let (pid, error) = unsafe {
            let pid = libc::clone(child_main, top, flags, ptr::from_mut(child).cast());
            (pid, errno())
        };
        set_mask(libc::SIG_SETMASK, &before);
        if pid == -1 {
            return Err(Failure {
                step: Step::Process,
                errno: error,
                candidate: 0,
            });
        }
        Ok(pid)
    }
}

impl Drop for Spawner {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave, and no child is on it: spawn has returned.
        unsafe { libc::munmap(self.base as *mut c_void, self.length) };
    }
}

/// What the child is handed: pointers only, so that it never runs a destructor.
struct Child<'a> {
    candidates: *const *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    place: &'a Place<'a>,
    failure: Option<Failure>,
}

/// The child's whole life before its exec. System calls only.
extern "C" fn child_main(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the `Child` of the parent's frame, which sleeps until we exec or
    // exit; nobody else uses it meanwhile.
    let child = unsafe { &mut *argument.cast::<Child<'_>>() };
    let failure = prepare(child).map_or_else(|failure| failure, |()| execute(child));
    // SAFETY: a write to the parent's live variable.
    unsafe { ptr::write_volatile(&raw mut child.failure, Some(failure)) };
    // SAFETY: _exit ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(child: &Child<'_>) -> Result<(), Failure> {
    match child.place {
        Place::Apart(apart) => prepare_apart(apart)?,
        Place::Inside(inside) => prepare_inside(inside)?,
    }
    set_mask(libc::SIG_SETMASK, &SignalSet::EMPTY);
    Ok(())
}

fn failed(step: Step) -> Failure {
    Failure {
        step,
        errno: errno(),
        candidate: 0,
    }
}

fn prepare_apart(place: &Apart<'_>) -> Result<(), Failure> {
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
        for (target, source) in place.stdio.iter().enumerate() {
            while libc::dup2(source.as_raw_fd(), target as c_int) == -1 {
                if !matches!(errno(), libc::EINTR | libc::EBUSY) {
                    return Err(failed(Step::Descriptors));
                }
            }
        }
        // Room for the descriptor that reads the list of the others.
        libc::close(place.stdio[2].as_raw_fd());
        close_the_rest();
        if let Some(limit) = place.limit
            && give_back(limit.0) == -1
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
            move_foreground(terminal.as_raw_fd(), libc::getpid());
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
unsafe fn give_back(mut limit: libc::rlimit) -> c_int {
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

/// Closes what is not stdin, stdout or stderr: ours is close-on-exec anyway, what the host or
/// its parent left open is not.
unsafe fn close_the_rest() {
    // SAFETY: the child's own descriptor table; nothing in it is needed any more.
    unsafe {
        if libc::syscall(libc::SYS_close_range, 3, c_int::MAX, 0) == 0 {
            return;
        }
        close_what_proc_names();
    }
}

/// How many descriptors are closed one by one, where nothing tells which are open.
const DESCRIPTORS_TRIED_MAX: c_int = 65_536;

/// Before Linux 5.9: the descriptors that `/proc` names, a few thousand bytes of names at a
/// time. A loop up to the limit could take minutes, where the limit is a billion.
unsafe fn close_what_proc_names() {
    /// d_reclen and the name stand at these offsets of a `linux_dirent64` (getdents64(2)).
    const RECLEN: usize = 16;
    const NAME: usize = 19;
    // SAFETY: system calls on a descriptor and a buffer of our own; indexes are checked against
    // what the kernel said it wrote.
    unsafe {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = libc::open(c"/proc/self/fd".as_ptr(), flags);
        if directory == -1 {
            // No /proc either.
            for fd in 3..DESCRIPTORS_TRIED_MAX {
                libc::close(fd);
            }
            return;
        }
        let mut buffer = [0_u8; 4096];
        loop {
            let count = libc::syscall(
                libc::SYS_getdents64,
                directory,
                buffer.as_mut_ptr(),
                buffer.len(),
            );
            let Some(count) = usize::try_from(count).ok().filter(|&count| count > 0) else {
                break;
            };
            let mut at = 0;
            while at + NAME < count {
                let fd = number(buffer.get(at + NAME..count).unwrap_or_default());
                if fd.is_some_and(|fd| fd > 2 && fd != directory) {
                    libc::close(fd.unwrap_or(-1));
                }
                let length = buffer.get(at + RECLEN..at + RECLEN + 2).unwrap_or_default();
                let length = length
                    .iter()
                    .rev()
                    .fold(0, |sum, &b| sum << 8 | usize::from(b));
                at += length.max(NAME);
            }
        }
        libc::close(directory);
    }
}

/// The decimal number at the start of `text`, up to its NUL.
fn number(text: &[u8]) -> Option<c_int> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut any = false;
    let value = digits.fold(0_i32, |sum, &digit| {
        any = true;
        sum.wrapping_mul(10).wrapping_add(c_int::from(digit - b'0'))
    });
    any.then_some(value)
}

/// Tries the candidates as execvp(3) does, without its fallback to a shell. Returns only when
/// none could be executed.
fn execute(child: &Child<'_>) -> Failure {
    let mut denied = None;
    let mut last = Failure {
        step: Step::Exec,
        errno: libc::ENOENT,
        candidate: 0,
    };
    let mut index = 0;
    loop {
        // SAFETY: the list ends with a null, at which the loop ends; all strings are alive.
        let candidate = unsafe { *child.candidates.add(index) };
        if candidate.is_null() {
            return denied.unwrap_or(last);
        }
        // SAFETY: three live, null-terminated things, as execve wants them.
        unsafe { libc::execve(candidate, child.argv, child.env) };
        last = Failure {
            step: Step::Exec,
            errno: errno(),
            candidate: index,
        };
        match last.errno {
            libc::EACCES => denied = Some(denied.unwrap_or(last)),
            libc::ENOENT | libc::ENOTDIR | libc::ESTALE | libc::ENODEV | libc::ETIMEDOUT => {}
            _ => return last,
        }
        index += 1;
    }
}
