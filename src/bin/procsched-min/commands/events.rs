//! `events`: prints what happens, as it happens.

use std::time::Duration;

use super::parse::Arguments;
use super::{CLIENT, Command, FINE, TIMED_OUT};
use crate::client::answer::Answer;
use crate::client::event;
use crate::client::failure::Failure;
use crate::client::find;
use crate::client::options::{Options, words};
use crate::client::out::{self, Out};
use crate::client::program::Program;
use crate::client::talk::{Next, Request, Talk};
use crate::clock;

/// How often it is looked whether a reader of stdout is still there.
const LOOK_INTERVAL: Duration = Duration::from_millis(500);

pub const COMMAND: Command = Command {
    name: "events",
    operands: "[NAME...]",
    options: "      --no-snapshot  without a line for each program at the beginning\n",
    summary: "print what happens, as it happens",
    description: "Prints a line for each program, and then for everything that happens to one,
until the supervisor ends. NAME may be a pattern such as 'web*'.
",
    exit_codes: "  events: 0 the supervisor has ended, 124 not in time
",
    example: "  $ procsched-min events web --no-snapshot
  2024-01-01T12:00:00.000Z web exited code=3 pid=4711 retry_in=2 uptime=1.2
",
    exec: |arguments| events(arguments),
    ..CLIENT
};

fn events(arguments: &Arguments) -> Result<u8, String> {
    let options = Options::parse(arguments)?;
    let names = words(&arguments.operands)?;
    let request = Request::new("events").programs(&names);
    let request = match arguments.has("--no-snapshot") {
        true => request.with("snapshot", false),
        false => request,
    };
    let result = print_events(&options, &request);
    Ok(result.unwrap_or_else(|failure| failure.report()))
}

fn print_events(options: &Options, request: &Request) -> Result<u8, Failure> {
    let end = options.end();
    let path = find::socket(options)?;
    let mut talk = Talk::open(&path, request, end)?;
    let mut out = Out::new();
    loop {
        // As long as it takes: nothing may happen for days.
        let look = clock::steady() + LOOK_INTERVAL;
        let (answer, line) = match talk.next(Some(end.map_or(look, |end| end.min(look))))? {
            Next::Answer(..) | Next::Nothing if talk.is_late() => {
                let message = "the supervisor has not ended";
                return Err(Failure::new(TIMED_OUT, message));
            }
            Next::Answer(answer, line) => (answer, line),
            Next::Nothing => {
                out::pause(Duration::ZERO)?;
                continue;
            }
            Next::End => return Ok(FINE),
        };
        if options.is_json {
            out.line(&line)?;
        }
        match answer {
            Answer::Done(_) => return Ok(FINE),
            Answer::Refused { code, message } => return Err(Failure::refused(&code, &message)),
            Answer::Program(program) if !options.is_json => {
                out.line(&event::snapshot(Program(&program)))?;
            }
            Answer::Event(event) if !options.is_json => out.line(&event::line(&event))?,
            _ => {}
        }
        out.flush()?;
    }
}
