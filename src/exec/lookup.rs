//! Where the file of a command is, and why it cannot be executed, as far as that can be known without
//! trying.

use std::ffi::{CStr, CString, OsStr};
use std::io::Read;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::fs::OpenOptionsExt;
use std::path::{Path, PathBuf};

use nix::unistd::{AccessFlags, access};

use crate::cstr_list::CStrList;

/// How much of a file is read to find its `#!` line.
const INTERPRETER_BYTES_MAX: u64 = 256;

/// Returns the errno with which chdir(2) would refuse this, if it would.
pub(super) fn directory_problem(directory: &Path) -> Option<i32> {
    problem(directory, std::fs::Metadata::is_dir, libc::ENOTDIR)
}

/// Returns the errno with which execve(2) would refuse this file, if it would.
pub(super) fn file_problem(path: &Path) -> Option<i32> {
    problem(path, std::fs::Metadata::is_file, libc::EACCES)
}

/// Returns the errno with which it would be refused to read this file, if it would. A directory cannot
/// be read.
pub(super) fn unreadable(path: &Path) -> Option<i32> {
    match std::fs::metadata(path) {
        Ok(found) if found.is_dir() => Some(libc::EISDIR),
        Ok(_) => access(path, AccessFlags::R_OK)
            .err()
            .map(|errno| errno as i32),
        Err(error) => Some(error.raw_os_error().unwrap_or(libc::ENOENT)),
    }
}

fn problem(path: &Path, is_right: fn(&std::fs::Metadata) -> bool, otherwise: i32) -> Option<i32> {
    match std::fs::metadata(path) {
        Ok(found) if is_right(&found) => access(path, AccessFlags::X_OK).err().map(|e| e as i32),
        Ok(_) => Some(otherwise),
        Err(error) => Some(error.raw_os_error().unwrap_or(libc::ENOENT)),
    }
}

/// Returns the files that execvp(3) would try; an empty directory is the current one.
pub(super) fn in_path(path: &[u8], program: &CStr) -> CStrList {
    let join = |directory: &[u8]| {
        let separator: &[u8] = if directory.is_empty() { b"" } else { b"/" };
        CString::new([directory, separator, program.to_bytes()].concat()).ok()
    };
    path.split(|&byte| byte == b':').filter_map(join).collect()
}

/// Returns the interpreter that this script names, if that does not exist. Both may be relative to
/// the working directory of the program. Nothing that is opened here can block.
pub(super) fn missing_interpreter(cwd: &Path, script: &Path) -> Option<PathBuf> {
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
