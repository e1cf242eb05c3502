//! What a program costs: bytes while it runs, none that are lost by a restart, and no
//! allocation for what it writes.
//!
//! An allocator that counts stands behind the whole process, so the one test here is alone in
//! it. It counts while the scheduler works and at no other time.

use std::alloc::{GlobalAlloc, Layout, System};
use std::fs::OpenOptions;
use std::io::Write;
use std::path::Path;
use std::sync::atomic::{AtomicBool, AtomicIsize, AtomicUsize, Ordering::SeqCst};
use std::time::{Duration, Instant};

use nix::sys::stat::Mode;
use nix::unistd::mkfifo;
use procsched::{Backoff, ChildSpec, ProcessScheduler, ProgramState, Status};

/// What a program may cost beside the words of its command: its part of the scheduler and of
/// the machine, and its place among the pids.
const PROGRAM_BYTES_MAX: usize = 400;

/// How long something may take that happens at once on a machine that is not broken.
const PATIENCE: Duration = Duration::from_secs(60);

struct Counting;

static COUNTS: AtomicBool = AtomicBool::new(false);
static BYTES: AtomicIsize = AtomicIsize::new(0);
static ALLOCATIONS: AtomicUsize = AtomicUsize::new(0);

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn count(bytes: isize) {
    if COUNTS.load(SeqCst) {
        BYTES.fetch_add(bytes, SeqCst);
        ALLOCATIONS.fetch_add(usize::from(bytes > 0), SeqCst);
    }
}

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size() as isize);
        // SAFETY: the caller's promises are the same.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(-(layout.size() as isize));
        // SAFETY: the caller's promises are the same.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count(-(layout.size() as isize));
        count(size as isize);
        // SAFETY: the caller's promises are the same.
        unsafe { System.realloc(pointer, layout, size) }
    }
}

/// Does it, and returns by how many bytes it has made the heap larger, and how many
/// allocations it took.
fn counted<T>(work: impl FnOnce() -> T) -> (T, isize, usize) {
    let (bytes, allocations) = (BYTES.load(SeqCst), ALLOCATIONS.load(SeqCst));
    COUNTS.store(true, SeqCst);
    let done = work();
    COUNTS.store(false, SeqCst);
    let bytes = BYTES.load(SeqCst) - bytes;
    (done, bytes, ALLOCATIONS.load(SeqCst) - allocations)
}

/// Turns until it is so; the question is not counted.
fn turn_until(scheduler: &mut ProcessScheduler, mut is_so: impl FnMut(&ProcessScheduler) -> bool) {
    let begin = Instant::now();
    while !is_so(scheduler) {
        assert!(begin.elapsed() < PATIENCE, "in vain");
        let step = || scheduler.step(Some(Duration::from_millis(100)));
        let (status, ..) = counted(step);
        assert_eq!(status.expect("a turn"), Status::Running);
    }
}

fn end(mut scheduler: ProcessScheduler) {
    scheduler.kill();
    scheduler.start().ok();
    while scheduler.step(None).expect("a turn") == Status::Running {}
}

fn scheduler(directory: &Path, programs: Vec<ChildSpec>) -> ProcessScheduler {
    let builder = ProcessScheduler::builder(directory).programs(programs);
    let builder = builder.err_dir(directory).error_handler(|_, _| {});
    builder.build().expect("a scheduler")
}

/// The bytes that so many programs that run hold.
fn bytes_of(directory: &Path, count: usize) -> isize {
    let describe = |index| ChildSpec::new(format!("p{index:05}"), ["/bin/sleep", "1000"]);
    let build = || scheduler(directory, (0..count).map(describe).collect());
    let (mut running, built, _) = counted(build);
    let before = BYTES.load(SeqCst);
    turn_until(&mut running, |scheduler| {
        let mut programs = scheduler.programs().into_iter();
        programs.all(|program| program.state() == ProgramState::Running)
    });
    let run = BYTES.load(SeqCst) - before;
    end(running);
    built + run
}

#[test]
fn m157_a_program_is_small_a_restart_loses_nothing_and_a_line_allocates_nothing() {
    let directory = tempfile::tempdir().expect("a directory");
    let directory = directory.path();

    // Two sizes, so that what is there once cancels out; but for what a process has once, which
    // the first scheduler leaves to those that follow.
    bytes_of(directory, 1);
    let (few, many) = (50, 250);
    let more = bytes_of(directory, many) - bytes_of(directory, few);
    let each = usize::try_from(more).expect("more programs take more") / (many - few);
    let words = "PROCSCHED_PROGRAM=p00000./bin/sleep.1000.".len();
    assert!(
        each <= PROGRAM_BYTES_MAX + words,
        "a program costs {each} bytes, {words} of them its words"
    );

    // Flat over a thousand restarts.
    let at_once = Backoff {
        initial: Duration::ZERO,
        max: Duration::ZERO,
        ..Backoff::default()
    };
    let crashing = ["sh", "-c", "echo words >&2; exit 1"];
    let crashing = ChildSpec::new("crashing", crashing).backoff(at_once);
    let mut restarted = scheduler(directory, vec![crashing]);
    let restarts =
        |count| move |scheduler: &ProcessScheduler| scheduler.programs()[0].restarts() >= count;
    turn_until(&mut restarted, restarts(100));
    let before = BYTES.load(SeqCst);
    turn_until(&mut restarted, restarts(1100));
    let lost = BYTES.load(SeqCst) - before;
    // One run more or less may be at hand at the end than at the beginning.
    assert!(lost < 1024, "1,000 restarts have cost {lost} bytes");
    end(restarted);

    // A line is read, logged and kept for the report without an allocation.
    let fifo = directory.join("lines");
    mkfifo(&fifo, Mode::S_IRWXU).expect("a FIFO");
    let script = "while read line; do echo $line >&2; done < lines";
    let talker = ChildSpec::new("talker", ["sh", "-c", script]).report_bytes(64);
    let mut talking = scheduler(directory, vec![talker]);
    let log = directory.join("talker.stderr.log");
    let size = || std::fs::metadata(&log).map_or(0, |log| log.len());
    turn_until(&mut talking, |scheduler| {
        scheduler.programs()[0].state() == ProgramState::Running
    });
    let mut lines = OpenOptions::new()
        .write(true)
        .open(&fifo)
        .expect("a reader");
    let mut say = |scheduler: &mut ProcessScheduler| {
        let before = size();
        lines
            .write_all(b"a line of thirty-two characters\n")
            .expect("room");
        turn_until(scheduler, |_| size() == before + 32);
    };
    (0..20).for_each(|_| say(&mut talking));
    let before = ALLOCATIONS.load(SeqCst);
    (0..500).for_each(|_| say(&mut talking));
    assert_eq!(
        ALLOCATIONS.load(SeqCst) - before,
        0,
        "allocations for 500 lines"
    );
    end(talking);
}
