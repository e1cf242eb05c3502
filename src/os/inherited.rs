//! What a program has from this process, as far as it can be seen from outside: its resource limits,
//! its nice value, its file mode mask.

use std::fs;

use nix::sys::resource::{RLIM_INFINITY, Resource, getrlimit};

/// What programs inherit.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Inherited {
    /// The limits that are set, by the names of the config: soft and hard, `None` for unlimited.
    pub(crate) limits: Vec<(&'static str, Option<u64>, Option<u64>)>,
    /// `None` where `/proc` does not say it.
    pub(crate) nice: Option<i32>,
    pub(crate) oom_score_adj: Option<i32>,
    /// In octal digits.
    pub(crate) umask: Option<String>,
}

const LIMITS: [(&str, Resource); 8] = [
    ("nofile", Resource::RLIMIT_NOFILE),
    ("nproc", Resource::RLIMIT_NPROC),
    ("core", Resource::RLIMIT_CORE),
    ("as", Resource::RLIMIT_AS),
    ("data", Resource::RLIMIT_DATA),
    ("stack", Resource::RLIMIT_STACK),
    ("fsize", Resource::RLIMIT_FSIZE),
    ("memlock", Resource::RLIMIT_MEMLOCK),
];

/// The place of the nice value behind the name of the process (proc_pid_stat(5)).
const NICE_FIELD: usize = 16;

impl Inherited {
    /// Returns what programs would inherit from this process.
    pub(crate) fn from_us() -> Self {
        let limits = LIMITS.iter().filter_map(|&(name, resource)| {
            let (soft, hard) = getrlimit(resource).ok()?;
            let [soft, hard] = [soft, hard].map(|limit| (limit != RLIM_INFINITY).then_some(limit));
            (soft.is_some() || hard.is_some()).then_some((name, soft, hard))
        });
        let read = |name: &str| fs::read_to_string(format!("/proc/self/{name}")).ok();
        let adjustment = read("oom_score_adj");
        Self {
            limits: limits.collect(),
            nice: read("stat").and_then(|stat| nice_in(&stat)),
            oom_score_adj: adjustment.and_then(|text| text.trim().parse().ok()),
            umask: read("status").and_then(|status| umask_in(&status)),
        }
    }
}

/// The name may have spaces and parentheses in it.
fn nice_in(stat: &str) -> Option<i32> {
    let (_, behind) = stat.rsplit_once(')')?;
    behind.split_whitespace().nth(NICE_FIELD)?.parse().ok()
}

fn umask_in(status: &str) -> Option<String> {
    let line = status.lines().find_map(|line| line.strip_prefix("Umask:"));
    line.map(|mask| mask.trim().to_owned())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_lines_of_proc() {
        let stat = "7 (a) b) S 1 7 7 0 -1 4194560 1 2 3 4 5 6 7 8 20 -5 1 0 99 1 2 3";
        assert_eq!(nice_in(stat), Some(-5));
        assert_eq!(nice_in("7 (a) S 1"), None);
        assert_eq!(nice_in(""), None);
        let status = "Name:\tx\nUmask:\t0022\nState:\tR (running)\n";
        assert_eq!(umask_in(status), Some("0022".to_owned()));
        assert_eq!(umask_in("Name:\tx\n"), None);
    }

    #[test]
    fn what_is_seen_here_is_what_is_so() {
        let found = Inherited::from_us();
        let (soft, _) = getrlimit(Resource::RLIMIT_NOFILE).unwrap();
        let expected = (soft != RLIM_INFINITY).then_some(soft);
        let limits = found.limits.iter();
        let nofile = limits.clone().find(|(name, _, _)| *name == "nofile");
        assert_eq!(nofile.and_then(|(_, soft, _)| *soft), expected);
    }
}
