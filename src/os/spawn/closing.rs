//! Closes all that a program shall not get: ours is close-on-exec anyway, what the host or its
//! parent left open is not. System calls only.

use std::ffi::c_int;

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
        // SAFETY: plain numbers; what they stand for is needed no more.
        first > last || unsafe { libc::syscall(libc::SYS_close_range, first, last, 0) == 0 }
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
    /// d_reclen and the name stand at these offsets of a `linux_dirent64` (getdents64(2)).
    const RECLEN: usize = 16;
    const NAME: usize = 19;
    // SAFETY: system calls on a descriptor and a buffer of our own; indexes are checked against
    // what the kernel said it wrote.
    unsafe {
        let flags = libc::O_RDONLY | libc::O_DIRECTORY | libc::O_CLOEXEC;
        let directory = libc::open(c"/proc/self/fd".as_ptr(), flags);
        if directory == -1 {
            // No /proc either.
            for fd in (FIRST..DESCRIPTORS_TRIED_MAX).filter(|&fd| Some(fd) != keep) {
                libc::close(fd);
            }
            return;
        }
        let mut buffer = [0_u8; 4096];
        loop {
            let count = libc::syscall(
                libc::SYS_getdents64,
                directory,
                buffer.as_mut_ptr(),
                buffer.len(),
            );
            let Some(count) = usize::try_from(count).ok().filter(|&count| count > 0) else {
                break;
            };
            let mut at = 0;
            while at + NAME < count {
                let fd = number(buffer.get(at + NAME..count).unwrap_or_default());
                if let Some(fd) = fd.filter(|&fd| fd >= FIRST && fd != directory)
                    && Some(fd) != keep
                {
                    libc::close(fd);
                }
                let length = match buffer.get(at + RECLEN..at + RECLEN + 2) {
                    Some(&[one, other]) => u16::from_ne_bytes([one, other]),
                    _ => 0,
                };
                at += usize::from(length).max(NAME);
            }
        }
        libc::close(directory);
    }
}

/// The decimal number at the start of `text`, up to its NUL.
fn number(text: &[u8]) -> Option<c_int> {
    let digits = text.iter().take_while(|byte| byte.is_ascii_digit());
    let mut any = false;
    let value = digits.fold(0_i32, |sum, &digit| {
        any = true;
        sum.wrapping_mul(10).wrapping_add(c_int::from(digit - b'0'))
    });
    any.then_some(value)
}
