//! A run's process group: signalled only while its number is certain to be its own.
//!
//! The number is pinned by the leader until that is reaped, and then by any living member. When a
//! stop outlives the leader, a pidfd taken before the reap names the group without its number
//! (`PIDFD_SIGNAL_PROCESS_GROUP`, Linux 6.9).
//!
//! One race is left: without such a pidfd (an older kernel, a sandbox, no free descriptor, a leader
//! that other code has reaped) the number is used if there is no process of that number. Then the
//! group is ours, if it exists, as the kernel does not give a group's number to a new process.
//! Between that check and the signal the group may end and its number be used again. And a process
//! that got the number after the reap, made a group and was reaped before the check, by another than
//! us, is not known of.
//!
//! A sandbox may allow pidfd_open and refuse pidfd_send_signal with any errno. So an error of the
//! latter is never final: the group is signalled by its number as well, which returns the same
//! error if it was real. ESRCH is believed if the number has no group either, or if signal 0 to
//! ourselves shows that the call works.

use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

/// Linux 6.9; not in every libc yet.
const PIDFD_SIGNAL_THREAD_GROUP: libc::c_uint = 1 << 1;
const PIDFD_SIGNAL_PROCESS_GROUP: libc::c_uint = 1 << 2;

/// The result of sending a signal.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Sent {
    /// At least one process got it.
    Delivered,
    /// There is no such process.
    Gone,
    /// There is one, and we may not signal it.
    Refused(Errno),
}

/// The group of one run. Its number is the pid of its leader, which has called `setsid` before its
/// exec.
#[derive(Debug)]
pub(crate) struct Group {
    /// Above 1, so that its negative is a group and never all processes.
    number: i32,
    leader_reaped: bool,
    /// Another process has had the number since.
    is_number_reused: bool,
    /// The leader may not have made the group yet.
    leader_is_new: bool,
    pidfd: Option<OwnedFd>,
}

impl Group {
    /// Returns the group of a leader that has just been started.
    pub(crate) fn new(leader: i32) -> Self {
        assert!(leader > 1, "no group of ours has the number {leader}");
        Self {
            number: leader,
            leader_reaped: false,
            is_number_reused: false,
            leader_is_new: false,
            pidfd: None,
        }
    }

    /// Returns the group of a leader that may not have made it yet: until [`Group::on_made`], a
    /// signal that finds no group goes to the leader.
    pub(crate) fn of_new(leader: i32) -> Self {
        Self {
            leader_is_new: true,
            ..Self::new(leader)
        }
    }

    /// Notes that the leader has made the group.
    pub(crate) fn on_made(&mut self) {
        self.leader_is_new = false;
    }

    pub(crate) fn number(&self) -> i32 {
        self.number
    }

    /// Opens a pidfd, if there is none; to be called before the reap.
    pub(crate) fn pin(&mut self) {
        debug_assert!(!self.leader_reaped);
        if self.pidfd.is_some() {
            return;
        }
        self.pidfd = pidfd_of(self.number);
    }

    /// Returns the pidfd; it is readable when the leader is dead (pidfd_open(2)).
    pub(crate) fn pidfd(&self) -> Option<BorrowedFd<'_>> {
        self.pidfd.as_ref().map(AsFd::as_fd)
    }

    /// Notes that the leader no longer pins the number.
    pub(crate) fn on_leader_reaped(&mut self) {
        self.leader_reaped = true;
    }

    /// Notes that another process has had the number since the leader's reap. So the group is gone,
    /// as no new process gets a number that a group has; a group of that number is the other's.
    pub(crate) fn on_number_reused(&mut self) {
        self.is_number_reused = self.leader_reaped;
    }

    /// True if its number is certain to be its own, or is not needed.
    pub(crate) fn is_pinned(&self) -> bool {
        !self.leader_reaped || self.pidfd.is_some()
    }

    pub(crate) fn is_leader_reaped(&self) -> bool {
        self.leader_reaped
    }

    /// True if no member is left, not even a zombie.
    pub(crate) fn is_gone(&self) -> bool {
        // Usually there is no group of that number at all.
        (self.pidfd.is_none() && send(-self.number, 0) == Sent::Gone)
            || self.signal(0) == Sent::Gone
    }

    /// Sends a signal to the leader alone.
    pub(crate) fn signal_leader(&self, signal: i32) -> Sent {
        if self.leader_reaped {
            return Sent::Gone;
        }
        send(self.number, signal)
    }

    /// Sends a signal to every member; signal 0 only asks.
    pub(crate) fn signal(&self, signal: i32) -> Sent {
        if self.is_number_reused {
            return Sent::Gone;
        }
        if self.leader_reaped {
            match self.signal_by_pidfd(signal) {
                Some(Sent::Delivered) => return Sent::Delivered,
                Some(Sent::Gone) if send(-self.number, 0) == Sent::Gone || do_pidfds_work() => {
                    return Sent::Gone;
                }
                // An older kernel, or perhaps a sandbox.
                Some(Sent::Gone | Sent::Refused(_)) | None => {}
            }
            // A process has this number after the leader's reap: as no new process gets a number
            // that a group has, our group is gone.
            if send(self.number, 0) != Sent::Gone {
                return Sent::Gone;
            }
        }
        let sent = send(-self.number, signal);
        if sent == Sent::Gone && self.leader_is_new && !self.leader_reaped {
            // The leader pins the number.
            return send(self.number, signal);
        }
        sent
    }

    /// Returns `None` without a pidfd.
    fn signal_by_pidfd(&self, signal: i32) -> Option<Sent> {
        let pidfd = self.pidfd.as_ref()?;
        Some(send_by_pidfd(pidfd, signal, PIDFD_SIGNAL_PROCESS_GROUP))
    }
}

/// Returns `None` without pidfds, without a free descriptor, or if there is no such process.
fn pidfd_of(pid: i32) -> Option<OwnedFd> {
    // SAFETY: pidfd_open takes two integers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    i32::try_from(fd).ok().filter(|&fd| fd >= 0).map(|fd| {
        // SAFETY: the kernel has just made this descriptor, and nothing else owns it.
        unsafe { OwnedFd::from_raw_fd(fd) }
    })
}

fn send_by_pidfd(pidfd: &OwnedFd, signal: i32, scope: libc::c_uint) -> Sent {
    let no_info = std::ptr::null::<libc::siginfo_t>();
    // SAFETY: pidfd_send_signal takes a descriptor, two integers and a pointer that may be null.
    let status = unsafe {
        libc::syscall(
            libc::SYS_pidfd_send_signal,
            pidfd.as_raw_fd(),
            signal,
            no_info,
            scope,
        )
    };
    outcome(i32::try_from(status).unwrap_or(-1))
}

/// True if pidfd_send_signal(2) works here, tried with signal 0 on ourselves. False as well if
/// there is no pidfd to try it with.
fn do_pidfds_work() -> bool {
    let ourselves = i32::try_from(std::process::id()).ok().and_then(pidfd_of);
    ourselves
        .is_some_and(|pidfd| send_by_pidfd(&pidfd, 0, PIDFD_SIGNAL_THREAD_GROUP) == Sent::Delivered)
}

/// Sends a signal to a process or, by the negative of its number, to a group (kill(2)).
pub(super) fn send(to: i32, signal: i32) -> Sent {
    // SAFETY: kill takes two integers.
    outcome(unsafe { libc::kill(to, signal) })
}

/// Decodes the result of kill(2) or a similar call.
fn outcome(status: i32) -> Sent {
    if status != -1 {
        return Sent::Delivered;
    }
    match Errno::last() {
        Errno::ESRCH => Sent::Gone,
        errno => Sent::Refused(errno),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A supervisor once took 0 and -1 for "no process" and killed the whole container.
    #[test]
    fn museum_54_no_group_of_ours_has_a_number_below_two() {
        for number in [i32::MIN, -2, -1, 0, 1] {
            assert!(
                std::panic::catch_unwind(|| Group::new(number)).is_err(),
                "{number}"
            );
        }
    }

    /// A number was reused for a child that made a group, left a member in it and was reaped, all
    /// before the first probe: the member stood for the group that was there before.
    #[test]
    fn a_group_whose_number_is_reused_is_gone() {
        let this_group = nix::unistd::getpgrp().as_raw();
        let mut group = Group::new(this_group);
        group.on_number_reused();
        assert!(!group.is_gone(), "its leader has the number");
        group.on_leader_reaped();
        group.on_number_reused();
        assert!(group.is_gone());
        assert_eq!(group.signal(0), Sent::Gone, "the other group is not asked");
    }
}
