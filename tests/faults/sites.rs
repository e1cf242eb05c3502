//! From a trace to the faults: which calls the supervisor makes, and for what.
//!
//! Calls with the same purpose look the same once numbers, texts and the names of programs are
//! taken out. Of each purpose the first call is tried in every way, and two later ones, in the
//! midst and at the end, with every error once: by then the supervisor is in another state.

use std::collections::BTreeMap;

use super::fault::{Fault, Kind, Side};
use super::manual;
use super::play::NAMES;

/// The signals that arrive at each call.
const SIGNALS: [&str; 4] = ["CHLD", "HUP", "TERM", "USR1"];

/// The calls that make a process.
const FORKS: [&str; 4] = ["clone", "clone3", "fork", "vfork"];

/// Calls of a child that are its own: what its program, or the supervisor, would call as well is
/// left alone, but for what is worth it. So are signals' dispositions: some cannot be set, and no
/// answer is looked at.
const OF_CHILDREN: [&str; 12] = [
    "chdir",
    "close_range",
    "dup2",
    "dup3",
    "execve",
    "prctl",
    "prlimit64",
    "setgroups",
    "setpriority",
    "setresgid",
    "setresuid",
    "setsid",
];

/// Descriptors below this one are those that it opens before it starts anything.
const EARLY: u32 = 9;

/// Its first own call: what it holds back.
pub const BEGIN: &str = "rt_sigprocmask(SIG_BLOCK";

/// One call: which of its kind, and for what.
pub struct Call {
    pub name: String,
    pub nth: usize,
    purpose: String,
}

/// The calls of a trace by their purposes, in the order of their first calls.
pub struct Sites(Vec<(String, Vec<Call>)>);

impl Sites {
    /// The supervisor's own.
    pub fn own(trace: &str, directory: &str) -> Self {
        Self::own_from(BEGIN, trace, directory)
    }

    /// The same where another call is the first that counts.
    pub fn own_from(begin: &str, trace: &str, directory: &str) -> Self {
        Self::of(own_calls(begin, trace, directory))
    }

    /// Those of its children, between fork and exec, out of a trace with a number before each line.
    pub fn of_children(trace: &str, directory: &str) -> Self {
        let mut processes: BTreeMap<&str, (bool, BTreeMap<String, usize>)> = BTreeMap::new();
        let mut calls = Vec::new();
        for (index, line) in trace.lines().enumerate() {
            let Some((pid, line)) = line.split_once(' ') else {
                continue;
            };
            let line = line.trim_start();
            // The first of all is the supervisor.
            let (is_over, counts) = processes
                .entry(pid)
                .or_insert_with(|| (index == 0, BTreeMap::new()));
            let Some(mut call) = parse(line, directory, counts) else {
                continue;
            };
            // Every child makes the same calls in the same order, and a line may be cut short.
            call.purpose = format!("child: {} {}", call.name, call.nth);
            let is_exec = call.name == "execve";
            if !*is_over && OF_CHILDREN.contains(&&*call.name) {
                calls.push(call);
            }
            // Whether it has worked is told later, in a line of its own; the next try of a
            // program in `PATH` is not needed.
            *is_over |= is_exec;
        }
        Self::of(calls)
    }

    fn of(calls: Vec<Call>) -> Self {
        let mut sites: Vec<(String, Vec<Call>)> = Vec::new();
        for call in calls {
            match sites.iter_mut().find(|(known, _)| *known == call.purpose) {
                Some((_, same)) => same.push(call),
                None => sites.push((call.purpose.clone(), vec![call])),
            }
        }
        Self(sites)
    }

    pub fn count(&self) -> usize {
        self.0.len()
    }

    /// What each is for.
    pub fn purposes(&self) -> impl Iterator<Item = String> {
        let told = |(purpose, calls): &(String, Vec<Call>)| {
            let numbers: Vec<usize> = calls.iter().map(|call| call.nth).take(8).collect();
            format!("{purpose} {numbers:?}")
        };
        self.0.iter().map(told)
    }

    /// All that can happen at all of them.
    pub fn faults(&self, side: Side) -> Vec<Fault> {
        let mut faults = Vec::new();
        for (purpose, calls) in &self.0 {
            let first = &calls[0];
            let mut add = |call: &Call, kind, for_ever| {
                faults.push(Fault {
                    side,
                    call: call.name.clone(),
                    nth: call.nth,
                    also: Vec::new(),
                    kind,
                    for_ever,
                });
            };
            for (error, may_last) in manual::errors_of(&first.name, purpose) {
                let kind = || Kind::Error(error.to_owned());
                add(first, kind(), false);
                if side == Side::Child {
                    continue;
                }
                if may_last {
                    add(first, kind(), true);
                }
                // Which of the closes is which differs from play to play.
                for call in later(calls).filter(|call| call.name != "close") {
                    add(call, kind(), false);
                }
            }
            if side == Side::Child {
                continue;
            }
            for signal in SIGNALS {
                add(first, Kind::Signal(signal.to_owned()), false);
            }
            if matches!(&*first.name, "read" | "write" | "getdents64") {
                add(first, Kind::Answer(0), false);
            }
            if matches!(&*first.name, "read" | "write" | "recvfrom" | "sendto") {
                add(first, Kind::Answer(1), false);
            }
            if FORKS.contains(&&*first.name) {
                for place in ["delay_enter", "delay_exit"] {
                    for call in calls {
                        add(call, Kind::Delay(place.to_owned()), false);
                    }
                    add(first, Kind::Delay(place.to_owned()), true);
                }
            }
        }
        faults.sort();
        faults.dedup();
        faults
    }
}

/// The supervisor's own in their order, from the first on that is not its loader's and its
/// runtime's.
pub fn own_calls(begin: &str, trace: &str, directory: &str) -> Vec<Call> {
    let mut counts = BTreeMap::new();
    let mut has_begun = false;
    let mut calls = Vec::new();
    for line in trace.lines() {
        let Some(call) = parse(line, directory, &mut counts) else {
            continue;
        };
        has_begun |= line.starts_with(begin);
        if has_begun && !manual::LEFT_ALONE.contains(&&*call.name) {
            calls.push(call);
        }
    }
    calls
}

/// One from the midst, and the last.
fn later(calls: &[Call]) -> impl Iterator<Item = &Call> {
    let places = match calls.len() {
        0 | 1 => vec![],
        2 => vec![1],
        count => vec![count / 2, count - 1],
    };
    places.into_iter().map(|place| &calls[place])
}

fn parse(line: &str, directory: &str, counts: &mut BTreeMap<String, usize>) -> Option<Call> {
    let (name, rest) = line.split_once('(')?;
    let is_name = |text: &str| {
        let mut bytes = text.bytes();
        bytes.all(|byte| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'_')
    };
    if name.is_empty() || !is_name(name) {
        return None;
    }
    let nth = counts.entry(name.to_owned()).or_default();
    *nth += 1;
    Some(Call {
        name: name.to_owned(),
        nth: *nth,
        purpose: format!("{name}({}", purpose(rest, directory)),
    })
}

/// What is left of a call without what differs from one to the next.
fn purpose(rest: &str, directory: &str) -> String {
    let mut text = rest.replace(directory, "DIR");
    text = text.replace(" <unfinished ...>", "");
    if let Some((before, _)) = text.rsplit_once(" = ") {
        text = before.trim_end().to_owned();
    }
    text = text.trim_end_matches([')', ' ', ',']).to_owned();
    text = without(&text, '{', '}');
    for name in NAMES {
        text = text.replace(name, "NAME");
    }
    let mut plain = String::new();
    let mut rest = &*text;
    while let Some(char) = rest.chars().next() {
        let length = number_length(rest).max(char.len_utf8());
        let (part, after) = rest.split_at(length);
        match part.parse::<u32>() {
            // What is open from the beginning on has the same number in every play.
            Ok(fd) if fd < EARLY && after.starts_with("<pipe:") => plain.push_str(part),
            _ if char.is_ascii_digit() => plain.push('N'),
            _ => plain.push(char),
        }
        rest = after;
    }
    plain
}

/// How long the number is with which the text begins, an address as well.
fn number_length(text: &str) -> usize {
    let is_digit: fn(char) -> bool = match text.strip_prefix("0x") {
        Some(_) => |char| char.is_ascii_hexdigit() || char == 'x',
        None => |char| char.is_ascii_digit(),
    };
    text.find(|char| !is_digit(char)).unwrap_or(text.len())
}

/// Without what stands between these.
fn without(text: &str, open: char, close: char) -> String {
    let mut kept = String::new();
    let mut depth = 0_u32;
    for char in text.chars() {
        if depth > 0 && char == close {
            depth -= 1;
        } else if char == open {
            depth += 1;
        } else if depth == 0 {
            kept.push(char);
        }
    }
    kept
}
