//! What a program says to its supervisor by sd_notify(3), and what another could try.

use std::io::ErrorKind;
use std::os::fd::AsRawFd;
use std::os::linux::net::SocketAddrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

use crate::{broken, must, output};

const VARIABLE: &str = "NOTIFY_SOCKET";

/// A socket that is connected to the one of the variable.
fn connected() -> UnixDatagram {
    let name = std::env::var(VARIABLE).unwrap_or_else(|_| broken(VARIABLE));
    connected_to(&name).unwrap_or_else(|_| broken(&name))
}

fn connected_to(name: &str) -> std::io::Result<UnixDatagram> {
    let name = name.strip_prefix('@').unwrap_or_else(|| broken(name));
    let socket = UnixDatagram::unbound()?;
    socket.connect_addr(&SocketAddr::from_abstract_name(name)?)?;
    Ok(socket)
}

/// Sends one message.
pub fn send(text: &[u8]) {
    if connected().send(text).is_err() {
        broken("send");
    }
}

/// Sends one message that is this long: a text, and bytes that say nothing.
pub fn send_long(bytes: usize, text: &[u8]) {
    let mut message = [text, b"\n"].concat();
    message.resize(bytes, b'.');
    send(&message);
}

/// Sends a message so often, as fast as it is taken.
pub fn flood(count: u64, text: &[u8]) {
    let socket = connected();
    for _ in 0..count {
        if socket.send(text).is_err() {
            broken("send");
        }
    }
}

/// Writes down the address.
pub fn keep_address(file: &str) {
    let name = std::env::var(VARIABLE).unwrap_or_else(|_| broken(VARIABLE));
    output::replace(file, name.as_bytes());
}

/// Sends a message to an address that was written down, and writes down what came of it.
pub fn send_to(file: &str, into: &str, text: &[u8]) {
    let name = std::fs::read_to_string(file).unwrap_or_else(|_| broken(file));
    let sent = connected_to(&name).and_then(|socket| socket.send(text));
    let said: &[u8] = match sent.map_err(|error| error.kind()) {
        Ok(_) => b"sent",
        Err(ErrorKind::ConnectionRefused) => b"refused",
        Err(_) => broken("send"),
    };
    output::replace(into, said);
}

/// Sends a message with three descriptors.
pub fn send_with_descriptors(text: &[u8]) {
    const FDS: [libc::c_int; 3] = [0, 1, 2];
    let socket = connected();
    let mut room = [0_u64; 8];
    let length = size_of_val(&FDS) as libc::c_uint;
    let mut part = libc::iovec {
        iov_base: text.as_ptr().cast_mut().cast(),
        iov_len: text.len(),
    };
    // SAFETY: zero is valid for all of it. The room is aligned, and larger than one header and three
    // descriptors; the parts are alive until the call is over.
    unsafe {
        let mut message: libc::msghdr = std::mem::zeroed();
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = room.as_mut_ptr().cast();
        message.msg_controllen = libc::CMSG_SPACE(length) as _;
        let header = libc::CMSG_FIRSTHDR(&raw const message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(length) as _;
        let place = libc::CMSG_DATA(header).cast::<libc::c_int>();
        std::ptr::copy_nonoverlapping(FDS.as_ptr(), place, FDS.len());
        must(
            libc::sendmsg(socket.as_raw_fd(), &raw const message, 0) as i64,
            "sendmsg",
        );
    }
}
