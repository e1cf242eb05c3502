//! Which programs an order names: exact names and globs.

use std::collections::BTreeSet;
use std::sync::Arc;

use super::protocol::{Code, Problem};

/// The most globs in one request. Each is matched with every name.
const GLOBS_MAX: usize = 16;

/// The longest glob, in bytes: twice a name. It bounds the work for one name.
const GLOB_BYTES_MAX: usize = 128;

/// Returns the names that an order is for, each once: exact names as given, whether they exist or
/// not, and what globs match. With a glob they come in the order of `known`.
///
/// # Errors
///
/// A glob that matches nothing, is invalid or too long, and too many globs.
pub fn resolve<'a>(
    given: &[String],
    known: impl Iterator<Item = &'a Arc<str>>,
) -> Result<Vec<Arc<str>>, Problem> {
    check(given)?;
    let globs: Vec<&str> = globs(given).collect();
    let mut exact = BTreeSet::new();
    let exacts = given.iter().filter(|text| !is_glob(&text.as_str()));
    let mut names: Vec<Arc<str>> = exacts
        .filter(|name| exact.insert(name.as_str()))
        .map(|name| Arc::from(name.as_str()))
        .collect();
    if globs.is_empty() {
        return Ok(names);
    }
    let mut matched = vec![false; globs.len()];
    let mut has_instances = vec![false; globs.len()];
    let mut found = Vec::new();
    for name in known {
        let mut is_named = exact.remove(&**name);
        for (index, glob) in globs.iter().enumerate() {
            if matches(glob, name) {
                (matched[index], is_named) = (true, true);
            }
            has_instances[index] |= group(glob).is_some_and(|group| is_instance(name, group));
        }
        if is_named {
            found.push(name.clone());
        }
    }
    if let Some(index) = matched.iter().position(|matched| !matched) {
        let glob = globs[index];
        let meant = match group(glob).filter(|_| has_instances[index]) {
            Some(group) => format!(" (did you mean {:?}?)", format!("{group}@*")),
            None => String::new(),
        };
        let message = format!("no program matches {glob:?}{meant}");
        return Err(Problem::new(Code::UnknownProgram, message));
    }
    // What is left is unknown.
    names.retain(|name| exact.contains(&**name));
    found.extend(names);
    Ok(found)
}

/// Returns the name in a pattern for all programs of a group, as supervisord has it: `web:*`.
fn group(glob: &str) -> Option<&str> {
    glob.strip_suffix(":*")
}

/// True if the name is that of an instance of this program.
fn is_instance(name: &str, program: &str) -> bool {
    let rest = name.strip_prefix(program);
    rest.is_some_and(|rest| rest.starts_with('@'))
}

/// Checks what is given, of which globs are matched with every name.
///
/// # Errors
///
/// A glob that is invalid or too long, and too many globs.
pub fn check(given: &[String]) -> Result<(), Problem> {
    globs(given).try_for_each(check_glob)?;
    if globs(given).count() > GLOBS_MAX {
        let message = format!("invalid programs: expected at most {GLOBS_MAX} patterns");
        return Err(Problem::new(Code::Usage, message));
    }
    Ok(())
}

fn globs(given: &[String]) -> impl Iterator<Item = &str> {
    given.iter().map(String::as_str).filter(is_glob)
}

/// True if a name is among these names and globs.
pub fn is_among(given: &[String], name: &str) -> bool {
    let is_it = |text: &String| match is_glob(&text.as_str()) {
        true => matches(text, name),
        false => text == name,
    };
    given.iter().any(is_it)
}

/// True if it has a special character. No name has one.
fn is_glob(text: &&str) -> bool {
    text.contains(['*', '?', '['])
}

fn check_glob(glob: &str) -> Result<(), Problem> {
    let shown = || glob.chars().take(GLOB_BYTES_MAX / 4).collect::<String>();
    let expected = if glob.len() > GLOB_BYTES_MAX {
        format!("at most {GLOB_BYTES_MAX} bytes")
    } else if set_is_open(glob.as_bytes()) {
        "a ] after each [".to_owned()
    } else {
        return Ok(());
    };
    let message = format!("invalid pattern {:?}: expected {expected}", shown());
    Err(Problem::new(Code::Usage, message))
}

/// True if a `[` has no `]`.
fn set_is_open(mut rest: &[u8]) -> bool {
    while let Some(start) = rest.iter().position(|byte| *byte == b'[') {
        match set(&rest[start..]) {
            Some(set) => rest = set.rest,
            None => return true,
        }
    }
    false
}

/// A `[…]` of a glob.
struct Set<'a> {
    is_negated: bool,
    members: &'a [u8],
    rest: &'a [u8],
}

/// Splits off the set that a glob begins with. A `]` that comes first is a member (glob(7)).
fn set(glob: &[u8]) -> Option<Set<'_>> {
    let inside = glob.strip_prefix(b"[")?;
    let negated = inside.strip_prefix(b"!");
    let inside = negated.or(inside.strip_prefix(b"^")).unwrap_or(inside);
    let is_negated = glob.len() - inside.len() == 2;
    let end = 1 + inside.get(1..)?.iter().position(|byte| *byte == b']')?;
    Some(Set {
        is_negated,
        members: &inside[..end],
        rest: &inside[end + 1..],
    })
}

impl Set<'_> {
    fn has(&self, byte: u8) -> bool {
        let mut rest = self.members;
        let mut found = false;
        while let [first, behind @ ..] = rest {
            let range = match behind {
                [b'-', last, behind @ ..] => (*last, behind),
                _ => (*first, behind),
            };
            found |= (*first..=range.0).contains(&byte);
            rest = range.1;
        }
        found != self.is_negated
    }
}

/// True if the glob matches the whole name. After a mismatch only the latest `*` takes one byte
/// more, so that the work is at most the product of both lengths.
fn matches(glob: &str, name: &str) -> bool {
    let (mut glob, mut name) = (glob.as_bytes(), name.as_bytes());
    let mut retry: Option<(&[u8], &[u8])> = None;
    loop {
        if let Some(behind) = glob.strip_prefix(b"*") {
            glob = behind;
            retry = Some((glob, name));
            continue;
        }
        let step = match (glob, name) {
            ([], []) => return true,
            ([], _) | (_, []) => None,
            ([b'[', ..], [byte, ..]) => set(glob).filter(|set| set.has(*byte)).map(|set| set.rest),
            ([b'?', behind @ ..], _) => Some(behind),
            ([one, behind @ ..], [byte, ..]) => (one == byte).then_some(behind),
        };
        (glob, name) = match (step, retry) {
            (Some(behind), _) => (behind, &name[1..]),
            (None, Some((behind, [_, rest @ ..]))) => {
                retry = Some((behind, rest));
                (behind, rest)
            }
            (None, _) => return false,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn globs_are_those_of_a_shell() {
        let table = [
            ("*", "web yes, a yes"),
            ("web*", "web yes, web@1 yes, wab no, xweb no"),
            ("*b", "web yes, bb yes, web1 no"),
            ("w?b", "web yes, wb no, weeb no"),
            ("w[ea]b", "web yes, wab yes, wib no"),
            ("w[!ea]b", "web no, wib yes"),
            ("w[^e]b", "web no, wib yes"),
            ("web@[1-3]", "web@1 yes, web@3 yes, web@4 no"),
            ("[]-]x", "]x yes, -x yes, ax no"),
            ("[a-]x", "ax yes, -x yes, bx no"),
            ("*a*b*c", "xaybzc yes, abc yes, acb no"),
            ("**", "web yes"),
        ];
        for (glob, cases) in table {
            assert!(check_glob(glob).is_ok(), "{glob}");
            for case in cases.split(", ") {
                let (name, expected) = case.split_once(' ').expect("a pair");
                assert_eq!(matches(glob, name), expected == "yes", "{glob} {name}");
            }
        }
        assert!(matches("*", ""));
        assert!(!matches("?", ""));
    }

    #[test]
    fn a_hostile_glob_takes_no_time() {
        let glob = "*a".repeat(GLOB_BYTES_MAX / 2);
        assert!(!matches(&glob, &"a".repeat(64 - 1)));
        assert!(!matches(&format!("{}b", "a*".repeat(60)), &"a".repeat(64)));
    }

    #[test]
    fn an_invalid_glob_is_refused() {
        let message = |glob: &str| check_glob(glob).expect_err("a problem").message;
        assert_eq!(
            message("we[b"),
            "invalid pattern \"we[b\": expected a ] after each ["
        );
        assert_eq!(
            message("[]"),
            "invalid pattern \"[]\": expected a ] after each ["
        );
        let long = "*".repeat(GLOB_BYTES_MAX + 1);
        let end = "expected at most 128 bytes";
        assert!(message(&long).ends_with(end), "{}", message(&long));
    }

    #[test]
    fn names_are_resolved_once_each() {
        let known: Vec<Arc<str>> = ["db", "web", "web@1"].map(Arc::from).to_vec();
        let of = |given: &[&str]| {
            let given: Vec<String> = given.iter().map(|text| (*text).to_owned()).collect();
            let found = resolve(&given, known.iter()).map_err(|problem| problem.message)?;
            Ok::<_, String>(found.join(" "))
        };
        assert_eq!(of(&["web", "db", "web"]), Ok("web db".to_owned()));
        assert_eq!(of(&["web*", "db", "web"]), Ok("db web web@1".to_owned()));
        assert_eq!(of(&["nix", "d?"]), Ok("db nix".to_owned()));
        assert_eq!(
            of(&["x*", "d?"]),
            Err("no program matches \"x*\"".to_owned())
        );
        let meant = "no program matches \"web:*\" (did you mean \"web@*\"?)";
        assert_eq!(of(&["web:*"]), Err(meant.to_owned()));
        assert_eq!(
            of(&["d*", "db:*"]),
            Err("no program matches \"db:*\"".to_owned())
        );
        assert_eq!(of(&[]), Ok(String::new()));
        let many: Vec<&str> = vec!["*"; GLOBS_MAX + 1];
        let message = "invalid programs: expected at most 16 patterns";
        assert_eq!(of(&many), Err(message.to_owned()));
    }
}
