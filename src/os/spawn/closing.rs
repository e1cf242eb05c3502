//! Closes all that a program shall not get: ours is close-on-exec anyway, what the host or its
//! parent left open is not. System calls only.

use std::ffi::c_int;

use crate::os::numbers::numbers_in;
use crate::os::raw::{self, int};

/// The lowest number that is no standard stream.
const FIRST: c_int = 3;

/// Closes what is not stdin, stdout or stderr, but for the one to be kept, which is numbered 3 or
/// higher, if there is one.
///
/// # Safety
///
/// For a child with a table of its own, in which nothing else is needed any more.
pub(super) unsafe fn close_the_rest(keep: Option<c_int>) {
    let close_all = |first: c_int, last: c_int| {
        let range = [int(first), int(last)];
        // SAFETY: plain numbers; what they stand for is needed no more.
        first > last || unsafe { raw::call(libc::SYS_close_range, range).is_ok() }
    };
    let all_closed = match keep {
        None => close_all(FIRST, c_int::MAX),
        Some(keep) => close_all(FIRST, keep - 1) && close_all(keep + 1, c_int::MAX),
    };
    if !all_closed {
        // SAFETY: as promised to this function.
        unsafe { close_what_proc_names(keep) };
    }
}

/// How many descriptors are closed one by one, where nothing tells which are open.
const DESCRIPTORS_TRIED_MAX: c_int = 65_536;

/// Before Linux 5.9: the descriptors that `/proc` names, a few thousand bytes of names at a
/// time. A loop up to the limit could take minutes, where the limit is a billion.
///
/// # Safety
///
/// As that of [`close_the_rest`].
unsafe fn close_what_proc_names(keep: Option<c_int>) {
    let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
    let close = |fd: c_int| {
        // SAFETY: as promised to this function.
        let _ = unsafe { raw::call(libc::SYS_close, [int(fd)]) };
    };
    let path = c"/proc/self/fd".as_ptr().expose_provenance();
    let open = [int(libc::AT_FDCWD), path, int(flags)];
    // SAFETY: openat takes a string with a NUL at its end, and plain numbers.
    let opened = unsafe { raw::call(libc::SYS_openat, open) };
    let Ok(directory) = opened.map(|fd| c_int::try_from(fd).unwrap_or(-1)) else {
        // No /proc either.
        let all = (FIRST..DESCRIPTORS_TRIED_MAX).filter(|&fd| Some(fd) != keep);
        all.for_each(close);
        return;
    };
    // Where it breaks off, nothing tells of the rest.
    let _ = numbers_in(directory, |fd| {
        if fd >= FIRST && fd != directory && Some(fd) != keep {
            close(fd);
        }
    });
    close(directory);
}
