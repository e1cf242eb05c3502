//! Where the control socket is: the default path of a config, and where a client looks for it.
//!
//! The server and the client use the same functions, so that they agree on the name.

use std::ffi::OsStr;
use std::fs;
use std::io;
use std::os::unix::ffi::OsStrExt;
use std::path::{Component, Path, PathBuf};

use nix::unistd::Uid;
use procsched::config::SOCKET_PATH_BYTES_MAX;

/// The variable with the path of the socket. Programs do not inherit it.
pub const ENVIRONMENT: &str = "PROCSCHED_SOCKET";

/// The directory of root's sockets.
pub const SYSTEM_DIRECTORY: &str = "/run/procsched";

/// The directories of users, in which each has one by its number.
const USERS: &str = "/run/user";

/// Our directory in that of a user.
const DIRECTORY_NAME: &str = "procsched";

const EXTENSION: &str = "sock";

/// Returns the default path of the socket of the supervisor of this config, which is relative to
/// the current directory; `None` if this user has no directory for it.
pub fn default_path(config: &Path) -> io::Result<Option<PathBuf>> {
    let config = absolute(config)?;
    Ok(default_directory().map(|directory| directory.join(file_name(&config))))
}

/// Returns the directory of the default sockets of this user, which need not exist; `None` if there
/// is no place for it.
pub fn default_directory() -> Option<PathBuf> {
    let user = Uid::effective();
    directory_of(user, std::env::var_os("XDG_RUNTIME_DIR").as_deref())
}

fn directory_of(user: Uid, runtime: Option<&OsStr>) -> Option<PathBuf> {
    if user.is_root() {
        return Some(SYSTEM_DIRECTORY.into());
    }
    // A relative path is invalid, and is ignored (XDG Base Directory Specification).
    let runtime = runtime.map(Path::new).filter(|path| path.is_absolute());
    let users = || Path::new(USERS).join(user.to_string());
    let base = runtime.map_or_else(users, Path::to_owned);
    (runtime.is_some() || base.is_dir()).then(|| base.join(DIRECTORY_NAME))
}

/// Returns the sockets in the default directories, of which each may answer or not: those of this
/// user, of root, and for root those of every user.
pub fn candidates() -> Vec<PathBuf> {
    let mut directories: Vec<PathBuf> = default_directory().into_iter().collect();
    directories.push(SYSTEM_DIRECTORY.into());
    if Uid::effective().is_root() {
        let users = entries(Path::new(USERS));
        directories.extend(users.into_iter().map(|user| user.join(DIRECTORY_NAME)));
    }
    directories.sort();
    directories.dedup();
    let found = directories.iter().flat_map(|directory| entries(directory));
    found
        .filter(|path| path.extension() == Some(EXTENSION.as_ref()))
        .collect()
}

/// Returns what is in a directory, in the order of the names; nothing if it cannot be read.
fn entries(directory: &Path) -> Vec<PathBuf> {
    let found = fs::read_dir(directory).into_iter().flatten().flatten();
    let mut paths: Vec<PathBuf> = found.map(|entry| entry.path()).collect();
    paths.sort();
    paths
}

/// Checks the length of a socket's path.
///
/// # Errors
///
/// A path that does not fit, with its length: `the path has 131 bytes; a socket path can have 107`.
pub fn check_length(path: &Path) -> Result<(), String> {
    match path.as_os_str().len() {
        0..=SOCKET_PATH_BYTES_MAX => Ok(()),
        bytes => Err(format!(
            "the path has {bytes} bytes; a socket path can have {SOCKET_PATH_BYTES_MAX}"
        )),
    }
}

/// Returns the absolute path without resolving symlinks, so that a link to the current release
/// keeps its name. Only what stands before a `..` is resolved, as otherwise that leads elsewhere.
fn absolute(path: &Path) -> io::Result<PathBuf> {
    let mut whole = PathBuf::new();
    for part in std::path::absolute(path)?.components() {
        if part == Component::ParentDir {
            whole = fs::canonicalize(&whole)?;
            whole.pop();
        } else {
            whole.push(part);
        }
    }
    Ok(whole)
}

/// Returns the name of the socket of the config with this absolute path.
fn file_name(config: &Path) -> String {
    let hash = fnv_1a_64(config.as_os_str().as_bytes());
    format!("{hash:016x}.{EXTENSION}")
}

/// The FNV-1a hash of 64 bits (Fowler, Noll, Vo): stable in all versions and builds.
fn fnv_1a_64(bytes: &[u8]) -> u64 {
    const OFFSET: u64 = 0xcbf2_9ce4_8422_2325;
    const PRIME: u64 = 0x0000_0100_0000_01b3;
    bytes.iter().fold(OFFSET, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(PRIME)
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// The vectors of the authors.
    #[test]
    fn the_hash_is_fnv_1a() {
        assert_eq!(fnv_1a_64(b""), 0xcbf2_9ce4_8422_2325);
        assert_eq!(fnv_1a_64(b"a"), 0xaf63_dc4c_8601_ec8c);
        assert_eq!(fnv_1a_64(b"foobar"), 0x8594_4171_f739_67e8);
    }

    #[test]
    fn the_name_is_of_sixteen_digits() {
        let name = file_name(Path::new("/etc/app/procsched.json"));
        assert_eq!(name, "1157bbf35bae5c28.sock");
        assert_eq!(name.len(), 16 + ".sock".len());
    }

    #[test]
    fn a_link_keeps_its_name_and_dots_go() {
        let directory = tempfile::tempdir().expect("a directory");
        let root = directory.path().canonicalize().expect("a path");
        fs::create_dir_all(root.join("v1/etc")).expect("a directory");
        std::os::unix::fs::symlink("v1", root.join("current")).expect("a link");
        let of = |path: &str| absolute(&root.join(path)).expect("a path");
        assert_eq!(of("current/a.json"), root.join("current/a.json"));
        assert_eq!(of("./current/./a.json"), root.join("current/a.json"));
        // What is meant is v1/a.json, whatever the link is called.
        assert_eq!(of("current/etc/../a.json"), root.join("v1/a.json"));
        assert!(absolute(&root.join("missing/../a.json")).is_err());
    }

    #[test]
    fn the_directory_is_that_of_the_user() {
        let of =
            |uid, runtime: Option<&str>| directory_of(Uid::from_raw(uid), runtime.map(OsStr::new));
        let path = |text: &str| Some(PathBuf::from(text));
        assert_eq!(of(0, None), path("/run/procsched"));
        assert_eq!(of(0, Some("/x")), path("/run/procsched"));
        assert_eq!(of(4_000_000, Some("/x")), path("/x/procsched"));
        assert_eq!(of(4_000_000, Some("relative")), None);
        assert_eq!(of(4_000_000, Some("")), None);
        assert_eq!(of(4_000_000, None), None);
    }

    #[test]
    fn a_path_has_107_bytes_at_most() {
        let of = |bytes: usize| check_length(Path::new(&"p".repeat(bytes)));
        assert_eq!(of(107), Ok(()));
        let problem = "the path has 108 bytes; a socket path can have 107";
        assert_eq!(of(108), Err(problem.to_owned()));
    }
}
