//! What `/proc` tells about a process.

use std::time::Duration;

/// The processor time of a thread: `"self"` asks for the calling process's first thread,
/// a pid for another's. Nanoseconds, where `/proc/PID/stat` has hundredths of a second.
pub fn cpu(process: &str) -> Duration {
    let path = format!("/proc/{process}/schedstat");
    let text = std::fs::read_to_string(path).expect("a kernel with CONFIG_SCHED_INFO");
    let nanoseconds = text
        .split_whitespace()
        .next()
        .and_then(|word| word.parse().ok());
    Duration::from_nanos(nanoseconds.expect("a number of nanoseconds"))
}

/// How often a process was switched away from, of its own accord and not.
pub fn switches(pid: u32) -> u64 {
    let file = format!("/proc/{pid}/status");
    value(&file, "voluntary_ctxt_switches:") + value(&file, "nonvoluntary_ctxt_switches:")
}

/// The memory that is a process's own, and its share of all that it uses, in KiB.
pub fn memory(pid: u32) -> (u64, u64) {
    let file = format!("/proc/{pid}/smaps_rollup");
    (value(&file, "Private_Dirty:"), value(&file, "Pss:"))
}

/// The number behind a key at the start of a line.
fn value(file: &str, key: &str) -> u64 {
    let text = std::fs::read_to_string(file).expect("a process that runs");
    let line = text.lines().find_map(|line| line.strip_prefix(key));
    let word = line.and_then(|line| line.split_whitespace().next());
    word.and_then(|word| word.parse().ok())
        .expect("a line with a number")
}
