//! The file as a whole.

use std::ffi::OsString;
use std::path::PathBuf;

use super::errors::Problems;
use super::item::{Field, Item};
use super::program::Draft;
use crate::spec::ChildSpec;

const FIELDS: [Field<Root>; 5] = [
    ("base_dir", Root::base_dir),
    ("err_dir", Root::err_dir),
    ("error_handler", Root::error_handler),
    ("defaults", Root::defaults),
    // They need the defaults, which may stand behind them.
    (PROGRAMS, |_, _, _| ()),
];

const PROGRAMS: &str = "programs";

/// What a file says, as it says it: paths are not resolved yet.
pub(super) struct Root {
    pub base_dir: Option<PathBuf>,
    pub err_dir: Option<PathBuf>,
    pub error_handler: Option<Vec<OsString>>,
    pub programs: Vec<ChildSpec>,
    defaults: Draft,
}

impl Root {
    /// Reads all of it, and tells everything that is wrong with it.
    pub(super) fn read(item: &Item<'_>, problems: &mut Problems) -> Self {
        let mut root = Self {
            base_dir: None,
            err_dir: None,
            error_handler: None,
            programs: Vec::new(),
            defaults: Draft::built_in(),
        };
        item.read(&mut root, &FIELDS, r#"an object with "programs""#, problems);
        let all = item.named(PROGRAMS);
        if all.is_empty() && item.is_object() {
            let message =
                r#"the key "programs" is missing: give {"name": ["program", "argument"]}"#;
            item.complain(problems, message.to_owned());
        }
        // More than one is an error already; what is wrong in each is to be told as well.
        for programs in all {
            root.read_programs(&programs, problems);
        }
        root
    }

    fn read_programs(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let members = item.members("an object with a key for each program", problems);
        if members.is_empty() && item.is_object() {
            let message = r#"there is no program: give at least {"name": ["program", "argument"]}"#;
            item.complain(problems, message.to_owned());
        }
        let read = |member| self.defaults.program(&member, problems);
        self.programs.extend(members.into_iter().map(read));
    }

    fn base_dir(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.base_dir = item.directory(problems);
    }

    fn err_dir(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.err_dir = item.directory(problems);
    }

    fn error_handler(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.error_handler = item.command(problems);
    }

    fn defaults(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.defaults.read_defaults(item, problems);
    }
}
