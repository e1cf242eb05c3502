//! poll(2): one wait on many descriptors.

use std::os::fd::{AsRawFd, BorrowedFd};
use std::time::Duration;

use nix::errno::Errno;

/// What one wait is about: descriptors, each with a key of the caller's. The memory is kept
/// from turn to turn; the descriptors are named anew for each.
#[derive(Debug)]
pub(crate) struct PollSet<K> {
    fds: Vec<libc::pollfd>,
    keys: Vec<K>,
}

impl<K: Copy> PollSet<K> {
    pub(crate) fn new() -> Self {
        Self {
            fds: Vec::new(),
            keys: Vec::new(),
        }
    }

    pub(crate) fn clear(&mut self) {
        self.fds.clear();
        self.keys.clear();
    }

    /// Waits for this one to become readable, too. It must stay open until [`PollSet::wait`]
    /// has returned.
    pub(crate) fn add(&mut self, fd: BorrowedFd<'_>, key: K) {
        self.fds.push(libc::pollfd {
            fd: fd.as_raw_fd(),
            events: libc::POLLIN,
            revents: 0,
        });
        self.keys.push(key);
    }

    /// Waits until something is readable or hung up, or the time is over. A signal ends the
    /// wait as if the time were over.
    pub(crate) fn wait(&mut self, timeout: Option<Duration>) -> Result<(), Errno> {
        // SAFETY: the pointer and the length are those of one live vector of `pollfd`.
        let ready = unsafe {
            libc::poll(
                self.fds.as_mut_ptr(),
                self.fds.len() as libc::nfds_t,
                milliseconds(timeout),
            )
        };
        match ready {
            -1 => {
                let errno = Errno::last();
                self.fds.iter_mut().for_each(|fd| fd.revents = 0);
                if errno == Errno::EINTR {
                    Ok(())
                } else {
                    Err(errno)
                }
            }
            _ => Ok(()),
        }
    }

    /// The keys of what the last wait found ready, from the `start`-th on and round.
    pub(crate) fn ready_from(&self, start: usize) -> impl Iterator<Item = (usize, K)> + '_ {
        let count = self.fds.len().max(1);
        (0..self.fds.len())
            .map(move |step| (start + step) % count)
            .filter(|&index| self.fds[index].revents != 0)
            .map(|index| (index, self.keys[index]))
    }

    /// The keys of all, ready or not.
    pub(crate) fn keys(&self) -> &[K] {
        &self.keys
    }
}

/// A timeout for poll(2), rounded up: a wait that ends before its deadline would spin.
fn milliseconds(timeout: Option<Duration>) -> libc::c_int {
    match timeout {
        None => -1,
        Some(time) => {
            libc::c_int::try_from(time.as_nanos().div_ceil(1_000_000)).unwrap_or(libc::c_int::MAX)
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_timeout_is_rounded_up_and_saturates() {
        let ms = |time| milliseconds(Some(time));
        assert_eq!(milliseconds(None), -1);
        assert_eq!(ms(Duration::ZERO), 0);
        assert_eq!(ms(Duration::from_nanos(1)), 1);
        assert_eq!(ms(Duration::from_micros(900)), 1);
        assert_eq!(ms(Duration::from_millis(1)), 1);
        assert_eq!(ms(Duration::from_micros(1_001)), 2);
        assert_eq!(ms(Duration::from_secs(60 * 24 * 3600)), libc::c_int::MAX);
        assert_eq!(ms(Duration::MAX), libc::c_int::MAX);
    }
}
