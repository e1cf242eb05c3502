//! A fresh directory, a config under construction, and the command that runs it.

use std::fs;
use std::io;
use std::os::unix::fs::PermissionsExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::RwLock;
use std::sync::atomic::{AtomicU32, Ordering};

use serde_json::{Map, Value, json};
use tempfile::TempDir;

use super::namespace::{self, Namespace};
use super::second_run::{self, Ran, binary};
use super::setting::Setting;
use super::supervisor::Supervisor;
use super::tools;

/// The environment variable by which everything that descends from a scene is found.
const MARK_VARIABLE: &str = "SCENE_MARK";

/// Executables are written with this locked and processes started with it shared: a process
/// between fork and exec would hold a file open for writing that is just being executed.
static FORKS: RwLock<()> = RwLock::new(());

static SCENES: AtomicU32 = AtomicU32::new(0);

/// A test's own place.
pub struct Scene {
    directory: TempDir,
    mark: String,
    settings: Vec<(String, Value)>,
    programs: Vec<(String, Value)>,
    /// How the supervisor is started.
    pub setting: Setting,
    /// Directories of others that it has to do with.
    others: Vec<PathBuf>,
}

/// The command line that runs the probe with this script.
pub fn probe(script: &str) -> Value {
    json!([tools::probe_path(), script])
}

/// Starts a command while no executable is being written.
pub fn spawn(command: &mut Command) -> io::Result<Child> {
    let _shared = FORKS
        .read()
        .unwrap_or_else(|poisoned| poisoned.into_inner());
    command.spawn()
}

impl Scene {
    /// An empty directory and a config that logs into its sub-directory `logs`.
    pub fn new() -> Self {
        let directory = tempfile::Builder::new().prefix("procsched-").tempdir();
        let number = SCENES.fetch_add(1, Ordering::Relaxed);
        Self {
            directory: directory.expect("a temporary directory"),
            mark: format!("{MARK_VARIABLE}=scene-{}-{number}-end", std::process::id()),
            settings: vec![("err_dir".to_owned(), json!("logs"))],
            programs: Vec::new(),
            setting: Setting::default(),
            others: Vec::new(),
        }
    }

    /// The directory, which is the programs' `base_dir` and so their working directory.
    pub fn directory(&self) -> &Path {
        self.directory.path()
    }

    pub fn path(&self, name: impl AsRef<Path>) -> PathBuf {
        self.directory.path().join(name)
    }

    pub fn mark(&self) -> &str {
        &self.mark
    }

    /// Sets a top-level key of the config.
    pub fn set(&mut self, key: &str, value: Value) -> &mut Self {
        self.settings.retain(|(known, _)| known != key);
        self.settings.push((key.to_owned(), value));
        self
    }

    /// Takes a top-level key out of the config.
    pub fn unset(&mut self, key: &str) -> &mut Self {
        self.settings.retain(|(known, _)| known != key);
        self
    }

    /// Takes a program out of the config.
    pub fn remove(&mut self, name: &str) -> &mut Self {
        self.programs.retain(|(known, _)| known != name);
        self
    }

    /// Adds a program: the probe with a script.
    pub fn add(&mut self, name: &str, script: &str) -> &mut Self {
        self.add_raw(name, probe(script))
    }

    /// Adds a program: the probe with a script, and further keys.
    pub fn add_with(&mut self, name: &str, script: &str, mut keys: Value) -> &mut Self {
        let object = keys.as_object_mut().expect("keys are an object");
        object.insert("command".to_owned(), probe(script));
        self.add_raw(name, keys)
    }

    /// Adds a program as the config has it.
    pub fn add_raw(&mut self, name: &str, program: Value) -> &mut Self {
        self.programs.push((name.to_owned(), program));
        self
    }

    /// The config's text; programs in the order in which they were added.
    pub fn config(&self) -> String {
        let entry = |(key, value): &(String, Value)| format!("{}: {value}", json!(key));
        let programs: Vec<String> = self.programs.iter().map(entry).collect();
        let mut entries: Vec<String> = self.settings.iter().map(entry).collect();
        entries.push(format!(
            "\"programs\": {{\n    {}\n  }}",
            programs.join(",\n    ")
        ));
        format!("{{\n  {}\n}}\n", entries.join(",\n  "))
    }

    /// Where the config is written to.
    pub fn config_path(&self) -> PathBuf {
        self.path("procsched.json")
    }

    /// Writes the config, and makes the command that runs it.
    pub fn command(&self) -> Command {
        self.wrapped(&[])
    }

    /// The same through another program that ends in executing its arguments.
    pub fn wrapped(&self, wrapper: &[&str]) -> Command {
        self.write("procsched.json", self.config());
        let mut words: Vec<PathBuf> = wrapper.iter().map(PathBuf::from).collect();
        words.extend([
            binary().to_owned(),
            PathBuf::from("run"),
            self.config_path(),
        ]);
        self.marked(&words)
    }

    /// A command whose descendants are this scene's, to be found and ended with it.
    pub fn marked(&self, words: &[PathBuf]) -> Command {
        let mut command = Command::new(&words[0]);
        let (variable, value) = self.mark.split_once('=').expect("a mark has a value");
        command
            .args(&words[1..])
            .env(variable, value)
            .current_dir("/");
        // SAFETY: one system call that takes a pointer to a live local; nothing is allocated.
        unsafe { command.pre_exec(no_core_dumps) };
        command
    }

    /// Starts the supervisor.
    #[track_caller]
    pub fn start(&self) -> Supervisor {
        self.launch(self.command())
    }

    /// Starts the supervisor by a command of [`Scene::command`] with a few changes.
    #[track_caller]
    pub fn launch(&self, mut command: Command) -> Supervisor {
        command.stdout(Stdio::piped()).stderr(Stdio::piped());
        self.launch_as_is(command)
    }

    /// The same; what the command does not pipe is not collected.
    #[track_caller]
    pub fn launch_as_is(&self, mut command: Command) -> Supervisor {
        command.stdin(Stdio::null());
        let started = self.spawn(command);
        let (child, namespace) = started.expect("the supervisor can be started");
        Supervisor::adopt(child, namespace, &self.mark)
    }

    /// Lets the supervisor see the directory of another scene, too.
    pub fn show(&mut self, other: &Scene) {
        self.others.push(other.directory().to_owned());
    }

    /// Starts the binary: as PID 1 where the scenario asks for that.
    #[track_caller]
    pub fn spawn(&self, mut command: Command) -> io::Result<(Child, Option<Namespace>)> {
        let is_pid1 = second_run::is_pid1();
        if !is_pid1 {
            second_run::note(Ran::OnHost);
            self.setting.apply(&mut command, false);
            return Ok((spawn(&mut command)?, None));
        }
        second_run::note(Ran::AsPid1);
        let program = Path::new(command.get_program());
        assert_eq!(program, binary(), "a wrapper needs the host: second_run.rs");
        let mut shown = vec![binary().to_owned(), tools::probe_path().to_owned()];
        shown.extend(["/dev/null".into(), self.directory().to_owned()]);
        shown.extend(self.others.iter().cloned());
        let inside = |command: &mut Command| self.setting.apply(command, true);
        let (child, namespace) = namespace::spawn(&mut command, &shown, inside)?;
        Ok((child, Some(namespace)))
    }

    /// Writes a file.
    pub fn write(&self, name: impl AsRef<Path>, content: impl AsRef<[u8]>) -> PathBuf {
        let path = self.path(name);
        fs::write(&path, content).expect("a file in the scene can be written");
        path
    }

    /// Writes a file that can be executed.
    pub fn write_executable(&self, name: &str, content: impl AsRef<[u8]>) -> PathBuf {
        let _locked = FORKS
            .write()
            .unwrap_or_else(|poisoned| poisoned.into_inner());
        let path = self.write(name, content);
        self.chmod(name, 0o755);
        path
    }

    /// Makes another executable of the probe.
    pub fn copy_probe(&self, name: &str) -> PathBuf {
        let probe = fs::read(tools::probe_path()).expect("the probe is there");
        self.write_executable(name, probe)
    }

    pub fn chmod(&self, name: &str, mode: u32) {
        let permissions = fs::Permissions::from_mode(mode);
        fs::set_permissions(self.path(name), permissions).expect("chmod in the scene");
    }

    pub fn mkdir(&self, name: &str) -> PathBuf {
        let path = self.path(name);
        fs::create_dir_all(&path).expect("mkdir in the scene");
        path
    }

    /// The path of a program's log.
    pub fn log_path(&self, name: &str) -> PathBuf {
        self.path("logs").join(format!("{name}.stderr.log"))
    }

    /// A program's log; empty if there is none.
    pub fn log(&self, name: &str) -> Vec<u8> {
        fs::read(self.log_path(name)).unwrap_or_default()
    }

    /// A file's content; empty if there is none.
    pub fn read(&self, name: impl AsRef<Path>) -> String {
        fs::read_to_string(self.path(name)).unwrap_or_default()
    }

    /// A file's lines.
    pub fn lines(&self, name: &str) -> Vec<String> {
        self.read(name).lines().map(str::to_owned).collect()
    }

    /// Waits until there is a file of this name.
    #[track_caller]
    pub fn wait_file(&self, name: &str) {
        super::wait_for(name, || self.path(name).exists());
    }

    /// Waits until a file has at least this many lines, and returns them.
    #[track_caller]
    pub fn wait_lines(&self, name: &str, count: usize) -> Vec<String> {
        super::wait_until(&format!("{count} lines in {name}"), || {
            let lines = self.lines(name);
            (lines.len() >= count).then_some(lines)
        })
    }

    /// Waits until a probe has written its pid to this file.
    #[track_caller]
    pub fn wait_pid(&self, name: &str) -> i32 {
        super::wait_until(name, || self.read(name).trim().parse().ok())
    }

    /// Waits for what a probe's `dump` wrote.
    #[track_caller]
    pub fn wait_dump(&self, name: &str) -> Map<String, Value> {
        self.wait_file(name);
        serde_json::from_str(&self.read(name)).expect("a dump is JSON")
    }
}

/// No core dumps unless a test wants them.
fn no_core_dumps() -> io::Result<()> {
    let mut limits = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: `limits` is live, and initialised by the first call.
    unsafe {
        libc::getrlimit(libc::RLIMIT_CORE, &mut limits);
        limits.rlim_cur = 0;
        libc::setrlimit(libc::RLIMIT_CORE, &limits);
    }
    Ok(())
}
