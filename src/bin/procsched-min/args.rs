//! The command line: words in, a [`Command`] or one clear sentence out.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::init;

/// What is supervised when nobody says it.
const CONFIG_DEFAULT: &str = "procsched.json";

const COMMANDS: [&str; 6] = ["run", "check", "demo", "init", "help", "version"];
/// Those that are worth a suggestion: of two letters one is always wrong.
const OPTIONS: [&str; 2] = ["--help", "--version"];

/// Commands of supervisorctl, systemctl and docker compose, and what to do here instead.
const ELSEWHERE: [(&[&str], &str); 7] = [
    (
        &["status", "ps", "list", "ls", "top", "show", "is-active"],
        "send SIGUSR1 to the supervisor (kill -USR1 PID): it prints a line for each program on \
         its stderr",
    ),
    (
        &["start", "up", "add", "enable"],
        "\"run\" starts all programs of the config; there is no way to start one alone",
    ),
    (
        &[
            "stop", "down", "shutdown", "quit", "exit", "kill", "signal", "remove", "disable",
        ],
        "SIGTERM to the supervisor (kill PID) stops all programs; there is no way to stop one \
         for good",
    ),
    (
        &["restart"],
        "kill the program's process group (kill -TERM -PID): unless its \"restart\" is \
         \"never\", or \"on-failure\" and it ends with 0, it is started again after its delay",
    ),
    (
        &["reload", "reread", "update", "daemon-reload"],
        "the config is read once: stop the supervisor (kill PID) and \"run\" it again",
    ),
    (
        &["logs", "log", "tail", "maintail", "journal"],
        "what a program writes to stderr is in NAME.stderr.log in the config's err_dir, /tmp if it \
         names none (tail -f /tmp/NAME.stderr.log)",
    ),
    (
        &["validate", "verify", "lint", "test", "configtest"],
        "\"check\" shows what is wrong with the config",
    ),
];

/// What this binary is asked to do.
#[derive(Debug, PartialEq, Eq)]
pub enum Command {
    /// Supervise what this file says; `-` is stdin.
    Run(PathBuf),
    /// Look for what is wrong in this file; `-` is stdin.
    Check(PathBuf),
    Demo,
    /// Be the first process of a container.
    Init(Box<init::Arguments>),
    Help(Topic),
    Version,
}

/// What the help is wanted for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Topic {
    /// Everything.
    All,
    Run,
    Check,
    Demo,
    Init,
    Version,
}

/// Understands the arguments after the program's own name, or says what is wrong with them.
pub fn parse(arguments: impl IntoIterator<Item = OsString>) -> Result<Command, String> {
    let mut arguments = arguments.into_iter();
    let Some(first) = arguments.next() else {
        return Err("no command is given".to_owned());
    };
    let rest: Vec<OsString> = arguments.collect();
    let command = match first.to_str() {
        Some("run") => return with_config(rest, Topic::Run, Command::Run),
        Some("check") => return with_config(rest, Topic::Check, Command::Check),
        Some("demo") => Command::Demo,
        Some("init") => return init::parse(rest),
        Some("help" | "-h" | "--help") => return help(&rest),
        Some("version" | "-V" | "--version") => Command::Version,
        _ => return Err(unknown_first(&first)),
    };
    let topic = match command {
        Command::Demo => Topic::Demo,
        _ => Topic::Version,
    };
    match rest.first() {
        None => Ok(command),
        Some(word) if asks_for_help(word) => Ok(Command::Help(topic)),
        Some(word) if is_option(word) => Err(unknown("option", word, &OPTIONS)),
        Some(word) => Err(unexpected(word)),
    }
}

/// The words after `help`: nothing, or one command.
fn help(words: &[OsString]) -> Result<Command, String> {
    if let Some(more) = words.get(1) {
        return Err(unexpected(more));
    }
    let topic = match words.first().map(|word| word.to_str()) {
        None | Some(Some("help" | "-h" | "--help")) => Topic::All,
        Some(Some("run")) => Topic::Run,
        Some(Some("check")) => Topic::Check,
        Some(Some("demo")) => Topic::Demo,
        Some(Some("init")) => Topic::Init,
        Some(Some("version")) => Topic::Version,
        Some(_) => return Err(unknown_first(&words[0])),
    };
    Ok(Command::Help(topic))
}

/// The command takes one file at most. After `--` nothing is an option.
fn with_config(
    words: Vec<OsString>,
    topic: Topic,
    command: fn(PathBuf) -> Command,
) -> Result<Command, String> {
    let mut config = None;
    let mut options_end = false;
    for word in words {
        if !options_end && word == "--" {
            options_end = true;
        } else if !options_end && asks_for_help(&word) {
            return Ok(Command::Help(topic));
        } else if !options_end && is_option(&word) {
            return Err(unknown("option", &word, &OPTIONS));
        } else if word.is_empty() {
            return Err("the name of the config file is an empty string".to_owned());
        } else if config.is_some() {
            return Err(unexpected(&word));
        } else {
            config = Some(PathBuf::from(word));
        }
    }
    Ok(command(config.unwrap_or_else(|| CONFIG_DEFAULT.into())))
}

pub fn asks_for_help(word: &OsStr) -> bool {
    word == "-h" || word == "--help"
}

pub fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_encoded_bytes().starts_with(b"-")
}

fn unexpected(word: &OsStr) -> String {
    format!("unexpected argument {word:?}")
}

fn unknown_first(word: &OsStr) -> String {
    if is_option(word) {
        return unknown("option", word, &OPTIONS);
    }
    if word.as_encoded_bytes().ends_with(b".json") {
        return format!("unknown command {word:?} (did you mean \"run\" before it?)");
    }
    let is_it = |(names, _): &&(&[&str], &str)| names.iter().any(|name| word == *name);
    match ELSEWHERE.iter().find(is_it) {
        Some((_, instead)) => format!("unknown command {word:?}: {instead}"),
        None => unknown("command", word, &COMMANDS),
    }
}

pub fn unknown(kind: &str, word: &OsStr, known: &[&str]) -> String {
    match closest(&word.to_string_lossy(), known) {
        Some(meant) => format!("unknown {kind} {word:?} (did you mean {meant:?}?)"),
        None => format!("unknown {kind} {word:?}"),
    }
}

/// The known word that was most likely meant: at most every second letter is wrong.
pub fn closest<'a>(word: &str, known: &[&'a str]) -> Option<&'a str> {
    let word: Vec<char> = word.chars().take(64).collect();
    let measured = known.iter().map(|known| {
        let letters: Vec<char> = known.chars().collect();
        (
            distance(&word, &letters),
            letters.len().max(word.len()),
            *known,
        )
    });
    let near = measured.filter(|(distance, longer, _)| distance * 2 <= *longer);
    near.min_by_key(|(distance, ..)| *distance)
        .map(|(.., known)| known)
}

/// How many letters have to be put in, taken out or replaced to make one word of the other.
fn distance(from: &[char], to: &[char]) -> usize {
    let mut row: Vec<usize> = (0..=to.len()).collect();
    for (i, a) in from.iter().enumerate() {
        let mut diagonal = row[0];
        row[0] = i + 1;
        for (j, b) in to.iter().enumerate() {
            let replaced = diagonal + usize::from(a != b);
            diagonal = row[j + 1];
            row[j + 1] = replaced.min(diagonal + 1).min(row[j] + 1);
        }
    }
    row[to.len()]
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse_words(words: &[&str]) -> Result<Command, String> {
        parse(words.iter().map(OsString::from))
    }

    #[test]
    fn what_is_understood() {
        let run = |path: &str| Command::Run(path.into());
        let check = |path: &str| Command::Check(path.into());
        let table: [(&[&str], Command); 28] = [
            (&["run"], run("procsched.json")),
            (&["run", "x.json"], run("x.json")),
            (&["run", "-"], run("-")),
            (&["run", "--", "-x.json"], run("-x.json")),
            (&["run", "--", "--"], run("--")),
            (&["run", "x.json", "--"], run("x.json")),
            (&["run", "--help"], Command::Help(Topic::Run)),
            (&["run", "x.json", "-h"], Command::Help(Topic::Run)),
            (&["check"], check("procsched.json")),
            (&["check", "-"], check("-")),
            (&["demo"], Command::Demo),
            (&["demo", "--help"], Command::Help(Topic::Demo)),
            (&["check", "-h"], Command::Help(Topic::Check)),
            (&["init", "--help"], Command::Help(Topic::Init)),
            (&["version", "-h"], Command::Help(Topic::Version)),
            (&["help"], Command::Help(Topic::All)),
            (&["help", "help"], Command::Help(Topic::All)),
            (&["help", "run"], Command::Help(Topic::Run)),
            (&["help", "check"], Command::Help(Topic::Check)),
            (&["help", "demo"], Command::Help(Topic::Demo)),
            (&["help", "init"], Command::Help(Topic::Init)),
            (&["help", "version"], Command::Help(Topic::Version)),
            (&["-h"], Command::Help(Topic::All)),
            (&["--help"], Command::Help(Topic::All)),
            (&["--help", "run"], Command::Help(Topic::Run)),
            (&["version"], Command::Version),
            (&["-V"], Command::Version),
            (&["--version"], Command::Version),
        ];
        for (words, command) in table {
            assert_eq!(parse_words(words), Ok(command), "{words:?}");
        }
    }

    #[test]
    fn what_is_not_understood_and_why() {
        let table: [(&[&str], &str); 23] = [
            (&[], "no command is given"),
            (&[""], "unknown command \"\""),
            (&["rum"], "unknown command \"rum\" (did you mean \"run\"?)"),
            (
                &["chekc"],
                "unknown command \"chekc\" (did you mean \"check\"?)",
            ),
            (&["init"], "no command is given to init"),
            (
                &["a.json"],
                "unknown command \"a.json\" (did you mean \"run\" before it?)",
            ),
            (&["a\n\x1b"], "unknown command \"a\\n\\u{1b}\""),
            (
                &["--verson"],
                "unknown option \"--verson\" (did you mean \"--version\"?)",
            ),
            (
                &["-version"],
                "unknown option \"-version\" (did you mean \"--version\"?)",
            ),
            // Of one letter, anything could have been meant.
            (&["-x"], "unknown option \"-x\""),
            (&["-v"], "unknown option \"-v\""),
            (&["-c", "x.json"], "unknown option \"-c\""),
            (&["run", "-d"], "unknown option \"-d\""),
            (&["init", "-q", "x"], "unknown option \"-q\""),
            (&["--"], "unknown option \"--\""),
            (&["run", "--foreground"], "unknown option \"--foreground\""),
            (&["run", "a", "b"], "unexpected argument \"b\""),
            (
                &["run", ""],
                "the name of the config file is an empty string",
            ),
            (&["demo", "x"], "unexpected argument \"x\""),
            (&["demo", "--fast"], "unknown option \"--fast\""),
            (&["help", "run", "x"], "unexpected argument \"x\""),
            (
                &["help", "rum"],
                "unknown command \"rum\" (did you mean \"run\"?)",
            ),
            (&["-V", "x"], "unexpected argument \"x\""),
        ];
        for (words, problem) in table {
            assert_eq!(parse_words(words), Err(problem.to_owned()), "{words:?}");
        }
    }

    /// What one types who comes from supervisorctl or systemctl was "unknown", and no more.
    #[test]
    fn commands_of_others_are_told_what_to_do_here() {
        let table = [
            ("status", "SIGUSR1"),
            ("ps", "SIGUSR1"),
            ("start", "\"run\""),
            ("stop", "SIGTERM"),
            ("shutdown", "SIGTERM"),
            ("restart", "started again"),
            ("reload", "read once"),
            ("update", "read once"),
            ("logs", "NAME.stderr.log"),
            ("tail", "NAME.stderr.log"),
        ];
        for (word, told) in table {
            for words in [&[word][..], &[word, "web"], &["help", word]] {
                let answer = parse_words(words).expect_err("no such command");
                let begin = format!("unknown command {word:?}: ");
                assert!(answer.starts_with(&begin), "{answer}");
                assert!(answer.contains(told), "{answer}");
            }
        }
        let all = ELSEWHERE.iter().flat_map(|(names, _)| *names);
        assert!(all.into_iter().all(|name| !COMMANDS.contains(name)));
    }

    #[test]
    fn a_file_name_need_not_be_utf8() {
        let name = OsString::from_vec(vec![b'a', 0xff]);
        assert_eq!(
            parse([OsString::from("run"), name.clone()]),
            Ok(Command::Run(name.into()))
        );
        let odd = parse([OsString::from_vec(vec![0xff])]);
        assert_eq!(odd, Err("unknown command \"\\xFF\"".to_owned()));
    }
}
