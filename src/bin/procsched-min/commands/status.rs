//! `status`: shows the state of every program, or of some.

use std::path::Path;
use std::time::Duration;

use super::parse::Arguments;
use super::{CLIENT, Command, FINE, NOT_ALL_UP};
use crate::client::answer::Answer;
use crate::client::failure::Failure;
use crate::client::find;
use crate::client::metrics::Metrics;
use crate::client::options::{Options, duration, words};
use crate::client::out;
use crate::client::program::Program;
use crate::client::table::Table;
use crate::client::talk::{Request, Talk};
use crate::client::view::{Format, View};

pub const COMMAND: Command = Command {
    name: "status",
    operands: "[NAME...]",
    options: "      --watch[=S]    show it again every S, 2s if left out, until Ctrl-C
      --prometheus   print metrics in the text format of Prometheus
",
    summary: "show the state of every program, or of NAME...",
    description: "Shows each program with its state and what happens to it next. NAME may be a
pattern such as 'web*'. Of all programs, those that are stopped do not count for
the exit code; one that is named does, so that this serves as a health check.
",
    exit_codes: "  status: 0 all running, exited or (if not named) stopped, 3 not all,
        4 unknown (NAME, or no supervisor)
",
    example: "  $ procsched-min status
  NAME  STATE    PID   FOR    RESTARTS  LAST EXIT   NOTE
  db    running  4711  3h12m         0  -
  web   backoff  -     12s           5  1, 12s ago  starts in 4s: \"no database\"
",
    exec: |arguments| status(arguments),
    ..CLIENT
};

/// How often `--watch` shows it.
const WATCH_DEFAULT: Duration = Duration::from_secs(2);

/// The shortest time between two looks: a supervisor has other things to do.
const WATCH_MIN: Duration = Duration::from_millis(100);

fn status(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let names = words(&arguments.operands)?;
    let watch = match arguments.values("--watch").last() {
        None => None,
        Some(value) if value.is_empty() => Some(WATCH_DEFAULT),
        Some(_) => duration(arguments, "--watch")?,
    };
    let format = match (arguments.has("--prometheus"), options.is_json) {
        (true, true) => return Err("--prometheus and --json exclude each other".to_owned()),
        (true, false) => || Format::Metrics(Metrics::default()),
        (false, true) => Format::json,
        (false, false) => || Format::Table(Table::default()),
    };
    let result = find::socket(&options).and_then(|path| match watch {
        None => show(&path, &options, &names, format(), false),
        Some(interval) => watched(&path, &options, &names, format, interval.max(WATCH_MIN)),
    });
    Ok(result.unwrap_or_else(|failure| failure.of_status().report()))
}

fn watched(
    path: &Path,
    options: &Options,
    names: &[String],
    format: fn() -> Format,
    interval: Duration,
) -> Result<u8, Failure> {
    loop {
        let format = format();
        let is_screen = out::is_terminal() && matches!(format, Format::Table(_));
        show(path, options, names, format, is_screen)?;
        out::pause(interval)?;
    }
}

/// Shows it once and returns the exit code.
fn show(
    path: &Path,
    options: &Options,
    names: &[String],
    format: Format,
    is_screen: bool,
) -> Result<u8, Failure> {
    let end = options.end();
    let mut talk = Talk::open(path, &Request::new("status").programs(names), end)?;
    let mut view = View::new(options, format, is_screen);
    let mut code = FINE;
    loop {
        match talk.expect()? {
            (Answer::Program(program), line) => {
                let is_ignored = names.is_empty() && Program(&program).state() == "stopped";
                if !Program(&program).is_fine() && !is_ignored {
                    code = NOT_ALL_UP;
                }
                view.add(&program, &line)?;
            }
            (Answer::Done(end), _) => {
                view.end(&end["supervisor"])?;
                return Ok(code);
            }
            _ => {}
        }
    }
}
