//! A program of the file, and `defaults`, which has the same keys except `command`.
//!
//! A program begins as a copy of the defaults, and each of its keys overwrites one setting. So
//! `env`, `backoff`, `limits` and `health` merge key by key.

use std::collections::{BTreeMap, BTreeSet};
use std::ffi::{OsStr, OsString};

use super::attributes;
use super::check::{self, SocketPath};
use super::env_file::{self, EnvFile};
use super::errors::{Place, Problems};
use super::instances::INSTANCES;
use super::item::{Field, Item, Member};
use super::links::Links;
use super::log;
use super::ready;
use super::signal;
use crate::machine::Restart;
use crate::signal::SignalTo;
use crate::spec::ready::watchdog_problem;
use crate::spec::{
    Attributes, ChildSpec, JITTER_EXPECTED, REPORT_BYTES_MAX, Resource, Stderr, Stdout,
    backoff_problem, env_problem, exit_code_problem, jitter_of, name_problem, report_bytes_problem,
    stop_signal_problem,
};

/// The keys of a program, in the order of the table in `keys`. Those come first that `defaults` does
/// not have.
const FIELDS: [Field<Draft>; 36] = [
    ("command", |draft, item, problems| {
        draft.has_command = true;
        set(&mut draft.spec.command, item.command(problems));
    }),
    ("after", |draft, item, problems| {
        let links = draft.links.read(false, item, problems);
        set(&mut draft.spec.after, links);
    }),
    ("requires", |draft, item, problems| {
        let links = draft.links.read(true, item, problems);
        set(&mut draft.spec.requires, links);
    }),
    // Each of them is read by itself.
    (INSTANCES, |_, _, _| ()),
    ("cwd", |draft, item, problems| {
        set(&mut draft.spec.cwd, item.directory(problems).map(Some));
    }),
    ("env", Draft::env),
    ("env_file", |draft, item, problems| {
        set(&mut draft.env_files, env_file::paths(item, problems));
    }),
    ("clear_env", |draft, item, problems| {
        let clear = item.boolean(problems);
        draft.attribute(clear, |all, clear| all.clear_env = clear);
    }),
    ("user", |draft, item, problems| {
        draft.places.insert("user", item.position());
        let user = attributes::user(item, problems);
        draft.attribute(user, Attributes::set_user);
    }),
    ("group", |draft, item, problems| {
        let group = attributes::group(item, problems);
        draft.attribute(group, Attributes::set_group);
    }),
    ("groups", |draft, item, problems| {
        draft.places.insert("groups", item.position());
        let groups = attributes::groups(item, problems);
        draft.attribute(groups, |all, groups| all.groups = Some(groups));
    }),
    ("umask", |draft, item, problems| {
        let mask = attributes::umask(item, problems);
        draft.attribute(mask, |all, mask| all.umask = Some(mask));
    }),
    ("nice", |draft, item, problems| {
        let nice = attributes::nice(item, problems);
        draft.attribute(nice, |all, nice| all.nice = Some(nice));
    }),
    ("oom_score_adj", |draft, item, problems| {
        let score = attributes::oom_score_adj(item, problems);
        draft.attribute(score, |all, score| all.oom_score_adj = Some(score));
    }),
    ("limits", Draft::limits),
    ("no_new_privileges", |draft, item, problems| {
        let set = item.boolean(problems);
        draft.attribute(set, |all, set| all.no_new_privileges = set);
    }),
    ("stdin", |draft, item, problems| {
        let path = attributes::stdin(item, problems);
        draft.attribute(path, |all, path| all.stdin = path);
    }),
    ("autostart", |draft, item, problems| {
        set(&mut draft.spec.autostart, item.boolean(problems));
    }),
    ("restart", |draft, item, problems| {
        draft.places.insert("restart", item.position());
        set(
            &mut draft.spec.restart,
            item.word(&RESTARTS, problems).map(Some),
        );
    }),
    ("max_restarts", |draft, item, problems| {
        let restarts = item.whole("a whole number up to 4294967295", problems);
        set(&mut draft.spec.max_restarts, restarts.map(Some));
    }),
    ("success_codes", |draft, item, problems| {
        set(&mut draft.spec.success_codes, exit_codes(item, problems));
    }),
    (PERMANENT, |draft, item, problems| {
        draft.places.insert(PERMANENT, item.position());
        set(
            &mut draft.spec.permanent_failure_codes,
            exit_codes(item, problems),
        );
    }),
    ("oneshot", |draft, item, problems| {
        set(&mut draft.spec.oneshot, item.boolean(problems));
    }),
    ("essential", |draft, item, problems| {
        set(&mut draft.spec.essential, item.boolean(problems));
    }),
    ("backoff", |draft, item, problems| {
        let expected = r#"an object such as {"initial": "1s", "max": "60s"}"#;
        item.read(draft, &BACKOFF_FIELDS, expected, problems);
    }),
    ("ready", |draft, item, problems| {
        draft.places.insert("ready", item.position());
        // Switches off what the defaults give.
        if item.is_false() {
            draft.spec.ready = None;
            return;
        }
        let (ready, socket) = ready::read(item, problems);
        set(
            &mut draft.spec.ready,
            ready.map(|ready| Some(Box::new(ready))),
        );
        draft.sockets.extend(socket);
    }),
    ("start_timeout", |draft, item, problems| {
        let timeout = item.duration(problems);
        set(&mut draft.spec.start_timeout, timeout.map(Some));
    }),
    ("health", Draft::health),
    ("watchdog", |draft, item, problems| {
        draft.places.insert("watchdog", item.position());
        let time = item
            .duration(problems)
            .filter(|&time| time.is_zero() || item.passes(watchdog_problem(time), problems));
        let time = time.map(|time| Some(time).filter(|time| !time.is_zero()));
        set(&mut draft.spec.watchdog, time);
    }),
    ("stop_signal", |draft, item, problems| {
        let signal = item.whole_or(signal::from_text, signal::EXPECTED, problems);
        let signal = signal.filter(|&signal| item.passes(stop_signal_problem(signal), problems));
        set(&mut draft.spec.stop_signal, signal);
    }),
    ("stop_timeout", |draft, item, problems| {
        set(&mut draft.spec.stop_timeout, item.duration(problems));
    }),
    ("stop_to", |draft, item, problems| {
        let to = item.word(&STOP_TO, problems);
        set(&mut draft.spec.stop_to, to);
    }),
    ("stdout", |draft, item, problems| {
        set(
            &mut draft.spec.outputs.stdout,
            item.word(&STDOUTS, problems),
        );
    }),
    ("stderr", |draft, item, problems| {
        set(
            &mut draft.spec.outputs.stderr,
            item.word(&STDERRS, problems),
        );
    }),
    ("log", |draft, item, problems| {
        item.read(&mut draft.spec.log, &log::FIELDS, log::EXPECTED, problems);
    }),
    ("report_bytes", |draft, item, problems| {
        let expected = format!("a whole number from 0 to {REPORT_BYTES_MAX}");
        let bytes = item.whole(&expected, problems);
        let bytes = bytes.filter(|&bytes| item.passes(report_bytes_problem(bytes), problems));
        set(&mut draft.spec.report_bytes, bytes);
    }),
];

/// Where the keys begin that `defaults` has as well.
const DEFAULTS_FROM: usize = 4;

const PERMANENT: &str = "permanent_failure_codes";

const BACKOFF_FIELDS: [Field<Draft>; 4] = [
    ("initial", |draft, item, problems| {
        let initial = item.duration(problems);
        draft.delays_unknown |= initial.is_none();
        draft.initial = initial.map(|_| item.position());
        set(&mut draft.spec.backoff.initial, initial);
    }),
    ("max", |draft, item, problems| {
        let max = item.duration(problems);
        draft.delays_unknown |= max.is_none();
        draft.max = max.map(|_| item.position());
        set(&mut draft.spec.backoff.max, max);
    }),
    ("reset_after", |draft, item, problems| {
        set(&mut draft.spec.backoff.reset_after, item.duration(problems));
    }),
    ("jitter", |draft, item, problems| {
        let jitter = item.number_as(JITTER_EXPECTED, problems, jitter_of);
        set(&mut draft.spec.jitter, jitter);
    }),
];

const RESTARTS: [(&str, Restart); 3] = [
    ("always", Restart::Always),
    ("on-failure", Restart::OnFailure),
    ("never", Restart::Never),
];

const STOP_TO: [(&str, SignalTo); 2] = [("group", SignalTo::Group), ("main", SignalTo::Main)];

const STDOUTS: [(&str, Stdout); 4] = [
    ("log", Stdout::Log),
    ("stderr", Stdout::Stderr),
    ("inherit", Stdout::Inherit),
    ("null", Stdout::Null),
];

const STDERRS: [(&str, Stderr); 3] = [
    ("log", Stderr::Log),
    ("inherit", Stderr::Inherit),
    ("null", Stderr::Null),
];

/// A program as it was read, and what is checked later.
pub(super) struct Program {
    pub spec: ChildSpec,
    pub links: Links,
    pub sockets: Vec<SocketPath>,
    pub env_files: Vec<EnvFile>,
}

/// A program, or the defaults, while it is read.
pub(super) struct Draft {
    spec: ChildSpec,
    has_command: bool,
    is_default: bool,
    health: check::Draft,
    /// The Unix sockets that it connects to.
    sockets: Vec<SocketPath>,
    env_files: Vec<EnvFile>,
    links: Links,
    /// Where keys are in the file whose values are checked against others.
    places: BTreeMap<&'static str, (Place, String)>,
    /// Where its own delays are in the file; `None` for an inherited one.
    initial: Option<(Place, String)>,
    max: Option<(Place, String)>,
    /// True if a delay could not be read, so that their order cannot be checked.
    delays_unknown: bool,
}

/// Sets `target`, if there is a value: one that was refused leaves it as it was.
fn set<T>(target: &mut T, value: Option<T>) {
    if let Some(value) = value {
        *target = value;
    }
}

/// Reads exit codes, and names of signals, which become negative numbers.
fn exit_codes(item: &Item<'_>, problems: &mut Problems) -> Option<Vec<i32>> {
    let expected = r#"an array such as [78, "TERM"]"#;
    let code = r#"an exit code from 1 to 255, or a signal such as "TERM""#;
    let elements = item.elements(expected, problems)?;
    let mut codes = Vec::with_capacity(elements.len());
    for element in &elements {
        let read = element.whole_or(signal::exit_from_text, code, problems);
        codes.extend(read.filter(|&code| element.passes(exit_code_problem(code), problems)));
    }
    (codes.len() == elements.len()).then_some(codes)
}

impl Draft {
    fn new(spec: ChildSpec) -> Self {
        Self {
            spec,
            has_command: false,
            is_default: false,
            health: check::Draft::default(),
            sockets: Vec::new(),
            env_files: Vec::new(),
            links: Links::default(),
            places: BTreeMap::new(),
            initial: None,
            max: None,
            delays_unknown: false,
        }
    }

    /// Returns the built-in defaults.
    pub(super) fn built_in() -> Self {
        let no_command: [OsString; 0] = [];
        let mut draft = Self::new(ChildSpec::new("", no_command));
        draft.is_default = true;
        draft
    }

    /// Returns the Unix sockets that the defaults name.
    pub(super) fn sockets(&self) -> &[SocketPath] {
        &self.sockets
    }

    /// Reads `defaults`. The order of its delays is checked in each program, which may override
    /// one of them.
    pub(super) fn read_defaults(&mut self, item: &Item<'_>, problems: &mut Problems) {
        item.read(self, &FIELDS[DEFAULTS_FROM..], "an object", problems);
    }

    /// Reads a program on top of these defaults. `item` is its value, in which an instance has its number.
    /// Whether its links lead anywhere is checked when all
    /// programs are known.
    pub(super) fn program(
        &self,
        name: &str,
        member: &Member<'_>,
        item: &Item<'_>,
        problems: &mut Problems,
    ) -> Program {
        if let Some(problem) = name_problem(name) {
            member.complain(problems, problem);
        }
        let mut draft = Self::new(self.spec.clone());
        draft.spec.name = name.to_owned();
        draft.env_files.clone_from(&self.env_files);
        draft.delays_unknown = self.delays_unknown;
        draft.health = self.health.clone();
        if item.is_array() {
            (FIELDS[0].1)(&mut draft, item, problems);
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
        draft.check_pairs(self, problems);
        Program {
            spec: draft.spec,
            links: draft.links,
            sockets: draft.sockets,
            env_files: draft.env_files,
        }
    }

    /// Sets an attribute, if there is a value.
    fn attribute<T>(&mut self, value: Option<T>, set: impl FnOnce(&mut Attributes, T)) {
        if let Some(value) = value {
            set(self.spec.attributes_mut(), value);
        }
    }

    fn limits(&mut self, item: &Item<'_>, problems: &mut Problems) {
        for member in item.members(r#"an object such as {"nofile": 65536}"#, problems) {
            let mut all = Resource::ALL.into_iter();
            let Some(resource) = all.find(|resource| resource.key() == member.key) else {
                let names = Resource::ALL.into_iter().map(Resource::key);
                member.complain_unknown(names, problems);
                continue;
            };
            let key = resource.key_of_limits();
            self.places.insert(key, member.value.position());
            if let Some(limit) = attributes::limit(&member.value, problems) {
                self.spec.set_limit(resource, limit);
            }
        }
    }

    fn health(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.places.insert("health", item.position());
        // Switches off what the defaults give.
        if item.is_false() {
            (self.health, self.spec.health) = (check::Draft::default(), None);
            return;
        }
        self.health.read_health(item, problems);
        let health = self.health.health(self.is_default, item, problems);
        self.spec.health = health.map(Box::new);
        self.sockets.extend(self.health.socket());
    }

    fn env(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let mut own: Vec<(OsString, OsString)> = Vec::new();
        for member in item.members("an object of strings", problems) {
            let (key, item) = (OsStr::new(member.key), &member.value);
            let key_problem = env_problem(key, OsStr::new(""));
            let value = item.text_of_scalar(problems).map(OsStr::new);
            if let Some(problem) = key_problem {
                member.complain(problems, problem);
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

    /// Checks the merged values that cannot be together. The error is at the key in the file, of the
    /// program or of the defaults.
    fn check_pairs(&self, defaults: &Self, problems: &mut Problems) {
        for (key, problem) in self.spec.problems() {
            let place = self.places.get(key).or_else(|| defaults.places.get(key));
            if let Some((place, path)) = place {
                problems.add(*place, path, problem);
            }
        }
    }

    /// Checks the order of the merged delays. The error is at a delay in the file: of the program
    /// if it has one, else of the defaults; at `max` if there is one.
    fn check_backoff(&self, defaults: &Self, problems: &mut Problems) {
        if self.delays_unknown {
            return;
        }
        let has_own = self.max.is_some() || self.initial.is_some();
        let layer = if has_own { self } else { defaults };
        let given = layer.max.as_ref().or(layer.initial.as_ref());
        let (Some(problem), Some((place, path))) = (backoff_problem(&self.spec.backoff), given)
        else {
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
        problems.add(*place, path, format!("{problem}{note}"));
    }
}
