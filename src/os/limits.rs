//! The limits of the system that a supervisor of many programs meets: raised where that is
//! allowed, given back to each program, and named where they are in the way.

use std::mem::MaybeUninit;
use std::path::{Path, PathBuf};

use crate::error::errno_text;

/// A soft and a hard limit, as getrlimit(2) has them.
#[derive(Clone, Copy)]
pub(crate) struct DescriptorLimit(pub(super) libc::rlimit);

impl std::fmt::Debug for DescriptorLimit {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let (soft, hard) = (self.0.rlim_cur, self.0.rlim_max);
        write!(f, "DescriptorLimit({soft}, {hard})")
    }
}

/// Raises the soft limit on open descriptors to the hard one, and where that is not enough and
/// it is allowed (CAP_SYS_RESOURCE), the hard one too. Returns what they were before; `None` if
/// nothing could be raised or had a need to be.
pub(crate) fn raise_descriptors(needed: u64) -> Option<DescriptorLimit> {
    let before = get(libc::RLIMIT_NOFILE)?;
    let raise_to = |soft, hard| {
        let raised = libc::rlimit {
            rlim_cur: soft,
            rlim_max: hard,
        };
        // SAFETY: the pointer is to a live structure.
        unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const raised) == 0 }
    };
    let is_enough = before.rlim_max >= needed;
    let is_raised = (!is_enough && raise_to(needed, needed))
        || (before.rlim_cur < before.rlim_max && raise_to(before.rlim_max, before.rlim_max));
    is_raised.then_some(DescriptorLimit(before))
}

/// How many descriptors this process may have open.
pub(crate) fn descriptors() -> u64 {
    get(libc::RLIMIT_NOFILE).map_or(u64::MAX, |limit| limit.rlim_cur)
}

fn get(resource: Resource) -> Option<libc::rlimit> {
    let mut limit = MaybeUninit::<libc::rlimit>::uninit();
    // SAFETY: the pointer is to a live structure, which the call fills if it succeeds.
    unsafe { (libc::getrlimit(resource, limit.as_mut_ptr()) == 0).then(|| limit.assume_init()) }
}

/// glibc has a type of its own for these numbers, musl has none.
#[cfg(target_env = "gnu")]
type Resource = libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = libc::c_int;

/// What all programs of a supervisor need at least.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) descriptors: u64,
    pub(crate) processes: u64,
}

/// The system's word for the errno with which a start was refused, and the limit that is likely
/// behind it: its name, its value, and the value needed.
pub(crate) fn explain(errno: i32, needs: Needs) -> String {
    let word = errno_text(errno);
    let limit = match errno {
        libc::EMFILE => Some(format!("RLIMIT_NOFILE is {}", descriptors())),
        libc::ENFILE => system_limit("/proc/sys/fs/file-max"),
        libc::EAGAIN => process_limit(),
        libc::ENOMEM => memory_limit(),
        _ => None,
    };
    let needed = match errno {
        libc::EMFILE => format!("{} are needed", needs.descriptors),
        libc::ENFILE => format!("at least {} are needed", needs.descriptors),
        libc::EAGAIN => format!("at least {} are needed", needs.processes),
        _ => "more is needed".to_owned(),
    };
    match limit {
        Some(limit) => format!("{word}: {limit}, and {needed}"),
        None => word,
    }
}

/// What forbids another process: the first that is exhausted, as far as can be seen.
fn process_limit() -> Option<String> {
    let of_user = get(libc::RLIMIT_NPROC).filter(|limit| limit.rlim_cur != libc::RLIM_INFINITY);
    let uid = nix::unistd::getuid();
    let of_user = of_user.filter(|_| !uid.is_root());
    let of_user = of_user.map(|limit| format!("RLIMIT_NPROC is {} for uid {uid}", limit.rlim_cur));
    cgroup_limit("pids.max", "pids.current")
        .or(of_user)
        .or_else(|| system_limit("/proc/sys/kernel/pid_max"))
}

fn memory_limit() -> Option<String> {
    let space = get(libc::RLIMIT_AS).filter(|limit| limit.rlim_cur != libc::RLIM_INFINITY);
    let space = space.map(|limit| format!("RLIMIT_AS is {} bytes", limit.rlim_cur));
    cgroup_limit("memory.max", "memory.current").or(space)
}

fn system_limit(path: &str) -> Option<String> {
    let value = std::fs::read_to_string(path).ok()?;
    Some(format!("{path} is {}", value.trim()))
}

/// A limit of our cgroup, or of one above it, of which at least 90 % are in use: what was
/// refused may have been given back by now, and memory is never used up to the last byte.
fn cgroup_limit(limit: &str, in_use: &str) -> Option<String> {
    let number = |path: PathBuf| {
        std::fs::read_to_string(path)
            .ok()?
            .trim()
            .parse::<u64>()
            .ok()
    };
    let mine = std::fs::read_to_string("/proc/self/cgroup").ok()?;
    let mine = mine.lines().find_map(|line| line.strip_prefix("0::/"))?;
    let lowest = Path::new("/sys/fs/cgroup").join(mine);
    lowest.ancestors().find_map(|group| {
        let (most, used) = (number(group.join(limit))?, number(group.join(in_use))?);
        let is_exhausted = used >= most - most / 10;
        is_exhausted.then(|| format!("{:?} is {most}", group.join(limit)))
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const NEEDS: Needs = Needs {
        descriptors: 123_456,
        processes: 654_321,
    };

    #[test]
    fn a_limit_is_told_with_its_name_its_value_and_what_is_needed() {
        let told = explain(libc::EMFILE, NEEDS);
        let value = descriptors();
        let expected =
            format!("Too many open files: RLIMIT_NOFILE is {value}, and 123456 are needed");
        assert_eq!(told, expected);
        let told = explain(libc::EAGAIN, NEEDS);
        assert!(told.ends_with(", and at least 654321 are needed"), "{told}");
        // No limit of ours stands behind it.
        assert_eq!(explain(libc::EPERM, NEEDS), "Operation not permitted");
    }
}
