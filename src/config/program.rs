//! A program of the file, and the `defaults`, which have the same keys but `command`.
//!
//! Merging needs no rule of its own: a program begins as a copy of the defaults, and each key
//! that it gives overwrites that one thing. So `env` and `backoff` merge key by key.

use std::collections::BTreeSet;
use std::ffi::{OsStr, OsString};

use super::errors::{Place, Problems};
use super::item::{Field, Item, Member};
use super::signal;
use crate::machine::Restart;
use crate::spec::{
    ChildSpec, REPORT_BYTES_MAX, backoff_problem, env_problem, name_problem, report_bytes_problem,
    stop_signal_problem,
};
use crate::text::{did_you_mean, quoted};

/// What a program can say of itself. `command` comes first: it is what `defaults` lacks.
const FIELDS: [Field<Draft>; 9] = [
    ("command", Draft::command),
    ("cwd", Draft::cwd),
    ("env", Draft::env),
    ("restart", Draft::restart),
    ("essential", Draft::essential),
    ("backoff", Draft::backoff),
    ("stop_signal", Draft::stop_signal),
    ("stop_timeout", Draft::stop_timeout),
    ("report_bytes", Draft::report_bytes),
];

const BACKOFF_FIELDS: [Field<Draft>; 3] = [
    ("initial", Draft::initial),
    ("max", Draft::max),
    ("reset_after", Draft::reset_after),
];

const RESTARTS: [(&str, Restart); 3] = [
    ("always", Restart::Always),
    ("on-failure", Restart::OnFailure),
    ("never", Restart::Never),
];

/// A program, or the defaults, while it is read.
pub(super) struct Draft {
    spec: ChildSpec,
    has_command: bool,
    /// Where the delays stand that it gives itself, and does not inherit.
    initial: Option<Given>,
    max: Option<Given>,
    /// A delay could not be read, so that nothing can be said about their order.
    delays_unknown: bool,
}

/// Where a value stands.
struct Given {
    place: Place,
    path: String,
}

impl Given {
    fn by(item: &Item<'_>) -> Self {
        Self {
            place: item.place(),
            path: item.path().to_owned(),
        }
    }
}

impl Draft {
    /// Before any key is read.
    fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            has_command: false,
            initial: None,
            max: None,
            delays_unknown: false,
        }
    }

    /// What holds where the file says nothing.
    pub(super) fn built_in() -> Self {
        let no_command: [OsString; 0] = [];
        Self::new(ChildSpec::new("", no_command))
    }

    /// Reads `defaults`. The order of its delays is looked at in each program that they are
    /// for: one that gives the other delay itself may be right.
    pub(super) fn read_defaults(&mut self, item: &Item<'_>, problems: &mut Problems) {
        item.read(self, &FIELDS[1..], "an object", problems);
    }

    /// The program that `member` describes, on top of these defaults.
    pub(super) fn program(&self, member: &Member<'_>, problems: &mut Problems) -> ChildSpec {
        let item = &member.value;
        if let Some(problem) = name_problem(member.key) {
            problems.add(member.key_place, item.path(), problem);
        }
        let mut draft = Self::new(self.spec.clone());
        draft.spec.name = member.key.to_owned();
        draft.delays_unknown = self.delays_unknown;
        if item.is_array() {
            draft.command(item, problems);
        } else {
            let expected = r#"an array such as ["program", "argument"], or an object"#;
            item.read(&mut draft, &FIELDS, expected, problems);
        }
        if item.is_object() && !draft.has_command {
            let message =
                r#"the key "command" is missing: give an array such as ["program", "argument"]"#;
            item.complain(problems, message.to_owned());
        }
        draft.check_backoff(self, problems);
        draft.spec
    }

    fn command(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.has_command = true;
        if let Some(command) = item.command(problems) {
            self.spec.command = command;
        }
    }

    fn cwd(&mut self, item: &Item<'_>, problems: &mut Problems) {
        if let Some(directory) = item.directory(problems) {
            self.spec.cwd = Some(directory);
        }
    }

    fn env(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let mut own: Vec<(OsString, OsString)> = Vec::new();
        for member in item.members("an object of strings", problems) {
            let (key, item) = (OsStr::new(member.key), &member.value);
            let key_problem = env_problem(key, OsStr::new(""));
            let value = item.string(problems).map(OsStr::new);
            if let Some(problem) = key_problem {
                problems.add(member.key_place, item.path(), problem);
            } else if let Some(value) = value
                && item.passes(env_problem(key, value), problems)
            {
                own.push((key.to_owned(), value.to_owned()));
            }
        }
        let mut names = BTreeSet::new();
        names.extend(own.iter().map(|(key, _)| &**key));
        self.spec.env.retain(|(key, _)| !names.contains(&**key));
        self.spec.env.extend(own);
    }

    fn restart(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let expected = r#""always", "on-failure" or "never""#;
        let Some(text) = item.string_of(expected, problems) else {
            return;
        };
        match RESTARTS.iter().find(|(name, _)| *name == text) {
            Some((_, restart)) => self.spec.restart = *restart,
            None => {
                let names = RESTARTS.iter().map(|(name, _)| *name);
                let instead = did_you_mean(text, names);
                let instead = instead.unwrap_or_else(|| format!(": use {expected}"));
                item.complain(problems, format!("unknown value {}{instead}", quoted(text)));
            }
        }
    }

    fn essential(&mut self, item: &Item<'_>, problems: &mut Problems) {
        if let Some(essential) = item.boolean(problems) {
            self.spec.essential = essential;
        }
    }

    fn backoff(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let expected = r#"an object such as {"initial": "1s", "max": "60s"}"#;
        item.read(self, &BACKOFF_FIELDS, expected, problems);
    }

    fn initial(&mut self, item: &Item<'_>, problems: &mut Problems) {
        match item.duration(problems) {
            None => self.delays_unknown = true,
            Some(initial) => {
                self.spec.backoff.initial = initial;
                self.initial = Some(Given::by(item));
            }
        }
    }

    fn max(&mut self, item: &Item<'_>, problems: &mut Problems) {
        match item.duration(problems) {
            None => self.delays_unknown = true,
            Some(max) => {
                self.spec.backoff.max = max;
                self.max = Some(Given::by(item));
            }
        }
    }

    fn reset_after(&mut self, item: &Item<'_>, problems: &mut Problems) {
        if let Some(reset_after) = item.duration(problems) {
            self.spec.backoff.reset_after = reset_after;
        }
    }

    fn stop_signal(&mut self, item: &Item<'_>, problems: &mut Problems) {
        if let Some(signal) = item.whole_or(signal::from_text, signal::EXPECTED, problems)
            && item.passes(stop_signal_problem(signal), problems)
        {
            self.spec.stop_signal = signal;
        }
    }

    fn stop_timeout(&mut self, item: &Item<'_>, problems: &mut Problems) {
        if let Some(timeout) = item.duration(problems) {
            self.spec.stop_timeout = timeout;
        }
    }

    fn report_bytes(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let expected = format!("a whole number from 0 to {REPORT_BYTES_MAX}");
        if let Some(bytes) = item.whole(&expected, problems)
            && item.passes(report_bytes_problem(bytes), problems)
        {
            self.spec.report_bytes = bytes;
        }
    }

    /// Looks at the delays as they are after merging. The complaint goes to where the file
    /// gives one of them: to the program if it can, else to the defaults; to `max` if it can.
    fn check_backoff(&self, defaults: &Self, problems: &mut Problems) {
        if self.delays_unknown {
            return;
        }
        let gives_one = self.max.is_some() || self.initial.is_some();
        let layer = if gives_one { self } else { defaults };
        let (Some(problem), Some(given)) = (
            backoff_problem(&self.spec.backoff),
            layer.max.as_ref().or(layer.initial.as_ref()),
        ) else {
            return;
        };
        let other = match (&layer.max, &layer.initial) {
            (Some(_), None) => Some(("initial", &defaults.initial)),
            (None, Some(_)) => Some(("max", &defaults.max)),
            (Some(_), Some(_)) | (None, None) => None,
        };
        let note = match other {
            Some((name, Some(_))) => format!("; {name} is that of \"defaults\""),
            Some((name, None)) => format!("; {name} is the built-in one"),
            None => String::new(),
        };
        problems.add(given.place, &given.path, format!("{problem}{note}"));
    }
}
