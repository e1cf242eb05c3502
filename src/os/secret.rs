//! Random bits, without `/dev`, without `/proc` and without waiting.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::sync::atomic::{AtomicUsize, Ordering};

use super::clock;

/// Returns 128 random bits.
///
/// They are getrandom(2)'s, if it does not block. Early in a boot it does, and a sandbox may refuse
/// it: then they are hashed from the 16 random bytes that the kernel passes at exec (AT_RANDOM,
/// getauxval(3)) and from values that differ between calls.
pub(crate) fn random_bits() -> [u64; 2] {
    let mut bits = [0_u64; 2];
    let length = size_of_val(&bits);
    // SAFETY: the kernel writes at most that many bytes into an array of our own.
    let status = unsafe {
        libc::syscall(
            libc::SYS_getrandom,
            bits.as_mut_ptr(),
            length,
            libc::GRND_NONBLOCK,
        )
    };
    if usize::try_from(status) == Ok(length) {
        return bits;
    }
    [0, 1].map(hashed)
}

fn hashed(salt: u64) -> u64 {
    static CALLS: AtomicUsize = AtomicUsize::new(0);
    let mut hasher = DefaultHasher::new();
    salt.hash(&mut hasher);
    given_at_exec().hash(&mut hasher);
    // Two schedulers of one process, and a forked copy, have the same bytes.
    CALLS.fetch_add(1, Ordering::Relaxed).hash(&mut hasher);
    std::process::id().hash(&mut hasher);
    clock::wall().hash(&mut hasher);
    hasher.finish()
}

fn given_at_exec() -> [u8; 16] {
    // SAFETY: getauxval takes a number.
    let address = unsafe { libc::getauxval(libc::AT_RANDOM) };
    let bytes = address as *const [u8; 16];
    if bytes.is_null() {
        return [0; 16];
    }
    // SAFETY: the kernel has put 16 bytes there, which stay until the process ends.
    unsafe { bytes.read_unaligned() }
}

#[cfg(test)]
mod tests;
