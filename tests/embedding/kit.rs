//! What the hosts are made with: programs, schedulers, and looks at a process from inside.

use std::collections::BTreeMap;
use std::fs;
use std::os::fd::AsRawFd;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use procsched::{
    Backoff, Builder, ChildSpec, ErrorReport, Event, EventKind, ProcessScheduler, Reap, Restart,
    Status,
};
use tempfile::TempDir;

use crate::process::PATIENCE;

/// A flag of the kernel's (`asm/signal.h`), which libc does not name everywhere.
const SA_RESTORER: i32 = 0x0400_0000;

pub const MILLISECOND: Duration = Duration::from_millis(1);

pub fn shell(name: &str, script: &str) -> ChildSpec {
    ChildSpec::new(name, ["sh", "-c", script])
}

pub fn once(name: &str, script: &str) -> ChildSpec {
    shell(name, script).restart(Restart::Never)
}

/// Runs until it is stopped.
pub fn sleeper(name: &str) -> ChildSpec {
    ChildSpec::new(name, ["sleep", "1000"]).restart(Restart::Never)
}

/// Is started again and again, always after the same short delay.
pub fn churner(name: &str, delay: Duration, script: &str) -> ChildSpec {
    let backoff = Backoff {
        initial: delay,
        max: delay,
        ..Backoff::default()
    };
    shell(name, script).backoff(backoff)
}

pub fn directory() -> TempDir {
    TempDir::new().expect("a temporary directory")
}

/// A scheduler with its logs in `logs` that reaps its own programs only.
pub fn own(dir: &TempDir) -> Builder {
    all(dir).reap(Reap::Own)
}

/// The same, but it reaps every child of its process.
pub fn all(dir: &TempDir) -> Builder {
    ProcessScheduler::builder(dir.path())
        .err_dir("logs")
        .error_handler(|_, _| {})
}

pub fn built(builder: Builder) -> ProcessScheduler {
    builder.build().expect("a scheduler")
}

/// Turns until something holds; fails if it never does.
#[track_caller]
pub fn turn_until(
    scheduler: &mut ProcessScheduler,
    what: &str,
    mut holds: impl FnMut(&ProcessScheduler) -> bool,
) {
    let start = Instant::now();
    while !holds(scheduler) {
        assert!(
            start.elapsed() < PATIENCE,
            "it never came true that {what}: {:#?}",
            scheduler.programs()
        );
        turn(scheduler, 10 * MILLISECOND);
    }
}

#[track_caller]
pub fn turn(scheduler: &mut ProcessScheduler, time: Duration) -> Status {
    scheduler.step(Some(time)).expect("a turn")
}

/// Kills what runs and turns to the end.
#[track_caller]
pub fn end(scheduler: &mut ProcessScheduler) {
    scheduler.kill();
    let start = Instant::now();
    while turn(scheduler, 10 * MILLISECOND) == Status::Running {
        let programs = scheduler.programs();
        assert!(start.elapsed() < PATIENCE, "it does not end: {programs:#?}");
    }
}

/// Of a program that has been executed.
pub fn pid(scheduler: &ProcessScheduler, name: &str) -> Option<i32> {
    let status = status(scheduler, name);
    let is_late = status.state() == procsched::ProgramState::Starting;
    status.pid().filter(|_| !is_late)
}

/// True if a stop came in the middle of this start. On a busy machine it may meet any of them.
pub fn was_cancelled(report: &ErrorReport) -> bool {
    report
        .error()
        .is_some_and(|error| error.starts_with("start cancelled by "))
}

pub fn code(scheduler: &ProcessScheduler, name: &str) -> Option<i32> {
    status(scheduler, name).last_return_code()
}

pub fn status(scheduler: &ProcessScheduler, name: &str) -> procsched::ProgramStatus {
    let programs = scheduler.programs();
    let found = programs.into_iter().find(|program| program.name() == name);
    found.expect("a program of this name")
}

/// Turns until every program has a process, executed or not.
#[track_caller]
pub fn all_spawned(scheduler: &mut ProcessScheduler) {
    turn_until(scheduler, "every program has a process", |scheduler| {
        scheduler.programs().iter().all(|p| p.pid().is_some())
    });
}

/// Turns until every program has been executed, and gives their process numbers. On a busy machine
/// a process may be there long before that.
#[track_caller]
pub fn all_up(scheduler: &mut ProcessScheduler) -> Vec<i32> {
    turn_until(scheduler, "every program runs", |scheduler| {
        let programs = scheduler.programs();
        programs.iter().all(|p| pid(scheduler, p.name()).is_some())
    });
    let programs = scheduler.programs();
    programs
        .iter()
        .filter_map(procsched::ProgramStatus::pid)
        .collect()
}

pub fn log_of(dir: &TempDir, name: &str) -> Vec<u8> {
    fs::read(dir.path().join(format!("logs/{name}.stderr.log"))).unwrap_or_default()
}

/// A list that closures fill.
pub struct List<T>(Arc<Mutex<Vec<T>>>);

impl<T> Clone for List<T> {
    fn clone(&self) -> Self {
        Self(self.0.clone())
    }
}

impl<T: Clone> List<T> {
    pub fn new() -> Self {
        Self(Arc::default())
    }

    pub fn push(&self, item: T) {
        self.0.lock().expect("no panic").push(item);
    }

    pub fn items(&self) -> Vec<T> {
        self.0.lock().expect("no panic").clone()
    }

    pub fn len(&self) -> usize {
        self.0.lock().expect("no panic").len()
    }
}

/// Collects the reports of a scheduler.
pub fn reports() -> (
    List<ErrorReport>,
    impl FnMut(&str, &ErrorReport) + Send + 'static,
) {
    let list = List::new();
    let sink = list.clone();
    (list, move |_: &str, report: &ErrorReport| {
        sink.push(report.clone());
    })
}

/// Collects the warnings of a scheduler: whose, and what.
pub fn warnings() -> (List<(String, String)>, impl FnMut(&Event) + Send + 'static) {
    let list = List::new();
    let sink = list.clone();
    (list, move |event: &Event| {
        if let EventKind::Warning { error, .. } = event.kind() {
            sink.push((event.program().to_owned(), error.to_string()));
        }
    })
}

/// What this process does with each signal: handler, flags and mask, as the kernel has them.
pub fn actions() -> BTreeMap<i32, (usize, i32, Vec<i32>)> {
    (1..=64)
        .filter_map(|signal| Some((signal, action(signal)?)))
        .collect()
}

pub fn action(signal: i32) -> Option<(usize, i32, Vec<i32>)> {
    // SAFETY: a null new action only asks, and the other pointer is to a live structure.
    let (status, found) = unsafe {
        let mut found: libc::sigaction = std::mem::zeroed();
        let status = libc::sigaction(signal, std::ptr::null(), &raw mut found);
        (status, found)
    };
    // SAFETY: the set was filled by the kernel.
    let blocked = |&other: &i32| unsafe { libc::sigismember(&raw const found.sa_mask, other) == 1 };
    let mask = (1..=64).filter(blocked).collect();
    // Where a handler returns to is the C library's business, and it leaves a flag of that.
    let flags = found.sa_flags & !SA_RESTORER;
    // The C library keeps two signals for itself.
    (status == 0).then_some((found.sa_sigaction, flags, mask))
}

/// Installs a handler, which must be async-signal-safe.
pub fn handle(signal: i32, handler: usize, flags: i32) {
    // SAFETY: all zero is a valid sigaction; the handler is a function of the right type for
    // these flags, or SIG_DFL or SIG_IGN.
    let status = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler;
        action.sa_flags = flags;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(status, 0, "sigaction({signal})");
}

/// Blocks these signals in this thread.
pub fn block(signals: &[i32]) {
    // SAFETY: the set is initialised first, and lives as long as the calls.
    let failed = unsafe {
        let mut set = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        for &signal in signals {
            libc::sigaddset(&raw mut set, signal);
        }
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut())
    };
    assert_eq!(failed, 0, "pthread_sigmask");
}

/// Which signals each thread of this process has blocked.
pub fn masks() -> BTreeMap<i32, String> {
    let tasks = fs::read_dir("/proc/self/task").expect("/proc");
    let mask = |task: std::io::Result<fs::DirEntry>| {
        let task = task.ok()?;
        let status = fs::read_to_string(task.path().join("status")).ok()?;
        let line = status.lines().find(|line| line.starts_with("SigBlk"))?;
        Some((task.file_name().to_str()?.parse().ok()?, line.to_owned()))
    };
    tasks.filter_map(mask).collect()
}

/// What each open descriptor of this process leads to.
pub fn descriptors() -> BTreeMap<i32, String> {
    let mut all = crate::process::descriptors(me());
    // The look itself opens one.
    all.retain(|_, target| !target.ends_with("/fd"));
    all
}

pub fn me() -> i32 {
    i32::try_from(std::process::id()).expect("a pid")
}

/// A signal to this process as a whole, as the kernel's own are.
pub fn raise(signal: i32) {
    // SAFETY: plain numbers, and the target is this process.
    assert_eq!(unsafe { libc::kill(me(), signal) }, 0);
}

/// A copy of this process, made without an exec. It ends by the code of `body`, and nothing of
/// the test's runner is run in it.
pub fn copy(body: impl FnOnce() -> i32) -> i32 {
    // SAFETY: a copy of a process whose other threads, if any, hold no lock that `body` needs:
    // the C library's own fork sees to its allocator.
    act_in_copy(unsafe { libc::fork() }, body)
}

/// The same for a process of one thread. The copy is the first process of a PID namespace.
pub fn copy_in_namespace(body: impl FnOnce() -> i32) -> i32 {
    let flags = libc::CLONE_NEWPID | libc::SIGCHLD;
    // SAFETY: with these flags, and without a stack, it is as fork(2).
    let pid = unsafe { libc::syscall(libc::SYS_clone, flags, 0, 0, 0, 0) };
    act_in_copy(i32::try_from(pid).expect("a pid"), body)
}

fn act_in_copy(pid: i32, body: impl FnOnce() -> i32) -> i32 {
    match pid {
        -1 => panic!("fork: {}", std::io::Error::last_os_error()),
        0 => {
            let code = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
            // SAFETY: ends this process, without destructors.
            unsafe { libc::_exit(code.unwrap_or(101)) }
        }
        pid => pid,
    }
}

/// How this child ended; waits for that.
pub fn ended(pid: i32) -> std::process::ExitStatus {
    use std::os::unix::process::ExitStatusExt;
    let mut status = 0;
    // SAFETY: the pointer is to a live integer.
    let waited = unsafe { libc::waitpid(pid, &raw mut status, 0) };
    assert_eq!(waited, pid, "{}", std::io::Error::last_os_error());
    std::process::ExitStatus::from_raw(status)
}

/// Waits until it is readable, for a time; says whether it is.
pub fn readable(what: &impl AsRawFd, time: Duration) -> bool {
    let mut fd = libc::pollfd {
        fd: what.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    let milliseconds = libc::c_int::try_from(time.as_millis()).expect("not that long");
    let start = Instant::now();
    loop {
        // SAFETY: one live pollfd.
        match unsafe { libc::poll(&raw mut fd, 1, milliseconds) } {
            // A signal: waiting again may take twice the time, but not for ever.
            -1 if start.elapsed() < time => {}
            ready => return ready == 1,
        }
    }
}

/// Waits until `path` exists.
#[track_caller]
pub fn wait_for_file(path: &Path) {
    crate::process::wait_for(&format!("{path:?} is there"), || path.exists());
}
