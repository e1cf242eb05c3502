//! Processes, threads, and other things of the system.

use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;

use crate::{broken, exit, must, output, proc, waits};

/// Its process id.
pub fn pid() -> i32 {
    // SAFETY: `getpid` cannot fail. Asked each time, as a fork changes it.
    unsafe { libc::getpid() }
}

/// Forks; true in the child.
pub fn fork_child() -> bool {
    // SAFETY: the probe has one thread when it forks, so the child may do what it likes.
    must(unsafe { libc::fork() }, "fork") == 0
}

/// Forks; true in the child, which has a session of its own before this returns in either.
pub fn fork_escaped() -> bool {
    let (mut reader, writer) = std::io::pipe().unwrap_or_else(|_| broken("pipe"));
    if fork_child() {
        setsid();
        return true;
    }
    drop(writer);
    // Ends when the child has closed its end too.
    let end = std::io::Read::read(&mut reader, &mut [0]);
    end.unwrap_or_else(|_| broken("read"));
    false
}

/// Makes orphans without end, as fast as can be: each is a child of whoever is the parent of
/// this process, and dead at once. Only so many are unreaped at a time, so that numbers are left
/// for others, and it ends by itself, should nobody be left to end it.
pub fn storm() -> ! {
    const NANOSECONDS_MAX: u64 = 90_000_000_000;
    const UNREAPED_MAX: usize = 512;
    extern "C" fn end(_: *mut libc::c_void) -> libc::c_int {
        // SAFETY: the raw call ends this process alone, and touches nothing of the other's.
        unsafe { libc::syscall(libc::SYS_exit, 0) };
        0
    }
    let flags = libc::CLONE_VM | libc::CLONE_PARENT | libc::SIGCHLD;
    let mut orphans = vec![(0, [0_u128; 256]); UNREAPED_MAX];
    let start = waits::monotonic();
    while waits::monotonic() - start < NANOSECONDS_MAX {
        for (pid, stack) in &mut orphans {
            // SAFETY: plain numbers; signal 0 asks only.
            if *pid > 0 && unsafe { libc::kill(*pid, 0) } == 0 {
                continue;
            }
            let top = stack.as_mut_ptr_range().end.cast();
            // SAFETY: the stack is live and aligned, and whoever had it is dead. It may fail
            // where there are too many.
            *pid = unsafe { libc::clone(end, top, flags, std::ptr::null_mut()) };
        }
    }
    exit(0)
}

/// Leaves its session and group.
pub fn setsid() {
    // SAFETY: no arguments.
    must(unsafe { libc::setsid() }, "setsid");
}

/// Leaves its group, and stays in its session.
pub fn setpgid() {
    // SAFETY: plain numbers.
    must(unsafe { libc::setpgid(0, 0) }, "setpgid");
}

/// Goes into the group whose number is in this file.
pub fn join_group(file: &str) {
    let text = std::fs::read_to_string(file).unwrap_or_else(|_| broken(file));
    let group = text.trim().parse().unwrap_or_else(|_| broken(file));
    // SAFETY: plain numbers.
    must(unsafe { libc::setpgid(0, group) }, "setpgid");
}

/// Spoils the variables that say whose process this is, where `/proc/PID/environ` shows them.
pub fn anonymous() {
    change_environ(|text| {
        if text.starts_with(b"PROCSCHED_") {
            text[0] = b'X';
        }
    });
}

/// Takes the name of another program, which must not be longer than its own, and everything else
/// from its own environment.
pub fn claim(name: &str) {
    change_environ(|text| {
        let start = if text.starts_with(b"PROCSCHED_PROGRAM=") {
            "PROCSCHED_PROGRAM=".len()
        } else if text.starts_with(b"PROCSCHED_CHAIN=") {
            let item = text.iter().rposition(|&byte| byte == b'/' || byte == b'=');
            item.map_or(0, |item| item + 1)
        } else {
            return;
        };
        let own = &mut text[start..];
        let end = own.iter().position(|&byte| byte == b':');
        let (end, length) = (end.unwrap_or(own.len()), own.len());
        own.copy_within(end.., name.len());
        own[..name.len()].copy_from_slice(name.as_bytes());
        own[length - (end - name.len())..].fill(b' ');
    });
}

/// Changes each variable of its environment where the kernel has put it.
fn change_environ(mut change: impl FnMut(&mut [u8])) {
    unsafe extern "C" {
        static mut environ: *mut *mut libc::c_char;
    }
    // SAFETY: the list ends with a null, and its strings are this process's own memory, which
    // nobody else reads or writes: there is one thread.
    unsafe {
        let mut next = environ;
        while !(*next).is_null() {
            let length = std::ffi::CStr::from_ptr(*next).count_bytes();
            change(std::slice::from_raw_parts_mut((*next).cast(), length));
            next = next.add(1);
        }
    }
}

/// Writes into a pipe that nobody reads.
pub fn unread_pipe() {
    let (reader, mut writer) = std::io::pipe().unwrap_or_else(|_| broken("pipe"));
    drop(reader);
    writer.write_all(b"y\n").unwrap_or_else(|_| broken("write"));
}

/// Opens this many pipes, and keeps them.
pub fn open_pipes(count: usize) {
    for _ in 0..count {
        std::mem::forget(std::io::pipe().unwrap_or_else(|_| broken("pipe")));
    }
}

/// Closes a descriptor.
pub fn close(fd: i32) {
    // SAFETY: whoever wrote the script wants it closed; nothing here owns 0, 1 or 2.
    must(unsafe { libc::close(fd) }, "close");
}

/// Becomes another user wholly, which an executable with the set-user-ID bit may.
pub fn become_user(user: u32) {
    // SAFETY: plain numbers.
    must(unsafe { libc::setresuid(user, user, user) }, "setresuid");
}

/// Changes its working directory.
pub fn chdir(directory: &str) {
    std::env::set_current_dir(directory).unwrap_or_else(|_| broken(directory));
}

/// Allows or forbids core dumps, as far as the hard limit lets it.
pub fn core_dumps(wanted: bool) {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is a valid place for the answer, and then initialised.
    unsafe {
        must(libc::getrlimit(libc::RLIMIT_CORE, &mut limits), "getrlimit");
        limits.rlim_cur = if wanted { limits.rlim_max } else { 0 };
        must(libc::setrlimit(libc::RLIMIT_CORE, &limits), "setrlimit");
    }
}

/// The first thread ends, so that `/proc` shows a zombie, and the process lives on.
pub fn dead_leader(delay: u64, code: i32) -> ! {
    std::thread::spawn(move || {
        waits::sleep(delay);
        exit(code)
    });
    // SAFETY: the raw call ends this thread alone. Its stack is never touched again.
    unsafe { libc::syscall(libc::SYS_exit, 0) };
    waits::hold()
}

/// Answers every HTTP request with its pid.
pub fn serve(file: &str) -> ! {
    let listener = TcpListener::bind(("127.0.0.1", 0)).unwrap_or_else(|_| broken("bind"));
    let address = listener
        .local_addr()
        .unwrap_or_else(|_| broken("local_addr"));
    output::replace(file, address.port().to_string().as_bytes());
    loop {
        let Ok((stream, _)) = listener.accept() else {
            continue;
        };
        let request = BufReader::new(&stream).lines();
        let _ = request.map_while(Result::ok).find(String::is_empty);
        let body = format!("compiled {}\n", pid());
        let head = format!("HTTP/1.0 200 OK\r\nContent-Length: {}\r\n\r\n", body.len());
        let _ = (&stream).write_all(format!("{head}{body}").as_bytes());
    }
}

/// Traces a process, which is killed and yet not to be waited for: it halts on its way out if the
/// options say so.
pub fn seize(target: i32, options: i32) {
    // SAFETY: plain numbers; PTRACE_SEIZE takes no address and its options as a number.
    must(
        unsafe { libc::ptrace(libc::PTRACE_SEIZE, target, 0, options) },
        "ptrace",
    );
}

/// Lets the next process have the number of this one, once that is free. Needs root, and a
/// PID namespace of one's own.
pub fn pin_pid() {
    let file = "sys/kernel/ns_last_pid";
    let write = || std::fs::write(file, (pid() - 1).to_string());
    proc::visit(|| write().unwrap_or_else(|_| broken(file)));
}
