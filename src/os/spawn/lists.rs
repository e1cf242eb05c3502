//! The strings of a command in the form that execve wants: three lists of pointers, each ended by
//! a null.
//!
//! A child that is late reads them until its exec. So the strings that are the same at each start
//! are kept alive here, and those that were made for one start are copied. The memory is used
//! again at the next start, so that a steady restart allocates nothing.

use std::ffi::{CStr, c_char};
use std::fmt;
use std::ptr;
use std::sync::Arc;

use super::{Command, Strings};

/// The files to try, the arguments, the environment.
#[derive(Default)]
pub(super) struct Lists {
    kept: Option<Arc<dyn Strings>>,
    copied: Vec<u8>,
    pointers: Vec<*const c_char>,
    argv: usize,
    env: usize,
}

impl fmt::Debug for Lists {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Lists").finish_non_exhaustive()
    }
}

impl Lists {
    pub(super) fn fill(&mut self, command: &Command<'_>) {
        let made = || command.candidates.iter();
        self.copied.clear();
        for string in made().chain(command.argument).chain(command.variable) {
            self.copied.extend_from_slice(string.to_bytes_with_nul());
        }
        // From here on the copies stay where they are.
        let mut next = self.copied.as_ptr().cast::<c_char>();
        let mut copy_of = |string: &CStr| {
            let copy = next;
            next = next.wrapping_add(string.to_bytes_with_nul().len());
            copy
        };
        let pointers = &mut self.pointers;
        pointers.clear();
        pointers.extend(made().map(&mut copy_of));
        pointers.push(ptr::null());
        let strings = &*command.strings;
        self.argv = pointers.len();
        strings.each_argument(&mut |argument| pointers.push(argument.as_ptr()));
        pointers.extend(command.argument.map(&mut copy_of));
        pointers.push(ptr::null());
        self.env = pointers.len();
        pointers.extend(command.variable.map(&mut copy_of));
        strings.each_variable(&mut |variable| pointers.push(variable.as_ptr()));
        pointers.push(ptr::null());
        self.kept = Some(command.strings.clone());
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
        let kept = self.kept.as_ref();
        kept.map_or(c".", |strings| strings.directory()).as_ptr()
    }
}

/// The strings of a test's command.
#[cfg(test)]
pub(super) struct Fixed {
    pub(super) argv: Vec<std::ffi::CString>,
    pub(super) env: Vec<std::ffi::CString>,
    pub(super) directory: std::ffi::CString,
}

#[cfg(test)]
impl Strings for Fixed {
    fn each_argument(&self, take: &mut dyn FnMut(&CStr)) {
        self.argv.iter().for_each(|argument| take(argument));
    }

    fn each_variable(&self, take: &mut dyn FnMut(&CStr)) {
        self.env.iter().for_each(|variable| take(variable));
    }

    fn directory(&self) -> &CStr {
        &self.directory
    }
}

#[cfg(test)]
mod tests {
    use super::super::{Apart, Place};
    use super::*;
    use crate::os::descriptors;
    use std::os::fd::AsFd;
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
        let (null, _other) = descriptors::wake_pipe().expect("a pipe");
        let mut lists = Lists::default();
        for round in 0..3 {
            lists.fill(&Command {
                strings: Arc::new(Fixed {
                    argv: vec![c"a".to_owned(), c"-b".to_owned()],
                    env: vec![c"A=1".to_owned(); round * 1000],
                    directory: c"/tmp".to_owned(),
                }),
                candidates: [c"/bin/a", c""].into_iter().collect(),
                argument: Some(c"last"),
                variable: Some(c"FIRST=1").filter(|_| round > 0),
                place: Place::Apart(Apart {
                    stdio: [null.as_fd(); 3],
                    limit: None,
                }),
                wait: Duration::ZERO,
            });
            assert_eq!(strings(lists.candidates()), ["/bin/a", ""]);
            assert_eq!(strings(lists.argv()), ["a", "-b", "last"]);
            let env = strings(lists.env());
            assert_eq!(env.len(), round * 1000 + usize::from(round > 0));
            assert!(round == 0 || env[0] == "FIRST=1");
            // SAFETY: as above.
            assert_eq!(unsafe { CStr::from_ptr(lists.directory()) }, c"/tmp");
        }
    }
}
