//! Storms of signals: errno is left alone, nobody's reads are interrupted, and nothing blocks
//! on a pipe that is full.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::thread::JoinHandleExt;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use std::sync::mpsc;
use std::thread;

use super::host::{Test, host};
use super::kit;
use crate::process::PATIENCE;
use crate::tools::whole;

pub const TESTS: &[Test] = tests![
    m32_errno_survives_the_handler,
    m30_a_storm_while_a_closure_is_slow_blocks_nobody,
    m150_no_read_of_the_host_is_interrupted,
];

/// What a pipe has room for, at most.
const PIPE_BYTES: usize = 65_536;
const STORM: usize = 100_000;
const READERS: usize = 8;
const SIGNALS_EACH: usize = 10_000;

/// The handler's write fails with EAGAIN from the time when the pipe is full; a library of the
/// host found that in its own errno.
fn m32_errno_survives_the_handler() {
    host(|| {
        let dir = kit::directory();
        let builder = kit::own(&dir).program(kit::sleeper("web"));
        let mut scheduler = kit::built(builder);
        kit::all_up(&mut scheduler);
        // The pipe is full, and stays so: no turn is taken.
        (0..PIPE_BYTES).for_each(|_| kit::raise(libc::SIGCHLD));
        let over = Arc::new(AtomicBool::new(false));
        let done = over.clone();
        let opens = whole(200_000, 1_000_000);
        let worker = thread::spawn(move || {
            let mut wrong = Vec::new();
            for _ in 0..opens {
                // SAFETY: a path that ends with a NUL.
                let fd = unsafe { libc::open(c"/nope".as_ptr(), libc::O_RDONLY) };
                // What happens between a call and the look at its errno is where it gets lost.
                for step in 0..200 {
                    std::hint::black_box(step);
                }
                let errno = io::Error::last_os_error().raw_os_error();
                if fd != -1 || errno != Some(libc::ENOENT) {
                    wrong.push(errno);
                }
            }
            done.store(true, Ordering::SeqCst);
            wrong
        });
        let mut sent = 0;
        while !over.load(Ordering::SeqCst) {
            // SAFETY: the thread was not joined yet.
            unsafe { libc::pthread_kill(worker.as_pthread_t(), libc::SIGCHLD) };
            sent += 1;
        }
        let wrong = worker.join().expect("no panic");
        assert!(sent > 1000, "{sent} signals are no storm");
        assert!(
            wrong.is_empty(),
            "{} of {opens}: {:?}",
            wrong.len(),
            wrong[0]
        );
        kit::end(&mut scheduler);
    });
}

/// A closure takes its time while the signals come: nobody empties the pipe.
fn m30_a_storm_while_a_closure_is_slow_blocks_nobody() {
    host(|| {
        let dir = kit::directory();
        let (begin, begun) = mpsc::channel();
        let (finish, finished) = mpsc::channel();
        let mut first = true;
        let programs = [kit::once("web", "exit 1"), kit::sleeper("other")];
        let builder = kit::own(&dir).programs(programs).safety_sweep(false);
        let mut scheduler = kit::built(builder.error_handler(move |_, _| {
            if std::mem::take(&mut first) {
                begin.send(()).expect("a storm");
                finished
                    .recv_timeout(PATIENCE)
                    .expect("the storm ends, in spite of the pipe");
            }
        }));
        let storm = thread::spawn(move || {
            begun.recv_timeout(PATIENCE).expect("a closure");
            // All of them end in the other thread too, in the middle of its closure.
            (0..STORM).for_each(|_| kit::raise(libc::SIGCHLD));
            finish.send(()).expect("a closure");
        });
        kit::turn_until(&mut scheduler, "the first death was told", |scheduler| {
            kit::code(scheduler, "web") == Some(1)
        });
        storm.join().expect("no panic");
        let pid = kit::pid(&scheduler, "other").expect("a pid");
        crate::process::signal(pid, libc::SIGKILL);
        kit::turn_until(
            &mut scheduler,
            "a death after the storm is seen",
            |scheduler| kit::code(scheduler, "other") == Some(-libc::SIGKILL),
        );
    });
}

fn pipe() -> (OwnedFd, OwnedFd) {
    let mut fds = [0; 2];
    // SAFETY: room for two descriptors, which nobody else owns.
    unsafe {
        assert_eq!(libc::pipe2(fds.as_mut_ptr(), libc::O_CLOEXEC), 0);
        (OwnedFd::from_raw_fd(fds[0]), OwnedFd::from_raw_fd(fds[1]))
    }
}

/// Threads of the host block in system calls; our signals hit them, and they never notice.
fn m150_no_read_of_the_host_is_interrupted() {
    host(|| {
        let dir = kit::directory();
        let seen = Arc::new(AtomicU32::new(0));
        let count = seen.clone();
        let builder = kit::own(&dir).program(kit::sleeper("web"));
        let mut scheduler = kit::built(builder.on_signals([libc::SIGUSR1], move |_, _| {
            count.fetch_add(1, Ordering::SeqCst);
        }));
        kit::all_up(&mut scheduler);
        let (readers, writers): (Vec<_>, Vec<_>) = (0..READERS).map(|_| pipe()).unzip();
        let read = |end: OwnedFd| {
            thread::spawn(move || {
                let mut byte = 0_u8;
                // SAFETY: room for one byte.
                let count = unsafe { libc::read(end.as_raw_fd(), (&raw mut byte).cast(), 1) };
                (count, io::Error::last_os_error())
            })
        };
        let readers: Vec<_> = readers.into_iter().map(read).collect();
        for round in 0..SIGNALS_EACH {
            for reader in &readers {
                let signal = [libc::SIGCHLD, libc::SIGUSR1][round % 2];
                // SAFETY: the thread was not joined yet.
                unsafe { libc::pthread_kill(reader.as_pthread_t(), signal) };
            }
            if round % 100 == 0 {
                kit::turn(&mut scheduler, kit::MILLISECOND);
            }
        }
        kit::turn_until(&mut scheduler, "the signals are told", |_| {
            seen.load(Ordering::SeqCst) > 0
        });
        for (reader, writer) in readers.into_iter().zip(writers) {
            // SAFETY: one byte of live memory.
            let written = unsafe { libc::write(writer.as_raw_fd(), c"x".as_ptr().cast(), 1) };
            assert_eq!(written, 1);
            let (count, error) = reader.join().expect("no panic");
            assert_eq!(count, 1, "{error}");
        }
        kit::end(&mut scheduler);
    });
}
