//! `probe SCRIPT`: a program whose every behaviour is exact, for tests that supervise it.
//!
//! The script is one argument: steps separated by `;`, words separated by white space, and
//! blocks in braces. `probe "once crashed { say oops\n ; exit 9 } ; touch up ; hold"` crashes
//! with words in its first run and stays in its second. Texts know `\n`, `\0`, `\s` (a space),
//! `\xHH`, `%p` (the process id) and `%n` (what `count` counted). A script that comes to its
//! end exits with 0. Further arguments are ignored, and shown by `dump`.
//!
//! | step | what it does |
//! |---|---|
//! | `exit N`, `sig S`, `abort`, `stop-self` | ends by a code or a signal; stops itself |
//! | `dead-leader MS N` | the first thread ends now, another exits with N after MS |
//! | `say TEXT [FD]`, `spew BYTES PATTERN [FD]`, `endless PATTERN` | writes, to stderr by default |
//! | `numbers LINES RATE FD` | writes numbered lines, RATE a second |
//! | `urandom BYTES FILE` | random bytes to stderr and to FILE |
//! | `touch FILE`, `append FILE TEXT`, `stamp FILE` | markers; a stamp is CLOCK_MONOTONIC in ns |
//! | `pid FILE`, `count FILE`, `slurp FILE`, `dump FILE` | its pid; a counter; stdin; all it was given |
//! | `once FILE {…}`, `unless FILE {…}`, `forever {…}`, `repeat N {…}` | blocks |
//! | `every N FILE {…}` | a block for each Nth that comes, as FILE counts them |
//! | `sleep MS`, `hold`, `gate FIFO`, `wait-file FILE` | waits; a gate opens when FIFO has a writer |
//! | `ignore S`, `trap S`, `await S`, `record FILE S…` | signals; a trapped one waits for `await` |
//! | `fork {…}`, `escape {…}` | a member of the group; a process in a session of its own |
//! | `anonymous` | its environment does not say any more which program it belongs to |
//! | `claim NAME` | its environment says that it belongs to the program NAME, with the code of its own |
//! | `setsid`, `setpgid`, `become UID`, `close FD`, `chdir DIR`, `core on\|off` | what else a process does |
//! | `join FILE` | goes into the group of the process whose number is in FILE |
//! | `storm` | gives its parent dead children without end |
//! | `unread-pipe` | writes into a pipe that nobody reads: SIGPIPE, unless that is ignored |
//! | `pipes N` | opens N pipes and keeps them |
//! | `serve FILE` | an HTTP server on 127.0.0.1; FILE gets its port |
//! | `seize PID` | traces PID, which then cannot be waited for until this probe ends |
//! | `trace PID` | the same, but when PID is killed it becomes a zombie at once |
//! | `steal BYTES` | reads its own stderr pipe, whose settings it changes, until it has so many |
//! | `attack-parent FILE` | signals, traces and opens its parent; FILE gets what was not refused |
//! | `attack PID-FILE FILE` | the same to the process whose number is in PID-FILE, once that is there |
//! | `bomb staying\|leaving` | forks without end, in its group or each in a session of its own |
//! | `chaos` | a hundred children that change group, session, signals and descriptors, and die |
//! | `kill-user` | kills every process of this user, who must not be root |
//! | `lock FILE INTO` | tries to lock FILE, and writes down whether it could |
//! | `notify TEXT`, `notify-long BYTES TEXT`, `notify-flood N TEXT` | a message to `NOTIFY_SOCKET`; one of that length; many |
//! | `notify-fds TEXT` | a message with three descriptors |
//! | `notify-address FILE`, `notify-at FILE INTO TEXT` | keeps the address in FILE; a message to what is kept there, INTO says what came of it |
//! | `pin-pid` | the next process of this PID namespace gets this number, once it is free |
//!
//! A step that fails says so on stderr and exits with 99: a test must not take a broken probe
//! for a behaviour.

#![no_main]

mod dump;
mod hostile;
mod notify;
mod output;
mod proc;
mod process;
mod script;
mod signals;
mod waits;

#[path = "../common/pattern.rs"]
mod pattern;

use std::ffi::{CStr, OsString};
use std::os::unix::ffi::OsStringExt;

/// The exit code of a probe that could not do what it was told.
const BROKEN: i32 = 99;

/// Instead of Rust's own start, which would ignore SIGPIPE, handle SIGSEGV and open closed
/// descriptors: the probe shows what it was given, untouched.
///
/// # Safety
///
/// `argv` points to `argc` strings that end with a NUL: the C library sees to that.
#[unsafe(no_mangle)]
pub unsafe extern "C" fn main(argc: libc::c_int, argv: *const *const libc::c_char) -> libc::c_int {
    let count = usize::try_from(argc).unwrap_or(0);
    let arguments: Vec<OsString> = (0..count)
        .map(|index| {
            // SAFETY: the index is below `argc`, and the strings live as long as the process.
            let argument = unsafe { CStr::from_ptr(*argv.add(index)) };
            OsString::from_vec(argument.to_bytes().to_vec())
        })
        .collect();
    let script = arguments
        .get(1)
        .and_then(|script| script.to_str())
        .unwrap_or("");
    let steps = script::parse(script).unwrap_or_else(|problem| broken(&problem));
    let mut probe = Probe {
        arguments,
        counted: 0,
    };
    probe.run(&steps);
    exit(0)
}

/// What the steps share.
struct Probe {
    arguments: Vec<OsString>,
    /// What the latest `count` counted: 1 in the first run.
    counted: u64,
}

/// Ends at once, without destructors and without handlers.
fn exit(code: i32) -> ! {
    // SAFETY: `_exit` takes any number and does not return.
    unsafe { libc::_exit(code) }
}

/// Ends because a step could not be done.
fn broken(problem: &str) -> ! {
    let text = format!("probe: {problem}: {}\n", std::io::Error::last_os_error());
    // SAFETY: the buffer is valid for its length. A failed write is no news: we are leaving.
    unsafe { libc::write(2, text.as_ptr().cast(), text.len()) };
    exit(BROKEN)
}

/// The result of a system call that says -1 for "no".
fn must(result: impl Into<i64>, what: &str) -> i64 {
    match result.into() {
        -1 => broken(what),
        fine => fine,
    }
}
