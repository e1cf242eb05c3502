//! A host of the library that has children of its own, and says so (`Reap::Own`). It is this
//! executable once more, told so by its environment, and plays the scenario of `run` without
//! whoever leaves a group: nobody comes home to it.
//!
//! What the host itself does shall not fail: its own children are there before the first call
//! that counts, and what it says it says by writev(2), which nobody else here calls. Both its
//! children have a code that no program has, and that nobody else may take: one ends at once and
//! is a zombie until SIGUSR1, the other ends when everything has stopped.

use std::fs::File;
use std::io::{ErrorKind, IoSlice, Write};
use std::os::fd::{AsFd, OwnedFd};
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::sync::{Arc, Mutex, PoisonError};

use nix::sys::signal::{SigSet, Signal};
use nix::sys::wait::{WaitStatus, waitpid};
use nix::unistd::Pid;
use procsched::config::Config;
use procsched::{Event, EventKind, ProcessScheduler, Reap, Result};

use super::fault::Fault;
use super::judge::{Verdict, judge};
use super::losses::started;
use super::play::Record;
use crate::common::Scene;

/// Tells this executable that it is the host, and of which config.
pub const CONFIG: &str = "PROCSCHED_FAULTS_HOST";

/// What it blocks when it is ready. In a trace its first call that counts.
pub const BEGIN: &str = "rt_sigprocmask(SIG_BLOCK, [HUP USR1]";

/// How its own children end.
const EARLY_CODE: i32 = 42;
const LATE_CODE: i32 = 43;

/// How often it asks for a child of its own: strace may have lied about it once.
const WAITS_MAX: u32 = 3;

/// The command that it is started by.
pub fn command(scene: &Scene, wrapper: &[&str]) -> Command {
    scene.write("procsched.json", scene.config());
    let mut words: Vec<PathBuf> = wrapper.iter().map(PathBuf::from).collect();
    words.push(std::env::current_exe().expect("a test knows its own path"));
    let mut command = scene.marked(&words);
    command.env(CONFIG, scene.config_path());
    command
}

/// Supervises what the config says until SIGTERM; gives the code to exit with.
pub fn run(config: &Path) -> u8 {
    let config = Config::load(config).expect("a config");
    let voice = Voice::new();
    let (early, _) = own_child(&format!("exit {EARLY_CODE}"));
    let (late, gate) = own_child(&format!("read line; exit {LATE_CODE}"));
    let early = Early(Arc::new(Mutex::new(Some(early))));
    hold([Signal::SIGHUP, Signal::SIGUSR1]);
    let ended = match scheduler(config, &voice, &early) {
        Ok(mut scheduler) => {
            let ended = scheduler.start();
            // Its handler goes with the scheduler.
            hold([Signal::SIGTERM]);
            ended
        }
        Err(error) => {
            early.tell(&voice);
            voice.say(&format!("host: error: {error}"));
            return 1;
        }
    };
    if let Err(error) = &ended {
        voice.say(&format!("host host abandoned {error}"));
    }
    early.tell(&voice);
    write(&gate, "");
    voice.tell_child("late", late);
    u8::from(ended.is_err())
}

fn hold<const COUNT: usize>(signals: [Signal; COUNT]) {
    let held = signals.into_iter().collect::<SigSet>();
    held.thread_block().expect("a mask");
}

fn scheduler(config: Config, voice: &Voice, early: &Early) -> Result<ProcessScheduler> {
    let (for_reports, for_events, for_signals) = (voice.clone(), voice.clone(), voice.clone());
    let early = Early(Arc::clone(&early.0));
    config
        .into_builder()
        .reap(Reap::Own)
        .error_handler(move |_, report| for_reports.report(&report.to_json()))
        .on_event(move |event| {
            if let Some(line) = line(event) {
                for_events.say(&line);
            }
        })
        .on_signals([libc::SIGHUP, libc::SIGUSR1], move |signal, _| {
            if signal == libc::SIGUSR1 {
                early.tell(&for_signals);
                for_signals.say("host steady restarts=?");
            }
        })
        .stop_on_signals([libc::SIGTERM])
        .build()
}

/// Its number, and its stdin.
fn own_child(script: &str) -> (Pid, File) {
    let mut command = Command::new("sh");
    command.args(["-c", script]).stdin(Stdio::piped());
    // Waited for by its number, which is what may be taken from us.
    #[allow(clippy::zombie_processes)]
    let mut child = command.spawn().expect("a child of the host's own");
    let pid = i32::try_from(child.id()).expect("a pid");
    let stdin = child.stdin.take().expect("a pipe");
    (Pid::from_raw(pid), File::from(OwnedFd::from(stdin)))
}

/// Who ends at once, until it is waited for.
struct Early(Arc<Mutex<Option<Pid>>>);

impl Early {
    fn tell(&self, voice: &Voice) {
        let pid = self.0.lock().unwrap_or_else(PoisonError::into_inner).take();
        if let Some(pid) = pid {
            voice.tell_child("early", pid);
        }
    }
}

/// Its outputs.
#[derive(Clone)]
struct Voice(Arc<[File; 2]>);

impl Voice {
    fn new() -> Self {
        let stdout = std::io::stdout().as_fd().try_clone_to_owned();
        let stderr = std::io::stderr().as_fd().try_clone_to_owned();
        let outputs = [stdout, stderr].map(|output| File::from(output.expect("an output")));
        Self(Arc::new(outputs))
    }

    fn report(&self, line: &str) {
        write(&self.0[0], line);
    }

    fn say(&self, line: &str) {
        write(&self.0[1], line);
    }

    fn tell_child(&self, which: &str, pid: Pid) {
        let mut answer = waitpid(pid, None);
        for _ in 1..WAITS_MAX {
            if answer.is_ok() {
                break;
            }
            answer = waitpid(pid, None);
        }
        self.say(&match answer {
            Ok(WaitStatus::Exited(_, code)) => word(which, code),
            other => format!("host own {which} ended otherwise: {other:?}"),
        });
    }
}

fn word(which: &str, code: i32) -> String {
    format!("host own {which} ended with {code}")
}

/// A line, by writev(2). Who reads it may have gone.
fn write(mut to: &File, line: &str) {
    let text = format!("{line}\n");
    let mut rest = text.as_bytes();
    while !rest.is_empty() {
        match to.write_vectored(&[IoSlice::new(rest)]) {
            Ok(written) => rest = &rest[written..],
            Err(error) if error.kind() == ErrorKind::Interrupted => {}
            Err(_) => return,
        }
    }
}

/// What the judge reads, in the words of `run`.
fn line(event: &Event) -> Option<String> {
    let said = match event.kind() {
        EventKind::Started { pid, .. } => format!("started pid={pid}"),
        EventKind::Exited { pid, .. } => format!("exited pid={pid}"),
        EventKind::StartFailed { error, .. } => format!("failed {error}"),
        EventKind::BytesDropped { bytes, .. } => format!("dropped bytes={bytes}"),
        EventKind::Abandoned { pid, .. } => format!("abandoned pid={pid}"),
        EventKind::HandlerPanicked { message, .. } => format!("warning a panic: {message}"),
        EventKind::Warning { error, .. } => format!("warning {error}"),
        _ => return None,
    };
    let name = Some(event.program()).filter(|name| !name.is_empty());
    Some(format!("host {} {said}", name.unwrap_or("host")))
}

/// Judges a play as one of `run`; and the host's own children are the host's.
pub fn judge_host(fault: Option<&Fault>, record: &Record, usual: &Record) -> Verdict {
    let verdict = judge(fault, record, usual);
    let stolen = stolen(fault, record);
    match verdict {
        _ if stolen.is_empty() => verdict,
        Verdict::Failed(defects) => Verdict::Failed([defects, stolen].concat()),
        _ => Verdict::Failed(stolen),
    }
}

fn stolen(fault: Option<&Fault>, record: &Record) -> Vec<String> {
    // Who never gets a status from any wait has none.
    let is_helpless =
        fault.is_some_and(|fault| fault.for_ever && matches!(&*fault.call, "wait4" | "waitid"));
    // Before it has handlers a signal ends it, and nobody waits for anything.
    let ended = matches!(record.code, Some(0 | 1));
    if is_helpless || !ended {
        return Vec::new();
    }
    let late =
        (record.code == Some(0) || !started(record).is_empty()).then(|| word("late", LATE_CODE));
    let words = [Some(word("early", EARLY_CODE)), late];
    let is_missing = |word: &String| !record.messages.contains(word);
    let missing = words.into_iter().flatten().filter(is_missing);
    missing.map(|word| format!("not said: {word}")).collect()
}
