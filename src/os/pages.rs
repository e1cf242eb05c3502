//! Anonymous memory mappings: a page costs nothing before it is touched, and goes back to the
//! system whole. What is large and seldom used belongs here, as it would fill a heap with holes.

use std::ffi::c_void;
use std::num::NonZeroUsize;
use std::ops::{Deref, DerefMut};
use std::ptr::NonNull;

use nix::errno::Errno;
use nix::sys::mman::{MapFlags, MmapAdvise, ProtFlags, madvise, mmap_anonymous, mprotect, munmap};

/// A private mapping, full of zeros at first.
#[derive(Debug)]
pub(crate) struct Pages {
    base: NonNull<c_void>,
    length: usize,
}

// SAFETY: it owns the memory, like a Box.
unsafe impl Send for Pages {}

// SAFETY: a shared reference only reads.
unsafe impl Sync for Pages {}

impl Pages {
    /// Maps `length` bytes, rounded up to whole pages.
    pub(crate) fn new(length: usize) -> Result<Self, Errno> {
        let size = NonZeroUsize::new(length).ok_or(Errno::EINVAL)?;
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at an address of the kernel's choice touches nothing that exists.
        let base = unsafe { mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE) }?;
        Ok(Self { base, length })
    }

    /// Returns the address of the first byte.
    pub(super) fn base(&self) -> *mut u8 {
        self.base.as_ptr().cast()
    }

    pub(super) fn len(&self) -> usize {
        self.length
    }

    /// Has the kernel clear them in a copy of this process (Linux 4.14).
    pub(super) fn wipe_on_fork(&self) -> Result<(), Errno> {
        // SAFETY: the mapping is private, anonymous and ours.
        unsafe { madvise(self.base, self.length, MmapAdvise::MADV_WIPEONFORK) }
    }

    /// Makes the first page a guard page: touching it is a SIGSEGV.
    pub(super) fn guard_first(self) -> Result<Guarded, Errno> {
        // SAFETY: the mapping is ours alone, and is no longer a slice of bytes afterwards.
        unsafe { mprotect(self.base, 1, ProtFlags::PROT_NONE) }?;
        Ok(Guarded(self))
    }
}

/// Pages behind a guard page, and so no slice of bytes.
#[derive(Debug)]
pub(super) struct Guarded(Pages);

impl Guarded {
    /// Returns where they end.
    pub(super) fn end(&self) -> *mut c_void {
        self.0.base().wrapping_add(self.0.length).cast()
    }
}

impl Deref for Pages {
    type Target = [u8];

    fn deref(&self) -> &[u8] {
        // SAFETY: a live mapping of that length, initialised with zeros by the system.
        unsafe { std::slice::from_raw_parts(self.base(), self.length) }
    }
}

impl DerefMut for Pages {
    fn deref_mut(&mut self) -> &mut [u8] {
        // SAFETY: as above, and `&mut self` makes it the only view.
        unsafe { std::slice::from_raw_parts_mut(self.base(), self.length) }
    }
}

impl Drop for Pages {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap returned; nothing borrows it any more.
        let _ = unsafe { munmap(self.base, self.length) };
    }
}

/// Returns unused heap memory to the system (malloc_trim(3)), and has glibc map large allocations
/// separately from now on, so that they are returned when freed. By default glibc raises that
/// threshold, until the heap is as large as it ever had to be, and full of holes (mallopt(3),
/// M_MMAP_THRESHOLD). It also takes 128 KiB more than it needs when the heap grows, and uses them
/// before it looks for what was freed (M_TOP_PAD).
pub(crate) fn trim_memory() {
    #[cfg(target_env = "gnu")]
    {
        const MMAP_THRESHOLD_BYTES: libc::c_int = 32 * 1024;
        const TOP_PAD_BYTES: libc::c_int = 16 * 1024;
        // SAFETY: both take numbers, may be called at any time, and touch free memory only.
        unsafe {
            libc::mallopt(libc::M_MMAP_THRESHOLD, MMAP_THRESHOLD_BYTES);
            libc::mallopt(libc::M_TOP_PAD, TOP_PAD_BYTES);
            libc::malloc_trim(0);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_mapping_is_zeros_and_can_be_written() {
        let mut pages = Pages::new(100_000).unwrap();
        assert_eq!(pages.len(), 100_000);
        assert!(pages.iter().all(|&byte| byte == 0));
        pages[99_999] = 7;
        assert_eq!(pages.iter().filter(|&&byte| byte != 0).count(), 1);
        assert_eq!(Pages::new(0).unwrap_err(), Errno::EINVAL);
    }
}
