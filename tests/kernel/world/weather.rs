//! What the system refuses, as the seed decides for a life: some calls, now and then, with these
//! errors; and what it cannot do at all, being old.

use super::process::Time;
use crate::model::rng::Rng;

/// A kind of call that may fail.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Call {
    Pipe,
    Open,
    Write,
    Lock,
    Memfd,
    Pidfd,
    EpollAdd,
    Poll,
    Resize,
    /// A new process cannot be made.
    Process,
    /// It cannot be executed.
    Exec,
    /// The list of our children; 0 for no `/proc` at all.
    List,
    /// The environment of a child cannot be read.
    Environ,
    Socket,
    SetOption,
    Bind,
    SocketName,
    Receive,
    PollOne,
    PeerName,
    SocketError,
}

const ERRORS: [(Call, &[i32]); 13] = [
    (Call::Pipe, &[libc::EMFILE, libc::ENFILE]),
    (
        Call::Open,
        &[
            libc::EMFILE,
            libc::ENFILE,
            libc::EACCES,
            libc::ENOSPC,
            libc::EROFS,
            libc::ENOMEM,
        ],
    ),
    (
        Call::Write,
        &[libc::EIO, libc::EDQUOT, libc::EFBIG, libc::ENOSPC],
    ),
    (Call::Lock, &[libc::ENOLCK, libc::EWOULDBLOCK]),
    (Call::Memfd, &[libc::EMFILE, libc::ENFILE, libc::ENOMEM]),
    (Call::Pidfd, &[libc::EMFILE, libc::ENFILE, libc::ENOMEM]),
    (Call::EpollAdd, &[libc::ENOSPC, libc::ENOMEM]),
    (Call::Poll, &[libc::ENOMEM]),
    (Call::Resize, &[libc::EPERM, libc::EBUSY]),
    (Call::Process, &[libc::EAGAIN, libc::ENOMEM]),
    (
        Call::Exec,
        &[
            libc::ENOENT,
            libc::EACCES,
            libc::ETXTBSY,
            libc::ENOEXEC,
            libc::E2BIG,
            libc::ENOMEM,
        ],
    ),
    (Call::Environ, &[libc::EMFILE, libc::ENFILE, libc::ENOMEM]),
    (
        Call::List,
        &[libc::EMFILE, libc::ENFILE, libc::ENOMEM, libc::EACCES],
    ),
];

/// The calls by which it is found out how programs are.
const SIGN_CALLS: [Call; 8] = [
    Call::Socket,
    Call::SetOption,
    Call::Bind,
    Call::SocketName,
    Call::Receive,
    Call::PollOne,
    Call::PeerName,
    Call::SocketError,
];

/// Any of them may fail with any of these, whatever its manual says.
const ANY_ERROR: [i32; 20] = [
    libc::EACCES,
    libc::EADDRINUSE,
    libc::EADDRNOTAVAIL,
    libc::EAFNOSUPPORT,
    libc::EAGAIN,
    libc::EBADF,
    libc::ECONNREFUSED,
    libc::ECONNRESET,
    libc::EFAULT,
    libc::EINTR,
    libc::EINVAL,
    libc::EIO,
    libc::EMFILE,
    libc::ENFILE,
    libc::ENOBUFS,
    libc::ENOMEM,
    libc::ENOSYS,
    libc::ENOTCONN,
    libc::EPERM,
    libc::EPROTONOSUPPORT,
];

/// How a signal by a pidfd to a group is refused.
const GROUP_PIDFD_REFUSALS: [i32; 6] = [
    libc::EINVAL,
    libc::EINVAL,
    libc::ENOSYS,
    libc::EPERM,
    libc::EACCES,
    libc::ESRCH,
];

#[derive(Debug, Clone, Default)]
pub struct Weather {
    /// A call of this kind fails one time in so many, with one of these.
    faults: Vec<(Call, &'static [i32], u64)>,
    /// One call in so many is interrupted by a signal that nobody sees.
    interrupts: Option<u64>,
    /// One start in so many is late.
    late: Option<u64>,
    /// The longest time that a call takes.
    pub call_max: Time,
    pub descriptors_max: u64,
    /// Before Linux 5.3.
    pub no_pidfd: bool,
    /// Before Linux 6.9, which answers EINVAL, or where a sandbox refuses it.
    pub no_group_pidfd: Option<i32>,
    /// Without `/proc`.
    pub no_proc: bool,
}

impl Weather {
    pub fn fair() -> Self {
        Self {
            call_max: 2_000,
            descriptors_max: 1024,
            ..Self::default()
        }
    }

    pub fn any(rng: &mut Rng) -> Self {
        let mut faults = Vec::new();
        if !rng.one_in(3) {
            let often = rng.pick(&[3, 10, 30, 100]);
            for (call, errnos) in ERRORS {
                if rng.one_in(4) {
                    faults.push((call, errnos, often));
                }
            }
        }
        // Some never get to see who came home to them.
        if rng.one_in(24) {
            let (call, errnos) = rng.pick(&[ERRORS[10], ERRORS[11]]);
            faults.retain(|(known, ..)| *known != call);
            faults.push((call, errnos, 1));
        }
        Self {
            faults,
            interrupts: rng.one_in(4).then_some(20),
            late: rng.one_in(3).then(|| rng.pick(&[2, 8, 30])),
            call_max: rng.pick(&[0, 2_000, 2_000, 20_000, 200_000]),
            descriptors_max: if rng.one_in(8) {
                28 + rng.below(24)
            } else {
                1024
            },
            no_pidfd: rng.one_in(8),
            no_group_pidfd: rng.one_in(4).then(|| rng.pick(&GROUP_PIDFD_REFUSALS)),
            no_proc: rng.one_in(32),
        }
    }

    /// The calls by which it is found out how programs are may fail, too.
    pub fn add_sign_faults(&mut self, rng: &mut Rng) {
        if rng.one_in(2) {
            return;
        }
        let often = rng.pick(&[3, 10, 30]);
        for call in SIGN_CALLS {
            if rng.one_in(4) {
                self.faults.push((call, &ANY_ERROR, often));
            }
        }
    }

    /// From now on nothing fails; an old system stays old.
    pub fn clear_up(&mut self) {
        self.faults.clear();
        self.interrupts = None;
        self.late = None;
        self.descriptors_max = 1024;
        self.call_max = self.call_max.min(2_000);
    }

    pub fn may_fail(&self, call: Call) -> bool {
        self.faults.iter().any(|(known, ..)| *known == call)
    }

    pub fn fault(&self, rng: &mut Rng, call: Call) -> Option<i32> {
        if call == Call::List && self.no_proc {
            return Some(0);
        }
        let (_, errnos, often) = self.faults.iter().find(|(known, ..)| *known == call)?;
        rng.one_in(*often).then(|| rng.pick(errnos))
    }

    pub fn is_late(&self, rng: &mut Rng) -> bool {
        self.late.is_some_and(|often| rng.one_in(often))
    }

    pub fn interrupts(&self, rng: &mut Rng) -> bool {
        self.interrupts.is_some_and(|often| rng.one_in(often))
    }
}
