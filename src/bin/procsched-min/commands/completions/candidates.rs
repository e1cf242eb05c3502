//! What the last word of a command line may become.

use std::ffi::OsString;
use std::time::Duration;

use procsched::Signal;

use super::super::parse::{self, Arguments};
use super::super::{ALL, Command, Opt};
use super::SHELLS;
use crate::client::answer::Answer;
use crate::client::find;
use crate::client::options::Options;
use crate::client::program::Program;
use crate::client::talk::{Request, Talk};
use crate::control::protocol::Until;

/// How long the supervisor is waited for: a person has pressed Tab.
const ANSWER_TIME_MAX: Duration = Duration::from_secs(1);

/// The signals that have a name on every Linux.
const SIGNALS: std::ops::RangeInclusive<i32> = 1..=31;

/// A word, and what it means.
#[derive(Debug, PartialEq, Eq)]
pub struct Candidate {
    pub word: String,
    pub description: String,
}

impl Candidate {
    fn new(word: impl Into<String>, description: &str) -> Self {
        Self {
            word: word.into(),
            description: description.to_owned(),
        }
    }
}

/// Returns what the last of these words, which follow the name of the binary, may become; nothing
/// if it is a file, or cannot be known.
pub fn of(words: &[OsString]) -> Vec<Candidate> {
    let words: Vec<String> = words
        .iter()
        .map(|word| word.to_string_lossy().into_owned())
        .collect();
    let Some((last, before)) = words.split_last() else {
        return Vec::new();
    };
    let Some((name, given)) = before.split_first() else {
        return starting_with(last, commands());
    };
    let Ok(command) = parse::find(name.as_ref()) else {
        return Vec::new();
    };
    let arguments = arguments(before);
    // bash makes three words of `--for=running`.
    let (given, last) = match given {
        given if last == "=" => (given, ""),
        [given @ .., equals] if equals == "=" => (given, last.as_str()),
        given => (given, last.as_str()),
    };
    if let Some(option) = given.last().and_then(|word| takes_next(command, word)) {
        return starting_with(last, values(option.value, &arguments));
    }
    if let Some((name, value)) = last.split_once('=')
        && let Some(option) = command.options().find(|option| option.long == name)
    {
        let mut found = starting_with(value, values(option.value, &arguments));
        for candidate in &mut found {
            candidate.word = format!("{name}={}", candidate.word);
        }
        return found;
    }
    if last.starts_with('-') {
        return starting_with(last, options(command));
    }
    let operand = operand(command, arguments.operands.len());
    starting_with(
        last,
        operand.map_or_else(Vec::new, |operand| values(operand, &arguments)),
    )
}

fn starting_with(start: &str, mut candidates: Vec<Candidate>) -> Vec<Candidate> {
    candidates.retain(|candidate| candidate.word.starts_with(start));
    candidates
}

fn commands() -> Vec<Candidate> {
    let all = ALL.iter();
    all.map(|command| Candidate::new(command.name, command.summary))
        .collect()
}

fn options(command: &Command) -> Vec<Candidate> {
    let own = command.options();
    let own = own.map(|option| Candidate::new(option.long, option.summary));
    own.chain([Candidate::new("--help", "print the help of this command")])
        .collect()
}

/// Returns what was parsed of the words before the last one; nothing if they are wrong so far.
fn arguments(words: &[String]) -> Arguments {
    let call = parse::parse(words.iter().map(OsString::from));
    call.map(|call| call.arguments).unwrap_or_default()
}

/// Returns the option that the word is, if its value is the next one.
fn takes_next(command: &Command, word: &str) -> Option<Opt> {
    let is_meant = |option: &Opt| {
        !option.value.is_empty() && !word.is_empty() && [option.long, option.short].contains(&word)
    };
    command.options().find(is_meant)
}

/// Returns what the operand with this index is called in the usage.
fn operand(command: &Command, index: usize) -> Option<&'static str> {
    let all = command
        .operands
        .trim_start_matches("[--]")
        .split_whitespace();
    let repeats = |word: &&str| word.contains("...");
    let last = all.clone().last().filter(repeats);
    all.clone().nth(index).or(last)
}

/// Returns the values that something has that is called like this in the help.
fn values(shown: &str, arguments: &Arguments) -> Vec<Candidate> {
    let words = |words: &[&str]| words.iter().map(|word| Candidate::new(*word, "")).collect();
    match shown.trim_matches(['[', ']', '.', '=']) {
        "NAME" => programs(arguments).unwrap_or_default(),
        "COMMAND" => commands(),
        "STATE" => words(&Until::WORDS),
        "WHEN" => words(&["auto", "always", "never"]),
        "SHELL" => words(&SHELLS.map(|shell| shell.name)),
        "SIG" => signals(),
        _ => Vec::new(),
    }
}

fn signals() -> Vec<Candidate> {
    let known = SIGNALS.filter_map(|number| Signal::new(number).ok());
    let name = |signal: Signal| signal.to_string().trim_start_matches("SIG").to_owned();
    known
        .map(|signal| Candidate::new(name(signal), ""))
        .collect()
}

/// Returns the programs of the supervisor that the options lead to, with their states.
fn programs(arguments: &Arguments) -> Option<Vec<Candidate>> {
    let mut options = Options::parse(arguments).ok()?;
    options.timeout = Some(ANSWER_TIME_MAX);
    let end = options.end();
    let path = find::socket(&options).ok()?;
    let mut talk = Talk::open(&path, &Request::new("status"), end).ok()?;
    let mut found = Vec::new();
    while let (Answer::Program(program), _) = talk.expect().ok()? {
        let program = Program(&program);
        found.push(Candidate::new(program.name(), program.state()));
    }
    Some(found)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn words(line: &str) -> Vec<String> {
        let words: Vec<OsString> = line.split(' ').map(OsString::from).collect();
        of(&words)
            .into_iter()
            .map(|candidate| candidate.word)
            .collect()
    }

    #[test]
    fn the_last_word_becomes_what_the_table_has() {
        let table: [(&str, &[&str]); 14] = [
            ("re", &["restart", "reload", "reopen"]),
            ("stop --k", &["--kill"]),
            ("stop --no-wait --a", &["--all"]),
            ("wait --for s", &["starting", "stopping", "stopped"]),
            (
                "wait --for=st",
                &["--for=starting", "--for=stopping", "--for=stopped"],
            ),
            ("wait --for = st", &["starting", "stopping", "stopped"]),
            ("status --color a", &["auto", "always"]),
            ("completions ", &["bash", "zsh", "fish"]),
            ("signal HU", &["HUP"]),
            ("signal --main US", &["USR1", "USR2"]),
            ("help sta", &["status", "start"]),
            ("--version x", &[]),
            ("no-such ", &[]),
            ("run ", &[]),
        ];
        for (line, expected) in table {
            assert_eq!(words(line), expected, "{line}");
        }
        assert_eq!(words("").len(), ALL.len());
        assert!(words("wait --for =").contains(&"running".to_owned()));
        assert!(words("stop -").contains(&"--help".to_owned()));
    }

    #[test]
    fn each_has_a_description() {
        for command in ALL {
            for option in options(command) {
                assert!(
                    !option.description.is_empty(),
                    "{} {option:?}",
                    command.name
                );
            }
        }
    }
}
