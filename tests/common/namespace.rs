//! The second way to run a scenario: the supervisor is PID 1 of a PID namespace of its own,
//! in a root with nothing in it but what the scenario needs.
//!
//! The root is a read-only tmpfs: the binary, the probe, `/dev/null` and the scene's directory
//! are mounted into it under the paths that they have outside, so that what a config or a
//! report says is true on both sides. There is no `/proc`, no shell, no library. A thread of the
//! test builds it in a mount namespace of its own; the process that it starts moves in between
//! fork and exec, and so stays the test's own child, with its exit status and its signals.
//!
//! Numbers: inside, a process has another one than outside, and tests learn the inner ones from
//! the supervisor and from probes. So each namespace counts from a number of its own, far
//! from those of the host: a number alone tells where it belongs, and [`seen`] tells in which
//! instance of proc(5) to look for it. That instance is kept open by the test alone.

use std::ffi::{CStr, CString};
use std::fs::{self, File};
use std::io;
use std::os::fd::AsRawFd;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::{Child, Command};
use std::sync::{PoisonError, RwLock};

use nix::mount::{MntFlags, MsFlags, mount, umount2};
use nix::sched::{CloneFlags, unshare};
use nix::sys::stat::{Mode, SFlag, mknod};
use nix::unistd::{chdir, pivot_root};

use super::scene;

/// How many numbers a namespace may use: more than any scenario has processes.
const NUMBERS_EACH: i32 = 30_000;

/// How many namespaces a test process may have at a time.
const NAMESPACES_MAX: usize = 60;

/// The namespaces that are in use: the index says which numbers are theirs.
static LIVE: RwLock<[Option<Place>; NAMESPACES_MAX]> =
    RwLock::new([const { None }; NAMESPACES_MAX]);

/// Where the processes of a namespace are seen from outside.
struct Place {
    /// The number of its PID 1 outside; 0 until that is known.
    init: i32,
    /// Its instance of proc(5).
    proc: Option<File>,
}

/// A namespace whose PID 1 was started by a test. Its numbers are free again when this goes.
pub struct Namespace {
    index: usize,
}

impl Drop for Namespace {
    fn drop(&mut self) {
        LIVE.write().unwrap_or_else(PoisonError::into_inner)[self.index] = None;
    }
}

/// The lowest number that namespaces use: in the half of all numbers in which the host is not.
fn base() -> i32 {
    let load = fs::read_to_string("/proc/loadavg").unwrap_or_default();
    let latest = load.split_whitespace().last();
    let latest: i32 = latest.and_then(|word| word.parse().ok()).unwrap_or(0);
    if latest < 2_000_000 {
        2_200_000
    } else {
        200_000
    }
}

/// The first number of a namespace's processes but PID 1. The base is asked for once, as
/// numbers must not change their meaning.
fn first_number(index: usize) -> i32 {
    static BASE: std::sync::OnceLock<i32> = std::sync::OnceLock::new();
    BASE.get_or_init(base) + index as i32 * NUMBERS_EACH
}

/// The namespace that this number belongs to: its proc(5), its PID 1 outside, the number inside.
fn find(pid: i32) -> Option<(PathBuf, i32, i32)> {
    let live = LIVE.read().unwrap_or_else(PoisonError::into_inner);
    live.iter().enumerate().find_map(|(index, place)| {
        let Place { init, proc } = place.as_ref()?;
        let proc = format!("/proc/self/fd/{}", proc.as_ref()?.as_raw_fd());
        let numbers = first_number(index)..first_number(index) + NUMBERS_EACH;
        match pid == *init {
            true => Some((proc.into(), *init, 1)),
            false => numbers.contains(&pid).then(|| (proc.into(), *init, pid)),
        }
    })
}

/// An instance of proc(5) in which a process is to be seen, and its number there.
pub fn seen(pid: i32) -> (PathBuf, i32) {
    match find(pid) {
        Some((proc, _, inner)) => (proc, inner),
        None => ("/proc".into(), pid),
    }
}

/// The number that a process has for the test itself; `None` if it is gone.
pub fn outer(pid: i32) -> Option<i32> {
    let Some((_, init, inner)) = find(pid) else {
        return Some(pid);
    };
    if inner == 1 {
        return Some(init);
    }
    let namespace = |number: i32| fs::read_link(format!("/proc/{number}/ns/pid")).ok();
    let home = namespace(init);
    super::process::all("/proc").into_iter().find(|&number| {
        let status = fs::read_to_string(format!("/proc/{number}/status")).unwrap_or_default();
        let numbers = status.lines().find_map(|line| line.strip_prefix("NSpid:"));
        let last = numbers.and_then(|numbers| numbers.split_whitespace().last());
        last == Some(&inner.to_string()) && namespace(number) == home
    })
}

/// What a process needs to move into its root; made before the fork.
struct Plan {
    root: CString,
    proc: CString,
    last_pid: CString,
    number: CString,
    directory: CString,
}

/// Starts `command` as PID 1 of a new namespace, in a root with these files and directories.
/// `inside` may add what is to be done after the move.
pub fn spawn(
    command: &mut Command,
    shown: &[PathBuf],
    inside: impl FnOnce(&mut Command) + Send,
) -> io::Result<(Child, Namespace)> {
    let namespace = claim();
    let index = namespace.index;
    // Made and removed outside, where nothing is mounted on it.
    let stage = tempfile::Builder::new().prefix("stage-").tempdir()?;
    let started = std::thread::scope(|scope| {
        // A thread, since both namespaces change for who asks, and for nobody else.
        let starter = scope.spawn(|| {
            let proc = prepare(command, stage.path(), shown, index)?;
            inside(command);
            let child = scene::spawn(command)?;
            Ok::<_, io::Error>((child, File::open(&proc)?))
        });
        starter.join().expect("the starting thread does not panic")
    });
    let (child, proc) = started?;
    let place = Place {
        init: i32::try_from(child.id()).expect("a pid fits"),
        proc: Some(proc),
    };
    LIVE.write().unwrap_or_else(PoisonError::into_inner)[index] = Some(place);
    Ok((child, namespace))
}

fn claim() -> Namespace {
    let mut live = LIVE.write().unwrap_or_else(PoisonError::into_inner);
    let index = live.iter().position(Option::is_none);
    let index = index.expect("fewer supervisors at a time");
    live[index] = Some(Place {
        init: 0,
        proc: None,
    });
    Namespace { index }
}

/// Builds the root, and has the command move in; returns where its proc(5) will be.
fn prepare(
    command: &mut Command,
    stage: &Path,
    shown: &[PathBuf],
    index: usize,
) -> io::Result<PathBuf> {
    unshare(CloneFlags::CLONE_NEWNS | CloneFlags::CLONE_NEWPID)?;
    let (root, proc) = build(stage, shown)?;
    let c_string = |path: &Path| CString::new(path.as_os_str().as_bytes());
    let directory = command.get_current_dir().unwrap_or(Path::new("/"));
    let plan = Plan {
        root: c_string(&root)?,
        proc: c_string(&proc)?,
        last_pid: c_string(&proc.join("sys/kernel/ns_last_pid"))?,
        number: CString::new(first_number(index).to_string())?,
        directory: c_string(directory)?,
    };
    // SAFETY: system calls on strings that were made before; nothing is allocated.
    unsafe { command.pre_exec(move || move_in(&plan)) };
    Ok(proc)
}

/// Mounts a root, and next to it makes a place for a proc(5) that is not in it.
fn build(stage: &Path, shown: &[PathBuf]) -> io::Result<(PathBuf, PathBuf)> {
    const NONE: Option<&str> = None;
    let private = MsFlags::MS_REC | MsFlags::MS_PRIVATE;
    mount(NONE, "/", NONE, private, NONE)?;
    let tmpfs = |place: &Path| {
        let options = Some("mode=755");
        mount(NONE, place, Some("tmpfs"), MsFlags::empty(), options)
    };
    tmpfs(stage)?;
    let (root, proc) = (stage.join("root"), stage.join("proc"));
    fs::create_dir(&root)?;
    fs::create_dir(&proc)?;
    tmpfs(&root)?;
    for path in shown {
        let place = root.join(path.strip_prefix("/").expect("an absolute path"));
        if path.is_dir() {
            fs::create_dir_all(&place)?;
        } else {
            fs::create_dir_all(place.parent().expect("it is below the root"))?;
            // Not opened: a process that another thread forks would hold it open for writing,
            // and the root could not be made read-only.
            mknod(&place, SFlag::S_IFREG, Mode::from_bits_truncate(0o644), 0)?;
        }
        mount(Some(path), &place, NONE, MsFlags::MS_BIND, NONE)?;
    }
    let read_only = MsFlags::MS_REMOUNT | MsFlags::MS_BIND | MsFlags::MS_RDONLY;
    mount(NONE, &root, NONE, read_only, NONE)?;
    Ok((root, proc))
}

/// Between fork and exec, as PID 1 already.
fn move_in(plan: &Plan) -> io::Result<()> {
    const NONE: Option<&CStr> = None;
    // For the test: in the mount namespace of the thread, which the root will not show.
    let flags = MsFlags::MS_NOSUID | MsFlags::MS_NODEV | MsFlags::MS_NOEXEC;
    mount(NONE, &*plan.proc, Some(c"proc"), flags, NONE)?;
    count_from(plan)?;
    unshare(CloneFlags::CLONE_NEWNS)?;
    chdir(&*plan.root)?;
    // The old root comes to lie on the new one, and is taken away: pivot_root(2).
    pivot_root(c".", c".")?;
    umount2(c".", MntFlags::MNT_DETACH)?;
    chdir(&*plan.directory)?;
    Ok(())
}

/// The next process of this namespace gets the number after this one.
fn count_from(plan: &Plan) -> io::Result<()> {
    let number = plan.number.to_bytes();
    // SAFETY: a NUL-terminated path, and a buffer that is valid for its length.
    let written = unsafe {
        let file = libc::open(plan.last_pid.as_ptr(), libc::O_WRONLY | libc::O_CLOEXEC);
        let written = libc::write(file, number.as_ptr().cast(), number.len());
        libc::close(file);
        written
    };
    match usize::try_from(written) {
        Ok(written) if written == number.len() => Ok(()),
        _ => Err(io::Error::last_os_error()),
    }
}
