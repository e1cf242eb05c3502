//! No memory: at each place where the supervisor asks the kernel for some, once and from there on.
//!
//! A C library takes much from the kernel at a time, and a supervisor that is small never comes
//! back for more. So this subject is `run` with a heap that grows page by page, and with a
//! program that says much. And what one call refuses the library tries to get by another: at
//! each place all of them refuse, once each or for ever, as they do where there is no memory.

use std::collections::BTreeSet;

use super::fault::{Fault, Kind, Side};
use super::sites::{BEGIN, Call, own_calls};

/// What makes glibc's heap so: no page more than is needed is asked for or kept.
pub const HEAP: (&str, &str) = (
    "GLIBC_TUNABLES",
    "glibc.malloc.top_pad=0:glibc.malloc.trim_threshold=4096",
);

/// What one program says more than its name, in bytes: much, and no more than a report holds.
pub const WORDS: usize = 48_000;

/// Those that give memory.
const GIVERS: [&str; 3] = ["brk", "mmap", "mremap"];

/// Those that need some to change or to give back what is there.
const KEEPERS: [&str; 3] = ["madvise", "mprotect", "munmap"];

/// All that can happen to it. An undisturbed play tells where it asks.
pub fn faults(trace: &str, directory: &str) -> Vec<Fault> {
    let calls = own_calls(BEGIN, trace, directory);
    let mut faults = Vec::new();
    for (place, call) in calls.iter().enumerate() {
        let is = |kind: &[&str]| kind.contains(&&*call.name);
        if !is(&GIVERS) && !is(&KEEPERS) {
            continue;
        }
        let mut others = Vec::new();
        if is(&GIVERS) {
            let other = |name: &&str| **name != *call.name;
            let next = |name: &str| next(trace, &calls[place..], name);
            let names = GIVERS.into_iter().filter(other);
            others = names.map(|name| (name.to_owned(), next(name))).collect();
        }
        for for_ever in [false, true] {
            faults.push(refusal(call, Vec::new(), for_ever));
            if !others.is_empty() {
                faults.push(refusal(call, others.clone(), for_ever));
            }
        }
    }
    faults
}

/// At how many calls they are.
pub fn count(faults: &[Fault]) -> usize {
    let calls = faults.iter().map(|fault| (&fault.call, fault.nth));
    calls.collect::<BTreeSet<_>>().len()
}

fn refusal(call: &Call, also: Vec<(String, usize)>, for_ever: bool) -> Fault {
    Fault {
        side: Side::Memory,
        call: call.name.clone(),
        nth: call.nth,
        also,
        kind: Kind::Error("ENOMEM".to_owned()),
        for_ever,
    }
}

/// The number that the next call of this name has, were it made or not.
fn next(trace: &str, rest: &[Call], name: &str) -> usize {
    let made = rest.iter().find(|call| call.name == name);
    let begin = format!("{name}(");
    let all = || trace.lines().filter(|line| line.starts_with(&begin));
    made.map_or_else(|| all().count() + 1, |call| call.nth)
}
