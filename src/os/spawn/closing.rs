//! Closes all that a program shall not get: ours is close-on-exec anyway, what the host or its
//! parent left open is not. System calls only.

use std::ffi::c_int;

use crate::os::numbers::numbers_in;
use crate::os::raw::{self, int};

/// The lowest number that is no standard stream.
const FIRST: c_int = 3;

/// Closes what is not stdin, stdout or stderr, but for those to be kept, which are numbered 3 or
/// higher.
///
/// # Safety
///
/// For a child with a table of its own, in which nothing else is needed any more.
pub(super) unsafe fn close_the_rest(mut keep: [Option<c_int>; 2]) {
    let close_all = |first: c_int, last: c_int| {
        let range = [int(first), int(last)];
        // SAFETY: plain numbers; what they stand for is needed no more.
        first > last || unsafe { raw::call(libc::SYS_close_range, range).is_ok() }
    };
    if keep[0] > keep[1] {
        keep.swap(0, 1);
    }
    let (mut first, mut all_closed) = (FIRST, true);
    for kept in keep.into_iter().flatten() {
        all_closed = all_closed && close_all(first, kept - 1);
        first = kept + 1;
    }
    if !(all_closed && close_all(first, c_int::MAX)) {
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
unsafe fn close_what_proc_names(keep: [Option<c_int>; 2]) {
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
        let all = (FIRST..DESCRIPTORS_TRIED_MAX).filter(|&fd| !keep.contains(&Some(fd)));
        all.for_each(close);
        return;
    };
    // Where it breaks off, nothing tells of the rest.
    let _ = numbers_in(directory, |fd| {
        if fd >= FIRST && fd != directory && !keep.contains(&Some(fd)) {
            close(fd);
        }
    });
    close(directory);
}
