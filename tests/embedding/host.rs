//! A process of its own for each test: it is this test binary once more, told by its
//! environment to run one test for real, on its first thread.

use std::cell::Cell;
use std::fs::{self, File};
use std::io::{Read, Seek, Write};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::{Duration, Instant};

use libtest_mimic::{Arguments, Trial};

use crate::{process, tools};

/// A test: its whole name, and its function, which calls [`host`] and does nothing else but
/// look whether the machine has what it needs.
pub type Test = (&'static str, fn());

/// Names the test that runs for real in this process.
const HOST: &str = "PROCSCHED_TEST_HOST";

/// By this everything is found that descends from one host.
const MARK: &str = "PROCSCHED_TEST_MARK";

/// The last word of a host that is well.
const END: &str = "the host has come to its end";

/// How long a host may take. Only a broken one needs it.
fn host_time_max() -> Duration {
    Duration::from_secs(tools::whole(240, 3600) as u64)
}

/// How long what a host has signalled may take to go.
const REMAINS_TIME_MAX: Duration = Duration::from_secs(10);

static HOSTS: AtomicU32 = AtomicU32::new(0);

thread_local! {
    /// The test that this thread runs.
    static CURRENT: Cell<&'static str> = const { Cell::new("") };
}

/// Runs all tests, or one of them for real.
pub fn main(tests: &[Test]) {
    let run = |(name, test): Test| {
        CURRENT.set(name);
        test();
    };
    let Ok(wanted) = std::env::var(HOST) else {
        let trial = |&(name, test): &Test| {
            let name_shown = name.trim_start_matches("embedding::");
            Trial::test(name_shown, move || {
                run((name, test));
                Ok(())
            })
        };
        let trials = tests.iter().map(trial).collect();
        libtest_mimic::run(&arguments(), trials).exit();
    };
    let test = tests.iter().find(|(name, _)| *name == wanted);
    run(*test.unwrap_or_else(|| panic!("there is no test {wanted}")));
}

/// Those of the command line, and the number of threads that the usual harness takes too.
fn arguments() -> Arguments {
    let mut arguments = Arguments::from_args();
    let threads = || std::env::var("RUST_TEST_THREADS").ok()?.parse().ok();
    arguments.test_threads = arguments.test_threads.or_else(threads);
    arguments
}

/// Runs `body` as the only thread in a process of its own, and fails if that fails, does not
/// come to its end, or leaves something running.
#[track_caller]
pub fn host(body: impl FnOnce()) {
    host_under(&[], body);
}

/// The same with a command in front of the process's own, as `strace` or `unshare` are.
#[track_caller]
pub fn host_under(prefix: &[&str], body: impl FnOnce()) {
    let name = CURRENT.get();
    if std::env::var_os(HOST).is_some() {
        body();
        writeln!(std::io::stdout(), "{END}").expect("a file for the output");
        return;
    }
    let number = HOSTS.fetch_add(1, Ordering::Relaxed);
    let mark = format!("host-{}-{number}-end", std::process::id());
    let mut output = tempfile::tempfile().expect("a file for the output");
    let mut child = start(name, prefix, &mark, &output);
    let status = wait(&mut child);
    let is_well = status.is_some_and(|status| status.success());
    let patience = if is_well {
        REMAINS_TIME_MAX
    } else {
        Duration::ZERO
    };
    let remains = remains_of(&format!("{MARK}={mark}"), patience);
    let mut said = Vec::new();
    output.rewind().expect("its output");
    output.read_to_end(&mut said).expect("its output");
    let said = String::from_utf8_lossy(&said);
    let Some(status) = status else {
        panic!(
            "the host did not end within {:?}; it said:\n{said}",
            host_time_max()
        );
    };
    assert!(status.success(), "the host failed ({status}):\n{said}");
    assert!(
        said.contains(END),
        "the host did not come to the end of {name:?}:\n{said}"
    );
    assert!(
        remains.is_empty(),
        "the host left something running: {remains:?}\n{said}"
    );
}

fn start(name: &str, prefix: &[&str], mark: &str, output: &File) -> Child {
    let own = std::env::current_exe().expect("a test knows its own path");
    let mut words: Vec<std::ffi::OsString> = prefix.iter().map(Into::into).collect();
    words.push(own.into());
    let copy = || output.try_clone().expect("a descriptor");
    Command::new(&words[0])
        .args(&words[1..])
        .env(HOST, name)
        .env(MARK, mark)
        .stdin(Stdio::null())
        .stdout(copy())
        .stderr(copy())
        .spawn()
        .unwrap_or_else(|error| panic!("{words:?}: {error}"))
}

/// Waits for its end; it is killed if that does not come.
fn wait(child: &mut Child) -> Option<ExitStatus> {
    let start = Instant::now();
    while start.elapsed() < host_time_max() {
        if let Some(status) = child.try_wait().expect("our child") {
            return Some(status);
        }
        std::thread::sleep(Duration::from_millis(5));
    }
    child.kill().expect("our child");
    child.wait().expect("our child");
    None
}

/// What still runs of a host, by name; it is killed, so that no test disturbs the next.
fn remains_of(mark: &str, patience: Duration) -> Vec<String> {
    let start = Instant::now();
    let mut left = process::marked(mark);
    while !left.is_empty() && start.elapsed() < patience {
        std::thread::sleep(Duration::from_millis(5));
        left = process::marked(mark);
    }
    let name = |pid: i32| {
        let words = fs::read(format!("/proc/{pid}/cmdline")).unwrap_or_default();
        process::signal(pid, libc::SIGKILL);
        format!(
            "{pid}: {}",
            String::from_utf8_lossy(&words).replace('\0', " ")
        )
    };
    left.into_iter().map(name).collect()
}
