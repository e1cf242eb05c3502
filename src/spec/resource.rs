//! Resources that have limits, by the names that configs and the system have for them.

/// A resource with a limit: getrlimit(2) says what each is.
#[allow(missing_docs)] // As there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
#[non_exhaustive]
pub enum Resource {
    As,
    Core,
    Cpu,
    Data,
    Fsize,
    Locks,
    Memlock,
    Msgqueue,
    Nice,
    Nofile,
    Nproc,
    Rss,
    Rtprio,
    Rttime,
    Sigpending,
    Stack,
}

impl Resource {
    /// All of them, in their order.
    pub(crate) const ALL: [Self; 16] = [
        Self::As,
        Self::Core,
        Self::Cpu,
        Self::Data,
        Self::Fsize,
        Self::Locks,
        Self::Memlock,
        Self::Msgqueue,
        Self::Nice,
        Self::Nofile,
        Self::Nproc,
        Self::Rss,
        Self::Rtprio,
        Self::Rttime,
        Self::Sigpending,
        Self::Stack,
    ];

    /// Returns the name that configs have for it: `nofile`.
    pub(crate) fn key(self) -> &'static str {
        &self.key_of_limits()["limits.".len()..]
    }

    /// Returns its key of a program.
    pub(crate) fn key_of_limits(self) -> &'static str {
        match self {
            Self::As => "limits.as",
            Self::Core => "limits.core",
            Self::Cpu => "limits.cpu",
            Self::Data => "limits.data",
            Self::Fsize => "limits.fsize",
            Self::Locks => "limits.locks",
            Self::Memlock => "limits.memlock",
            Self::Msgqueue => "limits.msgqueue",
            Self::Nice => "limits.nice",
            Self::Nofile => "limits.nofile",
            Self::Nproc => "limits.nproc",
            Self::Rss => "limits.rss",
            Self::Rtprio => "limits.rtprio",
            Self::Rttime => "limits.rttime",
            Self::Sigpending => "limits.sigpending",
            Self::Stack => "limits.stack",
        }
    }

    /// Returns its number for the system.
    #[allow(clippy::cast_sign_loss)]
    pub(crate) fn number(self) -> usize {
        // Signed in one C library, unsigned in another.
        (match self {
            Self::As => libc::RLIMIT_AS,
            Self::Core => libc::RLIMIT_CORE,
            Self::Cpu => libc::RLIMIT_CPU,
            Self::Data => libc::RLIMIT_DATA,
            Self::Fsize => libc::RLIMIT_FSIZE,
            Self::Locks => libc::RLIMIT_LOCKS,
            Self::Memlock => libc::RLIMIT_MEMLOCK,
            Self::Msgqueue => libc::RLIMIT_MSGQUEUE,
            Self::Nice => libc::RLIMIT_NICE,
            Self::Nofile => libc::RLIMIT_NOFILE,
            Self::Nproc => libc::RLIMIT_NPROC,
            Self::Rss => libc::RLIMIT_RSS,
            Self::Rtprio => libc::RLIMIT_RTPRIO,
            Self::Rttime => libc::RLIMIT_RTTIME,
            Self::Sigpending => libc::RLIMIT_SIGPENDING,
            Self::Stack => libc::RLIMIT_STACK,
        }) as usize
    }
}
