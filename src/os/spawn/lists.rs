//! The strings of a command, in memory of their own and in the form that execve wants: a child
//! that is late reads them when what they were copied from may have changed or gone.
//!
//! The memory is kept from start to start, so that a steady restart allocates nothing.

use std::ffi::{CStr, c_char};
use std::ptr;

/// Three lists, each ended by a null: the files to try, the arguments, the environment. The
/// directory comes last.
#[derive(Debug, Default)]
pub(super) struct Lists {
    bytes: Vec<u8>,
    pointers: Vec<*const c_char>,
    argv: usize,
    env: usize,
    directory: usize,
}

impl Lists {
    pub(super) fn fill<'a>(
        &mut self,
        candidates: impl Iterator<Item = &'a CStr>,
        argv: impl Iterator<Item = &'a CStr>,
        env: impl Iterator<Item = &'a CStr>,
        directory: &CStr,
    ) {
        self.bytes.clear();
        self.pointers.clear();
        self.put(candidates);
        self.argv = self.pointers.len();
        self.put(argv);
        self.env = self.pointers.len();
        self.put(env);
        self.directory = self.pointers.len();
        self.put([directory].into_iter());
        self.point();
    }

    /// Until all strings are there they may still move, so that only their lengths are noted.
    fn put<'a>(&mut self, list: impl Iterator<Item = &'a CStr>) {
        for string in list {
            let bytes = string.to_bytes_with_nul();
            self.bytes.extend_from_slice(bytes);
            self.pointers.push(ptr::without_provenance(bytes.len()));
        }
        self.pointers.push(ptr::null());
    }

    /// Makes each length, which is above 0, the place where that string begins.
    fn point(&mut self) {
        let base = self.bytes.as_ptr().cast::<c_char>();
        let mut offset = 0;
        for pointer in &mut self.pointers {
            let length = pointer.addr();
            if length > 0 {
                *pointer = base.wrapping_add(offset);
                offset += length;
            }
        }
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

    pub(super) fn directory(&self) -> *const c_char {
        self.pointers[self.directory]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn strings(list: *const *const c_char) -> Vec<String> {
        let text = |string: *const c_char| {
            // SAFETY: the lists are alive, and each string ends with a NUL.
            let text = unsafe { CStr::from_ptr(string) };
            text.to_str().expect("text").to_owned()
        };
        // SAFETY: the list ends with a null.
        let items = (0..).map(|index| unsafe { *list.add(index) });
        items.take_while(|item| !item.is_null()).map(text).collect()
    }

    #[test]
    fn each_string_is_in_its_list_whatever_the_memory_held_before() {
        let mut lists = Lists::default();
        for round in 0..3 {
            let env = vec![c"A=1"; round * 1000];
            let files = [c"/bin/a", c""];
            lists.fill(
                files.into_iter(),
                [c"a", c"-b"].into_iter(),
                env.into_iter(),
                c"/tmp",
            );
            assert_eq!(strings(lists.candidates()), ["/bin/a", ""]);
            assert_eq!(strings(lists.argv()), ["a", "-b"]);
            assert_eq!(strings(lists.env()).len(), round * 1000);
            // SAFETY: as above.
            assert_eq!(unsafe { CStr::from_ptr(lists.directory()) }, c"/tmp");
        }
    }
}
