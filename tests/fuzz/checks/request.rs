//! A request to the control socket: it is understood, or refused with one short line of JSON; and
//! the programs that it names are those that a slower matcher finds.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::Value;

use crate::control::pattern;
use crate::control::protocol::{Problem, Request};

/// A refusal says some of what was wrong, and never echoes all of it.
const REFUSAL_BYTES_MAX: usize = 4096;

const NAMES: [&str; 8] = ["a", "b", "ab", "web", "web@1", "web@2", "db-1", "x.y"];

pub fn check(bytes: &[u8]) {
    let line = bytes
        .split(|byte| *byte == b'\n')
        .next()
        .unwrap_or_default();
    match Request::parse(line) {
        Err(problem) => check_refusal(&problem),
        Ok(request) => check_programs(&request.programs),
    }
}

fn check_refusal(problem: &Problem) {
    let mut out = Vec::new();
    problem.write(&mut out);
    assert!(out.len() <= REFUSAL_BYTES_MAX, "{} bytes", out.len());
    let line = out.strip_suffix(b"\n").expect("a line feed");
    assert!(!line.contains(&b'\n'), "one line");
    let answer: Value = serde_json::from_slice(line).expect("JSON");
    assert_eq!(answer["ok"], Value::Bool(false));
    assert_eq!(answer["error"]["code"], problem.code.word());
}

fn check_programs(given: &[String]) {
    let known: Vec<Arc<str>> = NAMES.into_iter().map(Arc::from).collect();
    let found = match pattern::resolve(given, known.iter()) {
        Ok(found) => found,
        Err(problem) => return check_refusal(&problem),
    };
    let each: BTreeSet<&str> = found.iter().map(|name| &**name).collect();
    assert_eq!(each.len(), found.len(), "each once");
    let is_named = |name: &str| {
        given
            .iter()
            .any(|text| matches(text.as_bytes(), name.as_bytes()))
    };
    let has_set = given.iter().any(|text| text.contains('['));
    for name in NAMES {
        assert!(
            has_set || each.contains(name) == is_named(name),
            "{name}: {given:?}"
        );
        assert_eq!(
            each.contains(name),
            pattern::is_among(given, name),
            "{name}: {given:?}"
        );
    }
    for name in each {
        assert!(
            NAMES.contains(&name) || given.iter().any(|text| text == name),
            "{name}"
        );
    }
}

/// What `*` and `?` mean, tried in every way.
fn matches(glob: &[u8], name: &[u8]) -> bool {
    match (glob, name) {
        ([], name) => name.is_empty(),
        ([b'*', rest @ ..], name) => (0..=name.len()).any(|from| matches(rest, &name[from..])),
        ([b'?', rest @ ..], [_, behind @ ..]) => matches(rest, behind),
        ([one, rest @ ..], [other, behind @ ..]) => one == other && matches(rest, behind),
        _ => false,
    }
}
