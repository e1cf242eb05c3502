//! A program made ready to be executed: everything that can be found out or can fail before
//! the fork is done here, once, when the scheduler is built.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::Read;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Result, errno_text};
use crate::os::limits::DescriptorLimit;
use crate::os::spawn::{Apart, Command, Failure, Place, Spawner, Step};
use crate::report::CODE_UNKNOWN;
use crate::spec::ChildSpec;

/// Where a program without a slash is looked up when the environment has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/bin:/usr/bin";

/// How much of a file is read to find its `#!` line.
const INTERPRETER_BYTES_MAX: u64 = 256;

/// The environment that every program begins with: ours, taken once, less what was meant for
/// the supervisor itself.
#[derive(Debug, Clone)]
pub(crate) struct BaseEnv(Arc<[CString]>);

impl BaseEnv {
    pub(crate) fn of_this_process() -> Self {
        let ours = std::env::vars_os().filter(|(key, _)| !is_meant_for_us(key));
        Self(
            ours.filter_map(|(key, value)| variable(&key, &value))
                .collect(),
        )
    }
}

/// The environment as it is.
fn whole_env() -> BaseEnv {
    BaseEnv(
        std::env::vars_os()
            .filter_map(|(key, value)| variable(&key, &value))
            .collect(),
    )
}

/// What systemd, or another supervisor of this kind, tells a service, and must not be believed
/// by the service's children.
fn is_meant_for_us(key: &OsStr) -> bool {
    let key = key.as_bytes();
    key == b"NOTIFY_SOCKET"
        || key == b"PROCSCHED_PROGRAM"
        || key.starts_with(b"LISTEN_")
        || key.starts_with(b"WATCHDOG_")
}

fn variable(key: &OsStr, value: &OsStr) -> Option<CString> {
    CString::new([key.as_bytes(), b"=", value.as_bytes()].concat()).ok()
}

/// One command, ready.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    argv: Vec<CString>,
    base_env: BaseEnv,
    /// What is set over the base, as `key=value`.
    own_env: Vec<CString>,
    cwd: CString,
    /// The files to try: one, or one for each directory of `PATH`.
    candidates: Vec<CString>,
}

impl Launch {
    /// Makes a program ready. `base_dir` is absolute.
    pub(crate) fn of_program(
        spec: &ChildSpec,
        base_dir: &Path,
        base_env: &BaseEnv,
    ) -> Result<Self> {
        let mut env = spec.env.clone();
        env.retain(|(key, _)| key != "PROCSCHED_PROGRAM");
        env.push(("PROCSCHED_PROGRAM".into(), spec.name.clone().into()));
        let cwd = spec
            .cwd
            .as_ref()
            .map_or_else(|| base_dir.to_owned(), |cwd| base_dir.join(cwd));
        Self::new(&spec.command, &env, base_dir, &cwd, base_env)
    }

    /// Makes a command ready that gets our environment and `base_dir`.
    pub(crate) fn of_command(
        command: &[OsString],
        base_dir: &Path,
        base_env: &BaseEnv,
    ) -> Result<Self> {
        Self::new(command, &[], base_dir, base_dir, base_env)
    }

    /// Makes a command ready that stands in our place: it gets our whole environment, runs
    /// where we run, and its name is not touched.
    pub(crate) fn in_our_place(command: &[OsString]) -> Result<Self> {
        let here = Path::new("");
        let mut launch = Self::new(command, &[], here, here, &whole_env())?;
        launch.cwd = c".".to_owned();
        if command.first().is_some_and(|program| program.is_empty()) {
            // As execvp(3) has it: no file is called that.
            launch.candidates.clear();
        }
        Ok(launch)
    }

    fn new(
        command: &[OsString],
        env: &[(OsString, OsString)],
        base_dir: &Path,
        cwd: &Path,
        base_env: &BaseEnv,
    ) -> Result<Self> {
        let nul = || Error::new("a command, path or variable has a NUL byte in it");
        let c_string = |text: &OsStr| CString::new(text.as_bytes()).map_err(|_| nul());
        let mut argv = command
            .iter()
            .map(|text| c_string(text))
            .collect::<Result<Vec<_>>>()?;
        let program = command
            .first()
            .ok_or_else(|| Error::new("the command is empty"))?;
        let own_env = env
            .iter()
            .map(|(key, value)| variable(key, value).ok_or_else(nul))
            .collect::<Result<_>>()?;
        let mut launch = Self {
            argv: Vec::new(),
            base_env: base_env.clone(),
            own_env,
            cwd: c_string(cwd.as_os_str())?,
            candidates: Vec::new(),
        };
        if program.as_bytes().contains(&b'/') {
            argv[0] = c_string(base_dir.join(program).as_os_str())?;
            launch.candidates = vec![argv[0].clone()];
        } else {
            launch.candidates = in_path(launch.path(), program);
        }
        launch.argv = argv;
        Ok(launch)
    }

    /// The same command with one more argument, for one run of it.
    pub(crate) fn spawn_with(
        &self,
        spawner: &mut Spawner,
        stdio: [BorrowedFd<'_>; 3],
        limit: Option<DescriptorLimit>,
        more: Option<&CStr>,
    ) -> std::result::Result<i32, Failure> {
        let apart = Apart {
            cwd: &self.cwd,
            stdio,
            limit,
        };
        self.spawn_at(spawner, Place::Apart(apart), more)
    }

    /// Starts it in this place.
    pub(crate) fn spawn_at(
        &self,
        spawner: &mut Spawner,
        place: Place<'_>,
        more: Option<&CStr>,
    ) -> std::result::Result<i32, Failure> {
        spawner.spawn(Command {
            candidates: self.candidates.iter().map(CString::as_c_str),
            argv: self.argv.iter().map(CString::as_c_str).chain(more),
            env: self.env(),
            place,
        })
    }

    /// Says why a start failed: what could not be done, on what, and the system's word.
    pub(crate) fn explain(&self, failure: Failure) -> Error {
        let what = match failure.step {
            Step::Process => "failed to create a process".to_owned(),
            Step::Session => "failed to create a session".to_owned(),
            Step::Group => "failed to create a process group".to_owned(),
            Step::Limit => "failed to set the limit on descriptors".to_owned(),
            Step::Directory => {
                format!("failed to change the directory to {:?}", path_of(&self.cwd))
            }
            Step::Descriptors => "failed to set up stdin, stdout and stderr".to_owned(),
            Step::Exec => return self.explain_exec(failure),
        };
        Error::os(what, failure.errno)
    }

    /// Where the program would be found, or why it could not be started.
    pub(crate) fn locate(&self) -> Result<PathBuf> {
        let failed = |step, errno, candidate| {
            self.explain(Failure {
                step,
                errno,
                candidate,
            })
        };
        let cwd = path_of(&self.cwd);
        if let Some(errno) = directory_problem(&cwd) {
            return Err(failed(Step::Directory, errno, 0));
        }
        let mut denied = None;
        for (index, candidate) in self.candidates.iter().enumerate() {
            let path = cwd.join(path_of(candidate));
            match file_problem(&path) {
                None if missing_interpreter(&cwd, &path).is_none() => return Ok(path),
                None => return Err(failed(Step::Exec, libc::ENOENT, index)),
                Some(libc::EACCES) => denied = denied.or(Some(index)),
                Some(_) => {}
            }
        }
        match denied {
            Some(index) => Err(failed(Step::Exec, libc::EACCES, index)),
            None => Err(failed(Step::Exec, libc::ENOENT, 0)),
        }
    }

    /// One errno stands for a missing program, a missing interpreter and a `PATH` without it;
    /// a look at the file tells them apart.
    fn explain_exec(&self, failure: Failure) -> Error {
        let missing = failure.errno == libc::ENOENT || failure.errno == libc::ENOTDIR;
        let looked_up = !self
            .argv
            .first()
            .is_some_and(|program| program.as_bytes().contains(&b'/'));
        let path = self
            .candidates
            .get(failure.candidate)
            .map(|path| path_of(path))
            .unwrap_or_default();
        let cwd = path_of(&self.cwd);
        if missing && let Some(interpreter) = missing_interpreter(&cwd, &path) {
            let reason = format!(
                "its interpreter {interpreter:?}: {}",
                errno_text(failure.errno)
            );
            return Error::because(format!("failed to execute {path:?}"), reason);
        }
        if missing && looked_up {
            let program = self
                .argv
                .first()
                .map(|program| path_of(program))
                .unwrap_or_default();
            let reason = format!("not found in PATH {:?}", OsStr::from_bytes(self.path()));
            return Error::because(format!("failed to execute {program:?}"), reason);
        }
        Error::os(format!("failed to execute {path:?}"), failure.errno)
    }

    /// Ours, less what the program's own replaces, and then the program's own.
    fn env(&self) -> impl Iterator<Item = &CStr> {
        let own = &self.own_env;
        let replaced = move |base: &CString| own.iter().any(|own| key_of(own) == key_of(base));
        let base = self.base_env.0.iter().filter(move |base| !replaced(base));
        base.chain(own).map(CString::as_c_str)
    }

    /// The `PATH` that the program will get.
    fn path(&self) -> &[u8] {
        let mut values = self
            .env()
            .filter_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
        values.next().unwrap_or(PATH_DEFAULT)
    }
}

/// The code that stands for a failed start in a report, as a shell would give it.
pub(crate) fn failed_start_code(failure: Failure) -> i32 {
    match (failure.step, failure.errno) {
        (Step::Exec, libc::ENOENT | libc::ENOTDIR) => 127,
        (Step::Exec, _) => 126,
        (
            Step::Process
            | Step::Session
            | Step::Group
            | Step::Limit
            | Step::Directory
            | Step::Descriptors,
            _,
        ) => CODE_UNKNOWN,
    }
}

/// With which errno chdir(2) would refuse this, if it would.
fn directory_problem(directory: &Path) -> Option<i32> {
    match std::fs::metadata(directory) {
        Ok(found) if found.is_dir() => access(directory, AccessFlags::X_OK).err().map(|e| e as i32),
        Ok(_) => Some(libc::ENOTDIR),
        Err(error) => Some(error.raw_os_error().unwrap_or(libc::ENOENT)),
    }
}

/// With which errno execve(2) would refuse this file, if it would.
fn file_problem(path: &Path) -> Option<i32> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_file() => access(path, AccessFlags::X_OK).err().map(|e| e as i32),
        Ok(_) => Some(libc::EACCES),
        Err(error) => Some(error.raw_os_error().unwrap_or(libc::ENOENT)),
    }
}

/// Everything before the `=`.
fn key_of(variable: &CString) -> &[u8] {
    variable
        .as_bytes()
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default()
}

/// The files that execvp(3) would try; an empty directory is the current one.
fn in_path(path: &[u8], program: &OsStr) -> Vec<CString> {
    let join = |directory: &[u8]| {
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        CString::new([directory, separator, program.as_bytes()].concat()).ok()
    };
    path.split(|&byte| byte == b':').filter_map(join).collect()
}

fn path_of(text: &CStr) -> PathBuf {
    OsString::from_vec(text.to_bytes().to_owned()).into()
}

/// The interpreter that this script names, if it names one that does not exist. Both may be
/// relative to where the program would run. Nothing that stands there can block.
fn missing_interpreter(cwd: &Path, script: &Path) -> Option<PathBuf> {
    let mut head = Vec::new();
    std::fs::OpenOptions::new()
        .read(true)
        .custom_flags(libc::O_NONBLOCK | libc::O_NOCTTY)
        .open(cwd.join(script))
        .ok()?
        .take(INTERPRETER_BYTES_MAX)
        .read_to_end(&mut head)
        .ok()?;
    let line = head
        .strip_prefix(b"#!")?
        .split(|&byte| byte == b'\n')
        .next()?
        .trim_ascii_start();
    // A carriage return at the end belongs to the name, and is the most common fault.
    let name = line.split(|&byte| byte == b' ' || byte == b'\t').next()?;
    let interpreter = PathBuf::from(OsStr::from_bytes(name));
    (!name.is_empty() && std::fs::metadata(cwd.join(&interpreter)).is_err()).then_some(interpreter)
}

impl ChildSpec {
    /// The file that would be executed: looked up as at a start, with the environment that the
    /// program would get if the scheduler were built now.
    ///
    /// # Errors
    ///
    /// Says why no file can be executed: not found, not executable, its interpreter missing, or
    /// the specification itself impossible.
    pub fn locate(&self, base_dir: &Path) -> Result<PathBuf> {
        self.check()?;
        let base_dir = absolute(base_dir)?;
        Launch::of_program(self, &base_dir, &BaseEnv::of_this_process())?.locate()
    }
}

/// `directory` as an absolute path, without touching the file system.
pub(crate) fn absolute(directory: &Path) -> Result<PathBuf> {
    std::path::absolute(directory)
        .map_err(|error| Error::io(format!("failed to make {directory:?} absolute"), &error))
}
