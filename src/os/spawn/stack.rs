//! A stack for a child that shares our memory, with a page below it that must not be touched.

use std::ffi::c_void;
use std::ptr;

use nix::errno::Errno;

/// Enough for the child's few frames, with room for a libc that is generous with its own.
const STACK_BYTES: usize = 64 * 1024;

pub(super) struct Stack {
    base: usize,
    length: usize,
}

impl Stack {
    pub(super) fn new() -> Result<Self, Errno> {
        // SAFETY: sysconf takes an integer.
        let page = usize::try_from(unsafe { libc::sysconf(libc::_SC_PAGESIZE) }).unwrap_or(4096);
        let length = STACK_BYTES + page;
        let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_STACK;
        let access = libc::PROT_READ | libc::PROT_WRITE;
        // SAFETY: an anonymous mapping at an address of the kernel's choice touches nothing
        // that exists.
        let base = unsafe { libc::mmap(ptr::null_mut(), length, access, flags, -1, 0) };
        if base == libc::MAP_FAILED {
            return Err(Errno::last());
        }
        let stack = Self {
            base: base as usize,
            length,
        };
        // SAFETY: the first page of a mapping that we have just made and nobody uses.
        if unsafe { libc::mprotect(base, page, libc::PROT_NONE) } == -1 {
            return Err(Errno::last());
        }
        Ok(stack)
    }

    /// Where it begins: stacks grow downwards.
    pub(super) fn top(&self) -> *mut c_void {
        (self.base + self.length) as *mut c_void
    }
}

impl Drop for Stack {
    fn drop(&mut self) {
        // SAFETY: exactly what mmap gave, and no child is on it: spawn has returned.
        unsafe { libc::munmap(self.base as *mut c_void, self.length) };
    }
}
