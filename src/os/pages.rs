//! Memory straight from the system: a page costs nothing before it is touched, and nothing is
//! left of it when it is given back. What is large and seldom used belongs here; a heap would
//! fill it with zeroes, or with the remains of others.

use std::ffi::c_void;
use std::mem::ManuallyDrop;
use std::ops::{Deref, DerefMut};
use std::ptr::{self, NonNull};

use nix::errno::Errno;

/// Some pages of zeroes.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<u8>,
    length: usize,
}

// SAFETY: the memory is this owner's alone, as a Box's is.
unsafe impl Send for Pages {}

// SAFETY: whoever shares it can read it only.
unsafe impl Sync for Pages {}

impl Pages {
    /// As many bytes, or up to a page more.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing
        // that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let base = NonNull::new(base.cast()).ok_or(Errno::ENOMEM)?;
        Ok(Self { base, length })
    }

    /// Where they begin; they are not given back by themselves any more.
    pub(super) fn into_base(self) -> NonNull<u8> {
        ManuallyDrop::new(self).base
    }

    /// Lets nobody touch the first page any more.
    pub(super) fn guard_first(self) -> Result<Guarded, Errno> {
        let base = self.base.as_ptr().cast();
        // SAFETY: the first page of a mapping that nobody but us has, and that is not to be had
        // as bytes any more; whoever touches it is stopped by the system.
        let status = unsafe { libc::mprotect(base, 1, libc::PROT_NONE) };
        Errno::result(status).map(|_| Guarded(self))
    }
}

/// Pages of which the first must not be touched, and which are no bytes to be had for that.
#[derive(Debug)]
pub(super) struct Guarded(Pages);

impl Guarded {
    /// Where they end.
    pub(super) fn end(&self) -> *mut c_void {
        self.0.base.as_ptr().wrapping_add(self.0.length).cast()
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a live mapping of that length, initialised with zeroes by the system.
        unsafe { std::slice::from_raw_parts(self.base.as_ptr(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.base.as_ptr(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave; nothing borrows it any more.
        unsafe { libc::munmap(self.base.as_ptr().cast(), self.length) };
    }
}

/// Gives memory that is not used back to the system, where libc keeps it until it is told
/// (glibc's malloc_trim(3)); and has what is large mapped by itself from now on, so that it goes
/// back at once. By itself glibc keeps ever larger pieces, until the heap is as large as it ever
/// had to be, and full of holes (mallopt(3), M_MMAP_THRESHOLD).
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    {
        const LARGE: libc::c_int = 32 * 1024;
        // SAFETY: both take numbers, may be called at any time, and touch what is free only.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, LARGE);
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn it_is_zeroes_and_can_be_written() {
        let mut pages = Pages::new(100_000).unwrap();
        assert_eq!(pages.len(), 100_000);
        assert!(pages.iter().all(|&byte| byte == 0));
        pages[99_999] = 7;
        assert_eq!(pages.iter().filter(|&&byte| byte != 0).count(), 1);
        assert_eq!(Pages::new(0).unwrap_err(), Errno::EINVAL);
    }
}
