//! Signal handlers, and the dispositions that they replace.
//!
//! A handler marks its signal for every scheduler of this process that wants it, notes which child
//! died or who sent the signal, wakes that scheduler, and then calls the handler that was
//! installed before it. The previous disposition is restored when the last scheduler that wanted
//! the signal is dropped, unless another handler has replaced ours meanwhile. Then ours stays,
//! marks nothing and passes signals on. A later scheduler installs another function over theirs
//! (a *layer*), since with the same one the chain would become a circle.
//!
//! Nothing here is ever freed, because a handler may run in any thread at any time.

use std::mem::MaybeUninit;
use std::os::fd::BorrowedFd;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, AtomicUsize, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use nix::errno::Errno;

use super::FAULTS;
use super::hints::Hints;
use super::identity::Identity;
use super::wake::wake;
use crate::error::{Error, Result};
use crate::event::SignalSender;

/// How often others may replace our handler before a scheduler is refused.
const LAYERS_MAX: usize = 4;

/// Signals are numbered from 1 to 64.
const NUMBERS: usize = 65;

type Handler = extern "C" fn(libc::c_int, *mut libc::siginfo_t, *mut libc::c_void);

const HANDLERS: [Handler; LAYERS_MAX] = [
    on_signal::<0>,
    on_signal::<1>,
    on_signal::<2>,
    on_signal::<3>,
];

/// The handlers that each layer calls after itself.
static PREVIOUS: [Previous; LAYERS_MAX] = [const { Previous::new() }; LAYERS_MAX];

/// The first slot; each has the next.
static FIRST: Slot = Slot::new();

/// What each installed handler of ours has replaced. Its lock is held to change dispositions.
static INSTALLED: Mutex<Vec<Installed>> = Mutex::new(Vec::new());

/// The signals of one scheduler. A slot is used again by a later scheduler, and never freed.
pub(super) struct Slot {
    next: OnceLock<Box<Slot>>,
    /// The [`Identity`] of its scheduler's process; 0 if it is free. A forked copy has another
    /// one, and leaves the slot alone.
    owner: AtomicU64,
    /// True if its scheduler tolerates no other.
    exclusive: AtomicBool,
    /// Bit `n - 1` stands for signal `n`.
    wanted: AtomicU64,
    pending: AtomicU64,
    /// The pids that came with SIGCHLD. To be taken after [`Slot::take`], as a handler leaves the
    /// hint first.
    pub(super) hints: Hints,
    /// The first sender of each other signal since it was last taken; see [`sender_code`].
    senders: [AtomicU64; NUMBERS],
    /// The pipe that wakes the scheduler.
    wake: AtomicI32,
    /// Handlers that are using it: the pipe may be closed only when there are none.
    writers: AtomicU32,
}

struct Installed {
    layer: usize,
    signal: i32,
    previous: libc::sigaction,
}

/// The handlers that are called after ours: what is needed of the `sigaction` of each signal.
struct Previous {
    handler: [AtomicUsize; NUMBERS],
    flags: [AtomicI32; NUMBERS],
}

impl Previous {
    const fn new() -> Self {
        Self {
            handler: [const { AtomicUsize::new(libc::SIG_DFL) }; NUMBERS],
            flags: [const { AtomicI32::new(0) }; NUMBERS],
        }
    }

    fn set(&self, signal: i32, action: &libc::sigaction) {
        let index = index(signal);
        // In this order: a handler must never be called by the flags of another.
        self.handler[index].store(libc::SIG_DFL, Ordering::SeqCst);
        self.flags[index].store(action.sa_flags, Ordering::SeqCst);
        self.handler[index].store(action.sa_sigaction, Ordering::SeqCst);
    }

    /// Calls the handler as the kernel would have. The mask is full already.
    fn call(&self, signal: i32, info: *mut libc::siginfo_t, context: *mut libc::c_void) {
        let index = index(signal);
        let handler = self.handler[index].load(Ordering::SeqCst);
        let flags = self.flags[index].load(Ordering::SeqCst);
        let is_other = handler != self.handler[index].load(Ordering::SeqCst);
        if is_other || handler == libc::SIG_DFL || handler == libc::SIG_IGN {
            return;
        }
        if flags & libc::SA_RESETHAND != 0 {
            self.handler[index].store(libc::SIG_DFL, Ordering::SeqCst);
        }
        if flags & libc::SA_SIGINFO != 0 {
            // SAFETY: sigaction gave this address as a handler with three arguments.
            let handler: Handler = unsafe { std::mem::transmute(handler) };
            handler(signal, info, context);
        } else {
            // SAFETY: sigaction gave this address as a handler with one argument.
            let handler: extern "C" fn(libc::c_int) = unsafe { std::mem::transmute(handler) };
            handler(signal);
        }
    }

    /// True if it was to be called once (SA_RESETHAND), and was.
    fn is_used_up(&self, signal: i32, action: &libc::sigaction) -> bool {
        action.sa_flags & libc::SA_RESETHAND != 0
            && self.handler[index(signal)].load(Ordering::SeqCst) == libc::SIG_DFL
    }
}

/// The lock on the dispositions, which belong to the whole process.
pub(super) struct Dispositions(MutexGuard<'static, Vec<Installed>>);

impl Dispositions {
    pub(super) fn lock() -> Self {
        Self(INSTALLED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a slot for a scheduler; an `exclusive` one tolerates no other.
    pub(super) fn claim(&self, exclusive: bool, wake: i32) -> Result<&'static Slot> {
        let me = Identity::establish().bits();
        let mut others = slots().filter(|slot| slot.owner.load(Ordering::SeqCst) == me);
        if others.any(|other| exclusive || other.exclusive.load(Ordering::SeqCst)) {
            return Err(Error::because(
                "failed to take over SIGCHLD",
                "another ProcessScheduler is alive in this process; drop it first, or give \
                 both Reap::Own",
            ));
        }
        // One that a handler is using, or was when this process was forked, is left alone.
        let is_free = |slot: &&Slot| {
            slot.owner.load(Ordering::SeqCst) == 0 && slot.writers.load(Ordering::SeqCst) == 0
        };
        let slot = slots().find(is_free).unwrap_or_else(|| {
            let last = slots().last().unwrap_or(&FIRST);
            last.next.get_or_init(|| Box::new(Slot::new()))
        });
        slot.exclusive.store(exclusive, Ordering::SeqCst);
        slot.wanted.store(0, Ordering::SeqCst);
        slot.pending.store(0, Ordering::SeqCst);
        slot.hints.take(&mut Vec::new());
        for sender in &slot.senders {
            sender.store(SENDER_UNKNOWN, Ordering::SeqCst);
        }
        slot.wake.store(wake, Ordering::SeqCst);
        slot.owner.store(me, Ordering::SeqCst);
        Ok(slot)
    }

    /// Delivers a signal to `slot`, by a handler of ours that is on top.
    pub(super) fn want(&mut self, slot: &Slot, signal: i32) -> Result<()> {
        slot.wanted.fetch_or(bit(signal), Ordering::SeqCst);
        let what = || format!("failed to handle signal {signal}");
        let current = sigaction(signal, None).map_err(|errno| Error::os(what(), errno as i32))?;
        if layer_of(&current).is_some() {
            return Ok(());
        }
        let is_taken = |layer: &usize| {
            let mut known = self.0.iter();
            known.any(|known| (known.layer, known.signal) == (*layer, signal))
        };
        let Some(layer) = (0..LAYERS_MAX).find(|layer| !is_taken(layer)) else {
            let why = "other code in this process has replaced the handler too often";
            return Err(Error::because(what(), why));
        };
        PREVIOUS[layer].set(signal, &current);
        let action = our_action(layer, &current);
        let replaced = sigaction(signal, Some(&action)).map_err(|errno| {
            PREVIOUS[layer].set(signal, &default_action());
            Error::os(what(), errno as i32)
        })?;
        // Other code may have replaced it between the two calls.
        if layer_of(&replaced).is_none() && !is_same(&replaced, &current) {
            PREVIOUS[layer].set(signal, &replaced);
        }
        self.0.push(Installed {
            layer,
            signal,
            previous: replaced,
        });
        Ok(())
    }

    /// Frees a slot. Signals that no other slot wants get their previous dispositions back.
    pub(super) fn release(&mut self, slot: &Slot) {
        let wanted = slot.wanted.load(Ordering::SeqCst);
        slot.owner.store(0, Ordering::SeqCst);
        let me = Identity::current().bits();
        let mut still_wanted = 0;
        for other in slots().filter(|other| other.owner.load(Ordering::SeqCst) == me) {
            still_wanted |= other.wanted.load(Ordering::SeqCst);
        }
        for signal in (1..=64).filter(|&signal| wanted & !still_wanted & bit(signal) != 0) {
            self.put_back(signal);
        }
        // A handler in another thread may be about to wake it, by one write that cannot block.
        while slot.writers.load(Ordering::SeqCst) != 0 {
            // SAFETY: sched_yield takes nothing and cannot fail.
            unsafe { libc::sched_yield() };
        }
    }

    /// Restores a disposition, if the current one is still ours.
    fn put_back(&mut self, signal: i32) {
        let Some(layer) = sigaction(signal, None).ok().as_ref().and_then(layer_of) else {
            return;
        };
        let is_it = |known: &Installed| (known.layer, known.signal) == (layer, signal);
        let Some(at) = self.0.iter().position(is_it) else {
            return;
        };
        let Installed { mut previous, .. } = self.0.swap_remove(at);
        if PREVIOUS[layer].is_used_up(signal, &previous) {
            previous = default_action();
        }
        // If it is refused, although it was valid before, ours stays and passes signals on.
        let _ = sigaction(signal, Some(&previous));
    }
}

impl Slot {
    const fn new() -> Self {
        Self {
            next: OnceLock::new(),
            owner: AtomicU64::new(0),
            exclusive: AtomicBool::new(false),
            wanted: AtomicU64::new(0),
            pending: AtomicU64::new(0),
            hints: Hints::new(),
            senders: [const { AtomicU64::new(SENDER_UNKNOWN) }; NUMBERS],
            wake: AtomicI32::new(-1),
            writers: AtomicU32::new(0),
        }
    }

    /// Takes the signals that arrived since the last call, as bits.
    pub(super) fn take(&self) -> u64 {
        self.pending.swap(0, Ordering::SeqCst)
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::SeqCst)
    }

    /// Takes the sender of a signal. To be called after [`Slot::take`], as for hints.
    pub(super) fn take_sender(&self, signal: i32) -> SignalSender {
        match self.senders[index(signal)].swap(SENDER_UNKNOWN, Ordering::SeqCst) {
            SENDER_UNKNOWN => SignalSender::Unknown,
            SENDER_KERNEL => SignalSender::Kernel,
            process => SignalSender::Process {
                pid: ((process & !SENDER_PROCESS) >> 32) as i32,
                uid: process as u32,
            },
        }
    }
}

/// True if another handler, or none, has replaced ours.
pub(super) fn is_replaced(signal: i32) -> bool {
    sigaction(signal, None).is_ok_and(|action| layer_of(&action).is_none())
}

/// True if the kernel discards the statuses of this process's children.
pub(super) fn discards_statuses() -> bool {
    sigaction(libc::SIGCHLD, None).is_ok_and(|action| {
        action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
    })
}

/// Returns the bit of a signal, or 0 for an invalid number.
pub(super) fn bit(signal: i32) -> u64 {
    let shift = signal.wrapping_sub(1).cast_unsigned();
    1_u64.checked_shl(shift).unwrap_or(0)
}

/// Runs in any thread, between any two instructions: atomics and a write that cannot block, then
/// the previous handler. Leaves errno alone.
extern "C" fn on_signal<const LAYER: usize>(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let saved = Errno::last_raw();
    mark_slots(signal, details(LAYER, signal, info));
    Errno::set_raw(saved);
    PREVIOUS[LAYER].call(signal, info, context);
    Errno::set_raw(saved);
}

/// Returns the siginfo if the kernel itself has called our handler. One that was installed over
/// ours may call it with the number alone, and leave `info` undefined. One race is left: such a
/// handler that is removed while it runs in another thread, before it calls ours.
fn details<'a>(
    layer: usize,
    signal: i32,
    info: *const libc::siginfo_t,
) -> Option<&'a libc::siginfo_t> {
    let is_on_top = sigaction(signal, None).is_ok_and(|now| layer_of(&now) == Some(layer));
    if !is_on_top {
        return None;
    }
    // SAFETY: null, or a siginfo of the kernel's, which calls us with SA_SIGINFO and keeps it
    // alive while the handler runs (but for the race above).
    unsafe { info.as_ref() }
}

/// The sender is not known.
const SENDER_UNKNOWN: u64 = 0;
/// The kernel sent it.
const SENDER_KERNEL: u64 = 1;
/// A process sent it: its pid is in the rest of the upper half, its uid in the lower half.
const SENDER_PROCESS: u64 = 1 << 63;

/// Encodes the sender of a signal as one number, for an atomic.
fn sender_code(info: &libc::siginfo_t) -> u64 {
    match info.si_code {
        libc::SI_USER | libc::SI_TKILL | libc::SI_QUEUE => {
            // SAFETY: a signal with one of these codes has both fields.
            let (pid, uid) = unsafe { (info.si_pid(), info.si_uid()) };
            SENDER_PROCESS | u64::from(pid.max(0).unsigned_abs()) << 32 | u64::from(uid)
        }
        1.. => SENDER_KERNEL,
        _ => SENDER_UNKNOWN,
    }
}

/// Returns the child of which a SIGCHLD reports the death.
fn dead_child(info: &libc::siginfo_t) -> Option<i32> {
    let is_death = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code);
    // SAFETY: with these codes of SIGCHLD the siginfo has this field.
    is_death.then(|| unsafe { info.si_pid() })
}

fn mark_slots(signal: i32, info: Option<&libc::siginfo_t>) {
    let is_death = signal == libc::SIGCHLD;
    let died = info.filter(|_| is_death).and_then(dead_child);
    let sender = info.filter(|_| !is_death).map(sender_code);
    let me = Identity::current().bits();
    let bit = bit(signal);
    for slot in slots() {
        slot.writers.fetch_add(1, Ordering::SeqCst);
        // In this order: what is wanted is written before the owner.
        let is_ours = slot.owner.load(Ordering::SeqCst) == me;
        if is_ours && slot.wanted.load(Ordering::SeqCst) & bit != 0 {
            if let Some(pid) = died {
                slot.hints.leave(pid);
            }
            if let Some(code) = sender {
                let place = &slot.senders[index(signal)];
                let (free, order) = (SENDER_UNKNOWN, Ordering::SeqCst);
                // The first sender is the cause of what follows.
                let _ = place.compare_exchange(free, code, order, order);
            }
            // While something is pending, an earlier handler has woken the turn, or is about to:
            // a turn takes what is pending after it has read the pipe.
            if slot.pending.fetch_or(bit, Ordering::SeqCst) == 0 {
                let pipe = slot.wake.load(Ordering::SeqCst);
                // SAFETY: `writers` keeps the descriptor open meanwhile.
                wake(unsafe { BorrowedFd::borrow_raw(pipe) });
            }
        }
        slot.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

/// Async-signal-safe, as all of them are there for ever.
fn slots() -> impl Iterator<Item = &'static Slot> {
    std::iter::successors(Some(&FIRST), |slot| slot.next.get().map(Box::as_ref))
}

fn index(signal: i32) -> usize {
    usize::try_from(signal).map_or(0, |number| number.min(NUMBERS - 1))
}

/// Returns the action of a layer. While it runs, every other signal is blocked, so that frames do
/// not pile up on a small alternate stack; but not the faults, which the host's handler, called by
/// ours, may cause and handle. The flags that a handler of the host has chosen for system calls and
/// stopped children stay.
fn our_action(layer: usize, previous: &libc::sigaction) -> libc::sigaction {
    let mut action = default_action();
    action.sa_sigaction = HANDLERS[layer] as *const () as usize;
    let choices = libc::SA_RESTART | libc::SA_NOCLDSTOP;
    let is_handler = ![libc::SIG_DFL, libc::SIG_IGN].contains(&previous.sa_sigaction);
    let chosen = if is_handler {
        previous.sa_flags & choices
    } else {
        choices
    };
    action.sa_flags = chosen | libc::SA_SIGINFO | libc::SA_ONSTACK;
    // SAFETY: the pointers are to a live signal set, which the first call fills.
    unsafe {
        libc::sigfillset(&raw mut action.sa_mask);
        for fault in FAULTS {
            libc::sigdelset(&raw mut action.sa_mask, fault);
        }
    }
    action
}

fn default_action() -> libc::sigaction {
    // SAFETY: all-zero is a valid sigaction: default handler, empty mask, no flags.
    unsafe { MaybeUninit::zeroed().assume_init() }
}

fn layer_of(action: &libc::sigaction) -> Option<usize> {
    let is_it = |handler: &Handler| *handler as *const () as usize == action.sa_sigaction;
    HANDLERS.iter().position(is_it)
}

fn is_same(one: &libc::sigaction, other: &libc::sigaction) -> bool {
    (one.sa_sigaction, one.sa_flags) == (other.sa_sigaction, other.sa_flags)
}

/// Sets a disposition, if one is given, and returns the one before.
pub(super) fn sigaction(
    signal: i32,
    action: Option<&libc::sigaction>,
) -> nix::Result<libc::sigaction> {
    let new = action.map_or(ptr::null(), ptr::from_ref);
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: the pointers are null or to live structures; the second was zeroed, as musl fills a
    // part of it only. The handlers in the first are ours, which are async-signal-safe, or were
    // returned by the kernel for this very signal.
    unsafe {
        Errno::result(libc::sigaction(signal, new, before.as_mut_ptr()))?;
        Ok(before.assume_init())
    }
}

#[cfg(test)]
mod tests;
