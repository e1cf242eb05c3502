//! The books: every start and its report, every byte of those whose bytes are known, and
//! whatever else the supervisor said.

use std::collections::BTreeMap;
use std::io::{BufRead, BufReader, Read};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::thread::JoinHandle;

use crate::common::Report;
use crate::common::report::FIELDS;
use crate::soak::cast;

/// As many complaints as are told word by word; the rest is counted.
const COMPLAINTS_MAX: u64 = 500;

/// How the error begins of a start for which the machine had no process left: others live on it
/// too, and may take all of them. It is reported and tried again like any failed start.
const NO_PROCESS: &str = "failed to create a process: Resource temporarily unavailable";

/// As many kinds of warnings as are counted one by one.
const WARNINGS_MAX: usize = 60;

/// What a probe says, and exits with 99, when it finds none itself.
const NO_FORK: &[u8] = b"fork: Resource temporarily unavailable (os error 11)\n";

#[derive(Clone, Default)]
pub struct Ledger(Arc<Mutex<Books>>);

#[derive(Default)]
pub struct Books {
    pub starts: u64,
    pub reports: u64,
    pub failed_starts: u64,
    pub failed_reports: u64,
    /// Starts, and forks of programs, that failed for want of processes.
    pub crowded_out: u64,
    /// Of each name and pid the starts less the reports. What is even is not kept.
    pub open: BTreeMap<(String, i32), i64>,
    /// The last pid of each program that was started and of which no end was said.
    pub live: BTreeMap<String, i32>,
    /// Stderr that reports tell of, in bytes, of all and of those that are accounted for.
    pub stderr_bytes: u64,
    pub reported: BTreeMap<String, u64>,
    /// What was said to be lost, by program.
    pub dropped: BTreeMap<String, u64>,
    pub dropped_bytes: u64,
    pub whole_runs: u64,
    pub warnings: BTreeMap<String, u64>,
    pub complaint_count: u64,
}

impl Ledger {
    pub fn books(&self) -> MutexGuard<'_, Books> {
        self.0.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub fn complain(&self, complaint: String) {
        self.books().complain(complaint);
    }

    /// Reads reports from there until it ends.
    pub fn read_reports(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let ledger = self.clone();
        each_line(from, move |line| ledger.books().report(line))
    }

    /// Reads messages from there until it ends.
    pub fn read_messages(&self, from: impl Read + Send + 'static) -> JoinHandle<()> {
        let ledger = self.clone();
        each_line(from, move |line| {
            ledger.books().message(&String::from_utf8_lossy(line));
        })
    }
}

fn each_line(
    from: impl Read + Send + 'static,
    mut take: impl FnMut(&[u8]) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut from = BufReader::new(from);
        let mut line = Vec::new();
        while matches!(from.read_until(b'\n', &mut line), Ok(1..)) {
            take(line.strip_suffix(b"\n").unwrap_or(&line));
            line.clear();
        }
    })
}

impl Books {
    pub fn complain(&mut self, complaint: String) {
        self.complaint_count += 1;
        if self.complaint_count <= COMPLAINTS_MAX {
            crate::eprintln(&complaint);
        }
    }

    fn report(&mut self, line: &[u8]) {
        let Some(report) = Report::parse(line) else {
            let line = String::from_utf8_lossy(&line[..line.len().min(300)]).into_owned();
            return self.complain(format!("no report: {line:?}"));
        };
        if report.keys_in_order() != FIELDS {
            self.complain(format!("not the fields of a report: {report:?}"));
        }
        let bytes = report.data().len() as u64 + report.count("data_omitted");
        let name = report.name().to_owned();
        self.stderr_bytes += bytes;
        *self.reported.entry(name.clone()).or_default() += bytes;
        let Some(pid) = report.pid() else {
            self.failed_reports += 1;
            if report.error().starts_with(NO_PROCESS) {
                self.crowded_out += 1;
            } else if !matches!(cast::mode_of(&name), "missing" | "forbidden") && !report.stopping()
            {
                self.complain(format!("a start failed: {report:?}"));
            }
            return;
        };
        self.reports += 1;
        self.settle(name.clone(), pid, -1);
        if let Some(whole) = cast::bytes_of_run(&name, report.code()) {
            self.whole_runs += 1;
            if whole != bytes {
                self.complain(format!("{bytes} bytes of {whole}: {report:?}"));
            }
        }
        if report.code() == 99 && report.data().ends_with(NO_FORK) {
            self.crowded_out += 1;
        } else if report.code() == 99 {
            self.complain(format!("a probe could not do its part: {report:?}"));
        }
    }

    fn message(&mut self, line: &str) {
        let mut words = line.split_whitespace().skip(1);
        let (Some(name), Some(happening)) = (words.next(), words.next()) else {
            return self.complain(format!("not a message: {line:?}"));
        };
        let mut number = |key: &str| {
            let value = words.find_map(|word| word.strip_prefix(key))?;
            value.parse::<i64>().ok()
        };
        match happening {
            "started" if name != "procsched-min" => {
                let pid = number("pid=").unwrap_or(0) as i32;
                self.starts += 1;
                self.live.insert(name.to_owned(), pid);
                self.settle(name.to_owned(), pid, 1);
            }
            "exited" => _ = self.live.remove(name),
            // A line of the status is about a state of that name.
            "failed" if line.contains(" restarts=") => {}
            "failed" => self.failed_starts += 1,
            "dropped" => {
                let bytes = number("bytes=").unwrap_or(0) as u64;
                *self.dropped.entry(name.to_owned()).or_default() += bytes;
                self.dropped_bytes += bytes;
            }
            "warning" => self.warning(name, line),
            "abandoned" => self.complain(line.to_owned()),
            _ => {}
        }
    }

    /// Starts count up and reports down, whichever is read first.
    fn settle(&mut self, name: String, pid: i32, change: i64) {
        let key = (name, pid);
        let count = self.open.entry(key.clone()).or_default();
        *count += change;
        if *count == 0 {
            self.open.remove(&key);
        }
    }

    /// Counts warnings by their words, with names and numbers left out.
    fn warning(&mut self, name: &str, line: &str) {
        let said = line
            .split_once("warning")
            .map_or("", |(_, said)| said.trim());
        let said = said.replace(name, "NAME");
        let kind: String = said
            .chars()
            .map(|char| if char.is_ascii_digit() { '0' } else { char })
            .collect();
        let kind = kind.split("00").collect::<Vec<_>>().join("0");
        if self.warnings.len() < WARNINGS_MAX || self.warnings.contains_key(&kind) {
            *self.warnings.entry(kind).or_default() += 1;
        }
        if said.contains("reports that stdout did not take")
            || said.contains("lines that stderr did not take")
        {
            self.complain(line.to_owned());
        }
    }
}
