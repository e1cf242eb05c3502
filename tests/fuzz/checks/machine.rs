//! The machine, in a life of the simulation that the bytes decide: same world, same observers,
//! same fair run at the end.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use super::choices::Rng;
use crate::simulation::chaos;

/// As many as there may be before somebody has to read the story.
const STEPS_MAX: usize = 1_000;

/// Panics with the story of the life, if a promise is broken in it.
pub fn check(bytes: &[u8]) {
    let outcome = catch_unwind(AssertUnwindSafe(|| live(bytes, false)));
    if let Ok((Ok(()), _)) = outcome {
        return;
    }
    let (outcome, story) = live(bytes, true);
    panic!("{outcome:?}\n{}", story.join("\n"));
}

fn live(bytes: &[u8], traced: bool) -> (Result<(), String>, Vec<String>) {
    let (mut driver, mood) = chaos::begin(Rng::new(bytes), traced);
    let mut outcome = driver.start_all();
    let mut step = 0;
    while outcome.is_ok() && step < STEPS_MAX && !driver.rng.is_over() {
        outcome = driver.step(step, &mood);
        step += 1;
    }
    outcome = outcome.and_then(|()| driver.end_fairly());
    (outcome, driver.trace.take().unwrap_or_default())
}
