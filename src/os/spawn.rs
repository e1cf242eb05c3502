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
//! - When `spawn` returns, the program has been executed, in its own session, or has failed:
//!   there is no moment in which a signal to its group could miss it.

use std::ffi::{CStr, c_char, c_int, c_void};
use std::mem::MaybeUninit;
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr;

use nix::errno::Errno;

use super::limits::DescriptorLimit;
use super::{errno, reap};

/// What to execute, and with what. Lists of pointers end with a null.
pub(crate) struct Command<'a> {
    /// The files to try, in order; the first that can be executed is.
    pub(crate) candidates: &'a [&'a CStr],
    pub(crate) argv: &'a [&'a CStr],
    pub(crate) env: &'a [&'a CStr],
    pub(crate) cwd: &'a CStr,
    /// stdin, stdout, stderr; each numbered 3 or higher.
    pub(crate) stdio: [BorrowedFd<'a>; 3],
    /// The limit on descriptors, if it is not to be ours.
    pub(crate) limit: Option<DescriptorLimit>,
}

/// The step at which a start failed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[repr(i32)]
pub(crate) enum Step {
    Process,
    Session,
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

    /// Runs the command in a session of its own, and returns its pid.
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
            cwd: command.cwd.as_ptr(),
            stdio: command.stdio.map(|fd| fd.as_raw_fd()),
            limit: command.limit.map(|limit| limit.0),
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

    fn clone_with_signals_blocked(&mut self, child: &mut Child) -> Result<i32, Failure> {
        let mut all = MaybeUninit::<libc::sigset_t>::uninit();
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        let top = (self.base + self.length) as *mut c_void;
        // SIGCHLD is what the child sends at its end, as after fork.
        let flags = libc::CLONE_VM | libc::CLONE_VFORK | libc::SIGCHLD;
        // SAFETY: the signal sets are live. The stack is ours, mapped, page-aligned and used by
        // one child at a time, as CLONE_VFORK suspends this thread until the child has left
        // our memory. `child` and all it points to outlive that.
        let (pid, error) = unsafe {
            libc::sigfillset(all.as_mut_ptr());
            libc::pthread_sigmask(libc::SIG_SETMASK, all.as_ptr(), before.as_mut_ptr());
            let pid = libc::clone(child_main, top, flags, ptr::from_mut(child).cast());
            let error = errno();
            libc::pthread_sigmask(libc::SIG_SETMASK, before.as_ptr(), ptr::null_mut());
            (pid, error)
        };
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
struct Child {
    candidates: *const *const c_char,
    argv: *const *const c_char,
    env: *const *const c_char,
    cwd: *const c_char,
    stdio: [c_int; 3],
    limit: Option<libc::rlimit>,
    failure: Option<Failure>,
}

/// The child's whole life before its exec. System calls only.
extern "C" fn child_main(argument: *mut c_void) -> c_int {
    // SAFETY: the argument is the `Child` of the parent's frame, which sleeps until we exec or
    // exit; nobody else uses it meanwhile.
    let child = unsafe { &mut *argument.cast::<Child>() };
    let failure = prepare(child).map_or_else(|failure| failure, |()| execute(child));
    // SAFETY: a write to the parent's live variable.
    unsafe { ptr::write_volatile(&raw mut child.failure, Some(failure)) };
    // SAFETY: _exit ends this process without running anything of the parent's.
    unsafe { libc::_exit(127) }
}

fn prepare(child: &Child) -> Result<(), Failure> {
    let fail = |step| Failure {
        step,
        errno: errno(),
        candidate: 0,
    };
    // SAFETY: plain system calls; every pointer is to memory that the sleeping parent keeps
    // alive, and the descriptor table is the child's own copy.
    unsafe {
        if libc::setsid() == -1 {
            return Err(fail(Step::Session));
        }
        default_dispositions();
        if libc::chdir(child.cwd) == -1 {
            return Err(fail(Step::Directory));
        }
        for (target, &source) in child.stdio.iter().enumerate() {
            while libc::dup2(source, target as c_int) == -1 {
                if !matches!(errno(), libc::EINTR | libc::EBUSY) {
                    return Err(fail(Step::Descriptors));
                }
            }
        }
        // Room for the descriptor that reads the list of the others.
        libc::close(child.stdio[2]);
        close_the_rest();
        if let Some(limit) = child.limit
            && give_back(limit) == -1
        {
            return Err(fail(Step::Limit));
        }
        let none = [0_u8; SIGNAL_SET_BYTES];
        let (set, no_old) = (none.as_ptr(), ptr::null_mut::<c_void>());
        libc::syscall(
            libc::SYS_rt_sigprocmask,
            libc::SIG_SETMASK,
            set,
            no_old,
            SIGNAL_SET_BYTES,
        );
    }
    Ok(())
}

/// The kernel's own signal set: a bit for each of 64 signals.
const SIGNAL_SET_BYTES: usize = 8;

/// Room for the kernel's own sigaction, which is at most this large where Rust runs.
const SIGACTION_BYTES: usize = 64;

/// Ignored signals survive an exec, and a handler of the host must not run in the child:
/// everything becomes the default. The kernel is asked directly, because the C libraries take
/// a lock for SIGABRT and refuse the signals that they keep for themselves.
unsafe fn default_dispositions() {
    // All zero is the default handler, no flags and an empty mask, in any order of fields.
    let action = [0_u8; SIGACTION_BYTES];
    for signal in 1..=crate::spec::SIGNAL_MAX {
        let no_old = ptr::null_mut::<c_void>();
        // SAFETY: the pointer is to live memory, larger than what the kernel reads; without
        // CLONE_SIGHAND the table of handlers is the child's own.
        unsafe {
            let new = action.as_ptr();
            libc::syscall(
                libc::SYS_rt_sigaction,
                signal,
                new,
                no_old,
                SIGNAL_SET_BYTES,
            );
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
fn execute(child: &Child) -> Failure {
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
