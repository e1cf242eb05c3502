//! A check: an object with `connect` or `command`, and when it is made. `ready` and `health` have
//! one each.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::errors::{Place, Problems};
use super::item::{Field, Item};
use crate::error::Error;
use crate::spec::check::{interval_problem, retries_problem, socket_path_problem, timeout_problem};
use crate::spec::{Address, Check, Health, Probe};

/// What an address looks like.
const ADDRESS: &str = r#"an address such as "127.0.0.1:8080", or the path of a socket"#;

const HEALTH_FIELDS: [Field<Draft>; 5] = [
    ("connect", Draft::connect),
    ("command", Draft::command),
    ("interval", Draft::interval),
    ("timeout", Draft::timeout),
    ("retries", |draft, item, problems| {
        let retries = item.whole("a whole number from 1", problems);
        let retries = retries.filter(|&retries| item.passes(retries_problem(retries), problems));
        draft.retries = retries.or(draft.retries);
    }),
];

/// The path of a Unix socket, and where it is in the file: how long it is depends on the base
/// directory, which may be read later.
pub(super) struct SocketPath {
    path: PathBuf,
    position: (Place, String),
}

impl SocketPath {
    /// Checks the length of the absolute path.
    pub(super) fn check(&self, base_dir: &Path, problems: &mut Problems) {
        if let Some(problem) = socket_path_problem(&base_dir.join(&self.path)) {
            let (place, key) = &self.position;
            problems.add(*place, key, problem);
        }
    }
}

/// A check while it is read. It begins as a copy of that of the defaults.
#[derive(Clone, Default)]
pub(super) struct Draft {
    check: Option<Check>,
    /// Where its address is in the file.
    address: Option<(Place, String)>,
    interval: Option<Duration>,
    timeout: Option<Duration>,
    retries: Option<u32>,
    /// The keys that this object itself has.
    has_connect: bool,
    has_command: bool,
    /// True if its check could not be read.
    is_unknown: bool,
}

impl Draft {
    /// Reads `connect`.
    pub(super) fn connect(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.has_connect = true;
        let text = item.string_of(ADDRESS, problems);
        let parsed = text.map(|text| text.parse().map_err(|error: Error| error.to_string()));
        let address = parsed.and_then(|parsed| item.accept(parsed, problems));
        self.set(address.map(Check::Connect));
        self.address = Some(item.position());
    }

    /// Reads `command`.
    pub(super) fn command(&mut self, item: &Item<'_>, problems: &mut Problems) {
        self.has_command = true;
        let command = item.command(problems);
        self.set(command.map(Check::Command));
    }

    fn set(&mut self, check: Option<Check>) {
        self.is_unknown |= check.is_none();
        self.check = check;
    }

    /// Reads `interval`.
    pub(super) fn interval(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let interval = item.duration(problems);
        let interval = interval.filter(|&time| item.passes(interval_problem(time), problems));
        self.interval = interval.or(self.interval);
    }

    /// Reads `timeout`.
    pub(super) fn timeout(&mut self, item: &Item<'_>, problems: &mut Problems) {
        let timeout = item.duration(problems);
        let timeout = timeout.filter(|&time| item.passes(timeout_problem(time), problems));
        self.timeout = timeout.or(self.timeout);
    }

    /// Returns what the object that was read says to try. Both keys, or none, is an error at the
    /// object. A key of its own replaces what was inherited.
    fn check(&self, item: &Item<'_>, problems: &mut Problems) -> Option<Check> {
        let expected = r#"give either "connect" or "command""#;
        if self.has_connect && self.has_command {
            item.complain(problems, format!("it has both: {expected}"));
            return None;
        }
        if self.check.is_none() && !self.is_unknown && item.is_object() {
            item.complain(problems, format!("nothing to try: {expected}"));
        }
        self.check.clone()
    }

    /// Returns the probe that the object describes.
    pub(super) fn probe(&self, item: &Item<'_>, problems: &mut Problems) -> Option<Probe> {
        let mut probe = Probe::new(self.check(item, problems)?);
        self.set_times(&mut probe);
        Some(probe)
    }

    fn set_times(&self, probe: &mut Probe) {
        probe.interval = self.interval.unwrap_or(probe.interval);
        probe.timeout = self.timeout.unwrap_or(probe.timeout);
    }

    /// Returns the path of its socket, to be checked when the base directory is known.
    pub(super) fn socket(&self) -> Option<SocketPath> {
        match (&self.check, &self.address) {
            (Some(Check::Connect(Address::Unix(path))), Some(position)) => Some(SocketPath {
                path: path.clone(),
                position: position.clone(),
            }),
            _ => None,
        }
    }

    /// Reads `health`, on top of that of the defaults.
    pub(super) fn read_health(&mut self, item: &Item<'_>, problems: &mut Problems) {
        (self.has_connect, self.has_command) = (false, false);
        let expected = r#"an object such as {"connect": "127.0.0.1:8080"}, or false"#;
        item.read(self, &HEALTH_FIELDS, expected, problems);
    }

    /// Returns the health check that the object describes. That of the defaults may leave open what
    /// is tried.
    pub(super) fn health(
        &self,
        is_default: bool,
        item: &Item<'_>,
        problems: &mut Problems,
    ) -> Option<Health> {
        if is_default && !self.has_connect && !self.has_command {
            return None;
        }
        let mut health = Health::new(self.check(item, problems)?);
        self.set_times(&mut health.probe);
        health.retries = self.retries.unwrap_or(health.retries);
        Some(health)
    }
}
