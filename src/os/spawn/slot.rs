//! All that one child needs until it has executed its program: a stack, its strings, its orders,
//! and the place where parent and child meet. A child that shares our memory reads it at any time
//! until then, so that it stays where it is, and is leaked rather than freed too early.

use std::ffi::{c_int, c_void};
use std::os::fd::AsRawFd;
use std::sync::Arc;

use nix::errno::Errno;

use super::child::{Child, Said, Task};
use super::lists::Lists;
use super::stack::Stack;
use super::table::Cut;
use super::{Command, Place};

#[derive(Debug)]
pub(super) struct Slot {
    stack: Stack,
    lists: Lists,
    child: Option<Box<Child>>,
    said: Arc<Said>,
}

// SAFETY: the pointers in it are to what it owns itself, or shares with others who may be anywhere.
unsafe impl Send for Slot {}

impl Slot {
    pub(super) fn new() -> Result<Self, Errno> {
        Ok(Self {
            stack: Stack::new()?,
            lists: Lists::default(),
            child: None,
            said: Arc::default(),
        })
    }

    /// Takes the strings of a command.
    pub(super) fn fill(&mut self, command: &Command<'_>) {
        self.lists.fill(command);
    }

    /// Prepares one try: with these numbers for the three streams, and with what there is to
    /// leave and to write to.
    pub(super) fn prepare(
        &mut self,
        place: &Place<'_>,
        stdio: [c_int; 3],
        cut: Option<Cut>,
        wire: Option<c_int>,
    ) -> *mut c_void {
        let task = match place {
            Place::Apart(apart) => Task::Apart {
                cwd: self.lists.directory(),
                stdio,
                limit: apart.limit,
            },
            Place::Inside(inside) => Task::Inside {
                terminal: inside.terminal.map(|terminal| terminal.as_raw_fd()),
                ignored: inside.ignored,
            },
        };
        let child = Child {
            candidates: self.lists.candidates(),
            argv: self.lists.argv(),
            env: self.lists.env(),
            task,
            cut,
            wire,
            said: Arc::as_ptr(&self.said),
        };
        self.said.reset();
        let place: &mut Child = match &mut self.child {
            Some(place) => {
                **place = child;
                place
            }
            none => none.insert(Box::new(child)),
        };
        std::ptr::from_mut(place).cast()
    }

    pub(super) fn said(&self) -> &Arc<Said> {
        &self.said
    }

    /// Where the child's stack begins.
    pub(super) fn stack_top(&self) -> *mut c_void {
        self.stack.top()
    }

    #[cfg(test)]
    pub(super) fn lists(&self) -> &Lists {
        &self.lists
    }
}
