//! Writes that wait for no reader, to a descriptor that others have, too.
//!
//! `O_NONBLOCK` is a property of the open file description: set on an inherited descriptor, it
//! hits everybody who shares that. And a poll(2) that says "ready" promises nothing: another
//! writer may take the room before the write comes. So it is, in this order:
//!
//! 1. A regular file takes everything at once, and is simply written.
//! 2. A pipe or a terminal is opened once more through `/proc`, which gives a description of our
//!    own. That is refused if it belongs to another user.
//! 3. One call is asked not to wait: `MSG_DONTWAIT` for a socket, `RWF_NOWAIT` for all others. It
//!    works for pipes since Linux 6.4, and neither for terminals nor for FIFOs with a name.
//! 4. Where that is refused, by whatever errno, poll(2) is asked first, and a write that waits all
//!    the same is ended by a timer.
//!
//! The timer is ITIMER_REAL. It, the handler of its SIGALRM and the mask are ours for the time of
//! such a write only: a SIGALRM that somebody else sends meanwhile is sent once more after it, and
//! an alarm(2) that we were started with goes on.

use std::io::{self, Write};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use nix::errno::Errno;
use nix::fcntl::OFlag;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::stat::{Mode, SFlag, fstat};

use super::accept::{SignalSet, set_mask};

/// How much is handed over at once where a write may wait, in bytes: what a pipe that is ready
/// takes at once, if nobody else comes first (`PIPE_BUF`).
const PIECE_BYTES_MAX: usize = 4096;

/// How long a write may wait, in microseconds.
const WAIT_MICROSECONDS_MAX: libc::suseconds_t = 1000;

/// It is the same everywhere, and libc does not name it here.
const ITIMER_REAL: libc::c_int = 0;

/// A writer to a descriptor that others share, such as an inherited stdout: no write waits for
/// whoever reads, and the descriptor's own flags are left alone.
///
/// For programs of one thread that supervise and do nothing else, as `procsched-min` is: where the
/// system cannot do it otherwise, a write is ended by a SIGALRM, after a millisecond.
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
}

/// How a write is kept from waiting.
#[derive(Debug)]
enum Way {
    /// It never waits by itself.
    File,
    /// By a description of our own, which is non-blocking.
    Own(OwnedFd),
    /// By a flag of send(2).
    Send,
    /// By a flag of pwritev2(2).
    NoWait,
    /// By poll(2) and a timer.
    Timer,
}

impl<D: AsFd> SharedWriter<D> {
    /// A writer to this descriptor. Allocates nothing.
    pub fn new(descriptor: D) -> Self {
        let way = way_of(descriptor.as_fd());
        Self { descriptor, way }
    }

    /// Writes as much as is taken at once, and returns how much that was.
    ///
    /// # Errors
    ///
    /// [`io::ErrorKind::WouldBlock`] or [`io::ErrorKind::Interrupted`] if nothing is taken now;
    /// else what write(2) says.
    pub fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        Ok(self.try_write(bytes)?)
    }

    /// Whether it is a regular file, which is always ready.
    pub fn is_file(&self) -> bool {
        matches!(self.way, Way::File)
    }

    /// How much one write takes at most, in bytes.
    pub fn piece_bytes_max(&self) -> usize {
        match self.way {
            Way::File | Way::Own(_) | Way::Send | Way::NoWait => usize::MAX,
            Way::Timer => PIECE_BYTES_MAX,
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
            // The flag is unknown here or refused; or it is a true answer, and comes once more.
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
        // All else may be another thing when it is opened once more.
        _ if kind != SFlag::S_IFIFO && !is_terminal(fd) => Way::NoWait,
        _ => reopen(fd).map_or(Way::NoWait, Way::Own),
    }
}

fn is_terminal(fd: BorrowedFd<'_>) -> bool {
    io::IsTerminal::is_terminal(&fd)
}

/// The same pipe or terminal once more, with a description of our own that does not block.
/// Allocates nothing.
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
    // SAFETY: the bytes are alive, and so many.
    counted(unsafe { libc::send(fd.as_raw_fd(), base, length, flags) })
}

fn write_without_wait(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let piece = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    // -1, in two halves, is the place where write(2) would write.
    let (low, high): (libc::c_long, libc::c_long) = (-1, -1);
    let (fd, flags) = (fd.as_raw_fd(), libc::RWF_NOWAIT);
    // SAFETY: one live piece of so many bytes, which the call only reads; the rest is numbers. The
    // call is made directly, as not every C library has it.
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

/// Waits for a millisecond at most if another writer was faster.
fn write_with_timer(fd: BorrowedFd<'_>, bytes: &[u8]) -> nix::Result<usize> {
    let mut ready = [PollFd::new(fd, PollFlags::POLLOUT)];
    if !matches!(poll(&mut ready, PollTimeout::ZERO), Ok(1..)) {
        return Err(Errno::EAGAIN);
    }
    let piece = &bytes[..bytes.len().min(PIECE_BYTES_MAX)];
    let alarm = Alarm::set();
    let written = nix::unistd::write(fd, piece);
    drop(alarm);
    written
}

fn counted(written: isize) -> nix::Result<usize> {
    usize::try_from(written).map_err(|_| Errno::last())
}

/// A SIGALRM has come that is not the timer's.
static IS_FOREIGN: AtomicBool = AtomicBool::new(false);

/// What matters of it is that it is called: that ends a call that waits.
extern "C" fn on_alarm(_: libc::c_int, info: *mut libc::siginfo_t, _: *mut libc::c_void) {
    // SAFETY: installed with SA_SIGINFO, it is called with details that are alive.
    let code = unsafe { (*info).si_code };
    // What an interval timer sends is from the kernel.
    if code != libc::SI_KERNEL {
        IS_FOREIGN.store(true, Ordering::SeqCst);
    }
}

/// While this lives, a SIGALRM comes every millisecond, and ends calls that wait: again and
/// again, as the first may come before the call.
struct Alarm {
    action: libc::sigaction,
    timer: libc::itimerval,
    mask: SignalSet,
}

impl Alarm {
    fn set() -> Self {
        let mut action = MaybeUninit::<libc::sigaction>::zeroed();
        let mut timer = MaybeUninit::<libc::itimerval>::zeroed();
        let interval = libc::timeval {
            tv_sec: 0,
            tv_usec: WAIT_MICROSECONDS_MAX,
        };
        let every = libc::itimerval {
            it_interval: interval,
            it_value: interval,
        };
        let handler: extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void) = on_alarm;
        // SAFETY: all zero is a valid action without flags, and so without SA_RESTART; the handler
        // is one with three arguments, and stores to an atomic. Each pointer is to a live
        // structure, zeroed, as musl fills a part of it only. Where the system has no such timer
        // nothing ends the write: then poll's word has to do.
        unsafe {
            let mut ours: libc::sigaction = std::mem::zeroed();
            ours.sa_sigaction = handler as *const () as usize;
            ours.sa_flags = libc::SA_SIGINFO | libc::SA_ONSTACK;
            libc::sigaction(libc::SIGALRM, &raw const ours, action.as_mut_ptr());
            libc::setitimer(ITIMER_REAL, &raw const every, timer.as_mut_ptr());
            Self {
                action: action.assume_init(),
                timer: timer.assume_init(),
                mask: set_mask(libc::SIG_UNBLOCK, &SignalSet::of([libc::SIGALRM])),
            }
        }
    }
}

impl Drop for Alarm {
    fn drop(&mut self) {
        // SAFETY: what the kernel gave goes back to it. What the timer has sent is delivered at the
        // latest when setitimer returns, to the handler that is still ours.
        unsafe {
            libc::setitimer(ITIMER_REAL, &raw const self.timer, std::ptr::null_mut());
            set_mask(libc::SIG_SETMASK, &self.mask);
            libc::sigaction(libc::SIGALRM, &raw const self.action, std::ptr::null_mut());
        }
        if IS_FOREIGN.swap(false, Ordering::SeqCst) {
            // SAFETY: getpid and kill take plain numbers; the target is this process.
            unsafe { libc::kill(libc::getpid(), libc::SIGALRM) };
        }
    }
}

#[cfg(test)]
mod tests;
