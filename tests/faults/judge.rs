//! One judge for all plays. There are three ends that are acceptable: it went on as if nothing
//! had been; it went on and said what was lost; it refused at start and said why.

use std::collections::BTreeMap;

use super::fault::{Fault, Kind, Side};
use super::losses::{has_no_proc, hides, in_silence, is_blind, losses, started, words};
use super::play::Record;

/// How many calls of one kind may be more than twice those of the undisturbed play.
pub struct Pace {
    /// Once.
    pub once: f64,
    pub per_second: f64,
}

/// A look at all processes is two calls and more for each. What turns every 10 ms, or starts five
/// programs every 100 ms, makes a few hundred a second; what spins, tens of thousands.
const PACE: Pace = Pace {
    once: 5000.0,
    per_second: 1500.0,
};

/// CPU time of the supervisor for each second, under strace, where starts fail all the time.
const TICKS_PER_SECOND_MAX: f64 = 25.0;

/// What a play was worth.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Verdict {
    /// Nothing was lost, and nothing said.
    Fine,
    /// It said what was the matter; this was lost.
    Said(Vec<String>),
    Refused,
    /// The call was not made this time.
    NotMet,
    Failed(Vec<String>),
}

impl Verdict {
    pub fn word(&self) -> &'static str {
        match self {
            Self::Fine => "ok",
            Self::Said(_) => "said",
            Self::Refused => "refused",
            Self::NotMet => "not met",
            Self::Failed(_) => "FAILED",
        }
    }
}

/// Judges a play by an undisturbed one.
pub fn judge(fault: Option<&Fault>, record: &Record, usual: &Record) -> Verdict {
    let mut defects = Vec::new();
    survives(fault, record, &mut defects);
    rests(record, usual, &PACE, &mut defects);
    tidies(fault, record, usual, &mut defects);
    serves(fault, record, usual, &mut defects);
    names_steps(fault, record, &mut defects);
    // A short write that was none at all tears a line in two.
    if !fault.is_some_and(Fault::is_lie) {
        answers(record, &mut defects);
    }
    if !defects.is_empty() {
        return Verdict::Failed(defects);
    }
    if fault.is_some_and(|fault| !is_met(fault, record)) {
        return Verdict::NotMet;
    }
    if is_refusal(record) {
        return Verdict::Refused;
    }
    let losses = losses(fault, record);
    let silent = in_silence(fault, record, &losses);
    if !silent.is_empty() {
        let told = |loss| format!("lost in silence: {loss}");
        return Verdict::Failed(silent.into_iter().map(told).collect());
    }
    let has_lost_control = record.answered != usual.answered;
    if losses.is_empty() && words(record).is_empty() && !has_lost_control {
        return Verdict::Fine;
    }
    Verdict::Said(losses.into_iter().map(|loss| loss.text).collect())
}

/// Whether strace has done what it was told.
pub fn is_met(fault: &Fault, record: &Record) -> bool {
    let mark = match &fault.kind {
        Kind::Error(_) | Kind::Answer(_) => "(INJECTED)",
        Kind::Delay(_) => "(DELAYED)",
        Kind::Signal(_) => {
            let begin = format!("{}(", fault.call);
            let calls = record.trace.lines().filter(|line| line.starts_with(&begin));
            return calls.count() >= fault.nth;
        }
    };
    record
        .trace
        .lines()
        .any(|line| line.trim_end().ends_with(mark))
}

/// It refused to start: nothing was started.
fn is_refusal(record: &Record) -> bool {
    record.ended_early && matches!(record.code, Some(1 | 2)) && started(record).is_empty()
}

/// No crash, no hang, and an end that fits.
fn survives(fault: Option<&Fault>, record: &Record, defects: &mut Vec<String>) {
    let is_stop = fault.is_some_and(Fault::is_stop);
    let is_mute = fault.is_some_and(|fault| fault.call == "write");
    let is_short = fault.is_some_and(|fault| fault.side == Side::Memory);
    let mut words = words(record);
    words.extend(said_by_the_binary(record));
    match record.code {
        None => defects.push("hangs: SIGTERM does not end it".to_owned()),
        Some(0) if record.ended_early && !is_stop => {
            defects.push("ended by itself as if it had been asked to".to_owned());
        }
        Some(0) => {}
        // What is wrong is not the config.
        Some(2) if is_short => defects.push("says that the config is wrong".to_owned()),
        Some(1 | 2) if !words.is_empty() || is_mute => {}
        Some(1 | 2) => defects.push("failed without a word".to_owned()),
        // Before it has handlers, when nothing is started.
        Some(code) if is_stop && code == 128 + libc::SIGTERM && started(record).is_empty() => {}
        Some(code) => defects.push(format!("ended with {code}")),
    }
    let refused = record.messages.iter();
    let refused = refused.filter(|line| line.starts_with("strace: "));
    defects.extend(refused.map(|line| format!("not played: {line}")));
    let panic = record
        .messages
        .iter()
        .find(|line| line.contains("panicked"));
    defects.extend(panic.map(|line| format!("a panic: {line}")));
}

/// No spin.
pub fn rests(record: &Record, usual: &Record, pace: &Pace, defects: &mut Vec<String>) {
    let seconds = record.lasted.as_secs_f64();
    let usual_calls = most_frequent(usual).1;
    let (call, calls) = most_frequent(record);
    let calls_max = 2.0 * usual_calls as f64 + pace.once + seconds * pace.per_second;
    if calls as f64 > calls_max {
        defects.push(format!("spins: {calls} times {call} in {seconds:.1} s"));
    }
    if record.ticks as f64 > 30.0 + seconds * TICKS_PER_SECOND_MAX {
        let ticks = record.ticks;
        defects.push(format!(
            "spins: {ticks} ticks of CPU time in {seconds:.1} s"
        ));
    }
}

/// The call that was made most often, and how often that was. What children call is not meant.
fn most_frequent(record: &Record) -> (&str, usize) {
    let mut counts = BTreeMap::new();
    let mut looked = 0_usize;
    for (call, rest) in record.trace.lines().filter_map(|line| line.split_once('(')) {
        *counts.entry(call).or_insert(0_usize) += 1;
        looked += usize::from(rest.contains("/stat\"") && rest.contains("\"/proc/"));
    }
    // A look at all processes is a call for each of all kinds, however many the machine has. It is
    // counted as a look, by its call for the list.
    for (call, most) in [
        ("close", 1),
        ("fstat", 1),
        ("open", 1),
        ("openat", 1),
        ("read", 5),
        ("statx", 1),
    ] {
        if let Some(count) = counts.get_mut(call) {
            *count = count.saturating_sub(most * looked);
        }
    }
    let most = counts.into_iter().max_by_key(|(_, count)| *count);
    most.unwrap_or_default()
}

/// No process and no descriptor too many.
fn tidies(fault: Option<&Fault>, record: &Record, usual: &Record, defects: &mut Vec<String>) {
    let has_said = |word: &str| record.messages.iter().any(|line| line.contains(word));
    let is_blind = is_blind(fault, record);
    let is_given_up = record.code == Some(1) && (is_blind || has_said(" abandoned "));
    let is_given_up = is_given_up || has_no_proc(record);
    if !record.left.is_empty() && !is_given_up && record.code.is_some() {
        defects.push(format!("left running: {:?}", record.left));
    }
    let mut more = more_than(&record.descriptors, &usual.descriptors);
    more.retain(|kind| !fault.is_some_and(|fault| keeps(fault, kind)));
    // A run's pipe is kept for as long as somebody has it who left and is not found.
    more.retain(|kind| kind != "pipe" || !is_blind);
    // A log that was renamed is written until there is another.
    more.retain(|kind| !kind.ends_with(".log.1") || !has_said("failed to open log"));
    if !more.is_empty() {
        defects.push(format!("descriptors left open: {more:?}"));
    }
}

/// The control socket answers, or it was said that there is none; and it goes at the end.
fn serves(fault: Option<&Fault>, record: &Record, usual: &Record, defects: &mut Vec<String>) {
    let is_stop = fault.is_some_and(Fault::is_stop);
    // What a client is refused for ever, it can see. A program that never runs is no answer either.
    let is_unable = |fault: &Fault| matches!(fault.side, Side::Child | Side::Memory);
    let is_excuse = |fault: &Fault| fault.for_ever || fault.is_lie() || is_unable(fault);
    let is_excused = record.ended_early || is_stop || fault.is_some_and(is_excuse);
    if usual.answered.is_some() && !is_excused {
        let has_said = record
            .messages
            .iter()
            .any(|line| line.contains("no control socket: "));
        match record.answered {
            None if has_said => {}
            None => defects.push("there is no control socket, and nothing was said".to_owned()),
            Some(true) => {}
            Some(false) => defects.push("the control socket does not answer".to_owned()),
        }
    }
    // What cannot be looked at or removed stays.
    let looks = ["fstat", "lstat", "newfstatat", "stat", "statx", "unlink"];
    let is_kept = fault.is_some_and(|fault| looks.contains(&&*fault.call));
    if record.code == Some(0) && !is_kept && !record.left_files.is_empty() {
        defects.push(format!("files left: {:?}", record.left_files));
    }
}

/// The calls of a child that set something up, the words of the report of a start that fails there, and
/// whether each error makes it fail.
const STEPS: [(&str, &[&str], bool); 11] = [
    ("setsid", &["failed to create a session"], true),
    ("setpriority", &["failed to set nice"], true),
    ("setgroups", &["failed to set groups"], true),
    ("setresgid", &["failed to set gid"], true),
    ("setresuid", &["failed to set uid"], true),
    ("chdir", &["failed to change the directory"], true),
    (
        "prlimit64",
        &[
            "failed to set RLIMIT_",
            "failed to set the limit on descriptors",
        ],
        false,
    ),
    (
        "prctl",
        &["failed to set uid", "failed to set no_new_privileges"],
        false,
    ),
    ("dup2", &["failed to set up stdin"], false),
    ("dup3", &["failed to set up stdin"], false),
    ("execve", &["failed to execute"], true),
];

/// What is refused to a child is a failed start with the name of the step.
fn names_steps(fault: Option<&Fault>, record: &Record, defects: &mut Vec<String>) {
    let Some(fault) = fault.filter(|fault| fault.side == Side::Child && is_met(fault, record))
    else {
        return;
    };
    let step = STEPS.iter().find(|(call, ..)| *call == fault.call);
    let Some((_, words, must_fail)) = step else {
        return;
    };
    let failed = record.reports.iter().filter(|report| {
        // One is to fail, whatever happens.
        report.pid().is_none() && (report.name() != "missing" || fault.call == "execve")
    });
    let errors: Vec<&str> = failed.filter_map(|report| report.text("error")).collect();
    // On a busy machine the stop may come before the answer to a start.
    let is_named = |error: &&&str| {
        let is_cancelled = error.starts_with("start cancelled by ");
        is_cancelled || words.iter().any(|words| error.contains(words))
    };
    if let Some(other) = errors.iter().find(|error| !is_named(error)) {
        defects.push(format!(
            "a start that failed at {} is reported as {other:?}",
            fault.call
        ));
    }
    // Who has its ids already needs no groups that it may not set.
    let may_pass = fault.call == "setgroups" && fault.kind == Kind::Error("EPERM".to_owned());
    if *must_fail && !may_pass && errors.is_empty() && !record.ended_early {
        defects.push(format!("no start has failed at {}", fault.call));
    }
}

/// Whether such a descriptor stays open because of the fault.
fn keeps(fault: &Fault, kind: &str) -> bool {
    match &*fault.call {
        // Only in a lie of strace's a descriptor stays open that was closed.
        "close" => true,
        // Who is not told of the end of a pipe keeps that until the next start but one.
        "epoll_ctl" | "epoll_pwait" | "epoll_wait" => fault.for_ever && kind == "pipe",
        // The standard library knows where else to get random numbers.
        "getrandom" => kind == "/dev/urandom",
        // It was told that there was nothing to read, and may wait for ever for more.
        "read" => kind == "pipe" && (fault.is_lie() || hides(fault)),
        _ => false,
    }
}

/// What is in one list and not, or less often, in the other.
pub fn more_than(these: &[String], those: &[String]) -> Vec<String> {
    let mut those = those.to_vec();
    let is_more = |kind: &&String| match those.iter().position(|known| known == *kind) {
        Some(place) => {
            those.swap_remove(place);
            false
        }
        None => true,
    };
    these.iter().filter(is_more).cloned().collect()
}

/// Every line of stdout is one of ours, and no end is told twice.
fn answers(record: &Record, defects: &mut Vec<String>) {
    let is_ours = |line: &&String| !line.starts_with("{\"warning\":\"stderr is switched off");
    let strangers: Vec<&String> = record.strangers.iter().filter(is_ours).collect();
    if !strangers.is_empty() {
        defects.push(format!(
            "stdout has lines that are no reports: {strangers:?}"
        ));
    }
    let mut told = BTreeMap::new();
    for report in record
        .reports
        .iter()
        .filter(|report| report.pid().is_some())
    {
        *told.entry((report.name(), report.pid())).or_insert(0) += 1;
    }
    for (end, _) in told.into_iter().filter(|(_, count)| *count > 1) {
        defects.push(format!("told twice: {end:?}"));
    }
}

/// What it says when it refuses.
fn said_by_the_binary(record: &Record) -> Vec<String> {
    let is_plain =
        |line: &&String| line.starts_with("procsched-min: ") || line.contains(": error: ");
    record.messages.iter().filter(is_plain).cloned().collect()
}
