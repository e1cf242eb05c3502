//! Who gets the orphans: PID 1 by birth, a subreaper by its own wish (PR_SET_CHILD_SUBREAPER,
//! prctl(2)).

use libc::{c_int, c_ulong};

use super::errno;
use super::identity::Identity;
use crate::error::{Error, Result};

const WHAT: &str = "failed to become a child subreaper";

/// Whether this is the first process of its PID namespace, which gets every orphan unasked.
pub(crate) fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// This process is a subreaper for as long as this lives. Then it is again what it was; in a
/// process that was forked off meanwhile, nothing is changed.
#[derive(Debug)]
pub(crate) struct Subreaper {
    owner: Identity,
    was: bool,
}

/// From now on every descendant that loses its parent becomes our child.
pub(crate) fn become_subreaper() -> Result<Subreaper> {
    // PID 1 gets orphans in any case, also where a sandbox refuses the call.
    let was = is_pid_1() || is_subreaper()?;
    if !was {
        set(true)?;
        if !is_subreaper()? {
            let reason = "the kernel took the wish and did nothing";
            return Err(Error::because(WHAT, reason));
        }
    }
    Ok(Subreaper {
        owner: Identity::establish(),
        was,
    })
}

impl Drop for Subreaper {
    fn drop(&mut self) {
        if !self.was && self.owner == Identity::current() {
            // It worked one way, and there is nobody to tell if it did not work the other.
            let _ = set(false);
        }
    }
}

fn set(wanted: bool) -> Result<()> {
    let none: c_ulong = 0;
    // SAFETY: with this option prctl takes five integers, each as wide as a register.
    let status = unsafe {
        libc::prctl(
            libc::PR_SET_CHILD_SUBREAPER,
            c_ulong::from(wanted),
            none,
            none,
            none,
        )
    };
    checked(status)
}

fn is_subreaper() -> Result<bool> {
    let mut answer: c_int = 0;
    let none: c_ulong = 0;
    // SAFETY: with this option prctl writes one int, to a variable that is alive.
    let status = unsafe {
        libc::prctl(
            libc::PR_GET_CHILD_SUBREAPER,
            &raw mut answer,
            none,
            none,
            none,
        )
    };
    checked(status).map(|()| answer != 0)
}

fn checked(status: c_int) -> Result<()> {
    if status == -1 {
        return Err(Error::os(WHAT, errno()));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attribute belongs to the whole process, and so to all tests in it: one test.
    #[test]
    fn museum_128_it_is_asked_for_checked_and_given_back() {
        assert!(!is_subreaper().expect("an answer"));
        let first = become_subreaper().expect("a subreaper");
        assert!(is_subreaper().expect("an answer"));
        let second = become_subreaper().expect("a subreaper twice over");
        drop(second);
        assert!(is_subreaper().expect("an answer"), "the first one lives");

        drop(Subreaper {
            owner: Identity::of_another_process(),
            was: false,
        });
        assert!(
            is_subreaper().expect("an answer"),
            "another process has no say here"
        );
        drop(first);
        assert!(!is_subreaper().expect("an answer"));
    }
}
