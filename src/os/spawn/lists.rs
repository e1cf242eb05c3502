//! The addresses of a command's strings, as execve(2) wants them. The room for them is kept from
//! start to start, so that a program which is restarted again and again allocates nothing.

use std::ffi::{CStr, c_char};
use std::ptr;

/// Three lists, one after the other, each with a null at its end.
#[derive(Default)]
pub(super) struct Lists {
    pointers: Vec<*const c_char>,
    argv: usize,
    env: usize,
}

// SAFETY: an address is used by nobody but the start for which it was put there, which has
// borrowed the string and ends in the thread in which it began.
unsafe impl Send for Lists {}

impl Lists {
    /// The lists of one start: the files to try, the arguments, the environment.
    pub(super) fn fill<'a>(
        &mut self,
        candidates: impl Iterator<Item = &'a CStr>,
        argv: impl Iterator<Item = &'a CStr>,
        env: impl Iterator<Item = &'a CStr>,
    ) {
        self.pointers.clear();
        self.put(candidates);
        self.argv = self.pointers.len();
        self.put(argv);
        self.env = self.pointers.len();
        self.put(env);
    }

    fn put<'a>(&mut self, list: impl Iterator<Item = &'a CStr>) {
        self.pointers.extend(list.map(CStr::as_ptr));
        self.pointers.push(ptr::null());
    }

    pub(super) fn candidates(&self) -> *const *const c_char {
        self.pointers.as_ptr()
    }

    pub(super) fn argv(&self) -> *const *const c_char {
        self.pointers[self.argv..].as_ptr()
    }

    pub(super) fn env(&self) -> *const *const c_char {
        self.pointers[self.env..].as_ptr()
    }
}
