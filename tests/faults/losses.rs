//! What an undisturbed play has and another has not, and whether a word was said about it: about
//! this very loss, not about some other trouble.

use super::fault::{self, Fault, Side};
use super::memory;
use super::play::{EMPTIER, NAMES, ROLLED, ROLLER, Record, SPEAKER};
use crate::common::Report;

/// What kind of thing was lost, which decides what has to be said.
#[derive(Debug, Clone, PartialEq, Eq)]
enum Kind {
    /// A process that left lived on beside the next run.
    Relic,
    /// So many reports on stdout.
    Reports(usize),
    /// The command was not given a report of this program.
    Handed(String),
    /// A line on stderr.
    Line,
    /// So many bytes of this program, in its log or in a report.
    Bytes(&'static str, usize),
    Other,
}

#[derive(Debug, Clone)]
pub struct Loss {
    pub text: String,
    kind: Kind,
}

impl Loss {
    fn new(kind: Kind, text: String) -> Self {
        Self { text, kind }
    }
}

/// Said when stdout is given up: no report comes from there on.
pub const NO_STDOUT: &str = "stdout is switched off";

/// Said on stdout when stderr is given up: no message comes from there on.
pub const NO_STDERR: &str = "stderr is switched off";

/// Those that nobody was told of, or that should not have been, whatever was said.
pub fn in_silence(fault: Option<&Fault>, record: &Record, losses: &[Loss]) -> Vec<String> {
    // Who cannot write at all has no mouth.
    let is_mute = |fault: &Fault| fault.is_lie() || (fault.call == "write" && fault.for_ever);
    if fault.is_some_and(is_mute) {
        return Vec::new();
    }
    let said = Said { fault, record };
    let silent = losses.iter().filter(|loss| !said.is_told(losses, loss));
    silent.map(|loss| loss.text.clone()).collect()
}

/// What was said of a play with this fault.
struct Said<'a> {
    fault: Option<&'a Fault>,
    record: &'a Record,
}

impl Said<'_> {
    fn is_told(&self, losses: &[Loss], loss: &Loss) -> bool {
        let alike = losses.iter().filter(|other| same(&other.kind, &loss.kind));
        match &loss.kind {
            Kind::Relic => self.is_lasting() && is_blind(self.fault, self.record),
            Kind::Reports(_) => {
                let lost = alike.map(|loss| loss.size()).sum();
                // Only who cannot write at this moment, or has no room for it, may lose a report.
                let is_excuse = |it: &Fault| it.call == "write" || it.side == Side::Memory;
                let may_be = self.is_lasting() || self.fault.is_some_and(is_excuse);
                may_be && (self.has(&[NO_STDOUT]) || self.counts_reports(lost))
            }
            Kind::Handed(name) => {
                let told = self.lines(name, "warning");
                let dropped = self.number_before("reports that waited for error_handler");
                alike.count() <= told.count() + dropped
            }
            Kind::Line => self.has(&[NO_STDERR]) || self.has(&["lines that stderr"]),
            Kind::Bytes(..) if self.fault.is_some_and(hides) => true,
            // What goes where messages and reports go is counted by lines, and ends with them.
            Kind::Bytes(SPEAKER, _) if self.has_lost_lines() => true,
            Kind::Bytes(name, _) => {
                let lost: usize = alike.map(|loss| loss.size()).max().unwrap_or_default();
                let counted = self.lines(name, "dropped").filter_map(|line| {
                    let word = line
                        .split_whitespace()
                        .find_map(|it| it.strip_prefix("bytes="));
                    word?.parse::<usize>().ok()
                });
                lost <= counted.sum()
            }
            Kind::Other => !words(self.record).is_empty(),
        }
    }

    /// A child's call fails in each child anew.
    fn is_lasting(&self) -> bool {
        self.fault
            .is_some_and(|fault| fault.for_ever || fault.side == Side::Child)
    }

    fn counts_reports(&self, lost: usize) -> bool {
        // For as long as none is taken there is no end to count.
        self.number_before("reports that stdout did not take") >= lost
            || (self.is_lasting() && self.has(&["stdout takes no reports, they are lost"]))
    }

    fn has_lost_lines(&self) -> bool {
        let counted = "lines of programs that";
        self.has(&[NO_STDOUT]) || self.has(&[NO_STDERR]) || self.has(&[counted, "did not take"])
    }

    fn has(&self, parts: &[&str]) -> bool {
        let mut lines = self.record.messages.iter().chain(&self.record.strangers);
        lines.any(|line| parts.iter().all(|part| line.contains(part)))
    }

    /// Those of one program that tell of this.
    fn lines(&self, name: &str, what: &str) -> impl Iterator<Item = &String> {
        self.record.messages.iter().filter(move |line| {
            let mut words = line.split_whitespace().skip(1);
            words.next() == Some(name) && words.next() == Some(what)
        })
    }

    /// The sum of all N in `dropped N …`.
    fn number_before(&self, rest: &str) -> usize {
        let number = |line: &String| {
            let (before, _) = line.split_once(rest)?;
            before.split_whitespace().last()?.parse::<usize>().ok()
        };
        self.record.messages.iter().filter_map(number).sum()
    }
}

/// Who is told for ever that there is nothing to read cannot know of what there is.
pub fn hides(fault: &Fault) -> bool {
    let is_nothing = fault.kind == fault::Kind::Error("EAGAIN".to_owned());
    fault.call == "read" && is_nothing && fault.for_ever
}

/// The wait for what is to be read is interrupted for ever.
fn is_deaf(fault: &Fault) -> bool {
    let is_interrupted = fault.kind == fault::Kind::Error("EINTR".to_owned());
    fault.call.starts_with("epoll_") && is_interrupted && fault.for_ever
}

/// The same loss of the same program, but for how much it was.
fn same(one: &Kind, other: &Kind) -> bool {
    match (one, other) {
        (Kind::Reports(_), Kind::Reports(_)) => true,
        (Kind::Bytes(one, _), Kind::Bytes(other, _)) => one == other,
        _ => one == other,
    }
}

impl Loss {
    fn size(&self) -> usize {
        match self.kind {
            Kind::Reports(size) | Kind::Bytes(_, size) => size,
            _ => 1,
        }
    }
}

/// Nothing tells who came home, and that was said. One look that fails is made again.
pub fn is_blind(fault: Option<&Fault>, record: &Record) -> bool {
    let has_said = |word: &str| record.messages.iter().any(|line| line.contains(word));
    has_no_proc(record)
        || (fault.is_some_and(|fault| fault.for_ever)
            && has_said("failed to look for processes that left"))
}

pub fn has_no_proc(record: &Record) -> bool {
    let word = "without /proc nothing tells which processes left";
    record.messages.iter().any(|line| line.contains(word))
}

/// Name and pid of each start that stderr tells of.
pub fn started(record: &Record) -> Vec<(String, String)> {
    let start = |line: &String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match *words {
            [_, name, "started", pid] if NAMES.contains(&name) => {
                Some((name.to_owned(), pid.strip_prefix("pid=")?.to_owned()))
            }
            _ => None,
        }
    };
    record.messages.iter().filter_map(start).collect()
}

/// Lines that tell of trouble.
pub fn words(record: &Record) -> Vec<String> {
    let is_word = |line: &&String| {
        let words: Vec<&str> = line.split_whitespace().collect();
        match words.get(2) {
            Some(&("warning" | "dropped" | "abandoned")) => true,
            Some(&"failed") => words[1] != "missing" && !line.contains(" uptime="),
            _ => false,
        }
    };
    let mut found: Vec<String> = record.messages.iter().filter(is_word).cloned().collect();
    found.extend(record.strangers.iter().cloned());
    found
}

/// Whether there is no room for all that is to be told.
fn is_short(fault: Option<&Fault>) -> bool {
    fault.is_some_and(|fault| fault.side == Side::Memory)
}

/// What an undisturbed play has, and this one has not.
pub fn losses(fault: Option<&Fault>, record: &Record) -> Vec<Loss> {
    let mut losses = Vec::new();
    let mut lose = |kind, text| losses.push(Loss::new(kind, text));
    let is_stop = fault.is_some_and(Fault::is_stop);
    if !is_stop {
        // Who is never told that there is something to read reads at the end, and what is more than a
        // pipe holds waits for that.
        let is_unheard = |name: &&String| {
            let is_much = [ROLLER, EMPTIER].contains(&name.as_str());
            is_much && fault.is_some_and(|fault| hides(fault) || is_deaf(fault))
        };
        for name in record.not_up.iter().filter(|name| !is_unheard(name)) {
            lose(Kind::Other, format!("{name} is not up"));
        }
        // A signal that nobody may handle here is left out, as under valgrind.
        let is_left_out = fault.is_some_and(|fault| fault.call == "rt_sigaction");
        if !record.has_told_state && !is_left_out {
            lose(Kind::Other, "no answer to SIGUSR1".to_owned());
        }
        if record.said["again"].is_empty() {
            lose(Kind::Other, "steady did not go on".to_owned());
        }
    }
    for relic in &record.relics {
        let text = format!("the {relic} lived on beside the next run");
        lose(Kind::Relic, text);
    }
    let is_of_child = fault.is_some_and(|fault| fault.side == Side::Child);
    if !is_of_child || record.reports.len() != record.handled.len() {
        lost_reports(is_short(fault), record, &mut losses);
    }
    lost_words(fault, record, &mut losses);
    lost_at_rotations(record, &mut losses);
    losses
}

fn lost_reports(is_short: bool, record: &Record, losses: &mut Vec<Loss>) {
    let mut lose = |kind, text| losses.push(Loss::new(kind, text));
    let started = started(record);
    let told = |report: &Report| report.pid().map(|pid| pid.to_string());
    for (name, pid) in &started {
        let is_it = |report: &Report| report.name() == name && told(report).as_ref() == Some(pid);
        if !record.reports.iter().any(is_it) {
            lose(Kind::Reports(1), format!("no report of {name} {pid}"));
        }
    }
    for report in &record.reports {
        let Some(pid) = told(report) else { continue };
        if !started.contains(&(report.name().to_owned(), pid.clone())) {
            let text = format!("no word of the start of {} {pid}", report.name());
            lose(Kind::Line, text);
        }
    }
    let failed = record
        .messages
        .iter()
        // A line of the status is about a state of that name.
        .filter(|line| !line.contains(" uptime="))
        .filter(|line| {
            let word = line.split_whitespace().nth(2);
            matches!(word, Some("failed" | "cancelled"))
        });
    let without_pid = record
        .reports
        .iter()
        .filter(|report| report.pid().is_none());
    let (failed, without_pid) = (failed.count(), without_pid.count());
    let text = format!("{failed} failed starts, {without_pid} reports of such");
    match failed.checked_sub(without_pid) {
        None => lose(Kind::Line, text),
        Some(0) => {}
        Some(lost) => lose(Kind::Reports(lost), text),
    }
    for report in &record.reports {
        if !is_handed(is_short, report, record) {
            let (name, pid) = (report.name(), report.pid());
            let text = format!("the command was not given the report of {name} {pid:?}");
            lose(Kind::Handed(name.to_owned()), text);
        }
    }
}

/// Where there is no room the same report may lack more in one place than in the other.
fn is_handed(is_short: bool, report: &Report, record: &Record) -> bool {
    let start = |report: &Report| (report.pid(), report.count("restarts"));
    let is_it = |handed: Report| handed.name() == report.name() && start(&handed) == start(report);
    let is_alike = |line: &String| Report::parse(line.as_bytes()).is_some_and(is_it);
    record.handled.contains(&report.line) || (is_short && record.handled.iter().any(is_alike))
}

/// What programs wrote that is not in their logs, or not in their reports.
fn lost_words(fault: Option<&Fault>, record: &Record, losses: &mut Vec<Loss>) {
    let is_short = is_short(fault);
    for (&name, pids) in &record.said {
        let program = match name {
            "again" => "steady",
            "spoken" => SPEAKER,
            name => name,
        };
        let mut lost = (0, 0);
        for pid in pids {
            let text = format!("{name}-{pid}\n");
            if !record.logs[program].contains(&text) {
                lost.0 += text.len();
                let what = format!("not in the log: {}", text.trim_end());
                losses.push(Loss::new(Kind::Bytes(program, lost.0), what));
            }
            let pid = pid.parse().ok();
            let mut reports = record.reports.iter();
            let report = reports.find(|report| report.pid() == pid);
            // A report has what was written to stderr.
            let report = report.filter(|_| name != "spoken");
            let missing = report.map_or(0, |report| missing(report, &text, is_short));
            if missing > 0 {
                lost.1 += missing;
                let what = format!("{missing} bytes not in the report: {}", text.trim_end());
                losses.push(Loss::new(Kind::Bytes(program, lost.1), what));
            }
        }
    }
}

/// What is missing in the logs of the program whose log was rotated.
fn lost_at_rotations(record: &Record, losses: &mut Vec<Loss>) {
    let is_ours = |line: &&str| line.starts_with("procsched: ") || line.starts_with("--- ");
    let log = record.logs.get(ROLLER).map_or("", String::as_str);
    let lines = log.split_inclusive('\n').filter(|line| !is_ours(line));
    let kept: usize = lines.map(str::len).sum();
    let lost = ROLLED.saturating_sub(kept);
    if record.has_rolled && lost > 0 {
        let what = format!("{lost} bytes not in the logs that were rotated");
        losses.push(Loss::new(Kind::Bytes(ROLLER, lost), what));
    }
}

/// How much a report lacks of what the program wrote, which ends with a text. A report for which
/// there was no room counts itself what it lacks.
fn missing(report: &Report, text: &str, is_short: bool) -> usize {
    let data = report.data();
    if !is_short {
        let is_there = String::from_utf8_lossy(&data).contains(text);
        return if is_there { 0 } else { text.len() };
    }
    let before = if report.name() == "crashy" {
        memory::WORDS
    } else {
        0
    };
    let omitted = usize::try_from(report.count("data_omitted")).unwrap_or(usize::MAX);
    (before + text.len()).saturating_sub(data.len().saturating_add(omitted))
}
