//! `error_handler`: a command, or an object that says for which reports it is run.

use super::errors::Problems;
use super::item::{Field, Item};
use crate::spec::ErrorCommand;

const FIELDS: [Field<Draft>; 2] = [
    ("command", |draft, item, problems| {
        draft.has_command = true;
        draft.command = item.command(problems).map(ErrorCommand::from);
    }),
    ("when", |draft, item, problems| {
        draft.only_failures = item.word(&WHEN, problems) == Some(true);
    }),
];

/// True for the word that leaves out what is no failure.
const WHEN: [(&str, bool); 2] = [("always", false), ("failure", true)];

/// The object while it is read.
#[derive(Default)]
struct Draft {
    command: Option<ErrorCommand>,
    has_command: bool,
    only_failures: bool,
}

/// Reads the value of `error_handler`.
pub(super) fn read(item: &Item<'_>, problems: &mut Problems) -> Option<ErrorCommand> {
    if !item.is_object() {
        return item.command(problems).map(ErrorCommand::from);
    }
    let mut draft = Draft::default();
    item.read(&mut draft, &FIELDS, "an object", problems);
    if !draft.has_command {
        let message = r#"the key "command" is missing: give ["program", "argument"]"#;
        item.complain(problems, message.to_owned());
    }
    let command = draft.command?;
    Some(match draft.only_failures {
        true => command.only_failures(),
        false => command,
    })
}
