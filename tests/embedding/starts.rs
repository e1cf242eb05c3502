//! How programs are made in hosts that have thousands of descriptors, and under systems that
//! refuse one or another way of making a process.

use std::collections::BTreeMap;
use std::fs::File;
use std::os::fd::{AsRawFd, OwnedFd};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use procsched::{ProcessScheduler, Restart};
use tempfile::TempDir;

use super::answers::{Condition, answer_if};
use super::host::{Test, host};
use super::kit::{self, MILLISECOND};
use super::refusals::refuse;
use crate::tools::{self, Need, missing};

pub const TESTS: &[Test] = tests![
    thousands_of_descriptors_cost_a_start_nothing_and_stay_with_the_host,
    a_host_without_standard_streams_may_have_thousands_of_descriptors,
    other_threads_open_and_close_while_programs_start,
    a_hosts_record_lock_outlives_a_hundred_starts,
    without_close_range_the_table_is_copied,
    a_sandbox_may_forbid_close_range,
    a_sandbox_may_forbid_to_share_the_table_alone,
    a_kernel_that_forgets_what_is_free_is_not_trusted,
    where_memory_may_not_be_shared_programs_are_forked_and_it_is_said_once,
    where_memory_cannot_be_shared_programs_are_forked_and_it_is_said_once,
    where_there_is_no_clone_programs_are_forked_and_it_is_said_once,
    where_nothing_can_be_shared_programs_are_started_all_the_same,
    under_an_emulator_a_failed_start_is_told_as_anywhere,
];

/// How many descriptors a crowded host has, over and above the usual.
const CROWD: usize = 3000;

/// What a program has in its table of descriptors, and how large the kernel has made that. A
/// program that did not copy the host's has one of 64 or 256.
const TALE: &str = "exec >&2; for i in 0 1 2 3 4 5 6 7 8 9; do \
                    test -e /proc/$$/fd/$i && echo -n \"$i \"; done; \
                    for i in /proc/$$/fd/[1-9][0-9]*; do test -e $i && echo -n $i; done; \
                    grep FDSize /proc/$$/status; ";

/// Larger than what any program here needs for itself.
const TABLE_MAX: u32 = 512;

/// Descriptors of the host's, none of them close-on-exec: a program must not get them even so.
fn crowd() -> Vec<OwnedFd> {
    let limit = nix::sys::resource::Resource::RLIMIT_NOFILE;
    let (_, hard) = nix::sys::resource::getrlimit(limit).expect("a limit");
    nix::sys::resource::setrlimit(limit, hard, hard).expect("the soft limit may be raised");
    let null = File::open("/dev/null").expect("the null device");
    let copy = |_| {
        // SAFETY: dup makes a descriptor, which is owned here alone.
        unsafe {
            let fd = libc::dup(null.as_raw_fd());
            assert!(fd >= 0, "{}", std::io::Error::last_os_error());
            std::os::fd::FromRawFd::from_raw_fd(fd)
        }
    };
    (0..CROWD).map(copy).collect()
}

struct Host {
    dir: TempDir,
    scheduler: ProcessScheduler,
    reports: kit::List<procsched::ErrorReport>,
    warnings: kit::List<(String, String)>,
    /// Taken last, so that what the scheduler needs had low numbers.
    crowd: Vec<OwnedFd>,
}

/// A host with thousands of descriptors, a program for each outcome of a start, and one that is
/// started again and again.
fn crowded() -> Host {
    let dir = kit::directory();
    let (reports, handler) = kit::reports();
    let (warnings, on_event) = kit::warnings();
    let nowhere = kit::once("nowhere", "exit 0").cwd("/no/such/directory");
    let missing = procsched::ChildSpec::new("missing", ["/no/such/program"]);
    let denied = procsched::ChildSpec::new("denied", ["/dev/null"]);
    let builder = kit::own(&dir)
        .program(kit::once("first", "exit 0"))
        .program(kit::once("good", &format!("{TALE} exit 7")))
        .program(missing.restart(Restart::Never))
        .program(denied.restart(Restart::Never))
        .program(nowhere)
        .program(kit::churner("again", MILLISECOND, TALE));
    let builder = builder.safety_sweep(false).error_handler(handler);
    let scheduler = kit::built(builder.on_event(on_event));
    Host {
        dir,
        scheduler,
        reports,
        warnings,
        crowd: crowd(),
    }
}

impl Host {
    /// Every program has had its start, one of them many.
    fn run(&mut self, restarts: u64) {
        kit::turn_until(&mut self.scheduler, "all have run", |scheduler| {
            let once = ["first", "good", "missing", "denied", "nowhere"];
            once.iter().all(|name| kit::code(scheduler, name).is_some())
                && kit::status(scheduler, "again").restarts() >= restarts
        });
    }

    /// Each start had the outcome that it has anywhere, and no program got more than it should.
    fn check(&self) {
        let names = ["first", "good", "missing", "denied", "nowhere"];
        let codes = names.map(|name| kit::code(&self.scheduler, name));
        assert_eq!(codes, [0, 7, 127, 126, 125].map(Some));
        let errors: BTreeMap<String, String> = (self.reports.items().iter())
            .filter_map(|report| Some((report.process().to_owned(), report.error()?.to_owned())))
            .collect();
        let expected = [
            ("denied", "\"/dev/null\": Permission denied"),
            ("missing", "\"/no/such/program\": No such file or directory"),
            (
                "nowhere",
                "\"/no/such/directory\": No such file or directory",
            ),
        ];
        assert_eq!(errors.len(), expected.len(), "{errors:?}");
        for (name, words) in expected {
            assert!(errors[name].ends_with(words), "{errors:?}");
        }
        for report in self.reports.items() {
            let told = String::from_utf8_lossy(report.stderr()).into_owned();
            let tells = ["good", "again"].contains(&report.process()) && report.return_code() >= 0;
            assert!(!tells || told.starts_with("0 1 2 FDSize:"), "{report:?}");
        }
    }

    /// The sizes of the programs' tables.
    fn table_sizes(&self) -> Vec<u32> {
        let size = |report: &procsched::ErrorReport| {
            let told = String::from_utf8_lossy(report.stderr()).into_owned();
            told.rsplit_once("FDSize:")?.1.trim().parse().ok()
        };
        self.reports.items().iter().filter_map(size).collect()
    }

    fn end(mut self) {
        kit::end(&mut self.scheduler);
        drop(self.crowd);
        drop(self.scheduler);
        drop(self.dir);
    }
}

/// A start took a millisecond and more where 15,000 descriptors were open, as all were copied for
/// the child and closed in it.
fn thousands_of_descriptors_cost_a_start_nothing_and_stay_with_the_host() {
    host(|| {
        let mut host = crowded();
        // The logs and pipes of programs come and go; the rest is as it was, in place.
        let is_ours = |target: &String| !target.contains("pipe:") && !target.contains("pidfd");
        let look = || {
            let mut all = kit::descriptors();
            all.retain(|_, target| is_ours(target));
            all
        };
        let before = look();
        host.run(50);
        host.check();
        assert_eq!(look(), before);
        let sizes = host.table_sizes();
        assert!(sizes.len() >= 50, "{sizes:?}");
        assert!(sizes.iter().all(|&size| size <= TABLE_MAX), "{sizes:?}");
        assert_eq!(host.warnings.items(), []);
        host.end();
    });
}

/// Each pipe is born where a program's standard streams go.
fn a_host_without_standard_streams_may_have_thousands_of_descriptors() {
    host(|| {
        let mut host = crowded();
        // SAFETY: plain numbers. What the host has to say at its end goes to a copy.
        let kept = unsafe {
            let kept = libc::fcntl(1, libc::F_DUPFD_CLOEXEC, 3);
            (0..3).for_each(|fd| _ = libc::close(fd));
            kept
        };
        host.run(20);
        // SAFETY: plain numbers.
        unsafe { (0..3).for_each(|fd| _ = libc::dup2(kept, fd)) };
        host.check();
        let sizes = host.table_sizes();
        assert!(sizes.iter().all(|&size| size <= TABLE_MAX), "{sizes:?}");
        host.end();
    });
}

/// Until it has a table of its own, what a child did to its descriptors would be done to ours.
fn other_threads_open_and_close_while_programs_start() {
    host(|| {
        let mut host = crowded();
        let over = Arc::new(AtomicBool::new(false));
        let busy = |_| {
            let over = over.clone();
            std::thread::spawn(move || {
                let mut rounds = 0_u32;
                while !over.load(Ordering::Relaxed) || rounds == 0 {
                    let (a, b) = std::io::pipe().expect("a pipe");
                    let (a, b): (OwnedFd, OwnedFd) = (a.into(), b.into());
                    for fd in [a, b] {
                        // SAFETY: closes what is owned here and nowhere else; an error says that
                        // somebody else has closed it.
                        let closed =
                            unsafe { libc::close(std::os::fd::IntoRawFd::into_raw_fd(fd)) };
                        assert_eq!(closed, 0, "{}", std::io::Error::last_os_error());
                    }
                    rounds += 1;
                }
            })
        };
        let threads: Vec<_> = (0..2).map(busy).collect();
        host.run(100);
        over.store(true, Ordering::Relaxed);
        for thread in threads {
            thread.join().expect("no descriptor was lost");
        }
        host.check();
        host.end();
    });
}

/// A record lock is lost when its process closes any descriptor of the file, and a child that
/// closes them in a table that is ours closes them for us.
fn a_hosts_record_lock_outlives_a_hundred_starts() {
    host(|| {
        let mut host = crowded();
        let path = host.dir.path().join("locked");
        let file = File::create(&path).expect("a file");
        let copies: Vec<File> = (0..10).map(|_| file.try_clone().expect("a copy")).collect();
        let mut lock = whole_file(libc::F_WRLCK);
        // SAFETY: an open descriptor, and a live lock.
        let locked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_SETLK, &raw mut lock) };
        assert_eq!(locked, 0, "{}", std::io::Error::last_os_error());
        host.run(100);
        // Another process sees who has it; the owner itself would see no conflict.
        let owner_is = kit::me();
        let looker = kit::copy(|| {
            let file = File::options().write(true).open(&path).expect("the file");
            let mut lock = whole_file(libc::F_WRLCK);
            // SAFETY: as above.
            let asked = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_GETLK, &raw mut lock) };
            i32::from(asked != 0 || lock.l_pid != owner_is)
        });
        assert!(kit::ended(looker).success(), "the lock is gone");
        drop(copies);
        host.check();
        host.end();
    });
}

fn whole_file(kind: i32) -> libc::flock {
    // SAFETY: all zero is a lock of everything.
    let mut lock: libc::flock = unsafe { std::mem::zeroed() };
    lock.l_type = libc::c_short::try_from(kind).expect("a kind of lock");
    lock
}

/// Every start of a crowded host, with one or another call refused: all is as anywhere, but for
/// the time.
fn refused(refuse: impl FnOnce(), copied: bool) -> Vec<(String, String)> {
    let mut host = crowded();
    refuse();
    host.run(20);
    host.check();
    let sizes = host.table_sizes();
    let is_copied = |&size: &u32| size > TABLE_MAX;
    assert_eq!(sizes.iter().any(is_copied), copied, "{sizes:?}");
    let warnings = host.warnings.items();
    host.end();
    warnings
}

/// As before Linux 5.9. The start that meets it first succeeds as well.
fn without_close_range_the_table_is_copied() {
    host(|| {
        let warnings = refused(|| refuse(&[libc::SYS_close_range], libc::ENOSYS), true);
        assert_eq!(warnings, []);
    });
}

fn a_sandbox_may_forbid_close_range() {
    host(|| {
        let warnings = refused(|| refuse(&[libc::SYS_close_range], libc::EPERM), true);
        assert_eq!(warnings, []);
    });
}

/// As qemu's user mode does, too.
fn a_sandbox_may_forbid_to_share_the_table_alone() {
    host(|| {
        let files = [Condition::has(0, libc::CLONE_FILES)];
        let warnings = refused(|| answer_if(libc::SYS_clone, &files, libc::EINVAL), true);
        assert_eq!(warnings, []);
    });
}

/// Before 2024 kernels took other numbers for free in a table that had been shared than in
/// another (CVE-2024-45025); a program could have been left with 64. Here the filter gives a wrong
/// answer to the child that looks.
fn a_kernel_that_forgets_what_is_free_is_not_trusted() {
    host(|| {
        let duplicates = [
            Condition::is(1, libc::F_DUPFD_CLOEXEC),
            Condition::is(2, 64),
        ];
        let lie = || answer_if(libc::SYS_fcntl, &duplicates, 0);
        assert_eq!(refused(lie, true), []);
    });
}

const SHARED_MEMORY: [Condition; 1] = [Condition::has(0, libc::CLONE_VM)];

fn assert_said_once(warnings: &[(String, String)], word: &str) {
    let [(program, text)] = warnings else {
        panic!("{warnings:?}");
    };
    assert_eq!(program, "");
    for word in ["CLONE_VM", word, "fork", "memory"] {
        assert!(text.contains(word), "{text}");
    }
}

fn memory_is_refused(errno: i32, word: &str) {
    host(|| {
        let refuse = || answer_if(libc::SYS_clone, &SHARED_MEMORY, errno);
        assert_said_once(&refused(refuse, true), word);
    });
}

fn where_memory_may_not_be_shared_programs_are_forked_and_it_is_said_once() {
    memory_is_refused(libc::EPERM, "not permitted");
}

fn where_memory_cannot_be_shared_programs_are_forked_and_it_is_said_once() {
    memory_is_refused(libc::EINVAL, "Invalid argument");
}

fn where_there_is_no_clone_programs_are_forked_and_it_is_said_once() {
    memory_is_refused(libc::ENOSYS, "not implemented");
}

fn where_nothing_can_be_shared_programs_are_started_all_the_same() {
    host(|| {
        let both = || {
            refuse(&[libc::SYS_close_range], libc::ENOSYS);
            answer_if(libc::SYS_clone, &SHARED_MEMORY, libc::EPERM);
        };
        assert_said_once(&refused(both, true), "not permitted");
    });
}

/// Names `procsched-min` for another architecture.
const FOREIGN_BINARY: &str = "PROCSCHED_FOREIGN_BINARY";
const EMULATOR: &str = "qemu-aarch64-static";

/// qemu's user mode takes a clone that shares memory for a fork. What a child wrote there was
/// lost: each program that could not be started had "exited" with 127, and nobody said why.
fn under_an_emulator_a_failed_start_is_told_as_anywhere() {
    if missing(&[Need::Tool(EMULATOR)]) {
        return;
    }
    let Some(binary) = std::env::var_os(FOREIGN_BINARY) else {
        assert!(!tools::is_ci(), "{FOREIGN_BINARY} is not set");
        tools::skip(&format!("needs {FOREIGN_BINARY}, built for {EMULATOR}"));
        return;
    };
    host(|| {
        let cases: [(&[&str], i32, &str); 4] = [
            (&["sh", "-c", "exit 7"], 7, ""),
            (
                &["/no/such/program"],
                127,
                "\"/no/such/program\": No such file",
            ),
            (
                &["no-such-program"],
                127,
                "\"no-such-program\": not found in PATH",
            ),
            (&["/dev/null"], 126, "\"/dev/null\": Permission denied"),
        ];
        for (command, code, words) in cases {
            let mut emulator = std::process::Command::new(EMULATOR);
            let emulator = emulator.arg(&binary).args(["init", "--"]).args(command);
            let output = emulator.output().expect("the emulator runs");
            let said = String::from_utf8_lossy(&output.stderr);
            assert_eq!(output.status.code(), Some(code), "{command:?}: {said}");
            let is_told = said.contains("failed to execute") && said.contains(words);
            assert_eq!(is_told, !words.is_empty(), "{command:?}: {said}");
        }
    });
}
