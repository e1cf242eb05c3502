//! Levers that make races deterministic: gates, a tracer that injects errors and delays,
//! processes that are held on their way out.

use std::ffi::CString;
use std::fs::{File, OpenOptions};
use std::os::unix::ffi::OsStrExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use super::process::{self, alive, status_number};
use super::scene::{self, Scene};
use super::{namespace, probe, wait_for};

/// How long a tracer may take to let go in good order.
const DETACH_TIME_MAX: Duration = Duration::from_secs(2);

/// Many probes wait at it (`gate NAME`), and all of them pass at once.
pub struct Gate {
    path: PathBuf,
    open: Option<File>,
}

impl Gate {
    pub fn new(scene: &Scene, name: &str) -> Self {
        let path = scene.path(name);
        let text = CString::new(path.as_os_str().as_bytes()).expect("a path without NUL");
        // SAFETY: `text` is a NUL-terminated path.
        let made = unsafe { libc::mkfifo(text.as_ptr(), 0o600) };
        assert_eq!(made, 0, "mkfifo {path:?}");
        Self { path, open: None }
    }

    /// Lets everybody pass, now and later.
    pub fn open(&mut self) {
        let file = OpenOptions::new().read(true).write(true).open(&self.path);
        self.open = Some(file.expect("a gate can be opened"));
    }
}

/// A process that the test runs beside the supervisor, killed at the end.
pub struct Helper(Child);

impl Helper {
    pub fn start(command: &mut Command) -> Self {
        command.stdin(Stdio::null());
        Self(scene::spawn(command).expect("a helper can be started"))
    }

    /// A probe of the test's own, in the scene's directory.
    pub fn probe(scene: &Scene, script: &str) -> Self {
        let words = probe(script);
        let word = |index: usize| words[index].as_str().expect("probe and script").to_owned();
        let mut command = Command::new(word(0));
        Self::start(command.arg(word(1)).current_dir(scene.directory()))
    }

    pub fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).expect("a pid fits")
    }
}

impl Drop for Helper {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// A tracer at work on a running process, until it is dropped.
pub struct Tracer {
    strace: Child,
    output: PathBuf,
}

impl Tracer {
    /// Attaches `strace` with these arguments to one process.
    #[track_caller]
    pub fn attach(scene: &Scene, pid: i32, arguments: &[&str]) -> Self {
        let pid = namespace::outer(pid).expect("it runs");
        let output = scene.path(format!("strace.{pid}"));
        let mut command = Command::new("strace");
        command
            .arg("-o")
            .arg(&output)
            .args(arguments)
            .arg("-p")
            .arg(pid.to_string());
        command
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(Stdio::null());
        let strace = scene::spawn(&mut command).expect("strace can be started");
        let mut tracer = Self { strace, output };
        wait_for("strace to attach", || {
            let ended = tracer.strace.try_wait().expect("strace can be waited for");
            assert!(ended.is_none(), "strace {arguments:?} gave up: {ended:?}");
            status_number(pid, "TracerPid").is_some_and(|tracer| tracer != 0)
        });
        tracer
    }

    /// The lines so far.
    pub fn lines(&self) -> Vec<String> {
        let bytes = std::fs::read(&self.output).unwrap_or_default();
        String::from_utf8_lossy(&bytes)
            .lines()
            .map(str::to_owned)
            .collect()
    }

    /// How often something was injected.
    pub fn injected(&self) -> usize {
        self.lines()
            .iter()
            .filter(|line| line.ends_with("(INJECTED)"))
            .count()
    }

    /// Lets go of the process, which runs on.
    pub fn detach(mut self) -> Vec<String> {
        self.end();
        self.lines()
    }

    /// SIGTERM, so that it lets go in good order. It cannot while the process waits for a
    /// child that shares its memory and that is halted as well: then the kernel lets go.
    fn end(&mut self) {
        let pid = i32::try_from(self.strace.id()).expect("a pid fits");
        let asked = Instant::now();
        while matches!(self.strace.try_wait(), Ok(None)) {
            let in_order = asked.elapsed() < DETACH_TIME_MAX;
            process::signal(
                pid,
                if in_order {
                    libc::SIGTERM
                } else {
                    libc::SIGKILL
                },
            );
            std::thread::sleep(Duration::from_millis(2));
        }
    }
}

impl Drop for Tracer {
    fn drop(&mut self) {
        self.end();
    }
}

/// Makes a process one that cannot be waited for after its death, until this is dropped:
/// what uninterruptible sleep looks like from outside.
pub struct Hold {
    helper: Helper,
    held: i32,
}

impl Hold {
    #[track_caller]
    pub fn on(scene: &Scene, pid: i32) -> Self {
        Self::by(scene, "seize", pid)
    }

    /// Lets it become a zombie when it is killed, which cannot be reaped.
    #[track_caller]
    pub fn zombie_of(scene: &Scene, pid: i32) -> Self {
        Self::by(scene, "trace", pid)
    }

    #[track_caller]
    fn by(scene: &Scene, step: &str, pid: i32) -> Self {
        let outer = namespace::outer(pid).expect("it runs");
        let script = format!("{step} {outer} ; hold");
        let helper = Helper::probe(scene, &script);
        wait_for("a process to be seized", || {
            assert!(alive(helper.pid()), "{pid} cannot be traced");
            status_number(pid, "TracerPid") == u64::try_from(helper.pid()).ok()
        });
        Self { helper, held: pid }
    }

    /// Waits until it has died as far as it can: halted at its exit.
    #[track_caller]
    pub fn wait_dying(&self) {
        wait_for("a held process to die", || {
            process::stat(self.held).is_some_and(|stat| stat.state == 't')
        });
    }

    /// Lets it die.
    pub fn release(self) {
        drop(self.helper);
    }
}

/// Keeps the number of fork calls by which a process may be made, for `inject=`. Those that
/// a machine does not have are ignored.
pub const FORKS: &str = "?fork,?vfork,clone,clone3";
