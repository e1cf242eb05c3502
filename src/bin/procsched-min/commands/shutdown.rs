//! `shutdown`: stops every program and the supervisor.

use std::collections::BTreeSet;
use std::time::{Duration, Instant};

use super::parse::Arguments;
use super::{CLIENT, Command, FAILED, FINE, TIMED_OUT};
use crate::client::answer::Answer;
use crate::client::failure::Failure;
use crate::client::find;
use crate::client::options::Options;
use crate::client::order::print_problem;
use crate::client::talk::{Next, Request, Talk};
use crate::client::waiting::Waiting;
use crate::clock;
use crate::stdio::print;

/// How often the states are asked for if events cannot be followed: often enough to see what was
/// abandoned before the end.
const QUESTION_PAUSE: Duration = Duration::from_millis(200);

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
    let end = options.end();
    let path = find::socket(options)?;
    let request = match arguments.has("--kill") {
        true => Request::new("shutdown").with("kill", true),
        false => Request::new("shutdown"),
    };
    // Before the order, so that nothing of what follows is missed.
    let follow = Request::new("events").with("snapshot", false);
    let events = match arguments.has("--no-wait") {
        true => None,
        false => Some(Talk::open(&path, &follow, end)?.without_retries()),
    };
    let mut order = Talk::open(&path, &request, end)?;
    let mut code = FINE;
    loop {
        match order.expect()?.0 {
            Answer::Problem(problem) => {
                print_problem(&problem);
                code = FAILED;
            }
            Answer::Done(_) => break,
            _ => {}
        }
    }
    let Some(events) = events else {
        return Ok(code);
    };
    let abandoned = BTreeSet::new();
    let waiting = Waiting::new(&path, &[], options);
    let wait = Wait {
        end,
        waiting,
        code,
        abandoned,
    };
    wait.for_end(events, order)
}

/// A wait for the end of a supervisor, which closes every connection then.
struct Wait<'w> {
    /// Until when.
    end: Option<Instant>,
    waiting: Waiting<'w>,
    /// The exit code, by what was seen so far.
    code: u8,
    /// The programs that were abandoned, and processes of none.
    abandoned: BTreeSet<String>,
}

impl Wait<'_> {
    /// Reads events. Where as many clients follow them as may, asks on the connection of the order.
    fn for_end(mut self, mut events: Talk<'_>, order: Talk<'_>) -> Result<u8, Failure> {
        loop {
            match events.next(self.waiting.deadline(self.end))? {
                Next::Answer(Answer::Event(event), _) if event["event"] == "abandoned" => {
                    self.abandon(match event["program"].as_str() {
                        Some(name) => name.to_owned(),
                        None => format!("pid {}", event["pid"]),
                    });
                }
                Next::Answer(Answer::Refused { code, .. }, _) if code == "busy" => {
                    return self.with_questions(order);
                }
                Next::Answer(Answer::Refused { code, message }, _) => {
                    return Err(Failure::refused(&code, &message));
                }
                Next::Answer(Answer::Done(_), _) | Next::End => return Ok(self.code),
                // There may be no silence.
                Next::Answer(..) => self.check_time()?,
                Next::Nothing => self.on_silence()?,
            }
        }
    }

    /// Asks for the states of the programs from time to time, on a connection whose last request was
    /// answered.
    fn with_questions(mut self, mut talk: Talk<'_>) -> Result<u8, Failure> {
        let mut next_question = Some(clock::steady());
        loop {
            if next_question.is_some_and(|at| clock::until(at).is_zero()) {
                talk.ask_again(&Request::new("status"))?;
                next_question = None;
            }
            match talk.next([self.end, next_question].into_iter().flatten().min())? {
                Next::Answer(Answer::Program(program), _) if program["state"] == "abandoned" => {
                    self.abandon(program["name"].as_str().unwrap_or_default().to_owned());
                }
                Next::Answer(Answer::Done(_), _) => {
                    next_question = clock::steady().checked_add(QUESTION_PAUSE);
                }
                Next::Answer(Answer::Refused { code, message }, _) => {
                    return Err(Failure::refused(&code, &message));
                }
                Next::End => return Ok(self.code),
                Next::Answer(..) => {}
                // Nothing is shown: that would take one more connection, where there are too many.
                Next::Nothing => self.check_time()?,
            }
        }
    }

    /// Takes note of a program that was abandoned, or of a process of none, and says so once.
    fn abandon(&mut self, what: String) {
        if !self.abandoned.contains(&what) {
            print(&format!("{}: abandoned\n", procsched::text::escaped(&what)));
            self.abandoned.insert(what);
        }
        self.code = FAILED;
    }

    /// Fails if the time is over, and else shows what is waited for.
    fn on_silence(&mut self) -> Result<(), Failure> {
        self.check_time()?;
        self.waiting.show();
        Ok(())
    }

    /// Fails if the time is over.
    fn check_time(&self) -> Result<(), Failure> {
        if self.end.is_some_and(|end| clock::until(end).is_zero()) {
            let message = "the supervisor is still stopping its programs";
            return Err(Failure::new(TIMED_OUT, message));
        }
        Ok(())
    }
}
