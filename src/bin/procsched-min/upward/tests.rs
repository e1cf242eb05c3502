//! A manager that reads, or does not, and a clock that is an argument.

use std::io::Read;
use std::os::unix::net::{UnixDatagram, UnixStream};

use procsched::{ChildSpec, Reap, Status};
use tempfile::TempDir;

use super::*;

/// A manager's socket, and what is sent to it.
struct Desk {
    manager: Manager,
    socket: UnixDatagram,
    /// The other end of stderr.
    stderr: UnixStream,
    now: Instant,
    directory: TempDir,
}

impl Desk {
    fn new(watchdog: Option<Duration>) -> Self {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("notify");
        let socket = UnixDatagram::bind(&path).expect("a socket");
        socket.set_nonblocking(true).expect("non-blocking");
        let (stderr, theirs) = UnixStream::pair().expect("a pair");
        stderr.set_nonblocking(true).expect("non-blocking");
        let address = socket::address(path.as_os_str()).expect("an address");
        let ours = Socket::to(address).expect("a socket");
        let manager = Manager::new(ours, Outputs::with_stderr(theirs), watchdog);
        Self {
            manager,
            socket,
            stderr,
            now: clock::steady(),
            directory,
        }
    }

    /// Lets time pass, and sends what is due.
    fn after(&mut self, time: Duration) {
        self.now += time;
        self.manager.send(self.now);
    }

    /// Fills the queue of the manager's socket. Each sender has room for some of it.
    fn fill(&self) {
        let path = self.directory.path().join("notify");
        let sent_by_one = || {
            let other = UnixDatagram::unbound().expect("a socket");
            other.set_nonblocking(true).expect("non-blocking");
            let results = (0..100_000).map(|_| other.send_to(b"X=1", &path));
            results.take_while(Result::is_ok).count()
        };
        let is_full = (0..1_000).any(|_| sent_by_one() == 0);
        assert!(is_full, "a queue has an end");
    }

    /// Returns the messages that have come, those that filled the queue left out.
    fn received(&self) -> Vec<String> {
        let mut messages = Vec::new();
        let mut bytes = [0; 4096];
        while let Ok(length) = self.socket.recv(&mut bytes) {
            messages.push(String::from_utf8_lossy(&bytes[..length]).into_owned());
        }
        messages.retain(|message| message != "X=1");
        messages
    }

    fn said(&mut self) -> Vec<String> {
        let mut bytes = Vec::new();
        // It ends with what is there now.
        let _ = self.stderr.read_to_end(&mut bytes);
        let text = String::from_utf8_lossy(&bytes);
        text.lines().map(str::to_owned).collect()
    }

    /// A program has changed.
    fn put(&mut self, name: &str, scheduler: &ProcessScheduler) {
        self.manager.take_in(scheduler, &[Arc::from(name)]);
    }
}

fn millis(number: u64) -> Duration {
    Duration::from_millis(number)
}

/// Returns a scheduler of programs that are not started.
fn scheduler(directory: &TempDir, names: &[&str]) -> ProcessScheduler {
    let programs = names.iter();
    let programs = programs.map(|name| ChildSpec::new(*name, ["true"]).autostart(false));
    let scheduler = ProcessScheduler::builder("/")
        .programs(programs)
        .err_dir(directory.path())
        .reap(Reap::Own)
        .keep_running()
        .build();
    scheduler.expect("a scheduler")
}

#[test]
fn what_a_full_socket_does_not_take_comes_later_and_in_order() {
    let mut desk = Desk::new(None);
    desk.fill();
    desk.manager.push(State::Ready);
    desk.after(Duration::ZERO);
    for at in 1..=1_000 {
        desk.manager.push(State::Reloading(at));
        desk.manager.push(State::Ready);
        desk.after(Duration::ZERO);
    }
    desk.manager.push(State::Stopping);
    assert_eq!(desk.manager.next_deadline(), Some(desk.now + RETRY_MIN));
    assert_eq!(desk.received(), [""; 0]);
    // There is room now, but a retry is not due yet.
    desk.after(RETRY_MIN - millis(1));
    assert_eq!(desk.received(), [""; 0]);
    desk.after(millis(1));
    // A reload does not stand in for the end of the start.
    let reload = "RELOADING=1\nMONOTONIC_USEC=1000";
    let expected = ["READY=1", reload, "READY=1", "STOPPING=1"];
    assert_eq!(desk.received(), expected);
    assert_eq!(desk.manager.next_deadline(), None);
    assert_eq!(desk.said(), [""; 0]);
}

#[test]
fn a_reload_stands_in_for_what_waits_after_the_start() {
    let mut desk = Desk::new(None);
    desk.manager.push(State::Ready);
    desk.after(Duration::ZERO);
    assert_eq!(desk.received(), ["READY=1"]);
    desk.fill();
    for at in 1..=10 {
        desk.manager.push(State::Reloading(at));
        desk.manager.push(State::Ready);
        desk.after(Duration::ZERO);
    }
    assert_eq!(desk.received(), [""; 0]);
    desk.after(RETRY_MAX);
    assert_eq!(
        desk.received(),
        ["RELOADING=1\nMONOTONIC_USEC=10", "READY=1"]
    );
}

/// A manager that takes nothing for a while ends a supervisor whose watchdog is not fed after that.
#[test]
fn the_watchdog_does_not_wait_for_a_late_retry() {
    let interval = millis(500);
    let mut desk = Desk::new(Some(interval));
    desk.fill();
    desk.after(Duration::ZERO);
    for _ in 0..40 {
        let next = desk.manager.next_deadline().expect("a retry");
        assert!(next > desk.now && next <= desk.now + interval / 2);
        desk.after(next - desk.now);
    }
    assert_eq!(desk.said().len(), 0, "not for 10 s yet");
    assert_eq!(desk.received(), [""; 0]);
    desk.after(interval / 2);
    assert_eq!(desk.received(), ["WATCHDOG=1"]);
}

#[test]
fn what_waits_for_a_retry_is_tried_once_more_at_the_end() {
    let mut desk = Desk::new(None);
    desk.fill();
    desk.manager.push(State::Stopping);
    desk.after(Duration::ZERO);
    assert_eq!(desk.received(), [""; 0]);
    let upward = Upward(Some(Arc::new(Mutex::new(desk.manager))));
    upward.finish();
    assert_eq!(receive(&desk.socket).as_deref(), Some("STOPPING=1"));
}

#[test]
fn a_manager_that_never_reads_is_asked_ever_more_rarely_and_reported_once() {
    let interval = RETRY_MAX * 2;
    let mut desk = Desk::new(Some(interval));
    desk.fill();
    desk.manager.push(State::Ready);
    desk.after(Duration::ZERO);
    for _ in 0..20 {
        let next = desk.manager.next_deadline().expect("a retry");
        assert!(next > desk.now && next <= desk.now + RETRY_MAX);
        desk.after(next - desk.now);
    }
    assert_eq!(desk.manager.next_deadline(), Some(desk.now + RETRY_MAX));
    let said = desk.said();
    assert_eq!(said.len(), 1, "{said:?}");
    let end = "failed to notify NOTIFY_SOCKET: Resource temporarily unavailable";
    assert!(said[0].ends_with(end), "{said:?}");
    assert_eq!(desk.received(), [""; 0]);
    desk.after(RETRY_MAX);
    assert_eq!(desk.received(), ["READY=1", "WATCHDOG=1"]);
    assert_eq!(desk.manager.next_deadline(), Some(desk.now + interval));
}

#[test]
fn a_socket_that_is_gone_is_reported_once_and_not_waited_for() {
    let mut desk = Desk::new(None);
    std::fs::remove_file(desk.directory.path().join("notify")).expect("it is removed");
    for _ in 0..3 {
        desk.manager.push(State::Ready);
        desk.after(Duration::ZERO);
        assert_eq!(desk.manager.next_deadline(), None);
    }
    let said = desk.said();
    assert_eq!(said.len(), 1, "{said:?}");
    let end = "failed to notify NOTIFY_SOCKET: No such file or directory";
    assert!(said[0].ends_with(end), "{said:?}");
}

/// The line of each change would be a thousand lines a second for a program that crashes at once.
#[test]
fn a_burst_is_a_line_at_once_and_its_end_a_second_later() {
    let mut desk = Desk::new(None);
    let mut all = scheduler(&desk.directory, &["a", "b", "c"]);
    desk.put("a", &all);
    desk.after(Duration::ZERO);
    assert_eq!(desk.received(), ["READY=1", "STATUS=3 stopped"]);
    assert_eq!(desk.manager.next_deadline(), None);
    // A change that changes nothing costs no message, and no wake-up either.
    desk.put("a", &all);
    desk.after(LINE_INTERVAL * 2);
    assert_eq!(desk.received(), [""; 0]);
    assert_eq!(desk.manager.next_deadline(), None);

    all.remove("a").expect("it is down");
    let changed = |all: &mut ProcessScheduler| {
        let status = all.step(Some(Duration::ZERO)).expect("a turn");
        assert_eq!(status, Status::Running);
    };
    changed(&mut all);
    desk.put("a", &all);
    desk.after(Duration::ZERO);
    assert_eq!(desk.received(), ["STATUS=2 stopped"]);
    all.remove("b").expect("it is down");
    changed(&mut all);
    desk.put("b", &all);
    desk.after(millis(1));
    assert_eq!(desk.received(), [""; 0]);
    let due = desk.manager.next_deadline().expect("the end of the burst");
    assert_eq!(due, desk.now + LINE_INTERVAL - millis(1));
    all.remove("c").expect("it is down");
    changed(&mut all);
    desk.put("c", &all);
    desk.after(millis(1));
    assert_eq!(desk.received(), [""; 0]);
    desk.after(due - desk.now);
    assert_eq!(desk.received(), ["STATUS=no programs"]);
    assert_eq!(desk.manager.next_deadline(), None);
}

#[test]
fn the_watchdog_is_fed_at_half_of_its_time() {
    let half = Duration::from_secs(15);
    let mut desk = Desk::new(Some(half));
    desk.after(Duration::ZERO);
    assert_eq!(desk.received(), ["WATCHDOG=1"]);
    assert_eq!(desk.manager.next_deadline(), Some(desk.now + half));
    desk.after(half - millis(1));
    assert_eq!(desk.received(), [""; 0]);
    desk.after(millis(1));
    assert_eq!(desk.received(), ["WATCHDOG=1"]);
}

#[test]
fn a_reload_before_everything_was_started_says_nothing() {
    let desk = Desk::new(None);
    let upward = Upward(Some(Arc::new(Mutex::new(desk.manager))));
    assert!(upward.reloading().is_none());
    assert_eq!(receive(&desk.socket), None);
    upward.lock().expect("it is on").is_ready = true;
    let reloading = upward.reloading().expect("it is ready");
    let begun = receive(&desk.socket).expect("a message");
    assert!(begun.starts_with("RELOADING=1\nMONOTONIC_USEC="), "{begun}");
    assert_eq!(receive(&desk.socket), None);
    // The reload may have been refused, or panicked.
    drop(reloading);
    assert_eq!(receive(&desk.socket).as_deref(), Some("READY=1"));
    upward.lock().expect("it is on").is_stopping = true;
    assert!(upward.reloading().is_none());
}

fn receive(socket: &UnixDatagram) -> Option<String> {
    let mut bytes = [0; 4096];
    let length = socket.recv(&mut bytes).ok()?;
    Some(String::from_utf8_lossy(&bytes[..length]).into_owned())
}

#[test]
fn the_watchdog_is_fed_if_it_is_ours() {
    let interval = |microseconds: &str, pid: Option<&str>| {
        watchdog_interval(Some(microseconds.as_ref()), pid.map(OsStr::new), 4711)
    };
    assert_eq!(watchdog_interval(None, None, 4711), Ok(None));
    let half = Ok(Some(Duration::from_secs(15)));
    assert_eq!(interval("30000000", None), half);
    assert_eq!(interval("30000000", Some("4711")), half);
    assert_eq!(interval("30000000", Some("4712")), Ok(None));
    assert_eq!(interval("30000000", Some("x")), Ok(None));
    assert_eq!(interval("0", None), Ok(None));
    assert_eq!(interval("1", None), Ok(Some(WATCHDOG_INTERVAL_MIN)));
    for bad in ["-1", "30s", "1.5", "18446744073709551616"] {
        let problem = interval(bad, None).expect_err(bad);
        let expected =
            format!("invalid WATCHDOG_USEC \"{bad}\": expected a whole number of microseconds");
        assert_eq!(problem, expected);
    }
    let most = interval("18446744073709551615", None).expect("a number");
    assert!(most.is_some_and(|most| clock::steady().checked_add(most).is_some()));
}
