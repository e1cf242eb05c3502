//! `init`: one command, as the first process of a container runs it.

use std::cell::OnceCell;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::rc::Rc;

use procsched::{Init, InitEvent, signal_name};

use crate::args::{Command, Topic, asks_for_help, closest, is_option, unknown};
use crate::clock;
use crate::messages::{SELF, Style, Tone, escaped};
use crate::output::Outputs;

/// The highest number of a signal.
const SIGNAL_MAX: i32 = 64;

const OPTIONS: [&str; 6] = [
    "--rewrite",
    "--single",
    "--success-code",
    "--parent-death-signal",
    "--verbose",
    "--help",
];

/// Options of tini, dumb-init and catatonit that have no counterpart, because what they ask for is always
/// so, or is called otherwise.
const ELSEWHERE: [(&str, &str); 6] = [
    ("-s", "it is always a subreaper"),
    (
        "-g",
        "signals always go to the group, unless --single is given",
    ),
    ("-w", "--verbose says what is reaped"),
    ("-l", "the licence is MIT"),
    ("--single-child", "here it is --single"),
    (
        "-P",
        "let the command be one that waits, such as sleep infinity",
    ),
];

/// What `init` is asked to do.
#[derive(Debug, Default, PartialEq, Eq)]
pub struct Arguments {
    command: Vec<OsString>,
    rewrites: Vec<(i32, i32)>,
    success_codes: Vec<u8>,
    parent_death_signal: Option<i32>,
    single: bool,
    verbose: bool,
}

/// Understands the words after `init`. The first that is no option begins the command.
pub fn parse(words: Vec<OsString>) -> Result<Command, String> {
    let mut arguments = Arguments::default();
    let mut words = words.into_iter();
    while let Some(word) = words.next() {
        if asks_for_help(&word) {
            return Ok(Command::Help(Topic::Init));
        }
        if word == "--" {
            arguments.command.extend(words.by_ref());
        } else if is_option(&word) {
            arguments.option(&word, &mut words)?;
        } else {
            arguments.command.push(word);
            arguments.command.extend(words.by_ref());
        }
    }
    if arguments.command.is_empty() {
        return Err("no command is given to init".to_owned());
    }
    arguments
        .to_init()
        .check()
        .map_err(|error| error.to_string())?;
    Ok(Command::Init(Box::new(arguments)))
}

impl Arguments {
    /// One word of options: `--name`, `--name=value`, or letters of which the last may have its
    /// value behind it, or in the next word.
    fn option(
        &mut self,
        word: &OsStr,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let bytes = word.as_bytes();
        if bytes.starts_with(b"--") {
            let mut parts = bytes.splitn(2, |&byte| byte == b'=');
            let name = OsStr::from_bytes(parts.next().unwrap_or_default());
            let value = parts
                .next()
                .map(|value| OsString::from_vec(value.to_owned()));
            if self.flag(name) {
                return match value {
                    None => Ok(()),
                    Some(_) => Err(format!("{name:?} takes no value")),
                };
            }
            return self.with_value(name, value, rest);
        }
        let mut letters = &bytes[1..];
        while let Some((letter, behind)) = letters.split_first() {
            let option = OsString::from_vec(vec![b'-', *letter]);
            if self.flag(&option) {
                letters = behind;
                continue;
            }
            let value = (!behind.is_empty()).then(|| OsString::from_vec(behind.to_owned()));
            let takes_value = matches!(letter, b'r' | b'e' | b'p');
            let shown = if takes_value { &option } else { word };
            return self.with_value(shown, value, rest);
        }
        Ok(())
    }

    /// Whether this is an option without a value.
    fn flag(&mut self, name: &OsStr) -> bool {
        match name.to_str() {
            Some("--single" | "-c") => self.single = true,
            Some("--verbose" | "-v") => self.verbose = true,
            _ => return false,
        }
        true
    }

    fn with_value(
        &mut self,
        name: &OsStr,
        value: Option<OsString>,
        rest: &mut impl Iterator<Item = OsString>,
    ) -> Result<(), String> {
        let mut value = || {
            let value = value.clone().or_else(|| rest.next());
            value.ok_or_else(|| format!("{name:?} needs a value"))
        };
        match name.to_str() {
            Some("--rewrite" | "-r") => self.rewrites.push(rewrite(&value()?)?),
            Some("--success-code" | "-e") => self.success_codes.push(success_code(&value()?)?),
            Some("--parent-death-signal" | "-p") => {
                self.parent_death_signal = Some(signal(&value()?.to_string_lossy())?);
            }
            _ => return Err(unknown_option(name)),
        }
        Ok(())
    }

    fn to_init(&self) -> Init {
        let mut init = Init::new(&self.command);
        for &(from, to) in &self.rewrites {
            init = init.rewrite(from, to);
        }
        for &code in &self.success_codes {
            init = init.success_code(code);
        }
        if let Some(signal) = self.parent_death_signal {
            init = init.parent_death_signal(signal);
        }
        if self.single { init.single() } else { init }
    }
}

fn unknown_option(word: &OsStr) -> String {
    let known = ELSEWHERE.iter().find(|(option, _)| word == *option);
    known.map_or_else(
        || unknown("option", word, &OPTIONS),
        |(_, why)| format!("unknown option {word:?} ({why})"),
    )
}

/// `FROM:TO`; `TO` may be 0.
fn rewrite(value: &OsStr) -> Result<(i32, i32), String> {
    let text = value.to_string_lossy();
    let Some((from, to)) = text.split_once(':') else {
        return Err(format!(
            "{value:?} is no rewrite: write FROM:TO, such as TERM:QUIT"
        ));
    };
    let to = if to == "0" { 0 } else { signal(to)? };
    Ok((signal(from)?, to))
}

fn success_code(value: &OsStr) -> Result<u8, String> {
    let number = value.to_str().and_then(|text| text.parse().ok());
    number.ok_or_else(|| format!("{value:?} is no exit code: use 0 to 255"))
}

/// A signal by its name, with or without `SIG`, or by its number.
fn signal(text: &str) -> Result<i32, String> {
    let given = text.to_ascii_uppercase();
    let given = given.strip_prefix("SIG").unwrap_or(&given);
    let named = |number: i32| Some((number, signal_name(number).strip_prefix("SIG")?.to_owned()));
    let names: Vec<(i32, String)> = (1..=SIGNAL_MAX).filter_map(named).collect();
    if let Some((number, _)) = names.iter().find(|(_, name)| name == given) {
        return Ok(*number);
    }
    match given.parse::<i32>() {
        Ok(number) if (1..=SIGNAL_MAX).contains(&number) => Ok(number),
        Ok(_) => Err(format!(
            "{text:?} is no signal number: use 1 to {SIGNAL_MAX}"
        )),
        Err(_) => {
            let known: Vec<&str> = names.iter().map(|(_, name)| name.as_str()).collect();
            let meant = closest(given, &known);
            let meant = meant.map_or_else(String::new, |name| format!(" (did you mean {name:?}?)"));
            Err(format!("unknown signal {text:?}{meant}"))
        }
    }
}

/// Runs it, and says with which code to exit.
pub fn init(arguments: Arguments) -> u8 {
    let style = Style::new([]);
    // Made for the first line only: most never say one.
    let outputs = Rc::new(OnceCell::new());
    let (lines, verbose) = (Rc::clone(&outputs), arguments.verbose);
    let init = arguments.to_init().on_event(move |event| {
        let outputs = || lines.get_or_init(|| Outputs::messages_only(style));
        if let InitEvent::Failed { error, .. } = event {
            outputs().say(&format!("{SELF}: {}", escaped(&error.to_string())));
        } else if verbose || event.is_problem() {
            let tone = if event.is_problem() {
                Tone::Bad
            } else {
                Tone::Plain
            };
            let line = style.line(clock::wall(), SELF, tone, &event.to_string(), "");
            outputs().say(&line);
        }
        if let (InitEvent::EndingBy { .. }, Some(outputs)) = (event, lines.get()) {
            outputs.flush();
        }
    });
    let code = init.run();
    if let Some(outputs) = outputs.get() {
        outputs.flush();
    }
    code
}
