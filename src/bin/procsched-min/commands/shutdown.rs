//! `shutdown`: stops every program and the supervisor.

use std::time::Instant;

use super::parse::Arguments;
use super::{CLIENT, Command, FAILED, FINE, TIMED_OUT};
use crate::client::answer::Answer;
use crate::client::failure::Failure;
use crate::client::find;
use crate::client::options::Options;
use crate::client::talk::{Next, Request, Talk};
use crate::client::waiting::Waiting;
use crate::clock;
use crate::stdio::print;

pub const COMMAND: Command = Command {
    name: "shutdown",
    options: "      --kill         send SIGKILL to every program at once
      --no-wait      do not wait for the end
",
    summary: "stop every program and the supervisor, and wait for its end",
    description: "Stops everything, as SIGTERM to the supervisor does, and waits until it has
ended. A SIGTERM after it is the first one, and does not kill.
",
    exit_codes: "  shutdown: 0 it has ended, 1 a process was abandoned, 124 not in time
",
    example: "  $ procsched-min shutdown --timeout 1m
",
    exec: |arguments| {
        let result = shutdown(&Options::parse(arguments)?, arguments);
        Ok(result.unwrap_or_else(|failure| failure.report()))
    },
    ..CLIENT
};

fn shutdown(options: &Options, arguments: &Arguments) -> Result<u8, Failure> {
    let path = find::socket(options)?;
    let request = match arguments.has("--kill") {
        true => Request::new("shutdown").with("kill", true),
        false => Request::new("shutdown"),
    };
    let end = options
        .timeout
        .and_then(|timeout| clock::steady().checked_add(timeout));
    // Before the order, so that nothing of what follows is missed.
    let events = match arguments.has("--no-wait") {
        true => None,
        false => Some(Talk::open(
            &path,
            &Request::new("events").with("snapshot", false),
        )?),
    };
    let mut order = Talk::open(&path, &request)?;
    while !matches!(
        order.expect(options.answer_deadline())?,
        (Answer::Done(_), _)
    ) {}
    match events {
        Some(events) => wait_for_end(events, end, Waiting::new(&path, &[], options)),
        None => Ok(FINE),
    }
}

/// Reads events until the supervisor closes the connection, which is its end.
fn wait_for_end(
    mut events: Talk<'_>,
    end: Option<Instant>,
    mut waiting: Waiting<'_>,
) -> Result<u8, Failure> {
    let mut code = FINE;
    loop {
        match events.next(waiting.deadline(end))? {
            Next::Answer(Answer::Event(event), _) if event["event"] == "abandoned" => {
                let name = event["program"].as_str().unwrap_or_default();
                print(&format!("{}: abandoned\n", procsched::text::escaped(name)));
                code = FAILED;
            }
            Next::Answer(Answer::Refused { code, message }, _) => {
                return Err(Failure::refused(&code, &message));
            }
            Next::Answer(Answer::Done(_), _) | Next::End => return Ok(code),
            Next::Answer(..) => {}
            Next::Nothing if end.is_some_and(|end| clock::until(end).is_zero()) => {
                let message = "the supervisor is still stopping its programs";
                return Err(Failure::new(TIMED_OUT, message));
            }
            Next::Nothing => waiting.show(),
        }
    }
}
