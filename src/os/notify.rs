//! The socket by which one run tells us how it is: sd_notify(3).
//!
//! The kernel chooses its address, which is in no file system (unix(7), autobind): it works where
//! nothing can be written, and a message to a run that has ended is refused, as its socket is closed.
//! So a message belongs to a run by the socket that it came to. The kernel names its
//! sender (`SO_PASSCRED`): a process counts that is visible here, and has our uid or the program's.

use std::ffi::{CStr, CString, c_int};
use std::mem::{offset_of, size_of};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd};

use nix::errno::Errno;

use super::descriptors::above_standard;
use super::retry;

/// The longest message, in bytes. A longer one is ignored as a whole.
pub(crate) const MESSAGE_BYTES_MAX: usize = 4096;

/// The variable that has the address, with the `@` that stands for its first byte, which is 0.
const VARIABLE_PREFIX: &[u8] = b"NOTIFY_SOCKET=@";

/// One run's socket.
#[derive(Debug)]
pub(crate) struct NotifySocket {
    socket: OwnedFd,
    variable: CString,
    /// The uids of which a sender has one: our real and effective one, and that of the program.
    uids: Vec<libc::uid_t>,
}

/// What one look has found.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Received {
    /// A message of this many bytes.
    Message(usize),
    /// A message that does not count: of a process of another user, this one.
    Stranger(libc::uid_t),
    /// A message that does not count: too long, or of a sender that is not known.
    Ignored,
    Nothing,
}

/// Room for the sender and nothing more: the kernel closes the descriptors that a message carries
/// and that there is no room for (unix(7), `MSG_CTRUNC`).
#[repr(C)]
struct Control {
    header: libc::cmsghdr,
    sender: libc::ucred,
}

impl NotifySocket {
    /// Makes a socket, with an address that no other has, for a program with this uid, if not ours.
    pub(crate) fn new(uid: Option<libc::uid_t>) -> Result<Self, Errno> {
        let kind = libc::SOCK_DGRAM | libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK;
        // SAFETY: plain numbers.
        let made = Errno::result(unsafe { libc::socket(libc::AF_UNIX, kind, 0) })?;
        // SAFETY: a descriptor that was made just now, and that nothing else has.
        let socket = above_standard(unsafe { OwnedFd::from_raw_fd(made) })?;
        let (fd, on) = (socket.as_raw_fd(), 1_i32);
        let (level, option) = (libc::SOL_SOCKET, libc::SO_PASSCRED);
        let (value, length) = ((&raw const on).cast(), length_of::<c_int>());
        // SAFETY: the value is a live int of that length.
        Errno::result(unsafe { libc::setsockopt(fd, level, option, value, length) })?;
        let family = libc::AF_UNIX as libc::sa_family_t;
        let (address, length) = ((&raw const family).cast(), length_of::<libc::sa_family_t>());
        // SAFETY: an address of that length that is a live family and nothing else: autobind.
        Errno::result(unsafe { libc::bind(fd, address, length) })?;
        let variable = variable_of(fd)?;
        // SAFETY: no arguments, cannot fail.
        let mut uids = unsafe { vec![libc::getuid(), libc::geteuid()] };
        uids.extend(uid);
        uids.sort_unstable();
        uids.dedup();
        Ok(Self {
            socket,
            variable,
            uids,
        })
    }

    pub(crate) fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }

    /// Returns the variable that the program gets: `NOTIFY_SOCKET=@003a8`.
    pub(crate) fn variable(&self) -> &CStr {
        &self.variable
    }

    /// Receives one message into the buffer, without waiting.
    pub(crate) fn receive(&self, buffer: &mut [u8; MESSAGE_BYTES_MAX]) -> Received {
        // SAFETY: all of it is numbers, for which zero is valid.
        let mut control: Control = unsafe { std::mem::zeroed() };
        let received = retry(|| self.receive_with(buffer, &mut control));
        let Ok((length, flags, control_length)) = received else {
            return Received::Nothing;
        };
        let is_whole = flags & libc::MSG_TRUNC == 0;
        let is_known = control_length >= size_of::<Control>() - PADDING && is_sender(&control);
        match control.sender.uid {
            _ if !is_whole || !is_known => Received::Ignored,
            uid if self.uids.contains(&uid) => Received::Message(length),
            uid => Received::Stranger(uid),
        }
    }

    /// Returns the length of a message, its flags, and the length of what came with it.
    fn receive_with(
        &self,
        buffer: &mut [u8; MESSAGE_BYTES_MAX],
        control: &mut Control,
    ) -> Result<(usize, c_int, usize), Errno> {
        let mut part = libc::iovec {
            iov_base: buffer.as_mut_ptr().cast(),
            iov_len: buffer.len(),
        };
        // SAFETY: all of it is numbers and pointers, for which zero is valid.
        let mut message: libc::msghdr = unsafe { std::mem::zeroed() };
        message.msg_iov = &raw mut part;
        message.msg_iovlen = 1;
        message.msg_control = std::ptr::from_mut(control).cast();
        message.msg_controllen = size_of::<Control>() as _;
        let (fd, flags) = (self.socket.as_raw_fd(), libc::MSG_DONTWAIT);
        // SAFETY: the parts of the message are alive, and as long as it says.
        let length = unsafe { libc::recvmsg(fd, &raw mut message, flags) };
        let length = Errno::result(length)?;
        let length = usize::try_from(length).unwrap_or_default();
        #[allow(clippy::useless_conversion)] // Another type in another C library.
        let control_length = usize::try_from(message.msg_controllen).unwrap_or_default();
        Ok((length, message.msg_flags, control_length))
    }

    /// Returns the uids of which a sender has one.
    pub(crate) fn uids(&self) -> &[libc::uid_t] {
        &self.uids
    }
}

/// True if the sender is known here. A pid of another PID namespace is 0.
fn is_sender(control: &Control) -> bool {
    let (header, sender) = (&control.header, &control.sender);
    let is_sender =
        (header.cmsg_level, header.cmsg_type) == (libc::SOL_SOCKET, libc::SCM_CREDENTIALS);
    is_sender && sender.pid != 0
}

/// What the C compiler puts behind the sender, and the kernel does not count.
const PADDING: usize =
    size_of::<Control>() - offset_of!(Control, sender) - size_of::<libc::ucred>();

fn length_of<T>() -> libc::socklen_t {
    size_of::<T>() as libc::socklen_t
}

/// Returns the variable for the address that the kernel has chosen.
fn variable_of(fd: c_int) -> Result<CString, Errno> {
    // SAFETY: all of it is numbers, for which zero is valid.
    let mut address: libc::sockaddr_un = unsafe { std::mem::zeroed() };
    let mut length = length_of::<libc::sockaddr_un>();
    let (pointer, room) = ((&raw mut address).cast(), &raw mut length);
    // SAFETY: both pointers are to live values, and the length is that of the first.
    Errno::result(unsafe { libc::getsockname(fd, pointer, room) })?;
    let path_length = (length as usize).saturating_sub(offset_of!(libc::sockaddr_un, sun_path));
    let path = address.sun_path.get(..path_length).unwrap_or_default();
    // The byte before the name marks an address in no file system.
    let [0, name @ ..] = path else {
        return Err(Errno::EADDRNOTAVAIL);
    };
    let mut variable = VARIABLE_PREFIX.to_vec();
    #[allow(clippy::unnecessary_cast)] // It is unsigned on some architectures.
    variable.extend(name.iter().map(|&byte| byte as u8));
    CString::new(variable).map_err(|_| Errno::EADDRNOTAVAIL)
}

#[cfg(test)]
mod tests;
