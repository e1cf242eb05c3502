//! Parses the command line by the table of commands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use procsched::config::nearest;

use super::{ALL, Command, FOREIGN, Opt, help};

/// A command with its arguments.
pub struct Call {
    pub command: &'static Command,
    pub arguments: Arguments,
}

/// What stands behind a command's name.
#[derive(Default)]
pub struct Arguments {
    /// The long name of each option and its value, which is empty if it takes none.
    options: Vec<(&'static str, OsString)>,
    pub operands: Vec<OsString>,
}

impl Arguments {
    /// True if the option with this long name is given.
    pub fn has(&self, long: &str) -> bool {
        self.values(long).next().is_some()
    }

    /// Returns the values of the option with this long name, in their order.
    pub fn values(&self, long: &str) -> impl DoubleEndedIterator<Item = &OsStr> {
        let given = self.options.iter().filter(move |(name, _)| *name == long);
        given.map(|(_, value)| value.as_os_str())
    }
}

/// Parses the words after the program's own name, or returns what is wrong with them.
pub fn parse(words: impl IntoIterator<Item = OsString>) -> Result<Call, String> {
    let mut words = words.into_iter();
    let command = find(&words.next().ok_or("missing command")?)?;
    let mut arguments = Arguments::default();
    while let Some(word) = words.next() {
        if word == "--" {
            arguments.operands.extend(words.by_ref());
        } else if word == "-h" || word == "--help" {
            let arguments = Arguments {
                operands: vec![command.name.into()],
                ..Arguments::default()
            };
            let command = &help::COMMAND;
            return Ok(Call { command, arguments });
        } else if is_option(&word) {
            command.option(&word, &mut words, &mut arguments.options)?;
        } else {
            arguments.operands.push(word);
            if command.options_end_at_operand {
                arguments.operands.extend(words.by_ref());
            }
        }
        if let Some(word) = arguments.operands.get(command.operands_max) {
            return Err(format!("unexpected argument {word:?}"));
        }
    }
    Ok(Call { command, arguments })
}

impl Command {
    /// Parses one word of options: `--name`, `--name=value`, or letters of which the last may have
    /// its value behind it or in the next word.
    fn option(
        &self,
        word: &OsStr,
        rest: &mut impl Iterator<Item = OsString>,
        options: &mut Vec<(&'static str, OsString)>,
    ) -> Result<(), String> {
        if word.as_bytes().starts_with(b"--") {
            let (name, value) = match word.as_bytes().iter().position(|byte| *byte == b'=') {
                Some(at) => (&word.as_bytes()[..at], Some(&word.as_bytes()[at + 1..])),
                None => (word.as_bytes(), None),
            };
            let option = self
                .options
                .iter()
                .find(|option| option.long.as_bytes() == name);
            let name = OsStr::from_bytes(name);
            let option = option.ok_or_else(|| self.unknown_option(name))?;
            if value.is_some() && option.value.is_empty() {
                return Err(format!("option {name:?} takes no value"));
            }
            options.push((option.long, option.value(name, value, rest)?));
            return Ok(());
        }
        let mut letters = &word.as_bytes()[1..];
        while let Some((letter, behind)) = letters.split_first() {
            let option = self
                .options
                .iter()
                .find(|option| option.short == char::from(*letter));
            let option = option.ok_or_else(|| self.unknown_option(word))?;
            let takes_value = !option.value.is_empty();
            letters = if takes_value { &[] } else { behind };
            let value = (takes_value && !behind.is_empty()).then_some(behind);
            let name = format!("-{}", option.short);
            options.push((option.long, option.value(name.as_ref(), value, rest)?));
        }
        Ok(())
    }

    fn unknown_option(&self, word: &OsStr) -> String {
        match self
            .foreign_options
            .iter()
            .find(|(option, _)| word == *option)
        {
            Some((_, instead)) => format!("unknown option {word:?}: {instead}"),
            None => {
                let known = self.options.iter().map(|option| option.long);
                unknown("option", word, known.chain(["--help"]))
            }
        }
    }
}

impl Opt {
    /// Returns the value that is given, or takes the next word for it.
    fn value(
        &self,
        name: &OsStr,
        value: Option<&[u8]>,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<OsString, String> {
        match value {
            Some(value) => Ok(OsStr::from_bytes(value).to_owned()),
            None if self.value.is_empty() => Ok(OsString::new()),
            None => rest
                .next()
                .ok_or_else(|| format!("option {name:?} needs a value")),
        }
    }
}

/// Finds a command by its name or an alias.
pub fn find(word: &OsStr) -> Result<&'static Command, String> {
    let is_it = |command: &&&Command| {
        word == command.name || command.aliases.iter().any(|alias| word == *alias)
    };
    ALL.iter()
        .find(is_it)
        .copied()
        .ok_or_else(|| unknown_command(word))
}

fn unknown_command(word: &OsStr) -> String {
    let aliases = ALL.iter().flat_map(|command| command.aliases);
    if is_option(word) {
        // Of one letter, any other could have been meant.
        return unknown(
            "option",
            word,
            aliases.copied().filter(|alias| alias.len() > 2),
        );
    }
    if word.as_bytes().ends_with(b".json") {
        return format!("unknown command {word:?} (did you mean \"run\" before it?)");
    }
    match FOREIGN
        .iter()
        .find(|(names, _)| names.iter().any(|name| word == *name))
    {
        Some((_, instead)) => format!("unknown command {word:?}: {instead}"),
        None => unknown("command", word, ALL.iter().map(|command| command.name)),
    }
}

fn unknown(kind: &str, word: &OsStr, known: impl Iterator<Item = &'static str>) -> String {
    match nearest(&word.to_string_lossy(), known) {
        Some(meant) => format!("unknown {kind} {word:?} (did you mean {meant:?}?)"),
        None => format!("unknown {kind} {word:?}"),
    }
}

fn is_option(word: &OsStr) -> bool {
    word.len() > 1 && word.as_bytes().starts_with(b"-")
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::os::unix::ffi::OsStringExt;

    fn parse_words(words: &[&str]) -> Result<Call, String> {
        parse(words.iter().map(OsString::from))
    }

    /// Returns what is wrong, which only executing `help` shows for its operand.
    fn problem(words: &[&str]) -> String {
        let call = match parse_words(words) {
            Ok(call) => call,
            Err(problem) => return problem,
        };
        let found = (call.command.exec)(&call.arguments);
        found.expect_err("a problem")
    }

    #[test]
    fn what_is_understood() {
        let table: [(&[&str], &str, &[&str]); 31] = [
            (&["run"], "run", &[]),
            (&["run", "x.json"], "run", &["x.json"]),
            (&["run", "-"], "run", &["-"]),
            (&["run", "--", "-x.json"], "run", &["-x.json"]),
            (&["run", "--", "--"], "run", &["--"]),
            (&["run", "x.json", "--"], "run", &["x.json"]),
            (&["run", "--help"], "help", &["run"]),
            (&["run", "x.json", "-h"], "help", &["run"]),
            (&["check"], "check", &[]),
            (&["check", "-"], "check", &["-"]),
            (&["demo"], "demo", &[]),
            (&["demo", "--help"], "help", &["demo"]),
            (&["check", "-h"], "help", &["check"]),
            (&["init", "--help"], "help", &["init"]),
            (&["version", "-h"], "help", &["version"]),
            (&["help"], "help", &[]),
            (&["help", "help"], "help", &["help"]),
            (&["help", "--help"], "help", &["help"]),
            (&["help", "run"], "help", &["run"]),
            (&["-h"], "help", &[]),
            (&["--help"], "help", &[]),
            (&["--help", "run"], "help", &["run"]),
            (&["version"], "version", &[]),
            (&["-V"], "version", &[]),
            (&["--version"], "version", &[]),
            (&["init", "x", "-v", "--"], "init", &["x", "-v", "--"]),
            (&["init", "--", "-v", "--"], "init", &["-v", "--"]),
            (&["init", "-cv", "x"], "init", &["x"]),
            (&["init", "-cve3", "x"], "init", &["x"]),
            (&["init", "-r", "TERM:0", "-rINT:15", "x"], "init", &["x"]),
            (&["init", "--success-code=3", "x"], "init", &["x"]),
        ];
        for (words, name, operands) in table {
            let call = parse_words(words).unwrap_or_else(|problem| panic!("{words:?}: {problem}"));
            assert_eq!(call.command.name, name, "{words:?}");
            assert_eq!(call.arguments.operands, operands, "{words:?}");
        }
    }

    #[test]
    fn options_have_their_values() {
        let words = [
            "init",
            "-cr1:2",
            "--rewrite",
            "3:4",
            "--rewrite=5:",
            "-e",
            "7",
            "x",
        ];
        let arguments = parse_words(&words).ok().expect("a call").arguments;
        let rewrites: Vec<&OsStr> = arguments.values("--rewrite").collect();
        assert_eq!(rewrites, ["1:2", "3:4", "5:"]);
        assert_eq!(
            arguments.values("--success-code").next_back(),
            Some("7".as_ref())
        );
        assert!(arguments.has("--single") && !arguments.has("--verbose"));
    }

    #[test]
    fn what_is_not_understood_and_why() {
        let table: [(&[&str], &str); 26] = [
            (&[], "missing command"),
            (&[""], "unknown command \"\""),
            (&["rum"], "unknown command \"rum\" (did you mean \"run\"?)"),
            (
                &["chekc"],
                "unknown command \"chekc\" (did you mean \"check\"?)",
            ),
            (&["init"], "missing command for init"),
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
            (&["init", "-cr"], "option \"-r\" needs a value"),
            (
                &["init", "--single=1"],
                "option \"--single\" takes no value",
            ),
            (
                &["init", "-g"],
                "unknown option \"-g\": signals go to the group unless --single is given",
            ),
            (&["--"], "unknown option \"--\""),
            (&["run", "--foreground"], "unknown option \"--foreground\""),
            (&["run", "a", "b"], "unexpected argument \"b\""),
            (
                &["run", ""],
                "invalid config file \"\": expected a path, or - for stdin",
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
        for (words, expected) in table {
            assert_eq!(problem(words), expected, "{words:?}");
        }
    }

    /// To a user of supervisorctl or systemctl they were "unknown", without an alternative.
    #[test]
    fn commands_of_similar_tools_are_answered_with_an_alternative() {
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
        for (word, expected) in table {
            for words in [&[word][..], &[word, "web"], &["help", word]] {
                let answer = problem(words);
                let begin = format!("unknown command {word:?}: ");
                assert!(answer.starts_with(&begin), "{answer}");
                assert!(answer.contains(expected), "{answer}");
            }
        }
        let mut names = FOREIGN.iter().flat_map(|(names, _)| *names);
        assert!(names.all(|name| ALL.iter().all(|command| command.name != *name)));
    }

    #[test]
    fn a_file_name_need_not_be_utf8() {
        let name = OsString::from_vec(vec![b'a', 0xff]);
        let call = parse([OsString::from("run"), name.clone()]);
        assert_eq!(call.ok().expect("a call").arguments.operands, [name]);
        let odd = parse([OsString::from_vec(vec![0xff])]);
        assert_eq!(odd.err(), Some("unknown command \"\\xFF\"".to_owned()));
    }
}
