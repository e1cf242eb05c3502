use std::net::UdpSocket;
use std::os::fd::AsRawFd;
use std::time::Duration;

use super::*;

/// Returns a socket whose next write fails, unlike those after it, and the socket that receives
/// them: the error of a datagram is reported once, by the next write.
fn refusing_once() -> (UdpSocket, UdpSocket) {
    let bind = |port| UdpSocket::bind(("127.0.0.1", port)).expect("a port");
    let (writer, reader) = (bind(0), bind(0));
    let address = reader.local_addr().expect("its own address");
    writer.connect(address).expect("no reply is needed");
    drop(reader);
    let has_failed = || {
        writer.send(&[0]).expect("it is sent");
        let mut error = libc::pollfd {
            fd: writer.as_raw_fd(),
            events: 0,
            revents: 0,
        };
        // SAFETY: one live structure.
        let ready = unsafe { libc::poll(&raw mut error, 1, 100) };
        (ready, error.revents) == (1, libc::POLLERR)
    };
    // A child of another test may still have the other end for a moment.
    assert!((0..100).any(|_| has_failed()), "it was to fail");
    let reader = bind(address.port());
    reader
        .set_read_timeout(Some(Duration::from_secs(10)))
        .expect("a time");
    (writer, reader)
}

/// A write to the pipe failed once: the signal was pending, and the loop slept until something
/// else happened, as only the first handler writes.
#[test]
fn a_wake_that_fails_once_is_tried_again() {
    let (writer, reader) = refusing_once();
    // Held to the end: other tests want a process without another scheduler.
    let mut dispositions = Dispositions::lock();
    let slot = dispositions.claim(false, writer.as_raw_fd());
    let slot = slot.expect("a slot");
    slot.wanted.store(bit(libc::SIGUSR2), Ordering::SeqCst);
    mark_slots(libc::SIGUSR2, None);
    let pending = slot.take();
    dispositions.release(slot);
    assert_eq!(pending, bit(libc::SIGUSR2));
    let woken = reader.recv(&mut [0; 8]);
    assert_eq!(woken.ok(), Some(1), "the loop is not woken");
}
