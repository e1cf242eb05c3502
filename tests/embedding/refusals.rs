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

/// What must hold of an argument of a system call, by the lower half of its bits.
#[derive(Clone, Copy)]
pub struct Condition {
    argument: u32,
    how: u32,
    number: i32,
}

impl Condition {
    /// All of these bits are in it.
    pub const fn has(argument: u32, number: i32) -> Self {
        Self {
            argument,
            how: libc::BPF_JSET,
            number,
        }
    }

    pub const fn is(argument: u32, number: i32) -> Self {
        Self {
            argument,
            how: libc::BPF_JEQ,
            number,
        }
    }
}

/// Makes this system call fail with `errno`, or do nothing and return 0 if that is 0, where all
/// of the conditions hold.
pub fn answer_if(call: libc::c_long, conditions: &[Condition], errno: i32) {
    /// Where `struct seccomp_data` has the arguments, 8 bytes each.
    const ARGUMENTS: u32 = 16;
    let low_half = if cfg!(target_endian = "big") { 4 } else { 0 };
    let load = libc::BPF_LD | libc::BPF_W | libc::BPF_ABS;
    let jump = |how: u32, k: u32, left: usize| {
        let to_end = u8::try_from(left).expect("a short program");
        filter(libc::BPF_JMP | how | libc::BPF_K, 0, to_end, k)
    };
    // Behind each jump: two statements a condition, and the answer.
    let mut left = 2 * conditions.len() + 1;
    let number = u32::try_from(call).expect("a system call");
    let mut program = vec![filter(load, 0, 0, 0), jump(libc::BPF_JEQ, number, left)];
    for condition in conditions {
        left -= 2;
        let place = ARGUMENTS + 8 * condition.argument + low_half;
        program.push(filter(load, 0, 0, place));
        let number = u32::from_ne_bytes(condition.number.to_ne_bytes());
        program.push(jump(condition.how, number, left));
    }
    let errno = u32::try_from(errno).expect("an error");
    program.push(filter(libc::BPF_RET, 0, 0, libc::SECCOMP_RET_ERRNO | errno));
    install(program);
}

/// Whatever the program lets through is allowed.
fn install(mut program: Vec<libc::sock_filter>) {
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

fn filter(code: u32, jt: u8, jf: u8, k: u32) -> libc::sock_filter {
    let code = u16::try_from(code).expect("a code of 16 bits");
    libc::sock_filter { code, jt, jf, k }
}

/// As before Linux 5.3, or where a sandbox has never heard of pidfds.
pub fn refuse_pidfds(errno: i32) {
    refuse(&[libc::SYS_pidfd_open], errno);
}
