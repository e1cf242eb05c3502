//! The probe's path, and what a machine must have for a scenario.

use std::ffi::OsStr;
use std::io::Write;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::OnceLock;
use std::sync::atomic::{AtomicUsize, Ordering};

use super::second_run::{self, Ran};

/// What a scenario needs besides Linux.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Need {
    Root,
    /// `strace` that may trace, children of others too.
    Strace,
    /// Permission to trace who is no child of one's own.
    Attach,
    /// A mount namespace of one's own.
    Mounts,
    /// A PID namespace of one's own.
    Pids,
    /// A time namespace of one's own.
    Times,
    /// A program in `PATH` that answers to `--version`.
    Tool(&'static str),
}

/// Whether something is missing. Says so, whatever captures the test's output; where `CI` is
/// `true` it fails, since there everything is installed.
#[track_caller]
pub fn missing(needs: &[Need]) -> bool {
    let lacking: Vec<&Need> = needs.iter().filter(|need| !is_there(**need)).collect();
    if lacking.is_empty() {
        return false;
    }
    lacks(&format!("needs {lacking:?}"));
    true
}

/// Says that this test does not run for want of something, and fails in CI.
#[track_caller]
pub fn lacks(reason: &str) {
    skip(reason);
    assert!(!is_ci(), "nothing may be missing in CI: {reason}");
}

/// A test that is as good with a few of them in every run, and has all of them where
/// `PROCSCHED_MUSEUM` is `whole`. `tests/museum.md` says which tests do so.
pub fn whole(few: usize, all: usize) -> usize {
    let is_asked = std::env::var_os("PROCSCHED_MUSEUM").is_some_and(|value| value == "whole");
    if is_asked { all } else { few }
}

/// How many tests of this process have said that they do not run.
static SKIPPED: AtomicUsize = AtomicUsize::new(0);

/// At the end of the test process, where it cannot be overlooked.
extern "C" fn tell_skipped() {
    let count = SKIPPED.load(Ordering::Relaxed);
    let text = format!("skipped here, as said above: {count} times\n");
    let _ = std::io::stderr().write_all(text.as_bytes());
}

/// Says that this test does not run, and why, whatever captures its output.
#[track_caller]
pub fn skip(reason: &str) {
    let place = std::panic::Location::caller();
    let test = std::thread::current().name().unwrap_or("a test").to_owned();
    let _ = writeln!(std::io::stderr(), "{test} ({place}) skipped: {reason}");
    if SKIPPED.fetch_add(1, Ordering::Relaxed) == 0 {
        // SAFETY: the function takes nothing, and stays.
        unsafe { libc::atexit(tell_skipped) };
    }
    second_run::note(Ran::Not(reason.to_owned()));
}

/// Whether skipping is out of the question.
pub fn is_ci() -> bool {
    std::env::var_os("CI").is_some_and(|value| value == "true")
}

fn is_there(need: Need) -> bool {
    let works = |words: &[&str]| {
        let mut command = Command::new(words[0]);
        command.args(&words[1..]);
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        command.status().is_ok_and(|status| status.success())
    };
    match need {
        // SAFETY: no arguments, cannot fail.
        Need::Root => unsafe { libc::geteuid() == 0 },
        Need::Strace => {
            is_there(Need::Attach) && works(&["strace", "-f", "-o", "/dev/null", "true"])
        }
        Need::Attach => is_there(Need::Root) || is_tracing_open(),
        Need::Mounts => works(&["unshare", "-m", "true"]),
        Need::Times => works(&["unshare", "-Tf", "--monotonic", "1000", "true"]),
        Need::Pids => works(&["unshare", "-pf", "--mount-proc", "true"]),
        Need::Tool(tool) => works(&[tool, "--version"]),
    }
}

/// Whether everybody may trace what is their own (ptrace(2), "ptrace_scope").
fn is_tracing_open() -> bool {
    let scope = std::fs::read_to_string("/proc/sys/kernel/yama/ptrace_scope");
    scope.is_ok_and(|scope| scope.trim() == "0") || !Path::new("/proc/sys/kernel/yama").exists()
}

/// Where the probe is: as given, else it is built if that was not done, or if its source is newer.
pub fn probe_path() -> &'static Path {
    static PATH: OnceLock<PathBuf> = OnceLock::new();
    PATH.get_or_init(|| {
        if let Some(given) = second_run::given_probe() {
            return given;
        }
        let path = example("probe");
        if !is_fresh(&path) {
            build_example(&path);
        }
        assert!(path.exists(), "no probe at {path:?}, though it was built");
        path
    })
}

/// Where an example is that stands beside this test, whether it is there or not.
pub fn example(name: &str) -> PathBuf {
    let tests = std::env::current_exe().expect("a test knows its own path");
    let mut above = tests.ancestors();
    let profile = above.nth(2).expect("target/<profile>/deps/<test>");
    profile.join("examples").join(name)
}

fn is_fresh(probe: &Path) -> bool {
    let Ok(built) = probe.metadata().and_then(|metadata| metadata.modified()) else {
        return false;
    };
    let sources = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/probe");
    let Ok(sources) = std::fs::read_dir(sources) else {
        return true;
    };
    let mut times = sources.filter_map(|source| source.ok()?.metadata().ok()?.modified().ok());
    times.all(|changed| changed <= built)
}

/// `cargo test --test scenarios` builds no examples, so this does, where `example` says.
pub fn build_example(path: &Path) {
    let profile = path
        .ancestors()
        .nth(2)
        .expect("target/<profile>/examples/<name>");
    let name = |path: &Path| {
        path.file_name()
            .and_then(OsStr::to_str)
            .unwrap_or("")
            .to_owned()
    };
    let mut target = profile.parent().expect("target/<profile>");
    let mut cargo = Command::new(std::env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
    cargo.args(["build", "--quiet", "--example", &name(path), "--profile"]);
    cargo.arg(match &*name(profile) {
        "debug" => "dev".to_owned(),
        other => other.to_owned(),
    });
    // With `--target` there is one more directory.
    if name(target).contains("-linux-") {
        cargo.arg("--target").arg(name(target));
        target = target.parent().expect("target/<triple>/<profile>");
    }
    cargo
        .env("CARGO_TARGET_DIR", target)
        .current_dir(env!("CARGO_MANIFEST_DIR"));
    let status = cargo.status().expect("cargo can be run");
    assert!(status.success(), "an example cannot be built: {cargo:?}");
}
