//! An order to a supervisor, whose answer is printed as it arrives: a line for each program.

use std::path::Path;
use std::time::Duration;

use procsched::text::escaped;
use serde_json::Value;

use super::answer::Answer;
use super::failure::{Failure, exit_code};
use super::find;
use super::options::Options;
use super::program::{Program, painted};
use super::talk::{Next, Request, Talk, closed};
use super::waiting::Waiting;
use crate::clock;
use crate::commands::FINE;
use crate::stdio::{complain, print};

/// How much longer than its `--timeout` an answer may take: the supervisor watches that itself.
/// One that is suspended does not, and delays the command by no more than that.
const TIMEOUT_MARGIN: Duration = Duration::from_secs(3);

/// An order.
#[derive(Debug)]
pub struct Order<'o> {
    pub request: Request,
    /// The programs that it is about.
    pub names: &'o [String],
    /// True if the answer waits for something to happen.
    pub waits: bool,
    /// The line of a program, from its description.
    pub outcome: fn(Program<'_>) -> String,
}

impl Order<'_> {
    /// Gives the order and returns the exit code.
    pub fn give(self, options: &Options) -> u8 {
        let result = find::socket(options).and_then(|path| self.give_to(&path, options));
        result.unwrap_or_else(|failure| failure.report())
    }

    fn give_to(mut self, path: &Path, options: &Options) -> Result<u8, Failure> {
        let end = options.end();
        let answer_until = match self.waits {
            true => end.and_then(|end| end.checked_add(TIMEOUT_MARGIN)),
            false => end,
        };
        if let Some(timeout) = options.timeout.filter(|_| self.waits) {
            self.request = self.request.with("timeout", timeout.as_secs_f64());
        }
        let is_late = || answer_until.is_some_and(|until| clock::until(until).is_zero());
        let mut waiting = Waiting::new(path, self.names, options);
        let mut talk = Talk::open(path, &self.request, end)?;
        let mut has_problem = false;
        loop {
            let next = match self.waits {
                true => talk.next(waiting.deadline(answer_until))?,
                false => talk.next_soon()?,
            };
            let (answer, line) = match next {
                Next::Answer(..) | Next::Nothing if is_late() => return Err(talk.no_answer()),
                Next::Answer(answer, line) => (answer, line),
                Next::Nothing if self.waits => {
                    waiting.show();
                    continue;
                }
                Next::Nothing => return Err(talk.no_answer()),
                Next::End => return Err(closed()),
            };
            if options.is_json {
                print(&format!("{line}\n"));
            }
            match answer {
                Answer::Program(program) if !options.is_json => {
                    self.print_program(Program(&program), options);
                }
                Answer::Change(change) if !options.is_json => print_change(&change),
                Answer::Problem(problem) => {
                    has_problem = true;
                    print_problem(&problem);
                }
                Answer::Done(_) => return Ok(FINE),
                Answer::Refused { code, .. } if has_problem || options.is_json => {
                    return Ok(exit_code(&code));
                }
                Answer::Refused { code, message } => {
                    return Err(Failure::refused(&code, &message));
                }
                _ => {}
            }
        }
    }

    fn print_program(&self, program: Program<'_>, options: &Options) {
        let outcome = (self.outcome)(program);
        let (word, rest) = outcome.split_at(outcome.find(',').unwrap_or(outcome.len()));
        let word = painted(word, program.state(), options.has_color);
        print(&format!("{}: {word}{rest}\n", escaped(program.name())));
    }
}

/// Prints how a reload changes a program, or how many it leaves as they are.
fn print_change(change: &Value) {
    let text = |key: &str| escaped(change[key].as_str().unwrap_or_default());
    let (sign, name, what) = (text("change"), text("program"), text("text"));
    print(&match change["program"].is_string() {
        true => format!("{sign} {name:<9} {what}\n"),
        false => format!("{sign} {what}\n"),
    });
}

/// Prints what went wrong with one program, and the last lines of its stderr.
pub fn print_problem(problem: &Value) {
    let message = problem["message"].as_str().unwrap_or("failed");
    let message = escaped(message);
    match problem["program"].as_str() {
        Some(name) if !message.starts_with(name) => {
            complain(&format!("{}: {message}", escaped(name)));
        }
        _ => complain(&message),
    }
    let output = problem["output"].as_array();
    for line in output.into_iter().flatten().filter_map(Value::as_str) {
        complain(&format!("    {}", escaped(line)));
    }
}
