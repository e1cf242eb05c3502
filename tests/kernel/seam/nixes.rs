//! The part of `nix` that the library uses.

pub use real_nix::*;

pub mod errno {
    pub use real_nix::errno::*;
}

pub mod poll {
    use crate::kernel::world::{self, Call};
    use real_libc::{c_int, pollfd};
    use real_nix::errno::Errno;
    pub use real_nix::poll::*;
    use real_nix::sys::signal::SigSet;
    use real_nix::sys::time::TimeSpec;

    /// A look at one connection.
    pub fn poll<T: Into<PollTimeout>>(fds: &mut [PollFd<'_>], time: T) -> crate::Result<c_int> {
        let time = time.into();
        world::called(|kernel| {
            if kernel.interrupts() {
                return Err(Errno::EINTR);
            }
            match kernel.fault(Call::PollOne) {
                Some(errno) => Err(Errno::from_raw(errno)),
                None => real_nix::poll::poll(fds, time),
            }
        })
    }

    pub fn ppoll(
        fds: &mut [PollFd<'_>],
        time: Option<TimeSpec>,
        _: Option<SigSet>,
    ) -> crate::Result<c_int> {
        let nanos = |time: TimeSpec| {
            (time.tv_sec() as u64)
                .saturating_mul(1_000_000_000)
                .saturating_add(time.tv_nsec() as u64)
        };
        let base = fds.as_mut_ptr().cast::<pollfd>();
        // SAFETY: a `PollFd` is a `pollfd` (`repr(transparent)`).
        let fds = unsafe { std::slice::from_raw_parts_mut(base, fds.len()) };
        world::wait(fds, time.map(nanos)).map_err(Errno::from_raw)
    }
}

pub mod fcntl {
    use std::os::fd::{AsFd, OwnedFd};

    use crate::kernel::world::{self, Call};
    use real_nix::NixPath;
    use real_nix::errno::Errno;
    pub use real_nix::fcntl::*;
    use real_nix::sys::stat::Mode;

    pub fn open<P: ?Sized + NixPath>(path: &P, flags: OFlag, mode: Mode) -> crate::Result<OwnedFd> {
        world::called(|kernel| {
            if kernel.interrupts() {
                return Err(Errno::EINTR);
            }
            kernel.opened(Call::Open, || real_nix::fcntl::open(path, flags, mode))
        })
    }

    pub fn fcntl<Fd: AsFd>(fd: Fd, argument: FcntlArg<'_>) -> crate::Result<std::ffi::c_int> {
        world::called(|kernel| {
            if matches!(argument, F_SETPIPE_SZ(_))
                && let Some(errno) = kernel.fault(Call::Resize)
            {
                return Err(Errno::from_raw(errno));
            }
            real_nix::fcntl::fcntl(fd, argument)
        })
    }
}

pub mod unistd {
    use std::os::fd::{AsFd, AsRawFd, OwnedFd};

    use crate::kernel::world;
    use real_nix::errno::Errno;
    use real_nix::fcntl::OFlag;
    pub use real_nix::unistd::*;

    pub fn pipe2(flags: OFlag) -> crate::Result<(OwnedFd, OwnedFd)> {
        world::called(|kernel| {
            if kernel.interrupts() {
                return Err(Errno::EINTR);
            }
            kernel.pipe(flags)
        })
    }

    pub fn read<Fd: AsFd>(fd: Fd, buffer: &mut [u8]) -> crate::Result<usize> {
        world::called(|kernel| {
            if kernel.interrupts() {
                return Err(Errno::EINTR);
            }
            let count = real_nix::unistd::read(&fd, buffer)?;
            kernel.was_read(fd.as_fd().as_raw_fd(), &buffer[..count]);
            Ok(count)
        })
    }

    pub fn write<Fd: AsFd>(fd: Fd, bytes: &[u8]) -> crate::Result<usize> {
        world::called(|kernel| {
            let bytes = kernel.fitting(fd.as_fd().as_raw_fd(), bytes)?;
            real_nix::unistd::write(fd, bytes)
        })
    }
}

pub mod sys {
    pub use real_nix::sys::*;

    pub mod socket {
        use std::ffi::c_int;
        use std::mem::size_of;
        use std::os::fd::{AsFd, AsRawFd, OwnedFd, RawFd};

        use crate::kernel::world;
        use real_nix::errno::Errno;
        pub use real_nix::sys::socket::*;

        pub fn socket<T: Into<Option<SockProtocol>>>(
            _: AddressFamily,
            kind: SockType,
            flags: SockFlag,
            _: T,
        ) -> crate::Result<OwnedFd> {
            if kind == SockType::Datagram {
                // To ask whether there is an address.
                let made = real_nix::unistd::pipe2(real_nix::fcntl::OFlag::O_CLOEXEC);
                return made.map(|(_, write)| write);
            }
            let expected = SockFlag::SOCK_CLOEXEC | SockFlag::SOCK_NONBLOCK;
            assert_eq!((kind, flags), (SockType::Stream, expected));
            let made = world::called(|kernel| kernel.stream_socket());
            made.map_err(Errno::from_raw)
        }

        /// There is the address, or there is none.
        pub fn bind(_: RawFd, _: &dyn SockaddrLike) -> crate::Result<()> {
            match world::called(|kernel| kernel.rng.one_in(2)) {
                true => Err(Errno::EADDRNOTAVAIL),
                false => Ok(()),
            }
        }

        /// Connects to a port, or to the socket of a name.
        pub fn connect(fd: RawFd, to: &dyn SockaddrLike) -> crate::Result<()> {
            // SAFETY: each address is as long as its family has it.
            let to = unsafe {
                match to.family() {
                    Some(AddressFamily::Inet) => {
                        Ok(u16::from_be((*to.as_ptr().cast::<sockaddr_in>()).sin_port))
                    }
                    Some(AddressFamily::Inet6) => Ok(u16::from_be(
                        (*to.as_ptr().cast::<sockaddr_in6>()).sin6_port,
                    )),
                    _ => {
                        let address = UnixAddr::from_raw(to.as_ptr(), Some(to.len()));
                        let address = address.expect("an address");
                        let file = address.path().and_then(std::path::Path::file_name);
                        Err(file.expect("a path").to_string_lossy().into_owned())
                    }
                }
            };
            let connected = world::called(|kernel| kernel.connect(fd, to));
            connected.map_err(Errno::from_raw)
        }

        pub fn getsockopt<F: AsFd>(fd: &F, _: sockopt::SocketError) -> crate::Result<c_int> {
            let fd = fd.as_fd().as_raw_fd();
            let error = world::called(|kernel| kernel.socket_error(fd));
            error.map_err(Errno::from_raw)
        }

        pub fn getpeername<T: SockaddrLike>(fd: RawFd) -> crate::Result<T> {
            let ports = world::called(|kernel| kernel.ports(fd));
            ports
                .map(|(peer, _)| address(peer))
                .map_err(Errno::from_raw)
        }

        pub fn getsockname<T: SockaddrLike>(fd: RawFd) -> crate::Result<T> {
            let ports = world::called(|kernel| kernel.ports(fd));
            ports.map(|(_, own)| address(own)).map_err(Errno::from_raw)
        }

        fn address<T: SockaddrLike>(port: u16) -> T {
            let address = SockaddrIn::new(127, 0, 0, 1, port);
            let length = size_of::<sockaddr_in>() as libc::socklen_t;
            // SAFETY: a live address of that length.
            let address = unsafe { T::from_raw(address.as_ptr(), Some(length)) };
            address.expect("an address of this machine")
        }
    }

    pub mod prctl {
        use crate::kernel::world;

        pub fn set_child_subreaper(wanted: bool) -> crate::Result<()> {
            world::called(|kernel| kernel.subreaper = wanted);
            Ok(())
        }

        pub fn get_child_subreaper() -> crate::Result<bool> {
            Ok(world::called(|kernel| kernel.subreaper))
        }
    }

    pub mod signal {
        pub use real_nix::sys::signal::*;
    }

    pub mod resource {
        use crate::kernel::world;
        pub use real_nix::sys::resource::*;

        pub fn getrlimit(resource: Resource) -> crate::Result<(u64, u64)> {
            let (soft, hard) = real_nix::sys::resource::getrlimit(resource)?;
            let descriptors = || world::called(|kernel| kernel.weather.descriptors_max);
            Ok(match resource {
                Resource::RLIMIT_NOFILE => (descriptors(), hard),
                _ => (soft, hard),
            })
        }
    }

    pub mod stat {
        pub use real_nix::sys::stat::*;
    }

    pub mod memfd {
        use std::os::fd::OwnedFd;

        use crate::kernel::world::{self, Call};
        use real_nix::NixPath;
        pub use real_nix::sys::memfd::*;

        pub fn memfd_create<P: NixPath + ?Sized>(
            name: &P,
            flags: MFdFlags,
        ) -> crate::Result<OwnedFd> {
            world::called(|kernel| {
                kernel.opened(Call::Memfd, || {
                    real_nix::sys::memfd::memfd_create(name, flags)
                })
            })
        }
    }

    pub mod epoll {
        use std::mem::ManuallyDrop;
        use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

        use crate::kernel::world::{self, Call};
        use real_nix::errno::Errno;
        pub use real_nix::sys::epoll::*;

        #[derive(Debug)]
        pub struct Epoll(pub OwnedFd);

        fn real<T>(fd: &OwnedFd, act: impl FnOnce(&real_nix::sys::epoll::Epoll) -> T) -> T {
            // SAFETY: the descriptor is open, and never closed by this copy of its owner.
            let copy = unsafe { OwnedFd::from_raw_fd(fd.as_raw_fd()) };
            act(&ManuallyDrop::new(real_nix::sys::epoll::Epoll(copy)))
        }

        impl Epoll {
            pub fn new(flags: EpollCreateFlags) -> crate::Result<Self> {
                let real = real_nix::sys::epoll::Epoll::new(flags)?;
                Ok(Self(real.0))
            }

            pub fn add<Fd: AsFd>(&self, fd: Fd, event: EpollEvent) -> crate::Result<()> {
                world::called(|kernel| match kernel.fault(Call::EpollAdd) {
                    Some(errno) => Err(Errno::from_raw(errno)),
                    None => real(&self.0, |epoll| epoll.add(fd, event)),
                })
            }

            pub fn delete<Fd: AsFd>(&self, fd: Fd) -> crate::Result<()> {
                world::called(|_| real(&self.0, |epoll| epoll.delete(fd)))
            }

            pub fn modify<Fd: AsFd>(&self, fd: Fd, event: &mut EpollEvent) -> crate::Result<()> {
                world::called(|_| real(&self.0, |epoll| epoll.modify(fd, event)))
            }

            pub fn wait<T: Into<EpollTimeout>>(
                &self,
                events: &mut [EpollEvent],
                timeout: T,
            ) -> crate::Result<usize> {
                world::called(|_| real(&self.0, |epoll| epoll.wait(events, timeout)))
            }
        }
    }
}
