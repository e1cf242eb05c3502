//! Signals as a queue: all are blocked, and taken one by one (sigtimedwait(2)). None is lost, PID 1
//! gets those that it would not get by default, and each queued real-time signal arrives.
//!
//! A failed write of our own raises SIGPIPE or SIGXFSZ. Blocked, it stays pending even if it is
//! ignored; it is discarded.
//!
//! System calls are made directly where a C library would leave out the signals that it uses
//! itself: a process with one thread has no use for them, so one that arrives is meant for us.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use libc::{c_int, c_ulong};
use nix::unistd::getpid;

use super::group::send;
use super::handlers::{bit, sigaction};
use super::pause::{pause, timespec};
use super::{FAULTS, errno, raw, retry};
use crate::signal::SIGNAL_MAX;

/// The pause after a wait that has failed, so that the next cannot spin.
const FAILED_WAIT_PAUSE: Duration = Duration::from_millis(1);

/// A set of signals, with the layout of the kernel's. There it may be two words of 32 bits.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct SignalSet(u64);

const _: () = assert!(SIGNAL_MAX == 64);
const _: () = assert!(cfg!(any(
    target_pointer_width = "64",
    target_endian = "little"
)));

/// Its size, an argument of the system calls.
const SET_BYTES: usize = size_of::<SignalSet>();

impl SignalSet {
    pub(crate) const EMPTY: Self = Self(0);
    pub(crate) const FULL: Self = Self(u64::MAX);

    pub(crate) fn of(signals: impl IntoIterator<Item = i32>) -> Self {
        signals.into_iter().fold(Self::EMPTY, Self::with)
    }

    /// Adds a signal.
    pub(crate) fn with(self, signal: i32) -> Self {
        Self(self.0 | bit(signal))
    }

    pub(crate) fn without(self, signals: impl IntoIterator<Item = i32>) -> Self {
        Self(self.0 & !Self::of(signals).0)
    }

    /// True if the signal is in the set. Async-signal-safe, and cannot panic.
    pub(crate) fn has(&self, signal: i32) -> bool {
        self.0 & bit(signal) != 0
    }
}

/// True for all signals but the faults, SIGABRT, by which this process aborts, SIGKILL and
/// SIGSTOP.
pub(crate) fn is_takeable(signal: i32) -> bool {
    let never = [libc::SIGABRT, libc::SIGKILL, libc::SIGSTOP];
    !FAULTS.contains(&signal) && !never.contains(&signal)
}

fn takeable() -> SignalSet {
    SignalSet::of((1..=SIGNAL_MAX).filter(|&signal| is_takeable(signal)))
}

/// Sets this thread's mask, and returns the one before. Async-signal-safe.
pub(crate) fn set_mask(how: c_int, set: &SignalSet) -> SignalSet {
    let mut before = SignalSet::EMPTY;
    let new = ptr::from_ref(set).expose_provenance();
    let old = (&raw mut before).expose_provenance();
    let arguments = [raw::int(how), new, old, SET_BYTES];
    // SAFETY: both pointers are to live sets of that size. With a valid `how` the call cannot fail.
    let _ = unsafe { raw::call(libc::SYS_rt_sigprocmask, arguments) };
    before
}

/// Blocks every signal that can be taken; from now on they wait for [`next`].
pub(crate) fn hold() {
    set_mask(libc::SIG_BLOCK, &takeable());
}

/// A signal that was taken.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Taken {
    pub(crate) signal: i32,
    /// The kernel sent it: SIGINT, SIGQUIT and SIGTSTP are then keys of the terminal.
    pub(crate) is_from_kernel: bool,
}

/// Takes the next signal, or waits for it; `None` when the time is over, or early, as after a stop
/// and a continue. SIGCHLD comes last: there may be one after another, and the kernel delivers the
/// lowest number first.
pub(crate) fn next(timeout: Option<Duration>) -> Option<Taken> {
    let all = takeable();
    let but_deaths = all.without([libc::SIGCHLD]);
    take(but_deaths, Some(Duration::ZERO)).or_else(|| take(all, timeout))
}

fn take(signals: SignalSet, timeout: Option<Duration>) -> Option<Taken> {
    let time = timeout.map(timespec);
    let time = time.as_ref().map_or(ptr::null(), ptr::from_ref);
    let mut set = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut info = MaybeUninit::<libc::siginfo_t>::zeroed();
    // SAFETY: every C library's set begins with the kernel's. Set and siginfo are alive, and the
    // time is, too, or null.
    let signal = unsafe {
        set.as_mut_ptr().cast::<SignalSet>().write(signals);
        libc::sigtimedwait(set.as_ptr(), info.as_mut_ptr(), time)
    };
    // Normally it fails only with EAGAIN, when the time is over.
    if signal == -1 && (errno() != libc::EAGAIN || timeout != Some(Duration::ZERO)) {
        pause(FAILED_WAIT_PAUSE);
    }
    // SAFETY: it was zeroed, and the kernel fills it or leaves it. Both signals have a sender.
    let is_from_us = || unsafe { info.assume_init().si_pid() } == getpid().as_raw();
    let is_own_write = matches!(signal, libc::SIGPIPE | libc::SIGXFSZ) && is_from_us();
    // SAFETY: as above; every signal has a code.
    let is_from_kernel = unsafe { info.assume_init().si_code } == libc::SI_KERNEL;
    (signal > 0 && !is_own_write).then_some(Taken {
        signal,
        is_from_kernel,
    })
}

/// A SIGCONT has arrived.
static IS_CONTINUED: AtomicBool = AtomicBool::new(false);

extern "C" fn note_continue(_: c_int) {
    IS_CONTINUED.store(true, Ordering::SeqCst);
}

/// To what a signal is sent.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Target {
    /// This process.
    Process,
    /// All of its group.
    Group,
}

impl Target {
    fn send(self, signal: i32) {
        let number = match self {
            Self::Process => getpid().as_raw(),
            Self::Group => 0,
        };
        send(number, signal);
    }
}

/// Stops this process by a job control signal with its default action, so that an `init` above
/// us can tell it from a SIGSTOP. Returns true if a SIGCONT has arrived, before or after; it is
/// consumed. Without one it goes on only if its group is orphaned.
///
/// The kernel discards a pending SIGCONT when a stop is sent, and a pending stop when a SIGCONT is.
/// So a handler notes the SIGCONT, and the stop stays blocked until that note was read. One race
/// is left: a SIGCONT that arrives while we enter kill(2) is discarded before the handler runs,
/// and we stop. A parent that waits for our stop before its SIGCONT, as a shell does, never
/// meets it.
pub(crate) fn stop_self(target: Target, signal: i32) -> bool {
    let (go_on, stop) = ([libc::SIGCONT], [signal]);
    let handler: extern "C" fn(c_int) = note_continue;
    IS_CONTINUED.store(false, Ordering::SeqCst);
    // SAFETY: the handler only stores to an atomic.
    unsafe { libc::signal(libc::SIGCONT, handler as libc::sighandler_t) };
    set_default(signal);
    set_mask(libc::SIG_BLOCK, &SignalSet::of(stop));
    set_mask(libc::SIG_UNBLOCK, &SignalSet::of(go_on));
    target.send(signal);
    if IS_CONTINUED.load(Ordering::SeqCst) {
        take(SignalSet::of(stop), Some(Duration::ZERO));
    } else {
        set_mask(libc::SIG_UNBLOCK, &SignalSet::of(stop));
        set_mask(libc::SIG_BLOCK, &SignalSet::of(stop));
    }
    set_mask(libc::SIG_BLOCK, &SignalSet::of(go_on));
    IS_CONTINUED.load(Ordering::SeqCst)
}

/// Ends this process, or its group, by a signal, without a core dump: the command's own is of more
/// use. Returns if the kernel ignores the signal, as for PID 1.
pub(crate) fn end_by(signal: i32, target: Target) {
    let _ = nix::sys::prctl::set_dumpable(false);
    set_default(signal);
    target.send(signal);
    set_mask(libc::SIG_UNBLOCK, &SignalSet::of([signal]));
}

/// Returns the signals that this process ignores.
pub(crate) fn ignored() -> SignalSet {
    let is_ignored = |signal: &i32| {
        sigaction(*signal, None).is_ok_and(|action| action.sa_sigaction == libc::SIG_IGN)
    };
    SignalSet::of((1..=SIGNAL_MAX).filter(is_ignored))
}

/// At least the size of the kernel's sigaction on every architecture.
const SIGACTION_BYTES: usize = 64;

/// Gives a signal its default action. Async-signal-safe: a direct system call, as C libraries take
/// a lock for SIGABRT and refuse the signals that they use. Leaves errno alone, although the kernel
/// refuses SIGKILL and SIGSTOP.
pub(crate) fn set_default(signal: i32) {
    // All zero is the default handler, no flags and an empty mask, in any order of fields.
    let action = [0_u8; SIGACTION_BYTES];
    let (new, old) = (action.as_ptr().expose_provenance(), 0);
    let arguments = [raw::int(signal), new, old, SET_BYTES];
    // SAFETY: the pointer is to live memory, larger than what the kernel reads.
    let _ = unsafe { raw::call(libc::SYS_rt_sigaction, arguments) };
}

/// Has a signal sent to this process when its parent dies (PR_SET_PDEATHSIG, prctl(2)), and sends
/// it if the parent died meanwhile.
pub(crate) fn on_parent_death(signal: i32) -> nix::Result<()> {
    let parent = std::os::unix::process::parent_id();
    let none: c_ulong = 0;
    let wanted = c_ulong::try_from(signal).unwrap_or(0);
    // SAFETY: with this option prctl takes five integers, each as wide as a register.
    let set = || unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, wanted, none, none, none) };
    retry(|| nix::errno::Errno::result(set()))?;
    if std::os::unix::process::parent_id() != parent {
        Target::Process.send(signal);
    }
    Ok(())
}

#[cfg(test)]
mod tests;
