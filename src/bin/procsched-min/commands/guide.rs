//! The commands as a page of the guide has them, made from the table of commands.

#[path = "../../../../tests/keys/part.rs"]
mod part;

use super::help::{COMMON_EXIT_CODES, usage};
use super::{ALL, CLIENT, Opt};

fn cell(text: &str) -> String {
    text.replace('|', "\\|")
}

fn option_row(of: &str, option: &Opt) -> String {
    let space = if option.value.is_empty() || option.value.starts_with('[') {
        ""
    } else {
        " "
    };
    let short = match option.short {
        "" => String::new(),
        short => format!("`{short}`, "),
    };
    let (long, value, summary) = (option.long, option.value, cell(option.summary));
    format!("| {of} | {short}`{long}{space}{value}` | {summary} |\n")
}

/// Returns the lines of the help as one, without the command's name.
fn codes(lines: &str, name: &str) -> String {
    let mut codes = String::new();
    for line in lines.lines().map(str::trim) {
        let line = line.strip_prefix(name).unwrap_or(line);
        let words: Vec<&str> = line.split_whitespace().collect();
        codes += match codes.chars().last() {
            None => "",
            Some(',') => " ",
            Some(_) => "; ",
        };
        codes += &words.join(" ");
    }
    cell(&codes)
}

#[test]
fn the_commands_of_the_guide() {
    let mut text = String::from("| command | what it does |\n|---|---|\n");
    for command in ALL {
        text += &format!("| `{}` | {} |\n", usage(command), cell(command.summary));
    }
    text += "\n| command | option | what it does |\n|---|---|---|\n";
    for command in ALL {
        let of = format!("`{}`", command.name);
        let options = command.own_options();
        options.for_each(|option| text += &option_row(&of, &option));
    }
    let of = "each to a supervisor";
    let options = CLIENT.options();
    options.for_each(|option| text += &option_row(of, &option));
    text += "\n| command | exit codes |\n|---|---|\n";
    for command in ALL.iter().filter(|command| !command.exit_codes.is_empty()) {
        let codes = codes(command.exit_codes, &format!("{}:", command.name));
        text += &format!("| `{}` | {codes} |\n", command.name);
    }
    let common = codes(COMMON_EXIT_CODES, "of all commands to a supervisor:");
    text += &format!("| each to a supervisor | {common} |\n");
    part::check("src/guide/commands.md", "commands", &text);
}
