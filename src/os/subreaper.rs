//! To which process orphans are reparented: PID 1 of the namespace, or a child subreaper above
//! them (PR_SET_CHILD_SUBREAPER, prctl(2)).

use nix::sys::prctl::{get_child_subreaper, set_child_subreaper};

use super::identity::Identity;
use crate::error::{Error, Result};

const WHAT: &str = "failed to become a child subreaper";

/// True if this is the first process of its PID namespace: every orphan is reparented to it.
pub(crate) fn is_pid_1() -> bool {
    std::process::id() == 1
}

/// Keeps this process a subreaper while it lives, and puts back what was before; in a forked copy
/// it changes nothing.
#[derive(Debug)]
pub(crate) struct Subreaper {
    owner: Identity,
    was: bool,
}

/// Has every descendant that loses its parent reparented to this process.
pub(crate) fn become_subreaper() -> Result<Subreaper> {
    let failed = |errno| Error::os(WHAT, errno as i32);
    // PID 1 gets orphans in any case, also where a sandbox refuses the call.
    let was = is_pid_1() || get_child_subreaper().map_err(failed)?;
    if !was {
        set_child_subreaper(true).map_err(failed)?;
        if !get_child_subreaper().map_err(failed)? {
            let reason = "the kernel accepted the call and did nothing";
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
            // An error could not be reported here.
            let _ = set_child_subreaper(false);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The attribute belongs to the whole process, and so to all tests in it: one test.
    #[test]
    fn museum_128_it_is_asked_for_checked_and_given_back() {
        assert!(!get_child_subreaper().expect("an answer"));
        let first = become_subreaper().expect("a subreaper");
        assert!(get_child_subreaper().expect("an answer"));
        let second = become_subreaper().expect("a subreaper twice over");
        drop(second);
        assert!(
            get_child_subreaper().expect("an answer"),
            "the first one lives"
        );

        drop(Subreaper {
            owner: Identity::of_another_process(),
            was: false,
        });
        assert!(
            get_child_subreaper().expect("an answer"),
            "another process has no say here"
        );
        drop(first);
        assert!(!get_child_subreaper().expect("an answer"));
    }
}
