//! A program made ready to be executed: everything that can be found out or can fail before
//! the fork is done here, once, when the scheduler is built.

use std::ffi::{CStr, CString, OsStr, OsString};
use std::io::Read;
use std::ops::Range;
use std::os::fd::BorrowedFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use nix::unistd::{AccessFlags, access};

use crate::error::{Error, Result, errno_text};
use crate::lineage::{CHAIN_VARIABLE, Lineage, PROGRAM_VARIABLE};
use crate::os::limits::DescriptorLimit;
use crate::os::spawn::{Apart, Command, Failure, Place, Spawner, Step};
use crate::report::CODE_UNKNOWN;
use crate::spec::ChildSpec;
use crate::words::{Text, Words};

/// Where a program without a slash is looked up when the environment has no `PATH`.
const PATH_DEFAULT: &[u8] = b"/bin:/usr/bin";

/// How much of a file is read to find its `#!` line.
const INTERPRETER_BYTES_MAX: u64 = 256;

/// What the commands of one supervisor have in common.
#[derive(Debug)]
pub(crate) struct Ground {
    /// Where a command runs unless it is told otherwise; absolute, or `.`.
    directory: CString,
    /// The environment that every command begins with.
    env: Vec<CString>,
    /// Set if what a program leaves behind is to be known by its environment.
    lineage: Option<Arc<Lineage>>,
}

impl Ground {
    /// For programs: our environment, taken once, less what was meant for the supervisor
    /// itself. `base_dir` is absolute.
    pub(crate) fn of_programs(base_dir: &Path, lineage: Option<Arc<Lineage>>) -> Result<Arc<Self>> {
        let is_set_anew = |key: &OsStr| lineage.is_some() && key == CHAIN_VARIABLE;
        let ours = std::env::vars_os();
        let ours = ours.filter(|(key, _)| !is_meant_for_us(key) && !is_set_anew(key));
        Ok(Arc::new(Self {
            directory: c_string(base_dir.as_os_str())?,
            env: variables(ours),
            lineage,
        }))
    }

    /// For a command that stands in our place.
    fn our_own() -> Arc<Self> {
        Arc::new(Self {
            directory: c".".to_owned(),
            env: variables(std::env::vars_os()),
            lineage: None,
        })
    }
}

/// What systemd, or another supervisor of this kind, tells a service, and must not be believed
/// by the service's children.
fn is_meant_for_us(key: &OsStr) -> bool {
    let key = key.as_bytes();
    key == b"NOTIFY_SOCKET"
        || key == PROGRAM_VARIABLE.as_bytes()
        || key.starts_with(b"LISTEN_")
        || key.starts_with(b"WATCHDOG_")
}

fn variables(all: impl Iterator<Item = (OsString, OsString)>) -> Vec<CString> {
    all.filter_map(|(key, value)| variable(&key, &value).ok())
        .collect()
}

fn variable(key: &OsStr, value: &OsStr) -> Result<CString> {
    let text = [key.as_bytes(), b"=", value.as_bytes()].concat();
    c_string(OsStr::from_bytes(&text))
}

/// A number of bytes, which may not be 4 GiB or more.
fn place(bytes: usize) -> Result<u32> {
    u32::try_from(bytes).map_err(|_| Error::new("the commands are longer than 4 GiB"))
}

fn c_string(text: &OsStr) -> Result<CString> {
    let nul = |_| Error::new("a command, path or variable has a NUL byte in it");
    CString::new(text.as_bytes()).map_err(nul)
}

/// One command, ready. There may be ten thousand.
#[derive(Debug, Clone)]
pub(crate) struct Launch {
    ground: Arc<Ground>,
    /// The arguments; what is set over the ground's environment, as `key=value`; and the
    /// directory, if it is not the ground's.
    words: Words,
    shape: Shape,
}

/// Where in its words the parts of a command begin, in bytes.
#[derive(Debug, Clone, Copy)]
struct Shape {
    variables: u32,
    directory: u32,
    /// The name, which is the value of the last variable.
    name: u32,
    /// How much stands in the first argument before what was given: the directory that a
    /// relative path was resolved against.
    resolved: u32,
    /// Whether it sets a variable that the ground may have, too.
    replaces: bool,
}

/// A command whose words stand in a text that others are still added to.
pub(crate) struct Draft {
    range: Range<usize>,
    shape: Shape,
}

impl Draft {
    /// Checks a program and writes its words down. `base_dir` is absolute, and the ground's
    /// directory.
    pub(crate) fn of_program(spec: &ChildSpec, base_dir: &Path, text: &mut Text) -> Result<Self> {
        let is_reserved = |key: &OsStr| key == PROGRAM_VARIABLE || key == CHAIN_VARIABLE;
        let own = spec.env.iter().filter(|(key, _)| !is_reserved(key));
        let mut env = own
            .map(|(key, value)| variable(key, value))
            .collect::<Result<Vec<_>>>()?;
        // The last of all, which is where its name is found again.
        env.push(variable(PROGRAM_VARIABLE.as_ref(), spec.name.as_ref())?);
        let directory = spec.cwd.as_ref().map(|cwd| base_dir.join(cwd));
        let mut draft = Self::new(&spec.command, &env, base_dir, directory, text)?;
        draft.shape.name = draft.shape.directory - place(spec.name.len() + 1)?;
        Ok(draft)
    }

    fn new(
        command: &[OsString],
        env: &[CString],
        base_dir: &Path,
        directory: Option<PathBuf>,
        text: &mut Text,
    ) -> Result<Self> {
        let start = text.end();
        let mut resolved = 0;
        for (index, word) in command.iter().enumerate() {
            if index == 0 && word.as_bytes().contains(&b'/') {
                let path = base_dir.join(word);
                resolved = path.as_os_str().len() - word.len();
                text.push(&c_string(path.as_os_str())?);
            } else {
                text.push(&c_string(word)?);
            }
        }
        let variables = text.end() - start;
        env.iter().for_each(|variable| text.push(variable));
        let end_of_variables = place(text.end() - start)?;
        if let Some(directory) = &directory {
            text.push(&c_string(directory.as_os_str())?);
        }
        // All of the text, and so this part of it, has places of 32 bits.
        place(text.end())?;
        Ok(Self {
            range: start..text.end(),
            shape: Shape {
                variables: place(variables)?,
                directory: end_of_variables,
                name: end_of_variables,
                resolved: place(resolved)?,
                replaces: env.len() > 1,
            },
        })
    }

    /// The command, now that the text is complete.
    pub(crate) fn finish(&self, text: &Arc<[u8]>, ground: &Arc<Ground>) -> Launch {
        Launch {
            ground: ground.clone(),
            words: Words::of(text, &self.range),
            shape: self.shape,
        }
    }
}

impl Launch {
    /// Makes a program ready. `base_dir` is absolute, and the ground's directory.
    fn of_program(spec: &ChildSpec, base_dir: &Path, ground: &Arc<Ground>) -> Result<Self> {
        let mut text = Text::default();
        let draft = Draft::of_program(spec, base_dir, &mut text)?;
        Ok(draft.finish(&text.finish(), ground))
    }

    /// Makes a command ready that gets our environment and `base_dir`.
    pub(crate) fn of_command(
        command: &[OsString],
        base_dir: &Path,
        ground: &Arc<Ground>,
    ) -> Result<Self> {
        if command.is_empty() {
            return Err(Error::new("the command is empty"));
        }
        let mut text = Text::default();
        let draft = Draft::new(command, &[], base_dir, None, &mut text)?;
        Ok(draft.finish(&text.finish(), ground))
    }

    /// Makes a command ready that stands in our place: it gets our whole environment, runs
    /// where we run, and its name is not touched.
    pub(crate) fn in_our_place(command: &[OsString]) -> Result<Self> {
        Self::of_command(command, Path::new(""), &Ground::our_own())
    }

    fn argv(&self) -> impl Iterator<Item = &CStr> {
        self.words.part(0..self.shape.variables)
    }

    /// The program and its arguments as they were given.
    pub(crate) fn command(&self) -> Vec<OsString> {
        let mut command: Vec<OsString> = self.argv().map(os_string).collect();
        if let Some(program) = command.first_mut() {
            *program = os_string_of(&program.as_bytes()[self.shape.resolved as usize..]);
        }
        command
    }

    /// What is set over the ground's environment.
    fn own_env(&self) -> impl Iterator<Item = &CStr> {
        self.words.part(self.shape.variables..self.shape.directory)
    }

    /// The name of the program; empty for a command that is none.
    pub(crate) fn name(&self) -> &str {
        let name = self
            .words
            .part(self.shape.name..self.shape.directory)
            .next();
        name.and_then(|name| name.to_str().ok()).unwrap_or_default()
    }

    /// Where it runs.
    fn directory(&self) -> &CStr {
        let own = self.words.part(self.shape.directory..u32::MAX).next();
        own.unwrap_or(&self.ground.directory)
    }

    /// The files to try, in order: one, or one for each directory of `PATH`. Put together for
    /// each start, as to remember them would cost more than that.
    fn candidates(&self) -> Words {
        let program = self.argv().next().unwrap_or_default();
        if program.is_empty() {
            // As execvp(3) has it: no file is called that.
            return Words::from_iter([c""; 0]);
        }
        if program.to_bytes().contains(&b'/') {
            return [program].into_iter().collect();
        }
        in_path(self.path(), program)
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
            cwd: self.directory(),
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
        let candidates = self.candidates();
        // The first of all, since a look at the environment of a process ends at some length.
        let lineage = self.ground.lineage.as_ref();
        let chain = lineage.and_then(|lineage| lineage.variable_of(self.name()));
        spawner.spawn(Command {
            candidates: candidates.iter(),
            argv: self.argv().chain(more),
            env: chain.as_deref().into_iter().chain(self.env()),
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
                format!(
                    "failed to change the directory to {:?}",
                    path_of(self.directory())
                )
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
        let cwd = path_of(self.directory());
        if let Some(errno) = directory_problem(&cwd) {
            return Err(failed(Step::Directory, errno, 0));
        }
        let mut denied = None;
        for (index, candidate) in self.candidates().iter().enumerate() {
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
        let program = self.argv().next().unwrap_or_default();
        let looked_up = !program.to_bytes().contains(&b'/');
        let candidates = self.candidates();
        let path = path_of(candidates.get(failure.candidate).unwrap_or_default());
        let cwd = path_of(self.directory());
        if missing && let Some(interpreter) = missing_interpreter(&cwd, &path) {
            let reason = format!(
                "its interpreter {interpreter:?}: {}",
                errno_text(failure.errno)
            );
            return Error::because(format!("failed to execute {path:?}"), reason);
        }
        if missing && looked_up {
            let program = path_of(program);
            let reason = format!("not found in PATH {:?}", OsStr::from_bytes(self.path()));
            return Error::because(format!("failed to execute {program:?}"), reason);
        }
        Error::os(format!("failed to execute {path:?}"), failure.errno)
    }

    /// The ground's, less what the command's own replaces, and then the command's own.
    fn env(&self) -> impl Iterator<Item = &CStr> {
        let is_replaced = |base: &&CStr| {
            self.shape.replaces && self.own_env().any(|own| key_of(own) == key_of(base))
        };
        let base = self.ground.env.iter().map(CString::as_c_str);
        base.filter(move |base| !is_replaced(base))
            .chain(self.own_env())
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
fn key_of(variable: &CStr) -> &[u8] {
    variable
        .to_bytes()
        .split(|&byte| byte == b'=')
        .next()
        .unwrap_or_default()
}

/// The files that execvp(3) would try; an empty directory is the current one.
fn in_path(path: &[u8], program: &CStr) -> Words {
    let join = |directory: &[u8]| {
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        CString::new([directory, separator, program.to_bytes()].concat()).ok()
    };
    path.split(|&byte| byte == b':').filter_map(join).collect()
}

fn path_of(text: &CStr) -> PathBuf {
    os_string(text).into()
}

fn os_string(text: &CStr) -> OsString {
    os_string_of(text.to_bytes())
}

fn os_string_of(text: &[u8]) -> OsString {
    OsStr::from_bytes(text).to_owned()
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
        let ground = Ground::of_programs(&base_dir, None)?;
        Launch::of_program(self, &base_dir, &ground)?.locate()
    }
}

/// `directory` as an absolute path, without touching the file system.
pub(crate) fn absolute(directory: &Path) -> Result<PathBuf> {
    std::path::absolute(directory)
        .map_err(|error| Error::io(format!("failed to make {directory:?} absolute"), &error))
}
