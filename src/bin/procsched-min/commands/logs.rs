//! `logs`: prints the end of programs' logs, and what is added to them. It reads the files itself,
//! with its own permissions.

use std::io::ErrorKind;
use std::path::{Path, PathBuf};
use std::time::Duration;

use procsched::text::{error_text, escaped};

use super::parse::Arguments;
use super::{CLIENT, Command, FAILED, FINE, TIMED_OUT};
use crate::client::answer::Answer;
use crate::client::failure::Failure;
use crate::client::find;
use crate::client::lines::{Lines, Shape, Terminal};
use crate::client::options::{Options, programs};
use crate::client::out::{self, Out};
use crate::client::program::Program;
use crate::client::tail::{Found, Tail};
use crate::client::talk::{Request, Talk};
use crate::clock;
use crate::stdio::complain;

pub const COMMAND: Command = Command {
    name: "logs",
    operands: "NAME...",
    options: "  -f, --follow       go on with what is added, over rotation, until Ctrl-C
  -n, --lines N      begin with the last N lines, 10 if left out, or all
      --stdout       the logs of stdout instead of stderr
      --raw          print control characters to a terminal as they are
      --all          the logs of all programs
",
    foreign_options: &[("--tail", "--lines N"), ("--stderr", "that is the default")],
    summary: "print the end of the logs of programs",
    description: "Prints the last lines of the programs' logs, with their names in front if there
are several. NAME may be a pattern. The files are read directly: \"status --json\"
has their paths.
",
    exit_codes: "  logs: 0 printed, 1 a log cannot be read, 5 unknown NAME, 124 -f: time is up
",
    example: "  $ procsched-min logs -f -n 2 web db
  db  | ready to accept connections
  web | listening on port 8000
",
    exec: |arguments| logs(arguments),
    ..CLIENT
};

const LINES_DEFAULT: u64 = 10;

/// How often it is looked for more.
const LOOK_INTERVAL: Duration = Duration::from_millis(200);

/// What is asked for.
struct Wanted {
    is_followed: bool,
    /// `None` for all.
    lines: Option<u64>,
    /// The field of a program that has the path.
    field: &'static str,
    is_raw: bool,
}

impl Wanted {
    /// Returns the field with the path of the other stream's log.
    fn other_field(&self) -> &'static str {
        match self.field {
            "log" => "stdout_log",
            _ => "log",
        }
    }

    fn stream(&self) -> &'static str {
        match self.field {
            "log" => "stderr",
            _ => "stdout",
        }
    }
}

/// The log of one program.
struct Log {
    name: String,
    tail: Tail,
    lines: Lines,
    /// True if nothing was added at the last look.
    is_quiet: bool,
}

fn logs(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let names = programs(&arguments.operands, arguments.has("--all"), "print")?;
    let wanted = Wanted {
        is_followed: arguments.has("--follow"),
        lines: lines(arguments)?,
        field: if arguments.has("--stdout") {
            "stdout_log"
        } else {
            "log"
        },
        is_raw: arguments.has("--raw"),
    };
    let result = print_logs(&options, &names, &wanted);
    Ok(result.unwrap_or_else(|failure| failure.report()))
}

fn lines(arguments: &Arguments) -> Result<Option<u64>, String> {
    match arguments.values("--lines").last() {
        None => Ok(Some(LINES_DEFAULT)),
        Some(value) if value == "all" => Ok(None),
        Some(value) => match value.to_string_lossy().parse() {
            Ok(lines) => Ok(Some(lines)),
            Err(_) => Err(format!(
                "invalid value {value:?} of --lines: expected a number, or all"
            )),
        },
    }
}

fn print_logs(options: &Options, names: &[String], wanted: &Wanted) -> Result<u8, Failure> {
    let end = options.end();
    let paths = paths(options, names, wanted)?;
    let width = paths.iter().map(|log| log.name.chars().count()).max();
    let width = width.filter(|_| paths.len() > 1);
    let mut out = Out::new();
    let mut logs = Vec::new();
    let mut code = FINE;
    for Paths { name, path, other } in paths {
        if let Some(hint) = hint(&name, path.as_deref(), other.as_deref(), wanted) {
            complain(&hint);
        }
        match open(&name, path.as_deref(), other.is_some(), wanted) {
            Ok(tail) => {
                let shape = match options.is_json {
                    true => Shape::Json {
                        program: name.clone(),
                        stream: wanted.stream(),
                    },
                    false => Shape::Text {
                        name: width.map(|width| format!("{:width$}", escaped(&name))),
                        terminal: (!wanted.is_raw && out::is_terminal()).then_some(Terminal {
                            keeps_colors: options.has_color,
                        }),
                    },
                };
                logs.push(Log {
                    name,
                    tail,
                    lines: Lines::new(shape),
                    is_quiet: false,
                });
            }
            Err(problem) => {
                complain(&problem);
                code = FAILED;
            }
        }
    }
    let mut buffer = Tail::buffer();
    for log in &mut logs {
        log.print(&mut buffer, &mut out)?;
        if !wanted.is_followed {
            log.lines.flush(&mut out)?;
        }
    }
    out.flush()?;
    while wanted.is_followed && !logs.is_empty() {
        out::pause(LOOK_INTERVAL)?;
        for log in &mut logs {
            log.print_added(&mut buffer, &mut out)?;
        }
        out.flush()?;
        if end.is_some_and(|end| clock::until(end).is_zero()) {
            return Err(Failure::silent(TIMED_OUT));
        }
    }
    Ok(code)
}

/// The paths of a program's logs.
struct Paths {
    name: String,
    /// That of the stream that is wanted.
    path: Option<PathBuf>,
    /// That of the other stream.
    other: Option<PathBuf>,
}

/// Asks the supervisor for the paths of the logs.
fn paths(options: &Options, names: &[String], wanted: &Wanted) -> Result<Vec<Paths>, Failure> {
    let end = options.end();
    let socket = find::socket(options)?;
    let mut talk = Talk::open(&socket, &Request::new("status").programs(names), end)?;
    let mut paths = Vec::new();
    loop {
        match talk.expect()?.0 {
            Answer::Program(program) => {
                let program = Program(&program);
                let path = |field| program.text(field).map(PathBuf::from);
                paths.push(Paths {
                    name: program.name().to_owned(),
                    path: path(wanted.field),
                    other: path(wanted.other_field()),
                });
            }
            Answer::Done(_) => return Ok(paths),
            _ => {}
        }
    }
}

/// Returns a line for a person who sees nothing of a program whose stdout has all there is.
fn hint(name: &str, path: Option<&Path>, other: Option<&Path>, wanted: &Wanted) -> Option<String> {
    let bytes = |path: &Path| path.metadata().map_or(0, |found| found.len());
    let is_elsewhere = wanted.stream() == "stderr" && bytes(path?) == 0 && bytes(other?) > 0;
    is_elsewhere.then(|| {
        let name = escaped(name);
        format!("{name}: its stderr log is empty; --stdout shows its stdout")
    })
}

/// Opens a log, or returns why it cannot be printed.
fn open(name: &str, path: Option<&Path>, has_other: bool, wanted: &Wanted) -> Result<Tail, String> {
    let Some(path) = path else {
        let (name, stream) = (escaped(name), wanted.stream());
        let instead = match (stream, has_other) {
            ("stderr", true) => "; --stdout shows its stdout",
            (_, true) => "",
            (_, false) => {
                ", and neither does the other stream; inherited output is on the \
                 supervisor's own stdout and stderr"
            }
        };
        return Err(format!("{name}: its {stream} goes to no log{instead}"));
    };
    match Tail::open(path, wanted.lines) {
        Err(error) if error.kind() == ErrorKind::NotFound && wanted.is_followed => {
            Ok(Tail::missing(path))
        }
        opened => opened.map_err(|error| unreadable(name, path, &error)),
    }
}

fn unreadable(name: &str, path: &Path, error: &std::io::Error) -> String {
    let (name, cause) = (escaped(name), error_text(error));
    format!("{name}: failed to read its log {path:?}: {cause}")
}

impl Log {
    /// Prints what is there now.
    fn print(&mut self, buffer: &mut [u8], out: &mut Out) -> Result<(), Failure> {
        loop {
            let read = self.tail.read(buffer);
            match read.map_err(|error| self.failure(&error))? {
                0 => return Ok(()),
                count => self.lines.push(&buffer[..count], out)?,
            }
        }
    }

    /// Prints what was added since. The start of a line is printed when no more of it comes.
    fn print_added(&mut self, buffer: &mut [u8], out: &mut Out) -> Result<(), Failure> {
        let was_quiet = std::mem::replace(&mut self.is_quiet, true);
        loop {
            let found = self.tail.follow(buffer);
            match found.map_err(|error| self.failure(&error))? {
                Found::Bytes(count) => {
                    self.is_quiet = false;
                    self.lines.push(&buffer[..count], out)?;
                }
                Found::Anew => self.lines.flush(out)?,
                Found::AnewAfterGap => {
                    self.lines.flush(out)?;
                    out.flush()?;
                    let name = escaped(&self.name);
                    complain(&format!(
                        "{name}: its log was rotated faster than it was read: lines may be missing"
                    ));
                }
                Found::Nothing if was_quiet => return self.lines.flush(out),
                Found::Nothing => return Ok(()),
            }
        }
    }

    fn failure(&self, error: &std::io::Error) -> Failure {
        let problem = unreadable(&self.name, self.tail.path(), error);
        Failure::new(FAILED, problem)
    }
}
