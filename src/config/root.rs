//! The file as a whole.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attributes;
use super::check::SocketPath;
use super::control;
use super::errors::Problems;
use super::handler;
use super::item::{Field, Item};
use super::links::{self, Links};
use super::program::Draft;
use crate::spec::{ChildSpec, ErrorCommand, shutdown_timeout_problem};

const FIELDS: [Field<Root>; 8] = [
    ("base_dir", |root, item, problems| {
        root.base_dir = item.directory(problems);
    }),
    ("err_dir", |root, item, problems| {
        root.err_dir = item.directory(problems);
    }),
    ("error_handler", |root, item, problems| {
        root.error_handler = handler::read(item, problems);
    }),
    ("control", |root, item, problems| {
        root.control = control::Draft::read(item, problems);
    }),
    ("control_group", |root, item, problems| {
        root.control_group = attributes::group(item, problems);
    }),
    ("shutdown_timeout", |root, item, problems| {
        let timeout = item.duration(problems);
        let is_possible =
            |timeout: &Duration| item.passes(shutdown_timeout_problem(*timeout), problems);
        root.shutdown_timeout = timeout.filter(is_possible);
    }),
    ("defaults", |root, item, problems| {
        root.defaults.read_defaults(item, problems);
    }),
    // Read last, because `defaults` may come after it in the file.
    (PROGRAMS, |_, _, _| ()),
];

const PROGRAMS: &str = "programs";

/// The contents of a file; relative paths are not resolved.
pub(super) struct Root {
    pub base_dir: Option<PathBuf>,
    pub err_dir: Option<PathBuf>,
    pub error_handler: Option<ErrorCommand>,
    pub control: control::Draft,
    pub control_group: Option<u32>,
    pub shutdown_timeout: Option<Duration>,
    pub programs: Vec<ChildSpec>,
    /// Those of each program.
    links: Vec<Links>,
    /// Of all programs.
    sockets: Vec<SocketPath>,
    defaults: Draft,
}

impl Root {
    /// Reads a file, and adds every error to `problems`.
    pub(super) fn read(item: &Item<'_>, problems: &mut Problems) -> Self {
        let mut root = Self::read_settings(item, problems);
        let all = item.named(PROGRAMS);
        if all.is_empty() && item.is_object() {
            let message =
                r#"the key "programs" is missing: give {"name": ["program", "argument"]}"#;
            item.complain(problems, message.to_owned());
        }
        // A duplicate is an error by itself; the errors in each are reported too.
        for programs in all {
            root.read_programs(&programs, problems);
        }
        links::check(&root.programs, &root.links, problems);
        root
    }

    /// Reads what concerns no program.
    pub(super) fn read_settings(item: &Item<'_>, problems: &mut Problems) -> Self {
        let mut root = Self {
            base_dir: None,
            err_dir: None,
            error_handler: None,
            control: control::Draft::default(),
            control_group: None,
            shutdown_timeout: None,
            programs: Vec::new(),
            links: Vec::new(),
            sockets: Vec::new(),
            defaults: Draft::built_in(),
        };
        item.read(&mut root, &FIELDS, r#"an object with "programs""#, problems);
        root
    }

    fn read_programs(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let members = item.members("an object with a key for each program", problems);
        if members.is_empty() && item.is_object() {
            let message = r#"there is no program: give at least {"name": ["program", "argument"]}"#;
            item.complain(problems, message.to_owned());
        }
        for member in members {
            let (program, links, sockets) = self.defaults.program(&member, problems);
            self.programs.push(program);
            self.links.push(links);
            self.sockets.extend(sockets);
        }
    }

    /// Checks what depends on the base directory, which is absolute.
    pub(super) fn check_at(&self, base_dir: &Path, problems: &mut Problems) {
        for socket in self.sockets.iter().chain(self.defaults.sockets()) {
            socket.check(base_dir, problems);
        }
    }
}
