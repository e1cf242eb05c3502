//! One turn of the loop, and the one place where a panic of supervision is caught: it is said,
//! and supervision goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use procsched::{ProcessScheduler, Result, Status};

use crate::clock;
use crate::messages::Tone;
use crate::output::Outputs;
use crate::pause::pause;

/// How long a turn that failed is answered with doing nothing, so that it cannot spin.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// Where the latest panic was; only the panic hook is told.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// One turn, which waits for at most `timeout`. While an output has to wait for its reader, the
/// wait is for that as well.
pub fn turn(
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    timeout: Option<Duration>,
) -> Status {
    let mut wait = timeout;
    if outputs.is_pending() {
        let deadline = scheduler.next_deadline().map(clock::until);
        outputs.wait(scheduler, [timeout, deadline].into_iter().flatten().min());
        wait = Some(Duration::ZERO);
    }
    match guarded(|| scheduler.step(wait)) {
        Ok(status) => {
            outputs.pump();
            status
        }
        Err(problem) => {
            outputs.say_own(Tone::Bad, "warning", &problem);
            pause(FAILED_PAUSE);
            Status::Running
        }
    }
}

/// What a step answers; its panic is an error like any other.
fn guarded(step: impl FnOnce() -> Result<Status>) -> std::result::Result<Status, String> {
    match catch_unwind(AssertUnwindSafe(step)) {
        Ok(answer) => answer.map_err(|error| error.to_string()),
        Err(panic) => {
            let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
            Err(format!(
                "supervision panicked at {place} and goes on: {}",
                message(panic.as_ref())
            ))
        }
    }
}

/// From now on a panic prints nothing by itself: whoever catches it says it on one line.
pub fn silence_panics() {
    std::panic::set_hook(Box::new(|panic| {
        let mut place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
        *place = panic
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
    fn a_panic_is_told_with_its_place_and_survived() {
        // Other tests may fail while the hook is set, and shall still say why.
        let hook = std::panic::take_hook();
        silence_panics();
        let told = guarded(|| panic!("no such state"));
        std::panic::set_hook(hook);
        let told = told.expect_err("a panic");
        assert!(
            told.starts_with("supervision panicked at src/bin/procsched-min/turn.rs:"),
            "{told}"
        );
        assert!(told.ends_with(" and goes on: no such state"), "{told}");
        assert_eq!(guarded(|| Ok(Status::Running)), Ok(Status::Running));
    }
}
