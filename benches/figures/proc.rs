//! What `/proc` tells about a process. Who has gone meanwhile has no time and no memory.

use std::collections::HashMap;
use std::path::PathBuf;
use std::time::Duration;

/// The processor time of a process's first thread: `"self"` asks for the calling process's, a
/// pid for another's. Nanoseconds, where `/proc/PID/stat` has hundredths of a second.
pub fn cpu(process: &str) -> Option<Duration> {
    let text = std::fs::read_to_string(format!("/proc/{process}/schedstat")).ok()?;
    let nanoseconds = text.split_whitespace().next()?.parse().ok()?;
    Some(Duration::from_nanos(nanoseconds))
}

/// How often a process was switched away from, of its own accord and not.
pub fn switches(pid: i32) -> u64 {
    let file = format!("/proc/{pid}/status");
    let value = |key| value(&file, key).unwrap_or(0);
    value("voluntary_ctxt_switches:") + value("nonvoluntary_ctxt_switches:")
}

/// The memory that is a process's own, and its share of all that it uses, in KiB.
pub fn memory(pid: i32) -> (f64, f64) {
    let file = format!("/proc/{pid}/smaps_rollup");
    let value = |key| value(&file, key).unwrap_or(0) as f64;
    (value("Private_Dirty:"), value("Pss:"))
}

/// The most memory that a process has had resident, in KiB.
pub fn peak_memory(pid: i32) -> f64 {
    value(&format!("/proc/{pid}/status"), "VmHWM:").unwrap_or(0) as f64
}

/// What a process executes.
pub fn executable(pid: i32) -> Option<PathBuf> {
    std::fs::read_link(format!("/proc/{pid}/exe")).ok()
}

/// Every process below this one.
pub fn descendants() -> Vec<i32> {
    let mut children: HashMap<i32, Vec<i32>> = HashMap::new();
    let entries = std::fs::read_dir("/proc").expect("/proc").flatten();
    for pid in entries.filter_map(|entry| entry.file_name().to_str()?.parse::<i32>().ok()) {
        if let Some(parent) = parent(pid) {
            children.entry(parent).or_default().push(pid);
        }
    }
    let mut found = Vec::new();
    let mut left = vec![i32::try_from(std::process::id()).expect("pids are small")];
    while let Some(pid) = left.pop() {
        let below = children.remove(&pid).unwrap_or_default();
        found.extend(&below);
        left.extend(below);
    }
    found
}

fn parent(pid: i32) -> Option<i32> {
    let text = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // The name before it may hold anything.
    let (_, behind) = text.rsplit_once(')')?;
    behind.split_whitespace().nth(1)?.parse().ok()
}

/// The number behind a key at the start of a line.
fn value(file: &str, key: &str) -> Option<u64> {
    let text = std::fs::read_to_string(file).ok()?;
    let line = text.lines().find_map(|line| line.strip_prefix(key))?;
    line.split_whitespace().next()?.parse().ok()
}
