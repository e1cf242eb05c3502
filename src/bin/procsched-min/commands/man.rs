//! `man`: the manual page, made from the table of commands.

use procsched::config::{Key, Scope, keys};

use super::help::{COMMON_EXIT_CODES, INTRODUCTION, default_of, sections, usage};
use super::version::VERSION;
use super::{ALL, CLIENT, Command, Opt};
use crate::stdio::print;

pub const COMMAND: Command = Command {
    name: "man",
    summary: "print the manual page",
    description: "Prints the manual page, as troff source.\n",
    example: "  $ procsched-min man | man -l -
",
    exec: |_| Ok(print(&page())),
    ..Command::PLAIN
};

/// Returns the page in the macros of man(7).
fn page() -> String {
    let mut page = Page(String::new());
    page.0 += &format!(
        ".TH PROCSCHED\\-MIN 8 \"\" \"{}\"\n",
        escaped(VERSION.trim())
    );
    page.0 += ".SH NAME\nprocsched\\-min \\- keep programs running\n.SH SYNOPSIS\n";
    page.0 += ".B procsched\\-min\n.I COMMAND\n[\\fIARGUMENT\\fR...]\n.SH DESCRIPTION\n";
    let about = INTRODUCTION.split("\n\n").next().unwrap_or_default();
    page.text(about);
    page.0 += ".SH COMMANDS\n";
    for command in ALL {
        page.0 += &format!(".SS {}\n", escaped(&usage(command)));
        let about = match command.description {
            "" => command.summary,
            description => description,
        };
        page.text(about);
        command
            .own_options()
            .for_each(|option| page.option(&option));
    }
    page.0 += ".SS Options of all commands to a supervisor\n";
    CLIENT.options().for_each(|option| page.option(&option));
    page.sections();
    page.0 += ".SH EXIT STATUS\n";
    let codes = ALL.iter().map(|command| command.exit_codes);
    let codes: String = codes.chain([COMMON_EXIT_CODES]).collect();
    page.verbatim(&codes);
    page.0 += ".SH EXAMPLES\n";
    for command in ALL.iter().filter(|command| !command.example.is_empty()) {
        page.verbatim(command.example);
    }
    page.0
}

/// The page so far.
struct Page(String);

impl Page {
    /// Adds paragraphs that may be filled anew.
    fn text(&mut self, text: &str) {
        for line in text.trim().lines() {
            match line {
                "" => self.0 += ".PP\n",
                line => self.0 += &format!("{}\n", escaped(line)),
            }
        }
    }

    /// Adds lines as they are.
    fn verbatim(&mut self, text: &str) {
        self.0 += ".PP\n.nf\n";
        for line in text.trim_matches('\n').lines() {
            self.0 += &format!("{}\n", escaped(line));
        }
        self.0 += ".fi\n";
    }

    fn option(&mut self, option: &Opt) {
        let names = match option.short {
            "" => bold(option.long),
            short => format!("{}, {}", bold(short), bold(option.long)),
        };
        let space = if option.value.starts_with('[') {
            ""
        } else {
            " "
        };
        let value = match option.value {
            "" => String::new(),
            value => format!("{space}\\fI{}\\fR", escaped(value)),
        };
        self.0 += &format!(".TP\n{names}{value}\n{}\n", escaped(option.summary));
    }

    /// Adds the sections of the help, each once.
    fn sections(&mut self) {
        for section in sections() {
            self.0 += &format!(".SH {}\n", section.title);
            self.verbatim(section.text);
            if section.has_keys {
                self.keys("CONFIG KEYS", |key| key.scope() == Scope::File);
                self.keys("PROGRAM KEYS", |key| key.scope() != Scope::File);
            }
        }
    }

    fn keys(&mut self, title: &str, is_wanted: impl Fn(&Key) -> bool) {
        self.0 += &format!(".SH {title}\n");
        for key in keys().iter().filter(|key| is_wanted(key)) {
            let about = escaped(&about(key));
            self.0 += &format!(".TP\n{}\n{about}\n", bold(key.name()));
        }
    }
}

/// Returns all that there is to know of a key.
fn about(key: &Key) -> String {
    let values = key.key_type().to_string().replace('`', "");
    let mut values = format!("Value: {values}");
    if let Some(default) = default_of(key) {
        values += &format!("; default: {default}");
    }
    let parts = [key.summary(), key.details(), &values];
    let parts: Vec<&str> = parts.into_iter().filter(|part| !part.is_empty()).collect();
    format!("{}.", parts.join(" "))
}

fn bold(text: &str) -> String {
    format!("\\fB{}\\fR", escaped(text))
}

/// Returns text in which troff finds no request and no escape.
fn escaped(text: &str) -> String {
    let text = text.replace('\\', "\\e").replace('-', "\\-");
    match text.starts_with(['.', '\'']) {
        true => format!("\\&{text}"),
        false => text,
    }
}
