//! A running supervisor: what it says, and how it ends.

use std::io::{BufRead, BufReader, Read};
use std::os::unix::process::ExitStatusExt;
use std::process::Child;
use std::sync::{Arc, Mutex, PoisonError};
use std::thread::JoinHandle;

use super::namespace::Namespace;
use super::process::{self, PATIENCE};
use super::report::Report;
use super::{second_run, wait_for, wait_until};

/// A supervisor that was started, or the program that wraps one.
pub struct Supervisor {
    child: Child,
    pid: i32,
    /// Where it is PID 1.
    namespace: Option<Namespace>,
    mark: String,
    code: Option<i32>,
    reports: Lines<Report>,
    /// Lines of stdout that are no reports.
    strangers: Lines<String>,
    messages: Lines<String>,
    readers: Vec<JoinHandle<()>>,
    /// Processes that may outlive the supervisor; they are killed in silence.
    spared: Vec<i32>,
    spares_all: bool,
}

type Lines<T> = Arc<Mutex<Vec<T>>>;

impl Supervisor {
    /// Takes over a process that a scene has started.
    pub fn adopt(mut child: Child, namespace: Option<Namespace>, mark: &str) -> Self {
        let (reports, strangers, messages) = (Lines::default(), Lines::default(), Lines::default());
        let mut readers = Vec::new();
        if let Some(stdout) = child.stdout.take() {
            let (reports, strangers) = (Arc::clone(&reports), Arc::clone(&strangers));
            readers.push(collect(stdout, move |line| match Report::parse(line) {
                Some(report) => lock(&reports).push(report),
                None => lock(&strangers).push(String::from_utf8_lossy(line).into_owned()),
            }));
        }
        if let Some(stderr) = child.stderr.take() {
            let messages = Arc::clone(&messages);
            readers.push(collect(stderr, move |line| {
                lock(&messages).push(String::from_utf8_lossy(line).into_owned());
            }));
        }
        Self {
            pid: i32::try_from(child.id()).expect("a pid fits"),
            child,
            namespace,
            mark: mark.to_owned(),
            code: None,
            reports,
            strangers,
            messages,
            readers,
            spared: Vec::new(),
            spares_all: false,
        }
    }

    /// The supervisor's process id.
    pub fn pid(&self) -> i32 {
        self.pid
    }

    /// The same as its programs see it.
    pub fn inner_pid(&self) -> i32 {
        match self.namespace {
            Some(_) => 1,
            None => self.pid,
        }
    }

    /// Where the command was a wrapper that forks: the one child of it that has become the
    /// supervisor. Some wrappers have others before.
    #[track_caller]
    pub fn look_behind_wrapper(&mut self) {
        let wrapper = self.pid;
        let binary = std::fs::canonicalize(second_run::binary()).expect("the binary is there");
        let is_it = |pid: &i32| {
            std::fs::read_link(format!("/proc/{pid}/exe")).is_ok_and(|target| target == binary)
        };
        self.pid = wait_until("the supervisor behind its wrapper", || {
            process::children(wrapper).into_iter().find(is_it)
        });
    }

    pub fn signal(&self, signal: i32) {
        assert!(self.code.is_none(), "the supervisor has ended");
        process::signal(self.pid, signal);
    }

    /// Lets `pid` outlive the supervisor.
    pub fn spare(&mut self, pid: i32) {
        self.spared.push(pid);
    }

    /// Lets whatever was started outlive the supervisor, until the end of the test.
    pub fn spare_all(&mut self) {
        self.spares_all = true;
    }

    pub fn reports(&self) -> Vec<Report> {
        lock(&self.reports).clone()
    }

    pub fn reports_of(&self, name: &str) -> Vec<Report> {
        lock(&self.reports)
            .iter()
            .filter(|report| report.name() == name)
            .cloned()
            .collect()
    }

    /// How many reports there are, without a copy of them.
    pub fn report_count(&self) -> usize {
        lock(&self.reports).len()
    }

    /// Waits for this many reports in all.
    #[track_caller]
    pub fn wait_reports(&self, count: usize) -> Vec<Report> {
        self.wait(&format!("{count} reports"), || self.report_count() >= count);
        self.reports()
    }

    /// Waits for this many reports of one program.
    #[track_caller]
    pub fn wait_reports_of(&self, name: &str, count: usize) -> Vec<Report> {
        let of_name = |report: &&Report| report.name() == name;
        let enough = || lock(&self.reports).iter().filter(of_name).count() >= count;
        self.wait(&format!("{count} reports of {name}"), enough);
        self.reports_of(name)
    }

    /// Waits for a program's report number `count`, counted from 1.
    #[track_caller]
    pub fn wait_report(&self, name: &str, count: usize) -> Report {
        self.wait_reports_of(name, count).swap_remove(count - 1)
    }

    /// Lines of stdout that are no reports.
    #[allow(dead_code)] // The scenarios have none.
    pub fn strangers(&self) -> Vec<String> {
        lock(&self.strangers).clone()
    }

    /// How it ended, if it has.
    #[allow(dead_code)] // The scenarios wait for it.
    pub fn code(&self) -> Option<i32> {
        self.code
    }

    /// What it wrote to stderr, line by line.
    pub fn messages(&self) -> Vec<String> {
        lock(&self.messages).clone()
    }

    /// The lines that have all of these in them.
    pub fn messages_with(&self, parts: &[&str]) -> Vec<String> {
        let wanted = |line: &&String| parts.iter().all(|part| line.contains(part));
        lock(&self.messages)
            .iter()
            .filter(wanted)
            .cloned()
            .collect()
    }

    /// Waits for a line that has all of these in it.
    #[track_caller]
    pub fn wait_message(&self, parts: &[&str]) -> String {
        self.wait(&format!("a line with {parts:?}"), || {
            !self.messages_with(parts).is_empty()
        });
        self.messages_with(parts).swap_remove(0)
    }

    /// The pids of a program's runs so far, from the lines `TIME NAME started pid=N`.
    pub fn started(&self, name: &str) -> Vec<i32> {
        let pid = |line: &String| {
            let words: Vec<&str> = line.split_whitespace().collect();
            match *words {
                [_, who, "started", pid] if who == name => pid.strip_prefix("pid=")?.parse().ok(),
                _ => None,
            }
        };
        lock(&self.messages).iter().filter_map(pid).collect()
    }

    /// Waits for a program's start number `count`, counted from 1, and returns its pid.
    #[track_caller]
    pub fn wait_started(&self, name: &str, count: usize) -> i32 {
        self.wait(&format!("start {count} of {name}"), || {
            self.started(name).len() >= count
        });
        self.started(name)[count - 1]
    }

    /// Whether it still runs.
    pub fn is_running(&mut self) -> bool {
        if self.code.is_none() {
            let status = self
                .child
                .try_wait()
                .expect("the supervisor can be waited for");
            self.code = status.map(|status| match status.code() {
                Some(code) => code,
                None => 128 + status.signal().expect("a code or a signal"),
            });
        }
        self.code.is_none()
    }

    /// Waits for its end and for the last of what it said. 128+n stands for a signal.
    #[track_caller]
    pub fn wait_exit(&mut self) -> i32 {
        let start = std::time::Instant::now();
        while self.is_running() {
            assert!(
                start.elapsed() < PATIENCE,
                "it does not end; {}",
                self.said()
            );
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        wait_for("the end of the outputs", || self.has_said_all());
        let strangers = lock(&self.strangers).clone();
        assert_eq!(strangers, [""; 0], "stdout has lines that are no reports");
        self.code.expect("it has ended")
    }

    /// Asks it to stop, and waits for that.
    #[track_caller]
    pub fn stop(&mut self) -> i32 {
        self.signal(libc::SIGTERM);
        self.wait_exit()
    }

    /// Stops it: all is well, and nothing is left.
    #[track_caller]
    pub fn end(mut self) -> Vec<Report> {
        assert_eq!(self.stop(), 0, "{}", self.said());
        self.reports()
    }

    /// Waits for its own end, with this code.
    #[track_caller]
    pub fn ends_with(mut self, code: i32) -> Vec<Report> {
        let ended = self.wait_exit();
        assert_eq!(ended, code, "{}", self.said());
        self.reports()
    }

    /// Whether nobody has its outputs open any more, and all that was said is here.
    pub fn has_said_all(&self) -> bool {
        self.readers.iter().all(JoinHandle::is_finished)
    }

    /// Processes of this scene, the supervisor itself left out.
    pub fn descendants(&self) -> Vec<i32> {
        let mut pids = process::marked(&self.mark);
        pids.retain(|&pid| pid != self.pid && pid != self.child.id() as i32);
        pids
    }

    /// All that it said, for a failure's message.
    pub fn said(&self) -> String {
        let reports = lock(&self.reports);
        let last: Vec<String> = reports
            .iter()
            .rev()
            .take(20)
            .rev()
            .map(|report| format!("{report:?}"))
            .collect();
        let messages = lock(&self.messages);
        let first = messages.len().saturating_sub(60);
        let (messages, last) = (messages[first..].join("\n"), last.join("\n"));
        format!(
            "code {:?}; it said:\n{messages}\nreports:\n{last}",
            self.code
        )
    }

    /// Waits, and shows what it said if that was in vain.
    #[track_caller]
    pub fn wait(&self, what: &str, mut holds: impl FnMut() -> bool) {
        let start = std::time::Instant::now();
        loop {
            // In this order: what a dead one said is all here before the condition is asked.
            let is_over = !process::alive(self.pid) && self.has_said_all();
            if holds() {
                return;
            }
            let in_vain = is_over || start.elapsed() > PATIENCE;
            assert!(!in_vain, "waited in vain: {what}; {}", self.said());
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
    }
}

impl Drop for Supervisor {
    /// Nothing outlives a test; what a passing test leaves behind fails it.
    fn drop(&mut self) {
        let was_running = self.is_running();
        let mut left = process::marked(&self.mark);
        left.retain(|pid| !self.spared.contains(pid));
        if was_running {
            process::signal(self.pid, libc::SIGCONT);
            process::signal(self.pid, libc::SIGKILL);
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        // A dying supervisor's children may still be starting others.
        while let marked @ [_, ..] = &*process::marked(&self.mark) {
            marked
                .iter()
                .for_each(|&pid| process::signal(pid, libc::SIGKILL));
            std::thread::sleep(std::time::Duration::from_millis(2));
        }
        if std::thread::panicking() {
            return;
        }
        assert!(
            !was_running,
            "the test has left its supervisor running; {}",
            self.said()
        );
        assert!(
            self.spares_all || left.is_empty(),
            "left behind: {left:?}; {}",
            self.said()
        );
    }
}

fn collect(
    source: impl Read + Send + 'static,
    mut line: impl FnMut(&[u8]) + Send + 'static,
) -> JoinHandle<()> {
    std::thread::spawn(move || {
        let mut source = BufReader::new(source);
        let mut bytes = Vec::new();
        while matches!(source.read_until(b'\n', &mut bytes), Ok(1..)) {
            line(bytes.strip_suffix(b"\n").unwrap_or(&bytes));
            bytes.clear();
        }
    })
}

fn lock<T>(lines: &Mutex<T>) -> std::sync::MutexGuard<'_, T> {
    lines.lock().unwrap_or_else(PoisonError::into_inner)
}
