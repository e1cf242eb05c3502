//! What a person is shown while a command waits: the states of the programs that it waits for.

use std::io::{self, IsTerminal};
use std::path::Path;
use std::time::{Duration, Instant};

use procsched::text::escaped;

use super::answer::Answer;
use super::failure::Failure;
use super::options::Options;
use super::program::Program;
use super::talk::{Request, Talk};
use crate::clock;
use crate::stdio::complain;

/// How long a command waits before a person is shown for what, and how often that is looked at.
const QUIET_TIME: Duration = Duration::from_secs(1);

/// The most programs that are named.
const NAMED_MAX: usize = 5;

/// The states that nothing is waited for in.
const SETTLED: [&str; 4] = ["running", "stopped", "exited", "failed"];

/// The programs that are waited for, and what was shown of them.
#[derive(Debug)]
pub struct Waiting<'w> {
    path: &'w Path,
    /// All if there are none.
    names: &'w [String],
    is_watched: bool,
    shown: String,
}

impl<'w> Waiting<'w> {
    /// Shows nothing unless stderr is a terminal.
    pub fn new(path: &'w Path, names: &'w [String], options: &Options) -> Self {
        Self {
            path,
            names,
            is_watched: !options.is_json && io::stderr().is_terminal(),
            shown: String::new(),
        }
    }

    /// Returns until when the next line is waited for.
    pub fn deadline(&self, end: Option<Instant>) -> Option<Instant> {
        let next = self.is_watched.then(|| clock::steady() + QUIET_TIME);
        [next, end].into_iter().flatten().min()
    }

    /// Prints the states, or why they are not known, if that has changed.
    pub fn show(&mut self) {
        let states = match self.states() {
            Ok(states) => states,
            Err(failure) => format!("still waiting: {}", escaped(&failure.message)),
        };
        if !states.is_empty() && states != self.shown {
            complain(&states);
            self.shown = states;
        }
    }

    fn states(&self) -> Result<String, Failure> {
        let request = Request::new("status").programs(self.names);
        let deadline = clock::steady() + QUIET_TIME;
        let mut talk = Talk::open(self.path, &request, Some(deadline))?;
        let (mut text, mut count) = (String::new(), 0);
        loop {
            match talk.expect()?.0 {
                Answer::Program(program) => {
                    let program = Program(&program);
                    if SETTLED.contains(&program.state()) {
                        continue;
                    }
                    count += 1;
                    if count <= NAMED_MAX {
                        text += if count == 1 { "waiting for " } else { "; " };
                        text += &shown(program);
                    }
                }
                Answer::Done(_) if count > NAMED_MAX => {
                    return Ok(format!("{text}; and {} more", count - NAMED_MAX));
                }
                Answer::Done(_) => return Ok(text),
                _ => {}
            }
        }
    }
}

/// Returns a program with its state and the reason for it: `web: pending, requires db: backoff`.
fn shown(program: Program<'_>) -> String {
    let reason = program.reason().map(|reason| format!(", {reason}"));
    let (name, state) = (program.name(), program.state());
    escaped(&format!("{name}: {state}{}", reason.unwrap_or_default())).into_owned()
}
