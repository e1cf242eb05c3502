//! What the man pages say of each call: the errors that this use of it can meet.
//!
//! Left out is what a call can only get for a mistake in the caller (EBADF, EFAULT, ENOTDIR of a
//! path that is none). What strace cannot fake is said beside its row.

/// How long an error goes on that goes on for ever.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ever {
    Always,
    /// A few times in a row. An error that says "call again" is answered by calling again, also by
    /// the standard library, and no kernel says that without end.
    Storm,
}

/// A call, and what it can answer instead.
pub struct Entry {
    pub call: &'static str,
    pub errors: &'static [&'static str],
}

const fn entry(call: &'static str, errors: &'static [&'static str]) -> Entry {
    Entry { call, errors }
}

const OPEN: &[&str] = &[
    "EACCES", "EDQUOT", "EINTR", "EIO", "ELOOP", "EMFILE", "ENFILE", "ENOENT", "ENOMEM", "ENOSPC",
    "ENXIO", "EPERM", "EROFS", "ETXTBSY",
];
const STAT: &[&str] = &["EACCES", "EIO", "ELOOP", "ENOENT", "ENOMEM", "ENOSYS"];
const CLONE: &[&str] = &[
    "EAGAIN", "ENOMEM", "ENOSPC", "EPERM", "EINVAL", "ENOSYS", "EINTR",
];
const EXEC: &[&str] = &[
    "E2BIG", "EACCES", "EAGAIN", "EIO", "EMFILE", "ENFILE", "ENOENT", "ENOEXEC", "ENOMEM", "EPERM",
    "ETXTBSY",
];

// That what is there is not there (ENOENT) is a lie: the next rename would go over it.
const RENAME: &[&str] = &[
    "EACCES",
    "EBUSY",
    "EDQUOT",
    "EIO",
    "EISDIR",
    "ENOMEM",
    "ENOSPC",
    "ENOTEMPTY",
    "EPERM",
    "EROFS",
];

/// By call.
pub const PAGES: &[Entry] = &[
    entry(
        "accept4",
        &[
            "EAGAIN",
            "ECONNABORTED",
            "EINTR",
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
            "EPERM",
        ],
    ),
    entry("access", &["EACCES", "EIO", "ENOENT", "ENOMEM", "EROFS"]),
    entry(
        "bind",
        &[
            "EACCES",
            "EADDRINUSE",
            "ELOOP",
            "ENOENT",
            "ENOMEM",
            "ENOSPC",
            "EPERM",
            "EROFS",
        ],
    ),
    // brk(2) itself answers with the old end; a C library takes any error for an address.
    entry("brk", &[]),
    entry("chdir", &["EACCES", "EIO", "ENOENT", "ENOMEM"]),
    entry("clock_nanosleep", &["EINTR", "EINVAL"]),
    entry("clone", CLONE),
    entry("clone3", CLONE),
    // An error of close(2) under strace leaves the descriptor open, which Linux never does.
    entry("close", &["EINTR", "EIO"]),
    entry(
        "close_range",
        &["EACCES", "EINVAL", "EMFILE", "ENOMEM", "ENOSYS", "EPERM"],
    ),
    entry(
        "connect",
        &["EACCES", "EAGAIN", "ECONNREFUSED", "ENOENT", "EPERM"],
    ),
    entry("dup2", &["EBUSY", "EINTR", "EMFILE"]),
    entry("dup3", &["EBUSY", "EINTR", "EMFILE"]),
    entry("epoll_create1", &["EMFILE", "ENFILE", "ENOMEM"]),
    entry("epoll_ctl", &["ENOENT", "ENOMEM", "ENOSPC", "EPERM"]),
    entry("epoll_wait", &["EINTR"]),
    entry("epoll_pwait", &["EINTR"]),
    entry("execve", EXEC),
    entry("faccessat", &["EACCES", "EIO", "ENOENT", "ENOMEM", "EROFS"]),
    entry("fchmod", &["EIO", "EPERM", "EROFS"]),
    entry("fchownat", &["EIO", "ENOENT", "EPERM", "EROFS"]),
    entry("fcntl", &["EBUSY", "EINTR", "EINVAL", "EMFILE", "EPERM"]),
    entry("flock", &["EAGAIN", "EINTR", "ENOLCK"]),
    entry("fork", CLONE),
    entry("fstat", STAT),
    entry("ftruncate", &["EFBIG", "EINTR", "EIO", "EPERM"]),
    // Where it is refused a start is looked at from time to time.
    entry(
        "futex",
        &["EAGAIN", "EINTR", "ENOSYS", "EPERM", "ETIMEDOUT"],
    ),
    entry("getcwd", &["EACCES", "ENOENT", "ENOMEM"]),
    entry("getdents64", &["EIO", "ENOENT"]),
    entry("geteuid", &[]),
    entry("getpgid", &["ESRCH", "EPERM"]),
    entry("getpid", &[]),
    entry("getrandom", &["EINTR", "ENOSYS"]),
    entry("getsockopt", &["EACCES", "ENOMEM", "ENOPROTOOPT", "EPERM"]),
    entry("gettid", &[]),
    entry("ioctl", &["EINVAL", "EIO", "ENOTTY"]),
    entry("kill", &["EPERM", "ESRCH"]),
    entry("listen", &["EADDRINUSE", "EOPNOTSUPP", "EPERM"]),
    entry("lstat", STAT),
    entry("lseek", &["EINVAL", "ESPIPE"]),
    entry("madvise", &["EAGAIN", "EINVAL", "EIO", "ENOMEM"]),
    entry(
        "memfd_create",
        &["EMFILE", "ENFILE", "ENOMEM", "ENOSYS", "EPERM"],
    ),
    entry(
        "mkdir",
        &[
            "EACCES", "EDQUOT", "EEXIST", "EMLINK", "ENOENT", "ENOMEM", "ENOSPC", "EROFS",
        ],
    ),
    entry("mmap", &["EAGAIN", "ENOMEM"]),
    entry("mprotect", &["EACCES", "ENOMEM"]),
    entry("mremap", &["EAGAIN", "ENOMEM"]),
    entry("munmap", &["EINVAL", "ENOMEM"]),
    entry("nanosleep", &["EINTR", "EINVAL"]),
    entry("newfstatat", STAT),
    entry("open", OPEN),
    entry("openat", OPEN),
    entry(
        "pidfd_open",
        &[
            "EACCES", "EINVAL", "EMFILE", "ENFILE", "ENODEV", "ENOMEM", "ENOSYS", "EPERM", "ESRCH",
        ],
    ),
    // A single ESRCH for a group that exists is impossible; a lasting one is played in
    // `tests/embedding/sandboxes.rs`.
    entry(
        "pidfd_send_signal",
        &["EACCES", "EINVAL", "ENOSYS", "EPERM"],
    ),
    entry("pipe2", &["EMFILE", "ENFILE", "ENOMEM"]),
    entry("poll", &["EINTR", "EINVAL", "ENOMEM"]),
    entry("ppoll", &["EINTR", "EINVAL", "ENOMEM"]),
    entry("pread64", &["EINTR", "EIO", "EISDIR"]),
    entry("prctl", &["EINVAL", "EPERM"]),
    entry("prlimit64", &["EINVAL", "EPERM"]),
    entry("read", &["EAGAIN", "EINTR", "EIO", "EISDIR", "ENOMEM"]),
    entry("readlink", &["EACCES", "EIO", "ENOENT", "ENOMEM"]),
    entry("readlinkat", &["EACCES", "EIO", "ENOENT", "ENOMEM"]),
    entry("recvfrom", &["EAGAIN", "ECONNRESET", "EINTR", "ENOMEM"]),
    entry("rename", RENAME),
    entry("renameat", RENAME),
    entry("renameat2", RENAME),
    entry("rt_sigaction", &["EINVAL"]),
    entry("rt_sigtimedwait", &["EAGAIN", "EINTR", "EINVAL"]),
    // A mask that cannot be set back would leave every signal blocked; no kernel refuses one.
    entry("rt_sigprocmask", &[]),
    entry("sched_yield", &[]),
    entry(
        "sendto",
        &[
            "EACCES",
            "EAGAIN",
            "ECONNRESET",
            "EINTR",
            "ENOBUFS",
            "ENOMEM",
            "EPIPE",
        ],
    ),
    entry("setpgid", &["EACCES", "EPERM", "ESRCH"]),
    entry("setrlimit", &["EINVAL", "EPERM"]),
    entry("setgroups", &["EINVAL", "ENOMEM", "EPERM"]),
    entry("setpriority", &["EACCES", "EPERM", "ESRCH"]),
    entry("setresgid", &["EAGAIN", "EINVAL", "EPERM"]),
    entry("setresuid", &["EAGAIN", "EINVAL", "EPERM"]),
    entry("setsid", &["EPERM"]),
    entry("sigaltstack", &["ENOMEM", "EPERM"]),
    entry(
        "socket",
        &[
            "EACCES",
            "EAFNOSUPPORT",
            "EMFILE",
            "ENFILE",
            "ENOBUFS",
            "ENOMEM",
        ],
    ),
    entry("stat", STAT),
    entry("statx", STAT),
    entry("tgkill", &["EAGAIN", "EPERM", "ESRCH"]),
    entry("umask", &[]),
    entry(
        "unlink",
        &[
            "EACCES", "EBUSY", "EIO", "ENOENT", "ENOMEM", "EPERM", "EROFS",
        ],
    ),
    entry("vfork", CLONE),
    entry("wait4", &["ECHILD", "EINTR", "EINVAL"]),
    entry("waitid", &["ECHILD", "EINTR", "EINVAL"]),
    entry(
        "write",
        &[
            "EAGAIN", "EDQUOT", "EFBIG", "EINTR", "EIO", "ENOSPC", "EPERM", "EPIPE",
        ],
    ),
];

/// Calls with a fallback. If one is refused from the first call on, nothing may be lost, nothing
/// be said, and no stop take longer.
const WITH_A_FALLBACK: [&str; 4] = ["close_range", "futex", "pidfd_open", "pidfd_send_signal"];

/// True if the call has a fallback.
pub fn has_a_fallback(call: &str) -> bool {
    WITH_A_FALLBACK.contains(&call)
}

/// Calls that are left alone: they end a process or a signal's handler, and cannot fail; or are
/// the host's own (see `host`).
pub const LEFT_ALONE: &[&str] = &[
    "exit",
    "exit_group",
    "restart_syscall",
    "rt_sigreturn",
    "writev",
];

/// What a call can answer, and for how long. Its purpose is the call as it stands in a trace.
pub fn errors_of(call: &str, purpose: &str) -> impl Iterator<Item = (&'static str, bool)> {
    let entry = PAGES.iter().find(|entry| entry.call == call);
    let entry = entry.unwrap_or_else(|| {
        panic!("the supervisor makes a call that is new here: {call} needs its row in PAGES")
    });
    let is_close = call == "close";
    // EIO of a close is that of an earlier write, of which a directory knows none: the standard
    // library takes it for a defect there, and panics.
    let is_directory = is_close && (purpose.contains("/task>") || purpose.contains("/fd>"));
    let errors = entry.errors.iter();
    let errors = errors.filter(move |error| !is_directory || **error != "EIO");
    // A socket that poll(2) calls ready is not empty, or full, without end; and a client has 10 s
    // for its request, and 30 s to take some of the answer.
    let is_of_socket = matches!(call, "recvfrom" | "sendto");
    errors.map(move |&error| {
        let may_last = !is_close || error == "EINTR";
        (error, may_last && !(is_of_socket && error == "EAGAIN"))
    })
}

/// How long an error goes on that goes on for ever.
pub fn ever(call: &str, error: &str) -> Ever {
    // What waits in a loop of our own must come out of it, whatever the kernel says. The loop
    // around rt_sigtimedwait is musl's.
    let waits = [
        "epoll_pwait",
        "epoll_wait",
        "poll",
        "ppoll",
        "wait4",
        "waitid",
    ];
    let again = error == "EINTR";
    match again && !waits.contains(&call) {
        true => Ever::Storm,
        false => Ever::Always,
    }
}
