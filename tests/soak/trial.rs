//! The judge is tried before it judges, on series of which the verdict is known.

use crate::rng::Rng;
use crate::soak::slope::{Allowance, slope};

const MEMORY: Allowance = Allowance {
    per_thousand: 1.0,
    in_all: 64.0,
};

/// An hour: 100,000 restarts, a look each second. Pages of 4 KiB, with noise of ten of
/// them, peaks, and a level that drifts up and down for a while.
fn hour(seed: u64, shape: impl Fn(f64) -> f64) -> Vec<(f64, f64)> {
    let mut rng = Rng::new(seed);
    let mut drift: f64 = 0.0;
    let look = |second: u32| {
        let restarts = f64::from(second) * 100_000.0 / 3600.0;
        drift = drift * 0.98 + (rng.below(9) as f64 - 4.0);
        let peak = if rng.one_in(50) { 600.0 } else { 0.0 };
        let noise = rng.below(11) as f64 * 4.0 + drift + peak;
        let value = 2000.0 + noise + shape(restarts);
        (restarts, (value / 4.0).floor() * 4.0)
    };
    (0..3600).map(look).collect()
}

fn leaks(seed: u64, shape: impl Fn(f64) -> f64) -> bool {
    let slope = slope(&hour(seed, shape)).expect("an hour is enough");
    slope.leaks(MEMORY)
}

/// Panics if it judges any of them wrongly.
pub fn run() {
    for seed in 0..200 {
        assert!(!leaks(seed, |_| 0.0), "flat noise, seed {seed}");
        assert!(
            leaks(seed, |restarts| restarts * 2.0 / 1000.0),
            "2 KiB each 1,000 restarts, seed {seed}"
        );
        let warm_up = |restarts: f64| restarts.min(20_000.0) / 10.0;
        assert!(!leaks(seed, warm_up), "warm-up, seed {seed}");
        let step = |restarts| if restarts > 60_000.0 { 300.0 } else { 0.0 };
        assert!(!leaks(seed, step), "one step, seed {seed}");
        assert!(!leaks(seed, |restarts| -restarts / 100.0), "shrinking");
    }
    assert!(slope(&[]).is_none() && slope(&[(1.0, 1.0); 5]).is_none());
    // Whole numbers that are mostly equal: a descriptor in 4,000 restarts is found.
    let few = |leak: f64| {
        let look = |second| {
            let restarts = f64::from(second) * 28.0;
            (restarts, 300.0 + (restarts * leak).floor())
        };
        slope(&(0..3600).map(look).collect::<Vec<_>>()).expect("enough")
    };
    let descriptors = Allowance {
        per_thousand: 0.02,
        in_all: 2.0,
    };
    assert!(few(1.0 / 4000.0).leaks(descriptors));
    assert!(!few(0.0).leaks(descriptors));
}
