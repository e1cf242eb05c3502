//! The listening socket: born with its mode, locked against a second supervisor, and removed at
//! the end if it is still ours.

use std::fs::{self, DirBuilder, File, Metadata, OpenOptions};
use std::io::{self, ErrorKind, Read, Seek, SeekFrom, Write};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::os::unix::fs::{DirBuilderExt, FileTypeExt, MetadataExt, OpenOptionsExt};
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use nix::errno::Errno;
use nix::fcntl::{AT_FDCWD, AtFlags, FlockArg};
use nix::sys::socket::{
    AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, connect, listen, socket,
};
use nix::sys::stat::{Mode, fchmod, umask};
use nix::unistd::{Gid, Uid, fchownat};
use procsched::text::error_text;

use super::path::{check_length, default_directory};
use crate::clock;

/// How long no connection is accepted after one could not be, such as without a free descriptor.
const ACCEPT_PAUSE: Duration = Duration::from_secs(1);

/// The number of connections that wait to be accepted: a few more than there are clients.
const BACKLOG: i32 = 32;

/// How often a lock is taken again whose file was removed meanwhile by its last owner.
const LOCK_TRIES_MAX: usize = 10;

/// Who owns the file behind a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Inode(u64, u64);

impl Inode {
    fn of(metadata: &Metadata) -> Self {
        Self(metadata.dev(), metadata.ino())
    }

    fn at(path: &Path) -> Option<Self> {
        fs::symlink_metadata(path).ok().as_ref().map(Self::of)
    }
}

/// A socket that clients connect to.
#[derive(Debug)]
pub struct Listener {
    socket: UnixListener,
    path: PathBuf,
    inode: Option<Inode>,
    group: Option<Gid>,
    lock: Lock,
    paused_until: Option<Instant>,
}

/// Why there is no socket.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Refusal {
    /// Another supervisor has it.
    Taken(String),
    /// It cannot be made.
    Unusable(String),
}

impl Refusal {
    /// Returns what is wrong, as one line.
    pub fn message(&self) -> &str {
        let (Self::Taken(message) | Self::Unusable(message)) = self;
        message
    }
}

fn unusable(what: &str, path: &Path, cause: impl std::fmt::Display) -> Refusal {
    Refusal::Unusable(format!("failed to {what} {path:?}: {cause}"))
}

impl Listener {
    /// Makes the socket, for the owner and, if given, for a group. A stale one is replaced.
    pub fn open(path: &Path, group: Option<u32>) -> Result<Self, Refusal> {
        check_length(path).map_err(|problem| unusable("make the socket", path, problem))?;
        let lock = Lock::take(path)?;
        let group = group.map(Gid::from_raw);
        let socket = make(path, group)?;
        Ok(Self {
            socket,
            path: path.to_owned(),
            inode: Inode::at(path),
            group,
            lock,
            paused_until: None,
        })
    }

    /// Takes the lock again if its file was removed, and makes the socket again if its path leads
    /// elsewhere: without the lock, both may be another supervisor's by now. Connections that wait
    /// at the old socket are lost with it.
    pub fn remake(&mut self) -> Result<(), Refusal> {
        if !self.lock.is_in_place() {
            self.lock = Lock::take(&self.path)?;
        }
        if self.inode.is_some() && Inode::at(&self.path) == self.inode {
            return Ok(());
        }
        self.socket = make(&self.path, self.group)?;
        self.inode = Inode::at(&self.path);
        Ok(())
    }

    /// Accepts no connection for a while.
    pub fn pause(&mut self) {
        self.paused_until = Some(clock::steady() + ACCEPT_PAUSE);
    }

    /// Returns the next connection; `None` if there is none, or no descriptor for it.
    pub fn accept(&mut self) -> Option<UnixStream> {
        loop {
            match self.socket.accept() {
                Ok((stream, _)) => return stream.set_nonblocking(true).ok().map(|()| stream),
                Err(error) if error.kind() == ErrorKind::Interrupted => {}
                Err(error) if error.kind() == ErrorKind::WouldBlock => return None,
                // EMFILE, ENFILE, ENOMEM: the connection stays, and would wake us at once again.
                Err(_) => {
                    self.pause();
                    return None;
                }
            }
        }
    }

    /// Returns when connections are accepted again, if that is put off.
    pub fn paused_until(&self) -> Option<Instant> {
        let is_ahead = |until: &Instant| !clock::until(*until).is_zero();
        self.paused_until.filter(is_ahead)
    }
}

impl AsFd for Listener {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

impl Drop for Listener {
    /// The socket goes before its lock: who takes the lock finds no socket of ours.
    fn drop(&mut self) {
        if self.inode.is_some() && Inode::at(&self.path) == self.inode {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Makes the default directory, if it is missing, and checks that it is ours alone to write to.
pub fn prepare_default_directory() -> Result<(), Refusal> {
    let Some(directory) = default_directory() else {
        return Ok(());
    };
    let is_root = Uid::effective().is_root();
    if is_root && let Some(parent) = directory.parent() {
        // A container that has nothing but this binary has no /run.
        make_directory(parent, 0o755)?;
    }
    make_directory(&directory, if is_root { 0o755 } else { 0o700 })?;
    let found = fs::symlink_metadata(&directory);
    let found = found.map_err(|error| unusable("use", &directory, error_text(&error)))?;
    let problem = if !found.is_dir() {
        "it is not a directory"
    } else if found.uid() != Uid::effective().as_raw() {
        "it belongs to another user"
    } else if found.mode() & 0o022 != 0 {
        "others can write to it"
    } else {
        return Ok(());
    };
    Err(unusable("use", &directory, problem))
}

fn make_directory(path: &Path, mode: u32) -> Result<(), Refusal> {
    match DirBuilder::new().mode(mode).create(path) {
        Err(error) if error.kind() != ErrorKind::AlreadyExists => {
            Err(unusable("create", path, error_text(&error)))
        }
        _ => Ok(()),
    }
}

/// Makes and binds a socket. Its mode is set before it has a name, and no process can connect
/// before `listen`, by when it belongs to the group.
fn make(path: &Path, group: Option<Gid>) -> Result<UnixListener, Refusal> {
    remove_stale(path)?;
    let failed = |errno: Errno| unusable("make the socket", path, error_text(&errno.into()));
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let fd = socket(AddressFamily::Unix, SockType::Stream, flags, None).map_err(failed)?;
    let bits = if group.is_some() { 0o660 } else { 0o600 };
    fchmod(&fd, Mode::from_bits_truncate(bits)).map_err(failed)?;
    let address = UnixAddr::new(path).map_err(failed)?;
    // The file has this mode but for what the mask takes away (unix(7)).
    let mask = umask(Mode::empty());
    let bound = bind(fd.as_raw_fd(), &address);
    umask(mask);
    bound.map_err(failed)?;
    let open = || {
        if group.is_some() {
            // Not through a link that has taken its place.
            let flags = AtFlags::AT_SYMLINK_NOFOLLOW;
            fchownat(AT_FDCWD, path, None, group, flags)?;
        }
        listen(&fd, Backlog::new(BACKLOG)?)
    };
    open().map_err(|errno| {
        let _ = fs::remove_file(path);
        failed(errno)
    })?;
    Ok(UnixListener::from(fd))
}

/// Removes the socket of a supervisor that was killed. Anything else there is an error.
fn remove_stale(path: &Path) -> Result<(), Refusal> {
    let found = match fs::symlink_metadata(path) {
        Err(error) if error.kind() == ErrorKind::NotFound => return Ok(()),
        Err(error) => return Err(unusable("make the socket", path, error_text(&error))),
        Ok(found) => found,
    };
    let problem = if !found.file_type().is_socket() {
        "something else is there: remove it, or choose another path"
    } else if found.uid() != Uid::effective().as_raw() {
        "it belongs to another user"
    } else if !is_refused(path) {
        "another process listens there"
    } else {
        let removed = fs::remove_file(path);
        return removed.map_err(|error| unusable("remove", path, error_text(&error)));
    };
    Err(unusable("make the socket", path, problem))
}

/// True if no process listens at a socket.
fn is_refused(path: &Path) -> bool {
    let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
    let connected = socket(AddressFamily::Unix, SockType::Stream, flags, None)
        .and_then(|fd| connect(fd.as_raw_fd(), &UnixAddr::new(path)?));
    connected == Err(Errno::ECONNREFUSED)
}

/// `PATH.lock`, held for as long as the supervisor lives, with its pid inside.
#[derive(Debug)]
struct Lock {
    file: File,
    path: PathBuf,
}

impl Lock {
    fn take(socket: &Path) -> Result<Self, Refusal> {
        let mut path = socket.to_owned().into_os_string();
        path.push(".lock");
        let path = PathBuf::from(path);
        for _ in 0..LOCK_TRIES_MAX {
            let mut file = open_lock(&path)?;
            match lock(&file) {
                Ok(()) => {}
                Err(Errno::EWOULDBLOCK) => return Err(taken(socket, file)),
                Err(errno) => return Err(unusable("lock", &path, error_text(&errno.into()))),
            }
            // Its last owner may have removed it after we opened it.
            if file.metadata().ok().as_ref().map(Inode::of) != Inode::at(&path) {
                continue;
            }
            // The lock holds without it, as on a full disk; the pid is for messages alone.
            let _ = write_pid(&mut file);
            return Ok(Self { file, path });
        }
        Err(unusable("lock", &path, "it is removed again and again"))
    }

    /// True if its path still leads to the file that is locked.
    fn is_in_place(&self) -> bool {
        let ours = self.file.metadata().ok();
        ours.as_ref().map(Inode::of) == Inode::at(&self.path)
    }
}

impl Drop for Lock {
    fn drop(&mut self) {
        if self.is_in_place() {
            let _ = fs::remove_file(&self.path);
        }
    }
}

/// Locks a file until it is closed. `Flock` unlocks it before, and panics if that fails.
#[allow(deprecated)]
fn lock(file: &File) -> nix::Result<()> {
    nix::fcntl::flock(file.as_raw_fd(), FlockArg::LockExclusiveNonblock)
}

fn open_lock(path: &Path) -> Result<File, Refusal> {
    let opened = OpenOptions::new()
        .read(true)
        .write(true)
        .create(true)
        .mode(0o600)
        .custom_flags(libc::O_NOFOLLOW | libc::O_NONBLOCK)
        .open(path);
    let file = opened.map_err(|error| {
        let hint = match error.kind() {
            ErrorKind::NotFound => "; make its directory first",
            _ => "",
        };
        unusable("open", path, format!("{}{hint}", error_text(&error)))
    })?;
    let found = file.metadata();
    let found = found.map_err(|error| unusable("open", path, error_text(&error)))?;
    let problem = if !found.is_file() {
        "it is not a regular file"
    } else if found.uid() != Uid::effective().as_raw() {
        "it belongs to another user"
    } else if found.nlink() > 1 {
        "it has several names"
    } else {
        return Ok(file);
    };
    Err(unusable("use", path, problem))
}

fn taken(socket: &Path, file: File) -> Refusal {
    let mut text = String::new();
    let read = file.take(16).read_to_string(&mut text);
    let pid = read.ok().and_then(|_| text.trim().parse::<u32>().ok());
    let owner = pid.map_or_else(
        || "another supervisor has it".to_owned(),
        |pid| format!("supervisor {pid} has it"),
    );
    Refusal::Taken(format!("failed to use the socket {socket:?}: {owner}"))
}

fn write_pid(file: &mut File) -> io::Result<()> {
    file.set_len(0)?;
    file.seek(SeekFrom::Start(0))?;
    writeln!(file, "{}", std::process::id())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn lock_of(path: &Path) -> PathBuf {
        path.with_extension("sock.lock")
    }

    /// The lock was taken again with the socket alone: a second supervisor could have had it.
    #[test]
    fn a_lock_that_was_removed_is_taken_again() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.sock");
        let mut listener = Listener::open(&path, None).expect("a socket");
        let inode = Inode::at(&path);
        fs::remove_file(lock_of(&path)).expect("a lock");
        listener.remake().expect("nothing is in the way");
        assert_eq!(Inode::at(&path), inode);
        let refused = Listener::open(&path, None).expect_err("it is taken");
        assert!(matches!(refused, Refusal::Taken(_)), "{refused:?}");
        drop(listener);
        assert!(!path.exists() && !lock_of(&path).exists());
    }

    /// The socket of another supervisor was replaced, although that held the lock.
    #[test]
    fn what_another_supervisor_has_taken_is_left_to_it() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("c.sock");
        let mut first = Listener::open(&path, None).expect("a socket");
        fs::remove_file(&path).expect("a socket");
        fs::remove_file(lock_of(&path)).expect("a lock");
        let second = Listener::open(&path, None).expect("nothing is in the way");
        let inode = Inode::at(&path);
        for _ in 0..2 {
            let refused = first.remake().expect_err("it is taken");
            assert!(matches!(refused, Refusal::Taken(_)), "{refused:?}");
            // Not even where its socket is gone, too.
            let _ = fs::rename(&path, directory.path().join("away"));
        }
        fs::rename(directory.path().join("away"), &path).expect("a socket");
        drop(first);
        assert_eq!(Inode::at(&path), inode);
        drop(second);
        assert!(!path.exists() && !lock_of(&path).exists());
    }
}
