//! The wait: ppoll(2) on an epoll instance, which holds all other descriptors.
//!
//! A wake-up costs what is ready and not what is silent. The same instance is lent to a host with
//! its own loop: it is readable while anything in it is.
//!
//! A descriptor that was added must be removed before it is closed, and in this process only: a
//! forked copy shares the instance.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, RawFd};
use std::time::Duration;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, ppoll};
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};

use super::clock::Clock;
use super::pause::{pause, timespec};
use super::{descriptors, retry};
use crate::error::{Error, Result};

/// How many ready descriptors a turn is given. The others come first in the next turn.
const READY_PER_TURN_MAX: usize = 64;

/// How often a descriptor that epoll has refused is read, and added again.
const UNPOLLABLE_WAIT_MAX: Duration = Duration::from_millis(10);

/// After this many spurious wake-ups in a row, each wait begins with a pause, so that they cannot
/// become a spin. A wait that a signal ends after at least that time is not spurious: a profiler
/// in the host sends one less often.
const SPURIOUS_BEFORE_PAUSE: u32 = 100;
const SPURIOUS_PAUSE: Duration = Duration::from_millis(1);

/// After this many the pauses are longer.
const SPURIOUS_MAX: u32 = 1000;

/// The descriptors that are waited for, each with a number of the caller's.
#[derive(Debug)]
pub(crate) struct Poller {
    epoll: Epoll,
    /// What a wait reports; here, as to fill it anew would cost a tenth of a turn.
    events: [EpollEvent; READY_PER_TURN_MAX],
    /// Descriptors that epoll has refused, with what they are waited for: each counts as ready now
    /// and then, and is added again.
    unpollable: Vec<(u64, RawFd, EpollFlags)>,
    /// The latest wait did not learn what is ready.
    lost_events: bool,
    /// How many waits in a row ended at once and for nothing.
    spurious: u32,
    clock: Clock,
}

impl Poller {
    pub(crate) fn new() -> Result<Self> {
        let what = |errno| Error::os("failed to make an epoll instance", errno as i32);
        let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC).map_err(what)?;
        Ok(Self {
            epoll: Epoll(descriptors::above_standard(epoll.0).map_err(what)?),
            events: [EpollEvent::empty(); READY_PER_TURN_MAX],
            unpollable: Vec::new(),
            lost_events: false,
            spurious: 0,
            clock: Clock::new(),
        })
    }

    /// Adds a descriptor, to be waited for until it is readable.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.add_for(fd, number, EpollFlags::EPOLLIN);
    }

    /// Adds a socket that connects, to be waited for until it has, or has failed.
    pub(crate) fn add_connecting(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.add_for(fd, number, EpollFlags::EPOLLOUT);
    }

    fn add_for(&mut self, fd: BorrowedFd<'_>, number: u64, what: EpollFlags) {
        let event = EpollEvent::new(what, number);
        if self.epoll.add(fd, event).is_err() {
            self.unpollable.push((number, fd.as_raw_fd(), what));
        }
    }

    fn add_unpollable(&mut self) {
        self.unpollable.retain(|&(number, fd, what)| {
            // SAFETY: what was added is removed before it is closed.
            let fd = unsafe { BorrowedFd::borrow_raw(fd) };
            let event = EpollEvent::new(what, number);
            self.epoll.add(fd, event).is_err()
        });
    }

    /// Gives a descriptor another number.
    pub(crate) fn renumber(&mut self, fd: BorrowedFd<'_>, before: u64, number: u64) {
        let mut event = EpollEvent::new(EpollFlags::EPOLLIN, number);
        if self.epoll.modify(fd, &mut event).is_err() {
            self.remove(fd, before);
            self.add(fd, number);
        }
    }

    /// Ignores that a descriptor is readable until [`Poller::resume`]; a hang-up still counts.
    /// Returns false if epoll does not have it.
    pub(crate) fn rest(&mut self, fd: BorrowedFd<'_>, number: u64) -> bool {
        let mut event = EpollEvent::new(EpollFlags::empty(), number);
        self.epoll.modify(fd, &mut event).is_ok()
    }

    /// Undoes [`Poller::rest`].
    pub(crate) fn resume(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.renumber(fd, number, number);
    }

    /// Removes a descriptor.
    pub(crate) fn remove(&mut self, fd: BorrowedFd<'_>, number: u64) {
        self.unpollable.retain(|(known, ..)| *known != number);
        // It fails if epoll has refused it.
        let _ = self.epoll.delete(fd);
    }

    /// Waits until a descriptor is readable or hung up, a signal arrives, or the time is over, and
    /// adds the numbers of those that are ready to `ready`.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<u64>) {
        let timeout = timeout.into_iter().chain(self.wait_max()).min();
        match self.spurious {
            0..=SPURIOUS_BEFORE_PAUSE => {}
            SPURIOUS_MAX.. => pause(UNPOLLABLE_WAIT_MAX),
            _ => pause(SPURIOUS_PAUSE),
        }
        // Saves a look at the clock for most waits.
        let begin = (self.spurious > 0).then(|| self.clock.now());
        // Where nothing is waited for, too: a host whose own waits fail has its turns slowed down here.
        let waited = poll(self.epoll.0.as_fd(), timeout);
        ready.extend(self.unpollable.iter().map(|(number, ..)| number));
        self.add_unpollable();
        let looked = retry(|| self.epoll.wait(&mut self.events, EpollTimeout::ZERO));
        self.lost_events = looked.is_err();
        let count = looked.unwrap_or(0);
        ready.extend(self.events.iter().take(count).map(EpollEvent::data));
        match (waited, looked) {
            (Err(Errno::EINTR), Ok(0)) => {
                if begin.is_some_and(|begin| self.clock.now().since(begin) >= SPURIOUS_PAUSE) {
                    self.spurious = 0;
                }
                self.note_spurious();
            }
            (Ok(false), Ok(0)) => self.spurious = 0,
            (Err(Errno::EINTR) | Ok(_), Ok(_)) => {}
            // The kernel has no memory: the turn goes on, and does not spin.
            _ => pause(UNPOLLABLE_WAIT_MAX),
        }
    }

    /// True if something may be ready that the latest wait did not report.
    pub(crate) fn lost_events(&self) -> bool {
        self.lost_events
    }

    /// Notes that there was something to do after the latest wait.
    pub(crate) fn note_useful(&mut self) {
        self.spurious = 0;
    }

    /// Notes that there was nothing to do.
    pub(crate) fn note_spurious(&mut self) {
        self.spurious = self.spurious.saturating_add(1);
    }

    /// True if a descriptor is ready.
    pub(crate) fn is_ready(&self) -> bool {
        poll(self.epoll.0.as_fd(), Some(Duration::ZERO)) != Ok(false)
    }

    /// Returns the longest time that a wait may take.
    pub(crate) fn wait_max(&self) -> Option<Duration> {
        (!self.unpollable.is_empty()).then_some(UNPOLLABLE_WAIT_MAX)
    }
}

impl AsFd for Poller {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.epoll.0.as_fd()
    }
}

/// Returns true if the descriptor became readable in time.
fn poll(fd: BorrowedFd<'_>, timeout: Option<Duration>) -> nix::Result<bool> {
    let mut fd = [PollFd::new(fd, PollFlags::POLLIN)];
    let timeout = timeout.map(|time| timespec(time).into());
    ppoll(&mut fd, timeout, None).map(|ready| ready > 0)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn ready(watch: &mut Poller) -> Vec<u64> {
        let mut ready = Vec::new();
        watch.wait(Some(Duration::ZERO), &mut ready);
        ready
    }

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
        let mut watch = Poller::new().expect("an epoll instance");
        let time = Duration::from_micros(100);
        let clock = Clock::new();
        let wait = |watch: &mut Poller| {
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
        let mut watch = Poller::new().expect("an epoll instance");
        let (read, write) = descriptors::wake_pipe().expect("a pipe");
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
        // A hang-up.
        descriptors::wait_for_close(|| ready(&mut watch) == [7]);
        watch.remove(read.as_fd(), 7);
        assert!(!watch.rest(read.as_fd(), 7), "nothing is there to rest");
    }

    #[test]
    fn a_ready_descriptor_is_reported_by_its_number_until_it_is_removed() {
        let mut watch = Poller::new().expect("an epoll instance");
        let (read, write) = descriptors::wake_pipe().expect("a pipe");
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
    fn a_socket_that_connects_is_ready_when_it_can_be_written_to() {
        let mut watch = Poller::new().expect("an epoll instance");
        let (socket, peer) = std::os::unix::net::UnixStream::pair().expect("a pair");
        socket.set_nonblocking(true).expect("a socket");
        while std::io::Write::write(&mut &socket, &[0; 4096]).is_ok() {}
        watch.add_connecting(socket.as_fd(), 9);
        assert!(ready(&mut watch).is_empty(), "its buffer is full");
        drop(peer);
        descriptors::wait_for_close(|| ready(&mut watch) == [9]);
        watch.remove(socket.as_fd(), 9);
        assert!(ready(&mut watch).is_empty());
    }

    #[test]
    fn what_epoll_refuses_counts_as_ready_now_and_then() {
        let mut watch = Poller::new().expect("an epoll instance");

        let regular = std::fs::File::open("Cargo.toml").expect("a file of ours");
        watch.add(regular.as_fd(), 3); // EPERM: a regular file
        let mut ready = Vec::new();
        watch.wait(None, &mut ready);
        assert_eq!(ready, [3]);
        assert_eq!(watch.wait_max(), Some(UNPOLLABLE_WAIT_MAX));
        watch.remove(regular.as_fd(), 3);
        assert_eq!(watch.wait_max(), None);
    }
}
