//! One life of the machine, for one seed.

use super::chaos;
use super::tally::Tally;
use crate::model::lives;
use crate::model::rng::Rng;
use crate::model::trial::Life;

/// Lives one life: so many steps of chaos, then the fair run.
pub fn live(seed: u64, steps: usize, traced: bool) -> Life<Tally> {
    let (mut driver, mood) = chaos::begin(Rng::new(seed), traced);
    let outcome = lives::live_through(|| {
        driver.start_all()?;
        for step in 0..steps {
            driver.step(step, &mood)?;
        }
        driver.end_fairly()
    });
    if let Err(failure) = &outcome {
        driver.say(format_args!("FAILED    {failure}"));
    }
    let mut tally = driver.tally;
    tally.resets += driver.ledger.resets;
    tally.inherited += driver.world.inherited;
    tally.essential += u64::from(driver.ledger.essential_ended.is_some());
    Life {
        outcome,
        trace: driver.trace.take().unwrap_or_default(),
        seen: tally,
    }
}
