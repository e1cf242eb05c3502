//! Panics that are caught: what failed is reported on one line, and the rest goes on.

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::{Mutex, PoisonError};

/// The location of the latest panic, which only the panic hook gets.
static LOCATION: Mutex<String> = Mutex::new(String::new());

/// Does something. Its panic is an error like any other.
pub fn guarded<T>(act: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(act)).map_err(|panic| {
        let location = LOCATION.lock().unwrap_or_else(PoisonError::into_inner);
        let message = message(panic.as_ref());
        format!(
            "internal error: panic at {location}: {message}; supervision continues, please report \
             this bug"
        )
    })
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
        let caught = guarded(|| -> () { panic!("no such state") });
        std::panic::set_hook(hook);
        let problem = caught.expect_err("a panic");
        let start = "internal error: panic at src/bin/procsched-min/panics.rs:";
        assert!(problem.starts_with(start), "{problem}");
        let end = ": no such state; supervision continues, please report this bug";
        assert!(problem.ends_with(end), "{problem}");
        assert_eq!(guarded(|| 7), Ok(7));
    }
}
