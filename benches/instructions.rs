//! What a turn, a start and a drain cost in instructions: a figure that repeats on a machine
//! whose seconds do not. `.ci/instructions` runs this under `valgrind --tool=callgrind`.
//!
//! `SCENARIO COUNT` does one thing so many times. Each is driven from here, event by event, so
//! that how processes are scheduled changes nothing: a line comes from this process, through
//! the program's own pipe, and a death is waited for before the turn that finds it. Two counts
//! are compared, so that what starting and stopping cost cancels out.

use std::fs::{File, OpenOptions};
use std::io::Write;
use std::path::Path;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicUsize, Ordering};
use std::time::{Duration, Instant};

use nix::sys::wait::{Id, WaitPidFlag, waitid};
use nix::unistd::Pid;
use procsched::{Backoff, ChildSpec, Event, EventKind, ProcessScheduler, Status};
use tempfile::TempDir;

/// What it is called, and what it does COUNT times.
type Scenario = (&'static str, fn(usize));

const SCENARIOS: [Scenario; 4] = [
    ("turn", |count| lines(1, count)),
    ("turn-among-100", |count| lines(100, count)),
    ("spawn", spawns),
    ("drain", drains),
];

const LINE: [u8; 64] = [b'\n'; 64];

/// One write of the drain, and how many of them fit into a pipe of the usual size.
const BLOCK: [u8; 4096] = [b'\n'; 4096];
const BLOCKS_PER_PIPE: usize = 16;
const PIPES_PER_MIB: usize = 16;

/// Something that does not come in this time does not come at all. Valgrind is slow.
const PATIENCE: Duration = Duration::from_secs(60);

fn main() {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    // Cargo runs every bench with this word, and `cargo test --all-targets` without any.
    let [scenario, count] = &*arguments else {
        return;
    };
    if arguments.iter().any(|word| word == "--bench") {
        return;
    }
    let count = count.parse().expect("a count");
    let found = SCENARIOS.iter().find(|(name, _)| name == scenario);
    let (_, run) = found.unwrap_or_else(|| panic!("no scenario is called {scenario:?}"));
    run(count);
}

/// Lines from one program, one a turn, beside others that are silent.
fn lines(programs: usize, count: usize) {
    let mut host = Host::start(programs, "/bin/sleep");
    let mut stderr = host.stderr();
    for _ in 0..count {
        stderr.write_all(&LINE).expect("a pipe with room");
        host.turn_until_logged(LINE.len());
    }
    host.stop();
}

/// Deaths of one program, each with a report, and the start after it.
fn spawns(count: usize) {
    let mut host = Host::start(1, "/bin/true");
    for _ in 0..count {
        let pid = host.pid();
        let dead = WaitPidFlag::WEXITED | WaitPidFlag::WNOWAIT;
        waitid(Id::Pid(Pid::from_raw(pid)), dead).expect("a death");
        host.turn_until("a successor", |host| host.pid() != pid);
    }
    host.stop();
}

/// MiB of one program, in writes of 4 KiB.
fn drains(mib: usize) {
    let mut host = Host::start(1, "/bin/sleep");
    let mut stderr = host.stderr();
    for _ in 0..mib * PIPES_PER_MIB {
        for _ in 0..BLOCKS_PER_PIPE {
            stderr.write_all(&BLOCK).expect("a pipe with room");
        }
        host.turn_until_logged(BLOCKS_PER_PIPE * BLOCK.len());
    }
    host.stop();
}

/// A scheduler that is told everything and passes nothing on.
struct Host {
    scheduler: ProcessScheduler,
    seen: Arc<Seen>,
    log: File,
    logged: u64,
    _directory: TempDir,
}

/// What events said. A status is not asked for: it would cost as much as a tenth of a start.
#[derive(Default)]
struct Seen {
    starts: AtomicUsize,
    /// The pid of the first program.
    pid: AtomicI32,
}

impl Seen {
    fn event(&self, event: &Event) {
        if let EventKind::Started { pid, .. } = *event.kind() {
            self.starts.fetch_add(1, Ordering::Relaxed);
            if event.program() == "p000" {
                self.pid.store(pid, Ordering::Relaxed);
            }
        }
    }
}

impl Host {
    fn start(programs: usize, command: &str) -> Self {
        let memory = Path::new("/dev/shm");
        let root = if memory.is_dir() {
            memory.to_owned()
        } else {
            std::env::temp_dir()
        };
        let directory = TempDir::with_prefix_in("procsched-instructions-", root);
        let directory = directory.expect("a directory");
        let at_once = Backoff {
            initial: Duration::ZERO,
            max: Duration::ZERO,
            ..Backoff::default()
        };
        let spec = |index| ChildSpec::new(format!("p{index:03}"), [command, "1000"]);
        let seen = Arc::new(Seen::default());
        let sees = seen.clone();
        let scheduler = ProcessScheduler::builder("/")
            .programs((0..programs).map(|index| spec(index).backoff(at_once)))
            .err_dir(directory.path())
            .error_handler(|_, report| assert!(!report.to_json().is_empty()))
            .on_event(move |event| sees.event(event))
            .build()
            .expect("a scheduler");
        let log = directory.path().join("p000.stderr.log");
        let log = OpenOptions::new()
            .create(true)
            .append(true)
            .open(log)
            .expect("a log");
        let mut host = Self {
            scheduler,
            seen,
            log,
            logged: 0,
            _directory: directory,
        };
        host.turn_until("all programs", |host| {
            host.seen.starts.load(Ordering::Relaxed) >= programs
        });
        host
    }

    /// Returns the pid of the first program, which has been started.
    fn pid(&self) -> i32 {
        self.seen.pid.load(Ordering::Relaxed)
    }

    /// The pipe of the first program, for this process to write to.
    fn stderr(&self) -> File {
        let pid = self.pid();
        let path = format!("/proc/{pid}/fd/2");
        let pipe = OpenOptions::new().write(true).open(path);
        pipe.expect("the pipe of a program of ours")
    }

    fn turn_until_logged(&mut self, bytes: usize) {
        self.logged += bytes as u64;
        self.turn_until("bytes in the log", |host| {
            host.log.metadata().expect("a log").len() >= host.logged
        });
    }

    fn turn_until(&mut self, what: &str, is_so: impl Fn(&Self) -> bool) {
        let began = Instant::now();
        loop {
            self.scheduler.step(Some(PATIENCE)).expect("a turn");
            if is_so(self) {
                return;
            }
            assert!(began.elapsed() < PATIENCE, "in vain: {what}");
        }
    }

    fn stop(mut self) {
        self.scheduler.kill();
        while self.scheduler.step(None).expect("a turn") == Status::Running {}
    }
}
