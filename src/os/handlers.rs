//! The functions that the kernel calls when a signal arrives, and what stood there before.
//!
//! A handler marks its signal for every scheduler of this process that wants it, notes who died
//! or who sent it, writes one byte to that scheduler's pipe, and then calls what had been
//! installed before it. What was there is put back when the last scheduler that wanted the signal
//! goes, unless another handler has been put over ours meanwhile. Then ours stays where it is, marks nothing
//! and passes signals on; and if a scheduler comes later, it stands over theirs with another
//! function (a *layer*), since with the same one the chain would become a circle.
//!
//! Nothing here is ever freed, because a handler may be at work in any thread at any time.

use std::mem::MaybeUninit;
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicI32, AtomicPtr, AtomicU32, AtomicU64, AtomicUsize};
use std::sync::atomic::{Ordering, fence};
use std::sync::{Mutex, MutexGuard, PoisonError};

use nix::errno::Errno;

use super::hints::Hints;
use super::identity::Identity;
use super::wake::WAKE_TRIES_MAX;
use super::{FAULTS, errno};
use crate::error::{Error, Result};
use crate::event::SignalSender;

/// How often somebody may put a handler over ours before we do not come back.
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

/// What each layer calls after itself.
static PREVIOUS: [Previous; LAYERS_MAX] = [const { Previous::new() }; LAYERS_MAX];

/// The newest slot; each knows the next.
static SLOTS: AtomicPtr<Slot> = AtomicPtr::new(ptr::null_mut());

/// What was installed before us, layer by layer. Whoever holds it changes dispositions.
static INSTALLED: Mutex<Vec<Installed>> = Mutex::new(Vec::new());

/// What one scheduler wants to hear of. It is used again by the next, and never freed.
pub(super) struct Slot {
    next: *const Slot,
    /// The process of its scheduler, by its [`Identity`]; 0 if it is free. In a copy that was made
    /// by fork it is another process's, and so nothing to touch.
    owner: AtomicU64,
    /// Whether its scheduler tolerates no other.
    exclusive: AtomicBool,
    /// Bit `n - 1` stands for signal `n`.
    wanted: AtomicU64,
    pending: AtomicU64,
    /// Whom the SIGCHLDs among them were about.
    hints: Hints,
    /// Who sent each of the others first, since that was asked last; see [`sender_code`].
    senders: [AtomicU64; NUMBERS],
    /// Where a handler writes its byte.
    wake: AtomicI32,
    /// Handlers that are looking at it: its descriptor may be closed only when there are none.
    writers: AtomicU32,
}

// SAFETY: `next` is written once, before the slot is published, and points to another slot that
// lives for ever; the rest are atomics.
unsafe impl Sync for Slot {}
// SAFETY: as above; nothing in it belongs to a thread.
unsafe impl Send for Slot {}

struct Installed {
    layer: usize,
    signal: i32,
    previous: libc::sigaction,
}

/// A handler that is called after ours; the parts of its `sigaction` that matter for that.
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

    /// Calls it as the kernel would have. The mask is full already.
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

    /// Whether it was to be called once, and was.
    fn is_used_up(&self, signal: i32, action: &libc::sigaction) -> bool {
        action.sa_flags & libc::SA_RESETHAND != 0
            && self.handler[index(signal)].load(Ordering::SeqCst) == libc::SIG_DFL
    }
}

/// Dispositions belong to the process: whoever holds this is alone with them.
pub(super) struct Dispositions(MutexGuard<'static, Vec<Installed>>);

impl Dispositions {
    pub(super) fn lock() -> Self {
        Self(INSTALLED.lock().unwrap_or_else(PoisonError::into_inner))
    }

    /// Takes a slot for a scheduler. `exclusive` is whether it tolerates no other.
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
        // One that a handler is looking at, or was when this process was copied, is left alone.
        let is_free = |slot: &&Slot| {
            slot.owner.load(Ordering::SeqCst) == 0 && slot.writers.load(Ordering::SeqCst) == 0
        };
        let slot = slots().find(is_free).unwrap_or_else(new_slot);
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

    /// Makes `slot` hear of a signal, by a handler of ours that is on top.
    pub(super) fn want(&mut self, slot: &Slot, signal: i32) -> Result<()> {
        slot.wanted.fetch_or(bit(signal), Ordering::SeqCst);
        let what = || format!("failed to handle signal {signal}");
        let current = action_of(signal).map_err(|errno| Error::os(what(), errno as i32))?;
        if layer_of(&current).is_some() {
            return Ok(());
        }
        let is_taken = |layer: &usize| {
            let mut known = self.0.iter();
            known.any(|known| (known.layer, known.signal) == (*layer, signal))
        };
        let Some(layer) = (0..LAYERS_MAX).find(|layer| !is_taken(layer)) else {
            let why = "others have put handlers over ours too often in this process";
            return Err(Error::because(what(), why));
        };
        PREVIOUS[layer].set(signal, &current);
        let action = our_action(layer, &current);
        let replaced = set_action(signal, &action).map_err(|errno| {
            PREVIOUS[layer].set(signal, &default_action());
            Error::os(what(), errno as i32)
        })?;
        // Somebody else may have been faster between the question and the answer.
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

    /// Gives a slot back, and with the last that wanted a signal, what was there before us.
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
        // A handler in another thread may have looked just before; it needs only the time of
        // one write to a pipe that cannot block.
        while slot.writers.load(Ordering::SeqCst) != 0 {
            // SAFETY: sched_yield takes nothing and cannot fail.
            unsafe { libc::sched_yield() };
        }
    }

    /// Restores a disposition, if the present one is still ours.
    fn put_back(&mut self, signal: i32) {
        let Some(layer) = action_of(signal).ok().as_ref().and_then(layer_of) else {
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
        // It was valid when the kernel gave it to us; if it is not any more, ours stays, and
        // passes signals on.
        let _ = set_action(signal, &previous);
    }
}

impl Slot {
    /// Which signals arrived since the last look, as bits.
    pub(super) fn take(&self) -> u64 {
        self.pending.swap(0, Ordering::SeqCst)
    }

    pub(super) fn pending(&self) -> u64 {
        self.pending.load(Ordering::SeqCst)
    }

    /// Adds to `pids` who may have died. To be asked after [`Slot::take`], as a handler leaves
    /// the hint first.
    pub(super) fn take_hints(&self, pids: &mut Vec<i32>) {
        self.hints.take(pids);
    }

    /// Who sent this signal. To be asked after [`Slot::take`], as for hints.
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

/// Whether nobody will tell us of this signal any more, at least not directly.
pub(super) fn is_replaced(signal: i32) -> bool {
    action_of(signal).is_ok_and(|action| layer_of(&action).is_none())
}

/// Whether the system throws the statuses of this process's children away.
pub(super) fn discards_statuses() -> bool {
    action_of(libc::SIGCHLD).is_ok_and(|action| {
        action.sa_sigaction == libc::SIG_IGN || action.sa_flags & libc::SA_NOCLDWAIT != 0
    })
}

/// The bit of a signal; none for a number that is no signal.
pub(super) fn bit(signal: i32) -> u64 {
    u32::try_from(signal - 1)
        .ok()
        .and_then(|shift| 1_u64.checked_shl(shift))
        .unwrap_or(0)
}

/// Runs in whatever thread the kernel picks, between any two instructions: atomics and writes
/// that cannot block, then the handler that was there before. errno is left as it was.
extern "C" fn on_signal<const LAYER: usize>(
    signal: libc::c_int,
    info: *mut libc::siginfo_t,
    context: *mut libc::c_void,
) {
    let saved = Errno::last_raw();
    tell_the_slots(signal, details(LAYER, signal, info));
    Errno::set_raw(saved);
    PREVIOUS[LAYER].call(signal, info, context);
    Errno::set_raw(saved);
}

/// What the kernel says of this signal. Read only where the kernel itself has called us: who has
/// put a handler over ours, and calls ours as one that takes a number, hands on no more than
/// that. One moment is left: such a handler that is taken away again while it runs in another
/// thread, before it calls ours.
fn details<'a>(
    layer: usize,
    signal: i32,
    info: *const libc::siginfo_t,
) -> Option<&'a libc::siginfo_t> {
    let is_on_top = action_of(signal).is_ok_and(|now| layer_of(&now) == Some(layer));
    if !is_on_top {
        return None;
    }
    // SAFETY: null, or the kernel has called us, with SA_SIGINFO, and so with a siginfo of its
    // own; or a handler over ours has, which by now is over ours no more (see above), with what it
    // was given. It lives for as long as the handler runs.
    unsafe { info.as_ref() }
}

/// Nothing tells who sent it.
const SENDER_UNKNOWN: u64 = 0;
/// The kernel itself.
const SENDER_KERNEL: u64 = 1;
/// With the process id in the rest of the upper half, and the user id in the lower.
const SENDER_PROCESS: u64 = 1 << 63;

/// Who sent this signal, as one number, so that it can be left in an atomic.
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

/// Whom this SIGCHLD says to be dead.
fn who_died(info: &libc::siginfo_t) -> Option<i32> {
    let is_death = [libc::CLD_EXITED, libc::CLD_KILLED, libc::CLD_DUMPED].contains(&info.si_code);
    // SAFETY: these codes are those of a SIGCHLD, whose siginfo has this field.
    is_death.then(|| unsafe { info.si_pid() })
}

fn tell_the_slots(signal: i32, info: Option<&libc::siginfo_t>) {
    let is_death = signal == libc::SIGCHLD;
    let died = info.filter(|_| is_death).and_then(who_died);
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
                // Whoever was first is the cause of what follows.
                let _ = place.compare_exchange(free, code, order, order);
            }
            // While something is pending, whoever was first has woken the turn, or is about to:
            // a turn takes what is pending after it has read the pipe.
            let is_first = slot.pending.fetch_or(bit, Ordering::SeqCst) == 0;
            let byte = 0_u8;
            let wake = slot.wake.load(Ordering::SeqCst);
            for _ in 0..if is_first { WAKE_TRIES_MAX } else { 0 } {
                // SAFETY: one byte from a live variable; `writers` keeps the descriptor from
                // being closed meanwhile, and it is non-blocking.
                let written = unsafe { libc::write(wake, (&raw const byte).cast(), 1) };
                // A full pipe is awake enough.
                if written == 1 || errno() == libc::EAGAIN {
                    break;
                }
            }
        }
        slot.writers.fetch_sub(1, Ordering::SeqCst);
    }
}

fn slots() -> impl Iterator<Item = &'static Slot> {
    let newest = SLOTS.load(Ordering::SeqCst).cast_const();
    // SAFETY: every pointer in the list is null or to a slot that is never freed.
    let slot = |pointer: *const Slot| unsafe { pointer.as_ref() };
    std::iter::successors(slot(newest), move |known| slot(known.next))
}

/// Only whoever holds the dispositions adds to the list.
fn new_slot() -> &'static Slot {
    let slot = Box::leak(Box::new(Slot {
        next: SLOTS.load(Ordering::SeqCst),
        owner: AtomicU64::new(0),
        exclusive: AtomicBool::new(false),
        wanted: AtomicU64::new(0),
        pending: AtomicU64::new(0),
        hints: Hints::new(),
        senders: [const { AtomicU64::new(SENDER_UNKNOWN) }; NUMBERS],
        wake: AtomicI32::new(-1),
        writers: AtomicU32::new(0),
    }));
    fence(Ordering::SeqCst);
    SLOTS.store(slot, Ordering::SeqCst);
    slot
}

fn index(signal: i32) -> usize {
    usize::try_from(signal).map_or(0, |number| number.min(NUMBERS - 1))
}

/// While a handler runs, every other signal waits: frames never pile up on a stack that has
/// room for few, as the alternate stack of a thread may. Not the faults, which cannot wait: the
/// host may mend one that its own handler, called by ours, has caused. What a handler of the host asked for
/// (system calls that are not restarted, news of stopped children) it goes on getting.
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

fn action_of(signal: i32) -> std::result::Result<libc::sigaction, Errno> {
    let mut now = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: a null new action only asks; the other pointer is to a live structure, which was
    // zeroed, as musl fills a part of it only.
    unsafe {
        Errno::result(libc::sigaction(signal, ptr::null(), now.as_mut_ptr()))?;
        Ok(now.assume_init())
    }
}

/// Sets a disposition, and returns what it was.
fn set_action(
    signal: i32,
    action: &libc::sigaction,
) -> std::result::Result<libc::sigaction, Errno> {
    let mut before = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: both pointers are to live structures, the second of them zeroed, as musl fills a
    // part of it only; the handler in the first is ours, which is async-signal-safe, or one that
    // the kernel gave us for this very signal.
    unsafe {
        Errno::result(libc::sigaction(signal, action, before.as_mut_ptr()))?;
        Ok(before.assume_init())
    }
}

#[cfg(test)]
mod tests;
