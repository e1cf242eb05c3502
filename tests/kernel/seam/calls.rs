//! The part of `libc` that asks the kernel: processes are simulated, descriptors are real.

use std::ffi::{c_int, c_long, c_ulong, c_void};

use real_libc::{id_t, idtype_t, nfds_t, pid_t, pollfd, rlimit, sigset_t, timespec};
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
/// The pointers are to live structures, or null.
pub unsafe fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    time: *const timespec,
    _: *const sigset_t,
) -> c_int {
    // SAFETY: as promised by who calls.
    let (fds, time) = unsafe {
        (
            std::slice::from_raw_parts_mut(fds, count as usize),
            time.as_ref(),
        )
    };
    let nanos = |time: &timespec| {
        (time.tv_sec as u64)
            .saturating_mul(1_000_000_000)
            .saturating_add(time.tv_nsec as u64)
    };
    answer(world::wait(fds, time.map(nanos)))
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

/// glibc has a type of its own for these numbers, musl has none.
#[cfg(target_env = "gnu")]
type Resource = real_libc::__rlimit_resource_t;
#[cfg(not(target_env = "gnu"))]
type Resource = c_int;

/// # Safety
/// The pointer is to a live structure.
pub unsafe fn getrlimit(resource: Resource, limit: *mut rlimit) -> c_int {
    // SAFETY: as promised by who calls.
    unsafe {
        let status = real_libc::getrlimit(resource, limit);
        if resource == real_libc::RLIMIT_NOFILE {
            (*limit).rlim_cur = world::called(|kernel| kernel.weather.descriptors_max);
        }
        status
    }
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
    #[link_name = "procsched_kernel_prctl"]
    pub fn prctl(option: c_int, ...) -> c_int;
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

#[unsafe(no_mangle)]
extern "C" fn procsched_kernel_prctl(option: c_int, argument: *mut c_int) -> c_int {
    world::called(|kernel| match option {
        libc::PR_SET_CHILD_SUBREAPER => kernel.subreaper = !argument.is_null(),
        // SAFETY: with this option the argument is the address of a live integer.
        libc::PR_GET_CHILD_SUBREAPER => unsafe { *argument = c_int::from(kernel.subreaper) },
        _ => panic!("prctl option {option} is not simulated"),
    });
    0
}
