//! One life of the machine, for one seed, and the story of the shortest one that fails.

use super::chaos;
use super::lives;
use super::rng::Rng;
use super::tally::Tally;

pub struct Life {
    pub outcome: Result<(), String>,
    pub trace: Vec<String>,
    pub tally: Tally,
}

/// Lives one life: so many steps of chaos, then the fair run.
pub fn live(seed: u64, steps: usize, traced: bool) -> Life {
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
        tally,
    }
}

/// Lives them all. The first seed that fails is the answer.
pub fn live_all(seeds: u64, steps: usize) -> Result<Tally, u64> {
    let live = |seed| {
        let life = live(seed, steps, false);
        (life.tally, life.outcome.is_err())
    };
    lives::live_all(seeds, live, Tally::add)
}

/// The story of a failure: the fewest steps after which this seed fails, all of them, and how
/// to see it again.
pub fn shortest_failure(seed: u64, steps: usize) -> String {
    let shortest = lives::fewest_steps(steps, |steps| live(seed, steps, false).outcome.is_err());
    let Life { outcome, trace, .. } = live(seed, shortest, true);
    let failure = outcome
        .err()
        .unwrap_or_else(|| "it does not fail again".to_owned());
    format!(
        "seed {seed} fails after {shortest} steps and a fair end:\n{}\n{failure}\n\
         to see all of it: PROCSCHED_SIM_SEED={seed} cargo test --test simulation",
        trace.join("\n")
    )
}
