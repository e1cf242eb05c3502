//! A stack for a child that shares our memory, with a page below it that must not be touched.

use std::ffi::c_void;

use nix::errno::Errno;

use crate::os::pages::{Guarded, Pages};

/// Enough for the child's few frames, with room for a libc that is generous with its own.
const STACK_BYTES: usize = 64 * 1024;

/// The largest page that Linux has on the machines that we know.
const GUARD_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Stack(Guarded);

impl Stack {
    pub(super) fn new() -> Result<Self, Errno> {
        let pages = Pages::new(GUARD_BYTES + STACK_BYTES)?;
        pages.guard_first().map(Self)
    }

    /// Where it begins: stacks grow downwards.
    pub(super) fn top(&self) -> *mut c_void {
        self.0.end()
    }
}
