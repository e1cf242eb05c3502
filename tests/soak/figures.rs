//! What proc(5) tells of the supervisor, each second.

use std::collections::BTreeMap;
use std::fs;

use crate::common::process;
use crate::soak::slope::Allowance;

/// One look.
#[derive(Debug, Clone, Copy, Default)]
pub struct Figures {
    pub rss_kib: f64,
    pub private_dirty_kib: f64,
    pub data_kib: f64,
    pub descriptors: f64,
    /// Descriptors that an epoll set of it watches.
    pub polled: f64,
    pub threads: f64,
    pub children: f64,
    /// POSIX timers; timers of other kinds are descriptors.
    pub timers: f64,
    pub voluntary_switches: f64,
    pub other_switches: f64,
    pub cpu_seconds: f64,
}

type Get = fn(&Figures) -> f64;

/// Stocks: what is there at a moment, and must not grow. Memory in KiB.
pub const STOCKS: [(&str, Get, Allowance); 8] = [
    ("VmRSS, KiB", |f| f.rss_kib, MEMORY),
    ("Private_Dirty, KiB", |f| f.private_dirty_kib, MEMORY),
    ("VmData, KiB", |f| f.data_kib, MEMORY),
    ("descriptors", |f| f.descriptors, NUMBER),
    ("poll set", |f| f.polled, NUMBER),
    ("threads", |f| f.threads, NUMBER),
    ("timers", |f| f.timers, NUMBER),
    ("children", |f| f.children, NUMBER),
];

/// Costs: what is spent, told for each restart, which must not grow with their number either;
/// and by how much they differ between a machine that is busy, where many deaths share a wake,
/// and one that is not.
pub const COSTS: [(&str, Get, f64); 3] = [
    ("voluntary switches", |f| f.voluntary_switches, 15.0),
    ("other switches", |f| f.other_switches, 3.0),
    ("CPU, ms", |f| f.cpu_seconds * 1000.0, 1.0),
];

/// 1 KiB by 1,000 restarts. A single report of ours may be 700 KiB on its way, and pages are
/// given back late, so that a series cannot tell less than a few of them, and a short one, which
/// has seen the first of many things, not less than those all together.
pub const MEMORY: Allowance = Allowance {
    per_thousand: 1.0,
    in_all: 64.0,
    quantile: 0.0,
    no_step: 48.0,
    in_short: Some(768.0),
};

/// One for 50,000 restarts. In a short series two or three more or less are chance.
pub const NUMBER: Allowance = Allowance {
    per_thousand: 0.02,
    in_all: 3.0,
    quantile: 0.9,
    no_step: 0.5,
    in_short: None,
};

/// Looks at a process; `None` when it is gone.
pub fn look(pid: i32) -> Option<Figures> {
    let status = fields(&format!("/proc/{pid}/status"))?;
    let rollup = fields(&format!("/proc/{pid}/smaps_rollup"))?;
    let (descriptors, polled) = descriptors(pid)?;
    let timers = fs::read_to_string(format!("/proc/{pid}/timers")).unwrap_or_default();
    let number = |fields: &BTreeMap<String, f64>, key| fields.get(key).copied().unwrap_or(0.0);
    Some(Figures {
        rss_kib: number(&status, "VmRSS"),
        private_dirty_kib: number(&rollup, "Private_Dirty"),
        data_kib: number(&status, "VmData"),
        descriptors: f64::from(descriptors),
        polled: f64::from(polled),
        threads: number(&status, "Threads"),
        children: process::children(pid).len() as f64,
        timers: timers.matches("ID:").count() as f64,
        voluntary_switches: number(&status, "voluntary_ctxt_switches"),
        other_switches: number(&status, "nonvoluntary_ctxt_switches"),
        cpu_seconds: process::stat(pid)?.ticks as f64 / 100.0,
    })
}

/// The lines `KEY: NUMBER ...` of a file.
fn fields(file: &str) -> Option<BTreeMap<String, f64>> {
    let text = fs::read_to_string(file).ok()?;
    let pair = |line: &str| {
        let (key, value) = line.split_once(':')?;
        let value = value.split_whitespace().next()?.parse().ok()?;
        Some((key.to_owned(), value))
    };
    Some(text.lines().filter_map(pair).collect())
}

/// How many descriptors it has, and how many its epoll sets watch.
fn descriptors(pid: i32) -> Option<(u32, u32)> {
    let (mut count, mut polled) = (0, 0);
    for entry in fs::read_dir(format!("/proc/{pid}/fdinfo")).ok()?.flatten() {
        count += 1;
        let info = fs::read_to_string(entry.path()).unwrap_or_default();
        polled += info.lines().filter(|line| line.starts_with("tfd:")).count() as u32;
    }
    Some((count, polled))
}
