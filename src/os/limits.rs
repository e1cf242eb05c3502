//! Resource limits of a supervisor with many programs: raised where that is allowed, restored for
//! each program, and named in the error of a start that they forbid.

use std::ffi::c_int;
use std::fs::File;
use std::io::Read;
use std::path::Path;
use std::str::FromStr;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit, setrlimit};

use super::raw;
use crate::error::errno_text;
use crate::spec;

/// A soft and a hard limit, as getrlimit(2) has them.
#[derive(Debug, Clone, Copy)]
pub(crate) struct DescriptorLimit(pub(super) libc::rlimit);

/// Raises the soft limit on open descriptors to the hard one, and that, too, if it is not enough
/// and CAP_SYS_RESOURCE allows it. Returns the limits before; `None` if they have not changed.
pub(crate) fn raise_descriptors(needed: u64) -> Option<DescriptorLimit> {
    let (soft, hard) = getrlimit(Resource::RLIMIT_NOFILE).ok()?;
    let raise_to = |limit| setrlimit(Resource::RLIMIT_NOFILE, limit, limit).is_ok();
    let is_raised = (hard < needed && raise_to(needed)) || (soft < hard && raise_to(hard));
    is_raised.then_some(DescriptorLimit(libc::rlimit {
        rlim_cur: soft,
        rlim_max: hard,
    }))
}

/// Returns how many descriptors this process may have open.
pub(crate) fn descriptors() -> u64 {
    getrlimit(Resource::RLIMIT_NOFILE).map_or(u64::MAX, |(soft, _)| soft)
}

/// Returns the soft and the hard limit of this process: as the kernel has them everywhere, two numbers
/// of 64 bits. Async-signal-safe.
pub(crate) fn of_this_process(resource: spec::Resource) -> Result<[u64; 2], c_int> {
    let (this_process, nothing) = (0, 0);
    let mut limit = [0_u64; 2];
    let old = (&raw mut limit).expose_provenance();
    let arguments = [this_process, resource.number(), nothing, old];
    // SAFETY: the pointer is to two live numbers, as the call wants them.
    unsafe {
        raw::call(libc::SYS_prlimit64, arguments)?;
        Ok((&raw const limit).read_volatile())
    }
}

/// Returns a soft limit, if there is one.
fn limit(resource: Resource) -> Option<u64> {
    let (soft, _) = getrlimit(resource).ok()?;
    (soft != RLIM_INFINITY).then_some(soft)
}

/// The least that all programs of a supervisor need.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Needs {
    pub(crate) descriptors: u64,
    pub(crate) processes: u64,
}

/// Describes the errno of a start that was refused, with the limit that is probably the cause: its
/// name, its value, and the value needed.
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
        None if errno == libc::EAGAIN => {
            format!("{word}: {needed}, and no limit on processes is seen to be exhausted")
        }
        None => word,
    }
}

/// Names the first exhausted limit on processes. The limit of the user comes last, as it takes long
/// to count a user's processes, and it is not known to be exhausted.
fn process_limit() -> Option<String> {
    let of_user = || {
        let uid = nix::unistd::getuid();
        let limit = limit(Resource::RLIMIT_NPROC).filter(|_| !uid.is_root())?;
        Some(format!("RLIMIT_NPROC is {limit} for uid {uid}"))
    };
    let of_system = |path| {
        let is_exhausted = is_used_up(threads()?, number(Path::new(path))?);
        system_limit(path).filter(|_| is_exhausted)
    };
    cgroup_limit(&PIDS)
        .or_else(|| of_system("/proc/sys/kernel/pid_max"))
        .or_else(|| of_system("/proc/sys/kernel/threads-max"))
        .or_else(of_user)
}

fn memory_limit() -> Option<String> {
    let space = || limit(Resource::RLIMIT_AS).map(|limit| format!("RLIMIT_AS is {limit} bytes"));
    cgroup_limit(&MEMORY).or_else(space)
}

fn system_limit(path: &str) -> Option<String> {
    let value = text(Path::new(path))?;
    Some(format!("{path} is {}", value.trim()))
}

/// Returns how many threads there are in the system: each needs a number, like a process.
fn threads() -> Option<u64> {
    let load = text(Path::new("/proc/loadavg"))?;
    let (_, all) = load.split_whitespace().nth(3)?.split_once('/')?;
    all.parse().ok()
}

/// True if at least 90 % are in use: some may have been released by now, and memory is never used
/// to the last byte.
fn is_used_up(used: u64, most: u64) -> bool {
    used >= most - most / 10
}

/// Longer than any file that is read here.
const READ_BYTES_MAX: u64 = 64 * 1024;

/// Returns the contents of a short file.
pub(super) fn text(path: &Path) -> Option<String> {
    let mut text = String::new();
    let file = File::open(path).ok()?;
    file.take(READ_BYTES_MAX).read_to_string(&mut text).ok()?;
    Some(text)
}

/// Returns the number that a short file has.
pub(super) fn number<T: FromStr>(path: &Path) -> Option<T> {
    text(path)?.trim().parse().ok()
}

/// A cgroup controller: its name, and the files with its limit and its usage in its own hierarchy
/// (cgroup v1) and in the unified one (v2).
struct Controller {
    name: &'static str,
    own: [&'static str; 2],
    unified: [&'static str; 2],
}

const PIDS: Controller = Controller {
    name: "pids",
    own: ["pids.max", "pids.current"],
    unified: ["pids.max", "pids.current"],
};

const MEMORY: Controller = Controller {
    name: "memory",
    own: ["memory.limit_in_bytes", "memory.usage_in_bytes"],
    unified: ["memory.max", "memory.current"],
};

fn cgroup_limit(controller: &Controller) -> Option<String> {
    let groups = text(Path::new("/proc/self/cgroup"))?;
    exhausted(controller, &groups, Path::new("/sys/fs/cgroup"))
}

/// Names the limit of our cgroup, or of one above it, that is used up. `groups` has our cgroup in
/// each hierarchy (cgroups(7)); these are mounted below `root` as by systemd and containers. In a
/// container our cgroup may be the root of the mount, whatever its path is.
fn exhausted(controller: &Controller, groups: &str, root: &Path) -> Option<String> {
    groups.lines().find_map(|line| {
        let mut parts = line.splitn(3, ':').skip(1);
        let (controllers, path) = (parts.next()?, parts.next()?.trim_start_matches('/'));
        let (roots, [limit, in_use]) = if controllers.is_empty() {
            ([root.to_owned(), root.join("unified")], controller.unified)
        } else if controllers.split(',').any(|name| name == controller.name) {
            let mounted = [root.join(controller.name), root.join(controllers)];
            (mounted, controller.own)
        } else {
            return None;
        };
        roots.iter().find_map(|root| {
            let lowest = root.join(path);
            let groups = lowest
                .ancestors()
                .take_while(|group| group.starts_with(root));
            let mut limits = groups.filter_map(|group| {
                let most = number(&group.join(limit))?;
                let is_exhausted = is_used_up(number(&group.join(in_use))?, most);
                is_exhausted.then(|| format!("{:?} is {most}", group.join(limit)))
            });
            limits.next()
        })
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
    fn a_limit_is_explained_with_its_name_its_value_and_what_is_needed() {
        let text = explain(libc::EMFILE, NEEDS);
        let value = descriptors();
        let expected =
            format!("Too many open files: RLIMIT_NOFILE is {value}, and 123456 are needed");
        assert_eq!(text, expected);
        let text = explain(libc::EAGAIN, NEEDS);
        assert!(text.contains("at least 654321 are needed"), "{text}");
        // It is not about a limit.
        assert_eq!(explain(libc::EPERM, NEEDS), "Operation not permitted");
    }

    /// With cgroup v1 the message blamed the system's pid_max, which had room for millions.
    #[test]
    fn the_limit_of_a_cgroup_is_found_in_every_kind_of_hierarchy() {
        let directory = tempfile::tempdir().expect("a temporary directory");
        let root = directory.path();
        let group = |path: &str, files: [&str; 2], used: &str| {
            let group = root.join(path);
            std::fs::create_dir_all(&group).expect("a directory");
            for (file, content) in files.into_iter().zip(["20\n", used]) {
                std::fs::write(group.join(file), content).expect("a file");
            }
        };
        let v1 = "9:name=systemd:/x\n8:pids:/app/web\n4:cpu,memory:/app\n0::/x\n";
        let found = |controller, groups: &str| exhausted(controller, groups, root);
        let is = |path: &str| Some(format!("{:?} is 20", root.join(path)));
        assert_eq!(found(&PIDS, v1), None, "nothing is there");
        group("pids/app/web", PIDS.own, "17\n");
        assert_eq!(found(&PIDS, v1), None, "there is room");
        group("pids/app", PIDS.own, "18\n");
        assert_eq!(found(&PIDS, v1), is("pids/app/pids.max"), "one above it");
        group("pids/app/web", PIDS.own, "20\n");
        assert_eq!(found(&PIDS, v1), is("pids/app/web/pids.max"));
        group("memory/app", MEMORY.own, "20\n");
        let limit = is("memory/app/memory.limit_in_bytes");
        assert_eq!(found(&MEMORY, v1), limit, "beside another controller");

        // A container: what is mounted begins with its own group.
        group("pids", PIDS.own, "20\n");
        let container = "3:pids:/docker/0123\n";
        assert_eq!(found(&PIDS, container), is("pids/pids.max"));

        group("app", PIDS.unified, "20\n");
        assert_eq!(found(&PIDS, "0::/app/web\n"), is("app/pids.max"));
        group("unified/b", MEMORY.unified, "20\n");
        assert_eq!(found(&MEMORY, "0::/b\n"), is("unified/b/memory.max"));
        std::fs::write(root.join("app/pids.max"), "max\n").expect("a file");
        assert_eq!(found(&PIDS, "0::/app\n"), None, "no limit");
        for odd in ["", "\n", "1:pids\n", "::\n", "0::/../..\n"] {
            assert_eq!(found(&PIDS, odd), None, "{odd:?}");
        }
    }
}
