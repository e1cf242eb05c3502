//! What values a key can have, in a form of which a schema and a sentence can be made.

use std::fmt;

/// What values a key can have. Its `Display` is for people: `a duration`, `an array of names`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum KeyType {
    /// `true` or `false`.
    Boolean,
    /// `false` alone, which switches something off.
    False,
    /// One of these words, which are separated by blanks.
    Word(&'static str),
    /// A whole number in this range.
    Whole {
        /// The least.
        min: i64,
        /// The greatest.
        max: i64,
    },
    /// A number from 0 to 1.
    Share,
    /// A number of seconds, or a text such as `"1m30s"`; see
    /// [`parse_duration`](crate::config::parse_duration).
    Duration {
        /// Whether it can be 0.
        zero: bool,
    },
    /// A number of bytes, or a text such as `"10M"`.
    Size {
        /// The least, besides 0.
        min: u64,
    },
    /// The limits of resources, by their names in getrlimit(2): a number for soft and hard, or a text
    /// such as `"64M"`, `"1024:65536"` or `"unlimited"`.
    Limits,
    /// The path of a file, a directory or a socket.
    Path,
    /// The path of a file of variables. With `-` in front the file may be missing.
    EnvFile,
    /// An [`Address`](crate::Address).
    Address,
    /// A signal that can end a program: a name, or a number.
    StopSignal,
    /// An exit code other than 0, or a signal.
    Exit,
    /// Octal digits in quotes.
    Umask,
    /// A user or a group: a name, or a number.
    Account,
    /// The name of a program.
    Name,
    /// A string, or a number or boolean as it is written.
    Scalar,
    /// A program and its arguments.
    Command,
    /// An array of these.
    List(&'static Self),
    /// An object from the names of variables to these.
    Variables(&'static Self),
    /// An object. Its keys are those that begin with the name of this one.
    Object(&'static [Rule]),
    /// An object with the keys of a program, but for those of [`Scope::ProgramOnly`](super::Scope).
    Defaults,
    /// An object from names to programs. Each is an object, or a command.
    Programs,
    /// Any of these.
    OneOf(&'static [Self]),
}

/// Which keys of an object go together. Names are separated by blanks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum Rule {
    /// This key has to be there.
    Required(&'static str),
    /// One of these keys has to be there, and no other of them.
    ExactlyOne(&'static str),
    /// One of these keys can be there, or none.
    NotBoth(&'static str, &'static str),
    /// The first key needs one of the others.
    Needs(&'static str, &'static str),
}

impl fmt::Display for KeyType {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Boolean => "`true` or `false`",
            Self::False => "`false`",
            Self::Word(words) => {
                let words: Vec<String> = words
                    .split(' ')
                    .map(|word| format!("`\"{word}\"`"))
                    .collect();
                return f.write_str(&alternatives(&words));
            }
            Self::Whole { min, max } if *max == i64::from(u32::MAX) => {
                return write!(f, "a whole number from {min}");
            }
            Self::Whole { min, max } => return write!(f, "a whole number from {min} to {max}"),
            Self::Share => "a number from 0 to 1",
            Self::Duration { .. } => "a duration",
            Self::Size { .. } => "a size",
            Self::Limits => "an object of limits",
            Self::Path | Self::EnvFile => "a path",
            Self::Address => "an address",
            Self::StopSignal => "a signal",
            Self::Exit => "an exit code or a signal",
            Self::Umask => "octal digits in quotes",
            Self::Account => "a name or a number",
            Self::Name => "a name",
            Self::Scalar => "a string, a number or a boolean",
            Self::Command => "a command",
            Self::List(element) => return write!(f, "an array of {}", Plural(element)),
            Self::Variables(_) => "an object of variables",
            Self::Object(_) | Self::Defaults => "an object",
            Self::Programs => "an object of programs",
            Self::OneOf(types) => {
                let types: Vec<String> = types.iter().map(ToString::to_string).collect();
                return f.write_str(&alternatives(&types));
            }
        })
    }
}

/// Several values of a type.
struct Plural(&'static KeyType);

impl fmt::Display for Plural {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self.0 {
            KeyType::EnvFile => "paths",
            KeyType::Exit => "exit codes and signals",
            KeyType::Account => "names and numbers",
            KeyType::Name => "names",
            other => return other.fmt(f),
        })
    }
}

/// Returns texts as a sentence lists them: `a, b or c`.
fn alternatives(texts: &[String]) -> String {
    match texts {
        [] => String::new(),
        [one] => one.clone(),
        [first @ .., last] => format!("{} or {last}", first.join(", ")),
    }
}
