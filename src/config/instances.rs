//! `instances`: one program of the file, written out as several that differ in a number.
//!
//! The number replaces `%i` in the values of some keys before they are read, so that an address or a
//! path may have it, too. In other programs `%` stands for itself, and so it does in `defaults`.

use super::errors::{Place, Problems};
use super::item::{Item, Member};
use super::scan::{Kind, Node};

pub(super) const INSTANCES: &str = "instances";

/// The variable that has the number.
pub(super) const VARIABLE: &str = "PROCSCHED_INSTANCE";

/// More programs than this are hardly meant.
pub(super) const COUNT_MAX: u32 = 10_000;

/// The keys in whose values `%i` is replaced.
pub(super) const KEYS: [&str; 6] = ["command", "cwd", "env", "env_file", "ready", "health"];

/// Returns how many instances of a program there are to be, if it has the key. A number that is none
/// counts as one, so that the errors in the rest of the program are found.
pub(super) fn count(program: &Item<'_>, problems: &mut Problems) -> Option<u32> {
    let item = program.named(INSTANCES).into_iter().next()?;
    let expected = format!("a whole number from 1 to {COUNT_MAX}");
    let count = item.whole(&expected, problems).unwrap_or(1);
    let is_possible = (1..=COUNT_MAX).contains(&count);
    let problem = format!("invalid instances {count}: expected 1 to {COUNT_MAX}");
    let is_possible = item.passes((!is_possible).then_some(problem), problems);
    Some(if is_possible { count } else { 1 })
}

/// Returns the name of an instance.
pub(super) fn name(program: &str, number: u32) -> String {
    format!("{program}@{number}")
}

/// Returns the name of the program that this may be an instance of.
pub(super) fn program_of(name: &str) -> Option<&str> {
    let (program, number) = name.rsplit_once('@')?;
    number.parse::<u32>().is_ok().then_some(program)
}

/// Returns the value of a program with this number instead of `%i`.
pub(super) fn written_out<'n>(
    member: &Member<'n>,
    number: u32,
    problems: &mut Problems,
) -> Node<'n> {
    let mut node = member.value.node().clone();
    let Kind::Object(entries) = &mut node.kind else {
        return node;
    };
    let number = number.to_string();
    for entry in entries {
        if KEYS.contains(&&*entry.key) {
            let mut found = Vec::new();
            replace(&mut entry.value, &number, &mut found);
            let (_, program) = member.value.position();
            for (place, problem) in found {
                problems.add(place, &format!("{program}.{}", entry.key), problem);
            }
        }
    }
    node
}

/// Replaces it in all strings of a value, keys apart. Adds what is wrong, with its place.
fn replace(node: &mut Node<'_>, number: &str, found: &mut Vec<(Place, String)>) {
    match &mut node.kind {
        Kind::String(text) if text.contains('%') => match with_number(text, number) {
            Ok(replaced) => *text = replaced,
            Err(problem) => found.push((node.place, problem)),
        },
        Kind::Array(nodes) => nodes
            .iter_mut()
            .for_each(|node| replace(node, number, found)),
        Kind::Object(entries) => {
            let values = entries.iter_mut().map(|entry| &mut entry.value);
            values.for_each(|node| replace(node, number, found));
        }
        Kind::Null | Kind::Bool(_) | Kind::Number(_) | Kind::String(_) => {}
    }
}

fn with_number(text: &str, number: &str) -> Result<String, String> {
    let mut replaced = String::with_capacity(text.len());
    let mut parts = text.split('%');
    replaced.push_str(parts.next().unwrap_or_default());
    while let Some(part) = parts.next() {
        if let Some(rest) = part.strip_prefix('i') {
            replaced.push_str(number);
            replaced.push_str(rest);
        } else if let ("", Some(rest)) = (part, parts.next()) {
            // What stands between two of them is nothing.
            replaced.push('%');
            replaced.push_str(rest);
        } else {
            let text =
                "a program with instances has % only as %i, its number, and as %%, which is %";
            return Err(text.to_owned());
        }
    }
    Ok(replaced)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_number_stands_for_percent_i() {
        for (text, expected) in [
            ("%i", Some("12")),
            ("80%i", Some("8012")),
            ("%i%i-%%i%%", Some("1212-%i%")),
            ("%%%i", Some("%12")),
            ("100%%", Some("100%")),
            ("%%", Some("%")),
            ("", Some("")),
            ("%", None),
            ("a%", None),
            ("%d", None),
            ("%I", None),
            ("%%%", None),
            ("%%%d", None),
        ] {
            let replaced = with_number(text, "12").ok();
            assert_eq!(replaced.as_deref(), expected, "{text:?}");
        }
        assert_eq!(program_of("web@3"), Some("web"));
        assert_eq!(program_of(&name("a@b", 3)), Some("a@b"));
        for name in ["web", "web@", "web@x", "@"] {
            assert_eq!(program_of(name), None, "{name:?}");
        }
    }
}
