//! One turn of the loop. Here a panic of supervision is caught and reported; supervision continues.

use std::any::Any;
use std::os::fd::AsFd;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use nix::poll::{PollFd, PollFlags};
use procsched::{ProcessScheduler, Result, Status};

use crate::clock;
use crate::control::{DESCRIPTORS_MAX, Server};
use crate::messages::Level;
use crate::output::Outputs;

/// The pause after a turn that failed, so that it cannot spin.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// The location of the latest panic, which only the panic hook gets.
static LOCATION: Mutex<String> = Mutex::new(String::new());

/// Takes one turn, which waits for at most `timeout`, for the clients of the control socket, and
/// for the reader of an output that has lines queued.
pub fn turn(
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    mut control: Option<&mut Server>,
    timeout: Option<Duration>,
) -> Status {
    let mut wait = timeout;
    if control.is_some() || outputs.lock().is_pending() {
        wait_for_all(scheduler, outputs, control.as_deref_mut(), timeout);
        wait = Some(Duration::ZERO);
    }
    let step = || {
        let status = scheduler.step(wait)?;
        if let Some(control) = control {
            control.serve(scheduler);
        }
        Ok(status)
    };
    match guarded(step) {
        Ok(status) => {
            outputs.lock().pump();
            status
        }
        Err(problem) => {
            outputs.lock().say_own(Level::Error, "warning", &problem);
            clock::pause(FAILED_PAUSE);
            Status::Running
        }
    }
}

/// Waits until the scheduler, a client or an output has something to do.
fn wait_for_all(
    scheduler: &ProcessScheduler,
    outputs: &Outputs,
    control: Option<&mut Server>,
    timeout: Option<Duration>,
) {
    let deadlines = [
        scheduler.next_deadline(),
        control.as_ref().and_then(|control| control.next_deadline()),
    ];
    let times = deadlines.into_iter().flatten().map(clock::until);
    let time = times.chain(timeout).min();
    let mut descriptors = Vec::with_capacity(DESCRIPTORS_MAX + 3);
    descriptors.push(PollFd::new(scheduler.as_fd(), PollFlags::POLLIN));
    if let Some(control) = &control {
        control.wait_for(&mut descriptors);
    }
    let controls = 1..descriptors.len();
    let mut ready = [PollFlags::empty(); DESCRIPTORS_MAX];
    let outputs = outputs.lock();
    outputs.wait(&mut descriptors, time);
    for (ready, descriptor) in ready.iter_mut().zip(&descriptors[controls.clone()]) {
        *ready = descriptor.revents().unwrap_or(PollFlags::empty());
    }
    drop(descriptors);
    if let Some(control) = control {
        control.on_ready(ready.into_iter().take(controls.len()));
    }
}

/// Takes a step. Its panic is an error like any other.
fn guarded(step: impl FnOnce() -> Result<Status>) -> std::result::Result<Status, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(panic) => {
            let location = LOCATION.lock().unwrap_or_else(PoisonError::into_inner);
            let message = message(panic.as_ref());
            Err(format!(
                "internal error: panic at {location}: {message}; supervision continues, please \
                 report this bug"
            ))
        }
    }
}

/// Silences the panic hook: the catcher of a panic reports it on one line.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut location = LOCATION.lock().unwrap_or_else(PoisonError::into_inner);
        *location = panic
            .location()
            .map(ToString::to_string)
            .unwrap_or_default();
    }));
}

fn message(panic: &(dyn Any + Send)) -> &str {
    let text = panic.downcast_ref::<&str>().copied();
    let text = text.or_else(|| panic.downcast_ref::<String>().map(String::as_str));
    text.unwrap_or("a panic without a message")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_panic_is_reported_with_its_location_and_survived() {
        // Other tests that fail while the hook is set have to report their panics.
        let hook = std::panic::take_hook();
        silence_panics();
        let caught = guarded(|| panic!("no such state"));
        std::panic::set_hook(hook);
        let problem = caught.expect_err("a panic");
        let start = "internal error: panic at src/bin/procsched-min/turn.rs:";
        assert!(problem.starts_with(start), "{problem}");
        let end = ": no such state; supervision continues, please report this bug";
        assert!(problem.ends_with(end), "{problem}");
        assert_eq!(guarded(|| Ok(Status::Running)), Ok(Status::Running));
    }
}
