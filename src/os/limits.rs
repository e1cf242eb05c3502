//! The limit on open descriptors: raised for a supervisor with many programs, and given back
//! to each of them.

use std::mem::MaybeUninit;

/// Gives memory that is not used back to the system, where libc keeps it until it is told
/// (glibc's malloc_trim(3)).
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    // SAFETY: it takes a number, may be called at any time, and touches what is free only.
    unsafe {
        libc::malloc_trim(0);
    }
}

/// A soft and a hard limit, as getrlimit(2) has them.
#[derive(Clone, Copy)]
pub(crate) struct DescriptorLimit(pub(super) libc::rlimit);

impl std::fmt::Debug for DescriptorLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(
            f,
            "DescriptorLimit({}, {})",
            self.0.rlim_cur, self.0.rlim_max
        )
    }
}

/// Raises the soft limit to the hard one, and returns what it was before; `None` if it could
/// not be raised or had no need to be.
pub(crate) fn raise() -> Option<DescriptorLimit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to a live structure, which the call fills if it succeeds.
    let before = unsafe {
        if libc::getrlimit(libc::RLIMIT_NOFILE, limit.as_mut_ptr()) == -1 {
            return None;
        }
        limit.assume_init()
    };
    if before.rlim_cur >= before.rlim_max {
        return None;
    }
    let raised = libc::rlimit {
        rlim_cur: before.rlim_max,
        rlim_max: before.rlim_max,
    };
    // SAFETY: the pointer is to a live structure.
    let status = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) };
    (status == 0).then_some(DescriptorLimit(before))
}
