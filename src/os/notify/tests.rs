use std::io::ErrorKind;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use super::*;
use crate::os::descriptors::wait_for_close;

/// A sender to the socket that this variable leads to.
fn sender_to(variable: &CStr) -> UnixDatagram {
    let name = variable.to_bytes().strip_prefix(VARIABLE_PREFIX);
    let address = SocketAddr::from_abstract_name(name.expect("a variable")).expect("an address");
    let sender = UnixDatagram::unbound().expect("a socket");
    sender.connect_addr(&address).expect("a receiver");
    sender
}

fn receive(socket: &NotifySocket) -> Option<Vec<u8>> {
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    match socket.receive(&mut buffer) {
        Received::Message(length) => Some(buffer[..length].to_vec()),
        Received::Stranger(_) | Received::Ignored | Received::Nothing => None,
    }
}

#[test]
fn what_a_process_of_ours_sends_arrives_whole_and_in_order() {
    let socket = NotifySocket::new(None).expect("a socket");
    let sender = sender_to(socket.variable());
    assert_eq!(receive(&socket), None);
    sender.send(b"READY=1").expect("sent");
    sender.send(b"").expect("sent");
    let longest = [b'x'; MESSAGE_BYTES_MAX];
    sender.send(&longest).expect("sent");
    assert_eq!(receive(&socket).as_deref(), Some(&b"READY=1"[..]));
    assert_eq!(receive(&socket).as_deref(), Some(&b""[..]));
    assert_eq!(receive(&socket).as_deref(), Some(&longest[..]));
    assert_eq!(receive(&socket), None);
}

#[test]
fn a_message_that_is_too_long_is_ignored_and_the_next_is_not() {
    let socket = NotifySocket::new(None).expect("a socket");
    let sender = sender_to(socket.variable());
    let mut long = b"READY=1\n".to_vec();
    long.resize(MESSAGE_BYTES_MAX + 1, b'x');
    sender.send(&long).expect("sent");
    sender.send(b"STATUS=here").expect("sent");
    let mut buffer = [0; MESSAGE_BYTES_MAX];
    assert_eq!(socket.receive(&mut buffer), Received::Ignored);
    assert_eq!(receive(&socket).as_deref(), Some(&b"STATUS=here"[..]));
}

/// What was sent to a run that has ended must not reach the next.
#[test]
fn each_socket_has_an_address_of_its_own_and_a_closed_one_refuses() {
    let (first, second) = (
        NotifySocket::new(None).expect("a socket"),
        NotifySocket::new(None),
    );
    let second = second.expect("a socket");
    assert_ne!(first.variable(), second.variable());
    let (to_first, to_second) = (sender_to(first.variable()), sender_to(second.variable()));
    to_first.send(b"READY=1").expect("sent");
    assert_eq!(receive(&second), None);
    drop(first);
    to_first.set_nonblocking(true).expect("a socket");
    let refused = |error: std::io::Error| error.kind() == ErrorKind::ConnectionRefused;
    wait_for_close(|| to_first.send(b"READY=1").is_err_and(refused));
    to_second.send(b"READY=1").expect("sent");
    assert!(receive(&second).is_some());
}

/// As `BARRIER=1` and `FDSTORE=1` do.
#[test]
fn descriptors_that_a_message_carries_are_closed_as_it_is_read() {
    let socket = NotifySocket::new(None).expect("a socket");
    let sender = sender_to(socket.variable());
    let (mut read, write) = std::io::pipe().expect("a pipe");
    send_with(&sender, b"READY=1", write.as_fd());
    drop(write);
    assert_eq!(receive(&socket).as_deref(), Some(&b"READY=1"[..]));
    // The other end has no writer any more.
    let end = std::io::Read::read(&mut read, &mut [0]).expect("the end");
    assert_eq!(end, 0);
}

fn send_with(sender: &UnixDatagram, text: &[u8], passed: BorrowedFd<'_>) {
    use nix::sys::socket::{ControlMessage, MsgFlags, sendmsg};
    let fds = [passed.as_raw_fd()];
    let parts = [std::io::IoSlice::new(text)];
    let more = [ControlMessage::ScmRights(&fds)];
    let fd = sender.as_raw_fd();
    let sent = sendmsg::<()>(fd, &parts, &more, MsgFlags::empty(), None);
    assert_eq!(sent, Ok(text.len()));
}

#[test]
fn a_sender_counts_by_its_uid_and_its_pid() {
    let mut socket = NotifySocket::new(None).expect("a socket");
    let sender = sender_to(socket.variable());
    // SAFETY: no arguments, cannot fail.
    let effective = unsafe { libc::geteuid() };
    let other = effective.wrapping_add(1);
    let of_another = NotifySocket::new(Some(other)).expect("a socket");
    assert!(
        [effective, other]
            .iter()
            .all(|uid| of_another.uids().contains(uid))
    );
    assert!(!socket.uids().contains(&other));
    for (uids, counts) in [
        (vec![effective, other], true),
        (vec![other, effective], true),
        (vec![other], false),
    ] {
        socket.uids = uids;
        sender.send(b"READY=1").expect("sent");
        assert_eq!(receive(&socket).is_some(), counts, "{:?}", socket.uids);
    }
    // SAFETY: all of it is numbers, for which zero is valid.
    let mut control: Control = unsafe { std::mem::zeroed() };
    (control.header.cmsg_level, control.header.cmsg_type) =
        (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
    sender.send(b"READY=1").expect("sent");
    let received = socket.receive(&mut [0; MESSAGE_BYTES_MAX]);
    assert_eq!(received, Received::Stranger(effective));
    assert!(!is_sender(&control), "its pid is not visible here");
    control.sender.pid = 1;
    assert!(is_sender(&control));
    control.header.cmsg_type = libc::SCM_RIGHTS;
    assert!(!is_sender(&control), "nothing says who has sent it");
}
