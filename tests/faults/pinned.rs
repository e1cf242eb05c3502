//! Faults that once found something, or stand for many that did: they are played with every
//! sample.

/// By name.
pub const PINNED: &[&str] = &[
    // A wait without a deadline that was over at once was followed by the next, at full speed. It
    // takes longest, and so comes first.
    "init:rt_sigtimedwait:1:EAGAIN:ever",
    // A call that was interrupted without end was made again without end, in the midst of a turn.
    "own:epoll_wait:1:EINTR:ever",
    "own:wait4:1:EINTR:ever",
    "own:waitid:1:EINTR:ever",
    // A wait that failed was followed by a turn, and that by the next wait, at full speed.
    "own:ppoll:1:EINTR:ever",
    "own:ppoll:1:ENOMEM:ever",
    // A zombie that could not be reaped was found again at once, for ever.
    "own:wait4:1:ECHILD:ever",
    // `init` waited for ever for the end of a command that was no child of its any more, and for
    // one of whose end nobody would ever tell: not even SIGTERM ended it.
    "init:waitid:1:ECHILD:ever",
    "init:waitid:1:EINVAL:ever",
    // `init` asked a late child for the last time at the end, and kept its pipe open until then.
    "init:read:8:EAGAIN:once",
    // A host's own scheduler learned of deaths by its pidfds alone, and who was ready was not told:
    // the dead were given up as what will not die.
    "host:epoll_wait:2:EINTR:ever",
    // A pidfd that could not be taken off the list was readable for as long as its group was there,
    // and each turn that found nothing else was followed by the next, at full speed.
    "host:epoll_ctl:11:ENOMEM:once",
    "host:epoll_ctl:11:ENOENT:ever",
    // A sandbox that refused signals by pidfd kept every group of a stop alive: 15 s, and given up.
    "own:pidfd_send_signal:1:EPERM:ever",
    "own:pidfd_send_signal:1:EACCES:ever",
    "host:pidfd_send_signal:1:EPERM:ever",
    // The rest that is refused and has something older to stand in for it.
    "own:pidfd_open:1:EPERM:ever",
    "host:pidfd_open:1:ENOSYS:ever",
    "child:close_range:1:EPERM:once",
    // The control socket: it cannot be made, there is no descriptor for a client, and a client is
    // lost in the midst of its answer. Supervision goes on, and the next client is answered.
    "own:bind:1:EACCES:once",
    "own:listen:1:EPERM:once",
    "own:accept4:1:EMFILE:once",
    // A connection that was announced and never came woke it without end.
    "own:accept4:1:EAGAIN:ever",
    "own:accept4:1:ECONNABORTED:ever",
    "own:getsockopt:1:EPERM:ever",
    "own:recvfrom:1:EINTR:ever",
    "own:sendto:1:EPIPE:once",
];
