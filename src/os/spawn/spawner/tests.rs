use std::ffi::CStr;
use std::fs::File;
use std::io::{ErrorKind, Read};
use std::os::fd::AsFd;
use std::time::Duration;

use super::*;
use crate::os::clock::Clock;
use crate::os::group::Sent;
use crate::os::spawn::Passed;
use crate::spec::Attributes;

mod attributes;

/// How often a trial of the kernel is tried again, as other tests close descriptors meanwhile.
const TRIALS_MAX: usize = 1000;

/// How long something may take that happens at once on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

/// How the next child is made, whatever the system could do.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Case {
    First,
    SharedMemory,
    SharedTable,
    /// The clone is a fork, and nothing says so, as under an emulator.
    Emulated,
    Forked,
}

const CASES: [Case; 5] = [
    Case::First,
    Case::SharedMemory,
    Case::SharedTable,
    Case::Emulated,
    Case::Forked,
];

/// Asks again and again until there is an answer.
fn patiently<T>(mut ask: impl FnMut() -> Option<T>) -> T {
    let clock = Clock::new();
    let begin = clock.now();
    loop {
        if let Some(answer) = ask() {
            return answer;
        }
        assert!(clock.now().since(begin) < PATIENCE, "it never happens");
        std::thread::yield_now();
    }
}

/// Waits for the end of a child, and returns its exit code.
fn exit_code(pid: i32) -> i32 {
    let status = patiently(|| reap::reap(pid));
    status.code().unwrap_or_else(|| panic!("{status}"))
}

struct Bench {
    null: Arc<OwnedFd>,
    spawner: Spawner,
    /// Everything up to a number beyond the first words.
    crowd: Vec<OwnedFd>,
    passed: Option<Passed>,
    attributes: Option<Arc<Attributes>>,
}

impl Bench {
    fn new(case: Case) -> Self {
        let null = Arc::new(descriptors::null_device().expect("the null device"));
        let spawner = Spawner::new(Some(null.clone())).expect("a spawner");
        let mut bench = Self {
            null,
            spawner,
            crowd: Vec::new(),
            passed: None,
            attributes: None,
        };
        match case {
            Case::First => {}
            Case::SharedMemory => bench.become_known(),
            Case::SharedTable => {
                bench.become_known();
                bench.become_sound();
            }
            Case::Emulated => {
                bench.spawner.flags = 0;
                bench.become_known();
            }
            Case::Forked => bench.spawner.is_shared = Some(false),
        }
        bench
    }

    fn become_known(&mut self) {
        let emulated = self.spawner.flags == 0;
        assert_eq!(self.run("exit 0"), Ok(0));
        assert_eq!(self.spawner.is_shared, Some(!emulated));
    }

    fn become_sound(&mut self) {
        for _ in 0..TRIALS_MAX {
            self.fill_gaps();
            assert_eq!(self.run("exit 0"), Ok(0));
            match self.spawner.table.as_ref().expect("a table").works {
                Some(true) => return,
                Some(false) => panic!("this kernel has no CLOSE_RANGE_UNSHARE"),
                None => {}
            }
        }
        panic!("the table was never shared");
    }

    /// Opens all numbers up to some that lie beyond the first words; those, too, that other tests
    /// have closed since.
    fn fill_gaps(&mut self) {
        loop {
            let copy = descriptors::duplicate(self.null.as_fd()).expect("a descriptor");
            let is_beyond = copy.as_raw_fd() >= 300;
            self.crowd.push(copy);
            if is_beyond {
                return;
            }
        }
    }

    fn spawn(&mut self, files: &[&CStr], argv: &[&CStr], cwd: &CStr) -> Result<Started, Failure> {
        let last = self.crowd.last().unwrap_or(&self.null).as_raw_fd();
        let null = self.null.as_raw_fd();
        self.spawner.spawn(Command {
            candidates: files.iter().collect(),
            arguments: &|take| argv.iter().copied().for_each(take),
            variables: &|take| take(c"ONE=1"),
            directory: cwd,
            attributes: self.attributes.as_ref(),
            place: Place::Apart {
                stdio: [null, null, last],
                limit: None,
                passed: self.passed,
            },
            wait: Duration::from_millis(10),
        })
    }

    /// Starts one of these files, and waits for its end.
    fn start(&mut self, files: &[&CStr], argv: &[&CStr], cwd: &CStr) -> Result<i32, Failure> {
        let pid = match self.spawn(files, argv, cwd)? {
            Started::Executed(pid) => pid,
            Started::Late(late) => self.wait_for(late)?,
        };
        Ok(exit_code(pid))
    }

    /// Starts one that cannot execute its program.
    fn start_late(&mut self, file: &CStr) -> Late {
        match self.spawn(&[file], &[c"true"], c"/") {
            Ok(Started::Late(late)) => late,
            Ok(Started::Executed(_)) => panic!("a lease was no obstacle"),
            Err(failure) => panic!("{failure:?}"),
        }
    }

    /// Waits for one that is late, on a machine that is busy or because it was stopped.
    fn wait_for(&mut self, mut late: Late) -> Result<i32, Failure> {
        let answer = patiently(|| late.poll(&mut self.spawner));
        answer.inspect_err(|_| self.spawner.bury(late.pid()))?;
        Ok(late.pid())
    }

    fn run(&mut self, script: &str) -> Result<i32, Failure> {
        let script = std::ffi::CString::new(script).expect("no NUL");
        self.start(&[c"/bin/sh"], &[c"sh", c"-c", &script], c"/")
    }
}

fn failure(step: Step, errno: i32, which: usize) -> Result<i32, Failure> {
    Err(Failure { step, errno, which })
}

#[test]
fn every_way_of_making_a_child_runs_it_and_tells_why_it_did_not() {
    for case in CASES {
        let said = |script: &str| Bench::new(case).run(script);
        assert_eq!(said("exit 7"), Ok(7), "{case:?}");
        assert_eq!(said("test $ONE = 1"), Ok(0), "{case:?}");
        let fails = |files: &[&CStr], cwd| Bench::new(case).start(files, &[c"x"], cwd);
        let none = failure(Step::Exec, libc::ENOENT, 1);
        assert_eq!(fails(&[c"/no/a", c"/no/b"], c"/"), none, "{case:?}");
        let denied = failure(Step::Exec, libc::EACCES, 1);
        let files = [c"/no/a", c"/dev/null", c"/no/b"];
        assert_eq!(fails(&files, c"/"), denied, "{case:?}");
        let nowhere = failure(Step::Directory, libc::ENOENT, 0);
        assert_eq!(fails(&[c"/bin/true"], c"/no"), nowhere, "{case:?}");
    }
}

/// The pipe by which a child is heard, and the low number that was lent to it, are not for it.
#[test]
fn no_way_of_making_a_child_gives_it_more_than_three_descriptors() {
    let script = "i=3; while test $i -lt 1024; do test -e /proc/self/fd/$i && exit $i; \
                  i=$((i+1)); done; test -e /proc/self/fd/2";
    for case in CASES {
        let mut bench = Bench::new(case);
        for round in 0..3 {
            assert_eq!(bench.run(script), Ok(0), "{case:?}, {round}");
        }
    }
}

/// Whatever number it has with us, and whatever else has that number: the pipe by which a child is
/// heard may.
#[test]
fn a_descriptor_that_is_passed_has_its_number_and_no_other_comes_along() {
    let (mut read, write) = std::io::pipe().expect("a pipe");
    let write = OwnedFd::from(write);
    for case in CASES {
        for to in 3..64 {
            let mut bench = Bench::new(case);
            let from = write.as_raw_fd();
            bench.passed = Some(Passed { from, to });
            let script = format!(
                "echo {to} > /proc/self/fd/{to}; i=3; while test $i -lt 400; do \
                 test $i != {to} && test -e /proc/self/fd/$i && exit $i; i=$((i+1)); done; exit 0"
            );
            assert_eq!(bench.run(&script), Ok(0), "{case:?}, {to}");
            let line = format!("{to}\n");
            let mut said = vec![0; line.len()];
            read.read_exact(&mut said).expect("what it wrote");
            assert_eq!(String::from_utf8_lossy(&said), line, "{case:?}");
        }
    }
    let mut bench = Bench::new(Case::Forked);
    let own = write.as_raw_fd();
    bench.passed = Some(Passed { from: own, to: own });
    assert_eq!(bench.run(&format!("echo x > /proc/self/fd/{own}")), Ok(0));
}

#[test]
fn a_failure_is_followed_by_a_start_like_any_other() {
    for case in CASES {
        let mut bench = Bench::new(case);
        for _ in 0..10 {
            let failed = bench.start(&[c"/no"], &[c"no"], c"/");
            assert_eq!(failed, failure(Step::Exec, libc::ENOENT, 0), "{case:?}");
            assert_eq!(bench.run("exit 3"), Ok(3), "{case:?}");
        }
        assert_eq!(bench.spawner.take_warning(), None, "{case:?}");
    }
}

/// A pipe whose write end were kept would never end. That was so after a child that could not be
/// made: the number that was lent to it kept the pipe open for good.
#[test]
fn what_was_lent_is_taken_back_also_from_a_child_that_could_not_be_made() {
    // Refused with EINVAL: a thread needs more to be shared.
    for more_flags in [0, libc::CLONE_THREAD] {
        let mut bench = Bench::new(Case::SharedTable);
        let (read, write) = descriptors::child_pipe().expect("a pipe");
        bench.crowd.push(write);
        bench.spawner.flags |= more_flags;
        assert_eq!(bench.run("echo words >&2"), Ok(0));
        assert!(bench.spawner.lent_to.is_none());
        bench.crowd.pop();
        assert_eq!(read_to_end(read), "words\n");
    }
}

/// What comes out of a pipe until its end.
fn read_to_end(read: OwnedFd) -> String {
    // The read end does not block: were it open elsewhere for good, there were no end. For a
    // moment it may be in what another test starts.
    let (mut pipe, mut text) = (File::from(read), String::new());
    patiently(|| match pipe.read_to_string(&mut text) {
        Ok(_) => Some(()),
        Err(error) => {
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            None
        }
    });
    text
}

#[test]
fn a_steady_restart_allocates_no_lists() {
    let mut bench = Bench::new(Case::SharedMemory);
    let lists = |bench: &Bench| {
        let slot = bench.spawner.slot.as_ref().expect("its place is back");
        (slot.lists.argv(), slot.lists.env())
    };
    let before = lists(&bench);
    for _ in 0..10 {
        assert_eq!(bench.run("exit 0"), Ok(0));
        assert_eq!(lists(&bench), before, "the lists have moved");
    }
}

/// Sends a signal to a process, and waits until it is in this state (proc_pid_stat(5)).
fn signal_until(pid: i32, signal: i32, state: char) {
    patiently(|| {
        assert_eq!(crate::os::children::signal(pid, signal), Sent::Delivered);
        let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
        let (_, rest) = stat.rsplit_once(") ")?;
        rest.starts_with(state).then_some(())
    });
}

/// A file that cannot be executed before its lease is broken, which takes 45 s, or until it is
/// given up. What is open for writing cannot be executed, and any child that another test makes
/// may have it open for a moment: so a child writes it.
fn leased_program(bench: &mut Bench, dir: &std::path::Path) -> (std::ffi::CString, File) {
    /// Of asm-generic/fcntl.h.
    const F_SETSIG: i32 = 10;
    let path = dir.join("leased");
    let copy = format!("cp /bin/true {}", path.display());
    assert_eq!(bench.run(&copy), Ok(0));
    let file = File::open(&path).expect("a file");
    // SAFETY: plain numbers; the descriptor is open. A signal that is ignored tells of the lease.
    let leased = unsafe {
        libc::fcntl(file.as_raw_fd(), F_SETSIG, libc::SIGWINCH);
        libc::fcntl(file.as_raw_fd(), libc::F_SETLEASE, libc::F_WRLCK)
    };
    assert_eq!(leased, 0, "{}", std::io::Error::last_os_error());
    let path = path.to_str().expect("text");
    (std::ffi::CString::new(path).expect("no NUL"), file)
}

/// A supervisor waited in the kernel, where SIGTERM did not reach it, for a child that could not execute its
/// program: a lease on the file, a SIGSTOP before the exec, a tracer. Now that child is late, and
/// the next ones start.
#[test]
fn a_child_that_cannot_execute_its_program_holds_up_no_other() {
    let dir = tempfile::tempdir().expect("a directory");
    for case in CASES {
        let mut bench = Bench::new(case);
        let (path, lease) = leased_program(&mut bench, dir.path());
        let mut late = Vec::new();
        for _ in 0..3 {
            late.push(bench.start_late(&path));
            assert_eq!(bench.run("test $ONE = 1 && exit 7"), Ok(7), "{case:?}");
        }
        // One is stopped besides, and its death is all that is seen of it.
        let mut killed = late.pop().expect("three");
        signal_until(killed.pid(), libc::SIGKILL, 'Z');
        // For a moment its pipe may be in what another test starts.
        let answer = patiently(|| killed.poll(&mut bench.spawner));
        assert_eq!(answer, Ok(()), "{case:?}");
        bench.spawner.bury(killed.pid());
        for late in &mut late {
            assert_eq!(late.poll(&mut bench.spawner), None, "{case:?}");
        }
        drop(lease);
        for late in late {
            let pid = bench.wait_for(late).expect("it is executed in the end");
            assert_eq!(exit_code(pid), 0, "{case:?}");
        }
        assert_eq!(bench.run("exit 3"), Ok(3), "{case:?}");
        assert!(
            bench.spawner.lent_to.is_none(),
            "{case:?}: what was lent is back"
        );
    }
}

/// What a late child still reads is never freed, and never given to another.
#[test]
fn a_late_child_that_is_forgotten_still_has_its_strings() {
    let dir = tempfile::tempdir().expect("a directory");
    let mut bench = Bench::new(Case::SharedMemory);
    let (path, lease) = leased_program(&mut bench, dir.path());
    let late = bench.start_late(&path);
    let pid = late.pid();
    drop(late);
    for _ in 0..10 {
        assert_eq!(bench.run("exit 5"), Ok(5));
    }
    drop(bench);
    drop(lease);
    assert_eq!(exit_code(pid), 0);
}

/// Its failure was heard before it had ended, and taken for a sign that memory is not shared: every
/// later start was a fork.
#[test]
fn a_first_start_that_fails_says_nothing_against_shared_memory() {
    for round in 0..50 {
        let mut bench = Bench::new(Case::First);
        let failed = bench.start(&[c"/no"], &[c"no"], c"/");
        assert_eq!(failed, failure(Step::Exec, libc::ENOENT, 0), "{round}");
        assert_eq!(bench.run("exit 0"), Ok(0), "{round}");
        assert_eq!(bench.spawner.is_shared, Some(true), "{round}");
    }
}

/// One that has told of its failure, and has not ended yet: the next child got its stack.
#[test]
fn a_child_that_has_failed_keeps_its_place_until_it_has_ended() {
    let mut bench = Bench::new(Case::First);
    let slot = Slot::new().expect("a slot");
    let said = slot.said().clone();
    said.reset();
    let (read, write) = descriptors::child_pipe().expect("a pipe");
    let told = Failure::new(Step::Exec, libc::EACCES);
    let bytes: Vec<u8> = told
        .to_numbers()
        .iter()
        .flat_map(|n| n.to_ne_bytes())
        .collect();
    nix::unistd::write(&write, &bytes).expect("room in a pipe");
    let mut late = Late::new(1 << 30, Way::SharingMemory, slot, Some(read));
    assert_eq!(late.poll(&mut bench.spawner), Some(Err(told)));
    let next = bench.spawner.slot.as_ref().expect("another place");
    assert!(!Arc::ptr_eq(next.said(), &said), "its place is taken");
    drop(late);
    assert_eq!(Arc::strong_count(&said), 2, "its place is freed");
}

/// The child had the numbers, and the host's files behind them.
#[test]
fn a_late_child_keeps_what_it_was_lent_though_the_spawner_is_gone() {
    let mut bench = Bench::new(Case::SharedTable);
    let said = Arc::<Said>::default();
    said.reset();
    bench.spawner.lent_to = Some(said);
    let low = bench
        .spawner
        .table
        .as_ref()
        .expect("a table")
        .low
        .as_raw_fd();
    drop(bench);
    // SAFETY: plain numbers; the call only asks.
    let flags = unsafe { libc::fcntl(low, libc::F_GETFD) };
    assert_ne!(flags, -1, "it is closed");
}
