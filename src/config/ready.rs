//! `ready`: by what a program is known to be up.

use super::check::{self, SocketPath};
use super::errors::Problems;
use super::item::{Field, Item};
use crate::spec::Ready;
use crate::spec::ready::{FD_MAX, ready_fd_problem};
use crate::text::{did_you_mean, quoted};

const NOTIFY: &str = "notify";

const EXPECTED: &str = r#""notify", an object such as {"fd": 3}, or false"#;

/// What tells it, and then when a check is made.
const FIELDS: [Field<Draft>; 6] = [
    ("fd", |draft, item, problems| {
        let fd = item.whole(&format!("a whole number from 3 to {FD_MAX}"), problems);
        let fd = fd.filter(|&fd| item.passes(ready_fd_problem(fd), problems));
        draft.set("fd", fd.map(Ready::Fd));
    }),
    ("delay", |draft, item, problems| {
        draft.set("delay", item.duration(problems).map(Ready::Delay));
    }),
    ("connect", |draft, item, problems| {
        draft.check.connect(item, problems);
        draft.begin("connect");
    }),
    ("command", |draft, item, problems| {
        draft.check.command(item, problems);
        draft.begin("command");
    }),
    ("interval", |draft, item, problems| {
        draft.check.interval(item, problems);
        draft.times.push("interval");
    }),
    ("timeout", |draft, item, problems| {
        draft.check.timeout(item, problems);
        draft.times.push("timeout");
    }),
];

/// An object while it is read.
#[derive(Default)]
struct Draft {
    /// The keys that say by what it is known, in the order of the file.
    means: Vec<&'static str>,
    /// The keys that a check alone can have.
    times: Vec<&'static str>,
    /// What `fd` or `delay` says, unless it was refused.
    ready: Option<Ready>,
    check: check::Draft,
}

impl Draft {
    fn begin(&mut self, key: &'static str) {
        if !self.means.contains(&key) {
            self.means.push(key);
        }
    }

    fn set(&mut self, key: &'static str, ready: Option<Ready>) {
        self.begin(key);
        self.ready = ready;
    }
}

/// Reads the value, and the Unix socket that it connects to, if it does.
pub(super) fn read(
    item: &Item<'_>,
    problems: &mut Problems,
) -> (Option<Ready>, Option<SocketPath>) {
    if !item.is_object() {
        let ready = item.string_of(EXPECTED, problems);
        return (ready.and_then(|text| word(text, item, problems)), None);
    }
    let mut draft = Draft::default();
    item.read(&mut draft, &FIELDS, EXPECTED, problems);
    let is_check = matches!(draft.means[..], ["connect" | "command"]);
    match draft.means[..] {
        [] => {
            let text = r#"it does not say by what: give "fd", "delay", "connect" or "command""#;
            item.complain(problems, text.to_owned());
        }
        [first, second, ..] => {
            let text = format!("it has both {first:?} and {second:?}: give one of them");
            item.complain(problems, text);
        }
        [one] => {
            if let (false, Some(key)) = (is_check, draft.times.first()) {
                let text =
                    format!("{key:?} goes with \"connect\" or \"command\", not with {one:?}");
                item.complain(problems, text);
            }
        }
    }
    if is_check {
        let probe = draft.check.probe(item, problems);
        return (probe.map(Ready::Probe), draft.check.socket());
    }
    (draft.ready.filter(|_| draft.means.len() == 1), None)
}

fn word(text: &str, item: &Item<'_>, problems: &mut Problems) -> Option<Ready> {
    if text == NOTIFY {
        return Some(Ready::Notify);
    }
    let instead = did_you_mean(text, [NOTIFY]);
    let instead = instead.unwrap_or_else(|| format!(": use {EXPECTED}"));
    item.complain(problems, format!("unknown value {}{instead}", quoted(text)));
    None
}
