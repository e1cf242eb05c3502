//! One turn of the loop, and the one place where a panic of supervision is caught: it is said,
//! and supervision goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use procsched::{ProcessScheduler, Status};

use crate::messages::Tone;
use crate::output::{Outputs, RETRY, pause};

/// How long a turn that failed is answered with doing nothing, so that it cannot spin.
const FAILED_PAUSE: Duration = Duration::from_millis(100);

/// Where the latest panic was; only the panic hook is told.
static PLACE: Mutex<String> = Mutex::new(String::new());

/// One turn, which waits for at most `timeout`, and no longer than the outputs can wait.
pub fn turn(
    scheduler: &mut ProcessScheduler,
    outputs: &Outputs,
    timeout: Option<Duration>,
) -> Status {
    let retry = outputs.is_pending().then_some(RETRY);
    let wait = [timeout, retry].into_iter().flatten().min();
    let problem = match catch_unwind(AssertUnwindSafe(|| scheduler.step(wait))) {
        Ok(Ok(status)) => {
            outputs.pump();
            return status;
        }
        Ok(Err(error)) => error.to_string(),
        Err(panic) => {
            let place = PLACE.lock().unwrap_or_else(PoisonError::into_inner);
            format!(
                "supervision panicked at {place} and goes on: {}",
                message(panic.as_ref())
            )
        }
    };
    outputs.say_own(Tone::Bad, "warning", &problem);
    pause(FAILED_PAUSE);
    Status::Running
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
