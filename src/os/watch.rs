//! The wait: poll(2) on one descriptor, behind which stand all others.
//!
//! That descriptor is an epoll instance, which keeps the list of what is waited for, so that a
//! wake-up costs what is ready and not what is silent. It is the same one that a host with a
//! loop of its own is lent: it is readable for as long as anything behind it is.
//!
//! Whoever adds a descriptor removes it before it is closed, and in this process alone: a copy
//! of the process, made by fork, shares the list.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::clock::Clock;
use super::pause::{pause, timespec};
use super::{descriptors, retry};
use crate::error::{Error, Result};

/// How many ready descriptors one turn hears of. Those that it does not hear of are the first
/// in the next turn.
const READY_PER_TURN_MAX: usize = 64;

/// How often what cannot be waited for is tried.
const BLIND_WAIT_MAX: Duration = Duration::from_millis(10);

/// How many waits in a row may end at once and for nothing, and how long is rested before each
/// that follows, which may do so, too. A signal of which no handler of ours knows ends one for
/// nothing, but not at once: a profiler in the host leaves longer than that between two.
const VAIN_MAX: u32 = 100;
const VAIN_REST: Duration = Duration::from_millis(1);
const HOPELESS: u32 = 10 * VAIN_MAX;

/// What is waited for, each with a number of the caller's.
#[derive(Debug)]
pub(crate) struct Watch {
    epoll: Epoll,
    /// What the kernel has no room for: it counts as ready, now and then, and is tried again.
    blind: Vec<(u64, RawFd)>,
    /// The latest wait did not learn who is ready.
    is_deaf: bool,
    /// How many waits in a row came to an end for nothing, and at once.
    vain: u32,
    clock: Clock,
}

impl Watch {
    pub(crate) fn new() -> Result<Self> {
        let what = |errno| Error::os("failed to make an epoll instance", errno as i32);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(what)?;
        Ok(Self {
            epoll: Epoll(descriptors::above_standard(epoll.0).map_err(what)?),
            blind: Vec::new(),
            is_deaf: false,
            vain: 0,
            clock: Clock::new(),
        })
    }

    /// Waits for this one to become readable, too.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, number: u64) {
        let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        if self.epoll.add(fd, event).is_err() {
            self.blind.push((number, fd.as_raw_fd()));
        }
    }

    fn add_the_blind(&mut self) {
        self.blind.retain(|&(number, fd)| {
            // SAFETY: whoever has added it removes it before it is closed.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let event = EpollEvent::new(EpollFlags::EPOLLIN, number);
            self.epoll.add(fd, event).is_err()
        });
    }

    /// From now on it has another number.
    pub(crate) fn renumber(&mut self, fd: BorrowedFd<'_>, before: u64, number: u64) {
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        if self.epoll.modify(fd, &mut event).is_err() {
            self.remove(fd, before);
            self.add(fd, number);
        }
    }

    /// Does not wait for it to become readable until [`Watch::resume`]; a hang-up still counts.
    /// False if it is not in the kernel's list.
    pub(crate) fn rest(&mut self, fd: BorrowedFd<'_>, number: u64) -> bool {
        let mut event = EpollEvent::new(EpollFlags::empty(), number);
        self.epoll.modify(fd, &mut event).is_ok()
    }

    /// Waits for it again.
    pub(crate) fn resume(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.renumber(fd, number, number);
    }

    /// Waits for it no more.
    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.blind.retain(|(blind, _)| *blind != number);
        // The kernel has no room for it, or had none: then there is nothing to remove.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until something is readable or hung up, or the time is over. A signal ends the
    /// wait as if the time were over. The numbers of what is ready are added to `ready`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<u64>) {
        let timeout = if self.blind.is_empty() {
            timeout
        } else {
            Some(timeout.map_or(BLIND_WAIT_MAX, |time| time.min(BLIND_WAIT_MAX)))
        };
        match self.vain {
            0..=VAIN_MAX => {}
            // Not even that goes on for seconds.
            HOPELESS.. => pause(BLIND_WAIT_MAX),
            _ => pause(VAIN_REST),
        }
        // Most waits are not asked for how long they took.
        let begin = (self.vain > 0).then(|| self.clock.now());
        let waited = poll(self.epoll.0.as_fd(), timeout);
        ready.extend(self.blind.iter().map(|(number, _)| number));
        self.add_the_blind();
        let mut events = [EpollEvent::empty(); READY_PER_TURN_MAX];
        let looked = retry(|| self.epoll.wait(&mut events, EpollTimeout::ZERO));
        self.is_deaf = looked.is_err();
        let count = looked.unwrap_or(0);
        ready.extend(events.iter().take(count).map(EpollEvent::data));
        match (waited, looked) {
            (Err(Errno::EINTR), Ok(0)) => {
                if begin.is_some_and(|begin| self.clock.now().since(begin) >= VAIN_REST) {
                    self.vain = 0;
                }
                self.was_in_vain();
            }
            (Ok(false), Ok(0)) => self.vain = 0,
            (Err(Errno::EINTR) | Ok(_), Ok(_)) => {}
            // No memory: the turn goes on without an answer, and not at once again.
            _ => pause(BLIND_WAIT_MAX),
        }
    }

    /// Whether something may be ready of which the latest wait has not told.
    pub(crate) fn is_deaf(&self) -> bool {
        self.is_deaf
    }

    /// Something was found behind what the latest wait has told of.
    pub(crate) fn was_worth_it(&mut self) {
        self.vain = 0;
    }

    /// Nothing was found.
    pub(crate) fn was_in_vain(&mut self) {
        self.vain = self.vain.saturating_add(1);
    }

    /// Whether a wait would end at once, as far as descriptors go.
    pub(crate) fn is_ready(&self) -> bool {
        poll(self.epoll.0.as_fd(), Some(Duration::ZERO)) != Ok(false)
    }

    /// When a wait has to end whatever is ready, counted from its begin.
    pub(crate) fn wait_max(&self) -> Option<Duration> {
        (!self.blind.is_empty()).then_some(BLIND_WAIT_MAX)
    }
}

impl AsFd for Watch {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Whether it became readable in time.
fn poll(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> nix::Result<bool> {
    let mut fd = libc::pollfd {
        fd: fd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let timeout = timeout.map(timespec);
    let timeout = timeout
        .as_ref()
        .map_or(std::ptr::null(), std::ptr::from_ref);
    // SAFETY: the pointers are to one live `pollfd`, to a live `timespec` or null, which stands
    // for no limit, and null for the mask, which leaves that alone.
    match unsafe { libc::ppoll(&raw mut fd, 1, timeout, std::ptr::null()) } {
        -1 => Err(Errno::last()),
        ready => Ok(ready > 0),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_exact_and_saturates() {
        let parts = |time| (timespec(time).tv_sec, timespec(time).tv_nsec);
        assert_eq!(parts(Duration::ZERO), (0, 0));
        assert_eq!(parts(Duration::from_nanos(1)), (0, 1));
        assert_eq!(parts(Duration::from_micros(1_000_001)), (1, 1_000));
        assert_eq!(parts(Duration::MAX), (libc::time_t::MAX, 999_999_999));
    }

    #[test]
    fn a_short_wait_is_as_long_as_it_says_and_not_a_millisecond() {
        let mut watch = Watch::new().expect("an epoll instance");
        let time = Duration::from_micros(100);
        let clock = Clock::new();
        let wait = |watch: &mut Watch| {
            let began = clock.now();
            watch.wait(Some(time), &mut Vec::new());
            clock.now().since(began)
        };
        let shortest = (0..1000).map(|_| wait(&mut watch)).min().expect("a wait");
        assert!(shortest >= time, "{shortest:?}: too early");
        assert!(
            shortest < Duration::from_millis(1),
            "{shortest:?}: rounded up"
        );
    }

    #[test]
    fn what_rests_is_silent_until_it_hangs_up_or_is_resumed() {
        let mut watch = Watch::new().expect("an epoll instance");
        let (read, write) = descriptors::wake_pipe().expect("a pipe");
        let ready = |watch: &mut Watch| {
            let mut ready = Vec::new();
            watch.wait(Some(Duration::ZERO), &mut ready);
            ready
        };
        watch.add(read.as_fd(), 7);
        assert!(watch.rest(read.as_fd(), 7));
        nix::unistd::write(&write, b"x").expect("room in a pipe");
        assert!(ready(&mut watch).is_empty());
        assert!(!watch.is_ready());
        watch.resume(read.as_fd(), 7);
        assert_eq!(ready(&mut watch), [7]);
        assert!(watch.rest(read.as_fd(), 7));
        assert!(ready(&mut watch).is_empty());
        drop(write);
        assert_eq!(ready(&mut watch), [7], "a hang-up");
        watch.remove(read.as_fd(), 7);
        assert!(!watch.rest(read.as_fd(), 7), "nothing is there to rest");
    }

    #[test]
    fn what_is_ready_is_told_by_its_number_until_it_is_removed() {
        let mut watch = Watch::new().expect("an epoll instance");
        let (read, write) = descriptors::wake_pipe().expect("a pipe");
        let ready = |watch: &mut Watch| {
            let mut ready = Vec::new();
            watch.wait(Some(Duration::ZERO), &mut ready);
            ready
        };
        watch.add(read.as_fd(), 7);
        assert!(ready(&mut watch).is_empty());
        assert!(!watch.is_ready());
        nix::unistd::write(&write, b"x").expect("room in a pipe");
        assert_eq!(ready(&mut watch), [7]);
        assert!(watch.is_ready());
        watch.renumber(read.as_fd(), 7, 8);
        assert_eq!(ready(&mut watch), [8]);
        watch.remove(read.as_fd(), 8);
        assert!(ready(&mut watch).is_empty());
        assert!(!watch.is_ready());
    }

    #[test]
    fn what_the_kernel_will_not_watch_counts_as_ready_now_and_then() {
        let mut watch = Watch::new().expect("an epoll instance");

        let regular = std::fs::File::open("Cargo.toml").expect("a file of ours");
        watch.add(regular.as_fd(), 3); // EPERM: a regular file
        let mut ready = Vec::new();
        watch.wait(None, &mut ready);
        assert_eq!(ready, [3]);
        assert_eq!(watch.wait_max(), Some(BLIND_WAIT_MAX));
        watch.remove(regular.as_fd(), 3);
        assert_eq!(watch.wait_max(), None);
    }
}
