//! Stops a thread before each of its system calls on files (seccomp_unotify(2)). Another thread does
//! there what another process might do, or answers instead of the system.

use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::sync::mpsc::channel;

use nix::errno::Errno;

/// The calls by which logs are opened, looked at, rotated and written.
const CALLS: &[libc::c_long] = &[
    libc::SYS_fchmod,
    libc::SYS_flock,
    libc::SYS_fstat,
    libc::SYS_ftruncate,
    libc::SYS_newfstatat,
    libc::SYS_openat,
    libc::SYS_pread64,
    libc::SYS_readlinkat,
    libc::SYS_renameat,
    libc::SYS_renameat2,
    libc::SYS_statx,
    libc::SYS_write,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_lstat,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_open,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_readlink,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_rename,
    #[cfg(target_arch = "x86_64")]
    libc::SYS_stat,
];

/// Does this in a thread of its own. Before each of its calls, which are counted from 0, `at` is
/// called: it may answer with an error, and then the call is not made. `None` where the system, or a
/// sandbox, does not let a thread be stopped.
pub(super) fn stopped<T: Send>(
    act: impl FnOnce() -> T + Send,
    mut at: impl FnMut(usize) -> Option<Errno>,
) -> Option<T> {
    std::thread::scope(|scope| {
        let (sender, receiver) = channel();
        let actor = scope.spawn(move || {
            let listener = listen();
            let is_stopped = listener.is_some();
            let _ = sender.send(listener);
            drop(sender);
            is_stopped.then(act)
        });
        if let Ok(Some(listener)) = receiver.recv() {
            let mut index = 0;
            // A panic here closes the listener, and the actor goes on with errors.
            serve(&listener, || {
                index += 1;
                at(index - 1)
            });
        }
        actor.join().expect("the thread that is stopped")
    })
}

/// Has this thread stopped at each of the calls, and returns the descriptor that tells of them.
fn listen() -> Option<OwnedFd> {
    let load = (libc::BPF_LD | libc::BPF_W | libc::BPF_ABS) as u16;
    let jump = (libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K) as u16;
    let answer = (libc::BPF_RET | libc::BPF_K) as u16;
    let instruction = |code, jt, k| libc::sock_filter { code, jt, jf: 0, k };
    let number = std::mem::offset_of!(libc::seccomp_data, nr) as u32;
    let mut program = vec![instruction(load, 0, number)];
    for (index, call) in CALLS.iter().enumerate() {
        let to_the_end = (CALLS.len() - index) as u8;
        program.push(instruction(jump, to_the_end, *call as u32));
    }
    program.push(instruction(answer, 0, libc::SECCOMP_RET_ALLOW));
    program.push(instruction(answer, 0, libc::SECCOMP_RET_USER_NOTIF));
    let program = libc::sock_fprog {
        len: program.len() as u16,
        filter: program.as_mut_ptr(),
    };
    // SAFETY: plain numbers, and a program that is live.
    let fd = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        libc::syscall(
            libc::SYS_seccomp,
            libc::SECCOMP_SET_MODE_FILTER,
            libc::SECCOMP_FILTER_FLAG_NEW_LISTENER,
            &raw const program,
        )
    };
    let fd = i32::try_from(fd).ok().filter(|fd| *fd >= 0)?;
    // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
    Some(unsafe { OwnedFd::from_raw_fd(fd) })
}

/// Answers each call until the thread is over.
fn serve(listener: &OwnedFd, mut at: impl FnMut() -> Option<Errno>) {
    loop {
        let mut poll = libc::pollfd {
            fd: listener.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one live structure.
        unsafe { libc::poll(&raw mut poll, 1, -1) };
        if poll.revents & libc::POLLIN == 0 {
            if poll.revents != 0 {
                return;
            }
            continue;
        }
        // SAFETY: plain numbers, for which 0 is valid, and which the kernel wants to be 0.
        let mut stop: libc::seccomp_notif = unsafe { std::mem::zeroed() };
        // SAFETY: a live structure of the size that the number of the call names.
        let status = unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_RECV,
                &raw mut stop,
            )
        };
        if status == -1 {
            continue;
        }
        let error = at();
        let mut answer = libc::seccomp_notif_resp {
            id: stop.id,
            val: 0,
            error: error.map_or(0, |errno| -(errno as i32)),
            flags: match error {
                Some(_) => 0,
                None => libc::SECCOMP_USER_NOTIF_FLAG_CONTINUE as u32,
            },
        };
        // SAFETY: a live structure of the size that the number of the call names.
        unsafe {
            libc::ioctl(
                listener.as_raw_fd(),
                libc::SECCOMP_IOCTL_NOTIF_SEND,
                &raw mut answer,
            )
        };
    }
}
