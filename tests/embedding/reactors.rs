//! The third way to drive a scheduler: a host with a reactor and a socket of its own waits for
//! `as_fd` until `next_deadline` and turns when one of them says so, and at no other time.
//!
//! The same day passes before every reactor: floods, storms of restarts, idleness, a death out
//! of the blue, a stop. The safety sweep is off, so that what is missed once is missed for good.

use std::collections::BTreeMap;
use std::io::{ErrorKind, Read, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd, RawFd};
use std::os::unix::net::UnixStream;
use std::thread::{self, JoinHandle};
use std::time::{Duration, Instant};

use procsched::{Backoff, ChildSpec, ErrorReport, ProcessScheduler, Restart, Status};
use tempfile::TempDir;

use super::host::{Test, host};
use super::kit::{self, List};
use crate::process::{self, PATIENCE};

pub const TESTS: &[Test] = tests![
    a_day_before_poll,
    a_day_before_epoll,
    a_day_before_an_edge_triggered_epoll,
    a_day_before_mio,
    a_day_before_calloop,
    a_day_before_an_edge_triggered_calloop,
    a_day_before_tokio,
];

const FLOODS: usize = 4;
const FLOOD_BYTES: usize = 2 << 20;
const CHATS: usize = 2;
const CHAT_LINES: usize = 5_000;
const STORMS: usize = 20;
const STORM_RUNS: usize = 6;
const QUIET: usize = 20;
const PINGS: usize = 200;

/// How long an idle host is watched.
const IDLE_TIME: Duration = Duration::from_millis(300);

/// What ended a wait; nothing is what a timeout or a signal leaves.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
struct Woken {
    scheduler: bool,
    socket: bool,
}

trait Reactor {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken;
}

/// A host with a scheduler, and a socket on which somebody wants an answer to each byte.
struct Host<R> {
    _dir: TempDir,
    scheduler: ProcessScheduler,
    status: Status,
    reactor: R,
    socket: UnixStream,
    peer: Option<JoinHandle<UnixStream>>,
    answers: usize,
    reports: List<ErrorReport>,
    born: Instant,
}

impl<R: Reactor> Host<R> {
    fn new(make: impl FnOnce(&ProcessScheduler, &UnixStream) -> R) -> Self {
        let dir = kit::directory();
        let (reports, handler) = kit::reports();
        let builder = kit::own(&dir).programs(programs()).error_handler(handler);
        let scheduler = kit::built(builder.safety_sweep(false));
        let (socket, theirs) = UnixStream::pair().expect("sockets");
        socket.set_nonblocking(true).expect("a socket");
        Self {
            reactor: make(&scheduler, &socket),
            _dir: dir,
            scheduler,
            status: Status::Running,
            socket,
            peer: Some(thread::spawn(move || ping(theirs))),
            answers: 0,
            reports,
            born: Instant::now(),
        }
    }

    /// One round of the host's loop, as the documentation has it.
    fn round(&mut self) {
        let time = |at: Instant| at.saturating_duration_since(Instant::now());
        let timeout = self.scheduler.next_deadline().map(time);
        let patient = timeout.unwrap_or(PATIENCE).min(PATIENCE);
        let woken = self.reactor.wait(Some(patient));
        if woken.socket {
            self.answer();
        }
        let deadline = self.scheduler.next_deadline();
        if woken.scheduler || deadline.is_some_and(|at| at <= Instant::now()) {
            self.status = self.scheduler.step(Some(Duration::ZERO)).expect("a turn");
        }
    }

    #[track_caller]
    fn until(&mut self, what: &str, holds: impl Fn(&Self) -> bool) {
        while !holds(self) {
            let programs = self.scheduler.programs();
            let time = self.born.elapsed();
            assert!(
                time < PATIENCE,
                "it never came true that {what}: {programs:#?}"
            );
            self.round();
        }
    }

    /// Answers what is there; an edge comes once.
    fn answer(&mut self) {
        let mut byte = [0];
        loop {
            match self.socket.read(&mut byte) {
                Ok(1) => {
                    self.socket.write_all(&byte).expect("room for a byte");
                    self.answers += 1;
                }
                Err(error) if error.kind() == ErrorKind::WouldBlock => return,
                Ok(_) => return, // Hung up.
                Err(error) => panic!("{error}"),
            }
        }
    }

    fn runs(&self) -> BTreeMap<String, Vec<i32>> {
        let mut runs: BTreeMap<String, Vec<i32>> = BTreeMap::new();
        for report in self.reports.items() {
            let codes = runs.entry(report.process().to_owned()).or_default();
            codes.push(report.return_code());
        }
        runs
    }

    fn is_calm(&self) -> bool {
        let count = FLOODS + CHATS + STORMS * STORM_RUNS + 1;
        let deadline = self.scheduler.next_deadline();
        let soon = deadline.is_some_and(|at| at < Instant::now() + Duration::from_secs(10));
        self.reports.len() == count && self.answers == PINGS && !soon
    }

    fn day(mut self) {
        self.until("the storms are over", Self::is_calm);
        let peer = self.peer.take().expect("a peer").join();
        let _open = peer.expect("an answer to each byte");
        self.idle();
        let pid = kit::pid(&self.scheduler, "quiet7").expect("a pid");
        process::signal(pid, libc::SIGKILL);
        self.until("a death is noticed", |host| {
            host.runs().contains_key("quiet7")
        });
        let handle = self.scheduler.handle();
        let other = thread::spawn(move || handle.stop());
        self.until("everything has stopped", |host| {
            host.status == Status::Stopped
        });
        other.join().expect("no panic");
        self.compare();
    }

    /// A descriptor that stayed readable, or a deadline that is always now, would spin here.
    fn idle(&mut self) {
        let programs = self.scheduler.programs();
        let next = self.scheduler.next_deadline();
        let next = next.unwrap_or_else(|| panic!("nobody waits: {:?}\n{programs:#?}", self.runs()));
        assert!(next > Instant::now() + IDLE_TIME * 2, "{programs:#?}");
        let end = Instant::now() + IDLE_TIME;
        let mut rounds = 0;
        while Instant::now() < end {
            let woken = self.reactor.wait(Some(IDLE_TIME));
            assert!(!woken.scheduler, "woken for nothing");
            rounds += 1;
        }
        assert!(rounds <= 3, "{rounds} rounds of an idle host");
        assert!(!kit::readable(&self.scheduler.as_fd(), Duration::ZERO));
    }

    fn compare(&self) {
        let runs = self.runs();
        for (name, expected) in [
            ("flood", vec![3]),
            ("chat", vec![4]),
            ("storm", [vec![1; STORM_RUNS - 1], vec![0]].concat()),
            ("quiet", vec![-libc::SIGTERM]),
        ] {
            for (found, codes) in runs.iter().filter(|(found, _)| found.starts_with(name)) {
                let expected = if found == "quiet7" {
                    &vec![-libc::SIGKILL]
                } else {
                    &expected
                };
                assert_eq!(codes, expected, "{found}");
            }
        }
        assert_eq!(runs.len(), FLOODS + CHATS + STORMS + QUIET + 1);
        let flooded = |report: &ErrorReport| report.data_omitted() + report.stderr().len() as u64;
        for report in self.reports.items() {
            if report.process().starts_with("flood") {
                assert_eq!(flooded(&report), FLOOD_BYTES as u64, "{}", report.process());
            }
            if report.process().starts_with("chat") {
                let said: String = (0..CHAT_LINES).map(|line| format!("{line}\n")).collect();
                let path = report.log().expect("a log");
                assert!(std::fs::read_to_string(path).expect("a log") == said);
            }
        }
    }
}

fn programs() -> Vec<ChildSpec> {
    let flood = format!("head -c {FLOOD_BYTES} /dev/zero >&2; exit 3");
    let storm = format!(
        "echo >> $PROCSCHED_PROGRAM.runs; test $(wc -l < $PROCSCHED_PROGRAM.runs) -ge {STORM_RUNS}"
    );
    let chat = format!("i=0; while [ $i -lt {CHAT_LINES} ]; do echo $i; i=$((i+1)); done; exit 4");
    let chat = format!("exec >&2; {chat}");
    let soon = kit::MILLISECOND;
    let floods = (0..FLOODS).map(|i| kit::once(&format!("flood{i}"), &flood));
    let chats = (0..CHATS).map(|i| kit::once(&format!("chat{i}"), &chat));
    let storms = (0..STORMS)
        .map(|i| kit::churner(&format!("storm{i}"), soon, &storm).restart(Restart::OnFailure));
    let quiet = (0..QUIET).map(|i| kit::sleeper(&format!("quiet{i}")));
    let minute = Backoff {
        initial: Duration::from_secs(60),
        ..Backoff::default()
    };
    let late = kit::shell("late", "exit 1").backoff(minute);
    let loud = floods.chain(chats);
    loud.chain(storms).chain(quiet).chain([late]).collect()
}

/// Asks for an answer, again and again.
fn ping(mut socket: UnixStream) -> UnixStream {
    socket.set_read_timeout(Some(PATIENCE)).expect("a socket");
    for number in 0..PINGS {
        let byte = [number as u8];
        socket.write_all(&byte).expect("a host");
        let mut answer = [0];
        socket.read_exact(&mut answer).expect("an answer");
        assert_eq!(answer, byte);
    }
    socket
}

struct Poll([RawFd; 2]);

impl Reactor for Poll {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        let mut fds = self.0.map(|fd| libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        });
        // SAFETY: two live pollfds. A failure leaves `revents` zero.
        unsafe { libc::poll(fds.as_mut_ptr(), 2, milliseconds(timeout)) };
        Woken {
            scheduler: fds[0].revents != 0,
            socket: fds[1].revents != 0,
        }
    }
}

/// Rounded up, or the last millisecond before a deadline would be a spin.
fn milliseconds(timeout: Option<Duration>) -> i32 {
    let up = |time: Duration| i32::try_from(time.as_nanos().div_ceil(1_000_000));
    timeout.map_or(-1, |time| up(time).unwrap_or(i32::MAX))
}

/// epoll(7) by hand; the descriptor of a scheduler is an epoll instance itself.
struct Epoll(OwnedFd);

impl Epoll {
    fn new(scheduler: &ProcessScheduler, socket: &UnixStream, flags: i32) -> Self {
        use std::os::fd::FromRawFd;
        // SAFETY: a new descriptor, which nobody else owns.
        let epoll = unsafe { OwnedFd::from_raw_fd(libc::epoll_create1(libc::EPOLL_CLOEXEC)) };
        for (key, fd) in [(0, scheduler.as_raw_fd()), (1, socket.as_raw_fd())] {
            let events = (libc::EPOLLIN | flags) as u32;
            let mut event = libc::epoll_event { events, u64: key };
            // SAFETY: the event is live for the call.
            let added = unsafe {
                libc::epoll_ctl(epoll.as_raw_fd(), libc::EPOLL_CTL_ADD, fd, &raw mut event)
            };
            assert_eq!(added, 0, "{}", std::io::Error::last_os_error());
        }
        Self(epoll)
    }
}

impl Reactor for Epoll {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 4];
        let time = milliseconds(timeout);
        // SAFETY: four live events.
        let count = unsafe { libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), 4, time) };
        let seen = &events[..usize::try_from(count).unwrap_or(0)];
        let has = |key: u64| seen.iter().any(|event| { event.u64 } == key);
        Woken {
            scheduler: has(0),
            socket: has(1),
        }
    }
}

/// Edge-triggered, always.
struct Mio {
    poll: mio::Poll,
    events: mio::Events,
}

impl Mio {
    fn new(scheduler: &ProcessScheduler, socket: &UnixStream) -> Self {
        let poll = mio::Poll::new().expect("a poll");
        for (token, fd) in [(0, scheduler.as_raw_fd()), (1, socket.as_raw_fd())] {
            poll.registry()
                .register(
                    &mut mio::unix::SourceFd(&fd),
                    mio::Token(token),
                    mio::Interest::READABLE,
                )
                .expect("a registration");
        }
        let events = mio::Events::with_capacity(8);
        Self { poll, events }
    }
}

impl Reactor for Mio {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        match self.poll.poll(&mut self.events, timeout) {
            Err(error) if error.kind() != ErrorKind::Interrupted => panic!("{error}"),
            Err(_) => return Woken::default(),
            Ok(()) => {}
        }
        let has = |token: usize| self.events.iter().any(|event| event.token().0 == token);
        Woken {
            scheduler: has(0),
            socket: has(1),
        }
    }
}

struct Calloop(calloop::EventLoop<'static, Woken>);

impl Calloop {
    fn new(scheduler: &ProcessScheduler, socket: &UnixStream, mode: calloop::Mode) -> Self {
        use calloop::generic::Generic;
        use calloop::{EventLoop, Interest, PostAction};
        let copy = |fd: &dyn AsFd| fd.as_fd().try_clone_to_owned().expect("a descriptor");
        let events = EventLoop::try_new().expect("a loop");
        let source = Generic::new(copy(&scheduler.as_fd()), Interest::READ, mode);
        let told = |_, _: &mut _, woken: &mut Woken| {
            woken.scheduler = true;
            Ok(PostAction::Continue)
        };
        events
            .handle()
            .insert_source(source, told)
            .expect("a source");
        let source = Generic::new(copy(&socket), Interest::READ, mode);
        let told = |_, _: &mut _, woken: &mut Woken| {
            woken.socket = true;
            Ok(PostAction::Continue)
        };
        events
            .handle()
            .insert_source(source, told)
            .expect("a source");
        Self(events)
    }
}

impl Reactor for Calloop {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        let mut woken = Woken::default();
        self.0.dispatch(timeout, &mut woken).expect("a dispatch");
        woken
    }
}

struct Tokio {
    runtime: tokio::runtime::Runtime,
    scheduler: tokio::io::unix::AsyncFd<OwnedFd>,
    socket: tokio::io::unix::AsyncFd<OwnedFd>,
}

impl Tokio {
    fn new(scheduler: &ProcessScheduler, socket: &UnixStream) -> Self {
        use tokio::io::Interest;
        use tokio::io::unix::AsyncFd;
        let runtime = tokio::runtime::Builder::new_current_thread()
            .enable_all()
            .build();
        let runtime = runtime.expect("a runtime");
        let inside = runtime.enter();
        let register = |fd: BorrowedFd<'_>| {
            let copy = fd.try_clone_to_owned().expect("a descriptor");
            // SAFETY: it owns its descriptor, and nobody replaces that.
            unsafe { AsyncFd::register_with_interest(copy, Interest::READABLE) }
        };
        Self {
            scheduler: register(scheduler.as_fd()).expect("a registration"),
            socket: register(socket.as_fd()).expect("a registration"),
            runtime: {
                drop(inside);
                runtime
            },
        }
    }
}

impl Reactor for Tokio {
    fn wait(&mut self, timeout: Option<Duration>) -> Woken {
        self.runtime.block_on(async {
            // Readiness is forgotten before the turn that looks, so that none is lost.
            tokio::select! {
                ready = self.scheduler.readable() => {
                    ready.expect("a driver").clear_ready();
                    Woken { scheduler: true, socket: false }
                }
                ready = self.socket.readable() => {
                    ready.expect("a driver").clear_ready();
                    Woken { scheduler: false, socket: true }
                }
                () = tokio::time::sleep(timeout.unwrap_or(PATIENCE)) => Woken::default(),
            }
        })
    }
}

fn a_day_before_poll() {
    host(|| {
        let poll = |scheduler: &ProcessScheduler, socket: &UnixStream| {
            Poll([scheduler.as_raw_fd(), socket.as_raw_fd()])
        };
        Host::new(poll).day();
    });
}

fn a_day_before_epoll() {
    host(|| Host::new(|scheduler, socket| Epoll::new(scheduler, socket, 0)).day());
}

fn a_day_before_an_edge_triggered_epoll() {
    host(|| Host::new(|scheduler, socket| Epoll::new(scheduler, socket, libc::EPOLLET)).day());
}

fn a_day_before_mio() {
    host(|| Host::new(Mio::new).day());
}

fn a_day_before_calloop() {
    host(|| {
        let mode = calloop::Mode::Level;
        Host::new(|scheduler, socket| Calloop::new(scheduler, socket, mode)).day();
    });
}

fn a_day_before_an_edge_triggered_calloop() {
    host(|| {
        let mode = calloop::Mode::Edge;
        Host::new(|scheduler, socket| Calloop::new(scheduler, socket, mode)).day();
    });
}

fn a_day_before_tokio() {
    host(|| Host::new(Tokio::new).day());
}
