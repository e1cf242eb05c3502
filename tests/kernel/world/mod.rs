//! A kernel for one life: processes and groups with few numbers, signals that coalesce, pipes and
//! a disk with little room, and a clock that moves with each call and jumps over each wait.
//!
//! Whatever the library asks, time passes first and whatever is due in it happens; then the call
//! is answered, and what signals there are are delivered.

mod checks;
mod fates;
mod launches;
mod law;
mod messages;
mod orders;
mod pipes;
mod plans;
mod process;
mod programs;
mod reloads;
mod removals;
mod sight;
mod signs;
mod streams;
mod waits;
mod weather;
mod words;

use std::cell::{Cell, RefCell};
use std::collections::BTreeMap;
use std::fmt;
use std::os::fd::OwnedFd;
use std::path::PathBuf;
use std::time::Duration;

use crate::handle::Handle;
use crate::model::rng::Rng;
use crate::os::signals;
use crate::os::spawn::Failure;

pub use checks::{COMMAND, HEALTH_PORT, READY_PORT};
pub use fates::Deed;
pub use launches::Fate;
use launches::Launch;
pub use law::{Counts, LATE_MAX};
pub use messages::Given;
pub use orders::Verb;
use pipes::{Descriptor, Pipe};
pub use plans::Moods;
pub use process::{Action, Parent, Plan, Process, Temper, Time, Whose};
pub use programs::{Program, Removal, Run, Wish};
pub use streams::{Line, rotated};
pub use waits::Waited;
pub use weather::{Call, Weather};

/// Above what any real process has, so that no mistake of a test reaches one.
const NUMBERS_FROM: i32 = 5_000_001;

/// The group and the session of a child that has made none yet.
const OUR_GROUP: i32 = NUMBERS_FROM - 1;

/// The descriptors of simulated processes stand from here on: below are the library's.
pub const OTHERS_DESCRIPTORS_FROM: i32 = 500;

pub struct Kernel {
    pub now: Time,
    pub rng: Rng,
    pub weather: Weather,
    pub moods: Moods,
    pub processes: BTreeMap<i32, Process>,
    /// When each number was last given back.
    used: Vec<u64>,
    uses: u64,
    serial: u64,
    pub subreaper: bool,
    /// The host reaps its own children.
    pub host_waits: bool,
    /// Signals that were sent to us and not delivered yet, and whom a SIGCHLD was about.
    pending: u64,
    child: i32,
    masked: bool,
    /// A signal was delivered since the wait began.
    interrupted: bool,
    pipes: Vec<Pipe>,
    sockets: Vec<messages::Socket>,
    checks: Vec<checks::Check>,
    /// The other end of a socket that was made for a connection.
    unconnected: Option<OwnedFd>,
    /// Programs tell how they are, or are checked.
    pub has_signs: bool,
    descriptors: BTreeMap<i32, Descriptor>,
    /// Programs have two streams, which go here and there.
    pub has_streams: bool,
    /// They write as much as a log has that is rotated.
    pub writes_much: bool,
    /// Where the logs are.
    pub directory: PathBuf,
    /// How many bytes the disk has room for.
    pub disk: Option<u64>,
    /// What happens by itself, and when.
    pub agenda: Vec<(Time, Deed)>,
    pub handle: Option<Handle>,
    pub programs: Vec<Program>,
    pub runs: Vec<Run>,
    /// New children of which the library does not know what has become, by their serials.
    launches: BTreeMap<u64, Launch>,
    pub stop_asked: Option<Time>,
    pub kill_asked: bool,
    /// How long a shutdown may take.
    pub shutdown_timeout: Option<Duration>,
    /// The latest order for one program, as a number among all moments.
    ordered: u64,
    /// The start of an essential program may have failed for good.
    may_be_stopping: bool,
    pub stop_signals: Vec<i32>,
    pub sight: sight::Sight,
    /// Who is named among the dead, and cannot be reaped.
    pub unreapable: Option<i32>,
    /// Somebody could not die when it was to.
    pub was_doomed: bool,
    /// A stop had been asked for when the library looked whether it may start the next program.
    stop_was_known: bool,
    /// It has looked since the last start.
    was_asked_whether: bool,
    /// No call fails.
    pub calm: bool,
    /// When the turn at hand has woken up, if there is one: what it does counts from then.
    woken: Option<Time>,
    /// Time stands still, and nothing happens by itself.
    pub frozen: bool,
    /// The next call follows at once: see `law`.
    at_once: bool,
    /// Things that were done which can be seen from outside.
    pub acts: u64,
    pub strays: Vec<i32>,
    pub violation: Option<String>,
    pub trace: Option<Vec<String>>,
    /// Nothing will ever happen, and the library waits for it without a deadline.
    pub stuck: bool,
    pub counts: Counts,
}

thread_local! {
    static KERNEL: RefCell<Option<Kernel>> = const { RefCell::new(None) };
    static BUSY: Cell<bool> = const { Cell::new(false) };
}

/// Boots a system on this thread.
pub fn boot(kernel: Kernel) {
    BUSY.set(false);
    KERNEL.set(Some(kernel));
}

pub fn halt() -> Option<Kernel> {
    KERNEL.take()
}

/// A look at the system, or a change to it, for which no time passes.
pub fn with<T>(act: impl FnOnce(&mut Kernel) -> T) -> T {
    KERNEL.with_borrow_mut(|kernel| act(kernel.as_mut().expect("a system that was booted")))
}

/// The same, if there is a system.
pub fn with_if_there_is_one(act: impl FnOnce(&mut Kernel)) {
    KERNEL.with_borrow_mut(|kernel| kernel.as_mut().map(act));
}

/// A system call.
pub fn called<T>(act: impl FnOnce(&mut Kernel) -> T) -> T {
    if BUSY.get() {
        return with(act);
    }
    pass();
    let answer = with(act);
    deliver();
    answer
}

/// Some time passes, with all that is due in it.
fn pass() {
    let deeds = with(Kernel::advance);
    for deed in deeds {
        do_as_host(deed);
    }
    deliver();
}

/// What another thread of the host does.
fn do_as_host(deed: Deed) {
    let Some(handle) = with(|kernel| kernel.handle.clone()) else {
        return;
    };
    BUSY.set(true);
    match deed {
        Deed::Stop => handle.stop(),
        Deed::Kill => handle.kill(),
        _ => {}
    }
    BUSY.set(false);
    with(|kernel| kernel.was_asked(deed));
}

/// Calls the handlers of all signals that are pending.
fn deliver() {
    for (signal, child) in with(Kernel::take_pending) {
        BUSY.set(true);
        let handled = signals::handle(signal, child);
        BUSY.set(false);
        with(|kernel| kernel.was_delivered(signal, handled));
    }
}

/// What a handler does beside setting flags.
pub fn write_wake(fd: i32) {
    // SAFETY: one byte of a live buffer; a full pipe is awake enough.
    unsafe { real_libc::write(fd, [0_u8].as_ptr().cast(), 1) };
}

/// A wait: the clock jumps to whatever ends it.
pub fn wait(fds: &mut [libc::pollfd], time: Option<Time>) -> Result<i32, i32> {
    with(|kernel| kernel.woken = None);
    let ended = wait_for(fds, time);
    with(|kernel| kernel.woken = Some(kernel.now));
    ended
}

fn wait_for(fds: &mut [libc::pollfd], time: Option<Time>) -> Result<i32, i32> {
    pass();
    if let Some(errno) = with(|kernel| {
        kernel.interrupted = false;
        kernel.fault(Call::Poll).filter(|_| fds[0].fd >= 0)
    }) {
        return Err(errno);
    }
    let deadline = with(|kernel| time.map(|time| kernel.now.saturating_add(time)));
    loop {
        // SAFETY: a live slice, and no wait.
        let ready = unsafe { real_libc::poll(fds.as_mut_ptr(), fds.len() as _, 0) };
        if ready > 0 {
            return Ok(ready);
        }
        let over = with(|kernel| {
            if kernel.interrupted {
                return Some(Err(libc::EINTR));
            }
            kernel.jump(deadline)
        });
        if let Some(over) = over {
            return over;
        }
        pass();
    }
}

/// A rest of so long at most, which ends when something has become of a new child.
pub fn wait_for_launch(serial: u64, time: Time) {
    let end = with(|kernel| kernel.now.saturating_add(time));
    let is_over =
        |kernel: &mut Kernel| !kernel.is_pending(serial) || kernel.jump(Some(end)).is_some();
    while !with(is_over) {
        pass();
    }
}

/// A rest of so long, which nothing ends.
pub fn rest(time: Time) {
    let end = with(|kernel| kernel.now.saturating_add(time));
    while with(|kernel| kernel.jump(Some(end))).is_none() {
        pass();
    }
}

/// A command of the library's becomes a process; `name` is what its environment says. Returns its
/// number, and the serial that stands for it whatever its number does.
pub fn spawn(
    name: Option<&str>,
    command: &[String],
    stdio: [i32; 3],
    given: &Given,
) -> Result<(i32, u64), Failure> {
    pass();
    let spawned = with(|kernel| {
        kernel.masked = true;
        kernel.spawn(name, command, stdio, given)
    });
    // The new one runs while we sleep.
    for _ in 0..with(|kernel| kernel.rng.below(4)) {
        pass();
    }
    with(|kernel| kernel.masked = false);
    deliver();
    spawned
}

impl Kernel {
    pub fn new(rng: Rng, weather: Weather, moods: Moods, numbers: usize) -> Self {
        Self {
            now: 1_000_000_000,
            rng,
            weather,
            moods,
            processes: BTreeMap::new(),
            used: vec![0; numbers],
            uses: 0,
            serial: 0,
            subreaper: false,
            host_waits: false,
            pending: 0,
            child: 0,
            masked: false,
            interrupted: false,
            pipes: Vec::new(),
            sockets: Vec::new(),
            checks: Vec::new(),
            unconnected: None,
            has_signs: false,
            descriptors: BTreeMap::new(),
            has_streams: false,
            writes_much: false,
            directory: PathBuf::new(),
            disk: None,
            agenda: Vec::new(),
            handle: None,
            programs: Vec::new(),
            runs: Vec::new(),
            launches: BTreeMap::new(),
            stop_asked: None,
            kill_asked: false,
            shutdown_timeout: None,
            ordered: 0,
            may_be_stopping: false,
            stop_signals: Vec::new(),
            sight: sight::Sight::default(),
            unreapable: None,
            was_doomed: false,
            stop_was_known: false,
            was_asked_whether: false,
            calm: false,
            woken: None,
            frozen: false,
            at_once: false,
            acts: 0,
            strays: Vec::new(),
            violation: None,
            trace: None,
            stuck: false,
            counts: Counts::default(),
        }
    }

    pub fn say(&mut self, what: fmt::Arguments<'_>) {
        if let Some(trace) = &mut self.trace {
            trace.push(format!("{:>18} ns  {what}", self.now));
        }
    }

    /// The first breach of a rule counts.
    pub fn violated(&mut self, what: String) {
        self.say(format_args!("VIOLATED  {what}"));
        self.violation.get_or_insert(what);
    }

    pub fn fault(&mut self, call: Call) -> Option<i32> {
        if self.frozen || self.calm {
            return None;
        }
        let errno = self.weather.fault(&mut self.rng, call)?;
        self.say(format_args!("{call:?} fails with errno {errno}"));
        self.counts.faults += 1;
        Some(errno)
    }

    pub fn interrupts(&mut self) -> bool {
        !self.frozen && self.weather.interrupts(&mut self.rng)
    }

    /// A call takes its time, and what is due in that happens. Returns what the host does.
    fn advance(&mut self) -> Vec<Deed> {
        if self.frozen || std::mem::take(&mut self.at_once) {
            return Vec::new();
        }
        let most = self.weather.call_max;
        self.now += if most == 0 {
            0
        } else {
            1 + self.rng.below(most)
        };
        self.happen()
    }

    /// Jumps to the end of a wait, or to what happens before. `Some` if the wait is over.
    fn jump(&mut self, deadline: Option<Time>) -> Option<Result<i32, i32>> {
        if deadline.is_some_and(|deadline| deadline <= self.now) {
            return Some(Ok(0));
        }
        let event = self.next_event().filter(|_| !self.frozen);
        let Some(next) = event.into_iter().chain(deadline).min() else {
            self.stuck = true;
            return Some(Err(libc::EINTR));
        };
        self.counts.jumps += 1;
        self.now = self.now.max(next);
        None
    }

    fn take_pending(&mut self) -> Vec<(i32, i32)> {
        if self.masked {
            return Vec::new();
        }
        let pending = std::mem::take(&mut self.pending);
        let signals = (1..=64).filter(|signal| pending & (1 << (signal - 1)) != 0);
        signals.map(|signal| (signal, self.child)).collect()
    }

    /// A signal for us. One that is pending already stands for this, too.
    pub fn signal_us(&mut self, signal: i32, child: i32) {
        let bit = 1 << (signal - 1);
        if self.pending & bit == 0 {
            self.pending |= bit;
            if signal == libc::SIGCHLD {
                self.child = child;
            }
        } else {
            self.counts.coalesced += 1;
        }
    }

    /// All processes.
    pub fn describe(&self) -> String {
        let describe = |(pid, process): (&i32, &Process)| {
            let Process {
                group,
                parent,
                whose,
                ended,
                frozen_until,
                ..
            } = process;
            format!("{pid}[group {group} {parent:?} {whose:?} {ended:?} {frozen_until:?}]")
        };
        let all: Vec<String> = self.processes.iter().map(describe).collect();
        all.join(" ")
    }

    pub fn process(&self, pid: i32) -> Option<&Process> {
        self.processes.get(&pid)
    }
}
