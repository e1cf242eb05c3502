//! What has come of an order for one program.

use std::sync::Arc;

use procsched::{Error, ErrorKind, ProgramState, ProgramStatus};

use super::protocol::{Code, Problem, Until};
use super::runs::{CameUp, RunEnd};

/// A program that is waited for.
#[derive(Debug, Default)]
pub struct Target {
    /// The run that the order ends.
    pub old_pid: Option<i32>,
    pub note: Option<&'static str>,
    /// How a run that the order began has ended.
    pub end: Option<RunEnd>,
    pub tail: Vec<String>,
    pub superseded: Option<Arc<str>>,
    /// True if a reload removes it.
    pub is_removal: bool,
    /// True if it is to be looked at.
    pub is_due: bool,
}

/// What is wrong with the order for one program.
pub struct Failure {
    pub problem: Problem,
    /// True if the message names the program itself.
    pub is_whole: bool,
    pub tail: Vec<String>,
}

impl Failure {
    pub fn new(code: Code, message: impl Into<String>) -> Self {
        let problem = Problem::new(code, message);
        Self {
            problem,
            is_whole: false,
            tail: Vec::new(),
        }
    }

    /// The scheduler has refused the order.
    pub fn refused(error: &Error) -> Self {
        let code = match error.kind() {
            ErrorKind::UnknownProgram => Code::UnknownProgram,
            ErrorKind::NotRunning => Code::NotRunning,
            ErrorKind::Stopping => Code::Stopping,
            _ => Code::Failed,
        };
        Self::whole(code, error.to_string())
    }

    pub fn whole(code: Code, message: String) -> Self {
        Self {
            is_whole: true,
            ..Self::new(code, message)
        }
    }
}

/// Returns what has come of a start; `None` while that is open.
pub fn judge_start(
    target: &Target,
    status: &ProgramStatus,
    is_stopping: bool,
) -> Option<Result<(), Failure>> {
    if status.is_up() && (status.pid().is_none() || status.pid() != target.old_pid) {
        return Some(Ok(()));
    }
    if let Some(why) = &target.superseded {
        return Some(Err(Failure::new(Code::Superseded, &**why)));
    }
    match &target.end {
        Some(end) if end.came_up == CameUp::Yes => return Some(Ok(())),
        Some(end) if end.came_up == CameUp::No || status.state() == ProgramState::Exited => {
            return Some(Err(Failure::new(Code::Failed, &end.message)));
        }
        _ => {}
    }
    let reason = || status.reason().map(|reason| format!(": {reason}"));
    match status.state() {
        ProgramState::Failed | ProgramState::Exited => {
            let message = format!("{}{}", status.state(), reason().unwrap_or_default());
            Some(Err(Failure::new(Code::Failed, message)))
        }
        ProgramState::Stopped if is_stopping => {
            let message = "everything is being stopped";
            Some(Err(Failure::new(Code::Stopping, message)))
        }
        ProgramState::Stopped => {
            let message = "superseded: it was stopped";
            Some(Err(Failure::new(Code::Superseded, message)))
        }
        ProgramState::Pending if status.is_blocked() => {
            let message = status.reason().unwrap_or("what it requires is down");
            Some(Err(Failure::new(Code::Failed, message)))
        }
        _ => None,
    }
}

/// Returns what has come of a stop; `None` while that is open.
pub fn judge_stop(target: &Target, status: &ProgramStatus) -> Option<Result<(), Failure>> {
    match status.state() {
        ProgramState::Stopped => Some(Ok(())),
        ProgramState::Abandoned => {
            let message = "abandoned: it survived SIGKILL";
            Some(Err(Failure::new(Code::Abandoned, message)))
        }
        _ => {
            let why = target.superseded.as_ref()?;
            Some(Err(Failure::new(Code::Superseded, &**why)))
        }
    }
}

/// Returns whether the state that is waited for has come; `None` while it may come.
pub fn judge_wait(until: Until, status: &ProgramStatus) -> Option<Result<(), Failure>> {
    use ProgramState::{Exited, Failed, Stopped};
    let (state, word) = (status.state(), until.word());
    let is_reached = match word {
        "running" => status.is_up(),
        "down" => matches!(state, Stopped | Exited | Failed),
        _ => state.to_string() == word,
    };
    if is_reached {
        return Some(Ok(()));
    }
    (state == Failed).then(|| {
        let reason = status.reason().map(|reason| format!(": {reason}"));
        let message = format!("failed{}", reason.unwrap_or_default());
        Err(Failure::new(Code::Failed, message))
    })
}
