//! Parses the command line by the table of commands.

use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::OsStrExt;

use procsched::text::did_you_mean;

use super::{ALL, Command, FOREIGN, Opt, help};

/// A command with its arguments.
#[derive(Debug)]
pub struct Call {
    pub command: &'static Command,
    pub arguments: Arguments,
}

/// What stands behind a command's name.
#[derive(Debug, Default)]
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
    pub fn values(&self, long: &str) -> impl Iterator<Item = &OsStr> {
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
            let operands = vec![command.name.into()];
            return Ok(Call {
                command: &help::COMMAND,
                arguments: Arguments {
                    operands,
                    ..Arguments::default()
                },
            });
        } else if is_option(&word) {
            command.option(&word, &mut words, &mut arguments.options)?;
        } else {
            arguments.operands.push(word);
            if command.operands.starts_with("[--]") {
                arguments.operands.extend(words.by_ref());
            }
        }
        if let Some(word) = arguments.operands.get(command.operands_max()) {
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
        let find = |name: &OsStr, shown: &OsStr| {
            let mut all = self.options();
            let found = all.find(|option| name == option.long || name == option.short);
            found.ok_or_else(|| self.unknown_option(shown))
        };
        if word.as_bytes().starts_with(b"--") {
            let mut parts = word.as_bytes().splitn(2, |byte| *byte == b'=');
            let name = OsStr::from_bytes(parts.next().unwrap_or_default());
            let option = find(name, name)?;
            let value = parts.next();
            if value.is_some() && option.value.is_empty() {
                return Err(format!("option {name:?} takes no value"));
            }
            options.push((option.long, option.value(name, value, rest)?));
            return Ok(());
        }
        let mut letters = &word.as_bytes()[1..];
        while let Some((letter, behind)) = letters.split_first() {
            let option = find(OsStr::from_bytes(&[b'-', *letter]), word)?;
            let takes_value = !option.value.is_empty();
            letters = if takes_value { &[] } else { behind };
            let value = (takes_value && !behind.is_empty()).then_some(behind);
            let value = option.value(option.short.as_ref(), value, rest)?;
            options.push((option.long, value));
        }
        Ok(())
    }

    /// True if it has the option that this word is, with or without a value.
    fn has_option(&self, word: &OsStr) -> bool {
        let name = word.as_bytes().split(|byte| *byte == b'=').next();
        let name = OsStr::from_bytes(name.unwrap_or_default());
        let mut all = self.options();
        all.any(|option| name == option.long || name == option.short)
    }

    fn unknown_option(&self, word: &OsStr) -> String {
        let mut foreign = self.foreign_options.iter();
        match foreign.find(|(option, _)| word == *option) {
            Some((_, instead)) => format!("unknown option {word:?}: {instead}"),
            None => {
                let known = self.options().map(|option| option.long);
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
        let next = match value {
            Some(value) => Some(OsStr::from_bytes(value).to_owned()),
            None if self.value.is_empty() || self.value.starts_with('[') => Some(OsString::new()),
            None => rest.next(),
        };
        next.ok_or_else(|| format!("option {name:?} needs a value"))
    }
}

/// Finds a command by its name or an alias.
pub fn find(word: &OsStr) -> Result<&'static Command, String> {
    let mut all = ALL.iter().copied();
    let found = all.find(|command| word == command.name || names(command.aliases, word));
    found.ok_or_else(|| unknown_command(word))
}

fn names(list: &[&str], word: &OsStr) -> bool {
    list.iter().any(|name| word == *name)
}

fn unknown_command(word: &OsStr) -> String {
    if is_option(word) {
        if ALL.iter().any(|command| command.has_option(word)) {
            return format!("unknown option {word:?}: options come after the command");
        }
        let aliases = ALL.iter().flat_map(|command| command.aliases).copied();
        // Of one letter, any other could have been meant.
        return unknown("option", word, aliases.filter(|alias| alias.len() > 2));
    }
    if word.as_bytes().ends_with(b".json") {
        return format!("unknown command {word:?} (did you mean \"run\" before it?)");
    }
    match FOREIGN.iter().find(|(list, _)| names(list, word)) {
        Some((_, instead)) => format!("unknown command {word:?}: {instead}"),
        None => unknown("command", word, ALL.iter().map(|command| command.name)),
    }
}

fn unknown(kind: &str, word: &OsStr, known: impl Iterator<Item = &'static str>) -> String {
    let meant = did_you_mean(&word.to_string_lossy(), known).unwrap_or_default();
    format!("unknown {kind} {word:?}{meant}")
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

    /// Command lines, the command, and its operands.
    const UNDERSTOOD: &str = "
        run => run
        run x.json => run x.json
        run - => run -
        run -- -x.json => run -x.json
        run -- -- => run --
        run x.json -- => run x.json
        run --help => help run
        run x.json -h => help run
        check => check
        check - => check -
        demo => demo
        demo --help => help demo
        check -h => help check
        init --help => help init
        version -h => help version
        help => help
        help help => help help
        help --help => help help
        help run => help run
        help check => help check
        help demo => help demo
        help init => help init
        help version => help version
        -h => help
        --help => help
        --help run => help run
        version => version
        -V => version
        --version => version
        init x -v -- => init x -v --
        init -- -v -- => init -v --
        init -cve3 x => init x
        init -r TERM:0 -rINT:15 --success-code=3 x => init x";

    /// Command lines, and what is wrong with them.
    const NOT_UNDERSTOOD: &str = r#"
        rum => unknown command "rum" (did you mean "run"?)
        chekc => unknown command "chekc" (did you mean "check"?)
        init => missing command for init
        a.json => unknown command "a.json" (did you mean "run" before it?)
        --verson => unknown option "--verson" (did you mean "--version"?)
        -version => unknown option "-version" (did you mean "--version"?)
        -x => unknown option "-x"
        -v => unknown option "-v": options come after the command
        -c x.json status => unknown option "-c": options come after the command
        --socket=x status => unknown option "--socket=x": options come after the command
        run -d => unknown option "-d"
        init -q x => unknown option "-q"
        init -cr => option "-r" needs a value
        init --single=1 => option "--single" takes no value
        init -g => unknown option "-g": signals go to the group unless --single is given
        -- => unknown option "--"
        run --foreground => unknown option "--foreground"
        run a b => unexpected argument "b"
        demo x => unexpected argument "x"
        demo --fast => unknown option "--fast"
        help run x => unexpected argument "x"
        help rum => unknown command "rum" (did you mean "run"?)
        -V x => unexpected argument "x""#;

    fn cases(table: &str) -> impl Iterator<Item = (Vec<&str>, &str)> {
        let lines = table.lines().filter_map(|line| line.split_once(" => "));
        lines.map(|(words, expected)| (words.split_whitespace().collect(), expected))
    }

    #[test]
    fn what_is_understood() {
        for (words, expected) in cases(UNDERSTOOD) {
            let call = parse_words(&words).unwrap_or_else(|problem| panic!("{words:?}: {problem}"));
            let operands = &call.arguments.operands;
            let operands = operands.iter().map(|word| word.to_str().expect("text"));
            let found: Vec<&str> = [call.command.name].into_iter().chain(operands).collect();
            assert_eq!(found.join(" "), expected, "{words:?}");
        }
    }

    #[test]
    fn what_is_not_understood_and_why() {
        for (words, expected) in cases(NOT_UNDERSTOOD) {
            assert_eq!(problem(&words), expected, "{words:?}");
        }
        assert_eq!(problem(&[]), "missing command");
        assert_eq!(problem(&[""]), "unknown command \"\"");
        assert_eq!(problem(&["a\n\x1b"]), "unknown command \"a\\n\\u{1b}\"");
        let empty = "invalid config file \"\": expected a path, or - for stdin";
        assert_eq!(problem(&["run", ""]), empty);
    }

    #[test]
    fn options_have_their_values() {
        let words = "init -cr1:2 --rewrite 3:4 --rewrite=5: -e 7 x";
        let words: Vec<&str> = words.split(' ').collect();
        let arguments = parse_words(&words).expect("a call").arguments;
        let rewrites: Vec<&OsStr> = arguments.values("--rewrite").collect();
        assert_eq!(rewrites, ["1:2", "3:4", "5:"]);
        assert!(arguments.values("--success-code").eq(["7"]));
        assert!(arguments.has("--single") && !arguments.has("--verbose"));
    }

    /// To a user of supervisorctl or systemctl they were "unknown", without an alternative.
    #[test]
    fn commands_of_similar_tools_are_answered_with_an_alternative() {
        for (list, instead) in FOREIGN {
            for word in *list {
                let expected = format!("unknown command {word:?}: {instead}");
                for words in [&[*word][..], &[word, "web"], &["help", word]] {
                    assert_eq!(problem(words), expected);
                }
            }
        }
    }

    #[test]
    fn a_file_name_need_not_be_utf8() {
        let name = OsString::from_vec(vec![b'a', 0xff]);
        let call = parse([OsString::from("run"), name.clone()]);
        assert_eq!(call.expect("a call").arguments.operands, [name]);
        let odd = parse([OsString::from_vec(vec![0xff])]);
        assert_eq!(odd.err(), Some("unknown command \"\\xFF\"".to_owned()));
    }
}
