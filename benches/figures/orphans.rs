//! What a supervisor leaves behind. This process is a child subreaper, so that all of it comes
//! home: it counts as not stopped, and is ended, by its pid, when the measurement is over.

use std::thread::sleep;
use std::time::Duration;

use nix::errno::Errno;
use nix::sys::prctl::set_child_subreaper;
use nix::sys::signal::{Signal, kill};
use nix::sys::wait::{WaitPidFlag, WaitStatus, waitpid};
use nix::unistd::Pid;

use crate::proc;

/// How long what was killed may take to be gone before it is looked at again.
const NAP: Duration = Duration::from_millis(5);

/// Makes the leftovers of supervisors children of this process.
pub fn adopt() {
    set_child_subreaper(true).expect("a kernel with subreapers");
}

/// Whether there is any process below this one.
#[derive(PartialEq, Eq)]
pub enum Left {
    None,
    Some,
}

/// Reaps who is dead.
pub fn reap() -> Left {
    loop {
        match waitpid(None, Some(WaitPidFlag::WNOHANG)) {
            Err(Errno::ECHILD) => return Left::None,
            Ok(WaitStatus::StillAlive) => return Left::Some,
            Ok(_) | Err(_) => {}
        }
    }
}

/// Ends everybody below this process: again and again, as supervisors may start more meanwhile.
pub fn end_all() {
    while reap() == Left::Some {
        for pid in proc::descendants() {
            let _ = kill(Pid::from_raw(pid), Signal::SIGKILL);
        }
        sleep(NAP);
    }
}
