//! A connection that shows whether a program listens: it is begun without waiting, asked later, and
//! closed as soon as it is there.
//!
//! A connect(2) to a port of this machine is over at once, as a rule; one to another machine takes
//! as long as the network. One to a Unix socket never waits here: when the queue of the listener
//! is full, EAGAIN refuses it. A connection to a free port of the ephemeral range may meet itself,
//! without any listener; then it is refused, too.

use std::net::{SocketAddr, SocketAddrV6};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, OwnedFd};
use std::path::Path;

use nix::errno::Errno;
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use nix::sys::socket::sockopt::SocketError;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, SockaddrStorage,
    UnixAddr, bind, connect, getpeername, getsockname, getsockopt, socket,
};

use super::{descriptors, retry};
use crate::spec::Address;

/// A connection that is being made. It is writable when it is there, or has failed.
#[derive(Debug)]
pub(crate) struct Connection(OwnedFd);

impl AsFd for Connection {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

/// What came of the beginning.
#[derive(Debug)]
pub(crate) enum Begun {
    /// It was made, and is closed.
    Connected,
    Underway(Connection),
}

impl Connection {
    /// Begins a connection. The path of a Unix socket is relative to `base_dir`.
    pub(crate) fn begin(address: &Address, base_dir: &Path) -> Result<Begun, Errno> {
        let (family, to): (_, Box<dyn SockaddrLike>) = match address {
            Address::Tcp(SocketAddr::V4(address)) => {
                (AddressFamily::Inet, Box::new(SockaddrIn::from(*address)))
            }
            Address::Tcp(SocketAddr::V6(address)) => {
                (AddressFamily::Inet6, Box::new(SockaddrIn6::from(*address)))
            }
            Address::Unix(path) => {
                let path = base_dir.join(path);
                (AddressFamily::Unix, Box::new(UnixAddr::new(&path)?))
            }
        };
        let flags = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
        let made = socket(family, SockType::Stream, flags, None)?;
        let this = Self(descriptors::above_standard(made)?);
        match retry(|| connect(this.0.as_raw_fd(), &*to)) {
            // The second and third after an interruption.
            Ok(()) | Err(Errno::EISCONN) => this.check_peer().map(|()| Begun::Connected),
            Err(Errno::EINPROGRESS | Errno::EALREADY) => match this.poll() {
                None => Ok(Begun::Underway(this)),
                Some(answer) => answer.map(|()| Begun::Connected),
            },
            Err(errno) => Err(errno),
        }
    }

    /// Asks whether it was made. `None`: there is no answer yet.
    pub(crate) fn poll(&self) -> Option<Result<(), Errno>> {
        let mut waited = [PollFd::new(self.as_fd(), PollFlags::POLLOUT)];
        match retry(|| poll(&mut waited, PollTimeout::ZERO)) {
            Ok(0) | Err(_) => None,
            Ok(_) => Some(self.answer()),
        }
    }

    fn answer(&self) -> Result<(), Errno> {
        match getsockopt(&self.0, SocketError)? {
            0 => self.check_peer(),
            errno => Err(Errno::from_raw(errno)),
        }
    }

    /// Refuses a connection to itself.
    fn check_peer(&self) -> Result<(), Errno> {
        let fd = self.0.as_raw_fd();
        let peer = getpeername::<SockaddrStorage>(fd)?;
        let is_tcp = matches!(
            peer.family(),
            Some(AddressFamily::Inet | AddressFamily::Inet6)
        );
        match is_tcp && getsockname::<SockaddrStorage>(fd)? == peer {
            true => Err(Errno::ECONNREFUSED),
            false => Ok(()),
        }
    }
}

/// True if this error says nothing of the program that is connected to: this process or the system
/// is short of something. It is short of ports where it has no local address left for a connection
/// from one; to another IPv6 address than its own, it may have no address at all, and not even its
/// own where IPv6 is switched off.
pub(crate) fn is_shortage(errno: Errno, address: Option<&Address>) -> bool {
    match errno {
        Errno::EMFILE | Errno::ENFILE | Errno::ENOMEM | Errno::ENOBUFS => true,
        Errno::EADDRNOTAVAIL => match address {
            Some(Address::Tcp(SocketAddr::V4(_))) => true,
            Some(Address::Tcp(SocketAddr::V6(address))) => {
                address.ip().is_loopback() && has_address(address)
            }
            Some(Address::Unix(_)) | None => false,
        },
        _ => false,
    }
}

/// True unless this address is none of this machine: `::1` is not if IPv6 is switched off.
fn has_address(address: &SocketAddrV6) -> bool {
    let any_port = SocketAddrV6::new(*address.ip(), 0, 0, address.scope_id());
    let made = socket(
        AddressFamily::Inet6,
        SockType::Datagram,
        SockFlag::SOCK_CLOEXEC,
        None,
    );
    let bound = made.and_then(|made| bind(made.as_raw_fd(), &SockaddrIn6::from(any_port)));
    bound != Err(Errno::EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::os::descriptors::wait_for_close;

    /// Waits of a tenth of a second.
    const WAITS_MAX: u32 = 300;

    /// Waits for the answer, as the scheduler does with its epoll.
    fn tried(address: &Address, base_dir: &Path) -> Result<(), Errno> {
        let underway = match Connection::begin(address, base_dir)? {
            Begun::Connected => return Ok(()),
            Begun::Underway(connection) => connection,
        };
        for _ in 0..WAITS_MAX {
            let mut waited = [PollFd::new(underway.as_fd(), PollFlags::POLLOUT)];
            poll(&mut waited, PollTimeout::from(100_u8)).expect("a wait");
            if let Some(answer) = underway.poll() {
                return answer;
            }
        }
        panic!("no answer from {address}");
    }

    fn tcp(listener: &TcpListener) -> Address {
        Address::Tcp(listener.local_addr().expect("an address"))
    }

    #[test]
    fn a_port_is_open_or_refused() {
        let root = Path::new("/");
        for host in ["127.0.0.1:0", "[::1]:0"] {
            let Ok(listener) = TcpListener::bind(host) else {
                continue; // Without IPv6.
            };
            let address = tcp(&listener);
            assert_eq!(tried(&address, root), Ok(()), "{address}");
            drop(listener);
            wait_for_close(|| tried(&address, root) == Err(Errno::ECONNREFUSED));
        }
    }

    #[test]
    fn a_socket_is_found_relative_to_the_base_directory() {
        let directory = tempfile::tempdir().expect("a directory");
        let address = Address::Unix("a.sock".into());
        let tried = || tried(&address, directory.path());
        assert_eq!(tried(), Err(Errno::ENOENT));
        let path = directory.path().join("a.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        assert_eq!(tried(), Ok(()));
        drop(listener);
        // The file is left.
        wait_for_close(|| tried() == Err(Errno::ECONNREFUSED));
        std::fs::remove_file(&path).expect("a file");
        std::fs::write(&path, "").expect("a file");
        assert_eq!(tried(), Err(Errno::ECONNREFUSED), "a file of another kind");
    }

    #[test]
    fn used_up_ports_are_a_shortage_and_a_missing_address_is_none() {
        let is_short = |address: &str| {
            let address = address.parse().expect("an address");
            is_shortage(Errno::EADDRNOTAVAIL, Some(&Address::Tcp(address)))
        };
        assert!(is_short("127.0.0.1:80") && is_short("192.0.2.1:80"));
        // Where IPv6 is switched off there is no such address.
        assert_eq!(is_short("[::1]:80"), TcpListener::bind("[::1]:0").is_ok());
        assert!(!is_short("[2001:db8::1]:80"));
        let unix = Address::Unix("a.sock".into());
        assert!(!is_shortage(Errno::EADDRNOTAVAIL, Some(&unix)));
        assert!(is_shortage(Errno::EMFILE, Some(&unix)));
        assert!(!is_shortage(Errno::ECONNREFUSED, Some(&unix)));
    }

    /// A listener that does not accept is one that does not answer.
    #[test]
    fn a_full_queue_refuses_at_once() {
        let directory = tempfile::tempdir().expect("a directory");
        let path = directory.path().join("a.sock");
        let listener = UnixListener::bind(&path).expect("a socket");
        nix::sys::socket::listen(&listener, nix::sys::socket::Backlog::new(0).expect("none"))
            .expect("a shorter queue");
        let address = Address::Unix(path.clone());
        for _ in 0..16 {
            match Connection::begin(&address, Path::new("/")) {
                // It is closed, and has its place in the queue until it is accepted.
                Ok(Begun::Connected) => {}
                Ok(Begun::Underway(_)) => panic!("a Unix socket is never waited for"),
                Err(errno) => return assert_eq!(errno, Errno::EAGAIN),
            }
        }
        panic!("a queue without an end");
    }

    /// TCP lets two ends that connect to each other meet, and so one that connects to itself.
    #[test]
    fn a_connection_to_itself_is_refused() {
        let socket = |port: u16| {
            let made = socket(
                AddressFamily::Inet,
                SockType::Stream,
                SockFlag::SOCK_CLOEXEC,
                None,
            );
            let made = made.expect("a socket");
            let here = SockaddrIn::new(127, 0, 0, 1, port);
            bind(made.as_raw_fd(), &here).expect("a free port");
            made
        };
        let made = socket(0);
        let here: SockaddrStorage = getsockname(made.as_raw_fd()).expect("its address");
        connect(made.as_raw_fd(), &here).expect("it meets itself");
        let this = Connection(made);
        assert_eq!(this.check_peer(), Err(Errno::ECONNREFUSED));
        assert_eq!(this.poll(), Some(Err(Errno::ECONNREFUSED)));
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        let other = TcpStream::connect(listener.local_addr().expect("its address"));
        let other = Connection(other.expect("a connection").into());
        assert_eq!(other.check_peer(), Ok(()));
    }
}
