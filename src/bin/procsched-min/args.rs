//! The command line: words in, a [`Command`] or one clear sentence out.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use crate::init;

/// What is supervised when nobody says it.
const CONFIG_DEFAULT: &str = "procsched.json";

const COMMANDS: [&str; 6] = ["run", "check", "demo", "init", "help", "version"];
const OPTIONS: [&str; 4] = ["--help", "--version", "-h", "-V"];

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
    Help,
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
        Some("run") => return with_config(rest, Command::Run),
        Some("check") => return with_config(rest, Command::Check),
        Some("demo") => Command::Demo,
        Some("init") => return init::parse(rest),
        Some("help" | "-h" | "--help") => Command::Help,
        Some("version" | "-V" | "--version") => Command::Version,
        _ => return Err(unknown_first(&first)),
    };
    match rest.first() {
        None => Ok(command),
        Some(word) if asks_for_help(word) => Ok(Command::Help),
        Some(word) if is_option(word) => Err(unknown("option", word, &OPTIONS)),
        Some(word) => Err(unexpected(word)),
    }
}

/// The command takes one file at most. After `--` nothing is an option.
fn with_config(words: Vec<OsString>, command: fn(PathBuf) -> Command) -> Result<Command, String> {
    let mut config = None;
    let mut options_end = false;
    for word in words {
        if !options_end && word == "--" {
            options_end = true;
        } else if !options_end && asks_for_help(&word) {
            return Ok(Command::Help);
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
    unknown("command", word, &COMMANDS)
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
        let table: [(&[&str], Command); 18] = [
            (&["run"], run("procsched.json")),
            (&["run", "x.json"], run("x.json")),
            (&["run", "-"], run("-")),
            (&["run", "--", "-x.json"], run("-x.json")),
            (&["run", "--", "--"], run("--")),
            (&["run", "x.json", "--"], run("x.json")),
            (&["run", "--help"], Command::Help),
            (&["run", "x.json", "-h"], Command::Help),
            (&["check"], check("procsched.json")),
            (&["check", "-"], check("-")),
            (&["demo"], Command::Demo),
            (&["demo", "--help"], Command::Help),
            (&["help"], Command::Help),
            (&["-h"], Command::Help),
            (&["--help"], Command::Help),
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
        let table: [(&[&str], &str); 18] = [
            (&[], "no command is given"),
            (&[""], "unknown command \"\""),
            (&["rum"], "unknown command \"rum\" (did you mean \"run\"?)"),
            (
                &["chekc"],
                "unknown command \"chekc\" (did you mean \"check\"?)",
            ),
            (&["restart"], "unknown command \"restart\""),
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
            (&["-x"], "unknown option \"-x\" (did you mean \"-h\"?)"),
            (&["--"], "unknown option \"--\" (did you mean \"-h\"?)"),
            (&["run", "--foreground"], "unknown option \"--foreground\""),
            (&["run", "a", "b"], "unexpected argument \"b\""),
            (
                &["run", ""],
                "the name of the config file is an empty string",
            ),
            (&["demo", "x"], "unexpected argument \"x\""),
            (&["demo", "--fast"], "unknown option \"--fast\""),
            (&["help", "run"], "unexpected argument \"run\""),
            (&["-V", "x"], "unexpected argument \"x\""),
        ];
        for (words, problem) in table {
            assert_eq!(parse_words(words), Err(problem.to_owned()), "{words:?}");
        }
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
