//! `help`: the overview and the help of each command, made from the table of commands. Everything
//! that is needed to begin, in 80 columns.

use procsched::config::{Key, KeyDefault, Scope, keys};

use super::parse::{Arguments, find};
use super::{ALL, CLIENT, Command, Section};
use crate::stdio::print;

pub const COMMAND: Command = Command {
    name: "help",
    aliases: &["-h", "--help"],
    operands: "[COMMAND]",
    summary: "print this, or the help of a command as COMMAND --help does; -h",
    exec: |arguments| Ok(print(&text(arguments)?)),
    ..Command::PLAIN
};

pub(super) const INTRODUCTION: &str =
    "procsched-min keeps programs running: it starts them, restarts them with a
growing delay, logs their stderr, reports every exit, and stops everything
cleanly.

Usage: procsched-min COMMAND [ARGUMENT...]

Commands:
";

const COLUMNS: usize = 80;

/// The width of the names of keys: the longest has 23 letters.
const KEY_COLUMNS: usize = 24;

const FILE_KEYS: &str = "Keys of CONFIG, with their defaults";

const PROGRAM_KEYS: &str = "Keys of a program, with their defaults";

const COMMON_OPTIONS: &str = "\nOptions of all commands to a supervisor:\n";

pub(super) const COMMON_EXIT_CODES: &str =
    "  of all commands to a supervisor: 1 failed, 2 invalid usage,
        4 permission denied, 7 no supervisor, 130 Ctrl-C
";

/// Returns the help that the arguments of `help` ask for.
pub fn text(arguments: &Arguments) -> Result<String, String> {
    match arguments.operands.first() {
        Some(name) => find(name).map(of_command),
        None => Ok(overview()),
    }
}

fn of_command(command: &Command) -> String {
    if command.name == COMMAND.name {
        return overview();
    }
    let mut text = format!("Usage: procsched-min {}\n\n", usage(command));
    text += command.description;
    for section in command.sections {
        add_section(&mut text, section);
    }
    text += &options(command);
    if !command.common_options.is_empty() {
        text += &format!("{COMMON_OPTIONS}{}", command.common_options);
    }
    text += &exit_codes(&[command]);
    match command.example {
        "" => text,
        example => format!("{text}\nExample:\n{example}"),
    }
}

fn overview() -> String {
    let mut text = INTRODUCTION.to_owned();
    for command in ALL {
        text += &format!("  {:<11} {}\n", command.name, command.summary);
    }
    for section in sections() {
        add_section(&mut text, section);
    }
    ALL.iter().for_each(|command| text += &options(command));
    text += &format!("{COMMON_OPTIONS}{}", CLIENT.common_options);
    text + &exit_codes(ALL)
}

/// Returns the sections of all commands, each once.
pub(super) fn sections() -> Vec<&'static Section> {
    let mut shown: Vec<&Section> = Vec::new();
    for section in ALL.iter().flat_map(|command| command.sections) {
        if shown.iter().all(|known| known.title != section.title) {
            shown.push(section);
        }
    }
    shown
}

fn add_section(text: &mut String, section: &Section) {
    *text += section.text;
    if section.has_keys {
        *text += &keys_text();
    }
}

/// Returns the keys of a config, a few lines each, with their defaults.
fn keys_text() -> String {
    let mut text = String::new();
    for (title, is_of_file) in [(FILE_KEYS, true), (PROGRAM_KEYS, false)] {
        text += &format!("\n{title}:\n");
        let all = keys().into_iter();
        for key in all.filter(|key| (key.scope() == Scope::File) == is_of_file) {
            let start = format!("  {:<KEY_COLUMNS$}", key.name());
            let default = default_of(&key).map(|default| format!(" [{default}]"));
            let about = [key.summary(), &words_of(&key), &default.unwrap_or_default()].concat();
            add_filled(&mut text, &start, &about);
        }
    }
    text
}

/// Returns the values of a key, if words are among them: a reader has to know these.
fn words_of(key: &Key) -> String {
    let values = key.key_type().to_string().replace('`', "");
    match values.contains('"') {
        true => format!(" Value: {values}."),
        false => String::new(),
    }
}

/// Returns what holds without the key, unless that goes without saying.
pub(super) fn default_of(key: &Key) -> Option<String> {
    match key.default() {
        KeyDefault::None | KeyDefault::Json("{}" | "[]") => None,
        default => Some(default.to_string()),
    }
}

/// Adds words in lines that fit a terminal, behind a start or as many blanks.
fn add_filled(text: &mut String, start: &str, words: &str) {
    let mut line = start.to_owned();
    let mut is_first = true;
    for word in words.split(' ') {
        if !is_first && line.len() + 1 + word.len() > COLUMNS {
            *text += &format!("{line}\n");
            line = " ".repeat(start.len());
            is_first = true;
        }
        if !is_first {
            line.push(' ');
        }
        line += word;
        is_first = false;
    }
    *text += &format!("{line}\n");
}

pub(super) fn usage(command: &Command) -> String {
    let options = match command.options().next() {
        None => "",
        Some(_) => "[OPTIONS]",
    };
    let words = [command.name, options, command.operands];
    let words: Vec<&str> = words.into_iter().filter(|word| !word.is_empty()).collect();
    words.join(" ")
}

fn options(command: &Command) -> String {
    if command.options.is_empty() {
        return String::new();
    }
    format!("\nOptions of {}:\n{}", command.name, command.options)
}

fn exit_codes(commands: &[&Command]) -> String {
    let mut codes: String = commands.iter().map(|command| command.exit_codes).collect();
    if codes.is_empty() {
        return codes;
    }
    if commands
        .iter()
        .any(|command| !command.common_options.is_empty())
    {
        codes += COMMON_EXIT_CODES;
    }
    format!("\nExit codes:\n{codes}")
}

#[cfg(test)]
mod tests {
    use super::super::Opt;
    use super::*;

    #[test]
    fn fits_a_terminal() {
        for text in ALL.iter().map(|command| of_command(command)) {
            assert!(text.ends_with('\n') && text.contains("Usage: procsched-min "));
            for line in text.lines() {
                assert!(line.len() <= 80 && !line.ends_with(' '), "{line:?}");
            }
        }
    }

    #[test]
    fn its_lines_describe_options() {
        let options = ALL.iter().flat_map(|command| command.options());
        for Opt { short, long, .. } in options {
            assert!(
                short.is_empty() || short.len() == 2 && short.starts_with('-'),
                "{short}"
            );
            assert!(long.len() > 3 && long.starts_with("--"), "{long}");
        }
    }

    #[test]
    fn each_has_an_example() {
        let own = ALL.iter().filter(|command| command.name != COMMAND.name);
        for command in own {
            let example = format!("procsched-min {}", command.name);
            assert!(command.example.contains(&example), "{}", command.name);
        }
    }

    #[test]
    fn the_overview_has_everything_once() {
        let text = overview();
        for command in ALL {
            let sections = command.sections.iter().map(|section| section.text);
            let parts = sections.chain([command.exit_codes]);
            for part in parts.chain([command.options, command.common_options]) {
                assert!(part.is_empty() || text.matches(part).count() == 1, "{part}");
            }
        }
    }
}
