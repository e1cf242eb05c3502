//! Writes that never wait for a reader, to a descriptor that other processes share.
//!
//! `O_NONBLOCK` is a property of the open file description: set on an inherited descriptor, it
//! affects every process that shares it. And poll(2) is no guarantee: another writer may fill the
//! pipe before the write. So these methods are tried in this order:
//!
//! 1. A regular file never blocks for a reader; it is simply written.
//! 2. A pipe or a terminal is reopened through `/proc`, which gives a description of our own. That
//!    is refused if it belongs to another user.
//! 3. A flag makes a single call nonblocking: `MSG_DONTWAIT` for a socket, `RWF_NOWAIT` for all
//!    others. It works for pipes since Linux 6.4, and neither for terminals nor for named FIFOs.
//! 4. Where the flag is refused, with any errno, poll(2) comes first, and a timer interrupts a
//!    write that blocks all the same.
//!
//! The timer is ITIMER_REAL. It, the handler of SIGALRM and the signal mask are changed for the
//! duration of such a write only: another SIGALRM that arrives meanwhile is raised again after it,
//! and an alarm(2) that was set before our exec is kept.

use std::io::{self, IsTerminal, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::handlers::sigaction;
use super::signal_queue::{SignalSet, set_mask};
use super::stream::pending;

/// The most that one write takes where it may block, in bytes: a pipe that is ready has room for
/// `PIPE_BUF` bytes, unless another writer is faster.
const PIECE_BYTES_MAX: usize = 4096;

/// How long a write may block, in microseconds.
const WAIT_MICROSECONDS_MAX: libc::suseconds_t = 1000;

/// The same on every architecture; the libc crate does not define it for Linux.
const ITIMER_REAL: libc::c_int = 0;

/// A nonblocking writer to a descriptor that other processes share, such as an inherited stdout.
/// No write waits for a reader, and the flags of the descriptor are left alone.
///
/// For programs with one thread that supervise and do nothing else, as `procsched-min` does: where
/// the kernel offers nothing better, a write is interrupted by a SIGALRM after a millisecond.
///
/// ```
/// use std::io::ErrorKind;
///
/// let (_reader, pipe) = std::io::pipe()?;
/// let mut writer = procsched::SharedWriter::new(pipe);
/// let full = loop {
///     match writer.write(&[b'x'; 4096]) {
///         Ok(_) => {}
///         Err(error) => break error,
///     }
/// };
/// assert_eq!(full.kind(), ErrorKind::WouldBlock);
/// # Ok::<(), std::io::Error>(())
/// ```
#[derive(Debug)]
pub struct SharedWriter<D> {
    descriptor: D,
    way: Way,
    /// How much fits into it, if it is a pipe.
    pipe_bytes: usize,
}

/// How a write is kept from blocking.
#[derive(Debug)]
enum Way {
    /// A regular file does not block for a reader.
    File,
    /// By a nonblocking description of our own.
    Own(OwnedFd),
    /// By a flag of send(2).
    Send,
    /// By a flag of pwritev2(2).
    NoWait,
    /// By poll(2) and a timer.
    Timer,
}

impl<D: AsFd> SharedWriter<D> {
    /// Makes a writer to this descriptor. Allocates nothing.
    pub fn new(descriptor: D) -> Self {
        let way = way_of(descriptor.as_fd());
        // It fails for all but pipes.
        let capacity = fcntl(descriptor.as_fd(), FcntlArg::F_GETPIPE_SZ);
        let pipe_bytes = usize::try_from(capacity.unwrap_or(0)).unwrap_or(0);
        Self {
            descriptor,
            way,
            pipe_bytes,
        }
    }

    /// Writes as much as fits without blocking, and returns how much that was.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::Interrupted`] if nothing fits now; else
    /// the error of write(2).
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.try_write(bytes)?)
    }

    /// True if it is a regular file, which is always ready.
    pub fn is_file(&self) -> bool {
        matches!(self.way, Way::File)
    }

    /// Returns the most that one write takes, in bytes.
    pub fn piece_bytes_max(&self) -> usize {
        match self.way {
            Way::File | Way::Own(_) | Way::Send | Way::NoWait => usize::MAX,
            Way::Timer => PIECE_BYTES_MAX,
        }
    }

    /// Returns how many bytes one write takes whole if it takes any, as far as no other process writes
    /// at the same moment: all that a pipe holds while it is empty, else `PIPE_BUF`.
    pub fn whole_bytes_max(&self) -> usize {
        match self.pipe_bytes > PIECE_BYTES_MAX && pending(self.as_fd()) == 0 {
            true => self.pipe_bytes,
            false => PIECE_BYTES_MAX,
        }
    }

    fn try_write(&mut self, bytes: &[u8]) -> nix::Result<usize> {
        let fd = self.descriptor.as_fd();
        let asked = match &self.way {
            Way::File => return nix::unistd::write(fd, bytes),
            Way::Own(own) => return nix::unistd::write(own, bytes),
            Way::Send => send(fd, bytes),
            Way::NoWait => write_without_wait(fd, bytes),
            Way::Timer => return write_with_timer(fd, bytes),
        };
        match asked {
            Ok(_) | Err(Errno::EAGAIN | Errno::EINTR) => asked,
            // The flag is unknown or refused; or the error is real, and write(2) returns it again.
            Err(_) => {
                self.way = Way::Timer;
                write_with_timer(self.descriptor.as_fd(), bytes)
            }
        }
    }
}

/// To be polled for POLLOUT.
impl<D: AsFd> AsFd for SharedWriter<D> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        match &self.way {
            Way::Own(own) => own.as_fd(),
            _ => self.descriptor.as_fd(),
        }
    }
}

fn way_of(fd: BorrowedFd<'_>) -> Way {
    let kind = fstat(fd).map_or(SFlag::empty(), |found| {
        SFlag::from_bits_truncate(found.st_mode & SFlag::S_IFMT.bits())
    });
    match kind {
        SFlag::S_IFREG => Way::File,
        SFlag::S_IFSOCK => Way::Send,
        // Reopening anything else may have a side effect.
        _ if kind != SFlag::S_IFIFO && !fd.is_terminal() => Way::NoWait,
        _ => reopen(fd).map_or(Way::NoWait, Way::Own),
    }
}

/// Reopens a pipe or terminal with a nonblocking description of our own. Allocates nothing.
fn reopen(fd: BorrowedFd<'_>) -> Option<OwnedFd> {
    let mut path = [0; 32];
    write!(&mut path[..], "/proc/self/fd/{}", fd.as_raw_fd()).ok()?;
    let path = std::ffi::CStr::from_bytes_until_nul(&path).ok()?;
    let flags = OFlag::O_WRONLY | OFlag::O_NONBLOCK | OFlag::O_NOCTTY | OFlag::O_CLOEXEC;
    nix::fcntl::open(path, flags, Mode::empty()).ok()
}

fn send(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let flags = libc::MSG_DONTWAIT | libc::MSG_NOSIGNAL;
    let (base, length) = (bytes.as_ptr().cast(), bytes.len());
    // SAFETY: the pointer is to live bytes of this length.
    counted(unsafe { libc::send(fd.as_raw_fd(), base, length, flags) })
}

fn write_without_wait(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // The offset -1, in two halves, is the current one, as for write(2).
    let (low, high): (libc::c_long, libc::c_long) = (-1, -1);
    let (fd, flags) = (fd.as_raw_fd(), libc::RWF_NOWAIT);
    // SAFETY: the pointer is to one live iovec, whose bytes are only read; the rest are numbers.
    // The call is made directly, as not every C library has it.
    let written = unsafe {
        libc::syscall(
            libc::SYS_pwritev2,
            fd,
            &raw const piece,
            1,
            low,
            high,
            flags,
        )
    };
    counted(written as isize)
}

/// Blocks for a millisecond at most if another writer was faster.
fn write_with_timer(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
        return Err(Errno::EAGAIN);
    }
    let piece = &bytes[..bytes.len().min(PIECE_BYTES_MAX)];
    interruptible(|| nix::unistd::write(fd, piece))
}

fn counted(written: isize) -> nix::Result<usize> {
    usize::try_from(written).map_err(|_| Errno::last())
}

/// A SIGALRM has arrived that is not the timer's.
static IS_FOREIGN: AtomicBool = AtomicBool::new(false);

/// Interrupts a blocking call by being called.
extern "C" fn on_alarm(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: installed with SA_SIGINFO, it gets a pointer to a live siginfo_t.
    let code = unsafe { (*info).si_code };
    // An interval timer's signal comes from the kernel.
    if code != libc::SI_KERNEL {
        IS_FOREIGN.store(true, Ordering::SeqCst);
    }
}

/// Raises SIGALRM every millisecond, to interrupt a blocking call: repeatedly, as the first one may
/// arrive before the call.
fn interruptible<T>(call: impl FnOnce() -> T) -> T {
    let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_alarm;
    // SAFETY: all zero is a valid action without flags, and so without SA_RESTART.
    let mut ours: libc::sigaction = unsafe { std::mem::zeroed() };
    ours.sa_sigaction = handler as *const () as usize;
    ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
    let action = sigaction(libc::SIGALRM, Some(&ours));
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: WAIT_MICROSECONDS_MAX,
    };
    let timer = set_timer(&libc::itimerval {
        it_interval: interval,
        it_value: interval,
    });
    let mask = set_mask(libc::SIG_UNBLOCK, &SignalSet::of([libc::SIGALRM]));
    let result = call();
    // A signal of the timer is delivered before this returns, while the handler is still ours.
    set_timer(&timer);
    set_mask(libc::SIG_SETMASK, &mask);
    if let Ok(action) = &action {
        let _ = sigaction(libc::SIGALRM, Some(action));
    }
    if IS_FOREIGN.swap(false, Ordering::SeqCst) {
        // SAFETY: getpid and kill take plain numbers; the target is this process.
        unsafe { libc::kill(libc::getpid(), libc::SIGALRM) };
    }
    result
}

/// Sets the interval timer, and returns what it was. Without interval timers in the kernel nothing
/// interrupts the write, and the answer of poll(2) has to suffice.
fn set_timer(new: &libc::itimerval) -> libc::itimerval {
    let mut before = MaybeUninit::zeroed();
    // SAFETY: both pointers are to live structures, the second of them zeroed.
    unsafe {
        libc::setitimer(ITIMER_REAL, new, before.as_mut_ptr());
        before.assume_init()
    }
}

#[cfg(test)]
mod tests;
