//! System calls without the C library.
//!
//! A child that shares our memory has the thread pointer of the thread that made it: a C library
//! wrapper that fails in the child would write the errno that the parent is about to read. So the
//! child makes direct system calls. They exist for the architectures below; on others no child
//! shares our memory, and the C library is used.

use std::ffi::{c_int, c_long, c_void};

/// True if calls leave `errno` alone, and [`clone_sharing`] is there.
pub(super) const IS_DIRECT: bool = cfg!(all(
    any(target_arch = "x86_64", target_arch = "aarch64"),
    target_pointer_width = "64"
));

/// The largest errno.
const ERRNO_MAX: isize = 4095;

/// Makes a system call; arguments that are left out are 0. The error is the errno.
///
/// # Safety
///
/// As for the call.
pub(super) unsafe fn call<const N: usize>(
    number: c_long,
    arguments: [usize; N],
) -> Result<usize, c_int> {
    let mut all = [0; 6];
    all.iter_mut()
        .zip(arguments)
        .for_each(|(to, from)| *to = from);
    let [a, b, c, d, e, f] = all;
    let answer: isize;
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    // SAFETY: the kernel preserves all registers but these three (syscall(2)).
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") number as isize => answer,
            in("rdi") a, in("rsi") b, in("rdx") c, in("r10") d, in("r8") e, in("r9") f,
            lateout("rcx") _, lateout("r11") _,
            options(nostack),
        );
    }
    #[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
    // SAFETY: the kernel preserves all registers but the first (syscall(2)).
    unsafe {
        std::arch::asm!(
            "svc 0",
            in("x8") number as isize,
            inlateout("x0") a => answer,
            in("x1") b, in("x2") c, in("x3") d, in("x4") e, in("x5") f,
            options(nostack),
        );
    }
    #[cfg(not(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        target_pointer_width = "64"
    )))]
    {
        // SAFETY: as promised to this function.
        answer = match unsafe { libc::syscall(number, a, b, c, d, e, f) } {
            -1 => -(super::errno() as isize),
            answer => answer as isize,
        };
    }
    decode(answer)
}

fn decode(answer: isize) -> Result<usize, c_int> {
    if (-ERRNO_MAX..0).contains(&answer) {
        Err(c_int::try_from(-answer).unwrap_or(libc::EIO))
    } else {
        Ok(answer.cast_unsigned())
    }
}

/// Returns a number as an argument of [`call`], with its sign in the whole register.
pub(super) fn int(number: c_int) -> usize {
    (number as isize).cast_unsigned()
}

/// Makes a child that shares our memory and runs `main` on its own stack, and does not wait for it.
/// The kernel sets `tid` to 0, and wakes futex(2) waiters there, when the child has left our memory
/// by an exec or exit.
///
/// # Safety
///
/// The stack is used by nothing else, and it, `argument` and `tid` stay where they are until the
/// child has left our memory. `main` never returns, and touches nothing that this process uses.
pub(super) unsafe fn clone_sharing(
    flags: c_int,
    stack: *mut c_void,
    tid: *const u32,
    main: extern "C" fn(*mut c_void) -> !,
    argument: *mut c_void,
) -> Result<c_int, c_int> {
    let answer: isize;
    #[cfg(all(target_arch = "x86_64", target_pointer_width = "64"))]
    // SAFETY: the parent returns with all registers as they were but those three. The child has
    // the same registers and another stack, and never gets to the end of this.
    unsafe {
        std::arch::asm!(
            "syscall",
            "test rax, rax",
            "jnz 2f",
            "xor ebp, ebp",
            "mov rdi, r12",
            "call r13",
            "ud2",
            "2:",
            inlateout("rax") libc::SYS_clone as isize => answer,
            in("rdi") int(flags), in("rsi") stack, in("rdx") 0_usize, in("r10") tid, in("r8") 0_usize,
            in("r12") argument, in("r13") main,
            lateout("rcx") _, lateout("r11") _,
        );
    }
    // As above, but for the order of the last two arguments of clone(2).
    #[cfg(all(target_arch = "aarch64", target_pointer_width = "64"))]
    // SAFETY: as above, but for one register.
    unsafe {
        std::arch::asm!(
            "svc 0",
            "cbnz x0, 2f",
            "mov x29, xzr",
            "mov x30, xzr",
            "mov x0, x20",
            "blr x21",
            "brk 1",
            "2:",
            in("x8") libc::SYS_clone as isize,
            inlateout("x0") int(flags) => answer,
            in("x1") stack, in("x2") 0_usize, in("x3") 0_usize, in("x4") tid,
            in("x20") argument, in("x21") main,
            // Written by the call above, in the child only.
            lateout("x30") _,
        );
    }
    #[cfg(not(all(
        any(target_arch = "x86_64", target_arch = "aarch64"),
        target_pointer_width = "64"
    )))]
    {
        // See the head of this file.
        let _ = (flags, stack, tid, main, argument);
        answer = -(libc::ENOSYS as isize);
    }
    c_int::try_from(decode(answer)?).map_err(|_| libc::EIO)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_answer_is_a_value_or_an_errno_and_errno_stays_as_it_was() {
        nix::errno::Errno::set_raw(libc::EXDEV);
        // SAFETY: neither call takes a pointer, and both only ask.
        let (pid, refused) = unsafe {
            let nowhere = [int(-1), int(libc::F_GETFD)];
            (call(libc::SYS_getpid, []), call(libc::SYS_fcntl, nowhere))
        };
        assert_eq!(pid, Ok(std::process::id() as usize));
        assert_eq!(refused, Err(libc::EBADF));
        assert!(!IS_DIRECT || nix::errno::Errno::last_raw() == libc::EXDEV);
    }
}
