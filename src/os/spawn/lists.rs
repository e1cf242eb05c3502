//! The strings of a command in the form that execve wants: three lists of pointers, each ended by
//! a null.
//!
//! A child that is late reads them until its exec, so that all are copies. Their memory is used
//! again at the next start, so that a steady restart allocates nothing.

use std::ffi::c_char;
use std::ptr;

use super::{Command, Each};

/// The files to try, the arguments, the environment; and the directory.
#[derive(Debug, Default)]
pub(super) struct Lists {
    strings: Vec<u8>,
    pointers: Vec<*const c_char>,
    argv: usize,
    env: usize,
    directory: usize,
}

impl Lists {
    pub(super) fn fill(&mut self, command: &Command<'_>) {
        loop {
            let base = self.strings.as_ptr();
            self.strings.clear();
            self.pointers.clear();
            self.add(&|take| command.candidates.iter().for_each(take));
            self.argv = self.add(command.arguments);
            self.env = self.add(command.variables);
            self.directory = self.add(&|take| take(command.directory));
            if self.strings.as_ptr() == base {
                return;
            }
            // They have moved as they grew, and have room now.
        }
    }

    /// Adds a list, and returns its index.
    fn add(&mut self, each: Each<'_>) -> usize {
        let begin = self.pointers.len();
        each(&mut |string| {
            self.pointers.push(self.strings.as_ptr_range().end.cast());
            self.strings.extend_from_slice(string.to_bytes_with_nul());
        });
        self.pointers.push(ptr::null());
        begin
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
    use super::super::Place;
    use super::*;
    use std::ffi::CStr;
    use std::time::Duration;

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
        for variables in [0, 1000, 2000, 1] {
            lists.fill(&Command {
                candidates: [c"/bin/a", c""].into_iter().collect(),
                arguments: &|take| [c"a", c"-b", c""].into_iter().for_each(take),
                variables: &|take| (0..variables).for_each(|_| take(c"A=1")),
                directory: c"/tmp",
                attributes: None,
                place: Place::Apart {
                    stdio: [3; 3],
                    limit: None,
                    passed: None,
                },
                wait: Duration::ZERO,
            });
            assert_eq!(strings(lists.candidates()), ["/bin/a", ""]);
            assert_eq!(strings(lists.argv()), ["a", "-b", ""]);
            assert_eq!(strings(lists.env()), vec!["A=1"; variables]);
            // SAFETY: as above.
            assert_eq!(unsafe { CStr::from_ptr(lists.directory()) }, c"/tmp");
        }
    }
}
