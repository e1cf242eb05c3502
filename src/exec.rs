//! A program made ready to be executed: everything that can be found out or can fail before the
//! fork is done here, once, when the scheduler is built.

mod base;
mod lookup;
mod obstacles;

use std::ffi::{CStr, CString, OsStr, OsString};
use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use crate::cstr_list::CStrList;
use crate::error::{Error, Result, errno_text};
use crate::lineage::{CHAIN_VARIABLE, PROGRAM_VARIABLE};
use crate::os::spawn::{Command, Failure, Place, Spawner, Started, Step};
use crate::report::CODE_UNKNOWN;
use crate::spec::{Attributes, ChildSpec, Outputs, User};
pub(crate) use base::BaseEnv;
use base::{c_string, variable};
use lookup::{directory_problem, file_problem, in_path, missing_interpreter};

/// Where a program without a slash is looked up when the environment has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/bin:/usr/bin";

/// The time of its watchdog in microseconds, for a program: sd_watchdog_enabled(3).
pub(crate) const WATCHDOG_VARIABLE: &str = "WATCHDOG_USEC";

/// The variables that come with a user.
const LOGIN_VARIABLES: [&str; 4] = ["HOME", "USER", "LOGNAME", "SHELL"];

/// What one start of a command has besides.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct More<'a> {
    /// One more argument.
    pub(crate) argument: Option<&'a CStr>,
    /// One more variable, instead of another of its name.
    pub(crate) variable: Option<&'a CStr>,
}

/// One command, ready. There may be ten thousand.
#[derive(Debug)]
pub(crate) struct Exec {
    base: Arc<BaseEnv>,
    /// The arguments; the variables added to the base environment, as `key=value`; and the
    /// working directory, if it is not the base directory.
    strings: CStrList,
    layout: Layout,
}

/// Where the parts of a command begin in its strings, in bytes.
#[derive(Debug, Clone, Copy)]
struct Layout {
    env: u32,
    directory: u32,
    /// The length of the directory that a relative program path was resolved against. It stands
    /// before the path as it was given.
    resolved: u32,
    /// True if a variable may replace one of the base environment.
    replaces: bool,
    /// Beside what else is small: there may be ten thousand of these.
    outputs: Outputs,
}

impl Exec {
    /// Checks a program and makes it ready. `base_dir` is absolute, and that of `base`.
    pub(crate) fn of_program(
        spec: &ChildSpec,
        base_dir: &Path,
        base: &Arc<BaseEnv>,
    ) -> Result<Self> {
        let is_reserved = |key: &OsStr| {
            let is_watched = spec.watchdog.is_some();
            key == PROGRAM_VARIABLE
                || key == CHAIN_VARIABLE
                || (is_watched && key == WATCHDOG_VARIABLE)
        };
        let own = spec.env.iter().filter(|(key, _)| !is_reserved(key));
        let mut env = own
            .map(|(key, value)| variable(key, value))
            .collect::<Result<Vec<_>>>()?;
        if let Some(watchdog) = spec.watchdog {
            let micros = watchdog.as_micros().to_string();
            env.push(variable(WATCHDOG_VARIABLE.as_ref(), micros.as_ref())?);
        }
        env.push(variable(PROGRAM_VARIABLE.as_ref(), spec.name.as_ref())?);
        let directory = spec.cwd.as_ref().map(|cwd| base_dir.join(cwd));
        let attributes = spec.attributes.as_ref();
        let user = attributes.and_then(|attributes| attributes.user.as_ref());
        for (key, value) in user.into_iter().flat_map(User::variables) {
            if spec.env.iter().all(|(own, _)| own != key) {
                env.push(variable(key.as_ref(), &value)?);
            }
        }
        let own = attributes.map(|attributes| base.with(attributes, base_dir));
        let own = own.transpose()?;
        let base = own.as_ref().unwrap_or(base);
        let mut exec = Self::new(&spec.command, &env, base_dir, directory, base)?;
        exec.layout.outputs = spec.outputs;
        Ok(exec)
    }

    /// Returns where its output goes.
    pub(crate) fn outputs(&self) -> Outputs {
        self.layout.outputs
    }

    /// Makes a command ready that gets the base environment and runs in `base_dir`.
    pub(crate) fn of_command(
        command: &[OsString],
        base_dir: &Path,
        base: &Arc<BaseEnv>,
    ) -> Result<Self> {
        if command.is_empty() {
            return Err(Error::new("the command is empty"));
        }
        Self::new(command, &[], base_dir, None, base)
    }

    /// Makes a command ready that stands in our place: it gets our whole environment, runs where
    /// we run, and its name is not resolved.
    pub(crate) fn in_our_place(command: &[OsString]) -> Result<Self> {
        Self::of_command(command, Path::new(""), &BaseEnv::our_own())
    }

    /// Makes another command ready that runs where and with what this one does. The watchdog is left
    /// out: it has no socket to answer it.
    pub(crate) fn beside(&self, command: &[OsString]) -> Result<Self> {
        let (env, end) = (self.layout.env, self.layout.directory);
        let is_watchdog = |variable: &CStr| {
            let rest = variable
                .to_bytes()
                .strip_prefix(WATCHDOG_VARIABLE.as_bytes());
            rest.is_some_and(|rest| rest.starts_with(b"="))
        };
        let env = self.strings.part(env..end);
        let env = env.filter(|variable| !is_watchdog(variable));
        let env: Vec<CString> = env.map(CStr::to_owned).collect();
        let directory = self.strings.part(end..u32::MAX).next();
        let directory = directory.map(|directory| path_of(directory).to_owned());
        Self::new(command, &env, self.base_dir(), directory, &self.base)
    }

    /// Returns the base directory, which is absolute.
    pub(crate) fn base_dir(&self) -> &Path {
        path_of(&self.base.directory)
    }

    fn new(
        command: &[OsString],
        env: &[CString],
        base_dir: &Path,
        directory: Option<PathBuf>,
        base: &Arc<BaseEnv>,
    ) -> Result<Self> {
        let mut resolved = 0;
        let mut arguments = Vec::with_capacity(command.len());
        for (index, argument) in command.iter().enumerate() {
            if index == 0 && argument.as_bytes().contains(&b'/') {
                let path = base_dir.join(argument);
                resolved = path.as_os_str().len() - argument.len();
                arguments.push(c_string(path.as_os_str())?);
            } else {
                arguments.push(c_string(argument)?);
            }
        }
        let directory = directory.map(|directory| c_string(directory.as_os_str()));
        let directory = directory.transpose()?;
        let bytes = |strings: &[CString]| -> usize {
            let each = strings
                .iter()
                .map(|string| string.as_bytes_with_nul().len());
            each.sum()
        };
        let end_of_arguments = bytes(&arguments);
        let end_of_env = end_of_arguments + bytes(env);
        let end = end_of_env + bytes(directory.as_slice());
        if u32::try_from(end).is_err() {
            return Err(Error::new("the command is longer than 4 GiB"));
        }
        Ok(Self {
            base: base.clone(),
            strings: arguments.iter().chain(env).chain(&directory).collect(),
            layout: Layout {
                env: end_of_arguments as u32,
                directory: end_of_env as u32,
                resolved: resolved as u32,
                replaces: env.len() > 1,
                outputs: Outputs::default(),
            },
        })
    }

    fn argv(&self) -> impl Iterator<Item = &CStr> {
        self.strings.part(0..self.layout.env)
    }

    /// Returns the program and its arguments as they were given.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut skipped = self.layout.resolved as usize;
        let as_given = |argument: &CStr| {
            let text = &argument.to_bytes()[std::mem::take(&mut skipped)..];
            OsStr::from_bytes(text).to_owned()
        };
        self.argv().map(as_given).collect()
    }

    /// Returns the keys of the config in which another definition of this program differs:
    /// `command`, `cwd`, `stdin`, those of its attributes, `env.NAME` for each variable, in their
    /// order, `stdout` and `stderr`. Paths are compared as they are resolved: the base directory may
    /// be another.
    pub(crate) fn differences(&self, new: &Self) -> Vec<String> {
        let mut keys = Vec::new();
        if !self.argv().eq(new.argv()) {
            keys.push("command".to_owned());
        }
        if self.directory() != new.directory() {
            keys.push("cwd".to_owned());
        }
        if self.stdin() != new.stdin() {
            keys.push("stdin".to_owned());
        }
        let none = Attributes::default();
        let attributes = self.attributes().map_or(&none, |all| all);
        let others = new.attributes().map_or(&none, |all| all);
        let attributes = attributes.differences(others);
        let is_same_user = !attributes.contains(&"user");
        keys.extend(attributes.into_iter().map(str::to_owned));
        let of_user = |name: &[u8]| LOGIN_VARIABLES.iter().any(|known| known.as_bytes() == name);
        let differing = self.differing_env(new).into_iter();
        let differing = differing.filter(|name| is_same_user || !of_user(name));
        keys.extend(differing.map(|name| format!("env.{}", String::from_utf8_lossy(name))));
        let (old, new) = (self.outputs(), new.outputs());
        let streams = [
            ("stdout", old.stdout != new.stdout),
            ("stderr", old.stderr != new.stderr),
        ];
        let differing = streams.iter().filter(|(_, differs)| *differs);
        keys.extend(differing.map(|(key, _)| (*key).to_owned()));
        keys
    }

    /// Returns the names of the command's own variables that differ, sorted.
    fn differing_env<'a>(&'a self, new: &'a Self) -> Vec<&'a [u8]> {
        // Nearly all of ten thousand programs have the same ones.
        if self.own_env().eq(new.own_env()) {
            return Vec::new();
        }
        let variables = self.own_env().chain(new.own_env());
        let mut names: Vec<&[u8]> = variables.map(key_of).collect();
        names.sort_unstable();
        names.dedup();
        names.retain(|name| self.variable(name) != new.variable(name));
        names
    }

    /// Returns the variables of the command's own.
    fn own_env(&self) -> impl Iterator<Item = &CStr> {
        self.strings.part(self.layout.env..self.layout.directory)
    }

    /// Returns a variable of the command's own, with its key.
    fn variable(&self, key: &[u8]) -> Option<&CStr> {
        self.own_env().filter(|own| key_of(own) == key).last()
    }

    /// Returns the base environment without what the command's own replaces, and then its own.
    fn env(&self) -> impl Iterator<Item = &CStr> {
        let own = || self.own_env();
        let is_replaced = move |base: &&CStr| {
            self.layout.replaces && own().any(|own| key_of(own) == key_of(base))
        };
        let base = self.base.env.iter().map(CString::as_c_str);
        base.filter(move |base| !is_replaced(base)).chain(own())
    }

    /// Returns the working directory.
    fn directory(&self) -> &CStr {
        let own = self.strings.part(self.layout.directory..u32::MAX).next();
        own.unwrap_or(&self.base.directory)
    }

    /// Returns what the program does not inherit from us.
    fn attributes(&self) -> Option<&Arc<Attributes>> {
        Some(&self.base.own.as_ref()?.attributes)
    }

    /// Returns the uid that the program gets, if that is set.
    pub(crate) fn uid(&self) -> Option<u32> {
        self.attributes()?.uid()
    }

    /// Returns the file that it reads as its stdin, if there is one.
    pub(crate) fn stdin(&self) -> Option<&CStr> {
        self.base.own.as_ref()?.stdin.as_deref()
    }

    /// Returns the `PATH` that the program gets.
    fn path(&self) -> &[u8] {
        let mut values = self
            .env()
            .filter_map(|variable| variable.to_bytes().strip_prefix(b"PATH="));
        values.next().unwrap_or(PATH_DEFAULT)
    }

    /// Returns the files to try, in order: one, or one for each directory of `PATH`. Made for
    /// each start: to keep them would take more memory than it saves time.
    fn candidates(&self) -> CStrList {
        let program = self.argv().next().unwrap_or_default();
        if program.is_empty() {
            // No file has an empty name: execvp(3).
            return CStrList::from_iter([c""; 0]);
        }
        if program.to_bytes().contains(&b'/') {
            return [program].into_iter().collect();
        }
        in_path(self.path(), program)
    }

    /// Starts it in this place, and waits for its exec for at most `wait`. `name` is that of the
    /// program; empty for a command that is not one. `more` is for this start alone.
    pub(crate) fn spawn_at(
        &self,
        name: &str,
        spawner: &mut Spawner,
        place: Place,
        more: More<'_>,
        wait: Duration,
    ) -> std::result::Result<Started, Failure> {
        let is_replaced = |own: &&CStr| more.variable.is_some_and(|new| key_of(new) == key_of(own));
        let lineage = self.base.lineage.as_ref();
        let chain = lineage.and_then(|lineage| lineage.variable_of(name));
        spawner.spawn(Command {
            candidates: self.candidates(),
            arguments: &|take| self.argv().chain(more.argument).for_each(take),
            // The first of all: a look at the environment of a process ends at some length.
            variables: &|take| {
                chain
                    .as_deref()
                    .into_iter()
                    .chain(more.variable)
                    .chain(self.env().filter(|own| !is_replaced(own)))
                    .for_each(take)
            },
            directory: self.directory(),
            attributes: self.attributes(),
            place,
            wait,
        })
    }

    /// Says why a start failed: the step, its object, and the system's word.
    pub(crate) fn explain(&self, failure: Failure) -> Error {
        let what = match failure.step {
            Step::Process => "failed to create a process".to_owned(),
            Step::Session => "failed to create a session".to_owned(),
            Step::Group => "failed to create a process group".to_owned(),
            Step::Limit => "failed to set the limit on descriptors".to_owned(),
            Step::Attribute => match self.attributes() {
                Some(attributes) => attributes.explain(failure.which),
                None => Attributes::default().explain(failure.which),
            },
            Step::Directory => {
                let directory = path_of(self.directory());
                format!("failed to change the directory to {directory:?}")
            }
            Step::Descriptors => "failed to set up stdin, stdout and stderr".to_owned(),
            Step::Passed => {
                let what = format!("failed to pass descriptor {}", failure.which);
                if failure.errno == libc::EBADF {
                    let reason = "RLIMIT_NOFILE has to be above it (ulimit -n, LimitNOFILE=)";
                    return Error::because(what, reason);
                }
                what
            }
            Step::Exec => return self.explain_exec(failure),
        };
        Error::os(what, failure.errno)
    }

    /// Returns the file that would be executed, or why none could be.
    pub(crate) fn locate(&self) -> Result<PathBuf> {
        let failed = |step, errno, which| self.explain(Failure { step, errno, which });
        let cwd = path_of(self.directory());
        if let Some(errno) = directory_problem(cwd) {
            return Err(failed(Step::Directory, errno, 0));
        }
        let mut denied = None;
        for (index, candidate) in self.candidates().iter().enumerate() {
            let path = cwd.join(path_of(candidate));
            match file_problem(&path) {
                None if missing_interpreter(cwd, &path).is_none() => return Ok(path),
                None => return Err(failed(Step::Exec, libc::ENOENT, index)),
                Some(libc::EACCES) => denied = denied.or(Some((libc::EACCES, index))),
                Some(_) => {}
            }
        }
        let (errno, index) = denied.unwrap_or((libc::ENOENT, 0));
        Err(failed(Step::Exec, errno, index))
    }

    /// Tells apart what one errno stands for: a missing program, a missing interpreter, and a
    /// `PATH` without the program.
    fn explain_exec(&self, failure: Failure) -> Error {
        let missing = failure.errno == libc::ENOENT || failure.errno == libc::ENOTDIR;
        let program = self.argv().next().unwrap_or_default();
        let looked_up = !program.to_bytes().contains(&b'/');
        let candidates = self.candidates();
        let path = path_of(candidates.get(failure.which).unwrap_or_default());
        let cwd = path_of(self.directory());
        if missing && let Some(interpreter) = missing_interpreter(cwd, path) {
            let errno = errno_text(failure.errno);
            let reason = format!("its interpreter {interpreter:?}: {errno}");
            return Error::because(format!("failed to execute {path:?}"), reason);
        }
        if missing && looked_up {
            let what = format!("failed to execute {:?}", path_of(program));
            return Error::not_in_path(what, self.path());
        }
        Error::os(format!("failed to execute {path:?}"), failure.errno)
    }
}

/// Returns the code that stands for a failed start in a report, as a shell would give it.
pub(crate) fn failed_start_code(failure: Failure) -> i32 {
    match failure.errno {
        _ if failure.step != Step::Exec => CODE_UNKNOWN,
        libc::ENOENT | libc::ENOTDIR => 127,
        _ => 126,
    }
}

/// Returns everything before the `=`.
fn key_of(variable: &CStr) -> &[u8] {
    variable
        .to_bytes()
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default()
}

fn path_of(text: &CStr) -> &Path {
    Path::new(OsStr::from_bytes(text.to_bytes()))
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
        let base = BaseEnv::of_programs(&base_dir, None)?;
        Exec::of_program(self, &base_dir, &base)?.locate()
    }
}

/// Returns `directory` as an absolute path, without touching the file system.
pub(crate) fn absolute(directory: &Path) -> Result<PathBuf> {
    std::path::absolute(directory)
        .map_err(|error| Error::io(format!("failed to make {directory:?} absolute"), &error))
}
