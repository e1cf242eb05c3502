//! What a program should not do to whoever supervises it, or to its neighbours.

use std::fs::{File, OpenOptions};
use std::io::Read;
use std::os::fd::AsRawFd;
use std::os::unix::fs::OpenOptionsExt;

use crate::{broken, exit, must, output, process, waits};

/// How long something without end goes on, should nobody be left to end it.
const NANOSECONDS_MAX: u64 = 90_000_000_000;

/// Opens the other end of its own stderr, and takes out again what is written there, until that
/// is this many bytes; with every setting of the pipe that a writer can change.
pub fn steal(bytes: u64) {
    const PAGE: i32 = 4096;
    let mut options = OpenOptions::new();
    let end = options
        .read(true)
        .custom_flags(libc::O_NONBLOCK)
        .open("/proc/self/fd/2");
    let mut end = end.unwrap_or_else(|_| broken("/proc/self/fd/2"));
    let set = |command, value: i32| {
        // SAFETY: plain numbers.
        must(unsafe { libc::fcntl(2, command, value) }, "fcntl");
    };
    set(
        libc::F_SETFL,
        libc::O_NONBLOCK | libc::O_DIRECT | libc::O_ASYNC,
    );
    set(libc::F_SETPIPE_SZ, PAGE);
    let (mut stolen, mut buffer) = (0, [0_u8; 4096]);
    while stolen < bytes {
        let line = [b'.'; 100];
        // SAFETY: the buffer is valid for its length. A full pipe takes nothing.
        unsafe { libc::write(2, line.as_ptr().cast(), line.len()) };
        stolen += end.read(&mut buffer).unwrap_or(0) as u64;
    }
    // Kept: the pipe has a reader for as long as this process lives.
    std::mem::forget(end);
}

/// Does to its parent all that the system may refuse, and writes down how much of that it did
/// not refuse.
pub fn attack_parent(file: &str) {
    // SAFETY: no arguments, cannot fail.
    attack(unsafe { libc::getppid() }, file);
}

/// The same to the process whose number is in a file.
pub fn attack_other(pid: &str, file: &str) {
    waits::wait_file(pid);
    let pid = std::fs::read_to_string(pid).unwrap_or_else(|_| broken(pid));
    attack(pid.trim().parse().unwrap_or_else(|_| broken(&pid)), file);
}

fn attack(target: i32, file: &str) {
    let mut done = Vec::new();
    let mut note = |what: &str, result: i64| {
        if result != -1 {
            done.push(what.to_owned());
        }
    };
    let none = std::ptr::null_mut::<libc::c_void>();
    let limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: plain numbers, a live structure, and null where nothing is wanted.
    unsafe {
        note(
            "ptrace",
            libc::ptrace(libc::PTRACE_SEIZE, target, none, none),
        );
        let set = libc::prlimit(target, libc::RLIMIT_NOFILE, &limit, std::ptr::null_mut());
        note("prlimit", i64::from(set));
    }
    for name in ["mem", "environ", "maps", "fd/0", "fd/2"] {
        let opened = File::open(format!("/proc/{target}/{name}"));
        note(name, if opened.is_ok() { 0 } else { -1 });
    }
    // SAFETY: plain numbers, which the system checks.
    unsafe {
        let pidfd = libc::syscall(libc::SYS_pidfd_open, target, 0);
        note(
            "pidfd_getfd",
            libc::syscall(libc::SYS_pidfd_getfd, pidfd, 2, 0),
        );
    }
    // SAFETY: a plain number.
    let group = unsafe { libc::getpgid(target) };
    for signal in 0..=64 {
        // SAFETY: plain numbers, which the system checks.
        unsafe {
            note("kill", libc::syscall(libc::SYS_kill, target, signal));
            note("tkill", libc::syscall(libc::SYS_tkill, target, signal));
            // The group of a PID 1 may be one of outside, which has no number here.
            if group > 1 {
                note("killpg", libc::syscall(libc::SYS_kill, -group, signal));
            }
        }
    }
    let own_pipe = File::open("/proc/self/fd/2");
    note("the pipe", if own_pipe.is_ok() { 0 } else { -1 });
    output::append(file, format!("to {target}: {done:?}\n").as_bytes());
}

/// Forks without end, and so do its children; each leaves its group and session before, if
/// `leaves`. Forks that the system refuses are tried again.
pub fn bomb(leaves: bool) -> ! {
    let start = waits::monotonic();
    while waits::monotonic() - start < NANOSECONDS_MAX {
        // SAFETY: the probe has one thread, and the child goes on with this loop.
        match unsafe { libc::fork() } {
            0 if leaves => process::setsid(),
            0 => {}
            // SAFETY: no arguments.
            -1 => _ = unsafe { libc::sched_yield() },
            _ => {}
        }
    }
    exit(0)
}

/// Kills whatever this user has; one call reaches all, however fast they fork.
pub fn kill_user() {
    // SAFETY: plain numbers; who is not root reaches its own processes only.
    if unsafe { libc::geteuid() != 0 && libc::kill(-1, libc::SIGKILL) == -1 } {
        broken("kill");
    }
}

/// A hundred children that change group, session, signals and descriptors in all orders, and die
/// or leave dead and living children behind.
pub fn chaos() {
    let mut bits = waits::monotonic();
    for _ in 0..100 {
        bits = bits
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1_442_695_040_888_963_407);
        if process::fork_child() {
            misbehave(bits >> 33);
            exit(0);
        }
    }
    // SAFETY: null where nothing is wanted. It fails when there is no child any more.
    while unsafe { libc::wait(std::ptr::null_mut()) } > 0 {}
}

fn misbehave(bits: u64) {
    let has = |bit: u32| bits >> bit & 1 == 1;
    // SAFETY: plain numbers, and SIG_IGN and SIG_DFL are valid for SIGCHLD; a refusal is fine.
    unsafe {
        if has(0) {
            libc::setsid();
        }
        if has(1) {
            libc::setpgid(0, 0);
        }
        if has(2) {
            libc::setpgid(0, libc::getppid());
        }
        for round in 0..50 {
            let action = if round % 2 == 0 {
                libc::SIG_IGN
            } else {
                libc::SIG_DFL
            };
            libc::signal(libc::SIGCHLD, action);
        }
        if has(3) {
            (0..64).for_each(|fd| _ = libc::close(fd));
        }
        if has(4) && libc::fork() == 0 {
            libc::setsid();
            if has(5) {
                waits::hold();
            }
            exit(1);
        }
        if has(6) {
            libc::kill(0, libc::SIGCONT);
        }
    }
}

/// Tries to lock a file, and writes down whether it could.
pub fn lock(file: &str, into: &str) {
    let opened = File::open(file).unwrap_or_else(|_| broken(file));
    // SAFETY: plain numbers.
    let is_locked = unsafe { libc::flock(opened.as_raw_fd(), libc::LOCK_SH | libc::LOCK_NB) } == 0;
    output::append(into, format!("{is_locked}\n").as_bytes());
    std::mem::forget(opened);
}
