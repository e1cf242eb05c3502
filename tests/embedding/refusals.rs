//! System calls that a kernel or a container refuses: a seccomp(2) filter on this thread, and
//! on what it starts from then on.

/// Makes these system calls fail with `errno`.
pub fn refuse(calls: &[libc::c_long], errno: i32) {
    let statement = |code: u32, k: u32| filter(code, 0, 0, k);
    let mut program = vec![statement(libc::BPF_LD | libc::BPF_W | libc::BPF_ABS, 0)];
    for &call in calls {
        let number = u32::try_from(call).expect("a system call");
        let equal = libc::BPF_JMP | libc::BPF_JEQ | libc::BPF_K;
        program.push(filter(equal, 0, 1, number));
        let errno = u32::try_from(errno).expect("an error");
        program.push(statement(libc::BPF_RET, libc::SECCOMP_RET_ERRNO | errno));
    }
    install(program);
    for &call in calls {
        // SAFETY: the filter answers before the kernel looks at any argument.
        let refused = unsafe { libc::syscall(call, -1, -1, -1, -1) };
        let error = std::io::Error::last_os_error();
        assert_eq!((refused, error.raw_os_error()), (-1, Some(errno)));
    }
}

/// Whatever the program lets through is allowed.
pub fn install(mut program: Vec<libc::sock_filter>) {
    program.push(filter(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ALLOW));
    let program = libc::sock_fprog {
        len: u16::try_from(program.len()).expect("a short program"),
        filter: program.as_mut_ptr(),
    };
    // SAFETY: the program is live, and its length is right; the rest is numbers.
    let installed = unsafe {
        libc::prctl(libc::PR_SET_NO_NEW_PRIVS, 1, 0, 0, 0);
        let mode = libc::SECCOMP_MODE_FILTER;
        libc::prctl(libc::PR_SET_SECCOMP, mode, &raw const program)
    };
    assert_eq!(installed, 0, "seccomp: {}", std::io::Error::last_os_error());
}

pub fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("a code of 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

/// As before Linux 5.3, or where a sandbox has never heard of pidfds.
pub fn refuse_pidfds(errno: i32) {
    refuse(&[libc::SYS_pidfd_open], errno);
}
