//! What the probe does to signals, and they to it.

use std::mem::MaybeUninit;

use crate::output::append;
use crate::{broken, must, waits};

/// A signal by its name without `SIG`, or by its number.
pub fn parse(word: &str) -> i32 {
    match word {
        "HUP" => libc::SIGHUP,
        "INT" => libc::SIGINT,
        "QUIT" => libc::SIGQUIT,
        "KILL" => libc::SIGKILL,
        "USR1" => libc::SIGUSR1,
        "SEGV" => libc::SIGSEGV,
        "USR2" => libc::SIGUSR2,
        "TERM" => libc::SIGTERM,
        "ABRT" => libc::SIGABRT,
        "CONT" => libc::SIGCONT,
        "STOP" => libc::SIGSTOP,
        number => number.parse().unwrap_or_else(|_| broken(number)),
    }
}

/// Sends itself a signal.
pub fn raise(signal: i32) {
    // SAFETY: plain numbers. A raw call, as the C library keeps two signals for itself.
    must(
        unsafe { libc::syscall(libc::SYS_kill, libc::getpid(), signal) },
        "kill",
    );
}

/// Dies of this signal.
pub fn end_by(signal: i32) -> ! {
    raise(signal);
    waits::hold()
}

/// Ignores a signal from now on; so do its children.
pub fn ignore(signal: i32) {
    // SAFETY: SIG_IGN is a valid disposition for every signal that can be caught.
    if unsafe { libc::signal(signal, libc::SIG_IGN) } == libc::SIG_ERR {
        broken("signal");
    }
}

/// Blocks signals, so that one that comes early waits for [`wait`].
pub fn trap(signals: &[i32]) {
    let set = set_of(signals);
    // SAFETY: `set` is initialised; the old mask is not asked for.
    must(
        unsafe { libc::sigprocmask(libc::SIG_BLOCK, &set, std::ptr::null_mut()) },
        "sigprocmask",
    );
}

/// Waits for one of these signals, and says which.
pub fn wait(signals: &[i32]) -> i32 {
    trap(signals);
    let set = set_of(signals);
    loop {
        // SAFETY: `set` is initialised; details are not asked for.
        let signal = unsafe { libc::sigwaitinfo(&set, std::ptr::null_mut()) };
        if signal > 0 {
            return signal;
        }
    }
}

/// Appends a line to the file for each of these signals that arrives: `ready` at first, then
/// number and moment. Never ends by itself.
pub fn record(file: &str, names: &[&str]) -> ! {
    let signals: Vec<i32> = names.iter().map(|name| parse(name)).collect();
    trap(&signals);
    append(file, b"ready\n");
    loop {
        let signal = wait(&signals);
        append(
            file,
            format!("{signal} {}\n", waits::monotonic()).as_bytes(),
        );
    }
}

fn set_of(signals: &[i32]) -> libc::sigset_t {
    let mut set = MaybeUninit::uninit();
    // SAFETY: `sigemptyset` initialises the set before anything reads it.
    unsafe {
        libc::sigemptyset(set.as_mut_ptr());
        for &signal in signals {
            libc::sigaddset(set.as_mut_ptr(), signal);
        }
        set.assume_init()
    }
}
