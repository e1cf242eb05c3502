//! Lives, one for each seed: tried on every core, a panic in one being its outcome, and the
//! shortest one that fails.

use std::cell::RefCell;
use std::panic::{AssertUnwindSafe, PanicHookInfo, catch_unwind};
use std::sync::Once;
use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;

/// Seeds that a thread takes at once.
const CHUNK: u64 = 64;

thread_local! {
    /// What a life panicked with, on a thread that lives one.
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

/// Lives a life, or a part of one.
pub fn live_through(life: impl FnOnce() -> Result<(), String>) -> Result<(), String> {
    keep_panics();
    LIVING.set(true);
    let lived = catch_unwind(AssertUnwindSafe(life));
    LIVING.set(false);
    let panicked = |_| Err(PANIC.take().unwrap_or_else(|| "a panic".to_owned()));
    lived.unwrap_or_else(panicked)
}

/// Lives them all. `live` says what was seen in a life and whether it failed. The first seed
/// that fails is the answer, whatever the number of threads.
pub fn live_all<T: Default + Send>(
    seeds: u64,
    live: impl Fn(u64) -> (T, bool) + Sync,
    add: impl Fn(&mut T, &T) + Sync,
) -> Result<T, u64> {
    let next = AtomicU64::new(0);
    let failed = AtomicU64::new(u64::MAX);
    let work = || {
        let mut tally = T::default();
        loop {
            let from = next.fetch_add(CHUNK, Ordering::Relaxed);
            let to = seeds
                .min(from.saturating_add(CHUNK))
                .min(failed.load(Ordering::Relaxed));
            if from >= to {
                return tally;
            }
            for seed in from..to {
                let (seen, has_failed) = live(seed);
                add(&mut tally, &seen);
                if has_failed {
                    failed.fetch_min(seed, Ordering::Relaxed);
                    break;
                }
            }
        }
    };
    let threads = thread::available_parallelism().map_or(1, usize::from);
    let mut tally = T::default();
    thread::scope(|scope| {
        let workers: Vec<_> = (0..threads).map(|_| scope.spawn(work)).collect();
        for worker in workers {
            let seen = worker.join().expect("a life's panic is caught in it");
            add(&mut tally, &seen);
        }
    });
    match failed.into_inner() {
        u64::MAX => Ok(tally),
        seed => Err(seed),
    }
}

/// The fewest steps, of so many at most, after which a life fails.
pub fn fewest_steps(steps: usize, fails: impl Fn(usize) -> bool) -> usize {
    (0..=steps).find(|&steps| fails(steps)).unwrap_or(steps)
}
