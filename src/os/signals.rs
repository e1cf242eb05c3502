//! Signal handlers, and what is pending.
//!
//! A handler sets a bit and writes one byte to the wake pipe; everything else happens in the
//! turn. The order there is: clear the pipe, take the bits, then act, so that a signal which
//! arrives in between ends the next wait. One SIGCHLD may stand for many deaths.
//!
//! Dispositions belong to the process, so there is one [`Signals`] at a time. What was there
//! before is put back when it goes, unless somebody replaced it meanwhile.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Ordering};

use nix::errno::Errno;

use super::wake::Waker;
use crate::error::{Error, Result};

/// Bit `n - 1` stands for signal `n`.
static PENDING: AtomicU64 = AtomicU64::new(0);
/// Where a handler writes its byte, or -1.
static WAKE: AtomicI32 = AtomicI32::new(-1);
/// Handlers that run at this moment: the descriptor may be closed only when there are none.
static RUNNING: AtomicU32 = AtomicU32::new(0);
/// Whether somebody has the signals.
static TAKEN: AtomicBool = AtomicBool::new(false);

/// The handlers of one scheduler.
pub(crate) struct Signals {
    previous: Vec<(i32, libc::sigaction)>,
    /// What this thread had blocked of the signals that are needed.
    unblocked: Option<libc::sigset_t>,
    /// Keeps the pipe open for as long as a handler may write to it.
    _waker: Arc<Waker>,
}

impl Signals {
    /// Installs a handler for SIGCHLD and for each of `signals`, and unblocks them in this
    /// thread, whatever the parent process left blocked.
    pub(crate) fn install(signals: &[i32], waker: Arc<Waker>) -> Result<Self> {
        if TAKEN.swap(true, Ordering::SeqCst) {
            return Err(Error::because(
                "failed to take over SIGCHLD",
                "another ProcessScheduler is alive in this process; drop it first",
            ));
        }
        PENDING.store(0, Ordering::SeqCst);
        WAKE.store(waker.raw(), Ordering::SeqCst);
        let mut installed = Self {
            previous: Vec::new(),
            unblocked: None,
            _waker: waker,
        };
        let mut all = vec![libc::SIGCHLD];
        all.extend(signals.iter().filter(|&&signal| signal != libc::SIGCHLD));
        for &signal in &all {
            installed.handle(signal)?;
        }
        installed.unblock(&all);
        Ok(installed)
    }

    /// Which signals arrived since the last look, as numbers.
    pub(crate) fn take(&self) -> impl Iterator<Item = i32> + use<> {
        let bits = PENDING.swap(0, Ordering::SeqCst);
        (1..=64).filter(move |signal| bits & bit(*signal) != 0)
    }

    /// Whether one of these has arrived and was not taken yet.
    pub(crate) fn is_pending(&self, signals: &[i32]) -> bool {
        let bits = PENDING.load(Ordering::SeqCst);
        signals.iter().any(|&signal| bits & bit(signal) != 0)
    }

    fn handle(&mut self, signal: i32) -> Result<()> {
        if self.previous.iter().any(|(known, _)| *known == signal) {
            return Ok(());
        }
        let what = || format!("failed to handle signal {signal}");
        let action = our_action();
        let mut before = MaybeUninit::<libc::sigaction>::uninit();
        // SAFETY: both pointers are to live structures of the right type; our handler is
        // async-signal-safe.
        let status = unsafe { libc::sigaction(signal, &raw const action, before.as_mut_ptr()) };
        if status == -1 {
            return Err(Error::os(what(), Errno::last_raw()));
        }
        // SAFETY: sigaction succeeded, so it has filled `before`.
        self.previous
            .push((signal, unsafe { before.assume_init() }));
        Ok(())
    }

    fn unblock(&mut self, signals: &[i32]) {
        let set = set_of(signals);
        let mut before = MaybeUninit::<libc::sigset_t>::uninit();
        // SAFETY: both pointers are to live signal sets; the call only changes this thread's
        // mask.
        let failed = unsafe {
            libc::pthread_sigmask(libc::SIG_UNBLOCK, &raw const set, before.as_mut_ptr())
        };
        if failed != 0 {
            return;
        }
        // SAFETY: pthread_sigmask succeeded, so it has filled `before`.
        let before = unsafe { before.assume_init() };
        let was_blocked: Vec<i32> = signals
            .iter()
            .copied()
            .filter(|&signal| is_member(&before, signal))
            .collect();
        self.unblocked = (!was_blocked.is_empty()).then(|| set_of(&was_blocked));
    }
}

impl Drop for Signals {
    fn drop(&mut self) {
        for (signal, previous) in &self.previous {
            put_back(*signal, previous);
        }
        if let Some(set) = &self.unblocked {
            // SAFETY: the pointer is to a live signal set; the old mask is not asked for.
            unsafe { libc::pthread_sigmask(libc::SIG_BLOCK, set, ptr::null_mut()) };
        }
        WAKE.store(-1, Ordering::SeqCst);
        // A handler in another thread may have read the descriptor just before; it needs only
        // the time of one write to a pipe that cannot block.
        while RUNNING.load(Ordering::SeqCst) != 0 {
            std::hint::spin_loop();
        }
        TAKEN.store(false, Ordering::SeqCst);
    }
}

/// Restores a disposition, if the present one is still ours.
fn put_back(signal: i32, previous: &libc::sigaction) {
    let mut now = MaybeUninit::<libc::sigaction>::uninit();
    // SAFETY: a null new action only asks; the other pointer is to a live structure.
    if unsafe { libc::sigaction(signal, ptr::null(), now.as_mut_ptr()) } == -1 {
        return;
    }
    // SAFETY: sigaction succeeded, so it has filled `now`.
    if unsafe { now.assume_init() }.sa_sigaction == on_signal as *const () as usize {
        // SAFETY: `previous` is what the kernel gave for this very signal.
        unsafe { libc::sigaction(signal, previous, ptr::null_mut()) };
    }
}

/// Runs in whatever thread the kernel picks, between any two instructions: atomics and one
/// write, and errno left as it was.
extern "C" fn on_signal(signal: libc::c_int) {
    let saved = Errno::last_raw();
    RUNNING.fetch_add(1, Ordering::SeqCst);
    PENDING.fetch_or(bit(signal), Ordering::SeqCst);
    let wake = WAKE.load(Ordering::SeqCst);
    if wake >= 0 {
        let byte = 0_u8;
        // SAFETY: one byte from a live variable; RUNNING keeps the descriptor from being
        // closed meanwhile, and it is non-blocking.
        unsafe { libc::write(wake, (&raw const byte).cast(), 1) };
    }
    RUNNING.fetch_sub(1, Ordering::SeqCst);
    Errno::set_raw(saved);
}

/// While a handler runs, every other signal waits: frames never pile up on a stack that has
/// room for few, as the alternate stack of a thread may.
fn our_action() -> libc::sigaction {
    // SAFETY: all-zero is a valid sigaction: default handler, empty mask, no flags.
    let mut action: libc::sigaction = unsafe { MaybeUninit::zeroed().assume_init() };
    action.sa_sigaction = on_signal as *const () as usize;
    action.sa_flags = libc::SA_RESTART | libc::SA_ONSTACK | libc::SA_NOCLDSTOP;
    // SAFETY: the pointer is to a live signal set.
    unsafe { libc::sigfillset(&raw mut action.sa_mask) };
    action
}

fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::<libc::sigset_t>::uninit();
    // SAFETY: sigemptyset fills the set; sigaddset gets a set that is filled.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}

fn is_member(set: &libc::sigset_t, signal: i32) -> bool {
    // SAFETY: the pointer is to a live, filled signal set.
    unsafe { libc::sigismember(set, signal) == 1 }
}
