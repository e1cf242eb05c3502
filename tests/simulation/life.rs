//! Lives: one for each seed, tried on every core; and the shortest one that fails.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

use super::chaos;
use super::tally::Tally;

/// Seeds that a thread takes at once.
const CHUNK: u64 = 64;

pub struct Life {
    pub outcome: Result<(), String>,
    pub trace: Vec<String>,
    pub tally: Tally,
}

thread_local! {
    /// What the machine panicked with, on a thread that lives a life.
    static PANIC: RefCell<Option<String>> = const { RefCell::new(None) };
    static LIVING: RefCell<bool> = const { RefCell::new(false) };
}

/// A panic within a life is its outcome, and nothing to print a thousand times.
fn keep_panics() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info: &PanicHookInfo<'_>| {
            if LIVING.with_borrow(|living| *living) {
                PANIC.set(Some(info.to_string().replace('\n', " ")));
            } else {
                usual(info);
            }
        }));
    });
}

/// Lives one life: so many steps of chaos, then the fair run.
pub fn live(seed: u64, steps: usize, traced: bool) -> Life {
    keep_panics();
    let (mut driver, mood) = chaos::begin(seed, traced);
    LIVING.set(true);
    let lived = catch_unwind(AssertUnwindSafe(|| {
        driver.start_all()?;
        for step in 0..steps {
            driver.step(step, &mood)?;
        }
        driver.end_fairly()
    }));
    LIVING.set(false);
    let panicked = |_| Err(PANIC.take().unwrap_or_else(|| "a panic".to_owned()));
    let outcome = lived.unwrap_or_else(panicked);
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

/// Lives them all. The first seed that fails is the answer, whatever the number of threads.
pub fn live_all(seeds: u64, steps: usize) -> Result<Tally, u64> {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let work = || {
        let mut tally = Tally::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            let to = seeds
                .min(from.saturating_add(CHUNK))
                .min(failed.load(Ordering::Relaxed));
            if from >= to {
                return tally;
            }
            for seed in from..to {
                let life = live(seed, steps, false);
                tally.add(&life.tally);
                if life.outcome.is_err() {
                    failed.fetch_min(seed, Ordering::Relaxed);
                    break;
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut tally = Tally::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            tally.add(&worker.join().expect("a life's panic is caught in it"));
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(tally),
        seed => Err(seed),
    }
}

/// The story of a failure: the fewest steps after which this seed fails, all of them, and how
/// to see it again.
pub fn shortest_failure(seed: u64, steps: usize) -> String {
    let fails = |steps: &usize| live(seed, *steps, false).outcome.is_err();
    let shortest = (0..=steps).find(fails).unwrap_or(steps);
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
