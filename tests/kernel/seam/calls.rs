//! The part of `libc` that asks the kernel: processes are simulated, descriptors are real.

use std::ffi::{c_int, c_long, c_ulong, c_void};
use std::mem::size_of;

use real_libc::{id_t, idtype_t, pid_t, timespec};
use real_nix::errno::Errno;

use crate::kernel::world::{self, Call, Waited};
use crate::machine::Exit;

/// What waitid(2) tells.
#[allow(non_camel_case_types)] // The C name is what it is known by.
#[derive(Clone, Copy)]
pub struct siginfo_t {
    pub si_code: c_int,
    pid: pid_t,
    status: c_int,
}

impl siginfo_t {
    /// # Safety
    /// As with the real one; here nothing can go wrong.
    pub unsafe fn si_pid(&self) -> pid_t {
        self.pid
    }

    /// # Safety
    /// As with the real one; here nothing can go wrong.
    pub unsafe fn si_status(&self) -> c_int {
        self.status
    }
}

fn answer(result: Result<c_int, c_int>) -> c_int {
    result.unwrap_or_else(|errno| {
        Errno::set_raw(errno);
        -1
    })
}

/// # Safety
/// As with the real one; here nothing can go wrong.
pub unsafe fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    let expected = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
    assert_eq!((domain, kind, protocol), (libc::AF_UNIX, expected, 0));
    answer(world::called(|kernel| kernel.notify_socket()))
}

/// # Safety
/// `value` points to a live integer.
pub unsafe fn setsockopt(
    fd: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    _: libc::socklen_t,
) -> c_int {
    // SAFETY: as promised by who calls.
    let value = unsafe { *value.cast::<c_int>() };
    assert_eq!(
        (level, option, value),
        (libc::SOL_SOCKET, libc::SO_PASSCRED, 1)
    );
    answer(world::called(|kernel| kernel.pass_senders(fd)))
}

/// # Safety
/// As with the real one; here nothing can go wrong.
pub unsafe fn bind(fd: c_int, _: *const libc::sockaddr, length: libc::socklen_t) -> c_int {
    assert_eq!(
        length as usize,
        size_of::<libc::sa_family_t>(),
        "any address"
    );
    answer(world::called(|kernel| kernel.autobind(fd)))
}

/// # Safety
/// `address` points to a live `sockaddr_un`, and `length` to its length.
pub unsafe fn getsockname(
    fd: c_int,
    address: *mut libc::sockaddr,
    length: *mut libc::socklen_t,
) -> c_int {
    let named = world::called(|kernel| kernel.name_of_socket(fd));
    answer(named.map(|name| {
        // SAFETY: as promised by who calls; names are short.
        unsafe {
            let address = &mut *address.cast::<libc::sockaddr_un>();
            for (to, from) in address.sun_path.iter_mut().zip(name.bytes()) {
                *to = from as _;
            }
            let end = std::mem::offset_of!(libc::sockaddr_un, sun_path) + name.len();
            *length = end as libc::socklen_t;
        }
        0
    }))
}

/// # Safety
/// `message` and its parts are live.
pub unsafe fn recvmsg(fd: c_int, message: *mut libc::msghdr, flags: c_int) -> isize {
    assert_eq!(flags, libc::MSG_DONTWAIT, "no wait");
    // SAFETY: as promised by who calls.
    let received = world::called(|kernel| unsafe { kernel.receive(fd, message) });
    received.unwrap_or_else(|errno| {
        Errno::set_raw(errno);
        -1
    })
}

/// # Safety
/// `info` points to a live structure.
pub unsafe fn waitid(kind: idtype_t, id: id_t, info: *mut siginfo_t, options: c_int) -> c_int {
    assert_eq!(
        options,
        libc::WEXITED | libc::WNOHANG | libc::WNOWAIT,
        "a look, and no more"
    );
    let found = world::called(|kernel| {
        if kernel.interrupts() {
            return Err(libc::EINTR);
        }
        match kind {
            libc::P_ALL => kernel.peek(),
            libc::P_PID => kernel.look(id as i32),
            libc::P_PIDFD => kernel.look_by_pidfd(id as i32),
            _ => Err(libc::EINVAL),
        }
    });
    answer(found.map(|found| {
        if let Some((pid, exit)) = found {
            let (si_code, status) = match exit {
                Exit::Code(code) => (libc::CLD_EXITED, code),
                Exit::Signal {
                    signal,
                    core_dumped: false,
                } => (libc::CLD_KILLED, signal),
                Exit::Signal {
                    signal,
                    core_dumped: true,
                } => (libc::CLD_DUMPED, signal),
                Exit::Unknown => unreachable!("a kernel knows how a process ended"),
            };
            // SAFETY: as promised by who calls.
            unsafe {
                *info = siginfo_t {
                    si_code,
                    pid,
                    status,
                }
            };
        }
        0
    }))
}

/// # Safety
/// `status` points to a live integer.
pub unsafe fn waitpid(pid: pid_t, status: *mut c_int, options: c_int) -> pid_t {
    assert_eq!(options, libc::WNOHANG, "nobody is waited for here");
    let reaped = world::called(|kernel| {
        if kernel.interrupts() {
            return Err(libc::EINTR);
        }
        kernel.reap(pid)
    });
    answer(reaped.map(|reaped| match reaped {
        Waited::Alive => 0,
        Waited::Dead(exit) => {
            let word = match exit {
                Exit::Code(code) => code << 8,
                Exit::Signal {
                    signal,
                    core_dumped,
                } => signal | c_int::from(core_dumped) << 7,
                Exit::Unknown => unreachable!("a kernel knows how a process ended"),
            };
            // SAFETY: as promised by who calls.
            unsafe { *status = word };
            pid
        }
    }))
}

/// # Safety
/// As with the real one; here nothing can go wrong.
pub unsafe fn kill(pid: pid_t, signal: c_int) -> c_int {
    answer(world::called(|kernel| kernel.kill(pid, signal)).map(|()| 0))
}

/// # Safety
/// The first pointer is to a live structure.
pub unsafe fn nanosleep(time: *const timespec, _: *mut timespec) -> c_int {
    // SAFETY: as promised by who calls.
    let time = unsafe { &*time };
    world::rest(time.tv_sec as u64 * 1_000_000_000 + time.tv_nsec as u64);
    0
}

/// # Safety
/// As with the real one; the descriptor is open.
pub unsafe fn flock(fd: c_int, operation: c_int) -> c_int {
    world::called(|kernel| {
        if let Some(errno) = kernel
            .fault(Call::Lock)
            .filter(|_| operation != libc::LOCK_UN)
        {
            return answer(Err(errno));
        }
        // SAFETY: plain numbers.
        unsafe { real_libc::flock(fd, operation) }
    })
}

unsafe extern "C" {
    // These take a variable number of arguments, which Rust cannot define. On the machines that
    // this runs on, a function with the most that are used finds them in the same registers.
    #[link_name = "procsched_kernel_syscall"]
    pub fn syscall(number: c_long, ...) -> c_long;
    #[link_name = "procsched_kernel_fcntl"]
    pub fn fcntl(fd: c_int, command: c_int, ...) -> c_int;
    #[link_name = "procsched_kernel_ioctl"]
    pub fn ioctl(fd: c_int, request: c_ulong, ...) -> c_int;
}

#[unsafe(no_mangle)]
extern "C" fn procsched_kernel_syscall(
    number: c_long,
    a: c_long,
    b: c_long,
    _: c_long,
    d: c_long,
) -> c_long {
    let (a, b) = (a as i32, b as i32);
    let done = world::called(|kernel| match number {
        real_libc::SYS_pidfd_open => kernel.pidfd_open(a),
        real_libc::SYS_pidfd_send_signal => kernel.pidfd_send_signal(a, b, d as u32).map(|()| 0),
        _ => panic!("system call {number} is not simulated"),
    });
    answer(done).into()
}

#[unsafe(no_mangle)]
extern "C" fn procsched_kernel_fcntl(fd: c_int, command: c_int, argument: c_int) -> c_int {
    // SAFETY: the commands that are used here take a number or nothing.
    world::called(|_| unsafe { real_libc::fcntl(fd, command, argument) })
}

#[unsafe(no_mangle)]
extern "C" fn procsched_kernel_ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // SAFETY: the one request that is used writes an integer to a live one.
    world::called(|_| unsafe { real_libc::ioctl(fd, request as _, argument) })
}
