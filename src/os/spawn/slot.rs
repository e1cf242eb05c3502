//! All that one child needs until it has executed its program: a stack, its strings, its orders,
//! and the place where parent and child meet. A child that shares our memory reads it at any time
//! until then, so that it stays where it is, and is leaked rather than freed too early.

use std::ffi::{c_int, c_void};
use std::ptr;
use std::sync::Arc;

use nix::errno::Errno;

use super::Place;
use super::child::{Child, Said};
use super::lists::Lists;
use super::table::Cut;
use crate::os::pages::{Guarded, Pages};
use crate::spec::Attributes;

/// Enough for the child's few frames, with room for a libc that is generous with its own.
const STACK_BYTES: usize = 64 * 1024;

/// The largest page that Linux has on the machines that we know.
const GUARD_BYTES: usize = 64 * 1024;

#[derive(Debug)]
pub(super) struct Slot {
    stack: Guarded,
    pub(super) lists: Lists,
    pub(super) attributes: Option<Arc<Attributes>>,
    child: Option<Box<Child>>,
    said: Arc<Said>,
}

// SAFETY: the pointers in it are to what it owns itself, or shares with others who may be anywhere.
unsafe impl Send for Slot {}

impl Slot {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            stack: Pages::new(GUARD_BYTES + STACK_BYTES)?.guard_first()?,
            lists: Lists::default(),
            attributes: None,
            child: None,
            said: Arc::default(),
        })
    }

    /// Prepares one try: in this place, and with what there is to leave and to write to.
    pub(super) fn prepare(
        &mut self,
        place: Place,
        cut: Option<Cut>,
        wire: Option<c_int>,
    ) -> *mut c_void {
        let child = Child {
            candidates: self.lists.candidates(),
            argv: self.lists.argv(),
            env: self.lists.env(),
            directory: self.lists.directory(),
            attributes: self.attributes.as_ref().map_or(ptr::null(), Arc::as_ptr),
            place,
            cut,
            wire,
            said: Arc::as_ptr(&self.said),
        };
        self.said.reset();
        let place = self.child.get_or_insert_with(|| Box::new(child));
        **place = child;
        ptr::from_mut::<Child>(place).cast()
    }

    pub(super) fn said(&self) -> &Arc<Said> {
        &self.said
    }

    /// Where the child's stack begins: stacks grow downwards.
    pub(super) fn stack_top(&self) -> *mut c_void {
        self.stack.end()
    }
}
