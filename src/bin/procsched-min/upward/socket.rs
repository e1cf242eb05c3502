//! The socket of the manager that has started this supervisor: where it is, and one datagram to it.

use std::ffi::OsStr;
use std::io::{self, ErrorKind};
use std::os::linux::net::SocketAddrExt;
use std::os::unix::ffi::OsStrExt;
use std::os::unix::net::{SocketAddr, UnixDatagram};

/// Where messages go.
#[derive(Debug)]
pub struct Socket {
    ours: UnixDatagram,
    manager: SocketAddr,
}

/// What became of a message.
#[derive(Debug)]
pub enum Sent {
    Done,
    /// Not now: the manager has not read what it has.
    Later(io::Error),
    /// It cannot be sent.
    Failed(io::Error),
}

impl Socket {
    /// Makes a socket that sends to the one at this address.
    pub fn to(manager: SocketAddr) -> io::Result<Self> {
        let ours = UnixDatagram::unbound()?;
        ours.set_nonblocking(true)?;
        Ok(Self { ours, manager })
    }

    /// Sends one datagram, if that does not have to wait.
    pub fn send(&self, message: &str) -> Sent {
        let sent = self.ours.send_to_addr(message.as_bytes(), &self.manager);
        match sent {
            Ok(_) => Sent::Done,
            Err(error) if is_for_now(&error) => Sent::Later(error),
            Err(error) => Sent::Failed(error),
        }
    }
}

fn is_for_now(error: &io::Error) -> bool {
    let kinds = [
        ErrorKind::WouldBlock,
        ErrorKind::Interrupted,
        ErrorKind::OutOfMemory,
    ];
    kinds.contains(&error.kind()) || error.raw_os_error() == Some(libc::ENOBUFS)
}

/// Returns the address that `NOTIFY_SOCKET` has: an absolute path, or `@` and an abstract name.
pub fn address(value: &OsStr) -> Result<SocketAddr, String> {
    let address = match value.as_bytes() {
        [b'@', name @ ..] if !name.is_empty() => SocketAddr::from_abstract_name(name).ok(),
        [b'/', ..] => SocketAddr::from_pathname(value).ok(),
        _ => None,
    };
    address.ok_or_else(|| {
        format!(
            "invalid NOTIFY_SOCKET {value:?}: expected an absolute path of at most 107 bytes, or @ \
             and an abstract name of at most 107"
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn addresses() {
        let path = |length: usize| format!("/{:x<length$}", "");
        let name = |length: usize| format!("@{:x<length$}", "");
        let found = |value: &str| address(OsStr::new(value));
        let pathname = found("/run/systemd/notify").expect("a path");
        let expected = Some("/run/systemd/notify".as_ref());
        assert_eq!(pathname.as_pathname(), expected);
        let abstract_name = found("@a/b").expect("a name");
        assert_eq!(abstract_name.as_abstract_name(), Some(&b"a/b"[..]));
        assert!(found(&path(106)).is_ok() && found(&name(107)).is_ok());
        for bad in ["@", "run/notify", "vsock:2:1234", &path(107), &name(108)] {
            let problem = found(bad).expect_err(bad);
            let start = format!("invalid NOTIFY_SOCKET \"{bad}\": expected an absolute path");
            assert!(problem.starts_with(&start), "{problem}");
        }
    }
}
