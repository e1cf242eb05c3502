//! The file as a whole.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};
use std::time::Duration;

use super::attributes;
use super::check::SocketPath;
use super::control;
use super::env_file::{self, EnvFile};
use super::errors::Problems;
use super::handler;
use super::instances;
use super::item::{Field, Item, Member};
use super::links::{self, Links};
use super::program::{Draft, Program};
use super::{Form, Reports};
use crate::spec::{ChildSpec, ErrorCommand, shutdown_timeout_problem};
use crate::text::quoted;

const FIELDS: [Field<Root>; 10] = [
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
    ("output", |root, item, problems| {
        root.output = item.word(&FORMS, problems).unwrap_or_default();
    }),
    ("reports", |root, item, problems| {
        root.reports = item.word(&REPORTS, problems).unwrap_or_default();
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

const FORMS: [(&str, Form); 2] = [("text", Form::Text), ("json", Form::Json)];

const REPORTS: [(&str, Reports); 2] = [("stdout", Reports::Stdout), ("none", Reports::None)];

/// The contents of a file; relative paths are not resolved.
pub(super) struct Root {
    pub base_dir: Option<PathBuf>,
    pub err_dir: Option<PathBuf>,
    pub error_handler: Option<ErrorCommand>,
    pub control: control::Draft,
    pub output: Form,
    pub reports: Reports,
    pub control_group: Option<u32>,
    pub shutdown_timeout: Option<Duration>,
    pub programs: Vec<ChildSpec>,
    /// Those of each program.
    links: Vec<Links>,
    /// Those of each program.
    env_files: Vec<Vec<EnvFile>>,
    /// Of all programs.
    sockets: Vec<SocketPath>,
    /// The programs that were written out, by the names that the file has for them.
    instances: BTreeMap<String, Vec<String>>,
    /// The names so far, and which of them are those of instances.
    names: BTreeMap<String, bool>,
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
        links::check(&root.programs, &root.links, &root.instances, problems);
        links::write_out(&mut root.programs, &root.instances);
        root
    }

    /// Reads what concerns no program.
    pub(super) fn read_settings(item: &Item<'_>, problems: &mut Problems) -> Self {
        let mut root = Self {
            base_dir: None,
            err_dir: None,
            error_handler: None,
            control: control::Draft::default(),
            output: Form::default(),
            reports: Reports::default(),
            control_group: None,
            shutdown_timeout: None,
            programs: Vec::new(),
            links: Vec::new(),
            env_files: Vec::new(),
            sockets: Vec::new(),
            instances: BTreeMap::new(),
            names: BTreeMap::new(),
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
            let Some(count) = instances::count(&member.value, problems) else {
                self.note_name(member.key, false, &member, problems);
                let program = self
                    .defaults
                    .program(member.key, &member, &member.value, problems);
                self.push(program);
                continue;
            };
            for number in 1..=count {
                let node = instances::written_out(&member, number, problems);
                let item = member.value.with(&node);
                let name = instances::name(member.key, number);
                self.note_name(&name, true, &member, problems);
                let mut program = self.defaults.program(&name, &member, &item, problems);
                program.spec = program.spec.env(instances::VARIABLE, number.to_string());
                self.push(program);
                let all = self.instances.entry(member.key.to_owned());
                all.or_default().push(name);
            }
        }
    }

    fn push(&mut self, program: Program) {
        self.programs.push(program.spec);
        self.links.push(program.links);
        self.env_files.push(program.env_files);
        self.sockets.extend(program.sockets);
    }

    /// Takes note of a name, which no instance may share.
    fn note_name(
        &mut self,
        name: &str,
        is_instance: bool,
        member: &Member<'_>,
        problems: &mut Problems,
    ) {
        let former = self.names.insert(name.to_owned(), is_instance);
        // Of two that are written so, the second is a duplicate key.
        if former.is_some_and(|former| former || is_instance) {
            let message = format!(
                "{} is the name of an instance and of another program: rename one of them",
                quoted(name)
            );
            member.complain(problems, message);
        }
    }

    /// Reads the files with variables, and adds these to the programs. The base directory is absolute.
    /// Returns the files, each with the first key that names it.
    pub(super) fn read_env_files(
        &mut self,
        base_dir: &Path,
        problems: &mut Problems,
    ) -> Vec<(String, PathBuf)> {
        env_file::add(&mut self.programs, &self.env_files, base_dir, problems)
    }

    /// Checks what depends on the base directory, which is absolute.
    pub(super) fn check_at(&self, base_dir: &Path, problems: &mut Problems) {
        for socket in self.sockets.iter().chain(self.defaults.sockets()) {
            socket.check(base_dir, problems);
        }
    }
}
